/* sem_embed.c - the thread that gives chunks their vectors, behind everybody's back.
 *
 * One file after the other: its chunks are read back from the catalog, a page at a time.  A chunk whose hash some row has already gets
 * that row, or a copy of it when the row is another file's; only the others go through the model, a few at a time, and each becomes a row
 * as soon as it is made, so a kill costs one batch.  At the end one change tells which row belongs to which chunk and lets the rows
 * die that no chunk has any more.  If the text was replaced meanwhile that change is refused and the file is looked at again.
 *
 * A batch that the model's endpoint refuses, while it takes another text, or that has vectors of no numbers, is asked for again text by text, and
 * a long one by halves; a text refused then has no vector (SEM_REFUSED), which its file tells.  So many requests and no more: it is asked about again when the file is edited or somebody says `retry`.
 *
 * A model that fails costs nothing but time: chunks known by their hashes are still mapped, the others stay holes, the file stays due.
 * Nobody waits for this thread but who asked to; it holds e->objects for table look-ups alone. */
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/sem.h"

#define EMB_PAGE     32u /* chunks read at once */
#define EMB_BATCH    8u /* texts for the model at once: a question waits no longer than that */
#define HALVES_MIN   512u /* bytes of a text that is worth halving */
#define EMB_NICE     10
#define EMB_TRIES    3u
#define EMB_AGAIN_NS 1000000000ull
#define EMB_STUCK_S  32u
#define EMB_ARENA    (8u << 20)
#define EMB_ORD_MAX  (1u << 26) /* chunks of a file: one of 64 MiB cannot have as many */

struct embedding {
	struct engine *e;
	struct sem *s;
	struct sem_model *m;
	struct eng_coll *c;
	struct arena arena; /* one page of chunks */
	uint64_t oid, ver;
	uint32_t *map, map_n, map_cap;
	bool may_embed;
	uint32_t stuck_s;
	int rc; /* what the model said */
	/* one batch; texts are in the arena */
	struct embed_text text[EMB_BATCH];
	uint8_t hash[EMB_BATCH][16];
	uint32_t ord[EMB_BATCH], n;
	bool refused[EMB_BATCH];
	float *vec; /* EMB_BATCH * dim */
	uint32_t vec_dim;
};

/* ---- rows ---- */
static int row_visible(struct eng_op *o, int rc)
{
	struct engine *e = o->e;
	struct eng_coll *c = o->c;
	uint32_t row = o->op.ret_row;
	eng_wrlock(e);
	pthread_mutex_lock(&c->lock);
	c->inflight--;
	if (rc >= 0) {
		rows_refresh(e, c);
		if (!obj_by_oid(&e->t, o->op.oid)) { /* it went meanwhile; the store kills the row with it */
			rc = coll_dead_push(c, row, false);
			rc = rc < 0 ? rc : -ENOENT;
		} else {
			rc = coll_row_live(c, row, false, o->op.oid, true);
			if (rc >= 0 && (rc = chunk_rows_add(c, row, o->op.oid, o->op.stamp.hash)) < 0)
				coll_row_dead(c, row);
		}
	}
	if (rc >= 0)
		*(uint32_t *)o->op.u = row;
	bool work = c->ix ? c->tail_n - c->tail_head >= 64 : c->live_n >= ENG_FLAT_MAX;
	pthread_cond_broadcast(&c->idle);
	pthread_mutex_unlock(&c->lock);
	eng_unlock(e);
	if (work)
		bell_ring(&e->index_bell);
	return rc;
}
static int row_put(struct embedding *x, const uint8_t hash[16], const void *vec, uint32_t *ret)
{
	struct eng_op *o = op_get_wait(x->e, SOP_vec_put);
	if (!o)
		return -ENOMEM;
	o->op.cid = x->c->info.cid;
	o->op.oid = x->oid;
	memcpy(o->op.stamp.hash, hash, 16);
	o->op.stamp.hashed = 1;
	o->op.vec = vec;
	o->op.vec_bytes = x->c->info.dim * (uint32_t)sizeof(float);
	o->op.u = ret;
	o->applied = row_visible;
	o->c = x->c;
	atomic_fetch_add(&x->c->refs, 1);
	pthread_mutex_lock(&x->c->lock);
	x->c->inflight++;
	pthread_mutex_unlock(&x->c->lock);
	return op_run(o, false);
}
/* a row of the same hash that another file has: its vector becomes a row of ours. 1; 0: it is gone, or damaged */
static int row_copy(struct embedding *x, uint32_t from, const uint8_t hash[16], uint32_t *ret)
{
	struct coll_view v;
	int rc = 0;
	coll_enter(x->c, &v);
	const void *p = v.rows && from < v.rows_n ? rows_vec(v.rows, from) : NULL;
	if (p && store_row_ok(x->e->st, x->c->info.cid, from)) {
		memcpy(x->vec + (size_t)x->n * x->vec_dim, p, (size_t)x->vec_dim * sizeof(float));
		rc = 1;
	}
	coll_leave(&v);
	if (!rc)
		return 0;
	VX_TRY(row_put(x, hash, x->vec + (size_t)x->n * x->vec_dim, ret));
	return 1;
}

