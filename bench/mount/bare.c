/* bare.c - the least a libfuse file system can do: one file, an ioctl of 4 KiB or 16 KiB in and out and a getxattr, both answered with
 * zeros.  What a round trip through libfuse costs when the handler costs nothing: the yardstick of bench/mount/run.py.
 *
 * usage: bare MNT [mt]     in the foreground, libfuse's own loop: one thread, or libfuse's default of several
 *        bare MNT threads N  one thread and N - 1 that only exist, on stacks of 64 KiB: the memory of a server with N threads at rest */
#define FUSE_USE_VERSION 34
#define _GNU_SOURCE
#include <errno.h>
#include <fuse_lowlevel.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static char zero[1 << 20];

static int look(fuse_ino_t ino, struct stat *st)
{
	memset(st, 0, sizeof *st);
	st->st_ino = ino;
	st->st_mode = ino == 1 ? S_IFDIR | 0755 : S_IFREG | 0666;
	st->st_nlink = 1;
	return ino == 1 || ino == 2 ? 0 : -1;
}
static void b_lookup(fuse_req_t r, fuse_ino_t p, const char *name)
{
	struct fuse_entry_param e = {.ino = 2, .attr_timeout = 3600, .entry_timeout = 3600};
	if (p != 1 || strcmp(name, "f")) {
		fuse_reply_err(r, ENOENT);
		return;
	}
	look(2, &e.attr);
	fuse_reply_entry(r, &e);
}
static void b_getattr(fuse_req_t r, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	(void)fi;
	look(ino, &st);
	fuse_reply_attr(r, &st, 3600);
}
static void b_open(fuse_req_t r, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;
	fuse_reply_open(r, fi);
}
static void b_getxattr(fuse_req_t r, fuse_ino_t ino, const char *name, size_t size)
{
	(void)ino;
	(void)name;
	if (size < 4)
		fuse_reply_xattr(r, 4);
	else
		fuse_reply_buf(r, zero, 4);
}
static void b_ioctl(fuse_req_t r, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
        const void *in, size_t in_n, size_t out_n)
{
	(void)ino, (void)cmd, (void)arg, (void)fi, (void)flags, (void)in, (void)in_n;
	fuse_reply_ioctl(r, 0, zero, out_n);
}
static void b_write(fuse_req_t r, fuse_ino_t ino, const char *b, size_t n, off_t off, struct fuse_file_info *fi)
{
	(void)ino, (void)b, (void)off, (void)fi;
	fuse_reply_write(r, n);
}
static void b_read(fuse_req_t r, fuse_ino_t ino, size_t n, off_t off, struct fuse_file_info *fi)
{
	(void)ino, (void)off, (void)fi;
	fuse_reply_buf(r, zero, n < sizeof zero ? n : sizeof zero);
}

static void *idle(void *u)
{
	(void)u;
	for (;;)
		pause();
	return NULL;
}
static int threads(int n)
{
	pthread_attr_t a;
	pthread_t t;
	int rc = 0;
	mallopt(M_ARENA_MAX, 1);
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 64 << 10);
	while (n-- > 1 && !rc)
		rc = pthread_create(&t, &a, idle, NULL);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct fuse_lowlevel_ops ops = {.lookup = b_lookup,
	        .getattr = b_getattr,
	        .open = b_open,
	        .getxattr = b_getxattr,
	        .ioctl = b_ioctl,
	        .read = b_read,
	        .write = b_write};
	char *av[] = {argv[0], "-oallow_other,fsname=bare", NULL};
	struct fuse_args a = FUSE_ARGS_INIT(2, av);
	if (argc < 2)
		return 2;
	struct fuse_session *se = fuse_session_new(&a, &ops, sizeof ops, NULL);
	if (!se || fuse_set_signal_handlers(se) || fuse_session_mount(se, argv[1]))
		return 1;
	struct fuse_loop_config c = {.clone_fd = 0, .max_idle_threads = 10};
	if (argc > 3 && threads(atoi(argv[3])))
		return 1;
	int rc = argc == 3 ? fuse_session_loop_mt(se, &c) : fuse_session_loop(se);
	fuse_session_unmount(se);
	fuse_remove_signal_handlers(se);
	fuse_session_destroy(se);
	return rc != 0;
}
