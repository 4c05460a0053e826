/* direct.c - the same requests as bench/mount/client.c sends, answered in this process by the query layer: what remains when the mount is
 * taken away.
 *
 * usage: direct DIR SECONDS SETUP… -- REQUEST…   each a file: binary (first byte 'V') or JSON.  The setup is run once, then each request
 * for SECONDS.  The caller stays on the first CPU, as the client of the mount does; the engine's threads run where they like.  Prints a line a request: p50 and p90 in nanoseconds, requests a second. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "base/os.h"
#include "query/query.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static int answered;

static uint64_t now(void)
{
	return os_mono_ns(os_real());
}
static void on_done(struct vq *q)
{
	(void)q;
	pthread_mutex_lock(&lock);
	answered = 1;
	pthread_cond_signal(&turn);
	pthread_mutex_unlock(&lock);
}

struct req {
	char *b;
	size_t n;
};
static struct req load(const char *p)
{
	struct stat st;
	struct req r = {0};
	int fd = open(p, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) || !(r.b = malloc((size_t)st.st_size + 1)) ||
	        read(fd, r.b, (size_t)st.st_size) != st.st_size) {
		perror(p);
		exit(1);
	}
	close(fd);
	r.n = (size_t)st.st_size;
	return r;
}

/* what a front does with one request; the answer is rendered, and looked at when @say */
static int ask(struct engine *e, const struct req *r, char *copy, int say)
{
	const struct eng_caller who = {.pid = getpid()};
	struct vq *q = vq_new(e, &who);
	if (!q)
		return -1;
	q->on_done = on_done;
	q->j.inline_ok = true;
	q->j.fd = -1;
	memcpy(copy, r->b, r->n); /* as a front copies it in */
	int rc = *copy == 'V' ? vq_binary(q, copy, r->n) : vq_json(q, copy, r->n);
	answered = 0;
	if (rc >= 0 && vq_submit(q) == ENG_PARKED) {
		pthread_mutex_lock(&lock);
		while (!answered)
			pthread_cond_wait(&turn, &lock);
		pthread_mutex_unlock(&lock);
	}
	vq_render(q);
	rc = q->j.rc;
	if (say && rc < 0)
		fprintf(stderr, "direct: %s %.*s\n", err_text(rc), (int)(q->out.n < 200 ? q->out.n : 200), q->out.p);
	vq_free(q);
	return rc;
}
static int up(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int first_cpu(void)
{
	cpu_set_t c;
	int i = 0;
	if (sched_getaffinity(0, sizeof c, &c))
		return 0;
	while (i < CPU_SETSIZE - 1 && !CPU_ISSET(i, &c))
		i++;
	return i;
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	int root = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	double s = atof(argv[2]);
	char *copy = malloc((size_t)64 << 20);
	const struct eng_cfg cfg = {.os = os_real(),
	        .root_fd = root,
	        .dir = argv[1],
	        .components = ENG_all,
	        .transport = "none",
	        .version = "0"};
	struct engine *e;
	if (root < 0 || eng_new(&cfg, &e) < 0 || eng_start(e) < 0) {
		fprintf(stderr, "direct: no engine on %s\n", argv[1]);
		return 1;
	}
	int i = 3;
	for (; i < argc && argv[i][0] != '-'; i++) {
		struct req r = load(argv[i]);
		if (ask(e, &r, copy, 1) < 0)
			return 1;
		free(r.b);
	}
	cpu_set_t c;
	CPU_ZERO(&c);
	CPU_SET((unsigned)first_cpu(), &c);
	sched_setaffinity(0, sizeof c, &c);
	size_t cap = 1 << 22;
	uint32_t *ns = malloc(cap * sizeof *ns);
	for (i++; i < argc; i++) {
		struct req r = load(argv[i]);
		size_t n = 0;
		uint64_t t0 = now(), t = t0, end = t0 + (uint64_t)(s * 1e9);
		while (t < end && n < cap) {
			if (ask(e, &r, copy, 1) < 0)
				return 1;
			uint64_t u = now();
			ns[n++] = (uint32_t)(u - t);
			t = u;
		}
		qsort(ns, n, sizeof *ns, up);
		printf("%u %u %.1f\n", ns[n / 2], ns[n * 9 / 10], (double)n / ((double)(t - t0) / 1e9));
		free(r.b);
	}
	eng_stop(e);
	eng_free(e);
	close(root);
	return 0;
}
