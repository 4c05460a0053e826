/* slots.c - the vectors themselves: files of fixed slots, written by pwrite, read through maps that never move under a reader.
 *
 * Segment s of collection N is file cN/vS.vec: a header of 4,096 bytes, then slots {vector, u64 vid, u32 crc32c} on 64-byte
 * boundaries.  A segment's file starts small and doubles up to the segment's size (rows.h), so a store of ten vectors is small.
 * When a file grows, a larger map of it is made and published in rows->base[s]; the old one stays until store_reclaim says that no
 * reader can hold it: both show the same pages, so a row's bytes are the same through either.  The sum of all old maps of a file is
 * below its size.  A row is published (rows->n) after its pwrite; reading through a shared map sees what pwrite wrote.
 *
 * The vid is drawn for every write.  It ties a slot to its catalog row: a slot that holds another write than the one that was
 * committed (a lost flush, a stale copy of the file) has a good CRC and a wrong vid. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/guard.h"
#include "base/log.h"
#include "base/perf.h"
#include "base/sbuf.h"
#include "store/store_int.h"

uint32_t slots_vec_room(uint32_t dim, uint8_t dtype)
{
	return (rows_vec_bytes(dim, dtype) + 7u) & ~7u;
}

uint32_t slots_stride(uint32_t dim, uint8_t dtype)
{
	return (slots_vec_room(dim, dtype) + 12u + SLOTS_ALIGN - 1) & ~(SLOTS_ALIGN - 1);
}

void slots_header(uint8_t *h, const struct store_coll *c, uint32_t seg)
{
	memset(h, 0, 64);
	memcpy(h, SLOTS_MAGIC, 8);
	le32_put(h + 8, SLOTS_VERSION);
	le32_put(h + 12, SLOTS_HEADER);
	le32_put(h + 16, c->cid);
	le32_put(h + 20, seg);
	le32_put(h + 24, c->dim);
	h[28] = c->dtype;
	le32_put(h + 32, slots_stride(c->dim, c->dtype));
	le32_put(h + 60, crc32c(0, h, 60));
}

int slots_header_check(const uint8_t *h, const struct store_coll *c, uint32_t seg)
{
	uint8_t want[64];
	slots_header(want, c, seg);
	return memcmp(h, want, sizeof want) ? -VX_ERR_store_format : 0;
}

/* ---- byte order: slots are little-endian on disk, vectors in memory are the machine's own ------------------------------------------
 * On little-endian machines both are the same and a slot file is simply mapped.  Elsewhere a "map" is a copy on the heap with each
 * vector turned round: dearer, but everything above sees what it sees everywhere. */
#define SLOTS_MAPPED (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

/* the vector's bytes from one order to the other; @to may be @from */
static void vec_order(uint8_t *to, const uint8_t *from, uint32_t bytes, uint8_t dtype)
{
	uint32_t e = dtype == VXD_f32 ? 4 : dtype == VXD_f16 || dtype == VXD_bf16 ? 2 : 1;
	if (SLOTS_MAPPED || e == 1) {
		memmove(to, from, bytes);
		return;
	}
	for (uint32_t i = 0; i + e <= bytes; i += e) {
		uint8_t t[4];
		memcpy(t, from + i, e);
		for (uint32_t k = 0; k < e; k++)
			to[i + k] = t[e - 1 - k];
	}
}

static int slots_map(struct store *st, int fd, size_t n, const struct vec_rows *r, const void **ret)
{
	if (SLOTS_MAPPED)
		return os_mmap_ro(st->os, fd, 0, n, ret);
	uint8_t *p = mem_alloc(MEM_store, n);
	int rc = p ? os_pread_all(st->os, fd, p, n, 0) : -ENOMEM;
	if (rc < 0) {
		mem_free(MEM_store, p);
		return rc;
	}
	for (size_t at = SLOTS_HEADER; at + r->stride <= n; at += r->stride)
		vec_order(p + at, p + at, rows_vec_bytes(r->dim, r->dtype), r->dtype);
	*ret = p;
	return 0;
}

void slots_unmap(struct store *st, const void *p, size_t n)
{
	if (!SLOTS_MAPPED) {
		mem_free(MEM_store, (void *)(uintptr_t)p);
		return;
	}
	guard_del(p);
	(void)os_munmap(st->os, p, n); /* cannot fail on a map that is ours */
}

