/* test_eng_racy.c - git's racy rule: a write in the same tick of the clock leaves the stamp as it was, so a young file is hashed once more
 * later.  That second look is not pending, so that what a wait has promised stays true; and what it finds counts.
 *
 * The tick is made: to this engine the file's times stand still, and its clock is moved on by hand, so that nothing waits two seconds. */
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
int main(void)
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
	return tap_done();
}
