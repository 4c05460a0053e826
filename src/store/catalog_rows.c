/* catalog_rows.c - rows of the catalog as structs, each read back only when its checksum fits.
 *
 * The checksum is crc32c over the row's fields as little-endian u64 each, blobs as their length and bytes, in column order.  It
 * covers the key as well: a cell that lands under another key is found.  Names are blobs: a file's name is any bytes. */
#include <string.h>
#include "base/sbuf.h"
#include "store/catalog.h"

#define NAMED_MAX 4u

static uint32_t crc_u64(uint32_t crc, uint64_t v)
{
	uint8_t b[8];
	le64_put(b, v);
	return crc32c(crc, b, 8);
}

static uint32_t crc_blob(uint32_t crc, const void *p, size_t n)
{
	crc = crc_u64(crc, n);
	return n ? crc32c(crc, p, n) : crc;
}

static uint32_t crc_stamp(uint32_t crc, const struct stamp *t)
{
	crc = crc_u64(crc, t->size);
	crc = crc_u64(crc, (uint64_t)t->mtime_ns);
	crc = crc_u64(crc, (uint64_t)t->ctime_ns);
	return crc_blob(crc, t->hash, t->hashed ? sizeof t->hash : 0);
}

static uint64_t col_u64(sqlite3_stmt *s, int i)
{
	return (uint64_t)sqlite3_column_int64(s, i);
}

static void bind_u64(sqlite3_stmt *s, int i, uint64_t v)
{
	sqlite3_bind_int64(s, i, (int64_t)v);
}

static void bind_stamp(sqlite3_stmt *s, int i, const struct stamp *t)
{
	bind_u64(s, i, t->size);
	sqlite3_bind_int64(s, i + 1, t->mtime_ns);
	sqlite3_bind_int64(s, i + 2, t->ctime_ns);
	if (t->hashed)
		sqlite3_bind_blob(s, i + 3, t->hash, sizeof t->hash, SQLITE_STATIC);
	else
		sqlite3_bind_null(s, i + 3);
}

static int col_stamp(sqlite3_stmt *s, int i, struct stamp *ret)
{
	int n = sqlite3_column_bytes(s, i + 3);
	memset(ret, 0, sizeof *ret);
	ret->size = col_u64(s, i);
	ret->mtime_ns = sqlite3_column_int64(s, i + 1);
	ret->ctime_ns = sqlite3_column_int64(s, i + 2);
	if (!n)
		return 0;
	const void *h = sqlite3_column_blob(s, i + 3);
	if (n != (int)sizeof ret->hash || !h)
		return -EBADMSG;
	memcpy(ret->hash, h, sizeof ret->hash);
	ret->hashed = 1;
	return 0;
}

static int col_name(sqlite3_stmt *s, int i, char *ret, size_t max)
{
	const void *p = sqlite3_column_blob(s, i);
	size_t n = (size_t)sqlite3_column_bytes(s, i);
	if (!p || !n || n > max || memchr(p, 0, n))
		return -EBADMSG;
	memcpy(ret, p, n);
	ret[n] = 0;
	return 0;
}

static int crc_check(sqlite3_stmt *s, int i, uint32_t want)
{
	return col_u64(s, i) == want ? 0 : -EBADMSG;
}

/* run: no row wanted */
static int run(struct catalog *c, sqlite3_stmt *s)
{
	int rc = sqlite3_step(s);
	int r = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_reset(s);
	return r;
}

/* first: 0 with the statement standing on a row; else it is reset */
static int first(struct catalog *c, sqlite3_stmt *s)
{
	int rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		return 0;
	int r = rc == SQLITE_DONE ? -ENOENT : cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_reset(s);
	return r;
}

/* ---- collections --------------------------------------------------------------------------------------------------------- */

