/* test_fs_ops.c - every operation by raw messages; the oracle is the backing directory itself, looked at by plain system calls. */
#include <dirent.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include "tap.h"
#include "wire.h"

static char dir[] = "/tmp/vexfs-ops-XXXXXX";
static struct wire w;

static const char *at(const char *name)
{
	static char p[4][600];
	static unsigned k;
	k = (k + 1) % 4;
	snprintf(p[k], sizeof p[k], "%s/%s", dir, name);
	return p[k];
}
static uint32_t fds_open(void)
{
	uint32_t n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void t_names(void)
{
	struct fuse_entry_out e, e2;
	struct fuse_open_out o;
	struct stat st;
	T_EQ(wire_create(&w, 1, "a", 0666, O_RDWR | O_CREAT, &e, &o), 0, "create a");
	T_EQ(stat(at("a"), &st), 0, "it is there");
	T_EQ(st.st_mode & 0777, 0644, "with the caller's umask");
	T_EQ(e.attr.ino, st.st_ino, "inode number shown");
	T_EQ(wire_write(&w, e.nodeid, o.fh, "hello", 5, 0), 5, "write");
	T_EQ(wire_read(&w, e.nodeid, o.fh, 100, 1), 4, "read at 1");
	T_OK(!memcmp(w.out, "ello", 4), "what was written");
	T_EQ(wire_release(&w, e.nodeid, o.fh, false), 0, "release");
	T_EQ(wire_read(&w, e.nodeid, o.fh, 100, 0), -EBADF, "a handle released is none");
	T_EQ(wire_lookup(&w, 1, "a", &e2), 0, "lookup");
	T_EQ(e2.nodeid, e.nodeid, "same node");
	T_EQ(e2.attr.size, 5, "size");

	struct fuse_mkdir_in md = {.mode = 0777, .umask = 027};
	T_EQ(wire_call2(&w, FUSE_MKDIR, 1, &md, sizeof md, "d", 2), 0, "mkdir");
	memcpy(&e2, w.out, sizeof e2);
	T_EQ(stat(at("d"), &st) ? 0 : st.st_mode & 0777, 0750, "its mode");
	uint64_t d = e2.nodeid;
	struct fuse_mknod_in mn = {.mode = S_IFIFO | 0644};
	T_EQ(wire_call2(&w, FUSE_MKNOD, d, &mn, sizeof mn, "p", 2), 0, "mknod fifo");
	T_OK(!stat(at("d/p"), &st) && S_ISFIFO(st.st_mode), "a fifo");
	T_EQ(wire_call(&w, FUSE_SYMLINK, d, "l\0../a", 7), 0, "symlink");
	memcpy(&e2, w.out, sizeof e2);
	T_EQ(wire_call(&w, FUSE_READLINK, e2.nodeid, NULL, 0), 0, "readlink");
	T_OK(w.out_n == 4 && !memcmp(w.out, "../a", 4), "its target");
	struct fuse_link_in ln = {.oldnodeid = e.nodeid};
	T_EQ(wire_call2(&w, FUSE_LINK, d, &ln, sizeof ln, "h", 2), 0, "link");
	memcpy(&e2, w.out, sizeof e2);
	T_EQ(e2.nodeid, e.nodeid, "one node for both links");
	T_EQ(e2.attr.nlink, 2, "two links");

	struct fuse_rename_in rn = {.newdir = d};
	T_EQ(wire_call2(&w, FUSE_RENAME, 1, &rn, sizeof rn, "a\0b", 4), 0, "rename into d");
	T_OK(!stat(at("d/b"), &st) && stat(at("a"), &st), "moved");
	struct fuse_rename2_in r2 = {.newdir = d, .flags = RENAME_NOREPLACE};
	T_EQ(wire_call2(&w, FUSE_RENAME2, d, &r2, sizeof r2, "b\0p", 4), -EEXIST, "noreplace");
	r2.flags = RENAME_EXCHANGE;
	T_EQ(wire_call2(&w, FUSE_RENAME2, d, &r2, sizeof r2, "b\0p", 4), 0, "exchange");
	T_OK(!stat(at("d/b"), &st) && S_ISFIFO(st.st_mode), "exchanged");
	T_EQ(wire_call(&w, FUSE_UNLINK, d, "p", 2), 0, "unlink one link");
	T_EQ(wire_call(&w, FUSE_UNLINK, d, "h", 2), 0, "unlink the other");
	struct fuse_attr a;
	T_EQ(wire_getattr(&w, e.nodeid, &a), 0, "the node is known while it is referenced");
	T_EQ(a.nlink, 0, "without links");
	T_EQ(a.size, 5, "with its content");
	T_EQ(wire_call(&w, FUSE_RMDIR, 1, "d", 2), -ENOTEMPTY, "rmdir of a full directory");
	T_EQ(wire_call(&w, FUSE_RMDIR, d, "b", 2), -ENOTDIR, "rmdir of a file");
	T_EQ(wire_call(&w, FUSE_UNLINK, 1, "d", 2), -EISDIR, "unlink of a directory");
	wire_forget(&w, e.nodeid, 3);
	T_EQ(wire_getattr(&w, e.nodeid, &a), -ESTALE, "forgotten");
	T_EQ(wire_lookup(&w, 1, "nope", &e2), -ENOENT, "not there");
	T_EQ(wire_call(&w, FUSE_LOOKUP, 1, "nope", 5), -ENOENT,
	        "which nobody may remember while nobody watches behind the mount");
}

static void t_bad_names(void)
{
	static const char *bad[] = {"", ".", "..", "a/b", "/", "/etc/passwd", "../x"};
	char longest[300];
	struct fuse_entry_out e;
	struct fuse_open_out o;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		T_EQ(wire_lookup(&w, 1, bad[i], &e), -EINVAL, bad[i]);
		T_EQ(wire_create(&w, 1, bad[i], 0600, O_RDWR, &e, &o), -EINVAL, "create of it");
		T_EQ(wire_call(&w, FUSE_UNLINK, 1, bad[i], strlen(bad[i]) + 1), -EINVAL, "unlink of it");
	}
	memset(longest, 'n', sizeof longest);
	longest[256] = 0;
	T_EQ(wire_lookup(&w, 1, longest, &e), -ENAMETOOLONG, "256 bytes");
	for (int i = 0; i < 255; i++)
		longest[i] = (char)(i + 1 == '/' ? 'x' : i + 1);
	longest[255] = 0;
	T_EQ(wire_create(&w, 1, longest, 0600, O_RDWR, &e, &o), 0, "255 bytes of any content");
	T_EQ(access(at(longest), F_OK), 0, "are a name");
	wire_release(&w, e.nodeid, o.fh, false);
	T_EQ(wire_call(&w, FUSE_UNLINK, 1, longest, 256), 0, "that can be removed");
	wire_forget(&w, e.nodeid, 1);
}