bool slot_check_mapped(const uint8_t *slot, uint32_t dim, uint8_t dtype)
{
	uint8_t part[256];
	uint32_t bytes = rows_vec_bytes(dim, dtype), room = slots_vec_room(dim, dtype), crc = 0;
	if (SLOTS_MAPPED)
		return slot_check(slot, dim, dtype, NULL);
	for (uint32_t at = 0; at < bytes; at += sizeof part) {
		uint32_t n = bytes - at < sizeof part ? bytes - at : (uint32_t)sizeof part;
		vec_order(part, slot + at, n, dtype);
		crc = crc32c(crc, part, n);
	}
	crc = crc32c(crc, slot + bytes, room + 8u - bytes);
	return le64_get(slot + room) && crc == le32_get(slot + room + 8u);
}

bool slot_check(const uint8_t *slot, uint32_t dim, uint8_t dtype, uint64_t *ret_vid)
{
	uint32_t room = slots_vec_room(dim, dtype);
	uint64_t vid = le64_get(slot + room);
	if (ret_vid)
		*ret_vid = vid;
	return vid && crc32c(0, slot, room + 8u) == le32_get(slot + room + 8u);
}

static void name_num(char *ret, const char *before, uint32_t n, const char *after)
{
	struct sbuf b;
	sbuf_fixed(&b, ret, 16);
	sb_str(&b, before);
	sb_u64(&b, n);
	sb_str(&b, after);
	vx_assert(!b.over);
	(void)sbuf_cstr(&b); /* terminates it in place */
}

void slots_name(char *ret, uint32_t seg)
{
	name_num(ret, "v", seg, ".vec");
}

void coll_dir_name(char *ret, uint32_t cid)
{
	name_num(ret, "c", cid, "");
}

/* ---- free rows ------------------------------------------------------------------------------------------------------------ */

bool row_is_free(const struct coll *c, uint32_t row)
{
	return row / 64 < c->free_words && (c->free_w[row / 64] >> (row % 64) & 1);
}

int row_free_add(struct coll *c, uint32_t row)
{
	uint32_t w = row / 64;
	if (w >= c->free_words) {
		uint32_t want = c->next_row / 64 + 1;
		want = want > w ? want : w + 1;
		want += want / 4;
		uint64_t *p = mem_realloc(MEM_store, c->free_w, (size_t)want * 8);
		if (!p)
			return -ENOMEM;
		memset(p + c->free_words, 0, (size_t)(want - c->free_words) * 8);
		c->free_w = p;
		c->free_words = want;
	}
	if (!(c->free_w[w] >> (row % 64) & 1)) {
		c->free_w[w] |= 1ull << (row % 64);
		atomic_store_explicit(&c->free_seen, ++c->free_n, memory_order_relaxed);
		if (w < c->free_hint)
			c->free_hint = w;
	}
	return 0;
}

int row_alloc(struct coll *c, uint32_t *ret)
{
	for (; c->free_n && c->free_hint < c->free_words; c->free_hint++) {
		uint64_t w = c->free_w[c->free_hint];
		if (!w)
			continue;
		c->free_w[c->free_hint] = w & (w - 1);
		atomic_store_explicit(&c->free_seen, --c->free_n, memory_order_relaxed);
		*ret = c->free_hint * 64 + (uint32_t)__builtin_ctzll(w);
		return 0;
	}
	if (c->next_row >= CONF_ROWS_MAX)
		return -VX_ERR_store_full;
	*ret = c->next_row++;
	atomic_store_explicit(&c->rows_seen, c->next_row, memory_order_relaxed);
	return 0;
}

/* ---- maps ----------------------------------------------------------------------------------------------------------------- */

int slots_bind(struct store *st, struct coll *c)
{
	struct vec_rows *r = mem_zalloc(MEM_store, sizeof *r), *old = atomic_load(&c->rows);
	uint8_t *buf = NULL;
	if (r && c->c.dim)
		buf = mem_zalloc(MEM_store, slots_stride(c->c.dim, c->c.dtype));
	if (!r || (c->c.dim && !buf) || (old && retire(st, NULL, 0, old, NULL) < 0)) {
		mem_free(MEM_store, r);
		mem_free(MEM_store, buf);
		return -ENOMEM;
	}
	r->dim = c->c.dim;
	r->dtype = c->c.dtype;
	r->metric = c->c.metric;
	r->stride = c->c.dim ? slots_stride(c->c.dim, c->c.dtype) : 0;
	r->file_off = SLOTS_HEADER;
	mem_free(MEM_store, c->buf);
	c->buf = buf;
	atomic_store_explicit(&c->rows, r, memory_order_release);
	return 0;
}

