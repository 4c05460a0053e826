/* inode.c - the table of real nodes: entered at lookup, found by (device, key), gone with the last reference.
 *
 * Locks: a shard's lock guards its buckets and, of the nodes hashed there, lookups, name, parent, pin_fd and handles.  Two shards are
 * never held at once.  fdcache.c's lock may be taken while a shard's is not.
 *
 * A node whose refs fall to zero may be found again until its shard's lock is held: the thread that dropped it checks generation and
 * refs under the lock, so of several that dropped it in turn exactly one removes it. */
#include "fs/inode.h"
#include "fs/watch.h"
#include "base/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static uint64_t node_hash(uint64_t dev, const struct obj_key *k)
{
	return hash64(k->b, k->len, dev ^ k->type);
}
static struct ishard *shard_of(struct itable *t, uint64_t h)
{
	return &t->shard[h % INODE_SHARDS];
}
static struct ishard *shard_ip(struct itable *t, const struct inode *ip)
{
	return shard_of(t, node_hash(ip->dev, &ip->key));
}
static uint32_t bucket_of(const struct ishard *s, uint64_t h)
{
	return (uint32_t)(h / INODE_SHARDS) & (s->bucket_n - 1);
}

void proc_path(char p[PROC_PATH_MAX], int fd)
{
	struct sbuf b;
	sbuf_fixed(&b, p, PROC_PATH_MAX);
	sb_str(&b, "/proc/self/fd/");
	sb_u64(&b, (uint64_t)fd);
	(void)sbuf_cstr(&b); /* fits: 14 + 10 digits */
}

uint64_t inode_show_ino(struct fs *f, const struct stat *st)
{
	struct inode *r = f->inodes->root;
	if (r &&
	        st->st_dev !=
	                r->dev) /* a mount inside DIR: its numbers may repeat ours, and (dev, ino) must tell files apart */
		return st->st_ino ^ ((uint64_t)st->st_dev * 0x9e3779b97f4a7c15u & ~FS_VIRT_BIT) << 1 >> 1;
	return st->st_ino;
}

struct inode *inode_get(struct fs *f, fuse_ino_t id)
{
	struct itable *t = f->inodes;
	struct inode *ip = id == FUSE_ROOT_ID ? t->root : (struct inode *)idtab_find(&t->tab, id);
	if (!ip || (ip == t->root && id != FUSE_ROOT_ID))
		return NULL;
	uint64_t r = atomic_load_explicit(&ip->refs, memory_order_relaxed);
	do {
		if (!r)
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
	        &ip->refs, &r, r + 1, memory_order_acquire, memory_order_relaxed));
	if (id != FUSE_ROOT_ID && idobj_id(&ip->id) != id) { /* the slot changed hands between the two looks */
		inode_put(f, ip);
		return NULL;
	}
	return ip;
}

static void unhash(struct ishard *s, struct inode *ip)
{
	struct inode **pp = &s->bucket[bucket_of(s, node_hash(ip->dev, &ip->key))];
	while (*pp && *pp != ip)
		pp = &(*pp)->hnext;
	if (*pp) {
		*pp = ip->hnext;
		s->n--;
	}
	ip->hashed = false;
}

void inode_put(struct fs *f, struct inode *ip)
{
	struct itable *t = f->inodes;
	while (ip) {
		uint32_t gen = atomic_load_explicit(&ip->id.gen, memory_order_relaxed);
		struct ishard *s = shard_ip(t, ip);
		if (atomic_fetch_sub_explicit(&ip->refs, 1, memory_order_acq_rel) != 1)
			return;
		pthread_mutex_lock(&s->lock);
		if (atomic_load_explicit(&ip->id.gen, memory_order_relaxed) != gen || !ip->hashed ||
		        atomic_load_explicit(&ip->refs, memory_order_relaxed)) {
			pthread_mutex_unlock(&s->lock);
			return;
		}
		unhash(s, ip);
		struct inode *up = ip->parent;
		char *name = ip->name;
		int pin = ip->pin_fd;
		if (up)
			atomic_fetch_sub_explicit(&up->kids, 1, memory_order_relaxed);
		ip->parent = NULL;
		ip->name = NULL;
		ip->pin_fd = -1;
		pthread_mutex_unlock(&s->lock);
		fdc_drop(t, ip);
		if (pin >= 0) {
			close(pin);
			atomic_fetch_sub_explicit(&t->pins, 1, memory_order_relaxed);
		}
		mem_free(MEM_inode, name);
		idtab_put(&t->tab, &ip->id);
		atomic_fetch_sub_explicit(&t->nodes, 1, memory_order_relaxed);
		ip = up;
	}
}