static void t_setattr(void)
{
	struct fuse_entry_out e;
	struct fuse_open_out o;
	struct stat st;
	T_EQ(wire_create(&w, 1, "s", 0644, O_RDWR | O_CREAT, &e, &o), 0, "create s");
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = 5000000000ull};
	T_EQ(wire_call(&w, FUSE_SETATTR, e.nodeid, &in, sizeof in), 0, "truncate to 5e9");
	stat(at("s"), &st);
	T_EQ(st.st_size, 5000000000ll, "64-bit size");
	in = (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_FH, .fh = o.fh, .size = 7};
	T_EQ(wire_call(&w, FUSE_SETATTR, e.nodeid, &in, sizeof in), 0, "ftruncate");
	in = (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = S_IFREG | 04711};
	T_EQ(wire_call(&w, FUSE_SETATTR, e.nodeid, &in, sizeof in), 0, "chmod");
	in = (struct fuse_setattr_in){.valid = FATTR_ATIME | FATTR_MTIME,
	        .atime = 11,
	        .atimensec = 12,
	        .mtime = 0x123456789ull,
	        .mtimensec = 14};
	T_EQ(wire_call(&w, FUSE_SETATTR, e.nodeid, &in, sizeof in), 0, "utimens");
	stat(at("s"), &st);
	T_EQ(st.st_size, 7, "size");
	T_EQ(st.st_mode & 07777, 04711, "mode");
	T_EQ(st.st_mtim.tv_sec, 0x123456789ll, "mtime");
	T_EQ(st.st_mtim.tv_nsec, 14, "mtime ns");
	T_EQ(st.st_atim.tv_nsec, 12, "atime ns");
	if (!geteuid()) {
		in = (struct fuse_setattr_in){
		        .valid = FATTR_UID | FATTR_GID | FATTR_MODE, .uid = 65533, .gid = 65532, .mode = 0644};
		T_EQ(wire_call(&w, FUSE_SETATTR, e.nodeid, &in, sizeof in), 0, "chown and chmod in one");
		stat(at("s"), &st);
		T_EQ(st.st_uid, 65533, "uid");
		T_EQ(st.st_gid, 65532, "gid");
		T_EQ(st.st_mode & 07777, 0644, "mode as the kernel says");
	} else
		T_SKIP("chown needs root");
	wire_release(&w, e.nodeid, o.fh, false);
	wire_call(&w, FUSE_UNLINK, 1, "s", 2);
	wire_forget(&w, e.nodeid, 1);
}

