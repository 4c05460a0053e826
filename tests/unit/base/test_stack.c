/* test_stack.c - threads on stacks of our own and their marks.
 *
 * The worker threads run a list of brackets; what each ate is known from its frame.  Marks are 0 under a sanitizer, where frames are
 * not ours: those checks are skipped there, the rest runs. */
#include "base/conf.h"
#include "base/err.h"
#include "base/os.h"
#include "base/perf.h"
#include "base/stack.h"
#include "base/thread.h"
#include "tap.h"
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARKS(x)                                                                                                       \
	do {                                                                                                           \
		if (STACK_SANITIZED)                                                                                   \
			T_SKIP("no marks under a sanitizer");                                                          \
		else                                                                                                   \
			x;                                                                                             \
	} while (0)

/* eats n bytes of stack, all written */
#define EATER(n)                                                                                                       \
	__attribute__((noinline)) static int eat_##n(int x)                                                            \
	{                                                                                                              \
		volatile char a[n];                                                                                    \
		for (int i = 0; i < n; i++)                                                                            \
			a[i] = (char)x;                                                                                \
		return a[x % n];                                                                                       \
	}
EATER(1024)
EATER(4096)
EATER(6000)
EATER(40000)

static uint32_t small_high, high4k, high4k_hint, high_after, high_nested_outer, high_nested_inner, high_second_inner,
        rare_high, rare_high_hint;
static volatile int sink;

static void brackets(void *u)
{
	struct thread *t = thread_self();
	struct stack_mark m, in;
	for (int i = 0; i < 10; i++) {
		stack_op_begin(&m);
		sink++;
		stack_op_end(&m, PERF_getattr);
	}
	small_high = t->op_high[PERF_getattr];
	stack_op_begin(&m);
	sink += eat_4096(1);
	stack_op_end(&m, PERF_read);
	high4k = t->op_high[PERF_read];
	/* a small operation after a large one must not inherit its dirt */
	for (int i = 0; i < 10; i++) {
		stack_op_begin(&m);
		sink++;
		stack_op_end(&m, PERF_statfs);
	}
	high_after = t->op_high[PERF_statfs];
	/* by hint, after 10,000 requests of another kind: the first of a rare operation is sampled */
	for (int i = 0; i < 10000; i++) {
		stack_op_begin_op(&m, PERF_getattr);
		stack_op_end(&m, PERF_getattr);
	}
	stack_op_begin_op(&m, PERF_link);
	sink += eat_4096(2);
	stack_op_end(&m, PERF_link);
	high4k_hint = t->op_high[PERF_link];
	/* deep ones among an operation seen often: every 127th is sampled */
	for (int i = 0; i < 6400; i++) {
		stack_op_begin(&m);
		sink += i > 3200 ? eat_1024(i) : 0;
		stack_op_end(&m, PERF_getattr);
	}
	rare_high = t->op_high[PERF_getattr];
	for (int i = 0; i < 6400; i++) {
		stack_op_begin_op(&m, PERF_lseek);
		sink += i > 3200 ? eat_1024(i) : 0;
		stack_op_end(&m, PERF_lseek);
	}
	rare_high_hint = t->op_high[PERF_lseek];
	/* nested: the inner one leaves the outer's mark right */
	stack_op_begin_op(&m, PERF_ioctl);
	stack_op_begin_op(&in, PERF_v_search);
	sink += eat_4096(3);
	stack_op_end(&in, PERF_v_search);
	stack_op_begin_op(&in, PERF_v_get);
	sink += eat_1024(3);
	stack_op_end(&in, PERF_v_get);
	stack_op_end(&m, PERF_ioctl);
	high_nested_inner = t->op_high[PERF_v_search];
	high_second_inner = t->op_high[PERF_v_get];
	high_nested_outer = t->op_high[PERF_ioctl];
}

/* on a request's stack: one deep request among thousands is found though it is no sample, each time one goes deeper than all before, and
 * is told of that operation and of the bracket around it alone */
