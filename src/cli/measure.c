/* measure.c - see measure.h.
 *
 * Each call is timed by itself and kept, so quantiles are exact.  Requests are the binary ones of vexfs_ioctl.h.  Through a mount they go
 * as ioctls on its root (what fits 16 KiB) or through the query file (batches); in this process the same bytes are handed to the query
 * layer, as a front does.  Vectors are random (xorshift64*, a sum of uniforms), the same for both ways. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "cli/binreq.h"
#include "cli/measure.h"
#include "query/query.h"

#define FILL_BATCH 500u

uint64_t measure_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static pid_t watched;

void measure_watch(pid_t pid)
{
	watched = pid;
}

/* ns on a processor so far: ours, and of every thread of the watched process. A thread that ends meanwhile takes its share along */
static uint64_t cpu_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	uint64_t ns = (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
	char path[64], text[128];
	snprintf(path, sizeof path, "/proc/%d/task", (int)watched);
	DIR *d = watched ? opendir(path) : NULL;
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%.20s/schedstat", e->d_name);
		int fd = openat(dirfd(d), path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
		if (fd >= 0)
			close(fd);
		text[n > 0 ? n : 0] = 0;
		ns += strtoull(text, NULL, 10);
	}
	if (d)
		closedir(d);
	return ns;
}

static int up(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

void measure_run(
        struct measure *ret, const char *name, double seconds, uint64_t most, int (*op)(void *u, uint64_t i), void *u)
{
	uint64_t cap = most < MEASURE_SAMPLES_MAX ? most : MEASURE_SAMPLES_MAX, n = 0;
	uint64_t *ns = mem_alloc(MEM_cli, cap * sizeof *ns);
	ret->name = name;
	if (!ns) {
		ret->why = "no memory for the samples";
		return;
	}
	uint64_t cpu0 = cpu_now(), t0 = measure_now(), t = t0, end = t0 + (uint64_t)(seconds * 1e9);
	while (n < cap && t < end) {
		int rc = op(u, n);
		if (rc < 0) {
			ret->why = cli_fmt("%s", rc <= -VX_ERR_BASE ? err_text(rc) : strerror(-rc));
			break;
		}
		uint64_t now = measure_now();
		ns[n++] = now - t;
		t = now;
	}
	if (n) {
		ret->cpu_ns = (double)(cpu_now() - cpu0) / (double)n;
		qsort(ns, n, sizeof *ns, up);
		ret->n = n;
		ret->mean_ns = (double)(t - t0) / (double)n;
		ret->per_s = 1e9 / ret->mean_ns;
		ret->p50_ns = ns[(n - 1) / 2];
		ret->p90_ns = ns[(n - 1) * 9 / 10];
		ret->p99_ns = ns[(n - 1) * 99 / 100];
		ret->max_ns = ns[n - 1];
	}
	mem_free(MEM_cli, ns);
}

const char *measure_time_text(uint64_t ns)
{
	return ns < 100000 ? cli_fmt("%.1f us", (double)ns / 1e3) : cli_fmt("%.2f ms", (double)ns / 1e6);
}

/* ---- vectors -------------------------------------------------------------------------------------------------------------- */

static float next_float(uint64_t *s)
{
	float sum = 0;
	for (int i = 0; i < 4; i++) {
		*s ^= *s >> 12;
		*s ^= *s << 25;
		*s ^= *s >> 27;
		sum += (float)(*s * 0x2545f4914f6cdd1dull >> 40) / (float)(1 << 24) - 0.5f;
	}
	return sum;
}

static void next_vec(struct measure_to *t)
{
	for (uint32_t i = 0; i < t->dim; i++)
		t->vec[i] = next_float(&t->random);
}

int measure_to_init(struct measure_to *t, const char *coll, uint32_t dim, uint32_t k, uint32_t points)
{
	*t = (struct measure_to){
	        .root_fd = -1, .coll = coll, .dim = dim, .k = k, .points = points, .random = 0x9e3779b97f4a7c15ull};
	t->vec = mem_alloc(MEM_cli, (size_t)dim * sizeof *t->vec);
	t->msg = mem_zalloc(MEM_cli, MEASURE_MSG_MAX + 1);
	if (t->vec && t->msg)
		return 0;
	measure_to_done(t);
	return -ENOMEM;
}
void measure_to_done(struct measure_to *t)
{
	mem_free(MEM_cli, t->vec);
	mem_free(MEM_cli, t->msg);
	t->vec = NULL;
	t->msg = NULL;
}

/* ---- one request, in this process ------------------------------------------------------------------------------------------ */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t come;
	bool answered;
} wait_for = {.lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};

static void direct_done(struct vq *q)
{
	(void)q; /* one request at a time */
	pthread_mutex_lock(&wait_for.lock);
	wait_for.answered = true;
	pthread_cond_signal(&wait_for.come);
	pthread_mutex_unlock(&wait_for.lock);
}

static int direct_ask(struct measure_to *t, const void *msg, size_t n)
{
	const struct eng_caller who = {.uid = (uint32_t)getuid(), .gid = (uint32_t)getgid(), .pid = getpid()};
	struct vq *q = vq_new(t->e, &who);
	if (!q)
		return -ENOMEM;
	q->on_done = direct_done;
	q->j.inline_ok = true;
	wait_for.answered = false;
	int rc = vq_binary(q, msg, n);
	if (rc >= 0 && vq_submit(q) == ENG_PARKED) {
		pthread_mutex_lock(&wait_for.lock);
		while (!wait_for.answered)
			pthread_cond_wait(&wait_for.come, &wait_for.lock);
		pthread_mutex_unlock(&wait_for.lock);
	}
	vq_render(q);
	rc = q->j.rc;
	vq_free(q);
	return rc;
}

