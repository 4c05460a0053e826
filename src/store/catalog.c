/* catalog.c - a connection to catalog.db: pragmas, schema, statements prepared at first use, errors, transactions, meta.
 *
 * WAL with synchronous FULL: COMMIT returns after the log is on the disk.  Automatic checkpoints are off; the store thread runs
 * them between groups, so no commit pays for one.  No memory map and a small page cache: a mount's memory belongs to vectors.
 * Format and kind of file are in the SQLite header itself (user_version, application_id), readable before any table. */
#include "store/catalog.h"
#include <pthread.h>
#include <string.h>
#include "base/sbuf.h"

/* what words are searched: a chunk's text; its first line again where that is a heading; the name of its file, with the first chunk alone, so that
 * a rename changes one row of the index (cat_link_put).  A file of several names is found by none: whoever may read it by one need not be allowed
 * to know another. */
#define CAT_FTS_TABLE                                                                                                  \
	"CREATE VIEW IF NOT EXISTS fts_named AS SELECT id,text,CASE WHEN text GLOB '# *' OR text GLOB '## *' OR text " \
	"GLOB '### *' OR text GLOB '#### *' THEN substr(text,1,instr(text||char(10),char(10))-1) ELSE '' END AS "      \
	"head,CASE WHEN ord=0 AND (SELECT count(*) FROM link WHERE link.oid=chunk.oid)=1 THEN (SELECT CAST(name AS "   \
	"TEXT) FROM link WHERE link.oid=chunk.oid) ELSE '' END AS name FROM chunk;"                                    \
	"CREATE VIRTUAL TABLE fts USING fts5(text,head,name,content='fts_named',content_rowid='id',tokenize='porter "  \
	"vexfs');"
#define CAT_EMB_TABLE                                                                                                  \
	"CREATE TABLE IF NOT EXISTS emb(cid INTEGER,oid INTEGER,ver INTEGER,rows BLOB,crc INTEGER NOT NULL,PRIMARY "   \
	"KEY(oid,cid)) WITHOUT ROWID;"

static const char schema[] =
        "CREATE TABLE meta(name TEXT PRIMARY KEY,value BLOB NOT NULL,crc INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE coll(cid INTEGER PRIMARY KEY,name TEXT NOT NULL UNIQUE,dim INTEGER,metric INTEGER,dtype "
        "INTEGER,m INTEGER,"
        "efc INTEGER,ef INTEGER,uid INTEGER,gid INTEGER,mode INTEGER,crc INTEGER NOT NULL);"
        "CREATE TABLE obj(oid INTEGER PRIMARY KEY,kind INTEGER,ktype INTEGER,key BLOB,tstate INTEGER,terror "
        "INTEGER,tver INTEGER,"
        "tsize INTEGER,tmtime INTEGER,tctime INTEGER,thash BLOB,crc INTEGER NOT NULL);"
        "CREATE TABLE link(oid INTEGER,parent INTEGER,name BLOB,crc INTEGER NOT NULL,PRIMARY KEY(oid,parent,name)) "
        "WITHOUT ROWID;"
        "CREATE TABLE vec(key INTEGER PRIMARY KEY,id INTEGER,kind INTEGER,dead INTEGER,gen INTEGER,vid INTEGER,size "
        "INTEGER,"
        "mtime INTEGER,ctime INTEGER,hash BLOB,crc INTEGER NOT NULL);"
        "CREATE INDEX vec_owner ON vec(id,kind) WHERE dead=0;"
        "CREATE TABLE payload(cid INTEGER,id INTEGER,data BLOB,crc INTEGER NOT NULL,PRIMARY KEY(cid,id)) WITHOUT ROWID;"
        "CREATE TABLE chunk(id INTEGER PRIMARY KEY AUTOINCREMENT,oid INTEGER,ver INTEGER,ord INTEGER,byte0 "
        "INTEGER,byte1 INTEGER,"
        "line0 INTEGER,line1 INTEGER,text TEXT,crc INTEGER NOT NULL);"
        "CREATE UNIQUE INDEX chunk_owner ON chunk(oid,ver,ord);" CAT_FTS_TABLE CAT_EMB_TABLE
        "CREATE TABLE graphgen(cid INTEGER,gen INTEGER,name TEXT,crc INTEGER NOT NULL,PRIMARY KEY(cid,gen)) WITHOUT "
        "ROWID;";

