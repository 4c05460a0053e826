/* mcp_int.h - between the protocol (mcp.c) and the tools (mcp_tools.c). */
#pragma once
#include <jansson.h>
#include <stdatomic.h>
#include "server/mcp.h"

/* a file or an answer, read whole; freed with mem_free(MEM_server) */
struct mcp_bytes {
	char *p;
	size_t n;
};
struct mcp {
	struct os *os;
	int root_fd;
	char *mnt, *version;
	bool greeted; /* initialize was answered */
	bool early_ok; /* the last message was one that may come before initialize */
	/* how the mount is asked: NULL: through its query file; else in this process. The request may be changed. */
	int (*ask)(void *u, char *req, size_t n, struct mcp_bytes *ret);
	void *ask_u;
	_Atomic int *stop; /* NULL, or: not 0 ends what is going on */
};
/* mcp_new_inside - for a server in the mount's own process: files are read below root_fd (DIR), questions go to ask. */
int mcp_new_inside(struct os *os, int root_fd, const char *mnt, const char *version,
        int (*ask)(void *u, char *req, size_t n, struct mcp_bytes *ret), void *u, struct mcp **ret);
/* mcp_tools_list - the array of tools with their schemas; NULL: no memory */
json_t *mcp_tools_list(void);
/* mcp_tool_call - run a tool. @args may be NULL. *ret: the result object of tools/call (with isError when it failed).
 * Return: 0; -ENOENT: no such tool; -ENOMEM. */
int mcp_tool_call(struct mcp *m, const char *name, const json_t *args, json_t **ret);

/* mcp_ask - write a request to the mount's query file and read the answer on the same handle. */
int mcp_ask(struct mcp *m, const json_t *req, struct mcp_bytes *ret);
int mcp_read_all(struct mcp *m, int fd, size_t max, struct mcp_bytes *ret); /* -E2BIG above max */
/* mcp_open_beneath - a regular file by its path below the root, no symbolic link followed. fd or < 0 */
int mcp_open_beneath(struct mcp *m, const char *path);
/* mcp_string - a JSON string of text from anywhere: what is no UTF-8 and control characters become spaces */
json_t *mcp_string(const char *p, size_t n);
