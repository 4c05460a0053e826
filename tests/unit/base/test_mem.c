/* test_mem.c - counted memory: tags come back to zero, the limit holds, the n-th allocation fails, pools and arenas keep their bounds. */
#include "base/err.h"
#include "base/mem.h"
#include "base/thread.h"
#include "tap.h"
#include <sys/mman.h>

static void tags(void)
{
	uint64_t all = mem_used_all();
	T_EQ(mem_used(MEM_index), 0, "index holds nothing");
	void *p = mem_alloc(MEM_index, 1000);
	T_OK(mem_used(MEM_index) >= 1000 && mem_used(MEM_index) < 1100, "1000 bytes are counted: %llu",
	        (unsigned long long)mem_used(MEM_index));
	p = mem_realloc(MEM_index, p, 100000);
	T_OK(mem_used(MEM_index) >= 100000 && mem_used(MEM_index) < 110000, "grown: %llu",
	        (unsigned long long)mem_used(MEM_index));
	p = mem_realloc(MEM_index, p, 10);
	T_OK(mem_used(MEM_index) < 1000, "shrunk: %llu", (unsigned long long)mem_used(MEM_index));
	T_EQ(mem_used_all() - all, mem_used(MEM_index), "the sum moved with it");
	mem_free(MEM_index, p);
	T_EQ(mem_used(MEM_index), 0, "freed");
	T_EQ(mem_used_all(), all, "the sum is as before");
	mem_free(MEM_index, NULL);
	T_EQ(mem_used(MEM_index), 0, "freeing NULL");
	uint8_t *z = mem_zalloc(MEM_text, 5000);
	int zero = 1;
	for (int i = 0; i < 5000; i++)
		zero &= !z[i];
	T_OK(zero, "zeroed");
	mem_free(MEM_text, z);
	void *e = mem_alloc(MEM_text, 0);
	T_OK(e != NULL, "zero bytes give a block");
	mem_free(MEM_text, e);
	T_OK(!mem_alloc(MEM_text, SIZE_MAX) && !mem_zalloc(MEM_text, SIZE_MAX / 2 + 1) &&
	                !mem_huge_alloc(MEM_text, SIZE_MAX - 5),
	        "absurd sizes give NULL");
	char *s = mem_strdup(MEM_cli, "hello");
	T_STR(s, "hello", "strdup");
	mem_free(MEM_cli, s);
	T_EQ(mem_used_all(), all, "and all is as before");
	T_STR(mem_tag_name(MEM_index_work), "index_work", "a tag's name");
	T_STR(mem_tag_name(MEM_TAG_N), "?", "no tag");
}

static void huge(void)
{
	uint8_t *h = mem_huge_alloc(MEM_index, 5u << 20);
	T_OK(h && ((uintptr_t)h & ((2u << 20) - 1)) == 0, "5 MiB aligned to 2 MiB");
	T_EQ(mem_used(MEM_index), 6u << 20, "counted as 6 MiB");
	int zero = 1;
	for (size_t i = 0; i < 5u << 20; i += 4096)
		zero &= !h[i];
	T_OK(zero, "zeroed");
	h[0] = h[(6u << 20) - 1] = 1;
	uint64_t before = mem_used_all();
	mem_limit_set(before + (1u << 20));
	T_OK(!mem_huge_alloc(MEM_index, 1), "over the limit");
	mem_limit_set(0);
	mem_huge_free(MEM_index, h, 5u << 20);
	T_EQ(mem_used(MEM_index), 0, "freed");
	unsigned char vec[1];
	T_OK(mincore(h, 4096, vec) < 0 && errno == ENOMEM, "and unmapped");
	mem_huge_free(MEM_index, NULL, 77);
}

static void limit(void)
{
	mem_limit_set(mem_used_all() + 100000);
	void *a = mem_alloc(MEM_fs, 60000), *b = mem_alloc(MEM_fs, 60000);
	T_OK(a && !b, "the second 60 kB of 100 kB is refused");
	T_OK(!mem_realloc(MEM_fs, a, 200000), "growing over it too");
	memset(a, 1, 60000);
	T_OK(mem_used(MEM_fs) < 70000, "what was refused is not counted: %llu", (unsigned long long)mem_used(MEM_fs));
	mem_free(MEM_fs, a);
	b = mem_alloc(MEM_fs, 90000);
	T_OK(b != NULL, "after a free there is room again");
	mem_free(MEM_fs, b);
	mem_limit_set(0);
	T_EQ(mem_limit(), 0, "no limit");
}

