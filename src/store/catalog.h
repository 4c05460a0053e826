/* catalog.h - the SQLite side of a store: schema, prepared statements, typed rows with a checksum each.
 *
 * One struct catalog is one connection, used by one thread.  Every row carries crc32c over its fields in a fixed little-endian
 * form, because SQLite notices damage to its pages' structure only, not to what the cells hold.  Functions return 0 or < 0:
 * -ENOENT for "no such row", -EBADMSG for a row whose checksum fails, -VX_ERR_store_full when the disk is full
 * (the transaction may be rolled back and the store lives on), any other code for a connection that cannot be trusted. */
#pragma once
#include <sqlite3.h>
#include "store/store.h"

#define CATALOG_APP_ID 0x56584653 /* "VXFS" in the SQLite header, offset 68 */
#define CATALOG_FORMAT 1 /* user_version, offset 60 */

enum cat_sql {
	CSQ_begin,
	CSQ_commit,
	CSQ_rollback,
	CSQ_meta_get,
	CSQ_meta_put,
	CSQ_coll_put,
	CSQ_coll_del,
	CSQ_obj_get,
	CSQ_obj_put,
	CSQ_obj_del,
	CSQ_link_put,
	CSQ_link_del,
	CSQ_link_del_oid,
	CSQ_vec_get,
	CSQ_vec_put,
	CSQ_vec_del,
	CSQ_vec_of_obj,
	CSQ_vec_of_free,
	CSQ_vec_other,
	CSQ_vec_live,
	CSQ_vec_del_coll,
	CSQ_vec_count_coll,
	CSQ_vec_max,
	CSQ_pay_get,
	CSQ_pay_put,
	CSQ_pay_del,
	CSQ_pay_del_coll,
	CSQ_chunk_put,
	CSQ_chunk_next,
	CSQ_chunk_next_any,
	CSQ_chunk_del,
	CSQ_chunk_get,
	CSQ_chunk_page,
	CSQ_chunk_count,
	CSQ_chunk_first,
	CSQ_fts_put,
	CSQ_fts_del,
	CSQ_graph_put,
	CSQ_graph_list,
	CSQ_graph_del,
	CSQ_graph_del_coll,
	CSQ_meta_del_coll,
	CSQ_emb_put,
	CSQ_emb_del,
	CSQ_emb_del_obj,
	CSQ_emb_del_coll,
	CSQ_N
};
struct catalog {
	sqlite3 *db;
	sqlite3_stmt *st[CSQ_N];
};

struct vec_rec {
	uint32_t cid, row;
	uint64_t id; /* oid, or the id of a free point */
	bool is_free_point, dead;
	uint64_t generation, vid;
	struct stamp stamp;
};
struct obj_rec {
	uint64_t oid, text_ver;
	struct obj_key key;
	uint8_t kind, text_state;
	int32_t text_error;
	struct stamp text_stamp;
};
struct chunk_rec { /* pointers live until the statement they came from is reset */
	uint64_t id, oid, ver;
	struct store_chunk c;
};
/* what changes with every commit, one meta row */
struct cat_state {
	uint64_t generation;
	uint32_t next_cid;
	uint64_t objects, vectors, dead_rows, chunks;
};

/* cat_open - @flags SQLITE_OPEN_*; sets the pragmas of every connection; @cache_kib bounds the page cache. */
int cat_open(struct catalog *c, const char *path, int flags, unsigned cache_kib, struct vx_errinfo *reterr);
int fts_add(sqlite3 *db); /* fts_rank.c: what full-text queries need of a connection; an SQLite code */
int fts_token_add(fts5_api *api); /* fts_token.c */
void cat_close(struct catalog *c);
/* cat_create - schema and the two collections every store has; in one transaction. 0 also when they are there already. */
int cat_create(struct catalog *c);
/* cat_format - 0: readable; -VX_ERR_store_newer, -VX_ERR_store_format, -ENOENT: empty database */
int cat_format(struct catalog *c);
int cat_pragma(struct catalog *c, const char *text, int64_t *ret); /* the one integer that a statement gives */
int cat_exec(struct catalog *c, const char *sql);
int cat_rc(struct catalog *c, int sqlite_rc); /* the code of a failed SQLite call */
int cat_stmt(struct catalog *c, enum cat_sql which, sqlite3_stmt **ret);

int cat_begin(struct catalog *c);
int cat_commit(struct catalog *c);
int cat_rollback(struct catalog *c);

int cat_state_get(struct catalog *c, struct cat_state *ret);
int cat_state_put(struct catalog *c, const struct cat_state *s);
int cat_meta_put(struct catalog *c, const char *name, const void *data, uint32_t n);
int cat_meta_get(struct catalog *c, const char *name, void *buf, uint32_t cap, uint32_t *ret_n);

int cat_coll_put(struct catalog *c, const struct store_coll *k);
int cat_coll_del(struct catalog *c, uint32_t cid); /* its vectors, payloads, graphs and meta rows (u.NAME.CID) too */

int cat_obj_get(struct catalog *c, uint64_t oid, struct obj_rec *ret);
int cat_obj_put(struct catalog *c, const struct obj_rec *o);
int cat_obj_del(struct catalog *c, uint64_t oid); /* the row alone */
int cat_link_put(struct catalog *c, uint64_t oid, uint64_t parent, const char *name);
int cat_link_del(struct catalog *c, uint64_t oid, uint64_t parent, const char *name);
int cat_link_del_oid(struct catalog *c, uint64_t oid);

