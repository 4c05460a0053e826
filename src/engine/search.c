/* search.c - the plan of a search and its answer.
 *
 * A leg brings candidates, best first: rows of a collection (graph or exact scan, with the tail), or chunks of text by words.  A
 * candidate becomes a result when it is still its owner's row, its file exists at a path the caller may read (judge.c), in scope, with
 * the state asked for.  When too few pass, the leg is asked for four times as many, until k have passed or there are no more; what was
 * judged once isn't judged again.  Candidates that tie with the k-th are judged too, so that equal scores are told apart by path, then
 * id, and not by luck.  Two legs are fused by reciprocal rank (Cormack et al., SIGIR 2009, with its constant 60). */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine_priv.h"

#define SEARCH_SLACK      16u
#define SEARCH_FIRST_TEXT 64u
#define SEARCH_TEXT_TRIES 4u
#define SEARCH_PAGE_MAX   1024u
#define RRF_K             60.0f
#define HYBRID_DEPTH      100u
#define LIKE_WORDS        16u
#define LIKE_BYTES        65536u

struct found {
	struct eng_hit h;
	uint64_t owner;
	bool is_free;
};
struct seen_slot {
	uint64_t owner;
	uint32_t sub; /* 0: empty */
};
struct search {
	struct engine *e;
	struct eng_job *j;
	struct judge g;
	uint32_t k, ef;
	bool free_ok, exclude;
	bool moved; /* a hit may be of a text that was replaced while the words were looked up */
	uint64_t text_seen; /* e->text_commits before that */
	uint64_t exclude_oid;
	struct found *f;
	uint32_t f_n, f_cap;
	struct seen_slot *seen;
	uint32_t seen_n, seen_cap;
	/* what the filter lets pass: rows of the collection, or objects with text */
	struct row_bits pass;
	const uint64_t *pass_oid;
	uint32_t pass_n;
};

static uint32_t seen_at(const struct search *s, uint64_t owner, uint32_t sub)
{
	uint32_t i =
	        (uint32_t)((owner * 0x9e3779b97f4a7c15ull + sub * 0xc2b2ae3d27d4eb4full) >> 33) & (s->seen_cap - 1);
	while (s->seen[i].sub && !(s->seen[i].owner == owner && s->seen[i].sub == sub))
		i = (i + 1) & (s->seen_cap - 1);
	return i;
}
/* 1: seen for the first time; 0: seen before; < 0 */
static int seen_add(struct search *s, uint64_t owner, uint32_t sub)
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
static struct found *found_add(struct search *s)
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
static void found_sort(struct found *f, uint32_t n)
{
	for (uint32_t i = n / 2; i-- > 0;)
		sift(f, i, n);
	for (uint32_t i = n; i-- > 1;) {
		found_swap(&f[0], &f[i]);
		sift(f, 0, i);
	}
}

