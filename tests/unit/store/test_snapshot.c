/* test_snapshot.c - snapshots: one commit however busy the store is, nothing of what is written later, gone whole or there whole after
 * a kill at any call, an error at any call leaves neither remnants nor a sick store, verify reads them by the same rules. */
#include "storetest.h"
#include "store/verify_int.h"

#define N 2500u
static struct top t[N];
static uint32_t row[N];

static void put(struct store *st, struct waiter *w, uint32_t i, uint64_t x, bool want)
{
	op_put(&t[i], 1, i + 2, x, row[i]);
	t[i].op.want_durable = want;
	send(st, w, &t[i]);
}
static struct store *filled(struct box *b, struct os *os, uint32_t n)
{
	struct waiter w;
	struct top one;
	struct store *st = NULL;
	struct vx_errinfo e = {0};
	if (open_in(b, os, &st, &e) < 0)
		return NULL;
	waiter_init(&w);
	op_bind(&one, 1, DIM);
	run1(st, &one);
	for (uint32_t i = 0; i < n; i++) {
		row[i] = UINT32_MAX;
		put(st, &w, i, i + 1, i == n - 1);
	}
	wait_all(&w);
	for (uint32_t i = 0; i < n; i++)
		row[i] = t[i].op.ret_row;
	return w.first_rc ? NULL : st;
}
/* rounds of replacing points 0 .. n-1 in order, old rows freed at once: point i of round r is write r*n + i + 1 */
struct churn {
	struct store *st;
	uint32_t n;
	_Atomic uint32_t rounds;
	_Atomic int stop;
};
/* the copier's first read waits until all points have been replaced twice: every slot that may be written again by then has been */
static struct churn busy;
static _Thread_local bool copying;
static ssize_t slow_pread(struct os *o, int fd, void *buf, size_t n, off_t at)
{
	for (uint32_t was = atomic_load(&busy.rounds); copying && atomic_load(&busy.rounds) - was < 2;)
		usleep(1000);
	copying = false;
	return os_pread(os_real(), fd, buf, n, at);
}
static void *churn(void *u)
{
	struct churn *c = u;
	static uint32_t old[N];
	static struct top f[N];
	struct waiter w;
	waiter_init(&w);
	for (uint32_t r = 1; !atomic_load(&c->stop); r++, atomic_fetch_add(&c->rounds, 1))
		for (uint32_t at = 0; at < c->n; at += 100) {
			uint32_t end = at + 100 < c->n ? at + 100 : c->n;
			for (uint32_t i = at; i < end; i++) {
				old[i] = row[i];
				put(c->st, &w, i, (uint64_t)r * c->n + i + 1, i == end - 1);
			}
			wait_all(&w);
			for (uint32_t i = at; i < end; i++) {
				row[i] = t[i].op.ret_row;
				memset(&f[i], 0, sizeof f[i]);
				f[i].op.kind = SOP_row_free;
				f[i].op.cid = 1;
				f[i].op.old_row = old[i];
				f[i].op.want_durable = i == end - 1;
				send(c->st, &w, &f[i]);
			}
			wait_all(&w);
		}
	return NULL;
}
static struct store *snap_open(struct store *st, const char *name)
{
	char path[160];
	struct store *s = NULL;
	struct vx_errinfo e = {0};
	int rc = store_snapshot_path(st, name, path, sizeof path);
	struct store_cfg cfg = {.os = os_real(), .root_fd = -1, .store_dir = path, .read_only = true};
	if (!rc)
		rc = store_open(&cfg, &s, &e);
	if (rc < 0)
		printf("# snapshot %s: %s %s\n", name, err_name(rc), e.detail);
	return s;
}
/* every point there once, with its bytes, and all as they were between two ops of the churn */
static bool one_commit(struct store *s, uint32_t n, uint64_t *ret_top)
{
	static struct seen v;
	if (!s || load(s, &v) < 0)
		return false;
	uint64_t top = 0;
	for (uint32_t i = 0; i < n; i++)
		top = v.x_of[i + 2] > top ? v.x_of[i + 2] : top;
	bool good = v.vecs == n && !v.bad_bytes && !v.dup && !v.damaged && top;
	for (uint32_t i = 0; i < n && good; i++) { /* the last write of point i that is not newer than `top` */
		uint64_t want = (top - i - 1) / n * n + i + 1;
		good = v.x_of[i + 2] == want;
	}
	*ret_top = top;
	if (!good)
		printf("# vecs %u bad %u dup %u damaged %u\n", v.vecs, v.bad_bytes, v.dup, v.damaged);
	return good;
}

