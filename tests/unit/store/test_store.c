/* test_store.c - a store's life: made, written in order, acknowledged, closed, opened again; wrong ops; the lock; the formats. */
#include "storetest.h"

static void test_create(void)
{
	struct box b;
	struct stat sb;
	struct vx_errinfo e = {0};
	struct store *st, *second = NULL;
	char want[40];
	static struct seen s;
	box_open(&b);
	st = open_ok(&b);
	T_OK(st != NULL, "a new store opens");
	T_EQ(fstatat(b.fd, ".vexfs", &sb, 0), 0, "its directory");
	T_EQ(sb.st_mode & 07777, 0700, "mode of the directory");
	char text[16] = {0};
	int fd = openat(b.fd, ".vexfs/.gitignore", O_RDONLY);
	T_EQ(read(fd, text, sizeof text), 2, "bytes of .gitignore");
	close(fd);
	T_STR(text, "*\n", ".gitignore");
	T_EQ(open_in(&b, os_real(), &second, &e), -VX_ERR_store_locked, "a second opening");
	snprintf(want, sizeof want, "it is served by pid %d", (int)getpid());
	T_STR(e.detail, want, "names the pid");
	T_EQ(load(st, &s), 0, "load");
	T_EQ(s.colls, 2, "collections of a new store");
	T_EQ(store_rows(st, 1)->dim, 0, "default is unbound");
	T_OK(store_rows(st, 3) == NULL, "no third collection");
	T_EQ(store_generation(st), 0, "generation of a new store");
	T_EQ(store_health(st), 0, "health");
	store_close(st);
	st = open_ok(&b);
	T_OK(st != NULL, "it opens again, the lock is free");
	store_close(st);
	store_close(NULL);
	box_close(&b);
}

