/* wordpiece.c - WordPiece (Schuster & Nakajima 2012; as in BERT: greedy, longest piece first, continuing pieces marked "##").
 *
 * The vocabulary is one block of bytes with an offset per id and a table of ids, open addressing, at most half full.  A continuing
 * piece is kept without its prefix and hashed with another seed, so that looking one up needs no copy.  Special tokens that stand in
 * the text as they are ("[MASK]") become their ids, as the reference does. */
#include "embed/wordpiece.h"
#include <string.h>
#include "base/sbuf.h"
#include "embed/bert_words.h"

#define PIECE_BYTES_MAX 1024u
#define SPECIALS_MAX    64u

struct piece {
	uint32_t at;
	uint16_t len;
	uint8_t continues, there;
};
struct special {
	char *text;
	uint32_t len, id;
};
struct wordpiece {
	struct bert_words_cfg norm;
	uint32_t chars_max, vocab_n, slot_n, piece_max; /* slot_n: a power of 2; piece_max: longest piece in bytes */
	struct wordpiece_info info;
	char *text;
	size_t text_n, text_cap;
	struct piece *piece; /* by id */
	uint32_t *slot; /* id + 1; 0: empty */
	struct special special[SPECIALS_MAX];
	uint32_t special_n;
	uint64_t special_first[4]; /* bytes a special token begins with */
	char prefix[8];
	uint32_t prefix_n;
};

static uint32_t *slot_of(const struct wordpiece *w, const char *p, uint32_t n, bool continues)
{
	uint32_t i = (uint32_t)hash64(p, n, continues) & (w->slot_n - 1);
	for (;; i = (i + 1) & (w->slot_n - 1)) {
		uint32_t *s = &w->slot[i];
		if (!*s)
			return s;
		const struct piece *q = &w->piece[*s - 1];
		if (q->len == n && q->continues == continues && !memcmp(w->text + q->at, p, n))
			return s;
	}
}

static uint32_t find(const struct wordpiece *w, const char *p, uint32_t n, bool continues)
{
	return *slot_of(w, p, n, continues) - 1; /* an empty slot: 0 - 1 is WORDPIECE_NONE */
}

static uint32_t find_token(const struct wordpiece *w, const char *s)
{
	return find(w, s, (uint32_t)strlen(s), false);
}

/* the tables for ids below vocab_n and text_bytes of pieces */
static int tables_new(struct wordpiece *w, uint32_t vocab_n, size_t text_bytes)
{
	w->vocab_n = vocab_n;
	w->slot_n = 16;
	while (w->slot_n < 2 * vocab_n)
		w->slot_n *= 2;
	w->text_cap = text_bytes + 1;
	w->text = mem_alloc(MEM_text, w->text_cap);
	w->piece = mem_zalloc(MEM_text, vocab_n * sizeof *w->piece);
	w->slot = mem_zalloc(MEM_text, w->slot_n * sizeof *w->slot);
	return w->text && w->piece && w->slot ? 0 : -ENOMEM;
}

/* 0; -VX_ERR_bad_format: the id is taken or out of range */
static int put(struct wordpiece *w, const char *p, size_t n, uint64_t id)
{
	if (id >= w->vocab_n || w->piece[id].there || n > w->text_cap - w->text_n)
		return -VX_ERR_bad_format;
	struct piece *q = &w->piece[id];
	q->there = 1;
	if (n > PIECE_BYTES_MAX) /* no word is that long: it can never be found */
		return 0;
	if (n > w->prefix_n && !memcmp(p, w->prefix, w->prefix_n)) {
		q->continues = 1;
		p += w->prefix_n;
		n -= w->prefix_n;
	}
	q->at = (uint32_t)w->text_n;
	q->len = (uint16_t)n;
	memcpy(w->text + w->text_n, p, n);
	w->text_n += n;
	w->piece_max = n > w->piece_max ? (uint32_t)n : w->piece_max;
	uint32_t *s = slot_of(w, p, (uint32_t)n, q->continues);
	if (!*s) /* the same text twice: the first id stays */
		*s = (uint32_t)id + 1;
	return 0;
}

