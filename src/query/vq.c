/* vq.c - the life of a request: taken from a pool, submitted, answered, given back.
 *
 * A vq is owned by whoever made it until vq_submit returns ENG_PARKED; from then on by the engine until on_done runs, where it is
 * the front's again.  So a front registers it for interrupts before it submits, and does not touch it after a parked return. */
#include <pthread.h>
#include <string.h>

#include "base/event.h"
#include "base/thread.h"
#include "query/query.h"
#include "vexfs_ioctl.h"

static_assert(VEXFS_OP_INDEX_REBUILD - VEXFS_OP_INDEX_BUILD == ENG_INDEX_rebuild &&
                      VEXFS_OP_INDEX_OPTIMIZE - VEXFS_OP_INDEX_BUILD == ENG_INDEX_optimize,
        "in one order");

#define VQ_LIMIT       256u
#define VQ_ARENA_LIMIT ((size_t)768 << 20) /* a request of 64 MiB, its vectors, and an answer of 256 MiB */
#define VQ_STACK_NEED  2048u /* what submit and an inline answer's glue may still take */

static struct pool pool;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;
static int pool_rc;

static void pool_start(void)
{
	pool_rc = pool_init(&pool, MEM_query, sizeof(struct vq), VQ_LIMIT);
}

struct vq *vq_new(struct engine *e, const struct eng_caller *who)
{
	(void)pthread_once(&pool_once, pool_start); /* cannot fail with a valid once */
	struct vq *q = pool_rc < 0 ? NULL : pool_get(&pool);
	if (!q)
		return NULL;
	memset(q, 0, sizeof *q);
	arena_init(&q->arena, MEM_query, VQ_ARENA_LIMIT);
	q->e = e;
	q->j.arena = &q->arena;
	q->j.fd = -1;
	q->j.who = *who;
	q->j.err.position = -1;
	q->warn = q->critical = q->bytes = q->nth = UINT64_MAX;
	return q;
}

void vq_free(struct vq *q)
{
	if (!q)
		return;
	arena_done(&q->arena);
	pool_put(&pool, q);
}

void vq_verb(struct vq *q, const char *name)
{
	q->verb = verb_by_name(name, strlen(name));
	vx_assert(q->verb);
	q->j.verb = (enum eng_verb)q->verb->ev;
}

int vq_batch(struct vq *q, const void *vecs, uint32_t vec_bytes, uint32_t n)
{
	q->batch = arena_alloc(&q->arena, n * sizeof *q->batch);
	if (!q->batch)
		return -VX_ERR_arena_full;
	q->batch_n = n;
	q->batch_vec = vecs;
	q->j.vec = vecs;
	q->j.vec_bytes = vec_bytes;
	return 0;
}

int vq_refuse(struct vq *q, int rc, const char *detail)
{
	q->j.rc = rc;
	if (!q->j.err.code) {
		q->j.err.code = rc;
		q->j.err.position = -1;
		struct sbuf b;
		sbuf_fixed(&b, q->j.err.detail, sizeof q->j.err.detail);
		sb_str(&b, detail ? detail : "");
		(void)sbuf_cstr(&b); /* only its NUL is wanted */
	}
	return rc;
}

static void account(struct vq *q)
{
	if (q->verb && q->verb->local && q->e) /* the engine counts what it answers */
		perf_op((enum perf_op)q->verb->perf, os_mono_ns(eng_cfg(q->e)->os) - q->t0_ns,
		        q->j.vec_bytes + q->j.ret_vec_bytes);
	if (q->verb && q->verb->mutates && q->j.rc >= 0)
		event_post(q->verb->name,
		        q->j.at     ? q->j.at
		        : q->j.coll ? q->j.coll
		                    : "default",
		        q->j.point_n ? q->j.point_n : 1);
}

