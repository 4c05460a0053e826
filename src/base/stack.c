/* stack.c - how deep a thread's stack went, for its life and for each operation.
 *
 * A bracket's base is the stack pointer of its caller.  A sampled bracket paints the stack from a little below the base (what the calls of
 * begin and end themselves use) down to the window's end, and on leaving looks for the lowest byte that lost its paint.  The window is
 * 32 KiB: deeper use is reported as the window, which is far over every limit, and no large stack is touched only to be measured.
 *
 * On a request's thread all below the deepest byte ever touched keeps its paint.  So a sample paints only what lies above that, and every
 * other bracket looks at four words just below it (the canary) when it ends: four compares, and a new deepest is found when it happens.
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

#include <assert.h>
#include <unistd.h>

#define WINDOW_BYTES ((size_t)32 << 10)
#define OWN_BYTES    256 /* below the base: the frames of begin, end and the painter, and the red zone */
#define GUARD_BYTES  64 /* not painted above the guard */
#define SAMPLE_FIRST 1024 /* of the process: workers come and go, and each would begin anew */
#define SAMPLE_WARM  256
#define SAMPLE_EVERY 127 /* a prime: requests that come in a rhythm are all met */
#define GAP_MAX      ((size_t)1024) /* no frame of a FUSE thread is larger (tools/check_stack.py) */
#define LINE_BYTES   64

enum { KIND_plain, KIND_unknown, KIND_sampled };
typedef uint64_t half __attribute__((vector_size(16), may_alias));
struct line {
	half h[4];
};
static_assert(sizeof(struct line) == LINE_BYTES, "paint goes by lines");

static const uint64_t no_marks[8] = {
        STACK_PAINT, STACK_PAINT, STACK_PAINT, STACK_PAINT, STACK_PAINT, STACK_PAINT, STACK_PAINT, STACK_PAINT};
const uint64_t *const stack_canary_none = no_marks + 8;

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

/* where the paint of a thread's brackets ends: the window below `top` */
static uint8_t *window_low(const struct thread *t, const uint8_t *top)
{
	uint8_t *low = t->low + GUARD_BYTES;
	size_t room = top > low ? (size_t)(top - low) : 0;
	if (room > WINDOW_BYTES)
		low += room - WINDOW_BYTES;
	return (uint8_t *)(((uintptr_t)low + LINE_BYTES - 1) & ~(uintptr_t)(LINE_BYTES - 1));
}

/* Paints from `low` up to the running frame.  The room between `top` and this function's own frame is OWN_BYTES or more. */
NO_SANITIZE static void paint_below(uint8_t *base, uint8_t *low)
{
	uint8_t *top = base - OWN_BYTES, *here = (uint8_t *)__builtin_frame_address(0) - 144;
	if (top > here)
		top = here;
	volatile struct line *w = (volatile struct line *)(void *)low;
	const half paint = {STACK_PAINT, STACK_PAINT};
	for (size_t n = top > low ? (size_t)(top - low) / LINE_BYTES : 0; n; n--, w++) {
		w->h[0] = paint;
		w->h[1] = paint;
		w->h[2] = paint;
		w->h[3] = paint;
	}
	for (volatile uint64_t *q = (volatile uint64_t *)(volatile void *)w; (uint8_t *)(uintptr_t)q < top; q++)
		*q = STACK_PAINT;
}

/* how often an operation was seen by all threads, as far as SAMPLE_FIRST */
static _Atomic uint32_t first_seen[STACK_OPS_MAX];

static bool is_first(unsigned op)
{
	return op < STACK_OPS_MAX && atomic_load_explicit(&first_seen[op], memory_order_relaxed) < SAMPLE_FIRST;
}

/* The lowest byte below a bracket that lost its paint.  All below the canary is paint, or some request has gone deeper than any before: a frame
 * is smaller than GAP_MAX, so that one has left something within GAP_MAX below. */
static inline uint8_t *lowest_touched(struct thread *t, const uint8_t *base)
{
	uint8_t *low = window_low(t, base), *top = (uint8_t *)(uintptr_t)(base - OWN_BYTES);
	const uint8_t *can = (const uint8_t *)t->canary;
	if (top <= low)
		return top;
	uint8_t *from = low;
	if (t->canary != stack_canary_none && can > low + GAP_MAX && can <= top)
		from = (uint8_t *)((uintptr_t)(can - GAP_MAX) & ~(uintptr_t)(LINE_BYTES - 1));
	uint8_t *p = from + intact(from, (size_t)(top - from) & ~(size_t)7, STACK_PAINT);
	if (from > low && p < can)
		p = low + intact(low, (size_t)(top - low) & ~(size_t)7, STACK_PAINT);
	return p;
}
static void note_deep(struct stack_mark *m, uint8_t *p)
{
	for (; m; m = m->outer)
		if (!m->deep || p < m->deep)
			m->deep = p;
}
static bool canary_dead(const struct thread *t)
{
	const uint64_t *w = t->canary;
	return w[-1] != STACK_PAINT || w[-3] != STACK_PAINT || w[-5] != STACK_PAINT || w[-8] != STACK_PAINT;
}
/* what was touched is noted for all brackets that are open, and becomes the deepest when it is */
static inline void look(struct thread *t, struct stack_mark *m)
{
	uint8_t *p = lowest_touched(t, m->base);
	note_deep(m, p);
	if (t->stack_bytes >
	        CONF_FUSE_STACK) /* much runs outside of brackets there: who went deeper could not be told */
		return;
	if (t->canary == stack_canary_none || p < (const uint8_t *)t->canary)
		t->canary = p >= window_low(t, m->base) + LINE_BYTES ? (const uint64_t *)(const void *)p
		                                                     : stack_canary_none;
}

