/* client.c - the client's side of bench/mount/run.py: one request over and over, its latencies.
 *
 * usage: client WHAT FILE SECONDS CPU [ARG…]    prints: p50 and p90 in nanoseconds, requests a second
 *   ioctl4k     _IOWR of 4 KiB that a bare handler answers with zeros, ours (CAPS) with its capabilities
 *   getxattr    ARG: the name
 *   exchange    ARG: a file holding a request for MNT/.vexfs/query: write it, read the answer   (FILE: the query file)
 *   exchange_ioctl  ARG: a file holding a binary request, sent by VEXFS_IOC_16K(op) or, when it fits, 4K
 *   bare_exchange   ARG: bytes to write, ARG2: bytes to read: the same two calls on a bare handler
 *   bare_ioctl      ARG: 4096 or 16383
 * CPU -1: wherever the scheduler puts it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include "vexfs_ioctl.h"

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static int up(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}
static char *load(const char *p, size_t *n)
{
	struct stat st;
	int fd = open(p, O_RDONLY);
	char *b = fd >= 0 && !fstat(fd, &st) ? malloc((size_t)st.st_size + 1) : NULL;
	if (!b || read(fd, b, (size_t)st.st_size) != st.st_size) {
		perror(p);
		exit(1);
	}
	close(fd);
	*n = (size_t)st.st_size;
	return b;
}

int main(int argc, char **argv)
{
	static char buf[1 << 22];
	if (argc < 5) {
		fprintf(stderr, "usage: client WHAT FILE SECONDS CPU [ARG...]\n");
		return 2;
	}
	const char *what = argv[1], *file = argv[2];
	double s = atof(argv[3]);
	int cpu = atoi(argv[4]);
	if (cpu >= 0) {
		cpu_set_t c;
		CPU_ZERO(&c);
		CPU_SET((unsigned)cpu, &c);
		sched_setaffinity(0, sizeof c, &c);
	}
	int fd = open(file, !strncmp(what, "exchange", 8) || !strncmp(what, "bare_ex", 7) ? O_RDWR : O_RDONLY);
	if (fd < 0) {
		perror(file);
		return 1;
	}
	char *req = NULL;
	size_t req_n = 0, want = 0;
	unsigned long cmd = VEXFS_IOC_4K(VEXFS_OP_CAPS);
	if (!strncmp(what, "exchange", 8)) {
		req = load(argv[5], &req_n);
		if (!strcmp(what, "exchange_ioctl")) {
			struct vexfs_hdr h;
			memcpy(&h, req, sizeof h);
			cmd = h.size <= 2048 ? VEXFS_IOC_4K(h.op) : VEXFS_IOC_16K(h.op);
		}
	} else if (!strcmp(what, "bare_exchange")) {
		req_n = (size_t)atoi(argv[5]);
		want = (size_t)atoi(argv[6]);
		req = calloc(1, req_n);
	} else if (!strcmp(what, "bare_ioctl"))
		cmd = atoi(argv[5]) == 4096 ? VEXFS_IOC_4K(1) : VEXFS_IOC_16K(1);
	size_t cap = 1 << 22, n = 0;
	uint32_t *ns = malloc(cap * sizeof *ns);
	uint64_t t0 = now(), t = t0, end = t0 + (uint64_t)(s * 1e9);
	while (t < end && n < cap) {
		int rc = 0;
		if (!strcmp(what, "getxattr"))
			rc = getxattr(file, argv[5], buf, 256) < 0 && errno != ENODATA ? -1 : 0;
		else if (!strcmp(what, "ioctl4k")) {
			struct vexfs_caps q = {
			        .hdr = {.magic = VEXFS_MAGIC, .version = 1, .op = VEXFS_OP_CAPS, .size = sizeof q}};
			memcpy(buf, &q, sizeof q);
			rc = ioctl(fd, cmd, buf);
		} else if (!strcmp(what, "exchange_ioctl")) {
			memcpy(buf, req, req_n);
			rc = ioctl(fd, cmd, buf);
		} else if (!strcmp(what, "bare_ioctl"))
			rc = ioctl(fd, cmd, buf);
		else if (!strcmp(what, "exchange"))
			rc = pwrite(fd, req, req_n, 0) == (ssize_t)req_n && pread(fd, buf, sizeof buf, 0) > 0 ? 0 : -1;
		else
			rc = pwrite(fd, req, req_n, 0) == (ssize_t)req_n && pread(fd, buf, want, 0) == (ssize_t)want
			             ? 0
			             : -1;
		if (rc < 0) {
			perror(what);
			return 1;
		}
		uint64_t u = now();
		ns[n++] = (uint32_t)(u - t);
		t = u;
	}
	double all = (double)(t - t0) / 1e9;
	qsort(ns, n, sizeof *ns, up);
	printf("%u %u %.1f\n", ns[n / 2], ns[n * 9 / 10], (double)n / all);
	return 0;
}
