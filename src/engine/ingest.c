/* ingest.c - from a file's content to its hash and its chunks of text, behind everybody's back.
 *
 * One thread, a little nicer than the others, takes objects from the queue, first come first served, and reads each file in pieces by its path below
 * the root, through struct os.  What it finds out: the content hash, which binds vectors to content and tells whether a touched file
 * really changed; and where text is indexed, the chunks.  A file whose size, mtime or ctime moved while it was read is read again, at
 * once a few times, then every second: a log that never rests must not keep a core busy.  A file whose mtime is younger than two
 * seconds is hashed once more later, since a write in the same tick of the clock would leave the stamp as it was (git's racy rule).  That
 * second look is nobody's business until it finds something: it doesn't count as pending.
 *
 * An object is pending from the moment it is queued until what was read of it is committed: the readers of the full text see commits
 * only.  When the queue runs empty a barrier asks for that commit at once. */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/ingest_priv.h"
#include "engine/sem.h"

#define INGEST_PIECE     65536u
#define INGEST_BATCH     32u /* chunks a store operation */
#define INGEST_NICE      5
#define INGEST_TRIES     3u
#define INGEST_LATER_MAX 65536u
#define INGEST_AGAIN_NS  1000000000ull
#define BURST_MIN        64u /* files that wait */
#define BURST_LOOK_NS    20000000ull
#define BURST_MAX_NS     500000000ull

struct later {
	uint64_t oid, due_ns;
	uint8_t what;
	bool counted; /* it is pending meanwhile */
};
struct ingest {
	struct engine *e;
	struct later *later;
	uint32_t later_n, later_cap;
	struct ignore *ignore;
	struct doc *doc;
	bool no_ranges; /* the chunks are of an extracted text: its lines are not the file's */
	uint8_t *piece;
	char *path;
	/* chunks of one batch: their text behind one another */
	struct store_chunk chunk[INGEST_BATCH];
	char *text;
	uint32_t text_n, chunk_n, chunk_all;
	uint64_t oid, ver;
	bool unflushed; /* commits are on their way that nobody has asked for */
	uint64_t burst_ns, burst_queued;
};
#define INGEST_TEXT_MAX (INGEST_BATCH * (TEXT_CHUNK_MAX + 1))

struct work {
	uint64_t oid;
	struct obj_key key;
	uint8_t what;
	bool has_vecs;
	bool counted; /* it is pending until this is done */
	bool was_ignored, ignored; /* left out of the text index: so far, and by the rules as they are */
	bool text_known; /* its text is in, or was found wanting, of this stamp and hash */
	struct stamp text;
	uint32_t attr_n; /* likewise: stamps may be ahead of a stat made before they changed */
	uint32_t change_n; /* of the object when it was taken: what is found out is of that content or a later one */
	int path_rc;
	char name[CONF_NAME_MAX + 1];
};

void ingest_pending_less(struct engine *e)
{
	if (atomic_fetch_sub(&e->pending, 1) != 1)
		return;
	job_wait_check(e);
	if (e->sem)
		bell_ring(&e->sem->bell); /* all text is in: a new model may be whole now */
}
static void work_over(struct engine *e, const struct work *w)
{
	if (w->counted)
		ingest_pending_less(e);
}
/* look at it again at a later time; @counted: it stays pending until then */
static void put_off(struct ingest *g, uint64_t oid, uint8_t what, uint64_t ns, bool counted)
{
	if (g->later_n == g->later_cap) {
		uint32_t cap = g->later_cap ? g->later_cap * 2 : 64;
		struct later *l =
		        cap <= INGEST_LATER_MAX ? mem_realloc(MEM_engine, g->later, (size_t)cap * sizeof(*l)) : NULL;
		if (!l) {
			if (counted) {
				eng_lost(g->e);
				ingest_pending_less(g->e);
			}
			return; /* a second look that isn't taken leaves the stamp as it is: the next walk compares it */
		}
		g->later = l;
		g->later_cap = cap;
	}
	g->later[g->later_n++] = (struct later){oid, os_mono_ns(g->e->os) + ns, what, counted};
}
/* what is due goes back into the queue; the time to the next, or WQ_FOREVER */
static uint64_t later_due(struct ingest *g)
{
	struct engine *e = g->e;
	uint64_t now = os_mono_ns(e->os), next = WQ_FOREVER;
	for (uint32_t i = 0; i < g->later_n;) {
		struct later *l = &g->later[i];
		if (l->due_ns > now) {
			next = l->due_ns - now < next ? l->due_ns - now : next;
			i++;
			continue;
		}
		struct later due = *l;
		*l = g->later[--g->later_n];
		behind_wrlock(e);
		struct eng_obj *o = obj_by_oid(&e->t, due.oid);
		if (o)
			ingest_push(e, o, due.what);
		behind_unlock(e);
		if (due.counted)
			ingest_pending_less(e);
	}
	return next;
}