static void test_busy(void)
{
	struct box b;
	struct store_snap s, all[CONF_SNAPSHOTS_MAX];
	uint64_t last = 0;
	pthread_t th;
	box_open(&b);
	struct os_ops ops = *os_real()->ops;
	struct os slow = {.ops = &ops};
	ops.pread = slow_pread;
	struct store *st = filled(&b, &slow, N);
	T_OK(st != NULL, "filled");
	busy.st = st;
	busy.n = N;
	pthread_create(&th, NULL, churn, &busy);
	for (int i = 0; i < 4; i++) {
		char name[16];
		uint64_t top = 0;
		snprintf(name, sizeof name, "s%d", i);
		copying = true;
		T_EQ(store_snapshot_create(st, name, NULL, &s), 0,
		        "made while rows are written, freed and written again");
		T_OK(!copying, "something was copied");
		struct store *sn = snap_open(st, name);
		T_OK(one_commit(sn, N, &top), "it is the state of one commit");
		T_EQ(store_generation(sn), s.generation, "its generation");
		T_OK(top >= last, "a later one is not older");
		last = top;
		store_close(sn);
	}
	atomic_store(&busy.stop, 1);
	pthread_join(th, NULL);
	for (int i = 0; i < 4; i++) {
		char name[16];
		uint64_t top = 0;
		snprintf(name, sizeof name, "s%d", i);
		struct store *sn = snap_open(st, name);
		T_OK(one_commit(sn, N, &top), "and stays what it was");
		store_close(sn);
	}
	T_EQ(store_snapshot_list(st, all), 4, "listed");
	T_OK(!strcmp(all[0].name, "s0") && !strcmp(all[3].name, "s3"), "by name");
	T_OK(!all[3].damaged && all[3].generation == s.generation && all[3].vectors == N && all[3].made_ns == s.made_ns,
	        "with what they hold");
	T_EQ(store_snapshot_create(st, "s3", NULL, &s), -VX_ERR_snapshot_exists, "a name is used once");
	T_EQ(store_snapshot_create(st, "../x", NULL, &s), -VX_ERR_snapshot_name, "no path");
	T_EQ(store_snapshot_create(st, "", NULL, &s), -VX_ERR_snapshot_name, "no empty name");
	T_EQ(store_snapshot_drop(st, "s9"), -VX_ERR_no_snapshot, "none of that name");
	T_EQ(store_snapshot_drop(st, "s3"), 0, "dropped");
	T_EQ(store_snapshot_list(st, all), 3, "one less");
	_Atomic int stop = 1;
	T_EQ(store_snapshot_create(st, "never", &stop, &s), -VX_ERR_cancelled, "stopped");
	T_EQ(store_snapshot_list(st, all), 3, "nothing of it is left");
	store_close(st);
	box_close(&b);
}

struct told {
	uint32_t n, of_snap;
};
static void told(void *u, const char *line)
{
	struct told *x = u;
	x->n++;
	x->of_snap += !strncmp(line, "snapshot s: ", 12);
}
static int verify(struct box *b, bool repair, struct told *x)
{
	struct store_cfg cfg = {.os = os_real(), .root_fd = b->fd};
	struct store_verify_report r;
	*x = (struct told){0};
	return store_verify(&cfg, repair, told, x, &r);
}
static void test_verify(void)
{
	struct box b;
	struct told x;
	struct store_snap s;
	uint8_t c = 0;
	box_open(&b);
	struct store *st = filled(&b, os_real(), 300);
	T_EQ(store_snapshot_create(st, "s", NULL, &s), 0, "made");
	store_close(st);
	T_EQ(verify(&b, false, &x), 0, "clean with a snapshot");
	int fd = openat(b.fd, ".vexfs/snap/s/c1/v0.vec", O_RDWR);
	T_OK(fd >= 0 && pread(fd, &c, 1, 4096 + 5) == 1, "its slots");
	c ^= 4;
	T_EQ(pwrite(fd, &c, 1, 4096 + 5), 1, "one bit");
	close(fd);
	T_EQ(verify(&b, false, &x), 1, "found");
	T_EQ(x.of_snap, 1, "and named as the snapshot's");
	T_EQ(verify(&b, true, &x), 0, "repaired: the vector is dropped from the snapshot");
	T_EQ(verify(&b, false, &x), 0, "clean again");
	T_EQ(unlinkat(b.fd, ".vexfs/snap/s/catalog.db", 0), 0, "its catalog goes");
	T_OK(verify(&b, false, &x) > 0 && x.of_snap == x.n, "found, the store itself is clean");
	st = open_ok(&b);
	struct store_snap all[CONF_SNAPSHOTS_MAX];
	T_EQ(store_snapshot_list(st, all), 1, "listed all the same");
	T_OK(all[0].damaged, "as damaged");
	T_EQ(store_snapshot_drop(st, "s"), 0, "and can be dropped");
	store_close(st);
	box_close(&b);
}

