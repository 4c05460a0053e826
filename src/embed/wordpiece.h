/* wordpiece.h - a vocabulary and the cutting of words into its pieces, longest first. */
#pragma once
#include "embed/embed_int.h"

#define WORDPIECE_VOCAB_MAX (1u << 20)
#define WORDPIECE_NONE      UINT32_MAX

struct wordpiece;
struct wordpiece_info {
	uint32_t vocab_n; /* ids are below this */
	uint32_t cls, sep, unk, pad; /* WORDPIECE_NONE: has none */
};
/* wordpiece_load - from tokenizer.json if the folder has one, else vocab.txt and tokenizer_config.json.
 * Return: 0; -VX_ERR_bad_format when it is no WordPiece tokenizer with BERT's normaliser; -ENOENT; -ENOMEM. */
int wordpiece_load(struct os *os, int dirfd, struct wordpiece **ret, struct vx_errinfo *reterr);
/* wordpiece_parse - from the texts themselves: tokenizer.json. */
int wordpiece_parse(const char *json, size_t n, struct wordpiece **ret, struct vx_errinfo *reterr);
void wordpiece_free(struct wordpiece *w); /* takes NULL */
struct wordpiece_info wordpiece_info(const struct wordpiece *w);
uint64_t wordpiece_bytes(const struct wordpiece *w);
/* wordpiece_encode - ids of a text without [CLS] and [SEP]; stops when @cap ids are there.
 * Return: ids written.  Bounds: no allocation; frame < 2 KiB; time linear in what is read, the text is read only as far as needed. */
uint32_t wordpiece_encode(const struct wordpiece *w, const char *p, size_t n, uint32_t *ids, uint32_t cap);