static void t_caller(void)
{
	struct fuse_entry_out e;
	struct fuse_open_out o;
	struct stat st;
	if (geteuid()) {
		w.uid = 12345;
		T_EQ(wire_create(&w, 1, "u", 0644, O_RDWR | O_CREAT, &e, &o), -EPERM,
		        "not root: files of others can't be made");
		w.uid = geteuid();
		return;
	}
	w.uid = 12345;
	w.gid = 23456;
	T_EQ(wire_create(&w, 1, "u", 04755, O_RDWR | O_CREAT, &e, &o), 0, "another user's create");
	stat(at("u"), &st);
	T_EQ(st.st_uid, 12345, "belongs to him");
	T_EQ(st.st_gid, 23456, "and his group");
	wire_release(&w, e.nodeid, o.fh, false);
	wire_forget(&w, e.nodeid, 1);
	chmod(dir, 02777);
	chown(dir, 0, 777);
	struct fuse_mkdir_in md = {.mode = 0755};
	T_EQ(wire_call2(&w, FUSE_MKDIR, 1, &md, sizeof md, "gd", 3), 0, "mkdir below a setgid directory");
	wire_forget(&w, ((struct fuse_entry_out *)(void *)w.out)->nodeid, 1);
	stat(at("gd"), &st);
	T_EQ(st.st_gid, 777, "takes its group");
	T_EQ(st.st_mode & 07777, 02755, "and the bit");
	chmod(at("u"), 06777);
	T_EQ(wire_lookup(&w, 1, "u", &e), 0, "lookup");
	uint64_t fh = 0;
	T_EQ(wire_openf(&w, e.nodeid, O_WRONLY | O_TRUNC, &fh), 0, "O_TRUNC by a user");
	stat(at("u"), &st);
	T_EQ(st.st_mode & 07777, 0777, "clears suid and sgid");
	wire_release(&w, e.nodeid, fh, false);
	wire_forget(&w, e.nodeid, 1);
	w.uid = w.gid = 0;
	T_EQ(wire_create(&w, 1, "r", 0644, O_RDWR | O_CREAT, &e, &o), 0, "the next request is root's again");
	stat(at("r"), &st);
	T_EQ(st.st_uid, 0, "and so is its file");
	wire_release(&w, e.nodeid, o.fh, false);
	wire_forget(&w, e.nodeid, 1);
	chmod(dir, 0755);
}

