/* search_many.c - searches built of searches: many queries at once, everything within a distance, and the index's own recall.
 *
 * Recall is measured on the live index: stored rows, spread evenly over the row numbers, serve as queries, the exact scan says what
 * should have been found, and the row itself is left out of both.  Tuning asks for the smallest ef that reaches a target on the same
 * queries and scans only once. */
#include <math.h>
#include <string.h>
#include "base/thread.h"
#include "index/hnsw.h"

#define BATCH_STACK   (64u << 10)
#define BATCH_THREADS 16u
#define RANGE_FIRST   64u
#define SAMPLES_MAX   1000u

struct batch {
	struct index *ix;
	struct index_query *q;
	struct index_hit *const *ret;
	int *ret_n;
	uint32_t n;
	_Atomic uint32_t next;
};
static void batch_run(void *arg)
{
	struct batch *b = arg;
	for (;;) {
		uint32_t i = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
		if (i >= b->n)
			return;
		b->ret_n[i] = index_search(b->ix, &b->q[i], b->ret[i]);
	}
}
int index_search_batch(
        struct index *ix, struct index_query *q, uint32_t n, uint32_t threads, struct index_hit *const *ret, int *ret_n)
{
	struct batch b = {.ix = ix, .q = q, .ret = ret, .ret_n = ret_n, .n = n};
	struct thread *t = NULL;
	uint32_t started = 0;
	if (!n || n > CONF_BATCH_MAX)
		return -VX_ERR_batch_range;
	threads = threads > BATCH_THREADS ? BATCH_THREADS : threads > n ? n : threads;
	if (threads > 1)
		t = mem_zalloc(MEM_index_work, (threads - 1) * sizeof(*t));
	/* too little memory or no thread to be had: fewer do the same work */
	for (; t && started < threads - 1; started++)
		if (thread_start(&t[started], "vx-batch", BATCH_STACK, batch_run, &b))
			break;
	batch_run(&b);
	for (uint32_t i = 0; i < started; i++)
		thread_join(&t[i]);
	mem_free(MEM_index_work, t);
	return 0;
}
int index_search_range(struct index *ix, struct index_query *q, float most_distance, struct index_hit *ret)
{
	const uint32_t most = q->k, ef = q->ef;
	uint64_t distances = 0, hops = 0;
	int n = 0;
	if (!most || most > CONF_K_MAX)
		return -VX_ERR_k_range;
	/* ask for more until the farthest answer lies outside */
	for (uint32_t k = most < RANGE_FIRST ? most : RANGE_FIRST;; k = k > most / 4 ? most : k * 4) {
		q->k = k;
		q->ef = ef > k ? ef : k;
		n = index_search(ix, q, ret);
		distances += q->distances;
		hops += q->hops;
		if (n < (int)k || k == most || ret[n - 1].distance > most_distance)
			break;
	}
	q->k = most;
	q->ef = ef;
	q->distances = distances;
	q->hops = hops;
	while (n > 0 && ret[n - 1].distance > most_distance)
		n--;
	return n;
}

/* --- recall --- */
struct probe {
	uint32_t n, k, *row; /* queries */
	float *kth; /* [n] distance of the k-th true neighbour */
	uint32_t *want; /* [n] how many there are, at most k */
	struct index_hit *hit;
};
static void probe_done(struct probe *p)
{
	mem_free(MEM_index_work, p->row);
	mem_free(MEM_index_work, p->kth);
	mem_free(MEM_index_work, p->want);
	mem_free(MEM_index_work, p->hit);
}
static int probe_init(struct probe *p, struct index *ix, const struct index_sample *s)
{
	uint32_t rows_n = atomic_load_explicit(&ix->rows->n, memory_order_acquire), k = s->k;
	uint32_t samples = s->n < 1 ? 1 : s->n > SAMPLES_MAX ? SAMPLES_MAX : s->n;
	memset(p, 0, sizeof(*p));
	if (!k || k >= CONF_K_MAX)
		return -VX_ERR_k_range;
	p->k = k;
	p->row = mem_alloc(MEM_index_work, samples * sizeof(*p->row));
	p->kth = mem_alloc(MEM_index_work, samples * sizeof(*p->kth));
	p->want = mem_alloc(MEM_index_work, samples * sizeof(*p->want));
	p->hit = mem_alloc(MEM_index_work, ((size_t)k + 1) * sizeof(*p->hit));
	if (!p->row || !p->kth || !p->want || !p->hit)
		return -ENOMEM;
	uint32_t step = rows_n / samples;
	for (uint32_t at = 0; at < rows_n && p->n < samples; at += step ? step : 1) {
		uint32_t row = at;
		while (row < rows_n && !(row_bit(s->live, row) && index_linked(ix, row)) && (!step || row < at + step))
			row++;
		if (row >= rows_n || !row_bit(s->live, row) || !index_linked(ix, row))
			continue;
		struct index_query q = {.q = rows_vec(ix->rows, row), .k = k + 1, .live = s->live, .cancel = s->cancel};
		int n = flat_search(ix->rows, &q, p->hit);
		if (n == -VX_ERR_zero_vector || n == -VX_ERR_not_finite)
			continue;
		if (n < 0)
			return n;
		uint32_t others = 0;
		for (int i = 0; i < n && others < k; i++) {
			if (p->hit[i].row == row)
				continue;
			p->kth[p->n] = p->hit[i].distance;
			others++;
		}
		p->row[p->n] = row;
		p->want[p->n++] = others;
	}
	return 0;
}
static int probe_recall(struct probe *p, struct index *ix, const struct index_sample *s, uint32_t ef, double *ret)
{
	uint64_t want = 0, found = 0;
	for (uint32_t i = 0; i < p->n; i++) {
		struct index_query q = {.q = rows_vec(ix->rows, p->row[i]),
		        .k = p->k + 1,
		        .ef = ef,
		        .live = s->live,
		        .extra = s->extra,
		        .extra_n = s->extra_n,
		        .cancel = s->cancel};
		int n = index_search(ix, &q, p->hit);
		uint32_t good = 0;
		if (n < 0)
			return n;
		/* as near as the k-th is as good: ties are by number */
		for (int j = 0; j < n && good < p->want[i]; j++)
			good += p->hit[j].row != p->row[i] &&
			        p->hit[j].distance <= p->kth[i] + 1e-6f * fabsf(p->kth[i]) + 1e-9f;
		found += good;
		want += p->want[i];
	}
	*ret = want ? (double)found / (double)want : 1.0;
	return 0;
}
int index_recall(struct index *ix, const struct index_sample *s, uint32_t ef, double *ret_recall)
{
	struct probe p;
	int rc = probe_init(&p, ix, s);
	if (!rc)
		rc = probe_recall(&p, ix, s, ef, ret_recall);
	probe_done(&p);
	return rc;
}
int index_tune(struct index *ix, const struct index_sample *s, uint32_t from, double target, uint32_t *ret_ef,
        double *ret_recall)
{
	struct probe p;
	double r = 0;
	uint32_t ef = from < s->k ? s->k : from;
	int rc = probe_init(&p, ix, s);
	for (; !rc; ef += ef / 2 ? ef / 2 : 1) {
		ef = ef > CONF_EF_MAX ? CONF_EF_MAX : ef;
		rc = probe_recall(&p, ix, s, ef, &r);
		if (rc || r >= target || ef == CONF_EF_MAX)
			break;
	}
	probe_done(&p);
	if (rc)
		return rc;
	*ret_ef = r >= target ? ef : 0;
	*ret_recall = r;
	return 0;
}
