/* test_delete.c - rows taken out of the graph one by one and many at once: nothing leads to them any more, what is left stays whole and
 * findable as in a graph built without them, and what it costs is counted, not timed. */
#include <fcntl.h>
#include <unistd.h>
#include "index_fixture.h"
#include "index/hnsw.h"

enum { N = 5000, DIM = 32 };

static void clean(struct index *ix, const char *what)
{
	struct index_report r;
	int rc = index_check(ix, &r);
	T_OK(rc == 0,
	        "%s: clean (%llu nodes, unreachable %llu, out of bounds %llu, level %llu, twice %llu, in-degree %llu)",
	        what, (unsigned long long)r.nodes, (unsigned long long)r.unreachable,
	        (unsigned long long)r.out_of_bounds, (unsigned long long)r.bad_level,
	        (unsigned long long)r.duplicate_links, (unsigned long long)r.bad_indegree);
}
static uint64_t looked(const struct index *ix)
{
	struct index_stats s;
	index_stats(ix, &s);
	return s.looked;
}
static void build(struct fix *f, struct index **ret)
{
	uint32_t *ids = malloc(N * sizeof(*ids)), n = 0;
	for (uint32_t i = 0; i < N; i++)
		if (row_bit(&f->live, i))
			ids[n++] = i;
	T_EQ(index_new(&f->rows, NULL, ret), 0, "new");
	T_EQ(index_build(*ret, ids, n, 1, NULL), 0, "build");
	free(ids);
}
static void take(struct fix *f, struct index *ix, const uint32_t *rows, uint32_t n, const char *what)
{
	uint32_t before = index_count(ix), linked = 0;
	for (uint32_t i = 0; i < n; i++)
		fix_live(f, rows[i], 0);
	T_EQ(index_delete_many(ix, rows, n), 0, what);
	for (uint32_t i = 0; i < n; i++)
		linked += index_linked(ix, rows[i]);
	T_EQ(linked, 0, "none of them is linked");
	T_EQ(index_count(ix), before - n, "count");
	clean(ix, what);
}
/* @n different living rows: the nearest of one, or any */
static void pick(struct fix *f, uint32_t n, bool near, uint32_t *ret)
{
	if (near) {
		struct index_hit *hit = malloc(n * sizeof(*hit));
		struct index_query q = {.q = rows_vec(&f->rows, (uint32_t)(fix_rand(f) % N)), .k = n, .live = &f->live};
		T_EQ(flat_search(&f->rows, &q, hit), n, "the nearest");
		for (uint32_t i = 0; i < n; i++)
			ret[i] = hit[i].row;
		free(hit);
		return;
	}
	uint8_t *taken = calloc(N, 1);
	for (uint32_t got = 0; got < n;) {
		uint32_t row = (uint32_t)(fix_rand(f) % N);
		if (taken[row] || !row_bit(&f->live, row))
			continue;
		taken[row] = 1;
		ret[got++] = row;
	}
	free(taken);
}
/* taken out and put back with other vectors, in lots of many sizes, until all is replaced twice over */
static void replaced(uint64_t seed)
{
	static const uint32_t size[] = {1, 2, 4, 5, 60, 700, 1, 1500, 3, 300};
	struct fix f;
	struct gen g;
	struct index *ix, *fresh;
	uint32_t *rows = malloc(N * sizeof(*rows)), done = 0;
	int rc = 0;
	fix_init(&f, DIM, VXD_f32, VXM_l2, N, seed);
	gen_init(&g, &f, DIM);
	fix_fill(&f, &g, 0, N);
	build(&f, &ix);
	for (uint32_t round = 0; done < 2 * N; round++) {
		uint32_t n = size[round % 10];
		pick(&f, n, round & 4, rows);
		take(&f, ix, rows, n, round & 4 ? "neighbours taken out" : "strangers taken out");
		for (uint32_t i = 0; i < n && !rc; i++) {
			fix_fill(&f, &g, rows[i], rows[i] + 1);
			rc = index_insert(ix, rows[i]);
		}
		done += n;
	}
	T_EQ(rc, 0, "put back");
	clean(ix, "all replaced twice");
	build(&f, &fresh);
	struct recall a = fix_recall(&f, &g, ix, 10, 32, 300, NULL), b = fix_recall(&f, &g, fresh, 10, 32, 300, NULL);
	T_OK(a.recall >= b.recall - 0.01 && !a.failed && !a.short_, "recall after replacing all twice %.4f, fresh %.4f",
	        a.recall, b.recall);
	index_free(ix);
	index_free(fresh);
	gen_done(&g);
	fix_done(&f);
	free(rows);
}
/* Clusters of low dimension between which distances show no way, every row replaced twice, one by one: what carried a search across
 * were the links of those that came first, and they are gone. */
