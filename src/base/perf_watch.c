/* perf_watch.c - see perf_watch.h.  One thread steps; anyone may record, drop, load and ask: one lock, held for microseconds. */
#include "base/perf_watch.h"
#include "base/err.h"
#include "base/num.h"

#include <assert.h>
#include <string.h>

int perf_watch_init(struct perf_watch *w)
{
	memset(w, 0, sizeof *w);
	return -pthread_mutex_init(&w->lock, NULL);
}
void perf_watch_done(struct perf_watch *w)
{
	pthread_mutex_destroy(&w->lock);
}

/* under the lock: windows begin anew; the baseline stays unless told */
static void begin(struct perf_watch *w, enum perf_watch_state state, bool forget)
{
	for (unsigned i = 0; i < PERF_OP_N; i++) {
		uint64_t base = forget ? 0 : w->op[i].base_ns;
		w->op[i] = (struct perf_watch_op){.base_ns = base};
	}
	w->state = state;
	w->due_ns = 0;
	w->windows = 0;
}

void perf_watch_record(struct perf_watch *w)
{
	pthread_mutex_lock(&w->lock);
	begin(w, PW_recording, true);
	pthread_mutex_unlock(&w->lock);
}
void perf_watch_drop(struct perf_watch *w)
{
	pthread_mutex_lock(&w->lock);
	begin(w, PW_off, true);
	pthread_mutex_unlock(&w->lock);
}

/* by insertion: there are 30 */
static uint64_t median(const struct perf_watch_op *o)
{
	uint64_t v[PERF_WATCH_WINDOWS];
	for (uint32_t i = 0; i < o->n; i++) {
		uint32_t k = i;
		for (; k && v[k - 1] > o->mean_ns[i]; k--)
			v[k] = v[k - 1];
		v[k] = o->mean_ns[i];
	}
	return o->n & 1 ? v[o->n / 2] : (v[o->n / 2 - 1] + v[o->n / 2]) / 2;
}

/* one window of one operation is over. True: it counted */
static bool window(struct perf_watch_op *o, const struct perf_stat *s)
{
	uint64_t n = s->count - o->count, sum = s->sum_ns - o->sum_ns;
	bool reset = s->count < o->count; /* somebody has reset the statistics */
	o->count = s->count;
	o->sum_ns = s->sum_ns;
	if (reset || n < PERF_WATCH_LEAST)
		return false;
	o->mean_ns[o->at] = sum / n;
	o->at = (o->at + 1) % PERF_WATCH_WINDOWS;
	o->n += o->n < PERF_WATCH_WINDOWS;
	return true;
}

/* a full ring against the baseline. True: it became slow, or good again */
static bool judge(struct perf_watch_op *o)
{
	bool was = o->slow;
	if (!o->base_ns || o->n < PERF_WATCH_WINDOWS)
		return false;
	o->now_ns = median(o);
	bool bad = o->now_ns * 100 > o->base_ns * (100 + PERF_WATCH_PERCENT);
	o->row = bad ? (o->row < PERF_WATCH_ROW ? (uint8_t)(o->row + 1) : o->row) : 0;
	o->slow = bad && (was || o->row == PERF_WATCH_ROW);
	return o->slow != was;
}

/* under the lock: does any operation have all its windows? Then what there is becomes the baseline */
static bool recorded(struct perf_watch *w)
{
	bool full = false;
	for (unsigned i = 1; i < PERF_OP_N; i++)
		full |= w->op[i].n == PERF_WATCH_WINDOWS;
	for (unsigned i = 1; i < PERF_OP_N && full; i++) {
		struct perf_watch_op *o = &w->op[i];
		o->base_ns = o->n >= PERF_WATCH_WINDOWS / 2 ? median(o) : 0;
		o->n = o->at = 0;
	}
	if (full)
		w->state = PW_watching;
	return full;
}