static uint32_t once_high[3], once_outer, once_other;
static void once(void *u)
{
	struct thread *t = thread_self();
	struct stack_mark m, in;
	for (int i = 0; i < 5000; i++) {
		stack_op_begin_op(&m, PERF_statfs);
		stack_op_begin_op(&in, PERF_getxattr);
		if (i >= 2000 && t->op_wait[PERF_getxattr] == 5 && !once_high[0]) {
			sink += eat_1024(4);
			once_high[0] = 1;
		} else if (i >= 3000 && t->op_wait[PERF_getxattr] == 7 && !once_high[1]) {
			sink += eat_4096(4);
			once_high[1] = 1;
		} else if (i >= 4000 && t->op_wait[PERF_getxattr] == 9 && !once_high[2]) {
			sink += eat_6000(4);
			once_high[2] = 1;
		}
		stack_op_end(&in, PERF_getxattr);
		for (int k = 0; k < 3; k++)
			if (once_high[k] == 1)
				once_high[k] = t->op_high[PERF_getxattr];
		stack_op_end(&m, PERF_statfs);
		stack_op_begin_op(&m, PERF_access);
		sink++;
		stack_op_end(&m, PERF_access);
	}
	once_outer = t->op_high[PERF_statfs];
	once_other = t->op_high[PERF_access];
}

static double cost_plain, cost_sampled;
static void costs(void *u)
{
	struct thread *t = thread_self();
	struct stack_mark m;
	for (int i = 0; i < 2000; i++) { /* past the first ones, which are all sampled */
		stack_op_begin_op(&m, PERF_poll);
		stack_op_end(&m, PERF_poll);
	}
	uint64_t t0 = os_mono_ns(os_real());
	for (int i = 0; i < 100000; i++) {
		t->op_wait[PERF_poll] = 65;
		stack_op_begin_op(&m, PERF_poll);
		stack_op_end(&m, PERF_poll);
	}
	cost_plain = (double)(os_mono_ns(os_real()) - t0) / 100000;
	t0 = os_mono_ns(os_real());
	for (int i = 0; i < 10000; i++) {
		t->op_wait[PERF_poll] = 0; /* one of the samples */
		stack_op_begin_op(&m, PERF_poll);
		stack_op_end(&m, PERF_poll);
	}
	cost_sampled = (double)(os_mono_ns(os_real()) - t0) / 10000;
}

static int check_limits, check_limits_bad, check_shallow, check_deep, check_need, check_no_bracket, check_limited;
static size_t left_top, left_deep, used_deep;
__attribute__((noinline)) static int deep_check(struct stack_mark *m)
{
	volatile char a[7000];
	a[0] = a[6999] = 1;
	__asm__ volatile("" : : "r"(a) : "memory"); /* the array must be there */
	int rc = stack_check(100);
	used_deep = stack_used_below(m);
	left_deep = stack_left();
	return rc + 0 * a[0];
}
static void checks(void *u)
{
	struct stack_mark m;
	check_no_bracket = stack_check(100);
	left_top = stack_left();
	stack_op_begin(&m);
	check_shallow = stack_check(100);
	check_deep = deep_check(&m);
	check_need = stack_check(1 << 30);
	stack_op_end(&m, PERF_v_put);
	check_limits = stack_limits(256, 12000);
	check_limits_bad = stack_limits(5000, 4000) + stack_limits(100, 4000) + stack_limits(4096, 16000);
	stack_op_begin(&m);
	check_limited = deep_check(&m);
	stack_op_end(&m, PERF_v_put);
	stack_limits(CONF_STACK_WARN, CONF_STACK_CRITICAL);
}

static uint32_t whole_high;
static void eat_40000_thread(void *u)
{
	sink += eat_40000(1);
	whole_high = thread_stack_high(thread_self());
}

static sigset_t mask;
static stack_t alt;
static int policy;
static char name[32];
static void look(void *u)
{
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	sigaltstack(NULL, &alt);
	policy = sched_getscheduler(0);
	pthread_getname_np(pthread_self(), name, sizeof name);
}

static pthread_barrier_t bar;
static void park(void *u)
{
	pthread_barrier_wait(&bar);
	pthread_barrier_wait(&bar);
}
static void count(struct thread *t, void *u)
{
	int *n = u;
	*n += !strcmp(t->name, "park");
}