#define N 3000u
static void test_order_and_reopen(void)
{
	struct box b;
	static struct top t[N];
	static struct seen s;
	struct waiter w;
	struct top one;
	box_open(&b);
	struct store *st = open_ok(&b);
	waiter_init(&w);
	op_bind(&one, 1, DIM);
	T_EQ(run1(st, &one), 0, "bind default to a dimension");
	T_EQ(store_rows(st, 1)->dim, DIM, "bound");
	for (uint32_t i = 0; i < N; i++) {
		op_put(&t[i], 1, i + 2, i + 1000, UINT32_MAX);
		t[i].op.want_durable = i == N - 1;
		send(st, &w, &t[i]);
	}
	wait_all(&w);
	T_EQ(w.first_rc, 0, "no op failed");
	T_EQ(w.bad_order, 0, "visible before durable, once each, in the order sent");
	T_EQ(w.visible, N, "visible calls");
	T_EQ(w.durable, N, "durable calls");
	uint32_t wrong = 0;
	const struct vec_rows *r = store_rows(st, 1);
	for (uint32_t i = 0; i < N; i++) {
		wrong += t[i].op.ret_row != i || !store_row_ok(st, 1, i);
		wrong += memcmp(rows_vec(r, t[i].op.ret_row), t[i].v, sizeof t[i].v) != 0;
	}
	T_EQ(wrong, 0, "rows are numbered from 0 and hold their vectors");
	T_EQ(atomic_load(&r->n), N, "rows->n");
	T_OK(!store_row_ok(st, 1, N), "no row beyond the last");
	struct store_stats ss;
	store_stats(st, &ss);
	T_EQ(ss.vectors, N, "stats.vectors");
	T_OK(ss.commits >= 2 && ss.commits <= 40, "commits are in groups: %d", (int)ss.commits);
	T_OK(ss.flushes <= 2 * ss.commits + 8, "at most two flushes a group but for new files: %d", (int)ss.flushes);
	uint64_t gen = store_generation(st);
	T_EQ(t[N - 1].op.ret_generation, gen, "ret_generation of the last op");
	/* replace some, delete some */
	for (uint32_t i = 0; i < 100; i++) {
		op_put(&t[i], 1, i + 2, i + 50000, i);
		send(st, &w, &t[i]);
	}
	for (uint32_t i = 100; i < 150; i++) {
		memset(&t[i], 0, sizeof t[i]);
		t[i].op.kind = SOP_vec_del;
		t[i].op.cid = 1;
		t[i].op.old_row = i;
		t[i].op.want_durable = i == 149;
		send(st, &w, &t[i]);
	}
	wait_all(&w);
	T_EQ(w.first_rc, 0, "replacements and deletions");
	store_close(st);
	st = open_ok(&b);
	T_EQ(load(st, &s), 0, "load after reopening");
	T_EQ(s.vecs, N - 50, "live vectors");
	T_EQ(s.dead, 150, "dead rows");
	T_EQ(s.dup, 0, "one live row a file");
	T_EQ(s.bad_bytes, 0, "every vector has its bytes");
	T_EQ(s.x_of[2], 50000, "the newer write of file 2");
	T_OK(store_generation(st) > gen, "generation went on");
	/* free the dead rows: their slots are written again only after the commit */
	for (uint32_t i = 0; i < 150; i++) {
		memset(&t[i], 0, sizeof t[i]);
		t[i].op.kind = SOP_row_free;
		t[i].op.cid = 1;
		t[i].op.old_row = i;
		send(st, &w, &t[i]);
	}
	op_put(&t[150], 1, 3001, 7, UINT32_MAX);
	t[150].op.want_durable = true;
	send(st, &w, &t[150]);
	wait_all(&w);
	T_OK(t[150].op.ret_row >= N, "a slot freed in the open group is not taken: row %u", t[150].op.ret_row);
	op_put(&one, 1, 3002, 8, UINT32_MAX);
	T_EQ(run1(st, &one), 0, "put");
	T_EQ(one.op.ret_row, 0, "after the commit it is");
	memset(&one, 0, sizeof one);
	one.op.kind = SOP_row_free;
	one.op.cid = 1;
	one.op.old_row = 0;
	T_EQ(run1(st, &one), -VX_ERR_bad_value, "a live row is not freed");
	one.op.old_row = 1;
	T_EQ(run1(st, &one), -VX_ERR_bad_value, "a free row is not freed twice");
	store_close(st);
	st = open_ok(&b);
	load(st, &s);
	op_put(&one, 1, 3003, 9, UINT32_MAX);
	run1(st, &one);
	T_EQ(one.op.ret_row, 1, "free slots are found again at opening");
	store_close(st);
	box_close(&b);
}

static void test_wrong_ops(void)
{
	struct box b;
	struct top t;
	box_open(&b);
	struct store *st = open_ok(&b);
	op_put(&t, 1, 2, 1, UINT32_MAX);
	T_EQ(run1(st, &t), -VX_ERR_dim_mismatch, "a vector for an unbound collection");
	op_put(&t, 9, 2, 1, UINT32_MAX);
	T_EQ(run1(st, &t), -VX_ERR_no_collection, "a vector for no collection");
	op_bind(&t, 1, DIM);
	run1(st, &t);
	op_bind(&t, 1, DIM + 1);
	T_EQ(run1(st, &t), -VX_ERR_dim_mismatch, "bound is bound");
	op_put(&t, 1, 2, 1, UINT32_MAX);
	t.op.vec_bytes = 8;
	T_EQ(run1(st, &t), -VX_ERR_dim_mismatch, "a vector of other length");
	op_put(&t, 1, 2, 1, UINT32_MAX);
	T_EQ(run1(st, &t), 0, "the right one");
	op_bind(&t, 1, 0);
	T_EQ(run1(st, &t), -VX_ERR_bad_value, "no unbinding with a live row");
	T_EQ(store_health(st), 0, "wrong ops leave the store healthy");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_coll_drop;
	t.op.cid = 1;
	T_EQ(run1(st, &t), -VX_ERR_collection_reserved, "default is not dropped");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_vec_del;
	t.op.cid = 1;
	T_EQ(run1(st, &t), 0, "delete row 0");
	op_bind(&t, 1, 0);
	T_EQ(run1(st, &t), 0, "unbind");
	T_EQ(store_rows(st, 1)->dim, 0, "unbound");
	struct stat sb;
	T_EQ(fstatat(b.fd, ".vexfs/c1/v0.vec", &sb, 0), -1, "its slot file went");
	op_bind(&t, 1, DIM - 1);
	T_EQ(run1(st, &t), 0, "bind to another dimension");
	op_put(&t, 1, 2, 1, UINT32_MAX);
	t.op.vec_bytes = (DIM - 1) * 4;
	T_EQ(run1(st, &t), 0, "a vector of the new length");
	T_EQ(t.op.ret_row, 0, "in row 0");
	store_close(st);
	st = open_ok(&b);
	T_EQ(store_rows(st, 1)->dim, DIM - 1, "the new dimension after reopening");
	store_close(st);
	box_close(&b);
}