uint64_t perf_watch_step(struct perf_watch *w, uint64_t now_ns, perf_watch_say *say, void *u, bool *ret_recorded)
{
	struct perf_stat s;
	struct {
		uint64_t now_ns, base_ns;
		uint8_t op, slow;
	} told[8];
	unsigned told_n = 0;
	*ret_recorded = false;
	pthread_mutex_lock(&w->lock);
	if (w->state == PW_off) {
		pthread_mutex_unlock(&w->lock);
		return UINT64_MAX;
	}
	if (now_ns < w->due_ns) {
		uint64_t left = w->due_ns - now_ns;
		pthread_mutex_unlock(&w->lock);
		return left;
	}
	bool first = !w->due_ns;
	w->due_ns = now_ns + PERF_WATCH_WINDOW_NS;
	w->windows += !first;
	for (unsigned i = 1; i < PERF_OP_N; i++) {
		struct perf_watch_op *o = &w->op[i];
		perf_read((enum perf_op)i, &s);
		bool counted = window(o, &s);
		if (first) /* what came before is no window */
			o->n = o->at = 0;
		/* more than fit wait for the next window: their state has not been changed yet */
		if (!first && counted && w->state == PW_watching && told_n < sizeof told / sizeof *told && judge(o)) {
			told[told_n].op = (uint8_t)i;
			told[told_n].slow = o->slow;
			told[told_n].now_ns = o->now_ns;
			told[told_n++].base_ns = o->base_ns;
		}
	}
	if (w->state == PW_recording)
		*ret_recorded = recorded(w);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < told_n; i++)
		say(u, (enum perf_op)told[i].op, told[i].now_ns, told[i].base_ns, told[i].slow != 0);
	return PERF_WATCH_WINDOW_NS;
}
static_assert(PERF_OP_N <= 255, "an operation's number is a byte");

void perf_watch_text(struct perf_watch *w, struct sbuf *b)
{
	pthread_mutex_lock(&w->lock);
	for (unsigned i = 1; i < PERF_OP_N; i++)
		if (w->op[i].base_ns) {
			sb_str(b, perf_op_name((enum perf_op)i));
			sb_ch(b, ' ');
			sb_u64(b, w->op[i].base_ns);
			sb_ch(b, '\n');
		}
	pthread_mutex_unlock(&w->lock);
}

static unsigned op_by_name(const char *s, size_t n)
{
	for (unsigned i = 1; i < PERF_OP_N; i++) {
		const char *name = perf_op_name((enum perf_op)i);
		if (strlen(name) == n && !memcmp(name, s, n))
			return i;
	}
	return 0;
}

int perf_watch_load(struct perf_watch *w, const char *text, size_t n)
{
	int rc = 0;
	pthread_mutex_lock(&w->lock);
	if (w->state == PW_recording) { /* a newer one is being made */
		pthread_mutex_unlock(&w->lock);
		return 0;
	}
	begin(w, PW_watching, true);
	for (size_t i = 0; i < n && !rc;) {
		const char *end = memchr(text + i, '\n', n - i), *sp = memchr(text + i, ' ', n - i);
		uint64_t v;
		if (!end || !sp || sp > end || num_u64(sp + 1, (size_t)(end - sp - 1), &v) != (int)(end - sp - 1)) {
			rc = -EINVAL;
			break;
		}
		unsigned op = op_by_name(text + i, (size_t)(sp - (text + i)));
		if (op)
			w->op[op].base_ns = v;
		i = (size_t)(end - text) + 1;
	}
	if (rc < 0)
		begin(w, PW_off, true);
	pthread_mutex_unlock(&w->lock);
	return rc;
}

static void num(struct sbuf *b, const char *name, uint64_t v)
{
	sb_str(b, name);
	sb_u64(b, v);
}

void perf_watch_json(struct perf_watch *w, struct sbuf *b, bool slow_only)
{
	static const char *const states[] = {"off", "recording", "watching"};
	bool first = true;
	pthread_mutex_lock(&w->lock);
	if (!slow_only) {
		sb_str(b, "{\"state\":\"");
		sb_str(b, states[w->state]);
		num(b, "\",\"windows\":", w->windows);
		num(b, ",\"windows_wanted\":", PERF_WATCH_WINDOWS);
		sb_str(b, ",\"operations\":");
	}
	sb_ch(b, '[');
	for (unsigned i = 1; i < PERF_OP_N; i++) {
		const struct perf_watch_op *o = &w->op[i];
		if (slow_only ? !o->slow : !o->base_ns)
			continue;
		sb_str(b, first ? "{\"operation\":\"" : ",{\"operation\":\"");
		first = false;
		sb_str(b, perf_op_name((enum perf_op)i));
		num(b, "\",\"baseline_ns\":", o->base_ns);
		num(b, ",\"now_ns\":", o->now_ns);
		sb_str(b, o->slow ? ",\"slow\":true}" : ",\"slow\":false}");
	}
	sb_str(b, slow_only ? "]" : "]}");
	pthread_mutex_unlock(&w->lock);
}
