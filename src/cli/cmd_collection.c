/* cmd_collection.c - vexfs collection create|drop|list|info. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "base/conf.h"
#include "cli/cli.h"

static const char *str(json_t *o, const char *k)
{
	const char *s = json_string_value(json_object_get(o, k));
	return s ? s : "?";
}

static void print_row(json_t *c)
{
	printf("%-24s %10lld points  dim %-6lld %-8s %-6s index %s\n", str(c, "name"),
	        (long long)json_integer_value(json_object_get(c, "points")),
	        (long long)json_integer_value(json_object_get(c, "dim")), str(c, "metric"), str(c, "dtype"),
	        str(c, "index"));
}

static void print_json(json_t *j)
{
	char *t = json_dumps(j, JSON_INDENT(1));
	puts(t ? t : "{}");
	mem_free(MEM_cli, t);
}

static void print_info(json_t *c)
{
	const char *k;
	json_t *v;
	json_object_foreach(c, k, v)
	{
		if (json_is_string(v))
			printf("%-16s %s\n", k, json_string_value(v));
		else if (json_is_real(v))
			printf("%-16s %.4f\n", k, json_real_value(v));
		else if (json_is_integer(v))
			printf(!strcmp(k, "mode") ? "%-16s %04llo\n" : "%-16s %lld\n", k,
			        (long long)json_integer_value(v));
	}
}

int cmd_collection(int argc, char **argv)
{
	static const struct option longs[] = {{"dim", required_argument, NULL, 'd'},
	        {"metric", required_argument, NULL, 'm'}, {"target-recall", required_argument, NULL, 'r'},
	        {"dtype", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'},
	        {"help", no_argument, NULL, 'h'}, {0}};
	json_t *req = json_object();
	const char *mnt, *rel;
	uint64_t dim;
	double recall;
	bool json = false;
	int o, bad = -1;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1 && bad < 0) {
		switch (o) {
		case 'd':
			if (cli_u64(optarg, "--dim", 1, CONF_DIM_MAX, &dim))
				json_object_set_new(req, "dim", json_integer((json_int_t)dim));
			else
				bad = CLI_ERROR;
			break;
		case 'm':
			json_object_set_new(req, "metric", json_string(optarg));
			break;
		case 'r':
			if (cli_f64(optarg, "--target-recall", &recall))
				json_object_set_new(req, "target_recall", json_real(recall));
			else
				bad = CLI_ERROR;
			break;
		case 't':
			json_object_set_new(req, "dtype", json_string(optarg));
			break;
		case 'j':
			json = true;
			break;
		default:
			bad = cli_usage("collection", o == 'h');
		}
	}
	int left = argc - optind;
	const char *what = left > 0 ? argv[optind] : "";
	bool list = !strcmp(what, "list"), create = !strcmp(what, "create"), drop = !strcmp(what, "drop"),
	     info = !strcmp(what, "info");
	int names = list ? 1 : 2;
	if (bad < 0 && (!(list || create || drop || info) || left < names || left > names + 1))
		bad = cli_usage("collection", false);
	if (bad < 0 && !cli_find_mount(left > names ? argv[optind + names] : NULL, &mnt, &rel))
		bad = CLI_ERROR;
	if (bad >= 0) {
		json_decref(req);
		return bad;
	}
	json_object_set_new(req, "verb",
	        json_string(list     ? "collections"
	                    : create ? "collection_create"
	                    : drop   ? "collection_drop"
	                             : "collection_info"));
	if (!list && json_object_set_new(req, "name", json_string(argv[optind + 1]))) {
		json_decref(req);
		return cli_err("%s", err_text(-VX_ERR_collection_name));
	}
	json_t *a = cli_ask_once(mnt, req), *c;
	size_t i;
	if (!a)
		return CLI_ERROR;
	if (json && (list || info)) {
		print_json(a);
	} else if (list) {
		json_array_foreach(json_object_get(a, "collections"), i, c) print_row(c);
	} else if (info) {
		json_t *one = json_object_get(a, "collection");
		if (!json_is_object(one))
			one = json_array_get(json_object_get(a, "collections"), 0);
		print_info(json_is_object(one) ? one : a);
	}
	json_decref(a);
	return CLI_OK;
}
