/* test_crowd.c - equal vectors by the thousand, with others beside them: however they come and go, at every step all are within reach, and
 * the others are found as if the crowd were one. */
#include <fcntl.h>
#include <unistd.h>
#include "index_fixture.h"

enum { N = 2200, OTHERS = 200, CROWDS = 3, DIM_MAX = 32, NONE = -1 };

struct crowd {
	struct fix f;
	struct gen g;
	struct index *ix;
	float centre[CROWDS][DIM_MAX];
	int8_t of[N]; /* the crowd a row is of; NONE */
	uint32_t looks, cut_off, worst, damaged;
};
static void init(struct crowd *c, uint64_t seed, uint32_t dim, uint8_t metric, uint8_t codes)
{
	struct index_cfg cfg = {.codes = codes};
	memset(c, 0, sizeof(*c));
	fix_init(&c->f, dim, VXD_f32, metric, N, seed);
	gen_init(&c->g, &c->f, dim);
	for (uint32_t i = 0; i < CROWDS; i++)
		gen_vec(&c->g, &c->f, c->centre[i]);
	T_EQ(index_new(&c->f.rows, &cfg, &c->ix), 0, "new");
}
static void done(struct crowd *c)
{
	index_free(c->ix);
	gen_done(&c->g);
	fix_done(&c->f);
}
static void fill(struct crowd *c, uint32_t row, int of)
{
	c->of[row] = (int8_t)of;
	if (of == NONE)
		fix_fill(&c->f, &c->g, row, row + 1);
	else
		fix_encode(&c->f.rows, c->centre[of], (void *)(uintptr_t)rows_vec(&c->f.rows, row));
	fix_live(&c->f, row, 1);
}
/* nothing is mended before the look: what is cut off now is cut off for searches too */
static void look(struct crowd *c)
{
	struct index_report r;
	int rc = index_check(c->ix, &r);
	c->looks++;
	c->cut_off += r.unreachable > 0;
	c->damaged += rc && !r.unreachable;
	if (r.unreachable > c->worst)
		c->worst = (uint32_t)r.unreachable;
}
static void looked(const struct crowd *c, const char *what, uint64_t seed)
{
	T_OK(c->looks && !c->cut_off && !c->damaged,
	        "%s, seed %llu: of %u looks %u saw rows cut off, %u at most, %u other damage", what,
	        (unsigned long long)seed, c->looks, c->cut_off, c->worst, c->damaged);
}
/* @ix may be another over the same rows */
static void others_found(const struct crowd *c, struct index *ix, const char *what, uint64_t seed)
{
	uint32_t got = 0, all = 0;
	uint64_t distances = 0;
	for (uint32_t i = 0; i < N; i++) {
		if (c->of[i] != NONE || !row_bit(&c->f.live, i))
			continue;
		struct index_hit hit[1];
		struct index_query q = {.q = rows_vec(&c->f.rows, i), .k = 1, .ef = 64, .live = &c->f.live};
		got += index_search(ix, &q, hit) == 1 && hit[0].row == i;
		distances += q.distances;
		all++;
	}
	/* searches that pay for a crowd with a thousand distances are as good as none */
	T_OK(all && got == all && distances / all < 1000, "%s, seed %llu: %u of %u others found by %llu distances each",
	        what, (unsigned long long)seed, got, all, (unsigned long long)(all ? distances / all : 0));
}
/* the k nearest of a crowd's place are as near as they can be, and live */
static void crowd_found(const struct crowd *c, int of, const struct row_bits *filter, const char *what)
{
	enum { K = 50 };
	struct index_hit a[K], b[K];
	struct index_query q = {.q = c->centre[of], .k = K, .ef = 64, .live = &c->f.live, .filter = filter};
	int n = flat_search(&c->f.rows, &q, a), m = index_search(c->ix, &q, b);
	uint32_t bad = 0;
	for (int i = 0; i < m && m == n; i++)
		bad += !row_bit(&c->f.live, b[i].row) || (filter && !row_bit(filter, b[i].row)) ||
		       b[i].distance > a[n - 1].distance + 1e-6f;
	T_OK(n == K && m == n && !bad, "%s: %d of %d, %u wrong", what, m, n, bad);
}
enum order { CROWD_FIRST, OTHERS_FIRST, MIXED };
static void grown(uint64_t seed, enum order order, uint8_t metric, uint8_t codes, uint32_t dim)
{
	static const char *const name[] = {"the crowd first", "the others first", "mixed"};
	static struct crowd c;
	int rc = 0;
	init(&c, seed, dim, metric, codes);
	for (uint32_t i = 0; i < N; i++) {
		bool other = order == CROWD_FIRST    ? i >= N - OTHERS
		             : order == OTHERS_FIRST ? i < OTHERS
		                                     : fix_unit(&c.f) < (double)OTHERS / N;
		fill(&c, i, other ? NONE : 0);
		rc = rc ? rc : index_insert(c.ix, i);
		if (i % 97 == 96 || i == N - 1)
			look(&c);
	}
	T_EQ(rc, 0, "inserts");
	looked(&c, name[order], seed);
	if (metric != VXM_dot) /* where a row need not be the nearest to itself */
		others_found(&c, c.ix, name[order], seed);
	crowd_found(&c, 0, NULL, "of the crowd");
	uint64_t w[N / 64 + 1];
	for (uint32_t i = 0; i <= N / 64; i++)
		w[i] = 0x8000100020004001ull;
	struct row_bits filter = {.w = (void *)w, .n = N};
	crowd_found(&c, 0, &filter, "of the crowd, filtered");
	for (uint32_t i = 0, dead = 0; i < N && dead < 500; i++) { /* not unlinked yet */
		if (c.of[i] == NONE)
			continue;
		fix_live(&c.f, i, 0);
		dead++;
	}
	crowd_found(&c, 0, NULL, "of the crowd, the first of them dead");
	done(&c);
}
/* codes made for a crowd alone say nothing of the others: that is seen before many of these are linked by them */
static void drifted(uint64_t seed, uint32_t crowd)
{
	static struct crowd c;
	int rc = 0;
	init(&c, seed, 32, VXM_l2, INDEX_CODES_AUTO);
	atomic_store(&c.f.rows.n, crowd + 1000);
	for (uint32_t i = 0; i < crowd + 1000; i++) {
		fill(&c, i, i < crowd ? 0 : NONE);
		for (int d = 0; i < crowd && d < 32; d++)
			((float *)(uintptr_t)rows_vec(&c.f.rows, i))[d] = 0.5f;
		rc = rc ? rc : index_insert(c.ix, i);
	}
	T_EQ(rc, 0, "inserts");
	for (uint32_t i = crowd + 1000; i < N; i++)
		c.of[i] = 0;
	look(&c);
	looked(&c, "others linked late", seed);
	others_found(&c, c.ix, "others linked late", seed);
	done(&c);
}
/* the crowd goes: those that most lead to first, alone, then the rest in lots */
static void leaves(uint64_t seed)
{
	static struct crowd c;
	uint32_t rows[N];
	int rc = 0;
	init(&c, seed, 8, VXM_l2, INDEX_CODES_AUTO);
	for (uint32_t i = 0; i < N; i++) {
		fill(&c, i, i < N - OTHERS ? 0 : NONE);
		rows[i] = i;
	}
	T_EQ(index_build(c.ix, rows, N, 1, NULL), 0, "build");
	look(&c);
	others_found(&c, c.ix, "beside the crowd", seed);
	for (uint32_t i = 0; i < 100 && !rc; i++) {
		fix_live(&c.f, i, 0);
		rc = index_delete(c.ix, i);
		look(&c);
	}
	others_found(&c, c.ix, "a hundred of the crowd gone", seed);
	for (uint32_t i = 100; i < N - OTHERS && !rc; i += 475) {
		for (uint32_t j = i; j < i + 475; j++)
			fix_live(&c.f, j, 0);
		rc = index_delete_many(c.ix, rows + i, 475);
		look(&c);
	}
	T_EQ(rc, 0, "deletes");
	T_EQ(index_count(c.ix), OTHERS, "the others are left");
	looked(&c, "the crowd goes", seed);
	others_found(&c, c.ix, "the crowd is gone", seed);
	done(&c);
}
/* three crowds and others replace each other, one by one or in lots */
static void churned(uint64_t seed, uint32_t lot, uint32_t dim)
{
	static struct crowd c;
	uint32_t ids[N];
	int rc = 0;
	init(&c, seed, dim, VXM_l2, INDEX_CODES_AUTO);
	for (uint32_t i = 0; i < N; i++) {
		fill(&c, i, fix_unit(&c.f) < 0.8 ? (int)(fix_rand(&c.f) % CROWDS) : NONE);
		ids[i] = i;
	}
	T_EQ(index_build(c.ix, ids, N, 1, NULL), 0, "build");
	for (uint32_t turned = 0, round = 0; turned < N && !rc; turned += lot, round++) {
		uint32_t at = (uint32_t)(fix_rand(&c.f) % (N - lot));
		for (uint32_t i = at; i < at + lot; i++)
			fix_live(&c.f, i, 0);
		rc = lot > 1 ? index_delete_many(c.ix, ids + at, lot) : index_delete(c.ix, at);
		if (lot > 1 || round % 16 == 15)
			look(&c);
		for (uint32_t i = at; i < at + lot && !rc; i++) {
			fill(&c, i, fix_unit(&c.f) < 0.8 ? (int)(fix_rand(&c.f) % CROWDS) : NONE);
			rc = index_insert(c.ix, i);
		}
	}
	T_EQ(rc, 0, "churn runs");
	look(&c);
	looked(&c, lot > 1 ? "replaced in lots" : "replaced one by one", seed);
	others_found(&c, c.ix, "crowds replaced", seed);
	for (int i = 0; i < CROWDS; i++)
		crowd_found(&c, i, NULL, "of each crowd");
	done(&c);
}
/* two threads link it; then it is searched in a file's map */
static void built(uint64_t seed)
{
	static struct crowd c;
	struct index *m;
	uint32_t ids[N];
	uint64_t generation;
	char dir[] = "/tmp/vexfs-crowd-XXXXXX";
	int d = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY) : -1;
	T_OK(d >= 0, "a directory for graph files");
	init(&c, seed, 32, VXM_cosine, INDEX_CODES_SQ8);
	for (uint32_t i = 0; i < N; i++) {
		fill(&c, i, i % 11 ? 1 : NONE);
		ids[i] = i;
	}
	T_EQ(index_build(c.ix, ids, N, 2, NULL), 0, "build by two threads");
	look(&c);
	looked(&c, "built by two threads", seed);
	others_found(&c, c.ix, "built by two threads", seed);
	T_EQ(index_publish(c.ix, os_real(), d, "g", 1), 0, "publish");
	T_EQ(index_open(&c.f.rows, NULL, os_real(), d, "g", &generation, &m), 0, "open");
	others_found(&c, m, "mapped", seed);
	index_free(m);
	unlinkat(d, "g", 0);
	close(d);
	rmdir(dir);
	done(&c);
}
int main(void)
{
	uint64_t seed = tap_seed(20261128);
	for (uint64_t s = seed; s < seed + 3; s++) {
		grown(s, CROWD_FIRST, VXM_l2, INDEX_CODES_AUTO, 8);
		grown(s, OTHERS_FIRST, VXM_cosine, INDEX_CODES_AUTO, 32);
		grown(s, MIXED, VXM_l2, INDEX_CODES_BF16, 32);
		leaves(s);
		churned(s, 1, 32);
		churned(s, 60, 8);
	}
	grown(seed, MIXED, VXM_dot, INDEX_CODES_AUTO, 8);
	drifted(seed, 300);
	drifted(seed, 1000);
	built(seed);
	T_EQ(mem_used(MEM_index) + mem_used(MEM_index_work), 0, "nothing is left allocated");
	return tap_done();
}