static void failing(void)
{
	int64_t n0 = mem_alloc_count();
	mem_fail_after(3);
	void *a = mem_alloc(MEM_misc, 10), *b = mem_zalloc(MEM_misc, 10), *c = mem_alloc(MEM_misc, 10),
	     *d = mem_alloc(MEM_misc, 10);
	T_OK(a && b && !c && d, "the third fails, once");
	T_EQ(mem_alloc_count() - n0, 4, "four were counted");
	mem_fail_after(1);
	T_OK(!mem_realloc(MEM_misc, a, 1000), "realloc can be made to fail");
	memset(a, 0, 10);
	mem_fail_after(1);
	T_OK(!mem_huge_alloc(MEM_misc, 1), "huge too");
	mem_fail_after(2);
	mem_fail_after(-1);
	mem_free(MEM_misc, mem_alloc(MEM_misc, 1));
	void *e = mem_alloc(MEM_misc, 1);
	T_OK(e != NULL, "and called off");
	mem_free(MEM_misc, e);
	mem_free(MEM_misc, a);
	mem_free(MEM_misc, b);
	mem_free(MEM_misc, d);
	T_EQ(mem_used(MEM_misc), 0, "nothing leaks");
}

static void pools(void)
{
	struct pool p;
	static void *o[1001];
	T_EQ(pool_init(&p, MEM_req, 0, 5), -EINVAL, "objects of no size");
	T_EQ(pool_init(&p, MEM_req, 16, 0), -EINVAL, "a limit of none");
	T_EQ(pool_init(&p, MEM_req, 100, 1000), 0, "1000 objects of 100 bytes");
	T_EQ(mem_used(MEM_req), 0, "cost nothing before use");
	for (int i = 0; i < 1000; i++) {
		o[i] = pool_get(&p);
		memset(o[i], i, 100);
	}
	T_OK(o[999] && !pool_get(&p), "the 1001st is refused");
	T_OK(p.out == 1000 && p.out_high == 1000 && p.made == 1000, "out %u, high %u, made %u", p.out, p.out_high,
	        p.made);
	int bad = 0;
	for (int i = 0; i < 1000; i++) {
		bad += ((uintptr_t)o[i] & 15) != 0;
		for (int k = 0; k < 100; k++)
			bad += ((uint8_t *)o[i])[k] != (uint8_t)i;
	}
	T_EQ(bad, 0, "objects unaligned or sharing bytes");
	for (int i = 0; i < 1000; i++)
		pool_put(&p, o[i]);
	pool_put(&p, NULL);
	uint64_t held = mem_used(MEM_req), miss = p.misses;
	T_EQ(p.out, 0, "all back");
	for (int i = 0; i < 1000; i++)
		o[i] = pool_get(&p);
	T_OK(o[999] && mem_used(MEM_req) == held && p.misses == miss, "the second round takes no memory");
	T_OK(held < 1000 * 112 + 4096, "overhead: %llu bytes for 1000 x 100", (unsigned long long)held);
	pool_done(&p);
	T_EQ(mem_used(MEM_req), 0, "done frees all");
	pool_done(&p);
	T_EQ(pool_init(&p, MEM_req, 1 << 20, 2), 0, "objects larger than a slab");
	void *a = pool_get(&p), *b = pool_get(&p);
	T_OK(a && b && a != b && !pool_get(&p), "two and no more");
	pool_put(&p, a);
	T_OK(pool_get(&p) == a, "the one put is the one got");
	pool_done(&p);
	T_EQ(pool_init(&p, MEM_req, 64, 100), 0, "a pool whose slab");
	mem_fail_after(1);
	T_OK(!pool_get(&p), "can't be had gives NULL");
	T_OK(pool_get(&p), "and works at the next try");
	pool_done(&p);
}

