/* err.h - one table of the project's own error codes: name, POSIX class, sentence for people.
 *
 * Functions return int: >= 0 good, < 0 either -errno (the operating system's own words) or -VX_ERR_name. The private codes start
 * above every errno, so both travel in one int. What a code becomes outside (errno, HTTP status, exit code) is decided at three
 * edges only: fs/reply.c, server/, cli/. */
#pragma once
#include <errno.h>
#include <stdint.h>

/* name, POSIX class, sentence: what is wrong and what to do next. New rows go to the end: the catalog keeps codes (terror). */
#define VX_ERR_TABLE(X)                                                                                                \
	X(dim_mismatch, EINVAL, "the vector's length does not match the collection's dimension")                       \
	X(dim_range, EINVAL, "a vector has 1 to 65535 dimensions, 4 bytes each")                                       \
	X(not_finite, EINVAL, "the vector holds NaN or Inf; only finite numbers can be searched")                      \
	X(zero_vector, EINVAL, "a vector of length zero has no direction: cosine collections refuse it")               \
	X(no_collection, ENOENT, "no such collection; `vexfs collection list` names them")                             \
	X(collection_exists, EEXIST, "a collection of that name exists already")                                       \
	X(collection_name, EINVAL, "a collection's name is 1 to 64 of [A-Za-z0-9_-]")                                  \
	X(collection_limit, ENOSPC, "the store holds as many collections as it may")                                   \
	X(collection_reserved, EROFS, "this collection is written by text ingest only")                                \
	X(k_range, EINVAL, "k must be 1 to 10000")                                                                     \
	X(ef_range, EINVAL, "ef must be 1 to 10000")                                                                   \
	X(m_range, EINVAL, "M must be 2 to 64")                                                                        \
	X(batch_range, E2BIG, "a batch holds 1 to 10000 points; send several")                                         \
	X(no_vector, ENODATA, "this file has no vector in that collection")                                            \
	X(no_object, ENOENT, "no such file is known to the vector store")                                              \
	X(json_syntax, EINVAL, "the request is not valid JSON")                                                        \
	X(json_depth, EINVAL, "the request nests deeper than 16 levels")                                               \
	X(unknown_key, EINVAL, "the request has a key this verb does not know")                                        \
	X(bad_value, EINVAL, "a value in the request has the wrong type or range")                                     \
	X(missing_key, EINVAL, "the request lacks a key this verb needs")                                              \
	X(unknown_verb, EINVAL, "unknown verb; see vexfs(1)")                                                          \
	X(filter_syntax, EINVAL, "the filter expression cannot be parsed")                                             \
	X(query_syntax, EINVAL, "the search text has no word that can be searched")                                    \
	X(query_too_long, E2BIG, "a query's text is at most 8 KiB")                                                    \
	X(request_too_big, E2BIG, "a request is at most 64 MiB")                                                       \
	X(payload_too_big, E2BIG, "a payload is at most 64 KiB of JSON")                                               \
	X(payload_syntax, EINVAL, "a payload is one JSON object")                                                      \
	X(path_outside, EXDEV, "that path is not inside this mount")                                                   \
	X(uapi_size, EINVAL, "the ioctl struct has a size this version does not know")                                 \
	X(uapi_version, EINVAL, "the ioctl struct has a version this build does not know")                             \
	X(uapi_reserved, EINVAL, "a reserved ioctl field or flag is not zero")                                         \
	X(not_owner, EPERM, "only the mount's owner or root may do this")                                              \
	X(read_only, EROFS, "the vector store is read-only now; `vexfs status` says why")                              \
	X(component_off, EOPNOTSUPP, "this mount runs without that component (-o components=)")                        \
	X(not_ready, EAGAIN, "the vector store is still opening; try again")                                           \
	X(store_failed, EIO, "the vector store cannot be opened; `vexfs status` says why and when it is tried again")  \
	X(store_locked, EBUSY, "another process serves this store")                                                    \
	X(store_newer, EPROTONOSUPPORT, "the store was written by a newer vexfs; upgrade this one")                    \
	X(store_format, EILSEQ, "this is not a vexfs store, or its header is damaged; run `vexfs verify`")             \
	X(store_corrupt, EIO, "the store is damaged here; run `vexfs verify --repair`")                                \
	X(store_poisoned, EROFS, "a write to the store failed; vectors are read-only until the next mount")            \
	X(store_full, ENOSPC, "the store's disk is full; vectors wait until there is room, files go on")               \
	X(store_under_mount, ELOOP, "the store must not lie inside its own mount")                                     \
	X(snapshot_name, EINVAL, "a snapshot's name is 1 to 64 of A-Z a-z 0-9 _ -")                                    \
	X(snapshot_exists, EEXIST, "there is a snapshot of that name already")                                         \
	X(no_snapshot, ENOENT, "there is no snapshot of that name")                                                    \
	X(snapshot_limit, ENOSPC, "there are as many snapshots as there may be; drop one")                             \
	X(graph_corrupt, EIO, "the graph file is damaged; exact search serves while it is rebuilt")                    \
	X(graph_version, EPROTONOSUPPORT, "the graph file has another format; it is rebuilt")                          \
	X(visit_pool_empty, EAGAIN, "all search work areas are in use; try again")                                     \
	X(queue_full, EAGAIN, "too many requests wait; try again")                                                     \
	X(mem_limit, ENOMEM, "the memory limit of this mount is reached (--mem-limit)")                                \
	X(arena_full, ENOMEM, "the request needs more working memory than one request may use")                        \
	X(stack_risk, EAGAIN, "refused: too little stack is left for this operation")                                  \
	X(deadline, ETIMEDOUT, "the query took longer than it may; narrow it")                                         \
	X(cancelled, EINTR, "the request was cancelled")                                                               \
	X(shutting_down, ESHUTDOWN, "the mount is being taken down")                                                   \
	X(not_text, EILSEQ, "the file is not text that can be indexed")                                                \
	X(file_changed, EAGAIN, "the file changed while it was read; it is read again")                                \
	X(truncated, EINVAL, "the input ends before what its header announces")                                        \
	X(no_model, EOPNOTSUPP, "no model is in use, so meaning cannot be searched; `vexfs model add minilm`")         \
	X(model_failed, EIO, "the model cannot be used for now; `vexfs status` says why; words can be searched")       \
	X(bad_format, EINVAL, "the input is not in the format its name promises")                                      \
	X(doc_damaged, EILSEQ, "the document is damaged and cannot be read for its text")                              \
	X(doc_encrypted, EACCES, "the document is encrypted; its text is not indexed")                                 \
	X(doc_too_large, EFBIG, "the document holds more than is read (64 MiB of text, 128 MiB unpacked)")             \
	X(doc_parser, EIO, "the document's parser crashed, was stopped or failed; the mount goes on")                  \
	X(text_too_large, EFBIG, "the file is text but larger than is indexed (64 MiB)")                               \
	X(ignored, EACCES, "left out of the text index by .gitignore, .vexfsignore or user.vexfs.ignore")              \
	X(text_refused, EINVAL,                                                                                        \
	        "the model refuses this text, or answers with no numbers: it has no vector; words find it")

