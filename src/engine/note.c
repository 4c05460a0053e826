/* note.c - what a front tells of files, applied to the object table at once and queued for the catalog.  [FUSE thread]
 *
 * A note never waits and never fails: where the table is taken it is left in a queue for whoever has it (note_queue.c), and so it is while the
 * store isn't open.  When there is no room for it, or no operation left in the pool, it is lost: counted, and a walk is due, which finds by
 * itself what notes would have told.  Files are registered only where text is ingested; elsewhere a file becomes an object when it is given a vector.
 * Directories are registered always, in memory: a file that gets a vector needs its ancestors' names. */
#include <string.h>

#include "engine/sem.h"

void note_stat_of(struct note_stat *s, const struct stat *st)
{
	s->size = (uint64_t)st->st_size;
	s->nlink = st->st_nlink;
	s->mtime_ns = ts_ns(st->st_mtim);
	s->ctime_ns = ts_ns(st->st_ctim);
	s->mode = st->st_mode;
}
void stamp_of(struct stamp *s, const struct note_stat *st)
{
	memset(s, 0, sizeof(*s));
	s->size = st->size;
	s->mtime_ns = st->mtime_ns;
	s->ctime_ns = st->ctime_ns;
}
enum eng_state vec_state(const struct eng_vec *v, const struct note_stat *st)
{
	if (v->stamp.size == ENG_STALE_SIZE)
		return ENG_STATE_stale;
	if (v->bind_wait)
		return ENG_STATE_pending;
	if (v->changed || !stamp_same_data(&v->stamp, st))
		return ENG_STATE_stale;
	return v->stamp.hashed && v->stamp.ctime_ns == st->ctime_ns ? ENG_STATE_fresh : ENG_STATE_pending;
}
enum eng_state text_state(const struct eng_obj *o, const struct note_stat *st)
{
	if (o->text_state == STORE_TEXT_none)
		return ENG_STATE_none;
	if (o->text_state == STORE_TEXT_error)
		return ENG_STATE_error;
	if (o->text_state == STORE_TEXT_not_text)
		return ENG_STATE_none;
	if (text_changed(o) || !stamp_same_data(&o->text_stamp, st))
		return ENG_STATE_stale;
	return o->text_stamp.ctime_ns == st->ctime_ns ? ENG_STATE_fresh : ENG_STATE_pending;
}

void eng_lost(struct engine *e)
{
	atomic_fetch_add(&e->events_lost, 1);
	perf_add(PERFC_events_lost, 1);
	walk_want(e);
}

/* ---- to the catalog: the object must be there before its links and rows ---- */
static bool put_obj(struct engine *e, const struct eng_obj *o)
{
	struct eng_op *op = op_get(e, SOP_obj_put);
	if (!op)
		return false;
	op->op.oid = o->oid;
	op->op.key = o->key;
	op->op.obj_kind = o->kind;
	op_submit(op);
	return true;
}
static bool put_link(struct engine *e, const struct eng_link *l, enum store_op_kind kind)
{
	struct eng_op *op = op_get(e, kind);
	if (!op)
		return false;
	op->op.oid = l->obj->oid;
	op->op.parent = l->parent->oid;
	memcpy(op->op.name, l->name, (size_t)l->n + 1);
	op_submit(op);
	return true;
}
/* the highest ancestor of a link that the catalog doesn't have, or NULL */
static struct eng_obj *unstored_top(struct eng_link *l)
{
	struct eng_obj *top = NULL;
	for (unsigned depth = 0; l && depth < ENG_DEPTH_MAX; depth++) {
		if (!l->parent->stored)
			top = l->parent;
		l = l->parent->links;
	}
	return top;
}
bool obj_persist(struct engine *e, struct eng_obj *o)
{
	for (unsigned n = 0; n < ENG_DEPTH_MAX * 4; n++) {
		struct eng_obj *next = o->stored ? NULL : o;
		for (struct eng_link *l = o->links; l; l = l->obj_next) {
			struct eng_obj *top = unstored_top(l);
			if (top) {
				next = top;
				break;
			}
		}
		if (next && !next->stored) {
			if (!put_obj(e, next))
				return false;
			next->stored = true;
		}
		struct eng_obj *of = next ? next : o;
		for (struct eng_link *l = of->links; l; l = l->obj_next) {
			if (l->stored || !l->parent->stored)
				continue;
			if (!put_link(e, l, SOP_link_put))
				return false;
			l->stored = true;
		}
		if (!next)
			return true;
	}
	return true;
}
bool vec_stamp_put(struct engine *e, struct eng_obj *o, struct eng_vec *v)
{
	if (v->row == ENG_ROW_NONE)
		return true; /* its put carries, or is followed by, a stamp */
	struct eng_op *op = op_get(e, SOP_vec_stamp);
	if (!op)
		return false;
	op->op.cid = v->cid;
	op->op.old_row = v->row;
	op->op.oid = o->oid;
	op->op.stamp = v->stamp;
	op_submit(op);
	return true;
}
bool text_stamp_put(struct engine *e, struct eng_obj *o)
{
	struct eng_op *op = op_get(e, SOP_text_stamp);
	if (!op)
		return false;
	op->op.oid = o->oid;
	op->op.stamp = o->text_stamp;
	op_submit(op);
	return true;
}

