/* fts.c - words to files: FTS5 over chunks, only of the version of each file's text that is complete.
 *
 * The user's text never reaches FTS5's query language: it is cut into runs of letters and digits (and any byte above ASCII), each
 * is quoted, and they are joined by OR, so a chunk with more and rarer of the words ranks higher (BM25) and none is required.
 * The byte 0x1f between words narrows: of what stands on either side of it at least one word must be there.  Words between two
 * bytes 0x1e are a phrase: they count as one word, found where they follow one another.
 * Score: with q = sqrt(BM25) (fts_rank.c), s = q / (1 + q) is in (0, 1) and grows with BM25: one rare word gives about 0.7, a word that every
 * chunk has about 0.1, several rare ones 0.8 and more. */
#include <math.h>
#include <string.h>
#include "base/sbuf.h"
#include "base/utf8.h"
#include "store/store_int.h"

#define FTS_WORDS_MAX  64u
#define FTS_WORD_BYTES 128u
#define FTS_HITS_FIRST 16u

static bool word_byte(unsigned char b)
{
	return b >= 0x80 || (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
}

/* One word outside a phrase: as it is, or in pieces where it has characters of scripts without spaces.  A run of those becomes each two that
 * follow one another (a phrase, as the tokenizer makes each a token); ranking puts the rows first that have the most of them. */
static uint32_t put_word(struct sbuf *b, const char *w, size_t n, uint32_t room)
{
	uint32_t put = 0;
	for (size_t i = 0, from = 0, before = n;
	        i < n && put < room;) { /* before: where the last such character began; n: none */
		uint32_t c = 0;
		unsigned k = utf8_decode(w + i, n - i, &c);
		size_t to = i + (k ? k : 1);
		bool alone = k && fts_no_spaces(c), last = to >= n;
		uint32_t next = 0;
		bool goes_on = !last && utf8_decode(w + to, n - to, &next) && fts_no_spaces(next);
		const char *piece = NULL;
		size_t piece_n = 0;
		if (!alone && (last || goes_on)) {
			piece = w + from;
			piece_n = to - from;
		} else if (alone && (before < n || !goes_on)) {
			piece = w + (before < n ? before : i);
			piece_n = to - (before < n ? before : i);
		}
		if (piece) {
			sb_str(b, put++ ? " OR \"" : "\"");
			sb_bytes(b, piece, piece_n);
			sb_ch(b, '"');
		}
		before = alone && goes_on ? i : n;
		from = alone ? to : from;
		i = to;
	}
	return put;
}

int fts_match(struct arena *a, const char *text, uint32_t n, const char **ret)
{
	struct sbuf b;
	uint32_t words = 0;
	bool narrow = false, phrase = false, open = false;
	if (n > CONF_QUERY_TEXT_MAX)
		return -VX_ERR_query_too_long;
	if (sbuf_arena(&b, a, 256, 3 * CONF_QUERY_TEXT_MAX + FTS_WORDS_MAX * 12) < 0)
		return -VX_ERR_arena_full;
	for (uint32_t i = 0; i < n && words < FTS_WORDS_MAX;) {
		uint32_t from = i;
		while (i < n && word_byte((unsigned char)text[i]))
			i++;
		if (i == from) {
			narrow |= text[i] == 0x1f;
			if (text[i++] == 0x1e) {
				phrase = !phrase;
				if (open)
					sb_ch(&b, '"');
				open = false;
			}
			continue;
		}
		if (i - from > FTS_WORD_BYTES) /* no such word in any index; and no quadratic work for one */
			continue;
		sb_str(&b, open ? " " : !words ? "(" : narrow ? ") AND (" : " OR ");
		narrow = false;
		if (!phrase) {
			words += put_word(&b, text + from, i - from, FTS_WORDS_MAX - words);
			continue;
		}
		if (!open)
			sb_ch(&b, '"');
		sb_bytes(&b, text + from, i - from);
		words++;
		open = true;
	}
	if (open)
		sb_ch(&b, '"');
	if (!words)
		return -VX_ERR_query_syntax;
	sb_ch(&b, ')');
	*ret = sbuf_cstr(&b);
	return b.over ? -VX_ERR_arena_full : 0;
}

static const char sql_plain[] = "SELECT c.oid,c.ord,fts.rank,c.byte0,c.byte1,c.line0,c.line1,NULL FROM fts "
                                "JOIN chunk c ON c.id=fts.rowid JOIN obj o ON o.oid=c.oid "
                                "WHERE fts MATCH ?1 AND rank MATCH 'vx_bm25()' AND o.tstate=1 AND c.ver=o.tver ORDER "
                                "BY fts.rank,c.oid,c.ord LIMIT ?2 OFFSET ?3";
static const char sql_snippet[] =
        "SELECT c.oid,c.ord,fts.rank,c.byte0,c.byte1,c.line0,c.line1,snippet(fts,0,'','','…',24) FROM fts "
        "JOIN chunk c ON c.id=fts.rowid JOIN obj o ON o.oid=c.oid "
        "WHERE fts MATCH ?1 AND rank MATCH 'vx_bm25()' AND o.tstate=1 AND c.ver=o.tver ORDER BY fts.rank,c.oid,c.ord "
        "LIMIT ?2 OFFSET ?3";

static int hit_add(struct store_read *rd, uint32_t *cap)
{
	if (rd->hit_n < *cap)
		return 0;
	uint32_t want = *cap ? *cap * 2 : FTS_HITS_FIRST;
	struct store_fts_hit *p = arena_alloc(rd->arena, want * sizeof *p);
	if (!p)
		return -VX_ERR_arena_full;
	if (rd->hit_n)
		memcpy(p, rd->hits, rd->hit_n * sizeof *p);
	rd->hits = p;
	*cap = want;
	return 0;
}

static int hit_read(sqlite3_stmt *s, struct arena *a, struct store_fts_hit *h)
{
	double r = -sqlite3_column_double(s, 2);
	if (!(r > 1e-9))
		r = 1e-9;
	if (r > 1e9)
		r = 1e9; /* so that the float stays below 1 */
	r = sqrt(r);
	*h = (struct store_fts_hit){.oid = (uint64_t)sqlite3_column_int64(s, 0),
	        .ord = (uint32_t)sqlite3_column_int64(s, 1),
	        .score = (float)(r / (1 + r)),
	        .byte0 = (uint64_t)sqlite3_column_int64(s, 3),
	        .byte1 = (uint64_t)sqlite3_column_int64(s, 4),
	        .line0 = (uint32_t)sqlite3_column_int64(s, 5),
	        .line1 = (uint32_t)sqlite3_column_int64(s, 6)};
	const char *text = (const char *)sqlite3_column_text(s, 7);
	if (text) {
		h->snippet = arena_strndup(a, text, (size_t)sqlite3_column_bytes(s, 7));
		if (!h->snippet)
			return -VX_ERR_arena_full;
	}
	return 0;
}

int fts_search(struct catalog *c, struct store_read *rd)
{
	const char *match;
	sqlite3_stmt *s;
	uint32_t cap = 0;
	VX_TRY(fts_match(rd->arena, rd->text, rd->text_n, &match));
	if (sqlite3_prepare_v2(c->db, rd->want_snippet ? sql_snippet : sql_plain, -1, &s, NULL) != SQLITE_OK)
		return cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_bind_text(s, 1, match, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 2, rd->limit);
	sqlite3_bind_int64(s, 3, rd->offset);
	int rc = 0, q;
	while ((q = sqlite3_step(s)) == SQLITE_ROW) {
		rc = hit_add(rd, &cap);
		if (!rc)
			rc = hit_read(s, rd->arena, &rd->hits[rd->hit_n]);
		if (rc < 0)
			break;
		rd->hit_n++;
	}
	if (!rc && q != SQLITE_DONE)
		rc = cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_finalize(s);
	return rc;
}

int fts_files(struct catalog *c, struct store_read *rd)
{
	const char *match;
	sqlite3_stmt *s;
	uint32_t cap = 0;
	VX_TRY(fts_match(rd->arena, rd->text, rd->text_n, &match));
	if (sqlite3_prepare_v2(c->db,
	            "SELECT DISTINCT c.oid FROM fts JOIN chunk c ON c.id=fts.rowid JOIN obj o ON o.oid=c.oid "
	            "WHERE fts MATCH ?1 AND o.tstate=1 AND c.ver=o.tver ORDER BY c.oid",
	            -1, &s, NULL) != SQLITE_OK)
		return cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_bind_text(s, 1, match, -1, SQLITE_STATIC);
	int rc = 0, q;
	while ((q = sqlite3_step(s)) == SQLITE_ROW) {
		if (rd->id_n == cap) {
			cap = cap ? cap * 2 : 256;
			uint64_t *p = arena_alloc(rd->arena, cap * sizeof *p);
			if (!p) {
				rc = -VX_ERR_arena_full;
				break;
			}
			if (rd->id_n)
				memcpy(p, rd->ids, rd->id_n * sizeof *p);
			rd->ids = p;
		}
		rd->ids[rd->id_n++] = (uint64_t)sqlite3_column_int64(s, 0);
	}
	if (!rc && q != SQLITE_DONE)
		rc = cat_rc(c, sqlite3_extended_errcode(c->db));
	sqlite3_finalize(s);
	return rc;
}
