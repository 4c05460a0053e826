/* search_found.c - what a search has found: each owner (or chunk) once, best first, and two lists made one.
 *
 * Order is score, then path, then id, so that equal scores never depend on luck; the sort is a heap sort, which needs no recursion, no
 * stack and no memory.
 *
 * Words and a vector of the user's are fused by reciprocal rank (Cormack et al., SIGIR 2009; constant 20): nothing is known of what its distances
 * mean.  Words and meaning are fused by what they say, half and half: the cosine, and BM25 / (BM25 + 12), which tells a match of rare
 * words from one of `the` and `which`, as ranks do not.  What only one list has counts in the other as its last one.  Chosen on one half of
 * Cranfield's queries: nDCG@10 .433 there, .428 on the other half; ranks .425 and .424 (bench/text/run.py, 2026-11-28). */
#include <string.h>

#include "engine/search_priv.h"

#define RRF_K      20.0f
#define BLEND_BM25 12.0f

static uint32_t seen_at(const struct search *s, uint64_t owner, uint32_t sub)
{
	uint32_t i =
	        (uint32_t)((owner * 0x9e3779b97f4a7c15ull + sub * 0xc2b2ae3d27d4eb4full) >> 33) & (s->seen_cap - 1);
	while (s->seen[i].sub && !(s->seen[i].owner == owner && s->seen[i].sub == sub))
		i = (i + 1) & (s->seen_cap - 1);
	return i;
}
int seen_add(struct search *s, uint64_t owner, uint32_t sub)
{
	if (s->seen_n * 2 >= s->seen_cap) {
		uint32_t cap = s->seen_cap ? s->seen_cap * 2 : 256, old_cap = s->seen_cap;
		struct seen_slot *old = s->seen, *n = mem_zalloc(MEM_engine, (size_t)cap * sizeof(*n));
		if (!n)
			return -ENOMEM;
		s->seen = n;
		s->seen_cap = cap;
		for (uint32_t i = 0; i < old_cap; i++)
			if (old[i].sub)
				n[seen_at(s, old[i].owner, old[i].sub)] = old[i];
		mem_free(MEM_engine, old);
	}
	uint32_t i = seen_at(s, owner, sub);
	if (s->seen[i].sub)
		return 0;
	s->seen[i] = (struct seen_slot){.owner = owner, .sub = sub};
	s->seen_n++;
	return 1;
}
struct found *found_add(struct search *s)
{
	if (s->f_n == s->f_cap) {
		uint32_t cap = s->f_cap ? s->f_cap * 2 : 32;
		struct found *f = mem_realloc(MEM_engine, s->f, (size_t)cap * sizeof(*f));
		if (!f)
			return NULL;
		s->f = f;
		s->f_cap = cap;
	}
	struct found *f = &s->f[s->f_n];
	memset(f, 0, sizeof(*f));
	return f;
}
void seen_clear(struct search *s)
{
	if (s->seen)
		memset(s->seen, 0, (size_t)s->seen_cap * sizeof(*s->seen));
	s->seen_n = 0;
}

/* ---- order: score, path, id. A heap sort: no recursion, no stack, no memory. ---- */
static bool worse(const struct found *a, const struct found *b)
{
	if (a->h.score != b->h.score)
		return a->h.score < b->h.score;
	if (a->h.path && b->h.path) {
		int c = strcmp(a->h.path, b->h.path);
		if (c)
			return c > 0;
		return a->h.byte0 > b->h.byte0;
	}
	if (!a->h.path != !b->h.path)
		return !a->h.path; /* files before free points */
	return a->h.id > b->h.id;
}
static void found_swap(struct found *a, struct found *b)
{
	struct found t = *a;
	*a = *b;
	*b = t;
}
/* the worst on top, so that taking it to the end leaves the best in front */
static void sift(struct found *f, uint32_t at, uint32_t n)
{
	for (;;) {
		uint32_t c = at * 2 + 1;
		if (c >= n)
			return;
		if (c + 1 < n && worse(&f[c + 1], &f[c]))
			c++;
		if (!worse(&f[c], &f[at]))
			return;
		found_swap(&f[at], &f[c]);
		at = c;
	}
}
void found_sort(struct found *f, uint32_t n)
{
	for (uint32_t i = n / 2; i-- > 0;)
		sift(f, i, n);
	for (uint32_t i = n; i-- > 1;) {
		found_swap(&f[0], &f[i]);
		sift(f, 0, i);
	}
}