void inode_forget(struct fs *f, fuse_ino_t id, uint64_t n)
{
	struct inode *ip = inode_get(f, id);
	if (!ip)
		return;
	struct ishard *s = shard_ip(f->inodes, ip);
	pthread_mutex_lock(&s->lock);
	uint64_t m = n < ip->lookups ? n : ip->lookups; /* never more than we gave, whatever is asked */
	if (ip == f->inodes->root)
		m = 0;
	ip->lookups -= m;
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_sub_explicit(&ip->refs, m, memory_order_acq_rel);
	inode_put(f, ip);
}

static struct inode *find_locked(struct ishard *s, uint64_t h, uint64_t dev, const struct obj_key *key)
{
	struct inode *ip = s->bucket[bucket_of(s, h)];
	while (ip && (ip->dev != dev || !objkey_eq(&ip->key, key)))
		ip = ip->hnext;
	return ip;
}

struct inode *inode_find(struct fs *f, uint64_t dev, const struct obj_key *key)
{
	uint64_t h = node_hash(dev, key);
	struct ishard *s = shard_of(f->inodes, h);
	pthread_mutex_lock(&s->lock);
	struct inode *ip = find_locked(s, h, dev, key);
	if (ip)
		atomic_fetch_add_explicit(&ip->refs, 1, memory_order_relaxed);
	pthread_mutex_unlock(&s->lock);
	return ip;
}

static void grow_locked(struct ishard *s)
{
	if (s->n < s->bucket_n * 2)
		return;
	uint32_t n = s->bucket_n * 4;
	struct inode **b = mem_zalloc(MEM_inode, n * sizeof *b);
	if (!b)
		return; /* longer chains, still right */
	struct ishard to = {.bucket = b, .bucket_n = n};
	for (uint32_t i = 0; i < s->bucket_n; i++)
		for (struct inode *ip = s->bucket[i], *next; ip; ip = next) {
			struct inode **pp = &b[bucket_of(&to, node_hash(ip->dev, &ip->key))];
			next = ip->hnext;
			ip->hnext = *pp;
			*pp = ip;
		}
	mem_free(MEM_inode, s->bucket);
	s->bucket = b;
	s->bucket_n = n;
}