void ingest_push(struct engine *e, struct eng_obj *o, uint8_t what)
{
	bool quiet = what & QF_RECHECK;
	if (o->kind != STORE_OBJ_file)
		return;
	if (e->cfg.read_only) { /* nothing of it could be kept: it stays pending, and answers say that they are not complete */
		if (!quiet && !(o->qf & QF_QUEUED)) {
			o->qf |= QF_QUEUED;
			atomic_fetch_add(&e->pending, 1);
		}
		return;
	}
	bool there = o->qf & QF_QUEUED && (quiet || !(o->qf & QF_QUIET));
	o->qf |= o->qf & QF_QUEUED ? what & (uint8_t)~QF_RECHECK : what;
	if (there)
		return;
	/* news of an object that waits for its second look: its place in look_q will be found empty */
	o->qf &= (uint8_t) ~(quiet ? QF_QUIET : QF_QUIET | QF_RECHECK);
	if (oid_ring_push(quiet ? &e->look_q : &e->ingest_q, o->oid) < 0) {
		o->qf &= (uint8_t)~QF_QUEUED;
		eng_lost(e);
		return;
	}
	o->qf |= quiet ? QF_QUEUED | QF_QUIET : QF_QUEUED;
	if (!quiet) {
		atomic_fetch_add(&e->pending, 1);
		atomic_fetch_add(&e->ingest_queued, 1);
		perf_add(PERFC_ingest_queued, 1);
	}
	if (!atomic_load(&e->ingest_held))
		bell_ring(&e->ingest_bell);
}
static uint8_t work_of(const struct engine *e)
{
	return e->cfg.components == ENG_all ? QF_TEXT | QF_HASH : QF_HASH;
}

/* A save by backup: the file is renamed, a new one is written under its name, the old one removed.  To the user it is one file, as with a
 * rename over it: who has the name now inherits.  Remembered while the old file lives, and in memory only. */
static void former_set(struct eng_obj *o, const struct eng_obj *dir, const char *name)
{
	if (o->kind != STORE_OBJ_file || (!o->vecs && !o->has_payload))
		return;
	mem_free(MEM_objects, o->former);
	o->former = mem_strdup(MEM_objects, name); /* no memory: not remembered */
	o->former_dir = dir->oid;
}
/* The name is another file's now, and nobody has said what became of the one that had it.  Should that be gone, the other inherits: until
 * this is known the catalog keeps the name for both, so that whoever opens it after a crash knows as much.  One that has another name, and
 * was renamed away from a third, lives on: who has that one stays its heir.  [objects, write] */
