/* filter_cache.c - what the last filters let pass, by (filter, collection, generation).
 *
 * A filter costs a scan of the catalog, and the same few come again and again.  An answer is kept under the generation that was the
 * newest before the catalog was asked, and given out only while that is still the newest: it can't be older than what a fresh scan
 * would see.  A filter is known by two independent 64-bit hashes of its program.  Few entries, the one not used for longest goes. */
#include <string.h>

#include "base/filter.h"
#include "engine/engine_priv.h"

#define CACHE_N         8u
#define CACHE_BYTES_MAX (4u << 20) /* of one entry; larger answers are not kept */

struct entry {
	const struct engine *e;
	uint64_t start_ns, h0, h1, generation, used;
	uint32_t cid, rows_n, n;
	size_t bytes;
	void *data;
};
static struct {
	pthread_mutex_t lock; /* guards all below */
	uint64_t tick;
	struct entry v[CACHE_N];
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t hash_of(const struct flt *f, uint64_t seed)
{
	uint64_t h = seed;
	for (uint32_t i = 0; i < f->n; i++) {
		const struct flt_node *nd = f->node + i;
		const uint8_t kind[4] = {nd->op, nd->field, nd->cmp, nd->value};
		h = hash64(kind, sizeof(kind), h);
		h = hash64(&nd->num, sizeof(nd->num), h);
		if (nd->path)
			h = hash64(nd->path, strlen(nd->path) + 1, h);
		if (nd->text)
			h = hash64(nd->text, nd->text_n, h ^ nd->text_n);
	}
	return h;
}
static void key_of(struct entry *k, const struct engine *e, const struct flt *f, uint32_t cid, uint32_t rows_n,
        uint64_t generation)
{
	*k = (struct entry){.e = e,
	        .start_ns = e->start_ns,
	        .h0 = hash_of(f, 0x9e3779b97f4a7c15ull),
	        .h1 = hash_of(f, 0xc2b2ae3d27d4eb4full),
	        .generation = generation,
	        .cid = cid,
	        .rows_n = rows_n};
}
static bool same(const struct entry *a, const struct entry *b)
{
	return a->e == b->e && a->start_ns == b->start_ns && a->h0 == b->h0 && a->h1 == b->h1 &&
	       a->generation == b->generation && a->cid == b->cid && a->rows_n == b->rows_n;
}
bool filter_cached(struct engine *e, const struct flt *f, uint32_t cid, uint32_t rows_n, uint64_t generation,
        struct arena *a, uint64_t **ret, uint32_t *ret_n)
{
	struct entry k;
	bool hit = false;
	key_of(&k, e, f, cid, rows_n, generation);
	pthread_mutex_lock(&cache.lock);
	for (uint32_t i = 0; i < CACHE_N && !hit; i++) {
		struct entry *c = &cache.v[i];
		if (!c->data || !same(c, &k))
			continue;
		uint64_t *to = arena_alloc(a, c->bytes);
		if (!to)
			break;
		memcpy(to, c->data, c->bytes);
		*ret = to;
		*ret_n = c->n;
		c->used = ++cache.tick;
		hit = true;
	}
	pthread_mutex_unlock(&cache.lock);
	return hit;
}
void filter_cache_put(struct engine *e, const struct flt *f, uint32_t cid, uint32_t rows_n, uint64_t generation,
        const uint64_t *data, size_t bytes, uint32_t n)
{
	if (!bytes || bytes > CACHE_BYTES_MAX)
		return;
	struct entry k;
	key_of(&k, e, f, cid, rows_n, generation);
	k.data = mem_alloc(MEM_engine, bytes);
	if (!k.data)
		return; /* it is asked again, no more */
	memcpy(k.data, data, bytes);
	k.bytes = bytes;
	k.n = n;
	pthread_mutex_lock(&cache.lock);
	struct entry *old = &cache.v[0];
	for (uint32_t i = 1; i < CACHE_N; i++)
		if (cache.v[i].used < old->used)
			old = &cache.v[i];
	mem_free(MEM_engine, old->data);
	k.used = ++cache.tick;
	*old = k;
	pthread_mutex_unlock(&cache.lock);
}
void filter_cache_drop(const struct engine *e)
{
	pthread_mutex_lock(&cache.lock);
	for (uint32_t i = 0; i < CACHE_N; i++)
		if (cache.v[i].e == e) {
			mem_free(MEM_engine, cache.v[i].data);
			cache.v[i] = (struct entry){0};
		}
	pthread_mutex_unlock(&cache.lock);
}
