/* json.h - a bounded pull parser for JSON: the caller asks for what it expects, in the order the text has it.
 *
 * No tree is built and nothing is allocated: strings are decoded in place (the decoded form is never longer), numbers are read
 * where they stand, and a value nobody wants to look into is skipped and handed out as its span.  Skipping keeps one bit a level
 * (CONF_JSON_DEPTH_MAX of them), so it needs no recursion.  The grammar is RFC 8259's exactly; strings must be valid UTF-8, and
 * an escaped surrogate must come in its pair.  The first error sticks: js_fail fills the errinfo once. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mem.h"

struct js {
	char *s; /* borrowed; decoded in place by js_str and js_key only */
	size_t n, i;
	uint32_t depth;
	struct vx_errinfo *err; /* filled at the first failure; may be NULL */
};
enum js_kind { JS_object = 1, JS_array, JS_string, JS_number, JS_true, JS_false, JS_null };

void js_init(struct js *j, char *s, size_t n, struct vx_errinfo *err);
/* js_fail - note code, position and detail (a, b and c are joined; each may be NULL), return code. */
int js_fail(struct js *j, int code, size_t at, const char *a, const char *b, size_t bn, const char *c);
/* js_peek - skip white space and say what comes: enum js_kind, or -VX_ERR_json_syntax. */
int js_peek(struct js *j);
/* js_open - go into the '{' or '[' that js_peek saw. 0; -VX_ERR_json_depth. */
int js_open(struct js *j);
/* js_key - the next key of the object entered last, NUL-terminated in place. @first is set by the caller before the loop.
 * 1 with the key and its position; 0 after the closing brace; < 0. */
int js_key(struct js *j, bool *first, const char **ret, size_t *ret_n, size_t *ret_at);
/* js_elem - 1 when another element of the array entered last follows, 0 after the closing bracket, < 0. */
int js_elem(struct js *j, bool *first);
/* The values. Each fails with -VX_ERR_bad_value at the value when it is of another type.
 * js_str: text in place, NUL-terminated (it may hold NULs itself: compare strlen where that matters). */
int js_str(struct js *j, const char **ret, size_t *ret_n);
int js_num(struct js *j, double *ret);
int js_u64(struct js *j, uint64_t max, uint64_t *ret);
int js_bool(struct js *j, bool *ret);
/* js_f32s - an array of numbers into f32s in the arena. -VX_ERR_dim_range when it has none or more than max; -VX_ERR_not_finite. */
int js_f32s(struct js *j, struct arena *a, uint32_t max, const float **ret, uint32_t *ret_n);
/* js_raw - skip any value, checking it whole; its span in the text. Levels are counted from 0 when @own_depth. */
int js_raw(struct js *j, bool own_depth, const char **ret, size_t *ret_n);
/* js_end - only white space is left. */
int js_end(struct js *j);
