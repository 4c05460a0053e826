/* test_sigbus.c - every mapped file of a store is cut short while readers read it: errors and flags, no crash.  SIGBUS from elsewhere
 * still ends the process. */
#include "storetest.h"
#include <sys/mman.h>
#include "base/guard.h"

struct load_arg {
	struct store *st;
	_Atomic int stop;
	_Atomic uint64_t ok, bad;
};
static void reader(void *u)
{
	struct load_arg *a = u;
	while (!atomic_load(&a->stop))
		for (uint32_t i = 0; i < 3000; i++)
			atomic_fetch_add(store_row_ok(a->st, 1, i) ? &a->ok : &a->bad, 1);
}

static void test_slots(void)
{
	struct box b;
	struct waiter w;
	static struct top t[3000];
	struct top one;
	struct load_arg a = {0};
	struct thread th[2] = {0};
	box_open(&b);
	struct store *st = open_ok(&b);
	waiter_init(&w);
	op_bind(&one, 1, DIM);
	run1(st, &one);
	for (uint32_t i = 0; i < 3000; i++) {
		op_put(&t[i], 1, i + 2, i, UINT32_MAX);
		t[i].op.want_durable = i == 2999;
		send(st, &w, &t[i]);
	}
	wait_all(&w);
	a.st = st;
	for (int i = 0; i < 2; i++)
		T_EQ(thread_start(&th[i], "reader", 65536, reader, &a), 0, "a reader");
	while (atomic_load(&a.ok) < 6000)
		sched_yield();
	int fd = openat(b.fd, ".vexfs/c1/v1.vec", O_RDWR);
	T_EQ(ftruncate(fd, 0), 0, "cut segment 1 to nothing under load");
	while (!atomic_load(&a.bad))
		sched_yield();
	uint64_t seen = atomic_load(&a.ok);
	while (atomic_load(&a.ok) < seen + 6000)
		sched_yield();
	atomic_store(&a.stop, 1);
	for (int i = 0; i < 2; i++)
		thread_join(&th[i]);
	T_OK(guard_hits() > 0, "pages replaced: %d", (int)guard_hits());
	T_EQ(atomic_load(&store_rows(st, 1)->bad_segs), 2, "the segment is marked, no other");
	T_OK(!store_row_ok(st, 1, 1500), "its rows are not served");
	T_OK(store_row_ok(st, 1, 5) && store_row_ok(st, 1, 2500), "the others are");
	op_put(&one, 1, 9000, 1, UINT32_MAX);
	T_EQ(run1(st, &one), 0, "a write to another segment goes on");
	close(fd);
	store_close(st);
	st = open_ok(&b);
	T_OK(st != NULL, "it opens again");
	store_close(st);
	box_close(&b);
}

static void test_shm(void)
{
	struct box b;
	struct top t;
	static struct seen s;
	box_open(&b);
	struct store *st = open_ok(&b);
	op_bind(&t, 1, DIM);
	run1(st, &t);
	for (uint32_t i = 0; i < 50; i++) {
		op_put(&t, 1, i + 2, i, UINT32_MAX);
		run1(st, &t);
	}
	int fd = openat(b.fd, ".vexfs/catalog.db-shm", O_RDWR);
	T_EQ(ftruncate(fd, 0), 0, "cut SQLite's shared memory to nothing");
	close(fd);
	for (int i = 0; i < 3; i++) {
		op_put(&t, 1, 100, 100, UINT32_MAX);
		int rc = run1(st, &t);
		T_OK(rc < 0, "a write fails: %d", rc);
	}
	T_EQ(store_health(st), -VX_ERR_store_poisoned, "the store is poisoned");
	store_close(st);
	st = open_ok(&b);
	T_EQ(load(st, &s), 0, "opened again");
	T_EQ(s.vecs, 50, "all acknowledged vectors");
	T_EQ(s.bad_bytes, 0, "right");
	store_close(st);
	box_close(&b);
}

static void test_elsewhere(void)
{
	int status;
	static _Atomic uint32_t flag;
	void *m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	T_EQ(guard_add(m, 4096, &flag, 1, false), 0, "add");
	fflush(stdout);
	pid_t p = fork();
	if (!p) {
		char path[] = "/tmp/vexfs-bus.XXXXXX";
		int fd = mkstemp(path);
		unlink(path);
		volatile char *c = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		_exit(c[0]);
	}
	waitpid(p, &status, 0);
	T_OK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "a map of nobody: the process ends by SIGBUS");
	p = fork();
	if (!p) {
		raise(SIGBUS);
		_exit(0);
	}
	waitpid(p, &status, 0);
	T_OK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "a SIGBUS that is sent does so too");
	guard_del(m);
	T_EQ(atomic_load(&flag), 0, "no flag was set by them");
}

int main(void)
{
	test_slots();
	test_shm();
	test_elsewhere();
	return tap_done();
}