/* ---- candidates ---- */
static void look_again(struct engine *e, uint64_t oid, uint8_t what)
{
	pthread_rwlock_wrlock(&e->objects);
	struct eng_obj *o = obj_by_oid(&e->t, oid);
	if (o)
		ingest_push(e, o, what);
	pthread_rwlock_unlock(&e->objects);
}
/* 1: it is a result, in s->f[f_n - 1]; 0: not; < 0 */
static int take_file(struct search *s, struct eng_coll *c, uint64_t oid, uint32_t row, float score, float dist)
{
	struct engine *e = s->e;
	struct note_stat st;
	uint64_t ino;
	if (s->exclude && oid == s->exclude_oid)
		return 0;
	if (!judge_file(&s->g, oid, &st, &ino))
		return 0;
	enum eng_state state = ENG_STATE_none;
	bool queued = false;
	pthread_rwlock_rdlock(&e->objects);
	struct eng_obj *o = obj_by_oid(&e->t, oid);
	const struct eng_vec *v = o ? obj_vec(o, c->info.cid) : NULL;
	if (v && v->row == row)
		state = vec_state(v, &st);
	queued = o && (o->qf & QF_QUEUED);
	bool held = v && v->bind_wait;
	pthread_rwlock_unlock(&e->objects);
	if (state == ENG_STATE_none)
		return 0; /* replaced while we looked */
	if (state == ENG_STATE_pending && !queued && !held)
		look_again(e, oid, QF_HASH);
	if (state == ENG_STATE_stale && !s->j->stale)
		return 0;
	struct found *f = found_add(s);
	if (!f)
		return -ENOMEM;
	f->owner = oid;
	f->h.path = arena_strndup(s->j->arena, s->g.path, strlen(s->g.path));
	if (!f->h.path)
		return -VX_ERR_arena_full;
	f->h.ino = ino;
	f->h.key = s->g.key;
	f->h.score = score;
	f->h.distance = dist;
	f->h.state = (uint8_t)state;
	s->f_n++;
	return 1;
}
static int take_row(struct search *s, struct coll_view *v, const struct index_hit *hit)
{
	struct eng_coll *c = v->c;
	float score = index_score(v->rows->metric, v->rows->dim, hit->distance);
	if (s->j->has_min_score && score < s->j->min_score)
		return 0;
	pthread_mutex_lock(&c->lock);
	bool live = hit->row < c->cap && (c->flags[hit->row] & ROWF_LIVE);
	bool is_free = live && (c->flags[hit->row] & ROWF_FREE);
	uint64_t owner = live ? c->own[hit->row] : 0;
	pthread_mutex_unlock(&c->lock);
	if (!live)
		return 0;
	int rc = seen_add(s, owner, is_free ? 2 : 1);
	if (rc <= 0)
		return rc;
	uint32_t bad = atomic_load_explicit(&v->rows->bad_segs, memory_order_acquire);
	if (bad && !store_row_ok(s->e->st, c->info.cid, hit->row)) {
		s->j->priv.n[2] = 1;
		return 0;
	}
	if (!is_free) {
		rc = take_file(s, c, owner, hit->row, score, hit->distance);
	} else if (s->free_ok) {
		struct found *f = found_add(s);
		if (!f)
			return -ENOMEM;
		f->is_free = true;
		f->owner = f->h.id = owner;
		f->h.score = score;
		f->h.distance = hit->distance;
		f->h.state = ENG_STATE_fresh;
		s->f_n++;
		rc = 1;
	} else {
		rc = 0;
	}
	if (rc > 0)
		s->f[s->f_n - 1].h.collection = s->g.coll_name;
	if (rc > 0 && s->j->with_vectors) {
		struct eng_hit *h = &s->f[s->f_n - 1].h;
		uint32_t n = rows_vec_bytes(v->rows->dim, v->rows->dtype);
		const void *p = rows_vec(v->rows, hit->row);
		void *to = p ? arena_alloc(s->j->arena, n) : NULL;
		if (!to)
			return -VX_ERR_arena_full;
		memcpy(to, p, n);
		h->vec = to;
		h->vec_bytes = n;
	}
	return rc;
}
/* filter_read - let the catalog say what passes. Readers see what is committed, so what was acknowledged before is committed first.
 * @cid 0: objects with text */
