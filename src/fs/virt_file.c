/* virt_file.c - virtual files whose content is an answer.
 *
 * `query` is a small state machine on each open handle:
 *
 *     gather --read--> busy --done--> answered --write--> gather
 *
 * Writes gather one request; they may come in any pieces that leave no gap.  The first read submits it and is parked; that read's
 * offset is byte 0 of the answer, so plain sequential read and pread at 0 both work.  A read interrupted while it waits keeps the
 * request: the next read asks again.  `status` and `health` are asked when opened and show that one moment. */
#include "fs/virt_priv.h"

static void drop_in(struct vhandle *h)
{
	vq_free(h->again);
	h->again = NULL;
	mem_free(MEM_query, h->in);
	h->in = NULL;
	h->in_n = h->in_cap = 0;
}

static void drop_out(struct vhandle *h)
{
	mem_free(MEM_query, h->out);
	h->out = NULL;
	h->out_n = 0;
}

void vfile_done(struct vhandle *h)
{
	drop_in(h);
	drop_out(h);
}

static void reply_slice(fuse_req_t req, const struct vhandle *h, size_t size, off_t off)
{
	off_t at = off - h->out_base;
	if (at < 0) {
		fs_reply_rc(req, -EINVAL);
		return;
	}
	size_t left = (uint64_t)at < h->out_n ? h->out_n - (size_t)at : 0;
	fuse_reply_buf(req, left ? h->out + at : NULL, size < left ? size : left);
}

/* ---- query ---- */

void vfile_write(fuse_req_t req, struct vhandle *h, const char *buf, size_t size, off_t off)
{
	int rc = 0;
	if (h->node->kind == VK_ctl) {
		ctl_write(req, h, buf, size);
		return;
	}
	if (h->node->kind != VK_query) {
		fs_reply_rc(req, -EPERM);
		return;
	}
	pthread_mutex_lock(&h->lock);
	if (h->state == VH_busy) {
		rc = -EBUSY;
		goto out;
	}
	if (h->state == VH_answered || h->again) {
		drop_out(h);
		drop_in(h);
		h->state = VH_gather;
	}
	if (!h->in_n)
		h->in_base = off;
	uint64_t at = (uint64_t)(off - h->in_base);
	if (off < h->in_base || at > h->in_n) {
		rc = -EINVAL;
		goto out;
	}
	if (at + size > CONF_REQUEST_MAX) {
		rc = -VX_ERR_request_too_big;
		goto out;
	}
	if (at + size > h->in_cap) {
		size_t cap = h->in_cap ? h->in_cap : 1024;
		while (cap < at + size)
			cap *= 2;
		char *p = mem_realloc(MEM_query, h->in, cap);
		if (!p) {
			rc = -VX_ERR_mem_limit;
			goto out;
		}
		h->in = p;
		h->in_cap = cap;
	}
	memcpy(h->in + at, buf, size);
	if (at + size > h->in_n)
		h->in_n = (size_t)at + size;
out:
	pthread_mutex_unlock(&h->lock);
	if (rc < 0)
		fs_reply_rc(req, rc);
	else
		fuse_reply_write(req, size);
}

/* the read that waits: what it asked for */
struct qread {
	struct vhandle *h; /* with a ref */
	off_t off;
};

static void query_answer(struct fs_ask *a)
{
	struct qread *r = a->u;
	struct vhandle *h = r->h;
	struct virt *v = a->f->virt;
	struct vq *q = a->q;
	if (q->j.rc == -VX_ERR_cancelled) {
		pthread_mutex_lock(&h->lock);
		h->again = q;
		h->state = VH_gather;
		pthread_mutex_unlock(&h->lock);
		fs_reply_rc(a->req, -EINTR);
		vhandle_put(v, h);
		return;
	}
	vq_render(q);
	char *out = mem_alloc(MEM_query, q->out.n ? q->out.n : 1);
	pthread_mutex_lock(&h->lock);
	drop_in(h);
	if (out) {
		memcpy(out, q->out.p, q->out.n);
		h->out = out;
		h->out_n = q->out.n;
		h->out_base = r->off;
		h->state = VH_answered;
		reply_slice(a->req, h, a->size, r->off);
	} else {
		h->state = VH_gather;
		fs_reply_rc(a->req, -ENOMEM);
	}
	pthread_mutex_unlock(&h->lock);
	fs_ask_free(a);
	vhandle_put(v, h);
}

