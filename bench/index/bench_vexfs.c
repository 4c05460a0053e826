/* bench_vexfs.c - this project's index under the benchmark's protocol.  Options: codes=auto|f32|sq8|bf16, M=, efc=, threads=.
 * Rows lie as the store keeps them (64-byte slots, raw vectors), on anonymous huge pages. */
#include "bench_data.h"
#include "base/mem.h"
#include "index/index.h"
#include "simd/simd.h"

struct ctx {
	const struct vec_rows *rows;
	struct index *ix;
	struct row_bits live;
};
static void search(void *u, const float *q, uint32_t k, uint32_t ef, int32_t *ids, uint64_t *distances)
{
	struct ctx *c = u;
	struct index_hit hit[64];
	struct index_query iq = {.q = q, .k = k, .ef = ef, .live = &c->live};
	int n = index_search(c->ix, &iq, hit);
	for (int i = 0; i < (int)k; i++)
		ids[i] = i < n ? (int32_t)hit[i].row : -1;
	*distances += iq.distances;
}
/* "churn": every row is unlinked and linked again, twice, in random order; queries before and after tell what it cost */
static void churn(struct ctx *c, const struct bench_set *s)
{
	uint32_t *order = malloc(s->n * 4);
	double t_del = 0, t_ins = 0;
	uint64_t rng = 7, dirty = 0, steps = 0;
	for (uint32_t i = 0; i < s->n; i++)
		order[i] = i;
	for (uint32_t pass = 0; pass < 2; pass++) {
		for (uint32_t i = s->n - 1; i > 0; i--) {
			rng = rng * 6364136223846793005ull + 1442695040888963407ull;
			uint32_t j = (uint32_t)((rng >> 33) % (i + 1)), t = order[i];
			order[i] = order[j];
			order[j] = t;
		}
		for (uint32_t i = 0; i < s->n; i++) {
			double t0 = bench_cpu();
			if (index_delete(c->ix, order[i]))
				dirty += 1000000;
			double t1 = bench_cpu();
			if (index_insert(c->ix, order[i]))
				dirty += 1000000;
			t_ins += bench_cpu() - t1;
			t_del += t1 - t0;
			if (i % 1000 == 0) {
				struct index_report r;
				steps++;
				dirty += index_check(c->ix, &r) != 0;
			}
		}
	}
	printf("{\"delete_us\":%.1f,\"insert_us\":%.1f,\"checks\":%llu,\"dirty\":%llu}\n", t_del / s->n / 2 * 1e6,
	        t_ins / s->n / 2 * 1e6, (unsigned long long)steps, (unsigned long long)dirty);
	free(order);
}
/* "batch EF": 10,000 queries in one call, each several times, by one thread and by two: a call of 1,000 lasts 16 ms, too little to
 * tell a thread's start and the machine's noise from the work */
