/* fuse_uapi.h - private to the transports: the few pieces of <linux/fuse.h> newer than the headers this is built with (Debian 12 has
 * protocol 7.38): passthrough (Linux 6.9), io_uring (6.14).  Names are ours, so that a newer header can be included beside it; where
 * that header has the piece, the compiler compares the two. */
#pragma once
#include <assert.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* INIT: bits 32.. travel in flags2 */
#define UAPI_HANDLE_KILLPRIV_V2 (1ull << 28)
#define UAPI_INIT_EXT           (1ull << 30)
#define UAPI_PASSTHROUGH        (1ull << 37)
#define UAPI_NO_EXPORT_SUPPORT  (1ull << 38)
#define UAPI_OVER_IO_URING      (1ull << 41)

#define UAPI_FOPEN_PASSTHROUGH (1u << 7)

struct uapi_init_out {
	uint32_t major, minor, max_readahead, flags;
	uint16_t max_background, congestion_threshold;
	uint32_t max_write, time_gran;
	uint16_t max_pages, map_alignment;
	uint32_t flags2, max_stack_depth, unused[6];
};
struct uapi_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};
struct uapi_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define UAPI_DEV_IOC_BACKING_OPEN  _IOW(229, 1, struct uapi_backing_map)
#define UAPI_DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

struct uapi_uring_ent_in_out {
	uint64_t flags;
	uint64_t commit_id; /* names the request in COMMIT_AND_FETCH */
	uint32_t payload_sz;
	uint32_t padding;
	uint64_t reserved;
};
struct uapi_uring_req_header {
	uint8_t in_out[128]; /* fuse_in_header, then fuse_out_header */
	uint8_t op_in[128]; /* the operation's fixed part */
	struct uapi_uring_ent_in_out ent;
};
struct uapi_uring_cmd_req { /* in the second half of a 128-byte SQE */
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid;
	uint8_t padding[6];
};
enum { UAPI_URING_REGISTER = 1, UAPI_URING_COMMIT_AND_FETCH = 2 };
#define UAPI_URING_PAYLOAD_MIN 8192u

static_assert(sizeof(struct fuse_init_in) == 64 && offsetof(struct fuse_init_in, flags2) == 16, "fuse_init_in");
static_assert(sizeof(struct uapi_init_out) == 64 && offsetof(struct uapi_init_out, max_write) == 20 &&
                      offsetof(struct uapi_init_out, flags2) == 32 &&
                      offsetof(struct uapi_init_out, max_stack_depth) == 36,
        "fuse_init_out");
static_assert(sizeof(struct uapi_open_out) == 16 && offsetof(struct uapi_open_out, backing_id) == 12, "fuse_open_out");
static_assert(sizeof(struct uapi_backing_map) == 16, "fuse_backing_map");
static_assert(sizeof(struct uapi_uring_ent_in_out) == 32, "fuse_uring_ent_in_out");
static_assert(sizeof(struct uapi_uring_req_header) == 288 && offsetof(struct uapi_uring_req_header, ent) == 256,
        "fuse_uring_req_header");
static_assert(sizeof(struct uapi_uring_cmd_req) == 24 && offsetof(struct uapi_uring_cmd_req, qid) == 16,
        "fuse_uring_cmd_req");
static_assert(sizeof(struct uapi_init_out) == sizeof(struct fuse_init_out), "fuse_init_out of the header");
static_assert(sizeof(struct uapi_open_out) == sizeof(struct fuse_open_out), "fuse_open_out of the header");
static_assert(UAPI_HANDLE_KILLPRIV_V2 == FUSE_HANDLE_KILLPRIV_V2 && UAPI_INIT_EXT == FUSE_INIT_EXT, "INIT flags");
#ifdef FUSE_PASSTHROUGH
static_assert(UAPI_PASSTHROUGH == FUSE_PASSTHROUGH, "FUSE_PASSTHROUGH");
#endif
#ifdef FUSE_OVER_IO_URING
static_assert(UAPI_OVER_IO_URING == FUSE_OVER_IO_URING, "FUSE_OVER_IO_URING");
#endif
#ifdef FUSE_DEV_IOC_BACKING_OPEN
static_assert(UAPI_DEV_IOC_BACKING_OPEN == FUSE_DEV_IOC_BACKING_OPEN, "FUSE_DEV_IOC_BACKING_OPEN");
static_assert(UAPI_DEV_IOC_BACKING_CLOSE == FUSE_DEV_IOC_BACKING_CLOSE, "FUSE_DEV_IOC_BACKING_CLOSE");
#endif
