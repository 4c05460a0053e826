/* wq.c - the work queue: one mutex, one condition, a singly linked list with a tail. */
#include "base/wq.h"
#include "base/err.h"

#include <string.h>
#include <time.h>

int wq_init(struct wq *q, uint32_t limit)
{
	pthread_condattr_t ca;
	if (!limit)
		return -EINVAL;
	memset(q, 0, sizeof *q);
	int e = pthread_mutex_init(&q->lock, NULL);
	if (e)
		return -e;
	e = pthread_condattr_init(&ca);
	if (!e) {
		/* a set clock must neither shorten nor stretch a wait */
		e = pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
		e = e ? e : pthread_cond_init(&q->more, &ca);
		pthread_condattr_destroy(&ca);
	}
	if (e) {
		pthread_mutex_destroy(&q->lock);
		return -e;
	}
	q->tail = &q->head;
	q->limit = limit;
	return 0;
}

void wq_done(struct wq *q)
{
	if (!q->tail)
		return;
	pthread_cond_destroy(&q->more);
	pthread_mutex_destroy(&q->lock);
	memset(q, 0, sizeof *q);
}

int wq_push(struct wq *q, struct wq_item *it)
{
	int rc = 0;
	pthread_mutex_lock(&q->lock);
	if (q->closed) {
		rc = -VX_ERR_shutting_down;
	} else if (q->len == q->limit) {
		rc = -VX_ERR_queue_full;
	} else {
		it->next = NULL;
		*q->tail = it;
		q->tail = &it->next;
		if (++q->len > q->high)
			q->high = q->len;
		pthread_cond_signal(&q->more);
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static struct timespec deadline_of(uint64_t timeout_ns)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	uint64_t ns = (uint64_t)ts.tv_nsec + timeout_ns % 1000000000u;
	uint64_t s = timeout_ns / 1000000000u + ns / 1000000000u;
	ts.tv_sec += (time_t)s;
	ts.tv_nsec = (long)(ns % 1000000000u);
	return ts;
}

int wq_pop(struct wq *q, uint64_t timeout_ns, struct wq_item **ret)
{
	struct timespec until = {0};
	int rc = 0;
	if (timeout_ns && timeout_ns != WQ_FOREVER)
		until = deadline_of(timeout_ns);
	pthread_mutex_lock(&q->lock);
	while (!q->head && !q->closed && timeout_ns) {
		if (timeout_ns == WQ_FOREVER)
			pthread_cond_wait(&q->more, &q->lock);
		else if (pthread_cond_timedwait(&q->more, &q->lock, &until))
			break;
	}
	struct wq_item *it = q->head;
	if (it) {
		q->head = it->next;
		if (!q->head)
			q->tail = &q->head;
		q->len--;
		it->next = NULL;
		*ret = it;
		rc = 1;
	} else if (q->closed) {
		rc = -VX_ERR_shutting_down;
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}

void wq_close(struct wq *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_broadcast(&q->more);
	pthread_mutex_unlock(&q->lock);
}

uint32_t wq_len(struct wq *q)
{
	pthread_mutex_lock(&q->lock);
	uint32_t n = q->len;
	pthread_mutex_unlock(&q->lock);
	return n;
}