/* the results of one query of a batch are put aside and the next one is set up. False: that was the last */
static bool batch_next(struct vq *q)
{
	struct eng_job *j = &q->j;
	q->batch[q->batch_i++] = (struct vq_batch){j->res, j->res_n};
	q->batch_distances += j->distances;
	q->batch_ns += j->took_ns;
	if (q->batch_i == q->batch_n)
		return false;
	j->res = NULL;
	j->res_n = 0;
	j->distances = 0;
	j->vec = q->batch_vec + (size_t)q->batch_i * j->vec_bytes;
	return true;
}

/* "wait" of a search is a barrier before it: everything known by now is searchable when it runs. True: on its way again */
static bool goes_on(struct vq *q)
{
	struct eng_job *j = &q->j;
	for (;;) {
		if (j->rc < 0)
			return false;
		if (q->search_next) {
			q->search_next = false;
			j->verb = EV_search;
		} else if (!q->batch_n || !batch_next(q)) {
			return false;
		}
		j->inline_ok = false;
		if (eng_submit(q->e, j) == ENG_PARKED)
			return true;
	}
}

static void parked_done(struct eng_job *j)
{
	struct vq *q = j->u;
	if (goes_on(q))
		return;
	account(q);
	q->on_done(q);
}

int vq_submit(struct vq *q)
{
	if (q->j.rc < 0)
		return ENG_DONE; /* refused while it was parsed */
	if (!q->e) {
		vq_refuse(q, -VX_ERR_component_off, NULL);
		return ENG_DONE;
	}
	const struct eng_cfg *c = eng_cfg(q->e);
	q->t0_ns = os_mono_ns(c->os);
	if (q->verb && q->verb->owner_only && q->j.who.uid != 0 && q->j.who.uid != c->owner_uid) {
		vq_refuse(q, -VX_ERR_not_owner, NULL);
		return ENG_DONE;
	}
	if (q->verb && q->verb->local) {
		int lrc = q->verb->local(q);
		if (lrc < 0)
			vq_refuse(q, lrc, NULL);
		account(q);
		return ENG_DONE;
	}
	int rc = stack_check(VQ_STACK_NEED);
	if (rc < 0) {
		vq_refuse(q, rc, NULL);
		return ENG_DONE;
	}
	q->j.done = parked_done;
	q->j.u = q;
	if (q->verb && q->j.verb == EV_index)
		q->j.index_op = (uint8_t)(q->verb->uapi - VEXFS_OP_INDEX_BUILD + ENG_INDEX_build);
	if (q->batch_n)
		q->j.inline_ok = false; /* many searches are no FUSE thread's work */
	q->search_next = q->j.verb == EV_search && q->j.wait;
	if (q->search_next)
		q->j.verb = EV_wait;
	rc = eng_submit(q->e, &q->j);
	if (rc == ENG_PARKED || goes_on(q)) {
		perf_add(PERFC_parked, 1);
		return ENG_PARKED; /* q may be gone already */
	}
	perf_add(PERFC_inline_done, 1);
	account(q);
	return ENG_DONE;
}

int vq_path(char *p, size_t n)
{
	if (strlen(p) != n || n >= CONF_PATH_MAX || p[0] == '/')
		return -VX_ERR_path_outside;
	size_t in = 0, out = 0;
	while (in < n) {
		size_t e = in;
		while (e < n && p[e] != '/')
			e++;
		size_t len = e - in;
		if (len == 2 && p[in] == '.' && p[in + 1] == '.')
			return -VX_ERR_path_outside;
		if (len && !(len == 1 && p[in] == '.')) {
			if (out)
				p[out++] = '/';
			memmove(p + out, p + in, len);
			out += len;
		}
		in = e + 1;
	}
	p[out] = 0;
	return 0;
}

bool vq_coll_name_ok(const char *s, size_t n)
{
	if (n < 1 || n > CONF_COLLECTION_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!((s[i] | 32) >= 'a' && (s[i] | 32) <= 'z') && !(s[i] >= '0' && s[i] <= '9') && s[i] != '_' &&
		        s[i] != '-')
			return false;
	return true;
}