static void name_pass(struct engine *e, struct eng_link *l, const struct eng_obj *to)
{
	struct eng_obj *o = l->obj;
	if (o->kind != STORE_OBJ_file || to->kind != STORE_OBJ_file || to->vecs || to->has_payload ||
	        (!o->vecs && !o->has_payload) || (o->former && (o->links != l || l->obj_next))) {
		link_del_noted(e, l);
		return;
	}
	former_set(o, l->parent, l->name);
	o->heir = to->oid;
	link_free(&e->t, l);
	walk_want(e);
}
void note_name_kept(struct engine *e, struct eng_obj *o)
{
	const struct eng_obj *dir = o->heir && o->former ? obj_by_oid(&e->t, o->former_dir) : NULL;
	const struct eng_link *l = dir ? link_find(&e->t, dir, o->former) : NULL;
	struct eng_op *op = dir && o->stored && (!l || l->obj != o) ? op_get(e, SOP_link_del) : NULL;
	if (op) { /* without memory the row stays, and the next walk after an opening sees again whose it is */
		op->op.oid = o->oid;
		op->op.parent = o->former_dir;
		memcpy(op->op.name, o->former, strlen(o->former) + 1);
		op_submit(op);
	}
	o->heir = 0;
}
void link_put_noted(struct engine *e, struct eng_obj *o, struct eng_obj *parent, const char *name)
{
	struct eng_link *l = link_find(&e->t, parent, name);
	if (l && l->obj == o) {
		l->seen = atomic_load(&e->walk_no);
		return;
	}
	if (l)
		name_pass(e, l, o);
	note_name_kept(e, o);
	/* a directory has one name: an older one is out of date */
	if (o->kind == STORE_OBJ_dir)
		while (o->links)
			link_del_noted(e, o->links);
	for (const struct eng_obj *a = parent; a; a = a->links ? a->links->parent : NULL)
		if (a == o) { /* told or found in an order that would make a ring */
			eng_lost(e);
			return;
		}
	l = link_add(&e->t, o, parent, name);
	if (!l) {
		eng_lost(e);
		return;
	}
	l->seen = atomic_load(&e->walk_no);
	if (ignore_list_name(name))
		ignore_changed(e, parent);
	if (o->stored && !obj_persist(e, o))
		eng_lost(e);
}
void link_del_noted(struct engine *e, struct eng_link *l)
{
	if (l->stored && l->obj->stored && !put_link(e, l, SOP_link_del))
		eng_lost(e);
	if (ignore_list_name(l->name))
		ignore_changed(e, l->parent);
	link_free(&e->t, l);
}
void obj_drop(struct engine *e, struct eng_obj *o)
{
	if (o->oid == STORE_OID_ROOT)
		return;
	for (struct eng_vec *v = o->vecs; v; v = v->next) {
		if (v->row == ENG_ROW_NONE)
			continue;
		struct eng_coll *c = coll_by_cid(e, v->cid);
		if (!c)
			continue;
		pthread_mutex_lock(&c->lock);
		coll_row_dead(c, v->row);
		pthread_mutex_unlock(&c->lock);
		coll_put(c);
		bell_ring(&e->index_bell);
	}
	sem_obj_gone(e, o);
	if (e->cfg.read_only && o->qf & QF_QUEUED) /* no queue holds it that would find it gone */
		atomic_fetch_sub(&e->pending, 1);
	if (o->stored) {
		struct eng_op *op = op_get(e, SOP_obj_del);
		if (op) {
			op->op.oid = o->oid;
			op_submit(op);
		} else {
			eng_lost(e);
		}
	}
	obj_free(&e->t, o);
}

