/* debug.c - verbs for the owner alone that look after the monitors, and two that make things fail.
 *
 * stack_limits is for everybody's mount.  stack_eat and alloc_fail exist only on a mount made with `-o debug`: then a test sees on a
 * real mount what the stack monitor does when a request comes in deep, and what the daemon does when an allocation fails.  Whoever
 * mounts decides, in release builds as in others; neither verb can do more than let requests of this mount be refused.
 *
 * stack_eat goes down through frames of half a KiB, each written, until what was asked for is used; then it asks the monitor just as
 * vq_submit does.  The chain is cut out of the static check's graph (tools/indirect.txt): being deep is its purpose. */
#include <errno.h>
#include <stdatomic.h>

#include "base/thread.h"
#include "query/query.h"

static _Atomic bool debug_on;

void vq_debug_set(bool on)
{
	atomic_store(&debug_on, on);
}

static void limits_text(struct sbuf *b, const struct vq *q)
{
	(void)q; /* both are the process's */
	sb_str(b, "{\"warn\":");
	sb_u64(b, stack_limit_warn());
	sb_str(b, ",\"critical\":");
	sb_u64(b, stack_limit_critical());
	sb_str(b, ",\"left\":"); /* of this thread's stack, here */
	sb_u64(b, stack_left());
	sb_str(b, "}\n");
}

int vq_local_stack_limits(struct vq *q)
{
	uint64_t critical = q->critical == UINT64_MAX ? stack_limit_critical() : q->critical;
	uint64_t warn = q->warn == UINT64_MAX ? stack_limit_warn() : q->warn;
	if (q->critical != UINT64_MAX || q->warn != UINT64_MAX)
		VX_TRY(stack_limits((uint32_t)warn, (uint32_t)critical));
	return vq_text(q, limits_text);
}

#define EAT_BYTES 512u
#define EAT_STEPS 16u

static __attribute__((noinline)) int ask_monitor(size_t left)
{
	(void)left; /* less than a frame */
	return stack_check(2048);
}

/* one frame of EAT_BYTES, all written; then the next, or the question */
#define EATER(n, next)                                                                                                 \
	static __attribute__((noinline)) int eat_##n(size_t left)                                                      \
	{                                                                                                              \
		volatile uint8_t a[EAT_BYTES];                                                                         \
		for (size_t i = 0; i < EAT_BYTES; i++)                                                                 \
			a[i] = (uint8_t)left;                                                                          \
		int rc = left > EAT_BYTES ? next(left - EAT_BYTES) : ask_monitor(left);                                \
		return a[0] == (uint8_t)left ? rc : -EIO; /* the frame is alive until here */                          \
	}
EATER(0, ask_monitor)
EATER(1, eat_0)
EATER(2, eat_1)
EATER(3, eat_2)
EATER(4, eat_3)
EATER(5, eat_4)
EATER(6, eat_5)
EATER(7, eat_6)
EATER(8, eat_7)
EATER(9, eat_8)
EATER(10, eat_9)
EATER(11, eat_10)
EATER(12, eat_11)
EATER(13, eat_12)
EATER(14, eat_13)
EATER(15, eat_14)

static void eaten_text(struct sbuf *b, const struct vq *q)
{
	sb_str(b, "{\"bytes\":");
	sb_u64(b, q->bytes);
	sb_str(b, ",\"warned\":");
	sb_u64(b, perf_get(PERFC_stack_warned));
	sb_str(b, ",\"refused\":");
	sb_u64(b, perf_get(PERFC_stack_refused));
	sb_str(b, "}\n");
}

int vq_local_stack_eat(struct vq *q)
{
	int (*volatile eat)(size_t) = eat_15;
	if (!atomic_load(&debug_on))
		return -VX_ERR_component_off;
	if (q->bytes > EAT_BYTES * EAT_STEPS || stack_left() < q->bytes + q->bytes / 8 + 1536u)
		return -VX_ERR_bad_value;
	VX_TRY(eat((size_t)q->bytes));
	return vq_text(q, eaten_text);
}

static void alloc_text(struct sbuf *b, const struct vq *q)
{
	(void)q; /* the process's */
	int64_t waits = mem_fail_waits();
	sb_str(b, "{\"allocations\":");
	sb_u64(b, (uint64_t)mem_alloc_count());
	sb_str(b, ",\"waits\":");
	sb_u64(b, waits > 0 ? (uint64_t)waits : 0);
	sb_str(b, "}\n");
}

/* the answer is made first: its own allocations are not among those counted */
int vq_local_alloc_fail(struct vq *q)
{
	if (!atomic_load(&debug_on))
		return -VX_ERR_component_off;
	VX_TRY(vq_text(q, alloc_text));
	if (q->nth != UINT64_MAX)
		mem_fail_after(q->nth ? (int64_t)q->nth : -1);
	return 0;
}
