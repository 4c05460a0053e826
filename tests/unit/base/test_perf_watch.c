/* test_perf_watch.c - a baseline, and what counts as a regression against it, through a clock that stands still until told. */
#include "base/os_fault.h"
#include "base/perf_watch.h"
#include "base/sbuf.h"
#include "tap.h"

static struct os_fault clock_;
static struct perf_watch w;
static struct {
	unsigned n;
	enum perf_op op;
	uint64_t now_ns, base_ns;
	bool slow;
} said;

static void say(void *u, enum perf_op op, uint64_t now_ns, uint64_t base_ns, bool slow)
{
	said.n++;
	said.op = op;
	said.now_ns = now_ns;
	said.base_ns = base_ns;
	said.slow = slow;
}
/* a window in which op took `ns` on average, n times; true: a recording ended */
static bool window(enum perf_op op, uint64_t ns, unsigned n)
{
	bool rec;
	for (unsigned i = 0; i < n; i++)
		perf_op(op, i & 1 ? ns + ns / 10 : ns - ns / 10, 0);
	clock_.clock_skew_ns += (int64_t)PERF_WATCH_WINDOW_NS;
	(void)perf_watch_step(&w, os_mono_ns(&clock_.os), say, NULL, &rec);
	return rec;
}
static const char *json(bool slow_only)
{
	static char buf[8192];
	struct sbuf b;
	sbuf_fixed(&b, buf, sizeof buf);
	perf_watch_json(&w, &b, slow_only);
	return sbuf_cstr(&b);
}

static void record(void)
{
	bool rec;
	T_OK(perf_watch_step(&w, 5, say, NULL, &rec) == UINT64_MAX, "off: nothing to do, ever");
	perf_watch_record(&w);
	for (int i = 0; i < 3; i++) /* from before: in no window */
		perf_op(PERF_v_search, 5000000, 0);
	(void)perf_watch_step(&w, os_mono_ns(&clock_.os), say, NULL, &rec);
	T_EQ(perf_watch_step(&w, os_mono_ns(&clock_.os) + 400000000, say, NULL, &rec), 600000000,
	        "in the middle of a window: what is left of it");
	for (unsigned i = 0; i < 40; i++)
		if (window(PERF_getattr, 1000, PERF_WATCH_LEAST - 1))
			T_OK(0, "windows with too few samples do not count");
	bool early = false;
	for (unsigned i = 0; i + 1 < PERF_WATCH_WINDOWS; i++) {
		for (int k = 0; k < 20 && i % 2; k++) /* every other window: half of the windows are enough for it */
			perf_op(PERF_v_put, 40000, 0);
		for (int k = 0; k < 20 && i % 4 == 0; k++)
			perf_op(PERF_read, 900, 0);
		early |= window(PERF_v_search, 100000 + (i == 7) * 900000, 50); /* one outlier */
	}
	T_OK(!early, "not before there are 30 windows");
	perf_op(PERF_v_put, 40000, 0);
	T_OK(window(PERF_v_search, 100000, 50) || window(PERF_v_search, 100000, 50), "then the recording ends");
	T_OK(strstr(json(false), "\"state\":\"watching\"") != NULL, "and it watches");
	T_OK(strstr(json(false), "{\"operation\":\"v_search\",\"baseline_ns\":100000,") != NULL,
	        "the median, whatever one window was: %s", json(false));
	T_OK(!strstr(json(false), "getattr") && !strstr(json(false), "\"read\""),
	        "no baseline of what was seen too little");
}

