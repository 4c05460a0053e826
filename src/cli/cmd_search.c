/* cmd_search.c - vexfs search, similar and query: options into one request, its answer onto the terminal.
 *
 * The three differ only in what they search by: words, a file, a vector. The last positional argument may be the mount or a directory
 * in it, which then is the scope.  It may also be a directory that has a store and is not mounted: then the store is read in this process,
 * as it was when it was closed, and paths are those of the directory. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/conf.h"
#include "cli/cli.h"
#include "cli/vecfile.h"

struct ask {
	json_t *req;
	struct cli_out out;
	const char *vector;
	bool strict, raw_json, local;
	const char *self; /* similar: how the file was spelt */
};

enum {
	O_MODE = 256,
	O_EF,
	O_EXACT,
	O_FILTER,
	O_MIN,
	O_WAIT,
	O_STALE,
	O_STRICT,
	O_PAYLOAD,
	O_JSON,
	O_JSONL,
	O_VECTOR,
	O_AT,
	O_COMBINE
};
static const struct option longs[] = {{"k", required_argument, NULL, 'k'}, {"collection", required_argument, NULL, 'c'},
        {"mode", required_argument, NULL, O_MODE}, {"ef", required_argument, NULL, O_EF},
        {"exact", no_argument, NULL, O_EXACT}, {"filter", required_argument, NULL, O_FILTER},
        {"min-score", required_argument, NULL, O_MIN}, {"wait", no_argument, NULL, O_WAIT},
        {"stale", no_argument, NULL, O_STALE}, {"strict", no_argument, NULL, O_STRICT},
        {"payload", no_argument, NULL, O_PAYLOAD}, {"json", no_argument, NULL, O_JSON},
        {"jsonl", no_argument, NULL, O_JSONL}, {"at", required_argument, NULL, O_AT},
        {"combine", required_argument, NULL, O_COMBINE}, {"vector", required_argument, NULL, O_VECTOR},
        {"help", no_argument, NULL, 'h'}, {0}};

static bool set_number(struct ask *a, const char *key, const char *text, const char *what, uint64_t hi)
{
	uint64_t v;
	if (!cli_u64(text, what, 1, hi, &v))
		return false;
	json_object_set_new(a->req, key, json_integer((json_int_t)v));
	return true;
}

/* < 0: go on; else the exit status */
static int options(struct ask *a, const char *name, int argc, char **argv)
{
	double d;
	int o;
	while ((o = getopt_long(argc, argv, "k:c:l0h", longs, NULL)) != -1) {
		switch (o) {
		case 'k':
			if (!set_number(a, "k", optarg, "k", CONF_K_MAX))
				return CLI_ERROR;
			break;
		case O_EF:
			if (!set_number(a, "ef", optarg, "ef", CONF_EF_MAX))
				return CLI_ERROR;
			break;
		case 'c':
			json_object_set_new(a->req, "collection", json_string(optarg));
			break;
		case O_MODE:
			json_object_set_new(a->req, "mode", json_string(optarg));
			break;
		case O_FILTER:
			json_object_set_new(a->req, "filter", json_string(optarg));
			break;
		case O_MIN:
			if (!cli_f64(optarg, "--min-score", &d))
				return CLI_ERROR;
			json_object_set_new(a->req, "min_score", json_real(d));
			break;
		case O_AT:
			json_object_set_new(a->req, "at", json_string(optarg));
			break;
		case O_COMBINE:
			json_object_set_new(a->req, "combine", json_string(optarg));
			break;
		case O_EXACT:
			json_object_set_new(a->req, "exact", json_true());
			break;
		case O_WAIT:
			json_object_set_new(a->req, "wait", json_true());
			break;
		case O_STALE:
			json_object_set_new(a->req, "stale", json_true());
			break;
		case O_PAYLOAD:
			json_object_set_new(a->req, "with_payload", json_true());
			break;
		case O_STRICT:
			a->strict = true;
			break;
		case O_JSON:
			a->out.json = a->raw_json = true;
			break;
		case O_JSONL:
			a->out.jsonl = true;
			break;
		case 'l':
			a->out.names_only = true;
			break;
		case '0':
			a->out.nul = true;
			break;
		case O_VECTOR:
			if (!strcmp(name, "query")) {
				a->vector = optarg;
				break;
			}
			/* fall through */
		default:
			return cli_usage(name, false);
		case 'h':
			return cli_usage(name, true);
		}
	}
	return -1;
}

/* where: NULL, a mount point, or a directory or file in a mount, which becomes the scope */
static bool place(struct ask *a, const char *where, const char **ret_mnt)
{
	const char *rel;
	if (!cli_find_place(where, ret_mnt, &rel, &a->local))
		return false;
	if (where && *rel)
		json_object_set_new(a->req, "scope", json_string(rel));
	/* without an argument in a subdirectory the whole mount is searched; paths are shown from here */
	cli_out_init(&a->out, *ret_mnt, where && !*rel ? where : NULL);
	return true;
}

static int run(struct ask *a, const char *mnt)
{
	struct cli_conn c;
	int status;
	if (a->local && isatty(STDERR_FILENO) == 1)
		cli_note("(%s is not mounted: its store is read as it was left)", mnt);
	if (!(a->local ? cli_conn_open_dir : cli_conn_open)(&c, mnt)) {
		json_decref(a->req);
		return CLI_ERROR;
	}
	json_t *ans = cli_ask(&c, a->req);
	if (!ans) {
		cli_conn_close(&c);
		return CLI_ERROR;
	}
	cli_print_results(&a->out, ans, c.ans);
	status = json_array_size(json_object_get(ans, "results")) ? CLI_OK : CLI_NONE;
	if (a->strict && !json_is_true(json_object_get(ans, "complete")))
		status = CLI_INCOMPLETE;
	json_decref(ans);
	cli_conn_close(&c);
	return status;
}

