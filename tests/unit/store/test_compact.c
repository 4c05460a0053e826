/* test_compact.c - room is given back: churn keeps the slot files bounded, freed pages become holes, moved rows keep their owners, and a
 * kill anywhere in it loses nothing. */
#include "storetest.h"

#define N 4000u
static struct top t[N];

static uint64_t disk_of(struct box *b)
{
	uint64_t n = 0;
	for (int s = 0; s < 6; s++) {
		char name[40];
		struct stat sb;
		snprintf(name, sizeof name, ".vexfs/c1/v%d.vec", s);
		if (fstatat(b->fd, name, &sb, 0) == 0)
			n += (uint64_t)sb.st_blocks * 512;
	}
	return n;
}
static void row_op(struct store *st, struct waiter *w, struct top *x, enum store_op_kind kind, uint32_t row, bool want)
{
	memset(x, 0, sizeof *x);
	x->op.kind = kind;
	x->op.cid = 1;
	x->op.old_row = row;
	x->op.want_durable = want;
	send(st, w, x);
}
static struct store *filled(struct box *b)
{
	struct waiter w;
	struct top one;
	struct store *st = open_ok(b);
	waiter_init(&w);
	op_bind(&one, 1, DIM);
	run1(st, &one);
	for (uint32_t i = 0; i < N; i++) {
		op_put(&t[i], 1, 0, i + 1, UINT32_MAX);
		t[i].op.is_free_point = true;
		t[i].op.free_id = i + 2;
		t[i].op.want_durable = i == N - 1;
		send(st, &w, &t[i]);
	}
	wait_all(&w);
	T_EQ(w.first_rc, 0, "filled");
	return st;
}

static void test_churn(void)
{
	struct box b;
	struct waiter w;
	static uint32_t row[N], old[N];
	static struct seen s;
	struct stat sb;
	box_open(&b);
	struct store *st = filled(&b);
	for (uint32_t i = 0; i < N; i++)
		row[i] = t[i].op.ret_row;
	waiter_init(&w);
	uint64_t first = disk_of(&b);
	/* ten rounds of replacing all, a quarter at a time, each quarter's dead rows freed as after a publication */
	for (uint32_t round = 0; round < 10; round++)
		for (uint32_t q = 0; q < 4; q++) {
			for (uint32_t i = q * N / 4; i < (q + 1) * N / 4; i++) {
				old[i] = row[i];
				op_put(&t[i], 1, 0, round * N + i, row[i]);
				t[i].op.is_free_point = true;
				t[i].op.free_id = i + 2;
				t[i].op.want_durable = i == (q + 1) * N / 4 - 1;
				send(st, &w, &t[i]);
			}
			wait_all(&w);
			for (uint32_t i = q * N / 4; i < (q + 1) * N / 4; i++) {
				row[i] = t[i].op.ret_row;
				row_op(st, &w, &t[i], SOP_row_free, old[i], i == (q + 1) * N / 4 - 1);
			}
			wait_all(&w);
		}
	T_EQ(w.first_rc, 0, "churn");
	T_OK(disk_of(&b) <= first * 3 / 2, "slot files after ten replacements of all: %d KiB, were %d KiB",
	        (int)(disk_of(&b) >> 10), (int)(first >> 10));
	fstatat(b.fd, ".vexfs/catalog.db-wal", &sb, 0);
	T_OK(sb.st_size < 40 << 20, "the catalog's log stays bounded: %d KiB", (int)(sb.st_size >> 10));
	store_close(st);
	fstatat(b.fd, ".vexfs/catalog.db", &sb, 0);
	T_OK(sb.st_size < (off_t)(N * 250), "bytes of catalog a live row: %d", (int)(sb.st_size / N));
	st = open_ok(&b);
	load(st, &s);
	T_EQ(s.vecs, N, "live");
	T_EQ(s.dead, 0, "dead");
	T_EQ(s.bad_bytes + s.dup, 0, "right");
	store_close(st);
	box_close(&b);
}

static bool holes_come(struct box *b, uint64_t below)
{
	for (int i = 0; i < 500; i++) {
		if (disk_of(b) <= below)
			return true;
		usleep(10000); /* another thread's work, and no event tells of it */
	}
	return false;
}

static void test_holes_and_moves(void)
{
	struct box b;
	struct waiter w;
	static struct seen s;
	box_open(&b);
	struct store *st = filled(&b);
	uint64_t full = disk_of(&b);
	waiter_init(&w);
	/* rows [1000, 3000) go: a run */
	for (uint32_t i = 1000; i < 3000; i++) {
		row_op(st, &w, &t[i], SOP_vec_del, i, false);
		row_op(st, &w, &t[i - 1000], SOP_row_free, i, i == 2999);
		if (i % 500 == 499) {
			struct top bar;
			memset(&bar, 0, sizeof bar);
			run1(st, &bar);
			wait_all(&w);
		}
	}
	wait_all(&w);
	T_EQ(w.first_rc, 0, "freed half");
	T_OK(holes_come(&b, full * 6 / 10), "a run of free rows becomes a hole: %d KiB of %d", (int)(disk_of(&b) >> 10),
	        (int)(full >> 10));
	struct store_stats ss;
	store_stats(st, &ss);
	T_OK(ss.punched_bytes > 100000, "counted: %d", (int)ss.punched_bytes);
	T_EQ(store_compactable(st, 1), 0, "a hole costs nothing: no row to move");
	for (uint32_t i = 0; i < 1000; i++)
		row_op(st, &w, &t[i], SOP_vec_move, 3999 - i, i == 999);
	wait_all(&w);
	T_EQ(w.first_rc, 0, "the end moved down");
	uint32_t high = 0;
	for (uint32_t i = 0; i < 1000; i++)
		high = t[i].op.ret_row > high ? t[i].op.ret_row : high;
	T_EQ(high, 1999, "into the lowest free rows");
	row_op(st, &w, &t[0], SOP_vec_move, 5, true);
	wait_all(&w);
	T_EQ(t[0].rc_durable, -VX_ERR_bad_value, "a row with no free one below stays");
	for (uint32_t i = 0; i < 1000; i++)
		row_op(st, &w, &t[i], SOP_row_free, 3999 - i, i == 999);
	wait_all(&w);
	T_OK(holes_come(&b, full * 55 / 100), "the end is given back: %d KiB", (int)(disk_of(&b) >> 10));
	store_close(st);
	st = open_ok(&b);
	T_EQ(atomic_load(&store_rows(st, 1)->n), 2000, "opened again: as many rows as live ones");
	load(st, &s);
	T_EQ(s.vecs, 2000, "live");
	T_EQ(s.bad_bytes + s.dup, 0, "right");
	T_EQ(store_compactable(st, 1), 0, "nothing to compact");
	store_close(st);
	struct store_cfg cfg = {.os = os_real(), .root_fd = b.fd};
	struct store_verify_report r;
	T_EQ(store_verify(&cfg, false, NULL, NULL, &r), 0, "verify");
	box_close(&b);
}

