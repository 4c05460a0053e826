/* salvage.c - a new catalog out of what can be read of a broken one.
 *
 * Each table is walked upwards until SQLite gives up, then downwards: damage in the middle costs the middle.  Only rows whose own
 * checksum fits are taken over.  Text chunks are not: they are read again from the files, so each object's text state returns to
 * "none".  The broken catalog is kept as catalog.db.damaged.  A catalog that is gone leaves an empty one; a cut between the two
 * renames is found by the next repair, which takes catalog.db.damaged for its source. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "store/verify_int.h"

struct copy {
	struct verify *v;
	struct catalog from, to;
	struct cat_state s;
};

static int take_coll(struct copy *k, sqlite3_stmt *s)
{
	struct store_coll c;
	if (cat_row_coll(s, &c) < 0)
		return 0;
	if (c.cid >= k->s.next_cid)
		k->s.next_cid = c.cid + 1;
	return cat_coll_put(&k->to, &c);
}

static int take_obj(struct copy *k, sqlite3_stmt *s)
{
	struct obj_rec o;
	if (cat_row_obj(s, &o) < 0)
		return 0;
	o.text_state = STORE_TEXT_none;
	return cat_obj_put(&k->to, &o);
}

static int take_link(struct copy *k, sqlite3_stmt *s)
{
	uint64_t oid, parent;
	char name[CONF_NAME_MAX + 1];
	return cat_row_link(s, &oid, &parent, name) < 0 ? 0 : cat_link_put(&k->to, oid, parent, name);
}

static int take_vec(struct copy *k, sqlite3_stmt *s)
{
	struct vec_rec v;
	if (cat_row_vec(s, &v) < 0)
		return 0;
	if (v.generation > k->s.generation)
		k->s.generation = v.generation;
	return cat_vec_put(&k->to, &v);
}

static int take_pay(struct copy *k, sqlite3_stmt *s)
{
	uint32_t cid;
	uint64_t id;
	if (cat_row_pay(s, &cid, &id) < 0)
		return 0;
	return cat_pay_put(&k->to, cid, id, sqlite3_column_blob(s, 2), (uint32_t)sqlite3_column_bytes(s, 2));
}

static int take_graph(struct copy *k, sqlite3_stmt *s)
{
	uint32_t cid;
	uint64_t gen;
	char name[CONF_NAME_MAX + 1];
	if (cat_row_graph(s, &cid, &gen, name) < 0)
		return 0;
	if (gen > k->s.generation)
		k->s.generation = gen;
	return cat_graph_put(&k->to, cid, gen, name);
}

static int take_meta(struct copy *k, sqlite3_stmt *s)
{
	const char *name = (const char *)sqlite3_column_text(s, 0);
	if (cat_row_meta(s) < 0 || strncmp(name, "u.", 2))
		return 0;
	return cat_meta_put(&k->to, name, sqlite3_column_blob(s, 1), (uint32_t)sqlite3_column_bytes(s, 1));
}

/* errors of the broken side end the walk and nothing else; errors of the new side end the salvage */
static int walk(struct copy *k, const char *sql, int (*take)(struct copy *k, sqlite3_stmt *s))
{
	sqlite3_stmt *s;
	int rc = 0;
	if (sqlite3_prepare_v2(k->from.db, sql, -1, &s, NULL) != SQLITE_OK)
		return 0;
	while (!rc && sqlite3_step(s) == SQLITE_ROW)
		rc = take(k, s);
	sqlite3_finalize(s);
	return rc;
}

