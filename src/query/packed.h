/* packed.h - user.vexfs.packed: a file's vectors and payload as one value that cp -a, rsync -X and tar --xattrs carry along.
 *
 *   header    "VXPK" u16 version=1 u16 vectors u32 payload bytes u32 total bytes u32 crc32c of the value with this field 0; u32 0
 *   vector    u8 name bytes, u8 dtype, u8 metric, u8 flags (1 hashed, 2 stale), u32 dim, u32 vector bytes, u8[16] hash, name, vector
 *   payload   JSON
 * Little-endian, nothing padded.  The hash is that of the content the vector describes: whoever receives the value believes the
 * vector only for content of that hash. */
#pragma once
#include "engine/engine.h"

#define PACKED_HEAD     24u
#define PACKED_VEC_HEAD 28u
#define PACKED_VECS_MAX 1024u

/* packed_put - write v[n] and a payload (JSON, payload_n 0: none) into b. Nothing fails but b's room. */
void packed_put(struct sbuf *b, const struct eng_packed *v, uint32_t n, const char *payload, uint32_t payload_n);
struct packed {
	const uint8_t *p; /* borrowed */
	size_t n, at;
	uint32_t vec_n, seen, payload_n;
	const char *payload;
};
/* packed_open - check a value whole: 0; -VX_ERR_bad_format, -VX_ERR_truncated. @name NUL-terminated copies come from the arena. */
int packed_open(struct packed *k, const void *p, size_t n);
/* packed_next - 1 and the next vector (vec unaligned, in the value; coll in the arena); 0 at the end; -VX_ERR_arena_full. */
int packed_next(struct packed *k, struct arena *a, struct eng_packed *ret);
