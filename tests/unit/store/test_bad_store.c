/* test_bad_store.c - what a store may be found to be when it is opened: on a network file system, locked by nobody any more, written for another
 * machine, full of other people's files, without the permissions it had.  Whatever it is, a refusal says why, nothing stored is lost by
 * having been looked at, and what is not the store's stays where it was.
 *
 * Real permissions need another user than root: the test then becomes nobody in a child of its own. */
#include "storetest.h"
#include <errno.h>
#include <sys/file.h>

#define N 40u

static struct box b;
static struct seen s;
static char said[sizeof((struct vx_errinfo *)0)->detail]; /* by the last opening that was refused */

static void fill(uint32_t n)
{
	static struct top t[N + 1];
	struct waiter w;
	box_open(&b);
	struct store *st = open_ok(&b);
	waiter_init(&w);
	op_bind(&t[0], 1, DIM);
	run1(st, &t[0]);
	for (uint32_t i = 1; i <= n; i++) {
		op_put(&t[i], 1, i + 1, i, UINT32_MAX);
		t[i].op.want_durable = true;
		send(st, &w, &t[i]);
	}
	wait_all(&w);
	T_EQ(w.first_rc, 0, "a store");
	store_close(st);
}
/* vectors that are there and right; < 0: it does not open */
static int vectors(void)
{
	struct store *st = NULL;
	struct vx_errinfo e = {0};
	int rc = open_in(&b, os_real(), &st, &e);
	if (rc < 0) {
		memcpy(said, e.detail, sizeof said);
		return rc;
	}
	T_EQ(load(st, &s), 0, "it loads");
	store_close(st);
	return (int)(s.vecs - s.bad_bytes);
}
static int findings(void)
{
	struct store_cfg cfg = {.os = os_real(), .root_fd = b.fd};
	struct store_verify_report r;
	return store_verify(&cfg, false, NULL, NULL, &r);
}
static void put(const char *name, const void *p, size_t n)
{
	int fd = openat(b.fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, p, n) != (ssize_t)n)
		abort();
	close(fd);
}

/* ---- below it: network file systems -------------------------------------------------------------------------------------------- */
static uint32_t magic_is;
static int magic_rc;
static int told_magic(struct os *o, int fd, uint32_t *ret)
{
	(void)o;
	(void)fd;
	*ret = magic_is;
	return magic_rc;
}
static void network(void)
{
	static const struct {
		const char *name;
		uint32_t magic;
		bool refused;
	} k[] = {{"nfs", 0x6969, true}, {"smb", 0x517b, true}, {"cifs", 0xff534d42, true}, {"smb2", 0xfe534d42, true},
	        {"ext4", 0xef53, false}, {"xfs", 0x58465342, false}, {"btrfs", 0x9123683e, false},
	        {"tmpfs", 0x01021994, false}, {"fuse", 0x65735546, false}};
	struct os_ops ops = *os_real()->ops;
	struct os os = {.ops = &ops};
	ops.fsmagic = told_magic;
	fill(N);
	for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
		struct store *st = NULL;
		struct vx_errinfo e = {0};
		magic_is = k[i].magic;
		int rc = open_in(&b, &os, &st, &e);
		T_EQ(rc, k[i].refused ? -EOPNOTSUPP : 0, k[i].name);
		if (rc < 0)
			T_OK(strstr(e.detail, "network") && strstr(e.detail, "--store"), "  it says what to do: %s",
			        e.detail);
		else
			store_close(st);
	}
	struct store *st = NULL;
	struct vx_errinfo e = {0};
	magic_rc = -EIO;
	T_EQ(open_in(&b, &os, &st, &e), -EIO, "a file system that does not say what it is");
	magic_rc = 0;
	/* where locks are not kept: NFS without its lock daemon, some FUSE file systems */
	static const int errs[] = {ENOLCK, ENOSYS, EOPNOTSUPP, EIO};
	for (size_t i = 0; i < sizeof errs / sizeof *errs; i++) {
		static struct os_fault of;
		os_fault_init(&of, os_real());
		of.at[OSC_flock] = 1;
		of.kind[OSC_flock] = OSF_ERROR;
		of.error[OSC_flock] = errs[i];
		memset(&e, 0, sizeof e);
		T_EQ(open_in(&b, &of.os, &st, &e), -errs[i], "a store that cannot be locked is not opened");
		T_OK(strstr(e.detail, "LOCK") != NULL, "  and says so: %s", e.detail);
	}
	T_EQ(vectors(), N, "none of it cost a vector");
	box_close(&b);
}

