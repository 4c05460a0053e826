/* bert_words.h - text to the words that WordPiece cuts up: BERT's normaliser and pre-tokeniser in one pass. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bert_words_cfg {
	bool clean_text, chinese_chars, strip_accents, lowercase;
};
/* bert_words - call word() for each word in order.
 * @p,@n    UTF-8; bytes that are none are skipped
 * @word    w[len], UTF-8, valid until it returns, with its count of characters; a word of more than @chars_max characters has len 0 (its
 *          characters are not kept).  A return other than 0 ends the pass.
 * @chars_max  at most BERT_WORD_CHARS_MAX */
#define BERT_WORD_CHARS_MAX 255u
int bert_words(const struct bert_words_cfg *cfg, const char *p, size_t n, uint32_t chars_max,
        int (*word)(void *u, const char *w, uint32_t len, uint32_t chars), void *u);