/* ---- applying. [objects, write] ---- */
static struct eng_obj *parent_of(struct engine *e, const struct obj_key *k, bool make)
{
	struct eng_obj *p = obj_by_key(&e->t, k);
	if (p || !make)
		return p;
	/* a directory nobody has told of yet: hangs in the air until the walk finds its name */
	p = obj_add(&e->t, 0, k, STORE_OBJ_dir);
	eng_lost(e);
	return p;
}
static void mark_changed(struct engine *e, struct eng_obj *o)
{
	for (struct eng_vec *v = o->vecs; v; v = v->next)
		v->changed = !v->bind_wait;
	o->change_n++;
}
static void bind_waiting(struct engine *e, struct eng_obj *o, const struct note_stat *st)
{
	for (struct eng_vec *v = o->vecs; v; v = v->next) {
		if (!v->bind_wait)
			continue;
		v->bind_wait = false;
		v->changed = v->ctime_ours = false;
		stamp_of(&v->stamp, st);
		if (!v->busy && !vec_stamp_put(e, o, v))
			eng_lost(e);
		ingest_push(e, o, QF_HASH);
	}
}
static void apply_create(struct engine *e, const struct note *n)
{
	bool dir = S_ISDIR(n->st.mode), file = S_ISREG(n->st.mode), all = e->cfg.components == ENG_all;
	struct eng_obj *o = obj_by_key(&e->t, &n->key);
	if (!dir && !file) {
		/* a symlink or device took the name */
		struct eng_obj *p = obj_by_key(&e->t, &n->parent);
		struct eng_link *l = p ? link_find(&e->t, p, n->name) : NULL;
		if (l)
			link_del_noted(e, l);
		return;
	}
	if (!o && file && !all)
		return;
	struct eng_obj *p = parent_of(e, &n->parent, o || all);
	if (!p)
		return;
	if (!o)
		o = obj_add(&e->t, 0, &n->key, dir ? STORE_OBJ_dir : STORE_OBJ_file);
	if (!o) {
		eng_lost(e);
		return;
	}
	link_put_noted(e, o, p, n->name);
}
static void apply_release(struct engine *e, const struct note *n)
{
	if (!S_ISREG(n->st.mode) || !n->st.nlink)
		return;
	struct eng_obj *o = obj_by_key(&e->t, &n->key);
	if (!o) {
		if (e->cfg.components != ENG_all || !n->parent.len || !n->name)
			return;
		apply_create(e, n);
		o = obj_by_key(&e->t, &n->key);
		if (!o)
			return;
	}
	if (n->wrote)
		mark_changed(e, o);
	if (n->last)
		bind_waiting(e, o, &n->st);
	if (n->wrote || (o->text_state == STORE_TEXT_none && e->cfg.components == ENG_all)) {
		o->tries = 0;
		if (o->vecs || e->cfg.components == ENG_all)
			ingest_push(e, o, work_of(e));
	}
}
static void apply_changed(struct engine *e, const struct note *n)
{
	struct eng_obj *o = obj_by_key(&e->t, &n->key);
	if (!o || !S_ISREG(n->st.mode))
		return;
	mark_changed(e, o);
	o->tries = 0;
	if (o->vecs || e->cfg.components == ENG_all)
		ingest_push(e, o, work_of(e));
}
struct eng_obj *note_former_heir(struct engine *e, const struct eng_obj *o)
{
	const struct eng_obj *dir = o->former ? obj_by_oid(&e->t, o->former_dir) : NULL;
	const struct eng_link *l = dir ? link_find(&e->t, dir, o->former) : NULL;
	struct eng_obj *h = l ? l->obj : NULL;
	return h && h != o && h->kind == STORE_OBJ_file && !h->vecs && !h->has_payload ? h : NULL;
}
/* one name less changes ctime, and no stat of before is at hand: the hash decides */
static void lost_a_name(struct engine *e, struct eng_obj *o)
{
	for (struct eng_vec *v = o->vecs; v; v = v->next)
		v->ctime_ours = true;
	if (o->vecs || (o->text_state != STORE_TEXT_none && e->cfg.components == ENG_all))
		ingest_push(e, o, work_of(e));
}
/* it has names that nobody told of, or not yet. @late: a watcher goes on telling */
static void nameless(struct engine *e, const struct eng_obj *o, bool late)
{
	if (o->links)
		return;
	if (!late)
		walk_want(e);
	else if (oid_ring_push(&e->loose_q, o->oid) < 0)
		eng_lost(e);
	else
		atomic_store(&e->loose, true);
}
static void apply_unlink(struct engine *e, const struct note *n)
{
	struct eng_obj *p = obj_by_key(&e->t, &n->parent), *o = obj_by_key(&e->t, &n->key);
	struct eng_link *l = p ? link_find(&e->t, p, n->name) : NULL;
	if (l && (!n->late || l->obj == o))
		link_del_noted(e, l);
	if (!o)
		return;
	if (n->is_dir || !n->left) {
		struct eng_obj *heir = (o->vecs || o->has_payload) ? note_former_heir(e, o) : NULL;
		if (heir)
			update_replace_queue(e, o, heir);
		else if (n->late && o->former && (o->vecs || o->has_payload))
			nameless(e, o, true); /* its successor may not have been told of yet */
		else
			obj_drop(e, o);
		return;
	}
	if (n->late && p)
		former_set(o, p, n->name);
	lost_a_name(e, o);
	nameless(e, o, n->late);
}
/* a walk may have seen it before this note: then it took the name for the file's former one, and who has it now for the heir */
static void name_not_former(struct engine *e, struct eng_obj *o, const struct eng_obj *dir, const char *name)
{
	if (!o->former || o->former_dir != dir->oid || strcmp(o->former, name) != 0)
		return;
	note_name_kept(e, o);
	mem_free(MEM_objects, o->former);
	o->former = NULL;
}
static void apply_rename(struct engine *e, const struct note *n)
{
	struct eng_obj *op = obj_by_key(&e->t, &n->parent), *o = obj_by_key(&e->t, &n->key);
	struct eng_obj *over = obj_by_key(&e->t, &n->over);
	bool all = e->cfg.components == ENG_all, reg = S_ISREG(n->st.mode);
	if (over && over == o && !n->exchange)
		return; /* two names of one file: rename(2) does nothing */
	struct eng_link *l = op ? link_find(&e->t, op, n->name) : NULL;
	if (l && (l->obj == o || !o))
		link_del_noted(e, l);
	if (o && op && !n->exchange)
		former_set(o, op, n->name);
	bool fresh_dir = false;
	bool inherit = over && !n->exchange && !n->left && (over->vecs || over->has_payload) && reg;
	if (!o && ((reg && (all || inherit)) || n->is_dir)) {
		struct eng_obj *known = obj_by_key(&e->t, &n->new_parent);
		if (known || all) {
			o = obj_add(&e->t, 0, &n->key, n->is_dir ? STORE_OBJ_dir : STORE_OBJ_file);
			if (!o)
				eng_lost(e);
			fresh_dir = o && n->is_dir;
		}
	}
	struct eng_obj *np = parent_of(e, &n->new_parent, o || over);
	l = np ? link_find(&e->t, np, n->new_name) : NULL;
	inherit = inherit && o && !o->vecs && !o->has_payload;
	/* the catalog keeps the old one's name until its vectors have changed hands: a crash in between finds the heir by it */
	if (l && l->obj != o && inherit && l->obj == over)
		link_free(&e->t, l);
	else if (l && l->obj != o) {
		if (o && reg && l->obj != over && !n->exchange)
			name_pass(e, l, o); /* replaced before anybody could say what was there */
		else
			link_del_noted(e, l);
	}
	if (o && np)
		link_put_noted(e, o, np, n->new_name);
	if (n->exchange && over && op)
		link_put_noted(e, over, op, n->name);
	else if (over && over != o && !n->left) {
		if (inherit)
			update_replace_queue(e, over, o);
		else
			obj_drop(e, over);
	} else if (over && !n->exchange) {
		if (np && n->parent.len)
			name_not_former(e, over, np, n->new_name);
		lost_a_name(e, over);
		nameless(e, over, !n->parent.len);
	}
	if (fresh_dir) { /* what is below it nobody has told of */
		if (oid_ring_push(&e->walk_q, o->oid) < 0)
			eng_lost(e);
		else
			walk_want(e);
	}
	if (o && reg && all && o->text_state == STORE_TEXT_none)
		ingest_push(e, o, work_of(e));
}
static void apply_attr(struct engine *e, const struct note *n)
{
	struct eng_obj *o = obj_by_key(&e->t, &n->key);
	if (!o)
		return;
	o->attr_n++;
	for (struct eng_vec *v = o->vecs; v; v = v->next) {
		bool same = v->ctime_ours ? stamp_same_data(&v->stamp, &n->before) : stamp_same(&v->stamp, &n->before);
		if (!same || v->busy)
			continue;
		v->ctime_ours = false;
		v->stamp.size = n->st.size;
		v->stamp.mtime_ns = n->st.mtime_ns;
		v->stamp.ctime_ns = n->st.ctime_ns;
		if (!vec_stamp_put(e, o, v))
			eng_lost(e);
		if (!v->stamp.hashed && !v->bind_wait)
			ingest_push(e, o,
			        QF_HASH); /* a reading that saw the new times before this note could not bind it */
	}
	if (o->text_state != STORE_TEXT_none && stamp_same(&o->text_stamp, &n->before)) {
		o->text_stamp.size = n->st.size;
		o->text_stamp.mtime_ns = n->st.mtime_ns;
		o->text_stamp.ctime_ns = n->st.ctime_ns;
		if (o->stored && !text_stamp_put(e, o))
			eng_lost(e);
	}
}
void note_apply(struct engine *e, const struct note *n)
{
	switch (n->kind) {
	case NOTE_release:
		apply_release(e, n);
		break;
	case NOTE_changed:
		apply_changed(e, n);
		break;
	case NOTE_seen: {
		struct eng_obj *o = obj_by_key(&e->t, &n->key);
		if (o && S_ISREG(n->st.mode))
			walk_compare(e, o, &n->st);
		break;
	}
	case NOTE_create:
	case NOTE_link:
		apply_create(e, n);
		break;
	case NOTE_unlink:
		atomic_fetch_add(&e->change_seq, 1);
		apply_unlink(e, n);
		break;
	case NOTE_rename:
		atomic_fetch_add(&e->change_seq, 1);
		apply_rename(e, n);
		break;
	case NOTE_attr:
		apply_attr(e, n);
		break;
	case NOTE_ignore:
		ignore_changed(e, obj_by_key(&e->t, &n->key));
		break;
	}
}

