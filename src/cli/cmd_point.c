/* cmd_point.c - vexfs set, get and rm: one file's vector and payload.
 *
 * set goes as one binary request, so vector and payload are taken together or not at all and no size limit of xattrs applies. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/sbuf.h"
#include "cli/binreq.h"
#include "cli/cli.h"
#include "cli/vecfile.h"

/* the file's mount and its path in it; false after printing */
static bool file_of(const char *file, const char **ret_mnt, const char **ret_rel)
{
	if (!cli_find_mount(file, ret_mnt, ret_rel))
		return false;
	if (**ret_rel)
		return true;
	cli_err("%s is the mount itself; name a file in it", file);
	return false;
}

int cmd_set(int argc, char **argv)
{
	static const struct option longs[] = {{"vector", required_argument, NULL, 'v'},
	        {"payload", required_argument, NULL, 'p'}, {"collection", required_argument, NULL, 'c'},
	        {"durable", no_argument, NULL, 'd'}, {"help", no_argument, NULL, 'h'}, {0}};
	const char *vector = NULL, *payload = NULL, *coll = "default", *mnt, *rel, *why;
	bool durable = false;
	float *v = NULL;
	uint32_t dim = 0;
	int o;
	while ((o = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		switch (o) {
		case 'v':
			vector = optarg;
			break;
		case 'p':
			payload = optarg;
			break;
		case 'c':
			coll = optarg;
			break;
		case 'd':
			durable = true;
			break;
		case 'h':
			return cli_usage("set", true);
		default:
			return cli_usage("set", false);
		}
	}
	if (argc - optind != 1 || (!vector && !payload))
		return cli_usage("set", false);
	if (strlen(coll) > CONF_COLLECTION_NAME_MAX || !*coll)
		return cli_err("%s", err_text(-VX_ERR_collection_name));
	if (!file_of(argv[optind], &mnt, &rel))
		return CLI_ERROR;
	if (!vector) { /* payload alone; an empty one removes */
		json_t *req = json_pack("{s:s, s:s}", "verb", "payload", "path", rel);
		json_t *p = *payload ? json_loads(payload, 0, NULL) : json_null();
		if (!req || !p) {
			json_decref(req);
			return cli_err("%s", err_text(req ? -VX_ERR_payload_syntax : -EILSEQ));
		}
		json_object_set_new(req, "payload", p);
		if (durable)
			json_object_set_new(req, "wait", json_string("durable"));
		json_t *a = cli_ask_once(mnt, req);
		json_decref(a);
		return a ? CLI_OK : CLI_ERROR;
	}
	if (vecfile_one(vector, &v, &dim, &why) < 0)
		return cli_err("%s", why);
	struct cli_conn c;
	struct binreq_batch b;
	bool ok = cli_conn_open(&c, mnt);
	if (ok) {
		binreq_batch_init(&b, coll);
		ok = binreq_batch_add(&b, rel, 0, v, dim, payload) == 0 && binreq_batch_send(&b, &c, durable);
		binreq_batch_done(&b);
		cli_conn_close(&c);
	}
	mem_free(MEM_cli, v);
	return ok ? CLI_OK : CLI_ERROR;
}

static int print_vector(json_t *vec, const char *format)
{
	char h[128];
	size_t n = json_array_size(vec), i;
	json_t *x;
	if (!strcmp(format, "json")) {
		char *t = json_dumps(vec, JSON_COMPACT | JSON_REAL_PRECISION(9));
		puts(t ? t : "[]");
		mem_free(MEM_cli, t);
		return CLI_OK;
	}
	if (!strcmp(format, "npy")) {
		vecfile_npy_header(h, "<f4", n, 0);
		fwrite(h, 1, sizeof h, stdout);
	}
	json_array_foreach(vec, i, x)
	{
		float f = (float)json_number_value(x);
		uint32_t u;
		uint8_t b[4];
		memcpy(&u, &f, 4);
		le32_put(b, u);
		fwrite(b, 1, 4, stdout);
	}
	return ferror(stdout) ? cli_err("the output could not be written") : CLI_OK;
}

int cmd_get(int argc, char **argv)
{
	static const struct option longs[] = {{"format", required_argument, NULL, 'f'},
	        {"payload", no_argument, NULL, 'p'}, {"collection", required_argument, NULL, 'c'},
	        {"help", no_argument, NULL, 'h'}, {0}};
	const char *format = isatty(STDOUT_FILENO) == 1 ? "json" : NULL, *coll = "default", *mnt, *rel;
	bool payload = false;
	int o;
	while ((o = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		switch (o) {
		case 'f':
			format = optarg;
			break;
		case 'p':
			payload = true;
			break;
		case 'c':
			coll = optarg;
			break;
		case 'h':
			return cli_usage("get", true);
		default:
			return cli_usage("get", false);
		}
	}
	if (argc - optind != 1)
		return cli_usage("get", false);
	if (!format)
		format = "json";
	if (strcmp(format, "json") && strcmp(format, "f32") && strcmp(format, "npy"))
		return cli_err("--format is npy, f32 or json, not \"%s\"", format);
	if (!file_of(argv[optind], &mnt, &rel))
		return CLI_ERROR;
	json_t *req = json_pack("{s:s, s:s, s:s}", "verb", "get", "path", rel, "collection", coll);
	if (!req)
		return cli_err("the file's name is not valid UTF-8; `getfattr -n user.vexfs.vector` can ask");
	json_t *a = cli_ask_once(mnt, req);
	if (!a)
		return CLI_ERROR;
	int rc;
	if (payload) {
		json_t *p = json_object_get(a, "payload");
		char *t = json_is_object(p) ? json_dumps(p, JSON_COMPACT) : NULL;
		if (t)
			puts(t);
		mem_free(MEM_cli, t);
		rc = t ? CLI_OK : cli_err("%s has no payload", argv[optind]);
	} else {
		json_t *v = json_object_get(a, "vector");
		rc = json_is_array(v) ? print_vector(v, format) : cli_err("%s", err_text(-VX_ERR_no_vector));
	}
	json_decref(a);
	return rc;
}

static bool del(struct cli_conn *c, const char *rel, const char *coll)
{
	json_t *req = json_pack("{s:s, s:s, s:s}", "verb", "del", "path", rel, "collection", coll);
	json_t *a = req ? cli_ask(c, req) : NULL;
	json_decref(a);
	return a != NULL;
}

/* every collection that holds one of this file's vectors, and the payload */
static int rm_all(struct cli_conn *c, const char *rel)
{
	json_t *list = cli_ask(c, json_pack("{s:s}", "verb", "collections")), *x;
	size_t i;
	bool ok = list != NULL;
	json_array_foreach(json_object_get(list, "collections"), i, x)
	{
		const char *name = json_string_value(json_object_get(x, "name"));
		if (!name || !strcmp(name, "text"))
			continue;
		json_t *g = json_pack(
		        "{s:s, s:s, s:s, s:b}", "verb", "get", "path", rel, "collection", name, "with_vectors", 0);
		char *t = g ? json_dumps(g, JSON_COMPACT) : NULL;
		json_decref(g);
		if (!t || cli_send(c, t, strlen(t)) < 0) {
			mem_free(MEM_cli, t);
			ok = false;
			break;
		}
		mem_free(MEM_cli, t);
		json_t *a = json_loadb(c->ans, c->ans_n, 0, NULL);
		bool has = a && !json_object_get(a, "error");
		json_decref(a);
		if (has)
			ok &= del(c, rel, name);
	}
	json_decref(list);
	json_t *a = ok ? cli_ask(c, json_pack("{s:s, s:s, s:n}", "verb", "payload", "path", rel, "payload")) : NULL;
	json_decref(a);
	return ok && a ? CLI_OK : CLI_ERROR;
}

int cmd_rm(int argc, char **argv)
{
	static const struct option longs[] = {{"collection", required_argument, NULL, 'c'},
	        {"all", no_argument, NULL, 'a'}, {"help", no_argument, NULL, 'h'}, {0}};
	const char *coll = "default", *mnt, *rel;
	bool all = false;
	int o;
	while ((o = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		switch (o) {
		case 'c':
			coll = optarg;
			break;
		case 'a':
			all = true;
			break;
		case 'h':
			return cli_usage("rm", true);
		default:
			return cli_usage("rm", false);
		}
	}
	if (argc - optind != 1)
		return cli_usage("rm", false);
	struct cli_conn c;
	if (!file_of(argv[optind], &mnt, &rel) || !cli_conn_open(&c, mnt))
		return CLI_ERROR;
	int rc = all ? rm_all(&c, rel) : del(&c, rel, coll) ? CLI_OK : CLI_ERROR;
	cli_conn_close(&c);
	return rc;
}
