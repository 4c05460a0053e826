/* transport_ring.c - requests over io_uring: one ring a CPU, its thread pinned there.
 *
 * The kernel queues a request on the ring of the CPU its caller runs on, so the wakeup stays on that CPU; a wakeup across CPUs is most of
 * what a round trip by /dev/fuse costs.  A ring has entries, each with memory of its own:
 *
 *     | header 288 B ... in_header, op | payload (max_write) | room for replies built beside a request's payload |
 *
 * A command (REGISTER first, then COMMIT_AND_FETCH: reply to this one, bring the next) waits in the kernel until a request is in the
 * entry.  libfuse wants header, fixed part and payload in one piece: the first two are copied to just before the payload.  A reply of
 * data is built where it will lie (transport_scratch is the payload itself when the request has none).  After its reply an operation
 * doesn't look at its request any more.
 *
 * A request that parks keeps its entry.  Its reply comes on another thread: `unique` finds the entry, the reply is filled in there, and
 * the entry goes onto the ring's `done` list; the ring's own thread, woken by an eventfd it always has a read on, commits it, for a
 * ring takes commands from its thread alone.  A reply that arrives before the ring's thread has left the operation is kept aside
 * (stash) until it has.  Only three quarters of a ring may be parked (rings_may_park), the rest is for files.
 *
 * Operations that wait for a disk (fsync and the like) are handed to one of two helpers, lest they hold up their CPU's queue.
 *
 * FORGET and INTERRUPT have no ring form and come by /dev/fuse; an interrupted request is found by libfuse as ever.
 *
 * Memory: RING_BYTES_MAX over all rings, DEPTH_MAX entries a CPU; mapped, touched as used (the kernel takes the entry used last first).
 * CPUs that are not online have one entry each, kept by another's thread.
 *
 * Source: the kernel's Documentation/filesystems/fuse/fuse-io-uring.rst and fs/fuse/dev_uring.c. */
#include "fs/transport_priv.h"
#include "base/err.h"
#include "base/log.h"
#include "base/wq.h"

#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_BYTES_MAX ((uint64_t)64 << 20)
#define DEPTH_MAX      32u
#define DEPTH_MIN      4u
#define RINGS_MAX      64u /* threads; further CPUs share them */
#define CPUS_MAX       1024u
#define HEAD_BYTES     4096u
#define ROOM_BYTES     (72u << 10) /* an xattr's 64 KiB beside a name */
#define HELPERS        2u
#define TRIES_MAX      64u

enum ent_state { RE_kernel, RE_running, RE_answered, RE_parked, RE_filling, RE_done, RE_dead };

struct ring_ent {
	struct uapi_uring_req_header *h;
	uint8_t *pay, *img;
	struct iovec iov[2]; /* as REGISTER names them */
	struct ring *ring;
	uint16_t qid;
	bool committing; /* the command last sent */
	uint16_t tries; /* how often it was sent again */
	_Atomic uint64_t unique; /* of the request in it; 0: none */
	uint64_t commit_id;
	enum ent_state state; /* ring lock, but kernel <-> running, which is its thread's */
	bool replied; /* by the thread that runs it */
	struct fuse_out_header *stash; /* an answer that came early; NULL in RE_answered: no memory for it */
	struct ring_ent *next_done;
	struct wq_item item;
	struct rings *all;
};
struct ring {
	struct thread th;
	struct rings *all;
	unsigned cpu;
	bool started;
	struct io_uring u;
	int ev;
	uint64_t ev_value;
	pthread_mutex_t lock; /* guards done and the state of entries that have left the kernel */
	struct ring_ent *done;
	struct ring_ent *ent;
	uint32_t ent_n, live;
	_Atomic uint32_t parked;
	int rc, reached; /* all->lock */
};
struct rings {
	struct transport *t;
	uint32_t payload;
	size_t stride;
	uint8_t *mem;
	size_t mem_bytes;
	struct ring_ent *ent;
	uint32_t ent_n, ring_n;
	struct ring *ring;
	pthread_mutex_t lock; /* guards phase and every ring's rc, reached */
	pthread_cond_t turn;
	enum { PH_setup, PH_register, PH_serve, PH_quit } phase;
	_Atomic bool stop, quit;
	struct wq slow;
	struct thread helper[HELPERS];
	unsigned helper_n;
};