static void clusters_replaced(uint64_t seed)
{
	enum { CLUSTERS = 50, EACH = N / CLUSTERS, WIDE = 96, LATENT = 12, QUERIES = 300, K = 10 };
	struct fix f;
	struct index *ix;
	struct recall r[2] = {{0}, {0}};
	float *centre = malloc(CLUSTERS * WIDE * 4), *mix = malloc(CLUSTERS * LATENT * WIDE * 4),
	      *q = malloc(QUERIES * WIDE * 4);
	int rc = 0;
	fix_init(&f, WIDE, VXD_f32, VXM_l2, N, seed);
	for (uint32_t i = 0; i < CLUSTERS * WIDE; i++)
		centre[i] = fix_gauss(&f);
	for (uint32_t i = 0; i < CLUSTERS * LATENT * WIDE; i++)
		mix[i] = 0.5f * fix_gauss(&f);
	for (uint32_t i = 0; i < N + QUERIES; i++) {
		uint32_t c = (uint32_t)(fix_rand(&f) % CLUSTERS);
		float *x = i < N ? (float *)(uintptr_t)rows_vec(&f.rows, i) : q + (i - N) * WIDE;
		for (uint32_t d = 0; d < WIDE; d++)
			x[d] = centre[c * WIDE + d] + 0.3f * fix_gauss(&f);
		for (uint32_t l = 0; l < LATENT; l++) {
			float w = fix_gauss(&f);
			for (uint32_t d = 0; d < WIDE; d++)
				x[d] += w * mix[(c * LATENT + l) * WIDE + d];
		}
		if (i < N)
			fix_live(&f, i, 1);
	}
	struct index_cfg cfg = {.M = 8, .ef_construction = EACH * 2 / 3}; /* a cluster fills what a new row sees */
	uint32_t *ids = malloc(N * sizeof(*ids));
	for (uint32_t i = 0; i < N; i++)
		ids[i] = i;
	T_EQ(index_new(&f.rows, &cfg, &ix), 0, "new");
	T_EQ(index_build(ix, ids, N, 1, NULL), 0, "build");
	free(ids);
	for (uint32_t turn = 0; turn < 2; turn++) {
		for (uint32_t i = 0; i < QUERIES; i++) {
			struct index_hit a[K], b[K];
			struct index_query e = {.q = q + i * WIDE, .k = K, .ef = 24, .live = &f.live};
			int n = flat_search(&f.rows, &e, a), m = index_search(ix, &e, b);
			r[turn].distances += e.distances;
			r[turn].failed += m < n;
			for (int j = 0; j < m; j++)
				r[turn].recall += b[j].distance <= a[K - 1].distance ? 1.0 / (QUERIES * K) : 0;
		}
		for (uint32_t i = 0; !turn && i < 2 * N && !rc; i++) {
			uint32_t row = (uint32_t)((i * 2654435761ull) % N);
			rc = index_delete(ix, row);
			rc = rc ? rc : index_insert(ix, row);
		}
	}
	T_EQ(rc, 0, "each row deleted and inserted, twice");
	clean(ix, "clusters replaced twice");
	T_OK(r[1].recall >= r[0].recall - 0.01 && !r[0].failed && !r[1].failed,
	        "clusters: recall %.4f by %llu distances, replaced twice %.4f by %llu", r[0].recall,
	        (unsigned long long)r[0].distances / QUERIES, r[1].recall,
	        (unsigned long long)r[1].distances / QUERIES);
	index_free(ix);
	free(centre);
	free(mix);
	free(q);
	fix_done(&f);
}
/* half of it goes, in lots: what a row costs, and what is left against a graph that never knew it */
static void halved(uint64_t seed, uint32_t lot)
{
	struct fix f;
	struct gen g;
	struct index *ix, *fresh;
	struct index_report r;
	uint32_t rows[N / 2];
	fix_init(&f, DIM, VXD_f32, VXM_cosine, N, seed);
	gen_init(&g, &f, DIM);
	fix_fill(&f, &g, 0, N);
	build(&f, &ix);
	index_check(ix, &r);
	uint64_t from = looked(ix), all = r.one_way;
	pick(&f, N / 2, false, rows);
	for (uint32_t i = 0; i < N / 2; i++)
		fix_live(&f, rows[i], 0);
	int rc = 0;
	for (uint32_t i = 0; i < N / 2 && !rc; i += lot)
		rc = index_delete_many(ix, rows + i, lot);
	T_EQ(rc, 0, "half of it taken out");
	uint64_t cost = (looked(ix) - from) / (N / 2);
	T_OK(lot < 64 || (cost > 0 && cost <= N / lot),
	        "lots of %u: %llu link rows looked at for a row, of %u (%llu links one-way)", lot,
	        (unsigned long long)cost, (unsigned)N, (unsigned long long)all);
	clean(ix, "half is left");
	build(&f, &fresh);
	struct recall a = fix_recall(&f, &g, ix, 10, 32, 300, NULL), b = fix_recall(&f, &g, fresh, 10, 32, 300, NULL);
	T_OK(a.recall >= b.recall - 0.01, "lots of %u: recall of the half %.4f, fresh %.4f", lot, a.recall, b.recall);
	index_free(ix);
	index_free(fresh);
	gen_done(&g);
	fix_done(&f);
}
static void edges(uint64_t seed)
{
	struct fix f;
	struct gen g;
	struct index *ix;
	struct index_hit hit[4];
	uint32_t rows[N];
	struct index_stats s;
	fix_init(&f, DIM, VXD_f32, VXM_l2, N, seed);
	gen_init(&g, &f, DIM);
	fix_fill(&f, &g, 0, 3000);
	build(&f, &ix);
	T_EQ(index_delete_many(ix, rows, 0), 0, "no row");
	rows[0] = rows[1] = rows[2] = 17;
	rows[3] = N - 1; /* never linked */
	rows[4] = UINT32_MAX;
	T_EQ(index_delete_many(ix, rows, 5), 0, "a row three times, one not linked, one that is none");
	fix_live(&f, 17, 0);
	T_EQ(index_count(ix), 2999, "count");
	T_EQ(index_delete(ix, 17), -ENOENT, "it is gone");
	clean(ix, "odd lists");
	index_stats(ix, &s);
	rows[0] = s.entry;
	for (uint32_t i = 1; i < 5; i++)
		rows[i] = s.entry > 100 ? i : 100 + i;
	take(&f, ix, rows, 5, "the entry point among them");
	uint32_t n = 0;
	for (uint32_t i = 0; i < 3000; i++)
		if (index_linked(ix, i))
			rows[n++] = i;
	take(&f, ix, rows, n - 1, "all but one");
	struct index_query q = {.q = rows_vec(&f.rows, 5), .k = 4, .live = &f.live};
	T_OK(index_search(ix, &q, hit) == 1 && hit[0].row == rows[n - 1], "which is found");
	take(&f, ix, rows + n - 1, 1, "the last");
	T_EQ(index_search(ix, &q, hit), 0, "nothing is found");
	fix_fill(&f, &g, 0, 3000);
	int rc = 0;
	for (uint32_t i = 0; i < 3000 && !rc; i++)
		rc = index_insert(ix, i);
	struct recall r = fix_recall(&f, &g, ix, 10, 64, 50, NULL);
	T_OK(!rc && r.recall > 0.95, "filled again: recall %.3f", r.recall);
	clean(ix, "filled again");
	index_free(ix);
	gen_done(&g);
	fix_done(&f);
}
/* rows that go alone from a graph too large for a pass each: first those of upper levels, the links to which nothing counts, and from a
 * graph that came from a file, which does not tell whose an upper link row is */