static void op_meta(struct top *t, const char *name, uint32_t cid)
{
	memset(t, 0, sizeof *t);
	t->op.kind = SOP_meta_put;
	strcpy(t->op.name, name);
	t->op.cid = cid;
	t->op.data = "abc";
	t->op.data_n = 3;
}
static void test_collections(void)
{
	struct box b;
	struct top t;
	struct stat sb;
	static struct seen s;
	box_open(&b);
	struct store *st = open_ok(&b);
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_coll_create;
	t.k = (struct store_coll){.name = "photos",
	        .dim = DIM,
	        .metric = VXM_l2,
	        .M = 16,
	        .ef_construction = 200,
	        .ef = 64,
	        .mode = 0644};
	t.op.coll = &t.k;
	T_EQ(run1(st, &t), 0, "create a collection");
	T_EQ(t.op.ret_cid, 3, "its number");
	T_EQ(run1(st, &t), -VX_ERR_collection_exists, "the same name again");
	T_EQ(store_rows(st, 3)->metric, VXM_l2, "its metric");
	T_OK(store_coll_dirfd(st, 3) >= 0, "its directory");
	op_put(&t, 3, 5, 5, UINT32_MAX);
	T_EQ(run1(st, &t), 0, "a vector in it");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_coll_drop;
	t.op.cid = 3;
	T_EQ(run1(st, &t), 0, "drop it");
	T_OK(store_rows(st, 3) == NULL, "gone");
	T_EQ(fstatat(b.fd, ".vexfs/c3", &sb, 0), -1, "its directory went");
	T_EQ(run1(st, &t), -VX_ERR_no_collection, "drop it again");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_coll_create;
	t.k = (struct store_coll){.name = "photos", .dim = 4};
	t.op.coll = &t.k;
	T_EQ(run1(st, &t), 0, "create the name anew");
	T_EQ(t.op.ret_cid, 4, "a number is never used twice");
	/* drop and create in one group */
	struct waiter w;
	struct top d = {0}, m[4];
	waiter_init(&w);
	op_meta(&m[0], "recall.4", 4);
	op_meta(&m[1], "recall.14", 0); /* of another, by its number's last digit alone */
	op_meta(&m[2], "other.4", 4);
	op_meta(&m[3], "recall.4", 4);
	for (int i = 0; i < 3; i++)
		send(st, &w, &m[i]);
	d.op.kind = SOP_coll_drop;
	d.op.cid = 4;
	send(st, &w, &d);
	t.op.want_durable = true;
	send(st, &w, &t);
	wait_all(&w);
	T_EQ(w.first_rc, 0, "drop and create of one name in a row");
	T_EQ(run1(st, &m[3]), -VX_ERR_no_collection, "what belongs to a collection does not come after its drop");
	store_reclaim(st);
	store_reclaim(st);
	struct top o;
	op_obj(&o, 2);
	T_EQ(run1(st, &o), 0, "an op after reclaim");
	store_close(st);
	st = open_ok(&b);
	load(st, &s);
	T_EQ(s.colls, 3, "collections after reopening");
	char buf[8];
	uint32_t n;
	T_EQ(store_meta_get(st, "recall.4", buf, sizeof buf, &n), -ENOENT, "a collection's meta row goes with it");
	T_EQ(store_meta_get(st, "other.4", buf, sizeof buf, &n), -ENOENT, "and any other of its");
	T_EQ(store_meta_get(st, "recall.14", buf, sizeof buf, &n), 0, "not another's");
	store_close(st);
	box_close(&b);
}

