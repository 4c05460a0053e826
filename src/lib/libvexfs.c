/* libvexfs.c - the public library (include/vexfs.h): a request goes either to an engine in this process or to a mount's query file, and
 * the answer is the same bytes.
 *
 * The typed calls are written over requests in JSON, the one language both ways share; vectors are written with enough digits to come
 * back bit for bit.  Callers that move many vectors use vexfs_request with the binary messages.  A handle answers one call at a
 * time, so a program that wants to ask in parallel opens several connections. */
#include "vexfs.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "query/json.h"
#include "query/query.h"

#define SLICE      ((size_t)1 << 20)
#define REPLY_MAX  ((size_t)1 << 30)
#define REPLY_MORE 65536u

struct vexfs {
	pthread_mutex_t asking; /* one call at a time; taken before lock, and held while the answer is waited for */
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t done;
	struct engine *e; /* NULL: by query */
	int root_fd, query_fd;
	char *dir;
	bool answered;
	struct vx_errinfo err;
	char error[320];
};

const char *vexfs_version(void)
{
	return VEXFS_LIB_VERSION;
}

static int failed(struct vexfs *v, int rc, const char *detail)
{
	struct sbuf b;
	sbuf_fixed(&b, v->error, sizeof v->error);
	sb_str(&b, err_text(rc));
	if (detail && *detail) {
		sb_str(&b, ": ");
		sb_str(&b, detail);
	}
	(void)sbuf_cstr(&b); /* only its NUL is wanted */
	return -err_posix(rc);
}

const char *vexfs_error(struct vexfs *v)
{
	return v->error;
}

static struct vexfs *handle_new(void)
{
	struct vexfs *v = mem_zalloc(MEM_misc, sizeof *v);
	if (!v)
		return NULL;
	v->root_fd = v->query_fd = -1;
	if (pthread_mutex_init(&v->asking, NULL) || pthread_mutex_init(&v->lock, NULL) ||
	        pthread_cond_init(&v->done, NULL)) {
		mem_free(MEM_misc, v);
		return NULL;
	}
	return v;
}

void vexfs_close(struct vexfs *v)
{
	if (!v)
		return;
	if (v->e) {
		eng_stop(v->e);
		eng_free(v->e);
	}
	if (v->root_fd >= 0)
		close(v->root_fd);
	if (v->query_fd >= 0)
		close(v->query_fd);
	mem_free(MEM_misc, v->dir);
	pthread_cond_destroy(&v->done);
	pthread_mutex_destroy(&v->lock);
	pthread_mutex_destroy(&v->asking);
	mem_free(MEM_misc, v);
}

int vexfs_connect(const char *mnt, struct vexfs **ret)
{
	static const char tail[] = "/.vexfs/query";
	size_t n = strlen(mnt);
	struct vexfs *v = handle_new();
	v = v && (v->dir = mem_alloc(MEM_misc, n + sizeof tail)) ? v : (vexfs_close(v), NULL);
	if (!v)
		return -ENOMEM;
	memcpy(v->dir, mnt, n);
	memcpy(v->dir + n, tail, sizeof tail);
	v->query_fd = open(v->dir, O_RDWR | O_CLOEXEC);
	if (v->query_fd < 0) {
		int rc = errno == ENOENT ? -ENOTTY : -errno;
		vexfs_close(v);
		return rc;
	}
	*ret = v;
	return 0;
}

/* is the store there and not somebody else's? A collection's state asks for the opening and waits for it */
static int first_question(struct vexfs *v)
{
	static const char ask[] = "{\"verb\":\"collections\"}";
	void *p = NULL;
	size_t n;
	int rc = vexfs_request(v, ask, sizeof ask - 1, &p, &n);
	if (rc >= 0 && strstr(p, "\"error\""))
		rc = strstr(p, "store_locked") ? -EBUSY : strstr(p, "store_newer") ? -EPROTONOSUPPORT : -EIO;
	vexfs_free(p);
	return rc;
}

