/* rowtab.c - cN/rows.tab: what opening needs to know of each row, in one file read at the disk's speed.
 *
 * Walking table vec costs a microsecond a row, which a million vectors make noticeable.  At a clean close of a large collection the
 * walk is done once and its result written down, with the number of the commit it shows.  At opening the file counts only if that
 * number is the catalog's and every page's CRC fits; anything else, and any commit since, sends the opening back to table vec.  So
 * the file is derived, may be deleted at any time, and can never tell of a state other than the catalog's.
 *
 * Live free points, of which a collection may have millions, are told all at once: a bit a row, and their ids by runs of 512 rows.  Where
 * ids follow each other as rows do, which is how an import numbers them, the first of the run says it all, and opening neither reads nor writes
 * anything for a row; other runs are read into their place in the engine's memory, eight bytes a row.  Rows of files, and dead rows, are
 * told one by one: whoever hears of them has something to do for each.
 *
 * Layout (little-endian), in pages of 4,096 bytes: the header; `used`, a bit a row: not free; `points`, a bit a row: a live free point;
 * `runs`, 16 bytes for 512 rows {u64 id of the first row, u32 1: the ids follow, 0: they lie in `ids`, u32 0}; `ids`, u64 a row, 0 if it is
 * no live free point, of a run that follows a hole; `told`, 64 bytes for each other used row; `sums`, the crc32c of each page between the
 * header and itself (a hole has none).  The header has the sum of `sums`, and its own in its last four bytes. */
#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/sbuf.h"
#include "store/store_int.h"

#define PAGE       4096u
#define IDS_PER    (PAGE / 8)
#define BITS_PER   (PAGE * 8)
#define RUN_BYTES  16u
#define RUNS_PER   (PAGE / RUN_BYTES)
#define TOLD_BYTES 64u
#define TOLD_PER   (PAGE / TOLD_BYTES)
#define BATCH      64u /* pages read or written at once */
#define MAGIC      "VEXROWS1"
#define VERSION    3u
#define F_DEAD     1u
#define F_POINT    2u
#define F_HASHED   4u
#define CLOSE_NS   (5ull * 1000000000ull) /* a close waits no longer for this */

/* page numbers of the sections */
struct places {
	uint32_t used, points, runs, ids, told, sums, end;
};
static_assert(IDS_PER == STORE_RUN_ROWS, "a run's ids are a page");
static struct places places_of(uint32_t rows, uint32_t told)
{
	struct places p = {.used = 1};
	uint32_t bits = (uint32_t)(((uint64_t)rows + BITS_PER - 1) / BITS_PER);
	uint32_t runs = (uint32_t)(((uint64_t)rows + IDS_PER - 1) / IDS_PER);
	p.points = p.used + bits;
	p.runs = p.points + bits;
	p.ids = p.runs + (runs + RUNS_PER - 1) / RUNS_PER;
	p.told = p.ids + runs;
	p.sums = p.told + (uint32_t)(((uint64_t)told + TOLD_PER - 1) / TOLD_PER);
	p.end = p.sums + (uint32_t)(((uint64_t)p.sums - 1) * 4 / PAGE) + 1;
	return p;
}
static size_t words_of(uint32_t rows) /* of a section of bits, to the end of its last page */
{
	return (size_t)(((uint64_t)rows + BITS_PER - 1) / BITS_PER) * (PAGE / 8);
}

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

struct out {
	struct store *st;
	int fd, rc;
	uint8_t *sums; /* of page i + 1 */
};
struct stream { /* one section, written from its first page on */
	struct out *o;
	uint8_t *buf; /* BATCH pages */
	uint32_t page, used; /* the first page in buf; bytes in it */
};

static void pages_put(struct out *o, uint32_t page, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		le32_put(o->sums + (size_t)(page + i - 1) * 4, crc32c(0, p + (size_t)i * PAGE, PAGE));
	if (!o->rc)
		o->rc = os_pwrite_all(o->st->os, o->fd, p, (size_t)n * PAGE, (off_t)page * PAGE);
}

static void stream_flush(struct stream *s)
{
	uint32_t pages = (s->used + PAGE - 1) / PAGE;
	memset(s->buf + s->used, 0, pages * PAGE - s->used);
	if (pages)
		pages_put(s->o, s->page, s->buf, pages);
	s->page += pages;
	s->used = 0;
}