/* mnt_index - the open mount that handles of @dev are opened through; made at the first object seen there */
static uint8_t mnt_index(struct itable *t, uint64_t dev, int fd, const struct stat *st)
{
	uint32_t n = atomic_load_explicit(&t->mnt_n, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++)
		if (t->mnt[i].dev == dev)
			return (uint8_t)i;
	if (!S_ISDIR(st->st_mode) && !S_ISREG(st->st_mode))
		return MNT_NONE;
	uint8_t ret = MNT_NONE;
	pthread_mutex_lock(&t->mnt_lock);
	n = atomic_load_explicit(&t->mnt_n, memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++)
		if (t->mnt[i].dev == dev)
			ret = (uint8_t)i;
	if (ret == MNT_NONE && n < MNT_MAX) {
		char p[PROC_PATH_MAX];
		proc_path(p, fd);
		int m = open(p, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (m >= 0) {
			t->mnt[n] = (struct mntfd){.dev = dev, .fd = m};
			atomic_store_explicit(&t->mnt_n, n + 1, memory_order_release);
			watch_mount(t->f->p->watch, m, dev);
			ret = (uint8_t)n;
		}
	}
	pthread_mutex_unlock(&t->mnt_lock);
	return ret;
}

static void set_name(struct fs *f, struct ishard *s, struct inode *ip, struct inode *dir, char *name /* taken */)
{
	pthread_mutex_lock(&s->lock);
	struct inode *old = ip->parent;
	char *old_name = ip->name;
	ip->parent = dir;
	ip->name = name;
	if (dir) {
		atomic_fetch_add_explicit(&dir->refs, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&dir->kids, 1, memory_order_relaxed);
	}
	if (old)
		atomic_fetch_sub_explicit(&old->kids, 1, memory_order_relaxed);
	pthread_mutex_unlock(&s->lock);
	mem_free(MEM_inode, old_name);
	inode_put(f, old);
}
static bool has_name(struct ishard *s, struct inode *ip, const struct inode *dir, const char *name)
{
	pthread_mutex_lock(&s->lock);
	bool same = ip->parent == dir && ip->name && !strcmp(ip->name, name);
	pthread_mutex_unlock(&s->lock);
	return same;
}

static struct inode *node_new(struct itable *t, uint64_t dev, const struct stat *st, const struct obj_key *key)
{
	struct inode *ip = (struct inode *)idtab_get(&t->tab);
	if (!ip)
		return NULL;
	struct idobj id = {.index = ip->id.index};
	uint32_t gen = atomic_load_explicit(&ip->id.gen, memory_order_relaxed);
	memset((char *)ip + sizeof id, 0, sizeof *ip - sizeof id);
	(void)gen;
	ip->dev = dev;
	ip->ino = st->st_ino;
	ip->key = *key;
	ip->mode_fmt = st->st_mode & S_IFMT;
	ip->mnt = MNT_NONE;
	ip->pin_fd = ip->slot = -1;
	atomic_fetch_add_explicit(&t->nodes, 1, memory_order_relaxed);
	return ip;
}

bool inode_mnt_known(struct fs *f, uint64_t dev)
{
	const struct itable *t = f->inodes;
	uint32_t n = t->by_handle ? atomic_load_explicit(&t->mnt_n, memory_order_acquire) : 0;
	for (uint32_t i = 0; i < n; i++)
		if (t->mnt[i].dev == dev)
			return true;
	return false;
}

int inode_enter_key(struct fs *f, struct inode *dir, const char *name, int fd, const struct stat *st,
        const struct obj_key *key, bool count, struct inode **ret)
{
	struct itable *t = f->inodes;
	struct inode *fresh = NULL, *ip;
	if (dir && (st->st_dev == t->root->dev &&
	                   objkey_eq(key, &t->root->key))) /* a bind mount of the root inside itself */
		return -ELOOP;
	uint64_t h = node_hash(st->st_dev, key);
	struct ishard *s = shard_of(t, h);
	for (;;) {
		pthread_mutex_lock(&s->lock);
		ip = find_locked(s, h, st->st_dev, key);
		if (!ip && fresh) {
			ip = fresh;
			fresh = NULL;
			grow_locked(s);
			struct inode **pp = &s->bucket[bucket_of(s, h)];
			ip->hnext = *pp;
			*pp = ip;
			ip->hashed = true;
			s->n++;
		}
		if (ip) {
			atomic_fetch_add_explicit(&ip->refs, count ? 2 : 1, memory_order_relaxed);
			ip->lookups += count;
		}
		pthread_mutex_unlock(&s->lock);
		if (ip)
			break;
		fresh = node_new(t, st->st_dev, st, key);
		if (!fresh)
			return -ENOMEM;
		if (t->by_handle && key->type != 0xff)
			fresh->mnt = mnt_index(t, st->st_dev, fd, st);
	}
	if (fresh) { /* another thread entered it first */
		idtab_put(&t->tab, &fresh->id);
		atomic_fetch_sub_explicit(&t->nodes, 1, memory_order_relaxed);
	}
	if (name && !has_name(s, ip, dir, name)) {
		char *copy = mem_strdup(MEM_inode, name);
		if (copy)
			set_name(f, s, ip, dir, copy);
		else if (ip->mnt == MNT_NONE && !ip->name) {
			if (count)
				inode_forget(f, inode_id(f, ip), 1);
			inode_put(f, ip);
			return -ENOMEM;
		}
	}
	*ret = ip;
	return 0;
}

int inode_enter(struct fs *f, struct inode *dir, const char *name, int fd, const struct stat *st, bool count,
        struct inode **ret)
{
	struct obj_key key;
	int rc = objkey_at(fd, "", &key);
	if (rc >= 0)
		rc = inode_enter_key(f, dir, name, fd, st, &key, count, ret);
	/* directories are used again soon; files only where they can't be opened by handle */
	if (rc >= 0 && (S_ISDIR(st->st_mode) || (*ret)->mnt == MNT_NONE))
		fdc_keep(f->inodes, *ret, fd);
	else
		close(fd);
	return rc;
}

void inode_rename(struct fs *f, struct inode *ip, struct inode *dir, const char *name)
{
	char *copy = name ? mem_strdup(MEM_inode, name) : NULL;
	set_name(f, shard_ip(f->inodes, ip), ip, copy ? dir : NULL, copy);
}

void inode_unnamed(struct fs *f, struct inode *ip, struct inode *dir, const char *name, int fd, uint64_t nlink)
{
	struct itable *t = f->inodes;
	struct ishard *s = shard_ip(t, ip);
	bool ours = name && has_name(s, ip, dir, name);
	if (ours)
		set_name(f, s, ip, NULL, NULL);
	if (nlink && (ip->mnt != MNT_NONE || !ours)) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&s->lock);
	if (ip->pin_fd < 0) {
		ip->pin_fd = fd;
		fd = -1;
	}
	ip->pin_drop = false;
	pthread_mutex_unlock(&s->lock);
	if (fd >= 0)
		close(fd);
	else
		atomic_fetch_add_explicit(&t->pins, 1, memory_order_relaxed);
}