static struct pool shared;
static _Atomic int clashes;
static void pool_worker(void *u)
{
	uint64_t me = (uint64_t)(uintptr_t)u;
	for (int i = 0; i < 20000; i++) {
		uint64_t *o[3];
		for (int k = 0; k < 3; k++) {
			o[k] = pool_get(&shared);
			if (o[k])
				o[k][0] = o[k][2] = me;
		}
		for (int k = 0; k < 3; k++) {
			if (o[k] && (o[k][0] != me || o[k][2] != me))
				clashes++;
			pool_put(&shared, o[k]);
		}
	}
}
static void pool_threads(void)
{
	static struct thread t[4];
	pool_init(&shared, MEM_req, 24, 10);
	for (uintptr_t i = 0; i < 4; i++)
		thread_start(&t[i], "pool", 65536, pool_worker, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		thread_join(&t[i]);
	T_EQ(clashes, 0, "objects given to two threads at once");
	T_OK(shared.out == 0 && shared.out_high <= 10, "all back, never more than 10 out: %u", shared.out_high);
	pool_done(&shared);
}

static void arenas(void)
{
	struct arena a;
	arena_init(&a, MEM_query, 100000);
	T_EQ(mem_used(MEM_query), 0, "an arena costs nothing before use");
	uint8_t *p = arena_alloc(&a, 1), *q = arena_alloc(&a, 17);
	T_OK(p && q && ((uintptr_t)p & 15) == 0 && q - p == 16, "16-aligned, side by side");
	T_EQ(a.used, 48, "1 and 17 bytes count as 16 and 32");
	int n = 0;
	uint8_t *o[200];
	for (; n < 200 && (o[n] = arena_alloc(&a, 1000)); n++)
		memset(o[n], n, 1000);
	T_EQ(n, (100000 - 48) / 1008, "objects of 1000 (1008) bytes before the limit");
	int bad = 0;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < 1000; k++)
			bad += o[i][k] != (uint8_t)i;
	T_EQ(bad, 0, "bytes shared between objects");
	T_OK(a.used <= a.limit && mem_used(MEM_query) >= 99000, "used %zu of %zu", a.used, a.limit);
	arena_reset(&a);
	T_OK(a.used == 0 && mem_used(MEM_query) < 20000 && mem_used(MEM_query) > 0,
	        "a reset keeps the first block: %llu bytes", (unsigned long long)mem_used(MEM_query));
	T_OK(arena_alloc(&a, 100) == p, "and starts it over");
	T_OK(!arena_alloc(&a, 100001) && !arena_alloc(&a, SIZE_MAX) && !arena_alloc(&a, SIZE_MAX - 5),
	        "too much at once");
	arena_reset(&a);
	T_OK(arena_alloc(&a, 100000) && !arena_alloc(&a, 1), "exactly the limit, then nothing");
	arena_reset(&a);
	char *s = arena_strndup(&a, "hello world", 5);
	T_STR(s, "hello", "strndup");
	T_OK(!arena_strndup(&a, "x", SIZE_MAX), "of an absurd length");
	uint8_t *z = arena_zalloc(&a, 3000);
	int zero = 1;
	for (int i = 0; i < 3000; i++)
		zero &= !z[i];
	T_OK(zero, "zalloc after a reset is zero");
	uint8_t *g = arena_alloc(&a, 100);
	T_OK(arena_extend(&a, g, 100, 500) && !arena_extend(&a, z, 3000, 4000), "only the newest extends");
	T_OK((uint8_t *)arena_alloc(&a, 1) >= g + 500, "and what comes next lies behind it");
	arena_done(&a);
	T_EQ(mem_used(MEM_query), 0, "done frees all");
	arena_init(&a, MEM_query, 1001);
	T_OK(arena_alloc(&a, 1001) && !arena_alloc(&a, 1), "a limit that is no multiple of 16 can be used up");
	arena_done(&a);
	arena_init(&a, MEM_query, 4096);
	mem_fail_after(1);
	T_OK(!arena_alloc(&a, 10) && a.used == 0, "no block to be had");
	T_OK(arena_alloc(&a, 10), "then one");
	arena_done(&a);
}

int main(void)
{
	tags();
	huge();
	limit();
	failing();
	pools();
	pool_threads();
	arenas();
	return tap_done();
}
