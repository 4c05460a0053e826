/* baseline.c - the engine's side of base/perf_watch.h: who steps it, where its baseline is kept, who hears of a regression.
 *
 * The opener's thread steps once a second while a baseline is recorded or watched, and sleeps as before when there is none.  A recording that
 * ends is written into the store's meta table on that thread and read back at the next opening.  A regression goes to the log, to
 * `events`, and stays in `status` until the figure is good again. */
#include <string.h>

#include "base/event.h"
#include "engine/engine_priv.h"

#define BASELINE_NAME "perf.baseline"

static void told(void *u, enum perf_op op, uint64_t now_ns, uint64_t base_ns, bool slow)
{
	char text[EVENT_TEXT_MAX + 1];
	struct sbuf b;
	(void)u; /* the operation says it all */
	sbuf_fixed(&b, text, sizeof text);
	sb_str(&b, perf_op_name(op));
	sb_str(&b, slow ? " takes " : " is as fast as its baseline again: ");
	sb_u64(&b, now_ns);
	sb_str(&b, slow ? " ns, its baseline is " : " ns of ");
	sb_u64(&b, base_ns);
	const char *s = sbuf_cstr(&b);
	log_msg(slow ? LOGL_warn : LOGL_info, s);
	event_post(slow ? "regression" : "recovered", s, now_ns);
}

/* [opener] the store is open */
static void keep(struct engine *e)
{
	char *text = mem_alloc(MEM_engine, PERF_WATCH_TEXT_MAX);
	struct eng_op *o = op_get(e, SOP_meta_put);
	struct sbuf b;
	if (!text || !o) {
		mem_free(MEM_engine, text);
		if (o)
			op_put(o);
		log_msg(LOGL_warn, "engine: no memory to keep the baseline; it lasts until the mount ends");
		return;
	}
	sbuf_fixed(&b, text, PERF_WATCH_TEXT_MAX);
	perf_watch_text(&e->pace, &b);
	memcpy(o->op.name, BASELINE_NAME, sizeof BASELINE_NAME);
	o->op.data = text;
	o->op.data_n = (uint32_t)b.n;
	int rc = op_run(o, true);
	if (rc < 0)
		log_rc(LOGL_warn, "engine: the baseline could not be kept; it lasts until the mount ends", rc);
	else
		event_post("baseline", "recorded", b.n);
	mem_free(MEM_engine, text);
}

uint64_t baseline_step(struct engine *e)
{
	bool recorded = false;
	uint64_t wait = perf_watch_step(&e->pace, os_mono_ns(e->os), told, e, &recorded);
	recorded |= atomic_exchange(&e->baseline_dropped, 0) != 0; /* no lines: nothing is loaded from it */
	if (recorded && eng_ready(e) && !e->cfg.read_only)
		keep(e);
	return wait == UINT64_MAX ? WQ_FOREVER : wait;
}

void baseline_load(struct engine *e)
{
	char *text = mem_alloc(MEM_engine, PERF_WATCH_TEXT_MAX);
	uint32_t n = 0;
	if (text && store_meta_get(e->st, BASELINE_NAME, text, PERF_WATCH_TEXT_MAX, &n) >= 0 && n &&
	        perf_watch_load(&e->pace, text, n) < 0)
		log_msg(LOGL_warn,
		        "engine: the kept baseline cannot be read; `vexfs perf --save-baseline` makes another");
	mem_free(MEM_engine, text);
}

int eng_baseline(struct engine *e, enum eng_baseline what)
{
	if (!e->started)
		return -VX_ERR_component_off;
	if (what == ENG_BASELINE_record) {
		perf_watch_record(&e->pace);
		lazy_want(e); /* it is kept in the store */
	} else if (what == ENG_BASELINE_drop) {
		perf_watch_drop(&e->pace);
		atomic_store(&e->baseline_dropped, 1);
	}
	bell_ring(&e->life_bell);
	return 0;
}
void eng_baseline_json(struct engine *e, struct sbuf *b)
{
	perf_watch_json(&e->pace, b, false);
}

void eng_queues(struct engine *e, struct eng_queues *ret)
{
	*ret = (struct eng_queues){.search = wq_len(&e->search_q), .update = wq_len(&e->update_q)};
	pthread_mutex_lock(&e->life);
	ret->parked = e->parked_n;
	bool ready = eng_ready(e);
	if (ready)
		ret->store = store_queue_len(e->st);
	pthread_mutex_unlock(&e->life);
	pthread_mutex_lock(&e->ops_lock);
	ret->store_ops = e->ops_out;
	pthread_mutex_unlock(&e->ops_lock);
	ret->pending = atomic_load(&e->pending);
	pthread_mutex_lock(&e->coll_lock);
	for (struct eng_coll *c = e->colls; c; c = c->next) {
		struct eng_coll_info i;
		coll_fill_info(c, &i);
		ret->tail += i.tail;
	}
	pthread_mutex_unlock(&e->coll_lock);
}
