/* embed_tool FOLDER IN OUT [batch windows tokens_max] - encode the texts of IN (each ends in a NUL) into OUT (f32, rows), for comparison
 * with the reference run (tests/embed/reference.py).  Prints seconds, texts, dim and this process's memory as one line of JSON. */
#include "embed/embed.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static long rss_kb(void)
{
	long v = -1, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f && fscanf(f, "%ld %ld", &v, &pages) == 2)
		v = pages * (sysconf(_SC_PAGESIZE) / 1024);
	if (f)
		fclose(f);
	return v;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: embed_tool FOLDER IN OUT [batch [windows [tokens_max]]]\n");
		return 2;
	}
	uint32_t batch = argc > 4 ? (uint32_t)atoi(argv[4]) : 32;
	struct embed_cfg cfg = {.os = os_real(),
	        .folder = argv[1],
	        .windows = argc > 5 ? (uint32_t)atoi(argv[5]) : 1,
	        .tokens_max = argc > 6 ? (uint32_t)atoi(argv[6]) : 0};
	struct vx_errinfo err = {0};
	struct embed *m;
	double t0 = now();
	int rc = embed_open(&cfg, &m, &err);
	double t1 = now();
	if (rc >= 0)
		rc = embed_probe(m, &err);
	double t2 = now();
	if (rc < 0) {
		fprintf(stderr, "%s: %s (%s)\n", argv[1], err.detail, err_name(rc));
		return 1;
	}
	FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
	if (!in || !out)
		return 1;
	static char buf[64 << 20];
	size_t n = fread(buf, 1, sizeof buf - 1, in), texts = 0;
	struct embed_text *t = calloc(n + 1, sizeof *t);
	for (size_t at = 0; at < n; at += t[texts++].n + 1)
		t[texts] = (struct embed_text){buf + at, strlen(buf + at)};
	struct embed_info info = embed_info(m);
	float *v = malloc(texts * info.dim * sizeof *v);
	double best = 0;
	for (size_t i = 0; i < texts && rc >= 0; i += batch) {
		double a = now();
		rc = embed_encode(m, EMBED_document, t + i, (uint32_t)(texts - i < batch ? texts - i : batch),
		        v + i * info.dim, &err);
		best += now() - a;
	}
	if (rc < 0) {
		fprintf(stderr, "%s (%s)\n", err.detail, err_name(rc));
		return 1;
	}
	fwrite(v, info.dim * sizeof *v, texts, out);
	fclose(out);
	fclose(in);
	long used = rss_kb();
	uint64_t held = embed_bytes(m);
	embed_drop(m);
	printf("{\"texts\":%zu,\"dim\":%u,\"seconds\":%.4f,\"open_s\":%.4f,\"load_s\":%.4f,\"rss_kb\":%ld,\"rss_"
	       "dropped_kb\":%ld,\"model_bytes\":%llu,"
	       "\"input_kb\":%zu,\"output_kb\":%zu,\"fingerprint\":\"",
	        texts, info.dim, best, t1 - t0, t2 - t1, used, rss_kb(), (unsigned long long)held,
	        (n + texts * sizeof *t) >> 10, (texts * info.dim * 4) >> 10);
	for (int i = 0; i < 16; i++)
		printf("%02x", info.fingerprint[i]);
	printf("\"}\n");
	embed_close(m);
	free(t);
	free(v);
	return 0;
}
