/* cli_progress.c - a bar with rate and time left on a terminal; silent when stderr is something else, so logs stay readable. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli/cli.h"

#define BAR_CELLS 28

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void cli_progress_begin(struct cli_progress *p, const char *what, uint64_t total)
{
	memset(p, 0, sizeof *p);
	p->what = what;
	p->total = total;
	p->t0_ns = now_ns();
	p->on = isatty(STDERR_FILENO) == 1;
}

void cli_progress_at(struct cli_progress *p, uint64_t done, uint64_t total)
{
	p->done = done;
	if (total)
		p->total = total;
	uint64_t now = now_ns();
	if (!p->on || (now - p->shown_ns < 100000000u && done < p->total))
		return;
	p->shown_ns = now;
	double s = (double)(now - p->t0_ns) / 1e9, rate = s > 0 ? (double)done / s : 0;
	if (!p->total) {
		fprintf(stderr, "\r%s  %" PRIu64 "  %.0f/s\033[K", p->what, done, rate);
		fflush(stderr);
		return;
	}
	double part = (double)done / (double)p->total;
	int full = (int)(part * BAR_CELLS);
	uint64_t left = rate > 0 && p->total > done ? (uint64_t)((double)(p->total - done) / rate) : 0;
	fprintf(stderr, "\r%s [", p->what);
	for (int i = 0; i < BAR_CELLS; i++)
		fputc(i < full ? '#' : '.', stderr);
	fprintf(stderr, "] %3d%%  %" PRIu64 "/%" PRIu64 "  %.0f/s  %" PRIu64 ":%02" PRIu64 " left\033[K",
	        (int)(part * 100), done, p->total, rate, left / 60, left % 60);
	fflush(stderr);
}

void cli_progress_end(struct cli_progress *p)
{
	if (p->on) {
		fputs("\r\033[K", stderr);
		fflush(stderr);
	}
}
