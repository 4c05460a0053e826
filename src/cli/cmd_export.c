/* cmd_export.c - vexfs export: a collection's vectors into a file, page by page, in bounded memory. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/sbuf.h"
#include "cli/binreq.h"
#include "cli/cli.h"
#include "cli/vecfile.h"

#define PAGE_BYTES (8u << 20) /* aim for an answer */

struct export
{
	const char *coll, *path, *ids_path;
	struct cli_conn c;
	struct vecfile_out *out;
	FILE *ids;
	uint32_t dim;
	uint64_t rows, cursor;
};

static bool in_answer(const struct cli_conn *c, uint32_t off, uint32_t n)
{
	return (uint64_t)off + n <= c->ans_n;
}

/* one page: > 0 more may come, 0 the end, < 0 an error that has been told */
static int page(struct export *x, struct cli_progress *p)
{
	struct vexfs_export q = {.hdr = {.magic = VEXFS_MAGIC,
	                                 .version = VEXFS_VERSION,
	                                 .op = VEXFS_OP_EXPORT,
	                                 .size = sizeof q,
	                                 .flags = VEXFS_F_WITH_PAYLOAD},
	                            .cursor = x->cursor},
	                    a;
	uint32_t per = x->dim ? PAGE_BYTES / (x->dim * 4 + 64) : 1000;
	const char *why;
	q.point_max = per < 1 ? 1 : per > CONF_BATCH_MAX ? CONF_BATCH_MAX : per;
	snprintf(q.collection, sizeof q.collection, "%s", x->coll);
	int rc = cli_send(&x->c, &q, sizeof q);
	if (rc < 0) {
		cli_err("the mount did not answer: %s", rc <= -VX_ERR_BASE ? err_text(rc) : strerror(-rc));
		return rc;
	}
	if (binreq_failed(&x->c, VEXFS_OP_EXPORT, sizeof a, false))
		return -EIO;
	memcpy(&a, x->c.ans, sizeof a);
	if (!a.point_n)
		return 0;
	if (!x->out && vecfile_create(x->path, x->dim = a.dim, &x->out, &why) < 0) {
		cli_err("%s", why);
		return -EIO;
	}
	for (uint32_t i = 0; i < a.point_n; i++) {
		struct vexfs_batch_point pt;
		size_t at = a.point_off + (size_t)i * sizeof pt;
		if (at + sizeof pt > x->c.ans_n)
			return cli_err("the mount's answer is too short"), -EIO;
		memcpy(&pt, x->c.ans + at, sizeof pt);
		if (!in_answer(&x->c, pt.vector_off, pt.vector_bytes) ||
		        !in_answer(&x->c, pt.path_off, pt.path_bytes) ||
		        !in_answer(&x->c, pt.payload_off, pt.payload_bytes) || pt.vector_bytes != x->dim * 4 ||
		        pt.vector_off % 4)
			return cli_err("the mount's answer does not hold what it announces"), -EIO;
		struct vecfile_row r = {.n = x->rows,
		        .dim = x->dim,
		        .id = pt.id,
		        .v = (const float *)(const void *)(x->c.ans + pt.vector_off)};
		if (pt.path_bytes)
			r.path = cli_fmt("%.*s", (int)pt.path_bytes, x->c.ans + pt.path_off);
		if (pt.payload_bytes)
			r.payload = cli_fmt("%.*s", (int)pt.payload_bytes, x->c.ans + pt.payload_off);
		uint8_t id[8];
		le64_put(id, pt.id);
		if (x->ids)
			fwrite(id, 1, 8, x->ids);
		rc = vecfile_put(x->out, &r);
		if (rc < 0 || (x->ids && ferror(x->ids)))
			return cli_err("%s cannot be written: %s", x->path, rc < 0 ? strerror(-rc) : strerror(errno)),
			       -EIO;
		x->rows++;
	}
	cli_progress_at(p, x->rows, 0);
	x->cursor = a.cursor;
	return 1;
}

static int run(struct export *x)
{
	struct cli_progress p;
	json_t *info = cli_ask(&x->c, json_pack("{s:s, s:s}", "verb", "collection_info", "name", x->coll));
	char h[128];
	const char *why;
	if (!info)
		return CLI_ERROR;
	json_t *ci = json_object_get(info, "collection");
	uint64_t total = (uint64_t)json_integer_value(json_object_get(json_is_object(ci) ? ci : info, "points"));
	json_decref(info);
	if (x->ids_path) {
		x->ids = fopen(x->ids_path, "we");
		vecfile_npy_header(h, "<u8", 0, 0);
		if (!x->ids || fwrite(h, 1, sizeof h, x->ids) != sizeof h)
			return cli_err("%s: %s", x->ids_path, strerror(errno));
	}
	cli_progress_begin(&p, "export", total);
	int rc;
	do { /* a page's names are dropped with the page */
		rc = page(x, &p);
	} while (rc > 0);
	cli_progress_end(&p);
	if (!rc && !x->out && vecfile_create(x->path, 0, &x->out, &why) < 0)
		rc = (cli_err("%s", why), -EIO);
	if (x->out) {
		int e = vecfile_finish(x->out, rc == 0);
		if (e < 0 && !rc)
			rc = (cli_err("%s cannot be written: %s", x->path, strerror(-e)), e);
	}
	if (x->ids) {
		vecfile_npy_header(h, "<u8", x->rows, 0);
		bool bad = fseek(x->ids, 0, SEEK_SET) || fwrite(h, 1, sizeof h, x->ids) != sizeof h;
		if ((fclose(x->ids) || bad) && !rc)
			rc = (cli_err("%s cannot be written", x->ids_path), -EIO);
	}
	if (rc < 0)
		return CLI_ERROR;
	cli_note("%llu vectors of %s written to %s", (unsigned long long)x->rows, x->coll, x->path);
	return CLI_OK;
}

int cmd_export(int argc, char **argv)
{
	static const struct option longs[] = {
	        {"ids", required_argument, NULL, 'i'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct export x = {0};
	const char *mnt, *rel;
	int o;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (o == 'h')
			return cli_usage("export", true);
		if (o != 'i')
			return cli_usage("export", false);
		x.ids_path = optarg;
	}
	if (argc - optind < 2 || argc - optind > 3)
		return cli_usage("export", false);
	x.coll = argv[optind];
	x.path = argv[optind + 1];
	if (strlen(x.coll) > CONF_COLLECTION_NAME_MAX || !*x.coll)
		return cli_err("%s", err_text(-VX_ERR_collection_name));
	if (!cli_find_mount(argc - optind > 2 ? argv[optind + 2] : NULL, &mnt, &rel) || !cli_conn_open(&x.c, mnt))
		return CLI_ERROR;
	int rc = run(&x);
	cli_conn_close(&x.c);
	return rc;
}