/* read the whole directory in pieces of @size, count names, every one once */
static int list(uint64_t node, size_t size, bool plus, unsigned char *seen, unsigned n)
{
	uint64_t fh = 0, off = 0;
	int count = 0;
	if (wire_opendir(&w, node, &fh))
		return -1;
	for (;;) {
		struct fuse_read_in in = {.fh = fh, .offset = off, .size = (uint32_t)size};
		if (wire_call(&w, plus ? FUSE_READDIRPLUS : FUSE_READDIR, node, &in, sizeof in))
			return -2;
		if (!w.out_n)
			break;
		uint64_t forget[2048];
		unsigned fn = 0;
		for (size_t p = 0; p < w.out_n;) {
			struct fuse_dirent *d = (void *)(w.out + p);
			if (plus) {
				struct fuse_direntplus *dp = (void *)(w.out + p);
				d = &dp->dirent;
				if (dp->entry_out.nodeid)
					forget[fn++] = dp->entry_out.nodeid;
				p += FUSE_DIRENTPLUS_SIZE(dp);
			} else
				p += FUSE_DIRENT_SIZE(d);
			off = d->off;
			unsigned id;
			char name[300] = "";
			memcpy(name, d->name, d->namelen);
			if (sscanf(name, "f%u", &id) == 1 && id < n)
				seen[id]++;
			count++;
		}
		for (unsigned i = 0; i < fn; i++)
			wire_forget(&w, forget[i], 1);
	}
	wire_release(&w, node, fh, true);
	return count;
}

static void t_readdir(void)
{
	enum { N = 3000 };
	static unsigned char seen[N];
	struct fuse_entry_out e;
	mkdir(at("many"), 0755);
	for (int i = 0; i < N; i++) {
		char name[32];
		snprintf(name, sizeof name, "many/f%d", i);
		close(open(at(name), O_CREAT | O_WRONLY, 0644));
	}
	T_EQ(wire_lookup(&w, 1, "many", &e), 0, "lookup many");
	for (int plus = 0; plus < 2; plus++)
		for (size_t size = 512; size <= 65536; size *= 8) {
			memset(seen, 0, sizeof seen);
			int n = list(e.nodeid, size, plus, seen, N);
			bool once = true;
			for (int i = 0; i < N; i++)
				once &= seen[i] == 1;
			T_EQ(n, N + 2, plus ? "readdirplus: entries" : "readdir: entries");
			T_OK(once, "each once, by pieces of %zu", size);
		}
	/* remove behind the reader: what stays is seen once, nothing twice */
	uint64_t fh = 0, off = 0;
	memset(seen, 0, sizeof seen);
	T_EQ(wire_opendir(&w, e.nodeid, &fh), 0, "opendir");
	for (unsigned round = 0;; round++) {
		struct fuse_read_in in = {.fh = fh, .offset = off, .size = 1024};
		if (wire_call(&w, FUSE_READDIR, e.nodeid, &in, sizeof in) || !w.out_n)
			break;
		unsigned ids[64], n = 0;
		for (size_t p = 0; p < w.out_n;) {
			struct fuse_dirent *d = (void *)(w.out + p);
			char name[300] = "";
			memcpy(name, d->name, d->namelen);
			p += FUSE_DIRENT_SIZE(d);
			off = d->off;
			if (sscanf(name, "f%u", &ids[n]) == 1)
				n++;
		}
		for (unsigned i = 0; i < n; i++) {
			char name[32];
			seen[ids[i]]++;
			snprintf(name, sizeof name, "f%u", ids[i]);
			wire_call(&w, FUSE_UNLINK, e.nodeid, name, strlen(name) + 1);
		}
	}
	bool once = true;
	for (int i = 0; i < N; i++)
		once &= seen[i] == 1;
	T_OK(once, "rm while reading: each name once");
	wire_release(&w, e.nodeid, fh, true);
	T_EQ(wire_call(&w, FUSE_RMDIR, 1, "many", 5), 0, "and the directory is empty");
	wire_forget(&w, e.nodeid, 1);
}

