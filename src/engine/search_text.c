/* search_text.c - the word leg: chunks of text by the full text's rank; which of them are results.
 *
 * The readers of the full text see commits only.  A text that is replaced between the looking up of its words and the judging of its
 * hits is looked up again: the hit may be of either content. */
#include <string.h>

#include "engine/search_priv.h"

#define SEARCH_FIRST_TEXT 64u
#define SEARCH_TEXT_TRIES 4u
#define SEARCH_PAGE_MAX   1024u

static bool listed(const uint64_t *ids, uint32_t n, uint64_t oid)
{
	uint32_t lo = 0, hi = n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (ids[mid] < oid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && ids[lo] == oid;
}
bool search_passes(const struct search *s, uint64_t oid)
{
	return (!s->pass_on || listed(s->pass_oid, s->pass_n, oid)) &&
	       !(s->deny_n && listed(s->deny_oid, s->deny_n, oid));
}
int search_take_chunk(struct search *s, const struct store_fts_hit *hit, float distance)
{
	struct engine *e = s->e;
	struct note_stat st;
	uint64_t ino;
	if (s->j->has_min_score && hit->score < s->j->min_score)
		return 0;
	eng_rdlock(e);
	const struct eng_obj *was = obj_by_oid(&e->t, hit->oid);
	bool moved = was && was->text_commit > s->text_seen;
	bool passes = was && (!s->words || search_words_pass(s->words, was, s->g.path));
	eng_unlock(e);
	s->moved |= moved;
	if (moved)
		return 0;
	int rc = seen_add(s, hit->oid, s->j->group_chunk ? hit->ord + 16 : 1);
	if (rc <= 0)
		return rc;
	if (!passes || !search_passes(s, hit->oid))
		return 0;
	if (s->exclude && hit->oid == s->exclude_oid)
		return 0;
	bool there = judge_file(&s->g, hit->oid, &st, &ino);
	if (!there && !s->g.gone)
		return 0;
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_oid(&e->t, hit->oid);
	enum eng_state state = !o ? ENG_STATE_none : there ? text_state(o, &st) : ENG_STATE_gone;
	struct stamp stamp = o ? o->text_stamp : (struct stamp){0};
	if (o && o->text_commit > s->text_seen) /* between the first look and this one */
		state = ENG_STATE_none;
	bool again =
	        o && (state == ENG_STATE_pending || (state == ENG_STATE_stale && !text_changed(o))) && !obj_queued(o);
	eng_unlock(e);
	if (e->live)
		state = snaps_state(e, &stamp, hit->oid, state);
	else if (again && e->cfg.components == ENG_all)
		search_look_again(e, hit->oid, QF_TEXT | QF_HASH);
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
	f->h.ino = there ? ino : 0;
	f->h.key = s->g.key;
	f->h.score = hit->score;
	f->h.distance = distance;
	f->h.state = (uint8_t)state;
	f->h.has_locator = hit->line0 != 0; /* a document's chunks have no lines in the file */
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
			VX_TRY(search_take_chunk(s, &rd.hits[i], 1.0f - rd.hits[i].score));
		}
		if (rd.hit_n < limit)
			return 0;
		offset += rd.hit_n;
		limit *= 4;
	}
}
int search_text_leg(struct search *s, const char *text, uint32_t n, uint32_t k)
{
	uint32_t base = s->f_n;
	if (n > CONF_QUERY_TEXT_MAX)
		return -VX_ERR_query_too_long;
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
