/* verify.c - is a store what it should be?  Read from the files themselves, by rules of FORMAT.md, not through the running store.
 *
 * What is checked: SQLite's own structure; the checksum of every catalog row; that links, vectors and payloads belong to something;
 * one live vector a file and collection; every live vector's slot (CRC, and that it holds the write the catalog committed); slot
 * file headers; full text against chunks; published graphs' files; the counters of the state row.  Uncommitted slots, free rows,
 * chunks of a text not finished and a left-over working graph are free space, not findings.
 *
 * Repair works in one transaction.  What is derived is rebuilt (full text, counters, graph records); what is lost is named - the
 * file and its collection - and dropped, so that everything that remains is right.  A catalog too damaged for that is copied row by
 * row into a new one (salvage.c). */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/sbuf.h"
#include "store/verify_int.h"

#define PATH_DEPTH 16

void vf_say(struct verify *v, struct sbuf *b)
{
	(void)sbuf_cstr(b); /* terminates it in place */
	for (size_t i = 0; i < b->n; i++) /* one line a finding: SQLite's own sentences have several */
		if ((unsigned char)b->p[i] < ' ')
			b->p[i] = ' ';
	if (v->say)
		v->say(v->u, b->p);
}

void vf_finding(struct verify *v, const char *what, const char *table, uint64_t id, enum vf_fate fate)
{
	struct sbuf b;
	char line[256];
	static const char *const word[] = {"", " (repaired)", " (lost)"};
	v->r->findings++;
	bool fixed = v->repair && fate != VF_STAYS;
	v->r->repaired += fixed;
	v->r->lost += fate == VF_LOST;
	sbuf_fixed(&b, line, sizeof line);
	sb_str(&b, what);
	sb_ch(&b, ' ');
	sb_str(&b, table);
	sb_ch(&b, ' ');
	sb_u64(&b, id);
	sb_str(&b, fate == VF_LOST ? word[2] : fixed ? word[1] : word[0]);
	vf_say(v, &b);
}

int vf_prepare(struct verify *v, const char *sql, sqlite3_stmt **ret)
{
	return sqlite3_prepare_v2(v->st->cat.db, sql, -1, ret, NULL) == SQLITE_OK
	               ? 0
	               : cat_rc(&v->st->cat, sqlite3_extended_errcode(v->st->cat.db));
}

/* run a statement with up to three integers */
static int run3(struct verify *v, const char *sql, uint64_t a, uint64_t b, uint64_t c)
{
	sqlite3_stmt *s;
	const uint64_t p[3] = {a, b, c};
	VX_TRY(vf_prepare(v, sql, &s));
	for (int i = 0; i < sqlite3_bind_parameter_count(s) && i < 3; i++)
		sqlite3_bind_int64(s, i + 1, (int64_t)p[i]);
	int q = sqlite3_step(s);
	int rc = q == SQLITE_DONE || q == SQLITE_ROW ? 0 : cat_rc(&v->st->cat, sqlite3_extended_errcode(v->st->cat.db));
	sqlite3_finalize(s);
	return rc;
}

static int each(struct verify *v, const char *sql, int (*row)(struct verify *v, sqlite3_stmt *s))
{
	sqlite3_stmt *s;
	int rc, q = SQLITE_DONE;
	VX_TRY(vf_prepare(v, sql, &s));
	rc = 0;
	while (!rc && (q = sqlite3_step(s)) == SQLITE_ROW)
		rc = row(v, s);
	if (!rc && q != SQLITE_DONE)
		rc = cat_rc(&v->st->cat, sqlite3_extended_errcode(v->st->cat.db));
	sqlite3_finalize(s);
	return rc;
}

/* drop: remember a row to delete after its table's scan: a statement must not change what it walks */
static int drop_later(struct verify *v, enum vf_table t, uint64_t a, uint64_t b)
{
	if (!v->repair)
		return 0;
	if (v->drop_n == v->drop_cap) {
		uint32_t cap = v->drop_cap ? v->drop_cap * 2 : 64;
		void *p = mem_realloc(MEM_store, v->drop, cap * sizeof *v->drop);
		if (!p)
			return -ENOMEM;
		v->drop = p;
		v->drop_cap = cap;
	}
	v->drop[v->drop_n++] = (struct vf_drop){t, a, b};
	return 0;
}

