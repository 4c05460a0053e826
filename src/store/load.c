/* load.c - all that the engine keeps in memory, read once at opening, row by row, each row's checksum tested.
 *
 * It runs on the opening thread over the writer's connection, before any op: nothing else uses it then.  On the way the free slots
 * of each collection are found: a row below the highest that no catalog row names. */
#include <string.h>
#include "base/log.h"
#include "store/store_int.h"

struct loading {
	struct store *st;
	const struct store_load_cb *cb;
	void *u;
	uint64_t damaged;
};

static void damaged(struct loading *l, const char *table, uint64_t id)
{
	if (!l->damaged++)
		log_kv(LOGL_error, "store: a damaged catalog row is left out; run `vexfs verify`; table", table, id);
	if (l->cb->damaged)
		l->cb->damaged(l->u, table, id);
}

static int each_between(
        struct loading *l, const char *sql, int64_t from, int64_t to, int (*row)(struct loading *l, sqlite3_stmt *s))
{
	struct catalog *c = &l->st->cat;
	sqlite3_stmt *s;
	int rc = 0, q = SQLITE_DONE;
	if (sqlite3_prepare_v2(c->db, sql, -1, &s, NULL) != SQLITE_OK)
		return cat_rc(c, sqlite3_extended_errcode(c->db));
	if (to) {
		sqlite3_bind_int64(s, 1, from);
		sqlite3_bind_int64(s, 2, to);
	}
	while (rc >= 0 && (q = sqlite3_step(s)) == SQLITE_ROW)
		rc = row(l, s);
	if (rc >= 0 && q != SQLITE_DONE)
		rc = cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_finalize(s);
	return rc < 0 ? rc : 0;
}

static int each(struct loading *l, const char *sql, int (*row)(struct loading *l, sqlite3_stmt *s))
{
	return each_between(l, sql, 0, 0, row);
}

static int row_coll(struct loading *l, sqlite3_stmt *s)
{
	struct store_coll k;
	if (cat_row_coll(s, &k) < 0) {
		damaged(l, "coll", (uint64_t)sqlite3_column_int64(s, 0));
		return 0;
	}
	return l->cb->coll ? l->cb->coll(l->u, &k) : 0;
}

static int row_obj(struct loading *l, sqlite3_stmt *s)
{
	struct obj_rec o;
	if (cat_row_obj(s, &o) < 0) {
		damaged(l, "obj", (uint64_t)sqlite3_column_int64(s, 0));
		return 0;
	}
	return l->cb->obj ? l->cb->obj(l->u, o.oid, &o.key, o.kind, o.text_state, o.text_error, &o.text_stamp,
	                            sqlite3_column_int(s, 12) != 0)
	                  : 0;
}

static int row_link(struct loading *l, sqlite3_stmt *s)
{
	char name[CONF_NAME_MAX + 1];
	uint64_t oid, parent;
	if (cat_row_link(s, &oid, &parent, name) < 0) {
		damaged(l, "link", (uint64_t)sqlite3_column_int64(s, 0));
		return 0;
	}
	return l->cb->link ? l->cb->link(l->u, oid, parent, name) : 0;
}

static int row_vec(struct loading *l, sqlite3_stmt *s)
{
	struct vec_rec v;
	uint64_t key = (uint64_t)sqlite3_column_int64(s, 0);
	uint32_t row = (uint32_t)key;
	struct coll *c = coll_find(l->st, (uint32_t)(key >> 32));
	if (c && row_is_free(c, row)) { /* named, even if by a damaged row: not free */
		c->free_w[row / 64] &= ~(1ull << (row % 64));
		c->free_n--;
	}
	if (cat_row_vec(s, &v) < 0) {
		damaged(l, "vec", key);
		return 0;
	}
	if (!c || !c->c.dim) {
		if (!v.dead)
			damaged(l, "vec", key); /* of a collection that is not there */
		return 0;
	}
	return l->cb->vec ? l->cb->vec(l->u, v.cid, v.row, v.generation, v.dead, v.is_free_point, v.id, &v.stamp) : 0;
}

