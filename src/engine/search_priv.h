/* search_priv.h - what the files of one search share: the search itself, its candidates, its legs.
 *
 *     search.c        the plan: which legs, how deep, what is answered
 *     search_vec.c    the vector leg: rows of a collection
 *     search_text.c   the word leg: chunks by the full text
 *     search_mean.c   the leg of meaning: chunks by the vectors a model gave them
 *     search_words.c  what is typed: words, "phrases", -not, path: ext: after: before: size>
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
	bool pass_rows; /* pass holds what the index is to test */
	bool pass_on; /* pass_oid is the list of all that pass */
	const uint64_t *pass_oid, *deny_oid; /* ascending */
	uint32_t pass_n, deny_n;
	struct search_words *words; /* of a text that was typed */
};
/* priv of a job that searches by text */
enum { SEARCH_P_WORDS = 2, SEARCH_P_MEANING = 3, SEARCH_N_CID = 5, SEARCH_N_WHY = 7 };

/* search_words.c */
#define SEARCH_WORDS_MAX 16u
struct search_name {
	const char *p;
	uint32_t n;
	bool not_, ext, glob;
};
struct search_words {
	const char *words, *mean,
	        *deny; /* for the full text, for the model; what may not be there: as the full text takes it */
	uint32_t words_n, mean_n, deny_n;
	const char *must[SEARCH_WORDS_MAX]; /* of each one word, or the phrase, must be in the file */
	uint32_t must_len[SEARCH_WORDS_MAX], must_n;
	struct search_name name[SEARCH_WORDS_MAX];
	uint32_t name_n;
	int64_t after_ns, before_ns; /* [after, before) */
	uint64_t size_min, size_end; /* [min, end) */
	bool looks; /* some of the above narrow by what the object table knows */
};
int search_words_parse(struct arena *a, const char *text, uint32_t n, int64_t now_ns, struct search_words **ret);
bool search_words_pass(const struct search_words *w, const struct eng_obj *o, char *path);
int search_words_sets(struct search *s);
/* search_found.c */
/* seen_add - 1: seen for the first time; 0: seen before; < 0 */
int seen_add(struct search *s, uint64_t owner, uint32_t sub);
void seen_clear(struct search *s);
struct found *found_add(
        struct search *s); /* zeroed, counted by the caller (f_n) when it is complete; NULL: no memory */
void found_sort(struct found *f, uint32_t n); /* best first: score, path, id */
/* found_fuse - f[0, first_n) and f[first_n, f_n) into one list by reciprocal rank; scores are in (0, 1] then */
void found_fuse(struct search *s, uint32_t first_n);
/* found_blend - the same of a list by meaning and one by words, by their scores; [0, 1] */
void found_blend(struct search *s, uint32_t first_n);
/* search_vec.c */
int search_knn(struct search *s, struct coll_view *v, const void *q, uint32_t want, struct index_hit *hits);
int search_vec_leg(struct search *s, struct eng_coll *c, const void *vec, uint32_t bytes, uint32_t k);
/* search_filter_read - let the catalog say what passes. Readers see what is committed, so what was acknowledged before is committed first.
 * @cid 0: objects with text */
int search_filter_read(struct search *s, uint32_t cid, uint32_t rows_n);
void search_look_again(struct engine *e, uint64_t oid, uint8_t what);
/* search_text.c */
int search_text_leg(struct search *s, const char *text, uint32_t n, uint32_t k);
bool search_passes(const struct search *s, uint64_t oid); /* filter, phrases, what may not be there */
/* search_take_chunk - 1: it is a result, in s->f[f_n - 1]; 0: not; < 0 */
int search_take_chunk(struct search *s, const struct store_fts_hit *hit, float distance);
/* search_mean.c */
int search_mean_leg(struct search *s, struct eng_coll *c, const float *q, uint32_t dim, uint32_t k);
int search_mean_of(struct search *s, struct eng_coll *c, uint64_t oid, const float **ret);
/* search_like.c */
int search_like_leg(struct search *s, struct eng_coll *c, uint32_t k);
