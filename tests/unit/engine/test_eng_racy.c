/* test_eng_racy.c - git's racy rule: a write in the same tick of the clock leaves the stamp as it was, so a young file is hashed once more
 * later.  That second look is not pending, so that what a wait has promised stays true; and what it finds counts.
 *
 * And a stat that was made before an attribute changed says nothing of after it: what is hashed meanwhile is hashed again.
 *
 * The tick is made: to this engine the file's times stand still, and its clock is moved on by hand, so that nothing waits two seconds. */
#include <pthread.h>
#include <stdatomic.h>
#include "engtest.h"

static uint64_t ahead_ns; /* [main] while the engine reads it: one aligned word, moved once */
static struct timespec tick;

static void stopped(struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return;
	st->st_mtim = tick;
	st->st_ctim = tick;
}
static int stopped_fstat(struct os *o, int fd, struct stat *ret)
{
	(void)o;
	int rc = os_fstat(os_real(), fd, ret);
	if (rc >= 0)
		stopped(ret);
	return rc;
}
static int stopped_fstatat(struct os *o, int dirfd, const char *path, struct stat *ret, int flags)
{
	(void)o;
	int rc = os_fstatat(os_real(), dirfd, path, ret, flags);
	if (rc >= 0)
		stopped(ret);
	return rc;
}
static uint64_t moved_mono(struct os *o)
{
	(void)o;
	return os_mono_ns(os_real()) + __atomic_load_n(&ahead_ns, __ATOMIC_RELAXED);
}
static uint64_t still_real(struct os *o)
{
	(void)o;
	return (uint64_t)tick.tv_sec * 1000000000 + (uint64_t)tick.tv_nsec +
	       __atomic_load_n(&ahead_ns, __ATOMIC_RELAXED);
}
/* ---- touched between the last stat of a reading and what is made of it ---- */
static struct et *touch_t;
static _Atomic int
        touch_at; /* this many stats of regular files from now, by anybody but the test itself; 0: not armed */
static pthread_t touch_self;
static int touched_fstat(struct os *o, int fd, struct stat *ret)
{
	(void)o;
	int rc = os_fstat(os_real(), fd, ret);
	if (rc < 0 || !S_ISREG(ret->st_mode) || pthread_equal(pthread_self(), touch_self) || !atomic_load(&touch_at) ||
	        atomic_fetch_sub(&touch_at, 1) != 1)
		return rc;
	struct stat before, after;
	struct obj_key k = et_key(touch_t, "a");
	struct timespec past[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
	fstatat(touch_t->root, "a", &before, 0);
	utimensat(touch_t->root, "a", past, 0);
	fstatat(touch_t->root, "a", &after, 0);
	eng_note_attr(touch_t->e, &k, &before, &after);
	return rc;
}
static void touched(enum eng_components comp, int at, bool again)
{
	struct et t;
	struct os_ops ops = *os_real()->ops;
	struct os os = {.ops = &ops};
	static const float v[2] = {1, 2};
	touch_t = &t;
	touch_self = pthread_self();
	ops.fstat = touched_fstat;
	et_new(&t, comp);
	et_close(&t);
	t.os = &os;
	et_open(&t);
	et_write(&t, "a", "one word");
	et_wait(&t, false, false);
	if (again) { /* its hash is known */
		et_put(&t, "a", v, 2);
		et_wait(&t, false, false);
		atomic_store(&touch_at, at);
		et_write(&t, "a", "one word");
	} else {
		atomic_store(&touch_at, at);
		et_put(&t, "a", v, 2);
	}
	et_wait(&t, false, false);
	T_EQ(atomic_load(&touch_at), 0, "it was touched meanwhile");
	et_get(&t, "a");
	T_EQ(t.j.ret_state, ENG_STATE_fresh, again ? "known hash: fresh" : "first hash: fresh");
	et_search(&t, v, 2, 5, false);
	T_OK(t.j.res_n == 1 && t.j.res[0].state == ENG_STATE_fresh && t.j.complete,
	        "and found so, with nothing pending");
	if (comp == ENG_all) {
		et_text(&t, "word", 5);
		T_OK(t.j.res_n == 1 && t.j.res[0].state == ENG_STATE_fresh && t.j.complete, "so is its text");
	}
	et_done(&t);
}
static void tick_rule(void)
{
	struct et t;
	struct os_ops ops = *os_real()->ops;
	struct os os = {.ops = &ops};
	static const float v[2] = {1, 2};
	clock_gettime(CLOCK_REALTIME, &tick);
	ops.fstat = stopped_fstat;
	ops.fstatat = stopped_fstatat;
	ops.mono_ns = moved_mono;
	ops.real_ns = still_real;
	et_new(&t, ENG_search);
	et_close(&t);
	t.os = &os;
	et_open(&t);

	et_write(&t, "a", "one");
	T_EQ(et_put(&t, "a", v, 2), 0, "a vector");
	T_EQ(et_wait(&t, false, false), 0, "wait");
	T_EQ(et_get(&t, "a"), 0, "get");
	T_EQ(t.j.ret_state, ENG_STATE_fresh, "fresh");
	et_write_flags(&t, "a", "two", false, O_TRUNC);
	T_EQ(et_search(&t, v, 2, 5, false), 0, "search");
	T_STR(et_paths(&t), "a", "by its stamp it is what it was");
	T_OK(t.j.complete && !t.j.pending, "a look that is to come is not pending");

	__atomic_store_n(&ahead_ns, 3000000000ull, __ATOMIC_RELAXED);
	int looks = 0;
	for (; looks < 2000 && t.j.res_n; looks++) { /* each gives the thread that looks a turn */
		et_write(&t, "b", "x");
		et_put(&t, "b", v, 2);
		et_wait(&t, false, false);
		et_del(&t, "b");
		et_search(&t, v, 2, 5, false);
	}
	T_STR(et_paths(&t), "", "the second look found the write that the stamp hid");
	T_EQ(et_get(&t, "a"), 0, "get");
	T_EQ(t.j.ret_state, ENG_STATE_stale, "stale");
	et_done(&t);
}
int main(void)
{
	tick_rule();
	for (int at = 1; at <= 2; at++) {
		touched(ENG_search, at, false);
		touched(ENG_search, at, true);
		touched(ENG_all, at, true);
	}
	return tap_done();
}