static void batch(struct ctx *c, const struct bench_set *s, unsigned ef)
{
	const uint32_t k = 10, m = 10000;
	struct index_query *q = calloc(m, sizeof(*q));
	struct index_hit *hits = calloc((size_t)m * k, sizeof(*hits)), **ret = calloc(m, sizeof(*ret));
	int *n = calloc(m, sizeof(*n));
	double wall[2] = {1e9, 1e9}, cpu[2] = {1e9, 1e9};
	for (unsigned round = 0; round < 7; round++) {
		for (unsigned t = 0; t < 2; t++) {
			for (uint32_t i = 0; i < m; i++) {
				q[i] = (struct index_query){.q = s->query + (size_t)(i % s->queries) * s->dim,
				        .k = k,
				        .ef = ef,
				        .live = &c->live};
				ret[i] = hits + (size_t)i * k;
			}
			double w0 = bench_wall(), c0 = bench_cpu();
			if (index_search_batch(c->ix, q, m, t + 1, ret, n))
				exit(1);
			double w = bench_wall() - w0, u = bench_cpu() - c0;
			wall[t] = w < wall[t] ? w : wall[t];
			cpu[t] = u < cpu[t] ? u : cpu[t];
		}
	}
	printf("{\"wall1_s\":%.4f,\"wall2_s\":%.4f,\"cpu1_s\":%.4f,\"cpu2_s\":%.4f}\n", wall[0], wall[1], cpu[0],
	        cpu[1]);
	free(q);
	free(hits);
	free(ret);
	free(n);
}
/* "filter SHARE EF": a random filter that keeps SHARE of the rows; the walk, the exact scan of the matches, and their answers */
static void filtered(void *u, const struct bench_set *s, const char *line)
{
	struct ctx *c = u;
	double share, t_walk = 0, t_scan = 0;
	unsigned ef, m = 0, short_ = 0, exact = 0;
	uint64_t found = 0, want = 0, dist = 0, rng = 12345;
	if (!strncmp(line, "churn", 5)) {
		churn(c, s);
		return;
	}
	if (sscanf(line, "batch %u", &ef) == 1) {
		batch(c, s, ef);
		return;
	}
	if (sscanf(line, "filter %lf %u", &share, &ef) != 2) {
		printf("{\"error\":\"what?\"}\n");
		return;
	}
	struct row_bits f = {.n = s->n, .w = calloc(s->n / 64 + 1, 8)};
	for (uint32_t i = 0; i < s->n; i++) {
		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		if ((double)(rng >> 11) * 0x1p-53 < share) {
			f.w[i >> 6] |= 1ull << (i & 63);
			m++;
		}
	}
	uint32_t n = s->queries < 300 ? s->queries : 300;
	for (uint32_t i = 0; i < n; i++) {
		struct index_hit a[10], b[10];
		struct index_query q = {
		        .q = s->query + (size_t)i * s->dim, .k = 10, .ef = ef, .live = &c->live, .filter = &f};
		double t0 = bench_thread();
		int x = flat_search(c->rows, &q, a);
		double t1 = bench_thread();
		int y = index_search(c->ix, &q, b);
		double t2 = bench_thread();
		t_scan += t1 - t0;
		t_walk += t2 - t1;
		dist += q.distances;
		exact += q.exact;
		short_ += y < x;
		want += (uint64_t)x;
		for (int j = 0; j < y; j++)
			found += x > 0 && b[j].distance <= a[x - 1].distance * (1 + 1e-6f) + 1e-7f;
	}
	printf("{\"share\":%g,\"matches\":%u,\"recall\":%.4f,\"short\":%u,\"exact\":%.3f,\"us\":%.1f,\"scan_us\":%.1f,"
	       "\"distances\":%.0f}\n",
	        share, m, want ? (double)found / (double)want : 1.0, short_, (double)exact / n, t_walk / n * 1e6,
	        t_scan / n * 1e6, (double)dist / n);
	free((void *)f.w);
}
int main(int argc, char **argv)
{
	static struct vec_rows rows;
	struct ctx c;
	struct bench_set s = bench_load(argc, argv);
	const char *codes = bench_arg(argc, argv, "codes", "auto");
	struct index_cfg cfg = {.M = (uint32_t)atoi(bench_arg(argc, argv, "M", "16")),
	        .ef_construction = (uint32_t)atoi(bench_arg(argc, argv, "efc", "200")),
	        .codes = !strcmp(codes, "f32")    ? INDEX_CODES_F32
	                 : !strcmp(codes, "sq8")  ? INDEX_CODES_SQ8
	                 : !strcmp(codes, "bf16") ? INDEX_CODES_BF16
	                                          : INDEX_CODES_AUTO};
	uint32_t threads = (uint32_t)atoi(bench_arg(argc, argv, "threads", "1"));
	rows.dim = s.dim;
	rows.metric = s.cosine ? VXM_cosine : VXM_l2;
	rows.stride = (s.dim * 4 + 8 + 63) & ~63u;
	for (uint32_t g = 0; g < ROWS_SEGS && rows_seg_first(g) < s.n; g++)
		atomic_store(&rows.base[g], mem_huge_alloc(MEM_misc, (size_t)rows_seg_count(g) * rows.stride));
	atomic_store(&rows.n, s.n);
	uint32_t *ids = malloc(s.n * 4);
	c.live.n = s.n;
	c.live.w = calloc(s.n / 64 + 1, 8);
	for (uint32_t i = 0; i < s.n; i++) {
		memcpy((void *)(uintptr_t)rows_vec(&rows, i), s.base + (size_t)i * s.dim, s.dim * 4);
		c.live.w[i >> 6] |= 1ull << (i & 63);
		ids[i] = i;
	}
	free(s.base);
	if (index_new(&rows, &cfg, &c.ix))
		return 1;
	double c0 = bench_cpu(), w0 = bench_wall();
	int rc = index_build(c.ix, ids, s.n, threads, NULL);
	if (rc) {
		fprintf(stderr, "build: %s\n", err_text(rc));
		return 1;
	}
	double cpu = bench_cpu() - c0, wall = bench_wall() - w0;
	struct index_stats st;
	index_stats(c.ix, &st);
	printf("{\"engine\":\"vexfs\",\"simd\":\"%s\",\"codes\":%u,\"n\":%u,\"build_cpu_s\":%.2f,\"build_wall_s\":%.2f,"
	       "\"threads\":%u,"
	       "\"overhead_bytes\":%.1f,\"rss\":%ld}\n",
	        simd_get()->name, st.codes, s.n, cpu, wall, threads, (double)st.bytes / s.n, bench_rss());
	fflush(stdout);
	c.rows = &rows;
	bench_serve(&s, search, &c, filtered);
	return 0;
}
