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
 * Sealing beside searches: the part is listed first, then the entry point is cleared, then the empty view published.  A reader loads
 * view, entry, and the list, in this order, so it may find rows twice, but never not. */
#include <fcntl.h>
#include <string.h>
#include "index/hnsw.h"

#define PART_NAME "part.tmp"

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