int vexfs_open(const char *dir, unsigned flags, struct vexfs **ret)
{
	struct vexfs *v = handle_new();
	if (!v)
		return -ENOMEM;
	int rc = flags & ~(VEXFS_OPEN_READ_ONLY | VEXFS_OPEN_NO_TEXT) ? -EINVAL : 0;
	v->dir = mem_strdup(MEM_misc, dir);
	if (rc >= 0 && !v->dir)
		rc = -ENOMEM;
	if (rc >= 0) {
		v->root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = v->root_fd < 0 ? -errno : 0;
	}
	if (rc >= 0) {
		const struct eng_cfg c = {.os = os_real(),
		        .root_fd = v->root_fd,
		        .dir = v->dir,
		        .components = flags & VEXFS_OPEN_NO_TEXT ? ENG_search : ENG_all,
		        .read_only = flags & VEXFS_OPEN_READ_ONLY,
		        .owner_uid = geteuid(),
		        .transport = "library",
		        .version = VEXFS_LIB_VERSION};
		log_level_set((enum log_level)((int)LOGL_error - 1)); /* a library is quiet: failures come as answers */
		rc = eng_new(&c, &v->e);
	}
	if (rc >= 0)
		rc = eng_start(v->e);
	if (rc >= 0)
		rc = first_question(v);
	if (rc < 0) {
		vexfs_close(v);
		return -err_posix(rc);
	}
	*ret = v;
	return 0;
}

/* ---- requests ---- */

static void on_done(struct vq *q)
{
	struct vexfs *v = q->u;
	pthread_mutex_lock(&v->lock);
	v->answered = true;
	pthread_cond_signal(&v->done);
	pthread_mutex_unlock(&v->lock);
}

/* an answer in memory of the caller's */
static int copy_out(struct vexfs *v, const void *p, size_t n, void **ret, size_t *ret_n)
{
	char *o = mem_alloc(MEM_misc, n + 1);
	if (!o)
		return failed(v, -ENOMEM, NULL);
	memcpy(o, p, n);
	o[n] = 0;
	*ret = o;
	*ret_n = n;
	return 0;
}

static int ask_engine(struct vexfs *v, const void *req, size_t n, void **ret, size_t *ret_n)
{
	const struct eng_caller who = {.uid = geteuid(), .gid = getegid(), .pid = getpid()};
	struct vq *q = vq_new(v->e, &who);
	char *copy = q ? arena_alloc(&q->arena, n ? n : 1) : NULL;
	if (!copy) {
		vq_free(q);
		return failed(v, -VX_ERR_queue_full, NULL);
	}
	memcpy(copy, req, n);
	q->on_done = on_done;
	q->u = v;
	v->answered = false;
	/* a refused request waits in the job and becomes the answer */
	if (n && copy[0] == 'V')
		(void)vq_binary(q, copy, n);
	else
		(void)vq_json(q, copy, n);
	pthread_mutex_unlock(&v->lock); /* on_done takes it; the caller's own lock (asking) keeps others out */
	int rc = vq_submit(q);
	pthread_mutex_lock(&v->lock);
	while (rc == ENG_PARKED && !v->answered)
		pthread_cond_wait(&v->done, &v->lock);
	vq_render(q);
	rc = copy_out(v, q->out.p, q->out.n, ret, ret_n);
	vq_free(q);
	return rc;
}

static int read_answer(struct vexfs *v, void **ret, size_t *ret_n)
{
	size_t cap = REPLY_MORE, n = 0;
	char *p = mem_alloc(MEM_misc, cap + 1);
	for (;;) {
		if (!p)
			return failed(v, -ENOMEM, NULL);
		ssize_t k = pread(v->query_fd, p + n, cap - n < SLICE ? cap - n : SLICE, (off_t)n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0) {
			int rc = -errno;
			mem_free(MEM_misc, p);
			return failed(v, rc, NULL);
		}
		if (!k)
			break;
		n += (size_t)k;
		if (n < cap)
			continue;
		char *more = cap < REPLY_MAX ? mem_realloc(MEM_misc, p, cap * 2 + 1) : NULL;
		if (!more)
			mem_free(MEM_misc, p);
		p = more;
		cap *= 2;
	}
	p[n] = 0;
	*ret = p;
	*ret_n = n;
	return 0;
}

static int ask_mount(struct vexfs *v, const void *req, size_t n, void **ret, size_t *ret_n)
{
	const char *s = req;
	for (size_t at = 0; at < n;) {
		ssize_t k = pwrite(v->query_fd, s + at, n - at < SLICE ? n - at : SLICE, (off_t)at);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return failed(v, k < 0 ? -errno : -EIO, NULL);
		at += (size_t)k;
	}
	return read_answer(v, ret, ret_n);
}

int vexfs_request(struct vexfs *v, const void *request, size_t n, void **ret, size_t *ret_n)
{
	pthread_mutex_lock(&v->asking);
	pthread_mutex_lock(&v->lock);
	v->error[0] = 0;
	int rc = n > CONF_REQUEST_MAX ? failed(v, -VX_ERR_request_too_big, NULL)
	         : v->e               ? ask_engine(v, request, n, ret, ret_n)
	                              : ask_mount(v, request, n, ret, ret_n);
	pthread_mutex_unlock(&v->lock);
	pthread_mutex_unlock(&v->asking);
	return rc;
}

