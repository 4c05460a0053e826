/* fdcache.c - a bounded number of O_PATH fds of nodes, second-chance replacement.
 *
 * One lock over all; its sections are a few dozen instructions and never hold a system call.  A slot in use (refs) is not replaced;
 * when all are, the fd is the caller's own and closed after use. */
#include "fs/inode.h"

#include <sys/resource.h>
#include <unistd.h>

int fdc_init(struct itable *t)
{
	struct rlimit rl;
	uint64_t lim = getrlimit(RLIMIT_NOFILE, &rl) ? 1024 : rl.rlim_cur;
	uint64_t n = lim / 8; /* the rest is for what clients hold open */
	t->slot_n = n < 16 ? 16 : n > FDC_SLOTS_MAX ? FDC_SLOTS_MAX : (uint32_t)n;
	t->slot = mem_zalloc(MEM_inode, t->slot_n * sizeof *t->slot);
	if (!t->slot)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->slot_n; i++)
		t->slot[i].fd = -1;
	return -pthread_mutex_init(&t->fdc_lock, NULL);
}

void fdc_done(struct itable *t)
{
	if (!t->slot)
		return;
	for (uint32_t i = 0; i < t->slot_n; i++)
		if (t->slot[i].fd >= 0)
			close(t->slot[i].fd);
	mem_free(MEM_inode, t->slot);
	t->slot = NULL;
	pthread_mutex_destroy(&t->fdc_lock);
}

bool fdc_get(struct itable *t, struct inode *ip, struct ifd *ret)
{
	bool hit = false;
	pthread_mutex_lock(&t->fdc_lock);
	if (ip->slot >= 0) {
		struct fdslot *s = &t->slot[ip->slot];
		s->refs++;
		s->used = true;
		*ret = (struct ifd){.fd = s->fd, .slot = ip->slot};
		hit = true;
	}
	pthread_mutex_unlock(&t->fdc_lock);
	return hit;
}

void fdc_put(struct itable *t, int slot)
{
	pthread_mutex_lock(&t->fdc_lock);
	t->slot[slot].refs--;
	pthread_mutex_unlock(&t->fdc_lock);
}

/* a slot nobody uses now, or -1; two rounds of the hand give everyone its second chance */
static int victim_locked(struct itable *t)
{
	for (uint32_t k = 0; k < 2 * t->slot_n; k++) {
		uint32_t i = t->hand;
		struct fdslot *s = &t->slot[i];
		t->hand = i + 1 == t->slot_n ? 0 : i + 1;
		if (s->refs)
			continue;
		if (s->fd >= 0 && s->used) {
			s->used = false;
			continue;
		}
		return (int)i;
	}
	return -1;
}

void fdc_take(struct itable *t, struct inode *ip, int fd, struct ifd *ret)
{
	int drop = -1;
	pthread_mutex_lock(&t->fdc_lock);
	int i = ip->slot;
	if (i >= 0)
		drop = fd; /* another thread was first */
	else if ((i = victim_locked(t)) >= 0) {
		struct fdslot *s = &t->slot[i];
		drop = s->fd;
		if (s->ip)
			s->ip->slot = -1;
		*s = (struct fdslot){.fd = fd, .ip = ip};
		ip->slot = i;
	}
	if (i >= 0) {
		t->slot[i].refs++;
		*ret = (struct ifd){.fd = t->slot[i].fd, .slot = i};
	} else
		*ret = (struct ifd){.fd = fd, .slot = IFD_OWN};
	pthread_mutex_unlock(&t->fdc_lock);
	if (drop >= 0)
		close(drop);
}

void fdc_keep(struct itable *t, struct inode *ip, int fd)
{
	struct ifd r;
	fdc_take(t, ip, fd, &r);
	if (r.slot >= 0)
		fdc_put(t, r.slot);
	else
		close(fd);
}

void fdc_drop(struct itable *t, struct inode *ip)
{
	int fd = -1;
	pthread_mutex_lock(&t->fdc_lock);
	if (ip->slot >= 0) {
		struct fdslot *s = &t->slot[ip->slot];
		fd = s->fd;
		*s = (struct fdslot){.fd = -1};
		ip->slot = -1;
	}
	pthread_mutex_unlock(&t->fdc_lock);
	if (fd >= 0)
		close(fd);
}

void fdc_shrink(struct itable *t, uint32_t keep)
{
	for (uint32_t i = keep; i < t->slot_n; i++) {
		int fd = -1;
		pthread_mutex_lock(&t->fdc_lock);
		struct fdslot *s = &t->slot[i];
		if (!s->refs && s->fd >= 0) {
			fd = s->fd;
			if (s->ip)
				s->ip->slot = -1;
			*s = (struct fdslot){.fd = -1};
		}
		pthread_mutex_unlock(&t->fdc_lock);
		if (fd >= 0)
			close(fd);
	}
}
