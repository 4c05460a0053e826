/* profile_print.c - the profile as Markdown, CSV and SVG.  Each limit of the report stands beside the value it is about, with pass or miss. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include "base/conf.h"
#include "cli/profile.h"

static const char *const ways[] = {"none", "store", "search", "all"};

static json_int_t num(json_t *o, const char *k)
{
	return json_integer_value(json_object_get(o, k));
}

void profile_stats(struct profile *p)
{
	json_t *j = cli_ask_once(p->mnt, json_pack("{s:s}", "verb", "stats")), *op;
	size_t i;
	json_array_foreach(json_object_get(j, "operations"), i, op)
	{
		const char *name = json_string_value(json_object_get(op, "operation"));
		if (!name || strcmp(name, "hnsw_search") != 0)
			continue;
		p->fuse[PT_hnsw] = (struct measure){.name = "HNSW traversal",
		        .n = (uint64_t)num(op, "count"),
		        .mean_ns = (double)num(op, "mean_ns"),
		        .p50_ns = (uint64_t)num(op, "p50_ns"),
		        .p90_ns = (uint64_t)num(op, "p90_ns"),
		        .p99_ns = (uint64_t)num(op, "p99_ns"),
		        .max_ns = (uint64_t)num(op, "max_ns")};
	}
	json_t *c = json_object_get(j, "counters");
	p->pool_hits = (uint64_t)num(c, "pool_hits");
	p->pool_misses = (uint64_t)num(c, "pool_misses");
	p->distances = (uint64_t)num(c, "distances");
	p->hops = (uint64_t)num(c, "hops");
	p->searches = (uint64_t)num(c, "searches");
	json_decref(j);
}

static const char *verdict(bool good)
{
	return good ? "pass" : "miss";
}

static uint32_t deepest(const struct profile *p, unsigned way, const char **ret_op)
{
	uint32_t most = 0;
	*ret_op = "-";
	for (unsigned i = 0; i < p->mark_n; i++)
		if (p->mark[i].bytes[way] > most) {
			most = p->mark[i].bytes[way];
			*ret_op = p->mark[i].op;
		}
	return most;
}

static void stack_line(const char *what, const char *op, uint32_t bytes, uint32_t limit)
{
	if (bytes)
		printf("| %s | %s | %u | %u | %d | %s |\n", what, op, bytes, limit, (int)limit - (int)bytes,
		        verdict(bytes < limit));
	else
		printf("| %s | - | not measured | %u | - | - |\n", what, limit);
}

static void stack_tables(const struct profile *p)
{
	static const char *const what[] = {
	        "FUSE alone (`none`)", "with storage (`store`)", "with search (`search`)", "all together (`all`)"};
	const char *op;
	printf("## Stack, bytes below the dispatch of a request\n\n"
	       "| components | deepest operation | bytes | limit | margin | |\n|---|---|--:|--:|--:|---|\n");
	for (unsigned w = p->live ? 3 : 0; w < 4; w++) {
		uint32_t n = deepest(p, w, &op);
		stack_line(what[w], op, n, w == 1 ? 3072 : CONF_STACK_CRITICAL);
	}
	stack_line("HNSW traversal, below its own entry", "hnsw_search", p->hnsw_stack, 4096);
	printf("\nBy operation:\n\n| operation | none | store | search | all |\n|---|--:|--:|--:|--:|\n");
	for (unsigned i = 0; i < p->mark_n; i++)
		printf("| %s | %u | %u | %u | %u |\n", p->mark[i].op, p->mark[i].bytes[0], p->mark[i].bytes[1],
		        p->mark[i].bytes[2], p->mark[i].bytes[3]);
}

static void memory_table(const struct profile *p)
{
	printf("\n## Memory of the daemon, MB\n\n| components | stage | RSS | VSZ | heap |\n|---|---|--:|--:|--:|\n");
	for (unsigned i = 0; i < p->stage_n; i++)
		printf("| %s | %s | %.1f | %.1f | %.1f |\n", p->stage[i].way, p->stage[i].what,
		        (double)p->stage[i].rss / 1e6, (double)p->stage[i].vsz / 1e6, (double)p->stage[i].heap / 1e6);
	if (p->stage_n) {
		const struct profile_stage *s = &p->stage[p->limited];
		printf("\n%s: with %u vectors of %u dimensions and text search on: RSS %.1f MB (limit 50): %s; "
		       "VSZ %.1f MB "
		       "(limit 200): %s.\n",
		        s->what, p->to.points, p->to.dim, (double)s->rss / 1e6, verdict(s->rss < 50000000),
		        (double)s->vsz / 1e6, verdict(s->vsz < 200000000));
	}
}

static const char *cpu_text(const struct measure *m)
{
	return m->cpu_ns > 0 ? measure_time_text((uint64_t)m->cpu_ns) : "";
}

static void path_line(const struct measure *d, const struct measure *f)
{
	if (d->n && f->n)
		printf("| %s | %s | %s | %s | %s | %s | %s | %.2f |\n", f->name, measure_time_text(d->p50_ns),
		        measure_time_text(d->p99_ns), cpu_text(d), measure_time_text(f->p50_ns),
		        measure_time_text(f->p99_ns), cpu_text(f), (double)f->p50_ns / (double)d->p50_ns);
	else if (f->n)
		printf("| %s | not measured | | | %s | %s | %s | |\n", f->name, measure_time_text(f->p50_ns),
		        measure_time_text(f->p99_ns), cpu_text(f));
}

static void path_tables(const struct profile *p)
{
	printf("\n## FUSE path against direct call, of one client\n\n"
	       "| | direct p50 | p99 | processor | through the mount p50 | p99 | processor, both | ratio of p50 |\n"
	       "|---|--:|--:|--:|--:|--:|--:|--:|\n");
	path_line(&p->direct[PT_put], &p->fuse[PT_put]);
	path_line(&p->direct[PT_search], &p->fuse[PT_search]);
	path_line(&p->direct[PT_hnsw], &p->fuse[PT_hnsw]);
	if (p->alloc.n)
		printf("| allocation and release | %.0f ns | %.0f ns | | not measured: the same code, not to be called "
		       "from outside | | | |\n",
		        (double)p->alloc.p50_ns / 100, (double)p->alloc.p99_ns / 100);
	if (p->pool.n)
		printf("| pool get and put | %.0f ns | %.0f ns | | %llu gets, %llu needed a slab | | | |\n",
		        (double)p->pool.p50_ns / 100, (double)p->pool.p99_ns / 100,
		        (unsigned long long)(p->pool_hits + p->pool_misses), (unsigned long long)p->pool_misses);
	printf("\n## Latency and throughput through the mount\n\n| | a second | p50 | p90 | p99 | most | "
	       "|\n|---|--:|--:|--:|--:|--:|---|\n");
	for (unsigned i = 0; i < PT_warm; i++) {
		const struct measure *m = &p->fuse[i];
		if (!m->n || i == PT_hnsw)
			continue;
		const char *say = i == PT_put      ? cli_fmt("> 1,000/s: %s", verdict(m->per_s > 1000))
		                  : i == PT_search ? cli_fmt("> 1,000/s: %s; p99 < 10 ms: %s", verdict(m->per_s > 1000),
		                                             verdict(m->p99_ns < 10000000))
		                                   : "";
		printf("| %s | %.0f | %s | %s | %s | %s | %s |\n", m->name, m->per_s, measure_time_text(m->p50_ns),
		        measure_time_text(m->p90_ns), measure_time_text(m->p99_ns), measure_time_text(m->max_ns), say);
	}
	if (p->searches)
		printf("\nA search computes %.0f distances over %.0f hops.\n",
		        (double)p->distances / (double)p->searches, (double)p->hops / (double)p->searches);
}

void profile_markdown(const struct profile *p)
{
	struct utsname u = {0};
	uname(&u);
	printf("# Profile of VexFS %s\n\n%s %s %s; %u vectors of %u dimensions, k %u.\n\n", VEXFS_VERSION_TEXT,
	        u.sysname, u.release, u.machine, p->to.points, p->to.dim, p->to.k);
	stack_tables(p);
	memory_table(p);
	path_tables(p);
	printf("\n## Not measured\n\n"
	       "- A kernel peer: there is no loadable kernel module of VexFS; the direct call in one process takes its "
	       "place.\n"
	       "- Allocation through the mount: allocations can't be called from outside; the pools' counters are "
	       "shown instead.\n"
	       "- libc's and libfuse's frames apart from ours: the marks above hold all of them.  `make stack` tells "
	       "the worst path of our own frames alone, which is a bound and seldom the path taken: no share follows "
	       "from the two.\n");
	if (p->live)
		printf("- The direct path and components one by one: this is a mount in use; `vexfs profile DIR` makes "
		       "its own.\n");
}

void profile_csv(const struct profile *p)
{
	printf("table,row,column,value\n");
	for (unsigned i = 0; i < p->mark_n; i++)
		for (unsigned w = 0; w < 4; w++)
			if (p->mark[i].bytes[w])
				printf("stack_bytes,%s,%s,%u\n", p->mark[i].op, ways[w], p->mark[i].bytes[w]);
	printf("stack_bytes,hnsw_search,own,%u\n", p->hnsw_stack);
	for (unsigned i = 0; i < p->stage_n; i++) {
		const struct profile_stage *s = &p->stage[i];
		printf("memory,%s %s,rss,%llu\nmemory,%s %s,vsz,%llu\nmemory,%s %s,heap,%llu\n", s->way, s->what,
		        (unsigned long long)s->rss, s->way, s->what, (unsigned long long)s->vsz, s->way, s->what,
		        (unsigned long long)s->heap);
	}
	for (unsigned side = 0; side < 2; side++)
		for (unsigned i = 0; i < PT_warm; i++) {
			const struct measure *m = side ? &p->fuse[i] : &p->direct[i];
			if (m->n)
				printf("%s,%s,p50_ns,%llu\n%s,%s,p99_ns,%llu\n%s,%s,per_second,%.1f\n",
				        side ? "mount" : "direct", m->name, (unsigned long long)m->p50_ns,
				        side ? "mount" : "direct", m->name, (unsigned long long)m->p99_ns,
				        side ? "mount" : "direct", m->name, m->per_s);
		}
}

/* two bars an operation, the mount's and the direct call's; and one a component for the stack */
int profile_svg(const struct profile *p, const char *path)
{
	FILE *f = fopen(path, "w");
	if (!f)
		return -1;
	unsigned y = 40;
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"420\" font-family=\"sans-serif\" "
	           "font-size=\"12\">"
	           "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/><text x=\"10\" y=\"22\" "
	           "font-size=\"15\">VexFS: stack in bytes, "
	           "latency p50</text>\n");
	for (unsigned w = 0; w < 4; w++, y += 26) {
		const char *op;
		uint32_t n = deepest(p, w, &op);
		fprintf(f,
		        "<text x=\"10\" y=\"%u\">%s</text><rect x=\"150\" y=\"%u\" width=\"%u\" height=\"16\" "
		        "fill=\"#2060a0\"/>"
		        "<text x=\"%u\" y=\"%u\">%u (%s)</text>\n",
		        y + 13, ways[w], y, n / 14, 156 + n / 14, y + 13, n, op);
	}
	fprintf(f, "<path d=\"M%u 36V%u\" stroke=\"#c03030\"/><text x=\"%u\" y=\"%u\" fill=\"#c03030\">6144</text>\n",
	        150 + 6144 / 14, y, 154 + 6144 / 14, y);
	y += 24;
	uint64_t most = 1;
	for (unsigned i = 0; i < PT_hnsw + 1; i++)
		most = p->fuse[i].p50_ns > most ? p->fuse[i].p50_ns : most;
	for (unsigned i = 0; i < PT_hnsw + 1; i++, y += 44)
		for (unsigned side = 0; side < 2; side++) {
			const struct measure *m = side ? &p->fuse[i] : &p->direct[i];
			unsigned w = (unsigned)(m->p50_ns * 420 / most), at = y + side * 18;
			fprintf(f,
			        "<text x=\"10\" y=\"%u\">%s %s</text><rect x=\"210\" y=\"%u\" width=\"%u\" "
			        "height=\"14\" fill=\"%s\"/>"
			        "<text x=\"%u\" y=\"%u\">%s</text>\n",
			        at + 12, m->name ? m->name : "", side ? "(mount)" : "(direct)", at, w,
			        side ? "#2060a0" : "#80b0d8", 216 + w, at + 12, measure_time_text(m->p50_ns));
		}
	fprintf(f, "</svg>\n");
	return fclose(f) ? -1 : 0;
}