/* ---- batches ---- */
static bool zero(const float *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (v[i] != 0.0f)
			return false;
	return true;
}
/* A text that is too long for its endpoint may be taken in two halves: its vector then lies between theirs, as with a model's windows. */
static int halves(struct embedding *x, uint32_t i)
{
	const struct embed_text *t = &x->text[i];
	float *v = x->vec + (size_t)i * x->vec_dim, *w = x->vec + (size_t)EMB_BATCH * x->vec_dim;
	size_t at = t->n / 2;
	double sum = 0;
	while (at < t->n && ((uint8_t)t->p[at] & 0xc0) == 0x80) /* no half of a character */
		at++;
	const struct embed_text a = {t->p, at}, b = {t->p + at, t->n - at};
	perf_add(PERFC_embed_singly, 2);
	VX_TRY(sem_model_encode(x->m, EMBED_document, &a, 1, v));
	VX_TRY(sem_model_encode(x->m, EMBED_document, &b, 1, w));
	for (uint32_t d = 0; d < x->vec_dim; d++) {
		v[d] = v[d] * (float)a.n + w[d] * (float)b.n;
		sum += (double)v[d] * (double)v[d];
	}
	if (!(sum > 0))
		return -VX_ERR_text_refused;
	sum = 1 / sqrt(sum);
	for (uint32_t d = 0; d < x->vec_dim; d++)
		v[d] = (float)((double)v[d] * sum);
	return 0;
}
/* one of the batch is refused, or has no vector of numbers: which? @why of the batch */
static int singly(struct embedding *x, int why)
{
	bool first = !perf_get(PERFC_embed_refused);
	for (uint32_t i = 0; i < x->n; i++) {
		float *v = x->vec + (size_t)i * x->vec_dim;
		int rc = why;
		if (x->n > 1) {
			perf_add(PERFC_embed_singly, 1);
			rc = sem_model_encode(x->m, EMBED_document, &x->text[i], 1, v);
		}
		if (rc == -VX_ERR_text_refused && x->text[i].n >= HALVES_MIN)
			rc = halves(x, i);
		x->refused[i] = rc == -VX_ERR_text_refused || rc == -VX_ERR_not_finite;
		if (x->refused[i])
			perf_add(PERFC_embed_refused, 1);
		else if (rc < 0)
			return rc;
	}
	if (first && perf_get(PERFC_embed_refused))
		log_rc(LOGL_warn,
		        "engine: a text has no vector; user.vexfs.error and `vexfs status` tell of which files",
		        -VX_ERR_text_refused);
	return 0;
}
static int encode(struct embedding *x)
{
	uint64_t t0 = os_mono_ns(x->e->os);
	/* questions go first */
	for (unsigned i = 0; i < 64 && atomic_load(&x->s->asking) && !eng_stopping(x->e); i++)
		bell_wait(&x->s->bell, bell_rings(&x->s->bell), 5000000);
	memset(x->refused, 0, sizeof(x->refused));
	int rc = sem_model_encode(x->m, EMBED_document, x->text, x->n, x->vec);
	if (rc == -VX_ERR_not_finite || rc == -VX_ERR_text_refused)
		rc = singly(x, rc);
	perf_op(PERF_embed_batch, os_mono_ns(x->e->os) - t0, x->n);
	return rc;
}
static int flush(struct embedding *x)
{
	uint32_t n = x->n;
	if (!n)
		return 0;
	int rc = x->may_embed ? encode(x) : -VX_ERR_model_failed;
	x->n = 0;
	if (rc == -VX_ERR_cancelled)
		return rc;
	if (rc < 0) {
		x->rc = x->may_embed ? rc : x->rc;
		x->may_embed = false;
		return 0; /* they stay holes */
	}
	perf_add(PERFC_embed_chunks, n);
	for (uint32_t i = 0; i < n; i++) {
		const float *v = x->vec + (size_t)i * x->vec_dim;
		if (x->refused[i])
			x->map[x->ord[i]] = SEM_REFUSED;
		else if (zero(v, x->vec_dim))
			x->map[x->ord[i]] = SEM_NOTHING;
		else
			VX_TRY(row_put(x, x->hash[i], v, &x->map[x->ord[i]]));
	}
	return 0;
}
static bool in_batch(const struct embedding *x, const uint8_t hash[16])
{
	for (uint32_t i = 0; i < x->n; i++)
		if (!memcmp(x->hash[i], hash, 16))
			return true;
	return false;
}
static int map_room(struct embedding *x, uint32_t ord)
{
	if (ord >= x->map_cap) {
		uint32_t cap = x->map_cap ? x->map_cap * 2 : 256;
		while (cap <= ord)
			cap *= 2;
		uint32_t *p = cap > x->map_cap ? mem_realloc(MEM_engine, x->map, (size_t)cap * sizeof(*p)) : NULL;
		if (!p)
			return -ENOMEM;
		x->map = p;
		x->map_cap = cap;
	}
	while (x->map_n <= ord)
		x->map[x->map_n++] = SEM_NOTHING; /* a chunk whose row is damaged */
	x->map[ord] = SEM_HOLE;
	return 0;
}
static int chunk(struct embedding *x, const struct store_fts_hit *h)
{
	uint8_t hash[16];
	if (!h->snippet || h->ord >= EMB_ORD_MAX) /* its row is damaged: the others have their vectors all the same */
		return 0;
	VX_TRY(map_room(x, h->ord));
	text_hash_once(h->snippet, h->snippet_n, hash);
	if (in_batch(x, hash))
		VX_TRY(flush(x));
	pthread_mutex_lock(&x->c->lock);
	uint32_t own = chunk_rows_find(x->c, hash, x->oid), other = chunk_rows_find(x->c, hash, 0);
	pthread_mutex_unlock(&x->c->lock);
	if (own != ENG_ROW_NONE) {
		x->map[h->ord] = own;
		perf_add(PERFC_embed_reused, 1);
		return 0;
	}
	if (x->n == EMB_BATCH)
		VX_TRY(flush(x));
	if (other != ENG_ROW_NONE) {
		int rc = row_copy(x, other, hash, &x->map[h->ord]);
		if (rc > 0)
			perf_add(PERFC_embed_reused, 1);
		if (rc)
			return rc < 0 ? rc : 0;
	}
	x->text[x->n] = (struct embed_text){h->snippet, h->snippet_n};
	memcpy(x->hash[x->n], hash, 16);
	x->ord[x->n++] = h->ord;
	return 0;
}

