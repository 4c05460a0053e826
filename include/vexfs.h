/* SPDX-License-Identifier: MIT
 * vexfs.h - libvexfs: the verbs of VexFS for programs, with or without a mount.
 *
 *     struct vexfs *v;
 *     int rc = vexfs_connect("/mnt/notes", &v);      a directory somebody has mounted: through its query file
 *     int rc = vexfs_open("/home/me/notes", 0, &v);  or the directory itself: the engine runs in this process
 *
 * Both answer the same.  A directory is served by one process at a time: vexfs_open of one that is mounted gives -EBUSY.
 *
 * Functions return 0 or more, or a negative errno; vexfs_error tells the last failure of a handle as a sentence.  A handle may be used
 * from any thread; requests of one handle are answered one after the other.  What is returned lives until the matching free. */
#ifndef VEXFS_H
#define VEXFS_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#define VEXFS_API __attribute__((visibility("default")))
#else
#define VEXFS_API
#endif

struct vexfs;

#define VEXFS_OPEN_READ_ONLY (1u << 0)
#define VEXFS_OPEN_NO_TEXT   (1u << 1) /* vectors only: no text is indexed and the tree isn't walked */

/* vexfs_version - "0.1.0". The numbers of this header's release; symbols are versioned VEXFS_0. */
VEXFS_API const char *vexfs_version(void);
/* vexfs_open - serve DIR in this process. 0; -EBUSY when another process does; -ENOTDIR, -EACCES … */
VEXFS_API int vexfs_open(const char *dir, unsigned flags, struct vexfs **ret);
/* vexfs_connect - use a mount. 0; -ENOTTY when MNT isn't one. */
VEXFS_API int vexfs_connect(const char *mnt, struct vexfs **ret);
VEXFS_API void vexfs_close(struct vexfs *v); /* takes NULL; with vexfs_open: everything acknowledged is on disk then */
VEXFS_API const char *vexfs_error(struct vexfs *v); /* until the next call on v; "" when nothing failed */

/* vexfs_request - any verb: one JSON object (or a message of vexfs_ioctl.h) in, its answer out, NUL-terminated; free it with
 * vexfs_free.  0, also when the answer is {"error":…}; < 0 when there is none. */
VEXFS_API int vexfs_request(struct vexfs *v, const void *request, size_t n, void **ret, size_t *ret_n);
VEXFS_API void vexfs_free(void *p); /* takes NULL */

/* A point: a file, by path relative to DIR, or a free point, by id (path NULL). */
struct vexfs_point {
	const char *path;
	uint64_t id;
	const float *vector;
	uint32_t dim;
	const char *payload; /* JSON object, NUL-terminated, or NULL */
};
#define VEXFS_PUT_DURABLE (1u << 0) /* return when it is on disk */
/* vexfs_put - n points (1..10000) into a collection (NULL: "default"). 0, or < 0 and some may be in. */
VEXFS_API int vexfs_put(
        struct vexfs *v, const char *collection, const struct vexfs_point *points, uint32_t n, unsigned flags);
/* vexfs_get - the vector of a file or free point: its dimension and up to cap floats into out. -ENODATA: none. */
VEXFS_API int vexfs_get(
        struct vexfs *v, const char *collection, const char *path, uint64_t id, float *out, uint32_t cap);
/* vexfs_del - -ENODATA when there was none. */
VEXFS_API int vexfs_del(struct vexfs *v, const char *collection, const char *path, uint64_t id);
/* vexfs_collection_create - metric: 0 l2, 1 cosine, 2 dot, 3 l1, 4 hamming; dim 0: that of the first vector. -EEXIST. */
VEXFS_API int vexfs_collection_create(struct vexfs *v, const char *name, uint32_t dim, int metric);
VEXFS_API int vexfs_collection_drop(struct vexfs *v, const char *name);
/* vexfs_wait - until everything known is searchable and on disk. */
VEXFS_API int vexfs_wait(struct vexfs *v);

/* A search: by vector, by words, by both (hybrid), or like a file. Zero the struct, set what you need. */
struct vexfs_query {
	const char *collection; /* NULL: "default" */
	const float *vector;
	uint32_t dim;
	const char *text;
	const char *like; /* path of a file */
	const char *scope; /* only below this directory */
	const char *filter; /* expression, see vexfs(7) */
	uint32_t k, ef; /* 0: 10, the collection's */
	float min_score; /* used when has_min_score */
	unsigned has_min_score : 1, exact : 1, stale : 1, wait : 1, with_payload : 1;
	unsigned sum : 1; /* a file with several vectors scores their sum, not the best */
};
struct vexfs_match {
	const char *path; /* NULL: a free point */
	uint64_t id;
	float score, distance;
	const char *state; /* "fresh", "stale", "pending" */
	const char *payload, *snippet; /* or NULL */
};
struct vexfs_matches {
	uint64_t generation;
	uint64_t pending;
	int complete;
	uint32_t n;
	struct vexfs_match *match;
};
/* vexfs_search - *ret is freed by vexfs_matches_free. Return: matches found, or < 0. */
VEXFS_API int vexfs_search(struct vexfs *v, const struct vexfs_query *q, struct vexfs_matches **ret);
VEXFS_API void vexfs_matches_free(struct vexfs_matches *m); /* takes NULL */

#ifdef __cplusplus
}
#endif
#endif
