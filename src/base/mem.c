/* mem.c - counted heap blocks, pools, arenas; the one place that calls malloc.
 *
 * Counting: a block is charged with what the allocator really set aside (malloc_usable_size), so the sum over the tags follows the
 * heap, and a free needs no header of ours.  The limit is charged before the allocation and given back when it fails: two threads can't
 * both pass the last byte.  Each counter has a cache line of its own; all are relaxed, they order nothing.
 *
 * Pools carve objects off slabs and keep returned ones in a list through their first bytes: get and put are O(1), and a slab costs one
 * allocation.  Under AddressSanitizer an object in the list is poisoned behind that link, so a use after put is caught.
 *
 * Arenas count what they hand out against their limit, so that the refusal depends on the request alone and not on how blocks fell. */
#include "base/mem.h"
#include "base/err.h"
#include "base/perf.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(MEM_ASAN)
#define MEM_ASAN 1
#endif
#ifdef MEM_ASAN
#include <sanitizer/asan_interface.h>
#define mem_poison(p, n)   __asan_poison_memory_region(p, n)
#define mem_unpoison(p, n) __asan_unpoison_memory_region(p, n)
#else
#define mem_poison(p, n)   ((void)(p), (void)(n))
#define mem_unpoison(p, n) ((void)(p), (void)(n))
#endif

#define HUGE_BYTES        ((size_t)2 << 20)
#define POOL_SLAB_BYTES   ((size_t)64 << 10)
#define ARENA_BLOCK_BYTES ((size_t)8 << 10)
#define ARENA_BLOCK_MAX   ((size_t)1 << 20)
#define ARENA_KEEP_BYTES  ((size_t)64 << 10) /* a first block larger than this is not kept over a reset */

struct counter {
	_Alignas(64) _Atomic uint64_t v;
};
static struct counter used[MEM_TAG_N];
static struct counter used_all;
static _Atomic uint64_t limit_bytes, refused;
static _Atomic int64_t fail_in = -1;
static _Atomic int64_t count;

static const char *const tag_names[] = {
#define X(n) #n,
        MEM_TAGS(X)
#undef X
};

/* one allocation begins: true when it must fail for a test */
static bool hook(void)
{
	atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
	if (atomic_load_explicit(&fail_in, memory_order_relaxed) <= 0)
		return false;
	return atomic_fetch_sub(&fail_in, 1) == 1;
}

static bool charge(size_t n)
{
	uint64_t lim = atomic_load_explicit(&limit_bytes, memory_order_relaxed);
	uint64_t now = atomic_fetch_add_explicit(&used_all.v, n, memory_order_relaxed) + n;
	if (!lim || now <= lim)
		return true;
	atomic_fetch_sub_explicit(&used_all.v, n, memory_order_relaxed);
	atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
	return false;
}
static void uncharge(size_t n)
{
	atomic_fetch_sub_explicit(&used_all.v, n, memory_order_relaxed);
}
static void tag_add(enum mem_tag tag, size_t n)
{
	atomic_fetch_add_explicit(&used[tag].v, n, memory_order_relaxed);
}
static void tag_sub(enum mem_tag tag, size_t n)
{
	atomic_fetch_sub_explicit(&used[tag].v, n, memory_order_relaxed);
}

/* the block is there: the estimate in used_all becomes what it really takes */
static void *account(enum mem_tag tag, void *p, size_t asked)
{
	if (!p) {
		uncharge(asked);
		return NULL;
	}
	size_t real = malloc_usable_size(p);
	atomic_fetch_add_explicit(&used_all.v, real - asked, memory_order_relaxed);
	tag_add(tag, real);
	return p;
}

void *mem_alloc(enum mem_tag tag, size_t n)
{
	n = n ? n : 1;
	if (hook() || n > PTRDIFF_MAX || !charge(n))
		return NULL;
	return account(tag, malloc(n), n);
}

void *mem_zalloc(enum mem_tag tag, size_t n)
{
	n = n ? n : 1;
	if (hook() || n > PTRDIFF_MAX || !charge(n))
		return NULL;
	return account(tag, calloc(1, n), n);
}

void *mem_realloc(enum mem_tag tag, void *p, size_t n)
{
	if (!p)
		return mem_alloc(tag, n);
	n = n ? n : 1;
	size_t old = malloc_usable_size(p), more = n > old ? n - old : 0;
	if (hook() || n > PTRDIFF_MAX || !charge(more))
		return NULL;
	void *q = realloc(p, n);
	if (!q) {
		uncharge(more);
		return NULL;
	}
	size_t real = malloc_usable_size(q);
	atomic_fetch_add_explicit(&used_all.v, real - old - more, memory_order_relaxed);
	tag_add(tag, real - old); /* wraps to a subtraction when it shrank */
	return q;
}

void mem_free(enum mem_tag tag, void *p)
{
	if (!p)
		return;
	size_t n = malloc_usable_size(p);
	tag_sub(tag, n);
	uncharge(n);
	free(p);
}

