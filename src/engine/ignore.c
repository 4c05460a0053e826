/* ignore.c - which files the text index leaves out: .gitignore and .vexfsignore in every directory from the root down, the mark
 * user.vexfs.ignore on a directory or file, and .git.
 *
 * As git has it: the deepest list that says something decides, in one directory .vexfsignore over .gitignore, and below a directory that is left
 * out nothing is taken back.  Lists are read when they are first needed and kept as long as their file and its directory look
 * unchanged, for the DIRS_MAX directories asked last.
 *
 * Rules change while files are indexed.  Whoever learns of it (a list was written, renamed, removed; a mark was set) puts the directory into
 * e->ignore_q; ignore_step goes through it, one directory at a time, and has each file's verdict asked for again (QF_IGNORE), which
 * costs no reading of the file unless the verdict is another.  Vectors that users set are no business of these rules. */
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "engine/ingest_priv.h"
#include "text/text_ignore.h"

#define DIRS_MAX 128u
#define SUB_MAX  (CONF_PATH_MAX + 16u)
#define MARK     "user.vexfs.ignore"

static const char *const lists[] = {".gitignore", ".vexfsignore"};
#define LISTS 2u

struct ign_stamp {
	uint64_t ino, size;
	int64_t mtime_ns, ctime_ns;
};
struct ign_dir {
	char *path; /* relative to the root, "" for it; NULL: a free place */
	uint64_t used, seen; /* seen: the asking in which it was last compared with the disk */
	struct ign_stamp dir, file[LISTS];
	bool marked;
	struct text_ignore *list[LISTS];
};
struct ignore {
	struct engine *e;
	uint64_t clock, asking;
	struct ign_dir dir[DIRS_MAX];
	char *sub; /* SUB_MAX bytes */
};

