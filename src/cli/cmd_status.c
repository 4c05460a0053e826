/* cmd_status.c - vexfs status: the mount's JSON, or the same as a page for people. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "cli/cli.h"

static json_int_t num(json_t *o, const char *k)
{
	return json_integer_value(json_object_get(o, k));
}
static const char *str(json_t *o, const char *k, const char *dflt)
{
	const char *s = json_string_value(json_object_get(o, k));
	return s ? s : dflt;
}

static void components(json_t *j)
{
	json_t *c = json_object_get(j, "components"), *v;
	const char *k;
	size_t i;
	if (json_is_object(c)) {
		json_object_foreach(c, k, v)
		{
			const char *st = json_is_string(v) ? json_string_value(v) : str(v, "state", "?");
			const char *why = json_is_object(v) ? str(v, "reason", "") : "";
			printf("  %-10s %s%s%s\n", k, st, *why ? ": " : "", why);
		}
	}
	json_array_foreach(c, i, v) printf("  %-10s %s%s%s\n", str(v, "name", "?"), str(v, "state", "?"),
	        *str(v, "reason", "") ? ": " : "", str(v, "reason", ""));
}

/* names may hold any byte */
static void errors(json_t *of, const char *what)
{
	json_t *v;
	size_t i;
	json_array_foreach(json_object_get(of, "errors"), i, v)
	{
		fputs(what, stdout);
		cli_print_safe(str(v, "path", "?"), false);
		printf(": %s\n", str(v, "reason", ""));
	}
}
static void people(json_t *j)
{
	json_t *v;
	size_t i;
	printf("%s served at %s by process %lld, vexfs %s\n", str(j, "dir", "?"), str(j, "mount", "?"),
	        (long long)num(j, "pid"), str(j, "version", "?"));
	const char *why = str(j, "transport_why", "");
	printf("  %-10s %s%s%s%s\n", "transport", str(j, "transport", "?"), *why ? " (" : "", why, *why ? ")" : "");
	printf("  %-10s %s\n", "watch", str(j, "watch", "none"));
	components(j);
	printf("  generation %lld, pending %lld, %s\n", (long long)num(j, "generation"), (long long)num(j, "pending"),
	        json_is_true(json_object_get(j, "complete")) ? "complete" : "not complete");
	if (*str(j, "read_only_reason", ""))
		printf("  writing    no: %s\n", str(j, "read_only_reason", ""));
	json_t *colls = json_object_get(j, "collections");
	if (json_array_size(colls))
		printf("  collections:\n");
	json_array_foreach(colls, i, v)
	{
		const char *metric = str(v, "metric", ""), *dtype = str(v, "dtype", "");
		printf("    %-20s %8lld points  dim %-5lld %s%s%s%sindex %s\n", str(v, "name", "?"),
		        (long long)num(v, "points"), (long long)num(v, "dim"), metric, *metric ? " " : "", dtype,
		        *dtype ? " " : "", str(v, "index", "?"));
	}
	json_t *in = json_object_get(j, "ingest"), *mem = json_object_get(j, "memory");
	json_t *emb = json_object_get(j, "embedding");
	if (in)
		printf("  text       %lld queued, %lld done, %lld failed\n", (long long)num(in, "queued"),
		        (long long)num(in, "done"), (long long)num(in, "failed"));
	errors(in, "    no text: ");
	errors(emb, "    no vector: ");
	if (*str(j, "listen", ""))
		printf("  listening  %s\n", str(j, "listen", ""));
	if (mem)
		printf("  memory     %s resident, %s virtual\n", cli_bytes_text((uint64_t)num(mem, "rss")),
		        cli_bytes_text((uint64_t)num(mem, "vsz")));
}

int cmd_status(int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	bool json = false;
	int o;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (o == 'h')
			return cli_usage("status", true);
		if (o != 'j')
			return cli_usage("status", false);
		json = true;
	}
	if (argc - optind > 1)
		return cli_usage("status", false);
	const char *mnt, *rel;
	size_t n;
	if (!cli_find_mount(argc > optind ? argv[optind] : NULL, &mnt, &rel))
		return CLI_ERROR;
	char *text = cli_read_small(cli_fmt("%s/.vexfs/status", mnt), 64u << 20, &n);
	if (!text)
		return cli_err("%s/.vexfs/status: %s", mnt, strerror(errno));
	json_error_t je;
	json_t *j = json_loadb(text, n, 0, &je);
	if (!j)
		return cli_err("the status of %s is not JSON: %s", mnt, je.text);
	if (json)
		printf("%s%s", text, n && text[n - 1] == '\n' ? "" : "\n");
	else
		people(j);
	json_decref(j);
	return CLI_OK;
}