unsigned ring_cpus(const char *list, uint8_t *ret_bits, unsigned max)
{
	unsigned high = 0;
	memset(ret_bits, 0, (max + 7) / 8);
	for (const char *p = list; *p >= '0' && *p <= '9';) {
		unsigned a = 0, b;
		while (*p >= '0' && *p <= '9' && a < max)
			a = a * 10 + (unsigned)(*p++ - '0');
		b = a;
		if (*p == '-') {
			b = 0;
			for (p++; *p >= '0' && *p <= '9' && b < max; p++)
				b = b * 10 + (unsigned)(*p - '0');
		}
		for (unsigned i = a; i <= b && i < max; i++) {
			ret_bits[i / 8] |= (uint8_t)(1u << i % 8);
			high = i + 1 > high ? i + 1 : high;
		}
		if (*p == ',')
			p++;
	}
	return high;
}

enum ring_next ring_next_step(int res, bool was_commit, unsigned tries)
{
	switch (-res) {
	case EINTR:
	case EAGAIN: /* before the command had any effect: the same again */
		if (tries < TRIES_MAX)
			return RN_again;
		return RN_dead;
	case ENOTCONN:
	case ECONNABORTED:
	case ECANCELED:
	case ENODEV:
		return RN_dead;
	default: /* the kernel no longer knows the request: the entry is free, under a new registration */
		return was_commit && tries < TRIES_MAX ? RN_register : RN_dead;
	}
}

/* ---- commands, on the ring's own thread ------------------------------------------------------------------------------------------ */

static struct io_uring_sqe *sqe_get(struct ring *r)
{
	struct io_uring_sqe *s = io_uring_get_sqe(&r->u);
	if (!s) { /* as many as there are entries fit; only commands sent again can fill it */
		(void)io_uring_submit(&r->u);
		s = io_uring_get_sqe(&r->u);
	}
	if (s)
		memset(s, 0, 128);
	return s;
}

static void command(struct ring_ent *e, bool commit)
{
	struct ring *r = e->ring;
	struct io_uring_sqe *s = sqe_get(r);
	if (!s) {
		log_msg(LOGL_error, "a ring takes no more commands: one of its entries is lost");
		e->state = RE_dead;
		r->live--;
		return;
	}
	s->opcode = IORING_OP_URING_CMD;
	s->flags = IOSQE_FIXED_FILE;
	s->cmd_op = commit ? UAPI_URING_COMMIT_AND_FETCH : UAPI_URING_REGISTER;
	s->user_data = (uintptr_t)e;
	if (!commit) {
		s->addr = (uintptr_t)e->iov;
		s->len = 2;
	}
	struct uapi_uring_cmd_req c = {.qid = e->qid, .commit_id = commit ? e->commit_id : 0};
	memcpy((uint8_t *)s + 48, &c, sizeof c); /* io_uring_sqe.cmd */
	e->committing = commit;
}

static void read_event(struct ring *r)
{
	struct io_uring_sqe *s = sqe_get(r);
	if (!s)
		return;
	io_uring_prep_read(s, r->ev, &r->ev_value, sizeof r->ev_value, 0);
	s->user_data = 0;
}

static void kick(struct ring *r)
{
	uint64_t one = 1;
	ssize_t n = write(r->ev, &one, sizeof one);
	(void)n; /* full: a wake-up is pending already */
}

/* ---- replies ---------------------------------------------------------------------------------------------------------------------------- */

