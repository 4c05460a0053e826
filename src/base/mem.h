/* mem.h - the only place that calls malloc.
 *
 * Three shapes of memory: counted heap blocks by tag (mem_*), pools of equal objects with a limit, and one arena a request that is
 * reset after the reply.  Every block is counted by its tag, so status can show who holds what and --mem-limit can be kept.
 * mem_fail_after makes the n-th allocation fail: the allocation-failure tests run over every n. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_TAGS(X)                                                                                                    \
	X(misc)                                                                                                        \
	X(fs) X(inode) X(req) X(engine) X(objects) X(store) X(index) X(index_work) X(text) X(query) X(server) X(cli)
enum mem_tag {
#define X(n) MEM_##n,
	MEM_TAGS(X)
#undef X
	        MEM_TAG_N
};
void *mem_alloc(enum mem_tag tag, size_t n); /* NULL: out of memory or over the limit */
void *mem_zalloc(enum mem_tag tag, size_t n); /* zeroed */
void *mem_realloc(enum mem_tag tag, void *p, size_t n); /* p may be NULL; on NULL p stays valid */
void mem_free(enum mem_tag tag, void *p); /* takes NULL */
char *mem_strdup(enum mem_tag tag, const char *s);
/* whole pages on transparent huge pages where the system has them; size rounded up to 2 MiB; zeroed */
void *mem_huge_alloc(enum mem_tag tag, size_t n);
void mem_huge_free(enum mem_tag tag, void *p, size_t n);
/* mem_huge_hint - a block of mem_alloc, _zalloc or _realloc, of megabytes, all of which will be written: on huge pages where it can be, and at once */
void mem_huge_hint(void *p, size_t n);
/* the same in two steps, for what is used from the front on: addresses first, charged by mem_huge_commit before they are touched */
void *mem_huge_reserve(size_t n);
bool mem_huge_commit(enum mem_tag tag, size_t n); /* false: the limit is reached */
void mem_huge_uncommit(enum mem_tag tag, size_t n);
void mem_huge_release(enum mem_tag tag, void *p, size_t n, size_t committed);
uint64_t mem_used(enum mem_tag tag);
uint64_t mem_used_all(void);
const char *mem_tag_name(enum mem_tag tag);
void mem_limit_set(uint64_t bytes); /* 0: none; exceeding makes allocations return NULL */
uint64_t mem_limit(void);
uint64_t mem_refused(
        void); /* allocations refused for the limit so far: who holds what it can do without gives it back */
void mem_fail_after(int64_t n); /* tests: the n-th allocation from now fails (1-based); < 0: never */
int64_t mem_fail_waits(void); /* how many allocations until then; <= 0: none will fail */
int64_t mem_alloc_count(void);

/* pool: equal objects, at most `limit`; get returns NULL when all are out. Thread-safe. Memory comes in slabs. */
struct pool {
	pthread_mutex_t lock;
	enum mem_tag tag;
	size_t obj_bytes;
	uint32_t limit, made, out, out_high;
	uint64_t gets, misses; /* misses: gets that needed a new slab or were refused */
	void *free_list;
	void *slabs;
};
int pool_init(struct pool *p, enum mem_tag tag, size_t obj_bytes, uint32_t limit);
void pool_done(struct pool *p);
void *pool_get(struct pool *p); /* not zeroed */
void pool_put(struct pool *p, void *obj); /* takes NULL */

/* arena: grows by blocks up to `limit` bytes; freed as a whole. Not thread-safe: one request owns it. */
struct arena {
	enum mem_tag tag;
	size_t limit, used;
	struct arena_block *first, *cur;
};
void arena_init(struct arena *a, enum mem_tag tag, size_t limit);
void *arena_alloc(struct arena *a, size_t n); /* 16-aligned, not zeroed; NULL at the limit */
/* grows the newest object from `old` to n bytes in place; false: it can't be done, nothing changed */
bool arena_extend(struct arena *a, void *p, size_t old, size_t n);
void *arena_zalloc(struct arena *a, size_t n);
char *arena_strndup(struct arena *a, const char *s, size_t n);
void arena_reset(struct arena *a); /* keeps the first block */
void arena_done(struct arena *a);