static uint32_t coll_crc(const struct store_coll *k)
{
	uint32_t crc = crc_u64(0, k->cid);
	crc = crc_blob(crc, k->name, strlen(k->name));
	const uint32_t f[] = {k->dim, k->metric, k->dtype, k->M, k->ef_construction, k->ef, k->uid, k->gid, k->mode};
	for (size_t i = 0; i < sizeof f / sizeof *f; i++)
		crc = crc_u64(crc, f[i]);
	return crc;
}

int cat_coll_put(struct catalog *c, const struct store_coll *k)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_coll_put, &s));
	const uint32_t f[] = {
	        k->dim, k->metric, k->dtype, k->M, k->ef_construction, k->ef, k->uid, k->gid, k->mode, coll_crc(k)};
	bind_u64(s, 1, k->cid);
	sqlite3_bind_text(s, 2, k->name, -1, SQLITE_STATIC);
	for (int i = 0; i < (int)(sizeof f / sizeof *f); i++)
		bind_u64(s, i + 3, f[i]);
	return run(c, s);
}

int cat_row_coll(sqlite3_stmt *s, struct store_coll *ret)
{
	memset(ret, 0, sizeof *ret);
	for (int i = 0; i < 11; i++)
		if (i != 1 && col_u64(s, i) > UINT32_MAX)
			return -EBADMSG;
	ret->cid = (uint32_t)col_u64(s, 0);
	VX_TRY(col_name(s, 1, ret->name, CONF_COLLECTION_NAME_MAX));
	ret->dim = (uint32_t)col_u64(s, 2);
	if (col_u64(s, 3) >= VXM_N || col_u64(s, 4) >= VXD_N || ret->dim > CONF_DIM_MAX || !ret->cid ||
	        ret->cid > INT32_MAX)
		return -EBADMSG;
	ret->metric = (uint8_t)col_u64(s, 3);
	ret->dtype = (uint8_t)col_u64(s, 4);
	ret->M = (uint32_t)col_u64(s, 5);
	ret->ef_construction = (uint32_t)col_u64(s, 6);
	ret->ef = (uint32_t)col_u64(s, 7);
	ret->uid = (uint32_t)col_u64(s, 8);
	ret->gid = (uint32_t)col_u64(s, 9);
	ret->mode = (uint32_t)col_u64(s, 10);
	return crc_check(s, 11, coll_crc(ret));
}

static int del_cid(struct catalog *c, enum cat_sql which, uint32_t cid)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, which, &s));
	bind_u64(s, 1, cid);
	return run(c, s);
}

int cat_vec_del_coll(struct catalog *c, uint32_t cid)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_vec_del_coll, &s));
	sqlite3_bind_int64(s, 1, vec_key(cid, 0));
	sqlite3_bind_int64(s, 2, vec_key(cid, UINT32_MAX));
	return run(c, s);
}

int cat_coll_del(struct catalog *c, uint32_t cid)
{
	VX_TRY(cat_vec_del_coll(c, cid));
	VX_TRY(del_cid(c, CSQ_pay_del_coll, cid));
	VX_TRY(del_cid(c, CSQ_graph_del_coll, cid));
	VX_TRY(del_cid(c, CSQ_meta_del_coll, cid));
	VX_TRY(cat_emb_del(c, cid, 0));
	return del_cid(c, CSQ_coll_del, cid);
}

/* ---- objects and links --------------------------------------------------------------------------------------------------- */

static uint32_t obj_crc(const struct obj_rec *o)
{
	uint32_t crc = crc_u64(0, o->oid);
	crc = crc_u64(crc, o->kind);
	crc = crc_u64(crc, o->key.type);
	crc = crc_blob(crc, o->key.b, o->key.len);
	crc = crc_u64(crc, o->text_state);
	crc = crc_u64(crc, (uint64_t)(int64_t)o->text_error);
	crc = crc_u64(crc, o->text_ver);
	return crc_stamp(crc, &o->text_stamp);
}

