/* judge.c - is a candidate a result?  A file that exists, at the path given, that the caller may read, in the scope asked for.
 *
 * What the table says of a file's name is checked on the disk each time it is about to be shown: the path must lead, as the caller, to
 * the very object (its key).  At a snapshot the names are those of the live engine, where it knows the object; else the snapshot's own,
 * which must lead to it still.  Of several hard links the smallest path, bytewise, that the caller can reach is the one that is shown. */
#include <fcntl.h>
#include <string.h>

#include "engine/engine_priv.h"

int judge_begin(struct judge *g, struct engine *e, struct eng_job *j)
{
	memset(g, 0, sizeof(*g));
	g->e = e;
	g->j = j;
	g->path = arena_alloc(j->arena, CONF_PATH_MAX + 1);
	g->path2 = arena_alloc(j->arena, CONF_PATH_MAX + 1);
	if (!g->path || !g->path2)
		return -VX_ERR_arena_full;
	if (j->scope && *j->scope) {
		char *s = arena_alloc(j->arena, CONF_PATH_MAX + 1);
		if (!s)
			return -VX_ERR_arena_full;
		int n = eng_path_clean(j->scope, s, CONF_PATH_MAX + 1);
		if (n < 0)
			return n;
		g->scope = s;
		g->scope_n = (size_t)n;
	}
	return perm_begin(&g->as, e, &j->who, j->arena);
}
void judge_end(struct judge *g)
{
	perm_end(&g->as);
	if (g->ghost) {
		g->j->priv.n[2] = 1;
		walk_want(g->e->live ? g->e->live : g->e);
	}
}
static bool in_scope(const struct judge *g, const char *path)
{
	return !g->scope_n || (!strncmp(path, g->scope, g->scope_n) && (!path[g->scope_n] || path[g->scope_n] == '/'));
}
/* the smallest path of the object in scope that is greater than g->path ("" at first) into g->path. 0: none left */
static int next_path(struct judge *g, struct engine *e, uint64_t oid, bool first, struct obj_key *key)
{
	int found = 0;
	unsigned n = 0;
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_oid(&e->t, oid);
	if (o)
		*key = o->key;
	char *best = g->path2;
	if (o && first && o->links && !o->links->obj_next) { /* one name: no comparing */
		found = link_path(o->links, g->path, CONF_PATH_MAX + 1) > 0 && in_scope(g, g->path);
		eng_unlock(e);
		return found;
	}
	char *last = first ? NULL : arena_strndup(g->j->arena, g->path, strlen(g->path));
	if (first || last)
		for (const struct eng_link *l = o ? o->links : NULL; l && n < ENG_LINKS_TRIED; l = l->obj_next, n++) {
			if (link_path(l, g->path, CONF_PATH_MAX + 1) <= 0 || !in_scope(g, g->path))
				continue;
			if (last && strcmp(g->path, last) <= 0)
				continue;
			if (found && strcmp(g->path, best) >= 0)
				continue;
			memcpy(best, g->path, strlen(g->path) + 1);
			found = 1;
		}
	eng_unlock(e);
	if (found)
		memcpy(g->path, best, strlen(best) + 1);
	return found;
}
/* 1 readable and itself; 0 not for this caller; -ESTALE: the name leads elsewhere */
static int at_path(struct judge *g, const struct obj_key *key, struct note_stat *ret_st, uint64_t *ret_ino)
{
	struct stat st;
	struct obj_key k;
	int rc = perm_path(&g->as, g->path, 4);
	if (rc >= 0)
		rc = objkey_at(g->e->cfg.root_fd, g->path, &k);
	if (rc >= 0)
		rc = os_fstatat(g->e->os, g->e->cfg.root_fd, g->path, &st, AT_SYMLINK_NOFOLLOW);
	if (rc == -ENOENT || rc == -ENOTDIR)
		return -ESTALE;
	if (rc < 0) {
		perf_add(PERFC_perm_denied, 1);
		return 0;
	}
	if (!objkey_eq(&k, key))
		return -ESTALE;
	note_stat_of(ret_st, &st);
	*ret_ino = st.st_ino;
	return S_ISREG(st.st_mode);
}
/* by the names that @e's table has of the object. 1 or 0; -ESTALE: they lead elsewhere, and no note is about to put that right */
static int judge_in(struct judge *g, struct engine *e, uint64_t oid, struct note_stat *ret_st, uint64_t *ret_ino)
{
	struct obj_key key = {0};
	for (unsigned tries = 0; tries < 4; tries++) {
		uint64_t seq = atomic_load(&e->change_seq);
		bool stale = false;
		for (bool first = true; next_path(g, e, oid, first, &key); first = false) {
			int rc = at_path(g, &key, ret_st, ret_ino);
			if (rc > 0) {
				g->key = key;
				return 1;
			}
			stale |= rc < 0;
		}
		if (!stale)
			return 0;
		if (atomic_load(&e->change_seq) == seq)
			return -ESTALE; /* or a note has not reached us yet */
	}
	return 0;
}
/* the same object in the live engine's table; 0: not there */
static uint64_t oid_now(struct engine *e, uint64_t oid)
{
	struct obj_key key = {0};
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_oid(&e->t, oid);
	if (o)
		key = o->key;
	eng_unlock(e);
	eng_rdlock(e->live);
	o = key.len ? obj_by_key(&e->live->t, &key) : NULL;
	uint64_t now = o && o->kind == STORE_OBJ_file && o->links ? o->oid : 0;
	eng_unlock(e->live);
	return now;
}
/* what is gone has no permissions to ask: only the owner is told of it, by the path it had */
static void judge_gone(struct judge *g, uint64_t oid)
{
	if (!job_owner(g->e, g->j))
		return;
	eng_rdlock(g->e);
	const struct eng_obj *o = obj_by_oid(&g->e->t, oid);
	g->gone = o && obj_path(o, g->path, CONF_PATH_MAX + 1) > 0 && in_scope(g, g->path);
	if (g->gone)
		g->key = o->key;
	eng_unlock(g->e);
}
int judge_file(struct judge *g, uint64_t oid, struct note_stat *ret_st, uint64_t *ret_ino)
{
	struct engine *e = g->e;
	uint64_t now = e->live ? oid_now(e, oid) : 0;
	g->gone = false;
	int rc = judge_in(g, now ? e->live : e, now ? now : oid, ret_st, ret_ino);
	if (rc >= 0)
		return rc;
	if (e->live && !now) {
		judge_gone(g, oid);
		return 0;
	}
	g->ghost = true;
	g->ghost_oid = oid;
	return 0;
}
