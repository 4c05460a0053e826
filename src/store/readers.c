/* readers.c - two threads that only read, each on its own connection, so that neither a commit nor a slow query stops anybody else.
 *
 * Every request has a deadline (CONF_READ_DEADLINE_MS of running) and may be cancelled: SQLite calls back each thousand steps of its
 * machine.  Statements are reset after each request, or the log could not be checkpointed past the snapshot they hold. */
#include <string.h>
#include "base/perf.h"
#include "store/store_int.h"

static int progress(void *u)
{
	struct reader *r = u;
	const struct store_read *rd = r->cur;
	return rd && ((rd->cancel && atomic_load(rd->cancel)) || os_mono_ns(r->st->os) > r->deadline_ns);
}

static int copy_out(struct store_read *rd, const void *p, uint32_t n)
{
	rd->data = arena_strndup(rd->arena, n ? p : "", n);
	rd->data_n = n;
	return rd->data ? 0 : -VX_ERR_arena_full;
}

static int read_payload(struct catalog *c, struct store_read *rd)
{
	sqlite3_stmt *s;
	const void *p;
	uint32_t n;
	VX_TRY(cat_pay_get(c, rd->is_free_point ? rd->cid : 0, rd->is_free_point ? rd->free_id : rd->oid, &s, &p, &n));
	int rc = copy_out(rd, p, n);
	sqlite3_reset(s);
	return rc;
}

static int read_chunk(struct catalog *c, struct store_read *rd)
{
	sqlite3_stmt *s;
	struct chunk_rec k;
	struct store_fts_hit *h = arena_alloc(rd->arena, sizeof *h);
	if (!h)
		return -VX_ERR_arena_full;
	VX_TRY(cat_chunk_get(c, rd->oid, rd->ord, &s, &k));
	*h = (struct store_fts_hit){.oid = k.oid,
	        .ord = k.c.ord,
	        .byte0 = k.c.byte0,
	        .byte1 = k.c.byte1,
	        .line0 = k.c.line0,
	        .line1 = k.c.line1,
	        .snippet = arena_strndup(rd->arena, k.c.text ? k.c.text : "", k.c.text_n)};
	sqlite3_reset(s);
	if (!h->snippet)
		return -VX_ERR_arena_full;
	rd->hits = h;
	rd->hit_n = 1;
	return 0;
}

static int read_one(struct reader *r, struct store_read *rd)
{
	int rc = -VX_ERR_bad_value;
	switch (rd->kind) {
	case SRD_fts:
		return fts_search(&r->cat, rd);
	case SRD_payload:
		return read_payload(&r->cat, rd);
	case SRD_chunk:
		return read_chunk(&r->cat, rd);
	case SRD_free_ids:
		rc = cat_vec_of_free(&r->cat, rd->cid, rd->free_id, &rd->ret_row);
		return rc == -ENOENT ? 0 : rc;
	case SRD_chunks:
	case SRD_chunk_list:
		return chunk_vec_read(&r->cat, rd);
	case SRD_chunk_count:
		return chunk_vec_count(&r->cat, rd);
	case SRD_files:
		return fts_files(&r->cat, rd);
	case SRD_filter:
		return filter_search(&r->cat, rd);
	}
	return rc;
}

void reader_main(void *arg)
{
	struct reader *r = arg;
	struct wq_item *it;
	sqlite3_progress_handler(r->cat.db, 1000, progress, r);
	while (wq_pop(&r->st->reads, WQ_FOREVER, &it) > 0) {
		struct store_read *rd = WQ_OF(it, struct store_read, item);
		uint64_t t0 = os_mono_ns(r->st->os);
		r->deadline_ns = t0 + CONF_READ_DEADLINE_MS * 1000000ull;
		r->cur = rd;
		int rc = rd->cancel && atomic_load(rd->cancel) ? -VX_ERR_cancelled : 0;
		if (!rc)
			rc = atomic_load(&r->st->shm_bad) ? -VX_ERR_store_failed : read_one(r, rd);
		if (atomic_load(&r->st->shm_bad)) { /* lost on the way: what was read may be a mix of two commits */
			rc = -VX_ERR_store_failed;
			rd->hit_n = rd->data_n = 0;
			rd->ret_row = UINT32_MAX;
		}
		if (rc == -VX_ERR_cancelled && !(rd->cancel && atomic_load(rd->cancel)))
			rc = -VX_ERR_deadline;
		if (rc == -EBADMSG)
			rc = -VX_ERR_store_corrupt;
		r->cur = NULL;
		if (rd->kind == SRD_fts)
			perf_op(PERF_store_fts, os_mono_ns(r->st->os) - t0, 0);
		rd->rc = rc;
		rd->done(rd);
	}
}
