/* rowtab.c - cN/rows.tab: what opening needs to know of each row, in one file read at the disk's speed.
 *
 * Walking table vec costs a microsecond a row, which a million vectors make noticeable.  At a clean close of a large collection the
 * walk is done once and its result written down, with the number of the commit it shows.  At opening the file counts only if that
 * number is the catalog's and every block's CRC fits; anything else, and any commit since, sends the opening back to table vec.  So
 * the file is derived, may be deleted at any time, and can never tell of a state other than the catalog's.
 *
 * Layout (little-endian): blocks of 4,096 bytes, each ending in the crc32c of its first 4,092.  Block 0 is the header.  Then blocks of
 * 170 rows of 24 bytes {u64 id, u64 generation | flags << 60, u32 stamp, u32 0}; then blocks of 85 stamps of 48 bytes {u64 size,
 * i64 mtime, i64 ctime, 16 B hash, u8 hashed, 7 B 0}.  A row's `stamp` is 1 + its stamp's number; 0: all zero. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/sbuf.h"
#include "store/store_int.h"

#define BLOCK      4096u
#define ROW_BYTES  24u
#define ROWS_PER   170u
#define STAMP_B    48u
#define STAMPS_PER 85u
#define BUF_BLOCKS 64u
#define MAGIC      "VEXROWS1"
#define F_LIVE     1u /* else free */
#define F_DEAD     2u
#define F_FREE_PT  4u
#define CLOSE_NS   (5ull * 1000000000ull) /* a close waits no longer for this */

struct out {
	struct store *st;
	int fd;
	uint8_t *buf;
	uint32_t in_block, per, bytes; /* of the current kind of block */
	uint64_t blocks, buffered;
	int rc;
};

static void out_flush(struct out *o)
{
	if (!o->rc && o->buffered)
		o->rc = os_pwrite_all(
		        o->st->os, o->fd, o->buf, o->buffered * BLOCK, (off_t)((o->blocks - o->buffered) * BLOCK));
	o->buffered = 0;
}

static void out_block_end(struct out *o)
{
	uint8_t *b = o->buf + o->buffered * BLOCK;
	if (!o->in_block)
		return;
	memset(b + o->in_block * o->bytes, 0, BLOCK - 4 - o->in_block * o->bytes);
	le32_put(b + BLOCK - 4, crc32c(0, b, BLOCK - 4));
	o->in_block = 0;
	o->blocks++;
	if (++o->buffered == BUF_BLOCKS)
		out_flush(o);
}

static uint8_t *out_next(struct out *o)
{
	if (o->in_block == o->per)
		out_block_end(o);
	return o->buf + o->buffered * BLOCK + o->in_block++ * o->bytes;
}

static void row_put(uint8_t *p, const struct vec_rec *v, uint32_t stamp)
{
	uint64_t flags = F_LIVE | (v->dead ? F_DEAD : 0) | (v->is_free_point ? F_FREE_PT : 0);
	memset(p, 0, ROW_BYTES);
	le64_put(p, v->id);
	le64_put(p + 8, (v->generation & ((1ull << 60) - 1)) | flags << 60);
	le32_put(p + 16, stamp);
}

static bool stamp_zero(const struct stamp *t)
{
	return !t->size && !t->mtime_ns && !t->ctime_ns && !t->hashed;
}

static void header_put(uint8_t *b, struct store *st, const struct coll *c, uint32_t stamps)
{
	memset(b, 0, BLOCK);
	memcpy(b, MAGIC, 8);
	le32_put(b + 8, 1);
	le32_put(b + 12, c->c.cid);
	le64_put(b + 16, st->state.generation);
	le32_put(b + 24, c->next_row);
	le32_put(b + 28, stamps);
	le32_put(b + BLOCK - 4, crc32c(0, b, BLOCK - 4));
}

