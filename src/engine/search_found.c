/* search_found.c - what a search has found: each owner (or chunk) once, best first, and two lists made one.
 *
 * Order is score, then path, then id, so that equal scores never depend on luck; the sort is a heap sort, which needs no recursion, no
 * stack and no memory.  Two legs are fused by reciprocal rank (Cormack et al., SIGIR 2009); its constant
 * is 20, chosen on one half of Cranfield's queries (bench/text/fusion.py: 60 and weighted sums are within a percent of it). */
#include <string.h>

#include "engine/search_priv.h"

#define RRF_K 20.0f

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
		while (m < an && !(a[m].owner == b[i].owner && !a[m].is_free &&
		                         (!s->j->group_chunk || !a[m].h.has_locator || a[m].h.byte0 == b[i].h.byte0)))
			m++;
		if (m < an) { /* the text leg knows where and what, the vector leg how far */
			a[m].h.score += add;
			a[m].h.has_locator = b[i].h.has_locator;
			a[m].h.byte0 = b[i].h.byte0;
			a[m].h.byte1 = b[i].h.byte1;
			a[m].h.line0 = b[i].h.line0;
			a[m].h.line1 = b[i].h.line1;
			a[m].h.snippet = b[i].h.snippet;
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
