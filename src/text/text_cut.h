/* text_cut.h - where one chunk ends and the next begins. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum text_kind { TEXT_KIND_prose, TEXT_KIND_markdown, TEXT_KIND_code };

#define CUT_LOOKAHEAD 512u /* bytes behind a possible cut that may be looked at */

struct cut {
	uint32_t end; /* the chunk is [0, end) of the window */
	uint32_t next; /* the next one starts here, <= end */
	bool fence; /* is `next` inside a fenced block of Markdown? */
};
/* text_kind_of - by the file name's ending. @name may be NULL or a path. */
enum text_kind text_kind_of(const char *name);
/* cut_choose - cut the window p[0, n).
 * @final  the file ends with the window; else n is TEXT_CHUNK_MAX + CUT_LOOKAHEAD
 * @fence  the window starts inside a fenced block */
struct cut cut_choose(const uint8_t *p, uint32_t n, bool final, enum text_kind kind, bool fence);
