/* cmd_import.c - vexfs import: many vectors into a collection, in bounded memory, as binary batches.
 *
 * A file that can be checked whole before the first row (.npy, .fvecs and kin) is; nothing of a broken one is stored.  A .jsonl is
 * checked line by line: what came before a bad line is in, and the sentence says how much.  The last batch asks for durability, which
 * covers all before it. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "base/conf.h"
#include "cli/binreq.h"
#include "cli/cli.h"
#include "cli/vecfile.h"

#define BATCH_BYTES (16u << 20) /* a request is cut here even when it has fewer points */

struct import {
	const char *file, *coll, *metric, *mnt;
	uint64_t first_id, batch;
};

/* the collection, made if it is not there; its dim must fit when it is bound */
static bool ready_collection(struct cli_conn *c, const struct import *im, uint32_t dim)
{
	json_t *list = cli_ask(c, json_pack("{s:s}", "verb", "collections")), *x;
	bool found = false;
	size_t i;
	if (!list)
		return false;
	json_array_foreach(json_object_get(list, "collections"), i, x)
	{
		const char *name = json_string_value(json_object_get(x, "name"));
		json_int_t have = json_integer_value(json_object_get(x, "dim"));
		if (!name || strcmp(name, im->coll))
			continue;
		found = true;
		if (have && dim && have != dim) {
			cli_err("%s holds vectors of %u dimensions, the collection %s of %lld", im->file, dim, im->coll,
			        (long long)have);
			json_decref(list);
			return false;
		}
	}
	json_decref(list);
	if (found)
		return true;
	json_t *req = json_pack("{s:s, s:s, s:s}", "verb", "collection_create", "name", im->coll, "metric",
	        im->metric ? im->metric : "cosine");
	if (!req) {
		cli_err("%s", err_text(-VX_ERR_collection_name));
		return false;
	}
	if (dim)
		json_object_set_new(req, "dim", json_integer(dim));
	json_t *a = cli_ask(c, req);
	json_decref(a);
	return a != NULL;
}

static int send_batch(struct binreq_batch *b, struct cli_conn *c, bool last, uint64_t first_row, uint64_t *stored)
{
	uint32_t n = b->n;
	if (binreq_batch_send(b, c, last)) {
		*stored += n;
		return CLI_OK;
	}
	cli_note("       in rows %llu to %llu", (unsigned long long)first_row, (unsigned long long)(first_row + n - 1));
	return CLI_ERROR;
}

static int copy_rows(const struct import *im, struct vecfile *f, struct cli_conn *c)
{
	struct binreq_batch b;
	struct vecfile_row r = {0};
	struct cli_progress p;
	const char *why = "";
	uint64_t stored = 0, first_row = 0;
	int more, rc = CLI_OK;

	binreq_batch_init(&b, im->coll);
	cli_progress_begin(&p, "import", vecfile_total(f));
	while ((more = vecfile_next(f, &r, &why)) > 0) {
		if (!b.n)
			first_row = r.n;
		int e = binreq_batch_add(&b, r.path, r.has_id ? r.id : im->first_id + r.n, r.v, r.dim, r.payload);
		if (e < 0) {
			rc = cli_err(
			        "row %llu: %s", (unsigned long long)r.n, e == -ENOMEM ? "out of memory" : err_text(e));
			break;
		}
		if (b.n >= im->batch || binreq_batch_bytes(&b) >= BATCH_BYTES) {
			rc = send_batch(&b, c, false, first_row, &stored);
			if (rc)
				break;
		}
		cli_progress_at(&p, vecfile_done(f), 0);
	}
	if (more < 0) {
		cli_progress_end(&p);
		rc = cli_err("%s", why);
	}
	if (more <= 0 && (!rc || more < 0)) { /* what was read well is kept, also before a bad line */
		int r2 = send_batch(&b, c, true, first_row, &stored);
		rc = rc ? rc : r2;
	}
	cli_progress_end(&p);
	binreq_batch_done(&b);
	if (!rc && stored) { /* when the rows are a multiple of the batch no last one was left to carry the flag */
		json_t *a = cli_ask(c, json_pack("{s:s, s:b}", "verb", "wait", "durable", 1));
		json_decref(a);
		rc = a ? CLI_OK : CLI_ERROR;
	}
	cli_note(rc ? "%llu vectors were stored in %s before the error" : "%llu vectors imported into %s",
	        (unsigned long long)stored, im->coll);
	return rc;
}

int cmd_import(int argc, char **argv)
{
	static const struct option longs[] = {{"into", required_argument, NULL, 'i'},
	        {"metric", required_argument, NULL, 'm'}, {"first-id", required_argument, NULL, 'n'},
	        {"batch", required_argument, NULL, 'b'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct import im = {.batch = 1000};
	struct vecfile *f;
	struct vecfile_row probe;
	struct cli_conn c;
	const char *rel, *why;
	int o;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (o) {
		case 'i':
			im.coll = optarg;
			break;
		case 'm':
			im.metric = optarg;
			break;
		case 'n':
			if (!cli_u64(optarg, "--first-id", 0, UINT64_MAX, &im.first_id))
				return CLI_ERROR;
			break;
		case 'b':
			if (!cli_u64(optarg, "--batch", 1, CONF_BATCH_MAX, &im.batch))
				return CLI_ERROR;
			break;
		case 'h':
			return cli_usage("import", true);
		default:
			return cli_usage("import", false);
		}
	}
	if (argc - optind < 1 || argc - optind > 2 || !im.coll)
		return cli_usage("import", false);
	if (strlen(im.coll) > CONF_COLLECTION_NAME_MAX || !*im.coll)
		return cli_err("%s", err_text(-VX_ERR_collection_name));
	im.file = argv[optind];
	if (vecfile_open(im.file, &f, &why) < 0)
		return cli_err("%s", why);
	if (!cli_find_mount(argc - optind > 1 ? argv[optind + 1] : NULL, &im.mnt, &rel) || !cli_conn_open(&c, im.mnt)) {
		vecfile_close(f);
		return CLI_ERROR;
	}
	/* the dimension is known only from a row: read the first of a second handle */
	struct vecfile *first;
	uint32_t dim = 0;
	int got = vecfile_open(im.file, &first, &why);
	if (got == 0) {
		got = vecfile_next(first, &probe, &why);
		dim = got > 0 ? probe.dim : 0;
		vecfile_close(first);
	}
	int rc = got < 0 ? cli_err("%s", why) : !ready_collection(&c, &im, dim) ? CLI_ERROR : copy_rows(&im, f, &c);
	cli_conn_close(&c);
	vecfile_close(f);
	return rc;
}