void vexfs_free(void *p)
{
	mem_free(MEM_misc, p);
}

/* ---- typed calls: JSON written and read here ---- */

struct call {
	struct vexfs *v;
	struct arena a;
	struct sbuf b;
	bool comma;
	char *answer;
	size_t answer_n;
};

static int begin(struct call *c, struct vexfs *v, const char *verb)
{
	*c = (struct call){.v = v};
	arena_init(&c->a, MEM_misc, (size_t)1 << 30);
	int rc = sbuf_arena(&c->b, &c->a, 4096, CONF_REQUEST_MAX);
	sb_str(&c->b, "{\"verb\":");
	sb_json(&c->b, verb, strlen(verb));
	return rc;
}
static void key(struct call *c, const char *name)
{
	sb_ch(&c->b, ',');
	sb_json(&c->b, name, strlen(name));
	sb_ch(&c->b, ':');
}
static void str(struct call *c, const char *name, const char *s)
{
	if (!s)
		return;
	key(c, name);
	sb_json(&c->b, s, strlen(s));
}
static void num(struct call *c, const char *name, uint64_t n)
{
	key(c, name);
	sb_u64(&c->b, n);
}
static void flag(struct call *c, const char *name, bool on)
{
	if (!on)
		return;
	key(c, name);
	sb_str(&c->b, "true");
}
static void floats(struct call *c, const float *f, uint32_t n)
{
	sb_ch(&c->b, '[');
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			sb_ch(&c->b, ',');
		sb_f32(&c->b, f[i]); /* NaN and Inf become null, which is refused */
	}
	sb_ch(&c->b, ']');
}
static void end(struct call *c)
{
	vexfs_free(c->answer);
	arena_done(&c->a);
}

/* a name from the answer as one of the project's codes, as a negative errno */
static int code_of(const char *s, size_t n)
{
	for (int rc = VX_ERR_BASE + 1; rc < VX_ERR_END; rc++)
		if (strlen(err_name(-rc)) == n && !memcmp(err_name(-rc), s, n))
			return -err_posix(-rc);
	static const struct {
		const char *name;
		int e;
	} os[] = {{"ENOENT", ENOENT}, {"EACCES", EACCES}, {"EISDIR", EISDIR}, {"ENOTDIR", ENOTDIR}, {"EINVAL", EINVAL},
	        {"ENOMEM", ENOMEM}, {"EPERM", EPERM}, {"ENODATA", ENODATA}};
	for (size_t i = 0; i < sizeof os / sizeof *os; i++)
		if (strlen(os[i].name) == n && !memcmp(os[i].name, s, n))
			return -os[i].e;
	return -EIO;
}

/* {"error":{"code":…,"message":…}}, j behind the key "error" */
static int read_error(struct call *c, struct js *j)
{
	bool first = true;
	const char *k, *s;
	size_t n, sn, at;
	int rc = -EIO;
	VX_TRY(js_peek(j));
	VX_TRY(js_open(j));
	for (int r; (r = js_key(j, &first, &k, &n, &at)) > 0;) {
		if (!strcmp(k, "code")) {
			VX_TRY(js_str(j, &s, &sn));
			rc = code_of(s, sn);
		} else if (!strcmp(k, "message")) {
			struct sbuf b;
			VX_TRY(js_str(j, &s, &sn));
			sbuf_fixed(&b, c->v->error, sizeof c->v->error);
			sb_bytes(&b, s, sn < sizeof c->v->error - 1 ? sn : sizeof c->v->error - 1);
			(void)sbuf_cstr(&b); /* only its NUL is wanted */
		} else {
			VX_TRY(js_raw(j, false, NULL, NULL));
		}
	}
	return rc;
}

/* send; each key of the answer goes to on_key, which reads its value: 1, 0 to have it skipped, < 0 */
static int run(struct call *c, int (*on_key)(struct call *c, struct js *j, const char *k, void *u), void *u)
{
	sb_ch(&c->b, '}');
	if (c->b.over)
		return failed(c->v, -VX_ERR_request_too_big, NULL);
	VX_TRY(vexfs_request(c->v, c->b.p, c->b.n, (void **)&c->answer, &c->answer_n));
	struct js j;
	bool first = true;
	const char *k;
	size_t n, at;
	js_init(&j, c->answer, c->answer_n, NULL);
	if (js_peek(&j) != JS_object || js_open(&j) < 0)
		return failed(c->v, -VX_ERR_bad_format, "the answer");
	int r;
	while ((r = js_key(&j, &first, &k, &n, &at)) > 0) {
		if (!strcmp(k, "error"))
			return read_error(c, &j);
		int took = on_key ? on_key(c, &j, k, u) : 0;
		if (took < 0)
			return failed(c->v, took, NULL);
		if (!took && js_raw(&j, false, NULL, NULL) < 0)
			return failed(c->v, -VX_ERR_bad_format, "the answer");
	}
	return r < 0 ? failed(c->v, -VX_ERR_bad_format, "the answer") : 0;
}

