/* objects.c - the object table: who is who, what is called what, which row belongs to which file.
 *
 * Three chained hash tables (key, number, (parent, name)) over pooled objects.  A name is a link object with its characters behind
 * it, chained to its object, to its parent's children and into the name table: a directory's rename moves one link, whatever lies
 * below.  Everything here is called with e->objects held; nothing does I/O, nothing waits.  A table that can't grow for want of
 * memory keeps its size and gets slower, not wrong. */
#include <string.h>

#include "engine/engine_priv.h"

#define TABLE_CAP_FIRST 256u

static uint32_t key_hash(const struct obj_key *k)
{
	return (uint32_t)hash64(k->b, k->len, k->type);
}
static uint32_t oid_hash(uint64_t oid)
{
	return (uint32_t)((oid * 0x9e3779b97f4a7c15ull) >> 32);
}
static uint32_t name_hash(uint64_t parent, const char *name, size_t n)
{
	return (uint32_t)hash64(name, n, parent);
}

int objects_init(struct objects *t)
{
	memset(t, 0, sizeof(*t));
	t->next_oid = STORE_OID_ROOT + 1;
	int rc = pool_init(&t->obj_pool, MEM_objects, sizeof(struct eng_obj), UINT32_MAX);
	if (!rc)
		rc = pool_init(&t->vec_pool, MEM_objects, sizeof(struct eng_vec), UINT32_MAX);
	if (!rc)
		rc = pool_init(&t->openw_pool, MEM_objects, sizeof(struct eng_openw), ENG_OPENW_MAX);
	return rc;
}
static void links_free_all(struct objects *t)
{
	for (uint32_t i = 0; i < t->name_cap; i++)
		for (struct eng_link *l = t->by_name[i], *next; l; l = next) {
			next = l->hash_next;
			mem_free(MEM_objects, l);
		}
}
void objects_done(struct objects *t)
{
	links_free_all(t);
	mem_free(MEM_objects, t->by_key);
	mem_free(MEM_objects, t->by_oid);
	mem_free(MEM_objects, t->by_name);
	pool_done(&t->obj_pool);
	pool_done(&t->vec_pool);
	pool_done(&t->openw_pool);
	memset(t, 0, sizeof(*t));
}
void objects_clear(struct objects *t)
{
	for (uint32_t i = 0; i < t->oid_cap; i++)
		for (struct eng_obj *o = t->by_oid[i], *next; o; o = next) {
			next = o->oid_next;
			obj_free(t, o);
		}
	t->next_oid = STORE_OID_ROOT + 1;
}

/* tables of pointers double when they hold more than they have buckets */
static void grow_key(struct objects *t)
{
	uint32_t cap = t->key_cap ? t->key_cap * 2 : TABLE_CAP_FIRST;
	struct eng_obj **n = mem_zalloc(MEM_objects, (size_t)cap * sizeof(*n));
	if (!n)
		return;
	for (uint32_t i = 0; i < t->key_cap; i++)
		for (struct eng_obj *o = t->by_key[i], *next; o; o = next) {
			next = o->key_next;
			struct eng_obj **b = &n[key_hash(&o->key) & (cap - 1)];
			o->key_next = *b;
			*b = o;
		}
	mem_free(MEM_objects, t->by_key);
	t->by_key = n;
	t->key_cap = cap;
}
static void grow_oid(struct objects *t)
{
	uint32_t cap = t->oid_cap ? t->oid_cap * 2 : TABLE_CAP_FIRST;
	struct eng_obj **n = mem_zalloc(MEM_objects, (size_t)cap * sizeof(*n));
	if (!n)
		return;
	for (uint32_t i = 0; i < t->oid_cap; i++)
		for (struct eng_obj *o = t->by_oid[i], *next; o; o = next) {
			next = o->oid_next;
			struct eng_obj **b = &n[oid_hash(o->oid) & (cap - 1)];
			o->oid_next = *b;
			*b = o;
		}
	mem_free(MEM_objects, t->by_oid);
	t->by_oid = n;
	t->oid_cap = cap;
}
static void grow_name(struct objects *t)
{
	uint32_t cap = t->name_cap ? t->name_cap * 2 : TABLE_CAP_FIRST;
	struct eng_link **n = mem_zalloc(MEM_objects, (size_t)cap * sizeof(*n));
	if (!n)
		return;
	for (uint32_t i = 0; i < t->name_cap; i++)
		for (struct eng_link *l = t->by_name[i], *next; l; l = next) {
			next = l->hash_next;
			struct eng_link **b = &n[l->hash & (cap - 1)];
			l->hash_next = *b;
			*b = l;
		}
	mem_free(MEM_objects, t->by_name);
	t->by_name = n;
	t->name_cap = cap;
}