int cat_vec_get(struct catalog *c, uint32_t cid, uint32_t row, struct vec_rec *ret);
int cat_vec_put(struct catalog *c, const struct vec_rec *v);
int cat_vec_del(struct catalog *c, uint32_t cid, uint32_t row);
/* cat_vec_of_obj - some live row of a file, -ENOENT when none is left */
int cat_vec_of_obj(struct catalog *c, uint64_t oid, uint32_t *ret_cid, uint32_t *ret_row);
int cat_vec_of_free(struct catalog *c, uint32_t cid, uint64_t free_id, uint32_t *ret_row);
/* cat_vec_other - a live row of the same owner and collection as @v, but not @v; -ENOENT: none, as it should be */
int cat_vec_other(struct catalog *c, const struct vec_rec *v, uint32_t *ret_row);
int cat_vec_live(struct catalog *c, uint32_t cid); /* 1: the collection has a live row, 0: none */
int cat_vec_del_coll(struct catalog *c, uint32_t cid);
int cat_vec_count(struct catalog *c, uint32_t cid, uint64_t *ret_live, uint64_t *ret_dead);
int cat_vec_next_row(struct catalog *c, uint32_t cid, uint32_t *ret); /* highest row + 1, 0 when none */

int cat_pay_get(struct catalog *c, uint32_t cid, uint64_t id, sqlite3_stmt **ret, const void **data, uint32_t *n);
int cat_pay_put(
        struct catalog *c, uint32_t cid, uint64_t id, const void *data, uint32_t n); /* cid 0: a file's; n 0: gone */

int cat_chunk_put(struct catalog *c, uint64_t oid, uint64_t ver, const struct store_chunk *k);
/* cat_chunk_del - chunks of a file but those of version @keep (0: none kept) leave, full text included; counts them */
int cat_chunk_del(struct catalog *c, uint64_t oid, uint64_t keep, uint64_t *ret_n);
int cat_chunk_get(struct catalog *c, uint64_t oid, uint32_t ord, sqlite3_stmt **ret, struct chunk_rec *rec);

/* chunk_vec.c: which rows are the vectors of a file's chunks. Stores of before have no such table until a writer opens them */
int cat_emb_make(struct catalog *c);
bool cat_emb_have(struct catalog *c);
int cat_emb_put(struct catalog *c, uint32_t cid, uint64_t oid, uint64_t ver, const void *rows, uint32_t n);
int cat_emb_del(struct catalog *c, uint32_t cid, uint64_t oid); /* oid 0: all of a collection; cid 0: all of a file */

int cat_graph_put(struct catalog *c, uint32_t cid, uint64_t gen, const char *name);
/* cat_graph_old - a graph of the collection beside the newest; name[CONF_NAME_MAX + 1]. -ENOENT: none */
int cat_graph_old(struct catalog *c, uint32_t cid, uint64_t *ret_gen, char *ret_name);
int cat_graph_del(struct catalog *c, uint32_t cid, uint64_t gen);

/* row readers shared by load and verify: column order as in the SELECTs here. 0 or -EBADMSG */
#define CAT_SEL_META  "SELECT name,value,crc FROM meta"
#define CAT_SEL_COLL  "SELECT cid,name,dim,metric,dtype,m,efc,ef,uid,gid,mode,crc FROM coll ORDER BY cid"
#define CAT_SEL_OBJ   "SELECT oid,kind,ktype,key,tstate,terror,tver,tsize,tmtime,tctime,thash,crc FROM obj"
#define CAT_SEL_LINK  "SELECT oid,parent,name,crc FROM link"
#define CAT_SEL_VEC   "SELECT key,id,kind,dead,gen,vid,size,mtime,ctime,hash,crc FROM vec"
#define CAT_SEL_PAY   "SELECT cid,id,data,crc FROM payload"
#define CAT_SEL_CHUNK "SELECT id,oid,ver,ord,byte0,byte1,line0,line1,text,crc FROM chunk"
#define CAT_SEL_EMB   "SELECT cid,oid,ver,rows,crc FROM emb"
#define CAT_SEL_GRAPH "SELECT cid,gen,name,crc FROM graphgen"
int cat_row_meta(sqlite3_stmt *s);
int cat_row_coll(sqlite3_stmt *s, struct store_coll *ret);
int cat_row_obj(sqlite3_stmt *s, struct obj_rec *ret);
int cat_row_link(sqlite3_stmt *s, uint64_t *ret_oid, uint64_t *ret_parent, char *ret_name /* CONF_NAME_MAX + 1 */);
int cat_row_vec(sqlite3_stmt *s, struct vec_rec *ret);
int cat_row_pay(sqlite3_stmt *s, uint32_t *ret_cid, uint64_t *ret_id);
int cat_row_chunk(sqlite3_stmt *s, struct chunk_rec *ret);
int cat_row_emb(
        sqlite3_stmt *s, uint32_t *ret_cid, uint64_t *ret_oid, uint64_t *ret_ver, const void **ret, uint32_t *ret_n);
int cat_row_graph(sqlite3_stmt *s, uint32_t *ret_cid, uint64_t *ret_gen, char *ret_name);

static inline int64_t vec_key(uint32_t cid, uint32_t row)
{
	return (int64_t)((uint64_t)cid << 32 | row);
}