static void t_space(void)
{
	struct fuse_entry_out e;
	struct fuse_open_out o;
	struct stat st;
	T_EQ(wire_create(&w, 1, "h", 0644, O_RDWR | O_CREAT, &e, &o), 0, "create h");
	struct fuse_fallocate_in fa = {.fh = o.fh, .offset = 0, .length = 1 << 20};
	T_EQ(wire_call(&w, FUSE_FALLOCATE, e.nodeid, &fa, sizeof fa), 0, "fallocate");
	stat(at("h"), &st);
	T_EQ(st.st_size, 1 << 20, "size");
	wire_write(&w, e.nodeid, o.fh, "x", 1, 3ull << 32);
	struct fuse_lseek_in ls = {.fh = o.fh, .offset = 2 << 20, .whence = SEEK_DATA};
	T_EQ(wire_call(&w, FUSE_LSEEK, e.nodeid, &ls, sizeof ls), 0, "SEEK_DATA");
	T_EQ(((struct fuse_lseek_out *)(void *)w.out)->offset, 3ull << 32, "finds the data behind 4 GiB");
	struct fuse_entry_out e2;
	struct fuse_open_out o2;
	T_EQ(wire_create(&w, 1, "h2", 0644, O_RDWR | O_CREAT, &e2, &o2), 0, "create h2");
	struct fuse_copy_file_range_in c = {.fh_in = o.fh,
	        .off_in = 3ull << 32,
	        .nodeid_out = e2.nodeid,
	        .fh_out = o2.fh,
	        .off_out = 5,
	        .len = 100};
	T_EQ(wire_call(&w, FUSE_COPY_FILE_RANGE, e.nodeid, &c, sizeof c), 0, "copy_file_range");
	T_EQ(((struct fuse_write_out *)(void *)w.out)->size, 1, "bytes copied");
	T_EQ(wire_read(&w, e2.nodeid, o2.fh, 10, 5), 1, "read it back");
	T_EQ(w.out[0], 'x', "the byte");
	struct fuse_fsync_in fs = {.fh = o2.fh};
	T_EQ(wire_call(&w, FUSE_FSYNC, e2.nodeid, &fs, sizeof fs), 0, "fsync");
	struct fuse_flush_in fl = {.fh = o2.fh};
	T_EQ(wire_call(&w, FUSE_FLUSH, e2.nodeid, &fl, sizeof fl), 0, "flush");
	T_EQ(wire_call(&w, FUSE_STATFS, 1, NULL, 0), 0, "statfs");
	T_EQ(((struct fuse_statfs_out *)(void *)w.out)->st.namelen, 255, "name length");
	struct fuse_poll_in po = {.fh = o2.fh, .events = 1};
	T_EQ(wire_call(&w, FUSE_POLL, e2.nodeid, &po, sizeof po), 0, "poll");
	T_OK(((struct fuse_poll_out *)(void *)w.out)->revents & 1, "is ready");
	struct fuse_ioctl_in io = {.fh = o2.fh, .cmd = 0x1234};
	T_EQ(wire_call(&w, FUSE_IOCTL, e2.nodeid, &io, sizeof io), -ENOTTY, "an ioctl nobody knows");
	wire_release(&w, e.nodeid, o.fh, false);
	wire_release(&w, e2.nodeid, o2.fh, false);
	wire_call(&w, FUSE_UNLINK, 1, "h", 2);
	wire_call(&w, FUSE_UNLINK, 1, "h2", 3);
	wire_forget(&w, e.nodeid, 1);
	wire_forget(&w, e2.nodeid, 1);
}

