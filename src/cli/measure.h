/* measure.h - timing one operation over and over, and the vector requests that are timed, through a mount or in this process. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "cli/cli.h"
#include "engine/engine.h"
#include "vexfs_ioctl.h"

#define MEASURE_SAMPLES_MAX (1u << 20)
#define MEASURE_MSG_MAX     16383u /* what an ioctl carries */

struct measure {
	const char *name;
	uint64_t n; /* 0: it was not measured; `why` says why */
	double per_s, mean_ns;
	double cpu_ns; /* processor time of one: this process's and the watched one's; 0: not known */
	uint64_t p50_ns, p90_ns, p99_ns, max_ns;
	const char *why;
};
/* measure_run - op(u, 0), op(u, 1) … for so many seconds, at most `most` times. An op that fails (< 0, -errno or -VX_ERR) ends it, and why
 * is told. @ret zeroed */
void measure_run(
        struct measure *ret, const char *name, double seconds, uint64_t most, int (*op)(void *u, uint64_t i), void *u);
uint64_t measure_now(void);
void measure_watch(
        pid_t pid); /* whose processor time is told beside ours, from /proc/PID/task (all threads); 0: nobody's */
const char *measure_time_text(uint64_t ns); /* "12.3 us", arena */

/* where requests go: a mount's root by ioctl, or an engine in this process */
struct measure_to {
	int root_fd; /* -1: e */
	struct engine *e;
	const char *coll;
	uint32_t dim, k, points;
	uint64_t random;
	float *vec; /* dim floats, filled before each request */
	uint8_t *msg; /* MEASURE_MSG_MAX + 1 */
};
int measure_to_init(struct measure_to *t, const char *coll, uint32_t dim, uint32_t k, uint32_t points);
void measure_to_done(struct measure_to *t);
/* requests; for measure_run, u is a struct measure_to */
int measure_put(void *u, uint64_t i); /* one vector, searchable when answered; id i % points */
int measure_search(void *u, uint64_t i);
int measure_exact(void *u, uint64_t i);
int measure_create(struct measure_to *t);
int measure_drop(struct measure_to *t);
int measure_flush(struct measure_to *t); /* until everything is on disk and linked as far as it will be */
int measure_fill(struct measure_to *t); /* points put by batches, then flushed */

/* file operations below one directory, made and removed by the caller */
struct measure_files {
	int dir_fd;
	const char *mnt, *dir; /* dir: its name below mnt's root */
	uint32_t n; /* files that exist */
	struct measure_to *to; /* for vectors on files; may be NULL */
};
int measure_file_create(void *u, uint64_t i); /* 4 KiB written, closed */
int measure_file_read(void *u, uint64_t i); /* opened, 4 KiB read, closed */
int measure_file_stat(void *u, uint64_t i);
int measure_file_rename(void *u, uint64_t i); /* there and back */
int measure_file_list(void *u, uint64_t i); /* the whole directory */
int measure_file_vector(void *u, uint64_t i); /* setxattr of user.vexfs.vector.COLL */
int measure_file_vector_get(void *u, uint64_t i);
int measure_file_similar(void *u, uint64_t i);
int measure_file_words(void *u, uint64_t i); /* a search by words, as a directory */
void measure_files_remove(struct measure_files *f);