static void alone(uint64_t seed)
{
	enum { MANY = 20000, GONE = 150 };
	struct fix f;
	struct gen g;
	struct index *ix, *m;
	uint32_t *ids = malloc(MANY * sizeof(*ids)), upper = 0;
	char dir[] = "/tmp/vexfs-delete-XXXXXX";
	int d = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY) : -1, rc = 0;
	T_OK(d >= 0, "a directory for the graph");
	fix_init(&f, 8, VXD_f32, VXM_l2, MANY, seed);
	gen_init(&g, &f, 8);
	fix_fill(&f, &g, 0, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		ids[i] = i;
	T_EQ(index_new(&f.rows, NULL, &ix), 0, "new");
	T_EQ(index_build(ix, ids, MANY, 2, NULL), 0, "build");
	T_EQ(index_publish(ix, os_real(), d, "g", 1), 0, "publish");
	uint64_t generation;
	T_EQ(index_open(&f.rows, NULL, os_real(), d, "g", &generation, &m), 0, "open");
	T_EQ(index_resident(m), 0, "into memory");
	for (int turn = 0; turn < 2; turn++, ix = m) {
		const struct hnsw_view *v = atomic_load(&ix->view);
		uint32_t gone = 0;
		uint64_t from = looked(ix);
		for (uint32_t i = 0; gone < GONE && !rc; i++) {
			uint32_t row = (i * 2654435761u) % MANY,
			         level = atomic_load(hnsw_meta(v, row)) & HNSW_META_LEVEL;
			if (!level || (gone < GONE / 3 && level < 2))
				continue;
			upper += level > 1;
			rc = index_delete(ix, row);
			gone++;
		}
		T_EQ(rc, 0, "each deleted");
		T_OK(upper >= GONE / 3 && (looked(ix) - from) / GONE < MANY / 6,
		        "%llu link rows looked at for each, of %u", (unsigned long long)(looked(ix) - from) / GONE,
		        (unsigned)MANY);
		clean(ix, turn ? "rows gone alone from a graph of a file" : "rows gone alone");
		index_free(ix);
	}
	unlinkat(d, "g", 0);
	close(d);
	rmdir(dir);
	free(ids);
	gen_done(&g);
	fix_done(&f);
}
int main(void)
{
	uint64_t seed = tap_seed(20261128);
	edges(seed);
	alone(seed);
	halved(seed, 1);
	halved(seed, 500);
	replaced(seed);
	clusters_replaced(seed);
	T_EQ(mem_used(MEM_index) + mem_used(MEM_index_work), 0, "nothing is left allocated");
	return tap_done();
}
