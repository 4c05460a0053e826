/* test_eng_index.c - collections large enough for a graph: tail, linking, publishing, reopening, deletes, reuse of rows, churn. */
#include "engtest.h"

#define DIM 16u
#define N   6000u

static float *vecs;
static bool *gone;

static int batch(struct et *t, const char *coll, uint64_t first, uint32_t n, const float *v)
{
	struct eng_job *j = et_job(t, EV_batch_put);
	struct eng_point *p = arena_zalloc(&t->arena, n * sizeof(*p));
	for (uint32_t i = 0; i < n; i++)
		p[i] = (struct eng_point){.id = first + i, .vec = v + (size_t)i * DIM, .vec_bytes = DIM * 4};
	j->coll = coll;
	j->points = p;
	j->point_n = n;
	return eng_run(t->e, j);
}
static struct eng_coll_info info(struct et *t, const char *coll)
{
	struct eng_job *j = et_job(t, EV_coll_info);
	j->coll = coll;
	struct eng_coll_info none = {0};
	return eng_run(t->e, j) ? none : j->colls[0];
}
static void linked(struct et *t, const char *coll)
{
	for (int i = 0; i < 60000 && info(t, coll).tail; i++)
		usleep(1000); /* linking is background work nobody is told about */
}
static double recall(struct et *t, const char *coll, uint64_t *s, unsigned queries, uint64_t *distances)
{
	unsigned hit = 0, all = 0;
	uint64_t ids[10];
	*distances = 0;
	for (unsigned q = 0; q < queries; q++) {
		float v[DIM];
		uint32_t n = 0;
		et_vec(s, v, DIM);
		for (int pass = 0; pass < 2; pass++) {
			struct eng_job *j = et_job(t, EV_search);
			j->coll = coll;
			j->vec = v;
			j->vec_bytes = DIM * 4;
			j->exact = pass == 0;
			if (eng_run(t->e, j))
				return -1;
			if (!pass) {
				n = j->res_n;
				for (uint32_t i = 0; i < n; i++)
					ids[i] = j->res[i].id;
				continue;
			}
			*distances += j->distances;
			for (uint32_t i = 0; i < j->res_n; i++)
				for (uint32_t k = 0; k < n; k++)
					hit += ids[k] == j->res[i].id;
			all += n;
		}
	}
	*distances /= queries;
	return all ? (double)hit / all : 0;
}
/* exact search against the arrays here */
static unsigned wrong(struct et *t, const char *coll, uint64_t *s, unsigned queries)
{
	unsigned bad = 0;
	for (unsigned q = 0; q < queries; q++) {
		float v[DIM];
		et_vec(s, v, DIM);
		struct eng_job *j = et_job(t, EV_search);
		j->coll = coll;
		j->vec = v;
		j->vec_bytes = DIM * 4;
		j->exact = true;
		bad += eng_run(t->e, j) != 0;
		uint64_t worst = j->res_n ? j->res[j->res_n - 1].id : 0;
		double limit = et_cos(v, vecs + worst * DIM, DIM);
		for (uint32_t i = 0; i < j->res_n; i++)
			bad += gone[j->res[i].id];
		unsigned better = 0;
		for (uint32_t i = 0; i < N; i++)
			better += !gone[i] && et_cos(v, vecs + (size_t)i * DIM, DIM) > limit + 1e-6;
		bad += better > 9 || j->res_n != 10;
	}
	return bad;
}
static uint64_t disk(struct et *t)
{
	uint64_t n = 0;
	char p[64];
	for (int c = 1; c < 8; c++)
		for (int s = 0; s < 8; s++) {
			struct stat st;
			snprintf(p, sizeof(p), ".vexfs/c%d/v%d.vec", c, s);
			if (!fstatat(t->root, p, &st, 0))
				n += (uint64_t)st.st_blocks * 512;
		}
	return n;
}
static unsigned del(struct et *t, const char *coll, uint64_t id)
{
	struct eng_job *j = et_job(t, EV_del);
	j->coll = coll;
	j->is_free_point = true;
	j->free_id = id;
	return eng_run(t->e, j) != 0;
}
int main(void)
{
	uint64_t s = tap_seed(3), d;
	struct et t;
	vecs = malloc(sizeof(float) * N * DIM);
	gone = calloc(N, 1);
	et_new(&t, ENG_search);
	struct eng_job *j = et_job(&t, EV_coll_create);
	strcpy(j->coll_new.name, "big");
	j->coll_new.dim = DIM;
	j->coll_new.metric = 1;
	T_EQ(eng_run(t.e, j), 0, "create");
	for (uint32_t i = 0; i < N; i++)
		et_vec(&s, vecs + (size_t)i * DIM, DIM);
	unsigned bad = 0;
	for (uint32_t i = 0; i < N; i += 500) {
		bad += batch(&t, "big", i, 500, vecs + (size_t)i * DIM) != 0;
		if (i == 3000) {
			for (uint32_t k = 3500; k < N; k++)
				gone[k] = true; /* not there yet */
			T_EQ(wrong(&t, "big", &s, 20), 0, "searchable at once, while others are being linked");
			memset(gone, 0, N);
		}
	}
	T_EQ(bad, 0, "batches");
	T_EQ(info(&t, "big").points, N, "points");
	linked(&t, "big");
	struct eng_coll_info i = info(&t, "big");
	T_EQ(i.linked, N, "all linked");
	T_STR(i.index, "hnsw", "a graph");
	double r = recall(&t, "big", &s, 200, &d);
	T_OK(r > .95, "recall %.3f at %llu distances", r, (unsigned long long)d);
	T_OK(d < N / 2, "fewer distances than a scan");
	/* churn: delete a third, put them back with other vectors, twice */
	for (int round = 0; round < 2; round++) {
		bad = 0;
		for (uint32_t k = (uint32_t)round; k < N; k += 3) {
			bad += del(&t, "big", k);
			gone[k] = true;
		}
		T_EQ(bad, 0, "deletes");
		T_EQ(wrong(&t, "big", &s, 20), 0, "the deleted are not found");
		T_EQ(info(&t, "big").points, N - N / 3, "points");
		for (uint32_t k = (uint32_t)round; k < N; k += 3) {
			et_vec(&s, vecs + (size_t)k * DIM, DIM);
			bad += batch(&t, "big", k, 1, vecs + (size_t)k * DIM) != 0;
			gone[k] = false;
		}
		T_EQ(bad, 0, "put back");
		T_EQ(wrong(&t, "big", &s, 20), 0, "exact search equals the brute force");
	}
	/* updates in place */
	for (uint32_t k = 0; k < N; k += 5)
		et_vec(&s, vecs + (size_t)k * DIM, DIM);
	for (uint32_t k = 0; k < N; k += 500)
		bad += batch(&t, "big", k, 500, vecs + (size_t)k * DIM) != 0;
	T_EQ(bad, 0, "updates");
	T_EQ(info(&t, "big").points, N, "points");
	T_EQ(wrong(&t, "big", &s, 20), 0, "exact search equals the brute force");
	linked(&t, "big");
	r = recall(&t, "big", &s, 200, &d);
	T_OK(r > .95, "recall %.3f at %llu distances after churn", r, (unsigned long long)d);
	j = et_job(&t, EV_verify);
	T_EQ(eng_run(t.e, j), 0, "verify");
	T_OK(strstr(j->out_text, "\"findings\":0"), "%s", j->out_text);
	et_close(&t);
	et_open(&t);
	T_EQ(wrong(&t, "big", &s, 20), 0, "after reopening");
	i = info(&t, "big");
	T_STR(i.index, "hnsw", "the published graph serves");
	T_OK(i.tail < 200, "tail %llu: nothing is linked again but what moves down", (unsigned long long)i.tail);
	r = recall(&t, "big", &s, 200, &d);
	T_OK(r > .95, "recall %.3f at %llu distances after reopening", r, (unsigned long long)d);
	/* dead rows are given back: the rows of the store do not grow with every round */
	for (int round = 0; round < 6; round++) {
		for (uint32_t k = 0; k < N; k += 500)
			bad += batch(&t, "big", k, 500, vecs + (size_t)k * DIM) != 0;
		linked(&t, "big");
	}
	i = info(&t, "big");
	T_OK(i.dead < 4 * N, "dead rows %llu of %u live after 6 rounds", (unsigned long long)i.dead, N);
	T_EQ(wrong(&t, "big", &s, 20), 0, "still right");
	/* export gives every point once */
	bool *seen = calloc(N, 1);
	uint64_t cursor = 0, n = 0;
	for (;;) {
		j = et_job(&t, EV_export);
		j->coll = "big";
		j->cursor = cursor;
		bad += eng_run(t.e, j) != 0;
		if (!j->out_point_n)
			break;
		for (uint32_t k = 0; k < j->out_point_n; k++) {
			uint64_t id = j->out_points[k].id;
			bad += id >= N || seen[id] || memcmp(j->out_points[k].vec, vecs + id * DIM, DIM * 4) != 0;
			if (id < N)
				seen[id] = true;
			n++;
		}
		cursor = j->cursor;
	}
	T_EQ(n, N, "exported");
	T_EQ(bad, 0, "each once, the same bytes");
	free(seen);
	/* four of five go: rows move down, everything stays true, the files shrink */
	bad = 0;
	for (uint32_t k = 0; k < N; k++)
		if (k % 5) {
			bad += del(&t, "big", k);
			gone[k] = true;
		}
	T_EQ(bad, 0, "deletes");
	uint64_t before = disk(&t), after = before;
	for (int k = 0; k < 400 && after * 2 > before; k++) {
		/* each put and delete wakes the index thread; what it does then nobody is told */
		bad += batch(&t, "big", 0, 1, vecs) != 0;
		if (k == 200)
			for (uint32_t x = 0; x < N; x += 5)
				bad += batch(&t, "big", x, 1, vecs + (size_t)x * DIM) != 0;
		usleep(10000);
		after = disk(&t);
	}
	T_EQ(bad, 0, "puts meanwhile");
	printf("# slots on disk: %llu, then %llu\n", (unsigned long long)before, (unsigned long long)after);
	T_EQ(wrong(&t, "big", &s, 20), 0, "exact search equals the brute force after rows moved");
	T_EQ(info(&t, "big").points, N / 5, "points");
	et_close(&t);
	et_open(&t);
	T_EQ(wrong(&t, "big", &s, 20), 0, "and after reopening");
	T_EQ(info(&t, "big").points, N / 5, "points");
	j = et_job(&t, EV_verify);
	T_EQ(eng_run(t.e, j), 0, "verify");
	T_OK(strstr(j->out_text, "\"findings\":0"), "%s", j->out_text);
	/* drop while searching goes on is refused or done, never torn */
	j = et_job(&t, EV_coll_drop);
	j->coll = "big";
	T_EQ(eng_run(t.e, j), 0, "drop");
	T_EQ(info(&t, "big").points, 0, "gone");
	et_done(&t);
	free(vecs);
	free(gone);
	return tap_done();
}