static size_t file_bytes(const struct vec_rows *r, uint32_t rows)
{
	return SLOTS_HEADER + (size_t)rows * r->stride;
}

static uint32_t rows_in(const struct vec_rows *r, off_t size, uint32_t seg)
{
	if (size < (off_t)(SLOTS_HEADER + r->stride))
		return 0;
	uint64_t n = ((uint64_t)size - SLOTS_HEADER) / r->stride;
	return n < rows_seg_count(seg) ? (uint32_t)n : rows_seg_count(seg);
}

/* map rows [0, rows) of an open file and publish it; the map before is retired */
static int seg_map(struct store *st, struct coll *c, uint32_t seg, int fd, uint32_t rows)
{
	struct seg *g = &c->seg[seg];
	struct vec_rows *r = atomic_load(&c->rows);
	const void *p;
	size_t n = file_bytes(r, rows);
	if (g->map)
		VX_TRY(retire(st, g->map, g->map_bytes, NULL, NULL));
	/* from here the old map is on the list as well as published: both are right until it is replaced or the store closes */
	int rc = slots_map(st, fd, n, r, &p);
	if (rc < 0) {
		if (g->map) { /* take it back */
			struct retired *x = st->retired;
			st->retired = x->next;
			mem_free(MEM_store, x);
		}
		return rc;
	}
	/* unwatched when the table is full: the map works, a failing disk then ends the process */
	if (SLOTS_MAPPED)
		(void)guard_add(p, n, &r->bad_segs, 1u << seg, false);
	g->map = p;
	g->map_bytes = n;
	g->rows = rows;
	if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && mem_limit() && !atomic_load(&r->fd1[seg])) {
		int own = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* without it the map serves */
		atomic_store_explicit(&r->fd1[seg], own < 0 ? 0 : own + 1, memory_order_release);
	}
	atomic_store_explicit(&r->base[seg], (const uint8_t *)p + SLOTS_HEADER, memory_order_release);
	return 0;
}

static void seg_bad(struct coll *c, uint32_t seg, const char *why)
{
	struct vec_rows *r = atomic_load(&c->rows);
	char name[16];
	slots_name(name, seg);
	atomic_fetch_or(&r->bad_segs, 1u << seg);
	log_kv(LOGL_error, why, name, c->c.cid);
}

