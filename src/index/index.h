/* index.h - nearest-neighbour search over the rows of one collection.
 *
 * Two ways to an answer: flat_search scans exactly; struct index is an HNSW graph over the same rows.  Rows are u32 numbers of a
 * struct vec_rows, owned by the store; the index keeps only links and codes.  One writer (the index thread, or several during a
 * parallel build) links rows; readers take no lock and may run at any time.  Who is live is the caller's bitset: an unset row is
 * walked through but never returned.  All work areas come from pools; a search allocates nothing. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/os.h"
#include "simd/rows.h"

enum index_codes { INDEX_CODES_AUTO, INDEX_CODES_F32, INDEX_CODES_SQ8, INDEX_CODES_BF16 };

struct index_cfg {
	uint32_t M; /* links a node, upper levels; level 0 has 2M. 2..64, 0: 16 */
	uint32_t ef_construction; /* 0: 200 */
	uint32_t threads; /* search work areas: most searches at once. 0: 8 */
	uint64_t seed; /* of the level draw; 0: fixed default */
	uint8_t codes; /* enum index_codes */
	/* A graph larger than memory: when it has grown to part_bytes it is sealed, written to an unlinked file in dirfd and read from
	 * there block by block, and another begins; searches ask all of them. 0: never. */
	uint64_t part_bytes;
	struct os *os;
	int dirfd;
};
struct index_hit {
	uint32_t row;
	float distance; /* the metric's unit: l2 squared, cosine 1-cos, dot -dot, l1 sum, hamming bits; ascending is better */
};
struct index_query {
	const void *q; /* the query in the collection's dtype (f32[dim] for f32), not normalised; borrowed */
	uint32_t k, ef; /* ef < k is raised to k; ef 0: default */
	const struct row_bits *live; /* rows that may be returned; required */
	const struct row_bits *filter; /* further restriction, or NULL */
	const uint32_t *extra; /* rows not linked yet, scanned exactly and merged (the tail); may be NULL */
	uint32_t extra_n;
	const _Atomic int *cancel; /* polled; nonzero ends with -VX_ERR_cancelled; may be NULL */
	/* out */
	uint64_t distances, hops; /* counted for this query */
	bool exact; /* the answer was found by exact scan */
};
struct index;

/* index_new - an empty graph over @rows (borrowed for the index's life). */
int index_new(const struct vec_rows *rows, const struct index_cfg *cfg, struct index **ret);
void index_free(struct index *ix); /* takes NULL */

/* index_insert - link a row whose vector is readable in rows. Writer. O(log n) distances. 0, or < 0 and nothing changed.
 * Inserting a linked row again is index_update. */
int index_insert(struct index *ix, uint32_t row);
/* index_delete - unlink a row and repair its neighbours; the row may then be reused after index_insert. Writer. 0; -ENOENT. */
int index_delete(struct index *ix, uint32_t row);
/* index_delete_many - the same for n rows at once; those not linked are passed over.  One pass over the link rows serves them all,
 * so a row of a thousand costs a fraction of a single one.  0; < 0: some may still be linked (index_linked). */
int index_delete_many(struct index *ix, const uint32_t *rows, uint32_t n);
int index_update(struct index *ix, uint32_t row);
/* index_build - link rows[0..n) with @threads threads (1..64). Stops early, cleanly, when *stop becomes nonzero (NULL: never). */
int index_build(struct index *ix, const uint32_t *rows, uint32_t n, uint32_t threads, const _Atomic int *stop);
bool index_linked(const struct index *ix, uint32_t row);
/* index_linked_bits - the same of all rows below 64 x @words at once, bit by bit: of a mapped graph without looking at its nodes.
 * 0; -VX_ERR_graph_corrupt. */
int index_linked_bits(struct index *ix, uint64_t *ret, size_t words);
uint32_t index_count(const struct index *ix); /* linked rows */

/* index_search - k nearest among live (∩ filter) rows ∪ extra, best first; always k when k exist (may turn to exact scan when few
 * rows pass). Ties by row number.  @ret hit[k].  Return hits written or < 0. No allocation; frame budget 4096 B in all. */
int index_search(struct index *ix, struct index_query *q, struct index_hit *ret);
/* flat_search - the same answer by exact scan of rows [0, rows->n); the oracle. Needs no index. Work memory: k hits. */
int flat_search(const struct vec_rows *rows, struct index_query *q, struct index_hit *ret);
/* flat_distance - the metric's distance of two vectors in the rows' dtype; the reference. */
float flat_distance(const struct vec_rows *rows, const void *a, const void *b);
/* index_score - higher is better, from a distance: cosine 1-d; dot -d; l2 1/(1+d); l1 1/(1+d); hamming 1-d/bits. */
float index_score(uint8_t metric, uint32_t dim, float distance);

