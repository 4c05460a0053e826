/* stack.c - how deep a thread's stack went, for its life and for each operation.
 *
 * A bracket's base is the stack pointer of its caller.  A sampled bracket paints the stack from a little below the base (what the calls of
 * begin and end themselves use) down to the window's end, and on leaving looks for the lowest byte that lost its paint.  The window is
 * 32 KiB: deeper use is reported as the window, which is far over every limit, and no large stack is touched only to be measured.
 *
 * Frames leave gaps (arrays never written), so a mark is the deepest byte written, which is what the limits are about.
 *
 * Under a sanitizer frames are several times larger and partly elsewhere: nothing is painted, marks stay 0, and stack_check looks at the
 * room left alone. */
#include "base/stack.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/event.h"
#include "base/log.h"
#include "base/perf.h"
#include "base/thread.h"

#include <unistd.h>

#define WINDOW_BYTES ((size_t)32 << 10)
#define OWN_BYTES    256 /* below the base: the frames of begin, end and the painter, and the red zone */
#define GUARD_BYTES  64 /* not painted above the guard */
#define SAMPLE_FIRST 1024 /* of the process: workers come and go, and each would begin anew */
#define SAMPLE_WARM  256
#define SAMPLE_EVERY 61 /* a prime: requests that come in a rhythm are all met */

#define NO_SANITIZE __attribute__((no_sanitize("address"), noinline))

static _Atomic uint32_t limit_warn = CONF_STACK_WARN, limit_critical = CONF_STACK_CRITICAL;
static _Atomic bool told_near, told_refused, told_deep; /* one line each: the counters say how often */

static void tell_once(_Atomic bool *told, enum log_level level, const char *text, size_t bytes)
{
	if (atomic_exchange_explicit(told, true, memory_order_relaxed))
		return;
	log_kv(level, text, "bytes", bytes);
	event_post("stack", text, bytes);
}

size_t stack_page(void)
{
	long n = sysconf(_SC_PAGESIZE);
	return n > 0 ? (size_t)n : 4096;
}

/* No call may be made in here on a stack being painted: hence a loop and not memset, over a volatile pointer lest it become one. */
NO_SANITIZE void stack_fill(uint8_t *low, size_t n)
{
	volatile uint64_t *w = (volatile uint64_t *)(void *)low;
	for (size_t i = 0; i < n / 8; i++)
		w[i] = STACK_PAINT;
}

/* bytes from low to the first one not holding `paint`; n: all do */
NO_SANITIZE static size_t intact(const uint8_t *low, size_t n, uint64_t paint)
{
	const uint64_t *w = (const uint64_t *)(const void *)low;
	__asm__ volatile("" : : "r"(w) : "memory"); /* others' frames: not what the compiler thinks is there */
	size_t i = 0, words = n / 8;
	for (; i + 4 <= words; i += 4) /* four at a time: a scan is as long as the window */
		if (((w[i] ^ paint) | (w[i + 1] ^ paint) | (w[i + 2] ^ paint) | (w[i + 3] ^ paint)) != 0)
			break;
	while (i < words && w[i] == paint)
		i++;
	return i * 8;
}

uint32_t thread_stack_high(const struct thread *t)
{
	if (!t->low)
		return 0;
	size_t fresh = t->stack_bytes - t->painted_bytes;
	size_t good = intact(t->low, fresh, 0);
	if (good == fresh)
		good += intact(t->low + fresh, t->painted_bytes, STACK_PAINT);
	return (uint32_t)(t->stack_bytes - good);
}

/* Paints below the running frame.  The room between `top` and this function's own frame is OWN_BYTES or more. */
NO_SANITIZE static void paint_below(struct stack_mark *m, const struct thread *t)
{
	uint8_t *top = m->base - OWN_BYTES, *here = (uint8_t *)__builtin_frame_address(0) - 144;
	if (top > here)
		top = here;
	uint8_t *low = t->low + GUARD_BYTES;
	if (top <= low)
		return;
	if ((size_t)(top - low) > WINDOW_BYTES)
		low = top - WINDOW_BYTES;
	low = (uint8_t *)(((uintptr_t)low + 7) & ~(uintptr_t)7);
	volatile uint64_t *w = (volatile uint64_t *)(void *)low;
	for (size_t n = (size_t)(top - low) / 8; n; n--)
		*w++ = STACK_PAINT;
	m->low = low;
}

static uint32_t seen(const struct thread *t, unsigned op)
{
	return op < STACK_OPS_MAX ? atomic_load_explicit(&t->op_seen[op], memory_order_relaxed) : 0;
}

/* how often an operation was seen by all threads, as far as SAMPLE_FIRST */
static _Atomic uint32_t first_seen[STACK_OPS_MAX];

static bool is_first(unsigned op)
{
	return op < STACK_OPS_MAX && atomic_load_explicit(&first_seen[op], memory_order_relaxed) < SAMPLE_FIRST;
}

/* lowest byte below a sampled bracket that lost its paint */
static uint8_t *lowest_touched(const struct stack_mark *m)
{
	size_t all = (size_t)(m->base - m->low);
	return m->low + intact(m->low, (all - OWN_BYTES) & ~(size_t)7, STACK_PAINT);
}
static void note_deep(struct stack_mark *m, uint8_t *p)
{
	if (!m->deep || p < m->deep)
		m->deep = p;
}

