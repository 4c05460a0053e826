/* fts_rank.c - BM25 for FTS5, with a weight for every word.
 *
 * FTS5's own bm25() weighs a word by log((N - n + 0.5) / (n + 0.5)) and gives one that stands in half of the rows or more a millionth: in a
 * directory of three notes every search would score nothing, and a common word would not tell rows apart.  Here the weight is
 * log(1 + (N - n + 0.5) / (n + 0.5)), which is above 0 always and the same to a hair where words are rare.
 *
 * A word of a heading or of the file's name counts as if it stood in the text FTS_HEAD or FTS_NAME times more; a row is as long as its text
 * (Robertson, Zaragoza and Taylor, Simple BM25 Extension to Multiple Weighted Fields, 2004).
 *
 * The function is used as a query's rank (`rank MATCH 'vx_bm25()'`), so it runs for every matching row; what is the same for all rows of a
 * query (counts over the whole index) is found at its first and kept with the query.
 * Source: Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), 3.4, k1 1.2, b 0.75; the weight as in Lucene's BM25Similarity. */
#include <math.h>
#include <string.h>
#include "base/mem.h"
#include "store/store_int.h"

#define BM25_K1    1.2
#define BM25_B     0.75
#define FTS_HEAD   8.0
#define FTS_NAME   6.0
#define PHRASE_MAX 128

struct rank_query {
	int phrases;
	double mean_words; /* of a row */
	double idf[PHRASE_MAX];
	double tf[PHRASE_MAX]; /* of the row at hand */
};

static int count_row(const Fts5ExtensionApi *api, Fts5Context *cx, void *n)
{
	(void)api, (void)cx; /* the signature is FTS5's */
	++*(sqlite3_int64 *)n;
	return SQLITE_OK;
}

static void query_free(void *q)
{
	mem_free(MEM_store, q);
}

static int query_begin(const Fts5ExtensionApi *api, Fts5Context *cx, struct rank_query **ret)
{
	sqlite3_int64 rows = 0, words = 0;
	struct rank_query *q = mem_alloc(MEM_store, sizeof *q);
	if (!q)
		return SQLITE_NOMEM;
	memset(q, 0, sizeof *q);
	int n = api->xPhraseCount(cx), rc = api->xRowCount(cx, &rows);
	q->phrases = n < PHRASE_MAX ? n : PHRASE_MAX;
	if (rc == SQLITE_OK)
		rc = api->xColumnTotalSize(cx, 0, &words);
	q->mean_words = rows > 0 && words > 0 ? (double)words / (double)rows : 1;
	for (int i = 0; i < q->phrases && rc == SQLITE_OK; i++) {
		sqlite3_int64 with = 0;
		rc = api->xQueryPhrase(cx, i, &with, count_row);
		double out = rows > with ? (double)(rows - with) : 0;
		q->idf[i] = log(1 + (out + 0.5) / ((double)with + 0.5));
	}
	if (rc == SQLITE_OK)
		rc = api->xSetAuxdata(cx, q, query_free); /* taken, also on failure */
	else
		query_free(q);
	*ret = q;
	return rc;
}

static void bm25(const Fts5ExtensionApi *api, Fts5Context *cx, sqlite3_context *ret, int argc, sqlite3_value **argv)
{
	(void)argc, (void)argv;
	struct rank_query *q = api->xGetAuxdata(cx, 0);
	int rc = q ? SQLITE_OK : query_begin(api, cx, &q), n = 0, words = 0;
	if (rc == SQLITE_OK)
		rc = api->xInstCount(cx, &n);
	if (rc == SQLITE_OK)
		rc = api->xColumnSize(cx, 0, &words);
	if (rc != SQLITE_OK) {
		sqlite3_result_error_code(ret, rc);
		return;
	}
	static const double weight[] = {1, FTS_HEAD, FTS_NAME};
	memset(q->tf, 0, sizeof *q->tf * (size_t)q->phrases);
	for (int i = 0, phrase, column, at; i < n && rc == SQLITE_OK; i++) {
		rc = api->xInst(cx, i, &phrase, &column, &at);
		if (rc == SQLITE_OK && phrase < q->phrases)
			q->tf[phrase] += column >= 0 && column < 3 ? weight[column] : 1;
	}
	double score = 0, slack = BM25_K1 * (1 - BM25_B + BM25_B * words / q->mean_words);
	for (int i = 0; i < q->phrases; i++)
		score += q->idf[i] * q->tf[i] * (BM25_K1 + 1) / (q->tf[i] + slack);
	if (rc != SQLITE_OK)
		sqlite3_result_error_code(ret, rc);
	else
		sqlite3_result_double(ret, -score); /* FTS5 sorts ascending */
}

/* fts_add - makes vx_bm25 and the tokenizer known to a connection.  Return: an SQLite code. */
int fts_add(sqlite3 *db)
{
	fts5_api *api = NULL;
	sqlite3_stmt *s;
	int rc = sqlite3_prepare_v2(db, "SELECT fts5(?1)", -1, &s, NULL);
	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_bind_pointer(s, 1, &api, "fts5_api_ptr", NULL);
	if (rc == SQLITE_OK)
		sqlite3_step(s);
	sqlite3_finalize(s);
	rc = api ? api->xCreateFunction(api, "vx_bm25", NULL, bm25, NULL) : SQLITE_ERROR;
	return rc == SQLITE_OK ? fts_token_add(api) : rc;
}
