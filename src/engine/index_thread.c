/* index_thread.c - keeps graphs up with rows, behind the searches.
 *
 * A collection below ENG_FLAT_MAX live rows has no graph: scanning it is cheaper than walking one.  Above, the rows outside the graph
 * (the tail) are scanned with each search and linked here, some at a time.  Dead rows are taken out of the graph, and given back to
 * the store when no reader is left that could still look at them and when no published graph names them.  A graph is published when
 * more than an eighth of it is new, and at a clean stop if that takes less than five seconds: first a barrier, so that it never names
 * a row the catalog could lose, then the file, then the catalog's row. */
#include <string.h>
#include <unistd.h>

#include "engine/engine_priv.h"

#define INDEX_STEP_NS       20000000ull /* linking, before others are looked at */
#define INDEX_CHUNK_MIN     2048u
#define INDEX_CHUNK_MAX     16384u
#define INDEX_BUILD_THREADS 8u
#define INDEX_DRAIN_MAX     4096u
#define INDEX_STOP_NS       5000000000ull
#define INDEX_STOP_BYTES    (1ull << 30) /* what five seconds write, on a slow disk */
#define INDEX_RETRY_NS      5000000000ull
#define INDEX_IDLE_NS       1000000000ull /* dead rows wait for readers: look again */
#define INDEX_ANEW_MIN      2048u
#define INDEX_BURY_MAX      1024u /* dead rows taken out of a graph at once: some tenths of a second */