static int seg_open_fd(struct store *st, struct coll *c, uint32_t seg, int flags, int *ret)
{
	char name[16];
	slots_name(name, seg);
	int fd = os_openat(st->os, atomic_load(&c->dirfd), name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	*ret = fd;
	return 0;
}

/* one segment of a store being opened: @want rows of it are in use */
static int seg_open_old(struct store *st, struct coll *c, uint32_t seg, uint32_t want)
{
	struct vec_rows *r = atomic_load(&c->rows);
	uint8_t h[64];
	struct stat sb;
	int fd, rc = seg_open_fd(st, c, seg, st->read_only ? O_RDONLY : O_RDWR, &fd);
	if (rc == -ENOENT || rc == -ELOOP) {
		seg_bad(c, seg,
		        "store: a slot file is missing; its vectors are not served; run `vexfs verify --repair`;");
		return 0; /* base stays NULL: no row of it can be read */
	}
	VX_TRY(rc);
	rc = os_fstat(st->os, fd, &sb);
	if (!rc && (os_pread_all(st->os, fd, h, sizeof h, 0) < 0 || slots_header_check(h, &c->c, seg) < 0))
		seg_bad(c, seg, "store: a slot file's header is damaged; run `vexfs verify --repair`;");
	if (!rc && rows_in(r, sb.st_size, seg) < want) {
		seg_bad(c, seg, "store: a slot file is cut short; run `vexfs verify --repair`;");
		/* so that no reader faults; the missing slots read as zeros, which no CRC accepts */
		if (!st->read_only)
			rc = os_ftruncate(st->os, fd, (off_t)file_bytes(r, want));
		if (!rc)
			rc = os_fstat(st->os, fd, &sb);
	}
	uint32_t have = rc ? 0 : rows_in(r, sb.st_size, seg);
	if (!rc && have >= want)
		rc = seg_map(st, c, seg, fd, have);
	(void)os_close(st->os, fd); /* nothing was written through it */
	return rc;
}

int slots_open(struct store *st, struct coll *c, uint32_t n)
{
	struct vec_rows *r = atomic_load(&c->rows);
	if (!c->c.dim && n)
		return 0; /* rows of an unbound collection: dead ones whose removal was cut off; they hold nothing */
	for (uint32_t s = 0; s < ROWS_SEGS && rows_seg_first(s) < n; s++) {
		uint32_t want = n - rows_seg_first(s);
		VX_TRY(seg_open_old(st, c, s, want < rows_seg_count(s) ? want : rows_seg_count(s)));
	}
	c->next_row = n;
	atomic_store_explicit(&c->rows_seen, n, memory_order_relaxed);
	c->was_bound = c->c.dim != 0;
	atomic_store_explicit(&r->n, n, memory_order_release);
	return 0;
}

static int seg_create(struct store *st, struct coll *c, uint32_t seg)
{
	uint8_t h[64];
	struct seg *g = &c->seg[seg];
	char name[16];
	slots_name(name, seg);
	/* what lies there under this name was never committed: rows below next_row have their files mapped already.  Unlinked, not
	 * truncated: a retired map may still show it to a reader */
	int gone = os_unlinkat(st->os, atomic_load(&c->dirfd), name, 0);
	if (gone < 0 && gone != -ENOENT)
		return gone;
	VX_TRY(seg_open_fd(st, c, seg, O_RDWR | O_CREAT | O_EXCL, &g->fd));
	c->dir_dirty = true;
	slots_header(h, &c->c, seg);
	int rc = os_pwrite_all(st->os, g->fd, h, sizeof h, 0);
	if (rc < 0) {
		(void)os_close(st->os, g->fd); /* to be truncated when it is made again */
		g->fd = -1;
		return rc;
	}
	g->dirty = true;
	return 0;
}

/* room: the segment's file is open for writing, long enough for `rows` and mapped so far */
static int seg_room(struct store *st, struct coll *c, uint32_t seg, uint32_t rows)
{
	struct seg *g = &c->seg[seg];
	struct vec_rows *r = atomic_load(&c->rows);
	if (g->fd < 0)
		VX_TRY(g->map ? seg_open_fd(st, c, seg, O_RDWR, &g->fd) : seg_create(st, c, seg));
	if (rows <= g->rows)
		return 0;
	uint64_t cap = g->rows ? g->rows * 2ull : 65536u / r->stride + 1;
	if (cap < rows)
		cap = rows;
	if (cap > rows_seg_count(seg))
		cap = rows_seg_count(seg);
	g->dirty = true;
	VX_TRY(os_ftruncate(st->os, g->fd, (off_t)file_bytes(r, (uint32_t)cap)));
	return seg_map(st, c, seg, g->fd, (uint32_t)cap);
}

int slots_put(struct store *st, struct coll *c, uint32_t row, const void *vec, uint64_t vid)
{
	struct vec_rows *r = atomic_load(&c->rows);
	uint32_t seg = rows_seg(row), in_seg = row - rows_seg_first(seg), room = slots_vec_room(r->dim, r->dtype);
	uint32_t bytes = rows_vec_bytes(r->dim, r->dtype);
	VX_TRY(seg_room(st, c, seg, in_seg + 1));
	vec_order(c->buf, vec, bytes, r->dtype);
	memset(c->buf + bytes, 0, room - bytes);
	le64_put(c->buf + room, vid);
	le32_put(c->buf + room + 8, crc32c(0, c->buf, room + 8u));
	c->seg[seg].dirty = true;
	VX_TRY(os_pwrite_all(st->os, c->seg[seg].fd, c->buf, room + 12u, (off_t)file_bytes(r, in_seg)));
	if (!SLOTS_MAPPED) { /* what a map shows by itself */
		uint8_t *slot = (uint8_t *)(uintptr_t)rows_slot(r, row);
		memcpy(slot, c->buf, room + 12u);
		vec_order(slot, slot, bytes, r->dtype);
	}
	atomic_fetch_add_explicit(&st->n_bytes_slots, r->stride, memory_order_relaxed);
	perf_add(PERFC_bytes_slots, r->stride);
	if (row >= atomic_load_explicit(&r->n, memory_order_relaxed))
		atomic_store_explicit(&r->n, row + 1, memory_order_release);
	c->was_bound = true;
	return 0;
}

static void seg_close(struct store *st, struct seg *g)
{
	if (g->fd >= 0)
		(void)os_close(st->os, g->fd); /* only ever after its data is synced or given up */
	g->fd = -1;
	g->dirty = false;
}

/* a store of many collections must not hold a handle on each file: two stay, and those behind which something is unsynced */
static void seg_few_open(struct store *st, struct coll *c)
{
	uint32_t open = 0;
	for (uint32_t s = 0; s < ROWS_SEGS; s++)
		if (c->seg[s].fd >= 0 && ++open > 2 && !c->seg[s].dirty)
			seg_close(st, &c->seg[s]);
}

int slots_sync(struct store *st, struct coll *c, uint64_t *flushes)
{
	for (uint32_t s = 0; s < ROWS_SEGS; s++) {
		struct seg *g = &c->seg[s];
		if (g->dirty) {
			VX_TRY(os_fdatasync(st->os, g->fd));
			g->dirty = false;
			++*flushes;
		}
	}
	seg_few_open(st, c);
	if (c->dir_dirty) {
		VX_TRY(os_fsync(st->os, atomic_load(&c->dirfd)));
		c->dir_dirty = false;
		++*flushes;
	}
	return 0;
}

void slots_retire(struct store *st, struct coll *c)
{
	for (uint32_t s = 0; s < ROWS_SEGS; s++) {
		struct seg *g = &c->seg[s];
		seg_close(st, g);
		/* out of memory for the note: the map stays for the process's life, which is safe */
		if (g->map)
			(void)retire(st, g->map, g->map_bytes, NULL, NULL);
		*g = (struct seg){.fd = -1};
	}
	mem_free(MEM_store, c->free_w);
	c->free_w = NULL;
	c->free_words = c->free_n = c->free_hint = 0;
	c->next_row = c->punch_at = 0;
	atomic_store_explicit(&c->rows_seen, 0, memory_order_relaxed);
	atomic_store_explicit(&c->free_seen, 0, memory_order_relaxed);
	atomic_store_explicit(&c->scatter_seen, 0, memory_order_relaxed);
	c->was_bound = false;
}

void slots_done(struct store *st, struct coll *c)
{
	for (uint32_t s = 0; s < ROWS_SEGS; s++) {
		struct seg *g = &c->seg[s];
		seg_close(st, g);
		if (g->map)
			slots_unmap(st, g->map, g->map_bytes);
		g->map = NULL;
	}
	mem_free(MEM_store, c->free_w);
	mem_free(MEM_store, c->buf);
	slots_rows_free(st, atomic_load(&c->rows));
}

void slots_rows_free(struct store *st, struct vec_rows *r)
{
	for (uint32_t s = 0; r && s < ROWS_SEGS; s++)
		if (atomic_load(&r->fd1[s]))
			(void)os_close(st->os, atomic_load(&r->fd1[s]) - 1); /* read only */
	mem_free(MEM_store, r);
}

uint64_t slots_bytes(const struct coll *c)
{
	uint64_t n = 0;
	for (uint32_t s = 0; s < ROWS_SEGS; s++)
		n += c->seg[s].map_bytes;
	return n;
}

/* ---- giving room back ------------------------------------------------------------------------------------------------------- */

#define PUNCH_PAGE 4096u

static bool rows_free(const struct coll *c, uint32_t from, uint32_t to)
{
	for (; from < to; from++)
		if (!row_is_free(c, from))
			return false;
	return true;
}

/* the run of free rows from @row on within its segment, as whole pages: a page shared with a row in use stays. *ret_left: the rows of such */
static int punch_run(struct store *st, struct coll *c, uint32_t row, uint32_t end, uint32_t *ret_left)
{
	struct vec_rows *r = atomic_load(&c->rows);
	uint32_t seg = rows_seg(row), first = rows_seg_first(seg);
	struct seg *g = &c->seg[seg];
	uint64_t from = (file_bytes(r, row - first) + PUNCH_PAGE - 1) & ~(uint64_t)(PUNCH_PAGE - 1);
	uint64_t to = file_bytes(r, end - first);
	/* the last page goes whole when nothing follows in the file */
	if (end - first < g->rows)
		to &= ~(uint64_t)(PUNCH_PAGE - 1);
	*ret_left = to > from ? end - row - (uint32_t)((to - from) / r->stride) : end - row;
	if (to <= from || !g->map)
		return 0;
	if (g->fd < 0)
		VX_TRY(seg_open_fd(st, c, seg, O_RDWR, &g->fd));
	VX_TRY(os_fallocate(
	        st->os, g->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from)));
	atomic_fetch_add_explicit(&st->n_punched, to - from, memory_order_relaxed);
	return 0;
}

