/* SPDX-License-Identifier: MIT
 * vexfs_ioctl.h - the binary interface of a VexFS mount, version 1.
 *
 * ioctl(fd, VEXFS_IOC_*, &struct) on any open file or directory of the mount.  Every struct begins with struct vexfs_hdr: its magic,
 * the version, the operation, and its own size, data included.  All fields are fixed-width and little-endian, there are no pointers:
 * variable data follows the struct inline, at the offsets the struct names (from the struct's start, 8-aligned).  FUSE carries at most
 * 16,383 bytes each way; the same bytes written to MNT/.vexfs/query (first byte 'V') have no such limit and the answer is read from
 * the same handle.  Reserved fields and unknown flags must be zero: EINVAL otherwise.
 * Errors: the ioctl fails with errno; through the query file the reply's hdr.status carries -errno and a JSON-free sentence follows. */
#ifndef VEXFS_IOCTL_H
#define VEXFS_IOCTL_H
#include <stdint.h>
#ifdef __linux__
#include <linux/ioctl.h>
#else
#include <sys/ioccom.h>
#endif

#define VEXFS_MAGIC   0x31584556u /* "VEX1": the first byte is 'V' */
#define VEXFS_VERSION 1u

enum vexfs_op {
	VEXFS_OP_CAPS = 1,
	VEXFS_OP_PUT = 2,
	VEXFS_OP_GET = 3,
	VEXFS_OP_DEL = 4,
	VEXFS_OP_SEARCH = 5,
	VEXFS_OP_BATCH_PUT = 6,
	VEXFS_OP_BATCH_SEARCH = 7,
	VEXFS_OP_COLLECTION_CREATE = 8,
	VEXFS_OP_COLLECTION_DROP = 9,
	VEXFS_OP_COLLECTION_INFO = 10,
	VEXFS_OP_INDEX_BUILD = 11,
	VEXFS_OP_INDEX_REBUILD = 12,
	VEXFS_OP_INDEX_OPTIMIZE = 13,
	VEXFS_OP_INDEX_INFO = 14,
	VEXFS_OP_STATS = 15,
	VEXFS_OP_STATS_RESET = 16,
	VEXFS_OP_FLUSH = 17,
	VEXFS_OP_EXPORT = 18
};

struct vexfs_hdr { /* 24 bytes, first in every request and reply */
	uint32_t magic; /* VEXFS_MAGIC */
	uint16_t version; /* VEXFS_VERSION */
	uint16_t op; /* enum vexfs_op */
	uint32_t size; /* of the whole message, data included */
	int32_t status; /* request: 0. reply: 0 or -errno */
	uint32_t flags; /* VEXFS_F_* the op allows */
	uint32_t reserved;
};

#define VEXFS_F_DURABLE      (1u << 0) /* PUT, BATCH_PUT: answer when it is on disk */
#define VEXFS_F_FREE_POINT   (1u << 1) /* PUT, GET, DEL: by id, not by the file the ioctl is on */
#define VEXFS_F_EXACT        (1u << 2) /* SEARCH: exact scan */
#define VEXFS_F_STALE        (1u << 3) /* SEARCH: stale results too */
#define VEXFS_F_WAIT         (1u << 4) /* SEARCH: wait until nothing is pending */
#define VEXFS_F_WITH_VECTORS (1u << 5)
#define VEXFS_F_WITH_PAYLOAD (1u << 6)
#define VEXFS_F_TEXT         (1u << 7) /* SEARCH: data is UTF-8 text, not a vector */
#define VEXFS_F_LIKE         (1u << 8) /* SEARCH: near the file the ioctl is on, or the file whose path the data is */

#define VEXFS_F_SUM (1u << 9) /* SEARCH: a file's score is the sum over its vectors, not its best one's */

#define VEXFS_NAME_MAX 64u

struct vexfs_caps { /* CAPS: reply */
	struct vexfs_hdr hdr;
	uint32_t dim_max, k_max, ef_max, batch_max;
	uint32_t payload_max, ioctl_bytes_max;
	uint64_t ops; /* bit 1 << op for each op this build answers */
	uint64_t generation;
	uint32_t components; /* bits: 1 store, 2 search, 4 text */
	uint32_t reserved[5];
};

struct vexfs_put { /* PUT: on the file, or a free point */
	struct vexfs_hdr hdr;
	char collection[VEXFS_NAME_MAX]; /* NUL-padded; empty: "default" */
	uint64_t id; /* with VEXFS_F_FREE_POINT */
	uint32_t vector_off, vector_bytes;
	uint32_t payload_off, payload_bytes;
	uint64_t generation; /* reply */
	uint64_t reserved[2];
};

struct vexfs_get { /* GET: reply carries vector and payload at the offsets it names; DEL uses the same struct, reply without data */
	struct vexfs_hdr hdr;
	char collection[VEXFS_NAME_MAX];
	uint64_t id;
	uint32_t vector_off, vector_bytes; /* reply */
	uint32_t payload_off, payload_bytes; /* reply */
	uint32_t dim, state; /* reply; enum vexfs_state */
	uint64_t generation;
	uint32_t model_off,
	        model_bytes; /* reply: name of the model that made vectors of the file's text; 0 bytes: none did */
	uint64_t reserved[1];
};

enum vexfs_state {
	VEXFS_STATE_NONE = 0,
	VEXFS_STATE_FRESH = 1,
	VEXFS_STATE_STALE = 2,
	VEXFS_STATE_PENDING = 3,
	VEXFS_STATE_ERROR = 4
};

