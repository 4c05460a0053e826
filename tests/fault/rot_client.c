/* rot_client.c - the engine's side of tests/fault/rot.py: a collection with a published graph, and what the engine says of it after a
 * byte of its files was changed.
 *
 *   make DIR SEED            a closed store of POINTS free points, all linked
 *   serve                    commands from stdin, a line each:
 *       rot DIR SEED 0       "same" | "told WHY" | "silent WHY"
 *
 * The oracle is arithmetic: the vectors come from the seed, so every answer is compared with a scan in memory here.  A search that
 * walks the graph may not be wrong because the graph is: it must be right, or the whole store's verify names damaged vectors, or the
 * search itself fails.  Damage of a graph is told where a search had to scan, or no graph is served, or one is being built again. */
#include <math.h>
#include "base/log.h"
#include "base/perf.h"
#include "store/store.h"
#include "../unit/engine/engtest.h"

#define POINTS  1100u /* more than ENG_FLAT_MAX */
#define DIM     8u
#define QUERIES 12u
#define K       10u
#define EF      400u /* the clean graph's answers are the scan's */
#define COLL    "rot"

static float vecs[POINTS][DIM], query[QUERIES][DIM];
static uint32_t nearest[QUERIES][K];
static char why[200];

/* l2: squared, as the engine answers it */
static double far(const float *a, const float *b)
{
	double s = 0;
	for (uint32_t i = 0; i < DIM; i++)
		s += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
	return s;
}
static void oracle(uint64_t seed)
{
	static uint64_t made;
	uint64_t s = seed * 2 + 1;
	if (made == s)
		return;
	made = s;
	for (uint32_t i = 0; i < POINTS; i++)
		et_vec(&s, vecs[i], DIM);
	for (uint32_t q = 0; q < QUERIES; q++) {
		bool taken[POINTS] = {0};
		et_vec(&s, query[q], DIM);
		for (uint32_t k = 0; k < K; k++) {
			uint32_t best = POINTS;
			for (uint32_t i = 0; i < POINTS; i++)
				if (!taken[i] && (best == POINTS || far(query[q], vecs[i]) < far(query[q], vecs[best])))
					best = i;
			taken[best] = true;
			nearest[q][k] = best;
		}
	}
}
static int open_engine(struct et *t, const char *dir)
{
	struct eng_cfg c = {
	        .os = os_real(), .dir = dir, .components = ENG_search, .version = "test", .transport = "none"};
	memset(t, 0, sizeof *t);
	t->root = c.root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	arena_init(&t->arena, MEM_req, 16u << 20);
	int rc = t->root < 0 ? -errno : eng_new(&c, &t->e);
	if (rc >= 0 && (rc = eng_start(t->e)) < 0) {
		eng_free(t->e);
		t->e = NULL;
	}
	return rc;
}
static void close_engine(struct et *t)
{
	if (t->e)
		et_close(t);
	if (t->root >= 0)
		close(t->root);
	arena_done(&t->arena);
}
static int info(struct et *t, struct eng_coll_info *ret)
{
	struct eng_job *j = et_job(t, EV_coll_info);
	j->coll = COLL;
	int rc = eng_run(t->e, j);
	if (rc >= 0)
		*ret = j->colls[0];
	return rc;
}
static int make(const char *dir, uint64_t seed)
{
	struct et t;
	struct eng_coll_info now = {0};
	oracle(seed);
	int rc = open_engine(&t, dir);
	struct eng_job *j = et_job(&t, EV_coll_create);
	strcpy(j->coll_new.name, COLL);
	j->coll_new.dim = DIM;
	j->coll_new.metric = VXM_l2;
	rc = rc < 0 ? rc : eng_run(t.e, j);
	j = et_job(&t, EV_batch_put);
	struct eng_point *p = arena_zalloc(&t.arena, POINTS * sizeof *p);
	for (uint32_t i = 0; i < POINTS; i++)
		p[i] = (struct eng_point){.id = i, .vec = vecs[i], .vec_bytes = sizeof vecs[i]};
	j->coll = COLL;
	j->points = p;
	j->point_n = POINTS;
	j->want_durable = true;
	rc = rc < 0 ? rc : eng_run(t.e, j);
	j = et_job(&t, EV_index);
	j->coll = COLL;
	j->index_op = ENG_INDEX_build; /* answered when all are linked */
	rc = rc < 0 ? rc : eng_run(t.e, j);
	rc = rc < 0 ? rc : info(&t, &now);
	close_engine(&t);
	if (rc < 0 || now.linked < POINTS)
		fprintf(stderr, "make: %s, %u linked\n", err_text(rc), (unsigned)now.linked);
	return rc < 0 || now.linked < POINTS;
}
/* Return 0: right; 1: it failed, and said so; 2: wrong */
static int search(struct et *t, uint32_t q, bool exact, bool *scanned)
{
	struct eng_job *j = et_job(t, EV_search);
	j->coll = COLL;
	j->vec = query[q];
	j->vec_bytes = sizeof query[q];
	j->k = K;
	j->ef = exact ? 0 : EF;
	j->exact = exact;
	int rc = eng_run(t->e, j);
	if (rc < 0) {
		snprintf(why, sizeof why, "search: %s", err_text(rc));
		return 1;
	}
	*scanned |= !exact && j->used_exact;
	bool same = j->res_n == K;
	for (uint32_t i = 0; same && i < K; i++)
		same = j->res[i].id == nearest[q][i] &&
		       fabs(j->res[i].distance - far(query[q], vecs[nearest[q][i]])) < 1e-3;
	if (!same)
		snprintf(why, sizeof why, "%s search %u: %u hits, first %llu at %g, want %u at %g",
		        exact ? "exact" : "graph", q, j->res_n, j->res_n ? (unsigned long long)j->res[0].id : 0,
		        j->res_n ? (double)j->res[0].distance : 0, nearest[q][0], far(query[q], vecs[nearest[q][0]]));
	return same ? 0 : 2;
}
static int get(struct et *t, uint32_t id)
{
	struct eng_job *j = et_job(t, EV_get);
	j->coll = COLL;
	j->is_free_point = true;
	j->free_id = id;
	int rc = eng_run(t->e, j);
	if (rc < 0) {
		snprintf(why, sizeof why, "get %u: %s", id, err_text(rc));
		return 1;
	}
	if (j->ret_vec_bytes == sizeof vecs[id] && !memcmp(j->ret_vec, vecs[id], sizeof vecs[id]))
		return 0;
	snprintf(why, sizeof why, "get %u: other bytes", id);
	return 2;
}
static void on_say(void *u, const char *line)
{
	if (!*(char *)u)
		snprintf(u, sizeof why, "%s", line);
}
static void rot(const char *dir, uint64_t seed)
{
	static char found[sizeof why];
	struct store_verify_report r;
	struct store_cfg cfg = {.os = os_real(), .root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	struct eng_coll_info now = {0};
	struct et t;
	found[0] = why[0] = 0;
	oracle(seed);
	bool damaged = store_verify(&cfg, false, on_say, found, &r) != 0; /* first: opening may write */
	close(cfg.root_fd);
	int rc = open_engine(&t, dir), worst = 0;
	bool scanned = false;
	uint64_t rebuilt = perf_get(PERFC_graph_rebuilt);
	if (rc >= 0 && (rc = info(&t, &now)) >= 0) {
		for (uint32_t q = 0; q < 2 * QUERIES; q++) {
			int got = search(&t, q / 2, q & 1, &scanned);
			worst = got > worst ? got : worst;
		}
		for (uint32_t i = 0; i < POINTS; i++) {
			int got = get(&t, i);
			worst = got > worst ? got : worst;
		}
	} else {
		snprintf(why, sizeof why, "%s", err_text(rc));
	}
	bool graph = rc >= 0 && (scanned || strcmp(now.index, "hnsw") != 0 || now.linked < POINTS ||
	                                perf_get(PERFC_graph_rebuilt) != rebuilt);
	close_engine(&t);
	if (worst == 2 && !damaged)
		printf("silent %s\n", why);
	else if (damaged || rc < 0 || worst)
		printf("told %s\n", found[0] ? found : why);
	else
		printf(graph ? "told the graph is not used\n" : "same\n");
}
int main(int argc, char **argv)
{
	char line[600], cmd[16], dir[400];
	unsigned long long seed;
	log_level_set(LOGL_error);
	if (argc == 4 && !strcmp(argv[1], "make"))
		return make(argv[2], strtoull(argv[3], NULL, 10));
	if (argc != 2 || strcmp(argv[1], "serve") != 0) {
		fprintf(stderr, "usage: see the head of rot_client.c\n");
		return 2;
	}
	if (!getenv("FAULT_LOG") && !freopen("/dev/null", "w", stderr))
		return 2;
	while (fgets(line, sizeof line, stdin)) {
		if (sscanf(line, "%15s %399s %llu", cmd, dir, &seed) == 3 && !strcmp(cmd, "rot"))
			rot(dir, seed);
		else
			printf("bad command\n");
		fflush(stdout);
	}
	return 0;
}
