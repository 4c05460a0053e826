/* test_tick.c - measures by the processor's counter against the clock, the way there, and what a bad counter does. */
#include "base/tick.h"
#include "tap.h"
#include <sched.h>
#include <stdatomic.h>

static uint64_t by_clock(uint64_t ns)
{
	uint64_t end = os_mono_ns(os_real()) + ns;
	while (os_mono_ns(os_real()) < end)
		;
	return end;
}

int main(void)
{
	tick_probe(os_real());
	struct tick early = tick_start();
	for (int i = 0; i < 3 && !atomic_load(&tick_rate); i++) {
		by_clock(21000000);
		(void)tick_start();
	}
	printf("# %.6f ns a tick\n", atomic_load(&tick_rate) / (double)(1u << TICK_SHIFT));
	uint64_t before = os_mono_ns(os_real()), late = tick_since(early), after = os_mono_ns(os_real());
	T_OK(early.rate || late <= after, "a measure that began by the clock ends by it: %llu",
	        (unsigned long long)late);
	if (!early.rate)
		T_OK(late >= before - early.at && late <= after - early.at, "and is right");
	for (int i = 0; i < 5; i++) { /* between two readings of the clock on either side: no load can make it wrong */
		uint64_t a = os_mono_ns(os_real());
		struct tick t = tick_start();
		uint64_t b = os_mono_ns(os_real());
		by_clock(4000000);
		uint64_t c = os_mono_ns(os_real()), got = tick_since(t), d = os_mono_ns(os_real());
		T_OK(got + got / 500 >= c - b && got <= (d - a) + (d - a) / 500 + 1,
		        "%llu ns by the counter, by the clock between %llu and %llu", (unsigned long long)got,
		        (unsigned long long)(c - b), (unsigned long long)(d - a));
	}
	T_EQ(tick_long((uint64_t)1 << 40, 1u << TICK_SHIFT), (uint64_t)1 << 40, "a long measure at 1 ns a tick");
	T_EQ(tick_long(((uint64_t)1 << 40) + 10, 5u << (TICK_SHIFT - 1)), (((uint64_t)1 << 40) + 10) * 5 / 2,
	        "at 2.5 ns a tick");
	T_EQ(tick_long(UINT64_MAX - 5, 1u << TICK_SHIFT), 0, "a counter that went back counts nothing");
	atomic_store(&tick_rate, 0);
	tick_probe(os_real());
	return tap_done();
}
