/* test_eng_path.c - the whole path: put, get, search against a brute force; notes seen by the next search; reopening. */
#include "engtest.h"

#define DIM 8u

static float mem[64][DIM];

static void basics(struct et *t)
{
	uint64_t s = tap_seed(7);
	char name[32];
	for (int i = 0; i < 40; i++) {
		et_vec(&s, mem[i], DIM);
		snprintf(name, sizeof(name), "f%02d", i);
		et_write(t, name, name);
		if (et_put(t, name, mem[i], DIM) != 0)
			T_OK(0, "put %s: %s", name, err_text(t->j.rc));
	}
	T_EQ(et_get(t, "f07"), 0, "get");
	T_OK(t->j.ret_vec_bytes == DIM * 4 && !memcmp(t->j.ret_vec, mem[7], DIM * 4), "the same bytes come back");
	T_EQ(t->j.ret_dim, DIM, "dim");
	float q[DIM];
	et_vec(&s, q, DIM);
	T_EQ(et_search(t, q, DIM, 10, false), 0, "search");
	T_EQ(t->j.res_n, 10, "k results");
	unsigned wrong = 0;
	for (uint32_t r = 0; r < t->j.res_n; r++) {
		int better = 0, me = atoi(t->j.res[r].path + 1);
		for (int i = 0; i < 40; i++)
			better += et_cos(q, mem[i], DIM) > et_cos(q, mem[me], DIM) + 1e-6;
		wrong += better != (int)r;
		wrong += fabs((double)t->j.res[r].score - et_cos(q, mem[me], DIM)) > 1e-5;
	}
	T_EQ(wrong, 0, "order and scores equal the brute force's");
	T_EQ(et_wait(t, false, false), 0, "wait");
	T_EQ(t->j.pending, 0, "nothing pending");
	T_OK(t->j.complete, "complete after wait");
	T_EQ(et_get(t, "f07"), 0, "get");
	T_EQ(t->j.ret_state, ENG_STATE_fresh, "fresh once the hash is known");
	T_OK(t->j.ret_hashed, "hash known");
}
static void refusals(struct et *t)
{
	float v[DIM + 1] = {1}, nan_v[DIM] = {1, NAN}, zero[DIM] = {0};
	T_EQ(et_put(t, "f00", v, DIM + 1), -VX_ERR_dim_mismatch, "another dim");
	T_OK(strstr(t->j.err.detail, "9") && strstr(t->j.err.detail, "8"), "both dims named: %s", t->j.err.detail);
	T_EQ(et_put(t, "f00", nan_v, DIM), -VX_ERR_not_finite, "NaN");
	T_EQ(et_put(t, "f00", zero, DIM), -VX_ERR_zero_vector, "zero under cosine");
	T_EQ(et_put(t, "f00", v, 0), -VX_ERR_dim_range, "empty");
	T_EQ(et_search(t, v, DIM + 1, 3, false), -VX_ERR_dim_mismatch, "query of another dim");
	T_EQ(et_search(t, v, DIM, CONF_K_MAX + 1, false), -VX_ERR_k_range, "k too large");
	struct eng_job *j = et_job(t, EV_put);
	j->path = "f00";
	j->coll = "text";
	j->vec = v;
	j->vec_bytes = DIM * 4;
	T_EQ(eng_run(t->e, j), -VX_ERR_collection_reserved, "text is reserved");
	j = et_job(t, EV_put);
	j->path = "f00";
	j->coll = "nope";
	j->vec = v;
	j->vec_bytes = DIM * 4;
	T_EQ(eng_run(t->e, j), -VX_ERR_no_collection, "unknown collection");
	j = et_job(t, EV_put);
	j->path = "../x";
	j->vec = v;
	j->vec_bytes = DIM * 4;
	T_EQ(eng_run(t->e, j), -VX_ERR_path_outside, "path outside");
	j = et_job(t, EV_put);
	j->path = "none";
	j->vec = v;
	j->vec_bytes = DIM * 4;
	T_EQ(eng_run(t->e, j), -ENOENT, "no such file");
	et_write(t, "bare", "x");
	T_EQ(et_get(t, "bare"), -VX_ERR_no_vector, "a file without");
	T_EQ(et_del(t, "bare"), -VX_ERR_no_vector, "nothing to delete");
}
static const char *top(struct et *t, const float *v)
{
	et_search(t, v, DIM, 1, false);
	return et_paths(t);
}
static void notes(struct et *t)
{
	et_mkdir(t, "a");
	et_mkdir(t, "a/b");
	T_EQ(et_rename(t, "f01", "a/b/moved"), 0, "rename");
	T_STR(top(t, mem[1]), "a/b/moved", "the next search shows the new path");
	T_EQ(et_rename(t, "a", "z"), 0, "rename of the directory");
	T_STR(top(t, mem[1]), "z/b/moved", "and through a directory's rename");
	T_EQ(et_link(t, "z/b/moved", "again"), 0, "link");
	T_STR(top(t, mem[1]), "again", "of two names the smaller");
	T_EQ(et_search(t, mem[1], DIM, 50, false), 0, "search all");
	T_EQ(t->j.res_n, 40, "an object counts once");
	T_EQ(et_unlink(t, "again"), 0, "unlink of one name");
	T_STR(top(t, mem[1]), "z/b/moved", "the other stays");
	T_EQ(et_unlink(t, "z/b/moved"), 0, "unlink of the last");
	T_OK(strcmp(top(t, mem[1]), "z/b/moved") != 0, "gone from search at once");
	et_search(t, mem[1], DIM, 50, false);
	T_EQ(t->j.res_n, 39, "one less");

	/* an editor saves f02: a new file over it inherits the vector as stale */
	et_wait(t, false, false);
	et_write(t, "f02.tmp", "new content");
	T_EQ(et_rename(t, "f02.tmp", "f02"), 0, "rename over");
	T_EQ(et_get(t, "f02"), 0, "the vector is inherited");
	T_EQ(t->j.ret_state, ENG_STATE_stale, "as stale");
	T_OK(!memcmp(t->j.ret_vec, mem[2], DIM * 4), "the same vector");
	T_OK(strcmp(top(t, mem[2]), "f02") != 0, "stale is hidden");
	et_wait(t, false, false);
	et_search(t, mem[2], DIM, 1, true);
	T_STR(et_paths(t), "f02", "shown when asked for");
	T_EQ(t->j.res[0].state, ENG_STATE_stale, "with its state");
	T_EQ(et_put(t, "f02", mem[2], DIM), 0, "a new vector");
	T_STR(top(t, mem[2]), "f02", "fresh again");

	/* content written later */
	et_wait(t, false, false);
	et_write(t, "f03", "other");
	T_OK(strcmp(top(t, mem[3]), "f03") != 0, "stale at once after a write");
	et_wait(t, false, false);
	T_EQ(et_get(t, "f03"), 0, "still there");
	T_EQ(t->j.ret_state, ENG_STATE_stale, "stale after the hash");
	et_write(t, "f03", "f03");
	et_wait(t, false, false);
	et_get(t, "f03");
	T_EQ(t->j.ret_state, ENG_STATE_fresh, "the old content again: the hash says fresh");
	T_STR(top(t, mem[3]), "f03", "and it is found");

	/* a vector set while a handle is open binds at its release */
	struct eng_file f;
	et_file(t, "f04", &f);
	int fd = openat(t->root, "f04", O_WRONLY | O_TRUNC);
	eng_note_open_write(t->e, &f.key);
	T_EQ(et_put(t, "f04", mem[4], DIM), 0, "put while open");
	if (write(fd, "later", 5) != 5)
		T_OK(0, "write");
	et_get(t, "f04");
	T_EQ(t->j.ret_state, ENG_STATE_pending, "pending while open");
	close(fd);
	et_file(t, "f04", &f);
	struct obj_key root = et_key(t, "");
	eng_note_release_write(t->e, &f, &root, "f04", true);
	et_wait(t, false, false);
	et_get(t, "f04");
	T_EQ(t->j.ret_state, ENG_STATE_fresh, "bound to what was written");

	/* chmod through the front refreshes the stamp; behind its back the hash decides */
	struct stat a, b;
	fstatat(t->root, "f05", &a, 0);
	fchmodat(t->root, "f05", 0600, 0);
	fstatat(t->root, "f05", &b, 0);
	struct obj_key k5 = et_key(t, "f05");
	eng_note_attr(t->e, &k5, &a, &b);
	et_get(t, "f05");
	T_EQ(t->j.ret_state, ENG_STATE_fresh, "chmod keeps it fresh");
	fchmodat(t->root, "f06", 0600, 0);
	et_get(t, "f06");
	T_EQ(t->j.ret_state, ENG_STATE_pending, "only ctime differs: pending");
	T_STR(top(t, mem[6]), "f06", "shown meanwhile");
	et_wait(t, false, false);
	et_get(t, "f06");
	T_EQ(t->j.ret_state, ENG_STATE_fresh, "the hash decided");
	/* a name less and a touch before anybody has read the file: all our own doing, the vector stays */
	et_link(t, "f07", "f07b");
	et_put(t, "f07", mem[7], DIM);
	et_unlink(t, "f07b");
	fstatat(t->root, "f07", &a, 0);
	utimensat(t->root, "f07", NULL, 0);
	fstatat(t->root, "f07", &b, 0);
	struct obj_key k7 = et_key(t, "f07");
	eng_note_attr(t->e, &k7, &a, &b);
	et_wait(t, false, false);
	et_get(t, "f07");
	T_EQ(t->j.ret_state, ENG_STATE_fresh, "unlink of another name, then touch");
	/* delete */
	T_EQ(et_del(t, "f08"), 0, "delete");
	T_EQ(et_get(t, "f08"), -VX_ERR_no_vector, "gone");
	T_OK(strcmp(top(t, mem[8]), "f08") != 0, "from search too");
}
static void reopened(struct et *t)
{
	et_search(t, mem[9], DIM, 50, true);
	char *before = strdup(et_paths(t));
	et_close(t);
	et_open(t);
	T_EQ(et_get(t, "f09"), 0, "after reopening");
	T_OK(!memcmp(t->j.ret_vec, mem[9], DIM * 4), "the same bytes");
	T_EQ(et_wait(t, true, false), 0, "wait durable");
	et_search(t, mem[9], DIM, 50, true);
	T_STR(et_paths(t), before, "the same answer");
	free(before);
	et_get(t, "f09");
	T_EQ(t->j.ret_state, ENG_STATE_fresh, "fresh, nothing changed");
	T_EQ(et_get(t, "f08"), -VX_ERR_no_vector, "the deleted one stays deleted");
	/* behind the mount, while unmounted */
	et_close(t);
	renameat(t->root, "f10", t->root, "z/f10");
	unlinkat(t->root, "f11", 0);
	int fd = openat(t->root, "f12", O_WRONLY | O_TRUNC);
	if (write(fd, "changed!", 8) != 8)
		T_OK(0, "write");
	close(fd);
	et_open(t);
	T_EQ(et_wait(t, false, false), 0, "wait for the walk");
	T_STR(top(t, mem[10]), "z/f10", "moved behind the mount");
	T_OK(strcmp(top(t, mem[11]), "f11") != 0, "removed behind the mount");
	et_get(t, "f12");
	T_EQ(t->j.ret_state, ENG_STATE_stale, "changed behind the mount");
	/* while mounted: seen by a rescan; a search never shows a ghost */
	renameat(t->root, "f13", t->root, "z/f13");
	T_OK(strcmp(top(t, mem[13]), "f13") != 0, "no ghost");
	T_EQ(et_wait(t, false, true), 0, "rescan");
	T_STR(top(t, mem[13]), "z/f13", "found by the rescan");
}
static void unbinds(struct et *t)
{
	struct eng_job *j = et_job(t, EV_search);
	float v[4] = {1, 2, 3, 4};
	j->vec = mem[9];
	j->vec_bytes = DIM * 4;
	j->k = 100;
	j->stale = true;
	eng_run(t->e, j);
	char *all = strdup(et_paths(t)), *save = NULL;
	unsigned bad = 0;
	for (char *p = strtok_r(all, ",", &save); p; p = strtok_r(NULL, ",", &save))
		bad += et_del(t, p) != 0;
	free(all);
	T_EQ(bad, 0, "all deleted");
	j = et_job(t, EV_coll_info);
	T_EQ(eng_run(t->e, j), 0, "info");
	T_EQ(j->colls[0].dim, 0, "empty: no dimension");
	T_EQ(et_put(t, "f20", v, 4), 0, "another dimension");
	T_EQ(et_get(t, "f20"), 0, "get");
	T_EQ(t->j.ret_dim, 4, "dim 4");
	T_EQ(et_put(t, "f21", mem[21], DIM), -VX_ERR_dim_mismatch, "bound again");
	et_close(t);
	et_open(t);
	T_EQ(et_get(t, "f20"), 0, "get after reopening");
	T_EQ(t->j.ret_dim, 4, "dim 4 still");
}
/* DIR with its store is copied to where no handle means anything: everything is found again by name, unchanged files are fresh */
static void moved_house(void)
{
	struct et a, b;
	char cmd[256], p[32];
	uint64_t s = 41;
	float v[12][DIM];
	et_new(&a, ENG_all);
	et_mkdir(&a, "deep");
	et_mkdir(&a, "deep/er");
	for (int i = 0; i < 12; i++) {
		snprintf(p, sizeof(p), i % 2 ? "deep/er/m%d" : "m%d", i);
		et_write(&a, p, "words to be found");
		et_vec(&s, v[i], DIM);
		et_put(&a, p, v[i], DIM);
	}
	et_wait(&a, true, false);
	et_close(&a);
	et_new(&b, ENG_all);
	et_close(&b);
	snprintf(cmd, sizeof(cmd), "rm -rf %s/.vexfs && cp -a %s/. %s/", b.dir, a.dir, b.dir);
	T_EQ(system(cmd), 0, "copied");
	int fd = openat(b.root, "m0", O_WRONLY | O_APPEND);
	if (write(fd, "edited", 6) != 6)
		T_OK(0, "write");
	close(fd);
	et_open(&b);
	T_EQ(et_wait(&b, false, false), 0, "wait");
	unsigned fresh = 0, same = 0;
	for (int i = 0; i < 12; i++) {
		snprintf(p, sizeof(p), i % 2 ? "deep/er/m%d" : "m%d", i);
		if (et_get(&b, p) == 0) {
			same += !memcmp(b.j.ret_vec, v[i], sizeof(v[i]));
			fresh += b.j.ret_state == ENG_STATE_fresh;
		}
	}
	T_EQ(same, 12, "every vector is there");
	T_EQ(fresh, 11, "fresh, but for the edited one");
	et_search(&b, v[3], DIM, 1, false);
	T_STR(et_paths(&b), "deep/er/m3", "and found");
	et_text(&b, "words found", 20);
	T_EQ(b.j.res_n, 12, "words too");
	et_close(&b);
	et_open(&b);
	et_wait(&b, false, false);
	et_search(&b, v[3], DIM, 1, false);
	T_STR(et_paths(&b), "deep/er/m3", "and at the next opening");
	et_done(&a);
	et_done(&b);
}
/* A walk sees a file saved over one of two names before the front tells of it: who has the other's former name stays the heir. */
static void walk_before_note(bool had_former)
{
	struct et t;
	struct stat before;
	et_new(&t, ENG_all);
	et_write(&t, "one", "what the vector is of");
	T_EQ(et_put(&t, "one", mem[0], DIM), 0, "set");
	T_EQ(et_wait(&t, false, false), 0, "wait");
	if (had_former) {
		et_rename(&t, "one", "two");
		et_write(&t, "one", "who has the former name");
	} else {
		et_rename(&t, "one", "away");
		et_rename(&t, "away", "two");
	}
	et_link(&t, "two", "link");
	et_write(&t, "new", "saved over the link");
	T_EQ(et_wait(&t, false, false), 0, "wait");
	struct eng_rename r = {.old_name = "new",
	        .new_name = "link",
	        .moved = et_key(&t, "new"),
	        .over = et_key(&t, "link"),
	        .over_left = 1};
	r.old_parent = r.new_parent = et_key(&t, "");
	fstatat(t.root, "new", &before, AT_SYMLINK_NOFOLLOW);
	T_EQ(renameat(t.root, "new", t.root, "link"), 0, "saved");
	T_EQ(et_wait(&t, false, true), 0, "walked");
	fstatat(t.root, "link", &r.moved_st, AT_SYMLINK_NOFOLLOW);
	eng_note_rename(t.e, &r);
	eng_note_attr(t.e, &r.moved, &before, &r.moved_st);
	T_EQ(et_wait(&t, false, false), 0, "told");
	T_EQ(et_get(&t, "two"), 0, "the file keeps its vector while it has a name");
	et_unlink(&t, "two");
	T_EQ(et_wait(&t, false, false), 0, "removed");
	T_EQ(et_get(&t, "link"), -VX_ERR_no_vector, "who was saved over one of two names inherits nothing");
	if (had_former) {
		T_EQ(et_get(&t, "one"), 0, "who has the former name inherits");
		T_EQ(t.j.ret_state, ENG_STATE_stale, "as stale");
	}
	et_done(&t);
}
int main(void)
{
	struct et t;
	et_new(&t, ENG_all);
	basics(&t);
	refusals(&t);
	notes(&t);
	reopened(&t);
	unbinds(&t);
	et_done(&t);
	moved_house();
	walk_before_note(true);
	walk_before_note(false);
	return tap_done();
}