/* into the entry; the pieces may lie in its own memory, so the last goes first */
static void fill(struct ring_ent *e, const struct iovec *iov, int n)
{
	struct fuse_out_header o;
	size_t len = 0;
	memcpy(&o, iov[0].iov_base, sizeof o);
	for (int i = 1; i < n; i++)
		len += iov[i].iov_len;
	if (len > e->all->payload) {
		o.error = -EIO;
		o.len = sizeof o;
	}
	if (o.error)
		len = 0;
	size_t at = len;
	for (int i = n - 1; i > 0 && len; i--) {
		at -= iov[i].iov_len;
		if (iov[i].iov_base != e->pay + at)
			memmove(e->pay + at, iov[i].iov_base, iov[i].iov_len);
	}
	memcpy(e->h->in_out, &o, sizeof o);
	e->h->ent.payload_sz = (uint32_t)len;
}

static void fill_error(struct ring_ent *e, int rc)
{
	struct fuse_out_header o = {.len = sizeof o, .error = rc, .unique = atomic_load(&e->unique)};
	struct iovec v = {&o, sizeof o};
	fill(e, &v, 1);
}

static void fill_stash(struct ring_ent *e)
{
	if (!e->stash) {
		fill_error(e, -ENOMEM);
		return;
	}
	struct iovec v[2] = {{e->stash, sizeof *e->stash}, {e->stash + 1, e->stash->len - sizeof *e->stash}};
	fill(e, v, 2);
	mem_free(MEM_fs, e->stash);
	e->stash = NULL;
}

static struct fuse_out_header *stash_new(const struct iovec *iov, int n)
{
	struct fuse_out_header o;
	memcpy(&o, iov[0].iov_base, sizeof o);
	size_t len = 0;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	uint8_t *p = len >= sizeof o && len == o.len ? mem_alloc(MEM_fs, len) : NULL, *q = p;
	for (int i = 0; p && i < n; i++) {
		memcpy(q, iov[i].iov_base, iov[i].iov_len);
		q += iov[i].iov_len;
	}
	return (struct fuse_out_header *)p;
}

/* the ring's thread is to commit it; lock held */
static void done_locked(struct ring_ent *e)
{
	e->state = RE_done;
	e->next_done = e->ring->done;
	e->ring->done = e;
}

/* the reply to a request whose entry isn't in this thread's hand */
static bool reply_far(struct ring_ent *e, uint64_t unique, const struct iovec *iov, int n)
{
	struct ring *r = e->ring;
	bool wake = false;
	pthread_mutex_lock(&r->lock);
	bool mine = atomic_load_explicit(&e->unique, memory_order_relaxed) == unique;
	if (mine && e->state == RE_running) {
		e->stash = stash_new(iov, n);
		e->state = RE_answered;
	} else if (mine && e->state == RE_parked) {
		e->state = RE_filling;
		pthread_mutex_unlock(&r->lock);
		fill(e, iov, n);
		pthread_mutex_lock(&r->lock);
		atomic_fetch_sub_explicit(&r->parked, 1, memory_order_relaxed);
		done_locked(e);
		wake = true;
	}
	pthread_mutex_unlock(&r->lock);
	if (wake)
		kick(r);
	return mine;
}

bool rings_reply(struct rings *rs, const struct iovec *iov, int n)
{
	const struct fuse_out_header *o = iov[0].iov_base;
	struct ring_ent *e = transport_cur.ent;
	if (e && atomic_load_explicit(&e->unique, memory_order_relaxed) == o->unique) {
		fill(e, iov, n);
		e->replied = true;
		return true;
	}
	for (uint32_t i = 0; i < rs->ent_n; i++)
		if (atomic_load_explicit(&rs->ent[i].unique, memory_order_acquire) == o->unique &&
		        reply_far(&rs->ent[i], o->unique, iov, n))
			return true;
	return false;
}

bool rings_may_park(struct rings *rs)
{
	struct ring_ent *e = transport_cur.ent;
	(void)rs;
	return !e || atomic_load_explicit(&e->ring->parked, memory_order_relaxed) < e->ring->ent_n - e->ring->ent_n / 4;
}

/* ---- requests --------------------------------------------------------------------------------------------------------------------------- */