static void test_objects(void)
{
	struct box b;
	struct top t;
	static struct seen s;
	struct store_stats ss;
	box_open(&b);
	struct store *st = open_ok(&b);
	op_bind(&t, 1, DIM);
	run1(st, &t);
	op_obj(&t, 10);
	T_EQ(run1(st, &t), 0, "object");
	T_EQ(run1(st, &t), 0, "the same again");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_link_put;
	t.op.oid = 10;
	t.op.parent = 1;
	memcpy(t.op.name, "na\xffme", 6);
	T_EQ(run1(st, &t), 0, "a link of any bytes");
	op_put_file(&t, 1, 11, 77, UINT32_MAX);
	T_EQ(run1(st, &t), -VX_ERR_no_object, "a vector of a file nobody told of");
	op_put_file(&t, 1, 10, 77, UINT32_MAX);
	T_EQ(run1(st, &t), 0, "its vector");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_payload_put;
	t.op.oid = 10;
	t.op.data = "{\"a\":1}";
	t.op.data_n = 7;
	T_EQ(run1(st, &t), 0, "its payload");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_meta_put;
	memcpy(t.op.name, "root", 5);
	t.op.data = "xyz";
	t.op.data_n = 3;
	T_EQ(run1(st, &t), 0, "meta");
	for (uint64_t g = 1; g <= 4; g++) {
		memset(&t, 0, sizeof t);
		t.op.kind = SOP_graph_put;
		t.op.cid = 1;
		t.op.graph_gen = g;
		snprintf(t.op.name, sizeof t.op.name, "g%d.hnsw", (int)g);
		close(openat(store_coll_dirfd(st, 1), t.op.name, O_CREAT | O_WRONLY, 0600));
		run1(st, &t);
	}
	store_stats(st, &ss);
	T_EQ(ss.objects, 1, "stats.objects");
	store_close(st);
	st = open_ok(&b);
	char buf[8] = {0};
	uint32_t n = 0;
	T_EQ(store_meta_get(st, "root", buf, sizeof buf, &n), 0, "meta_get");
	T_STR(buf, "xyz", "meta");
	T_EQ(store_meta_get(st, "state", buf, sizeof buf, &n), -ENOENT, "the store's own meta is apart");
	load(st, &s);
	T_EQ(s.objs, 1, "objects");
	T_EQ(s.keybad, 0, "its key");
	T_EQ(s.links, 1, "links");
	T_STR(s.link_name, "na\xffme", "the link's name");
	T_EQ(s.graphs, 1, "graphs kept");
	T_STR(s.graph_name[0], "g4.hnsw", "newest first");
	struct stat sb;
	T_EQ(fstatat(store_coll_dirfd(st, 1), "g3.hnsw", &sb, 0), -1, "the file of the one before went");
	T_EQ(fstatat(store_coll_dirfd(st, 1), "g4.hnsw", &sb, 0), 0, "its own is there");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_obj_del;
	t.op.oid = 10;
	T_EQ(run1(st, &t), 0, "delete the object");
	store_close(st);
	st = open_ok(&b);
	load(st, &s);
	T_EQ(s.objs + s.links + s.vecs, 0, "nothing of it is left");
	T_EQ(s.dead, 1, "its vector is dead");
	store_close(st);
	box_close(&b);
}

