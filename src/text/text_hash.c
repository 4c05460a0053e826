/* text_hash.c - content hash: XXH3-128 with seed 0 in canonical (big-endian) order, so `xxh128sum FILE` shows the same digits.
 * The state wants 64-byte alignment; the block around it is larger by that. */
#define XXH_STATIC_LINKING_ONLY
#include "text/text.h"
#include <string.h>
#include <xxhash.h>

struct text_hash {
	XXH3_state_t *st; /* in the same block */
};

int text_hash_new(struct text_hash **ret)
{
	struct text_hash *h = mem_alloc(MEM_text, sizeof *h + sizeof *h->st + 64);
	if (!h)
		return -ENOMEM;
	h->st = (XXH3_state_t *)(((uintptr_t)(h + 1) + 63) & ~(uintptr_t)63);
	memset(h->st, 0, sizeof *h->st); /* XXH3_INITSTATE's job: reset reads one field before it writes it */
	XXH3_128bits_reset(h->st);
	*ret = h;
	return 0;
}

void text_hash_add(struct text_hash *h, const void *p, size_t n)
{
	if (n)
		XXH3_128bits_update(h->st, p, n);
}

static void canonical(uint8_t ret[16], XXH128_hash_t v)
{
	XXH128_canonical_t c;
	XXH128_canonicalFromHash(&c, v);
	memcpy(ret, c.digest, 16);
}

void text_hash_end(struct text_hash *h, uint8_t ret[16])
{
	if (!h)
		return;
	if (ret)
		canonical(ret, XXH3_128bits_digest(h->st));
	mem_free(MEM_text, h);
}

void text_hash_once(const void *p, size_t n, uint8_t ret[16])
{
	canonical(ret, XXH3_128bits(n ? p : "", n));
}