bool inode_name(struct fs *f, struct inode *ip, struct obj_key *ret_parent, char *ret_name, size_t cap)
{
	struct ishard *s = shard_ip(f->inodes, ip);
	bool ok = false;
	pthread_mutex_lock(&s->lock);
	if (ip->parent && ip->name && strlen(ip->name) < cap) {
		*ret_parent = ip->parent->key;
		memcpy(ret_name, ip->name, strlen(ip->name) + 1);
		ok = true;
	}
	pthread_mutex_unlock(&s->lock);
	return ok;
}

/* the parent of a node with a ref, and the node's name copied; NULL: root or nameless */
static struct inode *parent_of(struct fs *f, struct inode *ip, char *ret_name, size_t cap, size_t *ret_n)
{
	struct ishard *s = shard_ip(f->inodes, ip);
	pthread_mutex_lock(&s->lock);
	struct inode *up = ip->parent;
	if (up && ip->name) {
		size_t n = strlen(ip->name);
		*ret_n = n;
		if (n <= cap)
			memcpy(ret_name, ip->name, n);
		atomic_fetch_add_explicit(&up->refs, 1, memory_order_relaxed);
	} else
		up = NULL;
	pthread_mutex_unlock(&s->lock);
	return up;
}

int fs_path(struct fs *f, fuse_ino_t ino, char *p, size_t cap)
{
	struct inode *ip = inode_get(f, ino);
	if (!ip)
		return -ESTALE;
	int rc = -ENAMETOOLONG;
	size_t at = cap; /* built from the end */
	while (ip != f->inodes->root) {
		char name[CONF_NAME_MAX + 1];
		size_t n = 0;
		struct inode *up = parent_of(f, ip, name, sizeof name, &n);
		inode_put(f, ip);
		ip = up;
		if (!up) {
			rc = -ENOENT;
			break;
		}
		if (n > sizeof name || at < n + 2)
			break;
		if (at != cap)
			p[--at] = '/';
		at -= n;
		memcpy(p + at, name, n);
	}
	bool whole = ip == f->inodes->root;
	inode_put(f, ip);
	if (!whole)
		return rc;
	memmove(p, p + at, cap - at);
	if (cap)
		p[cap - at < cap ? cap - at : cap - 1] = 0;
	return (int)(cap - at);
}

/* ---- fds ---------------------------------------------------------------------------------------------------------------------- */

