/* fsjobs.c - the file jobs of bench/fs/run.py, one a call, on any directory: what a client of a mount does, without a tool's own cost.
 *
 * usage: fsjobs JOB DIR SECONDS [CPU]     prints one number: operations, entries or bytes a second
 *        fsjobs prep DIR                  the files the jobs need
 *
 * Each job is a single client at queue depth 1 on data that is in the page cache: what is measured is the way, not the disk. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define BIG_BYTES ((size_t)64 << 20)
#define FILES     1000
#define ENTRIES   10000
#define BURST     2000 /* files made and removed */

static char path[4096];
static const char *dir;
static uint64_t seed = 88172645463325252ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}
static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static void die(const char *what)
{
	fprintf(stderr, "fsjobs: %s %s: %s\n", what, path, strerror(errno));
	exit(1);
}
static const char *at(const char *fmt, int i)
{
	int n = snprintf(path, sizeof path, "%s/", dir);
	snprintf(path + n, sizeof path - (size_t)n, fmt, i);
	return path;
}
static int open_or_die(const char *p, int flags)
{
	int fd = open(p, flags, 0644);
	if (fd < 0)
		die("open");
	return fd;
}

static void prep(void)
{
	static char block[1 << 20];
	for (size_t i = 0; i < sizeof block; i += 8)
		*(uint64_t *)(block + i) = rnd();
	int fd = open_or_die(at("big", 0), O_CREAT | O_TRUNC | O_WRONLY);
	for (size_t n = 0; n < BIG_BYTES; n += sizeof block)
		if (write(fd, block, sizeof block) != sizeof block)
			die("write");
	close(fd);
	if (mkdir(at("files", 0), 0755) || mkdir(at("many", 0), 0755) || mkdir(at("burst", 0), 0755))
		die("mkdir");
	for (int i = 0; i < FILES; i++) {
		fd = open_or_die(at("files/f%04d", i), O_CREAT | O_WRONLY);
		if (write(fd, block, 4096) != 4096)
			die("write");
		close(fd);
	}
	for (int i = 0; i < ENTRIES; i++)
		close(open_or_die(at("many/entry_%05d", i), O_CREAT | O_WRONLY));
}

static double rw4k(double s, int write_)
{
	static char b[4096];
	int fd = open_or_die(at("big", 0), O_RDWR);
	uint64_t n = 0;
	double t0 = now(), t;
	do {
		for (int i = 0; i < 256; i++, n++) {
			off_t off = (off_t)(rnd() % (BIG_BYTES / 4096) * 4096);
			if ((write_ ? pwrite(fd, b, 4096, off) : pread(fd, b, 4096, off)) != 4096)
				die("4k");
		}
	} while ((t = now() - t0) < s);
	close(fd);
	return (double)n / t;
}
static double rw1m(double s, int write_)
{
	static char b[1 << 20];
	int fd = open_or_die(at("big", 0), O_RDWR);
	uint64_t n = 0;
	double t0 = now(), t;
	do {
		off_t off = (off_t)(n * sizeof b % BIG_BYTES);
		if ((write_ ? pwrite(fd, b, sizeof b, off) : pread(fd, b, sizeof b, off)) != sizeof b)
			die("1m");
		n++;
	} while ((t = now() - t0) < s);
	close(fd);
	return (double)n * sizeof b / t;
}
static double stats(double s, int sync)
{
	struct statx x;
	uint64_t n = 0;
	for (int i = 0; !sync && i < FILES; i++) /* warm */
		if (statx(AT_FDCWD, at("files/f%04d", i), 0, STATX_BASIC_STATS, &x))
			die("statx");
	double t0 = now(), t;
	do {
		for (int i = 0; i < 128; i++, n++)
			if (statx(AT_FDCWD, at("files/f%04d", (int)(n % FILES)),
			            sync ? AT_STATX_FORCE_SYNC : AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, &x))
				die("statx");
	} while ((t = now() - t0) < s);
	return (double)n / t;
}
static double open_read_close(double s)
{
	static char b[4096];
	uint64_t n = 0;
	double t0 = now(), t;
	do {
		for (int i = 0; i < 64; i++, n++) {
			int fd = open_or_die(at("files/f%04d", (int)(n % FILES)), O_RDONLY);
			if (read(fd, b, sizeof b) != sizeof b)
				die("read");
			close(fd);
		}
	} while ((t = now() - t0) < s);
	return (double)n / t;
}
static double create(int unlink_)
{
	double t0 = now();
	for (int i = 0; i < BURST; i++)
		close(open_or_die(at("burst/b%05d", i), O_CREAT | O_EXCL | O_WRONLY));
	double made = now() - t0;
	t0 = now();
	for (int i = 0; i < BURST; i++)
		if (unlink(at("burst/b%05d", i)))
			die("unlink");
	return BURST / (unlink_ ? now() - t0 : made);
}
static double readdir_(double s)
{
	uint64_t n = 0;
	double t0 = now(), t;
	do {
		DIR *d = opendir(at("many", 0));
		if (!d)
			die("opendir");
		while (readdir(d))
			n++;
		closedir(d);
	} while ((t = now() - t0) < s);
	return (double)n / t;
}
static double getx(double s)
{
	char b[64];
	uint64_t n = 0;
	at("files/f%04d", 0);
	double t0 = now(), t;
	do {
		for (int i = 0; i < 128; i++, n++)
			if (getxattr(path, "user.none", b, sizeof b) >= 0 || (errno != ENODATA && errno != EOPNOTSUPP))
				die("getxattr");
	} while ((t = now() - t0) < s);
	return (double)n / t;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: fsjobs JOB DIR SECONDS [CPU]\n");
		return 2;
	}
	const char *j = argv[1];
	double s = argc > 3 ? atof(argv[3]) : 1, v;
	dir = argv[2];
	if (argc > 4) {
		cpu_set_t c;
		CPU_ZERO(&c);
		CPU_SET((unsigned)atoi(argv[4]), &c);
		sched_setaffinity(0, sizeof c, &c);
	}
	if (!strcmp(j, "prep")) {
		prep();
		return 0;
	}
	if (!strcmp(j, "rread4k"))
		v = rw4k(s, 0);
	else if (!strcmp(j, "rwrite4k"))
		v = rw4k(s, 1);
	else if (!strcmp(j, "sread1m"))
		v = rw1m(s, 0);
	else if (!strcmp(j, "swrite1m"))
		v = rw1m(s, 1);
	else if (!strcmp(j, "stat_warm"))
		v = stats(s, 0);
	else if (!strcmp(j, "stat_sync"))
		v = stats(s, 1);
	else if (!strcmp(j, "open_read_close"))
		v = open_read_close(s);
	else if (!strcmp(j, "create"))
		v = create(0);
	else if (!strcmp(j, "unlink"))
		v = create(1);
	else if (!strcmp(j, "readdir"))
		v = readdir_(s);
	else if (!strcmp(j, "getxattr"))
		v = getx(s);
	else {
		fprintf(stderr, "fsjobs: no job %s\n", j);
		return 2;
	}
	printf("%.1f\n", v);
	return 0;
}