/* one pass over the collection's rows of vec; @stamps: write the stamps instead of the rows */
static int pass(
        struct out *o, const struct coll *c, sqlite3_stmt *s, bool stamps, uint32_t *ret_stamps, uint64_t give_up_ns)
{
	uint32_t row = 0, n = 0;
	int q;
	sqlite3_reset(s);
	while ((q = sqlite3_step(s)) == SQLITE_ROW && !o->rc) {
		struct vec_rec v;
		if (cat_row_vec(s, &v) < 0 || v.row >= c->next_row || v.row < row)
			return -VX_ERR_store_corrupt; /* opening must meet it again, and tell */
		uint32_t st = stamp_zero(&v.stamp) ? 0 : ++n;
		if (!stamps) {
			for (; row < v.row; row++)
				memset(out_next(o), 0, ROW_BYTES);
			row_put(out_next(o), &v, st);
			row++;
		} else if (st) {
			uint8_t *p = out_next(o);
			memset(p, 0, STAMP_B);
			le64_put(p, v.stamp.size);
			le64_put(p + 8, (uint64_t)v.stamp.mtime_ns);
			le64_put(p + 16, (uint64_t)v.stamp.ctime_ns);
			memcpy(p + 24, v.stamp.hash, 16);
			p[40] = v.stamp.hashed;
		}
		if (!(v.row % 4096) && os_mono_ns(o->st->os) > give_up_ns)
			return -VX_ERR_deadline;
	}
	for (; !stamps && row < c->next_row; row++)
		memset(out_next(o), 0, ROW_BYTES);
	out_block_end(o);
	*ret_stamps = n;
	return o->rc ? o->rc : q == SQLITE_DONE ? 0 : -VX_ERR_store_corrupt;
}

static int write_all(struct out *o, struct coll *c, sqlite3_stmt *s, uint64_t give_up_ns)
{
	uint32_t stamps = 0, again = 0;
	uint8_t *h;
	o->blocks = 1; /* the header is written last, when the stamps are counted */
	o->per = ROWS_PER;
	o->bytes = ROW_BYTES;
	VX_TRY(pass(o, c, s, false, &stamps, give_up_ns));
	o->per = STAMPS_PER;
	o->bytes = STAMP_B;
	if (stamps)
		VX_TRY(pass(o, c, s, true, &again, give_up_ns));
	out_flush(o);
	VX_TRY(o->rc);
	h = o->buf;
	header_put(h, o->st, c, stamps);
	VX_TRY(os_pwrite_all(o->st->os, o->fd, h, BLOCK, 0));
	return os_fdatasync(o->st->os, o->fd);
}

