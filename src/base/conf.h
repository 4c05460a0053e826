/* conf.h - every limit in one place.  Reaching one is an error code with a sentence (err.h), never a crash. */
#pragma once

#define CONF_DIM_MAX             65535u
#define CONF_K_MAX               10000u
#define CONF_EF_MAX              10000u
#define CONF_EF_DEFAULT          64u
#define CONF_K_DEFAULT           10u
#define CONF_BATCH_MAX           10000u
#define CONF_PAYLOAD_MAX         65536u
#define CONF_QUERY_TEXT_MAX      8192u
#define CONF_XATTR_MAX           65536u
#define CONF_COLLECTIONS_MAX     1024u
#define CONF_COLLECTION_NAME_MAX 64u
#define CONF_SNAPSHOT_NAME_MAX   64u
#define CONF_SNAPSHOTS_MAX       64u
#define CONF_REQUEST_MAX         (64u << 20)
#define CONF_IOCTL_MAX           16383u
#define CONF_JSON_DEPTH_MAX      16u
#define CONF_PATH_MAX            4096u
#define CONF_NAME_MAX            255u
#define CONF_KEY_MAX             30u /* bytes of a file handle kept as identity */
#define CONF_ROWS_MAX            0x7fffffffu /* rows of one collection */

#define CONF_FUSE_STACK       16384u /* PTHREAD_STACK_MIN on x86-64 */
#define CONF_STACK_WARN       4096u
#define CONF_STACK_CRITICAL   6144u
#define CONF_STACK_LIMIT_MIN  256u /* what either mark may be set to at least */
#define CONF_STACK_RESERVE    4096u /* of a FUSE stack that no mark may reach into */
#define CONF_INLINE_DISTANCES 20000u /* a search costing more is parked */
#define CONF_TAIL_BYTES_MAX   (16u << 20) /* unlinked rows scanned exactly, bytes of codes */
#define CONF_READ_DEADLINE_MS 2000u /* a catalog query's time limit */
#define CONF_TEXT_FILE_MAX    (64u << 20) /* larger files are not indexed as text */