/* ---- one file ---- */
/* what the map says goes into memory and catalog; rows that no chunk has die. */
static int map_visible(struct eng_op *o, int rc)
{
	struct engine *e = o->e;
	struct eng_coll *c = o->c;
	eng_wrlock(e);
	pthread_mutex_lock(&c->lock);
	c->inflight--;
	for (uint32_t i = 0; rc >= 0 && i < o->op.drop_n; i++)
		if (o->op.drop[i] < c->cap && c->own[o->op.drop[i]] == o->op.oid)
			coll_row_dead(c, o->op.drop[i]);
	const struct chunk_file *f = chunk_rows_file(c, o->op.oid);
	if (f && f->refused)
		sem_refused(e, o->op.oid);
	pthread_cond_broadcast(&c->idle);
	pthread_mutex_unlock(&c->lock);
	eng_unlock(e);
	bell_ring(&e->index_bell);
	return rc;
}
/* a file counts as done when a kill can no longer take it back */
static void map_settled(struct eng_op *o, int rc)
{
	if (rc >= 0 && o->tag)
		perf_add(PERFC_embed_files, 1);
}
static int map_put(struct embedding *x, bool text)
{
	struct eng_coll *c = x->c;
	uint32_t *drop = NULL, n = 0, cap = 0;
	int rc = 0;
	pthread_mutex_lock(&c->lock);
	if (text)
		rc = chunk_rows_map(c, x->oid, x->ver, x->map, x->map_n);
	struct chunk_file *f = chunk_rows_file(c, x->oid);
	bool whole = text && f && f->whole;
	for (uint32_t i = f ? f->head : ENG_ROW_NONE; i != ENG_ROW_NONE && rc >= 0; i = c->chunks->row[i].next) {
		if (text && c->chunks->row[i].ord != ENG_ROW_NONE)
			continue;
		if (n == cap) {
			cap = cap ? cap * 2 : 64;
			uint32_t *p = mem_realloc(MEM_engine, drop, cap * sizeof(*p));
			if (!p) {
				rc = -ENOMEM;
				break;
			}
			drop = p;
		}
		drop[n++] = i;
	}
	c->inflight++;
	pthread_mutex_unlock(&c->lock);
	struct eng_op *o = rc < 0 ? NULL : op_get_wait(x->e, SOP_chunk_rows);
	if (!o) {
		mem_free(MEM_engine, drop);
		pthread_mutex_lock(&c->lock);
		c->inflight--;
		pthread_cond_broadcast(&c->idle);
		pthread_mutex_unlock(&c->lock);
		return rc < 0 ? rc : -ENOMEM;
	}
	for (uint32_t i = 0; i < x->map_n; i++)
		le32_put((uint8_t *)x->map + (size_t)i * 4, x->map[i]);
	o->op.cid = c->info.cid;
	o->op.oid = x->oid;
	o->op.text_ver = x->ver;
	o->op.data = text ? (x->map_n ? (const void *)x->map : "") : NULL;
	o->op.data_n = text ? x->map_n * 4 : 0;
	o->op.drop = drop;
	o->op.drop_n = n;
	o->applied = map_visible;
	o->settled = map_settled;
	o->tag = whole;
	o->c = c;
	atomic_fetch_add(&c->refs, 1);
	rc = op_run(o, false);
	mem_free(MEM_engine, drop);
	return rc;
}
/* 1: it has chunks, all read; 0: it has no text */
static int pages(struct embedding *x)
{
	x->map_n = x->n = 0;
	x->ver = 0;
	for (uint32_t from = 0;;) {
		arena_reset(&x->arena);
		struct store_read rd = {.kind = SRD_chunks,
		        .arena = &x->arena,
		        .oid = x->oid,
		        .ord = from,
		        .limit = EMB_PAGE,
		        .cancel = &x->e->stopping};
		VX_TRY(rd_sync(x->e, &rd));
		if (!from && !rd.ret_ver)
			return 0;
		if (!from)
			x->ver = rd.ret_ver;
		if (rd.ret_ver != x->ver)
			return -VX_ERR_file_changed;
		for (uint32_t i = 0; i < rd.hit_n; i++)
			VX_TRY(chunk(x, &rd.hits[i]));
		VX_TRY(flush(x));
		if (rd.hit_n < EMB_PAGE)
			return 1;
		uint32_t last = rd.hits[rd.hit_n - 1].ord;
		if (last < from || last >= EMB_ORD_MAX) /* a damaged row says so: what follows it is not found again */
			return 1;
		from = last + 1;
		if (eng_stopping(x->e))
			return -VX_ERR_cancelled;
	}
}
/* is the object's file to be looked at, and can it be? */
static bool wanted(struct embedding *x, bool *ret_text)
{
	struct engine *e = x->e;
	behind_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, x->oid);
	bool yes = o && o->emb_due, current = false, whole = false, rows = false;
	if (yes) {
		pthread_mutex_lock(&x->c->lock);
		const struct chunk_file *f = chunk_rows_file(x->c, x->oid);
		current = f && f->current;
		whole = current && f->whole;
		rows = f && f->head != ENG_ROW_NONE;
		pthread_mutex_unlock(&x->c->lock);
		*ret_text = o->text_state == STORE_TEXT_done;
		if (whole && *ret_text)
			yes = false;
		if (!*ret_text && !rows)
			yes = false;
		if (!yes)
			sem_undue(e, o);
	}
	behind_unlock(e);
	return yes && (x->may_embed || !current); /* else it waits for the model; the next scan finds it */
}
static void settle(struct embedding *x)
{
	struct engine *e = x->e;
	behind_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, x->oid);
	pthread_mutex_lock(&x->c->lock);
	const struct chunk_file *f = chunk_rows_file(x->c, x->oid);
	bool done = f ? o && o->text_state == STORE_TEXT_done ? f->current && f->whole : f->head == ENG_ROW_NONE : true;
	pthread_mutex_unlock(&x->c->lock);
	if (o && done)
		sem_undue(e, o);
	behind_unlock(e);
}
/* 0, or why the file stays due */
static int file(struct embedding *x, uint64_t oid)
{
	bool text = false;
	int rc = 0;
	x->oid = oid;
	if (!wanted(x, &text))
		return 0;
	for (unsigned i = 0; i < EMB_TRIES; i++) {
		rc = pages(x);
		if (rc >= 0)
			rc = map_put(x, rc == 1);
		if (rc != -VX_ERR_file_changed)
			break;
	}
	if (rc >= 0 || rc == -VX_ERR_no_object || rc == -ENOENT)
		settle(x);
	return rc < 0 && rc != -ENOENT && rc != -VX_ERR_no_object ? rc : 0;
}

