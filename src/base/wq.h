/* wq.h - a bounded first-in first-out queue between threads, of items that live inside the objects queued.
 *
 * No allocation: the link is a member of the item.  Any number of threads push and pop.  A full queue refuses (a code, so the caller
 * answers "try again") and never waits.  Closing wakes every waiter; what was queued is still handed out, then -VX_ERR_shutting_down. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WQ_FOREVER UINT64_MAX

struct wq_item {
	struct wq_item *next;
};
/* the object around its item: WQ_OF(it, struct job, item) */
#define WQ_OF(it, type, member) ((type *)((char *)(it)-offsetof(type, member)))

struct wq {
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t more; /* on CLOCK_MONOTONIC */
	struct wq_item *head, **tail;
	uint32_t len, limit, high; /* high: the longest it has been */
	bool closed;
};

/* wq_init - @limit: most items queued, >= 1.  Return 0 or -errno. */
int wq_init(struct wq *q, uint32_t limit);
/* wq_done - no thread may be in a call on q any more; items still queued are forgotten, not freed. */
void wq_done(struct wq *q);
/* wq_push - @it stays the caller's until popped, must not be queued elsewhere.
 * Return: 0; -VX_ERR_queue_full; -VX_ERR_shutting_down once closed. */
int wq_push(struct wq *q, struct wq_item *it);
/* wq_pop - the oldest item.
 * @timeout_ns 0: don't wait; WQ_FOREVER: until there is one or the queue is closed
 * Return: 1 and *ret; 0: none in that time; -VX_ERR_shutting_down: closed and empty. */
int wq_pop(struct wq *q, uint64_t timeout_ns, struct wq_item **ret);
void wq_close(struct wq *q);
uint32_t wq_len(struct wq *q);