static void run(struct ring_ent *e)
{
	struct fuse_in_header h;
	memcpy(&h, e->img, sizeof h);
	size_t in = (e->h->ent.payload_sz + 63u) & ~(size_t)63;
	transport_cur.ent = e;
	transport_cur.scratch = e->pay + in;
	transport_cur.scratch_cap = in ? e->all->payload + ROOM_BYTES - in : e->all->payload;
	transport_process(e->all->t, e->img, h.len);
	transport_cur.ent = NULL;
}

/* true: it has its reply and may be committed */
static bool settled(struct ring_ent *e)
{
	struct ring *r = e->ring;
	if (e->replied)
		return true;
	pthread_mutex_lock(&r->lock);
	bool answered = e->state == RE_answered;
	if (answered)
		fill_stash(e);
	else {
		e->state = RE_parked;
		atomic_fetch_add_explicit(&r->parked, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&r->lock);
	return answered;
}

static void commit(struct ring_ent *e)
{
	atomic_store_explicit(&e->unique, 0, memory_order_relaxed);
	e->state = RE_kernel;
	command(e, true);
}

static void helper_main(void *arg)
{
	struct rings *rs = arg;
	struct wq_item *it;
	while (wq_pop(&rs->slow, WQ_FOREVER, &it) > 0) {
		struct ring_ent *e = WQ_OF(it, struct ring_ent, item);
		run(e);
		if (!settled(e))
			continue;
		pthread_mutex_lock(&e->ring->lock);
		done_locked(e);
		pthread_mutex_unlock(&e->ring->lock);
		kick(e->ring);
	}
}

static bool is_slow(uint32_t opcode)
{
	return opcode == FUSE_FSYNC || opcode == FUSE_FSYNCDIR || opcode == FUSE_FALLOCATE ||
	       opcode == FUSE_COPY_FILE_RANGE || opcode == FUSE_SYNCFS;
}

static void request(struct ring_ent *e)
{
	struct fuse_in_header h;
	memcpy(&h, e->h->in_out, sizeof h);
	size_t pay = e->h->ent.payload_sz, fixed = h.len - sizeof h - pay;
	e->commit_id = e->h->ent.commit_id;
	e->replied = false;
	e->state = RE_running;
	atomic_store_explicit(&e->unique, h.unique, memory_order_release);
	if (h.len < sizeof h + pay || pay > e->all->payload || fixed > sizeof e->h->op_in) {
		fill_error(e, -EIO);
		commit(e);
		return;
	}
	if (atomic_load_explicit(&e->all->stop, memory_order_relaxed)) {
		fill_error(e, -ENOTCONN);
		commit(e);
		return;
	}
	e->img = e->pay - fixed - sizeof h;
	memcpy(e->img, &h, sizeof h);
	memcpy(e->img + sizeof h, e->h->op_in, fixed);
	if (is_slow(h.opcode) && e->all->helper_n && !wq_push(&e->all->slow, &e->item))
		return;
	run(e);
	if (settled(e))
		commit(e);
}

static void came_back(struct ring_ent *e, int res)
{
	if (!res) {
		e->tries = 0;
		request(e);
		return;
	}
	switch (ring_next_step(res, e->committing, e->tries)) {
	case RN_again:
		e->tries++;
		command(e, e->committing);
		break;
	case RN_register:
		e->tries++;
		log_rc(LOGL_warn, "a ring's reply was not taken", res);
		command(e, false);
		break;
	case RN_dead:
		e->state = RE_dead;
		e->ring->live--;
		break;
	}
}

static void commit_done(struct ring *r)
{
	pthread_mutex_lock(&r->lock);
	struct ring_ent *e = r->done;
	r->done = NULL;
	pthread_mutex_unlock(&r->lock);
	while (e) {
		struct ring_ent *next = e->next_done;
		commit(e);
		e = next;
	}
}

static void serve(struct ring *r)
{
	while (!atomic_load_explicit(&r->all->quit, memory_order_relaxed) && r->live) {
		int rc = io_uring_submit_and_wait(&r->u, 1);
		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY) {
			log_rc(LOGL_error, "a ring broke down", rc);
			break;
		}
		while (io_uring_cq_ready(&r->u)) {
			struct io_uring_cqe *c;
			if (io_uring_peek_cqe(&r->u, &c))
				break;
			struct ring_ent *e = (struct ring_ent *)(uintptr_t)c->user_data;
			int res = c->res;
			io_uring_cqe_seen(&r->u, c);
			if (!e) {
				read_event(r);
				commit_done(r);
				continue;
			}
			if (!res && io_uring_sq_ready(&r->u))
				(void)io_uring_submit(
				        &r->u); /* what is answered goes before the next is run; < 0: with the next wait */
			came_back(e, res);
		}
	}
}

