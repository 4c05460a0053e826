/* test_eng_open.c - the first request after opening: a large collection whose points are known in bulk, and by id only when somebody asks.
 *
 * The oracle is an array of what each id's vector is now, or that it is gone.  After a clean close, after a kill, with rows.tab damaged, with
 * dead and replaced rows, points of files among free ones: the first search is the exact one, whatever comes first. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include "engtest.h"

#define DIM   16u
#define N     6000u
#define FILES 12u
#define COLL  "pts"

static float cur[N][DIM], filev[FILES][DIM];
static bool gone[N], file_gone[FILES];
static uint64_t seed;

static int batch(struct et *t, uint32_t first, uint32_t n)
{
	struct eng_job *j = et_job(t, EV_batch_put);
	struct eng_point *p = arena_zalloc(&t->arena, n * sizeof(*p));
	for (uint32_t i = 0; i < n; i++) {
		et_vec(&seed, cur[first + i], DIM);
		gone[first + i] = false;
		p[i] = (struct eng_point){.id = first + i, .vec = cur[first + i], .vec_bytes = DIM * 4};
	}
	j->coll = COLL;
	j->points = p;
	j->point_n = n;
	return eng_run(t->e, j);
}
static struct eng_job *of_point(struct et *t, enum eng_verb verb, uint32_t id)
{
	struct eng_job *j = et_job(t, verb);
	j->coll = COLL;
	j->is_free_point = true;
	j->free_id = id;
	return j;
}
static int put(struct et *t, uint32_t id)
{
	struct eng_job *j = of_point(t, EV_put, id);
	et_vec(&seed, cur[id], DIM);
	gone[id] = false;
	j->vec = cur[id];
	j->vec_bytes = DIM * 4;
	j->want_durable = true;
	return eng_run(t->e, j);
}
static int del(struct et *t, uint32_t id)
{
	gone[id] = true;
	return eng_run(t->e, of_point(t, EV_del, id));
}
/* 1: what is told of an id is not so */
static unsigned get_wrong(struct et *t, uint32_t id)
{
	struct eng_job *j = of_point(t, EV_get, id);
	int rc = eng_run(t->e, j);
	if (gone[id])
		return rc != -VX_ERR_no_vector;
	return rc != 0 || j->ret_vec_bytes != DIM * 4 || memcmp(j->ret_vec, cur[id], DIM * 4) != 0;
}
static struct eng_coll_info info(struct et *t)
{
	struct eng_job *j = et_job(t, EV_coll_info);
	j->coll = COLL;
	struct eng_coll_info none = {0};
	return eng_run(t->e, j) ? none : j->colls[0];
}
static uint32_t live_n(void)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < N; i++)
		n += !gone[i];
	for (uint32_t i = 0; i < FILES; i++)
		n += !file_gone[i];
	return n;
}
/* what is wrong with one search: a hit that is gone, of another vector, or out of order; and, where it is exact, anything nearer that is not
 * among them.  @ret_found: how many of the true ten there are */