static uint8_t *stream_next(struct stream *s, uint32_t bytes) /* divides a page */
{
	if (s->used == BATCH * PAGE)
		stream_flush(s);
	uint8_t *p = s->buf + s->used;
	s->used += bytes;
	return p;
}

static bool is_point(const struct vec_rec *v)
{
	return v->is_free_point && !v->dead; /* its stamp says nothing, nor does anybody ask for its commit */
}

static void told_put(uint8_t *p, const struct vec_rec *v)
{
	le32_put(p, v->row);
	le32_put(p + 4, (v->dead ? F_DEAD : 0) | (v->is_free_point ? F_POINT : 0) | (v->stamp.hashed ? F_HASHED : 0));
	le64_put(p + 8, v->id);
	le64_put(p + 16, v->generation);
	le64_put(p + 24, v->stamp.size);
	le64_put(p + 32, (uint64_t)v->stamp.mtime_ns);
	le64_put(p + 40, (uint64_t)v->stamp.ctime_ns);
	memcpy(p + 48, v->stamp.hash, 16);
}

/* what one walk of the collection's rows of vec gives */
struct walked {
	uint64_t *used, *points; /* words_of(rows) each, as on disk */
	uint8_t *runs; /* as on disk */
	uint8_t ids[PAGE]; /* of the run at hand */
	uint32_t run, run_n; /* which; points it has so far */
	uint64_t first; /* the id its first row has if the ids follow */
	bool follows;
	uint32_t told, point_n;
};

static void bit_set(uint64_t *w, uint32_t row)
{
	uint8_t *p = (uint8_t *)w + row / 8; /* little-endian words: bit r of the section is bit r % 8 of byte r / 8 */
	*p = (uint8_t)(*p | 1u << (row & 7));
}

static void run_end(struct out *o, struct walked *w, uint32_t ids_page)
{
	uint8_t *r = w->runs + (size_t)w->run * RUN_BYTES;
	le64_put(r, w->run_n && w->follows ? w->first : 0);
	le32_put(r + 8, !w->run_n || w->follows);
	if (w->run_n && !w->follows)
		pages_put(o, ids_page + w->run, w->ids, 1);
	memset(w->ids, 0, sizeof w->ids);
	w->run_n = 0;
	w->run++;
}

static void point_put(struct walked *w, uint32_t row, uint64_t id)
{
	uint64_t first = id - row % IDS_PER;
	w->follows = !w->run_n ? true : w->follows && first == w->first;
	w->first = w->run_n ? w->first : first;
	w->run_n++;
	w->point_n++;
	le64_put(w->ids + (size_t)(row % IDS_PER) * 8, id);
	bit_set(w->points, row);
}

static int walk(struct out *o, struct stream *told, const struct coll *c, sqlite3_stmt *s, struct walked *w)
{
	uint64_t give_up_ns = os_mono_ns(o->st->os) + CLOSE_NS;
	uint32_t next = 0, ids_page = places_of(c->next_row, 0).ids;
	int q;
	while ((q = sqlite3_step(s)) == SQLITE_ROW && !o->rc) {
		struct vec_rec v;
		if (cat_row_vec(s, &v) < 0 || v.row >= c->next_row || v.row < next)
			return -VX_ERR_store_corrupt; /* opening must meet it again, and tell */
		next = v.row + 1;
		while (w->run < v.row / IDS_PER)
			run_end(o, w, ids_page);
		bit_set(w->used, v.row);
		if (is_point(&v)) {
			point_put(w, v.row, v.id);
		} else {
			told_put(stream_next(told, TOLD_BYTES), &v);
			w->told++;
		}
		if (!(v.row % 4096) && os_mono_ns(o->st->os) > give_up_ns)
			return -VX_ERR_deadline;
	}
	while (w->run < (c->next_row + IDS_PER - 1) / IDS_PER)
		run_end(o, w, ids_page);
	stream_flush(told);
	return o->rc ? o->rc : q == SQLITE_DONE ? 0 : -VX_ERR_store_corrupt;
}

