/* fts_token.c - the tokenizer below porter: unicode61, and one token a character where words have no spaces between.
 *
 * unicode61 takes a run of Han, kana or hangul for one word, so nothing inside it would ever be found.  Here each such character is a
 * token of its own; a query's run becomes phrases of two (fts_match), which is the usual bigram search without a second index.
 * Trigrams (FTS5's own) would find no word of one or two characters, and most words of these languages are that short. */
#include <string.h>
#include "base/mem.h"
#include "base/utf8.h"
#include "store/store_int.h"

struct fts_cut { /* a tokenizer: FTS5's own in ours */
	fts5_tokenizer inner;
	Fts5Tokenizer *of;
};
struct cut_out {
	void *cx;
	int (*token)(void *cx, int flags, const char *text, int n, int from, int to);
};

bool fts_no_spaces(uint32_t c)
{
	return (c >= 0x3040 && c < 0x3100) || (c >= 0x31f0 && c < 0x3200) || (c >= 0x3400 && c < 0x4dc0) ||
	       (c >= 0x4e00 && c < 0xa000) || (c >= 0xac00 && c < 0xd7b0) || (c >= 0xf900 && c < 0xfb00) ||
	       (c >= 0xff66 && c < 0xffa0) || (c >= 0x20000 && c < 0x40000);
}

static int cut_new(void *api_of, const char **argv, int argc, Fts5Tokenizer **ret)
{
	fts5_api *api = api_of;
	void *cx;
	struct fts_cut *t = mem_alloc(MEM_store, sizeof *t);
	if (!t)
		return SQLITE_NOMEM;
	memset(t, 0, sizeof *t);
	int rc = api->xFindTokenizer(api, "unicode61", &cx, &t->inner);
	if (rc == SQLITE_OK)
		rc = t->inner.xCreate(cx, argv, argc, &t->of);
	if (rc != SQLITE_OK) {
		mem_free(MEM_store, t);
		return rc;
	}
	*ret = (Fts5Tokenizer *)t;
	return SQLITE_OK;
}

static void cut_free(Fts5Tokenizer *tok)
{
	struct fts_cut *t = (struct fts_cut *)tok;
	if (t && t->of)
		t->inner.xDelete(t->of);
	mem_free(MEM_store, t);
}

/* one of unicode61's tokens, whole or in parts; bytes that folding has moved keep the whole token's place */
static int cut_token(void *cx, int flags, const char *text, int n, int from, int to)
{
	struct cut_out *o = cx;
	bool placed = to - from == n;
	int run = 0, rc = SQLITE_OK; /* text[run, i) is waiting */
	for (int i = 0; i <= n && rc == SQLITE_OK;) {
		uint32_t c = 0;
		unsigned k = i < n ? utf8_decode(text + i, (size_t)(n - i), &c) : 0;
		bool alone = k && fts_no_spaces(c);
		if ((alone || i == n) && i > run)
			rc = o->token(
			        o->cx, flags, text + run, i - run, placed ? from + run : from, placed ? from + i : to);
		int next = i + (k ? (int)k : 1);
		if (alone) {
			if (rc == SQLITE_OK)
				rc = o->token(o->cx, flags, text + i, (int)k, placed ? from + i : from,
				        placed ? from + next : to);
			run = next;
		}
		i = next;
	}
	return rc;
}

static int cut_text(Fts5Tokenizer *tok, void *cx, int flags, const char *text, int n,
        int (*token)(void *cx, int flags, const char *text, int n, int from, int to))
{
	struct fts_cut *t = (struct fts_cut *)tok;
	struct cut_out o = {.cx = cx, .token = token};
	return t->inner.xTokenize(t->of, &o, flags, text, n, cut_token);
}

int fts_token_add(fts5_api *api)
{
	fts5_tokenizer cut = {cut_new, cut_free, cut_text};
	return api->xCreateTokenizer(api, "vexfs", api, &cut, NULL);
}
