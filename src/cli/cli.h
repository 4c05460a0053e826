/* cli.h - what the commands share: the command table's entry type, errors, options, mounts, requests, printing.
 *
 * A command is int cmd_NAME(argc, argv) with argv[0] its name; it returns the exit status.  Everything it allocates for its own short
 * life comes from one arena that main() drops at the end; big buffers are heap blocks of tag MEM_cli.  Results go to stdout, all
 * else to stderr. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/mem.h"

/* exit statuses */
enum { CLI_OK = 0, CLI_NONE = 1, CLI_ERROR = 2, CLI_INCOMPLETE = 3 };

int cmd_mount(int argc, char **argv);
int cmd_umount(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_wait(int argc, char **argv);
int cmd_search(int argc, char **argv);
int cmd_similar(int argc, char **argv);
int cmd_query(int argc, char **argv);
int cmd_set(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_export_tree(int argc, char **argv);
int cmd_import_tree(int argc, char **argv);
int cmd_collection(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_mcp(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_perf(int argc, char **argv);
int cmd_profile(int argc, char **argv);
const char *cli_model_home(void); /* NULL, and said why */

struct cli_command {
	const char *name, *args, *what; /* what: one line; args: the synopsis after the name */
	const char *help; /* the options, for -h; may be NULL */
	int (*run)(int argc, char **argv);
};
const struct cli_command *cli_command_by_name(const char *name);

/* ---- small things every command needs (cli_base.c) ---------------------------------------------------------------- */
extern struct arena cli_arena;
void cli_begin(void); /* first of all: the arena, and jansson's memory counted with ours */
/* cli_err - "vexfs: sentence" to stderr; returns CLI_ERROR so that a command can end with it. */
int cli_err(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* cli_usage - the synopsis of a command: to stderr and CLI_ERROR (bad usage), or to stdout and CLI_OK (-h). */
int cli_usage(const char *name, bool asked);
/* cli_fmt - printf into the arena; never NULL (the process ends when memory does). */
char *cli_fmt(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *cli_alloc(size_t n); /* zeroed, arena; never NULL */
char *cli_realpath(const char *path); /* arena; NULL with errno */
/* cli_u64 - the whole of s as a number in [lo, hi]; else a sentence naming `what` and false. */
bool cli_u64(const char *s, const char *what, uint64_t lo, uint64_t hi, uint64_t *ret);
bool cli_f64(const char *s, const char *what, double *ret);

/* ---- mounts (cli_mnt.c) -------------------------------------------------------------------------------------------------------- */
struct cli_mnt {
	char *mnt, *type, *source;
};
/* cli_mounts - /proc/self/mountinfo, in its order; a later entry covers an earlier one. Count or -errno. */
int cli_mounts(struct cli_mnt **ret);
bool cli_mnt_is_vexfs(const struct cli_mnt *m);
/* cli_find_mount - the VexFS mount that holds path (NULL: the current directory); *ret_rel is the path below its root, "" for the
 * root itself. Prints a sentence and returns false when there is none. */
bool cli_find_mount(const char *path, const char **ret_mnt, const char **ret_rel);
/* cli_find_place - where a search goes: the mount that holds path (NULL: the current directory), or the mount of the directory that holds
 * it, or else that directory itself when a store lies in it: *ret_local, and *ret_at is the directory. false: none, said. */
bool cli_find_place(const char *path, const char **ret_at, const char **ret_rel, bool *ret_local);
/* cli_mnt_at - the topmost mount whose mount point is exactly path (made absolute without touching path itself, so that a dead
 * mount is found too), or NULL. */
const struct cli_mnt *cli_mnt_at(const char *path, const char **ret_abs);
/* cli_mnt_pid - the daemon's pid from MNT/.vexfs/status, 0 if it can't be had. */
pid_t cli_mnt_pid(const char *mnt);

/* ---- requests (cli_ask.c) ------------------------------------------------------------------------------------------------------ */
struct cli_conn {
	int fd;
	struct vexfs *local; /* no mount: an engine in this process, reading only (include/vexfs.h) */
	char *ans; /* heap, NUL behind the end */
	size_t ans_n, ans_cap;
};
bool cli_conn_open(struct cli_conn *c, const char *mnt); /* prints on failure */
bool cli_conn_open_dir(
        struct cli_conn *c, const char *dir); /* a directory that has a store and no mount; prints on failure */
void cli_conn_close(struct cli_conn *c);
/* cli_send - one request, its whole answer into c->ans. 0 or -errno. */
int cli_send(struct cli_conn *c, const void *req, size_t n);
/* cli_ask - the JSON request (reference taken) to the mount; the parsed answer, or NULL after printing why. An answer with "error"
 * is printed as a sentence and gives NULL. @raw: also leaves the text in c->ans. */
json_t *cli_ask(struct cli_conn *c, json_t *req);
json_t *cli_ask_once(const char *mnt, json_t *req);
char *cli_read_small(const char *path, size_t max, size_t *ret_n); /* arena; NULL with errno */

/* ---- output (cli_print.c) ------------------------------------------------------------------------------------------------------ */
struct cli_out {
	bool json, jsonl, names_only, nul, tty, color;
	const char *mnt, *prefix; /* prefix: how the user spelt the mount, or NULL */
	const char *const *words; /* to highlight in snippets */
	size_t word_n;
};
void cli_out_init(struct cli_out *o, const char *mnt, const char *spelt);
void cli_print_results(const struct cli_out *o, json_t *answer, const char *raw);
/* safe for a terminal: control bytes become '?' */
void cli_print_safe(const char *s, bool keep_newlines);
const char *cli_bytes_text(uint64_t n); /* "12.3 MiB", arena */

/* ---- progress (cli_progress.c): a bar with rate and time left on a terminal, nothing elsewhere ---------------------------------- */
struct cli_progress {
	const char *what;
	uint64_t total, done, t0_ns, shown_ns;
	bool on;
};
void cli_progress_begin(struct cli_progress *p, const char *what, uint64_t total);
void cli_progress_at(struct cli_progress *p, uint64_t done, uint64_t total);
void cli_progress_end(struct cli_progress *p);
