/* measure_files.c - the file side of what is timed: plain system calls of one client on one directory of a mount. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "cli/measure.h"

#define FILE_BYTES 4096u

/* one client, one thread: large buffers lie here and not on the stack */
static char buf[FILE_BYTES], path[4096], attr[96];

static const char *const words[] = {"storm", "river", "budget", "vector", "winter", "garden", "engine", "lantern"};

static void name_of(uint64_t i, char *p, size_t n)
{
	snprintf(p, n, "f%06llu", (unsigned long long)i);
}

/* FILE_BYTES of words, other ones for each file */
static void text_of(uint64_t i, char *p)
{
	uint64_t s = i * 0x9e3779b97f4a7c15ull + 1;
	for (size_t at = 0; at < FILE_BYTES;) {
		s = s * 6364136223846793005ull + 1442695040888963407ull;
		const char *w = words[s >> 61];
		size_t n = strlen(w);
		for (size_t k = 0; k < n && at < FILE_BYTES; k++)
			p[at++] = w[k];
		if (at < FILE_BYTES)
			p[at++] = (s >> 40 & 15) ? ' ' : '\n';
	}
}

int measure_file_create(void *u, uint64_t i)
{
	struct measure_files *f = u;
	char name[32];
	name_of(i, name, sizeof name);
	text_of(i, buf);
	int fd = openat(f->dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, buf, sizeof buf);
	int rc = n == (ssize_t)sizeof buf ? 0 : n < 0 ? -errno : -EIO;
	if (close(fd) && !rc)
		rc = -errno;
	if (i >= f->n)
		f->n = (uint32_t)i + 1;
	return rc;
}

int measure_file_read(void *u, uint64_t i)
{
	struct measure_files *f = u;
	char name[32];
	name_of(i % f->n, name, sizeof name);
	int fd = openat(f->dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, buf, sizeof buf);
	int rc = n == (ssize_t)sizeof buf ? 0 : n < 0 ? -errno : -EIO;
	close(fd);
	return rc;
}

int measure_file_stat(void *u, uint64_t i)
{
	struct measure_files *f = u;
	struct stat st;
	char name[32];
	name_of(i % f->n, name, sizeof name);
	return fstatat(f->dir_fd, name, &st, 0) ? -errno : 0;
}

int measure_file_rename(void *u, uint64_t i)
{
	struct measure_files *f = u;
	char a[32], b[40];
	name_of(i / 2 % f->n, a, sizeof a);
	snprintf(b, sizeof b, "%s.to", a);
	return renameat(f->dir_fd, i & 1 ? b : a, f->dir_fd, i & 1 ? a : b) ? -errno : 0;
}

int measure_file_list(void *u, uint64_t i)
{
	struct measure_files *f = u;
	(void)i; /* always the same directory */
	int fd = openat(f->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return -errno;
	while (readdir(d))
		;
	closedir(d);
	return 0;
}

static const char *path_of(const struct measure_files *f, uint64_t i)
{
	char name[32];
	name_of(i % f->n, name, sizeof name);
	snprintf(path, sizeof path, "%s/%s/%s", f->mnt, f->dir, name);
	return path;
}

int measure_file_vector(void *u, uint64_t i)
{
	struct measure_files *f = u;
	for (uint32_t k = 0; k < f->to->dim; k++)
		f->to->vec[k] = (float)((i * 31 + k * 17) % 97) - 48.0f;
	snprintf(attr, sizeof attr, "user.vexfs.vector.%s", f->to->coll);
	return setxattr(path_of(f, i), attr, f->to->vec, f->to->dim * sizeof(float), 0) ? -errno : 0;
}

int measure_file_vector_get(void *u, uint64_t i)
{
	struct measure_files *f = u;
	snprintf(attr, sizeof attr, "user.vexfs.vector.%s", f->to->coll);
	return getxattr(path_of(f, i), attr, f->to->vec, f->to->dim * sizeof(float)) < 0 ? -errno : 0;
}

int measure_file_similar(void *u, uint64_t i)
{
	struct measure_files *f = u;
	return getxattr(path_of(f, i), "user.vexfs.similar", buf, sizeof buf) < 0 ? -errno : 0;
}

int measure_file_words(void *u, uint64_t i)
{
	struct measure_files *f = u;
	snprintf(path, sizeof path, "%s/.vexfs/search/%s %s", f->mnt, words[i % 8], words[(i / 8 + 3) % 8]);
	DIR *d = opendir(path);
	if (!d)
		return -errno;
	while (readdir(d))
		;
	closedir(d);
	return 0;
}

void measure_files_remove(struct measure_files *f)
{
	char name[40];
	for (uint32_t i = 0; i < f->n; i++) {
		name_of(i, name, sizeof name);
		unlinkat(f->dir_fd, name,
		        0); /* a rename may have been cut in the middle: then it is under the other name */
		snprintf(name + strlen(name), sizeof name - strlen(name), ".to");
		unlinkat(f->dir_fd, name, 0);
	}
}