static int drop_all(struct verify *v)
{
	static const char *const sql[] = {
	        [VFT_meta] = "DELETE FROM meta WHERE name=(SELECT name FROM meta ORDER BY name LIMIT 1 OFFSET ?1)",
	        [VFT_coll] = "DELETE FROM coll WHERE cid=?1",
	        [VFT_obj] = "DELETE FROM obj WHERE oid=?1",
	        [VFT_link] = "DELETE FROM link WHERE oid=?1 AND parent=?2",
	        [VFT_vec] = "DELETE FROM vec WHERE key=?1",
	        [VFT_payload] = "DELETE FROM payload WHERE cid=?1 AND id=?2",
	        [VFT_chunk] = "DELETE FROM chunk WHERE id=?1",
	        [VFT_emb] = "DELETE FROM emb WHERE cid=?1 AND oid=?2",
	        [VFT_graph] = "DELETE FROM graphgen WHERE cid=?1 AND gen=?2",
	        [VFT_text_again] = "SELECT 1 WHERE ?1",
	};
	/* from the last: offsets into meta stay right */
	while (v->drop_n) {
		const struct vf_drop *d = &v->drop[--v->drop_n];
		if (d->table ==
		        VFT_text_again) { /* its chunks are incomplete: the file is read again at the next mount */
			struct obj_rec o;
			int rc = cat_obj_get(&v->st->cat, d->a, &o);
			if (!rc) {
				o.text_state = STORE_TEXT_none;
				rc = cat_obj_put(&v->st->cat, &o);
			}
			if (rc < 0 && rc != -ENOENT && rc != -EBADMSG)
				return rc;
			continue;
		}
		VX_TRY(run3(v, sql[d->table], d->a, d->b, 0));
	}
	return 0;
}

/* "a/b.md", or "object 12", for people; a broken chain shows what is known of it */
static void say_path(struct verify *v, struct sbuf *b, uint64_t oid)
{
	char name[PATH_DEPTH][40]; /* the sentence has room for no more */
	int n = 0;
	uint64_t at = oid;
	for (; n < PATH_DEPTH && at != STORE_OID_ROOT; n++) {
		sqlite3_stmt *s;
		if (vf_prepare(v, "SELECT parent,name FROM link WHERE oid=?1 LIMIT 1", &s) < 0)
			break;
		sqlite3_bind_int64(s, 1, (int64_t)at);
		bool row = sqlite3_step(s) == SQLITE_ROW && sqlite3_column_blob(s, 1);
		if (row) {
			size_t len = (size_t)sqlite3_column_bytes(s, 1);
			len = len < sizeof name[0] - 1 ? len : sizeof name[0] - 1;
			memcpy(name[n], sqlite3_column_blob(s, 1), len);
			name[n][len] = 0;
			at = (uint64_t)sqlite3_column_int64(s, 0);
		}
		sqlite3_finalize(s);
		if (!row)
			break;
	}
	if (!n) {
		sb_str(b, "object ");
		sb_u64(b, oid);
	}
	while (n-- > 0) {
		sb_json(b, name[n], strlen(name[n]));
		if (n)
			sb_ch(b, '/');
	}
}

static void lost_vector(struct verify *v, const struct vec_rec *r, const char *coll, const char *why)
{
	struct sbuf b;
	char line[480];
	v->r->findings++;
	v->r->lost++;
	v->r->repaired += v->repair;
	sbuf_fixed(&b, line, sizeof line);
	sb_str(&b, "vector of ");
	if (r->is_free_point) {
		sb_str(&b, "point ");
		sb_u64(&b, r->id);
	} else {
		say_path(v, &b, r->id);
	}
	sb_str(&b, " in collection ");
	sb_str(&b, coll);
	sb_str(&b, ", row ");
	sb_u64(&b, r->row);
	sb_str(&b, ": ");
	sb_str(&b, why);
	sb_str(&b, " (lost)");
	vf_say(v, &b);
}