static int copy_all(struct copy *k)
{
	static const struct {
		const char *up, *down;
		int (*take)(struct copy *k, sqlite3_stmt *s);
	} t[] = {
	        {"SELECT cid,name,dim,metric,dtype,m,efc,ef,uid,gid,mode,crc FROM coll NOT INDEXED",
	                "SELECT cid,name,dim,metric,dtype,m,efc,ef,uid,gid,mode,crc FROM coll NOT INDEXED ORDER BY cid "
	                "DESC",
	                take_coll},
	        {CAT_SEL_OBJ " ORDER BY oid", CAT_SEL_OBJ " ORDER BY oid DESC", take_obj},
	        {CAT_SEL_LINK " ORDER BY oid,parent,name", CAT_SEL_LINK " ORDER BY oid DESC,parent DESC,name DESC",
	                take_link},
	        {CAT_SEL_VEC " ORDER BY key", CAT_SEL_VEC " ORDER BY key DESC", take_vec},
	        {CAT_SEL_PAY " ORDER BY cid,id", CAT_SEL_PAY " ORDER BY cid DESC,id DESC", take_pay},
	        {CAT_SEL_GRAPH " ORDER BY cid,gen", CAT_SEL_GRAPH " ORDER BY cid DESC,gen DESC", take_graph},
	        {CAT_SEL_META " ORDER BY name", CAT_SEL_META " ORDER BY name DESC", take_meta},
	};
	struct cat_state old;
	VX_TRY(cat_state_get(&k->to, &k->s)); /* of the new, empty one */
	if (k->from.db && cat_state_get(&k->from, &old) == 0) {
		k->s.generation = old.generation;
		if (old.next_cid > k->s.next_cid)
			k->s.next_cid = old.next_cid;
	}
	for (size_t i = 0; k->from.db && i < sizeof t / sizeof *t; i++) {
		VX_TRY(walk(k, t[i].up, t[i].take));
		VX_TRY(walk(k, t[i].down, t[i].take));
	}
	/* what belongs to a collection that was not found: its number may be given again */
	VX_TRY(cat_exec(&k->to, "DELETE FROM meta WHERE name GLOB 'u.*.[0-9]*' AND NOT EXISTS"
	                        "(SELECT 1 FROM coll WHERE meta.name GLOB 'u.*.' || coll.cid)"));
	return cat_state_put(&k->to, &k->s); /* its counters are put right by the check that follows */
}

static int move(struct verify *v, const char *from, const char *to)
{
	int rc = os_renameat(v->st->os, v->st->dirfd, from, v->st->dirfd, to);
	return rc == -ENOENT ? 0 : rc;
}

static int forget(struct verify *v, const char *name)
{
	int rc = os_unlinkat(v->st->os, v->st->dirfd, name, 0);
	return rc == -ENOENT ? 0 : rc;
}

static int put_aside(struct verify *v)
{
	struct stat sb;
	if (os_fstatat(v->st->os, v->st->dirfd, "catalog.db", &sb, AT_SYMLINK_NOFOLLOW) < 0)
		return 0; /* gone, or put aside by a repair that was cut off */
	VX_TRY(forget(v, "catalog.db.damaged-shm"));
	VX_TRY(move(v, "catalog.db", "catalog.db.damaged"));
	VX_TRY(move(v, "catalog.db-wal", "catalog.db.damaged-wal"));
	return forget(v, "catalog.db-shm");
}

int salvage(struct verify *v)
{
	struct copy k = {.v = v};
	char from[64], to[64];
	struct vx_errinfo e = {0};
	cat_close(&v->st->cat);
	VX_TRY(put_aside(v));
	VX_TRY(forget(v, "catalog.new"));
	VX_TRY(forget(v, "catalog.new-wal"));
	VX_TRY(forget(v, "catalog.new-shm"));
	VX_TRY(store_path(v->st->dirfd, "catalog.db.damaged", from, sizeof from));
	VX_TRY(store_path(v->st->dirfd, "catalog.new", to, sizeof to));
	if (cat_open(&k.from, from, SQLITE_OPEN_READWRITE, 2000, &e) < 0)
		k.from.db = NULL; /* nothing readable: an empty catalog is what remains */
	int rc = cat_open(&k.to, to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 2000, &e);
	if (!rc)
		rc = cat_create(&k.to);
	if (!rc)
		rc = cat_begin(&k.to);
	if (!rc)
		rc = copy_all(&k);
	if (!rc)
		rc = cat_commit(&k.to);
	if (!rc && sqlite3_wal_checkpoint_v2(k.to.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK)
		rc = cat_rc(&k.to, sqlite3_extended_errcode(k.to.db));
	cat_close(&k.from);
	cat_close(&k.to);
	if (!rc)
		rc = os_renameat(v->st->os, v->st->dirfd, "catalog.new", v->st->dirfd, "catalog.db");
	if (!rc)
		rc = os_fsync(v->st->os, v->st->dirfd);
	return rc;
}