/* one that is there already */
static bool fd_at_hand(struct fs *f, struct inode *ip, struct ifd *ret)
{
	struct itable *t = f->inodes;
	*ret = (struct ifd){.fd = -1, .slot = -1};
	if (ip == t->root) {
		ret->fd = f->root_fd;
		return true;
	}
	struct ishard *s = shard_ip(t, ip);
	pthread_mutex_lock(&s->lock);
	if (ip->pin_fd >= 0 && !ip->pin_drop) {
		ip->pin_users++;
		ret->pin = ip;
		ret->fd = ip->pin_fd;
	} else if (ip->handles) {
		ret->h = ip->handles;
		atomic_fetch_add_explicit(&ret->h->refs, 1, memory_order_relaxed);
		ret->fd = ret->h->fd;
	}
	pthread_mutex_unlock(&s->lock);
	return ret->fd >= 0 || fdc_get(t, ip, ret);
}

int inode_by_handle(struct itable *t, const struct inode *ip, int mnt, int flags)
{
	int fd = objkey_open(mnt, &ip->key, flags);
	if (fd == -EMFILE || fd == -ENFILE) {
		fdc_shrink(t, 8);
		fd = objkey_open(mnt, &ip->key, flags);
	}
	return fd;
}

int fd_opath(struct fs *f, int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		fdc_shrink(f->inodes, 8);
		fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	}
	return fd >= 0 ? fd : -errno;
}

/* by_name - where handles can't be opened: find the nearest ancestor with an fd, open one step down, until it is the node itself.
 * Each step checks that the object is still the one we know. */
static int by_name(struct fs *f, struct inode *ip, struct ifd *ret)
{
	for (unsigned step = 0; step < CONF_PATH_MAX; step++) {
		struct inode *low = ip, *up;
		struct ifd at;
		char name[CONF_NAME_MAX + 1];
		struct obj_key key;
		size_t n = 0;
		atomic_fetch_add_explicit(&low->refs, 1, memory_order_relaxed);
		for (;;) {
			up = parent_of(f, low, name, CONF_NAME_MAX, &n);
			if (!up || n > CONF_NAME_MAX) {
				inode_put(f, low);
				inode_put(f, up);
				return -ESTALE;
			}
			name[n] = 0;
			if (fd_at_hand(f, up, &at))
				break;
			inode_put(f, low);
			low = up;
		}
		int fd = fd_opath(f, at.fd, name), rc = fd;
		inode_fd_put(f, &at);
		if (fd >= 0) {
			rc = objkey_at(fd, "", &key);
			if (!rc && !objkey_eq(&key, &low->key))
				rc = -ESTALE;
			if (rc)
				close(fd);
		} else if (rc == -ENOENT || rc == -ENOTDIR)
			rc = -ESTALE;
		if (!rc)
			fdc_take(f->inodes, low, fd, ret);
		bool there = low == ip;
		inode_put(f, low);
		inode_put(f, up);
		if (rc || there)
			return rc;
		inode_fd_put(f, ret);
	}
	return -ELOOP;
}

int inode_fd(struct fs *f, struct inode *ip, struct ifd *ret)
{
	if (fd_at_hand(f, ip, ret))
		return 0;
	if (ip->mnt == MNT_NONE)
		return by_name(f, ip, ret);
	int fd = inode_by_handle(f->inodes, ip, f->inodes->mnt[ip->mnt].fd, O_PATH);
	if (fd < 0)
		return fd;
	fdc_take(f->inodes, ip, fd, ret);
	return 0;
}

static void pin_put(struct fs *f, struct inode *ip, bool user)
{
	struct ishard *s = shard_ip(f->inodes, ip);
	int fd = -1;
	pthread_mutex_lock(&s->lock);
	ip->pin_users -= user;
	ip->pin_drop |= !user;
	if (!ip->pin_users && ip->pin_drop) {
		fd = ip->pin_fd;
		ip->pin_fd = -1;
		ip->pin_drop = false;
	}
	pthread_mutex_unlock(&s->lock);
	if (fd >= 0) {
		close(fd);
		atomic_fetch_sub_explicit(&f->inodes->pins, 1, memory_order_relaxed);
	}
}
void inode_unpin(struct fs *f, struct inode *ip)
{
	if (ip->mnt != MNT_NONE && ip->pin_fd >= 0)
		pin_put(f, ip, false);
}

