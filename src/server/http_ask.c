/* http_ask.c - a request to the engine in this process.  The daemon must not open its own mount (it would keep it busy, and wait for itself), so
 * the query goes to query/ directly, as the daemon's user, and its answer is waited for with an end. */
#include <string.h>
#include <time.h>
#include "base/conf.h"
#include "query/query.h"
#include "server/http_int.h"
#include "server/mcp_int.h"

struct asked {
	struct http *h;
	bool done; /* [h->wait.lock] */
};

static void on_done(struct vq *q)
{
	struct asked *a = q->u;
	struct http_waiter *w = &a->h->wait;
	pthread_mutex_lock(&w->lock);
	a->done = true;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

/* until it is answered. Return whether it was, before its time was over or we are to stop */
static bool wait_done(struct asked *a, uint64_t end_ns)
{
	struct http_waiter *w = &a->h->wait;
	struct timespec t = {.tv_sec = (time_t)(end_ns / 1000000000u), .tv_nsec = (long)(end_ns % 1000000000u)};
	int rc = 0;
	pthread_mutex_lock(&w->lock);
	while (!a->done && !rc && (end_ns == UINT64_MAX || !atomic_load(&w->stop)))
		rc = end_ns == UINT64_MAX ? pthread_cond_wait(&w->cond, &w->lock)
		                          : pthread_cond_timedwait(&w->cond, &w->lock, &t);
	bool done = a->done;
	pthread_mutex_unlock(&w->lock);
	return done;
}

int http_ask(struct http *h, char *req, size_t n, bool may_change, char **ret, size_t *ret_n, int *ret_code)
{
	const struct eng_caller who = {.uid = h->cfg.uid, .gid = h->cfg.gid};
	struct asked a = {.h = h};
	int rc = 0;
	struct vq *q = vq_new(h->cfg.e, &who);
	if (!q)
		return -VX_ERR_queue_full;
	q->on_done = on_done;
	q->u = &a;
	(void)vq_json(q, req, n); /* a refusal is in q and is rendered */
	if (q->j.rc >= 0 && q->verb && (q->verb->mutates || q->verb->owner_only) && !may_change)
		vq_refuse(q, -VX_ERR_not_owner, "nothing can be changed over HTTP without a token (--token-file)");
	if (vq_submit(q) == ENG_PARKED && !wait_done(&a, os_mono_ns(h->cfg.os) + h->cfg.slow_ms * 1000000ull)) {
		atomic_store(&q->j.cancel, 1);
		eng_poke(h->cfg.e);
		(void)wait_done(&a, UINT64_MAX); /* it is: a cancelled job is answered */
		rc = atomic_load(&h->wait.stop) ? -VX_ERR_shutting_down : -VX_ERR_deadline;
	}
	if (rc >= 0) {
		vq_render(q);
		*ret_code = q->j.rc < 0 ? q->j.rc : 0;
		*ret = mem_alloc(MEM_server, q->out.n + 1);
		rc = *ret ? 0 : -ENOMEM;
		if (*ret) {
			memcpy(*ret, q->out.p, q->out.n);
			(*ret)[q->out.n] = 0;
			*ret_n = q->out.n;
		}
	}
	vq_free(q);
	return rc;
}

static int mcp_asks(void *u, char *req, size_t n, struct mcp_bytes *ret)
{
	int code;
	return http_ask(u, req, n, false, &ret->p, &ret->n, &code);
}

int http_mcp_new(struct http *h, struct mcp **ret)
{
	VX_TRY(mcp_new_inside(h->cfg.os, h->cfg.root_fd, h->cfg.mnt, h->cfg.version, mcp_asks, h, ret));
	(*ret)->stop = &h->wait.stop;
	return 0;
}
