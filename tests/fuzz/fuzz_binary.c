/* fuzz_binary.c - libFuzzer target: any bytes as a message of vexfs_ioctl.h and as a packed xattr.  Header fields that would stop every
 * message at once are put right in half of the runs; what a job got from a message must lie in it.
 *     tests/fuzz/run.py --only binary [--seconds N] */
#include <stdlib.h>
#include <string.h>
#include "../unit/query/stub_engine.h"
#include "query/packed.h"
#include "vexfs_ioctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void inside(const void *s, size_t k, const uint8_t *m, size_t n)
{
	if (s && k && ((const uint8_t *)s < m || (const uint8_t *)s + k > m + n))
		abort();
}

static void message(const uint8_t *p, size_t n, bool mend, bool on_file)
{
	static const struct eng_caller who = {.uid = 1000};
	uint8_t *copy = malloc(n ? n : 1);
	memcpy(copy, p, n);
	struct vexfs_hdr h;
	if (mend && n >= sizeof h) {
		memcpy(&h, copy, sizeof h);
		h = (struct vexfs_hdr){
		        VEXFS_MAGIC, VEXFS_VERSION, (uint16_t)(h.op % 24), (uint32_t)n, 0, h.flags & 0x1ff, 0};
		memcpy(copy, &h, sizeof h);
	}
	struct vq *q = vq_new(stub_engine, &who);
	q->j.key.len = on_file ? 8 : 0;
	int rc = vq_binary(q, copy, n);
	struct eng_job *j = &q->j;
	if (rc >= 0) {
		inside(q->batch_n ? q->batch_vec : j->vec, (q->batch_n ? (size_t)q->batch_n : 1) * j->vec_bytes, copy,
		        n);
		inside(j->payload, j->payload_n, copy, n);
		for (uint32_t i = 0; i < j->point_n; i++) {
			inside(j->points[i].vec, j->points[i].vec_bytes, copy, n);
			inside(j->points[i].payload, j->points[i].payload_n, copy, n);
		}
		if (j->k > CONF_K_MAX || j->point_n > CONF_BATCH_MAX)
			abort();
	}
	(void)vq_submit(q);
	vq_render(q);
	memcpy(&h, q->out.p, sizeof h);
	if (h.magic != VEXFS_MAGIC || h.size != q->out.n || (h.status < 0) != (j->rc < 0))
		abort();
	vq_free(q);
	free(copy);
}

static void packed(const uint8_t *p, size_t n, bool mend)
{
	struct packed k;
	struct eng_packed v;
	struct arena a;
	uint8_t *copy = malloc(n ? n : 1);
	memcpy(copy, p, n);
	if (mend && n >= PACKED_HEAD) {
		memcpy(copy, "VXPK\1\0", 6);
		le32_put(copy + 12, (uint32_t)n);
		le32_put(copy + 16, 0);
		le32_put(copy + 20, 0);
		le32_put(copy + 16, crc32c(0, copy, n));
	}
	arena_init(&a, MEM_query, 1 << 20);
	if (packed_open(&k, copy, n) >= 0) {
		struct sbuf b;
		struct eng_packed all[64];
		uint32_t m = 0;
		int r;
		while ((r = packed_next(&k, &a, &v)) == 1) {
			inside(v.vec, v.vec_bytes, copy, n);
			if (m < 64)
				all[m++] = v;
		}
		inside(k.payload, k.payload_n, copy, n);
		if (r == 0 && k.vec_n <= 64 &&
		        sbuf_arena(&b, &a, 256, 1 << 19) >= 0) { /* written again it is the same value */
			packed_put(&b, all, m, k.payload, k.payload_n);
			if (!b.over && (b.n != n || memcmp(b.p, copy, n)))
				abort();
		}
	}
	arena_done(&a);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (!n)
		return 0;
	message(p + 1, n - 1, p[0] & 1, p[0] & 2);
	packed(p + 1, n - 1, p[0] & 4);
	return 0;
}