static int filter_read(struct search *s, uint32_t cid, uint32_t rows_n)
{
	struct eng_job *j = s->j;
	if (!j->filter)
		return 0;
	reads_fresh(s->e, j);
	uint64_t generation = store_generation(s->e->st), *data = NULL;
	if (!filter_cached(s->e, j->filter, cid, rows_n, generation, j->arena, &data, &s->pass_n)) {
		struct store_read rd = {.kind = SRD_filter,
		        .arena = j->arena,
		        .filter = j->filter,
		        .cid = cid,
		        .limit = rows_n,
		        .cancel = &j->cancel};
		VX_TRY(rd_sync(s->e, &rd));
		data = cid ? rd.bits : rd.ids;
		s->pass_n = rd.id_n;
		size_t words = cid ? (rows_n + 63) / 64 : rd.id_n;
		filter_cache_put(s->e, j->filter, cid, rows_n, generation, data, words * sizeof(*data), rd.id_n);
	}
	if (cid)
		s->pass = (struct row_bits){.w = (_Atomic uint64_t *)data, .n = rows_n};
	else
		s->pass_oid = data;
	return 0;
}
static bool filter_passes(const struct search *s, uint64_t oid)
{
	uint32_t lo = 0, hi = s->pass_n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (s->pass_oid[mid] < oid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->pass_n && s->pass_oid[lo] == oid;
}
static int knn(struct search *s, struct coll_view *v, const void *q, uint32_t want, struct index_hit *hits)
{
	struct index_query iq = {.q = q,
	        .k = want,
	        .ef = s->ef,
	        .live = &v->live,
	        .filter = s->j->filter ? &s->pass : NULL,
	        .extra = v->tail,
	        .extra_n = v->tail_n,
	        .cancel = &s->j->cancel};
	int n = -VX_ERR_graph_corrupt;
	if (v->ix && !s->j->exact && want <= CONF_K_MAX) {
		n = index_search(v->ix, &iq, hits);
		if (n >= 0 && index_failed(v->ix))
			n = -VX_ERR_graph_corrupt;
		if (n == -VX_ERR_graph_corrupt)
			bell_ring(&s->e->index_bell);
	}
	if (n == -VX_ERR_graph_corrupt || n == -VX_ERR_visit_pool_empty) {
		iq.extra = NULL;
		iq.extra_n = 0;
		n = flat_search(v->rows, &iq, hits);
		s->j->used_exact = true;
	} else if (n >= 0 && iq.exact) {
		s->j->used_exact = true;
	}
	s->j->distances += iq.distances;
	perf_add(PERFC_distances, iq.distances);
	perf_add(PERFC_hops, iq.hops);
	return n;
}
static int vec_rounds(struct search *s, struct coll_view *v, const void *q, uint32_t k)
{
	uint32_t want = k + SEARCH_SLACK;
	uint32_t base = s->f_n;
	for (;;) {
		if (want > v->live_n)
			want = v->live_n;
		struct index_hit *hits = mem_alloc(MEM_engine, (size_t)want * sizeof(*hits));
		if (!hits)
			return -ENOMEM;
		int n = knn(s, v, q, want, hits), rc = n < 0 ? n : 0;
		bool full = false;
		for (int i = 0; i < n && rc >= 0 && !full; i++) {
			if (s->f_n - base >= k && hits[i].distance > s->f[base + k - 1].h.distance)
				full = true;
			else
				rc = take_row(s, v, &hits[i]);
		}
		mem_free(MEM_engine, hits);
		if (rc < 0)
			return rc;
		if (full || (uint32_t)n < want || want >= v->live_n)
			return 0;
		want = want > v->live_n / 4 ? v->live_n : want * 4;
	}
}
static int query_check(
        struct search *s, struct eng_coll *c, const struct vec_rows *rows, const void *vec, uint32_t bytes)
{
	if (bytes != rows_vec_bytes(rows->dim, rows->dtype)) {
		struct sbuf b;
		sbuf_fixed(&b, s->j->err.detail, sizeof(s->j->err.detail));
		sb_str(&b, "the query has ");
		sb_u64(&b, bytes);
		sb_str(&b, " bytes, the collection's vectors ");
		sb_u64(&b, rows_vec_bytes(rows->dim, rows->dtype));
		(void)sbuf_cstr(&b); /* terminates it */
		return -VX_ERR_dim_mismatch;
	}
	if (rows->dtype != VXD_f32)
		return 0;
	if (!simd_finite(vec, rows->dim))
		return -VX_ERR_not_finite;
	if (c->info.metric != VXM_cosine)
		return 0;
	const float *f = vec;
	for (uint32_t i = 0; i < rows->dim; i++)
		if (f[i] != 0.0f)
			return 0;
	return -VX_ERR_zero_vector;
}
static int vec_leg(struct search *s, struct eng_coll *c, const void *vec, uint32_t bytes, uint32_t k)
{
	struct coll_view v;
	if (!bytes || (c->info.dtype == VXD_f32 && bytes % 4))
		return -VX_ERR_dim_range;
	s->free_ok = coll_may(c, &s->j->who, 4) && !s->g.scope_n; /* a free point is in no directory */
	s->g.coll_name = arena_strndup(s->j->arena, c->info.name, strlen(c->info.name));
	if (!s->g.coll_name)
		return -VX_ERR_arena_full;
	if (!s->j->ef)
		s->ef = c->info.ef ? c->info.ef : CONF_EF_DEFAULT;
	coll_enter(c, &v);
	int rc = 0;
	if (v.rows) {
		rc = query_check(s, c, v.rows, vec, bytes);
		if (rc >= 0)
			rc = filter_read(s, c->info.cid, v.rows_n);
		if (rc >= 0)
			rc = vec_rounds(s, &v, vec, k);
		if (atomic_load_explicit(&v.rows->bad_segs, memory_order_acquire))
			s->j->priv.n[2] = 1;
	}
	coll_leave(&v);
	return rc;
}

/* ---- words ---- */
static int take_chunk(struct search *s, const struct store_fts_hit *hit)
{
	struct engine *e = s->e;
	struct note_stat st;
	uint64_t ino;
	if (s->j->has_min_score && hit->score < s->j->min_score)
		return 0;
	pthread_rwlock_rdlock(&e->objects);
	const struct eng_obj *was = obj_by_oid(&e->t, hit->oid);
	bool moved = was && was->text_commit > s->text_seen;
	pthread_rwlock_unlock(&e->objects);
	s->moved |= moved;
	if (moved)
		return 0;
	int rc = seen_add(s, hit->oid, s->j->group_chunk ? hit->ord + 16 : 1);
	if (rc <= 0)
		return rc;
	if (s->j->filter && !filter_passes(s, hit->oid))
		return 0;
	if ((s->exclude && hit->oid == s->exclude_oid) || !judge_file(&s->g, hit->oid, &st, &ino))
		return 0;
	pthread_rwlock_rdlock(&e->objects);
	const struct eng_obj *o = obj_by_oid(&e->t, hit->oid);
	enum eng_state state = o ? text_state(o, &st) : ENG_STATE_none;
	if (o && o->text_commit > s->text_seen) /* between the first look and this one */
		state = ENG_STATE_none;
	bool again = o && (state == ENG_STATE_pending || (state == ENG_STATE_stale && !text_changed(o))) &&
	             !(o->qf & QF_QUEUED);
	pthread_rwlock_unlock(&e->objects);
	if (again && e->cfg.components == ENG_all)
		look_again(e, hit->oid, QF_TEXT | QF_HASH);
	if (state == ENG_STATE_none || state == ENG_STATE_error || (state == ENG_STATE_stale && !s->j->stale))
		return 0;
	struct found *f = found_add(s);
	if (!f)
		return -ENOMEM;
	f->owner = hit->oid;
	f->h.path = arena_strndup(s->j->arena, s->g.path, strlen(s->g.path));
	if (!f->h.path)
		return -VX_ERR_arena_full;
	f->h.collection = "text";
	f->h.ino = ino;
	f->h.key = s->g.key;
	f->h.score = hit->score;
	f->h.distance = 1.0f - hit->score;
	f->h.state = (uint8_t)state;
	f->h.has_locator = true;
	f->h.byte0 = hit->byte0;
	f->h.byte1 = hit->byte1;
	f->h.line0 = hit->line0;
	f->h.line1 = hit->line1;
	f->h.snippet = hit->snippet;
	s->f_n++;
	return 1;
}
static int text_pages(struct search *s, const char *text, uint32_t n, uint32_t k)
{
	struct eng_job *j = s->j;
	uint32_t base = s->f_n, offset = 0, limit = k * 4 > SEARCH_FIRST_TEXT ? k * 4 : SEARCH_FIRST_TEXT;
	s->text_seen = atomic_load(&s->e->text_commits);
	for (;;) {
		if (limit > SEARCH_PAGE_MAX)
			limit = SEARCH_PAGE_MAX;
		struct store_read rd = {.kind = SRD_fts,
		        .arena = j->arena,
		        .text = text,
		        .text_n = n,
		        .limit = limit,
		        .offset = offset,
		        .want_snippet = j->with_snippet,
		        .cancel = &j->cancel};
		int rc = rd_sync(s->e, &rd);
		if (rc == -VX_ERR_deadline) {
			j->priv.n[2] = 1;
			rc = s->f_n > base || rd.hit_n ? 0 : rc;
			limit = UINT32_MAX; /* what there is, and no more */
		}
		if (rc < 0)
			return rc;
		for (uint32_t i = 0; i < rd.hit_n; i++) {
			if (s->f_n - base >= k && rd.hits[i].score < s->f[base + k - 1].h.score)
				return 0;
			VX_TRY(take_chunk(s, &rd.hits[i]));
		}
		if (rd.hit_n < limit)
			return 0;
		offset += rd.hit_n;
		limit *= 4;
	}
}

static void seen_clear(struct search *s)
{
	if (s->seen)
		memset(s->seen, 0, (size_t)s->seen_cap * sizeof(*s->seen));
	s->seen_n = 0;
}
/* a text that is replaced between the looking up of its words and the judging of its hits is looked up again: the hit may be of
 * either content */
static int text_leg(struct search *s, const char *text, uint32_t n, uint32_t k)
{
	uint32_t base = s->f_n;
	if (n > CONF_QUERY_TEXT_MAX)
		return -VX_ERR_query_too_long;
	VX_TRY(filter_read(s, 0, 0));
	for (unsigned i = 0; i < SEARCH_TEXT_TRIES; i++) {
		s->moved = false;
		VX_TRY(text_pages(s, text, n, k));
		if (!s->moved)
			return 0;
		if (i + 1 == SEARCH_TEXT_TRIES)
			break;
		s->f_n = base;
		seen_clear(s);
	}
	s->j->priv.n[2] = 1; /* without those that would not hold still */
	return 0;
}

/* ---- like: near a file ---- */
struct word {
	const char *p;
	uint32_t n, count;
};
static bool word_byte(unsigned char b)
{
	return b >= 0x80 || (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
}
static bool common_word(const char *p, uint32_t n)
{
	static const char *const w[] = {"the", "and", "for", "that", "this", "with", "are", "not", "was", "but", "from",
	        "have", "has", "had", "its", "you", "all", "can", "one", "which", "when", "what", "where", "who",
	        "will", "would", "there", "their", "they", "then", "than", "any", "each", "into", "may", "must", "per",
	        "our", "out", "over", "such", "some", "only", "other", "does", "been", "were", "his", "her", "she",
	        "him", "how", "also", "more", "most", "about", "int", "void", "return", "const", "static", "struct",
	        "char", "include", "if", "else", "while", "null", "true", "false"};
	for (size_t i = 0; i < sizeof(w) / sizeof(w[0]); i++)
		if (strlen(w[i]) == n && !strncasecmp(w[i], p, n))
			return true;
	return false;
}
/* the words that tell this text from others, without knowing the others: frequent, long, not common */
static int distinctive(struct arena *a, const char *t, size_t n, const char **ret, uint32_t *ret_n)
{
	enum { CAP = 4096 };
	struct word *h = arena_zalloc(a, CAP * sizeof(*h));
	char *out = arena_alloc(a, CONF_QUERY_TEXT_MAX);
	uint32_t used = 0, len = 0;
	if (!h || !out)
		return -VX_ERR_arena_full;
	for (size_t i = 0; i < n;) {
		size_t from = i;
		bool letter = false;
		for (; i < n && word_byte((unsigned char)t[i]); i++)
			letter |= !(t[i] >= '0' && t[i] <= '9');
		uint32_t k = (uint32_t)(i - from);
		if (!k)
			i++;
		if (k < 3 || k > 40 || !letter || common_word(t + from, k))
			continue;
		uint32_t at = (uint32_t)hash64(t + from, k, 1) & (CAP - 1);
		while (h[at].n && !(h[at].n == k && !memcmp(h[at].p, t + from, k)))
			at = (at + 1) & (CAP - 1);
		if (!h[at].n && used >= CAP / 2)
			continue;
		used += !h[at].n;
		h[at] = (struct word){.p = t + from, .n = k, .count = h[at].count + 1};
	}
	for (unsigned pick = 0; pick < LIKE_WORDS; pick++) {
		struct word *best = NULL;
		uint32_t top = 0;
		for (uint32_t i = 0; i < CAP; i++) {
			uint32_t len_w = h[i].n < 10 ? h[i].n : 10, score = (h[i].count < 32 ? h[i].count : 32) * len_w;
			if (h[i].n && score > top) {
				top = score;
				best = &h[i];
			}
		}
		if (!best)
			break;
		memcpy(out + len, best->p, best->n);
		len += best->n;
		out[len++] = ' ';
		best->n = 0;
	}
	*ret = out;
	*ret_n = len;
	return len ? 0 : -VX_ERR_no_vector;
}
static int like_words(struct engine *e, struct eng_job *j, const struct obj_key *key, const char *path,
        const char **ret, uint32_t *ret_n)
{
	struct obj_key k;
	int fd = eng_open_unseen(e->os, e->cfg.root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return fd;
	char *t = arena_alloc(j->arena, LIKE_BYTES);
	ssize_t n = t ? objkey_at(fd, "", &k) : -VX_ERR_arena_full;
	if (n >= 0)
		n = objkey_eq(&k, key) ? os_pread(e->os, fd, t, LIKE_BYTES, 0) : -ENOENT;
	(void)os_close(e->os, fd); /* read only */
	if (n < 0)
		return (int)n;
	if (!n || !text_sniff(t, (size_t)n < 8192 ? (size_t)n : 8192, (size_t)n < 8192))
		return -VX_ERR_no_vector;
	return distinctive(j->arena, t, (size_t)n, ret, ret_n);
}
/* copy a file's vector into the arena. 1: *ret; 0: it has none */
static int like_vector(
        struct engine *e, struct eng_job *j, struct eng_coll *c, uint64_t oid, const void **ret, uint32_t *ret_n)
{
	struct coll_view v;
	uint32_t row = ENG_ROW_NONE;
	int rc = 0;
	coll_enter(c, &v);
	pthread_rwlock_rdlock(&e->objects);
	struct eng_obj *o = obj_by_oid(&e->t, oid);
	const struct eng_vec *ov = o ? obj_vec(o, c->info.cid) : NULL;
	row = ov ? ov->row : ENG_ROW_NONE;
	pthread_rwlock_unlock(&e->objects);
	const void *p = row != ENG_ROW_NONE && v.rows ? rows_vec(v.rows, row) : NULL;
	if (p) {
		uint32_t n = rows_vec_bytes(v.rows->dim, v.rows->dtype);
		void *to = arena_alloc(j->arena, n);
		if (to)
			memcpy(to, p, n);
		*ret = to;
		*ret_n = n;
		rc = to ? 1 : -VX_ERR_arena_full;
	}
	coll_leave(&v);
	return rc;
}
static int like_leg(struct search *s, struct eng_coll *c, uint32_t k)
{
	struct engine *e = s->e;
	struct eng_job *j = s->j;
	struct obj_key key = j->key;
	char *path = arena_alloc(j->arena, CONF_PATH_MAX + 1);
	if (!path)
		return -VX_ERR_arena_full;
	if (j->like) {
		int n = eng_path_clean(j->like, path, CONF_PATH_MAX + 1);
		VX_TRY(n);
		VX_TRY(perm_path(&s->g.as, path, 4));
		VX_TRY(objkey_at(e->cfg.root_fd, path, &key));
	}
	pthread_rwlock_rdlock(&e->objects);
	const struct eng_obj *o = obj_by_key(&e->t, &key);
	uint64_t oid = o ? o->oid : 0;
	int n = o && !j->like ? obj_path(o, path, CONF_PATH_MAX + 1) : 0;
	pthread_rwlock_unlock(&e->objects);
	const void *vec = NULL;
	uint32_t bytes = 0;
	s->exclude = oid != 0;
	s->exclude_oid = oid;
	int rc = oid ? like_vector(e, j, c, oid, &vec, &bytes) : 0;
	if (rc < 0)
		return rc;
	if (rc)
		return vec_leg(s, c, vec, bytes, k);
	if (e->cfg.components != ENG_all)
		return -VX_ERR_no_vector;
	if (n < 0 || (!j->like && !o))
		return -VX_ERR_no_vector;
	const char *words = NULL;
	uint32_t words_n = 0;
	VX_TRY(like_words(e, j, &key, path, &words, &words_n));
	return text_leg(s, words, words_n, k);
}

/* ---- two legs into one ---- */
static void fuse(struct search *s, uint32_t first_n)
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
		while (m < an && !(a[m].owner == b[i].owner && !a[m].is_free))
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
static int hybrid(struct search *s, struct eng_coll *c)
{
	struct eng_job *j = s->j;
	uint32_t depth = s->k > HYBRID_DEPTH ? s->k : HYBRID_DEPTH;
	bool min = j->has_min_score;
	j->has_min_score = false; /* of the fused score */
	int rc = vec_leg(s, c, j->vec, j->vec_bytes, depth);
	uint32_t first = s->f_n;
	seen_clear(s);
	if (rc >= 0)
		rc = text_leg(s, j->text, j->text_n, depth);
	j->has_min_score = min;
	if (rc < 0)
		return rc;
	fuse(s, first);
	for (uint32_t i = 0; min && i < s->f_n;) {
		if (s->f[i].h.score < j->min_score)
			s->f[i] = s->f[--s->f_n];
		else
			i++;
	}
	return 0;
}

static int legs(struct search *s, struct eng_coll *c)
{
	struct eng_job *j = s->j;
	if (j->like || j->by_like_key)
		return like_leg(s, c, s->k);
	bool vec = j->vec && j->mode != ENG_MODE_text, text = j->text && j->mode != ENG_MODE_vector;
	if (text && s->e->cfg.components != ENG_all)
		return -VX_ERR_component_off;
	if (vec && text)
		return hybrid(s, c);
	if (vec)
		return vec_leg(s, c, j->vec, j->vec_bytes, s->k);
	/* no model turns words into vectors yet: hybrid by words alone is lexical */
	if (text)
		return text_leg(s, j->text, j->text_n, s->k);
	return -VX_ERR_missing_key;
}
static int answer(struct search *s, struct eng_coll *c)
{
	struct eng_job *j = s->j;
	found_sort(s->f, s->f_n);
	uint32_t n = s->f_n < s->k ? s->f_n : s->k;
	j->res = arena_alloc(j->arena, (size_t)(n ? n : 1) * sizeof(*j->res));
	if (!j->res)
		return -VX_ERR_arena_full;
	for (uint32_t i = 0; i < n; i++)
		j->res[i] = s->f[i].h;
	j->res_n = n;
	for (uint32_t i = 0; i < n && j->with_payload; i++)
		VX_TRY(eng_read_payload(s->e, j, c->info.cid, s->f[i].is_free, s->f[i].owner, &j->res[i].payload,
		        &j->res[i].payload_n));
	return 0;
}
int search_run(struct engine *e, struct eng_job *j)
{
	if (j->k > CONF_K_MAX)
		return -VX_ERR_k_range;
	if (j->ef > CONF_EF_MAX)
		return -VX_ERR_ef_range;
	struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
	if (!c)
		return job_refuse(j, -VX_ERR_no_collection, j->coll);
	struct search *s = mem_zalloc(MEM_engine, sizeof(*s));
	int rc = s ? 0 : -ENOMEM;
	perf_add(PERFC_searches, 1);
	if (s) {
		s->e = e;
		s->j = j;
		s->k = j->k ? j->k : CONF_K_DEFAULT;
		s->ef = j->ef;
		rc = judge_begin(&s->g, e, j);
		if (rc >= 0) {
			rc = legs(s, c);
			judge_end(&s->g);
		}
		if (rc >= 0)
			rc = answer(s, c);
		mem_free(MEM_engine, s->f);
		mem_free(MEM_engine, s->seen);
		mem_free(MEM_engine, s);
	}
	coll_put(c);
	return rc;
}
bool search_cheap(struct engine *e, struct eng_job *j)
{
	if (j->text || j->like || j->with_payload || j->filter || j->k > 100)
		return false;
	struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
	if (!c)
		return true;
	bool cheap = true;
	if (j->by_like_key) {
		pthread_rwlock_rdlock(&e->objects);
		struct eng_obj *o = obj_by_key(&e->t, &j->key);
		cheap = o && obj_vec(o, c->info.cid);
		pthread_rwlock_unlock(&e->objects);
	}
	pthread_mutex_lock(&c->lock);
	uint64_t cost = c->rows ? atomic_load_explicit(&c->rows->n, memory_order_relaxed) : 0;
	if (c->ix && !c->ix_broken && !j->exact)
		cost = (uint64_t)(j->ef ? j->ef : CONF_EF_DEFAULT) * (c->info.M ? c->info.M : 16) +
		       (c->tail_n - c->tail_head);
	pthread_mutex_unlock(&c->lock);
	coll_put(c);
	return cheap && cost <= CONF_INLINE_DISTANCES;
}