struct eng_obj *obj_by_key(struct objects *t, const struct obj_key *k)
{
	if (!t->key_cap || !k->len)
		return NULL;
	struct eng_obj *o = t->by_key[key_hash(k) & (t->key_cap - 1)];
	while (o && !objkey_eq(&o->key, k))
		o = o->key_next;
	return o;
}
struct eng_obj *obj_by_oid(struct objects *t, uint64_t oid)
{
	if (!t->oid_cap)
		return NULL;
	struct eng_obj *o = t->by_oid[oid_hash(oid) & (t->oid_cap - 1)];
	while (o && o->oid != oid)
		o = o->oid_next;
	return o;
}
static void key_insert(struct objects *t, struct eng_obj *o)
{
	struct eng_obj **b = &t->by_key[key_hash(&o->key) & (t->key_cap - 1)];
	o->key_next = *b;
	*b = o;
}
static void key_remove(struct objects *t, struct eng_obj *o)
{
	struct eng_obj **p = &t->by_key[key_hash(&o->key) & (t->key_cap - 1)];
	while (*p && *p != o)
		p = &(*p)->key_next;
	if (*p)
		*p = o->key_next;
}
struct eng_obj *obj_add(struct objects *t, uint64_t oid, const struct obj_key *k, uint8_t kind)
{
	if (t->obj_n >= t->key_cap)
		grow_key(t);
	if (t->obj_n >= t->oid_cap)
		grow_oid(t);
	if (!t->key_cap || !t->oid_cap)
		return NULL;
	struct eng_obj *o = pool_get(&t->obj_pool);
	if (!o)
		return NULL;
	memset(o, 0, sizeof(*o));
	o->oid = oid ? oid : t->next_oid;
	if (o->oid >= t->next_oid)
		t->next_oid = o->oid + 1;
	o->key = *k;
	o->kind = kind;
	key_insert(t, o);
	struct eng_obj **b = &t->by_oid[oid_hash(o->oid) & (t->oid_cap - 1)];
	o->oid_next = *b;
	*b = o;
	t->obj_n++;
	t->file_n += kind == STORE_OBJ_file;
	return o;
}
void obj_rekey(struct objects *t, struct eng_obj *o, const struct obj_key *k)
{
	key_remove(t, o);
	o->key = *k;
	key_insert(t, o);
}
void obj_free(struct objects *t, struct eng_obj *o)
{
	while (o->links)
		link_free(t, o->links);
	while (o->children)
		link_free(t, o->children);
	while (o->vecs)
		obj_vec_del(t, o, o->vecs);
	key_remove(t, o);
	struct eng_obj **p = &t->by_oid[oid_hash(o->oid) & (t->oid_cap - 1)];
	while (*p && *p != o)
		p = &(*p)->oid_next;
	if (*p)
		*p = o->oid_next;
	t->obj_n--;
	t->file_n -= o->kind == STORE_OBJ_file;
	mem_free(MEM_objects, o->former);
	pool_put(&t->obj_pool, o);
}

struct eng_link *link_find(struct objects *t, const struct eng_obj *parent, const char *name)
{
	if (!t->name_cap)
		return NULL;
	size_t n = strlen(name);
	uint32_t h = name_hash(parent->oid, name, n);
	struct eng_link *l = t->by_name[h & (t->name_cap - 1)];
	while (l && !(l->hash == h && l->parent == parent && l->n == n && !memcmp(l->name, name, n)))
		l = l->hash_next;
	return l;
}
struct eng_link *link_add(struct objects *t, struct eng_obj *o, struct eng_obj *parent, const char *name)
{
	size_t n = strlen(name);
	if (!n || n > CONF_NAME_MAX)
		return NULL;
	if (t->link_n >= t->name_cap)
		grow_name(t);
	if (!t->name_cap)
		return NULL;
	struct eng_link *l = mem_alloc(MEM_objects, sizeof(*l) + n + 1);
	if (!l)
		return NULL;
	l->obj = o;
	l->parent = parent;
	l->hash = name_hash(parent->oid, name, n);
	l->seen = 0;
	l->stored = false;
	l->n = (uint8_t)n;
	memcpy(l->name, name, n + 1);
	struct eng_link **b = &t->by_name[l->hash & (t->name_cap - 1)];
	l->hash_next = *b;
	*b = l;
	l->obj_next = o->links;
	o->links = l;
	l->sib_prev = NULL;
	l->sib_next = parent->children;
	if (parent->children)
		parent->children->sib_prev = l;
	parent->children = l;
	t->link_n++;
	return l;
}
void link_free(struct objects *t, struct eng_link *l)
{
	struct eng_link **p = &t->by_name[l->hash & (t->name_cap - 1)];
	while (*p != l)
		p = &(*p)->hash_next;
	*p = l->hash_next;
	for (p = &l->obj->links; *p != l;)
		p = &(*p)->obj_next;
	*p = l->obj_next;
	if (l->sib_prev)
		l->sib_prev->sib_next = l->sib_next;
	else
		l->parent->children = l->sib_next;
	if (l->sib_next)
		l->sib_next->sib_prev = l->sib_prev;
	t->link_n--;
	mem_free(MEM_objects, l);
}