int cat_row_obj(sqlite3_stmt *s, struct obj_rec *ret)
{
	const void *key = sqlite3_column_blob(s, 3);
	int key_n = sqlite3_column_bytes(s, 3);
	int64_t err = sqlite3_column_int64(s, 5);
	memset(ret, 0, sizeof *ret);
	ret->oid = col_u64(s, 0);
	if (key_n > (int)CONF_KEY_MAX || (key_n && !key) || col_u64(s, 1) > STORE_OBJ_file ||
	        col_u64(s, 2) > UINT8_MAX || col_u64(s, 4) > STORE_TEXT_error || err > INT32_MAX || err < INT32_MIN)
		return -EBADMSG;
	ret->kind = (uint8_t)col_u64(s, 1);
	ret->key.type = (uint8_t)col_u64(s, 2);
	ret->key.len = (uint8_t)key_n;
	if (key_n)
		memcpy(ret->key.b, key, (size_t)key_n);
	ret->text_state = (uint8_t)col_u64(s, 4);
	ret->text_error = (int32_t)err;
	ret->text_ver = col_u64(s, 6);
	VX_TRY(col_stamp(s, 7, &ret->text_stamp));
	return crc_check(s, 11, obj_crc(ret));
}

int cat_obj_get(struct catalog *c, uint64_t oid, struct obj_rec *ret)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_obj_get, &s));
	bind_u64(s, 1, oid);
	VX_TRY(first(c, s));
	int r = cat_row_obj(s, ret);
	sqlite3_reset(s);
	return r;
}

int cat_obj_put(struct catalog *c, const struct obj_rec *o)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_obj_put, &s));
	bind_u64(s, 1, o->oid);
	bind_u64(s, 2, o->kind);
	bind_u64(s, 3, o->key.type);
	sqlite3_bind_blob(s, 4, o->key.b, o->key.len, SQLITE_STATIC);
	bind_u64(s, 5, o->text_state);
	sqlite3_bind_int64(s, 6, o->text_error);
	bind_u64(s, 7, o->text_ver);
	bind_stamp(s, 8, &o->text_stamp);
	bind_u64(s, 12, obj_crc(o));
	return run(c, s);
}

int cat_obj_del(struct catalog *c, uint64_t oid)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_obj_del, &s));
	bind_u64(s, 1, oid);
	return run(c, s);
}

/* one chunk's words into the full text, or out of it: they are found through the chunk, so before it goes and after it has come */
static int fts_row(struct catalog *c, enum cat_sql which, uint64_t id)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, which, &s));
	bind_u64(s, 1, id);
	return run(c, s);
}
static uint32_t link_crc(uint64_t oid, uint64_t parent, const char *name, size_t n)
{
	return crc_blob(crc_u64(crc_u64(0, oid), parent), name, n);
}

int cat_row_link(sqlite3_stmt *s, uint64_t *ret_oid, uint64_t *ret_parent, char *ret_name)
{
	*ret_oid = col_u64(s, 0);
	*ret_parent = col_u64(s, 1);
	VX_TRY(col_name(s, 2, ret_name, CONF_NAME_MAX));
	return crc_check(s, 3, link_crc(*ret_oid, *ret_parent, ret_name, strlen(ret_name)));
}

/* the full text of the first chunk holds the names of its file: taken out before these change, put in after */
struct named {
	uint64_t id[NAMED_MAX];
	unsigned n;
};
static int names_out(struct catalog *c, uint64_t oid, struct named *ret)
{
	sqlite3_stmt *s;
	ret->n = 0;
	VX_TRY(cat_stmt(c, CSQ_chunk_first, &s));
	for (uint64_t at = 0; at < NAMED_MAX; at++) { /* more than one: a text that is being replaced */
		struct chunk_rec k;
		bind_u64(s, 1, oid);
		bind_u64(s, 2, at);
		int r = first(c, s);
		if (r == -ENOENT)
			break;
		VX_TRY(r);
		r = cat_row_chunk(s, &k);
		sqlite3_reset(s);
		if (r >= 0) /* a damaged one stays as it is: see cat_chunk_del */
			ret->id[ret->n++] = k.id;
	}
	for (unsigned i = 0; i < ret->n; i++)
		VX_TRY(fts_row(c, CSQ_fts_del, ret->id[i]));
	return 0;
}
static int names_in(struct catalog *c, const struct named *k)
{
	for (unsigned i = 0; i < k->n; i++)
		VX_TRY(fts_row(c, CSQ_fts_put, k->id[i]));
	return 0;
}

