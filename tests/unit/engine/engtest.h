/* engtest.h - a front for tests: does an operation on the backing directory, then tells the engine, as fs/ does. */
#pragma once
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/os_fault.h"
#include "engine/engine.h"
#include "tap.h"

struct et {
	char dir[64];
	int root;
	struct os *os;
	struct engine *e;
	enum eng_components comp;
	struct arena arena;
	struct eng_job j; /* the last one run */
};
static inline void et_open(struct et *t)
{
	struct eng_cfg c = {.os = t->os,
	        .root_fd = t->root,
	        .dir = t->dir,
	        .components = t->comp,
	        .version = "test",
	        .transport = "none"};
	int rc = eng_new(&c, &t->e);
	if (rc < 0 || (rc = eng_start(t->e)) < 0) {
		printf("Bail out! engine: %s\n", err_text(rc));
		exit(1);
	}
}
static inline void et_close(struct et *t)
{
	eng_stop(t->e);
	eng_free(t->e);
	t->e = NULL;
}
static inline void et_new(struct et *t, enum eng_components comp)
{
	memset(t, 0, sizeof(*t));
	strcpy(t->dir, "/tmp/vx-eng-XXXXXX");
	if (!mkdtemp(t->dir))
		exit(1);
	chmod(t->dir, 0755);
	t->root = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t->os = os_real();
	t->comp = comp;
	arena_init(&t->arena, MEM_req, 64u << 20);
	et_open(t);
}
static inline int et_rm_one(const char *p, const struct stat *st, int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(p);
}
static inline void et_done(struct et *t)
{
	if (t->e)
		et_close(t);
	close(t->root);
	nftw(t->dir, et_rm_one, 16, FTW_DEPTH | FTW_PHYS);
	arena_done(&t->arena);
}
static inline void et_split(const char *path, char *dir, const char **name)
{
	const char *s = strrchr(path, '/');
	size_t n = s ? (size_t)(s - path) : 0;
	memcpy(dir, path, n);
	dir[n] = 0;
	*name = s ? s + 1 : path;
}
static inline struct obj_key et_key(struct et *t, const char *path)
{
	struct obj_key k = {0};
	if (objkey_at(t->root, path, &k) < 0)
		k.len = 0;
	return k;
}
static inline int et_file(struct et *t, const char *path, struct eng_file *f)
{
	memset(f, 0, sizeof(*f));
	f->key = et_key(t, path);
	return fstatat(t->root, *path ? path : ".", &f->st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}
/* writes through the front; NULL data: touch */
static inline void et_write_flags(struct et *t, const char *path, const char *data, bool tell, int flags)
{
	char dir[4096];
	const char *name;
	struct eng_file f;
	et_split(path, dir, &name);
	struct obj_key parent = et_key(t, dir);
	bool is_new = faccessat(t->root, path, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
	int fd = openat(t->root, path, O_WRONLY | O_CREAT | flags, 0644);
	if (fd < 0) {
		printf("# open %s: %s\n", path, strerror(errno));
		return;
	}
	et_file(t, path, &f);
	if (tell && is_new)
		eng_note_create(t->e, &f, &parent, name);
	if (tell)
		eng_note_open_write(t->e, &f.key);
	if (data && write(fd, data, strlen(data)) < 0)
		printf("# write %s: %s\n", path, strerror(errno));
	close(fd);
	et_file(t, path, &f);
	if (tell)
		eng_note_release_write(t->e, &f, &parent, name, data != NULL);
}
static inline void et_write(struct et *t, const char *path, const char *data)
{
	et_write_flags(t, path, data, true, O_TRUNC);
}
static inline void et_mkdir(struct et *t, const char *path)
{
	char dir[4096];
	const char *name;
	struct eng_file f;
	et_split(path, dir, &name);
	struct obj_key parent = et_key(t, dir);
	mkdirat(t->root, path, 0755);
	et_file(t, path, &f);
	eng_note_create(t->e, &f, &parent, name);
}
static inline int et_unlink(struct et *t, const char *path)
{
	char dir[4096];
	const char *name;
	struct stat st;
	et_split(path, dir, &name);
	struct obj_key parent = et_key(t, dir), key = et_key(t, path);
	if (fstatat(t->root, path, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	bool isdir = S_ISDIR(st.st_mode);
	if (unlinkat(t->root, path, isdir ? AT_REMOVEDIR : 0))
		return -errno;
	eng_note_unlink(t->e, &key, &parent, name, isdir ? 0 : st.st_nlink - 1, isdir);
	return 0;
}
static inline int et_rename(struct et *t, const char *from, const char *to)
{
	char d1[4096], d2[4096];
	struct stat over, before;
	struct eng_rename r = {0};
	et_split(from, d1, &r.old_name);
	et_split(to, d2, &r.new_name);
	r.moved = et_key(t, from);
	r.old_parent = et_key(t, d1);
	r.new_parent = et_key(t, d2);
	if (fstatat(t->root, from, &before, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (!fstatat(t->root, to, &over, AT_SYMLINK_NOFOLLOW)) {
		r.over = et_key(t, to);
		r.over_left = S_ISDIR(over.st_mode) ? 0 : over.st_nlink - 1;
	}
	r.is_dir = S_ISDIR(before.st_mode);
	if (renameat(t->root, from, t->root, to))
		return -errno;
	fstatat(t->root, to, &r.moved_st, AT_SYMLINK_NOFOLLOW);
	eng_note_rename(t->e, &r);
	eng_note_attr(t->e, &r.moved, &before, &r.moved_st);
	return 0;
}
static inline int et_link(struct et *t, const char *from, const char *to)
{
	char dir[4096];
	const char *name;
	struct stat before;
	struct eng_file f;
	et_split(to, dir, &name);
	struct obj_key parent = et_key(t, dir);
	fstatat(t->root, from, &before, AT_SYMLINK_NOFOLLOW);
	if (linkat(t->root, from, t->root, to, 0))
		return -errno;
	et_file(t, to, &f);
	eng_note_link(t->e, &f, &parent, name);
	eng_note_attr(t->e, &f.key, &before, &f.st);
	return 0;
}
static inline struct eng_job *et_job(struct et *t, enum eng_verb v)
{
	arena_reset(&t->arena);
	memset(&t->j, 0, sizeof(t->j));
	t->j.verb = v;
	t->j.arena = &t->arena;
	t->j.fd = -1;
	t->j.who.uid = getuid();
	t->j.who.gid = getgid();
	return &t->j;
}
/* as setxattr does it: key and descriptor */
static inline int et_put(struct et *t, const char *path, const float *v, uint32_t dim)
{
	struct eng_job *j = et_job(t, EV_put);
	int fd = openat(t->root, path, O_PATH | O_CLOEXEC);
	j->key = et_key(t, path);
	j->fd = fd;
	j->vec = v;
	j->vec_bytes = dim * 4;
	int rc = eng_run(t->e, j);
	close(fd);
	return rc;
}
static inline int et_get(struct et *t, const char *path)
{
	struct eng_job *j = et_job(t, EV_get);
	int fd = openat(t->root, path, O_PATH | O_CLOEXEC);
	j->key = et_key(t, path);
	j->fd = fd;
	int rc = eng_run(t->e, j);
	close(fd);
	return rc;
}
static inline int et_del(struct et *t, const char *path)
{
	struct eng_job *j = et_job(t, EV_del);
	j->key = et_key(t, path);
	return eng_run(t->e, j);
}
static inline int et_search(struct et *t, const float *v, uint32_t dim, uint32_t k, bool stale)
{
	struct eng_job *j = et_job(t, EV_search);
	j->vec = v;
	j->vec_bytes = dim * 4;
	j->k = k;
	j->stale = stale;
	return eng_run(t->e, j);
}
static inline int et_text(struct et *t, const char *words, uint32_t k)
{
	struct eng_job *j = et_job(t, EV_search);
	j->text = words;
	j->text_n = (uint32_t)strlen(words);
	j->k = k;
	j->with_snippet = true;
	return eng_run(t->e, j);
}
static inline int et_wait(struct et *t, bool durable, bool rescan)
{
	struct eng_job *j = et_job(t, EV_wait);
	j->want_durable = durable;
	j->rescan = rescan;
	return eng_run(t->e, j);
}
/* paths of the last answer, comma between */
static inline const char *et_paths(struct et *t)
{
	static char out[65536];
	size_t n = 0;
	out[0] = 0;
	for (uint32_t i = 0; i < t->j.res_n; i++)
		n += (size_t)snprintf(
		        out + n, sizeof(out) - n, "%s%s", i ? "," : "", t->j.res[i].path ? t->j.res[i].path : "#");
	return out;
}
static inline uint64_t et_rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x2545f4914f6cdd1dull;
}
static inline void et_vec(uint64_t *s, float *v, uint32_t dim)
{
	for (uint32_t i = 0; i < dim; i++)
		v[i] = (float)((double)(et_rnd(s) >> 11) / 9007199254740992.0 * 2 - 1);
}
static inline double et_cos(const float *a, const float *b, uint32_t dim)
{
	double ab = 0, aa = 0, bb = 0;
	for (uint32_t i = 0; i < dim; i++)
		ab += (double)a[i] * b[i], aa += (double)a[i] * a[i], bb += (double)b[i] * b[i];
	return ab / sqrt(aa * bb);
}