/* ---- chunks ---- */
static int flush_chunks(struct ingest *g)
{
	if (!g->chunk_n)
		return 0;
	struct eng_op *o = op_get_wait(g->e, SOP_text_chunks);
	if (!o)
		return -ENOMEM;
	o->op.oid = g->oid;
	o->op.text_ver = g->ver;
	o->op.chunk = g->chunk;
	o->op.chunk_n = g->chunk_n;
	int rc = op_run(o, false);
	g->chunk_n = g->text_n = 0;
	return rc;
}
static int emit(void *u, const struct text_chunk *ch)
{
	struct ingest *g = u;
	if (g->chunk_n == INGEST_BATCH || g->text_n + ch->text_n > INGEST_TEXT_MAX)
		VX_TRY(flush_chunks(g));
	if (ch->text_n > INGEST_TEXT_MAX)
		return -VX_ERR_not_text;
	memcpy(g->text + g->text_n, ch->text, ch->text_n);
	g->chunk[g->chunk_n++] = (struct store_chunk){.ord = ch->ord,
	        .byte0 = g->no_ranges ? 0 : ch->byte0,
	        .byte1 = g->no_ranges ? 0 : ch->byte1,
	        .line0 = g->no_ranges ? 0 : ch->line0,
	        .line1 = g->no_ranges ? 0 : ch->line1,
	        .text = g->text + g->text_n,
	        .text_n = ch->text_n};
	g->text_n += ch->text_n;
	g->chunk_all++;
	return 0;
}

/* ---- reading ---- */
struct reading {
	struct text_hash *hash;
	struct text_chunker *text; /* NULL: not, or no longer, text */
	uint8_t state; /* enum store_text_state */
	int error;
	enum text_format format; /* html, pdf …: read again through the child when all of it has been hashed */
};
static int feed(struct ingest *g, struct reading *r, const void *p, size_t n, bool end)
{
	if (!r->text)
		return 0;
	int rc = text_feed(r->text, p, n, end, emit, g);
	if (rc == -VX_ERR_not_text) {
		r->state = STORE_TEXT_not_text;
		text_chunker_free(r->text);
		r->text = NULL;
		g->chunk_n = g->text_n = 0;
		rc = 0;
	}
	return rc;
}
/* what the first bytes tell */
static int begin_text(struct ingest *g, struct reading *r, size_t n, uint64_t size, const char *name)
{
	size_t look = n < 8192 ? n : 8192;
	enum text_format f = doc_format(g->doc, g->piece, look, n <= 8192, name);
	if (f == TEXT_FORMAT_none) {
		r->state = STORE_TEXT_not_text;
		return 0;
	}
	if (size > CONF_TEXT_FILE_MAX) {
		r->state = STORE_TEXT_error;
		r->error = -VX_ERR_text_too_large;
		return 0;
	}
	if (f == TEXT_FORMAT_plain)
		return text_chunker_new(name, &r->text);
	r->format = f;
	return 0;
}
/* a document, once it has been hashed */
static int read_doc(struct ingest *g, int fd, struct reading *r, const char *name)
{
	g->no_ranges = true;
	int rc = doc_read(g->doc, fd, r->format, name, emit, g);
	if (rc == -VX_ERR_not_text || rc == -VX_ERR_component_off) {
		r->state = STORE_TEXT_not_text;
	} else if (doc_reason(rc)) {
		r->state = STORE_TEXT_error;
		r->error = rc;
	} else {
		return rc;
	}
	g->chunk_n = g->text_n = 0;
	return 0;
}
/* whole: every byte must be read; else reading ends when it turns out not to be text */
static int read_file(
        struct ingest *g, int fd, struct reading *r, uint64_t size, bool whole, bool want_text, const char *name)
{
	struct engine *e = g->e;
	uint64_t at = 0;
	for (;;) {
		ssize_t n = os_pread(e->os, fd, g->piece, INGEST_PIECE, (off_t)at);
		if (n < 0)
			return (int)n;
		if (!at && want_text)
			VX_TRY(begin_text(g, r, (size_t)n, size, name));
		if (!r->text && !r->format && !whole)
			return 0;
		text_hash_add(r->hash, g->piece, (size_t)n);
		VX_TRY(feed(g, r, g->piece, (size_t)n, n == 0));
		if (!n)
			return r->format ? read_doc(g, fd, r, name) : 0;
		at += (uint64_t)n;
		if (at > size)
			return -VX_ERR_file_changed;
		if (eng_stopping(e))
			return -VX_ERR_shutting_down;
	}
}

