/* tick.c - the counter's rate.
 *
 * x86: the time stamp counter, where it counts on at one rate in all states of the processor (CPUID 8000_0007h, EDX bit 8) and the kernel
 * itself keeps time by it: it compares the CPUs' counters and drops a bad one.  Its rate is found by the clock of the seam: one pair of
 * readings at the start, another at the first measure 20 ms later; each pair is taken in less than 2 us or tried again, so the rate is right
 * within 1/5,000.  Until then, and elsewhere, measures go by the clock.  aarch64: the generic timer, whose rate is a register. */
#include "base/tick.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#define SETTLE_NS 20000000u
#define PAIR_NS   2000u /* a pair of readings that took longer was interrupted */
#define TRIES     8
#define RATE_NS   4294967295u /* as a tick of 256 ns: slower is no counter for this */

_Atomic uint32_t tick_rate;
static struct os *tick_os;
static uint64_t first_ns, first_ticks;
static bool trusted;

static bool pair(uint64_t *ret_ns, uint64_t *ret_ticks)
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t a = os_mono_ns(tick_os), t = tick_counter(), b = os_mono_ns(tick_os);
		if (b - a < PAIR_NS) {
			*ret_ns = a + (b - a) / 2;
			*ret_ticks = t;
			return true;
		}
	}
	return false;
}

#ifdef __x86_64__
static bool kernel_keeps_time_by_it(struct os *os)
{
	static const char *const good[] = {"tsc\n", "kvm-clock\n", "hyperv_clocksource_tsc_page\n"};
	char name[48];
	int fd = os_openat(os, AT_FDCWD, "/sys/devices/system/clocksource/clocksource0/current_clocksource",
	        O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return false;
	ssize_t n = os_pread(os, fd, name, sizeof name, 0);
	(void)os_close(os, fd); /* only read */
	for (size_t i = 0; n > 0 && i < sizeof good / sizeof *good; i++)
		if ((size_t)n == strlen(good[i]) && !memcmp(name, good[i], (size_t)n))
			return true;
	return false;
}
#endif

void tick_probe(struct os *os)
{
	tick_os = os;
	trusted = false;
	atomic_store_explicit(&tick_rate, 0, memory_order_relaxed);
#if defined(__x86_64__)
	unsigned a, b, c, d;
	if (__get_cpuid(0x80000007, &a, &b, &c, &d) && d & 1u << 8 && kernel_keeps_time_by_it(os))
		trusted = pair(&first_ns, &first_ticks);
#elif defined(__aarch64__)
	uint64_t hz;
	__asm__("mrs %0, cntfrq_el0" : "=r"(hz));
	uint64_t rate = hz ? (1000000000ull << TICK_SHIFT) / hz : 0;
	if (rate && rate <= RATE_NS)
		atomic_store_explicit(&tick_rate, (uint32_t)rate, memory_order_relaxed);
#endif
}

struct tick tick_by_clock(void)
{
	uint64_t ns, ticks, now = os_mono_ns(tick_os ? tick_os : os_real());
	if (trusted && now - first_ns >= SETTLE_NS && pair(&ns, &ticks) && ticks > first_ticks) {
		uint64_t span = ns - first_ns, n = ticks - first_ticks;
		for (; span >> (63 - TICK_SHIFT); span >>= 1) /* hours without a measure */
			n >>= 1;
		uint64_t rate = n ? (span << TICK_SHIFT) / n : 0;
		if (rate && rate <= RATE_NS) /* several threads at once find the same */
			atomic_store_explicit(&tick_rate, (uint32_t)rate, memory_order_relaxed);
	}
	return (struct tick){now, 0};
}

uint64_t tick_clock_since(uint64_t at)
{
	return os_mono_ns(tick_os ? tick_os : os_real()) - at;
}

uint64_t tick_long(uint64_t ticks, uint32_t rate)
{
	if (ticks >> 63)
		return 0;
	uint64_t hi = ticks >> 32, lo = ticks & UINT32_MAX;
	return (hi * rate << (32 - TICK_SHIFT)) + (lo * rate >> TICK_SHIFT);
}