int slots_punch_step(struct store *st, struct coll *c, uint32_t rows)
{
	struct vec_rows *r = atomic_load(&c->rows);
	int rc = 0;
	if (c->punch_never || !r->stride) {
		atomic_store_explicit(&c->scatter_seen, c->free_n, memory_order_relaxed);
		return 0;
	}
	if (!c->punch_at)
		c->scatter_n = 0;
	uint32_t stop = c->punch_at + rows < c->next_row ? c->punch_at + rows : c->next_row;
	while (c->punch_at < stop && rc >= 0) {
		uint32_t row = c->punch_at, seg_end = rows_seg_first(rows_seg(row)) + rows_seg_count(rows_seg(row));
		if (!row_is_free(c, row)) {
			c->punch_at++;
			continue;
		}
		uint32_t end = row + 1;
		while (end < seg_end && end < c->next_row && end - row < 65536 && rows_free(c, end, end + 1))
			end++;
		c->punch_at = end;
		uint32_t left = 0;
		rc = punch_run(st, c, row, end, &left);
		c->punch_never = rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EINVAL;
		c->scatter_n = c->punch_never ? c->free_n : c->scatter_n + left;
	}
	seg_few_open(st, c);
	if (c->punch_never || (rc >= 0 && c->punch_at >= c->next_row))
		atomic_store_explicit(&c->scatter_seen, c->scatter_n, memory_order_relaxed);
	return rc < 0 ? rc : c->punch_at < c->next_row;
}

