/* cmd_mcp.c - vexfs mcp: the mount's search as tools for agents, on stdin and stdout (server/mcp.h). */
#include <getopt.h>
#include "cli/cli.h"
#include "server/mcp.h"

int cmd_mcp(int argc, char **argv)
{
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {0}};
	const char *mnt, *rel;
	int o;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1)
		return cli_usage("mcp", o == 'h');
	if (argc - optind > 1)
		return cli_usage("mcp", false);
	if (!cli_find_mount(argc > optind ? argv[optind] : NULL, &mnt, &rel))
		return CLI_ERROR;
	int rc = mcp_stdio(mnt);
	return rc < 0 ? cli_err("mcp: %s", err_text(rc)) : CLI_OK;
}
