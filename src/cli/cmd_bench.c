/* cmd_bench.c - vexfs bench: what one client gets out of this mount, in its own words: files, vectors, searches, each a second.
 *
 * Works in a directory and a collection of its own, named after the process, and takes both away again; nothing of the user's is touched.
 * One operation after the other, each for --seconds; quantiles are of single calls. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/conf.h"
#include "cli/measure.h"

#define BENCH_MAX     16u
#define BENCH_DIM_MAX 2048u /* more doesn't fit an ioctl */
#define BENCH_FILES   2000u

struct bench {
	const char *mnt;
	double seconds;
	bool json, no_vectors;
	struct measure_to to;
	struct measure_files files;
	struct measure got[BENCH_MAX];
	unsigned n;
};

static void one(struct bench *b, const char *name, uint64_t most, int (*op)(void *u, uint64_t i), void *u)
{
	struct measure *m = &b->got[b->n++];
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%-24s\r", name);
	measure_run(m, name, b->seconds, most, op, u);
}

static void files(struct bench *b)
{
	struct measure_files *f = &b->files;
	one(b, "file create 4 KiB", BENCH_FILES, measure_file_create, f);
	if (!f->n)
		return;
	one(b, "file read 4 KiB", UINT64_MAX, measure_file_read, f);
	one(b, "file stat", UINT64_MAX, measure_file_stat, f);
	one(b, "file rename", UINT64_MAX, measure_file_rename, f);
	if (b->got[b->n - 1].n & 1) /* there, but not back */
		(void)measure_file_rename(f, b->got[b->n - 1].n); /* a file that stays away is told by who misses it */
	one(b, "list directory", UINT64_MAX, measure_file_list, f);
}

static int vectors(struct bench *b)
{
	struct measure_to *t = &b->to;
	int rc = measure_create(t);
	if (rc < 0)
		return rc;
	one(b, "vector put", UINT64_MAX, measure_put, t);
	rc = measure_fill(t);
	if (rc < 0)
		return rc;
	one(b, "vector search", UINT64_MAX, measure_search, t);
	one(b, "vector search exact", UINT64_MAX, measure_exact, t);
	if (b->files.n) {
		one(b, "setxattr vector", b->files.n, measure_file_vector, &b->files);
		uint32_t all = b->files.n;
		b->files.n = (uint32_t)b->got[b->n - 1].n; /* those have one */
		if (b->files.n)
			one(b, "getxattr vector", UINT64_MAX, measure_file_vector_get, &b->files);
		b->files.n = all;
	}
	one(b, "search by words", UINT64_MAX, measure_file_words, &b->files);
	return 0;
}

static void print(const struct bench *b)
{
	if (b->json)
		printf("{\"mount\":\"%s\",\"dim\":%u,\"points\":%u,\"k\":%u,\"operations\":[", b->mnt, b->to.dim,
		        b->to.points, b->to.k);
	else
		printf("%-22s %10s %10s %10s %10s %10s %10s\n", "operation", "a second", "p50", "p90", "p99", "most",
		        "processor");
	for (unsigned i = 0; i < b->n; i++) {
		const struct measure *m = &b->got[i];
		if (b->json) {
			printf("%s\n "
			       "{\"operation\":\"%s\",\"count\":%llu,\"per_second\":%.1f,\"p50_ns\":%llu,\"p90_ns\":%"
			       "llu,"
			       "\"p99_ns\":%llu,\"max_ns\":%llu,\"cpu_ns\":%.0f",
			        i ? "," : "", m->name, (unsigned long long)m->n, m->per_s,
			        (unsigned long long)m->p50_ns, (unsigned long long)m->p90_ns,
			        (unsigned long long)m->p99_ns, (unsigned long long)m->max_ns, m->cpu_ns);
			printf(m->why ? ",\"stopped\":\"%s\"}" : "}", m->why);
		} else if (m->n) {
			printf("%-22s %10.0f %10s %10s %10s %10s %10s%s%s\n", m->name, m->per_s,
			        measure_time_text(m->p50_ns), measure_time_text(m->p90_ns),
			        measure_time_text(m->p99_ns), measure_time_text(m->max_ns),
			        measure_time_text((uint64_t)m->cpu_ns), m->why ? "  stopped: " : "",
			        m->why ? m->why : "");
		} else {
			printf("%-22s not measured: %s\n", m->name, m->why ? m->why : "no time");
		}
	}
	if (b->json)
		printf("\n]}\n");
}