struct vexfs_search { /* SEARCH: request, followed by data; the reply begins with the same struct */
	struct vexfs_hdr hdr;
	char collection[VEXFS_NAME_MAX];
	uint32_t k, ef;
	uint32_t data_off, data_bytes; /* the query vector or text */
	uint32_t scope_off, scope_bytes; /* path of a subtree, 0 bytes: all */
	float min_score; /* -INFINITY (0xff800000): none */
	uint32_t mode; /* enum vexfs_mode */
	/* reply */
	uint32_t result_off, result_n; /* struct vexfs_result[result_n] */
	uint64_t generation;
	uint64_t distances; /* distance computations this search cost */
	uint64_t took_ns;
	uint32_t pending, complete;
	/* request */
	uint32_t filter_off, filter_bytes; /* filter expression, 0 bytes: none */
	uint32_t text_off, text_bytes; /* hybrid: words beside the vector in data */
};
enum vexfs_mode { VEXFS_MODE_AUTO = 0, VEXFS_MODE_VECTOR = 1, VEXFS_MODE_TEXT = 2, VEXFS_MODE_HYBRID = 3 };

struct vexfs_result { /* 48 bytes */
	uint64_t id; /* free point's id; the inode number of a file */
	float score, distance;
	uint32_t state; /* enum vexfs_state */
	uint32_t path_off, path_bytes; /* 0 bytes: a free point */
	uint32_t vector_off, vector_bytes;
	uint32_t payload_off, payload_bytes;
	uint32_t reserved;
};

struct vexfs_batch_search { /* BATCH_SEARCH: query_n vectors of equal length, one after the other */
	struct vexfs_hdr hdr;
	char collection[VEXFS_NAME_MAX];
	uint32_t k, ef; /* of each */
	uint32_t vector_off, vector_bytes; /* of all */
	uint32_t query_n; /* 1..10000 */
	float min_score; /* -INFINITY: none */
	/* reply */
	uint32_t count_off; /* uint32_t[query_n]: results of each query */
	uint32_t result_off, result_n; /* struct vexfs_result[result_n], of the first query first */
	uint32_t reserved0;
	uint64_t generation, distances, took_ns;
	uint32_t pending, complete;
	uint64_t reserved[2];
};

struct vexfs_batch_point { /* 32 bytes */
	uint64_t id;
	uint32_t vector_off, vector_bytes;
	uint32_t payload_off, payload_bytes;
	uint32_t path_off, path_bytes; /* of a file relative to the mount's root; 0 bytes: free point `id` */
};
struct vexfs_batch_put { /* BATCH_PUT */
	struct vexfs_hdr hdr;
	char collection[VEXFS_NAME_MAX];
	uint32_t point_off, point_n; /* struct vexfs_batch_point[point_n] */
	uint64_t generation; /* reply */
	uint32_t done_n; /* reply: points accepted; on error the index of the refused one */
	uint32_t reserved0;
	uint64_t reserved[2];
};
struct vexfs_export { /* EXPORT: pages of a collection; through the query file */
	struct vexfs_hdr hdr;
	char collection[VEXFS_NAME_MAX];
	uint64_t cursor; /* 0 first; the reply's goes into the next request */
	uint32_t point_max; /* 1..10000 */
	uint32_t point_n, point_off; /* reply: struct vexfs_batch_point[point_n]; 0: the end */
	uint32_t dim; /* reply */
	uint64_t generation; /* reply */
	uint64_t reserved[2];
};
struct vexfs_collection { /* COLLECTION_CREATE, _DROP, _INFO; INDEX_BUILD, _REBUILD, _OPTIMIZE, _INFO: answered when it is done */
	struct vexfs_hdr hdr;
	char collection[VEXFS_NAME_MAX];
	uint32_t dim, metric,
	        dtype; /* metric: 0 l2, 1 cosine, 2 dot, 3 l1, 4 hamming; dtype: 0 f32, 1 f16, 2 bf16, 3 i8, 4 binary */
	uint32_t M, ef_construction, ef;
	uint32_t uid, gid, mode; /* reply */
	uint32_t target_recall; /* recall@10 that searches are to have, in 1/10000; 0: none */
	uint64_t points, linked, tail, dead; /* reply */
	uint64_t index_bytes, generation; /* reply */
	uint32_t recall,
	        recall_ef; /* reply: measured, in 1/10000 (0: not yet); the ef that searches use (0: they are exact) */
	uint64_t reserved[1];
};

struct vexfs_flush { /* FLUSH: answered when everything acknowledged so far is on disk and searchable */
	struct vexfs_hdr hdr;
	uint64_t generation; /* reply */
	uint32_t pending, complete; /* reply */
	uint64_t reserved[2];
};
struct vexfs_text { /* STATS, STATS_RESET: reply, followed by JSON */
	struct vexfs_hdr hdr;
	uint32_t text_off, text_bytes; /* reply */
	uint64_t generation; /* reply */
	uint64_t reserved[2];
};

/* The number carries the buffer's size: a buffer of 4096 or of 16383 bytes, the message (hdr.size <= it) at its start; the reply
 * overwrites it.  ENOSPC when the reply does not fit: ask for fewer results, or use the query file. */
#define VEXFS_IOC_MAGIC   'V'
#define VEXFS_IOC_4K(op)  _IOC(_IOC_READ | _IOC_WRITE, VEXFS_IOC_MAGIC, (op), 4096)
#define VEXFS_IOC_16K(op) _IOC(_IOC_READ | _IOC_WRITE, VEXFS_IOC_MAGIC, (op), 16383)

#endif