static int header_put(struct out *o, const struct coll *c, const struct walked *w, uint8_t *h)
{
	struct places p = places_of(c->next_row, w->told);
	size_t sums = (size_t)(p.end - p.sums) * PAGE;
	VX_TRY(os_pwrite_all(o->st->os, o->fd, o->sums, sums, (off_t)p.sums * PAGE));
	memset(h, 0, PAGE);
	memcpy(h, MAGIC, 8);
	le32_put(h + 8, VERSION);
	le32_put(h + 12, c->c.cid);
	le64_put(h + 16, o->st->state.generation);
	le32_put(h + 24, c->next_row);
	le32_put(h + 28, w->told);
	le32_put(h + 32, w->point_n);
	le32_put(h + 36, crc32c(0, o->sums, sums));
	le32_put(h + PAGE - 4, crc32c(0, h, PAGE - 4));
	VX_TRY(os_pwrite_all(o->st->os, o->fd, h, PAGE, 0));
	return os_fdatasync(o->st->os, o->fd);
}

static int write_all(struct out *o, const struct coll *c, sqlite3_stmt *s, uint8_t *buf)
{
	struct places p = places_of(c->next_row, 0);
	size_t words = words_of(c->next_row);
	uint32_t bits = p.runs - p.points, runs = p.ids - p.runs;
	struct walked *w = mem_zalloc(MEM_store, sizeof *w);
	struct stream told = {o, buf, p.told, 0};
	int rc = -ENOMEM;
	if (w)
		w->used = mem_zalloc(MEM_store, words * 16 + (size_t)runs * PAGE);
	if (w && w->used) {
		w->points = w->used + words;
		w->runs = (uint8_t *)(w->points + words);
		rc = walk(o, &told, c, s, w);
	}
	if (!rc) {
		pages_put(o, p.used, (const uint8_t *)w->used, bits);
		pages_put(o, p.points, (const uint8_t *)w->points, bits);
		pages_put(o, p.runs, w->runs, runs);
		rc = o->rc ? o->rc : header_put(o, c, w, buf);
	}
	mem_free(MEM_store, w ? w->used : NULL);
	mem_free(MEM_store, w);
	return rc;
}

