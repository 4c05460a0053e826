/* test_wq.c - the work queue: order, limit, timeouts, closing, four threads. */
#include "base/err.h"
#include "base/os.h"
#include "base/thread.h"
#include "base/wq.h"
#include "tap.h"
#include <sched.h>

struct job {
	int from, seq;
	struct wq_item item;
};
#define PER 20000
static struct job jobs[2][PER];
static struct wq q;
static _Atomic int taken, order_bad, pushed_again;
static int seen[2][PER];
static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;

static void producer(void *u)
{
	int me = (int)(intptr_t)u;
	for (int i = 0; i < PER; i++) {
		jobs[me][i].from = me;
		jobs[me][i].seq = i;
		while (wq_push(&q, &jobs[me][i].item) == -VX_ERR_queue_full) {
			pushed_again++;
			sched_yield();
		}
	}
}
static void consumer(void *u)
{
	int last[2] = {-1, -1};
	struct wq_item *it;
	while (wq_pop(&q, WQ_FOREVER, &it) == 1) {
		struct job *j = WQ_OF(it, struct job, item);
		/* one consumer sees each producer's items in order */
		order_bad += j->seq <= last[j->from];
		last[j->from] = j->seq;
		pthread_mutex_lock(&seen_lock);
		seen[j->from][j->seq]++;
		pthread_mutex_unlock(&seen_lock);
		taken++;
	}
}
static int late_rc;
static void waiter(void *u)
{
	struct wq_item *it;
	late_rc = wq_pop(&q, WQ_FOREVER, &it);
}

int main(void)
{
	struct wq_item *it = NULL;
	struct job a = {.seq = 1}, b = {.seq = 2}, c = {.seq = 3};
	T_EQ(wq_init(&q, 0), -EINVAL, "a limit of none");
	T_EQ(wq_init(&q, 2), 0, "a limit of two");
	T_EQ(wq_pop(&q, 0, &it), 0, "empty, not waiting");
	T_EQ(wq_push(&q, &a.item), 0, "first");
	T_EQ(wq_push(&q, &b.item), 0, "second");
	T_EQ(wq_push(&q, &c.item), -VX_ERR_queue_full, "third");
	T_EQ(wq_len(&q), 2, "two wait");
	T_OK(wq_pop(&q, 0, &it) == 1 && it == &a.item, "first out is first in");
	T_EQ(wq_push(&q, &c.item), 0, "room again");
	T_OK(wq_pop(&q, WQ_FOREVER, &it) == 1 && it == &b.item, "then the second");
	T_OK(wq_pop(&q, 1000, &it) == 1 && it == &c.item, "then the third");
	uint64_t t0 = os_mono_ns(os_real());
	T_EQ(wq_pop(&q, 20000000, &it), 0, "nothing in 20 ms");
	uint64_t took = os_mono_ns(os_real()) - t0;
	T_OK(took >= 20000000, "and not before: %llu ns", (unsigned long long)took);
	T_EQ(wq_push(&q, &a.item), 0, "one is queued");
	wq_close(&q);
	T_EQ(wq_push(&q, &b.item), -VX_ERR_shutting_down, "closed: no more");
	T_EQ(wq_pop(&q, WQ_FOREVER, &it), 1, "what is queued comes out");
	T_EQ(wq_pop(&q, WQ_FOREVER, &it), -VX_ERR_shutting_down, "then the end");
	T_EQ(wq_pop(&q, 0, &it), -VX_ERR_shutting_down, "also without waiting");
	wq_done(&q);
	wq_done(&q);

	static struct thread p[2], s[2];
	wq_init(&q, 50);
	for (intptr_t i = 0; i < 2; i++) {
		thread_start(&s[i], "consumer", 65536, consumer, NULL);
		thread_start(&p[i], "producer", 65536, producer, (void *)i);
	}
	for (int i = 0; i < 2; i++)
		thread_join(&p[i]);
	wq_close(&q);
	for (int i = 0; i < 2; i++)
		thread_join(&s[i]);
	int once = 0;
	for (int i = 0; i < 2 * PER; i++)
		once += seen[i / PER][i % PER] == 1;
	T_EQ(taken, 2 * PER, "items taken");
	T_EQ(once, 2 * PER, "items taken exactly once");
	T_EQ(order_bad, 0, "items out of their producer's order");
	T_OK(q.high <= 50 && q.len == 0, "never more than the limit: %u (%d refusals)", q.high, pushed_again);
	wq_done(&q);

	wq_init(&q, 1);
	thread_start(&s[0], "waiter", 65536, waiter, NULL);
	wq_close(&q);
	thread_join(&s[0]);
	T_EQ(late_rc, -VX_ERR_shutting_down, "closing wakes a waiter");
	wq_done(&q);
	return tap_done();
}