void rowtab_write(struct store *st, struct coll *c)
{
	struct out o = {.st = st, .fd = -1, .buf = mem_alloc(MEM_store, (size_t)BUF_BLOCKS * BLOCK)};
	sqlite3_stmt *s = NULL;
	int dir = atomic_load(&c->dirfd);
	if (!o.buf || c->next_row < ROWTAB_ROWS_MIN || c->tab_generation == st->state.generation)
		goto out;
	o.rc = sqlite3_prepare_v2(st->cat.db, CAT_SEL_VEC " WHERE key BETWEEN ?1 AND ?2 ORDER BY key", -1, &s, NULL) ==
	                       SQLITE_OK
	               ? 0
	               : -EIO;
	if (o.rc)
		goto out;
	sqlite3_bind_int64(s, 1, vec_key(c->c.cid, 0));
	sqlite3_bind_int64(s, 2, vec_key(c->c.cid, UINT32_MAX));
	(void)os_unlinkat(st->os, dir, "rows.tmp", 0); /* a cut one */
	o.fd = os_openat(st->os, dir, "rows.tmp", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (o.fd < 0)
		goto out;
	o.rc = write_all(&o, c, s, os_mono_ns(st->os) + CLOSE_NS);
	if (!o.rc)
		o.rc = os_renameat(st->os, dir, "rows.tmp", dir, "rows.tab");
	if (o.rc < 0)
		(void)os_unlinkat(st->os, dir, "rows.tmp", 0); /* derived: the next opening walks the catalog */
out:
	if (o.fd >= 0)
		(void)os_close(st->os, o.fd); /* synced, or thrown away */
	sqlite3_finalize(s);
	mem_free(MEM_store, o.buf);
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static int blocks_read(struct store *st, int fd, uint8_t *buf, uint64_t at, uint64_t n)
{
	VX_TRY(os_pread_all(st->os, fd, buf, n * BLOCK, (off_t)(at * BLOCK)));
	for (uint64_t i = 0; i < n; i++)
		if (crc32c(0, buf + i * BLOCK, BLOCK - 4) != le32_get(buf + i * BLOCK + BLOCK - 4))
			return -VX_ERR_store_corrupt;
	return 0;
}

static void stamp_get(const uint8_t *p, struct stamp *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->size = le64_get(p);
	ret->mtime_ns = (int64_t)le64_get(p + 8);
	ret->ctime_ns = (int64_t)le64_get(p + 16);
	memcpy(ret->hash, p + 24, 16);
	ret->hashed = p[40] != 0;
}

struct window { /* blocks [at, at + n) of the file, checked */
	uint8_t *buf;
	uint64_t at, n;
};
struct in {
	struct store *st;
	struct coll *c;
	const struct store_load_cb *cb;
	void *u;
	int fd;
	struct window row, stamp;
	uint64_t blocks, stamps_at; /* blocks in all; the first block of stamps */
	uint32_t rows, stamps_n;
};

/* block @i of the file; NULL: it cannot be read, or its CRC does not fit */
static const uint8_t *block(struct in *x, struct window *w, uint64_t i)
{
	if (i < w->at || i >= w->at + w->n) {
		uint64_t n = x->blocks - i < BUF_BLOCKS ? x->blocks - i : BUF_BLOCKS;
		w->n = 0;
		if (i >= x->blocks || blocks_read(x->st, x->fd, w->buf, i, n) < 0)
			return NULL;
		w->at = i;
		w->n = n;
	}
	return w->buf + (i - w->at) * BLOCK;
}

static int tell_rows(struct in *x)
{
	for (uint32_t row = 0; row < x->rows; row++) {
		const uint8_t *p = block(x, &x->row, 1 + row / ROWS_PER), *sb;
		if (!p)
			return -VX_ERR_store_corrupt;
		p += (size_t)(row % ROWS_PER) * ROW_BYTES;
		uint64_t g = le64_get(p + 8);
		uint32_t flags = (uint32_t)(g >> 60), s = le32_get(p + 16);
		struct stamp t = {0};
		if (!(flags & F_LIVE))
			continue; /* stays free */
		if (row_is_free(x->c, row)) {
			x->c->free_w[row / 64] &= ~(1ull << (row % 64));
			x->c->free_n--;
		}
		if (s) {
			sb = block(x, &x->stamp, x->stamps_at + (s - 1) / STAMPS_PER);
			if (!sb || s > x->stamps_n)
				return -VX_ERR_store_corrupt;
			stamp_get(sb + (size_t)((s - 1) % STAMPS_PER) * STAMP_B, &t);
		}
		if (x->cb->vec)
			VX_TRY(x->cb->vec(x->u, x->c->c.cid, row, g & ((1ull << 60) - 1), flags & F_DEAD,
			        flags & F_FREE_PT, le64_get(p), &t));
	}
	return 0;
}

/* every block is read and checked before the first row is told: no half of a table is ever believed */
static int check_all(struct in *x)
{
	x->blocks = 1;
	const uint8_t *h = block(x, &x->row, 0);
	if (!h)
		return -VX_ERR_store_corrupt;
	if (memcmp(h, MAGIC, 8) || le32_get(h + 8) != 1 || le32_get(h + 12) != x->c->c.cid ||
	        le64_get(h + 16) != x->st->state.generation || le32_get(h + 24) < x->c->next_row ||
	        le32_get(h + 24) > CONF_ROWS_MAX || le32_get(h + 28) > le32_get(h + 24))
		return -ENOENT;
	x->rows = x->c->next_row; /* what lies above was free when it was written */
	x->stamps_n = le32_get(h + 28);
	x->stamps_at = 1 + ((uint64_t)le32_get(h + 24) + ROWS_PER - 1) / ROWS_PER;
	x->blocks = x->stamps_at + ((uint64_t)x->stamps_n + STAMPS_PER - 1) / STAMPS_PER;
	x->row.n = 0;
	for (uint64_t i = 1; i < x->blocks; i++)
		if (!block(x, &x->row, i))
			return -VX_ERR_store_corrupt;
	return 0;
}

int rowtab_load(struct store *st, struct coll *c, const struct store_load_cb *cb, void *u)
{
	struct in x = {.st = st, .c = c, .cb = cb, .u = u};
	if (c->next_row < ROWTAB_ROWS_MIN || !c->c.dim || !c->free_w)
		return -ENOENT;
	x.fd = os_openat(st->os, atomic_load(&c->dirfd), "rows.tab", O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
	if (x.fd < 0)
		return -ENOENT;
	x.row.buf = mem_alloc(MEM_store, (size_t)BUF_BLOCKS * BLOCK * 2);
	x.stamp.buf = x.row.buf + (size_t)BUF_BLOCKS * BLOCK;
	int rc = x.row.buf ? check_all(&x) : -ENOMEM;
	if (rc < 0) {
		if (rc == -VX_ERR_store_corrupt)
			log_kv(LOGL_warn, "store: rows.tab is damaged and not used;", "collection", c->c.cid);
		rc = -ENOENT;
	} else {
		c->tab_generation = st->state.generation;
		rc = tell_rows(&x);
		if (rc == -ENOENT)
			rc = -EIO; /* the callback's own: not to be taken for "no table" */
	}
	(void)os_close(st->os, x.fd); /* read only */
	mem_free(MEM_store, x.row.buf);
	return rc;
}