/* ---- threads ------------------------------------------------------------------------------------------------------------------------------ */

static int setup(struct ring *r)
{
	struct io_uring_params p = {.flags = IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL |
	                                     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(r->cpu, &one);
	(void)sched_setaffinity(0, sizeof one, &one); /* refused inside a smaller cpuset: slower, still right */
	if (transport_faults & TF_ring_setup)
		return -ENOSYS;
	int rc = io_uring_queue_init_params(r->ent_n + 2, &r->u, &p);
	if (rc < 0)
		return rc;
	rc = io_uring_register_files(&r->u, &r->all->t->fd, 1);
	if (rc < 0) {
		io_uring_queue_exit(&r->u);
		return rc;
	}
	(void)io_uring_register_ring_fd(&r->u); /* only saves a look-up */
	return 0;
}

/* every queue of this thread has an entry in the kernel's hands; else the first refusal */
static int enroll(struct ring *r)
{
	int bad = 0;
	for (uint32_t i = 0; i < r->ent_n; i++)
		command(&r->ent[i], false);
	read_event(r);
	for (unsigned round = 0; round < TRIES_MAX; round++) {
		bool again = false;
		(void)io_uring_submit(&r->u); /* what stays queued goes with the first wait */
		while (io_uring_cq_ready(&r->u)) {
			struct io_uring_cqe *c;
			if (io_uring_peek_cqe(&r->u, &c) || !c->user_data || !c->res)
				break; /* an event or a request already: serve() takes it */
			struct ring_ent *e = (struct ring_ent *)(uintptr_t)c->user_data;
			bad = bad ? bad : c->res;
			again |= c->res == -EAGAIN || c->res == -EINTR;
			came_back(e, c->res);
			io_uring_cqe_seen(&r->u, c);
		}
		if (!again)
			break;
	}
	for (uint32_t i = 0; i < r->ent_n; i++) {
		bool any = false;
		for (uint32_t k = 0; k < r->ent_n && !any; k++)
			any = r->ent[k].qid == r->ent[i].qid && r->ent[k].state != RE_dead;
		if (!any)
			return bad ? bad : -EIO;
	}
	return 0;
}

static int turn_over(struct ring *r, int reached, int rc)
{
	struct rings *rs = r->all;
	pthread_mutex_lock(&rs->lock);
	r->rc = rc;
	r->reached = reached;
	pthread_cond_broadcast(&rs->turn);
	while ((int)rs->phase < reached)
		pthread_cond_wait(&rs->turn, &rs->lock);
	int phase = rs->phase;
	pthread_mutex_unlock(&rs->lock);
	return phase;
}

static void ring_main(void *arg)
{
	struct ring *r = arg;
	thread_prompt();
	int rc = setup(r);
	int phase = turn_over(r, PH_register, rc);
	if (rc < 0)
		return;
	if (phase == PH_register)
		phase = turn_over(r, PH_serve, enroll(r));
	if (phase == PH_serve)
		serve(r);
	io_uring_queue_exit(&r->u);
	pthread_mutex_lock(
	        &r->lock); /* replies still to come are dropped: their clients have been told by the kernel */
	for (uint32_t i = 0; i < r->ent_n; i++)
		if (r->ent[i].state != RE_filling)
			r->ent[i].state = RE_dead;
	pthread_mutex_unlock(&r->lock);
}

/* all rings have reached @phase: the first error of them */
static int await(struct rings *rs, int phase)
{
	int rc = 0;
	pthread_mutex_lock(&rs->lock);
	for (uint32_t i = 0; i < rs->ring_n; i++) {
		struct ring *r = &rs->ring[i];
		while (r->started && r->reached < phase)
			pthread_cond_wait(&rs->turn, &rs->lock);
		if (!rc)
			rc = r->rc;
	}
	pthread_mutex_unlock(&rs->lock);
	return rc;
}
static void announce(struct rings *rs, int phase)
{
	pthread_mutex_lock(&rs->lock);
	rs->phase = (unsigned)phase;
	pthread_cond_broadcast(&rs->turn);
	pthread_mutex_unlock(&rs->lock);
}

/* ---- life --------------------------------------------------------------------------------------------------------------------------------- */

struct cpus {
	uint8_t possible[CPUS_MAX / 8], online[CPUS_MAX / 8];
	unsigned n, online_n;
};
static bool cpu_on(const uint8_t *bits, unsigned i)
{
	return bits[i / 8] >> i % 8 & 1;
}
static unsigned cpu_list(const char *path, uint8_t *ret_bits)
{
	char text[256] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		ssize_t n = read(fd, text, sizeof text - 1);
		text[n > 0 ? n : 0] = 0;
		close(fd);
	}
	return ring_cpus(text, ret_bits, CPUS_MAX);
}
static int cpus_look(struct cpus *c)
{
	c->n = cpu_list("/sys/devices/system/cpu/possible", c->possible);
	(void)cpu_list("/sys/devices/system/cpu/online", c->online); /* none: checked below */
	c->online_n = 0;
	for (unsigned i = 0; i < c->n; i++)
		c->online_n += cpu_on(c->online, i);
	return c->n && c->online_n ? 0 : -ENOSYS;
}

