/* tree.h - vexfs-tree: a tree into a .tar and out of it, vectors and payloads included.
 *
 *     vexfs-tree export DIR OUT.tar      vexfs-tree import OUT.tar DIR        ("-": standard output, standard input)
 *
 * A program of its own, so that libarchive and all it brings are in no other process; `vexfs export-tree` and `import-tree` find the mount
 * and become it.  The archive is POSIX pax: what ordinary tar reads; vectors and payload are each file's user.vexfs.packed, as the
 * SCHILY.xattr record that `tar --xattrs` writes and reads.  So either side may be GNU tar's. */
#pragma once
#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <stdint.h>
#include "cli/cli.h"

#define TREE_PACKED "user.vexfs.packed"

struct tree_count {
	uint64_t entries, packed, bytes;
};
/* both print what went wrong and return an exit status; @n is filled as far as it got */
int tree_export(const char *dir, const char *out, struct tree_count *n, struct cli_progress *p);
int tree_import(const char *in, const char *dir, struct tree_count *n, struct cli_progress *p);
int tree_err(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* "vexfs: sentence"; CLI_ERROR */
bool tree_has_packed(struct archive_entry *e);
