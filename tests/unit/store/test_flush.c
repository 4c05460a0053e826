/* test_flush.c - what a durable insert costs: flushes a group, bytes written a byte of vector; counted at the calls themselves. */
#include "storetest.h"
#include "faultvfs.h"

#define BIG   768u
#define BATCH 100u

static struct os_fault of;
static uint64_t syncs(void)
{
	return atomic_load(&of.calls[OSC_fdatasync]) + atomic_load(&of.calls[OSC_fsync]) +
	       atomic_load(&fv.calls[FV_sync]);
}

static void put_batch(struct store *st, struct top *t, uint64_t from, bool files)
{
	static float v[BATCH][BIG];
	struct waiter w;
	waiter_init(&w);
	static struct top o[BATCH];
	for (uint32_t i = 0; files && i < BATCH; i++) {
		op_obj(&o[i], from + i + 2);
		send(st, &w, &o[i]);
	}
	for (uint32_t i = 0; i < BATCH; i++) {
		for (uint32_t k = 0; k < BIG; k++)
			v[i][k] = (float)(from + i + k);
		op_put(&t[i], 1, from + i + 2, from + i, UINT32_MAX);
		t[i].op.is_free_point = !files;
		t[i].op.free_id = from + i;
		t[i].op.stamp.mtime_ns = files ? 1700000000000000000 + (int64_t)from : 0;
		t[i].op.stamp.ctime_ns = t[i].op.stamp.mtime_ns;
		t[i].op.stamp.hashed = files;
		t[i].op.vec = v[i];
		t[i].op.vec_bytes = sizeof v[i];
		t[i].op.want_durable = i == BATCH - 1;
		send(st, &w, &t[i]);
	}
	wait_all(&w);
	if (w.first_rc)
		abort();
}

static void measure(bool files)
{
	struct box b;
	struct top one;
	struct store *st;
	struct vx_errinfo e;
	struct store_stats s0, s1;
	static struct top t[BATCH];
	box_open(&b);
	os_fault_init(&of, os_real());
	fv_reset();
	T_EQ(open_in(&b, &of.os, &st, &e), 0, "open");
	op_bind(&one, 1, BIG);
	run1(st, &one);
	put_batch(st, t, 0, files);
	store_stats(st, &s0);
	uint64_t f0 = syncs(), y0 = atomic_load(&fv.bytes);
	uint32_t extra = 0;
	for (uint64_t k = 1; k <= 8; k++) { /* within one segment: a new file's own flushes are counted apart */
		uint64_t before = syncs();
		struct store_stats c0, c1;
		store_stats(st, &c0);
		put_batch(st, t, k * BATCH, files);
		store_stats(st, &c1);
		extra += syncs() - before > 2 * (c1.commits - c0.commits);
	}
	store_stats(st, &s1);
	uint64_t groups = s1.commits - s0.commits, flushes = syncs() - f0;
	T_EQ(extra, 0, "batches with more than two flushes a group");
	T_OK(flushes <= 2 * groups, "flushes: %d in %d groups", (int)flushes, (int)groups);
	store_close(st); /* its checkpoint's bytes are in */
	uint64_t wrote = s1.bytes_slots - s0.bytes_slots + atomic_load(&fv.bytes) - y0;
	double amp = (double)wrote / (8.0 * BATCH * BIG * 4);
	T_OK(amp <= 2.5, "%s: bytes written a byte of vector, checkpoint included: %.2f",
	        files ? "files" : "free points", amp);
	box_close(&b);
}

int main(void)
{
	fv_install();
	measure(false);
	measure(true);
	return tap_done();
}