static void regress(void)
{
	T_EQ(said.n, 0, "nothing was told yet");
	for (unsigned i = 0; i < 100; i++)
		(void)window(PERF_v_search, 119000, 50);
	T_EQ(said.n, 0, "19%% slower is not told");
	unsigned n = 0;
	while (!said.n && n < 60) {
		(void)window(PERF_v_search, 125000, 50);
		n++;
	}
	/* 15 windows of 125 us of 30: the median lies between; the 16th moves it above 120; with three in a row */
	T_OK(said.n == 1 && said.slow && said.op == PERF_v_search && said.base_ns == 100000,
	        "25%% slower is told, with operation and baseline");
	T_OK(said.now_ns > 120000 && said.now_ns <= 125000, "and the figure: %llu ns", (unsigned long long)said.now_ns);
	T_OK(n >= 15 + 3 - 1 && n <= 20, "after half of the ring and three windows: %u", n);
	T_OK(strstr(json(true), "\"operation\":\"v_search\"") != NULL, "status tells it");
	for (unsigned i = 0; i < 30; i++)
		(void)window(PERF_v_search, 150000, 50);
	T_EQ(said.n, 1, "once");
	for (unsigned i = 0; i < 30; i++)
		(void)window(PERF_v_search, 101000, 50);
	T_OK(said.n == 2 && !said.slow, "that it is good again, too");
	T_STR(json(true), "[]", "and nothing is slow any more");
	for (unsigned i = 0; i < 12; i++) { /* two of three windows bad is noise, not a regression */
		(void)window(PERF_v_search, 900000, 50);
		(void)window(PERF_v_search, 100000, 50);
		(void)window(PERF_v_search, 100000, 50);
	}
	T_EQ(said.n, 2, "single bad windows are not told");
}

/* the median crosses for two windows, then not: three in a row are wanted */
static void in_a_row(void)
{
	perf_watch_record(&w);
	(void)window(PERF_v_put, 1000, 50);
	for (unsigned i = 0; i <= PERF_WATCH_WINDOWS; i++)
		(void)window(PERF_v_put, 1000, 50);
	for (unsigned i = 0; i < PERF_WATCH_WINDOWS; i++)
		(void)window(PERF_v_put, 1000, 50);
	said.n = 0;
	for (unsigned i = 0; i < PERF_WATCH_WINDOWS / 2; i++)
		(void)window(PERF_v_put, 1300, 50); /* median 1150: half and half */
	(void)window(PERF_v_put, 1300, 50);
	(void)window(PERF_v_put, 1300, 50); /* two bad medians */
	T_EQ(said.n, 0, "two in a row are not told");
	(void)window(PERF_v_put, 1300, 50);
	T_EQ(said.n, 1, "the third is");
}

static void kept(void)
{
	char text[PERF_WATCH_TEXT_MAX];
	struct sbuf b;
	sbuf_fixed(&b, text, sizeof text);
	perf_watch_text(&w, &b);
	const char *s = sbuf_cstr(&b);
	T_OK(!b.over && strstr(s, "v_put 1000\n"), "as text");
	struct perf_watch v;
	T_EQ(perf_watch_init(&v), 0, "another");
	T_EQ(perf_watch_load(&v, s, strlen(s)), 0, "takes it");
	T_EQ(v.op[PERF_v_put].base_ns, 1000, "the same");
	T_EQ(v.state, PW_watching, "and watches");
	T_EQ(perf_watch_load(&v, "later_op 17\nread 3\n", 19), 0, "an operation of another version is skipped");
	T_OK(v.op[PERF_read].base_ns == 3 && v.op[PERF_v_put].base_ns == 0, "the rest is taken");
	static const char *const bad[] = {"read\n", "read x\n", "read 3", "read 3x\n", "\n"};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		T_OK(perf_watch_load(&v, bad[i], strlen(bad[i])) < 0 && v.state == PW_off, "refused: line %u", i);
	perf_watch_record(&v);
	T_EQ(perf_watch_load(&v, s, strlen(s)), 0, "the store opens while another is recorded");
	T_OK(v.state == PW_recording && !v.op[PERF_v_put].base_ns, "the recording goes on");
	perf_watch_drop(&w);
	T_OK(strstr(json(false), "\"off\"") != NULL, "dropped");
	perf_reset();
	perf_watch_done(&v);
}

int main(void)
{
	os_fault_init(&clock_, os_real());
	clock_.fake_clock = 1;
	T_EQ(perf_watch_init(&w), 0, "init");
	record();
	regress();
	in_a_row();
	kept();
	perf_watch_done(&w);
	return tap_done();
}
