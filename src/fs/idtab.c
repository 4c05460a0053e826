/* idtab.c - objects with ids that may be shown to strangers: slot index | generation << 32.
 *
 * Slots live in pages that are never freed while the table lives, so an id can be looked at without a lock: page pointer, generation,
 * done.  An odd generation is in use.  The page directory is one sparse mapping (512 KiB of address space, touched as it fills). */
#include "fs/inode.h"

int idtab_init(struct idtab *t, enum mem_tag tag, size_t obj_bytes)
{
	*t = (struct idtab){.obj_bytes = (obj_bytes + 15) & ~(size_t)15, .free_head = UINT32_MAX, .tag = tag};
	t->page = mem_zalloc(tag, IDTAB_PAGES * sizeof *t->page);
	if (!t->page)
		return -ENOMEM;
	int rc = pthread_mutex_init(&t->lock, NULL);
	if (rc) {
		mem_free(tag, t->page);
		t->page = NULL;
	}
	return -rc;
}

void idtab_done(struct idtab *t)
{
	if (!t->page)
		return;
	for (uint32_t i = 0; i < IDTAB_PAGES; i++) {
		uint8_t *p = atomic_load_explicit(&t->page[i], memory_order_relaxed);
		if (!p)
			break;
		mem_free(t->tag, p);
	}
	mem_free(t->tag, t->page);
	t->page = NULL;
	pthread_mutex_destroy(&t->lock);
}

struct idobj *idtab_at(struct idtab *t, uint32_t index)
{
	if (index / IDTAB_PAGE >= IDTAB_PAGES)
		return NULL;
	uint8_t *p = atomic_load_explicit(&t->page[index / IDTAB_PAGE], memory_order_acquire);
	return p ? (struct idobj *)(p + (size_t)(index % IDTAB_PAGE) * t->obj_bytes) : NULL;
}

struct idobj *idtab_find(struct idtab *t, uint64_t id)
{
	uint32_t gen = (uint32_t)(id >> 32);
	struct idobj *o = idtab_at(t, (uint32_t)id);
	if (!o || !(gen & 1) || atomic_load_explicit(&o->gen, memory_order_acquire) != gen)
		return NULL;
	return o;
}

struct idobj *idtab_get(struct idtab *t)
{
	struct idobj *o = NULL;
	pthread_mutex_lock(&t->lock);
	if (t->free_head != UINT32_MAX) {
		o = idtab_at(t, t->free_head);
		t->free_head = o->next_free;
	} else if (t->made / IDTAB_PAGE < IDTAB_PAGES) {
		uint32_t i = t->made;
		if (i % IDTAB_PAGE == 0) {
			uint8_t *p = mem_zalloc(t->tag, IDTAB_PAGE * t->obj_bytes);
			if (!p)
				goto out;
			atomic_store_explicit(&t->page[i / IDTAB_PAGE], p, memory_order_release);
		}
		o = idtab_at(t, i);
		o->index = i;
		t->made++;
	}
	if (o)
		atomic_store_explicit(&o->gen, (atomic_load_explicit(&o->gen, memory_order_relaxed) + 1) & 0x7fffffffu,
		        memory_order_release);
out:
	pthread_mutex_unlock(&t->lock);
	return o;
}

void idtab_put(struct idtab *t, struct idobj *o)
{
	pthread_mutex_lock(&t->lock);
	atomic_store_explicit(
	        &o->gen, (atomic_load_explicit(&o->gen, memory_order_relaxed) + 1) & 0x7fffffffu, memory_order_release);
	o->next_free = t->free_head;
	t->free_head = o->index;
	pthread_mutex_unlock(&t->lock);
}
