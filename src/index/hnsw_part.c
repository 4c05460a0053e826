/* hnsw_part.c - a graph larger than the memory it may have: parts.
 *
 * Rows are linked in a graph in memory, as ever.  When that has grown to cfg.part_bytes it is sealed: written as an image (hnsw_io.c) to
 * a file without a name, opened from there as a part, and the graph begins anew, empty, with the same codes.  Each part is a whole
 * graph over the rows it was built from, never changed again; a search asks the graph and every part and merges, and since each finds
 * its own nearest, recall does not suffer: what is paid is a walk for every part.  (Lucene's segments; a part is not merged with others.)
 *
 * A row that is deleted, or put anew, loses its bit in `has` and nothing else: its node is still walked through.  If the row number is
 * given to another vector, the old node leads there by the old code, but a hit is ranked by the vector that is stored now.  When half
 * of all is gone the owner builds anew (index_worn).
 *
 * What a walk reads most are codes: some twelve of them at each step, beside one row of links.  While the limit leaves room, a part's
 * codes are therefore held in memory, packed (index_hold_step, a part at a time, behind); links are read from the file, and the few
 * vectors of the re-rank as well.  When less than a sixteenth of the limit is free, the newest held part is given up; when somebody was
 * refused memory, all are, and for a minute nothing is held: a search can do without.  Readers load view->held at each use, and a block is freed after a grace.
 *
 * Sealing beside searches: the part is listed first, then the entry point is cleared, then the empty view published.  A reader loads
 * view, entry, and the list, in this order, so it may find rows twice, but never not. */
#include <fcntl.h>
#include <string.h>
#include "index/hnsw.h"

#define PART_NAME     "part.tmp"
#define HOLD_ROWS     16384u /* read in a step */
#define HOLD_HUGE     ((size_t)1 << 20)
#define HOLD_AGAIN_NS 60000000000ull

