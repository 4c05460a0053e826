/* packed.c - see packed.h. */
#include "query/packed.h"

#include <string.h>

#include "query/query.h"

enum { F_HASHED = 1, F_STALE = 2 };
static const char magic[4] = {'V', 'X', 'P', 'K'};

static void le16(struct sbuf *b, uint16_t v)
{
	uint8_t t[2];
	le16_put(t, v);
	sb_bytes(b, t, sizeof t);
}
static void le32(struct sbuf *b, uint32_t v)
{
	uint8_t t[4];
	le32_put(t, v);
	sb_bytes(b, t, sizeof t);
}

void packed_put(struct sbuf *b, const struct eng_packed *v, uint32_t n, const char *payload, uint32_t payload_n)
{
	size_t from = b->n;
	sb_bytes(b, magic, sizeof magic);
	le16(b, 1);
	le16(b, (uint16_t)n);
	le32(b, payload_n);
	le32(b, 0); /* total and crc follow below */
	le32(b, 0);
	le32(b, 0);
	for (uint32_t i = 0; i < n; i++) {
		const struct eng_packed *k = v + i;
		size_t name_n = strlen(k->coll);
		sb_ch(b, (char)name_n);
		sb_ch(b, (char)k->dtype);
		sb_ch(b, (char)k->metric);
		sb_ch(b, (char)((k->hashed ? F_HASHED : 0) | (k->stale ? F_STALE : 0)));
		le32(b, k->dim);
		le32(b, k->vec_bytes);
		sb_bytes(b, k->hash, sizeof k->hash);
		sb_bytes(b, k->coll, name_n);
		sb_bytes(b, k->vec, k->vec_bytes);
	}
	sb_bytes(b, payload, payload_n);
	if (b->over)
		return;
	le32_put(b->p + from + 12, (uint32_t)(b->n - from));
	le32_put(b->p + from + 16, crc32c(0, b->p + from, b->n - from));
}

static int check(struct packed *k)
{
	size_t at = PACKED_HEAD;
	for (uint32_t i = 0; i < k->vec_n; i++) {
		if (k->n - at < PACKED_VEC_HEAD)
			return -VX_ERR_truncated;
		const uint8_t *h = k->p + at;
		uint64_t bytes = le32_get(h + 8);
		at += PACKED_VEC_HEAD;
		if (k->n - at < h[0] + bytes)
			return -VX_ERR_truncated;
		uint32_t dim = le32_get(h + 4);
		if (!vq_coll_name_ok((const char *)k->p + at, h[0]) || h[1] > 4 || h[2] > 4 || h[3] > 3 || !bytes ||
		        !dim || dim > CONF_DIM_MAX)
			return -VX_ERR_bad_format;
		at += h[0] + (size_t)bytes;
	}
	if (k->n - at != k->payload_n)
		return -VX_ERR_truncated;
	k->payload = (const char *)k->p + at;
	return k->payload_n ? vq_payload_check(k->payload, k->payload_n) : 0;
}

int packed_open(struct packed *k, const void *p, size_t n)
{
	static const uint8_t zero[4];
	*k = (struct packed){.p = p, .n = n, .at = PACKED_HEAD};
	if (n < PACKED_HEAD)
		return -VX_ERR_truncated;
	if (memcmp(p, magic, sizeof magic) || le16_get(k->p + 4) != 1)
		return -VX_ERR_bad_format;
	if (le32_get(k->p + 12) != n)
		return -VX_ERR_truncated;
	uint32_t crc = crc32c(crc32c(crc32c(0, k->p, 16), zero, 4), k->p + 20, n - 20);
	if (crc != le32_get(k->p + 16) || le32_get(k->p + 20))
		return -VX_ERR_bad_format;
	k->vec_n = le16_get(k->p + 6);
	k->payload_n = le32_get(k->p + 8);
	if (k->vec_n > PACKED_VECS_MAX)
		return -VX_ERR_bad_format;
	return check(k);
}

int packed_next(struct packed *k, struct arena *a, struct eng_packed *ret)
{
	if (k->seen == k->vec_n)
		return 0;
	const uint8_t *h = k->p + k->at;
	uint32_t bytes = le32_get(h + 8);
	const char *name = arena_strndup(a, (const char *)h + PACKED_VEC_HEAD, h[0]);
	if (!name)
		return -VX_ERR_arena_full;
	*ret = (struct eng_packed){.coll = name,
	        .vec = h + PACKED_VEC_HEAD + h[0],
	        .vec_bytes = bytes,
	        .dim = le32_get(h + 4),
	        .dtype = h[1],
	        .metric = h[2],
	        .hashed = h[3] & F_HASHED,
	        .stale = h[3] & F_STALE};
	memcpy(ret->hash, h + 12, sizeof ret->hash);
	k->at += PACKED_VEC_HEAD + h[0] + bytes;
	k->seen++;
	return 1;
}