static int ask(struct measure_to *t, size_t n)
{
	if (t->root_fd < 0)
		return direct_ask(t, t->msg, n);
	const struct vexfs_hdr *h = (const void *)t->msg;
	unsigned long nr = n <= 4096 ? VEXFS_IOC_4K(h->op) : VEXFS_IOC_16K(h->op);
	return ioctl(t->root_fd, nr, t->msg) < 0 ? -errno : 0;
}

static struct vexfs_hdr header(uint16_t op, size_t n, uint32_t flags)
{
	return (struct vexfs_hdr){
	        .magic = VEXFS_MAGIC, .version = VEXFS_VERSION, .op = op, .size = (uint32_t)n, .flags = flags};
}

int measure_put(void *u, uint64_t i)
{
	struct measure_to *t = u;
	uint32_t bytes = t->dim * 4;
	struct vexfs_put p = {.hdr = header(VEXFS_OP_PUT, sizeof p + bytes, VEXFS_F_FREE_POINT),
	        .id = i % t->points,
	        .vector_off = sizeof p,
	        .vector_bytes = bytes};
	memcpy(p.collection, t->coll, strlen(t->coll));
	next_vec(t);
	memcpy(t->msg, &p, sizeof p);
	memcpy(t->msg + sizeof p, t->vec, bytes);
	return ask(t, sizeof p + bytes);
}

static int search(struct measure_to *t, uint32_t flags)
{
	uint32_t bytes = t->dim * 4;
	struct vexfs_search s = {.hdr = header(VEXFS_OP_SEARCH, sizeof s + bytes, flags),
	        .k = t->k,
	        .data_off = sizeof s,
	        .data_bytes = bytes,
	        .min_score = -INFINITY};
	memcpy(s.collection, t->coll, strlen(t->coll));
	next_vec(t);
	memcpy(t->msg, &s, sizeof s);
	memcpy(t->msg + sizeof s, t->vec, bytes);
	return ask(t, sizeof s + bytes);
}
int measure_search(void *u, uint64_t i)
{
	(void)i; /* each query is new */
	return search(u, 0);
}
int measure_exact(void *u, uint64_t i)
{
	(void)i; /* as above */
	return search(u, VEXFS_F_EXACT);
}

static int coll_op(struct measure_to *t, uint16_t op)
{
	struct vexfs_collection c = {.hdr = header(op, sizeof c, 0)};
	memcpy(c.collection, t->coll, strlen(t->coll));
	if (op == VEXFS_OP_COLLECTION_CREATE) {
		c.dim = t->dim;
		c.metric = 1; /* cosine */
	}
	memcpy(t->msg, &c, sizeof c);
	return ask(t, sizeof c);
}
int measure_create(struct measure_to *t)
{
	return coll_op(t, VEXFS_OP_COLLECTION_CREATE);
}
int measure_drop(struct measure_to *t)
{
	return coll_op(t, VEXFS_OP_COLLECTION_DROP);
}
int measure_flush(struct measure_to *t)
{
	int rc = coll_op(t, VEXFS_OP_INDEX_BUILD);
	if (rc < 0)
		return rc;
	struct vexfs_flush f = {.hdr = header(VEXFS_OP_FLUSH, sizeof f, 0)};
	memcpy(t->msg, &f, sizeof f);
	return ask(t, sizeof f);
}

/* the same through the query layer; a batch is larger than an ioctl */
static int fill_direct(struct measure_to *t, struct binreq_batch *b)
{
	size_t head = sizeof(struct vexfs_batch_put) + b->n * sizeof(struct vexfs_batch_point);
	uint8_t *m = mem_zalloc(MEM_cli, head + b->data_n);
	if (!m)
		return -ENOMEM;
	struct vexfs_batch_put p = {
	        .hdr = header(VEXFS_OP_BATCH_PUT, head + b->data_n, 0), .point_off = sizeof p, .point_n = b->n};
	memcpy(p.collection, t->coll, strlen(t->coll));
	memcpy(m, &p, sizeof p);
	struct vexfs_batch_point *pt = (void *)(m + sizeof p);
	memcpy(pt, b->table, b->n * sizeof *pt);
	for (uint32_t i = 0; i < b->n; i++)
		pt[i].vector_off += (uint32_t)head;
	memcpy(m + head, b->data, b->data_n);
	int rc = direct_ask(t, m, head + b->data_n);
	mem_free(MEM_cli, m);
	b->n = 0;
	b->data_n = 0;
	return rc;
}

int measure_fill(struct measure_to *t)
{
	struct binreq_batch b;
	struct cli_conn c = {.fd = -1};
	struct cli_progress p;
	int rc = 0;
	binreq_batch_init(&b, t->coll);
	if (t->root_fd >= 0)
		c.fd = openat(t->root_fd, ".vexfs/query", O_RDWR | O_CLOEXEC);
	if (t->root_fd >= 0 && c.fd < 0)
		return -errno;
	cli_progress_begin(&p, "vectors", t->points);
	for (uint32_t i = 0; i < t->points && rc >= 0; i++) {
		next_vec(t);
		rc = binreq_batch_add(&b, NULL, i, t->vec, t->dim, NULL);
		if (rc >= 0 && (b.n == FILL_BATCH || i + 1 == t->points))
			rc = t->root_fd < 0 ? fill_direct(t, &b) : binreq_batch_send(&b, &c, false) ? 0 : -EIO;
		cli_progress_at(&p, i + 1, t->points);
	}
	cli_progress_end(&p);
	binreq_batch_done(&b);
	cli_conn_close(&c);
	return rc < 0 ? rc : measure_flush(t);
}
