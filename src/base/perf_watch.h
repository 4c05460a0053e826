/* perf_watch.h - is this mount slower than it was: means of each operation in windows of a second against a baseline that was kept.
 *
 *     off --record--> recording --(an operation has PERF_WATCH_WINDOWS windows)--> watching --drop--> off
 *
 * A window counts for an operation when that was done PERF_WATCH_LEAST times in it.  The figure is the median of the last
 * PERF_WATCH_WINDOWS windows' means (exact means: a histogram's buckets are 19% wide); one that is more than 20% above the
 * baseline three windows in a row is a regression, told once, until the figure is good again. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include "base/perf.h"
#include "base/sbuf.h"

#define PERF_WATCH_WINDOWS   30u
#define PERF_WATCH_LEAST     8u
#define PERF_WATCH_ROW       3u
#define PERF_WATCH_PERCENT   20u
#define PERF_WATCH_WINDOW_NS 1000000000ull
#define PERF_WATCH_TEXT_MAX  4096u

enum perf_watch_state { PW_off, PW_recording, PW_watching };
struct perf_watch_op {
	uint64_t count, sum_ns; /* at the end of the last window */
	uint64_t mean_ns[PERF_WATCH_WINDOWS]; /* a ring */
	uint64_t base_ns, now_ns; /* 0: none */
	uint32_t n, at;
	uint8_t row; /* bad medians in a row */
	bool slow;
};
struct perf_watch {
	pthread_mutex_t lock;
	enum perf_watch_state state;
	uint64_t due_ns; /* 0: the next step begins a window */
	uint32_t windows;
	struct perf_watch_op op[PERF_OP_N];
};
/* what a step has found; at most one operation a call of say */
typedef void perf_watch_say(void *u, enum perf_op op, uint64_t now_ns, uint64_t base_ns, bool slow);

int perf_watch_init(struct perf_watch *w);
void perf_watch_done(struct perf_watch *w);
void perf_watch_record(struct perf_watch *w);
void perf_watch_drop(struct perf_watch *w);
/* perf_watch_step - end the window that is over. @say is called under no lock for each operation that became slow, or good again.
 * @ret_recorded: a recording has just ended and is the baseline now.  Return: ns until the next step; UINT64_MAX when off. */
uint64_t perf_watch_step(struct perf_watch *w, uint64_t now_ns, perf_watch_say *say, void *u, bool *ret_recorded);
/* the baseline as lines "operation mean_ns", to be kept; and taken back: operations of other versions are skipped. 0, -EINVAL */
void perf_watch_text(struct perf_watch *w, struct sbuf *b);
int perf_watch_load(struct perf_watch *w, const char *text, size_t n);
/* {"state":…,"windows":…,"operations":[{operation, baseline_ns, now_ns, slow}]}; @slow_only: the array alone, of those that are slow */
void perf_watch_json(struct perf_watch *w, struct sbuf *b, bool slow_only);
