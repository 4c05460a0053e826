/* tree_main.c - vexfs-tree's command line, and its summary. */
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "cli/tree.h"

int tree_err(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fputs("vexfs: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return CLI_ERROR;
}
bool tree_has_packed(struct archive_entry *e)
{
	const char *name;
	const void *v;
	size_t n;
	bool found = false;
	archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &v, &n) == ARCHIVE_OK)
		found |= !strcmp(name, TREE_PACKED);
	return found;
}
int main(int argc, char **argv)
{
	struct tree_count n = {0};
	struct cli_progress p;
	bool out = argc == 4 && !strcmp(argv[1], "export"), in = argc == 4 && !strcmp(argv[1], "import");
	if (!out && !in)
		return tree_err("usage: vexfs-tree export DIR OUT.tar | import OUT.tar DIR");
	/* names are bytes; those that are UTF-8 go into the archive as that, whatever the user's locale */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		setlocale(LC_CTYPE, "");
	cli_progress_begin(&p, out ? "export-tree" : "import-tree", 0);
	int rc = out ? tree_export(argv[2], argv[3], &n, &p) : tree_import(argv[2], argv[3], &n, &p);
	cli_progress_end(&p);
	fprintf(stderr, "vexfs: %llu entries, %llu with vectors or payload, %llu bytes of content\n",
	        (unsigned long long)n.entries, (unsigned long long)n.packed, (unsigned long long)n.bytes);
	return rc;
}