static const char *const sql[CSQ_N] = {
        [CSQ_begin] = "BEGIN IMMEDIATE",
        [CSQ_commit] = "COMMIT",
        [CSQ_rollback] = "ROLLBACK",
        [CSQ_meta_get] = "SELECT name,value,crc FROM meta WHERE name=?1",
        [CSQ_meta_put] = "INSERT OR REPLACE INTO meta(name,value,crc) VALUES(?1,?2,?3)",
        [CSQ_coll_put] = "INSERT OR REPLACE INTO coll(cid,name,dim,metric,dtype,m,efc,ef,uid,gid,mode,crc) "
                         "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        [CSQ_coll_del] = "DELETE FROM coll WHERE cid=?1",
        [CSQ_obj_get] = CAT_SEL_OBJ " WHERE oid=?1",
        [CSQ_obj_put] =
                "INSERT OR REPLACE INTO obj(oid,kind,ktype,key,tstate,terror,tver,tsize,tmtime,tctime,thash,crc) "
                "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        [CSQ_obj_del] = "DELETE FROM obj WHERE oid=?1",
        [CSQ_link_put] = "INSERT OR REPLACE INTO link(oid,parent,name,crc) VALUES(?1,?2,?3,?4)",
        [CSQ_link_del] = "DELETE FROM link WHERE oid=?1 AND parent=?2 AND name=?3",
        [CSQ_link_del_oid] = "DELETE FROM link WHERE oid=?1",
        [CSQ_vec_get] = CAT_SEL_VEC " WHERE key=?1",
        [CSQ_vec_put] = "INSERT OR REPLACE INTO vec(key,id,kind,dead,gen,vid,size,mtime,ctime,hash,crc) "
                        "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
        [CSQ_vec_del] = "DELETE FROM vec WHERE key=?1",
        [CSQ_vec_of_obj] = CAT_SEL_VEC " WHERE id=?1 AND kind=0 AND dead=0 LIMIT 1",
        [CSQ_vec_of_free] = CAT_SEL_VEC " WHERE id=?1 AND kind=1 AND dead=0 AND key BETWEEN ?2 AND ?3 LIMIT 1",
        [CSQ_vec_other] =
                CAT_SEL_VEC " WHERE id=?1 AND kind=?2 AND dead=0 AND key BETWEEN ?3 AND ?4 AND key<>?5 LIMIT 1",
        [CSQ_vec_live] = "SELECT 1 FROM vec WHERE key BETWEEN ?1 AND ?2 AND dead=0 LIMIT 1",
        [CSQ_vec_del_coll] = "DELETE FROM vec WHERE key BETWEEN ?1 AND ?2",
        [CSQ_vec_count_coll] = "SELECT count(*),coalesce(sum(dead),0) FROM vec WHERE key BETWEEN ?1 AND ?2",
        [CSQ_vec_max] = "SELECT max(key) FROM vec WHERE key BETWEEN ?1 AND ?2",
        [CSQ_pay_get] = CAT_SEL_PAY " WHERE cid=?1 AND id=?2",
        [CSQ_pay_put] = "INSERT OR REPLACE INTO payload(cid,id,data,crc) VALUES(?1,?2,?3,?4)",
        [CSQ_pay_del] = "DELETE FROM payload WHERE cid=?1 AND id=?2",
        [CSQ_pay_del_coll] = "DELETE FROM payload WHERE cid=?1",
        [CSQ_chunk_put] =
                "INSERT INTO chunk(oid,ver,ord,byte0,byte1,line0,line1,text,crc) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
        [CSQ_chunk_next] = CAT_SEL_CHUNK " WHERE oid=?1 AND ver<>?2 LIMIT 1",
        [CSQ_chunk_next_any] = CAT_SEL_CHUNK " WHERE oid=?1 LIMIT 1",
        [CSQ_chunk_first] = CAT_SEL_CHUNK " WHERE oid=?1 AND ord=0 LIMIT 1 OFFSET ?2",
        [CSQ_chunk_del] = "DELETE FROM chunk WHERE id=?1",
        [CSQ_chunk_get] =
                "SELECT c.id,c.oid,c.ver,c.ord,c.byte0,c.byte1,c.line0,c.line1,c.text,c.crc FROM obj o JOIN chunk c "
                "ON c.oid=o.oid AND c.ver=o.tver WHERE o.oid=?1 AND o.tstate=1 AND c.ord=?2",
        [CSQ_chunk_page] =
                "SELECT c.id,c.oid,c.ver,c.ord,c.byte0,c.byte1,c.line0,c.line1,c.text,c.crc FROM obj o JOIN chunk c "
                "ON c.oid=o.oid AND c.ver=o.tver WHERE o.oid=?1 AND o.tstate=1 AND c.ord>=?2 ORDER BY c.ord LIMIT ?3",
        [CSQ_chunk_count] =
                "SELECT count(*) FROM obj o JOIN chunk c ON c.oid=o.oid AND c.ver=o.tver WHERE o.oid=?1 AND "
                "o.tstate=1",
        [CSQ_fts_put] = "INSERT INTO fts(rowid,text,head,name) SELECT id,text,head,name FROM fts_named WHERE id=?1",
        [CSQ_fts_del] = "INSERT INTO fts(fts,rowid,text,head,name) SELECT 'delete',id,text,head,name FROM fts_named "
                        "WHERE id=?1",
        [CSQ_graph_put] = "INSERT OR REPLACE INTO graphgen(cid,gen,name,crc) VALUES(?1,?2,?3,?4)",
        [CSQ_graph_list] = CAT_SEL_GRAPH " WHERE cid=?1 ORDER BY gen DESC",
        [CSQ_graph_del] = "DELETE FROM graphgen WHERE cid=?1 AND gen=?2",
        [CSQ_graph_del_coll] = "DELETE FROM graphgen WHERE cid=?1",
        [CSQ_meta_del_coll] = "DELETE FROM meta WHERE name GLOB 'u.*.' || ?1",
        [CSQ_emb_put] = "INSERT OR REPLACE INTO emb(cid,oid,ver,rows,crc) VALUES(?1,?2,?3,?4,?5)",
        [CSQ_emb_del] = "DELETE FROM emb WHERE cid=?1 AND oid=?2",
        [CSQ_emb_del_obj] = "DELETE FROM emb WHERE oid=?1",
        [CSQ_emb_del_coll] = "DELETE FROM emb WHERE cid=?1",
};

