/* resolve.c - from a path or a handle to an object of the table, its ancestors made known on the way.  [threads that may wait]
 *
 * Looking at the disk and changing the table are two moments; a rename between them would plant a name that is out of date.  Notes of
 * renames and unlinks count e->change_seq: what was seen on disk is entered only if the count has not moved, else it is seen again. */
#include <fcntl.h>
#include <string.h>

#include "engine/engine_priv.h"

#define RESOLVE_TRIES 16

/* a caller's path in the form the table has: no leading, double or trailing slash, no "." ; ".." is refused */
static int path_clean(const char *s, char *p, size_t cap)
{
	size_t n = 0;
	while (*s) {
		while (*s == '/')
			s++;
		size_t k = strcspn(s, "/");
		if (!k)
			break;
		if (k == 2 && s[0] == '.' && s[1] == '.')
			return -VX_ERR_path_outside;
		if (!(k == 1 && s[0] == '.')) {
			if (k > CONF_NAME_MAX || n + k + 2 > cap)
				return -ENAMETOOLONG;
			if (n)
				p[n++] = '/';
			memcpy(p + n, s, k);
			n += k;
		}
		s += k;
	}
	p[n] = 0;
	return (int)n;
}
int eng_path_clean(const char *s, char *p, size_t cap)
{
	return path_clean(s, p, cap);
}
static int fd_name(struct engine *e, int fd, char *p, size_t cap)
{
	char name[32];
	struct sbuf b;
	sbuf_fixed(&b, name, sizeof(name));
	sb_str(&b, "/proc/self/fd/");
	sb_i64(&b, fd);
	ssize_t n = os_readlinkat(e->os, AT_FDCWD, sbuf_cstr(&b), p, cap - 1);
	if (n < 0)
		return (int)n;
	if ((size_t)n >= cap - 1)
		return -ENAMETOOLONG;
	p[n] = 0;
	return (int)n;
}
/* the path of an open file relative to the root, as the kernel knows it now */
static int path_of_fd(struct engine *e, int fd, char *p, size_t cap)
{
	char *root = mem_alloc(MEM_engine, CONF_PATH_MAX + 1);
	if (!root)
		return -ENOMEM;
	int rn = fd_name(e, e->cfg.root_fd, root, CONF_PATH_MAX + 1);
	int n = rn < 0 ? rn : fd_name(e, fd, p, cap);
	if (n >= 0) {
		if (rn == 1)
			rn = 0; /* the root directory itself: "/" */
		if (n > rn && !memcmp(p, root, (size_t)rn) && p[rn] == '/') {
			memmove(p, p + rn + 1, (size_t)(n - rn));
			n -= rn + 1;
		} else {
			n = -VX_ERR_path_outside;
		}
	}
	mem_free(MEM_engine, root);
	return n;
}
/* one step: the object named `name` below `parent` has this key and kind. Its number, 0: look again, < 0. */
static int64_t enter(
        struct engine *e, uint64_t seq, uint64_t parent, const char *name, const struct obj_key *k, uint8_t kind)
{
	int64_t ret = 0;
	eng_rdlock(e);
	struct eng_obj *p = obj_by_oid(&e->t, parent), *o = p ? obj_by_key(&e->t, k) : NULL;
	struct eng_link *l = o ? link_find(&e->t, p, name) : NULL;
	bool there = l && l->obj == o;
	if (there)
		ret = (int64_t)o->oid;
	eng_unlock(e);
	if (there)
		return ret;
	eng_wrlock(e);
	p = obj_by_oid(&e->t, parent);
	if (p && atomic_load(&e->change_seq) == seq) {
		o = obj_by_key(&e->t, k);
		if (!o)
			o = obj_add(&e->t, 0, k, kind);
		ret = o ? (int64_t)o->oid : -ENOMEM;
		if (o && o->kind != kind)
			ret = -EIO;
		if (ret > 0)
			link_put_noted(e, o, p, name);
	}
	eng_unlock(e);
	return ret;
}
/* walk the components of a clean path, entering each. Object number, 0: look again, < 0. path is changed and restored. */
static int64_t enter_path(
        struct engine *e, uint64_t seq, char *path, const struct obj_key *key, struct note_stat *ret_st)
{
	struct stat st;
	struct obj_key k;
	uint64_t at = STORE_OID_ROOT;
	char *s = path;
	for (;;) {
		char *end = s + strcspn(s, "/");
		bool last = !*end;
		*end = 0;
		int rc = os_fstatat(e->os, e->cfg.root_fd, path, &st, AT_SYMLINK_NOFOLLOW);
		if (rc >= 0)
			rc = objkey_at(e->cfg.root_fd, path, &k);
		if (rc >= 0 && !last && !S_ISDIR(st.st_mode))
			rc = -ENOTDIR;
		if (rc >= 0 && last && !S_ISREG(st.st_mode))
			rc = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
		int64_t o = rc;
		if (rc >= 0 && last && key->len && !objkey_eq(&k, key))
			return 0; /* another file by now */
		if (rc >= 0)
			o = enter(e, seq, at, s, &k, last ? STORE_OBJ_file : STORE_OBJ_dir);
		if (!last)
			*end = '/';
		if (o <= 0)
			return o;
		if (last) {
			note_stat_of(ret_st, &st);
			return o;
		}
		at = (uint64_t)o;
		s = end + 1;
	}
}
void link_count_check(struct engine *e, uint64_t oid, uint64_t nlink)
{
	eng_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, oid);
	uint64_t n = 0;
	for (const struct eng_link *l = o ? o->links : NULL; l; l = l->obj_next)
		n++;
	bool ask = o && n < nlink && !o->nlink_asked;
	if (ask)
		o->nlink_asked = true; /* once: a name outside the tree is never found */
	eng_unlock(e);
	if (ask)
		walk_want(e);
}
int eng_resolve(struct engine *e, const struct obj_key *key, int fd, const char *path, char *buf, size_t cap,
        uint64_t *ret_oid, struct note_stat *ret_st)
{
	if (fd > 0 && key->len) {
		struct stat st;
		uint64_t oid = 0;
		eng_rdlock(e);
		const struct eng_obj *o = obj_by_key(&e->t, key);
		if (o && o->kind == STORE_OBJ_file && o->links)
			oid = o->oid;
		eng_unlock(e);
		if (oid) {
			VX_TRY(os_fstat(e->os, fd, &st));
			note_stat_of(ret_st, &st);
			*ret_oid = oid;
			return 0;
		}
	}
	for (unsigned i = 0; i < RESOLVE_TRIES; i++) {
		uint64_t seq = atomic_load(&e->change_seq);
		int n = path ? path_clean(path, buf, cap) : fd > 0 ? path_of_fd(e, fd, buf, cap) : -VX_ERR_no_object;
		if (n < 0)
			return n;
		if (!n)
			return -EISDIR;
		int64_t o = enter_path(e, seq, buf, key, ret_st);
		if (o < 0 && !(o == -ENOENT && !path))
			return (int)o;
		if (o > 0) {
			*ret_oid = (uint64_t)o;
			if (ret_st->nlink > 1)
				link_count_check(e, (uint64_t)o, ret_st->nlink);
			return 0;
		}
	}
	/* gone while we looked, or moved faster than we can look */
	return -ENOENT;
}
