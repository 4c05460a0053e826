/* tree_out.c - a tree into a pax archive: libarchive walks and writes, we say what goes in.
 *
 * Read as the caller, through the mount, so the archive holds what he may read, and each file's vectors by the attribute that tools copy.
 * Of user attributes all go along; a vector too large for the attribute (64 KiB) is named on stderr and stays out.  The archive is written
 * beside its name and renamed when it is whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "cli/tree.h"

#define BLOCK 10240

struct out {
	struct archive *from, *to;
	struct archive_entry_linkresolver *links;
	struct tree_count *n;
	struct cli_progress *p;
	const char *name;
	uint64_t dev, ino; /* the archive itself, should it lie in the tree */
	int worst; /* exit status */
	bool whole; /* all that may be read is in it, to the last block */
};

static int to_failed(struct out *o)
{
	return tree_err("%s cannot be written: %s", o->name, archive_error_string(o->to));
}
/* content in blocks, holes as zeros: what a reader sees */
static int content(struct out *o, struct archive_entry *e)
{
	static char zeros[4096];
	const void *p;
	size_t n;
	la_int64_t at = 0, off;
	for (;;) {
		int r = archive_read_data_block(o->from, &p, &n, &off);
		if (r == ARCHIVE_EOF)
			off = archive_entry_size(e);
		else if (r < ARCHIVE_WARN)
			return tree_err(
			        "%s cannot be read: %s", archive_entry_pathname(e), archive_error_string(o->from));
		while (at < off) {
			la_int64_t k = off - at < (la_int64_t)sizeof zeros ? off - at : (la_int64_t)sizeof zeros;
			if (archive_write_data(o->to, zeros, (size_t)k) < 0)
				return to_failed(o);
			at += k;
		}
		if (r == ARCHIVE_EOF)
			return CLI_OK;
		if (archive_write_data(o->to, p, n) < 0)
			return to_failed(o);
		at += (la_int64_t)n;
		o->n->bytes += n;
	}
}
static int entry(struct out *o, struct archive_entry *e)
{
	const char *path = archive_entry_pathname(e);
	const struct stat *st = archive_entry_stat(e);
	struct archive_entry *later = NULL;
	if (st->st_ino == o->ino && st->st_dev == o->dev)
		return CLI_OK;
	if (!strcmp(path, "."))
		path = "./";
	char *name = mem_strdup(MEM_cli, strncmp(path, "./", 2) || !path[2] ? path : path + 2);
	if (!name)
		return tree_err("no memory");
	archive_entry_copy_pathname(e, name);
	archive_entry_set_fflags(e, 0, 0);
	bool packed = tree_has_packed(e);
	if (S_ISREG(st->st_mode) && !packed && getxattr(name, TREE_PACKED, NULL, 0) < 0 && errno == E2BIG)
		tree_err("%s: its vectors are larger than an attribute may be (64 KiB): left out", name);
	mem_free(MEM_cli, name); /* libarchive has copied it */
	archive_entry_linkify(o->links, &e, &later);
	if (archive_write_header(o->to, e) < ARCHIVE_WARN)
		return to_failed(o);
	o->n->entries++;
	o->n->packed += packed;
	cli_progress_at(o->p, o->n->entries, 0);
	return archive_entry_size(e) > 0 && !archive_entry_hardlink(e) ? content(o, e) : CLI_OK;
}
static int walk(struct out *o)
{
	if (archive_read_disk_open(o->from, ".") != ARCHIVE_OK)
		return tree_err("the tree cannot be read: %s", archive_error_string(o->from));
	struct archive_entry *e = archive_entry_new();
	int rc = e ? CLI_OK : tree_err("no memory");
	while (rc == CLI_OK) {
		int r = archive_read_next_header2(o->from, e);
		if (r == ARCHIVE_EOF)
			break;
		if (r < ARCHIVE_WARN) {
			/* one that may not be read is told and passed over, as tar does */
			o->worst = tree_err("%s", archive_error_string(o->from));
			if (r == ARCHIVE_FATAL)
				rc = CLI_ERROR;
			continue;
		}
		archive_read_disk_descend(o->from);
		rc = entry(o, e);
	}
	archive_entry_free(e);
	archive_read_close(o->from);
	return rc;
}
static int run(struct out *o, int fd)
{
	o->from = archive_read_disk_new();
	o->to = archive_write_new();
	o->links = archive_entry_linkresolver_new();
	if (!o->from || !o->to || !o->links)
		return tree_err("no memory");
	archive_read_disk_set_symlink_physical(o->from);
	archive_read_disk_set_standard_lookup(o->from);
	archive_read_disk_set_behavior(o->from, ARCHIVE_READDISK_NO_TRAVERSE_MOUNTS | ARCHIVE_READDISK_NO_FFLAGS);
	archive_write_set_format_pax(o->to);
	archive_entry_linkresolver_set_strategy(o->links, archive_format(o->to));
	/* one record an attribute, the one that GNU tar knows */
	if (archive_write_set_options(o->to, "pax:xattrheader=SCHILY") != ARCHIVE_OK ||
	        archive_write_set_bytes_per_block(o->to, BLOCK) != ARCHIVE_OK ||
	        archive_write_open_fd(o->to, fd) != ARCHIVE_OK)
		return to_failed(o);
	int rc = walk(o);
	if (archive_write_close(o->to) != ARCHIVE_OK && rc == CLI_OK)
		rc = to_failed(o);
	o->whole = rc == CLI_OK;
	return o->whole ? o->worst : rc;
}
int tree_export(const char *dir, const char *out, struct tree_count *n, struct cli_progress *p)
{
	struct out o = {.n = n, .p = p, .name = out};
	struct stat st;
	static char tmp[4096 + 16];
	/* a terminal, a pipe, a device: written as it is, not replaced */
	bool is_stdout = !strcmp(out, "-"), as_is = is_stdout || (!stat(out, &st) && !S_ISREG(st.st_mode));
	if (snprintf(tmp, sizeof tmp, "%s.part", out) >= (int)sizeof tmp)
		return tree_err("%s: too long a name", out);
	int cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = is_stdout ? STDOUT_FILENO
	         : as_is   ? open(out, O_WRONLY | O_CLOEXEC)
	                   : open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || cwd < 0)
		return tree_err("%s: %s", as_is ? out : tmp, strerror(errno));
	if (!fstat(fd, &st)) {
		o.dev = st.st_dev;
		o.ino = st.st_ino;
	}
	int rc = chdir(dir) ? tree_err("%s: %s", dir, strerror(errno)) : run(&o, fd);
	archive_entry_linkresolver_free(o.links);
	archive_read_free(o.from);
	archive_write_free(o.to);
	if (as_is)
		return rc;
	if (o.whole)
		rc = fsync(fd) || close(fd) || renameat(cwd, tmp, cwd, out) ? tree_err("%s: %s", out, strerror(errno))
		                                                            : rc;
	else
		(void)unlinkat(cwd, tmp, 0); /* half an archive: nothing to keep */
	return rc;
}