int cat_rc(struct catalog *c, int rc)
{
	int sys = c->db ? sqlite3_system_errno(c->db) : 0;
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -VX_ERR_store_full;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_INTERRUPT:
		return -VX_ERR_cancelled;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_NOTADB:
		return -VX_ERR_store_format;
	case SQLITE_CORRUPT:
		return -VX_ERR_store_corrupt;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return sys > 0 ? -sys : -EACCES;
	case SQLITE_IOERR:
		/* a write that found no room; a failed sync never counts as such, whatever errno it left */
		if (rc != SQLITE_IOERR_FSYNC && rc != SQLITE_IOERR_DIR_FSYNC &&
		        (sys == ENOSPC || sys == EDQUOT || sys == EFBIG))
			return -VX_ERR_store_full;
		if (rc == SQLITE_IOERR_NOMEM)
			return -ENOMEM;
		return -EIO;
	default:
		/* what remains is a statement or schema that does not fit: the catalog is not what it should be */
		return -VX_ERR_store_corrupt;
	}
}

int cat_stmt(struct catalog *c, enum cat_sql which, sqlite3_stmt **ret)
{
	vx_assert(which < CSQ_N);
	if (!c->st[which]) {
		int rc = sqlite3_prepare_v3(c->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, &c->st[which], NULL);
		if (rc != SQLITE_OK)
			return cat_rc(c, sqlite3_extended_errcode(c->db));
	}
	*ret = c->st[which];
	return 0;
}

static int step_done(struct catalog *c, enum cat_sql which)
{
	sqlite3_stmt *s = NULL;
	VX_TRY(cat_stmt(c, which, &s));
	int rc = sqlite3_step(s);
	int r = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_reset(s);
	return r;
}

int cat_exec(struct catalog *c, const char *text)
{
	return sqlite3_exec(c->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0
	                                                                : cat_rc(c, sqlite3_extended_errcode(c->db));
}

int cat_begin(struct catalog *c)
{
	return step_done(c, CSQ_begin);
}

int cat_commit(struct catalog *c)
{
	return step_done(c, CSQ_commit);
}

int cat_rollback(struct catalog *c)
{
	/* SQLite rolls some failures back by itself; then there is nothing left to roll back */
	return sqlite3_get_autocommit(c->db) ? 0 : step_done(c, CSQ_rollback);
}

static void detail_set(struct vx_errinfo *e, int code, const char *text)
{
	if (!e)
		return;
	struct sbuf b;
	e->code = code;
	e->position = -1;
	sbuf_fixed(&b, e->detail, sizeof e->detail);
	sb_str(&b, "catalog.db: ");
	sb_str(&b, text);
	(void)sbuf_cstr(&b); /* a cut sentence is still a sentence */
}

/* Each connection would begin with room for 20 pages, touched to link them, of which the readers of a store at rest use two. */
static void pages_one_by_one(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0); /* SQLite is in use already: as it was */
}

