/* SPDX-License-Identifier: MIT
 * vexfs_ioctl_example - give files vectors and search them through ioctl, with nothing but the header:
 *
 *     cc -o vexfs_ioctl_example vexfs_ioctl_example.c            (-I the directory of vexfs_ioctl.h when it isn't installed)
 *     ./vexfs_ioctl_example MNT/some/file MNT/other/file ...
 *
 * Each file gets a vector made of its letters' frequencies, then the files nearest to the first one are listed. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vexfs_ioctl.h"

#define DIM 26u

/* one message and room for its reply; the number of the ioctl says how large it is */
static union {
	struct vexfs_hdr hdr;
	struct vexfs_caps caps;
	struct vexfs_put put;
	struct vexfs_get get;
	struct vexfs_search search;
	unsigned char bytes[4096];
	unsigned long long align;
} msg;

static void begin(unsigned op, size_t size, unsigned flags)
{
	memset(&msg, 0, sizeof msg);
	msg.hdr.magic = VEXFS_MAGIC;
	msg.hdr.version = VEXFS_VERSION;
	msg.hdr.op = (uint16_t)op;
	msg.hdr.size = (uint32_t)size;
	msg.hdr.flags = flags;
}

static int letters(int fd, float v[DIM])
{
	unsigned char b[65536];
	ssize_t n = pread(fd, b, sizeof b, 0);
	float sum = 0;
	memset(v, 0, DIM * sizeof *v);
	for (ssize_t i = 0; i < n; i++) {
		int c = b[i] | 32;
		if (c >= 'a' && c <= 'z')
			v[c - 'a']++;
	}
	for (unsigned i = 0; i < DIM; i++)
		sum += v[i];
	return n >= 0 && sum > 0 ? 0 : -1;
}

static int put(int fd, const float v[DIM])
{
	begin(VEXFS_OP_PUT, sizeof msg.put + DIM * sizeof *v, VEXFS_F_DURABLE);
	strcpy(msg.put.collection, "letters");
	msg.put.vector_off = sizeof msg.put;
	msg.put.vector_bytes = DIM * sizeof *v;
	memcpy(msg.bytes + msg.put.vector_off, v, msg.put.vector_bytes);
	return ioctl(fd, VEXFS_IOC_4K(VEXFS_OP_PUT), &msg);
}

static int make_collection(int fd)
{
	struct vexfs_collection *c = (void *)&msg;
	begin(VEXFS_OP_COLLECTION_CREATE, sizeof *c, 0);
	strcpy(c->collection, "letters");
	c->dim = DIM;
	c->metric = 1; /* cosine */
	return ioctl(fd, VEXFS_IOC_4K(VEXFS_OP_COLLECTION_CREATE), &msg) && errno != EEXIST ? -1 : 0;
}

static int search_like(int fd)
{
	begin(VEXFS_OP_SEARCH, sizeof msg.search, VEXFS_F_LIKE);
	strcpy(msg.search.collection, "letters");
	msg.search.k = 10;
	msg.search.min_score = -INFINITY;
	if (ioctl(fd, VEXFS_IOC_4K(VEXFS_OP_SEARCH), &msg))
		return -1;
	const struct vexfs_result *r = (const void *)(msg.bytes + msg.search.result_off);
	for (unsigned i = 0; i < msg.search.result_n; i++)
		printf("%u %.3f %.*s\n", i + 1, (double)r[i].score, (int)r[i].path_bytes,
		        (const char *)msg.bytes + r[i].path_off);
	printf("# generation %llu, %llu distances\n", (unsigned long long)msg.search.generation,
	        (unsigned long long)msg.search.distances);
	return 0;
}

int main(int argc, char **argv)
{
	int first = -1;
	for (int i = 1; i < argc; i++) {
		float v[DIM];
		int fd = open(argv[i], O_RDONLY);
		if (fd < 0 || letters(fd, v)) {
			fprintf(stderr, "%s: %s\n", argv[i], fd < 0 ? strerror(errno) : "no letters in it");
			continue;
		}
		if (first < 0) {
			begin(VEXFS_OP_CAPS, sizeof msg.caps, 0);
			if (ioctl(fd, VEXFS_IOC_4K(VEXFS_OP_CAPS), &msg) || make_collection(fd)) {
				perror("this file is not in a VexFS mount");
				return 1;
			}
		}
		if (put(fd, v))
			perror(argv[i]);
		if (first < 0)
			first = fd;
		else
			close(fd);
	}
	if (first < 0) {
		fprintf(stderr, "usage: vexfs_ioctl_example FILE...\n");
		return 2;
	}
	if (search_like(first)) {
		perror("search");
		return 1;
	}
	return 0;
}