void inode_fd_put(struct fs *f, struct ifd *r)
{
	if (r->pin)
		pin_put(f, r->pin, true);
	else if (r->h)
		handle_put(f, r->h);
	else if (r->slot >= 0)
		fdc_put(f->inodes, r->slot);
	else if (r->slot == IFD_OWN)
		close(r->fd);
	*r = (struct ifd){.fd = -1, .slot = -1};
}

int inode_open(struct fs *f, struct inode *ip, int flags)
{
	if (ip->mnt != MNT_NONE && ip->pin_fd < 0) {
		int fd = inode_by_handle(f->inodes, ip, f->inodes->mnt[ip->mnt].fd, flags);
		if (fd != -ESTALE)
			return fd;
	}
	struct ifd r;
	char p[PROC_PATH_MAX];
	VX_TRY(inode_fd(f, ip, &r));
	proc_path(p, r.fd);
	int fd = open(p, (flags & ~O_NOFOLLOW) | O_CLOEXEC);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		fdc_shrink(f->inodes, 8);
		fd = open(p, (flags & ~O_NOFOLLOW) | O_CLOEXEC);
	}
	if (fd < 0)
		fd = -errno;
	inode_fd_put(f, &r);
	return fd;
}

int inode_stat(struct fs *f, struct inode *ip, struct stat *ret)
{
	struct ifd r;
	VX_TRY(inode_fd(f, ip, &r));
	int rc = fstatat(r.fd, "", ret, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
	inode_fd_put(f, &r);
	return rc;
}

int fs_ref(struct fs *f, fuse_ino_t ino, struct fs_ref *ret)
{
	struct inode *ip = inode_get(f, ino);
	if (!ip)
		return -ESTALE;
	/* the fd at hand, with what keeps it open: a slot of the cache or a handle, each counted */
	struct ifd r;
	int rc = inode_fd(f, ip, &r);
	if (rc < 0) {
		inode_put(f, ip);
		return rc;
	}
	*ret = (struct fs_ref){.fd = r.fd, .slot = r.slot, .handle = r.h, .pin = r.pin, .hold = ip};
	if (fstatat(ret->fd, "", &ret->file.st, AT_EMPTY_PATH))
		rc = -errno;
	ret->file.key = ip->key;
	if (rc < 0)
		fs_ref_put(f, ret);
	return rc;
}
void fs_ref_put(struct fs *f, struct fs_ref *r)
{
	struct ifd fd = {.fd = r->fd, .slot = r->slot, .h = r->handle, .pin = r->pin};
	if (r->fd >= 0)
		inode_fd_put(f, &fd);
	inode_put(f, r->hold);
	*r = (struct fs_ref){.fd = -1};
}

/* ---- open handles --------------------------------------------------------------------------------------------------------------- */

struct handle *handle_new(struct fs *f, struct inode *ip, int fd)
{
	struct itable *t = f->inodes;
	struct handle *h = (struct handle *)idtab_get(&t->htab);
	if (!h)
		return NULL;
	memset((char *)h + sizeof h->id, 0, sizeof *h - sizeof h->id);
	pthread_mutex_init(&h->dlock, NULL);
	h->fd = fd;
	h->ip = ip;
	struct ishard *s = shard_ip(t, ip);
	pthread_mutex_lock(&s->lock);
	h->next = ip->handles;
	h->prevp = &ip->handles;
	if (h->next)
		h->next->prevp = &h->next;
	ip->handles = h;
	atomic_store_explicit(&h->refs, 1, memory_order_release);
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_add_explicit(&t->handles_open, 1, memory_order_relaxed);
	return h;
}

struct handle *handle_get(struct fs *f, uint64_t fh)
{
	struct handle *h = (struct handle *)idtab_find(&f->inodes->htab, fh);
	if (!h)
		return NULL;
	uint32_t r = atomic_load_explicit(&h->refs, memory_order_relaxed);
	do {
		if (!r)
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
	        &h->refs, &r, r + 1, memory_order_acquire, memory_order_relaxed));
	if (idobj_id(&h->id) != fh) {
		handle_put(f, h);
		return NULL;
	}
	return h;
}