/* ---- directories ---------------------------------------------------------------------------------------------------------- */

int coll_dir_clear(struct store *st, int dirfd, bool keep_graphs)
{
	uint8_t buf[1024] __attribute__((aligned(8)));
	int fd = os_openat(st->os, dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), err = 0;
	if (fd < 0)
		return fd;
	ssize_t n;
	while ((n = os_getdents(st->os, fd, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at < n;) { /* linux_dirent64: u64 ino, i64 off, u16 reclen, u8 type, name */
			uint16_t reclen;
			const char *name = (const char *)buf + at + 19;
			memcpy(&reclen, buf + at + 16, sizeof reclen);
			at += reclen;
			size_t len = strlen(name);
			bool graph = len > 5 && !strcmp(name + len - 5, ".hnsw");
			if (name[0] == '.' || (graph && keep_graphs))
				continue;
			int rc = os_unlinkat(st->os, dirfd, name, 0);
			if (rc < 0 && rc != -ENOENT && !err)
				err = rc;
		}
	}
	(void)os_close(st->os, fd); /* read only */
	return n < 0 ? (int)n : err;
}

int store_slots_anywhere(struct os *os, int dirfd)
{
	uint8_t buf[1024] __attribute__((aligned(8)));
	int fd = os_openat(os, dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), found = 0;
	if (fd < 0)
		return fd;
	ssize_t n;
	while (!found && (n = os_getdents(os, fd, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at < n && !found;) { /* as above */
			uint16_t reclen;
			char path[32];
			struct sbuf b;
			struct stat sb;
			const char *name = (const char *)buf + at + 19;
			memcpy(&reclen, buf + at + 16, sizeof reclen);
			at += reclen;
			if (name[0] != 'c' || name[1] < '1' || name[1] > '9' ||
			        strspn(name + 1, "0123456789") != strlen(name + 1))
				continue;
			sbuf_fixed(&b, path, sizeof path);
			sb_str(&b, name);
			sb_str(&b, "/v0.vec");
			(void)sbuf_cstr(&b); /* terminates it in place; a longer name is no collection's */
			found = !b.over && os_fstatat(os, dirfd, path, &sb, AT_SYMLINK_NOFOLLOW) == 0;
		}
	}
	(void)os_close(os, fd); /* read only */
	return found ? 1 : n < 0 ? (int)n : 0;
}