/* index_search_batch - n queries (1..CONF_BATCH_MAX) by up to @threads threads, this one included.
 * @ret    ret[i] holds q[i].k hits;  @ret_n  what index_search returned for each.  0 or -VX_ERR_batch_range. */
int index_search_batch(struct index *ix, struct index_query *q, uint32_t n, uint32_t threads,
        struct index_hit *const *ret, int *ret_n);
/* index_search_range - every row not farther than @most_distance, nearest first, at most q->k of them (hit[k]). As exact as ef. */
int index_search_range(struct index *ix, struct index_query *q, float most_distance, struct index_hit *ret);
/* what the live index is measured with: stored rows as queries, each left out of its own answer */
struct index_sample {
	const struct row_bits *live;
	const uint32_t *extra; /* rows not linked yet, as in struct index_query; may be NULL */
	uint32_t extra_n;
	uint32_t k, n; /* n: 1..1000 queries, spread over the rows */
	const _Atomic int *cancel;
};
/* index_recall - recall@k of the live index at @ef, measured against the exact scan.  Costs a scan a query: for background threads.
 * 0 or < 0. */
int index_recall(struct index *ix, const struct index_sample *s, uint32_t ef, double *ret_recall);
/* index_tune - the least of a row of ef values, from @from on, whose measured recall reaches @target in [0, 1]; 0: none does, search
 * exactly.  @ret_recall  what was measured at the last ef tried. */
int index_tune(struct index *ix, const struct index_sample *s, uint32_t from, double target, uint32_t *ret_ef,
        double *ret_recall);

/* index_publish - write the graph as an immutable file `name` in dirfd: temporary file, fsync, rename, fsync of the directory.
 * CRC a 4 KiB page; the header records dim, metric, M, count, entry, @generation. Runs beside searches; not beside writers. */
int index_publish(struct index *ix, struct os *os, int dirfd, const char *name, uint64_t generation);
/* index_open - map a published graph; each page's CRC is checked at its first touch. Serves searches at once; the first
 * insert copies it into memory. -VX_ERR_graph_corrupt, -VX_ERR_graph_version. */
int index_open(const struct vec_rows *rows, const struct index_cfg *cfg, struct os *os, int dirfd, const char *name,
        uint64_t *ret_generation, struct index **ret);
/* index_resident - make a mapped graph writable (copies). Writer. */
int index_resident(struct index *ix);
/* index_failed - a page of the mapped graph was found damaged: the caller answers exactly and rebuilds. */
bool index_failed(const struct index *ix);
/* index_hold_step - under a memory limit: read codes of sealed parts into memory while that leaves an eighth of the limit free, some
 * thousand rows a step, so that a search reads links alone from the file; or give them back when memory is short. Not beside writers.
 * 1: there is more to do; 0: nothing; -VX_ERR_graph_corrupt, -ENOMEM. */
int index_hold_step(struct index *ix);
/* index_hold_release - give all of them back now; waits for the searches under way. Beside anything but a search of one's own. */
void index_hold_release(struct index *ix);
/* index_hold_due - memory became short, or has not been for a minute: index_hold_step should be called. Beside anything. */
bool index_hold_due(const struct index *ix);
/* index_worn - more than half of what sealed parts hold is gone from the collection: the caller builds anew. */
bool index_worn(const struct index *ix);

struct index_report {
	uint64_t nodes, links, unreachable, one_way, out_of_bounds, bad_level, self_links, duplicate_links,
	        bad_indegree;
};
/* index_check - verify the raw graph: levels, bounds, duplicates, in-degrees (the graph's own knowledge of who links back),
 * reachability of every node from the entry point.  one_way links are counted, not a finding: a full neighbour may choose others.
 * Not beside writers. 0, or -VX_ERR_graph_corrupt with the report filled. */
int index_check(struct index *ix, struct index_report *ret);
/* index_repair - link again every node that the entry point cannot reach. Writer. @ret_found how many there were. */
int index_repair(struct index *ix, uint64_t *ret_found);
struct index_stats {
	uint32_t nodes, max_level, entry, M, ef_construction;
	uint64_t bytes, mapped_bytes;
	uint8_t codes;
	bool mapped;
	uint32_t parts, parts_held; /* sealed; with their codes in memory */
	uint64_t looked; /* link rows looked at by deletions so far */
};
void index_stats(const struct index *ix, struct index_stats *ret);