static void on_bus(int sig, siginfo_t *si, void *uc)
{
	char here;
	stack_t now;
	sigaltstack(NULL, &now);
	_exit((char *)&here > (char *)alt.ss_sp && &here < (char *)alt.ss_sp + alt.ss_size &&
	                        (now.ss_flags & SS_ONSTACK)
	                ? 42
	                : 43);
}
static void bus(void *u)
{
	sigaltstack(NULL, &alt);
	*(volatile char *)u = 1;
}
static void overrun(void *u)
{
	volatile char *p = (volatile char *)thread_self()->low;
	p[0] = 1;
	p[-1] = 1;
}
static int child(void (*fn)(void *), void *arg)
{
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		static struct thread t;
		struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
		sigaction(SIGBUS, &sa, NULL);
		signal(SIGSEGV, SIG_DFL);
		thread_start(&t, "child", 32768, fn, arg);
		thread_join(&t);
		_exit(0);
	}
	int st = 0;
	waitpid(pid, &st, 0);
	return st;
}

static void bracket_marks(void)
{
	MARKS(T_OK(small_high <= 512, "an empty operation: %u bytes", small_high));
	MARKS(T_OK(high4k >= 4096 && high4k < 4096 + 512, "4,096 bytes eaten: %u", high4k));
	MARKS(T_OK(high_after <= 512, "an empty one after it: %u", high_after));
	MARKS(T_OK(high4k_hint >= 4096 && high4k_hint < 4096 + 512, "first of a rare operation, known beforehand: %u",
	        high4k_hint));
	MARKS(T_OK(
	        rare_high >= 1024 && rare_high < 1024 + 512, "a frequent operation is still sampled: %u", rare_high));
	MARKS(T_OK(rare_high_hint >= 1024 && rare_high_hint < 1024 + 512, "known beforehand too: %u", rare_high_hint));
	MARKS(T_OK(high_nested_outer >= 4096 && high_nested_outer < 4096 + 700, "outer of two brackets: %u",
	        high_nested_outer));
	MARKS(T_OK(high_nested_inner >= 4096 && high_nested_inner < 4096 + 512, "its first inner one: %u",
	        high_nested_inner));
	MARKS(T_OK(high_second_inner >= 1024 && high_second_inner < 1024 + 512, "its second inner one: %u",
	        high_second_inner));
	MARKS(T_OK(stack_op_high_all(PERF_read) == high4k, "marks of a finished thread are kept: %u",
	        stack_op_high_all(PERF_read)));
}

