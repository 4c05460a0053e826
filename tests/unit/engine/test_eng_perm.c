/* test_eng_perm.c - nobody finds what they may not read: modes, groups, x on every ancestor, links; k is filled all the same. */
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "engtest.h"

#define DIM   4u
#define OTHER 65534u

static int search_as(struct et *t, const float *v, uint32_t uid, uint32_t gid, int pid, uint32_t k)
{
	struct eng_job *j = et_job(t, EV_search);
	j->vec = v;
	j->vec_bytes = DIM * 4;
	j->k = k;
	j->who = (struct eng_caller){uid, gid, pid};
	return eng_run(t->e, j);
}
/* the oracle: the kernel, asked by a child of that identity */
static bool may_read(struct et *t, const char *path, uint32_t uid, uint32_t gid)
{
	pid_t p = fork();
	if (!p) {
		if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
			_exit(2);
		int fd = openat(t->root, path, O_RDONLY);
		_exit(fd < 0);
	}
	int st;
	waitpid(p, &st, 0);
	return WIFEXITED(st) && WEXITSTATUS(st) == 0;
}
static void modes(struct et *t)
{
	float v[DIM] = {1, 1, 0, 0};
	char name[32];
	for (int i = 0; i < 30; i++) { /* the nearest ones are private */
		snprintf(name, sizeof(name), "f%02d", i);
		et_write(t, name, name);
		v[2] = (float)i / 100;
		et_put(t, name, v, DIM);
		if (i < 20)
			fchmodat(t->root, name, 0600, 0);
	}
	v[2] = 0;
	T_EQ(search_as(t, v, 0, 0, 0, 5), 0, "root");
	T_STR(et_paths(t), "f00,f01,f02,f03,f04", "root sees all");
	T_EQ(search_as(t, v, OTHER, OTHER, 0, 5), 0, "other");
	T_STR(et_paths(t), "f20,f21,f22,f23,f24", "k filled with what may be read");
	T_EQ(search_as(t, v, OTHER, OTHER, 0, 30), 0, "other, all");
	T_EQ(t->j.res_n, 10, "no more than that");
	T_EQ(search_as(t, v, 0, 0, 0, 1), 0, "root again on the same threads");
	T_STR(et_paths(t), "f00", "identity was taken back");
	T_OK(faccessat(t->root, "f00", R_OK, AT_EACCESS) == 0, "here too");
	/* put and get by path ask as well */
	struct eng_job *j = et_job(t, EV_get);
	j->path = "f00";
	j->who.uid = j->who.gid = OTHER;
	T_EQ(eng_run(t->e, j), -EACCES, "get of a private file");
	j = et_job(t, EV_put);
	j->path = "f25";
	j->vec = v;
	j->vec_bytes = DIM * 4;
	j->who.uid = j->who.gid = OTHER;
	T_EQ(eng_run(t->e, j), -EACCES, "put to a file one may only read");
	j = et_job(t, EV_search);
	j->like = "f00";
	j->who.uid = j->who.gid = OTHER;
	T_EQ(eng_run(t->e, j), -EACCES, "like a private file");
}
/* A process that is somebody else, in group 4242 when @in, and changes its groups when told to: a byte 'd' drops them, 'j' joins, 'e'
 * ends it.  @pid: the number it gets, when that is free; 0: any. */