void rowtab_write(struct store *st, struct coll *c)
{
	struct out o = {.st = st, .fd = -1};
	sqlite3_stmt *s = NULL;
	uint8_t *buf = NULL;
	int dir = atomic_load(&c->dirfd);
	if (c->next_row < ROWTAB_ROWS_MIN || c->tab_generation == st->state.generation)
		return;
	buf = mem_alloc(MEM_store, (size_t)BATCH * PAGE);
	struct places most = places_of(c->next_row, c->next_row);
	o.sums = mem_zalloc(MEM_store, (size_t)(most.end - most.sums) * PAGE);
	if (!buf || !o.sums ||
	        sqlite3_prepare_v2(st->cat.db, CAT_SEL_VEC " WHERE key BETWEEN ?1 AND ?2 ORDER BY key", -1, &s, NULL) !=
	                SQLITE_OK)
		goto out;
	sqlite3_bind_int64(s, 1, vec_key(c->c.cid, 0));
	sqlite3_bind_int64(s, 2, vec_key(c->c.cid, UINT32_MAX));
	(void)os_unlinkat(st->os, dir, "rows.tmp", 0); /* a cut one */
	o.fd = os_openat(st->os, dir, "rows.tmp", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (o.fd < 0)
		goto out;
	o.rc = write_all(&o, c, s, buf);
	if (!o.rc)
		o.rc = os_renameat(st->os, dir, "rows.tmp", dir, "rows.tab");
	if (o.rc < 0)
		(void)os_unlinkat(st->os, dir, "rows.tmp", 0); /* derived: the next opening walks the catalog */
out:
	if (o.fd >= 0)
		(void)os_close(st->os, o.fd); /* synced, or thrown away */
	sqlite3_finalize(s);
	mem_free(MEM_store, o.sums);
	mem_free(MEM_store, buf);
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

struct in {
	struct store *st;
	struct coll *c;
	const struct store_load_cb *cb;
	void *u;
	int fd;
	struct places p;
	uint32_t rows, told_n, point_n;
	uint8_t *sums;
	uint64_t *used, *points; /* as on disk */
	uint8_t *runs, *told;
	uint64_t *ids; /* the engine's */
	struct store_idrun *run; /* as it is told */
};

/* pages [page, page + n) to @to, each checked while it is in the processor's cache */
static int pages_get(struct in *x, uint32_t page, uint32_t n, void *to)
{
	uint8_t *p = to;
	for (uint32_t i = 0; i < n; i += BATCH) {
		uint32_t run = n - i < BATCH ? n - i : BATCH;
		VX_TRY(os_pread_all(x->st->os, x->fd, p, (size_t)run * PAGE, (off_t)(page + i) * PAGE));
		for (uint32_t k = 0; k < run; k++, p += PAGE)
			if (crc32c(0, p, PAGE) != le32_get(x->sums + (size_t)(page + i + k - 1) * 4))
				return -VX_ERR_store_corrupt;
	}
	return 0;
}

/* -ENOENT: a table of another commit, or of another version; else its places are known and its sums are there */
static int header_get(struct in *x, uint8_t *h)
{
	struct stat sb;
	VX_TRY(os_fstat(x->st->os, x->fd, &sb));
	if (sb.st_size < (off_t)PAGE)
		return -VX_ERR_store_corrupt;
	VX_TRY(os_pread_all(x->st->os, x->fd, h, PAGE, 0));
	if (crc32c(0, h, PAGE - 4) != le32_get(h + PAGE - 4))
		return -VX_ERR_store_corrupt;
	x->rows = le32_get(h + 24);
	x->told_n = le32_get(h + 28);
	x->point_n = le32_get(h + 32);
	if (memcmp(h, MAGIC, 8) || le32_get(h + 8) != VERSION || le32_get(h + 12) != x->c->c.cid ||
	        le64_get(h + 16) != x->st->state.generation || x->rows < x->c->next_row || x->rows > CONF_ROWS_MAX)
		return -ENOENT;
	if (x->point_n > x->rows || x->told_n > x->rows - x->point_n)
		return -VX_ERR_store_corrupt;
	x->p = places_of(x->rows, x->told_n);
	if (sb.st_size != (off_t)x->p.end * PAGE)
		return -VX_ERR_store_corrupt;
	size_t sums = (size_t)(x->p.end - x->p.sums) * PAGE;
	x->sums = mem_alloc(MEM_store, sums);
	if (!x->sums)
		return -ENOMEM;
	VX_TRY(os_pread_all(x->st->os, x->fd, x->sums, sums, (off_t)x->p.sums * PAGE));
	return crc32c(0, x->sums, sums) == le32_get(h + 36) ? 0 : -VX_ERR_store_corrupt;
}

static bool bit_of(const uint64_t *w, uint64_t row)
{
	return ((const uint8_t *)w)[row / 8] >> (row % 8) & 1;
}

/* do the sections say one thing?  What lies above next_row was free when they were written. */
static bool agree(const struct in *x)
{
	uint64_t used = 0, points = 0;
	if (x->point_n && store_coll_many(&x->c->c))
		return false;
	for (size_t i = 0; i < words_of(x->rows); i++) {
		if (x->points[i] & ~x->used[i])
			return false;
		used += (uint64_t)__builtin_popcountll(x->used[i]);
		points += (uint64_t)__builtin_popcountll(x->points[i]);
	}
	for (uint64_t row = x->c->next_row; row < words_of(x->rows) * 64; row++)
		if (bit_of(x->used, row))
			return false;
	for (uint32_t i = 0, next = 0; i < x->told_n; i++) {
		uint32_t row = le32_get(x->told + (size_t)i * TOLD_BYTES);
		uint32_t flags = le32_get(x->told + (size_t)i * TOLD_BYTES + 4);
		if ((flags & (F_POINT | F_DEAD)) == F_POINT || row < next || row >= x->c->next_row ||
		        !bit_of(x->used, row) || bit_of(x->points, row))
			return false;
		next = row + 1;
	}
	return points == x->point_n && used == points + x->told_n;
}

static uint32_t runs_n(const struct in *x)
{
	return x->p.told - x->p.ids;
}

/* the ids that do not follow each other, into the engine's room */
static int ids_get(struct in *x)
{
	uint32_t n = runs_n(x), pages = 0;
	x->run = mem_zalloc(MEM_store, (size_t)n * sizeof *x->run);
	if (!x->run)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *r = x->runs + (size_t)i * RUN_BYTES;
		if (le32_get(r + 8) > 1)
			return -VX_ERR_store_corrupt;
		x->run[i] = (struct store_idrun){.first = le64_get(r), .follows = le32_get(r + 8) == 1};
		pages += !x->run[i].follows;
	}
	x->ids = x->cb->points_room(x->u, x->c->c.cid, x->rows, pages);
	if (!x->ids)
		return -ENOMEM;
	for (uint32_t i = 0, end; i < n; i = end + 1) {
		for (end = i; end < n && !x->run[end].follows; end++)
			;
		if (end > i)
			VX_TRY(pages_get(x, x->p.ids + i, end - i, x->ids + (size_t)i * IDS_PER));
	}
	return 0;
}

/* every page that counts is read and checked before the first row is told: no half of a table is ever believed */
static int read_all(struct in *x)
{
	size_t words = words_of(x->rows);
	uint32_t bits = x->p.points - x->p.used, runs = x->p.ids - x->p.runs, told = x->p.sums - x->p.told;
	x->used = mem_alloc(MEM_store, words * 16 + ((size_t)runs + told) * PAGE);
	if (!x->used)
		return -ENOMEM;
	x->points = x->used + words;
	x->runs = (uint8_t *)(x->points + words);
	x->told = x->runs + (size_t)runs * PAGE;
	VX_TRY(pages_get(x, x->p.used, bits, x->used));
	VX_TRY(pages_get(x, x->p.points, bits, x->points));
	VX_TRY(pages_get(x, x->p.runs, runs, x->runs));
	VX_TRY(pages_get(x, x->p.told, told, x->told));
	if (!agree(x))
		return -VX_ERR_store_corrupt;
	if (!x->point_n)
		return 0;
	int rc = ids_get(x);
	for (uint32_t i = 0; rc < 0 && x->ids && i < runs_n(x); i++)
		if (!x->run[i].follows)
			memset(x->ids + (size_t)i * IDS_PER, 0, PAGE);
	return rc;
}

static void words_turn(uint64_t *w, size_t n) /* from the disk's byte order to the machine's */
{
	for (size_t i = 0; i < n && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__; i++)
		w[i] = le64_get(w + i);
}

static int tell(struct in *x)
{
	for (uint32_t i = 0; i < x->told_n; i++) {
		const uint8_t *p = x->told + (size_t)i * TOLD_BYTES;
		uint32_t flags = le32_get(p + 4);
		struct stamp t = {.size = le64_get(p + 24),
		        .mtime_ns = (int64_t)le64_get(p + 32),
		        .ctime_ns = (int64_t)le64_get(p + 40),
		        .hashed = (flags & F_HASHED) != 0};
		memcpy(t.hash, p + 48, 16);
		if (x->cb->vec)
			VX_TRY(x->cb->vec(x->u, x->c->c.cid, le32_get(p), le64_get(p + 16), flags & F_DEAD,
			        flags & F_POINT, le64_get(p + 8), &t));
	}
	words_turn(x->used, words_of(x->rows) * 2);
	for (uint32_t i = 0; i < x->c->free_words; i++) {
		x->c->free_n -= (uint32_t)__builtin_popcountll(x->c->free_w[i] & x->used[i]);
		x->c->free_w[i] &= ~x->used[i];
	}
	if (!x->point_n)
		return 0;
	for (uint32_t i = 0; i < runs_n(x); i++)
		if (!x->run[i].follows)
			words_turn(x->ids + (size_t)i * IDS_PER, IDS_PER);
	return x->cb->points(x->u, x->c->c.cid, x->points, x->rows, x->point_n, x->run);
}

int rowtab_load(struct store *st, struct coll *c, const struct store_load_cb *cb, void *u)
{
	struct in x = {.st = st, .c = c, .cb = cb, .u = u};
	if (c->next_row < ROWTAB_ROWS_MIN || !c->c.dim || !c->free_w || !cb->points)
		return -ENOENT;
	x.fd = os_openat(st->os, atomic_load(&c->dirfd), "rows.tab", O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
	if (x.fd < 0)
		return -ENOENT;
	uint8_t *h = mem_alloc(MEM_store, PAGE);
	int rc = h ? header_get(&x, h) : -ENOMEM;
	if (!rc)
		rc = read_all(&x);
	if (rc < 0) {
		if (rc != -ENOENT && rc != -ENOMEM) {
			log_kv(LOGL_warn, "store: rows.tab is damaged and not used; the catalog is read instead;",
			        "collection", c->c.cid);
			atomic_fetch_add(&st->n_tabs_damaged, 1);
		}
		rc = rc == -ENOMEM ? rc : -ENOENT;
	} else {
		c->tab_generation = st->state.generation;
		rc = tell(&x);
		if (rc == -ENOENT)
			rc = -EIO; /* the callback's own: not to be taken for "no table" */
	}
	(void)os_close(st->os, x.fd); /* read only */
	mem_free(MEM_store, h);
	mem_free(MEM_store, x.sums);
	mem_free(MEM_store, x.used);
	mem_free(MEM_store, x.run);
	return rc;
}
