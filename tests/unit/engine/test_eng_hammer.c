/* test_eng_hammer.c - many threads at once, allocation failing at random: nothing hangs, nothing crashes, and when it is quiet again
 * search and get agree with each other and with the directory. */
#include <pthread.h>
#include <stdatomic.h>
#include "engtest.h"

#define DIM   8u
#define FILES 60u

static struct et T;
static _Atomic int over;
static _Atomic unsigned strange;
static uint64_t Seed;
/* the kernel serialises what happens to names, and a setxattr holds its file: changes of names exclude each other and puts */
static pthread_rwlock_t names = PTHREAD_RWLOCK_INITIALIZER;

struct actor {
	pthread_t id;
	uint64_t s;
	struct et t; /* its own job and arena on the shared engine */
};
static void name_of(unsigned i, char *p)
{
	sprintf(p, i % 3 ? "h%02u" : "sub/h%02u", i);
}
static bool expected(int rc)
{
	switch (rc) {
	case 0:
	case -ENOENT:
	case -ENOMEM:
	case -EINTR:
	case -VX_ERR_no_vector:
	case -VX_ERR_mem_limit:
	case -VX_ERR_arena_full:
	case -VX_ERR_queue_full:
	case -VX_ERR_visit_pool_empty:
	case -VX_ERR_store_full: /* a group rolled back for want of memory */
	case -VX_ERR_no_object:
		return true;
	default:
		printf("# unexpected: %s (%d)\n", err_text(rc), rc);
		return false;
	}
}
static void *actor(void *arg)
{
	struct actor *a = arg;
	char p[32], q[32];
	float v[DIM];
	while (!atomic_load(&over)) {
		unsigned what = (unsigned)(et_rnd(&a->s) >> 30) % 10, i = (unsigned)(et_rnd(&a->s) >> 30) % FILES;
		int rc = 0;
		name_of(i, p);
		et_vec(&a->s, v, DIM);
		bool change = what < 2 || what == 5 || what == 6;
		if (change)
			pthread_rwlock_wrlock(&names);
		else if (what < 5)
			pthread_rwlock_rdlock(&names);
		switch (what) {
		case 0:
		case 1:
			et_write(&a->t, p, i % 2 ? "words of a file" : "other words");
			break;
		case 2:
		case 3:
			if (faccessat(T.root, p, F_OK, 0) == 0)
				rc = et_put(&a->t, p, v, DIM);
			break;
		case 4:
			rc = et_del(&a->t, p);
			break;
		case 5:
			name_of((unsigned)(et_rnd(&a->s) >> 30) % FILES, q);
			if (strcmp(p, q) != 0)
				et_rename(&a->t, p, q);
			break;
		case 6:
			if (i % 4 == 0)
				et_unlink(&a->t, p);
			break;
		case 7:
			rc = et_text(&a->t, "words", 5);
			break;
		case 8: {
			struct eng_job *j = et_job(&a->t, i % 2 ? EV_status : EV_coll_list);
			rc = eng_run(T.e, j);
			break;
		}
		default:
			rc = et_search(&a->t, v, DIM, 10, i % 2);
			for (uint32_t r = 1; !rc && r < a->t.j.res_n; r++)
				rc = a->t.j.res[r].score > a->t.j.res[r - 1].score ? -EIO : 0;
			break;
		}
		if (what < 7)
			pthread_rwlock_unlock(&names);
		if (!expected(rc))
			atomic_fetch_add(&strange, 1);
	}
	return NULL;
}
static void hammer(unsigned threads, unsigned ms, bool starve)
{
	static struct actor a[8];
	uint64_t s = Seed + threads;
	atomic_store(&over, 0);
	for (unsigned i = 0; i < threads; i++) {
		a[i].s = Seed * 77 + i + 1;
		a[i].t = T;
		arena_init(&a[i].t.arena, MEM_req, 16u << 20);
		pthread_create(&a[i].id, NULL, actor, &a[i]);
	}
	for (unsigned t = 0; t < ms; t++) {
		if (starve && t > 20) /* each millisecond one of the next allocations fails, whosesoever it is */
			mem_fail_after((int64_t)(et_rnd(&s) >> 30) % 50 + 1);
		usleep(1000);
	}
	mem_fail_after(-1);
	atomic_store(&over, 1);
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(a[i].id, NULL);
		arena_done(&a[i].t.arena);
	}
}
/* every file's vector as get tells it is what search tells */
static unsigned compare(const char *when)
{
	unsigned bad = 0, n = 0;
	static float have[FILES][DIM];
	static uint8_t state[FILES];
	static bool has[FILES];
	char p[32];
	int rc = et_wait(&T, false, true);
	bad += rc != 0;
	/* once more: what the rescan found may have been read since */
	bad += et_wait(&T, true, false) != 0;
	for (unsigned i = 0; i < FILES; i++) {
		name_of(i, p);
		has[i] = faccessat(T.root, p, F_OK, 0) == 0 && et_get(&T, p) == 0;
		if (has[i])
			memcpy(have[i], T.j.ret_vec, sizeof(have[i]));
		state[i] = T.j.ret_state;
		n += has[i];
	}
	float q[DIM];
	et_vec(&Seed, q, DIM);
	struct eng_job *j = et_job(&T, EV_search);
	j->vec = q;
	j->vec_bytes = DIM * 4;
	j->k = 1000;
	j->exact = j->stale = true;
	rc = eng_run(T.e, j);
	bad += rc != 0 && n;
	if (j->res_n != n) {
		printf("# %s: search finds %u, get %u: %s\n", when, j->res_n, n, et_paths(&T));
		bad++;
	}
	for (unsigned i = 0; i < FILES; i++) {
		name_of(i, p);
		const struct eng_hit *h = NULL;
		for (uint32_t r = 0; r < j->res_n; r++)
			if (!strcmp(j->res[r].path, p))
				h = &j->res[r];
		if (!h != !has[i]) {
			printf("# %s: %s %s\n", when, p, h ? "only searched" : "only got");
			bad++;
		} else if (h && fabs((double)h->score - et_cos(q, have[i], DIM)) > 1e-5) {
			printf("# %s: %s has another vector\n", when, p);
			bad++;
		} else if (h && h->state != state[i]) {
			printf("# %s: %s is %u, get says %u\n", when, p, h->state, state[i]);
			bad++;
		} else if (h && h->state == ENG_STATE_pending) {
			printf("# %s: %s still pending\n", when, p);
			bad++;
		}
	}
	return bad;
}
int main(void)
{
	Seed = tap_seed(5);
	unsigned ms = getenv("VEXFS_HAMMER_MS") ? (unsigned)atoi(getenv("VEXFS_HAMMER_MS")) : 1500;
	et_new(&T, ENG_all);
	et_mkdir(&T, "sub");
	hammer(5, ms, false);
	T_EQ(atomic_load(&strange), 0, "answers of no known kind");
	T_EQ(compare("after the hammer"), 0, "differences");
	et_close(&T);
	et_open(&T);
	T_EQ(compare("reopened"), 0, "differences after reopening");
	hammer(5, ms, true);
	T_EQ(atomic_load(&strange), 0, "answers of no known kind, allocations failing");
	T_EQ(compare("after starving"), 0, "differences");
	et_close(&T);
	et_open(&T);
	T_EQ(compare("reopened after starving"), 0, "differences after reopening");
	et_done(&T);
	return tap_done();
}
