/* thread.c - service threads on stacks of our own.
 *
 * One mapping a thread: [guard][signal stack][guard][stack].  The pages that are no guard are ours to size, so a hundred threads cost what
 * they touch.  The stack's top is painted before the thread starts (8 KiB of it at most: painting touches pages); below that the
 * pages are fresh and read as zero, which serves as paint too and costs no memory.
 *
 * SIGBUS (a mapped store file that shrank or can't be read) is the one signal let in; its handler runs on the signal stack, since an
 * AVX-512 frame of 3 KB may not fit the thread's own.  Sanitizers multiply frame sizes: their builds get larger stacks.
 *
 * Registry: a list under one mutex, from before the thread runs until it is joined; then its marks go into `gone`. */
#include "base/thread.h"
#include "base/err.h"
#include "base/stack.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIG_STACK_BYTES ((size_t)16 << 10)
#define PAINT_EAGER_MAX ((size_t)8 << 10) /* of every thread there is: pages touched for nothing but the measure */

static pthread_mutex_t reg_lock = PTHREAD_MUTEX_INITIALIZER; /* guards reg and gone */
static struct thread *reg;
static uint32_t gone[2][STACK_OPS_MAX]; /* of request threads, of the engine's */
_Thread_local struct thread *stack_thread;

struct thread *thread_self(void)
{
	return stack_thread;
}

#define PROMPT_SLICE_NS 100000u /* the least the kernel takes */

void thread_prompt(void)
{
	struct { /* struct sched_attr, version 0 */
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} a = {.size = sizeof a};
	int prio = getpriority(PRIO_PROCESS, 0); /* of the calling thread, for Linux */
	a.nice = prio;
	a.runtime = PROMPT_SLICE_NS;
	(void)syscall(SYS_sched_setattr, 0, &a, 0); /* refused, or not known: as all others */
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	stack_t alt = {.ss_sp = t->low - stack_page() - SIG_STACK_BYTES, .ss_size = SIG_STACK_BYTES}, before;
	stack_thread = t;
	/* best effort, all three: a name is for people, an idle class for politeness, and without the signal stack only a SIGBUS is worse */
	(void)pthread_setname_np(pthread_self(), t->name);
	bool alted = !sigaltstack(&alt, &before);
	if (t->idle_class) {
		struct sched_param sp = {0};
		(void)sched_setscheduler(0, SCHED_IDLE, &sp);
	}
	t->fn(t->arg);
	if (alted)
		(void)sigaltstack(&before, NULL); /* a sanitizer's own; it takes it down by itself */
	stack_thread = NULL;
	return NULL;
}

static int map_stack(struct thread *t, size_t stack_bytes)
{
	size_t page = stack_page();
	if (STACK_SANITIZED)
		stack_bytes = stack_bytes * 4 + ((size_t)2 << 20); /* ThreadSanitizer's thread state alone is 0.9 MB */
	stack_bytes = (stack_bytes + page - 1) & ~(page - 1);
	size_t below = 2 * page + SIG_STACK_BYTES, all = below + stack_bytes;
	uint8_t *m = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (m == MAP_FAILED)
		return -errno;
	if (mprotect(m + page, SIG_STACK_BYTES, PROT_READ | PROT_WRITE) ||
	        mprotect(m + below, stack_bytes, PROT_READ | PROT_WRITE)) {
		int e = errno;
		munmap(m, all);
		return -e;
	}
	t->map = m;
	t->map_bytes = all;
	t->low = m + below;
	t->stack_bytes = stack_bytes;
	t->painted_bytes = stack_bytes < PAINT_EAGER_MAX ? stack_bytes : PAINT_EAGER_MAX;
	stack_fill(t->low + stack_bytes - t->painted_bytes, t->painted_bytes);
	return 0;
}
static void unmap_stack(struct thread *t)
{
	if (t->map)
		munmap(t->map, t->map_bytes);
	t->map = t->low = NULL;
	t->map_bytes = t->stack_bytes = t->painted_bytes = 0;
}

/* under reg_lock */
static void unlink_thread(struct thread *t)
{
	for (struct thread **p = &reg; *p; p = &(*p)->next)
		if (*p == t) {
			*p = t->next;
			break;
		}
	t->next = NULL;
}

static int spawn(struct thread *t)
{
	pthread_attr_t at;
	sigset_t block, old;
	int e = pthread_attr_init(&at);
	if (e)
		return e;
	e = pthread_attr_setstack(&at, t->low, t->stack_bytes);
	if (!e) {
		/* a thread inherits the mask: set here, there is no moment in which it could take a signal */
		sigfillset(&block);
		sigdelset(&block, SIGBUS);
		pthread_sigmask(SIG_SETMASK, &block, &old);
		e = pthread_create(&t->id, &at, thread_main, t);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&at);
	return e;
}

int thread_start(struct thread *t, const char *name, size_t stack_bytes, void (*fn)(void *), void *arg)
{
	bool idle = t->idle_class;
	if (!fn || stack_bytes < (size_t)PTHREAD_STACK_MIN || stack_bytes > PTRDIFF_MAX / 8)
		return -EINVAL;
	memset(t, 0, sizeof *t);
	t->idle_class = idle;
	size_t n = strlen(name);
	memcpy(t->name, name, n < THREAD_NAME_MAX ? n : THREAD_NAME_MAX - 1);
	t->canary = stack_canary_none;
	t->fn = fn;
	t->arg = arg;
	int rc = map_stack(t, stack_bytes);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&reg_lock);
	t->started = true;
	t->next = reg;
	reg = t;
	int e = spawn(t);
	if (e) {
		unlink_thread(t);
		t->started = false;
	}
	pthread_mutex_unlock(&reg_lock);
	if (e)
		unmap_stack(t);
	return -e;
}

int thread_join(struct thread *t)
{
	if (!t->started)
		return 0;
	int e = pthread_join(t->id, NULL);
	if (e)
		return -e;
	pthread_mutex_lock(&reg_lock);
	unlink_thread(t);
	t->started = false;
	for (unsigned op = 0; op < STACK_OPS_MAX; op++) {
		uint32_t h = atomic_load_explicit(&t->op_high[op], memory_order_relaxed);
		uint32_t *g = &gone[thread_of_engine(t)][op];
		*g = h > *g ? h : *g;
	}
	pthread_mutex_unlock(&reg_lock);
	unmap_stack(t);
	return 0;
}

void thread_each(void (*fn)(struct thread *t, void *u), void *u)
{
	pthread_mutex_lock(&reg_lock);
	for (struct thread *t = reg; t; t = t->next)
		fn(t, u);
	pthread_mutex_unlock(&reg_lock);
}

bool thread_of_engine(const struct thread *t)
{
	return !strncmp(t->name, "vx-", 3) && strncmp(t->name, "vx-fuse", 7) != 0;
}

uint32_t stack_op_high_ended(unsigned op, bool engine)
{
	if (op >= STACK_OPS_MAX)
		return 0;
	pthread_mutex_lock(&reg_lock);
	uint32_t high = gone[engine][op];
	pthread_mutex_unlock(&reg_lock);
	return high;
}

uint32_t stack_op_high_all(unsigned op)
{
	if (op >= STACK_OPS_MAX)
		return 0;
	pthread_mutex_lock(&reg_lock);
	uint32_t high = gone[0][op] > gone[1][op] ? gone[0][op] : gone[1][op];
	for (struct thread *t = reg; t; t = t->next) {
		uint32_t h = atomic_load_explicit(&t->op_high[op], memory_order_relaxed);
		high = h > high ? h : high;
	}
	pthread_mutex_unlock(&reg_lock);
	return high;
}