static int add_special(struct wordpiece *w, const char *text, uint32_t id)
{
	size_t n = strlen(text);
	if (!n || n > PIECE_BYTES_MAX || w->special_n == SPECIALS_MAX)
		return 0; /* more than any model has: the rest is plain text */
	struct special *s = &w->special[w->special_n];
	s->text = mem_strdup(MEM_text, text);
	if (!s->text)
		return -ENOMEM;
	s->len = (uint32_t)n;
	s->id = id;
	w->special_n++;
	uint8_t c = (uint8_t)text[0];
	w->special_first[c >> 6] |= 1ull << (c & 63);
	return 0;
}

static int bool_of(const json_t *o, const char *key, int dflt)
{
	const json_t *v = json_object_get(o, key);
	return json_is_boolean(v) ? json_is_true(v) : dflt;
}

static bool str_is(const json_t *o, const char *key, const char *want)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s && !strcmp(s, want);
}

static void set_norm(struct wordpiece *w, const json_t *o, const char *lowercase, const char *chinese)
{
	w->norm.clean_text = bool_of(o, "clean_text", 1);
	w->norm.chinese_chars = bool_of(o, chinese, 1);
	w->norm.lowercase = bool_of(o, lowercase, 1);
	w->norm.strip_accents = bool_of(o, "strip_accents", w->norm.lowercase);
}

/* [CLS] and [SEP] as the post-processor names them */
static void set_frame(struct wordpiece *w, const json_t *post)
{
	const json_t *single = json_object_get(post, "single");
	w->info.cls = find_token(w, "[CLS]");
	w->info.sep = find_token(w, "[SEP]");
	if (!str_is(post, "type", "TemplateProcessing") || json_array_size(single) != 3)
		return;
	const char *a =
	        json_string_value(json_object_get(json_object_get(json_array_get(single, 0), "SpecialToken"), "id"));
	const char *b =
	        json_string_value(json_object_get(json_object_get(json_array_get(single, 2), "SpecialToken"), "id"));
	if (a && b && find_token(w, a) != WORDPIECE_NONE && find_token(w, b) != WORDPIECE_NONE) {
		w->info.cls = find_token(w, a);
		w->info.sep = find_token(w, b);
	}
}

static int fill_json(struct wordpiece *w, const json_t *j, struct vx_errinfo *reterr)
{
	const json_t *model = json_object_get(j, "model"), *norm = json_object_get(j, "normalizer"),
	             *added = json_object_get(j, "added_tokens"), *v;
	json_t *vocab = json_object_get(model, "vocab");
	const char *prefix = json_string_value(json_object_get(model, "continuing_subword_prefix"));
	const char *unk = json_string_value(json_object_get(model, "unk_token")), *key;
	uint64_t top = 0, bytes = 0;
	int64_t chars;
	size_t i;
	if ((json_object_get(model, "type") && !str_is(model, "type", "WordPiece")) || !json_is_object(vocab) ||
	        !json_object_size(vocab))
		return emb_fail(reterr, -VX_ERR_bad_format, "only WordPiece tokenizers are read", "tokenizer.json");
	if (!str_is(norm, "type", "BertNormalizer") ||
	        !str_is(json_object_get(j, "pre_tokenizer"), "type", "BertPreTokenizer"))
		return emb_fail(reterr, -VX_ERR_bad_format, "only BERT's normalizer and pre-tokenizer are known",
		        "tokenizer.json");
	if (prefix && strlen(prefix) >= sizeof w->prefix)
		return emb_fail(reterr, -VX_ERR_bad_format, "continuing_subword_prefix is too long", "tokenizer.json");
	w->prefix_n = (uint32_t)strlen(prefix ? prefix : "##");
	memcpy(w->prefix, prefix ? prefix : "##", w->prefix_n);
	VX_TRY(emb_json_int(model, "max_input_chars_per_word", 1, BERT_WORD_CHARS_MAX, 100, &chars, reterr));
	w->chars_max = (uint32_t)chars;
	json_object_foreach(vocab, key, v)
	{
		if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= WORDPIECE_VOCAB_MAX)
			return emb_fail(reterr, -VX_ERR_bad_format, "a vocabulary id is no number below 1048576", key);
		if ((uint64_t)json_integer_value(v) > top)
			top = (uint64_t)json_integer_value(v);
		bytes += strlen(key);
	}
	VX_TRY(tables_new(w, (uint32_t)top + 1, bytes));
	json_object_foreach(vocab, key, v)
	{
		if (put(w, key, strlen(key), (uint64_t)json_integer_value(v)) < 0)
			return emb_fail(reterr, -VX_ERR_bad_format, "two words of the vocabulary have one id", key);
	}
	set_norm(w, norm, "lowercase", "handle_chinese_chars");
	json_array_foreach(added, i, v)
	{
		const char *text = json_string_value(json_object_get(v, "content"));
		const json_t *id = json_object_get(v, "id");
		if (!text || !json_is_integer(id) || json_integer_value(id) < 0 ||
		        (uint64_t)json_integer_value(id) > top)
			continue;
		VX_TRY(add_special(w, text, (uint32_t)json_integer_value(id)));
	}
	w->info.unk = find_token(w, unk ? unk : "[UNK]");
	w->info.pad = find_token(w, "[PAD]");
	set_frame(w, json_object_get(j, "post_processor"));
	return 0;
}

