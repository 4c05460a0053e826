/* virt_ctl.c - ctl and events, for the mount's owner.
 *
 * ctl: one verb a line, one line a write: `retry`, `wait durable=true`, `collection_drop name=c`, or a JSON request.  The write ends
 * when the verb has, with its errno; the answer is read from the same handle.  Before the first write a read lists the verbs.
 *
 * events: JSON lines from the moment of opening on.  A read with nothing to tell is parked (EAGAIN with O_NONBLOCK) until an event
 * comes; poll works.  Posting an event only wakes the front thread (park.c), which replies. */
#include "fs/virt_priv.h"

#include <fcntl.h>
#include <poll.h>

#include "base/event.h"
#include "fs/transport.h"

#define CTL_LINE_MAX 8192u

/* ---- ctl ---- */

void ctl_open(struct vhandle *h)
{
	struct sbuf b;
	char *p = mem_alloc(MEM_query, 2048);
	if (!p)
		return; /* nothing to read, then */
	sbuf_fixed(&b, p, 2048);
	for (const struct verb *vb = verb_next(NULL); vb; vb = verb_next(vb)) {
		sb_str(&b, vb->name);
		sb_ch(&b, '\n');
	}
	h->out = p;
	h->out_n = b.n;
}

static bool plain_value(const char *s, size_t n)
{
	double d;
	return (n == 4 && !memcmp(s, "true", 4)) || (n == 5 && !memcmp(s, "false", 5)) || num_f64(s, n, &d) == (int)n;
}

/* `verb key=value …` as JSON */
static int line_json(struct sbuf *b, const char *s, size_t n)
{
	sb_str(b, "{\"verb\":");
	for (size_t i = 0, word = 0; i < n; word++) {
		size_t e = i;
		while (e < n && s[e] != ' ' && s[e] != '\t')
			e++;
		const char *eq = word ? memchr(s + i, '=', e - i) : NULL;
		if (word && !eq)
			return -EINVAL;
		if (eq) {
			const char *val = eq + 1;
			size_t val_n = (size_t)(s + e - val);
			sb_ch(b, ',');
			sb_json(b, s + i, (size_t)(eq - (s + i)));
			sb_ch(b, ':');
			if (plain_value(val, val_n))
				sb_bytes(b, val, val_n);
			else
				sb_json(b, val, val_n);
		} else {
			sb_json(b, s + i, e - i);
		}
		i = e;
		while (i < n && (s[i] == ' ' || s[i] == '\t'))
			i++;
	}
	sb_ch(b, '}');
	return b->over ? -VX_ERR_arena_full : 0;
}

static void ctl_answer(struct fs_ask *a)
{
	struct vhandle *h = a->u;
	struct virt *v = a->f->virt;
	struct vq *q = a->q;
	int rc = q->j.rc;
	vq_render(q);
	char *out = mem_alloc(MEM_query, q->out.n ? q->out.n : 1);
	pthread_mutex_lock(&h->lock);
	mem_free(MEM_query, h->out);
	h->out = out;
	h->out_n = out ? q->out.n : 0;
	h->in_base = 0; /* read so far */
	if (out)
		memcpy(out, q->out.p, q->out.n);
	pthread_mutex_unlock(&h->lock);
	if (rc < 0)
		fs_reply_rc(a->req, rc);
	else
		fuse_reply_write(a->req, a->size);
	fs_ask_free(a);
	vhandle_put(v, h);
}