static int run(struct bench *b)
{
	const char *dir = cli_fmt("vexfs-bench-%d", (int)getpid()), *coll = cli_fmt("bench-%d", (int)getpid());
	uint32_t dim = b->to.dim, k = b->to.k, points = b->to.points;
	int rc = measure_to_init(&b->to, coll, dim, k, points);
	if (rc < 0)
		return cli_err("no memory");
	b->to.root_fd = open(b->mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->to.root_fd < 0 || mkdirat(b->to.root_fd, dir, 0755)) {
		rc = cli_err("%s: %s", b->mnt, strerror(errno));
		goto out;
	}
	b->files = (struct measure_files){.mnt = b->mnt, .dir = dir, .to = &b->to};
	b->files.dir_fd = openat(b->to.root_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->files.dir_fd < 0) {
		rc = cli_err("%s/%s: %s", b->mnt, dir, strerror(errno));
	} else {
		files(b);
		rc = b->no_vectors ? 0 : vectors(b);
		if (rc < 0)
			cli_note("vectors were not measured: %s", rc <= -VX_ERR_BASE ? err_text(rc) : strerror(-rc));
		print(b);
		rc = rc < 0 ? CLI_ERROR : CLI_OK;
		measure_files_remove(&b->files);
		close(b->files.dir_fd);
	}
	unlinkat(b->to.root_fd, dir, AT_REMOVEDIR);
	(void)measure_drop(&b->to); /* there may be none */
out:
	if (b->to.root_fd >= 0)
		close(b->to.root_fd);
	measure_to_done(&b->to);
	return rc;
}

int cmd_bench(int argc, char **argv)
{
	static const struct option longs[] = {{"seconds", required_argument, NULL, 's'},
	        {"points", required_argument, NULL, 'n'}, {"dim", required_argument, NULL, 'd'},
	        {"files-only", no_argument, NULL, 'f'}, {"json", no_argument, NULL, 'j'},
	        {"help", no_argument, NULL, 'h'}, {0}};
	struct bench b = {.seconds = 2};
	uint64_t points = 10000, dim = 384, k = 10;
	const char *rel;
	int o;
	while ((o = getopt_long(argc, argv, "hk:n:", longs, NULL)) != -1) {
		if (o == 'h')
			return cli_usage("bench", true);
		if (o == 'j')
			b.json = true;
		else if (o == 'f')
			b.no_vectors = true;
		else if (o == 's'   ? !cli_f64(optarg, "--seconds", &b.seconds)
		         : o == 'n' ? !cli_u64(optarg, "--points", 1, CONF_ROWS_MAX, &points)
		         : o == 'd' ? !cli_u64(optarg, "--dim", 1, BENCH_DIM_MAX, &dim)
		         : o == 'k' ? !cli_u64(optarg, "-k", 1, 200, &k)
		                    : true)
			return o == '?' ? cli_usage("bench", false) : CLI_ERROR;
	}
	if (argc - optind > 1)
		return cli_usage("bench", false);
	if (!cli_find_mount(argc > optind ? argv[optind] : NULL, &b.mnt, &rel))
		return CLI_ERROR;
	measure_watch(cli_mnt_pid(b.mnt));
	b.to.dim = (uint32_t)dim;
	b.to.k = (uint32_t)k;
	b.to.points = (uint32_t)points;
	return run(&b);
}
