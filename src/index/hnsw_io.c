/* hnsw_io.c - the published graph: an immutable file that is served by mapping it.
 *
 * A file is one image, or several one after the other: the parts of a graph larger than memory (hnsw_part.c).  An image:
 *
 *     page 0        header (struct file_header), CRC of its first bytes
 *     mean          f32[dim] of the codes, or nothing
 *     projection    f32[code_dim] scales, then code_dim directions of dim bytes; nothing when code_dim is dim
 *     linked        a bit for each row from row_first on: linked here, and not in a later image
 *     blocks        node blocks of rows [row_first, rows_n), as in memory
 *     upper rows    up_n rows of M links
 *     page CRCs     crc32c of every page from 1 to the last of the upper rows
 *
 * Sections begin on pages of 4096 bytes, and places are counted from the image's start.  Open reads the header and the CRC table; a page's CRC is checked when it is first touched
 * (one bit a page), and every link and level is bounds-checked when followed.  Numbers are little-endian; a big-endian machine
 * refuses the file and rebuilds.
 *
 * A part under a memory limit is cold: what a search reads of it comes by pread into the work area, so that no more than that counts
 * as the process's memory; its codes are held in memory as far as the limit allows (hnsw_part.c).  The map is there for what is rare
 * (check, publish), whose pages trim_poll() lets go. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/guard.h"
#include "base/sbuf.h"
#include "base/trim.h"
#include "index/hnsw.h"

#define MAGIC     0x31574e4853465856ull /* "VXFSHNW1" */
#define VERSION   2u
#define WRITE_RUN (64u * HNSW_PAGE)
#define TRIM_ROWS 4096u

struct file_header {
	uint64_t magic;
	uint32_t version, header_bytes;
	uint64_t generation, seed;
	uint32_t dim, M, efc, rows_n;
	uint32_t count, entry, entry_level, up_n;
	uint32_t stride, code_dim;
	uint8_t metric, dtype, kind, codes_wanted;
	float scale;
	uint64_t mean_at, proj_at, linked_at, blocks_at, up_at, crc_at, image_bytes; /* from the image's start */
	uint32_t row_first;
	uint16_t more; /* 1: another image follows */
	uint16_t descent; /* width of a search's beam on upper levels, 0 as 1 */
	uint32_t table_crc, header_crc;
};
static_assert(sizeof(struct file_header) == 152, "on-disk layout");
static_assert(offsetof(struct file_header, mean_at) == 80, "on-disk layout");
static_assert(sizeof(hnsw_link) == 4, "links are plain words on disk");

struct hnsw_map {
	struct os *os;
	int fd; /* >= 0: cold, read by it */
	uint64_t at; /* the image in the file */
	const uint8_t *base;
	size_t bytes;
	uint64_t pages; /* with a CRC: 1 .. pages */
	uint64_t linked_at;
	const uint8_t *crc;
	_Atomic uint64_t *checked;
};

static uint64_t page_up(uint64_t n)
{
	return (n + HNSW_PAGE - 1) & ~(uint64_t)(HNSW_PAGE - 1);
}
static void header_places(struct file_header *h, bool mean)
{
	h->mean_at = HNSW_PAGE;
	h->proj_at = h->mean_at + (mean ? page_up((uint64_t)h->dim * 4) : 0);
	h->linked_at =
	        h->proj_at + (h->code_dim != h->dim ? page_up((uint64_t)h->code_dim * (4 + (uint64_t)h->dim)) : 0);
	uint64_t rows = h->rows_n - h->row_first;
	h->blocks_at = h->linked_at + page_up((rows + 63) / 64 * 8);
	h->up_at = h->blocks_at + page_up(rows * h->stride);
	h->crc_at = h->up_at + page_up((uint64_t)h->up_n * h->M * 4);
	h->image_bytes = h->crc_at + page_up((h->crc_at / HNSW_PAGE - 1) * 4);
}
static uint32_t header_crc(const struct file_header *h)
{
	return crc32c(0, h, offsetof(struct file_header, header_crc));
}

