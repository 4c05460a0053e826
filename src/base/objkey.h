/* objkey.h - what identifies a file inside one file system: the bytes of its handle (name_to_handle_at), no device number.
 * Where the file system gives no handle: type 0xff and {st_ino, birth time s, ns}, so a reused inode number is told apart. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "base/conf.h"
struct obj_key {
	uint8_t len, type; /* len 0: no key */
	uint8_t b[CONF_KEY_MAX];
};
/* objkey_at - of a path below dirfd ("" with AT_EMPTY_PATH semantics: the fd itself). Symlinks are not followed. 0 or -errno. */
int objkey_at(int dirfd, const char *path, struct obj_key *ret);
/* objkey_open - the file of a key that is a handle, opened below the mount that @mnt lies on (needs CAP_DAC_READ_SEARCH). An fd (close
 * on exec) or -errno; -ESTALE: there is no such file any more. */
int objkey_open(int mnt, const struct obj_key *key, int flags);
static inline bool objkey_eq(const struct obj_key *a, const struct obj_key *b)
{
	return a->len == b->len && a->type == b->type && !memcmp(a->b, b->b, a->len);
}
