/* search_mean.c - the leg of meaning: rows of the answering model's collection, which are vectors of chunks.
 *
 * A row becomes a result as a chunk found by words does (search_take_chunk), once the catalog has told which chunk it is now: the map in
 * memory says of which version of the text it speaks, and a chunk of another version is none.  A text that is replaced meanwhile is
 * looked for again, as in search_text.c.  What narrows (filter, scope, path:, "phrases" …) is worked out for each file before and given
 * to the index as bits of rows, so that k results are found when there are k.
 *
 * A file's score is its best chunk's, or, where the sum is asked for, the sum of the scores of all of its vectors.  The files of the
 * nearest rows are the candidates for that (all files when there are few rows, or when the search is exact); their sums are exact. */
#include <math.h>
#include <string.h>

#include "engine/search_priv.h"
#include "engine/sem.h"

#define MEAN_SLACK    16u
#define MEAN_PAGE     32u /* chunks asked of the catalog at once */
#define MEAN_TRIES    4u
#define SNIPPET_MAX   240u
#define NARROW_STEP   128u /* files looked at under the lock of the objects */
#define SNIPPET_WORDS 32u /* of what was asked: the first ones choose the snippet */
#define SUM_ALL       20000u /* rows up to which sums are those of all files */
#define SUM_EACH      16u /* else rows looked at for a file asked for */

/* ---- which rows may be results ---- */
static bool file_passes(struct search *s, const struct eng_obj *o, char *path)
{
	if (s->words && !search_words_pass(s->words, o, path))
		return false;
	if (!search_passes(s, o->oid))
		return false;
	if (!s->g.scope_n)
		return true;
	unsigned n = 0;
	for (const struct eng_link *l = o->links; l && n < ENG_LINKS_TRIED; l = l->obj_next, n++)
		if (link_path(l, path, CONF_PATH_MAX + 1) > 0 && !strncmp(path, s->g.scope, s->g.scope_n) &&
		        (path[s->g.scope_n] == '/' || !path[s->g.scope_n]))
			return true;
	return false;
}
/* the files that have rows, as they are now; NULL: no memory */
static uint64_t *files(struct eng_coll *c, uint32_t *ret_n)
{
	const struct chunk_rows *r = c->chunks;
	pthread_mutex_lock(&c->lock);
	uint64_t *oid = mem_alloc(MEM_engine, ((size_t)r->file_n + 1) * sizeof(*oid));
	uint32_t n = 0;
	for (uint32_t i = 0; oid && i < r->file_cap; i++)
		if (r->file[i].oid && r->file[i].head != ENG_ROW_NONE)
			oid[n++] = r->file[i].oid;
	pthread_mutex_unlock(&c->lock);
	*ret_n = n;
	return oid;
}
static void bits_of(struct eng_coll *c, uint64_t oid, uint64_t *w, uint32_t rows_n)
{
	pthread_mutex_lock(&c->lock);
	const struct chunk_file *f = chunk_rows_file(c, oid);
	for (uint32_t row = f ? f->head : ENG_ROW_NONE; row != ENG_ROW_NONE; row = c->chunks->row[row].next)
		if (row < rows_n)
			w[row / 64] |= 1ull << (row % 64);
	pthread_mutex_unlock(&c->lock);
}
/* In small pieces, so that nobody waits for the objects meanwhile: a file that changes between is judged again when its row is a hit. */
static int narrow(struct search *s, struct eng_coll *c, uint32_t rows_n, struct row_bits *ret)
{
	struct engine *e = s->e;
	size_t words = ((size_t)rows_n + 63) / 64;
	uint64_t *w = arena_zalloc(s->j->arena, (words ? words : 1) * sizeof(*w));
	char *path = arena_alloc(s->j->arena, CONF_PATH_MAX + 1);
	if (!w || !path)
		return -VX_ERR_arena_full;
	uint32_t n;
	uint64_t *oid = files(c, &n);
	if (!oid)
		return -ENOMEM;
	int rc = 0;
	for (uint32_t i = 0; i < n && rc >= 0; i += NARROW_STEP) {
		eng_rdlock(e);
		for (uint32_t k = i; k < n && k < i + NARROW_STEP; k++) {
			const struct eng_obj *o = obj_by_oid(&e->t, oid[k]);
			if (o && file_passes(s, o, path))
				bits_of(c, oid[k], w, rows_n);
		}
		eng_unlock(e);
		if (atomic_load(&s->j->cancel))
			rc = -VX_ERR_cancelled;
	}
	mem_free(MEM_engine, oid);
	*ret = (struct row_bits){.w = (_Atomic uint64_t *)w, .n = rows_n};
	return rc;
}

