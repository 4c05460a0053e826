/* chunk_rows.c - which chunk each row of a model's collection is the vector of, and which rows a file has.
 *
 * Two tables with open addressing: from a chunk's hash to the rows that have it (a list: copies of a text are rows of their files
 * each), and from a file to its rows.  Taking out closes the gap, so there are no tombstones and a table is never rebuilt but to grow.
 * A row knows the lowest of the file's chunks that it stands for; none between an edit and the next mapping, when it may be of a
 * text that is gone.  About 48 bytes a chunk. */
#include <string.h>

#include "engine/sem.h"

#define ROWS_FIRST 1024u

struct chunk_rows *chunk_rows_new(void)
{
	return mem_zalloc(MEM_engine, sizeof(struct chunk_rows));
}
void chunk_rows_free(struct chunk_rows *r)
{
	if (!r)
		return;
	mem_free(MEM_engine, r->row);
	mem_free(MEM_engine, r->hash);
	mem_free(MEM_engine, r->file);
	mem_free(MEM_engine, r);
}

/* ---- hash -> rows ---- */
static uint32_t hash_home(const struct chunk_rows *r, const uint8_t hash[16])
{
	uint32_t h;
	memcpy(&h, hash, sizeof(h));
	return h & (r->hash_cap - 1);
}
/* where the hash is, or the empty place where it would be */
static uint32_t hash_at(const struct chunk_rows *r, const uint8_t hash[16])
{
	uint32_t i = hash_home(r, hash);
	while (r->hash[i] != ENG_ROW_NONE && memcmp(r->row[r->hash[i]].hash, hash, 16) != 0)
		i = (i + 1) & (r->hash_cap - 1);
	return i;
}
static int hash_grow(struct chunk_rows *r)
{
	uint32_t cap = r->hash_cap ? r->hash_cap * 2 : ROWS_FIRST, old_cap = r->hash_cap;
	uint32_t *t = mem_alloc(MEM_engine, (size_t)cap * sizeof(*t)), *old = r->hash;
	if (!t)
		return -ENOMEM;
	memset(t, 0xff, (size_t)cap * sizeof(*t));
	r->hash = t;
	r->hash_cap = cap;
	for (uint32_t i = 0; i < old_cap; i++)
		if (old[i] != ENG_ROW_NONE)
			t[hash_at(r, r->row[old[i]].hash)] = old[i];
	mem_free(MEM_engine, old);
	return 0;
}
/* [i] has become empty: what probing had put behind it moves up */
static void hash_close(struct chunk_rows *r, uint32_t i)
{
	uint32_t mask = r->hash_cap - 1;
	for (uint32_t k = (i + 1) & mask; r->hash[k] != ENG_ROW_NONE; k = (k + 1) & mask) {
		uint32_t home = hash_home(r, r->row[r->hash[k]].hash);
		if (((k - home) & mask) < ((k - i) & mask))
			continue;
		r->hash[i] = r->hash[k];
		i = k;
	}
	r->hash[i] = ENG_ROW_NONE;
}

/* ---- file -> rows ---- */
static uint32_t file_home(const struct chunk_rows *r, uint64_t oid)
{
	return (uint32_t)((oid * 0x9e3779b97f4a7c15ull) >> 32) & (r->file_cap - 1);
}
static uint32_t file_at(const struct chunk_rows *r, uint64_t oid)
{
	uint32_t i = file_home(r, oid);
	while (r->file[i].oid && r->file[i].oid != oid)
		i = (i + 1) & (r->file_cap - 1);
	return i;
}
static int file_grow(struct chunk_rows *r)
{
	uint32_t cap = r->file_cap ? r->file_cap * 2 : 256, old_cap = r->file_cap;
	struct chunk_file *t = mem_zalloc(MEM_engine, (size_t)cap * sizeof(*t)), *old = r->file;
	if (!t)
		return -ENOMEM;
	r->file = t;
	r->file_cap = cap;
	for (uint32_t i = 0; i < old_cap; i++)
		if (old[i].oid)
			t[file_at(r, old[i].oid)] = old[i];
	mem_free(MEM_engine, old);
	return 0;
}
struct chunk_file *chunk_rows_file(const struct eng_coll *c, uint64_t oid)
{
	const struct chunk_rows *r = c->chunks;
	if (!r->file_cap)
		return NULL;
	struct chunk_file *f = &r->file[file_at(r, oid)];
	return f->oid ? f : NULL;
}
static struct chunk_file *file_make(struct eng_coll *c, uint64_t oid)
{
	struct chunk_rows *r = c->chunks;
	struct chunk_file *f = chunk_rows_file(c, oid);
	if (f)
		return f;
	if ((r->file_n + 1) * 2 > r->file_cap && file_grow(r) < 0)
		return NULL;
	f = &r->file[file_at(r, oid)];
	*f = (struct chunk_file){.oid = oid, .head = ENG_ROW_NONE};
	r->file_n++;
	return f;
}
static void file_close(struct chunk_rows *r, uint32_t i)
{
	uint32_t mask = r->file_cap - 1;
	for (uint32_t k = (i + 1) & mask; r->file[k].oid; k = (k + 1) & mask) {
		uint32_t home = file_home(r, r->file[k].oid);
		if (((k - home) & mask) < ((k - i) & mask))
			continue;
		r->file[i] = r->file[k];
		i = k;
	}
	r->file[i].oid = 0;
	r->file_n--;
}