struct eng_vec *obj_vec(struct eng_obj *o, uint32_t cid)
{
	struct eng_vec *v = o->vecs;
	while (v && v->cid != cid)
		v = v->next;
	return v;
}
struct eng_vec *obj_vec_add(struct objects *t, struct eng_obj *o, uint32_t cid)
{
	struct eng_vec *v = pool_get(&t->vec_pool);
	if (!v)
		return NULL;
	memset(v, 0, sizeof(*v));
	v->cid = cid;
	v->row = ENG_ROW_NONE;
	v->next = o->vecs;
	o->vecs = v;
	return v;
}
void obj_vec_del(struct objects *t, struct eng_obj *o, struct eng_vec *v)
{
	struct eng_vec **p = &o->vecs;
	while (*p != v)
		p = &(*p)->next;
	*p = v->next;
	pool_put(&t->vec_pool, v);
}

#define OPENW_BUCKET(t, k) (&(t)->openw[key_hash(k) & 1023u])
uint32_t openw_count(struct objects *t, const struct obj_key *k)
{
	struct eng_openw *w = *OPENW_BUCKET(t, k);
	while (w && !objkey_eq(&w->key, k))
		w = w->next;
	return w ? w->n : 0;
}
int openw_add(struct objects *t, const struct obj_key *k)
{
	struct eng_openw **b = OPENW_BUCKET(t, k), *w = *b;
	while (w && !objkey_eq(&w->key, k))
		w = w->next;
	if (w) {
		w->n++;
		return 0;
	}
	w = pool_get(&t->openw_pool);
	if (!w)
		return -ENOMEM;
	w->key = *k;
	w->n = 1;
	w->next = *b;
	*b = w;
	return 0;
}
uint32_t openw_sub(struct objects *t, const struct obj_key *k)
{
	struct eng_openw **p = OPENW_BUCKET(t, k);
	while (*p && !objkey_eq(&(*p)->key, k))
		p = &(*p)->next;
	struct eng_openw *w = *p;
	if (!w)
		return 0;
	if (--w->n)
		return w->n;
	*p = w->next;
	pool_put(&t->openw_pool, w);
	return 0;
}

int link_path(const struct eng_link *l, char *p, size_t cap)
{
	/* written from the end, then moved to the front: one pass over the ancestors */
	size_t at = cap - 1;
	p[at] = 0;
	for (unsigned depth = 0;; depth++) {
		if (depth > ENG_DEPTH_MAX)
			return -ENAMETOOLONG;
		if ((size_t)l->n + 1 > at)
			return -ENAMETOOLONG;
		at -= l->n;
		memcpy(p + at, l->name, l->n);
		if (l->parent->oid == STORE_OID_ROOT)
			break;
		p[--at] = '/';
		l = l->parent->links;
		if (!l)
			return -ENOENT;
	}
	memmove(p, p + at, cap - at);
	return (int)(cap - 1 - at);
}
int obj_path(const struct eng_obj *o, char *p, size_t cap)
{
	if (o->oid == STORE_OID_ROOT) {
		p[0] = 0;
		return 0;
	}
	int rc = -ENOENT;
	for (const struct eng_link *l = o->links; l && rc < 0; l = l->obj_next)
		rc = link_path(l, p, cap);
	return rc;
}

int oid_ring_push(struct oid_ring *r, uint64_t oid)
{
	if (r->n == r->cap) {
		uint32_t cap = r->cap ? r->cap * 2 : 64;
		uint64_t *v = cap > r->cap ? mem_alloc(MEM_objects, (size_t)cap * sizeof(*v)) : NULL;
		if (!v)
			return -ENOMEM;
		for (uint32_t i = 0; i < r->n; i++)
			v[i] = r->v[(r->head + i) & (r->cap - 1)];
		mem_free(MEM_objects, r->v);
		r->v = v;
		r->cap = cap;
		r->head = 0;
	}
	r->v[(r->head + r->n++) & (r->cap - 1)] = oid;
	return 0;
}
bool oid_ring_pop(struct oid_ring *r, uint64_t *ret)
{
	if (!r->n)
		return false;
	*ret = r->v[r->head];
	r->head = (r->head + 1) & (r->cap - 1);
	r->n--;
	return true;
}
void oid_ring_done(struct oid_ring *r)
{
	mem_free(MEM_objects, r->v);
	memset(r, 0, sizeof(*r));
}