static int row_graph(struct loading *l, sqlite3_stmt *s)
{
	char name[CONF_NAME_MAX + 1];
	uint32_t cid;
	uint64_t gen;
	if (cat_row_graph(s, &cid, &gen, name) < 0) {
		damaged(l, "graphgen", (uint64_t)sqlite3_column_int64(s, 0));
		return 0;
	}
	return l->cb->graph ? l->cb->graph(l->u, cid, gen, name) : 0;
}

/* every row of every collection is free until a catalog row names it */
static int free_all(struct store *st)
{
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c = atomic_load(&st->coll[i]);
		if (!c || !c->next_row || c->free_words)
			continue;
		uint32_t words = (c->next_row + 63) / 64;
		c->free_w = mem_alloc(MEM_store, (size_t)words * 8);
		if (!c->free_w)
			return -ENOMEM;
		memset(c->free_w, 0xff, (size_t)words * 8);
		if (c->next_row % 64)
			c->free_w[words - 1] = (1ull << (c->next_row % 64)) - 1;
		c->free_words = words;
		c->free_n = c->next_row;
		c->free_hint = 0;
	}
	return 0;
}

static void free_none(struct store *st)
{
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c = atomic_load(&st->coll[i]);
		if (!c)
			continue;
		mem_free(MEM_store, c->free_w);
		c->free_w = NULL;
		c->free_words = c->free_n = 0;
	}
}

/* the rows of all collections, each from its table if there is one that counts, else from the catalog */
static int vecs(struct loading *l)
{
	int64_t next = 0;
	for (uint32_t cid = 1; cid < l->st->state.next_cid; cid++) {
		struct coll *c = coll_find(l->st, cid);
		int rc = c ? rowtab_load(l->st, c, l->cb, l->u) : -ENOENT;
		if (rc == -ENOENT)
			continue; /* read with its neighbours below */
		VX_TRY(rc);
		VX_TRY(each_between(
		        l, CAT_SEL_VEC " WHERE key>=?1 AND key<?2 ORDER BY key", next, vec_key(cid, 0), row_vec));
		next = vec_key(cid + 1, 0);
	}
	return each_between(l, CAT_SEL_VEC " WHERE key>=?1 AND key<=?2 ORDER BY key", next, INT64_MAX, row_vec);
}

int store_load(struct store *st, const struct store_load_cb *cb, void *u)
{
	struct loading l = {.st = st, .cb = cb, .u = u};
	int rc = st->loaded ? 0 : free_all(st);
	if (!rc)
		rc = each(&l, CAT_SEL_COLL, row_coll);
	if (!rc)
		rc = each(&l,
		        "SELECT oid,kind,ktype,key,tstate,terror,tver,tsize,tmtime,tctime,thash,crc,"
		        "EXISTS(SELECT 1 FROM payload p WHERE p.cid=0 AND p.id=oid) FROM obj",
		        row_obj);
	if (!rc)
		rc = each(&l, CAT_SEL_LINK, row_link);
	if (!rc)
		rc = vecs(&l);
	if (!rc && cb->chunk_rows)
		rc = chunk_vec_load(st, cb, u);
	if (!rc)
		rc = each(&l, CAT_SEL_GRAPH " ORDER BY cid,gen DESC", row_graph);
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c = atomic_load(&st->coll[i]);
		if (c)
			atomic_store(&c->free_seen, c->free_n);
	}
	if (rc < 0 && !st->loaded)
		free_none(st); /* a part of the rows was seen: no slot may be taken for free */
	else
		st->loaded = true;
	return rc;
}

int store_meta_get(struct store *st, const char *name, void *buf, uint32_t cap, uint32_t *ret_n)
{
	char full[CONF_NAME_MAX + 8] = "u.";
	size_t n = strnlen(name, CONF_NAME_MAX + 1);
	if (!n || n > CONF_NAME_MAX)
		return -VX_ERR_bad_value;
	memcpy(full + 2, name, n + 1);
	int rc = cat_meta_get(&st->cat, full, buf, cap, ret_n);
	return rc == -EBADMSG ? -VX_ERR_store_corrupt : rc;
}