int vexfs_put(struct vexfs *v, const char *collection, const struct vexfs_point *points, uint32_t n, unsigned flags)
{
	struct call c;
	if (!n || n > CONF_BATCH_MAX || flags & ~VEXFS_PUT_DURABLE)
		return -EINVAL;
	int rc = begin(&c, v, "batch_put");
	str(&c, "collection", collection);
	flag(&c, "wait", flags & VEXFS_PUT_DURABLE);
	key(&c, "points");
	for (uint32_t i = 0; i < n; i++) {
		const struct vexfs_point *p = points + i;
		sb_str(&c.b, i ? ",{" : "[{");
		sb_str(&c.b, p->path ? "\"path\":" : "\"id\":");
		if (p->path)
			sb_json(&c.b, p->path, strlen(p->path));
		else
			sb_u64(&c.b, p->id);
		if (p->vector) {
			key(&c, "vector");
			floats(&c, p->vector, p->dim);
		}
		if (p->payload) {
			key(&c, "payload");
			sb_str(&c.b, p->payload);
		}
		sb_ch(&c.b, '}');
	}
	sb_ch(&c.b, ']');
	rc = rc < 0 ? rc : run(&c, NULL, NULL);
	end(&c);
	return rc;
}

struct got {
	float *out;
	uint32_t cap, dim;
};
static int got_key(struct call *c, struct js *j, const char *k, void *u)
{
	struct got *g = u;
	const float *f;
	if (strcmp(k, "vector") != 0)
		return 0;
	VX_TRY(js_f32s(j, &c->a, CONF_DIM_MAX, &f, &g->dim));
	if (g->cap)
		memcpy(g->out, f, (g->dim < g->cap ? g->dim : g->cap) * sizeof *f);
	return 1;
}

static void target(struct call *c, const char *collection, const char *path, uint64_t id)
{
	str(c, "collection", collection);
	if (path)
		str(c, "path", path);
	else
		num(c, "id", id);
}

int vexfs_get(struct vexfs *v, const char *collection, const char *path, uint64_t id, float *out, uint32_t cap)
{
	struct call c;
	struct got g = {out, cap, 0};
	int rc = begin(&c, v, "get");
	target(&c, collection, path, id);
	rc = rc < 0 ? rc : run(&c, got_key, &g);
	end(&c);
	return rc < 0 ? rc : g.dim ? (int)g.dim : -ENODATA;
}

int vexfs_del(struct vexfs *v, const char *collection, const char *path, uint64_t id)
{
	struct call c;
	int rc = begin(&c, v, "del");
	target(&c, collection, path, id);
	rc = rc < 0 ? rc : run(&c, NULL, NULL);
	end(&c);
	return rc;
}

int vexfs_collection_create(struct vexfs *v, const char *name, uint32_t dim, int metric)
{
	struct call c;
	if (metric < 0 || metric > 4)
		return -EINVAL;
	int rc = begin(&c, v, "collection_create");
	str(&c, "name", name);
	if (dim)
		num(&c, "dim", dim);
	str(&c, "metric", vq_metric_name((uint8_t)metric));
	rc = rc < 0 ? rc : run(&c, NULL, NULL);
	end(&c);
	return rc;
}

int vexfs_collection_drop(struct vexfs *v, const char *name)
{
	struct call c;
	int rc = begin(&c, v, "collection_drop");
	str(&c, "name", name);
	rc = rc < 0 ? rc : run(&c, NULL, NULL);
	end(&c);
	return rc;
}

int vexfs_wait(struct vexfs *v)
{
	struct call c;
	int rc = begin(&c, v, "wait");
	flag(&c, "durable", true);
	rc = rc < 0 ? rc : run(&c, NULL, NULL);
	end(&c);
	return rc;
}

/* ---- search ---- */

struct found { /* the public struct, and what its strings lie in */
	struct vexfs_matches m; /* first: cast */
	struct arena a;
	uint32_t cap;
};

static int keep(struct found *f, struct js *j, const char **ret)
{
	const char *s;
	size_t n;
	VX_TRY(js_str(j, &s, &n));
	*ret = arena_strndup(&f->a, s, n);
	return *ret ? 1 : -VX_ERR_arena_full;
}

