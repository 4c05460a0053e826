/* tree_in.c - an archive into a directory of the mount: libarchive reads and extracts, attributes after content.
 *
 * What comes from elsewhere is not trusted: no name leads out of the directory, by "..", a leading slash or a symbolic link made before it.
 * A vector is believed with its content's hash only (user.vexfs.packed); one that the mount refuses is named, and its file stays. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "cli/tree.h"

#define BLOCK 10240

static int copy(struct archive *from, struct archive *to, struct archive_entry *e, struct tree_count *n)
{
	const void *p;
	size_t k;
	la_int64_t off;
	for (;;) {
		int r = archive_read_data_block(from, &p, &k, &off);
		if (r == ARCHIVE_EOF)
			return CLI_OK;
		if (r < ARCHIVE_WARN)
			return tree_err("%s: %s", archive_entry_pathname(e), archive_error_string(from));
		if (archive_write_data_block(to, p, k, off) < ARCHIVE_WARN)
			return tree_err(
			        "%s cannot be written: %s", archive_entry_pathname(e), archive_error_string(to));
		n->bytes += k;
	}
}
static int one(struct archive *from, struct archive *to, struct archive_entry *e, struct tree_count *n)
{
	bool packed = tree_has_packed(e);
	int r = archive_write_header(to, e);
	if (r < ARCHIVE_WARN) {
		tree_err("%s: %s", archive_entry_pathname(e), archive_error_string(to));
		return r == ARCHIVE_FATAL ? CLI_ERROR : CLI_NONE;
	}
	int rc = archive_entry_size(e) > 0 ? copy(from, to, e, n) : CLI_OK;
	r = archive_write_finish_entry(to);
	if (r < ARCHIVE_OK) {
		tree_err("%s: %s", archive_entry_pathname(e), archive_error_string(to));
		return r == ARCHIVE_FATAL || rc == CLI_ERROR ? CLI_ERROR : CLI_NONE;
	}
	n->entries++;
	n->packed += packed;
	return rc;
}
static int run(
        struct archive *from, struct archive *to, int fd, const char *in, struct tree_count *n, struct cli_progress *p)
{
	int flags = ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_XATTR |
	            ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_SYMLINKS |
	            ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS | ARCHIVE_EXTRACT_UNLINK;
	if (!geteuid())
		flags |= ARCHIVE_EXTRACT_OWNER;
	archive_read_support_format_tar(from);
	archive_read_support_filter_gzip(from);
	archive_read_support_filter_xz(from);
	archive_read_support_filter_zstd(from);
	archive_write_disk_set_options(to, flags);
	archive_write_disk_set_standard_lookup(to);
	if (archive_read_open_fd(from, fd, BLOCK) != ARCHIVE_OK)
		return tree_err("%s: %s", in, archive_error_string(from));
	struct archive_entry *e;
	int rc = CLI_OK, worst = CLI_OK;
	while (rc != CLI_ERROR) {
		int r = archive_read_next_header(from, &e);
		if (r == ARCHIVE_EOF)
			break;
		if (r < ARCHIVE_WARN)
			return tree_err("%s: %s", in, archive_error_string(from));
		rc = one(from, to, e, n);
		worst = rc != CLI_OK ? CLI_ERROR : worst;
		cli_progress_at(p, n->entries, 0);
	}
	if (archive_write_close(to) < ARCHIVE_OK) /* modes and times of directories */
		worst = tree_err("%s", archive_error_string(to));
	return rc == CLI_ERROR ? rc : worst;
}
int tree_import(const char *in, const char *dir, struct tree_count *n, struct cli_progress *p)
{
	int fd = strcmp(in, "-") ? open(in, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	if (fd < 0)
		return tree_err("%s: %s", in, strerror(errno));
	if (chdir(dir))
		return tree_err("%s: %s", dir, strerror(errno));
	struct archive *from = archive_read_new(), *to = archive_write_disk_new();
	int rc = from && to ? run(from, to, fd, in, n, p) : tree_err("no memory");
	archive_read_free(from);
	archive_write_free(to);
	return rc;
}
