/* cmd_perf.c - vexfs perf: what a mount is doing, like top; its statistics once, as JSON; and the baseline it is watched against.
 *
 * The table is made of two readings of `stats`: rates are differences, quantiles those since the statistics were reset.  On a terminal it is
 * drawn again every interval until interrupted, elsewhere once.  --save-baseline asks the mount to record: it takes half a minute of
 * the work that is to be compared later, so this command waits and shows how far it is. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "cli/measure.h"

struct row {
	const char *op;
	double per_s;
	uint64_t count, bytes, p50, p90, p99, p999, stack;
};

static json_t *ask(const char *mnt, const char *verb)
{
	return cli_ask_once(mnt, json_pack("{s:s}", "verb", verb));
}
static uint64_t num(json_t *o, const char *k)
{
	return (uint64_t)json_integer_value(json_object_get(o, k));
}

static json_t *find(json_t *stats, const char *op)
{
	json_t *o;
	size_t i;
	json_array_foreach(json_object_get(stats, "operations"), i,
	        o) if (!strcmp(json_string_value(json_object_get(o, "operation")), op)) return o;
	return NULL;
}

static int busiest(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	if (x->per_s != y->per_s)
		return x->per_s < y->per_s ? 1 : -1;
	return x->count < y->count ? 1 : x->count > y->count ? -1 : strcmp(x->op, y->op);
}

static void head(json_t *now, json_t *was, double s)
{
	json_t *c = json_object_get(now, "counters"), *c0 = json_object_get(was, "counters"),
	       *q = json_object_get(now, "queues"), *r = json_object_get(now, "ratios");
	printf("searches %.0f/s  commits %.0f/s  flushes %.0f/s  distances %.0f and hops %.0f a search  pool hits "
	       "%.1f%%\n",
	        (double)(num(c, "searches") - num(c0, "searches")) / s,
	        (double)(num(c, "commits") - num(c0, "commits")) / s,
	        (double)(num(c, "flushes") - num(c0, "flushes")) / s,
	        json_number_value(json_object_get(r, "distances_per_search")),
	        json_number_value(json_object_get(r, "hops_per_search")),
	        100 * json_number_value(json_object_get(r, "pool_hits")));
	printf("waiting: search %llu, update %llu, store %llu, parked %llu, pending %llu, not yet linked %llu\n\n",
	        (unsigned long long)num(q, "search"), (unsigned long long)num(q, "update"),
	        (unsigned long long)num(q, "store"), (unsigned long long)num(q, "parked"),
	        (unsigned long long)num(q, "pending"), (unsigned long long)num(q, "tail"));
}

static void table(json_t *now, json_t *was, double s, int most)
{
	json_t *ops = json_object_get(now, "operations"), *o;
	size_t n = json_array_size(ops), i;
	struct row *rows = cli_alloc((n + 1) * sizeof *rows);
	json_array_foreach(ops, i, o)
	{
		rows[i] = (struct row){.op = json_string_value(json_object_get(o, "operation")),
		        .count = num(o, "count"),
		        .bytes = num(o, "bytes"),
		        .p50 = num(o, "p50_ns"),
		        .p90 = num(o, "p90_ns"),
		        .p99 = num(o, "p99_ns"),
		        .p999 = num(o, "p999_ns"),
		        .stack = num(o, "stack_bytes")};
		json_t *before = find(was, rows[i].op);
		uint64_t old = before ? num(before, "count") : 0;
		rows[i].per_s = rows[i].count > old ? (double)(rows[i].count - old) / s : 0;
	}
	qsort(rows, n, sizeof *rows, busiest);
	head(now, was, s);
	printf("%-18s %10s %12s %10s %10s %10s %10s %7s\n", "operation", "a second", "in all", "p50", "p90", "p99",
	        "p99.9", "stack");
	for (i = 0; i < n && (most <= 0 || (int)i < most); i++)
		printf("%-18s %10.0f %12llu %10s %10s %10s %10s %7llu\n", rows[i].op, rows[i].per_s,
		        (unsigned long long)rows[i].count, measure_time_text(rows[i].p50),
		        measure_time_text(rows[i].p90), measure_time_text(rows[i].p99), measure_time_text(rows[i].p999),
		        (unsigned long long)rows[i].stack);
}

static void slow(json_t *b)
{
	json_t *o;
	size_t i;
	json_array_foreach(json_object_get(b, "operations"), i, o) if (json_is_true(json_object_get(o, "slow")))
	        printf("%s takes %s, its baseline is %s\n", json_string_value(json_object_get(o, "operation")),
	                measure_time_text(num(o, "now_ns")), measure_time_text(num(o, "baseline_ns")));
}

static void nap(double s)
{
	struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

static int show(const char *at, double interval, uint64_t times)
{
	bool tty = isatty(STDOUT_FILENO);
	static char mnt[4096]; /* the arena is given back after each table */
	snprintf(mnt, sizeof mnt, "%s", at);
	json_t *was = ask(mnt, "stats");
	if (!was)
		return CLI_ERROR;
	for (uint64_t i = 0; times ? i < times : tty || !i; i++) {
		nap(interval);
		json_t *now = ask(mnt, "stats"), *base = now ? ask(mnt, "baseline") : NULL;
		if (!now || !base) {
			json_decref(was);
			json_decref(now);
			return CLI_ERROR;
		}
		printf(tty && !times ? "\033[H\033[2J%s\n" : "%s\n", mnt);
		table(now, was, interval, tty && !times ? 24 : 0);
		slow(base);
		fflush(stdout);
		json_decref(base);
		json_decref(was);
		was = now;
		arena_reset(&cli_arena);
	}
	json_decref(was);
	return CLI_OK;
}