enum vx_err {
	VX_ERR_BASE = 4096,
#define X(n, p, s) VX_ERR_##n,
	VX_ERR_TABLE(X)
#undef X
	        VX_ERR_END
};

/* err_name - "dim_mismatch" of -VX_ERR_dim_mismatch, "ENOENT" of -ENOENT (the common ones; else "EIO").  Static string. */
const char *err_name(int rc);
/* err_text - the sentence for people.  Static string, never NULL. */
const char *err_text(int rc);
/* err_posix - the positive errno of a negative code: the class from the table, or the errno itself.  For the edges only. */
int err_posix(int rc);

#define VX_TRY(x)                                                                                                      \
	do {                                                                                                           \
		int vx_try_rc = (x);                                                                                   \
		if (vx_try_rc < 0)                                                                                     \
			return vx_try_rc;                                                                              \
	} while (0)

/* detail of a refusal: filled only on failure (reterr_), shown in JSON errors and by the command */
struct vx_errinfo {
	int code; /* negative, as returned */
	int64_t position; /* byte in the request, -1: none */
	char detail[120]; /* "unknown key \"vektor\"", NUL-terminated, may be "" */
};

/* always on: O(1) pre- and postconditions of our own code; never on what kernel, disk, client or model gave */
void vx_assert_fail(const char *expr, const char *file, int line) __attribute__((noreturn, cold));
#define vx_assert(c) ((c) ? (void)0 : vx_assert_fail(#c, __FILE__, __LINE__))
#ifdef VX_DEBUG
#define vx_dassert(c) vx_assert(c)
#else
#define vx_dassert(c) ((void)0)
#endif