char *mem_strdup(enum mem_tag tag, const char *s)
{
	size_t n = strlen(s) + 1;
	char *p = mem_alloc(tag, n);
	if (p)
		memcpy(p, s, n);
	return p;
}

static size_t huge_round(size_t n)
{
	n = n ? n : 1;
	return (n + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
}

void *mem_huge_reserve(size_t n)
{
	if (hook() || n > PTRDIFF_MAX - 2 * HUGE_BYTES)
		return NULL;
	n = huge_round(n);
	/* mapped with one huge page to spare, then trimmed to an aligned start: khugepaged needs the alignment */
	uint8_t *m =
	        mmap(NULL, n + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m == MAP_FAILED)
		return NULL;
	uint8_t *p = (uint8_t *)(((uintptr_t)m + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1));
	size_t before = (size_t)(p - m), after = HUGE_BYTES - before;
	if (before)
		munmap(m, before);
	if (after)
		munmap(p + n, after);
#ifdef MADV_HUGEPAGE
	(void)madvise(p, n, MADV_HUGEPAGE); /* a hint: without it the pages are small */
#endif
	return p;
}

void mem_huge_hint(void *p, size_t n)
{
	uintptr_t from = ((uintptr_t)p + 4095) & ~(uintptr_t)4095, to = ((uintptr_t)p + n) & ~(uintptr_t)4095;
	if (!p || n < HUGE_BYTES)
		return;
#ifdef MADV_HUGEPAGE
	(void)madvise((void *)from, to - from, MADV_HUGEPAGE); /* as below: a hint */
#endif
#ifdef MADV_POPULATE_WRITE
	(void)madvise((void *)from, to - from, MADV_POPULATE_WRITE); /* the same: else page by page, as it is written */
#endif
}

bool mem_huge_commit(enum mem_tag tag, size_t n)
{
	if (hook() || !charge(n))
		return false;
	tag_add(tag, n);
	return true;
}

void mem_huge_uncommit(enum mem_tag tag, size_t n)
{
	tag_sub(tag, n);
	uncharge(n);
}

void mem_huge_release(enum mem_tag tag, void *p, size_t n, size_t committed)
{
	if (!p)
		return;
	munmap(p, huge_round(n));
	mem_huge_uncommit(tag, committed);
}

void *mem_huge_alloc(enum mem_tag tag, size_t n)
{
	if (n > PTRDIFF_MAX - 2 * HUGE_BYTES || !mem_huge_commit(tag, huge_round(n)))
		return NULL;
	void *p = mem_huge_reserve(n);
	if (!p)
		mem_huge_uncommit(tag, huge_round(n));
	return p;
}

void mem_huge_free(enum mem_tag tag, void *p, size_t n)
{
	mem_huge_release(tag, p, n, huge_round(n));
}

uint64_t mem_used(enum mem_tag tag)
{
	return atomic_load_explicit(&used[tag].v, memory_order_relaxed);
}
uint64_t mem_used_all(void)
{
	return atomic_load_explicit(&used_all.v, memory_order_relaxed);
}
const char *mem_tag_name(enum mem_tag tag)
{
	return (unsigned)tag < MEM_TAG_N ? tag_names[tag] : "?";
}
void mem_limit_set(uint64_t bytes)
{
	atomic_store(&limit_bytes, bytes);
}
uint64_t mem_limit(void)
{
	return atomic_load(&limit_bytes);
}
uint64_t mem_refused(void)
{
	return atomic_load_explicit(&refused, memory_order_relaxed);
}
void mem_fail_after(int64_t n)
{
	atomic_store(&fail_in, n > 0 ? n : -1);
}
int64_t mem_fail_waits(void)
{
	return atomic_load(&fail_in);
}
int64_t mem_alloc_count(void)
{
	return atomic_load(&count);
}

/* ---- pool ---- */

struct pool_slab {
	struct pool_slab *next;
	uint32_t n, carved;
	_Alignas(16) uint8_t objs[];
};

int pool_init(struct pool *p, enum mem_tag tag, size_t obj_bytes, uint32_t limit)
{
	if (!obj_bytes || obj_bytes > PTRDIFF_MAX / 2 || !limit)
		return -EINVAL;
	memset(p, 0, sizeof *p);
	int e = pthread_mutex_init(&p->lock, NULL);
	if (e)
		return -e;
	p->tag = tag;
	p->obj_bytes = (obj_bytes + 15) & ~(size_t)15;
	p->limit = limit;
	return 0;
}

void pool_done(struct pool *p)
{
	if (!p->obj_bytes)
		return;
	for (struct pool_slab *s = p->slabs, *next; s; s = next) {
		next = s->next;
		mem_unpoison(s->objs, s->n * p->obj_bytes);
		mem_free(p->tag, s);
	}
	pthread_mutex_destroy(&p->lock);
	memset(p, 0, sizeof *p);
}

static struct pool_slab *slab_add(struct pool *p)
{
	uint32_t left = p->limit - p->made;
	if (!left)
		return NULL;
	size_t n = (POOL_SLAB_BYTES - sizeof(struct pool_slab)) / p->obj_bytes;
	/* the first slab is small: most pools stay at a handful */
	if (!p->slabs && n > 8)
		n = 8;
	n = n < 1 ? 1 : n > left ? left : n;
	struct pool_slab *s = mem_alloc(p->tag, sizeof *s + n * p->obj_bytes);
	if (!s)
		return NULL;
	s->n = (uint32_t)n;
	s->carved = 0;
	s->next = p->slabs;
	mem_poison(s->objs, n * p->obj_bytes);
	p->slabs = s;
	p->made += (uint32_t)n;
	return s;
}

void *pool_get(struct pool *p)
{
	void *o = NULL;
	bool hit = true;
	pthread_mutex_lock(&p->lock);
	p->gets++;
	if (p->free_list) {
		o = p->free_list;
		p->free_list = *(void **)o;
	} else {
		struct pool_slab *s = p->slabs;
		if (!s || s->carved == s->n) {
			hit = false;
			p->misses++;
			s = slab_add(p);
		}
		if (s)
			o = s->objs + p->obj_bytes * s->carved++;
	}
	if (o) {
		mem_unpoison(o, p->obj_bytes);
		if (++p->out > p->out_high)
			p->out_high = p->out;
	}
	pthread_mutex_unlock(&p->lock);
	perf_add(hit ? PERFC_pool_hits : PERFC_pool_misses, 1);
	return o;
}

void pool_put(struct pool *p, void *obj)
{
	if (!obj)
		return;
	pthread_mutex_lock(&p->lock);
	vx_assert(p->out > 0);
	*(void **)obj = p->free_list;
	p->free_list = obj;
	p->out--;
	mem_poison((uint8_t *)obj + sizeof(void *), p->obj_bytes - sizeof(void *));
	pthread_mutex_unlock(&p->lock);
}

/* ---- arena ---- */

struct arena_block {
	struct arena_block *next;
	size_t cap, used;
	_Alignas(16) uint8_t data[];
};

void arena_init(struct arena *a, enum mem_tag tag, size_t limit)
{
	*a = (struct arena){.tag = tag, .limit = limit};
}

static struct arena_block *block_add(struct arena *a, size_t n)
{
	size_t cap = a->cur ? a->cur->cap * 2 : ARENA_BLOCK_BYTES;
	cap = cap > ARENA_BLOCK_MAX ? ARENA_BLOCK_MAX : cap;
	cap = cap > a->limit - a->used ? a->limit - a->used : cap;
	cap = cap < n ? n : cap;
	struct arena_block *b = mem_alloc(a->tag, sizeof *b + cap);
	if (!b)
		return NULL;
	b->next = NULL;
	b->cap = cap;
	b->used = 0;
	if (a->cur)
		a->cur->next = b;
	else
		a->first = b;
	a->cur = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
	n = n ? n : 1;
	if (n > a->limit || n > PTRDIFF_MAX)
		return NULL;
	n = (n + 15) & ~(size_t)15;
	if (n > a->limit - a->used) {
		/* the last object may use up a limit that is no multiple of 16 */
		if (n - (a->limit - a->used) >= 16)
			return NULL;
	}
	struct arena_block *b = a->cur;
	if (!b || n > b->cap - b->used)
		b = block_add(a, n);
	if (!b)
		return NULL;
	void *p = b->data + b->used;
	b->used += n;
	a->used = n > a->limit - a->used ? a->limit : a->used + n;
	return p;
}

bool arena_extend(struct arena *a, void *p, size_t old, size_t n)
{
	struct arena_block *b = a->cur;
	size_t o16 = (old + 15) & ~(size_t)15;
	if (!b || n < old || n > a->limit || (uint8_t *)p + o16 != b->data + b->used)
		return false;
	size_t more = ((n + 15) & ~(size_t)15) - o16;
	if (more > b->cap - b->used || more > a->limit - a->used)
		return false;
	b->used += more;
	a->used += more;
	return true;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);
	if (p)
		memset(p, 0, n);
	return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *p = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;
	if (!p)
		return NULL;
	memcpy(p, s, n);
	p[n] = 0;
	return p;
}

static void blocks_free(struct arena *a, struct arena_block *b)
{
	for (struct arena_block *next; b; b = next) {
		next = b->next;
		mem_free(a->tag, b);
	}
}

void arena_reset(struct arena *a)
{
	struct arena_block *f = a->first;
	if (f && f->cap > ARENA_KEEP_BYTES) {
		blocks_free(a, f);
		f = NULL;
	} else if (f) {
		blocks_free(a, f->next);
		f->next = NULL;
		f->used = 0;
	}
	a->first = a->cur = f;
	a->used = 0;
}

void arena_done(struct arena *a)
{
	blocks_free(a, a->first);
	a->first = a->cur = NULL;
	a->used = 0;
}
