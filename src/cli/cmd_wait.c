/* cmd_wait.c - vexfs wait: until every known change is searchable, and with --durable on disk.
 *
 * On a terminal a second handle polls the status and shows how much is left while the wait itself is parked in the daemon. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "cli/cli.h"

static json_t *status_of(const char *mnt)
{
	size_t n;
	char *t = cli_read_small(cli_fmt("%s/.vexfs/status", mnt), 64u << 20, &n);
	return t ? json_loadb(t, n, 0, NULL) : NULL;
}
/* what nobody waits for: a model that fails, a store that takes nothing */
static bool say_why(json_t *status)
{
	json_t *model = json_object_get(json_object_get(status, "components"), "model");
	const char *disk = json_string_value(json_object_get(status, "read_only_reason")), *state, *why;
	state = json_string_value(json_object_get(model, "state"));
	why = json_string_value(json_object_get(model, "reason"));
	if (disk)
		fprintf(stderr, "vexfs: what changed is not all searchable: %s\n", disk);
	else if (state && why && !strcmp(state, "failed"))
		fprintf(stderr, "vexfs: text that came has no vectors yet, for the model fails: %s\n", why);
	return disk != NULL;
}

/* the bar runs in a child, so that the waiting itself stays one plain request */
static void bar(const char *mnt)
{
	struct cli_progress p;
	uint64_t most = 0;
	bool said = false;
	cli_progress_begin(&p, "indexing", 0);
	for (;;) {
		json_t *j = status_of(mnt);
		if (!said && json_object_get(j, "read_only_reason")) {
			fputs("\r\033[K", stderr);
			said = say_why(j);
		}
		uint64_t left = (uint64_t)json_integer_value(json_object_get(j, "pending"));
		json_decref(j);
		arena_reset(&cli_arena);
		most = left > most ? left : most;
		if (most)
			cli_progress_at(&p, most - left, most);
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
		if (getppid() == 1)
			_exit(0);
	}
}

int cmd_wait(int argc, char **argv)
{
	static const struct option longs[] = {{"durable", no_argument, NULL, 'd'}, {"rescan", no_argument, NULL, 'r'},
	        {"help", no_argument, NULL, 'h'}, {0}};
	bool durable = false, rescan = false;
	const char *mnt, *rel;
	int o;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (o) {
		case 'd':
			durable = true;
			break;
		case 'r':
			rescan = true;
			break;
		case 'h':
			return cli_usage("wait", true);
		default:
			return cli_usage("wait", false);
		}
	}
	if (argc - optind > 1)
		return cli_usage("wait", false);
	if (!cli_find_mount(argc > optind ? argv[optind] : NULL, &mnt, &rel))
		return CLI_ERROR;
	pid_t child = isatty(STDERR_FILENO) == 1 ? fork() : -1;
	if (!child)
		bar(cli_fmt("%s", mnt));
	json_t *req = json_pack("{s:s}", "verb", "wait");
	if (durable)
		json_object_set_new(req, "durable", json_true());
	if (rescan)
		json_object_set_new(req, "rescan", json_true());
	json_t *a = cli_ask_once(mnt, req);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		fputs("\r\033[K", stderr);
	}
	if (a && json_is_false(json_object_get(a, "complete"))) {
		json_t *j = status_of(mnt);
		(void)say_why(j);
		json_decref(j);
	}
	json_decref(a);
	return a ? CLI_OK : CLI_ERROR;
}
