/* search_like.c - near a file: by its vector in the collection when it has one there, else by the vectors a model gave its chunks, else by
 * the words that tell its text from others. */
#include <fcntl.h>
#include <string.h>

#include "engine/search_priv.h"

#define LIKE_WORDS 16u
#define LIKE_BYTES 65536u

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
	eng_rdlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, oid);
	const struct eng_vec *ov = o ? obj_vec(o, c->info.cid) : NULL;
	row = ov ? ov->row : ENG_ROW_NONE;
	eng_unlock(e);
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
/* near the middle of the vectors of its chunks. 1: answered; 0: it has none */
static int like_meaning(struct search *s, uint64_t oid, uint32_t k)
{
	struct eng_coll *t = coll_get(s->e, "text");
	const float *v = NULL;
	int rc = t && t->chunks ? search_mean_of(s, t, oid, &v) : 0;
	if (rc > 0) {
		int r = search_mean_leg(s, t, v, t->info.dim, k);
		rc = r < 0 ? r : 1;
	}
	coll_put(t);
	return rc;
}
int search_like_leg(struct search *s, struct eng_coll *c, uint32_t k)
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
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_key(&e->t, &key);
	uint64_t oid = o ? o->oid : 0;
	int n = o && !j->like ? obj_path(o, path, CONF_PATH_MAX + 1) : 0;
	eng_unlock(e);
	const void *vec = NULL;
	uint32_t bytes = 0;
	s->exclude = oid != 0;
	s->exclude_oid = oid;
	int rc = oid ? like_vector(e, j, c, oid, &vec, &bytes) : 0;
	if (rc < 0)
		return rc;
	if (rc)
		return search_vec_leg(s, c, vec, bytes, k);
	if (e->cfg.components != ENG_all)
		return -VX_ERR_no_vector;
	VX_TRY(search_filter_read(s, 0, 0));
	rc = oid ? like_meaning(s, oid, k) : 0;
	if (rc)
		return rc < 0 ? rc : 0;
	if (n < 0 || (!j->like && !o))
		return -VX_ERR_no_vector;
	const char *words = NULL;
	uint32_t words_n = 0;
	VX_TRY(like_words(e, j, &key, path, &words, &words_n));
	return search_text_leg(s, words, words_n, k);
}
