/* filter.h - a filter expression after parsing (query/filter.c), before it becomes SQL (store/filter_sql.c): a program in postfix.
 *
 * Comparisons push a truth value, and/or take two, not takes one.  A field that isn't there compares as false with everything and
 * differs from everything: `payload.x != 1` holds for a file without payload.  Numbers compare with numbers, text with text. */
#pragma once
#include <stdint.h>

#define FLT_NODES_MAX 128u
#define FLT_TEXT_MAX  8192u

enum flt_op { FLT_and, FLT_or, FLT_not, FLT_cmp };
enum flt_field { FLF_payload, FLF_size, FLF_mtime, FLF_ctime, FLF_name, FLF_id };
enum flt_cmp { FLC_eq, FLC_ne, FLC_lt, FLC_le, FLC_gt, FLC_ge, FLC_glob, FLC_contains, FLC_exists };
enum flt_value { FLV_none, FLV_text, FLV_number, FLV_true, FLV_false, FLV_null };

struct flt_node {
	uint8_t op, field, cmp, value; /* the last three of FLT_cmp */
	const char *path; /* FLF_payload: JSON path, "$.\"a\".\"b\"" */
	const char *text; /* FLV_text */
	uint32_t text_n;
	double num; /* FLV_number; of mtime and ctime: seconds since 1970 */
};
struct flt {
	uint32_t n;
	struct flt_node node[FLT_NODES_MAX];
};