struct member {
	pid_t pid;
	int to, from;
};
static void member_tell(struct member *m, char what)
{
	char c = 1;
	T_OK(write(m->to, &what, 1) == 1 && read(m->from, &c, 1) == 1 && !c, "told '%c'", what);
}
static _Noreturn void member_main(int in, int out)
{
	gid_t g = 4242;
	/* raw calls: the C library's speak to threads that this process does not have */
	char c, bad = (char)(syscall(SYS_setresgid, OTHER, OTHER, OTHER) || syscall(SYS_setresuid, OTHER, OTHER, 0));
	while (read(in, &c, 1) == 1) {
		if (c == 'd' || c == 'j')
			bad |= (char)(syscall(SYS_setresuid, -1, 0, -1) ||
			              syscall(SYS_setgroups, c == 'j' ? 1L : 0L, &g) ||
			              syscall(SYS_setresuid, -1, OTHER, -1));
		if (write(out, &bad, 1) != 1 || c == 'e')
			break;
	}
	_exit(0);
}
static bool member_start(struct member *m, pid_t pid)
{
	int to[2], from[2];
	if (pipe(to) || pipe(from))
		exit(1);
	struct clone_args a = {.exit_signal = SIGCHLD, .set_tid = pid ? (uintptr_t)&pid : 0, .set_tid_size = pid != 0};
	pid_t p = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	if (!p)
		member_main(to[0], from[1]);
	close(to[0]);
	close(from[1]);
	*m = (struct member){.pid = p, .to = to[1], .from = from[0]};
	return p > 0;
}
static void member_end(struct member *m)
{
	member_tell(m, 'e');
	waitpid(m->pid, NULL, 0);
	close(m->to);
	close(m->from);
}
/* groups are those of the asking thread at that moment, as the kernel knows them */
/* whether the group's file is found by this uid with the groups of process @pid */
static void sees(struct et *t, const float *v, uint32_t uid, int pid, bool want, const char *what)
{
	search_as(t, v, uid, OTHER, pid, 1);
	T_OK(!strcmp(et_paths(t), "g") == want, "%s", what);
}
static void by_groups(struct et *t, const float *v)
{
	struct member m, n;
	T_OK(member_start(&m, 0), "a process");
	for (int i = 0; i < 3; i++) {
		member_tell(&m, 'j');
		sees(t, v, OTHER, m.pid, true, "by a supplementary group");
		sees(t, v, OTHER, 0, false, "not without the process");
		sees(t, v, OTHER - 1, m.pid, false, "another uid does not borrow its groups");
		member_tell(&m, 'd');
		sees(t, v, OTHER, m.pid, false, "a group that was dropped is lost at once");
	}
	member_tell(&m, 'j');
	sees(t, v, OTHER, m.pid, true, "in it again");
	member_end(&m);
	sees(t, v, OTHER, m.pid, false, "a process that has ended lends nothing");
	if (!member_start(&n, m.pid)) {
		printf("# this system does not let a test choose a process's number\n");
		return;
	}
	member_tell(&n, 'd');
	sees(t, v, OTHER, n.pid, false, "nor does another that has its number");
	member_tell(&n, 'j');
	sees(t, v, OTHER, n.pid, true, "whose own groups count");
	member_end(&n);
}
static void ancestors(struct et *t)
{
	float v[DIM] = {0, 0, 1, 1};
	et_mkdir(t, "d");
	et_mkdir(t, "d/e");
	et_write(t, "d/e/f", "x");
	et_put(t, "d/e/f", v, DIM);
	search_as(t, v, OTHER, OTHER, 0, 1);
	T_STR(et_paths(t), "d/e/f", "readable");
	fchmodat(t->root, "d", 0700, 0);
	search_as(t, v, OTHER, OTHER, 0, 1);
	T_OK(strcmp(et_paths(t), "d/e/f") != 0, "no x on an ancestor");
	fchmodat(t->root, "d", 0711, 0);
	search_as(t, v, OTHER, OTHER, 0, 1);
	T_STR(et_paths(t), "d/e/f", "x alone is enough");
	/* a second name where it can be reached */
	fchmodat(t->root, "d", 0700, 0);
	et_link(t, "d/e/f", "zz");
	search_as(t, v, OTHER, OTHER, 0, 1);
	T_STR(et_paths(t), "zz", "the reachable name is shown");
	search_as(t, v, 0, 0, 0, 1);
	T_STR(et_paths(t), "d/e/f", "to root the smaller");
	/* groups: of the thread, as the kernel knows them */
	et_write(t, "g", "x");
	v[0] = -1;
	et_put(t, "g", v, DIM);
	fchownat(t->root, "g", 0, 4242, 0);
	fchmodat(t->root, "g", 0640, 0);
	by_groups(t, v);
}
static void random_trees(struct et *t)
{
	uint64_t s = tap_seed(11);
	float v[DIM];
	char path[64];
	unsigned leaked = 0, missed = 0;
	static const unsigned modes[] = {0777, 0755, 0711, 0700, 0750, 0701, 0644, 0640, 0600, 0604, 0444, 0000};
	static const uint32_t ids[] = {0, OTHER, 1000, 1001};
	for (unsigned i = 0; i < 60; i++) {
		snprintf(path, sizeof(path), "t%u", i / 12);
		if (i % 12 == 0)
			et_mkdir(t, path);
		snprintf(path, sizeof(path), "t%u/s%u", i / 12, i / 4 % 3);
		if (i % 4 == 0)
			et_mkdir(t, path);
		snprintf(path, sizeof(path), "t%u/s%u/f%u", i / 12, i / 4 % 3, i % 4);
		et_write(t, path, "x");
		et_vec(&s, v, DIM);
		et_put(t, path, v, DIM);
	}
	for (unsigned i = 0; i < 60; i++) {
		for (unsigned l = 0; l < 3; l++) {
			int n = snprintf(path, sizeof(path), "t%u", i / 12);
			if (l)
				n += snprintf(path + n, sizeof(path) - (size_t)n, "/s%u", i / 4 % 3);
			if (l == 2)
				snprintf(path + n, sizeof(path) - (size_t)n, "/f%u", i % 4);
			fchownat(t->root, path, ids[et_rnd(&s) % 4], ids[et_rnd(&s) % 4], 0);
			fchmodat(t->root, path, modes[et_rnd(&s) % (l == 2 ? 12 : 8)], 0);
		}
	}
	for (unsigned u = 1; u < 4; u++) {
		struct eng_job *j = et_job(t, EV_search);
		j->vec = v;
		j->vec_bytes = DIM * 4;
		j->k = 1000;
		j->scope = NULL;
		j->who = (struct eng_caller){ids[u], ids[u], 0};
		eng_run(t->e, j);
		for (unsigned i = 0; i < 60; i++) {
			snprintf(path, sizeof(path), "t%u/s%u/f%u", i / 12, i / 4 % 3, i % 4);
			bool shown = false;
			for (uint32_t r = 0; r < j->res_n; r++)
				shown |= !strcmp(j->res[r].path, path);
			bool may = may_read(t, path, ids[u], ids[u]);
			leaked += shown && !may;
			missed += may && !shown;
		}
	}
	T_EQ(leaked, 0, "leaked");
	T_EQ(missed, 0, "missed");
}
static void free_points(struct et *t)
{
	float v[DIM] = {1, 2, 3, 4};
	struct eng_job *j = et_job(t, EV_coll_create);
	strcpy(j->coll_new.name, "private");
	j->coll_new.mode = 0600;
	j->who = (struct eng_caller){0, 0, 0};
	T_EQ(eng_run(t->e, j), 0, "create");
	j = et_job(t, EV_put);
	j->coll = "private";
	j->is_free_point = true;
	j->free_id = 77;
	j->vec = v;
	j->vec_bytes = DIM * 4;
	T_EQ(eng_run(t->e, j), 0, "put a free point");
	j = et_job(t, EV_search);
	j->coll = "private";
	j->vec = v;
	j->vec_bytes = DIM * 4;
	T_EQ(eng_run(t->e, j), 0, "search");
	T_OK(j->res_n == 1 && !j->res[0].path && j->res[0].id == 77, "by id, no path");
	j = et_job(t, EV_search);
	j->coll = "private";
	j->vec = v;
	j->vec_bytes = DIM * 4;
	j->who.uid = j->who.gid = OTHER;
	eng_run(t->e, j);
	T_EQ(j->res_n, 0, "not for others");
	j = et_job(t, EV_coll_list);
	j->who.uid = j->who.gid = OTHER;
	eng_run(t->e, j);
	T_EQ(j->coll_n, 2, "nor its name");
	j = et_job(t, EV_coll_drop);
	j->coll = "private";
	j->who.uid = j->who.gid = OTHER;
	T_EQ(eng_run(t->e, j), -VX_ERR_not_owner, "nor to drop");
	j = et_job(t, EV_coll_create);
	strcpy(j->coll_new.name, "theirs");
	j->who.uid = j->who.gid = OTHER;
	T_EQ(eng_run(t->e, j), -EACCES, "creating needs the root directory's w");
	j = et_job(t, EV_coll_drop);
	j->coll = "private";
	T_EQ(eng_run(t->e, j), 0, "root drops");
	j = et_job(t, EV_search);
	j->coll = "private";
	j->vec = v;
	j->vec_bytes = DIM * 4;
	T_EQ(eng_run(t->e, j), -VX_ERR_no_collection, "gone");
}
int main(void)
{
	struct et t;
	if (getuid()) {
		T_SKIP("needs root");
		return tap_done();
	}
	et_new(&t, ENG_search);
	modes(&t);
	ancestors(&t);
	random_trees(&t);
	free_points(&t);
	et_done(&t);
	return tap_done();
}
