/* guard.h - mapped files that may fail: a page that cannot be read becomes a page of zeros and a flag, not the end of the process.
 *
 * Reading a map raises SIGBUS when the file was cut short or its disk fails.  For addresses inside a registered map the handler puts
 * an anonymous zero page there and sets the owner's bits in its flag word; the load then goes on and reads zeros, which no checksum
 * of ours accepts.  Whoever answers from such a map looks at the flag before it answers.  SIGBUS from anywhere else, or sent by
 * another process, does what it always did: it ends the process. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUARD_MAPS_MAX 8192u

/* guard_add - watch [p, p + n), page-aligned.  The first call installs the handler.
 * @bad, @bits   set by atomic or at a fault; @bad outlives the registration
 * @writable     the map is written through (SQLite's shared memory); else read-only
 * Return: 0; -ENOSPC: the table is full (the map works, unwatched); -errno of sigaction. */
int guard_add(const void *p, size_t n, _Atomic uint32_t *bad, uint32_t bits, bool writable);
void guard_del(const void *p); /* before munmap; unknown maps are ignored */
/* guard_trim - let go of the pages of every watched map that is only read: they come back from the page cache when touched. */
void guard_trim(void);
uint64_t guard_hits(void); /* pages replaced so far */