int ignore_new(struct engine *e, struct ignore **ret)
{
	struct ignore *g = mem_zalloc(MEM_engine, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->e = e;
	g->sub = mem_alloc(MEM_engine, SUB_MAX);
	if (!g->sub) {
		mem_free(MEM_engine, g);
		return -ENOMEM;
	}
	*ret = g;
	return 0;
}
static void forget(struct ign_dir *d)
{
	mem_free(MEM_engine, d->path);
	for (unsigned i = 0; i < LISTS; i++)
		text_ignore_free(d->list[i]);
	memset(d, 0, sizeof(*d));
}
void ignore_free(struct ignore *g)
{
	for (unsigned i = 0; g && i < DIRS_MAX; i++)
		forget(&g->dir[i]);
	if (g)
		mem_free(MEM_engine, g->sub);
	mem_free(MEM_engine, g);
}

/* @name "" for the directory itself. Zeros: not there, or no plain file */
static struct ign_stamp stamp_at(struct ignore *g, const char *dir, const char *name, mode_t type)
{
	struct stat s;
	size_t n = strlen(dir), k = strlen(name);
	memcpy(g->sub, n ? dir : ".", n ? n + 1 : 2);
	n = n ? n : 1;
	if (k && n + k + 2 > SUB_MAX)
		return (struct ign_stamp){0};
	if (k) {
		g->sub[n++] = '/';
		memcpy(g->sub + n, name, k + 1);
	}
	if (os_fstatat(g->e->os, g->e->cfg.root_fd, g->sub, &s, AT_SYMLINK_NOFOLLOW) < 0 ||
	        (s.st_mode & S_IFMT) != type)
		return (struct ign_stamp){0};
	return (struct ign_stamp){s.st_ino, (uint64_t)s.st_size, ts_ns(s.st_mtim), ts_ns(s.st_ctim)};
}
/* No os_ call: extended attributes have none, and a failure means no mark */
bool ignore_marked(int fd)
{
	char v[2];
	ssize_t n = fgetxattr(fd, MARK, v, sizeof(v));
	return (n < 0 && errno == ERANGE) || (n >= 0 && !(n == 1 && v[0] == '0'));
}
/* the mark of what g->sub names */
static bool marked(struct ignore *g)
{
	int fd = eng_open_unseen(g->e->os, g->e->cfg.root_fd, g->sub, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return false;
	bool yes = ignore_marked(fd);
	(void)os_close(g->e->os, fd); /* read only */
	return yes;
}
static struct text_ignore *read_list(struct ignore *g)
{
	struct os *os = g->e->os;
	struct text_ignore *t = NULL;
	char *p = mem_alloc(MEM_engine, TEXT_IGNORE_FILE_MAX);
	int fd = p ? eng_open_unseen(os, g->e->cfg.root_fd, g->sub, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) : -1;
	ssize_t n = fd >= 0 ? os_pread(os, fd, p, TEXT_IGNORE_FILE_MAX, 0) : -1;
	struct stat s;
	if (n == (ssize_t)TEXT_IGNORE_FILE_MAX && os_fstat(os, fd, &s) >= 0 && s.st_size > (off_t)n) {
		log_msg(LOGL_warn, "engine: a list of what to leave out of the text index is longer than 256 KiB; its "
		                   "first lines count");
		while (n && p[n - 1] != '\n') /* half a pattern would leave out what nobody named */
			n--;
	}
	if (n > 0 && text_ignore_new(p, (size_t)n, &t) < 0)
		t = NULL;
	if (fd >= 0)
		(void)os_close(os, fd); /* read only */
	mem_free(MEM_engine, p);
	return t;
}
/* the rules of one directory, as its files were in this asking. NULL: no memory */
static struct ign_dir *rules_of(struct ignore *g, const char *path)
{
	struct ign_dir *d = NULL, *oldest = &g->dir[0];
	for (unsigned i = 0; i < DIRS_MAX && !d; i++) {
		struct ign_dir *x = &g->dir[i];
		if (x->path && !strcmp(x->path, path))
			d = x;
		else if (x->used < oldest->used)
			oldest = x;
	}
	if (!d) {
		d = oldest;
		forget(d);
		d->path = mem_strdup(MEM_engine, path);
		if (!d->path)
			return NULL;
		d->dir.ino = UINT64_MAX;
	}
	d->used = ++g->clock;
	if (d->seen == g->asking)
		return d; /* each directory is asked about by every name below it */
	d->seen = g->asking;
	struct ign_stamp now = stamp_at(g, path, "", S_IFDIR);
	if (memcmp(&now, &d->dir, sizeof(now)) != 0) {
		d->dir = now;
		d->marked = marked(g);
	}
	for (unsigned i = 0; i < LISTS; i++) {
		now = stamp_at(g, path, lists[i], S_IFREG);
		if (!memcmp(&now, &d->file[i], sizeof(now)))
			continue;
		d->file[i] = now;
		text_ignore_free(d->list[i]);
		d->list[i] = now.ino ? read_list(g) : NULL;
	}
	return d;
}

/* what the lists from the root down to the directory of `path` say of it: the deepest that says something. path[0, n) has no end */
static bool out(struct ignore *g, char *path, size_t n, bool dir)
{
	for (size_t at = n;;) { /* the list's directory is path[0, at) */
		while (at && path[at - 1] != '/')
			at--;
		size_t below = at; /* where the name below that directory begins */
		char kept = at ? path[at - 1] : 0;
		if (at)
			path[at - 1] = 0;
		struct ign_dir *d = rules_of(g, at ? path : "");
		if (at)
			path[at - 1] = kept;
		for (unsigned i = LISTS; d && i-- > 0;) {
			enum text_ignore_verdict v = d->list[i]
			                                     ? text_ignore_ask(d->list[i], path + below, n - below, dir)
			                                     : TEXT_IGNORE_silent;
			if (v != TEXT_IGNORE_silent)
				return v == TEXT_IGNORE_out;
		}
		if (!at)
			return false;
		at--;
	}
}
bool ignore_says(struct ignore *g, const char *path)
{
	size_t n = strlen(path);
	char *p = n <= CONF_PATH_MAX ? mem_alloc(MEM_engine, n + 1) : NULL;
	bool yes = false;
	if (!p)
		return false;
	memcpy(p, path, n + 1);
	g->asking++;
	struct ign_dir *d = rules_of(g, "");
	yes = d && d->marked;
	for (size_t at = 0; !yes && at < n;) { /* each directory on the way, then the file */
		size_t end = at + strcspn(p + at, "/");
		bool dir = end < n;
		yes = (dir && end - at == 4 && !memcmp(p + at, ".git", 4)) || out(g, p, end, dir);
		if (!yes && dir) {
			p[end] = 0;
			d = rules_of(g, p);
			p[end] = '/';
			yes = d && d->marked;
		}
		at = end + 1;
	}
	if (!yes) {
		memcpy(g->sub, path, n + 1);
		yes = marked(g);
	}
	mem_free(MEM_engine, p);
	return yes;
}

/* ---- rules have changed ---- */
bool ignore_list_name(const char *name)
{
	return !strcmp(name, lists[0]) || !strcmp(name, lists[1]);
}
void ignore_changed(struct engine *e, struct eng_obj *o)
{
	if (e->cfg.components != ENG_all || e->cfg.read_only || !o)
		return;
	if (o->kind == STORE_OBJ_file) {
		ingest_push(e, o, QF_IGNORE);
		return;
	}
	if (oid_ring_push(&e->ignore_q, o->oid) < 0) {
		eng_lost(e);
		return;
	}
	atomic_fetch_add(&e->pending, 1);
	bell_ring(&e->ingest_bell);
}
bool ignore_step(struct engine *e)
{
	uint64_t oid;
	eng_wrlock(e);
	bool got = oid_ring_pop(&e->ignore_q, &oid);
	struct eng_obj *o = got ? obj_by_oid(&e->t, oid) : NULL;
	for (struct eng_link *l = o ? o->children : NULL; l; l = l->sib_next)
		ignore_changed(e, l->obj);
	eng_unlock(e);
	if (got)
		ingest_pending_less(e);
	return got;
}