/* ---- rows ---- */
int chunk_rows_add(struct eng_coll *c, uint32_t row, uint64_t oid, const uint8_t hash[16])
{
	struct chunk_rows *r = c->chunks;
	if (row >= r->cap) {
		uint32_t cap = r->cap ? r->cap : ROWS_FIRST;
		while (cap <= row)
			cap *= 2;
		struct chunk_row *p = mem_realloc(MEM_engine, r->row, (size_t)cap * sizeof(*p));
		if (!p)
			return -ENOMEM;
		r->row = p;
		for (; r->cap < cap; r->cap++)
			p[r->cap].next = r->cap;
	}
	if ((r->hash_n + 1) * 2 > r->hash_cap)
		VX_TRY(hash_grow(r));
	struct chunk_file *f = file_make(c, oid);
	if (!f)
		return -ENOMEM;
	struct chunk_row *k = &r->row[row];
	memcpy(k->hash, hash, 16);
	uint32_t at = hash_at(r, hash), first = r->hash[at];
	r->hash_n += first == ENG_ROW_NONE;
	*k = (struct chunk_row){.ord = ENG_ROW_NONE,
	        .next = f->head,
	        .prev = ENG_ROW_NONE,
	        .same_next = first,
	        .same_prev = ENG_ROW_NONE};
	memcpy(k->hash, hash, 16);
	if (f->head != ENG_ROW_NONE)
		r->row[f->head].prev = row;
	if (first != ENG_ROW_NONE)
		r->row[first].same_prev = row;
	r->hash[at] = row;
	f->head = row;
	return 0;
}
void chunk_rows_del(struct eng_coll *c, uint32_t row, uint64_t oid)
{
	struct chunk_rows *r = c->chunks;
	struct chunk_file *f = chunk_rows_file(c, oid);
	if (!f || row >= r->cap || r->row[row].next == row)
		return;
	struct chunk_row *k = &r->row[row];
	if (k->prev != ENG_ROW_NONE)
		r->row[k->prev].next = k->next;
	else
		f->head = k->next;
	if (k->next != ENG_ROW_NONE)
		r->row[k->next].prev = k->prev;
	k->next = row;
	if (k->same_next != ENG_ROW_NONE)
		r->row[k->same_next].same_prev = k->same_prev;
	if (k->same_prev != ENG_ROW_NONE) {
		r->row[k->same_prev].same_next = k->same_next;
		return;
	}
	uint32_t at = hash_at(r, k->hash);
	if (k->same_next != ENG_ROW_NONE) {
		r->hash[at] = k->same_next;
		return;
	}
	hash_close(r, at);
	r->hash_n--;
}
uint32_t chunk_rows_find(const struct eng_coll *c, const uint8_t hash[16], uint64_t oid)
{
	const struct chunk_rows *r = c->chunks;
	uint32_t row = r->hash_cap ? r->hash[hash_at(r, hash)] : ENG_ROW_NONE;
	while (oid && row != ENG_ROW_NONE && c->own[row] != oid)
		row = r->row[row].same_next;
	return row;
}
static void refused_set(struct chunk_rows *r, struct chunk_file *f, bool refused)
{
	r->refused_n += (uint32_t)refused;
	r->refused_n -= (uint32_t)f->refused;
	f->refused = refused;
}
uint32_t chunk_rows_reask(struct eng_coll *c)
{
	uint32_t n = c->chunks->refused_n;
	for (uint32_t i = 0; n && i < c->chunks->file_cap; i++)
		if (c->chunks->file[i].oid && c->chunks->file[i].refused)
			c->chunks->file[i].whole = false;
	return n;
}
int chunk_rows_map(struct eng_coll *c, uint64_t oid, uint64_t ver, const uint32_t *row, uint32_t n)
{
	struct chunk_rows *r = c->chunks;
	struct chunk_file *f = file_make(c, oid);
	if (!f)
		return -ENOMEM;
	for (uint32_t i = f->head; i != ENG_ROW_NONE; i = r->row[i].next)
		r->row[i].ord = ENG_ROW_NONE;
	f->ver = ver;
	f->current = f->whole = true;
	refused_set(r, f, false);
	for (uint32_t i = n; i-- > 0;) {
		if (row[i] == SEM_REFUSED)
			refused_set(r, f, true);
		if (row[i] == SEM_REFUSED || row[i] == SEM_NOTHING)
			continue;
		bool live =
		        row[i] < c->cap && row[i] < r->cap && (c->flags[row[i]] & ROWF_LIVE) && c->own[row[i]] == oid;
		if (live)
			r->row[row[i]].ord = i;
		else
			f->whole = false;
	}
	return 0;
}
void chunk_rows_forget(struct eng_coll *c, uint64_t oid)
{
	struct chunk_rows *r = c->chunks;
	struct chunk_file *f = chunk_rows_file(c, oid);
	if (!f)
		return;
	while (f->head != ENG_ROW_NONE) {
		uint32_t row = f->head;
		coll_row_dead(c, row); /* takes it off the list */
		if (f->head == row)
			chunk_rows_del(c, row, oid);
	}
	refused_set(r, f, false);
	file_close(r, (uint32_t)(f - r->file));
}
