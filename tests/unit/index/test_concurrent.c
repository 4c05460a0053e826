/* test_concurrent.c - one writer inserting, deleting and recoding while two readers search; stack marks of every operation.
 *
 * Built with ThreadSanitizer this is the proof that readers need no lock.  A reader compares each answer with an exact scan made
 * before and after it: when both scans agree nothing relevant changed in between, and the answer must reach the recall that the
 * graph has at rest. */
#include "base/os.h"
#include "base/perf.h"
#include "base/thread.h"
#include "index_fixture.h"

enum { N = 6000, START = 2000, DIM = 24, K = 10 };
static struct fix f;
static struct gen g;
static struct index *ix;
static _Atomic int stop, writer_rc, short_answers, failures;
static _Atomic uint64_t want, found, searches, moved;

static void reader(void *arg)
{
	struct fix mine = {.rng = 77 + (uint64_t)(uintptr_t)arg};
	float q[DIM];
	struct index_hit a[K], b[K], c[K];
	while (!atomic_load(&stop)) {
		gen_vec(&g, &mine, q);
		struct index_query e = {.q = q, .k = K, .ef = 48, .live = &f.live};
		int n = flat_search(&f.rows, &e, a);
		int m = index_search(ix, &e, b);
		int n2 = flat_search(&f.rows, &e, c);
		atomic_fetch_add(&searches, 1);
		if (m < 0)
			atomic_fetch_add(&failures, 1);
		if (n != K || n2 != K || memcmp(a, c, sizeof(a))) {
			atomic_fetch_add(&moved, 1);
			continue;
		}
		atomic_fetch_add(&short_answers, m < K);
		for (int i = 0; i < m; i++)
			atomic_fetch_add(&found, b[i].distance <= a[K - 1].distance * (1 + 1e-6f));
		atomic_fetch_add(&want, K);
	}
}
/* a filtered answer from time to time, too */
static void filter_reader(void *arg)
{
	struct row_bits half = {.w = calloc(N / 64 + 1, 8), .n = N};
	struct fix mine = {.rng = 99};
	float q[DIM];
	struct index_hit b[K];
	for (uint32_t i = 0; i < N; i += 2)
		half.w[i >> 6] |= 1ull << (i & 63);
	while (!atomic_load(&stop)) {
		gen_vec(&g, &mine, q);
		struct index_query e = {.q = q, .k = K, .ef = 32, .live = &f.live, .filter = &half};
		int m = index_search(ix, &e, b);
		if (m < K)
			atomic_fetch_add(&failures, 1);
		for (int i = 0; i < m; i++)
			if (b[i].row & 1)
				atomic_fetch_add(&failures, 1);
	}
	free((void *)half.w);
}
static void writer(void *arg)
{
	int rc = 0;
	uint32_t lot[12];
	struct fix mine = {.rng = 5};
	for (uint32_t i = START; i < N && !rc; i++) {
		rc = index_insert(ix, i);
		fix_live(&f, i, 1);
		if (i % 3 == 0 && !rc) { /* one of the old goes; its block is used again at once */
			uint32_t old = (uint32_t)(fix_rand(&mine) % START);
			if (index_linked(ix, old)) {
				fix_live(&f, old, 0);
				rc = index_delete(ix, old);
			} else {
				rc = index_insert(ix, old);
				fix_live(&f, old, 1);
			}
		}
		if (i % 50 == 0 && !rc) { /* several at once; which are not linked is passed over */
			for (uint32_t j = 0; j < 12; j++) {
				lot[j] = (uint32_t)(fix_rand(&mine) % START);
				fix_live(&f, lot[j], 0);
			}
			rc = index_delete_many(ix, lot, 12);
		}
	}
	atomic_store(&writer_rc, rc);
	atomic_store(&stop, 1);
}
static void at_once(uint64_t seed)
{
	static struct thread t[4];
	fix_init(&f, DIM, VXD_f32, VXM_l2, N, seed);
	gen_init(&g, &f, DIM);
	fix_fill(&f, &g, 0, N);
	for (uint32_t i = START; i < N; i++)
		fix_live(&f, i, 0);
	struct index_cfg cfg = {.threads = 4};
	T_EQ(index_new(&f.rows, &cfg, &ix), 0, "new");
	for (uint32_t i = 0; i < START; i++)
		index_insert(ix, i);
	T_EQ(thread_start(&t[0], "read0", 128 << 10, reader, (void *)1), 0, "reader");
	T_EQ(thread_start(&t[1], "read1", 128 << 10, reader, (void *)2), 0, "reader");
	T_EQ(thread_start(&t[2], "read2", 128 << 10, filter_reader, NULL), 0, "filtering reader");
	T_EQ(thread_start(&t[3], "write", 128 << 10, writer, NULL), 0, "writer");
	for (int i = 3; i >= 0; i--)
		thread_join(&t[i]);
	T_EQ(atomic_load(&writer_rc), 0, "the writer's work");
	double during = want ? (double)found / (double)want : 0;
	struct recall r = fix_recall(&f, &g, ix, K, 48, 300, NULL);
	T_OK(want > 300 && during >= r.recall - 0.01,
	        "recall during the run %.4f over %llu answers (%llu moved under way), at rest %.4f", during,
	        (unsigned long long)want / K, (unsigned long long)moved, r.recall);
	T_EQ(atomic_load(&short_answers), 0, "short answers");
	T_EQ(atomic_load(&failures), 0, "failures");
	struct index_report rep;
	uint64_t cut;
	T_EQ(index_repair(ix, &cut), 0, "repair");
	T_EQ(index_check(ix, &rep), 0, "graph clean afterwards");
	index_free(ix);
	gen_done(&g);
	fix_done(&f);
}