static void t_xattr(void)
{
	struct fuse_entry_out e;
	char v[16];
	close(open(at("x"), O_CREAT | O_WRONLY, 0644));
	T_EQ(wire_lookup(&w, 1, "x", &e), 0, "lookup x");
	int rc = wire_setxattr(&w, e.nodeid, "user.color", "blue", 4, 0);
	if (rc == -EOPNOTSUPP) {
		T_SKIP("the backing file system has no user xattrs");
	} else {
		T_EQ(rc, 0, "setxattr");
		T_EQ(getxattr(at("x"), "user.color", v, sizeof v), 4, "passed through");
		T_EQ(wire_setxattr(&w, e.nodeid, "user.color", "red", 3, XATTR_CREATE), -EEXIST, "XATTR_CREATE");
		T_EQ(wire_getxattr(&w, e.nodeid, "user.color", 0), 0, "its length");
		T_EQ(((struct fuse_getxattr_out *)(void *)w.out)->size, 4, "is 4");
		T_EQ(wire_getxattr(&w, e.nodeid, "user.color", 3), -ERANGE, "too small");
		T_EQ(wire_getxattr(&w, e.nodeid, "user.color", 99), 0, "get");
		T_OK(w.out_n == 4 && !memcmp(w.out, "blue", 4), "the value");
		struct fuse_getxattr_in in = {.size = 1000};
		T_EQ(wire_call(&w, FUSE_LISTXATTR, e.nodeid, &in, sizeof in), 0, "list");
		T_OK(memmem(w.out, w.out_n, "user.color", 11) != NULL, "names it");
		T_EQ(wire_call(&w, FUSE_REMOVEXATTR, e.nodeid, "user.color", 11), 0, "remove");
		T_EQ(wire_getxattr(&w, e.nodeid, "user.color", 99), -ENODATA, "gone");
	}
	T_EQ(wire_getxattr(&w, e.nodeid, "security.capability", 0), -ENODATA, "the probe before each write");
	wire_call(&w, FUSE_UNLINK, 1, "x", 2);
	wire_forget(&w, e.nodeid, 1);
}

/* the store's directory: not by readdir, not by lookup, not to be made, moved or removed */
static void t_hidden(void)
{
	static unsigned char none[1];
	struct fuse_entry_out e;
	struct fuse_open_out o;
	mkdir(at(".vexfs"), 0700);
	close(open(at(".vexfs/secret"), O_CREAT | O_WRONLY, 0600));
	int n = list(1, 4096, false, none, 0), m = 0;
	DIR *d = opendir(dir);
	while (readdir(d))
		m++;
	closedir(d);
	T_EQ(n, m - 1, "readdir leaves one out");
	n = list(1, 4096, true, none, 0);
	T_EQ(n, m - 1, "readdirplus, too");
	if (!wire_lookup(&w, 1, ".vexfs", &e)) {
		T_OK(fs_is_virt(e.nodeid), "what answers to the name is virtual");
		T_OK(wire_lookup(&w, e.nodeid, "secret", &e) < 0, "nothing of the store below it");
	}
	struct fuse_mkdir_in md = {.mode = 0755};
	T_EQ(wire_call2(&w, FUSE_MKDIR, 1, &md, sizeof md, ".vexfs", 7), -EEXIST, "mkdir");
	T_EQ(wire_call(&w, FUSE_RMDIR, 1, ".vexfs", 7), -EBUSY, "rmdir");
	T_EQ(wire_create(&w, 1, ".vexfs", 0600, O_RDWR | O_CREAT, &e, &o), -EEXIST, "create");
	struct fuse_rename_in rn = {.newdir = 1};
	T_EQ(wire_call2(&w, FUSE_RENAME, 1, &rn, sizeof rn, ".vexfs\0v", 9), -EBUSY, "rename from it");
	close(open(at("z"), O_CREAT | O_WRONLY, 0600));
	T_EQ(wire_call2(&w, FUSE_RENAME, 1, &rn, sizeof rn, "z\0.vexfs", 9), -EBUSY, "rename over it");
	T_EQ(access(at(".vexfs/secret"), F_OK), 0, "the store is as it was");
}

