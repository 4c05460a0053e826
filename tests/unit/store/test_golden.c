/* test_golden.c - stores written by every released format open, load right and verify clean: tests/unit/store/golden/vN.tgz.
 *
 *   test_golden --make FILE.tgz    writes the store that this build makes; for a new format only, kept for ever after */
#include "storetest.h"

#define OBJS 30u

static void make_ops(struct store *st)
{
	struct top t;
	static struct store_chunk k = {.ord = 0,
	        .byte1 = 44,
	        .line0 = 1,
	        .line1 = 1,
	        .text = "the golden store remembers what it was told",
	        .text_n = 43};
	op_bind(&t, 1, DIM);
	run1(st, &t);
	for (uint64_t i = 2; i < 2 + OBJS; i++) {
		op_obj(&t, i);
		run1(st, &t);
		memset(&t, 0, sizeof t);
		t.op.kind = SOP_link_put;
		t.op.oid = i;
		t.op.parent = 1;
		snprintf(t.op.name, sizeof t.op.name, "file \xc3\xa9 %d", (int)i);
		run1(st, &t);
		op_put_file(&t, 1, i, i * 5, UINT32_MAX);
		run1(st, &t);
	}
	op_put_file(&t, 1, 3, 999, 1);
	t.op.stamp.mtime_ns = -5;
	t.op.stamp.hashed = 1;
	memset(t.op.stamp.hash, 0xa5, 16);
	run1(st, &t);
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_text_chunks;
	t.op.oid = 4;
	t.op.text_ver = 1;
	t.op.chunk = &k;
	t.op.chunk_n = 1;
	run1(st, &t);
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_text_done;
	t.op.oid = 4;
	t.op.text_ver = 1;
	t.op.text_state = STORE_TEXT_done;
	run1(st, &t);
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_payload_put;
	t.op.oid = 5;
	t.op.data = "{\"golden\":true}";
	t.op.data_n = 15;
	run1(st, &t);
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_coll_create;
	t.k = (struct store_coll){.name = "half",
	        .dim = 5,
	        .metric = VXM_dot,
	        .dtype = VXD_f16,
	        .M = 8,
	        .ef_construction = 100,
	        .ef = 32,
	        .uid = 1000,
	        .gid = 100,
	        .mode = 0600};
	t.op.coll = &t.k;
	run1(st, &t);
	uint32_t cid = t.op.ret_cid;
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_vec_put;
	t.op.cid = cid;
	t.op.is_free_point = true;
	t.op.free_id = UINT64_MAX;
	t.op.old_row = UINT32_MAX;
	t.op.vec = "0123456789";
	t.op.vec_bytes = 10;
	run1(st, &t);
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_meta_put;
	memcpy(t.op.name, "root", 5);
	t.op.data = "handle";
	t.op.data_n = 6;
	run1(st, &t);
}

static void check(const char *tgz)
{
	struct box b;
	static struct seen s;
	char cmd[500], buf[8] = {0};
	uint32_t n;
	struct store_verify_report r;
	box_open(&b);
	snprintf(cmd, sizeof cmd, "tar xzf %s -C %s", tgz, b.path);
	T_EQ(system(cmd), 0, tgz);
	struct store_cfg cfg = {.os = os_real(), .root_fd = b.fd};
	T_EQ(store_verify(&cfg, false, NULL, NULL, &r), 0, "verify");
	struct store *st = open_ok(&b);
	T_OK(st != NULL, "opens");
	T_EQ(load(st, &s), 0, "loads");
	T_EQ(s.colls, 3, "collections");
	T_EQ(s.objs, OBJS, "objects");
	T_EQ(s.keybad, 0, "their keys");
	T_EQ(s.links, OBJS, "links");
	T_STR(s.link_name, "file \xc3\xa9 31", "a name");
	T_EQ(s.vecs, OBJS + 1, "vectors");
	T_EQ(s.dead, 1, "dead");
	T_EQ(s.bad_bytes, 0, "their bytes");
	T_EQ(s.x_of[3], 999, "the replaced one");
	T_EQ(s.dim1, DIM, "dimension");
	T_EQ(store_meta_get(st, "root", buf, sizeof buf, &n), 0, "meta");
	T_STR(buf, "handle", "its bytes");
	const struct vec_rows *h = store_rows(st, 3);
	T_OK(h && h->dim == 5 && h->dtype == VXD_f16 && h->metric == VXM_dot, "the other collection");
	uint16_t half[5]; /* little-endian on disk, the machine's own order in memory */
	for (int i = 0; i < 5; i++)
		half[i] = (uint16_t)("0123456789"[2 * i] | "0123456789"[2 * i + 1] << 8);
	T_OK(h && store_row_ok(st, 3, 0) && !memcmp(rows_vec(h, 0), half, 10), "its vector");
	struct top t;
	op_put_file(&t, 1, 2, 1, s.row_of[2]);
	T_EQ(run1(st, &t), 0, "it takes a vector");
	store_close(st);
	box_close(&b);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--make")) {
		struct box b;
		char cmd[500];
		box_open(&b);
		struct store *st = open_ok(&b);
		make_ops(st);
		store_close(st);
		snprintf(cmd, sizeof cmd,
		        "rm -f %s/.vexfs/LOCK; tar czf %s -C %s --owner=0 --group=0 --mtime=@0 .vexfs", b.path, argv[2],
		        b.path);
		int rc = system(cmd);
		box_close(&b);
		return rc != 0;
	}
	check(GOLDEN_DIR "/v1.tgz");
	return tap_done();
}
