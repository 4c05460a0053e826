/* cmd_verify.c - vexfs verify: a store that nobody has open, from its files; or the live one of a mount, through its verb.
 *
 * Offline: the store's own check (catalog, rows, slots, full text), then each collection's newest published graph is opened over the
 * stored vectors and walked: levels, bounds, reciprocity, reachability.  A graph is derived: a broken one is a finding that --repair
 * answers by removing it (it is built again at the next mount). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"
#include "index/index.h"
#include "store/store.h"

struct graph {
	uint32_t cid;
	uint64_t gen;
	const char *name;
};
struct seen {
	struct graph *g;
	size_t n, cap;
	uint64_t damaged;
	bool quiet;
};

static void say(void *u, const char *line)
{
	(void)u;
	puts(line);
}
static void say_nothing(void *u, const char *line)
{
	(void)u;
	(void)line;
}

static int on_graph(void *u, uint32_t cid, uint64_t gen, const char *name)
{
	struct seen *s = u;
	for (size_t i = 0; i < s->n; i++)
		if (s->g[i].cid == cid)
			return 0; /* newest first: older ones are spares */
	if (s->n == s->cap) {
		struct graph *more = cli_alloc((s->cap = s->cap ? s->cap * 2 : 16) * sizeof *more);
		if (s->n)
			memcpy(more, s->g, s->n * sizeof *more);
		s->g = more;
	}
	s->g[s->n++] = (struct graph){cid, gen, cli_fmt("%s", name)};
	return 0;
}
static void on_damaged(void *u, const char *table, uint64_t rowid)
{
	struct seen *s = u;
	s->damaged++;
	if (!s->quiet)
		printf("%s: row %llu is damaged\n", table, (unsigned long long)rowid);
}

/* Return the number of graphs with findings, < 0: the store could not be opened for it. */
static int check_graphs(const struct store_cfg *cfg, bool repair, bool quiet, json_t *out)
{
	struct store *st;
	struct vx_errinfo err = {0};
	struct store_cfg ro = *cfg;
	struct seen s = {.quiet = quiet};
	struct store_load_cb cb = {.graph = on_graph, .damaged = on_damaged};
	int bad = 0;
	ro.read_only = !repair;
	int rc = store_open(&ro, &st, &err);
	if (rc < 0)
		return rc;
	rc = store_load(st, &cb, &s);
	for (size_t i = 0; i < s.n && rc >= 0; i++) {
		const struct graph *g = &s.g[i];
		const struct vec_rows *rows = store_rows(st, g->cid);
		struct index_cfg ic = {0};
		struct index_report r = {0};
		struct index *ix = NULL;
		uint64_t gen;
		int dir = store_coll_dirfd(st, g->cid);
		int e = rows ? index_open(rows, &ic, cfg->os, dir, g->name, &gen, &ix) : -VX_ERR_store_corrupt;
		if (e >= 0)
			e = index_check(ix, &r);
		json_array_append_new(
		        out, json_pack("{s:i, s:s, s:b, s:I, s:I, s:I, s:I, s:I}", "collection_id", (int)g->cid, "name",
		                     g->name, "clean", e >= 0, "nodes", (json_int_t)r.nodes, "unreachable",
		                     (json_int_t)r.unreachable, "one_way", (json_int_t)r.one_way, "out_of_bounds",
		                     (json_int_t)r.out_of_bounds, "bad_level", (json_int_t)r.bad_level));
		if (e < 0) {
			bad++;
			if (!quiet)
				printf("graph %s of collection %u: %s; %llu nodes, %llu unreachable, %llu out of "
				       "bounds%s\n",
				        g->name, g->cid, err_text(e), (unsigned long long)r.nodes,
				        (unsigned long long)r.unreachable, (unsigned long long)r.out_of_bounds,
				        repair ? "; removed, it is rebuilt at the next mount" : "");
			if (repair && os_unlinkat(cfg->os, dir, g->name, 0) < 0 && !quiet)
				printf("graph %s cannot be removed\n", g->name);
		}
		index_free(ix);
	}
	store_close(st);
	return rc < 0 ? rc : bad;
}