static int match_key(struct found *f, struct js *j, const char *k, struct vexfs_match *m)
{
	double d;
	if (!strcmp(k, "path"))
		return keep(f, j, &m->path);
	if (!strcmp(k, "state"))
		return keep(f, j, &m->state);
	if (!strcmp(k, "snippet"))
		return keep(f, j, &m->snippet);
	if (!strcmp(k, "id"))
		return js_u64(j, UINT64_MAX, &m->id) < 0 ? -VX_ERR_bad_format : 1;
	if (!strcmp(k, "score") || !strcmp(k, "distance")) {
		VX_TRY(js_num(j, &d));
		*(k[0] == 's' ? &m->score : &m->distance) = (float)d;
		return 1;
	}
	if (!strcmp(k, "payload")) {
		const char *s;
		size_t n;
		VX_TRY(js_raw(j, true, &s, &n));
		m->payload = arena_strndup(&f->a, s, n);
		return m->payload ? 1 : -VX_ERR_arena_full;
	}
	return 0;
}

static int match(struct found *f, struct js *j)
{
	if (f->m.n == f->cap) {
		uint32_t cap = f->cap ? f->cap * 2 : 16;
		struct vexfs_match *p = arena_alloc(&f->a, cap * sizeof *p);
		if (!p)
			return -VX_ERR_arena_full;
		if (f->m.n)
			memcpy(p, f->m.match, f->m.n * sizeof *p);
		f->m.match = p;
		f->cap = cap;
	}
	struct vexfs_match *m = &f->m.match[f->m.n++];
	*m = (struct vexfs_match){.state = "fresh"};
	VX_TRY(js_peek(j));
	VX_TRY(js_open(j));
	bool first = true;
	const char *k;
	size_t n, at;
	int r;
	while ((r = js_key(j, &first, &k, &n, &at)) > 0) {
		int took = match_key(f, j, k, m);
		VX_TRY(took);
		if (!took)
			VX_TRY(js_raw(j, false, NULL, NULL));
	}
	return r;
}

static int found_key(struct call *c, struct js *j, const char *k, void *u)
{
	struct found *f = u;
	bool b;
	(void)c; /* the strings go to the result's own arena */
	if (!strcmp(k, "generation"))
		return js_u64(j, UINT64_MAX, &f->m.generation) < 0 ? -VX_ERR_bad_format : 1;
	if (!strcmp(k, "pending"))
		return js_u64(j, UINT64_MAX, &f->m.pending) < 0 ? -VX_ERR_bad_format : 1;
	if (!strcmp(k, "complete")) {
		VX_TRY(js_bool(j, &b));
		f->m.complete = b;
		return 1;
	}
	if (strcmp(k, "results") != 0)
		return 0;
	VX_TRY(js_peek(j));
	VX_TRY(js_open(j));
	bool first = true;
	int r;
	while ((r = js_elem(j, &first)) > 0)
		VX_TRY(match(f, j));
	return r < 0 ? r : 1;
}

int vexfs_search(struct vexfs *v, const struct vexfs_query *q, struct vexfs_matches **ret)
{
	struct call c;
	struct found *f = mem_zalloc(MEM_misc, sizeof *f);
	if (!f)
		return -ENOMEM;
	arena_init(&f->a, MEM_misc, (size_t)1 << 30);
	int rc = begin(&c, v, "search");
	str(&c, "collection", q->collection);
	if (q->vector) {
		key(&c, "vector");
		floats(&c, q->vector, q->dim);
	}
	str(&c, "text", q->text);
	str(&c, "like", q->like);
	str(&c, "scope", q->scope);
	str(&c, "filter", q->filter);
	if (q->k)
		num(&c, "k", q->k);
	if (q->ef)
		num(&c, "ef", q->ef);
	if (q->has_min_score) {
		key(&c, "min_score");
		sb_f32(&c.b, q->min_score);
	}
	if (q->sum)
		str(&c, "combine", "sum");
	flag(&c, "exact", q->exact);
	flag(&c, "stale", q->stale);
	flag(&c, "wait", q->wait);
	flag(&c, "with_payload", q->with_payload);
	rc = rc < 0 ? rc : run(&c, found_key, f);
	end(&c);
	if (rc < 0) {
		vexfs_matches_free(&f->m);
		return rc;
	}
	*ret = &f->m;
	return (int)f->m.n;
}

void vexfs_matches_free(struct vexfs_matches *m)
{
	struct found *f = (struct found *)m;
	if (!f)
		return;
	arena_done(&f->a);
	mem_free(MEM_misc, f);
}