/* h->lock is held and dropped here; the state is busy */
static void query_ask(fuse_req_t req, struct virt *v, struct vhandle *h, size_t size, off_t off)
{
	struct vq *q = h->again;
	struct fs_ask *a;
	h->again = NULL;
	if (q) {
		a = q->u;
		a->req = req;
		q->j.rc = 0;
		q->j.err = (struct vx_errinfo){.position = -1};
		atomic_store_explicit(&q->j.cancel, 0, memory_order_relaxed);
	} else {
		a = fs_ask_new(req, query_answer);
		if (a) {
			q = a->q;
			a->u = arena_alloc(&q->arena, sizeof(struct qread));
			if (!a->u) {
				fs_ask_fail(a, -VX_ERR_arena_full);
				a = NULL;
			}
		}
		if (!a) {
			h->state = VH_gather;
			pthread_mutex_unlock(&h->lock);
			return;
		}
		/* refusals wait in q->j.rc and become the answer */
		if (h->in[0] == 'V')
			(void)vq_binary(q, h->in, h->in_n);
		else
			(void)vq_json(q, h->in, h->in_n);
	}
	struct qread *r = a->u;
	*r = (struct qread){.h = h, .off = off};
	a->size = size;
	pthread_mutex_unlock(&h->lock);
	pthread_mutex_lock(&v->lock);
	h->refs++;
	pthread_mutex_unlock(&v->lock);
	fs_ask_submit(a, NULL);
}

void vfile_read(fuse_req_t req, struct vhandle *h, size_t size, off_t off, int flags)
{
	uint8_t kind = h->node->kind;
	if (kind == VK_npy || kind == VK_ids) {
		gathered_read(req, h, size, off);
		return;
	}
	if (kind == VK_ctl) {
		ctl_read(req, h, size);
		return;
	}
	if (kind == VK_events) {
		events_read(req, h, size, flags);
		return;
	}
	pthread_mutex_lock(&h->lock);
	if (h->state == VH_answered) {
		reply_slice(req, h, size, off);
	} else if (h->state == VH_busy) {
		fs_reply_rc(req, -EBUSY);
	} else if (!h->in_n) {
		fuse_reply_buf(req, NULL, 0);
	} else {
		h->state = VH_busy;
		query_ask(req, fs_of(req)->virt, h, size, off);
		return; /* unlocked there */
	}
	pthread_mutex_unlock(&h->lock);
}

/* ---- status, health ---- */

/* what the status says, in one word for whoever only asks whether all is well */
static const char *health_word(const struct eng_job *j)
{
	static const char failed[] = "\"state\":\"failed\"", opening[] = "\"state\":\"opening\"",
	                  read_only[] = "\"read_only_reason\"";
	if (j->rc < 0 || !j->out_text)
		return "failed";
	if (memmem(j->out_text, j->out_text_n, failed, sizeof failed - 1))
		return "failed";
	if (memmem(j->out_text, j->out_text_n, read_only, sizeof read_only - 1))
		return "degraded";
	return memmem(j->out_text, j->out_text_n, opening, sizeof opening - 1) ? "opening" : "ok";
}

/* what keeps a mount from being ready, or makes it less than it was; files are served in any case */
static void health_reasons(struct sbuf *b, const struct eng_job *j)
{
	static const struct {
		const char *find, *say;
	} t[] = {{"\"state\":\"failed\"",
	                 "the vector store cannot be opened; status says why and when it is tried again"},
	        {"\"state\":\"opening\"", "the vector store is being opened"},
	        {"\"read_only_reason\"", "vectors are read-only until the next mount"},
	        {"\"regressions\":[{", "an operation is slower than its baseline"},
	        {"\"walking\":true", "the tree is being compared with the store"}};
	bool first = true;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		if (!j->out_text || !memmem(j->out_text, j->out_text_n, t[i].find, strlen(t[i].find)))
			continue;
		if (!first)
			sb_ch(b, ',');
		first = false;
		sb_json(b, t[i].say, strlen(t[i].say));
	}
}

