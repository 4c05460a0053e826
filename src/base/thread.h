/* thread.h - service threads on stacks of our own: mapped, guarded by a page that may not be touched, painted, measured.
 *
 * A thread's stack is filled with a pattern when made.  The deepest byte ever overwritten is its high-water mark.  For marks per
 * operation a worker brackets each request with stack_op_begin/end: a sampled request (the first 1,024 of an operation in the process, then
 * every 127th of a thread) repaints the stack below the bracket before it runs and scans it after.  The others look at four words just below
 * the deepest byte the thread ever touched: whoever goes deeper than all before is found at once, sampled or not.  An entry refuses work
 * when too little is left (stack_left): a code, never a crash. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THREAD_NAME_MAX 16
#define STACK_OPS_MAX   160 /* ids of operations: base/perf.h's enum perf_op */

struct thread {
	char name[THREAD_NAME_MAX];
	pthread_t id;
	uint8_t *map; /* guard, signal stack, guard, stack (its low end is `low`) */
	size_t map_bytes, stack_bytes;
	uint8_t *low; /* lowest byte of the stack; the page below is the guard */
	size_t painted_bytes; /* of the stack's top; below it untouched pages read as zero */
	void (*fn)(void *);
	void *arg;
	bool started;
	bool idle_class; /* run under SCHED_IDLE */
	struct thread *next; /* registry */
	struct stack_mark *running; /* innermost bracket; the thread's own */
	uint32_t brackets, warm; /* count of brackets; the next `warm` of them are sampled */
	const uint64_t *canary; /* all paint from the window's end up to here: the thread never went deeper */
	_Atomic uint32_t op_high[STACK_OPS_MAX]; /* bytes below the bracket, by operation */
	uint32_t op_wait[STACK_OPS_MAX]; /* so many requests until the next sample; the thread's own */
};
/* thread_start - @stack_bytes >= PTHREAD_STACK_MIN, rounded up to pages. All signals but SIGBUS are blocked in it.
 * @t zeroed but for idle_class; must stay in place until thread_join.  Return 0 or -errno. */
int thread_start(struct thread *t, const char *name, size_t stack_bytes, void (*fn)(void *), void *arg);
/* thread_prompt - the calling thread runs briefly and somebody waits for it: its turns are short, and for that it gets them at once, ahead of
 * threads that compute (Linux 6.12 and newer; elsewhere nothing changes) */
void thread_prompt(void);
int thread_join(struct thread *t); /* takes never-started ones; frees the stack */
uint32_t thread_stack_high(const struct thread *t); /* bytes ever used, from the stack's top */
struct thread *thread_self(void); /* NULL on threads not started here */
/* visit all live threads under the registry's lock */
void thread_each(void (*fn)(struct thread *t, void *u), void *u);

/* brackets; ids from perf.h. begin returns a token for end. On threads not ours both do nothing. */
struct stack_mark {
	uint8_t *base;
	struct stack_mark *outer; /* brackets nest, each is measured from its own base */
	uint8_t *deep; /* lowest byte known to be touched; NULL: none */
	uint32_t kind; /* stack.c's */
};
/* Without knowing the operation, a request is sampled when one of the last 256 on this thread was of an operation seen fewer than 1,024
 * times, and every 127th.  With it (stack_op_begin_op), the operation's own count decides. */
void stack_op_begin(struct stack_mark *m);
void stack_op_begin_op(struct stack_mark *m, unsigned op);
void stack_op_end(
        struct stack_mark *m, unsigned op); /* the op may be known only now; records into thread_self()->op_high */
size_t stack_used_below(const struct stack_mark *m); /* bytes between the bracket and this frame */
size_t stack_left(void); /* bytes from this frame down to the guard; SIZE_MAX on foreign threads */
/* stack_check - at the entry of vector verbs: 0, or -VX_ERR_stack_risk when the bytes used below the running bracket exceed the
 * critical limit or less than `need` bytes are left.  Warnings are counted (perf). */
int stack_check(size_t need);
/* stack_limits - set both marks, bytes below the bracket. 0; -VX_ERR_bad_value: not CONF_STACK_LIMIT_MIN <= warn <= critical <= a FUSE
 * stack less CONF_STACK_RESERVE */
int stack_limits(uint32_t warn, uint32_t critical);
uint32_t stack_limit_warn(void);
uint32_t stack_limit_critical(void);
uint32_t stack_op_high_all(unsigned op); /* over all threads, ended ones included */
/* The marks that ended threads have left, of those whose name begins with "vx-" (the engine's) or of all others (requests'): workers
 * come and go, and what one of them found must not go with it. */
uint32_t stack_op_high_ended(unsigned op, bool engine);
bool thread_of_engine(const struct thread *t);
