/* bert_words.c - BERT's normaliser and pre-tokeniser: drop control characters, white space separates, an ideograph is a word, accents go
 * (NFD without Mn), lower case, a punctuation mark is a word.  (Devlin et al., github.com/google-research/bert tokenization.py,
 * BasicTokenizer; and the `tokenizers` library's BertNormalizer and BertPreTokenizer, whose choices are followed where the two differ.)
 *
 * All in one pass, character by character: what is normalised goes straight into the word in hand.  NFD's reordering of marks is left
 * out: marks that can change places are Mn, and those are dropped when NFD is asked for. */
#include "embed/bert_words.h"
#include <utf8proc.h>

struct state {
	const struct bert_words_cfg *cfg;
	int (*word)(void *u, const char *w, uint32_t len, uint32_t chars);
	void *u;
	uint32_t chars_max, len, chars;
	uint8_t w[BERT_WORD_CHARS_MAX * 4];
};

static bool is_white(int32_t c)
{
	/* the property White_Space (Unicode, PropList.txt) */
	return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_ideograph(int32_t c)
{
	return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
	       (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
	       (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static bool is_punct(int32_t c)
{
	if (c < 128)
		return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
	utf8proc_category_t cat = utf8proc_category(c);
	return cat >= UTF8PROC_CATEGORY_PC && cat <= UTF8PROC_CATEGORY_PO;
}

static bool is_control(int32_t c)
{
	if (c == '\t' || c == '\n' || c == '\r')
		return false;
	utf8proc_category_t cat = utf8proc_category(c);
	return cat == UTF8PROC_CATEGORY_CC || cat == UTF8PROC_CATEGORY_CF || cat == UTF8PROC_CATEGORY_CO ||
	       cat == UTF8PROC_CATEGORY_CS;
}

static int end_word(struct state *s)
{
	uint32_t chars = s->chars, len = chars > s->chars_max ? 0 : s->len;
	s->len = s->chars = 0;
	return chars ? s->word(s->u, (const char *)s->w, len, chars) : 0;
}

static void add(struct state *s, int32_t c)
{
	if (s->chars < s->chars_max)
		s->len += (uint32_t)utf8proc_encode_char(c, s->w + s->len);
	s->chars += s->chars <= s->chars_max; /* one more than may be tells "too long"; no count beyond is needed */
}

/* a character that is normalised */
static int take(struct state *s, int32_t c)
{
	if (is_white(c))
		return end_word(s);
	if (!is_punct(c)) {
		add(s, c);
		return 0;
	}
	int rc = end_word(s);
	if (rc)
		return rc;
	add(s, c);
	return end_word(s);
}

static int lower(struct state *s, int32_t c)
{
	if (!s->cfg->lowercase)
		return take(s, c);
	if (c == 0x130) { /* the one character whose lower case is two (SpecialCasing.txt) */
		int rc = take(s, 'i');
		return rc ? rc : take(s, 0x307);
	}
	return take(s, utf8proc_tolower(c));
}

static int normalise(struct state *s, int32_t c)
{
	int32_t out[32]; /* the longest canonical decomposition is 4 */
	int last;
	if (c < 128)
		return take(s, s->cfg->lowercase && c >= 'A' && c <= 'Z' ? c + 32 : c);
	if (!s->cfg->strip_accents)
		return lower(s, c);
	utf8proc_ssize_t n = utf8proc_decompose_char(c, out, 32, UTF8PROC_DECOMPOSE, &last);
	for (utf8proc_ssize_t i = 0; i < n && i < 32; i++) {
		if (utf8proc_category(out[i]) == UTF8PROC_CATEGORY_MN)
			continue;
		int rc = lower(s, out[i]);
		if (rc)
			return rc;
	}
	return 0;
}

static int one(struct state *s, int32_t c)
{
	if (s->cfg->clean_text) {
		if (c == 0 || c == 0xfffd || is_control(c))
			return 0;
		if (is_white(c))
			return end_word(s);
	}
	if (!s->cfg->chinese_chars || !is_ideograph(c))
		return normalise(s, c);
	int rc = end_word(s);
	if (!rc)
		rc = normalise(s, c);
	return rc ? rc : end_word(s);
}

int bert_words(const struct bert_words_cfg *cfg, const char *p, size_t n, uint32_t chars_max,
        int (*word)(void *u, const char *w, uint32_t len, uint32_t chars), void *u)
{
	struct state s = {.cfg = cfg,
	        .word = word,
	        .u = u,
	        .chars_max = chars_max < BERT_WORD_CHARS_MAX ? chars_max : BERT_WORD_CHARS_MAX};
	while (n) {
		int32_t c;
		utf8proc_ssize_t k = utf8proc_iterate((const uint8_t *)p, n < 4 ? (utf8proc_ssize_t)n : 4, &c);
		if (k <= 0) { /* not UTF-8: as if it were not there */
			p++;
			n--;
			continue;
		}
		int rc = one(&s, c);
		if (rc)
			return rc;
		p += k;
		n -= (size_t)k;
	}
	return end_word(&s);
}