/* vocab.txt: one piece a line, its number is the id */
static int fill_lines(struct wordpiece *w, const char *p, size_t n, struct vx_errinfo *reterr)
{
	static const char *const specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
	const char *end = p + n;
	uint32_t lines = 0;
	for (const char *q = p; q < end && (q = memchr(q, '\n', (size_t)(end - q))); q++)
		lines++;
	lines += n && end[-1] != '\n';
	if (!lines || lines > WORDPIECE_VOCAB_MAX)
		return emb_fail(reterr, -VX_ERR_bad_format, "1 to 1048576 lines are wanted", "vocab.txt");
	w->prefix_n = 2;
	memcpy(w->prefix, "##", 2);
	w->chars_max = 100;
	VX_TRY(tables_new(w, lines, n));
	for (uint32_t id = 0; p < end; id++) {
		const char *e = memchr(p, '\n', (size_t)(end - p));
		e = e ? e : end;
		size_t len = (size_t)(e - p);
		if (len && p[len - 1] == '\r')
			len--;
		int rc = put(w, p, len, id);
		vx_assert(rc == 0); /* ids count up and the bytes were counted */
		p = e + 1;
	}
	for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
		uint32_t id = find_token(w, specials[i]);
		if (id != WORDPIECE_NONE)
			VX_TRY(add_special(w, specials[i], id));
	}
	w->info.unk = find_token(w, "[UNK]");
	w->info.pad = find_token(w, "[PAD]");
	set_frame(w, NULL);
	return 0;
}

static struct wordpiece *blank(void)
{
	struct wordpiece *w = mem_zalloc(MEM_text, sizeof *w);
	if (w)
		w->info = (struct wordpiece_info){0, WORDPIECE_NONE, WORDPIECE_NONE, WORDPIECE_NONE, WORDPIECE_NONE};
	return w;
}

static int finish(struct wordpiece *w, int rc, struct wordpiece **ret)
{
	if (rc < 0) {
		wordpiece_free(w);
		return rc;
	}
	w->info.vocab_n = w->vocab_n;
	*ret = w;
	return 0;
}

static int from_json(const json_t *j, struct wordpiece **ret, struct vx_errinfo *reterr)
{
	struct wordpiece *w = blank();
	return w ? finish(w, fill_json(w, j, reterr), ret) : -ENOMEM;
}

int wordpiece_parse(const char *json, size_t n, struct wordpiece **ret, struct vx_errinfo *reterr)
{
	json_t *j;
	VX_TRY(emb_json_text(json, n, "tokenizer.json", &j, reterr));
	int rc = from_json(j, ret, reterr);
	json_decref(j);
	return rc;
}

