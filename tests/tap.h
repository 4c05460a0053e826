/* tap.h - the unit tests' whole framework: each check prints one TAP line with its value, the last line is the plan.
 * A check evaluates its arguments once. tap_done() is the test's exit status. */
#pragma once
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_n, tap_bad;

__attribute__((format(printf, 4, 5))) static inline int tap_line(
        int good, const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	printf("%s %d - ", good ? "ok" : "not ok", ++tap_n);
	vprintf(fmt, ap);
	printf(good ? "\n" : "  # %s:%d\n", file, line);
	va_end(ap);
	fflush(stdout);
	tap_bad += !good;
	return good;
}
#define T_OK(c, ...) tap_line(!!(c), __FILE__, __LINE__, __VA_ARGS__)
#define T_EQ(a, b, what)                                                                                               \
	do {                                                                                                           \
		long long t_a = (long long)(a), t_b = (long long)(b);                                                  \
		tap_line(t_a == t_b, __FILE__, __LINE__, "%s: %lld, want %lld", what, t_a, t_b);                       \
	} while (0)
#define T_STR(a, b, what)                                                                                              \
	do {                                                                                                           \
		const char *t_a = (a), *t_b = (b);                                                                     \
		tap_line(t_a &&t_b && !strcmp(t_a, t_b), __FILE__, __LINE__, "%s: \"%s\", want \"%s\"", what, t_a,     \
		        t_b);                                                                                          \
	} while (0)
#define T_NEAR(a, b, eps, what)                                                                                        \
	do {                                                                                                           \
		double t_a = (double)(a), t_b = (double)(b);                                                           \
		tap_line(fabs(t_a - t_b) <= (eps), __FILE__, __LINE__, "%s: %.9g, want %.9g", what, t_a, t_b);         \
	} while (0)
#define T_SKIP(why) (printf("ok %d # SKIP %s\n", ++tap_n, why), fflush(stdout))

/* the seed of a property test: VEXFS_SEED repeats a failed run */
static inline uint64_t tap_seed(uint64_t dflt)
{
	const char *s = getenv("VEXFS_SEED");
	uint64_t v = s ? strtoull(s, NULL, 0) : dflt;
	printf("# seed %" PRIu64 " (repeat: VEXFS_SEED=%" PRIu64 ")\n", v, v);
	return v;
}
static inline int tap_done(void)
{
	printf("1..%d\n", tap_n);
	return tap_bad ? 1 : 0;
}
