/* test_hnsw.c - the graph against the exact scan: recall, insert, delete, reuse, publish and open, damage, edges of the input. */
#include <fcntl.h>
#include <unistd.h>
#include "index_fixture.h"
#include "index/hnsw.h"

static void report(struct index *ix, const char *what)
{
	struct index_report r;
	int rc = index_check(ix, &r);
	T_OK(rc == 0,
	        "%s: check clean (%llu nodes, %llu links, unreachable %llu, one-way %llu, bounds %llu, level %llu, "
	        "self %llu, dup %llu, "
	        "indegree %llu)",
	        what, (unsigned long long)r.nodes, (unsigned long long)r.links, (unsigned long long)r.unreachable,
	        (unsigned long long)r.one_way, (unsigned long long)r.out_of_bounds, (unsigned long long)r.bad_level,
	        (unsigned long long)r.self_links, (unsigned long long)r.duplicate_links,
	        (unsigned long long)r.bad_indegree);
}
static void basic(uint64_t seed, uint8_t codes, uint8_t metric, uint8_t dtype, uint32_t dim, double want)
{
	struct fix f;
	struct gen g;
	struct index *ix;
	const uint32_t n = 4000;
	struct index_cfg cfg = {.codes = codes};
	fix_init(&f, dim, dtype, metric, n, seed);
	gen_init(&g, &f, dim);
	fix_fill(&f, &g, 0, n);
	T_EQ(index_new(&f.rows, &cfg, &ix), 0, "new");
	int rc = 0;
	for (uint32_t i = 0; i < n && !rc; i++)
		rc = index_insert(ix, i);
	T_EQ(rc, 0, "inserts");
	T_EQ(index_count(ix), n, "count");
	report(ix, "after inserts");
	struct index_stats st;
	index_stats(ix, &st);
	if (dim >= 256 && dtype != VXD_binary)
		T_OK(st.bytes / n < 150 + dim / 2, "%u dims: %llu bytes a node, projected", dim,
		        (unsigned long long)st.bytes / n);
	struct recall r = fix_recall(&f, &g, ix, 10, 64, 100, NULL);
	T_OK(r.recall >= want && !r.short_ && !r.wrong && !r.failed,
	        "metric %u dtype %u codes %u(%u) dim %u: recall %.4f >= %.2f, %llu distances a query, short %u wrong "
	        "%u failed %u",
	        metric, dtype, codes, st.codes, dim, r.recall, want, (unsigned long long)r.distances / 100, r.short_,
	        r.wrong, r.failed);
	index_free(ix);
	gen_done(&g);
	fix_done(&f);
}
static void churn(uint64_t seed)
{
	struct fix f;
	struct gen g;
	struct index *ix, *fresh;
	const uint32_t n = 3000;
	fix_init(&f, 32, VXD_f32, VXM_l2, n, seed);
	gen_init(&g, &f, 32);
	fix_fill(&f, &g, 0, n);
	T_EQ(index_new(&f.rows, NULL, &ix), 0, "new");
	for (uint32_t i = 0; i < n; i++)
		index_insert(ix, i);
	uint32_t dirty = 0, steps = 0;
	int rc = 0;
	for (uint32_t i = 0; i < 2 * n && !rc; i++) {
		uint32_t row = (uint32_t)((uint64_t)i * 7919u % n);
		fix_live(&f, row, 0);
		rc = index_delete(ix, row);
		fix_fill(&f, &g, row, row + 1);
		if (!rc)
			rc = index_insert(ix, row);
		if (i % 1000 == 999) {
			struct index_report r;
			steps++;
			dirty += index_check(ix, &r) != 0;
			if (r.unreachable)
				printf("# step %u unreachable %llu\n", i, (unsigned long long)r.unreachable);
		}
	}
	T_EQ(rc, 0, "churn runs");
	T_EQ(dirty, 0, "graph clean at every 1000th step");
	T_EQ(steps, 6, "steps looked at");
	uint32_t *ids = malloc(n * 4);
	for (uint32_t i = 0; i < n; i++)
		ids[i] = i;
	index_new(&f.rows, NULL, &fresh);
	T_EQ(index_build(fresh, ids, n, 1, NULL), 0, "fresh build");
	struct recall a = fix_recall(&f, &g, ix, 10, 32, 200, NULL), b = fix_recall(&f, &g, fresh, 10, 32, 200, NULL);
	T_OK(a.recall >= b.recall - 0.01, "recall after replacing all twice %.4f, fresh %.4f", a.recall, b.recall);
	for (uint32_t i = 0; i < n && !rc; i++) {
		fix_live(&f, i, 0);
		rc = index_delete(ix, i);
		if (i % 500 == 0)
			report(ix, "emptying");
	}
	T_EQ(rc, 0, "delete all");
	T_EQ(index_count(ix), 0, "count after deleting all");
	T_EQ(index_delete(ix, 5), -ENOENT, "delete of an unlinked row");
	struct recall e = fix_recall(&f, &g, ix, 10, 32, 5, NULL);
	T_EQ(e.failed, 0, "search in an emptied graph");
	fix_fill(&f, &g, 0, 100);
	for (uint32_t i = 0; i < 100 && !rc; i++)
		rc = index_insert(ix, i);
	e = fix_recall(&f, &g, ix, 10, 64, 20, NULL);
	T_OK(!rc && e.recall > 0.99, "refilled: recall %.3f", e.recall);
	index_free(ix);
	index_free(fresh);
	free(ids);
	gen_done(&g);
	fix_done(&f);
}
/* n rows, and a directory for graph files; its descriptor */
static int set_with_dir(
        struct fix *f, struct gen *g, uint32_t dim, uint8_t metric, uint32_t n, uint64_t seed, char *dir)
{
	int d = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY) : -1;
	T_OK(d >= 0, "a directory for graph files");
	fix_init(f, dim, VXD_f32, metric, n, seed);
	gen_init(g, f, dim);
	fix_fill(f, g, 0, n);
	return d;
}
/* a file whose checksums are right, in which two nodes of an upper level have the same row of links there */
static void shared_links(uint64_t seed)
{
	struct fix f;
	struct gen g;
	struct index *ix, *m;
	struct index_report rep;
	uint64_t gen;
	char dir[] = "/tmp/vexfs-index-XXXXXX";
	int d = set_with_dir(&f, &g, 16, VXM_l2, 500, seed, dir);
	index_new(&f.rows, NULL, &ix);
	for (uint32_t i = 0; i < 500; i++)
		index_insert(ix, i);
	for (int shared = 0; shared < 2; shared++) {
		struct hnsw_view *v = atomic_load(&ix->view);
		uint32_t two[2] = {0, 0}, n = 0;
		for (uint32_t i = 0; i < 500 && n < 2; i++)
			if ((atomic_load(hnsw_meta(v, i)) & HNSW_META_LEVEL) == 2)
				two[n++] = i;
		T_EQ(n, 2, "two nodes of level 1");
		if (shared)
			atomic_store(hnsw_meta(v, two[1]), atomic_load(hnsw_meta(v, two[0])));
		T_EQ(index_publish(ix, os_real(), d, "s", 1), 0, "publish");
		T_EQ(index_open(&f.rows, NULL, os_real(), d, "s", &gen, &m), 0, "open");
		T_EQ(index_resident(m), shared ? -VX_ERR_graph_corrupt : 0, "into memory");
		T_EQ(index_failed(m), shared, "failed");
		T_EQ(index_check(m, &rep), shared ? -VX_ERR_graph_corrupt : 0, "check");
		index_free(m);
		unlinkat(d, "s", 0);
	}
	index_free(ix);
	close(d);
	rmdir(dir);
	gen_done(&g);
	fix_done(&f);
}
static void files(uint64_t seed, uint32_t dim)
{
	struct fix f;
	struct gen g;
	struct index *ix, *m;
	const uint32_t n = 3000;
	char dir[] = "/tmp/vexfs-index-XXXXXX";
	int d = set_with_dir(&f, &g, dim, VXM_cosine, n, seed, dir);
	index_new(&f.rows, NULL, &ix);
	for (uint32_t i = 0; i < n - 100; i++)
		index_insert(ix, i);
	T_EQ(index_publish(ix, os_real(), d, "g.hnsw", 42), 0, "publish");
	uint64_t gen;
	int rc = index_open(&f.rows, NULL, os_real(), d, "g.hnsw", &gen, &m);
	T_EQ(rc, 0, "open");
	T_EQ(gen, 42, "generation");
	T_EQ(index_count(m), n - 100, "count of the mapped graph");
	T_EQ(fix_bits_wrong(m, 64), 0, "mapped: all rows at once say the same as each");
	T_EQ(fix_bits_wrong(m, 1), 0, "some rows");
	T_EQ(fix_bits_wrong(ix, 64), 0, "resident: the same");
	struct index *mid, *mid_m; /* rows that begin and end within a word */
	index_new(&f.rows, NULL, &mid);
	for (uint32_t i = 1037; i < 1500; i += 1 + i % 3)
		index_insert(mid, i);
	T_EQ(index_publish(mid, os_real(), d, "mid.hnsw", 43), 0, "publish rows from 1,037 on");
	T_EQ(index_open(&f.rows, NULL, os_real(), d, "mid.hnsw", &gen, &mid_m), 0, "open");
	T_EQ(fix_bits_wrong(mid_m, 64), 0, "all rows at once say the same as each");
	T_EQ(fix_bits_wrong(mid_m, 20), 0, "some rows");
	index_free(mid);
	index_free(mid_m);
	unlinkat(d, "mid.hnsw", 0);
	uint64_t before = f.rng;
	for (uint32_t i = n - 100; i < n; i++)
		fix_live(&f, i, 0);
	struct recall a = fix_recall(&f, &g, ix, 10, 64, 50, NULL);
	f.rng = before;
	struct recall b = fix_recall(&f, &g, m, 10, 64, 50, NULL);
	T_OK(a.recall == b.recall && a.distances == b.distances && b.recall > 0.95,
	        "mapped equals resident: recall %.4f %.4f distances %llu %llu", a.recall, b.recall,
	        (unsigned long long)a.distances, (unsigned long long)b.distances);
	/* the tail */
	uint32_t extra[100];
	for (uint32_t i = 0; i < 100; i++) {
		extra[i] = n - 100 + i;
		fix_live(&f, extra[i], 1);
	}
	struct index_hit hit[10];
	struct index_query q = {
	        .q = rows_vec(&f.rows, n - 7), .k = 10, .ef = 64, .live = &f.live, .extra = extra, .extra_n = 100};
	T_EQ(index_search(m, &q, hit), 10, "search with a tail");
	T_EQ(hit[0].row, n - 7, "the tail's row is found first");
	rc = 0;
	for (uint32_t i = n - 100; i < n && !rc; i++)
		rc = index_insert(m, i);
	T_EQ(rc, 0, "insert into an opened graph");
	T_EQ(index_delete(m, 3), 0, "delete from it");
	fix_live(&f, 3, 0);
	report(m, "opened, grown");
	q.extra_n = 0;
	T_EQ(index_search(m, &q, hit), 10, "search");
	T_EQ(hit[0].row, n - 7, "linked now");
	index_free(m);
	/* every kind of damage is an error or a right answer */
	int fd = openat(d, "g.hnsw", O_RDWR);
	off_t size = lseek(fd, 0, SEEK_END);
	uint32_t opened = 0, refused = 0, searched = 0, failed = 0, bad = 0;
	for (uint32_t i = 0; i < 400; i++) {
		off_t at = (off_t)(fix_rand(&f) % (uint64_t)size);
		uint8_t was, now;
		if (pread(fd, &was, 1, at) != 1)
			break;
		now = (uint8_t)(was ^ (1u << (i & 7)));
		if (pwrite(fd, &now, 1, at) != 1)
			break;
		rc = index_open(&f.rows, NULL, os_real(), d, "g.hnsw", &gen, &m);
		if (rc) {
			refused++;
		} else {
			opened++;
			for (uint32_t j = 0; j < 20; j++) {
				struct index_query e = {
				        .q = rows_vec(&f.rows, j * 131u), .k = 10, .ef = 128, .live = &f.live};
				int k = index_search(m, &e, hit);
				if (k == 10)
					searched++;
				else if (k == -VX_ERR_graph_corrupt)
					failed++;
				else
					bad++;
			}
			struct index_report r;
			if (at < size && index_check(m, &r) == 0 && index_resident(m) == 0 && at / 4096 * 4096 != at)
				bad += now != was && at >= 136 && at < 4096
				               ? 0
				               : 1; /* only the header page's unused rest is free */
			index_free(m);
		}
		if (pwrite(fd, &was, 1, at) != 1)
			break;
	}
	T_OK(bad == 0 && opened && refused,
	        "one bit changed, 400 times: refused %u, opened %u (answers %u, refusals %u), wrong %u", refused,
	        opened, searched, failed, bad);
	close(fd);
	fd = openat(d, "g.hnsw", O_RDWR);
	for (off_t cut = size - 1; cut > 0; cut /= 2) {
		if (ftruncate(fd, cut))
			break;
		rc = index_open(&f.rows, NULL, os_real(), d, "g.hnsw", &gen, &m);
		if (!rc)
			break;
	}
	T_OK(rc < 0, "a shortened file is refused");
	close(fd);
	T_EQ(index_open(&f.rows, NULL, os_real(), d, "none", &gen, &m), -ENOENT, "no file");
	unlinkat(d, "g.hnsw", 0);
	close(d);
	rmdir(dir);
	index_free(ix);
	gen_done(&g);
	fix_done(&f);
}
static void edges(uint64_t seed)
{
	struct fix f;
	struct index *ix;
	struct index_hit hit[64];
	float q[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	fix_init(&f, 8, VXD_f32, VXM_cosine, 3000, seed);
	struct index_cfg bad = {.M = 65}, one = {.M = 1};
	T_EQ(index_new(&f.rows, &bad, &ix), -VX_ERR_m_range, "M 65");
	T_EQ(index_new(&f.rows, &one, &ix), -VX_ERR_m_range, "M 1");
	T_EQ(index_new(&f.rows, NULL, &ix), 0, "new");
	struct index_query e = {.q = q, .k = 10, .live = &f.live};
	T_EQ(index_search(ix, &e, hit), 0, "empty index");
	e.k = 0;
	T_EQ(index_search(ix, &e, hit), -VX_ERR_k_range, "k 0");
	e.k = CONF_K_MAX + 1;
	T_EQ(index_search(ix, &e, hit), -VX_ERR_k_range, "k too large");
	e.k = 10;
	e.ef = CONF_EF_MAX + 1;
	T_EQ(index_search(ix, &e, hit), -VX_ERR_ef_range, "ef too large");
	e.ef = 2;
	float nan[8] = {NAN}, zero[8] = {0};
	e.q = nan;
	T_EQ(index_search(ix, &e, hit), -VX_ERR_not_finite, "NaN query");
	nan[0] = INFINITY;
	T_EQ(index_search(ix, &e, hit), -VX_ERR_not_finite, "Inf query");
	e.q = zero;
	T_EQ(index_search(ix, &e, hit), -VX_ERR_zero_vector, "zero query under cosine");
	e.q = q;
	T_EQ(index_insert(ix, 3000), -EINVAL, "row that does not exist");
	/* all vectors equal, by the thousand */
	int rc = 0;
	for (uint32_t i = 0; i < 2000 && !rc; i++) {
		memcpy((void *)(uintptr_t)rows_vec(&f.rows, i), q, sizeof(q));
		fix_live(&f, i, 1);
		rc = index_insert(ix, i);
	}
	T_EQ(rc, 0, "2000 equal vectors");
	report(ix, "equal vectors");
	T_EQ(index_search(ix, &e, hit), 10, "ef < k");
	float worst = 0;
	for (int i = 0; i < 10; i++)
		worst = fmaxf(worst, fabsf(hit[i].distance));
	T_NEAR(worst, 0, 1e-6, "distance of equals");
	/* others behind the crowd stay findable */
	for (uint32_t i = 2000; i < 3000 && !rc; i++) {
		float *x = (float *)(uintptr_t)rows_vec(&f.rows, i);
		for (int j = 0; j < 8; j++)
			x[j] = fix_gauss(&f);
		fix_live(&f, i, 1);
		rc = index_insert(ix, i);
	}
	uint64_t found;
	report(ix, "crowd and others");
	T_EQ(index_repair(ix, &found), 0, "repair");
	T_EQ(found, 0, "finds nothing cut off");
	uint32_t got = 0;
	for (uint32_t i = 2000; i < 3000; i += 10) {
		struct index_query o = {.q = rows_vec(&f.rows, i), .k = 1, .ef = 64, .live = &f.live};
		got += index_search(ix, &o, hit) == 1 && hit[0].row == i;
	}
	T_OK(got == 100, "others found in spite of 2000 equal ones: %u of 100", got);
	for (uint32_t i = 0; i < 3000; i++)
		fix_live(&f, i, i < 5);
	e.k = 64;
	T_EQ(index_search(ix, &e, hit), 5, "k larger than what lives");
	for (uint32_t i = 0; i < 5; i++)
		fix_live(&f, i, 0);
	T_EQ(index_search(ix, &e, hit), 0, "nothing lives");
	_Atomic int cancel = 1;
	for (uint32_t i = 0; i < 3000; i++)
		fix_live(&f, i, 1);
	e.cancel = &cancel;
	e.ef = 1000;
	T_EQ(index_search(ix, &e, hit), -VX_ERR_cancelled, "cancelled");
	index_free(ix);
	fix_done(&f);
	/* the largest dimension */
	fix_init(&f, CONF_DIM_MAX, VXD_f32, VXM_l2, 40, seed);
	T_EQ(index_new(&f.rows, NULL, &ix), 0, "65535 dims");
	rc = 0;
	for (uint32_t i = 0; i < 40 && !rc; i++) {
		float *x = (float *)(uintptr_t)rows_vec(&f.rows, i);
		for (uint32_t j = 0; j < CONF_DIM_MAX; j++)
			x[j] = (float)(fix_unit(&f) * 2e3 - 1e3);
		fix_live(&f, i, 1);
		rc = index_insert(ix, i);
	}
	T_EQ(rc, 0, "inserts");
	got = 0;
	for (uint32_t i = 0; i < 40; i++) {
		struct index_query o = {.q = rows_vec(&f.rows, i), .k = 3, .live = &f.live};
		got += index_search(ix, &o, hit) == 3 && hit[0].row == i && hit[0].distance == 0;
	}
	T_EQ(got, 40, "each finds itself");
	index_free(ix);
	fix_done(&f);
}
static void filters(uint64_t seed)
{
	struct fix f;
	struct gen g;
	struct index *ix;
	const uint32_t n = 20000;
	static const double share[] = {0.5, 0.1, 0.03, 0.01, 0.001, 0.0001};
	fix_init(&f, 48, VXD_f32, VXM_l2, n, seed);
	gen_init(&g, &f, 48);
	fix_fill(&f, &g, 0, n);
	uint32_t *ids = malloc(n * 4);
	for (uint32_t i = 0; i < n; i++)
		ids[i] = i;
	index_new(&f.rows, NULL, &ix);
	T_EQ(index_build(ix, ids, n, 2, NULL), 0, "build by two threads");
	report(ix, "parallel build");
	struct row_bits flt = {.w = calloc(n / 64 + 1, 8), .n = n};
	for (uint32_t s = 0; s < sizeof(share) / sizeof(share[0]); s++) {
		uint32_t m = 0;
		memset((void *)flt.w, 0, (n / 64 + 1) * 8);
		for (uint32_t i = 0; i < n; i++)
			if (fix_unit(&f) < share[s]) {
				flt.w[i >> 6] |= 1ull << (i & 63);
				m++;
			}
		struct recall r = fix_recall(&f, &g, ix, 10, 64, 50, &flt);
		T_OK(r.recall >= 0.95 && !r.short_ && !r.wrong && !r.failed && r.distances / 50 <= m + m / 5 + 500,
		        "filter %.4f (%u rows): recall %.4f, %llu distances a query, exact %u of 50, short %u",
		        share[s], m, r.recall, (unsigned long long)r.distances / 50, r.exact, r.short_);
	}
	memset((void *)flt.w, 0, (n / 64 + 1) * 8);
	struct recall r = fix_recall(&f, &g, ix, 10, 64, 5, &flt);
	T_OK(!r.failed && !r.short_, "a filter that matches nothing");
	free((void *)flt.w);
	free(ids);
	index_free(ix);
	gen_done(&g);
	fix_done(&f);
}
/* far clusters hold the variance, neighbours differ in what is left: projection would be blind, the trial must see it */
static void hidden(uint64_t seed)
{
	struct fix f;
	struct gen g;
	struct index *ix;
	const uint32_t n = 4000, dim = 256;
	fix_init(&f, dim, VXD_f32, VXM_l2, n, seed);
	gen_init(&g, &f, dim);
	for (uint32_t i = 0; i < g.centres * dim; i++)
		g.centre[i] *= 4;
	memset(g.mix, 0, (size_t)g.latent * dim * 4); /* noise alike in all directions */
	fix_fill(&f, &g, 0, n);
	uint32_t *ids = malloc(n * 4);
	for (uint32_t i = 0; i < n; i++)
		ids[i] = i;
	index_new(&f.rows, NULL, &ix);
	T_EQ(index_build(ix, ids, n, 1, NULL), 0, "build");
	struct index_stats st;
	index_stats(ix, &st);
	T_OK(st.bytes / n > 136 + dim, "not projected: %llu bytes a node", (unsigned long long)st.bytes / n);
	struct recall r = fix_recall(&f, &g, ix, 10, 64, 100, NULL);
	T_OK(r.recall >= 0.9, "neighbours in what projection would leave out: recall %.4f", r.recall);
	free(ids);
	index_free(ix);
	gen_done(&g);
	fix_done(&f);
}
/* the n-th allocation fails, for every n: an error or a working index, nothing lost, nothing leaked */
static void memory(uint64_t seed)
{
	struct fix f;
	struct gen g;
	char dir[] = "/tmp/vexfs-index-XXXXXX";
	int d = set_with_dir(&f, &g, 132, VXM_l2, 900, seed, dir);
	uint32_t wrong = 0, leaked = 0, refused = 0, n = 1;
	for (; n < 130; n++) {
		struct index *ix = NULL, *m = NULL;
		struct index_hit hit[5];
		uint64_t gen;
		mem_fail_after(n);
		int rc = index_new(&f.rows, NULL, &ix);
		uint32_t linked = 0;
		for (uint32_t i = 0; !rc && i < 600; i++) {
			rc = index_insert(ix, i);
			linked += !rc;
			/* what failed may be tried again */
			if (rc == -ENOMEM && !index_linked(ix, i))
				rc = index_insert(ix, i), linked += !rc;
		}
		int rc2 = rc ? 0 : index_publish(ix, os_real(), d, "g", 1);
		int rc3 = rc || rc2 ? 0 : index_open(&f.rows, NULL, os_real(), d, "g", &gen, &m);
		struct index_query q = {.q = rows_vec(&f.rows, 77), .k = 5, .live = &f.live};
		int k = ix ? index_search(ix, &q, hit) : 0, k2 = 0;
		if (m) {
			k2 = index_search(m, &q, hit);
			(void)index_delete(m, 3); /* makes it resident, or not */
			(void)index_insert(m, 700);
		}
		mem_fail_after(-1);
		refused += rc || rc2 || rc3 || k < 0 || k2 < 0;
		if (ix && !rc) {
			struct index_report r;
			uint64_t cut;
			wrong += index_count(ix) != linked || index_repair(ix, &cut) || index_check(ix, &r);
			q.ef = 200;
			wrong += index_search(ix, &q, hit) != 5 || hit[0].row != 77;
		}
		index_free(m);
		index_free(ix);
		leaked += mem_used(MEM_index) + mem_used(MEM_index_work) != 0;
	}
	T_OK(!wrong && !leaked && refused, "allocation n fails, n up to %u: %u refusals, %u wrong, %u leaks", n,
	        refused, wrong, leaked);
	unlinkat(d, "g", 0);
	close(d);
	rmdir(dir);
	gen_done(&g);
	fix_done(&f);
}
int main(void)
{
	uint64_t seed = tap_seed(20261123);
	basic(seed, INDEX_CODES_AUTO, VXM_l2, VXD_f32, 32, 0.95);
	basic(seed, INDEX_CODES_AUTO, VXM_cosine, VXD_f32, 100, 0.95);
	basic(seed, INDEX_CODES_AUTO, VXM_dot, VXD_f32, 33, 0.80);
	basic(seed, INDEX_CODES_F32, VXM_l2, VXD_f32, 32, 0.95);
	basic(seed, INDEX_CODES_F32, VXM_cosine, VXD_f32, 100, 0.95);
	basic(seed, INDEX_CODES_F32, VXM_dot, VXD_f32, 33, 0.80);
	basic(seed, INDEX_CODES_BF16, VXM_l2, VXD_f32, 31, 0.95);
	basic(seed, INDEX_CODES_BF16, VXM_cosine, VXD_f32, 65, 0.95);
	basic(seed, INDEX_CODES_AUTO, VXM_l1, VXD_f32, 40, 0.93);
	basic(seed, INDEX_CODES_AUTO, VXM_l2, VXD_f16, 40, 0.95);
	basic(seed, INDEX_CODES_AUTO, VXM_cosine, VXD_bf16, 40, 0.95);
	basic(seed, INDEX_CODES_AUTO, VXM_l2, VXD_i8, 40, 0.95);
	basic(seed, INDEX_CODES_AUTO, VXM_hamming, VXD_binary, 512, 0.90);
	basic(seed, INDEX_CODES_AUTO, VXM_cosine, VXD_binary, 256, 0.90);
	basic(seed, INDEX_CODES_AUTO, VXM_l2, VXD_f32, 3, 0.95);
	basic(seed, INDEX_CODES_AUTO, VXM_l2, VXD_f32, 300, 0.95);
	basic(seed, INDEX_CODES_AUTO, VXM_cosine, VXD_f16, 256, 0.95);
	hidden(seed);
	churn(seed);
	shared_links(seed);
	files(seed, 24);
	files(seed, 192); /* long enough to be projected */
	edges(seed);
	memory(seed);
	filters(seed);
	T_EQ(mem_used(MEM_index) + mem_used(MEM_index_work), 0, "nothing is left allocated");
	return tap_done();
}