static void ent_init(struct rings *rs, uint32_t i, struct ring *r, unsigned qid)
{
	uint8_t *m = rs->mem + i * rs->stride;
	rs->ent[i] = (struct ring_ent){.h = (void *)m,
	        .pay = m + HEAD_BYTES,
	        .iov = {{m, sizeof(struct uapi_uring_req_header)}, {m + HEAD_BYTES, rs->payload}},
	        .ring = r,
	        .qid = (uint16_t)qid,
	        .all = rs};
	if (transport_faults & TF_ring_register)
		rs->ent[i].iov[1].iov_len = 512; /* too short: the kernel refuses it */
	r->ent_n++;
	r->live++;
}

/* entries dealt out: a ring's lie together, its own CPU's first, then one each of CPUs it keeps for others */
static void deal(struct rings *rs, const struct cpus *c, uint32_t depth)
{
	uint32_t at = 0, k = 0;
	for (unsigned cpu = 0; cpu < c->n && k < rs->ring_n; cpu++)
		if (cpu_on(c->online, cpu))
			rs->ring[k++].cpu = cpu;
	for (k = 0; k < rs->ring_n; k++) {
		struct ring *r = &rs->ring[k];
		unsigned other = 0, seen = 0;
		r->ent = &rs->ent[at];
		for (uint32_t d = 0; d < depth; d++)
			ent_init(rs, at++, r, r->cpu);
		for (unsigned cpu = 0; cpu < c->n; cpu++) {
			bool own = cpu_on(c->online, cpu) && seen++ < rs->ring_n;
			if (!own && other++ % rs->ring_n == k)
				ent_init(rs, at++, r, cpu);
		}
	}
}