/* ---- a line or two of the chunk ---- */
static bool letter(char ch)
{
	unsigned char b = (unsigned char)ch;
	return b >= 0x80 || (b >= '0' && b <= '9') || ((b | 0x20) >= 'a' && (b | 0x20) <= 'z');
}
static unsigned asked_words(const char *t, size_t n, const char *q, size_t qn)
{
	unsigned found = 0, words = 0;
	for (size_t i = 0; i < qn && words < SNIPPET_WORDS;) {
		size_t from = i;
		while (i < qn && letter(q[i]))
			i++;
		size_t k = i - from;
		words += k >= 3;
		for (size_t at = 0; k >= 3 && at + k <= n; at++)
			if (!strncasecmp(t + at, q + from, k)) {
				found++;
				break;
			}
		i += !k;
	}
	return found;
}
/* where a piece may begin: the start, a line, a sentence */
static size_t next_start(const char *t, size_t n, size_t at)
{
	for (; at + 1 < n; at++)
		if (t[at] == '\n' || (t[at] == ' ' && at && strchr(".!?", t[at - 1])))
			return at + 1;
	return n;
}
/* the piece of a chunk with most of the words asked for, else its beginning; white space made single */
static const char *snippet(struct search *s, const char *t, size_t n)
{
	const char *q = s->words ? s->words->mean : NULL;
	size_t best = 0;
	unsigned most = 0;
	for (size_t at = 0; q && at < n; at = next_start(t, n, at)) {
		size_t len = n - at < SNIPPET_MAX ? n - at : SNIPPET_MAX;
		unsigned k = asked_words(t + at, len, q, s->words->mean_n);
		if (k > most) {
			most = k;
			best = at;
		}
		if (n - at <= SNIPPET_MAX / 2)
			break;
	}
	char *out = arena_alloc(s->j->arena, SNIPPET_MAX + 8);
	size_t o = 0, i = best;
	if (!out)
		return NULL;
	if (best) {
		memcpy(out, "…", 3);
		o = 3;
	}
	for (; i < n && o < SNIPPET_MAX; i++) {
		bool white = (unsigned char)t[i] <= ' ';
		if (!white || (o && out[o - 1] != ' '))
			out[o++] = white ? ' ' : t[i];
	}
	if (i < n) {
		while (o && ((unsigned char)t[i] & 0xc0) == 0x80 && ((unsigned char)out[o - 1] & 0xc0) == 0x80)
			o--, i--; /* no half of a character */
		if (o && ((unsigned char)t[i] & 0xc0) == 0x80)
			o--;
		memcpy(out + o, "…", 3);
		o += 3;
	}
	out[o] = 0;
	return out;
}

