/* virt_node.c - the nodes and handles of the virtual tree, and how their table stays bounded; see virt_priv.h. */
#include "fs/virt_priv.h"

#include <unistd.h>

static uint32_t hash_of(const struct vnode_want *w)
{
	uint64_t h = hash64(w->name, strlen(w->name),
	        (uint64_t)(uintptr_t)w->parent ^ w->real ^ (uint64_t)w->kind << 56 ^ (uint64_t)w->is_file << 55);
	if (w->key)
		h = hash64(w->key->b, w->key->len, h);
	return (uint32_t)h;
}

static bool is_wanted(const struct vnode *n, const struct vnode_want *w, uint32_t hash)
{
	if (n->hash != hash || n->parent != w->parent || n->kind != w->kind || n->is_file != w->is_file ||
	        n->real != w->real || strcmp(n->name, w->name))
		return false;
	return !w->key || objkey_eq(&n->key, w->key);
}

static void use_out(struct virt *v, struct vnode *n)
{
	if (v->tidy_at == n)
		v->tidy_at = n->use_next;
	*(n->use_prev ? &n->use_prev->use_next : &v->use_oldest) = n->use_next;
	*(n->use_next ? &n->use_next->use_prev : &v->use_newest) = n->use_prev;
}

static void use_in(struct virt *v, struct vnode *n)
{
	n->use_prev = v->use_newest;
	n->use_next = NULL;
	*(v->use_newest ? &v->use_newest->use_next : &v->use_oldest) = n;
	v->use_newest = n;
}

static void used(struct virt *v, struct vnode *n)
{
	n->asked = false;
	if (v->use_newest == n)
		return;
	use_out(v, n);
	use_in(v, n);
}

struct vnode *vnode_ref(struct virt *v, fuse_ino_t ino)
{
	if (!fs_is_virt(ino))
		return NULL;
	pthread_mutex_lock(&v->lock);
	struct vnode *n = (struct vnode *)idtab_find(&v->nodes, ino & ~FS_VIRT_BIT);
	if (n) {
		n->refs++;
		used(v, n);
	}
	pthread_mutex_unlock(&v->lock);
	return n;
}

static void node_free(struct virt *v, struct vnode *n)
{
	struct vnode **p = &v->bucket[n->hash % VNODE_BUCKETS];
	while (*p != n)
		p = &(*p)->hnext;
	*p = n->hnext;
	use_out(v, n);
	gathered_close(v, n);
	mem_free(MEM_fs, n->name);
	mem_free(MEM_fs, n->path);
	n->name = n->path = NULL;
	v->node_n--;
	idtab_put(&v->nodes, &n->id);
}

void vnode_put_locked(struct virt *v, struct vnode *n)
{
	while (n) {
		vx_assert(n->refs);
		if (--n->refs || n->lookups)
			return;
		struct vnode *up = n->parent;
		node_free(v, n);
		n = up; /* a node holds its parent */
	}
}

void vnode_put(struct virt *v, struct vnode *n)
{
	pthread_mutex_lock(&v->lock);
	vnode_put_locked(v, n);
	pthread_mutex_unlock(&v->lock);
}

/* the node used longest ago that only the kernel holds; those held otherwise are passed and count as used. NULL: none */
static struct vnode *oldest_idle(struct virt *v)
{
	for (uint32_t left = v->node_n; left; left--) {
		struct vnode *n = v->use_oldest;
		if (!n->refs)
			return n;
		used(v, n);
	}
	return NULL;
}

/* room for one more; false: every node is held by handles, children or requests. v->lock is held */
static bool make_room(struct virt *v)
{
	while (v->node_n >= VNODES_MAX) {
		if (vset_evict(v, true))
			continue;
		struct vnode *n = oldest_idle(v);
		if (n) {
			n->lookups = 0; /* its id answers ESTALE, and a forget of it finds nothing */
			n->refs++;
			vnode_put_locked(v, n);
		} else if (!vset_evict(v, false)) {
			return false;
		}
	}
	return true;
}

static struct vnode *node_new(struct virt *v, const struct vnode_want *w, uint32_t hash)
{
	if (!make_room(v))
		return NULL;
	char *name = mem_strdup(MEM_fs, w->name), *path = w->path ? mem_strdup(MEM_fs, w->path) : NULL;
	struct vnode *n = name && (path || !w->path) ? (struct vnode *)idtab_get(&v->nodes) : NULL;
	if (!n) {
		mem_free(MEM_fs, name);
		mem_free(MEM_fs, path);
		return NULL;
	}
	n->hnext = v->bucket[hash % VNODE_BUCKETS];
	v->bucket[hash % VNODE_BUCKETS] = n;
	use_in(v, n);
	n->asked = false;
	n->parent = w->parent;
	if (n->parent)
		n->parent->refs++;
	n->real = w->real;
	n->key = w->key ? *w->key : (struct obj_key){0};
	n->name = name;
	n->path = path;
	n->lookups = 0;
	n->refs = 0;
	n->hash = hash;
	n->sets = NULL;
	n->set_n = 0;
	n->kind = (uint8_t)w->kind;
	n->is_file = w->is_file;
	n->view_fd = -1;
	n->view_size = 0;
	v->node_n++;
	v->made_n++;
	return n;
}

