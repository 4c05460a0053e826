/* virt_set.c - result sets: what a directory of results shows, and how its names resolve afterwards; see virt_priv.h. */
#include "fs/virt_priv.h"

#define RANK_DIGITS 3u

bool vset_is_entry(const char *name)
{
	size_t d = 0;
	while (name[d] >= '0' && name[d] <= '9')
		d++;
	return d >= RANK_DIGITS && name[d] == '_';
}

static const char *base_of(const char *path)
{
	const char *s = strrchr(path, '/');
	return s ? s + 1 : path;
}

/* "001_0.873_name.md", at most CONF_NAME_MAX bytes, cut between characters */
static void entry_name(struct sbuf *b, uint32_t rank, const struct eng_hit *h)
{
	size_t start = b->n;
	sb_pad_u64(b, rank, RANK_DIGITS);
	sb_ch(b, '_');
	sb_fixed(b, (double)h->score, 3);
	sb_ch(b, '_');
	const char *base = base_of(h->path);
	size_t n = strlen(base), room = CONF_NAME_MAX - (b->n - start);
	if (n > room) {
		n = room;
		while (n && ((unsigned char)base[n] & 0xc0) == 0x80)
			n--;
	}
	sb_bytes(b, base, n);
	sb_ch(b, 0);
}

struct vset *vset_make(const struct eng_job *j, uint32_t uid)
{
	uint32_t n = 0;
	size_t text = 16; /* the last string's room for sbuf's own NUL */
	for (uint32_t i = 0; i < j->res_n; i++)
		if (j->res[i].path) { /* a free point appears in no directory */
			n++;
			text += CONF_NAME_MAX + 2 + strlen(j->res[i].path) + 1;
		}
	size_t bytes = sizeof(struct vset) + n * sizeof(struct vent) + text;
	struct vset *s = mem_alloc(MEM_fs, bytes);
	if (!s)
		return NULL;
	*s = (struct vset){.refs = 1, .n = n, .uid = uid, .bytes = bytes};
	struct sbuf b;
	sbuf_fixed(&b, (char *)(s->ent + n), text);
	for (uint32_t i = 0, at = 0; i < j->res_n; i++) {
		const struct eng_hit *h = j->res + i;
		if (!h->path)
			continue;
		struct vent *e = s->ent + at++;
		e->key = h->key;
		e->name = b.p + b.n;
		entry_name(&b, at, h);
		e->path = b.p + b.n;
		sb_bytes(&b, h->path, strlen(h->path) + 1);
	}
	vx_assert(!b.over);
	return s;
}

static void put_locked(struct vset *s)
{
	if (!--s->refs)
		mem_free(MEM_fs, s);
}

void vset_put(struct virt *v, struct vset *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&v->lock);
	put_locked(s);
	pthread_mutex_unlock(&v->lock);
}

static void unlist(struct virt *v, struct vset *s)
{
	struct vset **p = &s->node->sets;
	while (*p != s)
		p = &(*p)->node_next;
	*p = s->node_next;
	s->node->set_n--;
	if (s->age_prev)
		s->age_prev->age_next = s->age_next;
	else
		v->oldest = s->age_next;
	if (s->age_next)
		s->age_next->age_prev = s->age_prev;
	else
		v->newest = s->age_prev;
	v->set_bytes -= s->bytes;
	s->listed = false;
	vnode_put_locked(v, s->node);
	put_locked(s);
}

static void reap(struct virt *v, uint64_t now)
{
	while (v->oldest && (v->oldest->expires_ns <= now || v->set_bytes > VSET_BYTES_MAX))
		unlist(v, v->oldest);
}

void vset_reap(struct virt *v)
{
	uint64_t now = virt_now(v);
	pthread_mutex_lock(&v->lock);
	reap(v, now);
	pthread_mutex_unlock(&v->lock);
}

bool vset_evict(struct virt *v, bool forgotten)
{
	struct vset *s = v->oldest;
	while (s && forgotten && s->node->lookups)
		s = s->age_next;
	if (s)
		unlist(v, s);
	return s != NULL;
}

void vset_list(struct virt *v, struct vnode *n, struct vset *s)
{
	uint64_t now = virt_now(v);
	if (!s->n)
		return; /* no name was handed out */
	pthread_mutex_lock(&v->lock);
	reap(v, now);
	if (n->set_n >= VSET_PER_NODE) {
		struct vset *last = n->sets;
		while (last->node_next)
			last = last->node_next;
		unlist(v, last);
	}
	s->refs++;
	s->listed = true;
	s->expires_ns = now + VSET_NS;
	s->node = n;
	n->refs++;
	s->node_next = n->sets;
	n->sets = s;
	n->set_n++;
	s->age_prev = v->newest;
	s->age_next = NULL;
	if (v->newest)
		v->newest->age_next = s;
	else
		v->oldest = s;
	v->newest = s;
	v->set_bytes += s->bytes;
	reap(v, now);
	pthread_mutex_unlock(&v->lock);
}

struct vset *vset_find(struct virt *v, struct vnode *n, uint32_t uid, const char *name, uint32_t *ret_i)
{
	uint64_t rank, now = virt_now(v);
	size_t d = strspn(name, "0123456789");
	rank = 0;
	for (size_t i = 0; i < d && rank < CONF_K_MAX; i++)
		rank = rank * 10 + (uint64_t)(name[i] - '0');
	if (!rank)
		return NULL;
	pthread_mutex_lock(&v->lock);
	reap(v, now);
	struct vset *s = n->sets;
	while (s && !(s->uid == uid && rank <= s->n && !strcmp(s->ent[rank - 1].name, name)))
		s = s->node_next;
	if (s) {
		s->refs++;
		*ret_i = (uint32_t)rank - 1;
	}
	pthread_mutex_unlock(&v->lock);
	return s;
}

void vset_drop_all(struct virt *v)
{
	pthread_mutex_lock(&v->lock);
	while (v->oldest)
		unlist(v, v->oldest);
	pthread_mutex_unlock(&v->lock);
}
