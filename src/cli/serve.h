/* serve.h - the life of a mount's process. */
#pragma once
#include "engine/engine.h"

#define SERVE_STORE_VERSION 1u /* newest store format this build reads */

struct serve_cfg {
	const char *filters; /* absolute, or NULL */
	const char *listen,
	        *token_file; /* HTTP: where (server/http.h), NULL: not; the bearer token's file, absolute, or NULL */
	uint32_t listen_ms; /* time limit of its clients; 0: the default */
	const char *dir, *mnt, *store; /* absolute; store NULL: DIR/.vexfs */
	bool noatime, nodiratime;
	const char *transport, *mount_opts;
	const char *model; /* its folder; NULL: none */
	uint64_t model_idle_ms;
	enum eng_components components;
	uint64_t mem_limit;
	uint32_t stack_warn, stack_critical; /* 0: as in base/conf.h */
	bool debug; /* ctl knows the verbs that make things fail */
	bool foreground, allow_other, read_only;
	int turn_fd; /* closed when the mount serves: others may look then; -1: none */
};
/* what the child tells its parent, once, through the pipe */
struct serve_word {
	int ok;
	char text[300]; /* ok 0: the sentence */
};
/* serve_run - mount, serve until unmounted or told to stop, clean up. @word_fd: the pipe to the parent, -1 in the foreground.
 * Return: the exit status. */
int serve_run(const struct serve_cfg *c, int word_fd);