/* every other row goes: no page is free, so rows move; and a long table of few rows is shortened, holes or not */
static void test_scattered(void)
{
	struct box b;
	struct waiter w;
	for (uint32_t step = 2; step <= 3; step++) {
		box_open(&b);
		struct store *st = filled(&b);
		uint32_t gone = 0, want = step == 2 ? N / 2 : 600;
		waiter_init(&w);
		for (uint32_t i = step == 2 ? 1 : 0; i < (step == 2 ? N : N - 600); i += step == 2 ? 2 : 1) {
			row_op(st, &w, &t[i], SOP_vec_del, i, false);
			gone++;
		}
		struct top bar;
		memset(&bar, 0, sizeof bar);
		run1(st, &bar);
		wait_all(&w);
		for (uint32_t i = step == 2 ? 1 : 0; i < (step == 2 ? N : N - 600); i += step == 2 ? 2 : 1)
			row_op(st, &w, &t[i], SOP_row_free, i, --gone == 0);
		wait_all(&w);
		T_EQ(w.first_rc, 0, "freed");
		for (int i = 0; i < 500 && store_compactable(st, 1) != want; i++)
			usleep(10000); /* the store thread looks at them when it is idle, and no event tells of it */
		T_EQ(store_compactable(st, 1), want,
		        step == 2 ? "every other row: half to move" : "few rows at the end: all");
		store_close(st);
		box_close(&b);
	}
}

/* the whole of it in a child that is killed: every vector is there once, whichever row it is in */
static void test_kills(uint64_t seed, int rounds)
{
	uint32_t wrong = 0, unclean = 0;
	struct box tmpl;
	box_open(&tmpl);
	store_close(filled(&tmpl));
	for (int k = 0; k < rounds; k++) {
		struct box b;
		char cmd[400];
		int status;
		static struct seen s;
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		box_open(&b);
		snprintf(cmd, sizeof cmd, "cp -a %s/.vexfs %s/", tmpl.path, b.path);
		if (system(cmd))
			abort();
		fflush(stdout);
		pid_t p = fork();
		if (!p) {
			struct waiter w;
			struct store *st = open_ok(&b);
			waiter_init(&w);
			load(st, &s);
			for (uint32_t i = 500; i < 2500;
			        i++) /* two thirds of them leave: each op a group of its own or not, as it comes */
				row_op(st, &w, &t[i], SOP_vec_del, i, i % 50 == 0);
			wait_all(&w);
			for (uint32_t i = 500; i < 2500; i++)
				row_op(st, &w, &t[i], SOP_row_free, i, i % 97 == 0 || i == 2499);
			wait_all(&w);
			for (uint32_t i = 0; i < 1500; i++)
				row_op(st, &w, &t[i], SOP_vec_move, 3999 - i, i % 13 == 0 || i == 1499);
			wait_all(&w);
			for (uint32_t i = 0; i < 1500; i++)
				row_op(st, &w, &t[i], SOP_row_free, 3999 - i, i == 1499);
			wait_all(&w);
			store_close(st);
			_exit(0);
		}
		usleep((useconds_t)(seed >> 40) % 120000);
		kill(p, SIGKILL);
		waitpid(p, &status, 0);
		struct store *st = open_ok(&b);
		if (!st || load(st, &s) < 0) {
			wrong++;
		} else {
			bool stay = true;
			for (uint32_t i = 0; i < N; i++)
				stay &= (i >= 500 && i < 2500) ||
				        (s.row_of[i + 2] != UINT32_MAX && s.x_of[i + 2] == i + 1);
			wrong += !stay || s.bad_bytes || s.dup || s.damaged;
		}
		store_close(st);
		struct store_cfg cfg = {.os = os_real(), .root_fd = b.fd};
		struct store_verify_report r;
		unclean += store_verify(&cfg, false, NULL, NULL, &r) != 0;
		box_close(&b);
	}
	box_close(&tmpl);
	T_EQ(wrong, 0, "vectors lost, doubled or wrong after a kill");
	T_EQ(unclean, 0, "stores not clean after a kill");
}

int main(int argc, char **argv)
{
	uint64_t seed = tap_seed(6);
	test_churn();
	test_holes_and_moves();
	test_scattered();
	test_kills(seed, argc > 1 ? atoi(argv[1]) : 25);
	return tap_done();
}
