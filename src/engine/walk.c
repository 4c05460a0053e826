/* walk.c - the table put right by looking: every directory listed, every name compared.
 *
 * A walk is due after each opening, after lost notes, when a search met a ghost, and when someone asks.  It lists directories
 * from a queue of object numbers (no recursion; a directory moved meanwhile is found where it is now), marks every link it sees with the
 * walk's number, and drops the links of a directory that it did not see.  What has no name left at the end is gone.  New and
 * changed files go to ingest.  What a note changes between looking and entering is seen again (change_seq), so a walk never undoes it. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "engine/engine_priv.h"

#define WALK_BUF   65536u
#define WALK_ROOM  2048u /* operations that must be free before a directory's entries are entered */
#define WALK_TRIES 8

struct dents { /* getdents64(2) */
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};
struct walk {
	struct engine *e;
	uint32_t no;
	uint64_t dev;
	struct obj_key store_key;
	char *path;
	uint8_t *buf;
	bool broken; /* something could not be listed: nothing may be called gone */
	uint64_t dirs, files;
};

void walk_want(struct engine *e)
{
	atomic_store(&e->walk_due, 1);
	bell_ring(&e->life_bell);
}

void walk_compare(struct engine *e, struct eng_obj *o, const struct note_stat *st)
{
	uint8_t what = 0;
	for (const struct eng_vec *v = o->vecs; v; v = v->next) {
		if (v->busy || v->bind_wait)
			continue;
		/* another size can't have the same hash; a stamp without one, or another time, is worth reading for, and so is what came
		 * with its hash alone */
		if (!v->stamp.hashed ? stamp_same_data(&v->stamp, st)
		                     : v->stamp.size == ENG_STALE_SIZE ||
		                               (v->stamp.size == st->size && !stamp_same(&v->stamp, st)))
			what |= QF_HASH;
	}
	if (e->cfg.components == ENG_all &&
	        (o->text_state == STORE_TEXT_none || !stamp_same(&o->text_stamp, st) || text_changed(o)))
		what |= QF_TEXT | QF_HASH;
	if (o->text_error == -VX_ERR_deadline && e->cfg.components == ENG_all)
		what |= QF_TEXT | QF_HASH; /* the machine may have been busy: once more a walk */
	if (o->text_error == -VX_ERR_ignored)
		what |= QF_IGNORE; /* a mark may have been taken off behind the mount */
	if (what)
		ingest_push(e, o, what);
}
/* a tree that was copied or restored: the object that had this name is this file; its stamps tell whether it is unchanged */
static struct eng_obj *rebound(
        struct engine *e, struct eng_obj *dir, const char *name, const struct obj_key *k, uint8_t kind)
{
	struct eng_link *l = link_find(&e->t, dir, name);
	if (!l || l->obj->kind != kind || l->obj->seen == atomic_load(&e->walk_no))
		return NULL;
	struct eng_obj *o = l->obj;
	obj_rekey(&e->t, o, k);
	o->stored = false; /* its key must be written again */
	if (!obj_persist(e, o))
		eng_lost(e);
	return o;
}
/* one name of a directory. 1: entered; 0: gone meanwhile, or not ours; < 0 */
static int entry(struct walk *w, uint64_t dir_oid, int fd, const char *name)
{
	struct engine *e = w->e;
	struct stat s;
	struct obj_key k;
	struct note_stat st;
	for (unsigned i = 0; i < WALK_TRIES; i++) {
		uint64_t seq = atomic_load(&e->change_seq);
		int rc = os_fstatat(e->os, fd, name, &s, AT_SYMLINK_NOFOLLOW);
		bool dir = rc >= 0 && S_ISDIR(s.st_mode);
		if (rc >= 0 && ((!dir && !S_ISREG(s.st_mode)) || s.st_dev != w->dev))
			return 0; /* another file system's keys mean something else */
		if (rc >= 0)
			rc = objkey_at(fd, name, &k);
		if (rc < 0)
			return rc == -ENOENT ? 0 : rc;
		if (w->store_key.len && objkey_eq(&k, &w->store_key))
			return 0;
		note_stat_of(&st, &s);
		uint8_t kind = dir ? STORE_OBJ_dir : STORE_OBJ_file;
		int ret = 0;
		eng_wrlock(e);
		struct eng_obj *d = obj_by_oid(&e->t, dir_oid);
		bool moved = atomic_load(&e->change_seq) != seq;
		if (d && !moved) {
			struct eng_obj *o = e->rebind ? NULL : obj_by_key(&e->t, &k);
			if (e->rebind) {
				o = rebound(e, d, name, &k, kind);
				if (!o && (o = obj_by_key(&e->t, &k)) && o->seen != w->no)
					o = NULL; /* an old key that happens to fit */
			}
			if (o && o->kind != kind) { /* a number used again: the file system's keys don't tell */
				obj_drop(e, o);
				o = NULL;
			}
			/* another file took the name of one that has vectors: a save by rename that nobody told of, or not in time */
			struct eng_link *old = dir ? NULL : link_find(&e->t, d, name);
			struct eng_obj *was =
			        old && old->obj != o && (old->obj->vecs || old->obj->has_payload) ? old->obj : NULL;
			if (!o && (dir || was || e->cfg.components == ENG_all)) {
				o = obj_add(&e->t, 0, &k, kind);
				ret = o ? 0 : -ENOMEM;
			}
			if (o) {
				o->seen = w->no;
				if (was)
					was->heir = o->oid;
				link_put_noted(e, o, d, name);
				if (dir)
					ret = oid_ring_push(&e->walk_q, o->oid);
				else
					walk_compare(e, o, &st);
			} else if (!ret) {
				/* a file nobody has asked about; an older one of that name is gone */
				struct eng_link *l = link_find(&e->t, d, name);
				if (l)
					link_del_noted(e, l);
			}
		}
		eng_unlock(e);
		w->files += !dir;
		if (!moved)
			return ret < 0 ? ret : d != NULL;
	}
	return -EAGAIN;
}
/* names of a directory that the listing did not show. @seq: the changes noted when the listing began */
static void sweep(struct walk *w, uint64_t dir_oid, int fd)
{
	struct engine *e = w->e;
	char name[CONF_NAME_MAX + 1];
	for (;;) {
		struct obj_key k, want;
		bool found = false;
		eng_wrlock(e);
		uint64_t seq = atomic_load(&e->change_seq);
		struct eng_obj *d = obj_by_oid(&e->t, dir_oid);
		for (struct eng_link *l = d ? d->children : NULL; l; l = l->sib_next) {
			if (l->seen == w->no)
				continue;
			memcpy(name, l->name, (size_t)l->n + 1);
			want = l->obj->key;
			l->seen = w->no; /* looked at, whatever comes of it */
			found = true;
			break;
		}
		eng_unlock(e);
		if (!found)
			return;
		int rc = objkey_at(fd, name, &k);
		if (rc >= 0 && objkey_eq(&k, &want))
			continue; /* it came after the listing */
		if (rc < 0 && rc != -ENOENT && rc != -ENOTDIR) {
			w->broken = true;
			continue;
		}
		eng_wrlock(e);
		d = obj_by_oid(&e->t, dir_oid);
		struct eng_link *l = d ? link_find(&e->t, d, name) : NULL;
		if (l && atomic_load(&e->change_seq) != seq)
			l->seen = w->no - 1; /* a note came between: look again */
		else if (l && objkey_eq(&l->obj->key, &want))
			link_del_noted(e, l);
		eng_unlock(e);
	}
}
static int list_dir(struct walk *w, uint64_t oid)
{
	struct engine *e = w->e;
	struct obj_key k, want;
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_oid(&e->t, oid);
	int rc = o ? obj_path(o, w->path, CONF_PATH_MAX + 1) : -ENOENT;
	if (o)
		want = o->key;
	eng_unlock(e);
	if (rc < 0)
		return 0; /* moved out, or it will be found under another name */
	int fd = eng_open_unseen(e->os, e->cfg.root_fd, *w->path ? w->path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? 1 : fd;
	rc = objkey_at(fd, "", &k);
	if (rc >= 0 && !objkey_eq(&k, &want))
		rc = 1; /* another directory is there by now */
	bool root = oid == STORE_OID_ROOT, mark = !rc && e->cfg.components == ENG_all && ignore_marked(fd);
	while (!rc) {
		ssize_t n = os_getdents(e->os, fd, w->buf, WALK_BUF);
		if (n <= 0) {
			rc = (int)n;
			break;
		}
		for (ssize_t at = 0; at < n && rc >= 0;) {
			struct dents *d = (struct dents *)(w->buf + at);
			at += d->reclen;
			if (!strcmp(d->name, ".") || !strcmp(d->name, "..") || (root && !strcmp(d->name, ".vexfs")))
				continue;
			if (d->type != DT_UNKNOWN && d->type != DT_DIR && d->type != DT_REG)
				continue;
			ops_wait_room(e, WALK_ROOM);
			if (eng_stopping(e))
				rc = -VX_ERR_shutting_down;
			else
				rc = entry(w, oid, fd, d->name);
			if (rc == -EACCES || rc == -EAGAIN || rc == -EOVERFLOW) {
				w->broken = true;
				rc = 0;
			}
			rc = rc > 0 ? 0 : rc;
		}
	}
	if (rc >= 0 && rc != 1)
		sweep(w, oid, fd);
	(void)os_close(e->os, fd); /* read only */
	if (mark) { /* set behind the mount, perhaps: what lies below is asked for again */
		eng_wrlock(e);
		ignore_changed(e, obj_by_oid(&e->t, oid));
		eng_unlock(e);
	}
	w->dirs++;
	return rc;
}
/* What has no name any more is gone.  But a file moved behind the mount while we walk, out of a directory that is yet to be listed into one
 * that was, has none either: what has vectors is given up when the next walk doesn't find it.  [objects, write] one bucket after the
 * other, the lock given back between. */
static void drop_nameless(struct walk *w)
{
	struct engine *e = w->e;
	bool more = true, again = false;
	while (more) {
		more = false;
		for (uint32_t b = 0;; b++) {
			ops_wait_room(e, WALK_ROOM);
			eng_wrlock(e);
			uint32_t cap = e->t.oid_cap;
			struct eng_obj *o = b < cap ? e->t.by_oid[b] : NULL;
			for (struct eng_obj *next; o; o = next) {
				next = o->oid_next;
				/* objects that a note made after us, a replaced one whose vectors are on their way, the root */
				if (o->links || o->oid == STORE_OID_ROOT || o->seen == UINT32_MAX) {
					if (o->links)
						note_name_kept(e, o); /* it has only moved */
					o->heir = 0;
					o->missed = 0;
					continue;
				}
				if ((o->vecs || o->has_payload) && (!o->missed || o->missed == w->no)) {
					o->missed = w->no;
					again = true;
					continue;
				}
				struct eng_obj *heir = o->heir ? obj_by_oid(&e->t, o->heir) : NULL;
				if (!heir || !heir->links) /* of several saves in a row: who has the name at last */
					heir = note_former_heir(e, o);
				if (heir && heir != o && heir->links && !heir->vecs && !heir->has_payload &&
				        heir->kind == STORE_OBJ_file && (o->vecs || o->has_payload)) {
					update_replace_queue(e, o, heir);
					continue;
				}
				while (o->children) { /* below a directory that is gone */
					more = true;
					link_del_noted(e, o->children);
				}
				obj_drop(e, o);
			}
			eng_unlock(e);
			if (b + 1 >= cap || eng_stopping(e))
				break;
		}
	}
	if (again)
		walk_want(e);
}
static void store_dir_key(struct walk *w)
{
	struct engine *e = w->e;
	w->store_key.len = 0;
	if (e->cfg.store_dir)
		(void)objkey_at(AT_FDCWD, e->cfg.store_dir, &w->store_key); /* elsewhere, it needs no skipping */
}
void walk_run(struct engine *e)
{
	struct walk w = {.e = e};
	struct stat st;
	uint64_t t0 = os_mono_ns(e->os);
	bool files;
	eng_wrlock(e);
	/* the queue holds directories a note has found: then those alone, unless the whole tree is asked for */
	files = e->t.file_n != 0 || e->cfg.components == ENG_all || e->rebind;
	atomic_store(&e->walk_running, 1);
	atomic_store(&e->walk_due, 0);
	w.no = atomic_load(&e->walk_no) + 1;
	if (w.no >= UINT32_MAX - 1)
		w.no = 1;
	atomic_store(&e->walk_no, w.no);
	uint64_t no = atomic_fetch_add(&e->walks_begun, 1) + 1;
	e->walk_q.n = 0;
	int rc = oid_ring_push(&e->walk_q, STORE_OID_ROOT);
	eng_unlock(e);
	w.path = mem_alloc(MEM_engine, CONF_PATH_MAX + 1);
	w.buf = mem_alloc(MEM_engine, WALK_BUF);
	if (rc >= 0 && (!w.path || !w.buf))
		rc = -ENOMEM;
	if (rc >= 0)
		rc = os_fstat(e->os, e->cfg.root_fd, &st);
	if (rc >= 0)
		w.dev = st.st_dev;
	store_dir_key(&w);
	uint64_t oid;
	while (rc >= 0 && files && !eng_stopping(e)) {
		eng_wrlock(e);
		bool got = oid_ring_pop(&e->walk_q, &oid);
		eng_unlock(e);
		if (!got)
			break;
		rc = list_dir(&w, oid);
		if (rc == -EACCES || rc == -EIO || rc == -ENAMETOOLONG) {
			w.broken = true; /* that directory alone */
			rc = 0;
		}
	}
	/* lost notes since it began: something may hang in the air that the next walk finds a name for */
	if (rc >= 0 && !w.broken && files && !eng_stopping(e) && !atomic_load(&e->walk_due))
		drop_nameless(&w);
	if (rc >= 0 && !eng_stopping(e)) {
		e->rebind = false;
		if (store_health(e->st) >= 0)
			atomic_store(&e->resync_s, 0);
		/* who asked before it began is answered, whatever came to nothing before */
		atomic_store(&e->walks_done, no);
		perf_add(PERFC_walks, 1);
	}
	mem_free(MEM_engine, w.path);
	mem_free(MEM_engine, w.buf);
	atomic_store(&e->walk_running, 0);
	perf_op(PERF_walk, os_mono_ns(e->os) - t0, 0);
	if (rc < 0 && rc != -VX_ERR_shutting_down) {
		/* not now: again in a while, and `complete` stays false */
		log_rc(LOGL_warn, "engine: the walk of the tree stopped", rc);
		walk_later(e);
	}
}