int main(void)
{
	static struct thread t, many[3];
	T_EQ(thread_start(&t, "x", 100, look, NULL), -EINVAL, "a stack of 100 bytes");
	T_EQ(thread_join(&t), 0, "joining a thread never started");
	T_OK(!thread_self() && stack_left() == SIZE_MAX && stack_check(1 << 30) == 0,
	        "a foreign thread has no marks and no limits");

	T_EQ(thread_start(&t, "a-name-longer-than-15", 65536, look, NULL), 0, "start");
	thread_join(&t);
	T_STR(name, "a-name-longer-t", "the name, cut");
	int open_signals = 0;
	for (int s = 1; s < 32; s++)
		open_signals += !sigismember(&mask, s) && s != SIGKILL && s != SIGSTOP;
	T_OK(!sigismember(&mask, SIGBUS) && sigismember(&mask, SIGTERM) && sigismember(&mask, SIGUSR1) &&
	                open_signals == 1,
	        "only SIGBUS comes in: %d signals do", open_signals);
	T_EQ(alt.ss_size, 16384, "a signal stack of 16 KiB");
	T_OK(policy == SCHED_OTHER, "ordinary class");
	sigset_t mine;
	pthread_sigmask(SIG_SETMASK, NULL, &mine);
	T_OK(!sigismember(&mine, SIGTERM), "the starter's own mask is as it was");
	t.idle_class = true;
	thread_start(&t, "idle", 65536, look, NULL);
	thread_join(&t);
	T_EQ(policy, SCHED_IDLE, "the idle class");
	t.idle_class = false;

	T_EQ(thread_start(&t, "fuse", CONF_FUSE_STACK, checks, NULL), 0, "a FUSE worker's 16 KiB are enough to run");
	thread_join(&t);
	MARKS(T_OK(left_top > 9000 && left_top < 16384, "of which %zu are left at its entry", left_top));

	for (int small = 0; small < 2; small++) {
		printf("# brackets on a %s stack\n", small ? "request's" : "larger");
		T_EQ(thread_start(&t, "marks", small ? CONF_FUSE_STACK : 65536, brackets, NULL), 0, "brackets");
		thread_join(&t);
		bracket_marks();
	}
	T_EQ(stack_op_high_all(PERF_symlink), 0, "an operation never seen");
	T_EQ(stack_op_high_all(100000), 0, "no operation");

	thread_start(&t, "once", CONF_FUSE_STACK, once, NULL);
	thread_join(&t);
	MARKS(T_OK(once_high[0] >= 1024 && once_high[0] < 1024 + 512, "one request of 1,024: %u", once_high[0]));
	MARKS(T_OK(once_high[1] >= 4096 && once_high[1] < 4096 + 512, "one of 4,096: %u", once_high[1]));
	MARKS(T_OK(once_high[2] >= 6000 && once_high[2] < 6000 + 512, "one of 6,000: %u", once_high[2]));
	MARKS(T_OK(once_outer >= once_high[2] && once_outer < 6000 + 700, "the bracket around it: %u", once_outer));
	MARKS(T_OK(once_other <= 512, "not the one after it: %u", once_other));
	uint64_t refused = perf_get(PERFC_stack_refused), warned = perf_get(PERFC_stack_warned);
	thread_start(&t, "checks", CONF_FUSE_STACK, checks, NULL);
	thread_join(&t);
	T_EQ(check_no_bracket, 0, "no bracket, room left: passes");
	T_EQ(check_shallow, 0, "shallow: passes");
	MARKS(T_EQ(check_deep, -VX_ERR_stack_risk, "7,000 bytes down: refused"));
	T_EQ(check_need, -VX_ERR_stack_risk, "needing more than is left: refused");
	MARKS(T_EQ(check_limited, 0, "under limits of 100 and 20,000: passes"));
	MARKS(T_OK(used_deep >= 7000 && used_deep < 7500, "used below the bracket: %zu", used_deep));
	MARKS(T_OK(left_top - left_deep >= 7000 && left_top - left_deep < 7600, "left shrank by %zu",
	        left_top - left_deep));
	MARKS(T_OK(perf_get(PERFC_stack_refused) - refused == 2, "both refusals counted: %llu",
	        (unsigned long long)(perf_get(PERFC_stack_refused) - refused)));
	MARKS(T_OK(perf_get(PERFC_stack_warned) > warned, "the warning counted"));

	T_EQ(check_limits, 0, "other limits are taken");
	T_EQ(check_limits_bad, -3 * VX_ERR_bad_value,
	        "not the warning above the other, none too small, none into the reserve");
	thread_start(&t, "costs", CONF_FUSE_STACK, costs, NULL);
	thread_join(&t);
	thread_start(&t, "deep", 131072, eat_40000_thread, NULL);
	thread_join(&t);
	MARKS(T_OK(whole_high >= 40000 && whole_high < 40000 + 8192, "high-water mark past the eager paint: %u",
	        whole_high));

	pthread_barrier_init(&bar, NULL, 4);
	for (int i = 0; i < 3; i++)
		thread_start(&many[i], "park", 32768, park, NULL);
	pthread_barrier_wait(&bar);
	int n = 0;
	thread_each(count, &n);
	T_EQ(n, 3, "living threads visited");
	MARKS(T_OK(thread_stack_high(&many[0]) > 200 && thread_stack_high(&many[0]) < 16384,
	        "mark of a living thread: %u", thread_stack_high(&many[0])));
	pthread_barrier_wait(&bar);
	for (int i = 0; i < 3; i++)
		thread_join(&many[i]);
	n = 0;
	thread_each(count, &n);
	T_EQ(n, 0, "none after joining");
	T_EQ(thread_stack_high(&many[0]), 0, "a joined thread has no stack");

	printf("# bracket: %.0f ns unsampled, %.0f ns sampled\n", cost_plain, cost_sampled);

	/* a map behind its file's end: SIGBUS on the signal stack */
	char path[] = "/tmp/vx-test-bus-XXXXXX";
	int fd = mkstemp(path);
	void *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int st = child(bus, m);
	T_OK(WIFEXITED(st) && WEXITSTATUS(st) == 42, "SIGBUS is handled on the signal stack: status %x", st);
	unlink(path);
	if (STACK_SANITIZED) {
		T_SKIP("the sanitizer reports the guard itself");
	} else {
		st = child(overrun, NULL);
		T_OK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV,
		        "the page below the stack may not be touched: status %x", st);
	}
	return tap_done();
}