static void all_to_tail(struct eng_coll *c)
{
	c->tail_head = c->tail_n = 0;
	coll_bury(c, c->tail, NULL);
	c->tail = NULL;
	c->tail_cap = 0;
	for (uint32_t r = 0; r < c->cap; r++) {
		c->flags[r] &=
		        (uint8_t)~ROWF_TAIL; /* what is published stays so: the file is there until the next one */
		if ((c->flags[r] & ROWF_LIVE) && coll_tail_push(c, r) < 0) {
			/* no memory for the tail: no graph then, exact search serves */
			coll_bury(c, c->tail, c->ix);
			c->tail = NULL;
			c->tail_cap = c->tail_head = c->tail_n = 0;
			c->ix = NULL;
			return;
		}
	}
}
/* [c->lock] an empty graph over all rows; searches scan the tail until it is linked */
static void graph_begin(struct engine *e, struct eng_coll *c)
{
	struct index_cfg ic = coll_index_cfg(e, c);
	struct index *ix, *old = c->ix;
	int rc = index_new(c->rows, &ic, &ix);
	if (rc < 0) {
		c->tail_retry_ns = os_mono_ns(e->os) + INDEX_RETRY_NS;
		return;
	}
	c->ix = ix;
	c->ix_broken = false;
	c->linked_pub = 0;
	coll_bury(c, NULL, old);
	all_to_tail(c);
	/* rows that died while the old graph held them are in none now */
	for (uint32_t i = 0; i < c->dead_n; i++)
		c->dead[i].unlinked = true;
}
static uint32_t build_threads(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	/* half of the processors, two where there are two: files come first, but an import is waited for */
	uint32_t t = n < 2 ? 1 : (uint32_t)(n + 1) / 2;
	return n >= 2 && t < 2 ? 2 : t > INDEX_BUILD_THREADS ? INDEX_BUILD_THREADS : t;
}
/* a long tail: many rows by several threads. Return 1: done some; 0: too few for that; < 0. */
static int build_some(struct engine *e, struct eng_coll *c, struct index *ix)
{
	uint32_t chunk = index_count(ix) / 8, n = 0;
	chunk = chunk < INDEX_CHUNK_MIN ? INDEX_CHUNK_MIN : chunk > INDEX_CHUNK_MAX ? INDEX_CHUNK_MAX : chunk;
	uint32_t *rows = mem_alloc(MEM_engine, (size_t)chunk * sizeof(*rows));
	if (!rows)
		return 0; /* one after the other then */
	pthread_mutex_lock(&c->lock);
	bool ok = c->ix == ix && !c->dropped && c->tail_n - c->tail_head >= 2 * INDEX_CHUNK_MIN;
	for (uint32_t i = c->tail_head; ok && i < c->tail_n && n < chunk; i++)
		if (c->flags[c->tail[i]] & ROWF_LIVE)
			rows[n++] = c->tail[i];
	pthread_mutex_unlock(&c->lock);
	if (ok && n)
		index_hold_release(ix);
	int rc = ok && n ? index_build(ix, rows, n, build_threads(), &e->stopping) : 0;
	mem_free(MEM_engine, rows);
	if (!ok)
		return 0;
	pthread_mutex_lock(&c->lock);
	for (; c->tail_head < c->tail_n; c->tail_head++) {
		uint32_t row = c->tail[c->tail_head];
		if ((c->flags[row] & ROWF_LIVE) && !index_linked(ix, row))
			break;
		c->flags[row] &= (uint8_t)~ROWF_TAIL;
	}
	if (rc < 0)
		c->tail_retry_ns = os_mono_ns(e->os) + INDEX_RETRY_NS;
	pthread_mutex_unlock(&c->lock);
	return rc < 0 ? rc : 1;
}
/* link rows of the tail for a while. Return whether there is more to do at once. */
static bool link_some(struct engine *e, struct eng_coll *c, struct coll_view *v, uint64_t until_ns)
{
	struct index *ix = v->ix;
	uint64_t t0 = os_mono_ns(e->os), last = t0;
	for (;;) {
		uint32_t row = ENG_ROW_NONE;
		pthread_mutex_lock(&c->lock);
		if (c->ix != ix || c->tail_head == c->tail_n || c->dropped) {
			pthread_mutex_unlock(&c->lock);
			return false;
		}
		row = c->tail[c->tail_head];
		bool live = c->flags[row] & ROWF_LIVE;
		pthread_mutex_unlock(&c->lock);
		int rc = live ? index_insert(ix, row) : 0;
		pthread_mutex_lock(&c->lock);
		if (rc < 0) {
			c->tail_retry_ns = os_mono_ns(e->os) + INDEX_RETRY_NS;
			pthread_mutex_unlock(&c->lock);
			log_rc(LOGL_warn, "engine: a row could not be linked", rc);
			return false;
		}
		c->tail_head++;
		c->flags[row] &= (uint8_t)~ROWF_TAIL;
		pthread_mutex_unlock(&c->lock);
		uint64_t now = os_mono_ns(e->os);
		perf_op(PERF_hnsw_insert, now - last, 0);
		last = now;
		if (now - t0 > INDEX_STEP_NS || now > until_ns || (eng_stopping(e) && until_ns == UINT64_MAX))
			return true;
	}
}
static bool free_row(struct engine *e, struct eng_coll *c, uint32_t row)
{
	struct eng_op *o = op_get(e, SOP_row_free);
	if (!o)
		return false;
	o->op.cid = c->info.cid;
	o->op.old_row = row;
	c->rows_freed++;
	op_submit(o);
	return true;
}
/* [c->lock] More nodes of the graph are dead than alive.  To link the living anew leaves a graph without scars, in the time that it takes to take
 * the dead out; meanwhile they are scanned, as after an import. */
static bool mostly_dead(const struct eng_coll *c, const struct index *ix)
{
	uint32_t all = index_count(ix), dead = 0;
	if (all < INDEX_ANEW_MIN || c->dead_n < INDEX_ANEW_MIN || c->dead_n <= all / 2)
		return false;
	for (uint32_t i = 0; i < c->dead_n; i++)
		dead += !c->dead[i].unlinked && index_linked(ix, c->dead[i].row);
	return dead >= INDEX_ANEW_MIN && dead > all / 2;
}
/* [c->lock, let go meanwhile] Dead rows, as many as there are up to a limit, out of the graph at once: it looks through all its links, for one
 * row or for all of them.  @ret_to  dead rows before this one need no other look. Return 1: there may be more; 0; < 0: they are still linked. */
