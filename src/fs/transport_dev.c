/* transport_dev.c - workers that read requests from /dev/fuse, or from a socket that speaks the same.
 *
 * libfuse's own loop is not used: its workers can't be given a painted stack, measured per operation, or bounded.  Each worker has one
 * buffer: requests are read into its first part, replies of data are built in the rest.  Untouched pages of it cost nothing.
 *
 * How many: `base` workers wait for requests; when the last idle one takes a request another is started, up to WORKERS_MAX, so a slow disk
 * under one request does not stop the others.  A surplus one ends when SPARE others wait beside the base ones: more waiting threads
 * make every wakeup dearer, but a thread made and ended for each request of a busy mount costs more.
 *
 * Where: a wakeup on the client's own CPU costs a quarter of one across CPUs, and the client waits for the answer anyway.  Every 64th
 * request a worker looks where its client last ran and pins itself there; it lets go when the clients alternate, or move data, which
 * the kernel asks for ahead while the client goes on.  (A lone client's getxattr, p50: 10.5 us with it; without 11 where they happen to
 * meet, else up to 40; 2 CPUs, 2026-11-23.)
 *
 * With rings on, only FORGET and INTERRUPT come this way, which never wait: one worker does. */
#include "fs/transport_priv.h"
#include "base/log.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#define SPARE        2u
#define FOLLOW_EVERY 64u

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

/* the CPU a process last ran on: field 39 of its stat, counted behind the name, which may hold anything; < 0: gone, or not ours to see */
static int cpu_of(uint32_t pid)
{
	char b[512];
	struct sbuf p;
	sbuf_fixed(&p, b, sizeof b);
	sb_str(&p, "/proc/");
	sb_u64(&p, pid);
	sb_str(&p, "/stat");
	int fd = open(sbuf_cstr(&p), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, b, sizeof b - 1) : -1;
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	b[n] = 0;
	const char *s = strrchr(b, ')');
	for (unsigned field = 2; s && field < 39; field++)
		s = strchr(s + 1, ' ');
	int cpu = 0;
	if (!s || s[1] < '0' || s[1] > '9')
		return -1;
	for (s++; *s >= '0' && *s <= '9' && cpu < CPU_SETSIZE; s++)
		cpu = cpu * 10 + *s - '0';
	return cpu < CPU_SETSIZE ? cpu : -1;
}

static void go_to(struct worker *w, int cpu)
{
	cpu_set_t set = w->t->cpus;
	if (cpu >= 0 && CPU_ISSET((unsigned)cpu, &w->t->cpus)) {
		CPU_ZERO(&set);
		CPU_SET((unsigned)cpu, &set);
	} else
		cpu = -1;
	if (cpu != w->cpu && !sched_setaffinity(0, sizeof set, &set))
		w->cpu = cpu;
}

/* now and then: be where the client is */
static void follow(struct worker *w)
{
	struct fuse_in_header h;
	memcpy(&h, w->buf, sizeof h);
	if (!h.pid)
		return; /* nobody waits for it */
	bool data = h.opcode == FUSE_READ || h.opcode == FUSE_WRITE;
	bool same = atomic_exchange_explicit(&w->t->client, h.pid, memory_order_relaxed) == h.pid;
	if (same && !data)
		go_to(w, cpu_of(h.pid));
	else if (w->cpu >= 0)
		go_to(w, -1);
}

static void worker_main(void *arg)
{
	struct worker *w = arg;
	struct transport *t = w->t;
	sigset_t wake;
	sigemptyset(&wake);
	sigaddset(&wake, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	thread_prompt();
	if (CPU_COUNT(&t->cpus))
		(void)sched_setaffinity(0, sizeof t->cpus,
		        &t->cpus); /* not where the one that started us is pinned; as it is if refused */
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
		if (w->asked++ % FOLLOW_EVERY == FOLLOW_EVERY - 1 && may_grow(t))
			follow(w);
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
		w->cpu = -1;
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