struct vnode *vnode_get(struct virt *v, const struct vnode_want *w)
{
	uint32_t hash = hash_of(w);
	pthread_mutex_lock(&v->lock);
	struct vnode *n = v->bucket[hash % VNODE_BUCKETS];
	while (n && !is_wanted(n, w, hash))
		n = n->hnext;
	if (!n)
		n = node_new(v, w, hash);
	if (n) {
		n->refs++;
		used(v, n);
	}
	bool tidy = v->node_n > VNODES_TIDY && v->made_n >= VNODES_STEP && !v->tidying;
	if (tidy) {
		v->tidying = true;
		v->made_n = 0;
	}
	pthread_mutex_unlock(&v->lock);
	if (tidy) {
		fs_front_events(v);
		fs_front_wake(FS_WAKE_TIDY);
	}
	return n;
}

/* where the kernel knows the next idle node: its directory's id, and its name into @name. 0: there is none, or no session */
static fuse_ino_t to_let_go(struct virt *v, char name[static CONF_NAME_MAX + 1])
{
	fuse_ino_t dir = 0;
	pthread_mutex_lock(&v->lock);
	struct vnode *n = v->closing || !v->f->se ? NULL : v->tidy_at;
	while (n && (n->refs || n->asked))
		n = n->use_next;
	if (n) {
		dir = n->parent ? vnode_ino(n->parent) : n->real;
		memcpy(name, n->name, strlen(n->name) + 1);
		n->asked = true;
	}
	v->tidy_at = n ? n->use_next : NULL;
	pthread_mutex_unlock(&v->lock);
	return dir;
}

void vnodes_tidy(struct virt *v)
{
	char name[CONF_NAME_MAX + 1];
	pthread_mutex_lock(&v->lock);
	uint32_t left = v->node_n > VNODES_KEEP ? v->node_n - VNODES_KEEP : 0;
	v->tidy_at = v->use_oldest;
	pthread_mutex_unlock(&v->lock);
	for (fuse_ino_t dir = 1; left && dir; left--) {
		pthread_mutex_lock(&v->tidy);
		dir = to_let_go(v, name);
		if (dir) /* an error: it is not known there any more */
			(void)fuse_lowlevel_notify_inval_entry(v->f->se, dir, name, strlen(name));
		pthread_mutex_unlock(&v->tidy);
	}
	pthread_mutex_lock(&v->lock);
	v->tidying = false;
	v->tidy_at = NULL;
	pthread_mutex_unlock(&v->lock);
}

void virt_quiet(struct virt *v)
{
	pthread_mutex_lock(&v->tidy);
	pthread_mutex_lock(&v->lock);
	v->closing = true;
	pthread_mutex_unlock(&v->lock);
	pthread_mutex_unlock(&v->tidy);
}

void vnode_forget(struct virt *v, fuse_ino_t ino, uint64_t count)
{
	pthread_mutex_lock(&v->lock);
	struct vnode *n = (struct vnode *)idtab_find(&v->nodes, ino & ~FS_VIRT_BIT);
	if (n) {
		n->lookups -= count < n->lookups ? count : n->lookups;
		n->refs++; /* one to drop: frees it when that was the last */
		vnode_put_locked(v, n);
	}
	pthread_mutex_unlock(&v->lock);
}

struct vhandle *vhandle_new(struct virt *v, struct vnode *n)
{
	struct vhandle *h = (struct vhandle *)idtab_get(&v->handles);
	if (!h)
		return NULL;
	int rc = pthread_mutex_init(&h->lock, NULL);
	if (rc) {
		idtab_put(&v->handles, &h->id);
		return NULL;
	}
	h->node = n;
	h->set = NULL;
	h->dirfd = -1;
	h->state = VH_gather;
	h->in = h->out = NULL;
	h->in_n = h->in_cap = h->out_n = 0;
	h->in_base = h->out_base = 0;
	h->again = NULL;
	h->event_seq = 0;
	h->ph = NULL;
	h->refs = 1;
	return h;
}

struct vhandle *vhandle_ref(struct virt *v, uint64_t fh)
{
	pthread_mutex_lock(&v->lock);
	struct vhandle *h = (struct vhandle *)idtab_find(&v->handles, fh);
	if (h)
		h->refs++;
	pthread_mutex_unlock(&v->lock);
	return h;
}

void vhandle_put(struct virt *v, struct vhandle *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&v->lock);
	bool last = !--h->refs;
	pthread_mutex_unlock(&v->lock);
	if (!last)
		return;
	vset_put(v, h->set);
	vfile_done(h);
	if (h->dirfd >= 0)
		close(h->dirfd);
	if (h->ph)
		fuse_pollhandle_destroy(h->ph);
	vnode_put(v, h->node);
	pthread_mutex_destroy(&h->lock);
	idtab_put(&v->handles, &h->id);
}

/* at the end: whatever the kernel still counts. Handles first, they hold sets and nodes. */
void vnodes_free_all(struct virt *v)
{
	for (uint32_t i = 0; i < v->handles.made; i++) {
		struct vhandle *h = (struct vhandle *)idtab_at(&v->handles, i);
		if (!(atomic_load_explicit(&h->id.gen, memory_order_relaxed) & 1))
			continue;
		h->refs = 1;
		vhandle_put(v, h);
	}
	vset_drop_all(v);
	for (uint32_t i = 0; i < VNODE_BUCKETS; i++)
		while (v->bucket[i])
			node_free(v, v->bucket[i]);
}