static int unlink_dead(struct engine *e, struct eng_coll *c, struct index *ix, uint64_t until_ns, uint32_t *ret_to)
{
	uint32_t n = 0, to = 0;
	int rc = 0;
	uint32_t *rows = mem_alloc(MEM_engine, INDEX_BURY_MAX * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	for (; to < c->dead_n && n < INDEX_BURY_MAX; to++) {
		uint32_t row = c->dead[to].row;
		if (!c->dead[to].unlinked && !(row < c->cap && (c->flags[row] & ROWF_TAIL)) && index_linked(ix, row))
			rows[n++] = row;
	}
	bool more = to < c->dead_n;
	if (n && until_ns == UINT64_MAX && mostly_dead(c, ix)) {
		graph_begin(e, c);
		if (c->ix != ix)
			n = 0;
	}
	if (n && (until_ns == UINT64_MAX ? eng_stopping(e) : os_mono_ns(e->os) > until_ns)) {
		rc = -VX_ERR_cancelled; /* the next mount's turn */
	} else if (n) {
		c->indexing = true;
		pthread_mutex_unlock(&c->lock);
		rc = index_delete_many(ix, rows, n);
		pthread_mutex_lock(&c->lock);
		c->indexing = false;
		pthread_cond_broadcast(&c->idle);
	}
	mem_free(MEM_engine, rows);
	*ret_to = to;
	return rc < 0 ? rc : more;
}
/* dead rows: out of the graph, then back to the store. Return 1: there is more at once; 2: some wait for readers; 0. */
static int bury_dead(struct engine *e, struct eng_coll *c, uint64_t until_ns)
{
	bool wait = false;
	pthread_mutex_lock(&c->lock);
	uint32_t to = c->dead_n;
	int more = 0;
	if (!c->dropped && c->dead_n && c->ix && !c->ix_broken) /* the index's writer is this thread alone */
		more = unlink_dead(e, c, c->ix, until_ns, &to);
	struct index *ix = c->ix_broken ? NULL : c->ix;
	for (uint32_t i = 0; i < to && i < c->dead_n && !c->dropped; i++) {
		uint32_t row = c->dead[i].row;
		if (c->dead[i].unlinked)
			continue;
		/* in the tail: its turn passes it by first */
		if (ix && ((row < c->cap && (c->flags[row] & ROWF_TAIL)) || index_linked(ix, row))) {
			wait = true;
			continue;
		}
		c->dead[i].unlinked = true;
		c->dead[i].epoch = c->epoch;
	}
	uint64_t epoch = coll_epoch_step(c);
	uint32_t keep = 0;
	for (uint32_t i = 0; i < c->dead_n; i++) {
		struct eng_dead *d = &c->dead[i];
		bool pub = c->graph_kept || (d->row < c->cap && (c->flags[d->row] & ROWF_PUB));
		bool ready = d->unlinked && !pub && d->epoch + 2 <= epoch && !e->cfg.read_only;
		if (ready && free_row(e, c, d->row)) {
			c->dead_all--;
			continue;
		}
		wait |= d->unlinked && !pub && !e->cfg.read_only;
		c->dead[keep++] = *d;
	}
	c->dead_n = keep;
	pthread_mutex_unlock(&c->lock);
	return more > 0 ? 1 : wait || more < 0 ? 2 : 0;
}
/* Link what is in the tail now, so that every live row of commit *ret_gen or an older one is in the graph, and opening need not ask the
 * graph for each of them.  *ret_gen 0: there is too much of it, or too little time. */
static void drain_tail(struct engine *e, struct eng_coll *c, struct index *ix, uint64_t until_ns, uint64_t *ret_gen)
{
	uint64_t gen = store_generation(e->st), to = 0;
	struct coll_view v = {.c = c, .ix = ix};
	*ret_gen = 0;
	for (bool first = true, more = true;; first = false) {
		pthread_mutex_lock(&c->lock);
		uint64_t left = c->tail_n - c->tail_head;
		if (first)
			to = c->tail_in;
		bool done = c->tail_in - left >= to;
		pthread_mutex_unlock(&c->lock);
		if (done) {
			*ret_gen = gen;
			return;
		}
		if (!more || left > INDEX_DRAIN_MAX || os_mono_ns(e->os) > until_ns)
			return;
		more = link_some(e, c, &v, until_ns);
	}
}
static int publish(struct engine *e, struct eng_coll *c, struct index *ix, uint64_t until_ns)
{
	char name[40];
	struct sbuf b;
	uint64_t t0 = os_mono_ns(e->os);
	pthread_mutex_lock(&c->lock);
	uint64_t gen = c->graph_gen + 1;
	uint32_t cid = c->info.cid;
	pthread_mutex_unlock(&c->lock);
	uint64_t all_to;
	drain_tail(e, c, ix, until_ns, &all_to);
	struct eng_op *o = op_get_wait(e, SOP_barrier);
	if (!o)
		return -ENOMEM;
	VX_TRY(op_run(o, true)); /* the rows it names can't be lost any more */
	sbuf_fixed(&b, name, sizeof(name));
	sb_ch(&b, 'g');
	sb_u64(&b, gen);
	sb_str(&b, ".hnsw");
	int dirfd = store_coll_dirfd(e->st, cid);
	VX_TRY(index_publish(ix, e->os, dirfd, sbuf_cstr(&b), all_to));
	o = op_get_wait(e, SOP_graph_put);
	if (!o)
		return -ENOMEM;
	o->op.cid = cid;
	o->op.graph_gen = gen;
	memcpy(o->op.name, name, sizeof(name));
	VX_TRY(op_run(o, true));
	pthread_mutex_lock(&c->lock);
	c->graph_gen = gen;
	c->graph_kept = false;
	c->linked_pub = index_count(ix);
	for (uint32_t r = 0; r < c->cap; r++) {
		if (index_linked(ix, r))
			c->flags[r] |= ROWF_PUB;
		else
			c->flags[r] &= (uint8_t)~ROWF_PUB;
	}
	pthread_mutex_unlock(&c->lock);
	perf_op(PERF_hnsw_publish, os_mono_ns(e->os) - t0, 0);
	return 0;
}
/* how much of a graph is new, or gone, since it was last published */
static bool publish_due(const struct eng_coll *c, bool any)
{
	uint32_t now = index_count(c->ix), then = c->linked_pub;
	uint32_t gone = 0;
	for (uint32_t i = 0; i < c->dead_n; i++)
		gone += c->dead[i].row < c->cap && (c->flags[c->dead[i].row] & ROWF_PUB);
	uint32_t grown = now + gone > then ? now + gone - then : 0;
	if (any)
		return grown || gone;
	if (c->tail_n - c->tail_head >= INDEX_DRAIN_MAX) /* in the middle of an import: each doubling */
		return (uint64_t)grown * 2 > now;
	return (uint64_t)grown * 8 > now || (uint64_t)gone * 4 > now + 1024;
}
/* index_step - some work on one collection. Return 1: there is more at once; 0: nothing; 2: dead rows wait for readers. */
static int index_step(struct engine *e, struct eng_coll *c, uint64_t until_ns)
{
	bool more = false;
	uint64_t now = os_mono_ns(e->os);
	pthread_mutex_lock(&c->lock);
	if (c->dropped || !c->rows || c->rebinding) {
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	bool able = now >= c->tail_retry_ns;
	if (c->ix && index_failed(c->ix) && !c->ix_broken) {
		c->ix_broken = true;
		log_msg(LOGL_error, "engine: a graph is damaged: exact search serves while it is rebuilt");
		perf_add(PERFC_graph_rebuilt, 1);
	}
	if (c->ix && !c->ix_broken && index_worn(c->ix))
		c->ix_broken = true; /* built anew: what was sealed is mostly gone */
	if (able && e->cfg.components >= ENG_search && (c->ix_broken || (!c->ix && c->live_n >= ENG_FLAT_MAX)))
		graph_begin(e, c);
	pthread_mutex_unlock(&c->lock);

	struct coll_view v;
	coll_enter(c, &v);
	int built = v.ix && able && until_ns == UINT64_MAX ? build_some(e, c, v.ix) : 0;
	if (built < 0)
		log_rc(LOGL_warn, "engine: rows could not be linked", built);
	else if (built)
		more = true;
	else if (v.ix && able)
		more = link_some(e, c, &v, until_ns);
	/* linking wants the memory itself */
	int held = v.ix && until_ns == UINT64_MAX && (!more || index_hold_due(v.ix)) ? index_hold_step(v.ix) : 0;
	if (held < 0) /* a damaged page is told of, and seen to, by the next step */
		log_rc(LOGL_warn, "engine: codes could not be read into memory", held);
	more |= held != 0;
	pthread_mutex_lock(&c->lock);
	bool due = able && v.ix && c->ix == v.ix && !c->dropped && !e->cfg.read_only && publish_due(c, false);
	if (v.ix && c->ix == v.ix) {
		struct index_stats is;
		index_stats(v.ix, &is);
		c->ix_bytes = is.bytes + is.mapped_bytes;
		perf_set(PERFC_tail_rows, c->tail_n - c->tail_head);
	}
	pthread_mutex_unlock(&c->lock);
	if (due && store_health(e->st) >= 0) {
		int rc = publish(e, c, v.ix, UINT64_MAX);
		if (rc < 0) {
			log_rc(LOGL_warn, "engine: a graph could not be published", rc);
			pthread_mutex_lock(&c->lock);
			c->tail_retry_ns = os_mono_ns(e->os) + INDEX_RETRY_NS;
			pthread_mutex_unlock(&c->lock);
		}
		bell_ring(&e->index_bell);
	}
	coll_leave(&v);
	if (!more && able && until_ns == UINT64_MAX && !eng_stopping(e))
		more = recall_step(e, c);
	int buried = bury_dead(e, c, until_ns);
	more |= buried == 1;
	if (!more && until_ns == UINT64_MAX)
		compact_step(e, c);
	return more ? 1 : buried;
}
static int all_steps(struct engine *e, uint64_t until_ns)
{
	int ret = 0;
	uint32_t last = 0;
	for (;;) {
		struct eng_coll *c = NULL;
		pthread_mutex_lock(&e->coll_lock);
		for (struct eng_coll *k = e->colls; k; k = k->next)
			if (k->info.cid > last && (!c || k->info.cid < c->info.cid))
				c = k;
		if (c)
			atomic_fetch_add(&c->refs, 1);
		pthread_mutex_unlock(&e->coll_lock);
		if (!c)
			return ret;
		last = c->info.cid;
		int r = index_step(e, c, until_ns);
		ret = r == 1 || ret == 1 ? 1 : r > ret ? r : ret;
		coll_put(c);
	}
}
/* a clean stop: link what is left and publish, if that fits into five seconds */
static void last_publish(struct engine *e)
{
	uint64_t until = os_mono_ns(e->os) + INDEX_STOP_NS;
	if (e->cfg.read_only || store_health(e->st) < 0)
		return;
	struct eng_op *o = op_get_wait(e, SOP_barrier); /* what is on its way comes to rest first */
	if (o && op_run(o, false) < 0)
		return;
	while (all_steps(e, until) == 1 && os_mono_ns(e->os) < until)
		;
	for (struct eng_coll *c = e->colls; c && os_mono_ns(e->os) < until; c = c->next) {
		struct index_stats s;
		pthread_mutex_lock(&c->lock);
		struct index *ix = c->ix_broken ? NULL : c->ix;
		bool due = ix && publish_due(c, true);
		pthread_mutex_unlock(&c->lock);
		if (!due)
			continue;
		index_stats(ix, &s);
		if (s.bytes > INDEX_STOP_BYTES)
			continue;
		int rc = publish(e, c, ix, until);
		if (rc < 0)
			log_rc(LOGL_warn, "engine: the graph is not published; the next mount links its rows again",
			        rc);
	}
}

/* ---- verify of the live store: graphs and counts ---- */
static void report(struct sbuf *b, const char *key, uint64_t v)
{
	sb_str(b, ",\"");
	sb_str(b, key);
	sb_str(b, "\":");
	sb_u64(b, v);
}
static int verify(struct engine *e, struct eng_job *j)
{
	struct sbuf b;
	uint64_t findings = atomic_load(&e->damaged);
	if (sbuf_arena(&b, j->arena, 1024, 1u << 20) < 0)
		return -VX_ERR_arena_full;
	sb_str(&b, "{\"collections\":[");
	bool comma = false;
	pthread_mutex_lock(&e->coll_lock);
	struct eng_coll *c = e->colls;
	if (c)
		atomic_fetch_add(&c->refs, 1);
	pthread_mutex_unlock(&e->coll_lock);
	while (c) {
		struct coll_view v;
		struct index_report r = {0};
		uint64_t bad_rows = 0, adrift = 0, rows = 0;
		coll_enter(c, &v);
		for (uint32_t row = 0; v.rows && row < v.rows_n; row++) {
			pthread_mutex_lock(&c->lock);
			bool live = row < c->cap && (c->flags[row] & ROWF_LIVE);
			bool tail = live && (c->flags[row] & ROWF_TAIL);
			pthread_mutex_unlock(&c->lock);
			if (!live)
				continue;
			rows++;
			bad_rows += !store_row_ok(e->st, c->info.cid, row);
			adrift += v.ix && !tail && !index_linked(v.ix, row);
		}
		uint64_t islands;
		if (v.ix)
			(void)index_check(v.ix, &r); /* what it finds is in the report */
		/* nodes cut off since the graph's own housekeeping came by last are no damage */
		if (r.unreachable && !e->cfg.read_only && index_repair(v.ix, &islands) >= 0)
			(void)index_check(v.ix, &r);
		struct sbuf rec;
		int rc = j->recall ? sbuf_arena(&rec, j->arena, 256, 4096) : 0;
		if (j->recall && rc >= 0)
			rc = recall_report(e, &v, &rec);
		coll_leave(&v);
		if (rc < 0 && rc != -VX_ERR_graph_corrupt) {
			coll_put(c);
			return rc;
		}
		uint64_t bad = bad_rows + adrift + r.unreachable + r.out_of_bounds + r.bad_level + r.self_links +
		               r.duplicate_links;
		findings += bad;
		if (comma)
			sb_ch(&b, ',');
		comma = true;
		sb_str(&b, "{\"name\":");
		sb_json(&b, c->info.name, strlen(c->info.name));
		report(&b, "rows", rows);
		report(&b, "bad_rows", bad_rows);
		report(&b, "not_in_graph", adrift);
		report(&b, "nodes", r.nodes);
		report(&b, "links", r.links);
		report(&b, "unreachable", r.unreachable);
		report(&b, "one_way", r.one_way);
		report(&b, "out_of_bounds", r.out_of_bounds);
		report(&b, "bad_level", r.bad_level);
		report(&b, "self_links", r.self_links);
		report(&b, "duplicate_links", r.duplicate_links);
		if (j->recall)
			sb_bytes(&b, rec.p, rec.n);
		sb_ch(&b, '}');
		pthread_mutex_lock(&e->coll_lock);
		struct eng_coll *next = c->next;
		if (next)
			atomic_fetch_add(&next->refs, 1);
		pthread_mutex_unlock(&e->coll_lock);
		coll_put(c);
		c = next;
	}
	sb_ch(&b, ']');
	report(&b, "damaged_catalog_rows", atomic_load(&e->damaged));
	report(&b, "findings", findings);
	sb_ch(&b, '}');
	if (b.over)
		return -VX_ERR_arena_full;
	j->out_text = sbuf_cstr(&b);
	j->out_text_n = (uint32_t)b.n;
	return 0;
}
/* link everything and publish, at the asker's wish. Others wait meanwhile: their searches stay exact over what isn't linked. */
static int index_now(struct engine *e, struct eng_job *j)
{
	struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
	if (!c)
		return job_refuse(j, -VX_ERR_no_collection, j->coll);
	if (!job_owner(e, j) && !coll_may(c, &j->who, 2)) {
		coll_put(c);
		return -EACCES;
	}
	if (j->index_op == ENG_INDEX_rebuild) {
		pthread_mutex_lock(&c->lock);
		c->ix_broken = c->ix != NULL; /* the next step begins an empty graph */
		pthread_mutex_unlock(&c->lock);
		perf_add(PERFC_graph_rebuilt, 1);
	}
	int more = 1, rc = 0;
	while (more == 1 && !eng_stopping(e) && !atomic_load(&j->cancel))
		more = index_step(e, c, UINT64_MAX);
	if (more == 1)
		rc = eng_stopping(e) ? -VX_ERR_shutting_down : -VX_ERR_cancelled;
	struct coll_view v;
	coll_enter(c, &v);
	pthread_mutex_lock(&c->lock);
	bool due = rc >= 0 && v.ix && c->ix == v.ix && !c->dropped && !e->cfg.read_only && publish_due(c, true);
	pthread_mutex_unlock(&c->lock);
	if (due)
		rc = publish(e, c, v.ix, UINT64_MAX);
	coll_leave(&v);
	j->colls = arena_zalloc(j->arena, sizeof(*j->colls));
	if (j->colls) {
		coll_fill_info(c, j->colls);
		j->coll_n = 1;
	} else {
		rc = -VX_ERR_arena_full;
	}
	coll_put(c);
	return rc;
}
void index_job(struct engine *e, struct eng_job *j)
{
	struct stack_mark m;
	stack_op_begin(&m);
	int rc = j->verb == EV_index ? index_now(e, j) : verify(e, j);
	stack_op_end(&m, PERF_v_verify);
	job_finish(e, j, rc, true);
}
void index_thread(void *arg)
{
	struct engine *e = arg;
	for (;;) {
		uint64_t seen = bell_rings(&e->index_bell);
		bool stop = eng_stopping(e);
		struct wq_item *it;
		while (wq_pop(&e->index_q, 0, &it) == 1) {
			struct eng_job *j = WQ_OF(it, struct eng_job, priv.item);
			if (stop)
				job_finish(e, j, -VX_ERR_shutting_down, true);
			else
				index_job(e, j);
		}
		if (stop && atomic_load(&e->index_stop_now))
			break;
		int more = 0;
		if (eng_ready(e) && !stop) {
			struct stack_mark m;
			stack_op_begin(&m);
			more = all_steps(e, UINT64_MAX);
			reclaim_step(e);
			if (!more && store_retired(e->st))
				more = 2; /* maps that were outgrown: two rounds of readers, and they go */
			stack_op_end(&m, PERF_hnsw_insert);
		}
		if (more != 1)
			bell_wait(&e->index_bell, seen, more == 2 ? INDEX_IDLE_NS : WQ_FOREVER);
	}
	if (eng_ready(e))
		last_publish(e);
}