NO_SANITIZE static void begin(struct stack_mark *m, struct thread *t, uint8_t *base, bool sample)
{
	m->base = base;
	m->outer = t->running;
	t->running = m;
	m->sampled = sample && !STACK_SANITIZED;
	/* our paint covers what outer brackets have to show so far: note it for them first */
	if (m->sampled)
		for (struct stack_mark *o = m->outer; o; o = o->outer)
			if (o->low)
				note_deep(o, lowest_touched(o));
	if (m->sampled)
		paint_below(m, t);
}

NO_SANITIZE void stack_op_begin(struct stack_mark *m)
{
	struct thread *t = thread_self();
	*m = (struct stack_mark){0};
	if (!t)
		return;
	bool sample = t->warm || !(t->brackets % SAMPLE_EVERY);
	t->brackets++;
	t->warm -= !!t->warm;
	begin(m, t, (uint8_t *)__builtin_frame_address(0) + 2 * sizeof(void *), sample);
}

NO_SANITIZE void stack_op_begin_op(struct stack_mark *m, unsigned op)
{
	struct thread *t = thread_self();
	*m = (struct stack_mark){0};
	if (!t)
		return;
	uint32_t n = seen(t, op);
	t->brackets++;
	begin(m, t, (uint8_t *)__builtin_frame_address(0) + 2 * sizeof(void *), is_first(op) || !(n % SAMPLE_EVERY));
}

void stack_op_end(struct stack_mark *m, unsigned op)
{
	struct thread *t = thread_self();
	if (!t || !m->base)
		return;
	t->running = m->outer;
	if (op >= STACK_OPS_MAX)
		return;
	uint32_t n = atomic_load_explicit(&t->op_seen[op], memory_order_relaxed);
	if (n < UINT32_MAX)
		atomic_store_explicit(&t->op_seen[op], n + 1, memory_order_relaxed);
	if (is_first(op)) {
		atomic_fetch_add_explicit(&first_seen[op], 1, memory_order_relaxed);
		t->warm = SAMPLE_WARM;
	}
	if (!m->sampled || !m->low)
		return;
	note_deep(m, lowest_touched(m));
	for (struct stack_mark *o = m->outer; o; o = o->outer)
		if (o->low)
			note_deep(o, m->deep);
	uint32_t used = (uint32_t)(m->base - m->deep);
	if (used > atomic_load_explicit(&t->op_high[op], memory_order_relaxed))
		atomic_store_explicit(&t->op_high[op], used, memory_order_relaxed);
	/* only the threads that FUSE requests come in on are held to the limits; others have stacks of their own size */
	if (t->stack_bytes <= CONF_FUSE_STACK && used > atomic_load_explicit(&limit_critical, memory_order_relaxed)) {
		perf_add(PERFC_stack_warned, 1);
		tell_once(&told_deep, LOGL_warn, "an operation went deeper than the critical mark of the stack", used);
	}
}

__attribute__((noinline)) size_t stack_used_below(const struct stack_mark *m)
{
	uint8_t *here = __builtin_frame_address(0);
	return m->base && m->base > here ? (size_t)(m->base - here) : 0;
}

__attribute__((noinline)) size_t stack_left(void)
{
	const struct thread *t = thread_self();
	uint8_t *here = __builtin_frame_address(0);
	if (!t)
		return SIZE_MAX;
	return here > t->low ? (size_t)(here - t->low) : 0;
}

int stack_limits(uint32_t warn, uint32_t critical)
{
	if (warn < CONF_STACK_LIMIT_MIN || warn > critical || critical > CONF_FUSE_STACK - CONF_STACK_RESERVE)
		return -VX_ERR_bad_value;
	atomic_store(&limit_warn, warn);
	atomic_store(&limit_critical, critical);
	atomic_store(&told_near, false); /* with other limits it is another matter: said again */
	atomic_store(&told_refused, false);
	atomic_store(&told_deep, false);
	return 0;
}
uint32_t stack_limit_warn(void)
{
	return atomic_load(&limit_warn);
}
uint32_t stack_limit_critical(void)
{
	return atomic_load(&limit_critical);
}

int stack_check(size_t need)
{
	const struct thread *t = thread_self();
	if (!t)
		return 0;
	size_t used = t->running && !STACK_SANITIZED ? stack_used_below(t->running) : 0;
	size_t left = stack_left();
	/* the engine's own threads have stacks of another size: for them only what is left counts */
	bool held = t->stack_bytes <= CONF_FUSE_STACK;
	if ((held && used > atomic_load_explicit(&limit_critical, memory_order_relaxed)) || left < need) {
		perf_add(PERFC_stack_refused, 1);
		tell_once(&told_refused, LOGL_error, "stack: a vector request was refused, too little is left", used);
		return -VX_ERR_stack_risk;
	}
	if (held && used > atomic_load_explicit(&limit_warn, memory_order_relaxed)) {
		perf_add(PERFC_stack_warned, 1);
		tell_once(&told_near, LOGL_warn, "stack: a vector request came in above the warning mark", used);
	}
	return 0;
}
