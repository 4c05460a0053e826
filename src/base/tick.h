/* tick.h - how long something took, by the processor's own counter: two instructions instead of a call of the clock.
 *
 * For figures only, never for deadlines: those go by the seam's clock.  A measure keeps the rate it began with, so that one which began
 * by the clock ends by it. */
#pragma once
#include "base/os.h"

#include <stdint.h>

#define TICK_SHIFT 24

struct tick {
	uint64_t at;
	uint32_t rate; /* ns a tick, 2^-TICK_SHIFT; 0: `at` is the clock's */
};

extern _Atomic uint32_t tick_rate; /* 0: not known yet, or no counter to be trusted */

struct tick tick_by_clock(void); /* finds the rate when it is time to */
uint64_t tick_long(uint64_t ticks, uint32_t rate);
uint64_t tick_clock_since(uint64_t at);
void tick_probe(struct os *os); /* once, before threads: is there a counter that can be trusted? */

static inline uint64_t tick_counter(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t v;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
	return v;
#else
	return 0;
#endif
}

static inline struct tick tick_start(void)
{
	uint32_t rate = __atomic_load_n((const uint32_t *)(const void *)&tick_rate, __ATOMIC_RELAXED);
	if (__builtin_expect(!rate, 0))
		return tick_by_clock();
	return (struct tick){tick_counter(), rate};
}

/* ns since `t`; 0 when the counter went backwards (another CPU's, a suspended machine) */
static inline uint64_t tick_since(struct tick t)
{
	if (__builtin_expect(!t.rate, 0))
		return tick_clock_since(t.at);
	uint64_t d = tick_counter() - t.at;
	if (__builtin_expect(d >> 32 != 0, 0))
		return tick_long(d, t.rate);
	return d * t.rate >> TICK_SHIFT;
}
