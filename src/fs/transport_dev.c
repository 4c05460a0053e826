/* transport_dev.c - workers that read requests from /dev/fuse, or from a socket that speaks the same.
 *
 * libfuse's own loop is not used: its workers can't be given a painted stack, measured per operation, or bounded.  Each worker has one
 * buffer: requests are read into its first part, replies of data are built in the rest.  Untouched pages of it cost nothing.
 *
 * How many: `base` workers wait for requests; when the last idle one takes a request another is started, up to WORKERS_MAX, so a slow disk
 * under one request does not stop the others.  A surplus one ends when SPARE others wait beside the base ones: more waiting threads
 * make every wakeup dearer, but a thread made and ended for each request of a busy mount costs more.
 *
 * With rings on, only FORGET and INTERRUPT come this way, which never wait: one worker does. */
#include "fs/transport_priv.h"
#include "base/log.h"

#include <signal.h>
#include <unistd.h>

#define SPARE 2u

int dev_receive(struct transport *t, uint8_t *buf, size_t *ret_n)
{
	ssize_t n = read(t->fd, buf, REQ_BYTES);
	if (n > 0) {
		*ret_n = (size_t)n;
		return 1;
	}
	if (n == 0 || errno == ENODEV || errno == ECONNRESET || errno == EBADF)
		return 0;
	return -errno; /* EINTR: woken; ENOENT: the request was taken back; EAGAIN */
}

static bool may_grow(struct transport *t)
{
	return !t->custom && !(atomic_load_explicit(&t->have, memory_order_relaxed) & TR_uring);
}

static void worker_main(void *arg)
{
	struct worker *w = arg;
	struct transport *t = w->t;
	sigset_t wake;
	sigemptyset(&wake);
	sigaddset(&wake, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	transport_cur = (struct transport_cur){.scratch = w->buf + REQ_BYTES, .scratch_cap = REPLY_BYTES};
	while (!atomic_load(&t->stop)) {
		size_t n = 0;
		if (atomic_fetch_add(&t->idle, 1) >= t->base + SPARE && !t->custom) {
			atomic_fetch_sub(&t->idle, 1);
			break; /* surplus */
		}
		int rc = dev_receive(t, w->buf, &n);
		uint32_t was = atomic_fetch_sub(&t->idle, 1);
		if (rc == 0) {
			atomic_store(&t->over, true);
			atomic_store(&t->stop, true);
			break;
		}
		if (rc < 0)
			continue;
		if (was == 1 && may_grow(t))
			dev_spawn(t);
		transport_process(t, w->buf, n);
	}
	pthread_mutex_lock(&t->lock);
	w->state = W_ended;
	pthread_mutex_unlock(&t->lock);
	atomic_fetch_sub(&t->running, 1);
	transport_wake_main(t);
}

/* one more worker if there is room; ended ones are joined here and their places used again */
void dev_spawn(struct transport *t)
{
	struct worker *w = NULL;
	if (pthread_mutex_trylock(&t->lock))
		return; /* somebody is at it */
	for (unsigned i = 0; i < WORKERS_MAX && !w; i++)
		if (t->worker[i].state != W_running)
			w = &t->worker[i];
	if (w && !atomic_load(&t->stop)) {
		if (w->state == W_ended)
			thread_join(&w->th);
		if (!w->buf)
			w->buf = mem_alloc(MEM_fs, BUF_BYTES);
		w->t = t;
		w->state = W_free;
		if (w->buf) {
			memset(&w->th, 0, sizeof w->th);
			atomic_fetch_add(&t->running, 1);
			w->state = W_running;
			int rc = thread_start(&w->th, "vexfs-fuse", CONF_FUSE_STACK, worker_main, w);
			if (rc < 0) {
				w->state = W_free;
				atomic_fetch_sub(&t->running, 1);
			}
		}
	}
	pthread_mutex_unlock(&t->lock);
}

/* out of read(2), by a signal with an empty handler */
void dev_wake(struct transport *t)
{
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		if (t->worker[i].state == W_running)
			pthread_kill(t->worker[i].th.id, WAKE_SIGNAL);
	pthread_mutex_unlock(&t->lock);
}

void dev_join(struct transport *t)
{
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		if (t->worker[i].state != W_free)
			thread_join(&t->worker[i].th);
		mem_free(MEM_fs, t->worker[i].buf);
		t->worker[i].buf = NULL;
	}
}