int cat_open(struct catalog *c, const char *path, int flags, unsigned cache_kib, struct vx_errinfo *reterr)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char pragma[64];
	struct sbuf b;
	memset(c, 0, sizeof *c);
	pthread_once(&once, pages_one_by_one);
	int rc = sqlite3_open_v2(path, &c->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	if (rc != SQLITE_OK) {
		int r = c->db ? cat_rc(c, sqlite3_extended_errcode(c->db)) : -ENOMEM;
		detail_set(reterr, r, c->db ? sqlite3_errmsg(c->db) : "out of memory");
		cat_close(c);
		return r;
	}
	/* hostile schema: no functions with side effects from triggers or views, no writes to its tables by text */
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_busy_timeout(c->db, 2000);
	sbuf_fixed(&b, pragma, sizeof pragma);
	sb_str(&b, "PRAGMA cache_size=-");
	sb_u64(&b, cache_kib);
	rc = fts_add(c->db);
	int r = rc != SQLITE_OK ? cat_rc(c, rc) : cat_exec(c, sbuf_cstr(&b));
	if (!r)
		r = cat_exec(c, "PRAGMA mmap_size=0;PRAGMA cell_size_check=1;PRAGMA wal_autocheckpoint=0");
	if (!r && !(flags & SQLITE_OPEN_READONLY))
		/* before the first table, or it has no effect: room is given back in steps (store_thread.c) */
		r = cat_exec(c, "PRAGMA auto_vacuum=INCREMENTAL;PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA "
		                "journal_size_limit=4194304");
	if (r < 0) {
		detail_set(reterr, r, sqlite3_errmsg(c->db));
		cat_close(c);
	}
	return r;
}

void cat_close(struct catalog *c)
{
	for (int i = 0; i < CSQ_N; i++) {
		sqlite3_finalize(c->st[i]);
		c->st[i] = NULL;
	}
	if (c->db)
		sqlite3_close_v2(c->db);
	c->db = NULL;
}

int cat_pragma(struct catalog *c, const char *text, int64_t *ret)
{
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(c->db, text, -1, &s, NULL) != SQLITE_OK)
		return cat_rc(c, sqlite3_extended_errcode(c->db));
	int rc = sqlite3_step(s), r = 0;
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(s, 0);
	else
		r = rc == SQLITE_DONE ? -VX_ERR_store_corrupt : cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_finalize(s);
	return r;
}

int cat_format(struct catalog *c)
{
	int64_t app, ver, tables;
	VX_TRY(cat_pragma(c, "PRAGMA application_id", &app));
	VX_TRY(cat_pragma(c, "PRAGMA user_version", &ver));
	VX_TRY(cat_pragma(c, "SELECT count(*) FROM sqlite_master", &tables));
	if (!app && !ver && !tables)
		return -ENOENT;
	if (app != CATALOG_APP_ID || ver < 1)
		return -VX_ERR_store_format;
	return ver > CATALOG_FORMAT ? -VX_ERR_store_newer : 0;
}

static const char *const pragma_ids =
        "PRAGMA application_id=1448625747;PRAGMA user_version=1"; /* both take literals only */
_Static_assert(CATALOG_APP_ID == 1448625747 && CATALOG_FORMAT == 1, "the literal above");

static int create_in_transaction(struct catalog *c)
{
	const struct store_coll dflt = {.cid = STORE_CID_DEFAULT,
	        .name = "default",
	        .metric = VXM_cosine,
	        .dtype = VXD_f32,
	        .M = 16,
	        .ef_construction = 200,
	        .ef = CONF_EF_DEFAULT,
	        .mode = 0644};
	struct store_coll text = dflt;
	const struct cat_state first = {.next_cid = STORE_CID_TEXT + 1};
	text.cid = STORE_CID_TEXT;
	memcpy(text.name, "text", 5);
	VX_TRY(cat_exec(c, schema));
	VX_TRY(cat_exec(c, pragma_ids));
	VX_TRY(cat_coll_put(c, &dflt));
	VX_TRY(cat_coll_put(c, &text));
	return cat_state_put(c, &first);
}

int cat_emb_make(struct catalog *c)
{
	return cat_exec(c, CAT_EMB_TABLE);
}
bool cat_emb_have(struct catalog *c)
{
	int64_t n = 0;
	return cat_pragma(c, "SELECT count(*) FROM sqlite_master WHERE name='emb'", &n) >= 0 && n;
}