static int make(struct rings *rs, const struct cpus *c)
{
	long page = sysconf(_SC_PAGESIZE);
	rs->ring_n = c->online_n < RINGS_MAX ? c->online_n : RINGS_MAX;
	rs->stride = (HEAD_BYTES + (size_t)rs->payload + ROOM_BYTES + (size_t)page - 1) & ~((size_t)page - 1);
	uint64_t rest = c->n - rs->ring_n, room = RING_BYTES_MAX / rs->stride;
	uint64_t depth = room > rest ? (room - rest) / rs->ring_n : 0;
	if (depth < DEPTH_MIN)
		return -E2BIG;
	if (depth > DEPTH_MAX)
		depth = DEPTH_MAX;
	rs->ent_n = (uint32_t)(depth * rs->ring_n + rest);
	rs->ent = mem_zalloc(MEM_fs, rs->ent_n * sizeof *rs->ent);
	rs->ring = mem_zalloc(MEM_fs, rs->ring_n * sizeof *rs->ring);
	if (!rs->ent || !rs->ring)
		return -ENOMEM;
	for (uint32_t i = 0; i < rs->ring_n; i++) {
		rs->ring[i].all = rs;
		pthread_mutex_init(&rs->ring[i].lock, NULL);
		rs->ring[i].ev = eventfd(0, EFD_CLOEXEC);
		if (rs->ring[i].ev < 0)
			return -errno;
	}
	rs->mem_bytes = rs->ent_n * rs->stride;
	void *m = mmap(NULL, rs->mem_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m == MAP_FAILED)
		return -ENOMEM;
	rs->mem = m;
	(void)madvise(m, rs->mem_bytes, MADV_NOHUGEPAGE); /* a huge page would hold ten entries that are never used */
	deal(rs, c, (uint32_t)depth);
	return wq_init(&rs->slow, rs->ent_n);
}

static int start(struct rings *rs)
{
	for (uint32_t i = 0; i < rs->ring_n; i++) {
		VX_TRY(thread_start(&rs->ring[i].th, "vexfs-ring", CONF_FUSE_STACK, ring_main, &rs->ring[i]));
		rs->ring[i].started = true;
	}
	while (rs->helper_n < HELPERS) {
		VX_TRY(thread_start(&rs->helper[rs->helper_n], "vexfs-slow", CONF_FUSE_STACK, helper_main, rs));
		rs->helper_n++;
	}
	return await(rs, PH_register);
}

int rings_new(struct transport *t, uint32_t payload, struct rings **ret)
{
	struct cpus c;
	VX_TRY(cpus_look(&c));
	struct rings *rs = mem_zalloc(MEM_fs, sizeof *rs);
	if (!rs)
		return -ENOMEM;
	rs->t = t;
	rs->payload = payload;
	pthread_mutex_init(&rs->lock, NULL);
	pthread_cond_init(&rs->turn, NULL);
	int rc = make(rs, &c);
	if (rc >= 0)
		rc = start(rs);
	if (rc < 0) {
		rings_free(rs);
		return rc;
	}
	*ret = rs;
	return 0;
}

int rings_register(struct rings *rs)
{
	announce(rs, PH_register);
	VX_TRY(await(rs, PH_serve));
	announce(rs, PH_serve);
	return 0;
}

void rings_stop(struct rings *rs)
{
	atomic_store(&rs->stop, true);
}

void rings_free(struct rings *rs)
{
	if (!rs)
		return;
	atomic_store(&rs->quit, true);
	announce(rs, PH_quit);
	for (uint32_t i = 0; rs->ring && i < rs->ring_n; i++)
		if (rs->ring[i].started) {
			kick(&rs->ring[i]);
			thread_join(&rs->ring[i].th);
		}
	if (rs->mem)
		wq_close(&rs->slow);
	for (unsigned i = 0; i < rs->helper_n; i++)
		thread_join(&rs->helper[i]);
	for (uint32_t i = 0; rs->ring && i < rs->ring_n; i++) {
		if (rs->ring[i].ev > 0)
			close(rs->ring[i].ev);
		if (rs->ring[i].all)
			pthread_mutex_destroy(&rs->ring[i].lock);
	}
	for (uint32_t i = 0; rs->ent && i < rs->ent_n; i++)
		mem_free(MEM_fs, rs->ent[i].stash);
	if (rs->mem) {
		wq_done(&rs->slow);
		munmap(rs->mem, rs->mem_bytes);
	}
	mem_free(MEM_fs, rs->ring);
	mem_free(MEM_fs, rs->ent);
	pthread_cond_destroy(&rs->turn);
	pthread_mutex_destroy(&rs->lock);
	mem_free(MEM_fs, rs);
}

uint64_t rings_bytes(const struct rings *rs)
{
	return rs->mem_bytes;
}
