/* park.c - requests that wait for the vector side.
 *
 * libfuse calls the interrupt function under the request's own lock, and fuse_req_interrupt_func takes it too: after fs_unpark no
 * callback can be running with the query, which may then be freed.  A request is parked before its job is submitted, because the
 * job may be answered on another thread before submit returns. */
#include <fcntl.h>
#include <unistd.h>

#include "base/thread.h"
#include "fs/virt_priv.h"
#include "fs/transport.h"

/* The front thread: one small thread, started by the first interrupt or watcher of events, for what must not be done where it is
 * noticed.  It lets the engine answer what was cancelled while it only waited (the interrupt callback can't: the answer takes the
 * locks the callback is called under), answers reads of `events` (a post may come under any lock), and asks the kernel to let go of
 * virtual names (a notice may wait for a directory that is locked by the very request that noticed). */
static struct {
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t more;
	struct engine *e;
	struct virt *v;
	struct thread th;
	bool started, stop;
	unsigned due; /* FS_WAKE_* */
} front = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

#define FRONT_BUF 16384u

static void front_loop(void *arg)
{
	char *mem = mem_alloc(MEM_fs, FRONT_BUF);
	(void)arg; /* one front thread */
	pthread_mutex_lock(&front.lock);
	for (;;) {
		while (!front.due && !front.stop)
			pthread_cond_wait(&front.more, &front.lock);
		if (front.stop)
			break;
		struct engine *e = front.e;
		struct virt *v = front.v;
		unsigned due = front.due;
		front.due = 0;
		pthread_mutex_unlock(&front.lock);
		if (due & FS_WAKE_CANCEL && e)
			eng_poke(e);
		if (due & FS_WAKE_EVENTS && v && mem)
			events_deliver(v, mem, FRONT_BUF);
		if (due & FS_WAKE_TIDY && v)
			vnodes_tidy(v);
		pthread_mutex_lock(&front.lock);
	}
	pthread_mutex_unlock(&front.lock);
	mem_free(MEM_fs, mem);
}

static void start_locked(void)
{
	if (!front.started)
		front.started = thread_start(&front.th, "vx-front", CONF_FUSE_STACK * 2, front_loop, NULL) >= 0;
}

void fs_front_wake(unsigned what)
{
	pthread_mutex_lock(&front.lock);
	front.due |= what;
	pthread_cond_signal(&front.more);
	pthread_mutex_unlock(&front.lock);
}

void fs_front_events(struct virt *v)
{
	pthread_mutex_lock(&front.lock);
	front.v = v;
	start_locked();
	pthread_mutex_unlock(&front.lock);
}

void fs_park_done(void)
{
	pthread_mutex_lock(&front.lock);
	front.stop = true;
	bool started = front.started;
	pthread_cond_signal(&front.more);
	pthread_mutex_unlock(&front.lock);
	if (started)
		thread_join(&front.th);
	pthread_mutex_lock(&front.lock);
	front.started = front.stop = false;
	front.due = 0;
	front.e = NULL;
	front.v = NULL;
	pthread_mutex_unlock(&front.lock);
}

static void on_interrupt(fuse_req_t req, void *u)
{
	struct vq *q = u;
	(void)req; /* the query knows all there is to do */
	atomic_store_explicit(&q->j.cancel, 1, memory_order_relaxed);
	pthread_mutex_lock(&front.lock);
	front.e = q->e;
	start_locked();
	pthread_mutex_unlock(&front.lock);
	fs_front_wake(FS_WAKE_CANCEL);
}

void fs_park(fuse_req_t req, struct vq *q)
{
	fuse_req_interrupt_func(req, on_interrupt, q);
}

void fs_unpark(fuse_req_t req)
{
	fuse_req_interrupt_func(req, NULL, NULL);
}

/* an answer() may submit the next step (fs_ask_next); when that is done at once it is answered by this loop, not by a deeper call */
static _Thread_local struct vq *next_done;

static void on_done(struct vq *q)
{
	while (q) {
		struct fs_ask *a = q->u;
		next_done = NULL;
		fs_unpark(a->req);
		a->answer(a);
		q = next_done;
	}
}

struct fs_ask *fs_ask_new(fuse_req_t req, void (*answer)(struct fs_ask *a))
{
	struct fs *f = fs_of(req);
	if (!f->e) {
		fs_reply_rc(req, -VX_ERR_component_off);
		return NULL;
	}
	if (f->transport && !transport_may_park(f->transport)) {
		fs_reply_rc(req, -VX_ERR_queue_full);
		return NULL;
	}
	struct eng_caller who;
	fs_caller(req, &who);
	struct vq *q = vq_new(f->e, &who);
	struct fs_ask *a = q ? arena_zalloc(&q->arena, sizeof *a) : NULL;
	if (!a) {
		vq_free(q);
		fs_reply_rc(req, -VX_ERR_queue_full);
		return NULL;
	}
	*a = (struct fs_ask){.req = req, .f = f, .q = q, .answer = answer, .fd = -1};
	q->on_done = on_done;
	q->u = a;
	q->j.inline_ok = true;
	return a;
}

int fs_ask_on(struct fs_ask *a, fuse_ino_t ino, struct fs_ref *r)
{
	VX_TRY(fs_ref(a->f, ino, r));
	a->q->j.key = r->file.key;
	a->q->j.fd = r->fd;
	return 0;
}

void fs_ask_submit(struct fs_ask *a, struct fs_ref *r)
{
	struct fs *f = a->f;
	fs_park(a->req, a->q);
	int rc = vq_submit(a->q);
	if (r)
		fs_ref_put(f, r); /* the engine has its own fd if it still needs one */
	if (rc == ENG_DONE)
		on_done(a->q);
}

void fs_ask_again(struct fs_ask *a)
{
	struct eng_job *j = &a->q->j;
	j->rc = 0;
	j->err = (struct vx_errinfo){.position = -1};
	j->fd = a->fd;
	fs_ask_next(a);
}

void fs_ask_next(struct fs_ask *a)
{
	struct vq *q = a->q;
	q->j.inline_ok = false;
	fs_park(a->req, q);
	if (vq_submit(q) == ENG_DONE)
		next_done = q;
}

int fs_ask_keep(struct fs_ask *a, const struct fs_ref *r)
{
	a->fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 3);
	return a->fd < 0 ? -errno : 0;
}

void fs_ask_free(struct fs_ask *a)
{
	if (a->fd >= 0)
		close(a->fd); /* O_PATH */
	vq_free(a->q); /* the ask lies in its arena */
}

void fs_ask_fail(struct fs_ask *a, int rc)
{
	fs_reply_rc(a->req, rc);
	fs_ask_free(a);
}