int cat_link_put(struct catalog *c, uint64_t oid, uint64_t parent, const char *name)
{
	sqlite3_stmt *s;
	struct named k;
	size_t n = strlen(name);
	VX_TRY(names_out(c, oid, &k));
	VX_TRY(cat_stmt(c, CSQ_link_put, &s));
	bind_u64(s, 1, oid);
	bind_u64(s, 2, parent);
	sqlite3_bind_blob(s, 3, name, (int)n, SQLITE_STATIC);
	bind_u64(s, 4, link_crc(oid, parent, name, n));
	VX_TRY(run(c, s));
	return names_in(c, &k);
}

int cat_link_del(struct catalog *c, uint64_t oid, uint64_t parent, const char *name)
{
	sqlite3_stmt *s;
	struct named k;
	VX_TRY(names_out(c, oid, &k));
	VX_TRY(cat_stmt(c, CSQ_link_del, &s));
	bind_u64(s, 1, oid);
	bind_u64(s, 2, parent);
	sqlite3_bind_blob(s, 3, name, (int)strlen(name), SQLITE_STATIC);
	VX_TRY(run(c, s));
	return names_in(c, &k);
}

/* of an object whose chunks are gone already */
int cat_link_del_oid(struct catalog *c, uint64_t oid)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_link_del_oid, &s));
	bind_u64(s, 1, oid);
	return run(c, s);
}

/* ---- vectors ------------------------------------------------------------------------------------------------------------- */

static uint32_t vec_crc(const struct vec_rec *v)
{
	uint32_t crc = crc_u64(0, (uint64_t)vec_key(v->cid, v->row));
	crc = crc_u64(crc, v->id);
	crc = crc_u64(crc, v->is_free_point);
	crc = crc_u64(crc, v->dead);
	crc = crc_u64(crc, v->generation);
	crc = crc_u64(crc, v->vid);
	return crc_stamp(crc, &v->stamp);
}

int cat_row_vec(sqlite3_stmt *s, struct vec_rec *ret)
{
	uint64_t key = col_u64(s, 0);
	memset(ret, 0, sizeof *ret);
	ret->cid = (uint32_t)(key >> 32);
	ret->row = (uint32_t)key;
	ret->id = col_u64(s, 1);
	ret->is_free_point = col_u64(s, 2) == 1;
	ret->dead = col_u64(s, 3) == 1;
	if (col_u64(s, 2) > 1 || col_u64(s, 3) > 1 || ret->row >= CONF_ROWS_MAX)
		return -EBADMSG;
	ret->generation = col_u64(s, 4);
	ret->vid = col_u64(s, 5);
	VX_TRY(col_stamp(s, 6, &ret->stamp));
	return crc_check(s, 10, vec_crc(ret));
}

int cat_vec_get(struct catalog *c, uint32_t cid, uint32_t row, struct vec_rec *ret)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_vec_get, &s));
	sqlite3_bind_int64(s, 1, vec_key(cid, row));
	VX_TRY(first(c, s));
	int r = cat_row_vec(s, ret);
	sqlite3_reset(s);
	return r;
}

int cat_vec_put(struct catalog *c, const struct vec_rec *v)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_vec_put, &s));
	sqlite3_bind_int64(s, 1, vec_key(v->cid, v->row));
	bind_u64(s, 2, v->id);
	bind_u64(s, 3, v->is_free_point);
	bind_u64(s, 4, v->dead);
	bind_u64(s, 5, v->generation);
	bind_u64(s, 6, v->vid);
	bind_stamp(s, 7, &v->stamp);
	bind_u64(s, 11, vec_crc(v));
	return run(c, s);
}