/* ---- the thread ---- */
static void take_want(struct sem *s)
{
	pthread_mutex_lock(&s->lock);
	char *folder = s->want;
	bool set = s->want_set;
	uint32_t no = s->want_no;
	s->want = NULL;
	struct sem_model *old = set ? s->target : NULL;
	if (set)
		s->target = NULL;
	pthread_mutex_unlock(&s->lock);
	if (!set)
		return;
	struct sem_model *m = folder ? sem_model_new(s->e, folder) : NULL, *gone = NULL;
	atomic_store(&s->ready, 0);
	pthread_mutex_lock(&s->lock);
	s->target = m;
	if (!folder) { /* its vectors stay, for when it comes back */
		gone = s->answer;
		s->answer = NULL;
	}
	s->want_set = s->want_no != no; /* another one, or none, was asked for meanwhile */
	atomic_store(&s->down, 0); /* what the one before could not says nothing of this one */
	pthread_mutex_unlock(&s->lock);
	sem_model_put(old);
	sem_model_put(gone);
	mem_free(MEM_engine, folder);
}
/* the new model gets its collection; who answers meanwhile? */
static int settle_models(struct sem *s, struct sem_model *m)
{
	struct engine *e = s->e;
	VX_TRY(sem_model_open(m));
	int made = sem_coll_make(s, m), rc = 0;
	if (made < 0 && !e->cfg.read_only)
		return made;
	uint32_t cid = atomic_load(&e->text_cid);
	struct eng_coll *c = cid ? coll_by_cid(e, cid) : NULL;
	if (made < 0 && !c)
		return made;
	if (made >= 0 && (!c || cid == m->c->info.cid)) { /* nobody is to be replaced */
		bool known = c && s->stored_folder && !strcmp(s->stored_folder, m->folder);
		rc = known ? 0 : sem_answer_set(s, m);
		coll_put(c);
		pthread_mutex_lock(&s->lock);
		struct sem_model *old = s->answer;
		s->answer = sem_model_ref(m);
		pthread_mutex_unlock(&s->lock);
		sem_model_put(old);
	} else if (!s->answer) { /* the one that answered before this mount */
		struct sem_model *was = s->stored_folder ? sem_model_new(e, s->stored_folder) : NULL;
		if (was)
			was->c = c;
		else
			coll_put(c);
		pthread_mutex_lock(&s->lock);
		s->answer = was;
		pthread_mutex_unlock(&s->lock);
	} else {
		coll_put(c);
	}
	VX_TRY(rc);
	VX_TRY(made); /* a store that is only read: the one of before answers, this one gets no vectors */
	sem_others_drop(s);
	atomic_store(&s->ready, 1);
	sem_rescan(s);
	return 0;
}
static void maybe_switch(struct sem *s, struct sem_model *m)
{
	struct engine *e = s->e;
	struct sem_model *a = sem_answer(e);
	bool whole = a != m && !atomic_load(&s->due) && !sem_scanning(s) && !atomic_load(&e->pending) &&
	             !atomic_load(&e->walk_due) && !atomic_load(&e->walk_running);
	sem_model_put(a);
	if (whole && sem_answer_set(s, m) >= 0)
		log_msg(LOGL_info, "engine: the new model has embedded everything and answers from now on");
}
static bool one(struct embedding *x)
{
	struct engine *e = x->e;
	uint64_t oid;
	if (sem_scan_step(x->s, x->c))
		return true;
	if (!sem_due_next(x->s, &oid))
		return false;
	if (x->vec_dim != x->c->info.dim) {
		mem_free(MEM_engine, x->vec);
		x->vec_dim = x->c->info.dim;
		x->vec = mem_alloc(MEM_engine, (size_t)(EMB_BATCH + 1) * x->vec_dim * sizeof(float));
		if (!x->vec)
			x->vec_dim = 0;
	}
	int rc = x->vec ? file(x, oid) : -ENOMEM;
	if (rc == -VX_ERR_file_changed || rc == -VX_ERR_deadline) { /* its text will not hold still */
		behind_wrlock(e);
		struct eng_obj *o = obj_by_oid(&e->t, oid);
		if (o && o->emb_due)
			sem_due(e, o);
		behind_unlock(e);
	} else if (rc < 0 && rc != -VX_ERR_cancelled) { /* no memory, no disk: later */
		log_rc(LOGL_warn, "engine: chunks could not be given vectors", rc);
		pthread_mutex_lock(&x->s->lock);
		x->s->scan_again = true;
		pthread_mutex_unlock(&x->s->lock);
		x->stuck_s = x->stuck_s ? x->stuck_s * 2 : 1; /* what the model has made of them is lost each time */
		x->stuck_s = x->stuck_s > EMB_STUCK_S ? EMB_STUCK_S : x->stuck_s;
		atomic_store(&x->s->stuck_until_ns, os_mono_ns(e->os) + x->stuck_s * 1000000000ull);
		return true;
	} else if (rc >= 0) {
		x->stuck_s = 0;
	}
	return true;
}
/* somebody has asked for what was refused to be tried again */
static void reask(struct embedding *x)
{
	if (!x->may_embed || !atomic_exchange(&x->s->reask, 0))
		return;
	pthread_mutex_lock(&x->c->lock);
	uint32_t n = chunk_rows_reask(x->c);
	pthread_mutex_unlock(&x->c->lock);
	pthread_mutex_lock(&x->s->lock);
	x->s->scan_again |= n > 0;
	pthread_mutex_unlock(&x->s->lock);
}
/* one round. ns to wait for the next, 0: at once */
static uint64_t step(struct embedding *x)
{
	struct sem *s = x->s;
	struct engine *e = x->e;
	uint64_t wait = WQ_FOREVER, w = WQ_FOREVER;
	take_want(s);
	struct sem_model *m = x->m = sem_target(e);
	if (!m)
		return WQ_FOREVER;
	bool can = sem_model_due(m, &w);
	if (!atomic_load(&s->ready) && can)
		can = settle_models(s, m) >= 0;
	bool was_down = atomic_exchange(&s->down, !can) != 0;
	if (was_down && can) {
		pthread_mutex_lock(&s->lock);
		s->scan_again = true;
		pthread_mutex_unlock(&s->lock);
	}
	if (atomic_load(&s->ready) && !e->cfg.read_only) {
		x->c = m->c;
		x->may_embed = can;
		reask(x);
		uint64_t until = atomic_load(&s->stuck_until_ns), now = os_mono_ns(e->os);
		bool stuck = until > now, more = !stuck && one(x);
		if (!stuck && !more)
			maybe_switch(s, m);
		wait = stuck ? until - now : more ? 0 : wait;
	}
	if (!can && sem_model_due(m, &w)) /* not the model: its collection could not be made */
		w = EMB_AGAIN_NS;
	if (!can)
		wait = wait < w ? wait : w;
	if (!can || !sem_pending(e))
		job_wait_check(e);
	return wait;
}
static uint64_t idle(struct sem *s)
{
	struct sem_model *m[2] = {sem_answer(s->e), sem_target(s->e)};
	uint64_t wait = WQ_FOREVER;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t w = m[i] && m[i]->opened ? sem_model_idle(m[i], s->idle_ns) : WQ_FOREVER;
		wait = w < wait ? w : wait;
		sem_model_put(m[i]);
	}
	return wait;
}
void sem_embed_thread(void *arg)
{
	struct engine *e = arg;
	struct sem *s = e->sem;
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), EMB_NICE); /* refused: it runs as the others do */
	struct embedding *x = mem_zalloc(MEM_engine, sizeof(*x));
	if (x) {
		x->e = e;
		x->s = s;
		arena_init(&x->arena, MEM_engine, EMB_ARENA);
	}
	while (x && !eng_stopping(e)) {
		uint64_t seen = bell_rings(&s->bell);
		if (eng_stopping(e)) /* rung between the look and the count */
			break;
		if (!eng_ready(e)) {
			bell_wait(&s->bell, seen, WQ_FOREVER);
			continue;
		}
		uint64_t wait = step(x);
		sem_model_put(x->m);
		x->m = NULL;
		if (wait) {
			uint64_t w = idle(s);
			bell_wait(&s->bell, seen, w < wait ? w : wait);
		}
	}
	if (x) {
		mem_free(MEM_engine, x->map);
		mem_free(MEM_engine, x->vec);
		arena_done(&x->arena);
	}
	mem_free(MEM_engine, x);
}