void ctl_write(fuse_req_t req, struct vhandle *h, const char *buf, size_t size)
{
	struct virt *v = fs_of(req)->virt;
	size_t n = size;
	while (n && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
		n--;
	if (!n || size > CTL_LINE_MAX) {
		fs_reply_rc(req, n ? -E2BIG : -EINVAL);
		return;
	}
	if (memchr(buf, '\n', n) && buf[0] != '{') {
		fs_reply_rc(req, -EINVAL);
		return;
	}
	struct fs_ask *a = fs_ask_new(req, ctl_answer);
	if (!a)
		return;
	struct sbuf b;
	int rc = sbuf_arena(&b, &a->q->arena, n + 64, CTL_LINE_MAX * 8);
	if (rc >= 0 && buf[0] == '{')
		sb_bytes(&b, buf, n);
	else if (rc >= 0)
		rc = line_json(&b, buf, n);
	if (rc < 0) {
		fs_ask_fail(a, rc);
		return;
	}
	a->u = h;
	a->size = size;
	(void)vq_json(a->q, b.p, b.n); /* a refusal waits in the job and becomes the answer */
	pthread_mutex_lock(&v->lock);
	h->refs++;
	pthread_mutex_unlock(&v->lock);
	fs_ask_submit(a, NULL);
}

/* a stream: offsets mean nothing */
void ctl_read(fuse_req_t req, struct vhandle *h, size_t size)
{
	pthread_mutex_lock(&h->lock);
	size_t at = (size_t)h->in_base, left = h->out_n - at, n = size < left ? size : left;
	fuse_reply_buf(req, n ? h->out + at : NULL, n);
	h->in_base += (off_t)n;
	pthread_mutex_unlock(&h->lock);
}

/* ---- events ---- */

struct evwait { /* a parked read */
	struct evwait *next;
	fuse_req_t req;
	struct vhandle *h; /* with a ref */
	size_t size;
	_Atomic int interrupted;
};

static void posted(void *u)
{
	(void)u; /* one front thread */
	fs_front_wake(FS_WAKE_EVENTS);
}

void events_open(struct virt *v, struct vhandle *h)
{
	h->event_seq = event_seq() + 1;
	fs_front_events(v);
	event_watch(posted, v);
}

static void event_json(struct sbuf *b, const struct event *e, uint64_t missed)
{
	sb_str(b, "{\"seq\":");
	sb_u64(b, e->seq);
	sb_str(b, ",\"time_ns\":");
	sb_u64(b, e->real_ns);
	sb_str(b, ",\"kind\":");
	sb_json(b, e->kind, strlen(e->kind));
	sb_str(b, ",\"text\":");
	sb_json(b, e->text, strlen(e->text));
	sb_str(b, ",\"value\":");
	sb_u64(b, e->value);
	if (missed) {
		sb_str(b, ",\"missed\":");
		sb_u64(b, missed);
	}
	sb_str(b, "}\n");
}

/* whole lines that fit; h->lock is held. @mem at least EVENT_LINE_MAX */
static size_t events_take(struct vhandle *h, char *mem, size_t cap)
{
	size_t n = 0;
	for (;;) {
		struct event e;
		struct sbuf b;
		uint64_t seq = h->event_seq;
		if (cap - n < EVENT_LINE_MAX || !event_get(&seq, &e))
			return n;
		sbuf_fixed(&b, mem + n, cap - n);
		event_json(&b, &e, seq - h->event_seq);
		if (b.over)
			return n;
		n += b.n;
		h->event_seq = seq + 1;
	}
}

static void on_interrupt(fuse_req_t req, void *u)
{
	struct evwait *w = u;
	(void)req; /* the wait knows it */
	atomic_store(&w->interrupted, 1);
	fs_front_wake(FS_WAKE_EVENTS);
}

void events_read(fuse_req_t req, struct vhandle *h, size_t size, int flags)
{
	struct virt *v = fs_of(req)->virt;
	size_t cap;
	char *p = transport_scratch(&cap);
	if (size < EVENT_LINE_MAX) {
		fs_reply_rc(req, -EINVAL);
		return;
	}
	pthread_mutex_lock(&h->lock);
	size_t n = events_take(h, p, size < cap ? size : cap);
	pthread_mutex_unlock(&h->lock);
	struct fs *f = fs_of(req);
	bool may_park = !f->transport || transport_may_park(f->transport);
	if (n || flags & O_NONBLOCK || !may_park) {
		if (n)
			fuse_reply_buf(req, p, n);
		else
			fs_reply_rc(req, -EAGAIN);
		return;
	}
	struct evwait *w = mem_zalloc(MEM_fs, sizeof *w);
	if (!w) {
		fs_reply_rc(req, -ENOMEM);
		return;
	}
	w->req = req;
	w->h = h;
	w->size = size;
	/* once it is listed the front thread may answer it: not before it is armed, so it takes v->ev_arm first */
	pthread_mutex_lock(&v->ev_arm);
	pthread_mutex_lock(&v->lock);
	h->refs++;
	w->next = v->ev_waits;
	v->ev_waits = w;
	pthread_mutex_unlock(&v->lock);
	fuse_req_interrupt_func(req, on_interrupt, w);
	pthread_mutex_unlock(&v->ev_arm);
	fs_front_wake(FS_WAKE_EVENTS); /* what was posted between looking and listing */
}

bool events_poll(struct virt *v, struct vhandle *h, struct fuse_pollhandle *ph)
{
	struct event e;
	uint64_t seq = h->event_seq;
	pthread_mutex_lock(&h->lock);
	struct fuse_pollhandle *old = h->ph;
	h->ph = ph;
	pthread_mutex_unlock(&h->lock);
	if (old)
		fuse_pollhandle_destroy(old);
	if (ph) {
		pthread_mutex_lock(&v->lock);
		v->polls_due = true;
		pthread_mutex_unlock(&v->lock);
	}
	return event_get(&seq, &e);
}

static void answer_one(struct virt *v, struct evwait *w, char *mem, size_t cap)
{
	fuse_req_interrupt_func(w->req, NULL, NULL);
	pthread_mutex_lock(&w->h->lock);
	size_t n = events_take(w->h, mem, w->size < cap ? w->size : cap);
	pthread_mutex_unlock(&w->h->lock);
	if (n)
		fuse_reply_buf(w->req, mem, n);
	else
		fs_reply_rc(w->req, -EINTR);
	vhandle_put(v, w->h);
	mem_free(MEM_fs, w);
}

static bool ready(const struct evwait *w)
{
	struct event e;
	uint64_t seq = w->h->event_seq;
	return atomic_load(&w->interrupted) || event_get(&seq, &e);
}

static void wake_polls(struct virt *v)
{
	for (uint32_t i = 0; i < v->handles.made; i++) {
		struct vhandle *h = (struct vhandle *)idtab_at(&v->handles, i);
		pthread_mutex_lock(&v->lock);
		bool live = (atomic_load_explicit(&h->id.gen, memory_order_relaxed) & 1) && h->refs;
		if (live)
			h->refs++;
		pthread_mutex_unlock(&v->lock);
		if (!live)
			continue;
		struct event e;
		pthread_mutex_lock(&h->lock);
		uint64_t seq = h->event_seq;
		struct fuse_pollhandle *ph = h->ph && h->node->kind == VK_events && event_get(&seq, &e) ? h->ph : NULL;
		if (ph)
			h->ph = NULL;
		pthread_mutex_unlock(&h->lock);
		if (ph) {
			(void)fuse_lowlevel_notify_poll(ph); /* nobody polls any more: nothing lost */
			fuse_pollhandle_destroy(ph);
		}
		vhandle_put(v, h);
	}
}

/* on the front thread */
void events_deliver(struct virt *v, char *mem, size_t cap)
{
	pthread_mutex_lock(&v->ev_arm);
	struct evwait *out = NULL;
	pthread_mutex_lock(&v->lock);
	for (struct evwait **p = &v->ev_waits; *p;) {
		struct evwait *w = *p;
		if (!ready(w)) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		w->next = out;
		out = w;
	}
	bool polls = v->polls_due;
	pthread_mutex_unlock(&v->lock);
	pthread_mutex_unlock(&v->ev_arm);
	for (struct evwait *next; out; out = next) {
		next = out->next;
		answer_one(v, out, mem, cap);
	}
	if (polls)
		wake_polls(v);
}

/* at the end: the session is gone, nobody can be answered */
void events_drop(struct virt *v)
{
	event_watch(NULL, NULL);
	for (struct evwait *w = v->ev_waits, *next; w; w = next) {
		next = w->next;
		mem_free(MEM_fs, w);
	}
	v->ev_waits = NULL;
}