/* ---- told by the front ---- */
static void note(struct engine *e, const struct note *n)
{
	if (eng_ready(e) && note_trylock(e)) {
		note_apply(e, n);
		eng_unlock(e);
	} else if (note_push(e, n)) {
		note_kick(e);
	}
}
static void note_file(
        struct note *n, enum note_kind kind, const struct eng_file *f, const struct obj_key *parent, const char *name)
{
	memset(n, 0, sizeof(*n));
	n->kind = kind;
	n->key = f->key;
	note_stat_of(&n->st, &f->st);
	if (parent)
		n->parent = *parent;
	n->name = name;
}

void eng_note_open_write(struct engine *e, const struct obj_key *key)
{
	if (e->cfg.components == ENG_none)
		return;
	note_openw_lock(e);
	int rc = openw_add(&e->t, key);
	pthread_mutex_unlock(&e->openw_lock);
	if (rc < 0)
		eng_lost(e);
}
void eng_note_release_write(
        struct engine *e, const struct eng_file *f, const struct obj_key *parent, const char *name, bool wrote)
{
	if (e->cfg.components == ENG_none)
		return;
	struct note n;
	note_file(&n, NOTE_release, f, parent, name);
	n.wrote = wrote;
	/* Count and note are one step: a vector set between them would be taken for one set before the writing.  Who sets one holds the table and
	 * looks at the count (note_open_write): if we have the table it is not there, else the note is in the queue before the count is down. */
	bool got = eng_ready(e) && note_trylock(e), pushed = false;
	note_openw_lock(e);
	n.last = !openw_sub(&e->t, &f->key);
	if (!got)
		pushed = note_push(e, &n);
	pthread_mutex_unlock(&e->openw_lock);
	if (got) {
		apply_release(e, &n);
		eng_unlock(e);
	} else if (pushed) {
		note_kick(e);
	}
}
void eng_note_changed(struct engine *e, const struct eng_file *f)
{
	if (e->cfg.components == ENG_none)
		return;
	struct note n;
	note_file(&n, NOTE_changed, f, NULL, NULL);
	note(e, &n);
}
void eng_note_seen(struct engine *e, const struct eng_file *f)
{
	if (e->cfg.components == ENG_none)
		return;
	struct note n;
	note_file(&n, NOTE_seen, f, NULL, NULL);
	note(e, &n);
}
void eng_note_create(struct engine *e, const struct eng_file *f, const struct obj_key *parent, const char *name)
{
	if (e->cfg.components == ENG_none)
		return;
	struct note n;
	note_file(&n, NOTE_create, f, parent, name);
	note(e, &n);
}
void eng_note_link(struct engine *e, const struct eng_file *f, const struct obj_key *parent, const char *name)
{
	if (e->cfg.components == ENG_none)
		return;
	struct note n;
	note_file(&n, NOTE_link, f, parent, name);
	note(e, &n);
}
void eng_note_unlink(struct engine *e, const struct obj_key *key, const struct obj_key *parent, const char *name,
        uint64_t nlink_left, bool dir)
{
	if (e->cfg.components == ENG_none)
		return;
	struct note n = {
	        .kind = NOTE_unlink, .key = *key, .parent = *parent, .name = name, .left = nlink_left, .is_dir = dir};
	note(e, &n);
}
void eng_note_gone(struct engine *e, const struct obj_key *key, const struct obj_key *parent, const char *name,
        uint64_t nlink_left, bool dir)
{
	if (e->cfg.components == ENG_none)
		return;
	struct note n = {.kind = NOTE_unlink,
	        .key = *key,
	        .parent = *parent,
	        .name = name,
	        .left = nlink_left,
	        .is_dir = dir,
	        .late = true};
	note(e, &n);
}
void eng_note_rename(struct engine *e, const struct eng_rename *r)
{
	if (e->cfg.components == ENG_none)
		return;
	struct note n = {.kind = NOTE_rename,
	        .key = r->moved,
	        .over = r->over,
	        .parent = r->old_parent,
	        .new_parent = r->new_parent,
	        .name = r->old_name,
	        .new_name = r->new_name,
	        .left = r->over_left,
	        .exchange = r->exchange,
	        .is_dir = r->is_dir};
	note_stat_of(&n.st, &r->moved_st);
	note(e, &n);
}
void eng_note_attr(struct engine *e, const struct obj_key *key, const struct stat *before, const struct stat *after)
{
	if (e->cfg.components == ENG_none)
		return;
	struct note n = {.kind = NOTE_attr, .key = *key};
	note_stat_of(&n.st, after);
	note_stat_of(&n.before, before);
	if (stamp_same(&(struct stamp){.size = n.st.size, .mtime_ns = n.st.mtime_ns, .ctime_ns = n.st.ctime_ns},
	            &n.before))
		return;
	note(e, &n);
}
void eng_note_ignore(struct engine *e, const struct obj_key *key)
{
	if (e->cfg.components == ENG_none)
		return;
	note(e, &(struct note){.kind = NOTE_ignore, .key = *key});
}
bool eng_known(struct engine *e, const struct obj_key *key)
{
	if (e->cfg.components == ENG_none)
		return false;
	/* [FUSE thread] one that can't be told at once counts as known: a stat more is taken */
	if (!eng_ready(e) || pthread_rwlock_tryrdlock(&e->objects))
		return true;
	bool known = atomic_load(&e->notes) != NULL;
	if (!known) {
		const struct eng_obj *o = obj_by_key(&e->t, key);
		known = o && o->kind == STORE_OBJ_file;
	}
	eng_unlock(e);
	return known;
}
void eng_note_settled(struct engine *e)
{
	uint64_t oid;
	bool walk = false;
	if (e->cfg.components == ENG_none || !atomic_exchange(&e->loose, false))
		return;
	eng_wrlock(e);
	while (oid_ring_pop(&e->loose_q, &oid)) {
		const struct eng_obj *o = obj_by_oid(&e->t, oid);
		walk |= o && !o->links;
	}
	eng_unlock(e);
	if (walk)
		walk_want(e);
}
bool eng_name_key(struct engine *e, const struct obj_key *parent, const char *name, struct obj_key *ret)
{
	if (e->cfg.components == ENG_none || !eng_ready(e))
		return false;
	eng_rdlock(e);
	const struct eng_obj *p = obj_by_key(&e->t, parent);
	const struct eng_link *l = p ? link_find(&e->t, p, name) : NULL;
	if (l)
		*ret = l->obj->key;
	eng_unlock(e);
	return l != NULL;
}
