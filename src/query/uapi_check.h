/* uapi_check.h - the layout of include/vexfs_ioctl.h, nailed down: a field that moves breaks the build, not a user's program. */
#pragma once
#include <assert.h>
#include <stddef.h>

#include "vexfs_ioctl.h"

#define AT(s, f, o) static_assert(offsetof(struct s, f) == (o), #s "." #f)
#define SIZE(s, n)  static_assert(sizeof(struct s) == (n), #s)
SIZE(vexfs_hdr, 24);
AT(vexfs_hdr, magic, 0);
AT(vexfs_hdr, version, 4);
AT(vexfs_hdr, op, 6);
AT(vexfs_hdr, size, 8);
AT(vexfs_hdr, status, 12);
AT(vexfs_hdr, flags, 16);
AT(vexfs_hdr, reserved, 20);
SIZE(vexfs_caps, 88);
AT(vexfs_caps, dim_max, 24);
AT(vexfs_caps, ops, 48);
AT(vexfs_caps, generation, 56);
AT(vexfs_caps, components, 64);
AT(vexfs_caps, reserved, 68);
SIZE(vexfs_put, 136);
AT(vexfs_put, collection, 24);
AT(vexfs_put, id, 88);
AT(vexfs_put, vector_off, 96);
AT(vexfs_put, payload_off, 104);
AT(vexfs_put, generation, 112);
AT(vexfs_put, reserved, 120);
SIZE(vexfs_get, 144);
AT(vexfs_get, id, 88);
AT(vexfs_get, vector_off, 96);
AT(vexfs_get, dim, 112);
AT(vexfs_get, state, 116);
AT(vexfs_get, generation, 120);
AT(vexfs_get, model_off, 128);
AT(vexfs_get, reserved, 136);
SIZE(vexfs_search, 176);
AT(vexfs_search, k, 88);
AT(vexfs_search, data_off, 96);
AT(vexfs_search, scope_off, 104);
AT(vexfs_search, min_score, 112);
AT(vexfs_search, mode, 116);
AT(vexfs_search, result_off, 120);
AT(vexfs_search, generation, 128);
AT(vexfs_search, distances, 136);
AT(vexfs_search, took_ns, 144);
AT(vexfs_search, pending, 152);
AT(vexfs_search, filter_off, 160);
AT(vexfs_search, text_off, 168);
SIZE(vexfs_result, 48);
AT(vexfs_result, score, 8);
AT(vexfs_result, state, 16);
AT(vexfs_result, path_off, 20);
AT(vexfs_result, vector_off, 28);
AT(vexfs_result, payload_off, 36);
AT(vexfs_result, reserved, 44);
SIZE(vexfs_batch_search, 176);
AT(vexfs_batch_search, k, 88);
AT(vexfs_batch_search, vector_off, 96);
AT(vexfs_batch_search, query_n, 104);
AT(vexfs_batch_search, min_score, 108);
AT(vexfs_batch_search, count_off, 112);
AT(vexfs_batch_search, result_off, 116);
AT(vexfs_batch_search, generation, 128);
AT(vexfs_batch_search, pending, 152);
AT(vexfs_batch_search, reserved, 160);
SIZE(vexfs_batch_point, 32);
AT(vexfs_batch_point, vector_off, 8);
AT(vexfs_batch_point, payload_off, 16);
AT(vexfs_batch_point, path_off, 24);
SIZE(vexfs_batch_put, 128);
AT(vexfs_batch_put, point_off, 88);
AT(vexfs_batch_put, generation, 96);
AT(vexfs_batch_put, done_n, 104);
AT(vexfs_batch_put, reserved, 112);
SIZE(vexfs_export, 136);
AT(vexfs_export, cursor, 88);
AT(vexfs_export, point_max, 96);
AT(vexfs_export, point_n, 100);
AT(vexfs_export, point_off, 104);
AT(vexfs_export, dim, 108);
AT(vexfs_export, generation, 112);
AT(vexfs_export, reserved, 120);
SIZE(vexfs_collection, 192);
AT(vexfs_collection, dim, 88);
AT(vexfs_collection, M, 100);
AT(vexfs_collection, uid, 112);
AT(vexfs_collection, target_recall, 124);
AT(vexfs_collection, points, 128);
AT(vexfs_collection, index_bytes, 160);
AT(vexfs_collection, generation, 168);
AT(vexfs_collection, recall, 176);
AT(vexfs_collection, reserved, 184);
SIZE(vexfs_flush, 56);
AT(vexfs_flush, generation, 24);
AT(vexfs_flush, pending, 32);
AT(vexfs_flush, reserved, 40);
SIZE(vexfs_text, 56);
AT(vexfs_text, text_off, 24);
AT(vexfs_text, generation, 32);
AT(vexfs_text, reserved, 40);
#undef AT
#undef SIZE
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "messages are little-endian and read in place");
