/* fuzz_safetensors.c - libFuzzer target: a model file of arbitrary content is an error, or tensors that lie inside it and can be read.
 *     tests/fuzz/run.py --only safetensors [--seconds N] */
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/mem.h"
#include "embed/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int memfd = -1;
static int open_memfd(struct os *os, int dirfd, const char *path, int flags, mode_t mode)
{
	(void)os, (void)dirfd, (void)path, (void)flags, (void)mode;
	return dup(memfd);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct os_ops ops;
	static struct os os = {&ops};
	struct safetensors s;
	struct vx_errinfo e = {0};
	float v[64];
	if (memfd < 0) {
		memfd = memfd_create("m", MFD_CLOEXEC);
		ops = *os_real()->ops;
		ops.openat = open_memfd;
	}
	/* half of the inputs get a true length in front (the second byte says how much is data), or the fuzzer would stay at the door */
	bool framed = n >= 2 && p[0] & 1;
	const uint8_t *file = framed ? p + 2 : p;
	size_t file_n = framed ? n - 2 : n, front = framed ? 8 : 0;
	uint64_t len = framed ? file_n - p[1] % (file_n + 1) : 0;
	if (ftruncate(memfd, 0) || (framed && pwrite(memfd, &len, 8, 0) != 8) ||
	        pwrite(memfd, file, file_n, (off_t)front) != (ssize_t)file_n)
		abort();
	size_t size = file_n + front;
	if (safetensors_open(&os, -1, "m", &s, &e) >= 0) {
		for (uint32_t i = 0; i < s.n; i++) {
			const struct st_tensor *t = &s.t[i];
			if (t->at > size || t->bytes > size - t->at || safetensors_find(&s, t->name) == NULL)
				abort();
			uint64_t k = t->elems < 64 ? t->elems : 64;
			int rc = safetensors_read(&s, t, t->elems - k, k, v);
			if (rc < 0 && t->dtype <= ST_I8)
				abort();
			if (safetensors_read(&s, t, t->elems, 1, v) >= 0)
				abort();
		}
		safetensors_close(&s);
	}
	if (mem_used_all())
		abort();
	return 0;
}
