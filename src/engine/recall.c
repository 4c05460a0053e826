/* recall.c - how good a collection's graph is, measured on the live graph, and what is done when that is not good enough.
 *
 * A collection may be made with a target: recall@10 that its searches are to have.  The index thread then measures, whenever the tail is
 * linked and a quarter of the rows has changed since the last time: stored rows are the queries, the exact scan says what should have
 * been found (index_tune).  If the collection's own ef reaches the target it stays; else the least ef that does is used for every
 * search that names none; if no ef does, searches are exact.  What was found is shown by status and info, and kept in the catalog
 * (meta row u.recall.CID), so that the next mount begins with it.
 *
 * The cost is bounded: so many queries that all scans together look at RECALL_WORK elements, but never fewer than RECALL_LEAST.  With
 * 100 queries the standard error of a recall of .95 is about .007, with 30 about .013. */
#include <string.h>

#include "engine/engine_priv.h"

#define RECALL_K     10u
#define RECALL_WORK  4000000000ull /* vector elements: about two seconds of one core */
#define RECALL_LEAST 30u
#define RECALL_MOST  200u
#define RECALL_SMALL 500u /* changes that never call for a new measurement */
#define RECALL_UNIT  10000.0
#define RECALL_BYTES 20u

static const char *row_name(struct sbuf *b, char *buf, size_t n, uint32_t cid)
{
	sbuf_fixed(b, buf, n);
	sb_str(b, "recall.");
	sb_u64(b, cid);
	return sbuf_cstr(b);
}
static void state_put(const struct eng_recall *r, uint8_t *p)
{
	const uint32_t v[] = {r->target, r->ef, r->measured, r->of, r->known};
	for (unsigned i = 0; i < 5; i++)
		le32_put(p + 4 * i, v[i]);
}
/* recall_load - what the last mount knew. [opening thread] */
void recall_load(struct engine *e, struct eng_coll *c)
{
	char name[40];
	uint8_t p[RECALL_BYTES];
	uint32_t n;
	struct sbuf b;
	if (store_meta_get(e->st, row_name(&b, name, sizeof(name), c->info.cid), p, sizeof(p), &n) < 0 ||
	        n != sizeof(p))
		return;
	struct eng_recall r = {
	        le32_get(p), le32_get(p + 4), le32_get(p + 8), le32_get(p + 12), le32_get(p + 16) != 0, 0};
	if (!r.target || r.target > RECALL_UNIT || r.measured > RECALL_UNIT ||
	        (r.ef > CONF_EF_MAX && r.ef != ENG_EF_EXACT))
		return;
	c->recall = r;
	atomic_store_explicit(&c->search_ef, r.ef, memory_order_relaxed);
}
/* recall_save - to the catalog. [threads that may wait] */
int recall_save(struct engine *e, struct eng_coll *c)
{
	char name[40];
	uint8_t p[RECALL_BYTES];
	struct sbuf b;
	struct eng_op *o = op_get_wait(e, SOP_meta_put);
	if (!o)
		return -ENOMEM;
	const char *row = row_name(&b, name, sizeof(name), c->info.cid);
	memcpy(o->op.name, row, b.n + 1);
	pthread_mutex_lock(&c->lock);
	state_put(&c->recall, p);
	pthread_mutex_unlock(&c->lock);
	o->op.cid = c->info.cid; /* the row goes with its collection, and does not come after it */
	o->op.data = p;
	o->op.data_n = sizeof(p);
	return op_run(o, true);
}
/* [c->lock] rows that came or went since the engine was opened */
static uint64_t changes(const struct eng_coll *c)
{
	return c->tail_in + c->dead_all + c->rows_freed;
}
static uint32_t sample_n(const struct coll_view *v)
{
	uint64_t scan = (uint64_t)v->live_n * v->rows->dim, n = RECALL_WORK / (scan ? scan : 1);
	return n < RECALL_LEAST ? RECALL_LEAST : n > RECALL_MOST ? RECALL_MOST : (uint32_t)n;
}
static void tell(const struct eng_coll *c, uint32_t was, uint32_t ef, double recall)
{
	char line[256];
	struct sbuf b;
	if (was == ef)
		return;
	sbuf_fixed(&b, line, sizeof(line));
	sb_str(&b, "engine: collection ");
	sb_str(&b, c->info.name);
	sb_str(&b, ": recall@10 measured ");
	sb_fixed(&b, recall, 4);
	sb_str(&b, ef == ENG_EF_EXACT ? ", below its target at every ef: searches are exact"
	           : ef               ? ", so that searches use ef "
	                              : ", searches use its own ef");
	if (ef && ef != ENG_EF_EXACT)
		sb_u64(&b, ef);
	log_msg(ef == ENG_EF_EXACT ? LOGL_warn : LOGL_info, sbuf_cstr(&b));
}
/* recall_step - measure if it is time to. [index thread] Return whether it did. */
bool recall_step(struct engine *e, struct eng_coll *c)
{
	struct coll_view v;
	pthread_mutex_lock(&c->lock);
	struct eng_recall r = c->recall;
	uint64_t now = changes(c), since = now - r.at;
	bool due = r.target && c->ix && !c->ix_broken && c->tail_n == c->tail_head && !c->dropped && !c->rebinding &&
	           (!r.known || since > RECALL_SMALL + r.of / 4);
	uint32_t own = c->info.ef ? c->info.ef : CONF_EF_DEFAULT;
	pthread_mutex_unlock(&c->lock);
	if (!due)
		return false;
	coll_enter(c, &v);
	uint32_t ef = 0;
	double recall = 0;
	struct index_sample s = {
	        .live = &v.live, .extra = v.tail, .extra_n = v.tail_n, .k = RECALL_K, .cancel = &e->stopping};
	int rc = -VX_ERR_graph_corrupt;
	if (v.ix) {
		s.n = sample_n(&v);
		rc = index_tune(v.ix, &s, own, r.target / RECALL_UNIT, &ef, &recall);
	}
	uint32_t of = v.live_n;
	coll_leave(&v);
	if (rc < 0) {
		if (rc != -VX_ERR_cancelled && rc != -VX_ERR_graph_corrupt)
			log_rc(LOGL_warn, "engine: recall could not be measured", rc);
		return false;
	}
	uint32_t use = !ef ? ENG_EF_EXACT : ef == own ? 0 : ef, was;
	pthread_mutex_lock(&c->lock);
	was = c->recall.ef;
	c->recall.ef = use;
	c->recall.measured = (uint32_t)(recall * RECALL_UNIT + 0.5);
	c->recall.of = of;
	c->recall.known = true;
	c->recall.at = now;
	pthread_mutex_unlock(&c->lock);
	atomic_store_explicit(&c->search_ef, use, memory_order_relaxed);
	tell(c, was, use, recall);
	if (!e->cfg.read_only && store_health(e->st) >= 0 && (rc = recall_save(e, c)) < 0 &&
	        rc != -VX_ERR_no_collection) /* dropped meanwhile */
		log_rc(LOGL_warn, "engine: what recall was measured could not be kept", rc);
	return true;
}
/* recall_ef - what a search that names no ef uses for @k; ENG_EF_EXACT: an exact scan. [any] */
uint32_t recall_ef(struct eng_coll *c, uint32_t k)
{
	uint32_t raised = atomic_load_explicit(&c->search_ef, memory_order_relaxed), own = c->info.ef;
	uint32_t ef = raised ? raised : own ? own : CONF_EF_DEFAULT;
	/* measured for ten; more are held by a pool that is as much larger than their number */
	if (c->recall.target && ef != ENG_EF_EXACT && k > RECALL_K && ef < 2 * k)
		ef = 2 * k > CONF_EF_MAX ? CONF_EF_MAX : 2 * k;
	return ef;
}
/* recall_state - in one word. [c->lock] */
const char *recall_state(const struct eng_coll *c)
{
	return !c->recall.target              ? "no target"
	       : !c->ix || c->ix_broken       ? "exact"
	       : !c->recall.known             ? "not measured"
	       : c->recall.ef == ENG_EF_EXACT ? "exact"
	       : c->recall.ef                 ? "ef raised"
	                                      : "met";
}
/* recall_report - for verify: recall@10 at the ef that searches use. [index thread] */
int recall_report(struct engine *e, struct coll_view *v, struct sbuf *b)
{
	uint32_t ef = recall_ef(v->c, RECALL_K);
	double recall = 1;
	int rc = 0;
	struct index_sample s = {
	        .live = &v->live, .extra = v->tail, .extra_n = v->tail_n, .k = RECALL_K, .cancel = &e->stopping};
	bool graph = v->rows && v->ix && ef != ENG_EF_EXACT;
	if (graph) {
		s.n = sample_n(v);
		rc = index_recall(v->ix, &s, ef, &recall);
	}
	sb_str(b, ",\"recall\":{\"recall_at_10\":");
	if (rc < 0)
		sb_str(b, "null");
	else
		sb_fixed(b, recall, 4);
	if (graph) {
		sb_str(b, ",\"ef\":");
		sb_u64(b, ef);
		sb_str(b, ",\"queries\":");
		sb_u64(b, s.n);
	}
	sb_str(b, ",\"exact\":");
	sb_str(b, graph ? "false" : "true");
	pthread_mutex_lock(&v->c->lock);
	uint32_t target = v->c->recall.target;
	sb_str(b, ",\"state\":\"");
	sb_str(b, recall_state(v->c));
	pthread_mutex_unlock(&v->c->lock);
	sb_str(b, "\"");
	if (target) {
		sb_str(b, ",\"target\":");
		sb_fixed(b, target / RECALL_UNIT, 4);
	}
	sb_ch(b, '}');
	return rc;
}