/* many more files known than fds allowed */
static void t_many_known(void)
{
	enum { N = 20000 };
	struct rlimit rl, low;
	getrlimit(RLIMIT_NOFILE, &rl);
	mkdir(at("known"), 0755);
	for (int i = 0; i < N; i++) {
		char name[32];
		snprintf(name, sizeof name, "known/f%d", i);
		close(open(at(name), O_CREAT | O_WRONLY, 0644));
	}
	struct fuse_entry_out e, d;
	static uint64_t node[N];
	low = rl;
	low.rlim_cur = 512;
	setrlimit(RLIMIT_NOFILE, &low);
	int bad = 0;
	T_EQ(wire_lookup(&w, 1, "known", &d), 0, "lookup");
	for (int i = 0; i < N; i++) {
		char name[32];
		snprintf(name, sizeof name, "f%d", i);
		bad += wire_lookup(&w, d.nodeid, name, &e) != 0;
		node[i] = e.nodeid;
	}
	T_EQ(bad, 0, "20,000 files known under a limit of 512 fds");
	T_OK(fds_open() < 512, "fds open: %u", fds_open());
	struct fuse_attr a;
	for (int i = 0; i < N; i += 7)
		bad += wire_getattr(&w, node[i], &a) != 0;
	T_EQ(bad, 0, "each can still be looked at");
	setrlimit(RLIMIT_NOFILE, &rl);
	for (int i = 0; i < N; i++) {
		char name[32];
		snprintf(name, sizeof name, "f%d", i);
		bad += wire_call(&w, FUSE_UNLINK, d.nodeid, name, strlen(name) + 1) != 0;
		wire_forget(&w, node[i], 1);
	}
	T_EQ(bad, 0, "and removed");
	T_EQ(wire_call(&w, FUSE_RMDIR, 1, "known", 6), 0, "rmdir");
	wire_forget(&w, d.nodeid, 1);
	T_EQ(atomic_load(&w.f->inodes->pins), 0, "no fd is pinned any more");
}

/* an inode number used again is another node */
static void t_reuse(void)
{
	struct fuse_entry_out e[50], e2;
	struct fuse_attr a;
	unsigned same = 0, wrong = 0;
	for (int i = 0; i < 50; i++) {
		char name[32];
		snprintf(name, sizeof name, "r%d", i);
		close(open(at(name), O_CREAT | O_WRONLY, 0644));
		wire_lookup(&w, 1, name, &e[i]);
		unlink(at(name)); /* behind the mount: nothing is pinned */
		close(open(at("again"), O_CREAT | O_WRONLY, 0600));
		wire_lookup(&w, 1, "again", &e2);
		same += e2.attr.ino == e[i].attr.ino;
		wrong += e2.nodeid == e[i].nodeid;
		int rc = wire_getattr(&w, e[i].nodeid, &a);
		wrong += rc != -ESTALE;
		wire_forget(&w, e2.nodeid, 1);
		wire_forget(&w, e[i].nodeid, 1);
		unlink(at("again"));
	}
	T_EQ(wrong, 0, "removed behind: stale, and never another file");
	printf("# %u of 50 numbers were used again\n", same);
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	umask(0);
	int rc = wire_open(&w, dir, NULL);
	T_EQ(rc, 0, "session up");
	if (rc)
		return tap_done();
	T_OK(transport_ready(w.t), "INIT answered");
	uint32_t fds = fds_open();
	t_names();
	t_bad_names();
	t_setattr();
	t_caller();
	t_readdir();
	t_space();
	t_xattr();
	t_hidden();
	t_reuse();
	t_many_known();
	T_EQ(atomic_load(&w.f->inodes->handles_open), 0, "no handle is left");
	T_OK(fds_open() <= fds + 64, "fds: %u at start, %u now (some dirs are cached)", fds, fds_open());
	uint64_t nodes = atomic_load(&w.f->inodes->nodes);
	T_OK(nodes < 20, "nodes left: %" PRIu64, nodes);
	wire_close(&w);
	T_EQ(mem_used(MEM_inode), 0, "no node memory is left");
	T_EQ(mem_used(MEM_fs), 0, "nor any other");
	char cmd[64];
	snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	if (system(cmd))
		return 1;
	return tap_done();
}