/* ---- LOCK ------------------------------------------------------------------------------------------------------------------------- */
static void lock_files(void)
{
	char dead[24], mine[24];
	fill(N);
	pid_t p = fork();
	if (!p)
		_exit(0);
	waitpid(p, NULL, 0);
	snprintf(dead, sizeof dead, "%d\n", (int)p);
	snprintf(mine, sizeof mine, "%d\n", (int)getpid());
	const char *const texts[] = {dead, "1\n", mine, "", "no number", "99999999999999999999\n"};
	const char *const names[] = {"of a dead process", "of a living process that does not hold it",
	        "of this very process", "empty", "of other words", "of a number too large"};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		put(".vexfs/LOCK", texts[i], strlen(texts[i]));
		T_EQ(vectors(), N, names[i]);
	}
	/* held, with words that are no pid */
	put(".vexfs/LOCK", "12x\n", 4);
	int fd = openat(b.fd, ".vexfs/LOCK", O_RDWR);
	struct store *st = NULL;
	struct vx_errinfo e = {0};
	T_EQ(flock(fd, LOCK_EX | LOCK_NB), 0, "held by somebody else");
	T_EQ(open_in(&b, os_real(), &st, &e), -VX_ERR_store_locked, "refused");
	T_OK(strstr(e.detail, "pid 12") != NULL, "what stands there is told as far as it is a number: %s", e.detail);
	close(fd);
	unlinkat(b.fd, ".vexfs/LOCK", 0);
	T_EQ(vectors(), N, "none at all");
	unlinkat(b.fd, ".vexfs/LOCK", 0);
	put("victim", "keep", 4);
	if (symlinkat("../victim", b.fd, ".vexfs/LOCK"))
		abort();
	T_EQ(vectors(), -ELOOP, "a symbolic link is not followed");
	struct stat sb;
	T_OK(fstatat(b.fd, "victim", &sb, 0) == 0 && sb.st_size == 4, "what it points to is as it was");
	unlinkat(b.fd, ".vexfs/LOCK", 0);
	mkdirat(b.fd, ".vexfs/LOCK", 0700);
	T_EQ(vectors(), -EISDIR, "a directory");
	unlinkat(b.fd, ".vexfs/LOCK", AT_REMOVEDIR);
	T_EQ(vectors(), N, "and after all of it every vector is there");
	box_close(&b);
}

/* ---- of another machine, of another version --------------------------------------------------------------------------------------- */
static void turned(uint8_t *h, unsigned at)
{
	uint8_t x[4] = {h[at + 3], h[at + 2], h[at + 1], h[at]};
	memcpy(h + at, x, 4);
}
static void other_machines(void)
{
	static const struct {
		const char *name;
		bool turn;
		unsigned at;
		uint32_t v;
	} k[] = {{"slots of another byte order", true, 0, 0}, {"slots of a newer version", false, 8, 2},
	        {"slots of another collection", false, 16, 7}, {"slots of another segment", false, 20, 1},
	        {"slots of another dimension", false, 24, DIM + 1}, {"slots of another stride", false, 32, 64}};
	uint8_t was[64], h[64];
	fill(N);
	int fd = openat(b.fd, ".vexfs/c1/v0.vec", O_RDWR);
	if (fd < 0 || pread(fd, was, 64, 0) != 64)
		abort();
	for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
		memcpy(h, was, 64);
		if (k[i].turn)
			for (unsigned at = 8; at <= 24; at += 4)
				turned(h, at);
		else
			le32_put(h + k[i].at, k[i].v);
		le32_put(h + 60, crc32c(0, h, 60)); /* nothing is damaged: it is whole, and not ours */
		if (k[i].turn)
			turned(h, 60);
		if (pwrite(fd, h, 64, 0) != 64)
			abort();
		struct store *st = open_ok(&b);
		T_OK(st != NULL, "%s: the store opens", k[i].name);
		T_EQ(atomic_load(&store_rows(st, 1)->bad_segs), 1, "  the segment is marked bad");
		T_EQ(load(st, &s), 0, "  it loads");
		T_EQ(s.bad_bytes, 0, "  what is served is right: slots have sums and numbers of their own");
		store_close(st);
		T_OK(findings() > 0, "  verify tells of it");
	}
	if (pwrite(fd, was, 64, 0) != 64)
		abort();
	close(fd);
	T_EQ(vectors(), N, "the right header again: every vector is there");
	T_EQ(findings(), 0, "and it verifies clean");
	/* SQLite's files are big-endian on every machine; these are the four bytes as a little-endian program would have put them */
	uint8_t id[4] = {0x53, 0x46, 0x58, 0x56}, ours[4];
	fd = openat(b.fd, ".vexfs/catalog.db", O_RDWR);
	if (pread(fd, ours, 4, 68) != 4 || pwrite(fd, id, 4, 68) != 4)
		abort();
	T_EQ(vectors(), -VX_ERR_store_format, "a catalog whose mark is turned round is refused");
	T_OK(strstr(said, "another program") != NULL, "with a sentence: %s", said);
	if (pwrite(fd, ours, 4, 68) != 4)
		abort();
	close(fd);
	T_EQ(vectors(), N, "and opens with its own");
	box_close(&b);
}

