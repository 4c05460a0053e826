/* test_many.c - batch, range, measured recall and tuning, against the exact scan. */
#include "index_fixture.h"

enum { N = 5000, DIM = 20, Q = 64, K = 10 };
int main(void)
{
	struct fix f;
	struct gen g;
	struct index *ix;
	uint64_t seed = tap_seed(8);
	fix_init(&f, DIM, VXD_f32, VXM_l2, N, seed);
	gen_init(&g, &f, DIM);
	fix_fill(&f, &g, 0, N);
	uint32_t *ids = malloc(N * 4);
	for (uint32_t i = 0; i < N; i++)
		ids[i] = i;
	T_EQ(index_new(&f.rows, NULL, &ix), 0, "new");
	T_EQ(index_build(ix, ids, N, 1, NULL), 0, "build");

	/* batch: the same answers as one by one */
	static float q[Q][DIM];
	static struct index_query iq[Q];
	static struct index_hit hit[Q][K], one[K];
	struct index_hit *ret[Q];
	int got[Q];
	for (uint32_t i = 0; i < Q; i++) {
		gen_vec(&g, &f, q[i]);
		iq[i] = (struct index_query){.q = q[i], .k = i == 7 ? 0 : K, .ef = 50, .live = &f.live};
		ret[i] = hit[i];
	}
	for (uint32_t threads = 1; threads <= 3; threads++) {
		uint32_t differ = 0;
		memset(hit, 0, sizeof(hit));
		T_EQ(index_search_batch(ix, iq, Q, threads, ret, got), 0, "batch");
		for (uint32_t i = 0; i < Q; i++) {
			struct index_query s = {.q = q[i], .k = K, .ef = 50, .live = &f.live};
			int n = index_search(ix, &s, one);
			differ += i == 7 ? got[i] != -VX_ERR_k_range
			                 : got[i] != n || memcmp(one, hit[i], sizeof(one)) != 0;
		}
		T_OK(differ == 0, "batch by %u threads: %u of %u answers differ", threads, differ, Q);
	}
	T_EQ(index_search_batch(ix, iq, 0, 1, ret, got), -VX_ERR_batch_range, "empty batch");
	T_EQ(index_search_batch(ix, iq, CONF_BATCH_MAX + 1, 1, ret, got), -VX_ERR_batch_range, "batch too large");

	/* range: all rows within, against the scan */
	static struct index_hit all[2000], within[2000];
	uint64_t want = 0, found = 0, outside = 0;
	for (uint32_t i = 0; i < 20; i++) {
		struct index_query s = {.q = q[i], .k = 2000, .live = &f.live};
		int n = flat_search(&f.rows, &s, all);
		uint32_t nth = i < 10 ? 5 + i * 10 : 600;
		float r = all[nth].distance;
		uint32_t expect = 0;
		while (expect < (uint32_t)n && all[expect].distance <= r)
			expect++;
		s.ef = 64;
		int m = index_search_range(ix, &s, r, within);
		want += expect;
		found += m > 0 ? (uint64_t)m : 0;
		for (int j = 0; j < m; j++)
			outside += within[j].distance > r;
		T_EQ(s.k, 2000, "k is as it was");
	}
	T_OK(outside == 0 && found <= want && (double)found >= 0.97 * (double)want,
	        "range: %llu of %llu found, %llu outside", (unsigned long long)found, (unsigned long long)want,
	        (unsigned long long)outside);
	struct index_query none = {.q = q[0], .k = 100, .live = &f.live};
	T_EQ(index_search_range(ix, &none, -1.0f, within), 0, "nothing within a negative distance");

	/* recall as measured by itself agrees with the fixture's, and ef moves it */
	double r16, r64, tuned;
	uint32_t ef;
	struct index_sample sample = {.live = &f.live, .k = K, .n = 200};
	T_EQ(index_recall(ix, &sample, 11, &r16), 0, "recall at ef 11");
	T_EQ(index_recall(ix, &sample, 64, &r64), 0, "recall at ef 64");
	struct recall r = fix_recall(&f, &g, ix, K, 64, 200, NULL);
	T_OK(r64 > r16 && fabs(r64 - r.recall) < 0.02,
	        "recall by itself %.4f (ef 11) %.4f (ef 64), by others' queries %.4f", r16, r64, r.recall);
	sample.n = 100;
	T_EQ(index_tune(ix, &sample, 16, 0.99, &ef, &tuned), 0, "tune");
	T_OK(ef >= 16 && ef < 300 && tuned >= 0.99, "ef %u reaches %.4f", ef, tuned);
	T_EQ(index_tune(ix, &sample, 200, 0.5, &ef, &tuned), 0, "tune from an ef that is enough");
	T_EQ(ef, 200, "which stays");
	sample.n = 3;
	T_EQ(index_tune(ix, &sample, 16, 1.1, &ef, &tuned), 0, "a target out of reach");
	T_EQ(ef, 0, "is left to the exact scan");
	_Atomic int cancel = 1;
	sample.cancel = &cancel;
	T_EQ(index_recall(ix, &sample, 64, &r64), -VX_ERR_cancelled, "cancelled");
	free(ids);
	index_free(ix);
	gen_done(&g);
	fix_done(&f);
	T_EQ(mem_used(MEM_index) + mem_used(MEM_index_work), 0, "nothing is left allocated");
	return tap_done();
}
