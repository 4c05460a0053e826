/* perf.c - counters and latency histograms.
 *
 * A histogram has buckets of a quarter of an octave: bucket 0 is below 64 ns, then 4 for each power of two (linear inside it), the
 * last takes all from 2^42 ns.  A value is told by its bucket's middle, so it is off by at most 1/8.  Cores writing one line fight for
 * it, so there are a few copies; a thread keeps to one and readers add them up.  Nothing is locked: a reader may see a request's
 * bucket before its sum, which for a statistic is right enough. */
#include "base/perf.h"
#include "base/probe.h"
#include "base/thread.h"

#include <assert.h>
#include <stdatomic.h>

#define LO_BITS  6
#define HI_BITS  42
#define BUCKETS  (2 + (HI_BITS - LO_BITS) * 4)
#define SHARDS   4
#define CACHE_LN 64

struct op_hist {
	_Alignas(CACHE_LN) _Atomic uint64_t sum_ns;
	_Atomic uint64_t bytes, max_ns, bucket[BUCKETS];
};
static struct op_hist hist[SHARDS][PERF_OP_N];
static _Atomic uint64_t counters[PERFC_N];
static_assert(PERF_OP_N <= STACK_OPS_MAX, "stack marks are kept for every operation");

static const char *const op_names[] = {
#define X(n) #n,
        PERF_OPS(X)
#undef X
};
static const char *const counter_names[] = {
#define X(n) #n,
        PERF_COUNTERS(X)
#undef X
};

static unsigned bucket_of(uint64_t ns)
{
	if (ns < 1u << LO_BITS)
		return 0;
	unsigned e = 63u ^ (unsigned)__builtin_clzll(ns);
	if (e >= HI_BITS)
		return BUCKETS - 1;
	return e * 4 + (unsigned)(ns >> (e - 2)) -
	       (LO_BITS * 4 + 3); /* the two bits below the highest are its quarter */
}
/* the middle of a bucket, ns */
static uint64_t value_of(unsigned b)
{
	if (!b)
		return 1u << (LO_BITS - 1);
	if (b == BUCKETS - 1)
		return 1ull << HI_BITS;
	unsigned e = LO_BITS + (b - 1) / 4, q = (b - 1) % 4;
	return ((uint64_t)(4 + q) << (e - 2)) + (1ull << (e - 3));
}

/* a thread's copy; told once, so that recording is no call */
static _Thread_local struct op_hist *mine __attribute__((tls_model("initial-exec")));

static __attribute__((noinline)) struct op_hist *take_shard(void)
{
	static _Atomic unsigned next;
	mine = hist[atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % SHARDS];
	return mine;
}
static __attribute__((noinline)) void new_max(struct op_hist *h, uint64_t ns)
{
	uint64_t max = atomic_load_explicit(&h->max_ns, memory_order_relaxed);
	while (ns > max && !atomic_compare_exchange_weak_explicit(
	                           &h->max_ns, &max, ns, memory_order_relaxed, memory_order_relaxed))
		;
}
static inline void count(struct op_hist *h, enum perf_op op, uint64_t ns, uint64_t bytes)
{
	h += op;
	atomic_fetch_add_explicit(&h->bucket[bucket_of(ns)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
	if (bytes)
		atomic_fetch_add_explicit(&h->bytes, bytes, memory_order_relaxed);
	PROBE3(op, op_names[op], ns, bytes);
	if (__builtin_expect(ns > atomic_load_explicit(&h->max_ns, memory_order_relaxed), 0))
		new_max(h, ns);
}
static __attribute__((noinline)) void first_count(enum perf_op op, uint64_t ns, uint64_t bytes)
{
	count(take_shard(), op, ns, bytes);
}

void perf_op(enum perf_op op, uint64_t ns, uint64_t bytes)
{
	if ((unsigned)op >= PERF_OP_N)
		return;
	if (mine)
		count(mine, op, ns, bytes);
	else
		first_count(op, ns, bytes);
}

void perf_add(enum perf_counter c, uint64_t n)
{
	atomic_fetch_add_explicit(&counters[c], n, memory_order_relaxed);
}
uint64_t perf_get(enum perf_counter c)
{
	return atomic_load_explicit(&counters[c], memory_order_relaxed);
}
void perf_set(enum perf_counter c, uint64_t v)
{
	atomic_store_explicit(&counters[c], v, memory_order_relaxed);
}
const char *perf_op_name(enum perf_op op)
{
	return (unsigned)op < PERF_OP_N ? op_names[op] : "?";
}
const char *perf_counter_name(enum perf_counter c)
{
	return (unsigned)c < PERFC_N ? counter_names[c] : "?";
}

static uint64_t bucket_sum(enum perf_op op, unsigned b)
{
	uint64_t n = 0;
	for (unsigned s = 0; s < SHARDS; s++)
		n += atomic_load_explicit(&hist[s][op].bucket[b], memory_order_relaxed);
	return n;
}

void perf_read(enum perf_op op, struct perf_stat *ret)
{
	*ret = (struct perf_stat){0};
	if ((unsigned)op >= PERF_OP_N)
		return;
	for (unsigned s = 0; s < SHARDS; s++) {
		struct op_hist *h = &hist[s][op];
		uint64_t max = atomic_load_explicit(&h->max_ns, memory_order_relaxed);
		ret->sum_ns += atomic_load_explicit(&h->sum_ns, memory_order_relaxed);
		ret->bytes += atomic_load_explicit(&h->bytes, memory_order_relaxed);
		ret->max_ns = max > ret->max_ns ? max : ret->max_ns;
	}
	for (unsigned b = 0; b < BUCKETS; b++)
		ret->count += bucket_sum(op, b);
	if (!ret->count)
		return;
	static const unsigned permille[] = {500, 900, 990, 999};
	uint64_t *const out[] = {&ret->p50_ns, &ret->p90_ns, &ret->p99_ns, &ret->p999_ns};
	uint64_t seen = 0;
	unsigned q = 0;
	for (unsigned b = 0; b < BUCKETS && q < 4; b++) {
		seen += bucket_sum(op, b);
		/* nearest rank: the first value with at least that share at or below it */
		for (; q < 4; q++) {
			uint64_t rank =
			        (ret->count / 1000) * permille[q] + (ret->count % 1000 * permille[q] + 999) / 1000;
			if (seen < rank)
				break;
			uint64_t v = value_of(b);
			*out[q] = v < ret->max_ns ? v : ret->max_ns;
		}
	}
	for (; q < 4; q++) /* counts moved while we read */
		*out[q] = ret->max_ns;
}

void perf_reset(void)
{
	for (unsigned s = 0; s < SHARDS; s++)
		for (unsigned op = 0; op < PERF_OP_N; op++) {
			struct op_hist *h = &hist[s][op];
			atomic_store_explicit(&h->sum_ns, 0, memory_order_relaxed);
			atomic_store_explicit(&h->bytes, 0, memory_order_relaxed);
			atomic_store_explicit(&h->max_ns, 0, memory_order_relaxed);
			for (unsigned b = 0; b < BUCKETS; b++)
				atomic_store_explicit(&h->bucket[b], 0, memory_order_relaxed);
		}
	for (unsigned c = 0; c < PERFC_N; c++)
		atomic_store_explicit(&counters[c], 0, memory_order_relaxed);
}