static void sql_on(struct box *b, const char *text)
{
	char path[200];
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/.vexfs/catalog.db", b->path);
	if (sqlite3_open(path, &db) != SQLITE_OK || fts_add(db) != SQLITE_OK ||
	        sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		printf("# sql: %s\n", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void test_formats(void)
{
	struct box b;
	struct top t;
	struct store *st;
	struct vx_errinfo e = {0};
	static struct seen s;
	box_open(&b);
	st = open_ok(&b);
	op_bind(&t, 1, DIM);
	run1(st, &t);
	for (uint32_t i = 0; i < 10; i++) {
		op_put(&t, 1, i + 2, i, UINT32_MAX);
		run1(st, &t);
	}
	store_close(st);
	sql_on(&b, "UPDATE vec SET size=size+1 WHERE key=4294967299");
	st = open_ok(&b);
	load(st, &s);
	T_EQ(s.damaged, 1, "a row whose checksum does not fit is told");
	T_EQ(s.vecs, 9, "and left out");
	store_close(st);
	/* a bit in a slot */
	int fd = openat(b.fd, ".vexfs/c1/v0.vec", O_RDWR);
	uint8_t x;
	off_t at = (off_t)(SLOTS_HEADER + 2 * slots_stride(DIM, VXD_f32) + 5);
	T_EQ(pread(fd, &x, 1, at), 1, "read a byte of slot 2");
	x ^= 4;
	T_EQ(pwrite(fd, &x, 1, at), 1, "flip a bit of it");
	st = open_ok(&b);
	load(st, &s);
	T_OK(!store_row_ok(st, 1, 2), "the slot's checksum notices");
	T_EQ(s.bad_bytes, 1, "one row is bad, the others good");
	store_close(st);
	/* the file cut short, then gone */
	if (ftruncate(fd, SLOTS_HEADER + 100))
		abort();
	close(fd);
	st = open_ok(&b);
	T_OK(st != NULL, "a short slot file: the store opens");
	T_EQ(atomic_load(&store_rows(st, 1)->bad_segs), 1, "the segment is marked bad");
	T_OK(!store_row_ok(st, 1, 7), "rows that are gone are not served");
	store_close(st);
	unlinkat(b.fd, ".vexfs/c1/v0.vec", 0);
	st = open_ok(&b);
	T_OK(st != NULL && atomic_load(&store_rows(st, 1)->bad_segs) == 1, "a missing slot file: opens, marked bad");
	T_OK(!store_row_ok(st, 1, 0), "no row of it is served");
	store_close(st);
	sql_on(&b, "PRAGMA user_version=2");
	T_EQ(open_in(&b, os_real(), &st, &e), -VX_ERR_store_newer, "a newer format is refused");
	printf("# %s\n", e.detail);
	sql_on(&b, "PRAGMA user_version=1;PRAGMA application_id=7");
	T_EQ(open_in(&b, os_real(), &st, &e), -VX_ERR_store_format, "another application's database is refused");
	fd = openat(b.fd, ".vexfs/catalog.db", O_RDWR | O_TRUNC);
	T_EQ(write(fd, "hello, this is no database at all.......................", 50), 50, "overwrite the catalog");
	close(fd);
	int rc = open_in(&b, os_real(), &st, &e);
	T_EQ(rc, -VX_ERR_store_format, "a file that is no database");
	printf("# %s\n", e.detail);
	box_close(&b);
	/* catalog gone, slots there: of any collection */
	box_open(&b);
	mkdirat(b.fd, ".vexfs", 0700);
	mkdirat(b.fd, ".vexfs/c12", 0700);
	close(openat(b.fd, ".vexfs/c12/v0.vec", O_CREAT | O_WRONLY, 0600));
	T_EQ(open_in(&b, os_real(), &st, &e), -VX_ERR_store_corrupt, "slots of a later collection alone");
	renameat(b.fd, ".vexfs/c12", b.fd, ".vexfs/c12x");
	st = open_ok(&b);
	T_OK(st != NULL, "a directory that is no collection's is nothing to it");
	store_close(st);
	box_close(&b);
	box_open(&b);
	st = open_ok(&b);
	op_bind(&t, 1, DIM);
	run1(st, &t);
	op_put(&t, 1, 2, 2, UINT32_MAX);
	run1(st, &t);
	store_close(st);
	unlinkat(b.fd, ".vexfs/catalog.db", 0);
	T_EQ(open_in(&b, os_real(), &st, &e), -VX_ERR_store_corrupt,
	        "a catalog that is gone is not made anew over slots");
	printf("# %s\n", e.detail);
	box_close(&b);
}

static void test_read_only(void)
{
	struct box b;
	struct top t;
	struct vx_errinfo e = {0};
	static struct seen s;
	box_open(&b);
	struct store_cfg cfg = {.os = os_real(), .root_fd = b.fd, .read_only = true};
	struct store *st = NULL;
	T_EQ(store_open(&cfg, &st, &e), -ENOENT, "read-only opening makes no store");
	st = open_ok(&b);
	op_bind(&t, 1, DIM);
	run1(st, &t);
	op_put(&t, 1, 2, 5, UINT32_MAX);
	run1(st, &t);
	store_close(st);
	T_EQ(store_open(&cfg, &st, &e), 0, "read-only opening of a store");
	T_EQ(load(st, &s), 0, "load");
	T_EQ(s.vecs - s.bad_bytes, 1, "its vector");
	op_put(&t, 1, 3, 6, UINT32_MAX);
	T_EQ(run1(st, &t), -VX_ERR_read_only, "a write is refused");
	store_close(st);
	box_close(&b);
}

/* eight processes make the same store at once: one has it, the others are told so; when it dies, its lock is stale and no hindrance */
static void test_race(void)
{
	struct box b;
	int p[2], go[2], status;
	pid_t kid[8];
	char got[9] = {0};
	box_open(&b);
	if (pipe(p) || pipe(go))
		abort();
	fflush(stdout);
	for (int i = 0; i < 8; i++) {
		kid[i] = fork();
		if (kid[i])
			continue;
		struct store *st = NULL;
		struct vx_errinfo e = {0};
		char c;
		close(go[1]);
		if (read(go[0], &c, 1) < 0)
			_exit(9);
		int rc = open_in(&b, os_real(), &st, &e);
		c = rc == 0 ? 'y' : rc == -VX_ERR_store_locked ? 'n' : '?';
		if (write(p[1], &c, 1) != 1)
			_exit(9);
		if (!rc)
			pause(); /* until it is killed, with the lock in its hands */
		_exit(0);
	}
	close(go[0]);
	close(go[1]); /* they all see the end of it at once */
	int y = 0, n = 0;
	for (int i = 0; i < 8 && read(p[0], got, 1) == 1; i++) {
		y += got[0] == 'y';
		n += got[0] == 'n';
	}
	T_EQ(y, 1, "openings that got the store");
	T_EQ(n, 7, "openings that were told it is locked");
	for (int i = 0; i < 8; i++) {
		kill(kid[i], SIGKILL);
		waitpid(kid[i], &status, 0);
	}
	close(p[0]);
	close(p[1]);
	struct store *st = open_ok(&b);
	T_OK(st != NULL, "after its death the store opens; LOCK names a dead pid");
	store_close(st);
	box_close(&b);
}

/* what a FUSE thread may call, on a stack of its size */
static struct store *any_st;
static struct top any_op;
static struct waiter any_w;
static void any_calls(void *u)
{
	struct store_stats ss;
	_Atomic int *go = u;
	if (!*go)
		return;
	for (int i = 0; i < 3; i++) {
		(void)store_generation(any_st);
		(void)store_health(any_st);
		(void)store_rows(any_st, 1);
		(void)store_coll_dirfd(any_st, 1);
		(void)store_queue_len(any_st);
		(void)store_row_ok(any_st, 1, 0);
		(void)store_compactable(any_st, 1);
		store_stats(any_st, &ss);
		store_reclaim(any_st);
	}
	send(any_st, &any_w, &any_op);
}
static void test_stack(void)
{
	struct box b;
	struct top t;
	struct thread th = {0};
	_Atomic int go = 0;
	box_open(&b);
	any_st = open_ok(&b);
	op_bind(&t, 1, DIM);
	run1(any_st, &t);
	op_put(&t, 1, 2, 2, UINT32_MAX);
	run1(any_st, &t);
	T_EQ(thread_start(&th, "none", 65536, any_calls, &go), 0, "a thread that does nothing");
	uint32_t base = thread_stack_high(&th);
	thread_join(&th);
	memset(&th, 0, sizeof th);
	go = 1;
	waiter_init(&any_w);
	op_put(&any_op, 1, 3, 3, UINT32_MAX);
	any_op.op.want_durable = true;
	_Atomic int *p = &go;
	T_EQ(thread_start(&th, "any", 65536, any_calls, p), 0, "a thread that calls what any thread may");
	wait_all(&any_w);
	uint32_t high = thread_stack_high(&th);
	thread_join(&th);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	T_OK(high < base + 3072, "stack of a thread that makes storage calls: %u bytes, of one that makes none: %u",
	        high, base);
#else
	(void)high;
	(void)base;
#endif
	store_close(any_st);
	box_close(&b);
}

/* import of n points in one stream; prints the time: not a check */
static int bulk(uint32_t n)
{
	struct box b;
	struct waiter w;
	struct top one, *t = calloc(n, sizeof *t);
	static float v[784];
	struct timespec a, z;
	struct store_stats ss;
	box_open(&b);
	struct store *st = open_ok(&b);
	waiter_init(&w);
	op_bind(&one, 1, 784);
	run1(st, &one);
	for (uint32_t i = 0; i < n; i++) {
		op_put(&t[i], 1, 0, i, UINT32_MAX);
		t[i].op.is_free_point = true;
		t[i].op.free_id = i;
		t[i].op.vec = v;
		t[i].op.vec_bytes = sizeof v;
		t[i].op.want_durable = i == n - 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (uint32_t i = 0; i < n; i++)
		send(st, &w, &t[i]);
	wait_all(&w);
	clock_gettime(CLOCK_MONOTONIC, &z);
	store_stats(st, &ss);
	printf("# %u x 784 in %.3f s, %d commits, %d flushes\n", n,
	        (double)(z.tv_sec - a.tv_sec) + (double)(z.tv_nsec - a.tv_nsec) / 1e9, (int)ss.commits,
	        (int)ss.flushes);
	int rc = w.first_rc;
	store_close(st);
	clock_gettime(CLOCK_MONOTONIC, &a);
	st = open_ok(&b);
	static struct seen s;
	load(st, &s);
	clock_gettime(CLOCK_MONOTONIC, &z);
	printf("# open + load %.1f ms\n", (double)(z.tv_sec - a.tv_sec) * 1e3 + (double)(z.tv_nsec - a.tv_nsec) / 1e6);
	store_close(st);
	free(t);
	box_close(&b);
	return rc;
}

int main(int argc, char **argv)
{
	test_create();
	test_order_and_reopen();
	test_wrong_ops();
	test_collections();
	test_objects();
	test_formats();
	test_read_only();
	test_stack();
	test_race();
	if (argc > 1)
		T_EQ(bulk((uint32_t)atoi(argv[1])), 0, "bulk import");
	return tap_done();
}