/* --- writing --- */
struct writer {
	struct os *os;
	int fd, rc;
	uint8_t *buf;
	uint32_t used;
	uint64_t start, at; /* of the image in the file; in the image */
	uint8_t *crc;
	uint64_t page;
};
static void put_flush(struct writer *w)
{
	for (uint32_t i = 0; i < w->used; i += HNSW_PAGE)
		le32_put(w->crc + 4 * w->page++, crc32c(0, w->buf + i, HNSW_PAGE));
	if (!w->rc && w->used)
		w->rc = os_pwrite_all(w->os, w->fd, w->buf, w->used, (off_t)(w->start + w->at));
	w->at += w->used;
	w->used = 0;
}
static void put(struct writer *w, const void *p, size_t n)
{
	const uint8_t *b = p;
	while (n) {
		size_t run = WRITE_RUN - w->used < n ? WRITE_RUN - w->used : n;
		if (b)
			memcpy(w->buf + w->used, b, run);
		else
			memset(w->buf + w->used, 0, run);
		b = b ? b + run : b;
		n -= run;
		w->used += (uint32_t)run;
		if (w->used == WRITE_RUN)
			put_flush(w);
	}
}
static void put_page_end(struct writer *w)
{
	if (w->used % HNSW_PAGE)
		put(w, NULL, HNSW_PAGE - w->used % HNSW_PAGE);
	put_flush(w);
}
/* rows past the last linked one and before the first are not worth a block */
static void rows_linked(const struct index *ix, const struct hnsw_view *v, uint32_t *from, uint32_t *to)
{
	*from = *to = 0;
	if (v->map) {
		*from = v->row_first;
		*to = v->nodes_cap_max;
		return;
	}
	for (uint32_t s = 0; s < ROWS_SEGS; s++) {
		uint32_t row, end;
		hnsw_seg_range(ix, v, s, &row, &end);
		for (; row < end; row++) {
			if (!(atomic_load(hnsw_meta(v, row)) & HNSW_META_LEVEL))
				continue;
			if (!*to)
				*from = row;
			*to = row + 1;
		}
	}
}
/* is the row's node to be found here? */
static bool linked_here(const struct index *ix, const struct hnsw_view *v, uint32_t row)
{
	return ix->has ? part_has(ix, row)
	               : hnsw_has(v, row) && (atomic_load(hnsw_meta(v, row)) & HNSW_META_LEVEL) != 0;
}
static void put_linked(struct writer *w, const struct index *ix, const struct hnsw_view *v, uint32_t from, uint32_t to)
{
	for (uint64_t at = from; at < to; at += 64) {
		uint8_t le[8];
		uint64_t bits = 0;
		for (uint32_t i = 0; i < 64 && at + i < to; i++)
			bits |= (uint64_t)linked_here(ix, v, (uint32_t)(at + i)) << i;
		le64_put(le, bits);
		put(w, le, sizeof(le));
	}
	put_page_end(w);
}
int hnsw_image_write(
        struct index *ix, struct os *os, int fd, uint64_t at, uint64_t generation, bool more, uint64_t *ret_end)
{
	const struct hnsw_view *v = atomic_load(&ix->view);
	uint64_t entry = atomic_load(&ix->entry);
	struct file_header h = {.magic = MAGIC,
	        .version = VERSION,
	        .header_bytes = sizeof(h),
	        .generation = generation,
	        .seed = ix->seed,
	        .dim = ix->dim,
	        .M = v->M,
	        .efc = ix->efc,
	        .count = atomic_load(&ix->count),
	        .more = more,
	        .descent = (uint16_t)atomic_load(&ix->descent),
	        .entry = (uint32_t)entry,
	        .entry_level = (uint32_t)(entry >> 32),
	        .up_n = atomic_load(&v->up_n),
	        .stride = v->stride,
	        .code_dim = v->codes.dim,
	        .metric = ix->metric,
	        .dtype = ix->dtype,
	        .kind = v->codes.kind,
	        .codes_wanted = ix->codes_wanted,
	        .scale = v->codes.scale};
	rows_linked(ix, v, &h.row_first, &h.rows_n);
	header_places(&h, v->codes.mean != NULL);
	size_t crc_bytes = (size_t)(h.image_bytes - h.crc_at);
	struct writer w = {.os = os, .fd = fd, .start = at, .at = HNSW_PAGE};
	w.buf = mem_alloc(MEM_index_work, WRITE_RUN);
	w.crc = mem_zalloc(MEM_index_work, crc_bytes + HNSW_PAGE);
	w.rc = w.buf && w.crc ? 0 : -ENOMEM;
	if (!w.rc && v->codes.mean) {
		put(&w, v->codes.mean, (size_t)h.dim * 4);
		put_page_end(&w);
	}
	if (!w.rc && v->codes.proj) {
		put(&w, v->codes.proj_scale, (size_t)h.code_dim * 4);
		put(&w, v->codes.proj, (size_t)h.code_dim * h.dim);
		put_page_end(&w);
	}
	if (!w.rc)
		put_linked(&w, ix, v, h.row_first, h.rows_n);
	for (uint32_t row = h.row_first; !w.rc && row < h.rows_n; row++) {
		put(&w, hnsw_has(v, row) ? hnsw_block(v, row) : NULL, v->stride);
		if (!(row % TRIM_ROWS))
			trim_poll();
	}
	if (!w.rc)
		put_page_end(&w);
	for (uint32_t r = 0; !w.rc && r < h.up_n; r++)
		put(&w, atomic_load(&v->up[rows_seg(r)]) ? (const void *)hnsw_up_row(v, r) : NULL, (size_t)v->M * 4);
	if (!w.rc)
		put_page_end(&w);
	vx_assert(w.rc || w.at == h.crc_at);
	if (!w.rc)
		w.rc = os_pwrite_all(os, fd, w.crc, crc_bytes, (off_t)(at + h.crc_at));
	if (!w.rc) {
		h.table_crc = crc32c(0, w.crc, crc_bytes);
		h.header_crc = header_crc(&h);
		memset(w.buf, 0, HNSW_PAGE);
		memcpy(w.buf, &h, sizeof(h));
		w.rc = os_pwrite_all(os, fd, w.buf, HNSW_PAGE, (off_t)at);
	}
	*ret_end = at + h.image_bytes;
	mem_free(MEM_index_work, w.buf);
	mem_free(MEM_index_work, w.crc);
	return w.rc;
}
/* every part, then the graph itself unless it is empty and there are parts */
static int write_all(struct index *ix, struct os *os, int fd, uint64_t generation)
{
	uint32_t n = atomic_load(&ix->part_n);
	bool own = !n || atomic_load(&ix->count);
	uint64_t at = 0;
	for (uint32_t i = 0; i < n; i++)
		VX_TRY(hnsw_image_write(ix->part[i], os, fd, at, generation, i + 1 < n || own, &at));
	return own ? hnsw_image_write(ix, os, fd, at, generation, false, &at) : 0;
}
int index_publish(struct index *ix, struct os *os, int dirfd, const char *name, uint64_t generation)
{
	char tmp[128];
	size_t len = strlen(name);
	if (len + 5 > sizeof(tmp))
		return -ENAMETOOLONG;
	memcpy(tmp, name, len);
	memcpy(tmp + len, ".tmp", 5);
	struct hnsw_view *v = atomic_load(&ix->view);
	uint64_t found;
	if (!v->map && ix->changes)
		VX_TRY(index_repair(ix, &found));
	if (v->map)
		VX_TRY(hnsw_map_verify(ix, v)); /* damage is not given a fresh CRC */
	for (uint32_t i = 0; i < atomic_load(&ix->part_n); i++)
		VX_TRY(hnsw_map_verify(ix->part[i], atomic_load(&ix->part[i]->view)));
	int fd = os_openat(os, dirfd, tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return fd;
	int rc = write_all(ix, os, fd, generation);
	if (!rc)
		rc = os_fsync(os, fd);
	int rc2 = os_close(os, fd);
	rc = rc ? rc : rc2;
	if (!rc)
		rc = os_renameat(os, dirfd, tmp, dirfd, name);
	if (rc) {
		(void)os_unlinkat(os, dirfd, tmp, 0); /* the first error is the one to report */
		return rc;
	}
	int self = os_openat(os, dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (self < 0)
		return self;
	rc = os_fsync(os, self);
	rc2 = os_close(os, self);
	return rc ? rc : rc2;
}

/* --- reading --- */
void hnsw_map_free(struct hnsw_map *m)
{
	if (!m)
		return;
	if (m->base) {
		guard_del(m->base);
		(void)os_munmap(m->os, m->base, m->bytes); /* nothing could be done about it */
	}
	if (m->fd >= 0)
		(void)os_close(m->os, m->fd); /* read only */
	mem_free(MEM_index, (void *)m->checked);
	mem_free(MEM_index, m);
}
static bool page_good(const struct hnsw_map *m, uint64_t page)
{
	return !page || page > m->pages ||
	       crc32c(0, m->base + page * HNSW_PAGE, HNSW_PAGE) == le32_get(m->crc + 4 * (page - 1));
}
bool hnsw_map_touch(struct index *ix, const struct hnsw_map *m, const void *p, size_t n)
{
	uint64_t at = (uint64_t)((const uint8_t *)p - m->base), first = at / HNSW_PAGE, last = (at + n - 1) / HNSW_PAGE;
	for (uint64_t page = first; page <= last; page++) {
		uint64_t bit = 1ull << (page & 63);
		if (atomic_load_explicit(&m->checked[page >> 6], memory_order_relaxed) & bit)
			continue;
		if (!page_good(m, page)) {
			atomic_store_explicit(&ix->failed, 1, memory_order_release);
			return false;
		}
		atomic_fetch_or_explicit(&m->checked[page >> 6], bit, memory_order_relaxed);
	}
	return true;
}
bool hnsw_cold(const struct hnsw_view *v)
{
	return v->map && v->map->fd >= 0;
}
bool hnsw_read(struct index *ix, const struct hnsw_view *v, const void *p, size_t n, void *to, uint8_t *page)
{
	const struct hnsw_map *m = v->map;
	uint64_t at = (uint64_t)((const uint8_t *)p - m->base), last = (at + n - 1) / HNSW_PAGE;
	bool good = true;
	for (uint64_t g = at / HNSW_PAGE; good && g <= last; g++) {
		uint64_t bit = 1ull << (g & 63);
		if (atomic_load_explicit(&m->checked[g >> 6], memory_order_relaxed) & bit)
			continue;
		good = !os_pread_all(m->os, m->fd, page, HNSW_PAGE, (off_t)(m->at + g * HNSW_PAGE)) && g &&
		       g <= m->pages && crc32c(0, page, HNSW_PAGE) == le32_get(m->crc + 4 * (g - 1));
		if (good)
			atomic_fetch_or_explicit(&m->checked[g >> 6], bit, memory_order_relaxed);
	}
	good = good && !os_pread_all(m->os, m->fd, to, n, (off_t)(m->at + at));
	if (!good) {
		memset(to, 0, n);
		atomic_store_explicit(&ix->failed, 1, memory_order_release);
	}
	return good;
}
/* bits of rows from @first on, whose words are @w(i), into those of rows from 0 on */
static void bits_or(uint64_t *ret, size_t words, uint32_t first, size_t i, uint64_t w)
{
	size_t at = first / 64 + i;
	if (at < words)
		ret[at] |= w << (first & 63);
	if ((first & 63) && at + 1 < words)
		ret[at + 1] |= w >> (64 - (first & 63));
}
int index_linked_bits(struct index *ix, uint64_t *ret, size_t words)
{
	const struct hnsw_view *v = atomic_load(&ix->view);
	uint32_t n = atomic_load_explicit(&ix->part_n, memory_order_acquire);
	memset(ret, 0, words * sizeof(*ret));
	for (uint64_t row = 0; !v->map && atomic_load(&ix->count) && row < words * 64; row++)
		if (index_linked(ix, (uint32_t)row))
			ret[row / 64] |= 1ull << (row & 63);
	if (v->map) {
		const uint8_t *p = v->map->base + v->map->linked_at;
		size_t own = ((size_t)(v->nodes_cap_max - v->row_first) + 63) / 64;
		if (own && !hnsw_map_touch(ix, v->map, p, own * 8))
			return -VX_ERR_graph_corrupt;
		for (size_t i = 0; i < own; i++)
			bits_or(ret, words, v->row_first, i, le64_get(p + 8 * i));
	}
	for (uint32_t k = 0; k < n; k++) {
		const struct hnsw_view *pv = atomic_load(&ix->part[k]->view);
		size_t own = ((size_t)(pv->nodes_cap_max - pv->row_first) + 63) / 64;
		for (size_t i = 0; i < own; i++)
			bits_or(ret, words, pv->row_first, i,
			        atomic_load_explicit(&ix->part[k]->has[i], memory_order_relaxed));
	}
	return atomic_load(&ix->failed) ? -VX_ERR_graph_corrupt : 0;
}
static bool links_good(const struct hnsw_view *v, uint32_t n, const hnsw_link *l, uint32_t level)
{
	for (uint32_t i = 0, end = 0; i < (level ? v->M : v->M0); i++) {
		uint32_t to = atomic_load_explicit(&l[i], memory_order_relaxed);
		if (to == HNSW_EMPTY) {
			end = 1;
			continue;
		}
		if (end || to >= n || to < v->row_first ||
		        (atomic_load_explicit(hnsw_meta(v, to), memory_order_relaxed) & HNSW_META_LEVEL) <= level)
			return false;
	}
	return true;
}
/* the upper link rows of a node are no other's: the first of two to be deleted would give the other's links away */
static bool up_rows_take(uint8_t *taken, uint32_t r, uint32_t n)
{
	for (; n--; r++) {
		if (taken[r >> 3] >> (r & 7) & 1)
			return false;
		taken[r >> 3] = (uint8_t)(taken[r >> 3] | 1u << (r & 7));
	}
	return true;
}
int hnsw_map_verify(struct index *ix, const struct hnsw_view *v)
{
	const struct hnsw_map *m = v->map;
	uint32_t n = v->nodes_cap_max, up = atomic_load(&v->up_n), count = 0;
	uint64_t entry = atomic_load(&ix->entry);
	uint8_t *taken = mem_zalloc(MEM_index_work, (size_t)up / 8 + 1);
	bool good = true;
	if (!taken)
		return -ENOMEM;
	if (m->pages)
		good = hnsw_map_touch(ix, m, m->base + HNSW_PAGE, (size_t)m->pages * HNSW_PAGE);
	for (uint32_t x = v->row_first; good && x < n; x++) {
		if (!(x % TRIM_ROWS))
			trim_poll();
		uint32_t meta = atomic_load_explicit(hnsw_meta(v, x), memory_order_relaxed),
		         levels = meta & HNSW_META_LEVEL;
		if (!levels)
			continue;
		count++;
		uint32_t r = meta >> HNSW_META_SHIFT;
		good = levels - 1 <= HNSW_LEVEL_MAX && levels - 1 <= (uint32_t)(entry >> 32) &&
		       (uint64_t)r + levels - 1 <= (levels > 1 ? up : UINT32_MAX) && up_rows_take(taken, r, levels - 1);
		for (uint32_t l = 0; good && l < levels; l++)
			good = links_good(v, n, hnsw_links(v, x, l), l);
	}
	mem_free(MEM_index_work, taken);
	good = good && count == atomic_load(&ix->count);
	if (good && count)
		good = (uint32_t)entry < n && (uint32_t)entry >= v->row_first &&
		       (atomic_load(hnsw_meta(v, (uint32_t)entry)) & HNSW_META_LEVEL) == (entry >> 32) + 1;
	if (!good)
		atomic_store_explicit(&ix->failed, 1, memory_order_release);
	return good ? 0 : -VX_ERR_graph_corrupt;
}
static int header_check(const struct file_header *h, const struct vec_rows *rows, uint64_t file_bytes)
{
	if (h->magic != MAGIC)
		return -VX_ERR_graph_corrupt;
	if (h->version != VERSION)
		return -VX_ERR_graph_version;
	if (h->header_crc != header_crc(h) || h->header_bytes != sizeof(*h))
		return -VX_ERR_graph_corrupt;
	if (h->dim != rows->dim || h->metric != rows->metric || h->dtype != rows->dtype)
		return -VX_ERR_graph_corrupt;
	if (h->M < 2 || h->M > HNSW_M_MAX || h->efc < 1 || h->efc > CONF_EF_MAX || h->kind > CODE_BITS ||
	        h->rows_n > CONF_ROWS_MAX || h->up_n > HNSW_UP_MAX || h->row_first > h->rows_n ||
	        h->count > h->rows_n - h->row_first || h->more > 1 || h->descent > CONF_EF_MAX ||
	        h->entry_level > HNSW_LEVEL_MAX || h->rows_n > atomic_load_explicit(&rows->n, memory_order_acquire))
		return -VX_ERR_graph_corrupt;
	/* a kind that does not suit the collection would be read as something else */
	bool exact = h->kind == CODE_EXACT, plain = rows->metric != VXM_hamming && rows->dtype != VXD_binary;
	bool suits = exact || (h->kind == CODE_F32 && rows->dtype == VXD_f32 && plain && rows->metric != VXM_l1) ||
	             ((h->kind == CODE_SQ8 || h->kind == CODE_BF16) && plain && rows->metric != VXM_l1) ||
	             (h->kind == CODE_SQ8_L1 && plain && rows->metric == VXM_l1) ||
	             (h->kind == CODE_BITS && rows->dtype == VXD_binary && rows->metric != VXM_dot &&
	                     rows->metric != VXM_cosine);
	struct file_header want = *h;
	header_places(&want, h->proj_at != HNSW_PAGE);
	if (!suits || memcmp(&want, h, sizeof(want)) ||
	        (h->more ? h->image_bytes >= file_bytes : h->image_bytes != file_bytes))
		return -VX_ERR_graph_corrupt;
	return 0;
}
static int map_image(struct index *ix, struct os *os, int fd, uint64_t at, bool cold, const struct file_header *h,
        struct hnsw_map **ret)
{
	struct hnsw_map *m = mem_zalloc(MEM_index, sizeof(*m));
	const void *base;
	if (!m)
		return -ENOMEM;
	m->os = os;
	m->fd = -1;
	m->at = at;
	m->bytes = (size_t)h->image_bytes;
	m->pages = h->crc_at / HNSW_PAGE - 1;
	m->linked_at = h->linked_at;
	m->checked = mem_zalloc(MEM_index, (size_t)(h->image_bytes / HNSW_PAGE / 64 + 1) * 8);
	int rc = m->checked ? os_mmap_ro(os, fd, (off_t)at, m->bytes, &base) : -ENOMEM;
	if (!rc) {
		m->base = base;
		/* a file that is cut short or cannot be read: zeros, and the graph has failed; unwatched if the table is full */
		(void)guard_add(base, m->bytes, &ix->failed, 1, false);
		m->crc = m->base + h->crc_at;
		if (crc32c(0, m->crc, (size_t)(h->image_bytes - h->crc_at)) != h->table_crc)
			rc = -VX_ERR_graph_corrupt;
	}
	if (!rc && cold && (m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
		rc = -errno;
	if (rc) {
		hnsw_map_free(m);
		return rc;
	}
	*ret = m;
	return 0;
}
/* a copy of a part of the file that is used all the time */
static int part(struct index *ix, const struct hnsw_map *m, uint64_t at, size_t n, void **ret)
{
	if (!hnsw_map_touch(ix, m, m->base + at, n))
		return -VX_ERR_graph_corrupt;
	void *p = mem_alloc(MEM_index, n);
	if (!p)
		return -ENOMEM;
	memcpy(p, m->base + at, n);
	*ret = p;
	return 0;
}
static int view_of(struct index *ix, const struct file_header *h, struct hnsw_map *m, struct hnsw_view **ret)
{
	struct hnsw_view *v;
	VX_TRY(hnsw_view_new(ix, h->kind, &v));
	hnsw_layout(v, h->M, 2 * h->M, h->kind, h->code_dim);
	v->map = m;
	v->nodes_cap_max = h->rows_n;
	v->row_first = h->row_first;
	v->codes.scale = h->scale;
	v->codes.inv_scale = 1.0f / h->scale;
	atomic_store(&v->up_n, h->up_n);
	int rc = v->stride == h->stride ? 0 : -VX_ERR_graph_corrupt;
	if (!rc && h->proj_at != HNSW_PAGE)
		rc = part(ix, m, h->mean_at, (size_t)h->dim * 4, (void **)&v->codes.mean);
	if (!rc && h->code_dim != h->dim)
		rc = part(ix, m, h->proj_at, (size_t)h->code_dim * 4, (void **)&v->codes.proj_scale);
	if (!rc && h->code_dim != h->dim)
		rc = part(ix, m, h->proj_at + (uint64_t)h->code_dim * 4, (size_t)h->code_dim * h->dim,
		        (void **)&v->codes.proj);
	/* a segment that begins before row_first begins, as an address, before the blocks: nothing is read there */
	for (uint32_t s = 0; s < ROWS_SEGS && rows_seg_first(s) < h->rows_n; s++)
		if (rows_seg_first(s) + rows_seg_count(s) > h->row_first)
			atomic_store(&v->seg[s], (uint8_t *)((uintptr_t)m->base + h->blocks_at +
			                                     ((uint64_t)rows_seg_first(s) - h->row_first) * h->stride));
	for (uint32_t s = 0; s < ROWS_SEGS && rows_seg_first(s) < h->up_n; s++)
		atomic_store(&v->up[s],
		        (hnsw_link *)(uintptr_t)(m->base + h->up_at + (uint64_t)rows_seg_first(s) * h->M * 4));
	if (rc) {
		v->map = NULL; /* the caller's, until it is handed over */
		for (uint32_t s = 0; s < ROWS_SEGS; s++) {
			atomic_store(&v->seg[s], NULL);
			atomic_store(&v->up[s], NULL);
		}
		hnsw_view_free(v);
		return rc;
	}
	*ret = v;
	return 0;
}
/* what is linked in a part, as a bitmap in memory: asked for every row when publishing */
static int part_bits(struct index *part, const struct hnsw_view *v, uint64_t at, uint32_t rows)
{
	size_t words = ((size_t)rows + 63) / 64;
	const uint8_t *p = v->map->base + at;
	if (words && !hnsw_map_touch(part, v->map, p, words * 8))
		return -VX_ERR_graph_corrupt;
	part->has = mem_zalloc(MEM_index, (words + 1) * sizeof(*part->has));
	if (!part->has)
		return -ENOMEM;
	uint32_t set = 0;
	for (size_t i = 0; i < words; i++) {
		atomic_store_explicit(&part->has[i], le64_get(p + 8 * i), memory_order_relaxed);
		set += (uint32_t)__builtin_popcountll(le64_get(p + 8 * i));
	}
	/* rows that are gone from it have nodes, but no bits */
	if (set > atomic_load(&part->count))
		return -VX_ERR_graph_corrupt;
	atomic_store(&part->gone, atomic_load(&part->count) - set);
	return 0;
}
static int image_header(const struct vec_rows *rows, struct os *os, int fd, uint64_t at, struct file_header *ret)
{
	struct stat st;
	VX_TRY(os_fstat(os, fd, &st));
	if (st.st_size < (off_t)(at + HNSW_PAGE) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
		return -VX_ERR_graph_corrupt;
	VX_TRY(os_pread_all(os, fd, ret, sizeof(*ret), (off_t)at));
	return header_check(ret, rows, (uint64_t)st.st_size - at);
}
/* the image at @at becomes the view of ix, which is empty */
static int image_into(struct index *ix, struct os *os, int fd, uint64_t at, bool cold, const struct file_header *h)
{
	struct hnsw_map *m = NULL;
	struct hnsw_view *v;
	VX_TRY(map_image(ix, os, fd, at, cold, h, &m));
	int rc = view_of(ix, h, m, &v);
	if (rc) {
		hnsw_map_free(m);
		return rc;
	}
	atomic_store(&ix->entry, h->entry | (uint64_t)h->entry_level << 32);
	atomic_store(&ix->count, h->count);
	atomic_store(&ix->descent, h->descent);
	hnsw_view_swap(ix, v);
	return 0;
}
int hnsw_image_open(struct index *ix, int fd, uint64_t at, bool cold, struct index **ret)
{
	struct file_header h;
	struct index *part;
	VX_TRY(image_header(ix->rows, ix->os, fd, at, &h));
	struct index_cfg c = {
	        .M = h.M, .ef_construction = h.efc, .seed = h.seed, .codes = ix->codes_wanted, .threads = 1};
	VX_TRY(index_new(ix->rows, &c, &part));
	int rc = image_into(part, ix->os, fd, at, cold, &h);
	if (!rc) {
		const struct hnsw_view *v = atomic_load(&part->view);
		rc = part_bits(part, v, h.linked_at, h.rows_n - h.row_first);
	}
	if (rc) {
		index_free(part);
		return rc;
	}
	*ret = part;
	return 0;
}
/* several images, or one that is larger than a part: parts of a graph that is empty so far */
static int open_parts(struct index *ix, int fd, bool cold, struct file_header *h)
{
	uint64_t at = 0;
	for (bool more = true; more;) {
		struct index *part;
		VX_TRY(image_header(ix->rows, ix->os, fd, at, h));
		VX_TRY(hnsw_image_open(ix, fd, at, cold, &part));
		int rc = part_add(ix, part);
		if (rc) {
			index_free(part);
			return rc;
		}
		at += h->image_bytes;
		more = h->more;
	}
	return 0;
}
static int open_fd(struct index **ret, const struct vec_rows *rows, const struct index_cfg *cfg, struct os *os, int fd,
        uint64_t *ret_generation)
{
	struct file_header h;
	struct index *ix;
	VX_TRY(image_header(rows, os, fd, 0, &h));
	struct index_cfg c = cfg ? *cfg : (struct index_cfg){.dirfd = -1};
	c.M = h.M;
	c.ef_construction = h.efc;
	c.seed = h.seed;
	c.os = os;
	VX_TRY(index_new(rows, &c, &ix));
	bool cold = c.part_bytes && h.image_bytes > c.part_bytes;
	int rc = h.more || cold ? open_parts(ix, fd, c.part_bytes != 0, &h) : image_into(ix, os, fd, 0, false, &h);
	if (rc) {
		index_free(ix);
		return rc;
	}
	*ret_generation = h.generation;
	*ret = ix;
	return 0;
}
int index_open(const struct vec_rows *rows, const struct index_cfg *cfg, struct os *os, int dirfd, const char *name,
        uint64_t *ret_generation, struct index **ret)
{
	int fd = os_openat(os, dirfd, name, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	int rc = open_fd(ret, rows, cfg, os, fd, ret_generation);
	(void)os_close(os, fd); /* read only: nothing can be lost */
	return rc;
}