/* ---- what was found out ---- */
static void hash_decides(struct engine *e, struct eng_obj *o, const struct note_stat *st, const uint8_t hash[16])
{
	for (struct eng_vec *v = o->vecs; v; v = v->next) {
		struct stamp was = v->stamp;
		if (v->busy || v->bind_wait)
			continue;
		bool same = stamp_same_data(&v->stamp, st) && !v->changed;
		if (v->stamp.hashed) {
			bool equal = !memcmp(v->stamp.hash, hash, 16);
			if (equal) {
				stamp_of(&v->stamp, st);
			} else if (stamp_same_data(&v->stamp, st)) {
				/* written within one tick: the stat alone would call it fresh */
				v->stamp.size = ENG_STALE_SIZE;
			}
			memcpy(v->stamp.hash, equal ? hash : was.hash, 16);
			v->stamp.hashed = 1;
		} else if (same) {
			stamp_of(&v->stamp, st);
			memcpy(v->stamp.hash, hash, 16);
			v->stamp.hashed = 1;
		} else if (stamp_same_data(&v->stamp, st)) {
			v->stamp.size = ENG_STALE_SIZE; /* changed before anyone knew its hash */
		}
		v->changed = v->ctime_ours = false;
		if (memcmp(&was, &v->stamp, sizeof(was)) != 0 && !vec_stamp_put(e, o, v))
			eng_lost(e);
	}
}
/* only now do the readers find the new chunks and no old ones: only now may the table call them fresh */
static void done_durable(struct store_op *op, int rc)
{
	struct eng_op *o = (struct eng_op *)op;
	struct engine *e = o->e;
	if (rc >= 0 || rc == -VX_ERR_no_object) {
		eng_wrlock(e);
		struct eng_obj *obj = obj_by_oid(&e->t, op->oid);
		if (obj && rc < 0) {
			obj->stored = false; /* what we believed is not so: it is put again with the next try */
		} else if (obj) {
			obj->text_stamp = op->stamp;
			obj->text_state = op->text_state;
			obj->text_error = op->error;
			if (op->text_state == STORE_TEXT_error)
				e->err_oid[e->err_n++ % ENG_ERRORS_KEPT] = op->oid;
			obj->text_seen = o->tag;
			if (obj->attr_n != o->attr_n)
				ingest_push(
				        e, obj, QF_TEXT | QF_HASH); /* the stamp is older than what a note has seen */
			obj->text_commit = atomic_fetch_add(&e->text_commits, 1) + 1;
			sem_text_new(e, obj);
		}
		eng_unlock(e);
	}
	if (rc < 0) {
		atomic_fetch_add(&e->ingest_failed, 1);
		perf_add(PERFC_ingest_failed, 1);
		op_undone(o); /* the walk that follows reads it again */
	} else {
		atomic_store(&e->resync_s, 0);
		bool error = op->text_state == STORE_TEXT_error;
		atomic_fetch_add(error ? &e->ingest_failed : &e->ingest_done, 1);
		perf_add(error ? PERFC_ingest_failed : PERFC_ingest_done, 1);
	}
	bool counted = o->counted;
	op_put(o);
	if (counted)
		ingest_pending_less(e);
}
/* the object's text is as read; the operation takes over its being pending */
static int text_done(struct ingest *g, const struct work *w, const struct reading *r, const struct note_stat *st,
        const uint8_t *hash)
{
	struct engine *e = g->e;
	struct eng_op *op = op_get_wait(e, SOP_text_done);
	if (!op)
		return -ENOMEM;
	int rc = 0;
	eng_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, w->oid);
	if (!o || !obj_persist(e, o))
		rc = o ? -VX_ERR_queue_full : -ENOENT;
	if (!rc) {
		stamp_of(&op->op.stamp, st);
		if (hash) {
			memcpy(op->op.stamp.hash, hash, 16);
			op->op.stamp.hashed = 1;
		}
		op->tag = w->change_n;
		op->attr_n = w->attr_n;
		op->counted = w->counted;
		op->op.oid = o->oid;
		op->op.text_ver = g->ver;
		op->op.text_state = r->state;
		op->op.error = r->error;
		op->op.visible = NULL;
		op->op.durable = done_durable;
		store_submit(e->st, &op->op);
		g->unflushed = true;
	}
	eng_unlock(e);
	if (rc < 0)
		op_put(op);
	return rc;
}