/* ---- other people's files ---------------------------------------------------------------------------------------------------------- */
static void foreign(void)
{
	static const char *const files[] = {"notes.txt", "c1/v5.vec", "c1/v1.vec.bak", "c1/x.tmp", "c1/g77.hnsw",
	        "c1/work.hnsw", "c99999999999", "c-1", "cx", "obj.tab", "snap.txt", "catalog.db.orig", "c1/rows.tab"};
	char name[80];
	struct stat sb;
	fill(N);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(name, sizeof name, ".vexfs/%s", files[i]);
		put(name, "not of the store", 16);
	}
	mkdirat(b.fd, ".vexfs/c77", 0700);
	put(".vexfs/c77/v0.vec", "somebody's", 10);
	mkdirat(b.fd, ".vexfs/snap", 0700);
	put(".vexfs/snap/a file", "somebody's", 10);
	mkdirat(b.fd, ".vexfs/snap/a directory", 0700);
	if (symlinkat("/etc/passwd", b.fd, ".vexfs/c1/link") || symlinkat("..", b.fd, ".vexfs/up") ||
	        mknodat(b.fd, ".vexfs/pipe", S_IFIFO | 0600, 0))
		abort();
	T_EQ(vectors(), N, "among foreign files every vector is there");
	int n = findings();
	T_EQ(n, 0, "and they are no findings");
	struct store *st = open_ok(&b);
	struct top t;
	op_put(&t, 1, 9000, 9000, UINT32_MAX);
	T_EQ(run1(st, &t), 0, "it takes a vector");
	store_close(st);
	T_EQ(vectors(), N + 1, "and has it");
	unsigned gone = 0;
	for (size_t i = 0; i + 1 < sizeof files / sizeof *files; i++) { /* but rows.tab, a name of the store's own */
		snprintf(name, sizeof name, ".vexfs/%s", files[i]);
		bool there = fstatat(b.fd, name, &sb, 0) == 0 && sb.st_size == 16;
		gone += !there;
		if (!there)
			printf("# %s is not what it was\n", files[i]);
	}
	gone += fstatat(b.fd, ".vexfs/c77/v0.vec", &sb, 0) != 0 || fstatat(b.fd, ".vexfs/snap/a file", &sb, 0) != 0 ||
	        fstatat(b.fd, ".vexfs/pipe", &sb, 0) != 0 || fstatat(b.fd, ".vexfs/up", &sb, AT_SYMLINK_NOFOLLOW) != 0;
	T_EQ(gone, 0, "they stay as they were");
	box_close(&b);
	/* in the place of the store's own: a catalog, slots, a directory that is none */
	static const char *const own[] = {".vexfs/catalog.db", ".vexfs/c1/v0.vec", ".vexfs/c1"};
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		for (int kind = 0; kind < 3; kind++) {
			char aside[100];
			fill(N);
			snprintf(aside, sizeof aside, "aside");
			if (renameat(b.fd, own[i], b.fd, aside))
				abort();
			int bad = kind == 0   ? mkdirat(b.fd, own[i], 0700)
			          : kind == 1 ? mknodat(b.fd, own[i], S_IFIFO | 0600, 0)
			                      : symlinkat("/dev/zero", b.fd, own[i]);
			if (bad && !(kind == 0 && i == 2))
				abort();
			int v = vectors();
			T_OK(v <= 0, "%s is %s: %d", own[i],
			        kind == 0   ? "a directory"
			        : kind == 1 ? "a pipe"
			                    : "a link",
			        v);
			if (unlinkat(b.fd, own[i], 0) && unlinkat(b.fd, own[i], AT_REMOVEDIR)) {
				char cmd[300];
				snprintf(cmd, sizeof cmd, "%s/%s", b.path, own[i]);
				rm_tree(cmd);
			}
			if (renameat(b.fd, aside, b.fd, own[i]))
				abort();
			T_EQ(vectors(), N, "  put back, every vector is there");
			box_close(&b);
		}
}