/* A sampled bracket begins.  Our paint covers what outer ones have to show so far: noted for them first. */
NO_SANITIZE static void sample_begin(struct stack_mark *m, struct thread *t)
{
	if (STACK_SANITIZED)
		return;
	struct stack_mark *o = m->outer;
	m->kind = KIND_sampled;
	uint8_t *low = window_low(t, m->base);
	if (!canary_dead(t))
		while (o && o->kind != KIND_sampled)
			o = o->outer;
	if (o)
		look(t, o);
	const uint8_t *can = (const uint8_t *)t->canary;
	if (t->canary != stack_canary_none && !canary_dead(t) && can > low && can < m->base)
		low = (uint8_t *)((uintptr_t)can & ~(uintptr_t)(LINE_BYTES - 1)); /* below it all is paint */
	else
		t->canary = stack_canary_none;
	paint_below(m->base, low);
}

NO_SANITIZE void stack_op_begin(struct stack_mark *m)
{
	struct thread *t = stack_thread;
	m->base = NULL;
	if (!t)
		return;
	bool sample = t->warm || !(t->brackets % SAMPLE_EVERY);
	t->brackets++;
	t->warm -= !!t->warm;
	m->base = (uint8_t *)__builtin_frame_address(0) + 2 * sizeof(void *);
	m->outer = t->running;
	m->deep = NULL;
	m->kind = KIND_unknown;
	t->running = m;
	if (sample)
		sample_begin(m, t);
}

/* an operation's turn to be sampled has come */
NO_SANITIZE static __attribute__((noinline)) void turn(struct stack_mark *m, struct thread *t, unsigned op)
{
	if (op >= STACK_OPS_MAX)
		return;
	t->op_wait[op] = is_first(op) ? 0 : SAMPLE_EVERY - 1;
	sample_begin(m, t);
}

NO_SANITIZE void stack_op_begin_op(struct stack_mark *m, unsigned op)
{
	struct thread *t = stack_thread;
	m->base = NULL;
	if (!t)
		return;
	m->base = (uint8_t *)__builtin_frame_address(0) + 2 * sizeof(void *);
	m->outer = t->running;
	m->deep = NULL;
	m->kind = KIND_plain;
	t->running = m;
	if (op < STACK_OPS_MAX && t->op_wait[op])
		t->op_wait[op]--;
	else
		turn(m, t, op);
}

/* the end of a bracket that was sampled, or went deeper than all before, or whose operation is only known now */
static __attribute__((noinline)) void record(struct stack_mark *m, struct thread *t, unsigned op)
{
	bool dead = canary_dead(t);
	if (op >= STACK_OPS_MAX)
		return;
	if (m->kind != KIND_plain && is_first(op)) {
		atomic_fetch_add_explicit(&first_seen[op], 1, memory_order_relaxed);
		t->warm = SAMPLE_WARM;
	}
	if (m->kind == KIND_sampled || dead)
		look(t, m);
	if (!m->deep)
		return;
	uint32_t used = (uint32_t)(m->base - m->deep);
	if (used > atomic_load_explicit(&t->op_high[op], memory_order_relaxed))
		atomic_store_explicit(&t->op_high[op], used, memory_order_relaxed);
	/* only the threads that FUSE requests come in on are held to the limits; others have stacks of their own size */
	if (t->stack_bytes <= CONF_FUSE_STACK && used > atomic_load_explicit(&limit_critical, memory_order_relaxed)) {
		perf_add(PERFC_stack_warned, 1);
		tell_once(&told_deep, LOGL_warn, "an operation went deeper than the critical mark of the stack", used);
	}
}

NO_SANITIZE void stack_op_end(struct stack_mark *m, unsigned op)
{
	struct thread *t = stack_thread;
	if (!m->base)
		return;
	t->running = m->outer;
	if (m->kind != KIND_plain || m->deep || canary_dead(t))
		record(m, t, op);
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