static int save(const char *mnt)
{
	struct cli_progress p;
	json_t *b = ask(mnt, "baseline_record");
	if (!b)
		return CLI_ERROR;
	cli_progress_begin(&p, "windows", num(b, "windows_wanted"));
	for (;;) {
		const char *state = json_string_value(json_object_get(b, "state"));
		uint64_t n = num(b, "windows"), want = num(b, "windows_wanted");
		bool recording = state && !strcmp(state, "recording");
		cli_progress_at(&p, n < want ? n : want, want);
		if (!recording || n > want * 4) {
			cli_progress_end(&p);
			size_t ops = json_array_size(json_object_get(b, "operations"));
			json_decref(b);
			if (recording)
				return cli_err("too little happens in the mount to make a baseline of: no operation "
				               "was done eight "
				               "times in each of thirty seconds; the mount goes on recording");
			printf("a baseline of %zu operations is kept in the store; `vexfs perf --drop-baseline` takes "
			       "it away\n",
			        ops);
			return CLI_OK;
		}
		json_decref(b);
		nap(0.5);
		b = ask(mnt, "baseline");
		if (!b)
			return CLI_ERROR;
	}
}

int cmd_perf(int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
	        {"interval", required_argument, NULL, 'i'}, {"count", required_argument, NULL, 'n'},
	        {"save-baseline", no_argument, NULL, 's'}, {"drop-baseline", no_argument, NULL, 'd'},
	        {"baseline", no_argument, NULL, 'b'}, {"help", no_argument, NULL, 'h'}, {0}};
	double interval = 1;
	uint64_t times = 0;
	char what = 0;
	const char *mnt, *rel;
	int o;
	while ((o = getopt_long(argc, argv, "hi:n:", longs, NULL)) != -1) {
		if (o == 'h')
			return cli_usage("perf", true);
		if (o == 'j' || o == 's' || o == 'd' || o == 'b')
			what = (char)o;
		else if (o == 'i'   ? !cli_f64(optarg, "--interval", &interval)
		         : o == 'n' ? !cli_u64(optarg, "--count", 1, 1000000, &times)
		                    : true)
			return o == '?' ? cli_usage("perf", false) : CLI_ERROR;
	}
	if (argc - optind > 1 || !(interval > 0 && interval < 86400))
		return cli_usage("perf", false);
	if (!cli_find_mount(argc > optind ? argv[optind] : NULL, &mnt, &rel))
		return CLI_ERROR;
	if (what == 's')
		return save(mnt);
	if (!what)
		return show(mnt, interval, times);
	json_t *j = ask(mnt, what == 'j' ? "stats" : what == 'd' ? "baseline_drop" : "baseline");
	if (!j)
		return CLI_ERROR;
	char *text = json_dumps(j, JSON_INDENT(1));
	if (text)
		puts(text);
	mem_free(MEM_cli, text);
	json_decref(j);
	return text ? CLI_OK : cli_err("no memory");
}
