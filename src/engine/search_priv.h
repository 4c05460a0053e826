/* search_priv.h - what the files of one search share: the search itself, its candidates, its legs.
 *
 *     search.c        the plan: which legs, how deep, what is answered
 *     search_vec.c    the vector leg: rows of a collection
 *     search_text.c   the word leg: chunks by the full text
 *     search_like.c   near a file: its vector, else its words
 *     search_found.c  what was found: once each, in order, two legs into one */
#pragma once
#include "engine/engine_priv.h"

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
/* search_found.c */
/* seen_add - 1: seen for the first time; 0: seen before; < 0 */
int seen_add(struct search *s, uint64_t owner, uint32_t sub);
void seen_clear(struct search *s);
struct found *found_add(
        struct search *s); /* zeroed, counted by the caller (f_n) when it is complete; NULL: no memory */
void found_sort(struct found *f, uint32_t n); /* best first: score, path, id */
/* found_fuse - f[0, first_n) and f[first_n, f_n) into one list by reciprocal rank; scores are in (0, 1] then */
void found_fuse(struct search *s, uint32_t first_n);
/* search_vec.c */
int search_vec_leg(struct search *s, struct eng_coll *c, const void *vec, uint32_t bytes, uint32_t k);
/* search_filter_read - let the catalog say what passes. Readers see what is committed, so what was acknowledged before is committed first.
 * @cid 0: objects with text */
int search_filter_read(struct search *s, uint32_t cid, uint32_t rows_n);
void search_look_again(struct engine *e, uint64_t oid, uint8_t what);
/* search_text.c */
int search_text_leg(struct search *s, const char *text, uint32_t n, uint32_t k);
/* search_like.c */
int search_like_leg(struct search *s, struct eng_coll *c, uint32_t k);
