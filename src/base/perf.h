/* perf.h - counters and latency histograms, lock-free, one slot an operation.
 *
 * An operation is a FUSE request kind or a vector verb.  A histogram has 4 buckets an octave from 64 ns to 2^42 ns, so a quantile
 * is right within 19%.  Recording is two relaxed atomic adds. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* the formatter never comes to rest on this table */
/* clang-format off */
#define PERF_OPS(X) \
	X(none) X(lookup) X(forget) X(getattr) X(setattr) X(readlink) X(symlink) X(mknod) X(mkdir) X(unlink) \
	X(rmdir) X(rename) X(link) X(open) X(read) X(write) X(statfs) X(release) X(fsync) X(setxattr) X(getxattr) \
	X(listxattr) X(removexattr) X(flush) X(init) X(opendir) X(readdir) X(readdirplus) X(releasedir) X(fsyncdir) \
	X(getlk) X(setlk) X(setlkw) X(access) X(create) X(interrupt) X(bmap) X(destroy) X(ioctl) X(poll) \
	X(batch_forget) X(fallocate) X(lseek) X(copy_file_range) X(tmpfile) X(fuse_other) X(v_put) X(v_get) X(v_del) \
	X(v_payload) X(v_search) X(v_similar) X(v_text) X(v_batch_put) X(v_status) X(v_wait) X(v_collection) \
	X(v_state) X(v_query) X(v_export) X(v_verify) X(hnsw_search) X(hnsw_insert) X(hnsw_delete) X(flat_search) \
	X(hnsw_publish) X(store_put) X(store_commit) X(store_open) X(store_fts) X(ingest_file) X(walk) X(embed_batch) X(embed_query)
/* clang-format on */
enum perf_op {
#define X(n) PERF_##n,
	PERF_OPS(X)
#undef X
	        PERF_OP_N
};
/* the formatter never comes to rest on this table */
/* clang-format off */
#define PERF_COUNTERS(X) \
	X(flushes) X(commits) X(commit_ops) X(bytes_slots) X(bytes_catalog) X(distances) X(hops) X(searches) \
	X(parked) X(inline_done) X(ingest_queued) X(ingest_done) X(ingest_failed) X(events_lost) X(stack_warned) \
	X(stack_refused) X(pool_hits) X(pool_misses) X(tail_rows) X(graph_rebuilt) X(walks) X(fs_read_bytes) \
	X(fs_write_bytes) X(perm_denied) X(embed_chunks) X(embed_reused) X(embed_files) X(embed_failed) X(embed_queries) \
	X(note_met) X(note_waits) X(note_met_ingest) X(note_waits_ingest) X(embed_singly) X(embed_refused)
/* clang-format on */
enum perf_counter {
#define X(n) PERFC_##n,
	PERF_COUNTERS(X)
#undef X
	        PERFC_N
};
void perf_op(enum perf_op op, uint64_t ns, uint64_t bytes);
void perf_add(enum perf_counter c, uint64_t n);
uint64_t perf_get(enum perf_counter c);
void perf_set(enum perf_counter c, uint64_t v);
const char *perf_op_name(enum perf_op op);
const char *perf_counter_name(enum perf_counter c);
struct perf_stat {
	uint64_t count, bytes, sum_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns;
};
void perf_read(enum perf_op op, struct perf_stat *ret);
void perf_reset(void);