/* ---- kills and errors at every call ---- */
static const enum os_call calls[] = {OSC_openat, OSC_pread, OSC_pwrite, OSC_fdatasync, OSC_fsync, OSC_ftruncate,
        OSC_clone, OSC_linkat, OSC_renameat, OSC_unlinkat, OSC_mkdirat, OSC_getdents};
#define SMALL 200u

/* what a fault left: the store as it was, the snapshot whole or not there, nothing half */
static const char *left_over(struct box *b, bool may_be, bool must_be)
{
	struct store_snap all[CONF_SNAPSHOTS_MAX];
	struct told x;
	uint64_t top;
	struct stat sb;
	struct store *st = open_ok(b);
	if (!st)
		return "the store does not open";
	int n = store_snapshot_list(st, all);
	const char *bad = n < 0 || n > 1 || (n && !may_be) || (!n && must_be) ? "a wrong number of snapshots" : NULL;
	if (!bad && n) {
		struct store *sn = snap_open(st, "s");
		bad = one_commit(sn, SMALL, &top) ? NULL : "a snapshot that is not whole";
		store_close(sn);
	}
	if (!bad && !one_commit(st, SMALL, &top))
		bad = "the store is not what it was";
	store_close(st);
	if (!bad && (!fstatat(b->fd, ".vexfs/snap/.new-s", &sb, 0) || !fstatat(b->fd, ".vexfs/snap/.old-s", &sb, 0)))
		bad = "remnants after opening";
	if (!bad && verify(b, false, &x))
		bad = "verify is not clean";
	return bad;
}
static int child(struct box *b, bool drop, enum os_call call, uint64_t at, enum os_fault_kind kind, int error)
{
	static struct os_fault f;
	struct store_snap s;
	os_fault_init(&f, os_real());
	struct store *st = filled(b, &f.os, SMALL);
	int rc = st ? 0 : -1;
	if (!rc && drop)
		rc = store_snapshot_create(st, "s", NULL, &s);
	if (rc < 0)
		return 3;
	f.kind[call] = kind;
	f.error[call] = error;
	f.at[call] = atomic_load(&f.calls[call]) + at;
	uint64_t before = f.at[call];
	rc = drop ? store_snapshot_drop(st, "s") : store_snapshot_create(st, "s", NULL, &s);
	bool hit = atomic_load(&f.calls[call]) >= before;
	f.at[call] = 0;
	bool healthy = store_health(st) == 0;
	if (rc < 0 && hit && healthy && !drop) /* whatever failed: it can be done again at once */
		healthy = store_snapshot_create(st, "again", NULL, &s) == 0 && store_snapshot_drop(st, "again") == 0;
	store_close(st);
	return !healthy ? 2 : hit ? 1 : rc < 0 ? 3 : 0;
}
static void test_faults(bool drop, enum os_fault_kind kind, int error, const char *what)
{
	uint32_t n = 0, bad = 0;
	for (size_t c = 0; c < sizeof calls / sizeof *calls; c++)
		for (uint64_t at = 1; at < 400; at++) {
			struct box b;
			int status = 0;
			box_open(&b);
			pid_t pid = fork();
			if (!pid)
				_exit(child(&b, drop, calls[c], at, kind, error));
			waitpid(pid, &status, 0);
			bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
			int rc = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
			const char *why = !killed && rc != 0 && rc != 1
			                          ? "the store is sick, or the call failed without a fault"
			                          : NULL;
			bool end = !killed && rc == 0;
			if (!why)
				why = left_over(&b, true, end && !drop);
			if (why) {
				printf("# %s: call %u number %llu: %s (%d)\n", what, calls[c], (unsigned long long)at,
				        why, rc);
				bad++;
			}
			box_close(&b);
			n++;
			if (end || why)
				break;
		}
	printf("# %s: %u places\n", what, n);
	T_EQ(bad, 0, what);
	T_OK(n > 20 || drop, "at many places");
}

int main(void)
{
	test_busy();
	test_verify();
	if (!access("/dev/shm", W_OK)) /* hundreds of stores, each synced: in memory where there is some */
		setenv("VEXFS_TEST_DIR", "/dev/shm", 0);
	test_faults(false, OSF_KILL, 0, "killed at every call of create");
	test_faults(true, OSF_KILL, 0, "killed at every call of drop");
	test_faults(false, OSF_ERROR, EIO, "EIO at every call of create");
	test_faults(false, OSF_ERROR, ENOSPC, "ENOSPC at every call of create");
	test_faults(true, OSF_ERROR, EIO, "EIO at every call of drop");
	return tap_done();
}