void handle_put(struct fs *f, struct handle *h)
{
	if (atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
		return;
	struct inode *ip = h->ip;
	pt_detach(f, h);
	close(h->fd);
	mem_free(MEM_fs, h->dbuf);
	h->dbuf = NULL;
	pthread_mutex_destroy(&h->dlock);
	idtab_put(&f->inodes->htab, &h->id);
	atomic_fetch_sub_explicit(&f->inodes->handles_open, 1, memory_order_relaxed);
	inode_put(f, ip);
}

void handle_release(struct fs *f, uint64_t fh)
{
	struct handle *h = handle_get(f, fh);
	if (!h)
		return;
	struct ishard *s = shard_ip(f->inodes, h->ip);
	pthread_mutex_lock(&s->lock);
	bool listed = h->prevp;
	if (listed) {
		*h->prevp = h->next;
		if (h->next)
			h->next->prevp = h->prevp;
		h->prevp = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	if (listed) /* the opener's; a second release of one handle finds it unlisted */
		handle_put(f, h);
	handle_put(f, h);
}

/* ---- the table ------------------------------------------------------------------------------------------------------------------ */

int itable_new(struct fs *f, struct itable **ret)
{
	struct itable *t = mem_zalloc(MEM_inode, sizeof *t);
	struct stat st;
	struct obj_key key;
	int rc = -ENOMEM;
	if (!t)
		return rc;
	t->f = f;
	pthread_mutex_init(&t->mnt_lock, NULL);
	for (unsigned i = 0; i < INODE_SHARDS; i++) {
		struct ishard *s = &t->shard[i];
		pthread_mutex_init(&s->lock, NULL);
		s->bucket_n = 16;
		s->bucket = mem_zalloc(MEM_inode, s->bucket_n * sizeof *s->bucket);
		if (!s->bucket)
			goto out;
	}
	if ((rc = idtab_init(&t->tab, MEM_inode, sizeof(struct inode))) < 0 ||
	        (rc = idtab_init(&t->htab, MEM_fs, sizeof(struct handle))) < 0 || (rc = fdc_init(t)) < 0)
		goto out;
	rc = -ENOMEM;
	if (fstat(f->root_fd, &st)) {
		rc = -errno;
		goto out;
	}
	if ((rc = objkey_at(f->root_fd, "", &key)) < 0)
		goto out;
	t->root = node_new(t, st.st_dev, &st, &key);
	rc = -ENOMEM;
	if (!t->root)
		goto out;
	atomic_store(&t->root->refs, 1);
	t->root->lookups = 1;
	t->mnt[0] = (struct mntfd){.dev = st.st_dev, .fd = f->root_fd};
	atomic_store(&t->mnt_n, 1);
	if (key.type != 0xff) {
		t->root->mnt = 0;
		int fd = inode_by_handle(t, t->root, f->root_fd, O_PATH);
		t->by_handle = fd >= 0;
		if (fd >= 0)
			close(fd);
		else
			t->root->mnt = MNT_NONE;
	}
	*ret = t;
	return 0;
out:
	itable_free(t);
	return rc;
}

void itable_free(struct itable *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; t->htab.page && i < t->htab.made; i++) {
		struct handle *h = (struct handle *)idtab_at(&t->htab, i);
		if (atomic_load(&h->id.gen) & 1) {
			close(h->fd);
			mem_free(MEM_fs, h->dbuf);
			pthread_mutex_destroy(&h->dlock);
		}
	}
	for (uint32_t i = 0; t->tab.page && i < t->tab.made; i++) {
		struct inode *ip = (struct inode *)idtab_at(&t->tab, i);
		if (!(atomic_load(&ip->id.gen) & 1))
			continue;
		mem_free(MEM_inode, ip->name);
		if (ip->pin_fd >= 0)
			close(ip->pin_fd);
	}
	for (uint32_t i = 1; i < t->mnt_n; i++)
		close(t->mnt[i].fd);
	fdc_done(t);
	idtab_done(&t->htab);
	idtab_done(&t->tab);
	for (unsigned i = 0; i < INODE_SHARDS; i++) {
		mem_free(MEM_inode, t->shard[i].bucket);
		pthread_mutex_destroy(&t->shard[i].lock);
	}
	pthread_mutex_destroy(&t->mnt_lock);
	mem_free(MEM_inode, t);
}