/* ---- one object ---- */
static bool take(struct ingest *g, struct work *w)
{
	struct engine *e = g->e;
	uint64_t oid;
	behind_wrlock(e);
	bool counted = oid_ring_pop(&e->ingest_q, &oid), got = counted || oid_ring_pop(&e->look_q, &oid);
	struct eng_obj *o = got ? obj_by_oid(&e->t, oid) : NULL;
	if (o && !counted && !(o->qf & QF_QUIET))
		o = NULL; /* it has been looked at since, or waits in the other queue */
	w->oid = got ? oid : 0;
	w->what = 0;
	w->counted = counted;
	if (o) {
		w->key = o->key;
		w->what = o->qf & (QF_TEXT | QF_HASH | QF_RECHECK | QF_IGNORE);
		w->was_ignored = o->text_error == -VX_ERR_ignored;
		w->has_vecs = o->vecs != NULL;
		w->change_n = o->change_n;
		w->attr_n = o->attr_n;
		w->text_known = (o->text_state == STORE_TEXT_done ||
		                        (o->text_state == STORE_TEXT_error && o->text_error != -VX_ERR_deadline)) &&
		                o->text_stamp.hashed;
		w->text = o->text_stamp;
		o->qf = 0;
		w->path_rc = obj_path(o, g->path, CONF_PATH_MAX + 1);
		w->name[0] = 0;
		if (o->links)
			memcpy(w->name, o->links->name, (size_t)o->links->n + 1);
		if (w->what & QF_TEXT && e->cfg.components != ENG_all)
			w->what &= (uint8_t)~QF_TEXT;
	}
	behind_unlock(e);
	return got;
}
static void again(struct ingest *g, const struct work *w, bool soon)
{
	struct engine *e = g->e;
	unsigned tries = 0;
	behind_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, w->oid);
	if (o) {
		tries = o->tries;
		if (o->tries < 255)
			o->tries++;
		if (soon && tries < INGEST_TRIES)
			ingest_push(e, o, w->what);
	}
	behind_unlock(e);
	if (!o || (soon && tries < INGEST_TRIES))
		work_over(e, w);
	else
		put_off(g, w->oid, w->what, INGEST_AGAIN_NS, w->counted);
}
static int open_same(struct ingest *g, const struct work *w, struct stat *st)
{
	struct os *os = g->e->os;
	struct obj_key k;
	int fd = eng_open_unseen(os, g->e->cfg.root_fd, g->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return fd;
	int rc = os_fstat(os, fd, st);
	if (rc >= 0)
		rc = objkey_at(fd, "", &k);
	if (rc >= 0 && (!objkey_eq(&k, &w->key) || !S_ISREG(st->st_mode)))
		rc = -ENOENT;
	if (rc >= 0)
		return fd;
	(void)os_close(os, fd); /* read only */
	return rc;
}
/* a time that was set to lie ahead is not the clock's: the next write changes it */
static bool young(struct engine *e, const struct note_stat *st)
{
	int64_t age = (int64_t)os_real_ns(e->os) - st->mtime_ns;
	return age < ENG_RACY_NS && age > -ENG_RACY_NS;
}
/* a file of the same size whose text is in: read for its hash alone, since identical content is never chunked twice. 1: the same, and
 * its stamps are new; 0: it must be read for its text; < 0 */
static int same_content(struct ingest *g, const struct work *w, int fd, const struct stat *st)
{
	struct engine *e = g->e;
	struct text_hash *h;
	struct stat st2;
	struct note_stat a, b;
	uint8_t hash[16];
	uint64_t at = 0;
	ssize_t n;
	VX_TRY(text_hash_new(&h));
	while ((n = os_pread(e->os, fd, g->piece, INGEST_PIECE, (off_t)at)) > 0 && at <= (uint64_t)st->st_size) {
		text_hash_add(h, g->piece, (size_t)n);
		at += (uint64_t)n;
		if (eng_stopping(e))
			break;
	}
	text_hash_end(h, hash);
	if (n < 0)
		return (int)n;
	if (eng_stopping(e))
		return -VX_ERR_shutting_down;
	VX_TRY(os_fstat(e->os, fd, &st2));
	note_stat_of(&a, st);
	note_stat_of(&b, &st2);
	if (a.size != b.size || a.mtime_ns != b.mtime_ns || a.ctime_ns != b.ctime_ns)
		return -VX_ERR_file_changed;
	if (memcmp(hash, w->text.hash, 16) != 0)
		return 0;
	int rc = 1;
	behind_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, w->oid);
	if (o && (o->change_n != w->change_n || o->attr_n != w->attr_n)) {
		rc = -VX_ERR_file_changed;
	} else if (o) {
		hash_decides(e, o, &a, hash);
		bool moved = !stamp_same(&o->text_stamp, &a);
		stamp_of(&o->text_stamp, &a);
		memcpy(o->text_stamp.hash, hash, 16);
		o->text_stamp.hashed = 1;
		o->text_seen = w->change_n;
		if (moved && o->stored && !text_stamp_put(e, o))
			eng_lost(e);
	}
	behind_unlock(e);
	if (rc > 0 && young(e, &a) && !(w->what & QF_RECHECK))
		put_off(g, w->oid, QF_TEXT | QF_HASH | QF_RECHECK, (uint64_t)ENG_RACY_NS, false);
	return rc;
}
/* 0: done, and pending was taken over or given back; -VX_ERR_file_changed: read again; other < 0: it can't be read */
static int read_object(struct ingest *g, const struct work *w)
{
	struct engine *e = g->e;
	struct stat st, st2;
	struct reading r = {.state = STORE_TEXT_none};
	uint8_t hash[16];
	bool want_text = w->what & QF_TEXT, whole = w->has_vecs;
	int fd = open_same(g, w, &st);
	if (fd < 0)
		return fd;
	if (want_text && !w->ignored && w->text_known && w->text.size == (uint64_t)st.st_size) {
		int same = same_content(g, w, fd, &st);
		if (same) {
			(void)os_close(e->os, fd); /* read only */
			if (same < 0)
				return same;
			atomic_fetch_add(&e->ingest_done, 1);
			perf_add(PERFC_ingest_done, 1);
			work_over(e, w);
			return 0;
		}
	}
	g->oid = w->oid;
	g->ver = atomic_fetch_add(&e->text_ver, 1) + 1;
	g->chunk_n = g->text_n = g->chunk_all = 0;
	g->no_ranges = false;
	if (want_text)
		r.state = w->ignored ? STORE_TEXT_not_text : STORE_TEXT_done;
	r.error = w->ignored ? -VX_ERR_ignored : 0;
	int rc = text_hash_new(&r.hash);
	if (rc >= 0) {
		if (want_text) {
			/* chunks belong to an object the catalog has */
			behind_wrlock(e);
			struct eng_obj *o = obj_by_oid(&e->t, w->oid);
			rc = !o ? -ENOENT : obj_persist(e, o) ? 0 : -VX_ERR_queue_full;
			behind_unlock(e);
		}
		if (rc >= 0)
			rc = read_file(g, fd, &r, (uint64_t)st.st_size, whole, want_text && !w->ignored, w->name);
		bool hashed = rc >= 0 && (r.text || r.format || whole);
		text_hash_end(r.hash, hash);
		if (rc >= 0)
			rc = flush_chunks(g);
		if (rc >= 0)
			rc = os_fstat(e->os, fd, &st2);
		struct note_stat a, b;
		note_stat_of(&a, &st);
		if (rc >= 0) {
			note_stat_of(&b, &st2);
			if (a.size != b.size || a.mtime_ns != b.mtime_ns || a.ctime_ns != b.ctime_ns)
				rc = -VX_ERR_file_changed;
		}
		if (rc >= 0 && hashed) {
			behind_wrlock(e);
			struct eng_obj *o = obj_by_oid(&e->t, w->oid);
			if (o && o->attr_n != w->attr_n)
				rc = -VX_ERR_file_changed; /* between the stat and now: the stamps are ahead of it */
			else if (o && o->change_n == w->change_n)
				hash_decides(e, o, &a, hash);
			behind_unlock(e);
			if (rc >= 0 && young(e, &a))
				put_off(g, w->oid, (uint8_t)((want_text ? QF_TEXT | QF_HASH : QF_HASH) | QF_RECHECK),
				        (uint64_t)ENG_RACY_NS, false);
		}
		if (rc >= 0 && want_text)
			rc = text_done(g, w, &r, &a, hashed ? hash : NULL);
		else if (rc >= 0)
			work_over(e, w);
		text_chunker_free(r.text);
	}
	(void)os_close(e->os, fd); /* read only */
	return rc;
}
static void unreadable(struct ingest *g, const struct work *w, int rc)
{
	struct engine *e = g->e;
	struct stat s = {0};
	struct note_stat st;
	struct reading r = {.state = STORE_TEXT_error, .error = rc};
	if (w->what & QF_TEXT && os_fstatat(e->os, e->cfg.root_fd, g->path, &s, AT_SYMLINK_NOFOLLOW) >= 0) {
		note_stat_of(&st, &s);
		if (text_done(g, w, &r, &st, NULL) >= 0)
			return;
	}
	atomic_fetch_add(&e->ingest_failed, 1);
	perf_add(PERFC_ingest_failed, 1);
	work_over(e, w);
}
/* is it left out of the text index, and is that all there is to find out? */
static bool ask_ignore(struct ingest *g, struct work *w)
{
	w->ignored = false;
	if (!(w->what & (QF_TEXT | QF_IGNORE)))
		return false;
	w->ignored = ignore_says(g->ignore, g->path);
	bool only = !(w->what & (QF_TEXT | QF_HASH));
	if (only && w->ignored != w->was_ignored)
		w->what |= QF_TEXT | QF_HASH;
	return only && w->ignored == w->was_ignored;
}
/* a list of patterns has another content: what lies below its directory is asked for again */
static void tell_ignore(struct ingest *g, const struct work *w)
{
	struct engine *e = g->e;
	behind_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, w->oid);
	for (struct eng_link *l = o ? o->links : NULL; l; l = l->obj_next)
		ignore_changed(e, l->parent);
	behind_unlock(e);
}
static void one(struct ingest *g, struct work *w)
{
	struct engine *e = g->e;
	uint64_t t0 = os_mono_ns(e->os);
	if (!w->what || w->path_rc <= 0) {
		/* gone, or hanging in the air until the walk finds its name */
		work_over(e, w);
		return;
	}
	if (ask_ignore(g, w)) {
		work_over(e, w);
		return;
	}
	int rc = read_object(g, w);
	if (rc >= 0 && !(w->what & QF_RECHECK) && ignore_list_name(w->name))
		tell_ignore(g, w);
	if (rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP || rc == -ESTALE) {
		/* not where the table says: a note is on its way, or it happened behind the mount */
		again(g, w, true);
		eng_rdlock(e);
		const struct eng_obj *o = obj_by_oid(&e->t, w->oid);
		bool lost = o && o->tries > INGEST_TRIES;
		eng_unlock(e);
		if (lost)
			walk_want(e);
	} else if (rc == -VX_ERR_file_changed || rc == -VX_ERR_queue_full || rc == -ENOMEM || rc == -VX_ERR_mem_limit) {
		again(g, w, rc == -VX_ERR_file_changed);
	} else if (rc == -VX_ERR_shutting_down || rc == -VX_ERR_store_poisoned || rc == -VX_ERR_store_full) {
		/* the walk of the next mount, or the store's recovery, takes it up again */
		work_over(e, w);
	} else if (rc < 0) {
		unreadable(g, w, rc);
	}
	perf_op(PERF_ingest_file, os_mono_ns(e->os) - t0, 0);
}

