/* chunk_vec.c - which vectors are those of a file's chunks: table emb, one row a file and model.
 *
 * A chunk's vector is a row of the model's collection, owned by the file's object, with the hash of the chunk's text in its stamp.  emb
 * says of one version of a file's text which row belongs to each chunk, in order; a hole stands for a vector that is still to be
 * made.  It is derived: without it, or with one of another version, the engine finds the rows again by their hashes and embeds
 * nothing twice.  The row of emb and the death of vectors that no chunk has any more are one change, in one commit. */
#include <string.h>
#include "base/sbuf.h"
#include "store/store_int.h"

static uint32_t emb_crc(uint32_t cid, uint64_t oid, uint64_t ver, const void *p, size_t n)
{
	uint8_t b[32];
	le64_put(b, cid);
	le64_put(b + 8, oid);
	le64_put(b + 16, ver);
	le64_put(b + 24, n);
	uint32_t crc = crc32c(0, b, sizeof b);
	return n ? crc32c(crc, p, n) : crc;
}

int cat_row_emb(
        sqlite3_stmt *s, uint32_t *ret_cid, uint64_t *ret_oid, uint64_t *ret_ver, const void **ret, uint32_t *ret_n)
{
	uint64_t cid = (uint64_t)sqlite3_column_int64(s, 0);
	const void *p = sqlite3_column_blob(s, 3);
	int n = sqlite3_column_bytes(s, 3);
	if (cid > INT32_MAX || n < 0 || n % 4 || (n && !p))
		return -EBADMSG;
	*ret_cid = (uint32_t)cid;
	*ret_oid = (uint64_t)sqlite3_column_int64(s, 1);
	*ret_ver = (uint64_t)sqlite3_column_int64(s, 2);
	*ret = p;
	*ret_n = (uint32_t)n;
	uint32_t crc = emb_crc(*ret_cid, *ret_oid, *ret_ver, p, (size_t)n);
	return (uint64_t)sqlite3_column_int64(s, 4) == crc ? 0 : -EBADMSG;
}

static int run(struct catalog *c, sqlite3_stmt *s)
{
	int q = sqlite3_step(s);
	int rc = q == SQLITE_DONE || q == SQLITE_ROW ? 0 : cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_reset(s);
	return rc;
}

int cat_emb_put(struct catalog *c, uint32_t cid, uint64_t oid, uint64_t ver, const void *rows, uint32_t n)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_emb_put, &s));
	sqlite3_bind_int64(s, 1, cid);
	sqlite3_bind_int64(s, 2, (int64_t)oid);
	sqlite3_bind_int64(s, 3, (int64_t)ver);
	sqlite3_bind_blob(s, 4, n ? rows : "", (int)n, SQLITE_STATIC);
	sqlite3_bind_int64(s, 5, emb_crc(cid, oid, ver, rows, n));
	return run(c, s);
}

int cat_emb_del(struct catalog *c, uint32_t cid, uint64_t oid)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, !oid ? CSQ_emb_del_coll : !cid ? CSQ_emb_del_obj : CSQ_emb_del, &s));
	sqlite3_bind_int64(s, 1, cid ? (int64_t)cid : (int64_t)oid);
	if (cid && oid)
		sqlite3_bind_int64(s, 2, (int64_t)oid);
	return run(c, s);
}

/* ---- the op ---- */
#define GRP(x) VX_TRY(store_grp(st, (x)))

int chunk_vec_op(struct store *st, struct store_op *op)
{
	struct obj_rec o;
	struct coll *c = coll_find(st, op->cid);
	if (!c || c->dying || !store_coll_many(&c->c))
		return -VX_ERR_no_collection;
	if (op->data_n % 4 || op->data_n > CONF_ROWS_MAX)
		return -VX_ERR_bad_value;
	if (op->data) {
		int rc = cat_obj_get(&st->cat, op->oid, &o);
		if (rc == -ENOENT)
			return -VX_ERR_no_object;
		GRP(rc);
		if (o.text_ver != op->text_ver || o.text_state != STORE_TEXT_done)
			return -VX_ERR_file_changed;
	}
	GRP(store_tx(st));
	GRP(op->data ? cat_emb_put(&st->cat, op->cid, op->oid, op->text_ver, op->data, op->data_n)
	             : cat_emb_del(&st->cat, op->cid, op->oid));
	for (uint32_t i = 0; i < op->drop_n; i++) {
		struct vec_rec v;
		int rc = cat_vec_get(&st->cat, op->cid, op->drop[i], &v);
		if (rc == -ENOENT || (!rc && (v.dead || v.id != op->oid)))
			continue;
		VX_TRY(store_vec_dead(st, op->cid, op->drop[i]));
	}
	return 0;
}

/* ---- reading ---- */
static int chunk_hit(struct arena *a, sqlite3_stmt *s, struct store_fts_hit *h)
{
	struct chunk_rec k;
	VX_TRY(cat_row_chunk(s, &k));
	*h = (struct store_fts_hit){.oid = k.oid,
	        .ord = k.c.ord,
	        .byte0 = k.c.byte0,
	        .byte1 = k.c.byte1,
	        .line0 = k.c.line0,
	        .line1 = k.c.line1,
	        .ver = k.ver,
	        .snippet = arena_strndup(a, k.c.text ? k.c.text : "", k.c.text_n),
	        .snippet_n = k.c.text_n};
	return h->snippet ? 0 : -VX_ERR_arena_full;
}