int cat_vec_del(struct catalog *c, uint32_t cid, uint32_t row)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_vec_del, &s));
	sqlite3_bind_int64(s, 1, vec_key(cid, row));
	return run(c, s);
}

int cat_vec_of_obj(struct catalog *c, uint64_t oid, uint32_t *ret_cid, uint32_t *ret_row)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_vec_of_obj, &s));
	bind_u64(s, 1, oid);
	VX_TRY(first(c, s));
	*ret_cid = (uint32_t)(col_u64(s, 0) >> 32);
	*ret_row = (uint32_t)col_u64(s, 0);
	sqlite3_reset(s);
	return 0;
}

int cat_vec_of_free(struct catalog *c, uint32_t cid, uint64_t free_id, uint32_t *ret_row)
{
	sqlite3_stmt *s;
	struct vec_rec v;
	VX_TRY(cat_stmt(c, CSQ_vec_of_free, &s));
	bind_u64(s, 1, free_id);
	sqlite3_bind_int64(s, 2, vec_key(cid, 0));
	sqlite3_bind_int64(s, 3, vec_key(cid, UINT32_MAX));
	VX_TRY(first(c, s));
	int r = cat_row_vec(s, &v);
	if (!r)
		*ret_row = v.row;
	sqlite3_reset(s);
	return r;
}

int cat_vec_other(struct catalog *c, const struct vec_rec *v, uint32_t *ret_row)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_vec_other, &s));
	bind_u64(s, 1, v->id);
	bind_u64(s, 2, v->is_free_point);
	sqlite3_bind_int64(s, 3, vec_key(v->cid, 0));
	sqlite3_bind_int64(s, 4, vec_key(v->cid, UINT32_MAX));
	sqlite3_bind_int64(s, 5, vec_key(v->cid, v->row));
	VX_TRY(first(c, s));
	*ret_row = (uint32_t)col_u64(s, 0);
	sqlite3_reset(s);
	return 0;
}

int cat_vec_live(struct catalog *c, uint32_t cid)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_vec_live, &s));
	sqlite3_bind_int64(s, 1, vec_key(cid, 0));
	sqlite3_bind_int64(s, 2, vec_key(cid, UINT32_MAX));
	int r = first(c, s);
	sqlite3_reset(s);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

int cat_vec_count(struct catalog *c, uint32_t cid, uint64_t *ret_live, uint64_t *ret_dead)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_vec_count_coll, &s));
	sqlite3_bind_int64(s, 1, vec_key(cid, 0));
	sqlite3_bind_int64(s, 2, vec_key(cid, UINT32_MAX));
	VX_TRY(first(c, s));
	*ret_dead = col_u64(s, 1);
	*ret_live = col_u64(s, 0) - *ret_dead;
	sqlite3_reset(s);
	return 0;
}

int cat_vec_next_row(struct catalog *c, uint32_t cid, uint32_t *ret)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_vec_max, &s));
	sqlite3_bind_int64(s, 1, vec_key(cid, 0));
	sqlite3_bind_int64(s, 2, vec_key(cid, UINT32_MAX));
	VX_TRY(first(c, s));
	uint64_t row = col_u64(s, 0) & UINT32_MAX;
	int r = 0;
	if (sqlite3_column_type(s, 0) == SQLITE_NULL)
		*ret = 0;
	else if (row < CONF_ROWS_MAX)
		*ret = (uint32_t)row + 1;
	else
		r = -EBADMSG;
	sqlite3_reset(s);
	return r;
}

/* ---- payload ------------------------------------------------------------------------------------------------------------- */

static uint32_t pay_crc(uint32_t cid, uint64_t id, const void *p, size_t n)
{
	return crc_blob(crc_u64(crc_u64(0, cid), id), p, n);
}