bool part_has(const struct index *part, uint32_t row)
{
	const struct hnsw_view *v = atomic_load(&part->view);
	if (row < v->row_first || row >= v->nodes_cap_max)
		return false;
	uint32_t i = row - v->row_first;
	return atomic_load_explicit(&part->has[i >> 6], memory_order_relaxed) >> (i & 63) & 1;
}
void part_drop(struct index *part, uint32_t row)
{
	uint32_t i = row - atomic_load(&part->view)->row_first;
	atomic_fetch_and_explicit(&part->has[i >> 6], ~(1ull << (i & 63)), memory_order_relaxed);
	atomic_fetch_add_explicit(&part->gone, 1, memory_order_relaxed);
}
int part_add(struct index *ix, struct index *part)
{
	uint32_t n = atomic_load(&ix->part_n);
	if (n == HNSW_PARTS_MAX)
		return -VX_ERR_mem_limit;
	ix->part[n] = part;
	atomic_store_explicit(&ix->part_n, n + 1, memory_order_release);
	return 0;
}
static int to_file(struct index *ix, struct index **ret)
{
	uint64_t end, found;
	VX_TRY(index_repair(ix, &found));
	int fd = os_openat(ix->os, ix->dirfd, PART_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return fd;
	(void)os_unlinkat(ix->os, ix->dirfd, PART_NAME, 0); /* a name left behind is written over by the next */
	int rc = hnsw_image_write(ix, ix->os, fd, 0, 0, false, &end);
	if (!rc)
		rc = hnsw_image_open(ix, fd, 0, true, ret);
	int rc2 = os_close(ix->os, fd);
	return rc ? rc : rc2;
}
int part_room(struct index *ix)
{
	struct hnsw_view *v = atomic_load(&ix->view), *nv;
	struct index *part;
	uint64_t bytes = (uint64_t)atomic_load(&ix->count) * (v->stride + 4);
	if (!ix->part_bytes || v->map || bytes < ix->part_bytes || atomic_load(&ix->part_n) == HNSW_PARTS_MAX)
		return 0;
	VX_TRY(hnsw_view_new(ix, v->codes.kind, &nv));
	int rc = hnsw_codes_copy(&nv->codes, &v->codes);
	hnsw_layout(nv, ix->M, ix->M0, v->codes.kind, v->codes.dim);
	if (!rc)
		rc = to_file(ix, &part);
	if (!rc && (rc = part_add(ix, part)))
		index_free(part);
	if (rc) {
		hnsw_view_free(nv);
		return rc;
	}
	atomic_store(&ix->entry, HNSW_EMPTY);
	atomic_store(&ix->count, 0);
	ix->changes = 0;
	for (uint32_t i = 0; i <= HNSW_LEVEL_MAX; i++)
		ix->up_free[i] = HNSW_EMPTY;
	hnsw_view_swap(ix, nv);
	return 0;
}

/* --- codes in memory --- */
static size_t hold_bytes(const struct hnsw_view *v)
{
	return (size_t)(v->nodes_cap_max - v->row_first) * v->held_stride;
}
void part_hold_free(const struct hnsw_view *v, uint8_t *p)
{
	if (hold_bytes(v) >= HOLD_HUGE)
		mem_huge_free(MEM_index, p, hold_bytes(v));
	else
		mem_free(MEM_index, p);
}
/* the last part that is held, or being read; NULL: none */
static struct index *last_held(const struct index *ix)
{
	for (uint32_t i = atomic_load_explicit(&ix->part_n, memory_order_acquire); i--;)
		if (ix->part[i]->hold ||
		        atomic_load_explicit(&atomic_load(&ix->part[i]->view)->held, memory_order_relaxed))
			return ix->part[i];
	return NULL;
}
static void give_up(struct index *ix, struct index *part)
{
	struct hnsw_view *v = atomic_load(&part->view);
	uint8_t *p = atomic_exchange(&v->held, NULL);
	if (p) {
		hnsw_grace(ix); /* readers take their work areas from the whole */
		part_hold_free(v, p);
	}
	if (part->hold)
		part_hold_free(v, part->hold);
	part->hold = NULL;
}
static bool pressed(void)
{
	uint64_t limit = mem_limit();
	return limit && mem_used_all() > limit - limit / 16;
}
static bool any_held(const struct index *ix)
{
	for (uint32_t i = atomic_load_explicit(&ix->part_n, memory_order_acquire); i--;)
		if (atomic_load_explicit(&atomic_load(&ix->part[i]->view)->held, memory_order_relaxed))
			return true;
	return false;
}
static bool refused(const struct index *ix)
{
	return mem_refused() != atomic_load_explicit(&ix->refused_seen, memory_order_relaxed);
}
bool index_hold_due(const struct index *ix)
{
	uint64_t after = atomic_load_explicit(&ix->hold_after_ns, memory_order_relaxed);
	if (after)
		return os_mono_ns(ix->os) >= after;
	return (refused(ix) || pressed()) && any_held(ix);
}
static void relieve(struct index *ix)
{
	uint64_t now = mem_refused();
	bool all = refused(ix);
	for (struct index *p; (all || pressed()) && (p = last_held(ix));) {
		give_up(ix, p);
		if (all)
			atomic_store_explicit(
			        &ix->hold_after_ns, os_mono_ns(ix->os) + HOLD_AGAIN_NS, memory_order_relaxed);
	}
	/* what was refused while nothing was held is not ours to mend */
	atomic_store_explicit(&ix->refused_seen, now, memory_order_relaxed);
}
/* is there room for a part's codes, and are they worth it? A part over few of many rows would hold mostly nothing */
static bool hold_begin(struct index *part, struct hnsw_view *v)
{
	uint64_t limit = mem_limit(), rows = v->nodes_cap_max - v->row_first;
	if (rows > 2 * (uint64_t)atomic_load(&part->count))
		return false;
	v->held_stride = (v->off_code - v->off_a + v->codes.bytes + 3u) & ~3u;
	size_t n = hold_bytes(v);
	if (limit && mem_used_all() + n > limit - limit / 8)
		return false;
	part->hold = n >= HOLD_HUGE ? mem_huge_alloc(MEM_index, n) : mem_alloc(MEM_index, n);
	part->hold_n = 0;
	return part->hold;
}
static int hold_some(struct index *ix, struct index *part, struct hnsw_view *v)
{
	uint32_t rows = v->nodes_cap_max - v->row_first, n = v->off_code - v->off_a + v->codes.bytes;
	uint32_t end = rows - part->hold_n < HOLD_ROWS ? rows : part->hold_n + HOLD_ROWS;
	uint8_t *page = mem_alloc(MEM_index_work, HNSW_PAGE);
	const bool room = page;
	bool good = room;
	for (; good && part->hold_n < end; part->hold_n++)
		good = hnsw_read(part, v, hnsw_block(v, v->row_first + part->hold_n) + v->off_a, n,
		        part->hold + (size_t)part->hold_n * v->held_stride, page);
	mem_free(MEM_index_work, page);
	if (!good) {
		give_up(ix, part);
		return room ? -VX_ERR_graph_corrupt : -ENOMEM;
	}
	if (part->hold_n == rows) {
		atomic_store_explicit(&v->held, part->hold, memory_order_release);
		part->hold = NULL;
	}
	return 1;
}
void index_hold_release(struct index *ix)
{
	pthread_mutex_lock(&ix->hold_lock);
	for (struct index *p; (p = last_held(ix));)
		give_up(ix, p);
	pthread_mutex_unlock(&ix->hold_lock);
}
static int hold_step(struct index *ix)
{
	uint32_t n = atomic_load_explicit(&ix->part_n, memory_order_acquire);
	uint64_t after = atomic_load_explicit(&ix->hold_after_ns, memory_order_relaxed);
	if (!n)
		return 0;
	if (refused(ix) || pressed()) {
		relieve(ix);
		return 0;
	}
	if (after && os_mono_ns(ix->os) < after)
		return 0;
	atomic_store_explicit(&ix->hold_after_ns, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++) {
		struct index *part = ix->part[i];
		struct hnsw_view *v = atomic_load(&part->view);
		if (!hnsw_cold(v) || !v->codes.bytes || atomic_load_explicit(&v->held, memory_order_relaxed) ||
		        atomic_load(&part->failed))
			continue;
		if (part->hold || hold_begin(part, v))
			return hold_some(ix, part, v);
	}
	return 0;
}
int index_hold_step(struct index *ix)
{
	pthread_mutex_lock(&ix->hold_lock);
	int rc = hold_step(ix);
	pthread_mutex_unlock(&ix->hold_lock);
	return rc;
}
