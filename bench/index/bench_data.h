/* bench_data.h - what the benchmark programs share (C and C++): reading a data set, timing, recall, and the line protocol.
 *
 * A program is started as  PROGRAM DATADIR [key=value ...],  builds its index, prints one JSON object about it, and then answers
 * each line "EF" on stdin with one JSON object about a pass over all queries (the first `queries=`), one at a time, on one thread.
 * run.py keeps several such programs open and asks them in turn, so that a noisy moment of the machine hits all alike.
 *
 * Clocks: a pass and each of its queries are timed by the thread's own CPU time, so time given to others does not count; a build by
 * the process's.  Wall time is told beside it. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

struct bench_set {
	uint32_t dim, n, queries, truth_k;
	float *base, *query;
	int32_t *truth;
	int cosine;
};
static void *bench_read(const char *dir, const char *name, uint32_t *n, uint32_t *dim)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "rb");
	int32_t d;
	if (!f || fread(&d, 4, 1, f) != 1) {
		fprintf(stderr, "cannot read %s: run tools/fetch_data.py\n", path);
		exit(1);
	}
	fseek(f, 0, SEEK_END);
	uint32_t rows = (uint32_t)(ftell(f) / (4 * ((long)d + 1)));
	char *a = (char *)malloc((size_t)rows * d * 4);
	rewind(f);
	for (uint32_t i = 0; i < rows; i++) {
		int32_t x;
		if (fread(&x, 4, 1, f) != 1 || x != d || fread(a + (size_t)i * d * 4, 4, (size_t)d, f) != (size_t)d) {
			fprintf(stderr, "%s: damaged\n", path);
			exit(1);
		}
	}
	fclose(f);
	*n = rows;
	*dim = (uint32_t)d;
	return a;
}
static const char *bench_arg(int argc, char **argv, const char *key, const char *dflt)
{
	size_t n = strlen(key);
	for (int i = 2; i < argc; i++)
		if (!strncmp(argv[i], key, n) && argv[i][n] == '=')
			return argv[i] + n + 1;
	return dflt;
}
static struct bench_set bench_load(int argc, char **argv)
{
	const char *dir = argv[1];
	struct bench_set s;
	uint32_t d, nq;
	char path[4096], metric[16] = "";
	s.base = (float *)bench_read(dir, "base.fvecs", &s.n, &s.dim);
	s.query = (float *)bench_read(dir, "query.fvecs", &s.queries, &d);
	s.truth = (int32_t *)bench_read(dir, "truth.ivecs", &nq, &s.truth_k);
	snprintf(path, sizeof(path), "%s/metric", dir);
	FILE *f = fopen(path, "r");
	if (!f || fscanf(f, "%15s", metric) != 1)
		exit(1);
	fclose(f);
	s.cosine = !strcmp(metric, "cosine");
	uint32_t most = (uint32_t)atoi(bench_arg(argc, argv, "queries", "0"));
	s.queries = most && most < s.queries ? most : s.queries;
	return s;
}
static inline void bench_normalise(float *v, uint32_t n, uint32_t dim)
{
	for (uint32_t i = 0; i < n; i++) {
		double s = 0;
		for (uint32_t j = 0; j < dim; j++)
			s += (double)v[(size_t)i * dim + j] * v[(size_t)i * dim + j];
		for (uint32_t j = 0; j < dim; j++)
			v[(size_t)i * dim + j] = (float)(v[(size_t)i * dim + j] / sqrt(s));
	}
}
static double bench_cpu(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static double bench_thread(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static double bench_wall(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static inline long bench_rss(void)
{
	long pages = 0, all;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f && fscanf(f, "%ld %ld", &all, &pages) != 2)
		pages = 0;
	if (f)
		fclose(f);
	return pages * sysconf(_SC_PAGESIZE);
}
static int bench_cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}
/* one pass; ids[k] of query i are filled by search() */
typedef void (*bench_search)(void *u, const float *q, uint32_t k, uint32_t ef, int32_t *ids, uint64_t *distances);
/* other(): answers a line that is not a number; may be NULL */
static void bench_serve(const struct bench_set *s, bench_search search, void *u,
        void (*other)(void *u, const struct bench_set *s, const char *line))
{
	const uint32_t k = 10;
	int32_t *ids = (int32_t *)malloc((size_t)s->queries * k * 4);
	double *t = (double *)malloc(s->queries * sizeof(double));
	char line[256];
	while (fgets(line, sizeof(line), stdin)) {
		if (other && (line[0] < '0' || line[0] > '9')) {
			other(u, s, line);
			fflush(stdout);
			continue;
		}
		uint32_t ef = (uint32_t)atoi(line);
		uint64_t dist = 0, found = 0;
		for (uint32_t i = 0; i < 50 && i < s->queries; i++) /* warm */
			search(u, s->query + (size_t)i * s->dim, k, ef, ids, &dist);
		dist = 0;
		double w0 = bench_wall(), c0 = bench_thread(), at = c0;
		for (uint32_t i = 0; i < s->queries; i++) {
			search(u, s->query + (size_t)i * s->dim, k, ef, ids + (size_t)i * k, &dist);
			double now = bench_thread();
			t[i] = now - at;
			at = now;
		}
		double cpu = at - c0, wall = bench_wall() - w0;
		for (uint32_t i = 0; i < s->queries; i++)
			for (uint32_t j = 0; j < k; j++)
				for (uint32_t l = 0; l < k; l++)
					found += ids[(size_t)i * k + j] == s->truth[(size_t)i * s->truth_k + l];
		qsort(t, s->queries, sizeof(double), bench_cmp);
		printf("{\"ef\":%u,\"recall\":%.5f,\"qps\":%.1f,\"qps_wall\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
		       "\"distances\":%.1f}\n",
		        ef, (double)found / s->queries / k, s->queries / cpu, s->queries / wall,
		        t[s->queries / 2] * 1e6, t[s->queries * 99 / 100] * 1e6, (double)dist / s->queries);
		fflush(stdout);
	}
	free(ids);
	free(t);
}
