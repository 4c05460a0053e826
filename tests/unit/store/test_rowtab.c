/* test_rowtab.c - rows.tab tells exactly what table vec tells, or is not used: flipped, cut, stale, gone. */
#include "storetest.h"

#define N 6000u

struct sum {
	uint64_t h, rows, dead, strange, damaged, follow;
};
static int sum_vec(
        void *u, uint32_t cid, uint32_t row, uint64_t gen, bool dead, bool fp, uint64_t id, const struct stamp *t)
{
	struct sum *s = u;
	const uint64_t f[] = {cid, row, fp && !dead ? 0 : gen /* the table keeps no commit of a free point */, dead, fp,
	        id, t->size, (uint64_t)t->mtime_ns, (uint64_t)t->ctime_ns, t->hashed};
	s->h += hash64(f, sizeof f, 1) + (t->hashed ? hash64(t->hash, 16, row) : 0);
	s->rows++;
	s->dead += dead;
	return 0;
}
static uint64_t ids[N + 512];
static uint64_t *sum_room(void *u, uint32_t cid, uint32_t rows, uint32_t runs_n)
{
	memset(ids, 0xa5, sizeof ids);
	return cid == 1 && rows <= N + 1 ? ids : NULL;
}
static int sum_points(
        void *u, uint32_t cid, const uint64_t *live, uint32_t rows, uint32_t n, const struct store_idrun *run)
{
	const struct stamp none = {0};
	struct sum *s = u;
	uint32_t told = 0;
	for (uint32_t row = 0; row < rows; row++) {
		if (live[row / 64] >> (row % 64) & 1) {
			uint64_t id = run[row / 512].follows ? run[row / 512].first + row % 512 : ids[row];
			sum_vec(u, cid, row, 0, false, true, id, &none);
			told++;
		} else if (!run[row / 512].follows) {
			s->strange += ids[row] != 0;
		}
		s->follow += !(row % 512) && run[row / 512].follows;
	}
	s->strange += told != n;
	return 0;
}
static struct sum sum_of(struct box *b, uint32_t *first_free)
{
	const struct store_load_cb cb = {.vec = sum_vec, .points_room = sum_room, .points = sum_points};
	struct sum s = {0};
	struct store_cfg cfg = {.os = os_real(), .root_fd = b->fd};
	struct store *st = NULL;
	struct vx_errinfo e;
	if (store_open(&cfg, &st, &e) < 0)
		abort();
	T_EQ(store_load(st, &cb, &s), 0, "load");
	const struct coll *c = coll_find(st, 1);
	*first_free = UINT32_MAX;
	for (uint32_t i = 0; i < c->next_row && *first_free == UINT32_MAX; i++)
		if (row_is_free(c, i))
			*first_free = i;
	uint64_t gen = c->tab_generation;
	struct store_stats stats;
	store_stats(st, &stats);
	s.damaged = stats.tabs_damaged;
	*first_free += c->free_n * 100000u;
	store_close(st);
	printf("# table %s\n", gen == UINT64_MAX ? "not used" : "used");
	s.dead |= gen == UINT64_MAX ? 0 : 1ull << 63;
	return s;
}
#define USED(s) ((s).dead >> 63)

static void fill(struct box *b)
{
	static struct top t[N];
	struct top one;
	struct waiter w;
	struct store *st = open_ok(b);
	waiter_init(&w);
	op_bind(&one, 1, DIM);
	run1(st, &one);
	for (uint32_t i = 0; i < N; i++) {
		static struct top o[N];
		if (i % 3) {
			op_obj(&o[i], i + 2);
			send(st, &w, &o[i]);
		}
		op_put_file(&t[i], 1, i + 2, i, UINT32_MAX);
		if (i % 3 == 0) {
			t[i].op.is_free_point = true;
			/* the last ones follow each other as rows do, over the end of the numbers */
			t[i].op.free_id = i < 4000 ? UINT64_MAX - 10000 - i : (uint64_t)i - 5000;
			memset(&t[i].op.stamp, 0, sizeof t[i].op.stamp);
		} else {
			t[i].op.stamp.mtime_ns = -(int64_t)i;
			t[i].op.stamp.ctime_ns = (int64_t)i << 33;
			t[i].op.stamp.hashed = i % 2;
			memset(t[i].op.stamp.hash, (int)(i % 2 ? i & 255 : 0), 16);
		}
		t[i].op.want_durable = i == N - 1;
		send(st, &w, &t[i]);
	}
	wait_all(&w);
	for (uint32_t i = 10; i < 600; i++) {
		memset(&t[i], 0, sizeof t[i]);
		t[i].op.kind = SOP_vec_del;
		t[i].op.cid = 1;
		t[i].op.old_row = i;
		send(st, &w, &t[i]);
	}
	for (uint32_t i = 20; i < 400; i++) {
		memset(&t[i + 1000], 0, sizeof t[i]);
		t[i + 1000].op.kind = SOP_row_free;
		t[i + 1000].op.cid = 1;
		t[i + 1000].op.old_row = i;
		t[i + 1000].op.want_durable = i == 399;
		send(st, &w, &t[i + 1000]);
	}
	wait_all(&w);
	T_EQ(w.first_rc, 0, "filled");
	store_close(st);
}