static unsigned search_wrong(struct et *t, bool exact, unsigned *ret_found)
{
	float q[DIM];
	unsigned bad = 0, better = 0;
	et_vec(&seed, q, DIM);
	struct eng_job *j = et_job(t, EV_search);
	j->coll = COLL;
	j->vec = q;
	j->vec_bytes = DIM * 4;
	j->k = 10;
	j->exact = exact;
	j->stale = true; /* of files: they were written moments ago */
	if (eng_run(t->e, j) || j->res_n != 10)
		return 1000;
	double last = -2;
	for (uint32_t i = 0; i < 10; i++) {
		const struct eng_hit *h = &j->res[i];
		uint32_t f = h->path ? (uint32_t)strtoul(h->path + 1, NULL, 10) : 0;
		bool dead = h->path ? f >= FILES || file_gone[f] : h->id >= N || gone[h->id];
		if (dead) {
			bad++;
			continue;
		}
		double d = 1 - et_cos(q, h->path ? filev[f] : cur[h->id], DIM);
		bad += fabs(d - (double)h->distance) > 1e-3; /* a vector that was replaced has another distance */
		bad += d < last - 1e-3;
		last = d;
	}
	for (uint32_t i = 0; i < N; i++)
		better += !gone[i] && 1 - et_cos(q, cur[i], DIM) < last - 1e-6;
	for (uint32_t i = 0; i < FILES; i++)
		better += !file_gone[i] && 1 - et_cos(q, filev[i], DIM) < last - 1e-6;
	if (exact)
		bad += better > 9;
	*ret_found = better > 9 ? (better - 9 > 10 ? 0 : 10 - (better - 9)) : 10;
	return bad;
}
static unsigned exact_wrong(struct et *t, unsigned n)
{
	unsigned bad = 0, found;
	for (unsigned i = 0; i < n; i++)
		bad += search_wrong(t, true, &found);
	return bad;
}
/* is a point found by its own vector, through graph and tail? */
static unsigned self_wrong(struct et *t, uint32_t id)
{
	float q[DIM];
	memcpy(q, cur[id], sizeof(q));
	struct eng_job *j = et_job(t, EV_search);
	j->coll = COLL;
	j->vec = q;
	j->vec_bytes = DIM * 4;
	j->k = 10;
	bool found = false;
	if (eng_run(t->e, j))
		return 1;
	for (uint32_t i = 0; i < j->res_n; i++)
		found |= !j->res[i].path && j->res[i].id == id;
	return found == gone[id];
}
static void linked(struct et *t)
{
	for (int i = 0; i < 60000 && info(t).tail; i++)
		usleep(1000); /* linking is background work nobody is told about */
}
static uint64_t status_num(struct et *t, const char *key)
{
	struct eng_job *j = et_job(t, EV_status);
	if (eng_run(t->e, j))
		return UINT64_MAX;
	const char *p = strstr(j->out_text, key);
	return p ? strtoull(p + strlen(key), NULL, 10) : UINT64_MAX;
}
static bool tab_there(struct et *t)
{
	struct stat st;
	return !fstatat(t->root, ".vexfs/c3/rows.tab", &st, 0);
}
static void make(struct et *t)
{
	struct eng_job *j = et_job(t, EV_coll_create);
	unsigned bad = 0;
	strcpy(j->coll_new.name, COLL);
	j->coll_new.dim = DIM;
	j->coll_new.metric = 1;
	T_EQ(eng_run(t->e, j), 0, "create");
	for (uint32_t i = 0; i < N; i += 500)
		bad += batch(t, i, 500) != 0;
	for (uint32_t i = 0; i < FILES; i++) {
		char name[16];
		snprintf(name, sizeof(name), "f%u", i);
		et_write(t, name, "a file\n");
		et_vec(&seed, filev[i], DIM);
		j = et_job(t, EV_put);
		int fd = openat(t->root, name, O_PATH | O_CLOEXEC);
		j->key = et_key(t, name);
		j->fd = fd;
		j->coll = COLL;
		j->vec = filev[i];
		j->vec_bytes = DIM * 4;
		bad += eng_run(t->e, j) != 0;
		close(fd);
	}
	linked(t);
	for (uint32_t i = 0; i < 300; i++)
		bad += del(t, 7 * i) != 0;
	for (uint32_t i = 0; i < 300; i++) /* replaced, and some given a vector again */
		bad += put(t, 7 * i + (i % 3)) != 0;
	T_EQ(bad, 0, "6,000 points, 12 files, 300 deleted, 300 put anew");
	T_EQ(info(t).points, live_n(), "points");
}
static void first_of_all(struct et *t)
{
	unsigned bad = 0, found, hits = 0;
	T_OK(tab_there(t), "a clean close leaves rows.tab");
	et_open(t);
	T_EQ(search_wrong(t, true, &found), 0, "the first search after opening is the exact one");
	T_EQ(exact_wrong(t, 20), 0, "and those after it");
	for (unsigned i = 0; i < 50; i++) {
		bad += search_wrong(t, false, &found);
		hits += found;
	}
	T_EQ(bad, 0, "by the graph: nothing gone, nothing replaced");
	T_OK(hits >= 460, "and nine of ten that are true: %u of 500", hits);
	T_EQ(info(t).points, live_n(), "points, before anybody asked for an id");
	T_EQ(status_num(t, "\"row_tables_damaged\":"), 0, "the table was taken");
	bad = 0;
	for (uint32_t i = 0; i < N; i += 5)
		bad += get_wrong(t, i);
	T_EQ(bad, 0, "points by their ids");
	T_EQ(info(t).points, live_n(), "points, after");
	T_EQ(exact_wrong(t, 20), 0, "searches after");
	et_close(t);
	/* by the graph, first of all */
	et_open(t);
	bad = search_wrong(t, false, &found);
	T_EQ(bad, 0, "the graph first: nothing gone, nothing replaced");
	et_close(t);
}
static void changes_first(struct et *t)
{
	unsigned bad = 0;
	et_open(t);
	uint32_t before = live_n();
	bad += put(t, 5000) != 0; /* replaces */
	T_EQ(info(t).points, before, "a put that replaces, first of all");
	bad += del(t, 1002) != 0;
	bad += del(t, 1003) != 0;
	T_EQ(del(t, 1003), -VX_ERR_no_vector, "what is gone cannot be deleted again");
	bad += put(t, 1003) != 0;
	T_EQ(bad, 0, "a put, deletes, and a put");
	T_EQ(info(t).points, live_n(), "points");
	T_EQ(exact_wrong(t, 20), 0, "searches");
	bad = 0;
	for (uint32_t i = 990; i < 1010; i++)
		bad += get_wrong(t, i);
	T_EQ(bad, 0, "points by their ids");
	et_close(t);
	et_open(t);
	T_EQ(et_unlink(t, "f3"), 0, "a file goes before anything else");
	file_gone[3] = true;
	T_EQ(exact_wrong(t, 20), 0, "it is in no search");
	T_EQ(get_wrong(t, 4), 0, "a point by its id, after that");
	T_EQ(info(t).points, live_n(), "points");
	et_close(t);
}
/* searches go on while the table of ids is filled */
struct race {
	struct et t;
	unsigned bad, n;
	_Atomic int stop;
};
static void *race_search(void *arg)
{
	struct race *r = arg;
	uint64_t s = 99;
	while (!r->stop || r->n < 20) {
		float q[DIM];
		et_vec(&s, q, DIM);
		struct eng_job *j = et_job(&r->t, EV_search);
		j->coll = COLL;
		j->vec = q;
		j->vec_bytes = DIM * 4;
		j->k = 10;
		j->exact = r->n & 1;
		if (eng_run(r->t.e, j) || j->res_n != 10)
			r->bad++;
		for (uint32_t i = 0; i < j->res_n; i++)
			r->bad += !j->res[i].path && gone[j->res[i].id];
		r->n++;
	}
	return NULL;
}
static void *race_get(void *arg)
{
	struct race *r = arg;
	for (uint32_t i = 0; i < 200; i++, r->n++)
		r->bad += get_wrong(&r->t, i * 29 % N);
	return NULL;
}
static void side_by_side(struct et *t)
{
	struct race r[3];
	pthread_t th[3];
	unsigned bad = 0;
	et_open(t);
	for (unsigned i = 0; i < 3; i++) {
		memset(&r[i], 0, sizeof(r[i]));
		r[i].t = *t;
		arena_init(&r[i].t.arena, MEM_req, 64u << 20);
		pthread_create(&th[i], NULL, i ? race_get : race_search, &r[i]);
	}
	for (unsigned i = 3; i-- > 0;) {
		r[0].stop = i == 0;
		pthread_join(th[i], NULL);
		bad += r[i].bad;
		arena_done(&r[i].t.arena);
	}
	T_EQ(bad, 0, "searches and two who ask by id, at once");
	et_close(t);
}
/* @first: ids from there on are deleted, each, or every second one while the others are put anew */
static void killed(struct et *t, uint32_t first, bool puts)
{
	fflush(stdout);
	pid_t p = fork();
	uint64_t s = seed;
	for (int child = p == 0;; child = 0) {
		if (child)
			et_open(t);
		for (uint32_t i = 0; i < 40; i++) /* the parent's arrays learn what the child does */
			if (child) {
				if (!puts || (i & 1) ? del(t, first + i) : put(t, first + i))
					_exit(1);
			} else if (!puts || (i & 1)) {
				gone[first + i] = true;
			} else {
				et_vec(&s, cur[first + i], DIM);
				gone[first + i] = false;
			}
		if (!child)
			break;
		if (et_wait(t, true, false))
			_exit(2);
		kill(getpid(), SIGKILL);
	}
	seed = s;
	int status;
	waitpid(p, &status, 0);
	T_OK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "killed after %s",
	        puts ? "20 puts and 20 deletes" : "40 deletes");
	et_open(t);
	unsigned bad = 0;
	for (uint32_t i = 0; i < 40; i++)
		bad += self_wrong(t, first + i);
	T_EQ(bad, 0, "the table is of an older commit: what was put is found, what was deleted is not");
	T_EQ(exact_wrong(t, 20), 0, "searches are of the newest");
	bad = 0;
	for (uint32_t i = first - 10; i < first + 50; i++)
		bad += get_wrong(t, i);
	T_EQ(bad, 0, "points by their ids");
	T_EQ(info(t).points, live_n(), "points");
	et_close(t);
}
static void damaged(struct et *t)
{
	struct stat st;
	unsigned bad = 0, said = 0;
	for (unsigned i = 0; i < 6; i++) {
		int fd = openat(t->root, ".vexfs/c3/rows.tab", O_RDWR);
		uint8_t b;
		if (fd < 0 || fstat(fd, &st))
			break;
		off_t at = (off_t)(et_rnd(&seed) % (uint64_t)st.st_size);
		if (pread(fd, &b, 1, at) != 1)
			break;
		b ^= (uint8_t)(1u << (i % 8));
		if (pwrite(fd, &b, 1, at) != 1)
			break;
		close(fd);
		et_open(t);
		bad += exact_wrong(t, 5) + get_wrong(t, 17 * i);
		said += status_num(t, "\"row_tables_damaged\":") == 1;
		et_close(t);
	}
	T_EQ(bad, 0, "a damaged table: nothing wrong is answered");
	T_EQ(said, 6, "and status says so");
	et_open(t);
	T_EQ(exact_wrong(t, 5), 0, "the next opening");
	T_EQ(status_num(t, "\"row_tables_damaged\":"), 0, "finds a table written anew");
	et_close(t);
}
static void dropped(struct et *t)
{
	et_open(t);
	struct eng_job *j = et_job(t, EV_coll_drop);
	j->coll = COLL;
	T_EQ(eng_run(t->e, j), 0, "dropped, first of all");
	j = et_job(t, EV_get);
	j->coll = COLL;
	j->is_free_point = true;
	j->free_id = 1;
	T_EQ(eng_run(t->e, j), -VX_ERR_no_collection, "it is gone");
	et_close(t);
	et_open(t);
	T_EQ(info(t).points, 0, "it stays so");
}
int main(void)
{
	struct et t;
	seed = tap_seed(5);
	et_new(&t, ENG_search);
	make(&t);
	et_close(&t);
	first_of_all(&t);
	changes_first(&t);
	side_by_side(&t);
	killed(&t, 4000, false);
	killed(&t, 3000, true);
	damaged(&t);
	dropped(&t);
	et_done(&t);
	return tap_done();
}
