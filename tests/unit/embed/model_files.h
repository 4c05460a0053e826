/* model_files.h - small models written into a temporary folder, for the tests of this layer. */
#pragma once
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tap.h"
#include "base/os.h"

static uint64_t mf_rng = 88172645463325252ull;
static inline uint32_t mf_rnd(uint32_t below)
{
	mf_rng ^= mf_rng << 13;
	mf_rng ^= mf_rng >> 7;
	mf_rng ^= mf_rng << 17;
	return (uint32_t)((mf_rng >> 32) * below >> 32);
}
static inline float mf_rndf(void)
{
	return (float)mf_rnd(2000001) / 1000000.0f - 1.0f;
}

struct mf_dir {
	char path[64];
	int fd;
};
static inline struct mf_dir mf_dir_new(void)
{
	struct mf_dir d = {.path = "/tmp/vexfs-model-XXXXXX"};
	if (!mkdtemp(d.path))
		abort();
	d.fd = open(d.path, O_RDONLY | O_DIRECTORY);
	return d;
}
static inline void mf_write(const struct mf_dir *d, const char *name, const void *p, size_t n)
{
	int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, p, n) != (ssize_t)n)
		abort();
	close(fd);
}
static inline void mf_text(const struct mf_dir *d, const char *name, const char *text)
{
	mf_write(d, name, text, strlen(text));
}
static inline void mf_dir_done(struct mf_dir *d)
{
	DIR *l = fdopendir(d->fd);
	for (struct dirent *e; l && (e = readdir(l));) {
		if (unlinkat(d->fd, e->d_name, 0) && e->d_name[0] != '.') {
			char sub[400];
			snprintf(sub, sizeof sub, "%s/%s/config.json", d->path, e->d_name);
			unlink(sub);
			unlinkat(d->fd, e->d_name, AT_REMOVEDIR);
		}
	}
	closedir(l);
	rmdir(d->path);
}

/* a safetensors file in the making */
struct mf_st {
	char head[65536];
	size_t head_n, data_n, cap;
	uint8_t *data;
};
static inline void mf_st_add(
        struct mf_st *s, const char *name, const char *dtype, const char *shape, const void *p, size_t n)
{
	if (s->data_n + n > s->cap)
		s->data = realloc(s->data, s->cap = (s->data_n + n) * 2);
	if (n)
		memcpy(s->data + s->data_n, p, n);
	s->head_n += (size_t)snprintf(s->head + s->head_n, sizeof s->head - s->head_n,
	        "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", s->head_n ? "," : "{", name,
	        dtype, shape, s->data_n, s->data_n + n);
	s->data_n += n;
}
/* the whole file; free the result */
static inline uint8_t *mf_st_bytes(const struct mf_st *s, size_t *n)
{
	uint64_t h = s->head_n + 1;
	uint8_t *f = malloc(8 + h + s->data_n);
	memcpy(f, &h, 8);
	memcpy(f + 8, s->head, s->head_n);
	f[8 + s->head_n] = '}';
	if (s->data_n)
		memcpy(f + 8 + h, s->data, s->data_n);
	*n = 8 + h + s->data_n;
	return f;
}
static inline void mf_st_write(struct mf_st *s, const struct mf_dir *d, const char *name)
{
	size_t n;
	uint8_t *f = mf_st_bytes(s, &n);
	mf_write(d, name, f, n);
	free(f);
	free(s->data);
	s->data = NULL;
}
