/* cmd_tree.c - vexfs export-tree and import-tree: the mount is found here, the work is vexfs-tree's (tree.h). */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/sbuf.h"
#include "cli/cli.h"

/* beside this program, as built or as installed */
static const char *helper(void)
{
	static const char *const near[] = {"/vexfs-tree", "/../libexec/vexfs-tree"};
	static char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = 0;
	char *end = strrchr(self, '/');
	if (end)
		*end = 0;
	for (size_t i = 0; end && i < sizeof near / sizeof *near; i++) {
		char *p = cli_fmt("%s%s", self, near[i]);
		if (!access(p, X_OK))
			return p;
	}
	return VEXFS_LIBEXEC "/vexfs-tree";
}
static int become(const char *name, int argc, char **argv, bool out)
{
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
	const char *mnt, *rel;
	int o;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1)
		return cli_usage(name, o == 'h');
	if (argc - optind != 2)
		return cli_usage(name, false);
	/* beyond a mount there are no vectors, and a tree without them is tar's business */
	if (!cli_find_mount(argv[optind + (out ? 0 : 1)], &mnt, &rel))
		return CLI_ERROR;
	const char *exe = helper();
	char verb[8];
	snprintf(verb, sizeof verb, "%s", out ? "export" : "import");
	char *args[] = {"vexfs-tree", verb, argv[optind], argv[optind + 1], NULL};
	execv(exe, args);
	return cli_err("%s: %s (it is built where libarchive is)", exe, strerror(errno));
}
int cmd_export_tree(int argc, char **argv)
{
	return become("export-tree", argc, argv, true);
}
int cmd_import_tree(int argc, char **argv)
{
	return become("import-tree", argc, argv, false);
}