static void health_text(struct sbuf *b, const struct eng_job *j)
{
	const char *word = health_word(j);
	bool ok = word[0] == 'o'; /* ok, opening */
	sb_str(b, "{\"ok\":");
	sb_str(b, ok ? "true" : "false");
	sb_str(b, ",\"live\":true,\"ready\":"); /* whoever reads this was served */
	sb_str(b, !strcmp(word, "ok") || !strcmp(word, "degraded") ? "true" : "false");
	sb_str(b, ",\"reasons\":[");
	health_reasons(b, j);
	sb_str(b, "],\"status\":\"");
	sb_str(b, word);
	sb_str(b, "\",\"generation\":");
	sb_u64(b, j->generation);
	sb_str(b, ",\"complete\":");
	sb_str(b, j->complete ? "true" : "false");
	sb_str(b, ",\"pending\":");
	sb_u64(b, j->pending);
	sb_str(b, "}\n");
}

static void open_answer(struct fs_ask *a)
{
	struct vnode *n = a->u;
	struct fuse_file_info *fi = a->u2;
	struct virt *v = a->f->virt;
	struct vq *q = a->q;
	if (n->kind == VK_health) {
		if (sbuf_arena(&q->out, &q->arena, 512, 4096) >= 0)
			health_text(&q->out, &q->j);
	} else if (n->kind == VK_metrics) {
		if (sbuf_arena(&q->out, &q->arena, 8192, 1u << 20) >= 0)
			vq_metrics_text(&q->out, q->e);
	} else {
		vq_render(q);
	}
	struct vhandle *h = NULL;
	char *out = q->out.n ? mem_alloc(MEM_query, q->out.n) : NULL;
	if (out)
		h = vhandle_new(v, n);
	if (!h) {
		mem_free(MEM_query, out);
		vnode_put(v, n);
		return fs_ask_fail(a, -ENOMEM);
	}
	memcpy(out, q->out.p, q->out.n);
	h->out = out;
	h->out_n = q->out.n;
	h->state = VH_answered;
	fi->fh = idobj_id(&h->id);
	fi->direct_io = 1;
	if (fuse_reply_open(a->req, fi) == -ENOENT)
		vhandle_put(v, h);
	fs_ask_free(a);
}

/* a file that is gathered or streamed: only the handle is made */
static void plain_open(fuse_req_t req, struct virt *v, struct vnode *n, struct fuse_file_info *fi)
{
	struct vhandle *h = vhandle_new(v, n);
	if (!h) {
		vnode_put(v, n);
		fs_reply_rc(req, -ENFILE);
		return;
	}
	if (n->kind == VK_ctl)
		ctl_open(h);
	if (n->kind == VK_events)
		events_open(v, h);
	fi->fh = idobj_id(&h->id);
	fi->direct_io = 1;
	fi->nonseekable = n->kind != VK_query;
	if (fuse_reply_open(req, fi) == -ENOENT)
		vhandle_put(v, h);
}

/* a file whose content is one answer, made now */
static void answer_open(fuse_req_t req, struct vnode *n, const struct fuse_file_info *fi)
{
	struct virt *v = fs_of(req)->virt;
	struct fs_ask *a = fs_ask_new(req, open_answer);
	struct fuse_file_info *keep = a ? arena_alloc(&a->q->arena, sizeof *keep) : NULL;
	if (!keep) {
		vnode_put(v, n);
		if (a)
			fs_ask_fail(a, -VX_ERR_arena_full);
		return;
	}
	*keep = *fi;
	a->u = n;
	a->u2 = keep;
	vq_verb(a->q, n->kind == VK_info                             ? "collection_info"
	              : n->kind == VK_stats || n->kind == VK_metrics ? "stats"
	                                                             : "status");
	if (n->kind == VK_info)
		a->q->j.coll = n->parent->name; /* n lives until the answer */
	fs_ask_submit(a, NULL);
}

/* n's ref is taken */
void vfile_open(fuse_req_t req, struct vnode *n, struct fuse_file_info *fi)
{
	struct virt *v = fs_of(req)->virt;
	switch ((enum vkind)n->kind) {
	case VK_query:
	case VK_ctl:
	case VK_events:
		plain_open(req, v, n, fi);
		return;
	case VK_npy:
	case VK_ids:
		gathered_open(req, n, fi);
		return;
	case VK_status:
	case VK_health:
	case VK_stats:
	case VK_metrics:
	case VK_info:
		answer_open(req, n, fi);
		return;
	case VK_root:
	case VK_search:
	case VK_text:
	case VK_like:
	case VK_link:
	case VK_saved:
	case VK_savedlink:
	case VK_colls:
	case VK_coll:
	case VK_N:
		break;
	}
	fs_reply_rc(req, virt_is_dir(n) ? -EISDIR : -ELOOP);
	vnode_put(v, n);
}