static int verify_dir(const char *dir, const char *store, bool repair, bool json)
{
	struct store_verify_report r = {0};
	char *abs = cli_realpath(dir);
	int fd = abs ? open(abs, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0)
		return cli_err("%s: %s", dir, strerror(errno));
	const char *at = store ? store : cli_fmt("%s/.vexfs", abs);
	if (access(at, F_OK)) {
		close(fd);
		return cli_err("there is no store at %s: %s", at, strerror(errno));
	}
	int at_fd = access(cli_fmt("%s/catalog.db", at), F_OK) ? open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	bool empty = at_fd >= 0 && store_slots_anywhere(os_real(), at_fd) == 0;
	if (at_fd >= 0)
		close(at_fd);
	if (empty) {
		/* a mount that ended before it had opened its store: nothing was ever in it */
		close(fd);
		printf(json ? "{\"store\":\"%s\",\"verdict\":\"clean\",\"findings\":0}\n"
		            : "%s: clean; it was never filled\n",
		        at);
		return 0;
	}
	struct store_cfg cfg = {.os = os_real(), .root_fd = fd, .store_dir = store};
	int left = store_verify(&cfg, repair, json ? say_nothing : say, NULL, &r);
	if (left < 0) {
		close(fd);
		return cli_err("%s: %s", at, left <= -VX_ERR_BASE ? err_text(left) : strerror(-left));
	}
	json_t *graphs = json_array();
	int bad = r.vectors ? check_graphs(&cfg, repair, json, graphs) : 0; /* without vectors there is no graph */
	close(fd);
	/* a catalog too damaged to load was counted already */
	uint64_t findings = r.findings + (bad > 0 ? (uint64_t)bad : bad < 0 && !r.findings);
	const char *verdict = r.lost ? "data lost" : findings ? repair ? "repaired" : "repairable" : "clean";
	if (json) {
		json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "store", at, "verdict",
		        verdict, "objects", (json_int_t)r.objects, "links", (json_int_t)r.links, "vectors",
		        (json_int_t)r.vectors, "slots_checked", (json_int_t)r.slots_checked, "chunks",
		        (json_int_t)r.chunks, "findings", (json_int_t)findings, "repaired", (json_int_t)r.repaired,
		        "lost", (json_int_t)r.lost, "graphs", graphs);
		char *t = json_dumps(o, JSON_INDENT(1));
		puts(t ? t : "{}");
		mem_free(MEM_cli, t);
		json_decref(o);
	} else {
		printf("%s: %s; %llu files, %llu vectors, %llu chunks of text, %zu graphs checked; %llu findings, %llu "
		       "repaired, %llu lost\n",
		        at, verdict, (unsigned long long)r.objects, (unsigned long long)r.vectors,
		        (unsigned long long)r.chunks, json_array_size(graphs), (unsigned long long)findings,
		        (unsigned long long)r.repaired, (unsigned long long)r.lost);
		json_decref(graphs);
	}
	return r.lost || (bad < 0 && !findings) ? 2 : findings ? 1 : 0;
}

static void print_recall(json_t *in)
{
	json_t *c;
	size_t i;
	json_array_foreach(json_object_get(in, "collections"), i, c)
	{
		json_t *r = json_object_get(c, "recall"), *got = json_object_get(r, "recall_at_10");
		const char *name = json_string_value(json_object_get(c, "name")),
		           *state = json_string_value(json_object_get(r, "state"));
		if (!r || !json_integer_value(json_object_get(c, "rows")))
			continue;
		printf("%-16s recall@10 ", name);
		if (!json_is_real(got))
			printf("not measured: the graph is damaged");
		else if (json_is_true(json_object_get(r, "exact")))
			printf("1: searches are exact");
		else
			printf("%.4f at ef %lld, %lld queries", json_real_value(got),
			        (long long)json_integer_value(json_object_get(r, "ef")),
			        (long long)json_integer_value(json_object_get(r, "queries")));
		if (json_object_get(r, "target"))
			printf(" (target %.4f: %s)", json_real_value(json_object_get(r, "target")), state);
		putchar('\n');
	}
}
static int verify_mount(const char *mnt, bool recall, bool json)
{
	struct cli_conn c;
	if (!cli_conn_open(&c, mnt))
		return CLI_ERROR;
	json_t *a = cli_ask(&c, json_pack("{s:s, s:b}", "verb", "verify", "recall", recall)), *v;
	if (!a) {
		cli_conn_close(&c);
		return CLI_ERROR;
	}
	json_t *in = json_is_object(json_object_get(a, "verify")) ? json_object_get(a, "verify") : a;
	json_t *clean = json_object_get(in, "clean");
	json_int_t findings = json_integer_value(json_object_get(in, "findings"));
	bool ok = clean ? json_is_true(clean) : !findings;
	if (json) {
		printf("%s%s", c.ans, c.ans_n && c.ans[c.ans_n - 1] == '\n' ? "" : "\n");
	} else {
		const char *k;
		json_object_foreach(in, k, v)
		{
			if (json_is_integer(v))
				printf("%-16s %lld\n", k, (long long)json_integer_value(v));
		}
		print_recall(in);
		printf("%s: %s\n", mnt,
		        ok ? "clean" : "damaged, repairable: unmount and run `vexfs verify --repair` on the directory");
	}
	json_decref(a);
	cli_conn_close(&c);
	return ok ? 0 : 1;
}

int cmd_verify(int argc, char **argv)
{
	static const struct option longs[] = {{"repair", no_argument, NULL, 'r'}, {"recall", no_argument, NULL, 'R'},
	        {"json", no_argument, NULL, 'j'}, {"store", required_argument, NULL, 's'},
	        {"help", no_argument, NULL, 'h'}, {0}};
	bool repair = false, recall = false, json = false;
	const char *store = NULL, *abs = NULL;
	int o;
	while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (o) {
		case 'r':
			repair = true;
			break;
		case 'R':
			recall = true;
			break;
		case 'j':
			json = true;
			break;
		case 's':
			store = optarg;
			break;
		case 'h':
			return cli_usage("verify", true);
		default:
			return cli_usage("verify", false);
		}
	}
	if (argc - optind != 1)
		return cli_usage("verify", false);
	const struct cli_mnt *m = cli_mnt_at(argv[optind], &abs);
	if (m && cli_mnt_is_vexfs(m)) {
		if (repair)
			return cli_err("a mounted store cannot be repaired; `vexfs umount %s` first, then verify the "
			               "directory",
			        abs);
		return verify_mount(abs, recall, json);
	}
	if (recall)
		return cli_err("recall is measured on a live graph: mount %s first", argv[optind]);
	if (store && !(store = cli_realpath(store)))
		return cli_err("the store: %s", strerror(errno));
	return verify_dir(argv[optind], store, repair, json);
}
