/* collection.c - one collection in memory: which rows are live and whose they are, the tail, the dead, and who is looking.
 *
 * Readers (searches) enter, take a view {rows, graph, live bits, tail} and leave; between, they hold no lock.  What they may still look
 * at is not freed and no dead row is given back to the store until every reader of that epoch has left: epochs have two parities,
 * a new one begins when the readers of the one before are gone, and what was retired in epoch E is free from E + 2 on.
 * Live bits may be cleared and set under a reader: a result is checked against `own` under the lock before it is given out. */
#include <assert.h>
#include <string.h>

#include "engine/sem.h"

#define COLL_CAP_FIRST  1024u
#define COLL_TAIL_FIRST 256u
#define IDS_STEP        2048u /* rows looked at under the lock */

struct eng_coll *coll_new(struct engine *e, const struct store_coll *info)
{
	struct eng_coll *c = mem_zalloc(MEM_engine, sizeof(*c));
	if (!c)
		return NULL;
	if (pthread_mutex_init(&c->lock, NULL)) {
		mem_free(MEM_engine, c);
		return NULL;
	}
	if (pthread_cond_init(&c->idle, NULL)) {
		pthread_mutex_destroy(&c->lock);
		mem_free(MEM_engine, c);
		return NULL;
	}
	if (!strncmp(info->name, STORE_MODEL_COLL, sizeof(STORE_MODEL_COLL) - 1) && !(c->chunks = chunk_rows_new())) {
		pthread_cond_destroy(&c->idle);
		pthread_mutex_destroy(&c->lock);
		mem_free(MEM_engine, c);
		return NULL;
	}
	c->e = e;
	c->refs = 1;
	c->info = *info;
	c->epoch = 2;
	return c;
}
static void graves_free(struct eng_coll *c, uint64_t before)
{
	struct eng_grave **p = &c->graves;
	while (*p) {
		struct eng_grave *g = *p;
		if (g->epoch + 2 > before) {
			p = &g->next;
			continue;
		}
		*p = g->next;
		mem_free(MEM_engine, g->p);
		index_free(g->ix);
		mem_free(MEM_engine, g);
	}
}
void coll_put(struct eng_coll *c)
{
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	graves_free(c, UINT64_MAX);
	index_free(c->ix);
	mem_free(MEM_engine, (void *)c->live.w);
	mem_free(MEM_engine, c->own);
	mem_free(MEM_engine, c->flags);
	mem_free(MEM_engine, c->tail);
	mem_free(MEM_engine, c->graph_name);
	mem_free(MEM_engine, c->dead);
	mem_free(MEM_engine, c->ids);
	mem_free(MEM_engine, c->idrun);
	chunk_rows_free(c->chunks);
	pthread_cond_destroy(&c->idle);
	pthread_mutex_destroy(&c->lock);
	mem_free(MEM_engine, c);
}
struct eng_coll *coll_get(struct engine *e, const char *name)
{
	uint32_t cid = atomic_load(&e->text_cid);
	struct eng_coll *text = cid && !strcmp(name, "text") ? coll_by_cid(e, cid) : NULL;
	if (text)
		return text;
	pthread_mutex_lock(&e->coll_lock);
	struct eng_coll *c = e->colls;
	while (c && strcmp(c->info.name, name) != 0)
		c = c->next;
	if (c)
		atomic_fetch_add(&c->refs, 1);
	pthread_mutex_unlock(&e->coll_lock);
	return c;
}
struct eng_coll *coll_by_cid(struct engine *e, uint32_t cid)
{
	pthread_mutex_lock(&e->coll_lock);
	struct eng_coll *c = e->colls;
	while (c && c->info.cid != cid)
		c = c->next;
	if (c)
		atomic_fetch_add(&c->refs, 1);
	pthread_mutex_unlock(&e->coll_lock);
	return c;
}
bool coll_shown(const struct eng_coll *c)
{
	uint32_t answers = atomic_load(&c->e->text_cid);
	return c->chunks ? c->info.cid == answers : c->info.cid != STORE_CID_TEXT || !answers;
}
bool coll_name_ok(const char *name)
{
	size_t n = 0;
	for (; name[n]; n++) {
		char ch = name[n];
		if (!((ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '_' ||
		            ch == '-'))
			return false;
	}
	return n >= 1 && n <= CONF_COLLECTION_NAME_MAX;
}

/* old memory goes to a grave; when there is none for the grave itself the old block is leaked until the collection ends: never, in
 * practice, and safe */
void coll_bury(struct eng_coll *c, void *p, struct index *ix)
{
	if (!p && !ix)
		return;
	if (!c->active[0] && !c->active[1]) {
		mem_free(MEM_engine, p);
		index_free(ix);
		return;
	}
	struct eng_grave *g = mem_alloc(MEM_engine, sizeof(*g));
	if (!g) {
		log_msg(LOGL_warn, "engine: out of memory: a retired block is kept");
		return;
	}
	g->epoch = c->epoch;
	g->p = p;
	g->ix = ix;
	g->next = c->graves;
	c->graves = g;
}
int coll_reserve(struct eng_coll *c, uint32_t row)
{
	if (row < c->cap)
		return 0;
	if (row >= CONF_ROWS_MAX)
		return -VX_ERR_store_full;
	uint32_t cap = c->cap ? c->cap : COLL_CAP_FIRST;
	while (cap <= row)
		cap *= 2;
	_Atomic uint64_t *w = mem_zalloc(MEM_engine, cap / 8);
	/* the first are zero as they come: a page that nobody writes to costs nothing */
	uint64_t *own = !w       ? NULL
	                : c->own ? mem_realloc(MEM_engine, c->own, (size_t)cap * sizeof(*own))
	                         : mem_zalloc(MEM_engine, (size_t)cap * sizeof(*own));
	if (own)
		c->own = own;
	uint8_t *flags = !own ? NULL : c->flags ? mem_realloc(MEM_engine, c->flags, cap) : mem_zalloc(MEM_engine, cap);
	if (!flags) {
		mem_free(MEM_engine, (void *)w);
		return -ENOMEM;
	}
	c->flags = flags;
	if (c->cap) {
		memset(own + c->cap, 0, (size_t)(cap - c->cap) * sizeof(*own));
		memset(flags + c->cap, 0, cap - c->cap);
	}
	for (uint32_t i = 0; i < c->cap / 64; i++)
		atomic_store_explicit(
		        &w[i], atomic_load_explicit(&c->live.w[i], memory_order_relaxed), memory_order_relaxed);
	coll_bury(c, (void *)c->live.w, NULL);
	c->live.w = w;
	c->live.n = cap;
	c->cap = cap;
	return 0;
}
int coll_tail_push(struct eng_coll *c, uint32_t row)
{
	if (c->tail_n == c->tail_cap) {
		/* never moved in place: readers hold [head, n) of the old block */
		uint32_t left = c->tail_n - c->tail_head;
		uint32_t cap = left < COLL_TAIL_FIRST / 2 ? COLL_TAIL_FIRST : left * 2;
		uint32_t *t = mem_alloc(MEM_engine, (size_t)cap * sizeof(*t));
		if (!t)
			return -ENOMEM;
		if (left)
			memcpy(t, c->tail + c->tail_head, (size_t)left * sizeof(*t));
		coll_bury(c, c->tail, NULL);
		c->tail = t;
		c->tail_cap = cap;
		c->tail_head = 0;
		c->tail_n = left;
	}
	c->tail[c->tail_n++] = row;
	c->tail_in++;
	c->flags[row] |= ROWF_TAIL;
	return 0;
}
int coll_row_live(struct eng_coll *c, uint32_t row, bool is_free, uint64_t owner, bool to_tail)
{
	int rc = coll_reserve(c, row);
	if (rc < 0)
		return rc;
	if (to_tail && c->ix) {
		rc = coll_tail_push(c, row);
		if (rc < 0)
			return rc;
	}
	c->own[row] = owner;
	c->flags[row] = (uint8_t)((c->flags[row] & (ROWF_PUB | ROWF_TAIL)) | ROWF_LIVE | (is_free ? ROWF_FREE : 0));
	atomic_fetch_or_explicit(&c->live.w[row >> 6], 1ull << (row & 63), memory_order_release);
	c->live_n++;
	return 0;
}
int coll_dead_push(struct eng_coll *c, uint32_t row, bool unlinked)
{
	if (c->dead_n == c->dead_cap) {
		uint32_t cap = c->dead_cap ? c->dead_cap * 2 : 64;
		struct eng_dead *d = mem_realloc(MEM_engine, c->dead, (size_t)cap * sizeof(*d));
		if (!d)
			return -ENOMEM; /* the row is found dead again at the next opening */
		c->dead = d;
		c->dead_cap = cap;
	}
	c->dead[c->dead_n++] = (struct eng_dead){.row = row, .epoch = c->epoch, .unlinked = unlinked};
	c->dead_all++;
	return 0;
}
void coll_row_dead(struct eng_coll *c, uint32_t row)
{
	if (row >= c->cap || !(c->flags[row] & ROWF_LIVE))
		return;
	atomic_fetch_and_explicit(&c->live.w[row >> 6], ~(1ull << (row & 63)), memory_order_release);
	c->flags[row] &= (uint8_t) ~(ROWF_LIVE | ROWF_FREE);
	if (c->chunks)
		chunk_rows_del(c, row, c->own[row]);
	c->own[row] = 0;
	c->live_n--;
	if (coll_dead_push(c, row, false) < 0)
		log_msg(LOGL_warn, "engine: out of memory: a dead row waits for the next mount");
}

/* ---- free points' ids ---- */
static uint32_t id_slot(const struct eng_coll *c, uint64_t id)
{
	return (uint32_t)((id * 0x9e3779b97f4a7c15ull) >> 32) & (c->ids_cap - 1);
}
enum { ID_DELETED = 2, ID_BUSY = 3 }; /* of free_slot.used; 0: never, 1: used */

static struct free_slot *id_find(const struct eng_coll *c, uint64_t id)
{
	vx_assert(!atomic_load_explicit(&c->ids_cold, memory_order_relaxed));
	if (!c->ids_cap)
		return NULL;
	for (uint32_t i = id_slot(c, id);; i = (i + 1) & (c->ids_cap - 1)) {
		struct free_slot *s = &c->ids[i];
		if (!s->used)
			return NULL;
		if (s->used != ID_DELETED && s->id == id)
			return s;
	}
}
uint32_t coll_id_row(const struct eng_coll *c, uint64_t id)
{
	const struct free_slot *s = id_find(c, id);
	return s ? s->used == ID_BUSY ? ENG_ROW_BUSY : s->row : ENG_ROW_NONE;
}
uint32_t coll_id_shown(const struct eng_coll *c, uint64_t id)
{
	const struct free_slot *s = id_find(c, id);
	return s ? s->row : ENG_ROW_NONE;
}
static struct free_slot *ids_new(uint32_t live, uint32_t *ret_cap)
{
	uint32_t cap = 64;
	while (cap < live * 4)
		cap *= 2;
	*ret_cap = cap;
	return mem_zalloc(MEM_engine, (size_t)cap * sizeof(struct free_slot));
}
static int ids_grow(struct eng_coll *c)
{
	uint32_t cap;
	struct free_slot *n = ids_new(c->ids_live, &cap);
	if (!n && c->ix) { /* the index can do without what it holds */
		index_hold_release(c->ix);
		n = ids_new(c->ids_live, &cap);
	}
	if (!n)
		return -ENOMEM;
	struct free_slot *old = c->ids;
	uint32_t old_cap = c->ids_cap;
	c->ids = n;
	c->ids_cap = cap;
	c->ids_used = c->ids_live;
	for (uint32_t i = 0; i < old_cap; i++) {
		if (!old[i].used || old[i].used == ID_DELETED)
			continue;
		uint32_t s = id_slot(c, old[i].id);
		while (n[s].used)
			s = (s + 1) & (cap - 1);
		n[s] = old[i];
	}
	mem_free(MEM_engine, old);
	return 0;
}
int coll_id_set(struct eng_coll *c, uint64_t id, uint32_t row)
{
	struct free_slot *have = id_find(c, id);
	bool busy = row == ENG_ROW_BUSY;
	if (have) { /* nothing can fail */
		have->used = busy ? ID_BUSY : 1;
		have->row = busy ? have->row : row;
		return 0;
	}
	if (c->ids_used * 2 >= c->ids_cap)
		VX_TRY(ids_grow(c));
	uint32_t gap = UINT32_MAX;
	for (uint32_t i = id_slot(c, id);; i = (i + 1) & (c->ids_cap - 1)) {
		struct free_slot *s = &c->ids[i];
		if (s->used == ID_DELETED && gap == UINT32_MAX)
			gap = i;
		if (s->used)
			continue;
		if (gap == UINT32_MAX) {
			gap = i;
			c->ids_used++;
		}
		c->ids[gap] =
		        (struct free_slot){.id = id, .row = busy ? ENG_ROW_NONE : row, .used = busy ? ID_BUSY : 1};
		c->ids_live++;
		return 0;
	}
}
void coll_id_del(struct eng_coll *c, uint64_t id)
{
	struct free_slot *s = id_find(c, id);
	if (!s)
		return;
	s->used = ID_DELETED;
	c->ids_live--;
}

/* ---- opening ----
 * What a search needs of a row comes in bulk: its owner by the run of ids it is in, or by the store's reading it into own[], the rest by the bits
 * of who is live.  The table of ids, which would take ten times as long, is left until somebody asks for a point by its id. */
uint64_t *coll_points_room(struct eng_coll *c, uint32_t rows, uint32_t runs_n)
{
	static_assert(COLL_CAP_FIRST % STORE_RUN_ROWS == 0, "the room is rounded up to that");
	if (!rows || coll_reserve(c, rows - 1) < 0)
		return NULL;
	if (runs_n > rows / STORE_RUN_ROWS / 2)
		mem_huge_hint(c->own, (size_t)rows * sizeof(*c->own));
	return c->own;
}
static void flags_or(uint8_t *flags, uint64_t bits, uint8_t what)
{
	if (bits == UINT64_MAX) {
		for (unsigned i = 0; i < 64; i++)
			flags[i] |= what;
		return;
	}
	for (; bits; bits &= bits - 1)
		flags[__builtin_ctzll(bits)] |= what;
}
int coll_points(struct eng_coll *c, const uint64_t *live, uint32_t rows, uint32_t n, const struct store_idrun *run)
{
	uint32_t runs = (uint32_t)(((uint64_t)rows + STORE_RUN_ROWS - 1) / STORE_RUN_ROWS);
	vx_assert(rows && rows <= c->cap && !c->idrun);
	c->idrun = mem_alloc(MEM_engine, runs * sizeof(*run));
	if (!c->idrun)
		return -ENOMEM;
	memcpy(c->idrun, run, runs * sizeof(*run));
	c->idrun_n = runs;
	for (uint32_t i = 0; i < (rows + 63) / 64; i++) {
		atomic_fetch_or_explicit(&c->live.w[i], live[i], memory_order_relaxed);
		if (live[i] == UINT64_MAX) /* all of them, and told as nothing else: written without a look */
			memset(c->flags + (size_t)i * 64, ROWF_LIVE | ROWF_FREE, 64);
		else
			flags_or(c->flags + (size_t)i * 64, live[i], ROWF_LIVE | ROWF_FREE);
	}
	c->live_n += n;
	c->ids_live += n;
	atomic_store(&c->ids_cold, n != 0);
	return 0;
}
int coll_rows_opened(struct eng_coll *c)
{
	size_t words = c->cap / 64;
	uint64_t *linked = mem_alloc(MEM_engine, words * sizeof(*linked));
	int rc = linked ? index_linked_bits(c->ix, linked, words) : -ENOMEM;
	for (size_t i = 0; i < words && rc >= 0; i++) {
		uint64_t live = atomic_load_explicit(&c->live.w[i], memory_order_relaxed), tail = live & ~linked[i];
		flags_or(c->flags + i * 64, live & linked[i], ROWF_PUB);
		for (; tail && rc >= 0; tail &= tail - 1)
			rc = coll_tail_push(c, (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(tail));
	}
	mem_free(MEM_engine, linked);
	return rc;
}
/* [c->lock] some rows' ids into a table that nobody sees yet. Two rows of one id: the second is left out, as opening row by row does. */
static void ids_fill(struct eng_coll *c, struct free_slot *t, uint32_t cap, uint32_t row, uint32_t end)
{
	for (; row < end && row < c->cap; row++) {
		if ((c->flags[row] & (ROWF_LIVE | ROWF_FREE)) != (ROWF_LIVE | ROWF_FREE))
			continue;
		uint64_t id = c->own[row] = coll_owner(c, row);
		uint32_t s = (uint32_t)((id * 0x9e3779b97f4a7c15ull) >> 32) & (cap - 1);
		while (t[s].used && t[s].id != id)
			s = (s + 1) & (cap - 1);
		if (!t[s].used) {
			t[s] = (struct free_slot){.id = id, .row = row, .used = 1};
			continue;
		}
		atomic_fetch_and_explicit(&c->live.w[row >> 6], ~(1ull << (row & 63)), memory_order_release);
		c->flags[row] &= (uint8_t) ~(ROWF_LIVE | ROWF_FREE);
		c->live_n--;
		c->ids_live--;
		atomic_fetch_add(&c->e->damaged, 1);
	}
}
int coll_ids_warm(struct eng_coll *c)
{
	if (!atomic_load(&c->ids_cold))
		return 0;
	pthread_mutex_lock(&c->lock);
	while (c->ids_warming)
		pthread_cond_wait(&c->idle, &c->lock);
	if (!atomic_load(&c->ids_cold)) {
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	c->ids_warming = true; /* no id comes or goes until this ends */
	uint32_t cap, n = c->ids_live;
	pthread_mutex_unlock(&c->lock);
	struct free_slot *t = ids_new(n, &cap);
	mem_huge_hint(t, (size_t)cap * sizeof(*t));
	pthread_mutex_lock(&c->lock);
	for (uint32_t row = 0; t && row < c->cap; row += IDS_STEP) {
		ids_fill(c, t, cap, row, row + IDS_STEP);
		pthread_mutex_unlock(&c->lock); /* searches go on */
		pthread_mutex_lock(&c->lock);
	}
	if (t) {
		mem_free(MEM_engine, c->ids);
		c->ids = t;
		c->ids_cap = cap;
		c->ids_used = c->ids_live;
		mem_free(MEM_engine, c->idrun); /* own[] has them all by now */
		c->idrun = NULL;
		c->idrun_n = 0;
		atomic_store(&c->ids_cold, false);
	}
	c->ids_warming = false;
	pthread_cond_broadcast(&c->idle);
	pthread_mutex_unlock(&c->lock);
	return t ? 0 : -ENOMEM;
}

/* under a memory limit a graph in memory may take a quarter of it; what is more lies in parts */
struct index_cfg coll_index_cfg(struct engine *e, const struct eng_coll *c)
{
	return (struct index_cfg){.M = c->info.M,
	        .ef_construction = c->info.ef_construction,
	        .threads = 8,
	        .os = e->os,
	        .dirfd = store_coll_dirfd(e->st, c->info.cid),
	        .part_bytes = e->cfg.read_only ? 0 : mem_limit() / 4};
}

/* the store's view of the rows changes when a dimension is bound; one without a dimension is none */
void rows_refresh(struct engine *e, struct eng_coll *c)
{
	c->rows = store_rows(e->st, c->info.cid);
	if (c->rows && !c->rows->dim)
		c->rows = NULL;
}

/* ---- readers ---- */
void coll_enter(struct eng_coll *c, struct coll_view *v)
{
	pthread_mutex_lock(&c->lock);
	v->c = c;
	v->parity = c->epoch & 1;
	c->active[v->parity]++;
	bool none = c->dropped || c->rebinding || !c->rows || !c->live_n;
	v->rows = none ? NULL : c->rows;
	v->ix = none || c->ix_broken ? NULL : c->ix;
	v->live = c->live;
	v->tail = c->tail ? c->tail + c->tail_head : NULL;
	v->tail_n = v->ix ? c->tail_n - c->tail_head : 0;
	v->live_n = none ? 0 : c->live_n;
	v->rows_n = none ? 0 : atomic_load_explicit(&c->rows->n, memory_order_acquire);
	pthread_mutex_unlock(&c->lock);
}
void coll_leave(struct coll_view *v)
{
	struct eng_coll *c = v->c;
	pthread_mutex_lock(&c->lock);
	if (!--c->active[v->parity] && !c->active[v->parity ^ 1]) {
		graves_free(c, UINT64_MAX);
		pthread_cond_broadcast(&c->idle);
	}
	pthread_mutex_unlock(&c->lock);
	v->c = NULL;
}
uint64_t coll_epoch_step(struct eng_coll *c)
{
	if (!c->active[(c->epoch & 1) ^ 1]) {
		c->epoch++;
		graves_free(c, c->epoch);
	}
	return c->epoch;
}
void coll_drain(struct eng_coll *c)
{
	while (c->active[0] || c->active[1] || c->indexing)
		pthread_cond_wait(&c->idle, &c->lock);
}

void coll_fill_info(struct eng_coll *c, struct eng_coll_info *ret)
{
	memset(ret, 0, sizeof(*ret));
	pthread_mutex_lock(&c->lock);
	memcpy(ret->name, c->info.name, sizeof(ret->name));
	if (c->chunks)
		memcpy(ret->name, "text", sizeof("text"));
	/* the default collection's dimension is free again as soon as it is empty */
	ret->dim = c->info.cid == STORE_CID_DEFAULT && !c->live_n && !c->inflight ? 0 : c->info.dim;
	ret->uid = c->info.uid;
	ret->gid = c->info.gid;
	ret->mode = c->info.mode;
	ret->M = c->info.M;
	ret->ef_construction = c->info.ef_construction;
	ret->ef = c->info.ef;
	ret->metric = c->info.metric;
	ret->dtype = c->info.dtype;
	ret->points = c->live_n;
	ret->dead = c->dead_all;
	ret->target_recall = c->recall.target;
	ret->recall_state = recall_state(c);
	ret->recall_ef = c->ix && !c->ix_broken && c->recall.ef != ENG_EF_EXACT ? recall_ef(c, 0) : 0;
	ret->recall = !ret->recall_ef ? 10000 : c->recall.known ? c->recall.measured : 0;
	ret->index = c->ix && !c->ix_broken ? "hnsw" : "flat";
	ret->tail = c->ix ? c->tail_n - c->tail_head : c->live_n;
	if (c->ix) {
		ret->linked = index_count(c->ix);
		ret->index_bytes = c->ix_bytes;
	}
	pthread_mutex_unlock(&c->lock);
}
bool coll_may(const struct eng_coll *c, const struct eng_caller *who, uint32_t want)
{
	if (who->uid == 0 || who->uid == c->e->cfg.owner_uid)
		return true;
	uint32_t bits = c->info.mode;
	if (who->uid == c->info.uid)
		bits >>= 6;
	else if (who->gid == c->info.gid)
		bits >>= 3;
	return (bits & want) == want;
}

static int coll_made(struct eng_op *o, int rc)
{
	struct engine *e = o->e;
	struct eng_coll *c = o->c;
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&c->lock);
	c->info.cid = o->op.ret_cid;
	rows_refresh(e, c);
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_lock(&e->coll_lock);
	c->next = e->colls;
	e->colls = c;
	atomic_fetch_add(&c->refs, 1);
	pthread_mutex_unlock(&e->coll_lock);
	return 0;
}
struct eng_op *coll_create_op(struct engine *e, const struct store_coll *k)
{
	struct eng_op *o = op_get_wait(e, SOP_coll_create);
	struct eng_coll *c = o ? coll_new(e, k) : NULL;
	if (!c) {
		if (o)
			op_put(o);
		return NULL;
	}
	o->coll_mem = *k;
	o->op.coll = &o->coll_mem;
	o->c = c;
	o->applied = coll_made;
	return o;
}
bool coll_unlist(struct engine *e, struct eng_coll *c)
{
	pthread_mutex_lock(&e->coll_lock);
	struct eng_coll **p = &e->colls;
	while (*p && *p != c)
		p = &(*p)->next;
	bool listed = *p != NULL;
	if (listed)
		*p = c->next;
	pthread_mutex_unlock(&e->coll_lock);
	return listed;
}
