/* park.c - requests that wait for the vector side.
 *
 * libfuse calls the interrupt function under the request's own lock, and fuse_req_interrupt_func takes it too: after fs_unpark no
 * callback can be running with the query, which may then be freed.  A request is parked before its job is submitted, because the
 * job may be answered on another thread before submit returns. */
#include "base/thread.h"
#include "fs/front.h"
#include "fs/transport.h"

/* one small thread, started by the first interrupt: it lets the engine answer what was cancelled while it only waited.  The callback
 * can't: the answer takes the locks the callback is called under. */
static struct {
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t more;
	struct engine *e;
	struct thread th;
	bool started, stop, due;
} poker = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void poke_loop(void *arg)
{
	(void)arg; /* one poker */
	pthread_mutex_lock(&poker.lock);
	for (;;) {
		while (!poker.due && !poker.stop)
			pthread_cond_wait(&poker.more, &poker.lock);
		if (poker.stop)
			break;
		struct engine *e = poker.e;
		poker.due = false;
		pthread_mutex_unlock(&poker.lock);
		eng_poke(e);
		pthread_mutex_lock(&poker.lock);
	}
	pthread_mutex_unlock(&poker.lock);
}

static void poke(struct engine *e)
{
	pthread_mutex_lock(&poker.lock);
	poker.e = e;
	poker.due = true;
	if (!poker.started)
		poker.started = thread_start(&poker.th, "vx-poke", CONF_FUSE_STACK * 2, poke_loop, NULL) >= 0;
	pthread_cond_signal(&poker.more);
	pthread_mutex_unlock(&poker.lock);
}

void fs_park_done(void)
{
	pthread_mutex_lock(&poker.lock);
	poker.stop = true;
	bool started = poker.started;
	pthread_cond_signal(&poker.more);
	pthread_mutex_unlock(&poker.lock);
	if (started)
		thread_join(&poker.th);
	pthread_mutex_lock(&poker.lock);
	poker.started = poker.stop = poker.due = false;
	pthread_mutex_unlock(&poker.lock);
}

static void on_interrupt(fuse_req_t req, void *u)
{
	struct vq *q = u;
	(void)req; /* the query knows all there is to do */
	atomic_store_explicit(&q->j.cancel, 1, memory_order_relaxed);
	poke(q->e);
}

void fs_park(fuse_req_t req, struct vq *q)
{
	fuse_req_interrupt_func(req, on_interrupt, q);
}

void fs_unpark(fuse_req_t req)
{
	fuse_req_interrupt_func(req, NULL, NULL);
}

static void on_done(struct vq *q)
{
	struct fs_ask *a = q->u;
	fs_unpark(a->req);
	a->answer(a);
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
	*a = (struct fs_ask){.req = req, .f = f, .q = q, .answer = answer};
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
	j->fd = -1;
	j->inline_ok = false;
	fs_ask_submit(a, NULL);
}

void fs_ask_free(struct fs_ask *a)
{
	vq_free(a->q); /* the ask lies in its arena */
}

void fs_ask_fail(struct fs_ask *a, int rc)
{
	fs_reply_rc(a->req, rc);
	fs_ask_free(a);
}