/* ---- rows to results ---- */
struct page {
	struct store_pick pick[MEAN_PAGE];
	uint64_t ver[MEAN_PAGE];
	float distance[MEAN_PAGE], score[MEAN_PAGE];
	uint32_t n;
};
/* true: the row is the vector of a chunk of the text that is searched, and stands in the page */
static bool page_add(struct eng_coll *c, struct page *p, const struct index_hit *hit, float score)
{
	bool ok = false;
	pthread_mutex_lock(&c->lock);
	const struct chunk_rows *r = c->chunks;
	if (hit->row < c->cap && hit->row < r->cap && (c->flags[hit->row] & ROWF_LIVE)) {
		const struct chunk_file *f = chunk_rows_file(c, c->own[hit->row]);
		ok = f && f->current && r->row[hit->row].ord != ENG_ROW_NONE;
		if (ok) {
			p->pick[p->n] = (struct store_pick){c->own[hit->row], r->row[hit->row].ord};
			p->ver[p->n] = f->ver;
			p->score[p->n] = score;
			p->distance[p->n++] = hit->distance;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return ok;
}
static int page_take(struct search *s, struct page *p)
{
	struct store_read rd = {
	        .kind = SRD_chunk_list, .arena = s->j->arena, .pick = p->pick, .limit = p->n, .cancel = &s->j->cancel};
	if (!p->n)
		return 0;
	VX_TRY(rd_sync(s->e, &rd));
	for (uint32_t i = 0; i < rd.hit_n; i++) {
		if (atomic_load(&s->j->cancel))
			return -VX_ERR_cancelled;
		struct store_fts_hit *h = &rd.hits[i];
		if (h->ver != p->ver[i]) {
			s->moved = true;
			continue;
		}
		const char *text = h->snippet;
		h->score = p->score[i];
		h->snippet = NULL;
		int rc = search_take_chunk(s, h, p->distance[i]);
		VX_TRY(rc);
		if (rc && s->j->with_snippet)
			s->f[s->f_n - 1].h.snippet = snippet(s, text, h->snippet_n);
	}
	p->n = 0;
	return 0;
}
static int take_hits(struct search *s, struct coll_view *v, struct page *p, const struct index_hit *hits, int n,
        uint32_t k, uint32_t base, bool *ret_full)
{
	for (int i = 0; i < n; i++) {
		if (s->f_n - base >= k && hits[i].distance > s->f[base + k - 1].h.distance) {
			*ret_full = true;
			break;
		}
		float score = index_score(v->rows->metric, v->rows->dim, hits[i].distance);
		if (page_add(v->c, p, &hits[i], score) && p->n == MEAN_PAGE)
			VX_TRY(page_take(s, p));
	}
	return page_take(s, p);
}
static int rounds(struct search *s, struct coll_view *v, const float *q, uint32_t k)
{
	uint32_t want = k * 2 + MEAN_SLACK, base = s->f_n;
	struct page *p = arena_zalloc(s->j->arena, sizeof(*p));
	if (!p)
		return -VX_ERR_arena_full;
	for (;;) {
		want = want > v->live_n ? v->live_n : want;
		struct index_hit *hits = mem_alloc(MEM_engine, (size_t)want * sizeof(*hits));
		if (!hits)
			return -ENOMEM;
		bool full = false;
		int n = search_knn(s, v, q, want, hits);
		int rc = n < 0 ? n : take_hits(s, v, p, hits, n, k, base, &full);
		mem_free(MEM_engine, hits);
		VX_TRY(rc);
		if (full || (uint32_t)n < want || want >= v->live_n)
			return 0;
		want = want > v->live_n / 4 ? v->live_n : want * 4;
	}
}
/* ---- files by the sum over their vectors ---- */
struct sum_file {
	float sum;
	struct index_hit best;
};
/* the rows of a file that are searched. [c->lock] */
static uint32_t file_rows(struct eng_coll *c, uint64_t oid, uint32_t *row, uint32_t cap)
{
	const struct chunk_file *f = chunk_rows_file(c, oid);
	uint32_t n = 0;
	for (uint32_t i = f && f->current ? f->head : ENG_ROW_NONE; i != ENG_ROW_NONE; i = c->chunks->row[i].next) {
		if (c->chunks->row[i].ord == ENG_ROW_NONE)
			continue;
		if (n < cap)
			row[n] = i;
		n++;
	}
	return n;
}
static int sum_of(struct search *s, struct coll_view *v, const float *q, uint64_t oid, struct sum_file *ret)
{
	uint32_t n = 0, cap = 0, *row = NULL;
	do { /* it may grow between counting and listing */
		mem_free(MEM_engine, row);
		cap = n + 8;
		row = mem_alloc(MEM_engine, (size_t)cap * sizeof(*row));
		if (!row)
			return -ENOMEM;
		pthread_mutex_lock(&v->c->lock);
		n = file_rows(v->c, oid, row, cap);
		pthread_mutex_unlock(&v->c->lock);
	} while (n > cap);
	*ret = (struct sum_file){.best = {.row = ENG_ROW_NONE, .distance = INFINITY}};
	for (uint32_t i = 0; i < n; i++) {
		const void *p = rows_vec(v->rows, row[i]);
		float d = p ? flat_distance(v->rows, q, p) : INFINITY;
		if (!p)
			continue;
		ret->sum += index_score(v->rows->metric, v->rows->dim, d);
		if (d < ret->best.distance)
			ret->best = (struct index_hit){row[i], d};
	}
	s->j->distances += n;
	mem_free(MEM_engine, row);
	return ret->best.row != ENG_ROW_NONE;
}
static void sums_sort(struct sum_file *f, uint32_t n)
{
	for (uint32_t gap = n / 2; gap; gap /= 2) {
		for (uint32_t i = gap; i < n; i++) {
			struct sum_file x = f[i];
			uint32_t j = i;
			for (; j >= gap && f[j - gap].sum < x.sum; j -= gap)
				f[j] = f[j - gap];
			f[j] = x;
		}
	}
}
/* the candidates' sums, then the best of them as results */
static int sums_take(struct search *s, struct coll_view *v, const float *q, const struct index_hit *hits, int n,
        uint32_t k, struct page *p)
{
	uint32_t base = s->f_n, m = 0;
	struct sum_file *f = mem_alloc(MEM_engine, ((size_t)n + 1) * sizeof(*f));
	int rc = f ? 0 : -ENOMEM;
	for (int i = 0; i < n && rc >= 0; i++) {
		pthread_mutex_lock(&v->c->lock);
		uint64_t oid = hits[i].row < v->c->cap ? v->c->own[hits[i].row] : 0;
		pthread_mutex_unlock(&v->c->lock);
		rc = oid ? seen_add(s, oid, 3) : 0;
		if (rc > 0)
			rc = sum_of(s, v, q, oid, &f[m]);
		m += rc > 0;
		if (atomic_load(&s->j->cancel))
			rc = -VX_ERR_cancelled;
	}
	if (rc >= 0)
		sums_sort(f, m);
	for (uint32_t i = 0; i < m && rc >= 0; i++) {
		if (s->f_n - base >= k && f[i].sum < s->f[base + k - 1].h.score)
			break;
		if (page_add(v->c, p, &f[i].best, f[i].sum) && p->n == MEAN_PAGE)
			rc = page_take(s, p);
	}
	mem_free(MEM_engine, f);
	return rc < 0 ? rc : page_take(s, p);
}
static int sums(struct search *s, struct coll_view *v, const float *q, uint32_t k)
{
	uint32_t want = k * SUM_EACH + MEAN_SLACK, base = s->f_n;
	bool all = s->j->exact || v->live_n <= SUM_ALL;
	struct page *p = arena_zalloc(s->j->arena, sizeof(*p));
	if (!p)
		return -VX_ERR_arena_full;
	for (;;) {
		want = all || want > v->live_n ? v->live_n : want;
		struct index_hit *hits = mem_alloc(MEM_engine, (size_t)want * sizeof(*hits));
		if (!hits)
			return -ENOMEM;
		int n = search_knn(s, v, q, want, hits);
		int rc = n < 0 ? n : sums_take(s, v, q, hits, n, k, p);
		mem_free(MEM_engine, hits);
		VX_TRY(rc);
		if (s->f_n - base >= k || (uint32_t)n < want || want >= v->live_n)
			return 0;
		want = want > v->live_n / 4 ? v->live_n : want * 4;
	}
}
int search_mean_leg(struct search *s, struct eng_coll *c, const float *q, uint32_t dim, uint32_t k)
{
	struct coll_view v;
	uint32_t base = s->f_n;
	int rc = 0;
	bool zero = true;
	for (uint32_t d = 0; d < dim && zero; d++)
		zero = q[d] == 0.0f;
	if (zero) /* the model knows nothing of what was asked */
		return 0;
	if (!s->j->ef)
		s->ef = c->info.ef ? c->info.ef : CONF_EF_DEFAULT;
	for (unsigned i = 0; i < MEAN_TRIES; i++) {
		s->moved = false;
		s->text_seen = atomic_load(&s->e->text_commits);
		coll_enter(c, &v);
		bool narrows = s->pass_on || s->deny_n || s->g.scope_n || (s->words && s->words->looks);
		if (v.rows && v.rows->dim != dim)
			rc = -VX_ERR_dim_mismatch;
		else if (v.rows && narrows)
			rc = narrow(s, c, v.rows_n, &s->pass);
		s->pass_rows = narrows;
		if (v.rows && rc >= 0)
			rc = s->j->sum && !s->j->group_chunk ? sums(s, &v, q, k) : rounds(s, &v, q, k);
		if (v.rows && atomic_load_explicit(&v.rows->bad_segs, memory_order_acquire))
			s->j->priv.n[2] = 1;
		coll_leave(&v);
		s->pass_rows = false;
		if (rc < 0 || !s->moved)
			return rc;
		if (i + 1 < MEAN_TRIES) {
			s->f_n = base;
			seen_clear(s);
		}
	}
	s->j->priv.n[2] = 1; /* without those that would not hold still */
	return 0;
}
/* the middle of a file's vectors, of unit length. 1: in v[dim]; 0: it has none */
int search_mean_of(struct search *s, struct eng_coll *c, uint64_t oid, const float **ret)
{
	struct coll_view v;
	uint32_t dim = c->info.dim, n = 0, *rows = NULL;
	float *sum = arena_zalloc(s->j->arena, (size_t)dim * sizeof(*sum));
	coll_enter(c, &v);
	pthread_mutex_lock(&c->lock);
	const struct chunk_file *f = v.rows ? chunk_rows_file(c, oid) : NULL;
	for (uint32_t i = f ? f->head : ENG_ROW_NONE; i != ENG_ROW_NONE; i = c->chunks->row[i].next)
		n++;
	rows = arena_alloc(s->j->arena, ((size_t)n + 1) * sizeof(*rows));
	n = 0;
	for (uint32_t i = f && rows ? f->head : ENG_ROW_NONE; i != ENG_ROW_NONE; i = c->chunks->row[i].next)
		rows[n++] = i;
	pthread_mutex_unlock(&c->lock);
	double norm = 0;
	for (uint32_t i = 0; sum && i < n; i++) {
		const float *p = (const float *)rows_vec(v.rows, rows[i]);
		for (uint32_t d = 0; p && d < dim; d++)
			sum[d] += p[d];
	}
	coll_leave(&v);
	if (!sum || !rows)
		return -VX_ERR_arena_full;
	for (uint32_t d = 0; d < dim; d++)
		norm += (double)sum[d] * (double)sum[d];
	if (!n || !(norm > 0))
		return 0;
	norm = 1 / sqrt(norm);
	for (uint32_t d = 0; d < dim; d++)
		sum[d] = (float)((double)sum[d] * norm);
	*ret = sum;
	return 1;
}