static int read_page(struct catalog *c, struct store_read *rd)
{
	sqlite3_stmt *s;
	int rc = 0, q = SQLITE_DONE;
	VX_TRY(cat_stmt(c, CSQ_chunk_page, &s));
	sqlite3_bind_int64(s, 1, (int64_t)rd->oid);
	sqlite3_bind_int64(s, 2, rd->ord);
	sqlite3_bind_int64(s, 3, rd->limit);
	while (!rc && (q = sqlite3_step(s)) == SQLITE_ROW) {
		struct store_fts_hit *h = &rd->hits[rd->hit_n];
		rc = chunk_hit(rd->arena, s, h);
		if (rc == -EBADMSG) { /* that one alone; it counts, for the page to be whole */
			*h = (struct store_fts_hit){.oid = rd->oid,
			        .ver = (uint64_t)sqlite3_column_int64(s, 2),
			        .ord = (uint32_t)sqlite3_column_int64(s, 3)};
			rc = 0;
		}
		rd->ret_ver = h->ver;
		rd->hit_n += !rc;
	}
	if (!rc && q != SQLITE_DONE)
		rc = cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_reset(s);
	if (!rc && !rd->hit_n) { /* a text without chunks has a version all the same */
		struct obj_rec o;
		rc = cat_obj_get(c, rd->oid, &o);
		rd->ret_ver = !rc && o.text_state == STORE_TEXT_done ? o.text_ver : 0;
	}
	return rc;
}

int chunk_vec_read(struct catalog *c, struct store_read *rd)
{
	rd->hits = arena_zalloc(rd->arena, (rd->limit ? rd->limit : 1) * sizeof *rd->hits);
	if (!rd->hits)
		return -VX_ERR_arena_full;
	if (rd->kind == SRD_chunks)
		return read_page(c, rd);
	sqlite3_stmt *s;
	int rc = 0;
	VX_TRY(cat_stmt(c, CSQ_chunk_get, &s));
	for (uint32_t i = 0; !rc && i < rd->limit; i++) {
		sqlite3_bind_int64(s, 1, (int64_t)rd->pick[i].oid);
		sqlite3_bind_int64(s, 2, rd->pick[i].ord);
		int q = sqlite3_step(s);
		if (q == SQLITE_ROW)
			rc = chunk_hit(rd->arena, s, &rd->hits[i]);
		else if (q != SQLITE_DONE)
			rc = cat_rc(c, sqlite3_extended_errcode(c->db));
		sqlite3_reset(s);
		if (rc == -EBADMSG) { /* that one alone: its file is read again after a repair */
			rd->hits[i].ver = 0;
			rc = 0;
		}
	}
	rd->hit_n = rd->limit;
	return rc;
}

int chunk_vec_count(struct catalog *c, struct store_read *rd)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_chunk_count, &s));
	sqlite3_bind_int64(s, 1, (int64_t)rd->oid);
	int q = sqlite3_step(s);
	rd->id_n = q == SQLITE_ROW ? (uint32_t)sqlite3_column_int64(s, 0) : 0;
	int rc = q == SQLITE_ROW ? 0 : cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_reset(s);
	return rc;
}

int chunk_vec_load(struct store *st, const struct store_load_cb *cb, void *u)
{
	sqlite3_stmt *s;
	int rc = 0, q = SQLITE_DONE;
	if (!cat_emb_have(&st->cat))
		return 0;
	if (sqlite3_prepare_v2(st->cat.db,
	            "SELECT e.cid,e.oid,e.ver,e.rows,e.crc FROM emb e JOIN obj o ON o.oid=e.oid AND o.tver=e.ver AND "
	            "o.tstate=1",
	            -1, &s, NULL) != SQLITE_OK)
		return cat_rc(&st->cat, sqlite3_extended_errcode(st->cat.db));
	while (!rc && (q = sqlite3_step(s)) == SQLITE_ROW) {
		uint32_t cid, n;
		uint64_t oid, ver;
		const void *p;
		if (cat_row_emb(s, &cid, &oid, &ver, &p, &n) < 0)
			continue; /* derived: made anew */
		uint32_t *row = mem_alloc(MEM_store, n ? n : 4);
		if (!row) {
			rc = -ENOMEM;
			break;
		}
		for (uint32_t i = 0; i < n / 4; i++)
			row[i] = le32_get((const uint8_t *)p + (size_t)i * 4);
		rc = cb->chunk_rows(u, cid, oid, ver, row, n / 4);
		mem_free(MEM_store, row);
	}
	if (!rc && q != SQLITE_DONE)
		rc = cat_rc(&st->cat, sqlite3_extended_errcode(st->cat.db));
	sqlite3_finalize(s);
	return rc < 0 ? rc : 0;
}