static void nothing_durable(struct store_op *op, int rc)
{
	(void)rc; /* the operations it follows have heard it */
	op_put((struct eng_op *)op);
}
static void flush(struct ingest *g)
{
	struct eng_op *o = op_get(g->e, SOP_barrier);
	g->unflushed = false;
	if (!o)
		return; /* the group's age will do */
	o->op.want_durable = true;
	o->op.durable = nothing_durable;
	store_submit(g->e->st, &o->op);
}
/* ingest_step - one object, or nothing. Return whether there was one. */
static bool ingest_step(struct ingest *g)
{
	struct work *w = mem_alloc(MEM_engine, sizeof(*w));
	if (!w)
		return false;
	bool got = take(g, w);
	if (got)
		one(g, w);
	mem_free(MEM_engine, w);
	return got;
}
/* While files arrive by the score (an archive is unpacked, a program built) ingest keeps still, for half a second at most: what is gone again by
 * then costs nothing, and the files come first. Unless somebody waits for it. Return whether it kept still; @seen: of the bell */
static bool burst_hold(struct ingest *g, uint64_t seen)
{
	struct engine *e = g->e;
	uint64_t queued = atomic_load(&e->ingest_queued), now = os_mono_ns(os_real());
	bool more = queued != g->burst_queued;
	g->burst_queued = queued;
	if (atomic_load(&e->pending) <= BURST_MIN) {
		g->burst_ns = 0;
		return false;
	}
	if (!g->burst_ns)
		g->burst_ns = now;
	if (!more || now - g->burst_ns > BURST_MAX_NS || job_waiting(e))
		return false;
	atomic_store(&e->ingest_held, true); /* news does not wake it: it looks by itself */
	bell_wait(&e->ingest_bell, seen, BURST_LOOK_NS);
	atomic_store(&e->ingest_held, false);
	return true;
}
/* Not SCHED_IDLE: under load a thread of that class gets a ten-thousandth of a processor, and it takes the locks that notes on FUSE
 * threads take; file operations and umount waited for it (measured: a minute at a load of 30 on two cores). */