/* ---- tables ----------------------------------------------------------------------------------------------------------------- */

static int vf_meta(struct verify *v, sqlite3_stmt *s)
{
	uint64_t at = v->meta_at++;
	if (cat_row_meta(s) < 0) {
		vf_finding(v, "damaged row:", "meta", at, VF_FIXED);
		return drop_later(v, VFT_meta, at, 0);
	}
	return 0;
}

static int vf_coll(struct verify *v, sqlite3_stmt *s)
{
	struct coll *c;
	struct store_coll k;
	if (cat_row_coll(s, &k) < 0) {
		uint64_t cid = (uint64_t)sqlite3_column_int64(s, 0);
		/* the two that must exist are made again; a default collection's dimension is on its slot files' headers */
		vf_finding(v, "damaged row:", "coll", cid,
		        cid == STORE_CID_DEFAULT || cid == STORE_CID_TEXT ? VF_FIXED : VF_LOST);
		return drop_later(v, VFT_coll, cid, 0);
	}
	return coll_add(v->st, &k, &c);
}

static int vf_obj(struct verify *v, sqlite3_stmt *s)
{
	struct obj_rec o;
	v->r->objects++;
	if (cat_row_obj(s, &o) == 0)
		return 0;
	/* found again by the next walk, but which file it was is not known: what hangs on it goes */
	v->r->objects--;
	vf_finding(v, "damaged row:", "obj", (uint64_t)sqlite3_column_int64(s, 0), VF_LOST);
	return drop_later(v, VFT_obj, (uint64_t)sqlite3_column_int64(s, 0), 0);
}

static int vf_link(struct verify *v, sqlite3_stmt *s)
{
	uint64_t oid, parent;
	char name[CONF_NAME_MAX + 1];
	const char *what = NULL;
	v->r->links++;
	if (cat_row_link(s, &oid, &parent, name) < 0)
		what = "damaged row:";
	else if (!sqlite3_column_int(s, 4) || (parent != STORE_OID_ROOT && !sqlite3_column_int(s, 5)))
		what = "without its object or its parent:";
	if (!what)
		return 0;
	v->r->links--;
	v->fts_rebuild = true; /* it holds the names */
	vf_finding(v, what, "link of object", oid, VF_FIXED); /* the next walk finds the link again */
	return drop_later(v, VFT_link, (uint64_t)sqlite3_column_int64(s, 0), (uint64_t)sqlite3_column_int64(s, 1));
}