int cat_row_pay(sqlite3_stmt *s, uint32_t *ret_cid, uint64_t *ret_id)
{
	const void *p = sqlite3_column_blob(s, 2);
	size_t n = (size_t)sqlite3_column_bytes(s, 2);
	if (col_u64(s, 0) > INT32_MAX || !p || n > CONF_PAYLOAD_MAX)
		return -EBADMSG;
	*ret_cid = (uint32_t)col_u64(s, 0);
	*ret_id = col_u64(s, 1);
	return crc_check(s, 3, pay_crc(*ret_cid, *ret_id, p, n));
}

int cat_pay_get(struct catalog *c, uint32_t cid, uint64_t id, sqlite3_stmt **ret, const void **data, uint32_t *n)
{
	sqlite3_stmt *s;
	uint32_t rcid;
	uint64_t rid;
	VX_TRY(cat_stmt(c, CSQ_pay_get, &s));
	bind_u64(s, 1, cid);
	bind_u64(s, 2, id);
	VX_TRY(first(c, s));
	int r = cat_row_pay(s, &rcid, &rid);
	if (r < 0) {
		sqlite3_reset(s);
		return r;
	}
	*data = sqlite3_column_blob(s, 2);
	*n = (uint32_t)sqlite3_column_bytes(s, 2);
	*ret = s;
	return 0;
}

int cat_pay_put(struct catalog *c, uint32_t cid, uint64_t id, const void *data, uint32_t n)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, n ? CSQ_pay_put : CSQ_pay_del, &s));
	bind_u64(s, 1, cid);
	bind_u64(s, 2, id);
	if (n) {
		sqlite3_bind_blob(s, 3, data, (int)n, SQLITE_STATIC);
		bind_u64(s, 4, pay_crc(cid, id, data, n));
	}
	return run(c, s);
}

/* ---- chunks of text and their full-text index ------------------------------------------------------------------------------ */

static uint32_t chunk_crc(uint64_t oid, uint64_t ver, const struct store_chunk *k)
{
	/* the row's own id is not in it: it is known only after the insert, and the full text hangs on it alone */
	const uint64_t f[] = {oid, ver, k->ord, k->byte0, k->byte1, k->line0, k->line1};
	uint32_t crc = 0;
	for (size_t i = 0; i < sizeof f / sizeof *f; i++)
		crc = crc_u64(crc, f[i]);
	return crc_blob(crc, k->text, k->text_n);
}

int cat_row_chunk(sqlite3_stmt *s, struct chunk_rec *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->id = col_u64(s, 0);
	ret->oid = col_u64(s, 1);
	ret->ver = col_u64(s, 2);
	if (col_u64(s, 3) > UINT32_MAX || col_u64(s, 6) > UINT32_MAX || col_u64(s, 7) > UINT32_MAX)
		return -EBADMSG;
	ret->c.ord = (uint32_t)col_u64(s, 3);
	ret->c.byte0 = col_u64(s, 4);
	ret->c.byte1 = col_u64(s, 5);
	ret->c.line0 = (uint32_t)col_u64(s, 6);
	ret->c.line1 = (uint32_t)col_u64(s, 7);
	ret->c.text = (const char *)sqlite3_column_text(s, 8);
	ret->c.text_n = (uint32_t)sqlite3_column_bytes(s, 8);
	if (ret->c.text_n && !ret->c.text)
		return -EBADMSG;
	return crc_check(s, 9, chunk_crc(ret->oid, ret->ver, &ret->c));
}

int cat_chunk_put(struct catalog *c, uint64_t oid, uint64_t ver, const struct store_chunk *k)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_chunk_put, &s));
	const uint64_t f[] = {oid, ver, k->ord, k->byte0, k->byte1, k->line0, k->line1};
	for (int i = 0; i < 7; i++)
		bind_u64(s, i + 1, f[i]);
	sqlite3_bind_text(s, 8, k->text ? k->text : "", (int)k->text_n, SQLITE_STATIC);
	bind_u64(s, 9, chunk_crc(oid, ver, k));
	VX_TRY(run(c, s));
	return fts_row(c, CSQ_fts_put, (uint64_t)sqlite3_last_insert_rowid(c->db));
}