/* the query's bare words, for highlighting */
static void words_of(struct cli_out *o, const char *text)
{
	const char **w = cli_alloc((strlen(text) / 2 + 1) * sizeof *w);
	for (const char *p = text; *p;) {
		const char *b;
		while (*p && !isalnum((unsigned char)*p) && (unsigned char)*p < 128)
			p++;
		for (b = p; isalnum((unsigned char)*p) || (unsigned char)*p >= 128; p++)
			;
		if (p > b)
			w[o->word_n++] = cli_fmt("%.*s", (int)(p - b), b);
	}
	o->words = w;
}

int cmd_search(int argc, char **argv)
{
	struct ask a = {.req = json_pack("{s:s}", "verb", "search")};
	const char *mnt;
	int rc = options(&a, "search", argc, argv);
	if (rc < 0 && (argc - optind < 1 || argc - optind > 2))
		rc = cli_usage("search", false);
	if (rc < 0 && !place(&a, argc - optind > 1 ? argv[optind + 1] : NULL, &mnt))
		rc = CLI_ERROR;
	if (rc < 0 && json_object_set_new(a.req, "text", json_string(argv[optind])))
		rc = cli_err("the text to search for is not valid UTF-8");
	if (rc >= 0) {
		json_decref(a.req);
		return rc;
	}
	words_of(&a.out, argv[optind]);
	return run(&a, mnt);
}

int cmd_similar(int argc, char **argv)
{
	struct ask a = {.req = json_pack("{s:s}", "verb", "search")};
	const char *mnt, *rel;
	int rc = options(&a, "similar", argc, argv);
	if (rc < 0 && argc - optind != 1)
		rc = cli_usage("similar", false);
	if (rc < 0 && !cli_find_place(argv[optind], &mnt, &rel, &a.local))
		rc = CLI_ERROR;
	if (rc < 0 && !*rel)
		rc = cli_err("similar wants a file in the mount, not the mount itself");
	if (rc < 0 && json_object_set_new(a.req, "like", json_string(rel)))
		rc = cli_err("the file's name is not valid UTF-8 and cannot be sent as JSON; `getfattr -n "
		             "user.vexfs.similar` can ask");
	if (rc >= 0) {
		json_decref(a.req);
		return rc;
	}
	cli_out_init(&a.out, mnt, NULL);
	return run(&a, mnt);
}

/* the JSON request from stdin as it is */
static int raw_request(const char *mnt, bool local)
{
	struct cli_conn c;
	size_t n;
	char *text = cli_read_small("/dev/stdin", CONF_REQUEST_MAX, &n);
	if (!text)
		return cli_err("stdin: %s", strerror(errno));
	if (!(local ? cli_conn_open_dir : cli_conn_open)(&c, mnt))
		return CLI_ERROR;
	int rc = cli_send(&c, text, n);
	if (rc < 0) {
		cli_conn_close(&c);
		return cli_err("the mount did not answer: %s", rc <= -VX_ERR_BASE ? err_text(rc) : strerror(-rc));
	}
	json_t *a = json_loadb(c.ans, c.ans_n, 0, NULL);
	fwrite(c.ans, 1, c.ans_n, stdout);
	if (c.ans_n && c.ans[c.ans_n - 1] != '\n')
		putchar('\n');
	json_t *res = json_object_get(a, "results");
	rc = !a || json_object_get(a, "error")             ? CLI_ERROR
	     : json_is_array(res) && !json_array_size(res) ? CLI_NONE
	                                                   : CLI_OK;
	json_decref(a);
	cli_conn_close(&c);
	return rc;
}

int cmd_query(int argc, char **argv)
{
	struct ask a = {.req = json_pack("{s:s}", "verb", "search")};
	const char *mnt, *why, *rel;
	float *v;
	uint32_t dim;
	int rc = options(&a, "query", argc, argv);
	if (rc < 0 && a.raw_json && !a.vector && argc > optind && !strcmp(argv[optind], "-")) {
		json_decref(a.req);
		const char *where = argc > optind + 1 ? argv[optind + 1] : NULL;
		return cli_find_place(where, &mnt, &rel, &a.local) ? raw_request(mnt, a.local) : CLI_ERROR;
	}
	if (rc < 0 && (!a.vector || argc - optind > 1))
		rc = cli_usage("query", false);
	if (rc < 0 && !place(&a, argc > optind ? argv[optind] : NULL, &mnt))
		rc = CLI_ERROR;
	if (rc < 0 && vecfile_one(a.vector, &v, &dim, &why) < 0)
		rc = cli_err("%s", why);
	if (rc >= 0) {
		json_decref(a.req);
		return rc;
	}
	json_t *arr = json_array();
	for (uint32_t i = 0; i < dim; i++)
		json_array_append_new(arr, json_real((double)v[i]));
	mem_free(MEM_cli, v);
	if (json_array_size(arr) != dim) {
		json_decref(arr);
		json_decref(a.req);
		return cli_err("%s: %s", a.vector, err_text(-VX_ERR_not_finite));
	}
	json_object_set_new(a.req, "vector", arr);
	return run(&a, mnt);
}