/* ---- two legs into one ---- */
/* BM25's part of a fused score, from the full text's own: s = q / (1 + q), q = sqrt(BM25) */
static float words_part(float s)
{
	float q = s < 0.9999f ? s / (1.0f - s) : 9999.0f;
	return q * q / (q * q + BLEND_BM25);
}
static float mean_part(float cos)
{
	return cos > 0 ? cos : 0;
}
static bool same_thing(const struct search *s, const struct found *a, const struct found *b)
{
	return a->owner == b->owner && !a->is_free &&
	       (!s->j->group_chunk || !a->h.has_locator || a->h.byte0 == b->h.byte0);
}
static void locate_as(struct found *a, const struct found *b)
{
	a->h.has_locator = b->h.has_locator;
	a->h.byte0 = b->h.byte0;
	a->h.byte1 = b->h.byte1;
	a->h.line0 = b->h.line0;
	a->h.line1 = b->h.line1;
	a->h.snippet = b->h.snippet;
}
void found_blend(struct search *s, uint32_t first_n)
{
	struct found *a = s->f, *b = s->f + first_n;
	uint32_t an = first_n, bn = s->f_n - first_n, n = an;
	float mean_last = an ? 1.0f : 0.0f, words_last = bn ? 1.0f : 0.0f;
	for (uint32_t i = 0; i < an; i++)
		mean_last = mean_part(a[i].h.score) < mean_last ? mean_part(a[i].h.score) : mean_last;
	for (uint32_t i = 0; i < bn; i++)
		words_last = words_part(b[i].h.score) < words_last ? words_part(b[i].h.score) : words_last;
	for (uint32_t i = 0; i < an; i++)
		a[i].h.score = 0.5f * (mean_part(a[i].h.score) + words_last);
	for (uint32_t i = 0; i < bn; i++) {
		float w = words_part(b[i].h.score);
		uint32_t m = 0;
		while (m < an && !same_thing(s, &a[m], &b[i]))
			m++;
		if (m < an) { /* the words' chunk is the one to show: they stand in it */
			a[m].h.score += 0.5f * (w - words_last);
			locate_as(&a[m], &b[i]);
		} else {
			struct found f = b[i];
			f.h.score = 0.5f * (w + mean_last);
			s->f[n++] = f;
		}
	}
	s->f_n = n;
	for (uint32_t i = 0; i < n; i++)
		s->f[i].h.distance = 1.0f - s->f[i].h.score;
}
void found_fuse(struct search *s, uint32_t first_n)
{
	struct found *a = s->f, *b = s->f + first_n;
	uint32_t an = first_n, bn = s->f_n - first_n, n = an;
	found_sort(a, an);
	found_sort(b, bn);
	const float unit = 2.0f / (RRF_K + 1.0f);
	for (uint32_t i = 0; i < an; i++)
		a[i].h.score = 1.0f / (RRF_K + 1.0f + (float)i) / unit;
	for (uint32_t i = 0; i < bn; i++) {
		float add = 1.0f / (RRF_K + 1.0f + (float)i) / unit;
		uint32_t m = 0;
		while (m < an && !same_thing(s, &a[m], &b[i]))
			m++;
		if (m < an) { /* the text leg knows where and what, the vector leg how far */
			a[m].h.score += add;
			locate_as(&a[m], &b[i]);
		} else {
			struct found f = b[i];
			f.h.score = add;
			s->f[n++] = f;
		}
	}
	s->f_n = n;
	for (uint32_t i = 0; i < n; i++)
		s->f[i].h.distance = 1.0f - s->f[i].h.score;
}