int cat_chunk_del(struct catalog *c, uint64_t oid, uint64_t keep, uint64_t *ret_n)
{
	sqlite3_stmt *s, *d;
	*ret_n = 0;
	VX_TRY(cat_stmt(c, keep ? CSQ_chunk_next : CSQ_chunk_next_any, &s));
	VX_TRY(cat_stmt(c, CSQ_chunk_del, &d));
	for (;;) {
		struct chunk_rec k;
		bind_u64(s, 1, oid);
		if (keep)
			bind_u64(s, 2, keep);
		int r = first(c, s);
		if (r == -ENOENT)
			return 0;
		VX_TRY(r);
		/* taking a damaged text out would damage the index: its entries stay, point to no chunk and are never shown */
		r = cat_row_chunk(s, &k);
		sqlite3_reset(s);
		r = r < 0 ? 0 : fts_row(c, CSQ_fts_del, k.id);
		bind_u64(d, 1, k.id);
		VX_TRY(r);
		VX_TRY(run(c, d));
		(*ret_n)++;
	}
}

int cat_chunk_get(struct catalog *c, uint64_t oid, uint32_t ord, sqlite3_stmt **ret, struct chunk_rec *rec)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_chunk_get, &s));
	bind_u64(s, 1, oid);
	bind_u64(s, 2, ord);
	VX_TRY(first(c, s));
	int r = cat_row_chunk(s, rec);
	if (r < 0)
		sqlite3_reset(s);
	else
		*ret = s;
	return r;
}

/* ---- published graphs ---------------------------------------------------------------------------------------------------- */

static uint32_t graph_crc(uint32_t cid, uint64_t gen, const char *name)
{
	return crc_blob(crc_u64(crc_u64(0, cid), gen), name, strlen(name));
}

int cat_row_graph(sqlite3_stmt *s, uint32_t *ret_cid, uint64_t *ret_gen, char *ret_name)
{
	if (col_u64(s, 0) > INT32_MAX)
		return -EBADMSG;
	*ret_cid = (uint32_t)col_u64(s, 0);
	*ret_gen = col_u64(s, 1);
	VX_TRY(col_name(s, 2, ret_name, CONF_NAME_MAX));
	if (strchr(ret_name, '/')) /* it is unlinked by this name one day */
		return -EBADMSG;
	return crc_check(s, 3, graph_crc(*ret_cid, *ret_gen, ret_name));
}

int cat_graph_put(struct catalog *c, uint32_t cid, uint64_t gen, const char *name)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_graph_put, &s));
	bind_u64(s, 1, cid);
	bind_u64(s, 2, gen);
	sqlite3_bind_text(s, 3, name, -1, SQLITE_STATIC);
	bind_u64(s, 4, graph_crc(cid, gen, name));
	return run(c, s);
}

int cat_graph_old(struct catalog *c, uint32_t cid, uint64_t *ret_gen, char *ret_name)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_graph_list, &s));
	bind_u64(s, 1, cid);
	int n = 0, rc;
	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		uint32_t row_cid;
		if (++n <= 1)
			continue;
		*ret_gen = col_u64(s, 1);
		if (cat_row_graph(s, &row_cid, ret_gen, ret_name) < 0)
			ret_name[0] = 0; /* drop the row, touch no file */
		break;
	}
	int r = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_reset(s);
	return r;
}

int cat_graph_del(struct catalog *c, uint32_t cid, uint64_t gen)
{
	sqlite3_stmt *s;
	VX_TRY(cat_stmt(c, CSQ_graph_del, &s));
	bind_u64(s, 1, cid);
	bind_u64(s, 2, gen);
	return run(c, s);
}
