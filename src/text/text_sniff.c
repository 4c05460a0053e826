/* text_sniff.c - is it text?  By content alone, from the first bytes.
 *
 * Text has no NUL (that also refuses UTF-16 and UTF-32), next to no control bytes, and is UTF-8 but for a few bytes: a Latin-1 file
 * with an accent here and there is still worth searching, a stretch of bytes that is no UTF-8 is another encoding or binary. */
#include "text/text.h"
#include "text/text_utf8.h"
#include <string.h>

#define SNIFF_MAX     8192u
#define BAD_RUN_MAX   8u /* bytes of invalid UTF-8 in a row */
#define BAD_SHARE     10u /* at most one in so many bytes is invalid */
#define CONTROL_SHARE 64u /* at most one in so many is a control byte */

bool text_sniff(const void *vp, size_t n, bool whole_file)
{
	const uint8_t *p = vp;
	size_t bad = 0, run = 0, control = 0;
	if (n > SNIFF_MAX) {
		n = SNIFF_MAX;
		whole_file = false;
	}
	if (!n)
		return true;
	if (memchr(p, 0, n))
		return false;
	/* may begin with pages of ASCII, and is a container of compressed streams all the same */
	if (n >= 5 && !memcmp(p, "%PDF-", 5))
		return false;
	for (size_t at = 0; at < n;) {
		int len = utf8_len(p + at, n - at);
		if (len < 0 && !whole_file)
			break; /* the sequence goes on behind the piece we see */
		if (len <= 0) {
			bad++;
			if (++run > BAD_RUN_MAX)
				return false;
			at++;
			continue;
		}
		run = 0;
		uint8_t c = p[at];
		if (c == 0x7f || (c < 0x20 && !strchr("\t\n\r\f\v\b\x1b", c)))
			control++;
		at += (size_t)len;
	}
	return bad * BAD_SHARE <= n && control * CONTROL_SHARE <= n;
}