/* the full text of a catalog made with another tokenizer or without names is made again: it is derived from the chunks */
static int fts_renew(struct catalog *c)
{
	int64_t ours = 0;
	VX_TRY(cat_pragma(c,
	        "SELECT instr(sql,'porter vexfs')>0 AND instr(sql,'fts_named')>0 FROM sqlite_master WHERE name='fts'",
	        &ours));
	if (ours)
		return 0;
	VX_TRY(cat_begin(c));
	int r = cat_exec(c, "DROP TABLE fts;" CAT_FTS_TABLE "INSERT INTO fts(fts) VALUES('rebuild')");
	if (!r)
		return cat_commit(c);
	(void)cat_rollback(c); /* the first error is the one to tell */
	return r;
}

int cat_create(struct catalog *c)
{
	int r = cat_format(c);
	if (!r) /* one of before vectors of chunks */
		r = cat_emb_have(c) ? 0 : cat_emb_make(c);
	if (!r)
		return fts_renew(c);
	if (r != -ENOENT)
		return r;
	VX_TRY(cat_begin(c));
	r = create_in_transaction(c);
	if (!r)
		r = cat_commit(c);
	if (r < 0)
		(void)cat_rollback(c); /* the first error is the one to tell */
	return r;
}

/* ---- meta ---------------------------------------------------------------------------------------------------------------- */

static uint32_t meta_crc(const void *name, size_t name_n, const void *v, size_t n)
{
	return crc32c(crc32c(0, name, name_n), v, n);
}

int cat_row_meta(sqlite3_stmt *s)
{
	const void *name = sqlite3_column_text(s, 0), *v = sqlite3_column_blob(s, 1);
	size_t name_n = (size_t)sqlite3_column_bytes(s, 0), n = (size_t)sqlite3_column_bytes(s, 1);
	if (!name || (n && !v))
		return -EBADMSG;
	return meta_crc(name, name_n, v, n) == (uint64_t)sqlite3_column_int64(s, 2) ? 0 : -EBADMSG;
}

int cat_meta_put(struct catalog *c, const char *name, const void *data, uint32_t n)
{
	sqlite3_stmt *s = NULL;
	VX_TRY(cat_stmt(c, CSQ_meta_put, &s));
	sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s, 2, n ? data : "", (int)n, SQLITE_STATIC);
	sqlite3_bind_int64(s, 3, meta_crc(name, strlen(name), data, n));
	return step_done(c, CSQ_meta_put);
}

int cat_meta_get(struct catalog *c, const char *name, void *buf, uint32_t cap, uint32_t *ret_n)
{
	sqlite3_stmt *s = NULL;
	VX_TRY(cat_stmt(c, CSQ_meta_get, &s));
	sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	int rc = sqlite3_step(s), r;
	if (rc == SQLITE_DONE) {
		r = -ENOENT;
	} else if (rc != SQLITE_ROW) {
		r = cat_rc(c, sqlite3_extended_errcode(c->db));
	} else if (!(r = cat_row_meta(s))) {
		uint32_t n = (uint32_t)sqlite3_column_bytes(s, 1);
		if (n > cap)
			r = -ERANGE;
		else if (n)
			memcpy(buf, sqlite3_column_blob(s, 1), n);
		*ret_n = n;
	}
	sqlite3_reset(s);
	return r;
}

#define STATE_BYTES 48u

int cat_state_put(struct catalog *c, const struct cat_state *t)
{
	uint8_t b[STATE_BYTES] = {0};
	le64_put(b, t->generation);
	le32_put(b + 8, t->next_cid);
	le64_put(b + 16, t->objects);
	le64_put(b + 24, t->vectors);
	le64_put(b + 32, t->dead_rows);
	le64_put(b + 40, t->chunks);
	return cat_meta_put(c, "state", b, sizeof b);
}

int cat_state_get(struct catalog *c, struct cat_state *ret)
{
	uint8_t b[STATE_BYTES];
	uint32_t n = 0;
	int r = cat_meta_get(c, "state", b, sizeof b, &n);
	if (r == -ENOENT || r == -ERANGE || r == -EBADMSG || (!r && n != STATE_BYTES))
		return -VX_ERR_store_corrupt;
	VX_TRY(r);
	*ret = (struct cat_state){.generation = le64_get(b),
	        .next_cid = le32_get(b + 8),
	        .objects = le64_get(b + 16),
	        .vectors = le64_get(b + 24),
	        .dead_rows = le64_get(b + 32),
	        .chunks = le64_get(b + 40)};
	return 0;
}
