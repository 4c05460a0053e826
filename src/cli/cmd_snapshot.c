/* cmd_snapshot.c - vexfs snapshot create|list|drop: the vector side as it is now, kept under a name; `search --at NAME` asks it. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "cli/cli.h"

static long long num(json_t *o, const char *k)
{
	return (long long)json_integer_value(json_object_get(o, k));
}

static void print_row(json_t *s)
{
	char when[40] = "?";
	time_t t = (time_t)(num(s, "made_ns") / 1000000000);
	struct tm tm;
	const char *name = json_string_value(json_object_get(s, "name"));
	if (json_is_true(json_object_get(s, "damaged"))) {
		printf("%-24s damaged; `vexfs verify` says more\n", name ? name : "?");
		return;
	}
	if (localtime_r(&t, &tm))
		strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
	printf("%-24s %s  generation %-8lld %10lld vectors %10lld chunks\n", name ? name : "?", when,
	        num(s, "generation"), num(s, "vectors"), num(s, "chunks"));
}

int cmd_snapshot(int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	const char *mnt, *rel;
	bool json = false;
	int o;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (o != 'j')
			return cli_usage("snapshot", o == 'h');
		json = true;
	}
	int left = argc - optind;
	const char *what = left > 0 ? argv[optind] : "";
	bool list = !strcmp(what, "list"), create = !strcmp(what, "create"), drop = !strcmp(what, "drop");
	int words = list ? 1 : 2;
	if (!(list || create || drop) || left < words || left > words + 1)
		return cli_usage("snapshot", false);
	if (!cli_find_mount(left > words ? argv[optind + words] : NULL, &mnt, &rel))
		return CLI_ERROR;
	json_t *req = json_pack("{s:s}", "verb", list ? "snapshots" : create ? "snapshot_create" : "snapshot_drop"), *s;
	if (!list && json_object_set_new(req, "name", json_string(argv[optind + 1]))) {
		json_decref(req);
		return cli_err("%s", err_text(-VX_ERR_snapshot_name));
	}
	json_t *a = cli_ask_once(mnt, req);
	size_t i;
	if (!a)
		return CLI_ERROR;
	if (json) {
		char *t = json_dumps(a, JSON_INDENT(1));
		puts(t ? t : "{}");
		mem_free(MEM_cli, t);
	} else if (list) {
		json_array_foreach(json_object_get(a, "snapshots"), i, s) print_row(s);
	} else if (create) {
		print_row(a);
	}
	json_decref(a);
	return CLI_OK;
}