int main(void)
{
	struct box b;
	struct stat sb;
	struct store *st;
	struct top t;
	uint32_t ff, ff2;
	uint64_t seed = tap_seed(11);
	box_open(&b);
	fill(&b);
	T_EQ(fstatat(b.fd, ".vexfs/c1/rows.tab", &sb, 0), 0, "a clean close leaves rows.tab");
	struct sum a = sum_of(&b, &ff);
	T_OK(USED(a), "it is used");
	T_EQ(a.rows, N - 380, "rows told");
	T_EQ(a.strange, 0, "points and their ids agree");
	T_EQ(a.follow, 4, "runs of ids that follow: of rows from 4,096 on");
	/* move it away: the catalog tells the same */
	if (renameat(b.fd, ".vexfs/c1/rows.tab", b.fd, "keep"))
		abort();
	struct sum c = sum_of(&b, &ff2); /* this close writes it again */
	T_OK(!USED(c), "without it the catalog is read");
	T_EQ(c.h, a.h, "the same rows");
	T_EQ(ff2, ff, "the same free rows");
	/* flips and cuts */
	uint32_t wrong = 0, used = 0, said = 0, n = 0;
	int fd = openat(b.fd, ".vexfs/c1/rows.tab", O_RDWR);
	uint8_t *img = malloc((size_t)sb.st_size);
	if (pread(fd, img, (size_t)sb.st_size, 0) != sb.st_size)
		abort();
	freopen("/dev/null", "w", stderr);
	for (int i = 0; i < 60; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		off_t at = (off_t)((seed >> 20) % (uint64_t)sb.st_size);
		uint8_t x = (uint8_t)(img[at] ^ 1 << (seed >> 9 & 7));
		fd = openat(b.fd, ".vexfs/c1/rows.tab", O_RDWR | O_TRUNC | O_CREAT, 0600);
		if (pwrite(fd, img, (size_t)sb.st_size, 0) != sb.st_size || pwrite(fd, &x, 1, at) != 1)
			abort();
		if (i % 4 == 0 && ftruncate(fd, at))
			abort();
		close(fd);
		struct sum s = sum_of(&b, &ff2);
		wrong += s.h != a.h || ff2 != ff;
		used += USED(s) != 0;
		said += s.damaged == 1;
		n++;
	}
	T_EQ(wrong, 0, "wrong rows after a flip or cut");
	T_EQ(used + said, n, "each is counted, or lies where nothing is read");
	T_OK(used < n / 2, "of those there are few: %u", used);
	/* a commit since, and no clean close */
	fflush(stdout);
	pid_t p = fork();
	if (!p) {
		st = open_ok(&b);
		op_put(&t, 1, 9999, 5, UINT32_MAX);
		_exit(run1(st, &t) ? 1 : 0);
	}
	int status;
	waitpid(p, &status, 0);
	T_EQ(status, 0, "one more vector, then a crash");
	c = sum_of(&b, &ff2);
	T_OK(!USED(c), "the table is of an older commit: not used");
	T_EQ(c.rows, N - 379, "the new row is told");
	c = sum_of(&b, &ff2);
	T_OK(USED(c), "written anew at the clean close after it");
	T_EQ(c.rows, N - 379, "rows");
	/* repair makes it void */
	char path[200];
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/.vexfs/catalog.db", b.path);
	T_EQ(sqlite3_open(path, &db), SQLITE_OK, "the catalog");
	T_EQ(sqlite3_exec(db, "UPDATE vec SET crc=crc+1 WHERE key=4294967300", NULL, NULL, NULL), SQLITE_OK,
	        "damage a row");
	sqlite3_close(db);
	struct store_cfg cfg = {.os = os_real(), .root_fd = b.fd};
	struct store_verify_report r;
	T_OK(store_verify(&cfg, true, NULL, NULL, &r) >= 0, "repair");
	c = sum_of(&b, &ff2);
	T_OK(!USED(c), "after a repair it is not used");
	free(img);
	box_close(&b);
	return tap_done();
}