/* --- marks --- */
enum {
	OP_SEARCH = PERF_hnsw_search,
	OP_INSERT = PERF_hnsw_insert,
	OP_DELETE = PERF_hnsw_delete,
	OP_FLAT = PERF_flat_search,
	OP_FILTERED = PERF_v_search,
	OP_TAIL = PERF_v_similar,
	OP_CHECK = PERF_v_verify,
	OP_BATCH = PERF_v_put,
	OP_RANGE = PERF_v_del
};
/* this thread's share of a batch by two; the other's is a search on a fresh stack */
static void marked_batch(const float *q)
{
	enum { BATCH = 40 };
	static struct index_hit hits[BATCH][K];
	static struct index_hit *ret[BATCH];
	static struct index_query e[BATCH];
	static int n[BATCH];
	struct stack_mark m;
	for (uint32_t i = 0; i < BATCH; i++) {
		e[i] = (struct index_query){.q = q, .k = K, .ef = 64, .live = &f.live};
		ret[i] = hits[i];
	}
	stack_op_begin_op(&m, OP_BATCH);
	index_search_batch(ix, e, BATCH, 2, ret, n);
	stack_op_end(&m, OP_BATCH);
	stack_op_begin_op(&m, OP_RANGE);
	index_search_range(ix, &e[0], 1.0f, ret[0]);
	stack_op_end(&m, OP_RANGE);
}
static void marked(void *arg)
{
	struct stack_mark m;
	struct index_hit hit[K];
	struct row_bits *some = arg;
	uint32_t extra[50];
	float q[DIM];
	for (uint32_t i = 0; i < 50; i++)
		extra[i] = i;
	for (uint32_t i = 0; i < 600; i++) {
		stack_op_begin_op(&m, OP_INSERT);
		index_insert(ix, i);
		stack_op_end(&m, OP_INSERT);
	}
	for (uint32_t i = 0; i < 300; i++) {
		gen_vec(&g, &f, q);
		struct index_query e = {.q = q, .k = K, .ef = 64, .live = &f.live};
		stack_op_begin_op(&m, OP_SEARCH);
		index_search(ix, &e, hit);
		stack_op_end(&m, OP_SEARCH);
		stack_op_begin_op(&m, OP_FLAT);
		flat_search(&f.rows, &e, hit);
		stack_op_end(&m, OP_FLAT);
		e.filter = i & 1 ? some : &f.live; /* one is scanned exactly, the other walked */
		stack_op_begin_op(&m, OP_FILTERED);
		index_search(ix, &e, hit);
		stack_op_end(&m, OP_FILTERED);
		e.extra = extra;
		e.extra_n = 50;
		stack_op_begin_op(&m, OP_TAIL);
		index_search(ix, &e, hit);
		stack_op_end(&m, OP_TAIL);
	}
	for (uint32_t i = 0; i < 10; i++)
		marked_batch(q);
	for (uint32_t i = 0; i < 600; i++) {
		stack_op_begin_op(&m, OP_DELETE);
		index_delete(ix, i);
		stack_op_end(&m, OP_DELETE);
	}
	struct index_report r;
	stack_op_begin_op(&m, OP_CHECK);
	index_check(ix, &r);
	stack_op_end(&m, OP_CHECK);
}
static void marks(uint64_t seed, uint8_t codes, uint8_t metric, uint8_t dtype, const char *what)
{
	static const struct {
		unsigned op;
		const char *name;
	} ops[] = {{OP_INSERT, "insert"}, {OP_SEARCH, "search"}, {OP_FLAT, "flat search"},
	        {OP_FILTERED, "filtered search"}, {OP_TAIL, "search with tail"}, {OP_DELETE, "delete"},
	        {OP_CHECK, "check"}, {OP_BATCH, "batch"}, {OP_RANGE, "range search"}};
	struct thread t = {0};
	struct index_cfg cfg = {.codes = codes};
	fix_init(&f, DIM, dtype, metric, 1000, seed);
	gen_init(&g, &f, DIM);
	fix_fill(&f, &g, 0, 1000);
	struct row_bits some = {.w = calloc(16, 8), .n = 1000};
	for (uint32_t i = 0; i < 1000; i += 50)
		some.w[i >> 6] |= 1ull << (i & 63);
	index_new(&f.rows, &cfg, &ix);
	T_EQ(thread_start(&t, "marks", 64 << 10, marked, &some), 0, "thread");
	thread_join(&t);
	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		uint32_t high = stack_op_high_all(ops[i].op);
		T_OK(high < 4096, "stack of %s (%s): %u bytes, limit 4096", ops[i].name, what, high);
	}
	index_free(ix);
	free((void *)some.w);
	gen_done(&g);
	fix_done(&f);
}
int main(void)
{
	uint64_t seed = tap_seed(31);
	at_once(seed);
	marks(seed, INDEX_CODES_SQ8, VXM_cosine, VXD_f32, "sq8");
	marks(seed, INDEX_CODES_F32, VXM_l2, VXD_f32, "f32");
	marks(seed, INDEX_CODES_AUTO, VXM_cosine, VXD_f16, "all kinds so far");
	return tap_done();
}