/* ---- without permission ------------------------------------------------------------------------------------------------------------ */
/* as nobody: opens and tells what it saw; 255: refused, with a sentence; 254: refused without one; 253: a vector that is wrong but served */
static int as_nobody(bool write_too)
{
	fflush(stdout);
	pid_t p = fork();
	if (!p) {
		struct store *st = NULL;
		struct vx_errinfo e = {0};
		struct top t;
		if (!geteuid() && (setgid(65534) || setuid(65534)))
			_exit(250);
		if (open_in(&b, os_real(), &st, &e) < 0)
			_exit(e.detail[0] ? 255 : 254);
		if (load(st, &s) < 0)
			_exit(252);
		uint32_t wrong = 0;
		for (uint32_t id = 2; id < N + 2; id++) {
			float want[DIM];
			vec_fill(want, id - 1);
			uint32_t row = s.row_of[id];
			if (row != UINT32_MAX && store_row_ok(st, 1, row))
				wrong += memcmp(rows_vec(store_rows(st, 1), row), want, sizeof want) != 0;
		}
		op_put(&t, 1, 9000, 9000, UINT32_MAX);
		int rc = write_too ? run1(st, &t) : 0;
		store_close(st);
		_exit(wrong ? 253 : (rc < 0 ? 100 : 0) + (int)(s.vecs - s.bad_bytes));
	}
	int status;
	waitpid(p, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
static void permissions(void)
{
	static const char *const names[] = {
	        ".vexfs", ".vexfs/LOCK", ".vexfs/catalog.db", ".vexfs/c1", ".vexfs/c1/v0.vec"};
	static const mode_t modes[] = {0, 0400, 0200};
	char cmd[300];
	fill(N);
	snprintf(cmd, sizeof cmd, "chown -R 65534:65534 '%s' && chmod 755 '%s'", b.path, b.path);
	if (!geteuid() && system(cmd))
		abort();
	T_EQ(as_nobody(false), N, "with all permissions every vector is there");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
			struct stat sb;
			if (fstatat(b.fd, names[i], &sb, 0) ||
			        fchmodat(b.fd, names[i], modes[m] | (S_ISDIR(sb.st_mode) ? modes[m] / 4 : 0), 0))
				abort();
			int r = as_nobody(true);
			/* a refusal with its reason, or a store that serves what it can read and refuses what it cannot write */
			T_OK(r == 255 || (r >= 0 && r <= 100 + (int)N), "%s with mode %03o: %s (%d)", names[i],
			        (unsigned)modes[m], r == 255 ? "refused" : "opened", r);
			if (fchmodat(b.fd, names[i], sb.st_mode & 07777, 0))
				abort();
			int all = vectors();
			T_OK(all == (int)N || all == (int)N + 1, "  with its permissions again nothing is lost: %d",
			        all);
			if (all == (int)N + 1) { /* it took the vector: begin anew */
				box_close(&b);
				fill(N);
				snprintf(
				        cmd, sizeof cmd, "chown -R 65534:65534 '%s' && chmod 755 '%s'", b.path, b.path);
				if (!geteuid() && system(cmd))
					abort();
			}
			snprintf(cmd, sizeof cmd, "chown -R 65534:65534 '%s'",
			        b.path); /* what root's own opening made */
			if (!geteuid() && system(cmd))
				abort();
		}
	T_EQ(findings(), 0, "and it verifies clean");
	box_close(&b);
}

int main(void)
{
	if (freopen("/dev/null", "w", stderr) == NULL) /* the store logs what it finds */
		return 99;
	network();
	lock_files();
	other_machines();
	foreign();
	permissions();
	return tap_done();
}