static void be_nice(void)
{
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), INGEST_NICE); /* refused: it runs as the others do */
}
void ingest_thread(void *arg)
{
	struct engine *e = arg;
	be_nice();
	struct ingest *g = mem_zalloc(MEM_engine, sizeof(*g));
	if (g) {
		g->e = e;
		g->piece = mem_alloc(MEM_engine, INGEST_PIECE);
		g->path = mem_alloc(MEM_engine, CONF_PATH_MAX + 1);
		g->text = mem_alloc(MEM_engine, INGEST_TEXT_MAX);
	}
	bool able = g && g->piece && g->path && g->text && ignore_new(e, &g->ignore) >= 0 && doc_new(e, &g->doc) >= 0;
	if (!able)
		log_msg(LOGL_error, "engine: no memory for ingest: files stay pending");
	while (!eng_stopping(e)) {
		uint64_t seen = bell_rings(&e->ingest_bell);
		if (eng_stopping(e)) /* rung between the look and the count */
			break;
		if (!eng_ready(e) || !able) {
			bell_wait(&e->ingest_bell, seen, WQ_FOREVER);
			continue;
		}
		if (burst_hold(g, seen))
			continue;
		uint64_t wait = later_due(g);
		if (ignore_step(e) || ingest_step(g))
			continue;
		if (g->unflushed)
			flush(g);
		bell_wait(&e->ingest_bell, seen, wait);
	}
	if (g) {
		ignore_free(g->ignore);
		doc_free(g->doc);
		mem_free(MEM_engine, g->later);
		mem_free(MEM_engine, g->piece);
		mem_free(MEM_engine, g->path);
		mem_free(MEM_engine, g->text);
	}
	mem_free(MEM_engine, g);
}