/* the slot of a live row, read from its file */
static const char *slot_wrong(struct verify *v, struct coll *c, const struct vec_rec *r)
{
	uint32_t seg = rows_seg(r->row), stride = slots_stride(c->c.dim, c->c.dtype);
	struct seg *g = &c->seg[seg];
	uint64_t vid;
	if (g->fd == -1) { /* first row of the segment */
		char name[16];
		uint8_t h[64];
		slots_name(name, seg);
		g->fd = os_openat(v->st->os, atomic_load(&c->dirfd), name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
		if (g->fd < 0) {
			g->fd = -2;
			vf_finding(v, "slot file is missing: collection", c->c.name, seg, VF_STAYS);
		} else if (os_pread_all(v->st->os, g->fd, h, sizeof h, 0) < 0 ||
		           slots_header_check(h, &c->c, seg) < 0) {
			vf_finding(v, "slot file's header is damaged: collection", c->c.name, seg, VF_FIXED);
			g->dirty = true; /* to be written anew */
		}
	}
	if (g->fd < 0)
		return "its slot file is missing";
	int rc = os_pread_all(v->st->os, g->fd, c->buf, slots_vec_room(c->c.dim, c->c.dtype) + 12u,
	        (off_t)(SLOTS_HEADER + (uint64_t)(r->row - rows_seg_first(seg)) * stride));
	v->r->slots_checked++;
	if (rc < 0)
		return rc == -VX_ERR_truncated ? "its slot file ends before it" : "its slot cannot be read";
	if (!slot_check(c->buf, c->c.dim, c->c.dtype, &vid))
		return "its slot's checksum does not fit";
	return vid == r->vid ? NULL : "its slot holds another write";
}

static int vf_vec(struct verify *v, sqlite3_stmt *s)
{
	struct vec_rec r;
	uint64_t key = (uint64_t)sqlite3_column_int64(s, 0);
	struct coll *c = coll_find(v->st, (uint32_t)(key >> 32));
	const char *why = NULL;
	if (cat_row_vec(s, &r) < 0) {
		vf_finding(v, "damaged row:", "vec", key, sqlite3_column_int(s, 3) == 1 ? VF_FIXED : VF_LOST);
		return drop_later(v, VFT_vec, key, 0);
	}
	if (r.dead)
		return 0;
	v->r->vectors++;
	if (!c || !c->c.dim)
		why = "its collection is not there";
	else if (!r.is_free_point && !sqlite3_column_int(s, 11))
		why = "its file is not known";
	else
		why = slot_wrong(v, c, &r);
	if (!why)
		return 0;
	v->r->vectors--;
	lost_vector(v, &r, c ? c->c.name : "?", why);
	return drop_later(v, VFT_vec, key, 0);
}

static int vf_twice(struct verify *v, sqlite3_stmt *s)
{
	uint64_t key = (uint64_t)sqlite3_column_int64(s, 0);
	vf_finding(v, "an older live vector of the same point:", "vec", key, VF_FIXED);
	v->r->vectors--;
	return drop_later(v, VFT_vec, key, 0);
}

static int vf_payload(struct verify *v, sqlite3_stmt *s)
{
	uint32_t cid;
	uint64_t id;
	if (cat_row_pay(s, &cid, &id) == 0)
		return 0;
	vf_finding(v, "damaged row:", "payload", (uint64_t)sqlite3_column_int64(s, 1), VF_LOST);
	return drop_later(v, VFT_payload, (uint64_t)sqlite3_column_int64(s, 0), (uint64_t)sqlite3_column_int64(s, 1));
}

static int vf_chunk(struct verify *v, sqlite3_stmt *s)
{
	struct chunk_rec k;
	v->r->chunks++;
	if (cat_row_chunk(s, &k) == 0)
		return 0;
	v->r->chunks--;
	v->fts_rebuild = true;
	vf_finding(v, "damaged row:", "chunk", (uint64_t)sqlite3_column_int64(s, 0),
	        VF_FIXED); /* the file is read again */
	VX_TRY(drop_later(v, VFT_text_again, (uint64_t)sqlite3_column_int64(s, 1), 0));
	return drop_later(v, VFT_chunk, (uint64_t)sqlite3_column_int64(s, 0), 0);
}

/* a row that says which vectors are whose chunks is made anew from the vectors' own hashes */
static int vf_emb(struct verify *v, sqlite3_stmt *s)
{
	uint32_t cid, n;
	uint64_t oid, ver;
	const void *rows;
	const char *what = NULL;
	if (cat_row_emb(s, &cid, &oid, &ver, &rows, &n) < 0)
		what = "damaged row:";
	else if (!coll_find(v->st, cid) || !sqlite3_column_int(s, 5))
		what = "without its collection or its file:";
	if (!what)
		return 0;
	vf_finding(v, what, "emb", (uint64_t)sqlite3_column_int64(s, 1), VF_FIXED);
	return drop_later(v, VFT_emb, (uint64_t)sqlite3_column_int64(s, 0), (uint64_t)sqlite3_column_int64(s, 1));
}

static int vf_graph(struct verify *v, sqlite3_stmt *s)
{
	uint32_t cid;
	uint64_t gen;
	char name[CONF_NAME_MAX + 1];
	struct stat sb;
	const char *what = NULL;
	struct coll *c;
	if (cat_row_graph(s, &cid, &gen, name) < 0)
		what = "damaged row:";
	else if (!(c = coll_find(v->st, cid)) ||
	         os_fstatat(v->st->os, atomic_load(&c->dirfd), name, &sb, AT_SYMLINK_NOFOLLOW) < 0)
		what = "its file is missing:";
	if (!what)
		return 0;
	vf_finding(v, what, "graphgen", (uint64_t)sqlite3_column_int64(s, 1), VF_FIXED); /* graphs are derived */
	return drop_later(v, VFT_graph, (uint64_t)sqlite3_column_int64(s, 0), (uint64_t)sqlite3_column_int64(s, 1));
}

static int vf_integrity(struct verify *v, sqlite3_stmt *s)
{
	const char *t = (const char *)sqlite3_column_text(s, 0);
	if (!t || strcmp(t, "ok")) {
		vf_finding(v, t ? t : "?", "catalog.db", 0, VF_STAYS);
		v->structure_bad = true;
	}
	return 0;
}

static int vf_fts(struct verify *v)
{
	if (!v->may_write)
		return 0;
	int rc = run3(v, "INSERT INTO fts(fts,rank) VALUES('integrity-check',1)", 0, 0, 0);
	if (rc == -VX_ERR_store_corrupt) {
		if (!v->fts_rebuild)
			vf_finding(v, "full text does not fit the chunks:", "fts", 0, VF_FIXED);
		v->fts_rebuild = true;
		rc = 0;
	}
	if (!rc && v->repair && v->fts_rebuild)
		rc = run3(v, "INSERT INTO fts(fts) VALUES('rebuild')", 0, 0, 0);
	return rc;
}

static int one_u64(struct verify *v, const char *sql, uint64_t *ret)
{
	sqlite3_stmt *s;
	VX_TRY(vf_prepare(v, sql, &s));
	*ret = sqlite3_step(s) == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
	sqlite3_finalize(s);
	return 0;
}

static bool state_differs(const struct cat_state *a, const struct cat_state *b)
{
	return a->objects != b->objects || a->vectors != b->vectors || a->dead_rows != b->dead_rows ||
	       a->chunks != b->chunks || a->next_cid != b->next_cid;
}

static int vf_state(struct verify *v)
{
	struct cat_state have = {0}, want;
	int rc = cat_state_get(&v->st->cat, &have);
	if (rc < 0 && rc != -VX_ERR_store_corrupt)
		return rc;
	bool missing = rc < 0;
	uint64_t gen, cid;
	want = have;
	VX_TRY(one_u64(v, "SELECT count(*) FROM obj", &want.objects));
	VX_TRY(one_u64(v, "SELECT count(*) FROM vec WHERE dead=0", &want.vectors));
	VX_TRY(one_u64(v, "SELECT count(*) FROM vec WHERE dead<>0", &want.dead_rows));
	VX_TRY(one_u64(v, "SELECT count(*) FROM chunk", &want.chunks));
	VX_TRY(one_u64(v, "SELECT coalesce(max(gen),0) FROM vec", &gen));
	VX_TRY(one_u64(v, "SELECT coalesce(max(cid),0) FROM coll", &cid));
	if (want.generation < gen)
		want.generation = gen;
	if (want.next_cid <= cid)
		want.next_cid = (uint32_t)cid + 1;
	if (v->repair && v->r->repaired) /* what is derived and names its commit (rows.tab) counts no more */
		want.generation++;
	if (missing)
		vf_finding(v, "missing or damaged:", "state row, generation", want.generation, VF_FIXED);
	else if ((state_differs(&have, &want) || have.generation < gen) && !v->drop_was)
		vf_finding(
		        v, "its counters do not fit the tables:", "state row, generation", have.generation, VF_FIXED);
	return v->repair ? cat_state_put(&v->st->cat, &want) : 0;
}

static int vf_must_exist(struct verify *v)
{
	static const char *const name[] = {[STORE_CID_DEFAULT] = "default", [STORE_CID_TEXT] = "text"};
	for (uint32_t cid = STORE_CID_DEFAULT; cid <= STORE_CID_TEXT; cid++) {
		struct store_coll k = {.cid = cid,
		        .metric = VXM_cosine,
		        .dtype = VXD_f32,
		        .M = 16,
		        .ef_construction = 200,
		        .ef = CONF_EF_DEFAULT,
		        .mode = 0644};
		struct coll *c;
		uint8_t h[64];
		char dir[16];
		if (coll_find(v->st, cid))
			continue;
		memcpy(k.name, name[cid], strlen(name[cid]) + 1);
		coll_dir_name(dir, cid);
		int d = os_openat(v->st->os, v->st->dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
		int fd = d < 0 ? -1 : os_openat(v->st->os, d, "v0.vec", O_RDONLY | O_CLOEXEC, 0);
		if (fd >= 0 && os_pread_all(v->st->os, fd, h, sizeof h, 0) == 0 &&
		        crc32c(0, h, 60) == le32_get(h + 60) && le32_get(h + 24) <= CONF_DIM_MAX && h[28] < VXD_N) {
			k.dim = le32_get(h + 24);
			k.dtype = h[28];
		}
		if (fd >= 0)
			(void)os_close(v->st->os, fd); /* read only */
		if (d >= 0)
			(void)os_close(v->st->os, d); /* read only */
		if (!v->repair)
			vf_finding(v, "missing:", "coll", cid, VF_STAYS);
		else
			VX_TRY(cat_coll_put(&v->st->cat, &k));
		VX_TRY(coll_add(v->st, &k, &c));
	}
	return 0;
}

static int headers_fix(struct verify *v)
{
	for (uint32_t i = 0; v->repair && i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c = atomic_load(&v->st->coll[i]);
		for (uint32_t s = 0; c && s < ROWS_SEGS; s++) {
			uint8_t h[64];
			char name[16];
			if (!c->seg[s].dirty)
				continue;
			slots_name(name, s);
			slots_header(h, &c->c, s);
			int fd = os_openat(v->st->os, atomic_load(&c->dirfd), name, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
			VX_TRY(fd);
			int rc = os_pwrite_all(v->st->os, fd, h, sizeof h, 0);
			if (!rc)
				rc = os_fdatasync(v->st->os, fd);
			(void)os_close(v->st->os, fd); /* synced or failed by now */
			VX_TRY(rc);
			c->seg[s].dirty = false;
		}
	}
	return 0;
}

#define FLUSH_DROPS(v)                                                                                                 \
	do {                                                                                                           \
		(v)->drop_was |= (v)->drop_n > 0;                                                                      \
		VX_TRY(drop_all(v));                                                                                   \
	} while (0)

static int tables(struct verify *v)
{
	VX_TRY(each(v, "SELECT name,value,crc FROM meta ORDER BY name", vf_meta));
	FLUSH_DROPS(v);
	VX_TRY(each(v, CAT_SEL_COLL, vf_coll));
	FLUSH_DROPS(v);
	VX_TRY(vf_must_exist(v));
	VX_TRY(each(v, CAT_SEL_OBJ, vf_obj));
	FLUSH_DROPS(v);
	VX_TRY(each(v,
	        "SELECT oid,parent,name,crc,EXISTS(SELECT 1 FROM obj o WHERE o.oid=link.oid),"
	        "EXISTS(SELECT 1 FROM obj o WHERE o.oid=link.parent) FROM link",
	        vf_link));
	FLUSH_DROPS(v);
	VX_TRY(each(v,
	        "SELECT key,id,kind,dead,gen,vid,size,mtime,ctime,hash,crc,"
	        "kind=1 OR EXISTS(SELECT 1 FROM obj WHERE oid=vec.id) FROM vec",
	        vf_vec));
	FLUSH_DROPS(v);
	VX_TRY(each(v,
	        "SELECT a.key FROM vec a JOIN vec b ON b.id=a.id AND b.kind=a.kind AND b.key>>32=a.key>>32 AND "
	        "b.dead=0 "
	        "AND (b.gen,b.key)>(a.gen,a.key) WHERE a.dead=0 AND NOT EXISTS(SELECT 1 FROM coll c WHERE "
	        "c.cid=a.key>>32 AND "
	        "c.name GLOB 'text.*')",
	        vf_twice));
	FLUSH_DROPS(v);
	VX_TRY(each(v, CAT_SEL_PAY, vf_payload));
	FLUSH_DROPS(v);
	VX_TRY(each(v, CAT_SEL_CHUNK, vf_chunk));
	FLUSH_DROPS(v);
	VX_TRY(vf_fts(v));
	if (cat_emb_have(&v->st->cat))
		VX_TRY(each(v, "SELECT cid,oid,ver,rows,crc,EXISTS(SELECT 1 FROM obj o WHERE o.oid=emb.oid) FROM emb",
		        vf_emb));
	FLUSH_DROPS(v);
	VX_TRY(each(v, CAT_SEL_GRAPH, vf_graph));
	FLUSH_DROPS(v);
	return vf_state(v);
}

static int check(struct verify *v)
{
	char path[64];
	struct vx_errinfo e = {0};
	VX_TRY(store_path(v->st->dirfd, "catalog.db", path, sizeof path));
	int rc = cat_open(&v->st->cat, path, v->may_write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY, 4000, &e);
	if (!rc)
		rc = cat_format(&v->st->cat);
	if (rc < 0)
		return rc;
	VX_TRY(each(v, "PRAGMA integrity_check(20)", vf_integrity));
	if (v->structure_bad)
		return -VX_ERR_store_corrupt;
	if (v->may_write)
		VX_TRY(cat_begin(&v->st->cat));
	rc = tables(v);
	if (!rc)
		rc = headers_fix(v);
	if (v->may_write) {
		int end = rc < 0 || !v->repair ? cat_rollback(&v->st->cat) : cat_commit(&v->st->cat);
		rc = rc < 0 ? rc : end;
	}
	return rc;
}

static int catalog_broken(int rc)
{
	return rc == -VX_ERR_store_corrupt || rc == -VX_ERR_store_format || rc == -ENOENT || rc == -EIO;
}

/* an empty catalog and no slot file: a first opening that was cut short. The next one begins anew and nothing is lost. */
static bool never_filled(struct verify *v, int rc)
{
	return rc == -ENOENT && store_slots_anywhere(v->st->os, v->st->dirfd) == 0;
}

int verify_one(const struct store_cfg *cfg, bool repair, void (*say)(void *u, const char *line), void *u,
        struct store_verify_report *ret)
{
	struct verify v = {.repair = repair, .say = say, .u = u, .r = ret, .may_write = repair || !cfg->read_only};
	struct vx_errinfo e = {0};
	memset(ret, 0, sizeof *ret);
	int rc = store_files_open(cfg, &v.st, &e);
	if (rc < 0) {
		if (say)
			say(u, e.detail[0] ? e.detail : err_text(rc));
		return rc;
	}
	rc = check(&v);
	if (never_filled(&v, rc))
		rc = 0;
	if (catalog_broken(rc)) {
		vf_finding(&v, err_text(rc), "catalog.db", 0, VF_STAYS);
		rc = repair ? salvage(&v) : 0;
		if (repair && !rc) { /* what was copied is checked like any store; what it cannot keep is named there */
			ret->repaired = ret->findings;
			cat_close(&v.st->cat);
			colls_forget(v.st);
			v.meta_at = v.drop_n = 0;
			v.structure_bad = v.fts_rebuild = false;
			v.drop_was = true; /* its counters are made by this very check */
			ret->objects = ret->links = ret->vectors = ret->slots_checked = ret->chunks = 0;
			rc = check(&v);
		}
	}
	mem_free(MEM_store, v.drop);
	store_close(v.st);
	if (rc < 0)
		return rc;
	return repair ? (int)(ret->findings > ret->repaired ? ret->findings - ret->repaired : 0) : (int)ret->findings;
}
