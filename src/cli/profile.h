/* profile.h - what `vexfs profile` has measured, between the measuring (cmd_profile.c) and the telling (profile_print.c). */
#pragma once
#include "cli/measure.h"

#define PROFILE_STAGES 24u
#define PROFILE_OPS    96u

enum { PT_put, PT_search, PT_hnsw, PT_create, PT_read, PT_stat, PT_words, PT_warm, PT_N };

struct profile_stage {
	const char *way, *what;
	uint64_t rss, vsz, heap;
};
struct profile_mark {
	char op[24];
	uint32_t bytes[4]; /* by components: none, store, search, all; 0: not seen */
};
struct profile {
	const char *dir, *mnt;
	double seconds;
	bool mounted, live; /* live: a mount that was there, the direct path can't be had */
	struct measure_to to;
	struct measure_files files;
	struct measure direct[PT_N], fuse[PT_N], alloc, pool;
	struct profile_stage stage[PROFILE_STAGES];
	unsigned stage_n, limited; /* limited: the stage that the limits are about */
	struct profile_mark mark[PROFILE_OPS];
	unsigned mark_n;
	uint32_t hnsw_stack;
	uint64_t pool_hits, pool_misses, distances, hops, searches;
};
void profile_stats(struct profile *p); /* from MNT's stats: the traversal's histogram, pools, distances */
void profile_markdown(const struct profile *p);
void profile_csv(const struct profile *p);
int profile_svg(const struct profile *p, const char *path); /* 0 or -1 with errno */
