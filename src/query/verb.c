/* verb.c - the one table of what can be asked.  A verb added here is known to the query file, the ioctl, the network fronts and
 * the command; what it takes is its key mask, and who may ask is checked in vq.c before the engine hears of it. */
#include <string.h>

#include "query/query.h"
#include "vexfs_ioctl.h"

#define K(n)   (1ull << VQK_##n)
#define TARGET (K(verb) | K(collection) | K(id) | K(path))
#define SEARCH                                                                                                         \
	(K(verb) | K(collection) | K(vector) | K(text) | K(like) | K(k) | K(ef) | K(exact) | K(filter) | K(scope) |    \
	        K(mode) | K(wait) | K(stale) | K(with_vectors) | K(with_payload) | K(snippet) | K(group) |             \
	        K(combine) | K(min_score) | K(at))
#define COLL (K(verb) | K(collection) | K(name))

static const struct verb table[] = {
        {"search", VEXFS_OP_SEARCH, EV_search, false, false, PERF_v_search, SEARCH},
        {"batch_search", VEXFS_OP_BATCH_SEARCH, EV_search, false, false, PERF_v_search,
                K(verb) | K(collection) | K(vectors) | K(k) | K(ef) | K(exact) | K(filter) | K(scope) | K(stale) |
                        K(wait) | K(min_score) | K(with_vectors) | K(with_payload) | K(at)},
        {"put", VEXFS_OP_PUT, EV_put, false, true, PERF_v_put, TARGET | K(vector) | K(payload) | K(points) | K(wait)},
        {"batch_put", VEXFS_OP_BATCH_PUT, EV_batch_put, false, true, PERF_v_batch_put,
                K(verb) | K(collection) | K(points) | K(wait)},
        {"get", VEXFS_OP_GET, EV_get, false, false, PERF_v_get, TARGET | K(with_vectors) | K(with_payload)},
        {"del", VEXFS_OP_DEL, EV_del, false, true, PERF_v_del, TARGET | K(wait)},
        {"payload", 0, EV_payload, false, true, PERF_v_payload, TARGET | K(payload) | K(wait)},
        {"status", 0, EV_status, false, false, PERF_v_status, K(verb)},
        {"wait", VEXFS_OP_FLUSH, EV_wait, false, false, PERF_v_wait, K(verb) | K(durable) | K(rescan)},
        {"collections", 0, EV_coll_list, false, false, PERF_v_collection, K(verb)},
        {"collection_create", VEXFS_OP_COLLECTION_CREATE, EV_coll_create, false, true, PERF_v_collection,
                COLL | K(dim) | K(metric) | K(dtype) | K(M) | K(ef_construction) | K(ef) | K(target_recall)},
        {"collection_drop", VEXFS_OP_COLLECTION_DROP, EV_coll_drop, false, true, PERF_v_collection, COLL},
        {"collection_info", VEXFS_OP_COLLECTION_INFO, EV_coll_info, false, false, PERF_v_collection, COLL},
        {"snapshot_create", 0, EV_snap_create, true, true, PERF_v_collection, K(verb) | K(name)},
        {"snapshot_drop", 0, EV_snap_drop, true, true, PERF_v_collection, K(verb) | K(name)},
        {"snapshots", 0, EV_snap_list, false, false, PERF_v_collection, K(verb)},
        {"export", VEXFS_OP_EXPORT, EV_export, false, false, PERF_v_export,
                K(verb) | K(collection) | K(cursor) | K(limit) | K(with_payload)},
        {"verify", 0, EV_verify, true, false, PERF_v_verify, K(verb) | K(collection) | K(recall)},
        {"index_build", VEXFS_OP_INDEX_BUILD, EV_index, false, true, PERF_v_collection, COLL},
        {"index_rebuild", VEXFS_OP_INDEX_REBUILD, EV_index, false, true, PERF_v_collection, COLL},
        {"index_optimize", VEXFS_OP_INDEX_OPTIMIZE, EV_index, false, true, PERF_v_collection, COLL},
        {"index_info", VEXFS_OP_INDEX_INFO, EV_coll_info, false, false, PERF_v_collection, COLL},
        {"stats", VEXFS_OP_STATS, EV_status, true, false, PERF_v_status, K(verb), vq_local_stats},
        {"stats_reset", VEXFS_OP_STATS_RESET, EV_status, true, false, PERF_v_status, K(verb), vq_local_stats_reset},
        {"capabilities", VEXFS_OP_CAPS, EV_status, false, false, PERF_v_status, K(verb), vq_local_caps},
        {"baseline", 0, EV_status, true, false, PERF_v_status, K(verb), vq_local_baseline},
        {"baseline_record", 0, EV_status, true, false, PERF_v_status, K(verb), vq_local_baseline_record},
        {"baseline_drop", 0, EV_status, true, false, PERF_v_status, K(verb), vq_local_baseline_drop},
        {"stack_limits", 0, EV_status, true, false, PERF_v_status, K(verb) | K(warn) | K(critical),
                vq_local_stack_limits},
        {"stack_eat", 0, EV_status, true, false, PERF_v_status, K(verb) | K(bytes), vq_local_stack_eat},
        {"alloc_fail", 0, EV_status, true, false, PERF_v_status, K(verb) | K(nth), vq_local_alloc_fail},
        {"retry", 0, EV_retry, true, false, PERF_v_status, K(verb)},
        {"model", 0, EV_model, true, true, PERF_v_status, K(verb) | K(folder)},
};
#define TABLE_N (sizeof table / sizeof *table)

const struct verb *verb_by_name(const char *name, size_t n)
{
	for (size_t i = 0; i < TABLE_N; i++)
		if (strlen(table[i].name) == n && !memcmp(table[i].name, name, n))
			return table + i;
	return NULL;
}

const struct verb *verb_by_uapi(uint32_t op)
{
	for (size_t i = 0; op && i < TABLE_N; i++)
		if (table[i].uapi == op)
			return table + i;
	return NULL;
}

const struct verb *verb_next(const struct verb *prev)
{
	size_t i = prev ? (size_t)(prev - table) + 1 : 0;
	return i < TABLE_N ? table + i : NULL;
}

static int named(const char *const *names, size_t count, const char *s, size_t n)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(names[i]) == n && !memcmp(names[i], s, n))
			return (int)i;
	return -VX_ERR_bad_value;
}

static const char *const states[] = {"none", "fresh", "stale", "pending", "error", "gone"};
/* in the order of enum vx_metric and enum vx_dtype, which the UAPI's numbers repeat */
static const char *const metrics[] = {"l2", "cosine", "dot", "l1", "hamming"};
static const char *const dtypes[] = {"f32", "f16", "bf16", "i8", "binary"};

const char *vq_state_name(uint8_t s)
{
	return s < sizeof states / sizeof *states ? states[s] : "error";
}
const char *vq_metric_name(uint8_t m)
{
	return m < sizeof metrics / sizeof *metrics ? metrics[m] : "?";
}
const char *vq_dtype_name(uint8_t d)
{
	return d < sizeof dtypes / sizeof *dtypes ? dtypes[d] : "?";
}
int vq_metric_by_name(const char *s, size_t n)
{
	return named(metrics, sizeof metrics / sizeof *metrics, s, n);
}
int vq_dtype_by_name(const char *s, size_t n)
{
	return named(dtypes, sizeof dtypes / sizeof *dtypes, s, n);
}