int wordpiece_load(struct os *os, int dirfd, struct wordpiece **ret, struct vx_errinfo *reterr)
{
	json_t *j = NULL;
	char *text;
	size_t n;
	int rc = emb_json_file(os, dirfd, "tokenizer.json", &j, reterr);
	if (rc != -ENOENT) {
		if (rc >= 0)
			rc = from_json(j, ret, reterr);
		json_decref(j);
		return rc;
	}
	rc = emb_read_file(os, dirfd, "vocab.txt", EMBED_FILE_JSON_MAX, &text, &n);
	if (rc < 0)
		return emb_fail(reterr, rc, "the model's folder has neither tokenizer.json nor", "vocab.txt");
	struct wordpiece *w = blank();
	rc = w ? fill_lines(w, text, n, reterr) : -ENOMEM;
	mem_free(MEM_text, text);
	if (rc >= 0) {
		rc = emb_json_file(os, dirfd, "tokenizer_config.json", &j, reterr);
		set_norm(w, j, "do_lower_case", "tokenize_chinese_chars"); /* all its defaults when there is none */
		json_decref(j);
		rc = rc == -ENOENT ? 0 : rc;
	}
	return w ? finish(w, rc, ret) : rc;
}

void wordpiece_free(struct wordpiece *w)
{
	if (!w)
		return;
	for (uint32_t i = 0; i < w->special_n; i++)
		mem_free(MEM_text, w->special[i].text);
	mem_free(MEM_text, w->text);
	mem_free(MEM_text, w->piece);
	mem_free(MEM_text, w->slot);
	mem_free(MEM_text, w);
}

struct wordpiece_info wordpiece_info(const struct wordpiece *w)
{
	return w->info;
}

uint64_t wordpiece_bytes(const struct wordpiece *w)
{
	return sizeof *w + w->text_cap + w->vocab_n * sizeof *w->piece + w->slot_n * sizeof *w->slot;
}

struct out {
	const struct wordpiece *w;
	uint32_t *ids, n, cap;
};

static int emit(struct out *o, uint32_t id)
{
	if (id != WORDPIECE_NONE && o->n < o->cap)
		o->ids[o->n++] = id;
	return o->n >= o->cap;
}

static int cut_word(void *u, const char *p, uint32_t len, uint32_t chars)
{
	struct out *o = u;
	const struct wordpiece *w = o->w;
	uint32_t part[BERT_WORD_CHARS_MAX], n = 0;
	(void)chars; /* bert_words has judged the length */
	for (uint32_t at = 0; at < len;) {
		uint32_t end = len - at > w->piece_max ? at + w->piece_max : len, id = WORDPIECE_NONE;
		for (; end > at; end--) {
			if (end < len && (p[end] & 0xc0) == 0x80)
				continue;
			id = find(w, p + at, end - at, at > 0);
			if (id != WORDPIECE_NONE)
				break;
		}
		if (id == WORDPIECE_NONE)
			return emit(o, w->info.unk);
		part[n++] = id;
		at = end;
	}
	if (!n)
		return emit(o, w->info.unk);
	for (uint32_t i = 0; i < n; i++)
		if (emit(o, part[i]))
			return 1;
	return 0;
}

/* the longest special token at p, or NULL */
static const struct special *special_at(const struct wordpiece *w, const char *p, size_t n)
{
	const struct special *best = NULL;
	for (uint32_t i = 0; i < w->special_n; i++) {
		const struct special *s = &w->special[i];
		if (s->len <= n && (!best || s->len > best->len) && !memcmp(p, s->text, s->len))
			best = s;
	}
	return best;
}

uint32_t wordpiece_encode(const struct wordpiece *w, const char *p, size_t n, uint32_t *ids, uint32_t cap)
{
	struct out o = {.w = w, .ids = ids, .cap = cap};
	size_t from = 0, at = 0;
	/* the text is looked through for special tokens no further than 64 KiB ahead of what has been cut up: a text of which only the
	 * first few hundred tokens are wanted is not read to its end */
	while (o.n < cap && from < n) {
		const struct special *s = NULL;
		size_t stop = n - from > 65536 ? from + 65536 : n;
		for (at = from; at < stop; at++) {
			uint8_t c = (uint8_t)p[at];
			if (w->special_first[c >> 6] >> (c & 63) & 1 && (s = special_at(w, p + at, n - at)))
				break;
		}
		/* not in the middle of a word: a piece that has no special token ends behind white space when it has any */
		if (!s && stop < n)
			while (at > from + 32768 && p[at - 1] != ' ' && p[at - 1] != '\n')
				at--;
		if (bert_words(&w->norm, p + from, at - from, w->chars_max, cut_word, &o))
			break;
		if (s)
			emit(&o, s->id);
		from = at + (s ? s->len : 0);
	}
	return o.n;
}
