/* perf_text.c - counters and latencies as text: JSON for people and tools of ours, Prometheus for everybody else's.
 *
 * Quantiles are those of base/perf.h's histograms, right within 19%.  Operations nobody has asked for are left out. */
#include <stddef.h>
#include <string.h>

#include "base/thread.h"
#include "query/query.h"

#define TEXT_FIRST 8192u
#define TEXT_MAX   (1u << 20)

static void num(struct sbuf *b, const char *name, uint64_t v)
{
	sb_str(b, ",\"");
	sb_str(b, name);
	sb_str(b, "\":");
	sb_u64(b, v);
}

static void op_json(struct sbuf *b, enum perf_op op, const struct perf_stat *s)
{
	sb_str(b, "{\"operation\":\"");
	sb_str(b, perf_op_name(op));
	sb_ch(b, '"');
	num(b, "count", s->count);
	num(b, "bytes", s->bytes);
	num(b, "mean_ns", s->sum_ns / s->count);
	num(b, "p50_ns", s->p50_ns);
	num(b, "p90_ns", s->p90_ns);
	num(b, "p99_ns", s->p99_ns);
	num(b, "p999_ns", s->p999_ns);
	num(b, "max_ns", s->max_ns);
	num(b, "stack_bytes", stack_op_high_all(op));
	sb_ch(b, '}');
}

/* how much waits where: name and value in turn */
static const struct {
	const char *name;
	size_t at;
} queue_fields[] = {{"parked", offsetof(struct eng_queues, parked)}, {"search", offsetof(struct eng_queues, search)},
        {"update", offsetof(struct eng_queues, update)}, {"store", offsetof(struct eng_queues, store)},
        {"store_ops", offsetof(struct eng_queues, store_ops)}, {"pending", offsetof(struct eng_queues, pending)},
        {"tail", offsetof(struct eng_queues, tail)}};
#define QUEUE_N (sizeof queue_fields / sizeof *queue_fields)

static uint64_t queue_len(const struct eng_queues *q, size_t i)
{
	uint64_t v;
	memcpy(&v, (const uint8_t *)q + queue_fields[i].at, sizeof v);
	return v;
}

/* averages people ask for: of one search, of one commit, of pools */
static void ratios_json(struct sbuf *b)
{
	uint64_t s = perf_get(PERFC_searches), c = perf_get(PERFC_commits), hit = perf_get(PERFC_pool_hits),
	         all = hit + perf_get(PERFC_pool_misses);
	sb_str(b, ",\n\"ratios\":{\"distances_per_search\":");
	sb_fixed(b, s ? (double)perf_get(PERFC_distances) / (double)s : 0, 1);
	sb_str(b, ",\"hops_per_search\":");
	sb_fixed(b, s ? (double)perf_get(PERFC_hops) / (double)s : 0, 1);
	sb_str(b, ",\"operations_per_commit\":");
	sb_fixed(b, c ? (double)perf_get(PERFC_commit_ops) / (double)c : 0, 1);
	sb_str(b, ",\"pool_hits\":");
	sb_fixed(b, all ? (double)hit / (double)all : 1, 4);
	sb_ch(b, '}');
}

static void queues_json(struct sbuf *b, struct engine *e)
{
	struct eng_queues q;
	eng_queues(e, &q);
	sb_str(b, ",\n\"queues\":{");
	for (size_t i = 0; i < QUEUE_N; i++) {
		sb_str(b, i ? ",\"" : "\"");
		sb_str(b, queue_fields[i].name);
		sb_str(b, "\":");
		sb_u64(b, queue_len(&q, i));
	}
	sb_ch(b, '}');
}

void vq_stats_json(struct sbuf *b, struct engine *e)
{
	bool first = true;
	sb_str(b, "{\"schema\":1,\"operations\":[");
	for (int i = 1; i < PERF_OP_N; i++) {
		struct perf_stat s;
		perf_read((enum perf_op)i, &s);
		if (!s.count)
			continue;
		if (!first)
			sb_str(b, ",\n ");
		first = false;
		op_json(b, (enum perf_op)i, &s);
	}
	sb_str(b, "],\n\"counters\":{");
	for (int i = 0; i < PERFC_N; i++) {
		if (i)
			sb_ch(b, ',');
		sb_ch(b, '"');
		sb_str(b, perf_counter_name((enum perf_counter)i));
		sb_str(b, "\":");
		sb_u64(b, perf_get((enum perf_counter)i));
	}
	sb_str(b, "},\n\"memory\":{");
	for (int i = 0; i < MEM_TAG_N; i++) {
		if (i)
			sb_ch(b, ',');
		sb_ch(b, '"');
		sb_str(b, mem_tag_name((enum mem_tag)i));
		sb_str(b, "\":");
		sb_u64(b, mem_used((enum mem_tag)i));
	}
	sb_ch(b, '}');
	ratios_json(b);
	if (e)
		queues_json(b, e);
	sb_str(b, "}\n");
}

static void seconds(struct sbuf *b, uint64_t ns)
{
	sb_fixed(b, (double)ns / 1e9, 9);
	sb_ch(b, '\n');
}

static void quantile(struct sbuf *b, const char *op, const char *q, uint64_t ns)
{
	sb_str(b, "vexfs_operation_seconds{operation=\"");
	sb_str(b, op);
	sb_str(b, "\",quantile=\"");
	sb_str(b, q);
	sb_str(b, "\"} ");
	seconds(b, ns);
}

static void labelled(struct sbuf *b, const char *metric, const char *label, const char *value)
{
	sb_str(b, metric);
	sb_ch(b, '{');
	sb_str(b, label);
	sb_str(b, "=\"");
	sb_str(b, value);
	sb_str(b, "\"} ");
}

static void queues_metrics(struct sbuf *b, struct engine *e)
{
	struct eng_queues q;
	eng_queues(e, &q);
	sb_str(b, "# HELP vexfs_queue_length What waits, by queue.\n# TYPE vexfs_queue_length gauge\n");
	for (size_t i = 0; i < QUEUE_N; i++) {
		labelled(b, "vexfs_queue_length", "queue", queue_fields[i].name);
		sb_u64(b, queue_len(&q, i));
		sb_ch(b, '\n');
	}
}

void vq_metrics_text(struct sbuf *b, struct engine *e)
{
	sb_str(b,
	        "# HELP vexfs_operation_seconds Time spent in an operation.\n# TYPE vexfs_operation_seconds summary\n");
	for (int i = 1; i < PERF_OP_N; i++) {
		struct perf_stat s;
		perf_read((enum perf_op)i, &s);
		if (!s.count)
			continue;
		const char *op = perf_op_name((enum perf_op)i);
		quantile(b, op, "0.5", s.p50_ns);
		quantile(b, op, "0.9", s.p90_ns);
		quantile(b, op, "0.99", s.p99_ns);
		quantile(b, op, "0.999", s.p999_ns);
		labelled(b, "vexfs_operation_seconds_sum", "operation", op);
		seconds(b, s.sum_ns);
		labelled(b, "vexfs_operation_seconds_count", "operation", op);
		sb_u64(b, s.count);
		sb_ch(b, '\n');
	}
	sb_str(b, "# HELP vexfs_events_total What happened, by kind.\n# TYPE vexfs_events_total counter\n");
	for (int i = 0; i < PERFC_N; i++) {
		labelled(b, "vexfs_events_total", "event", perf_counter_name((enum perf_counter)i));
		sb_u64(b, perf_get((enum perf_counter)i));
		sb_ch(b, '\n');
	}
	sb_str(b, "# HELP vexfs_memory_bytes Heap in use, by owner.\n# TYPE vexfs_memory_bytes gauge\n");
	for (int i = 0; i < MEM_TAG_N; i++) {
		labelled(b, "vexfs_memory_bytes", "tag", mem_tag_name((enum mem_tag)i));
		sb_u64(b, mem_used((enum mem_tag)i));
		sb_ch(b, '\n');
	}
	if (e)
		queues_metrics(b, e);
}

int vq_text(struct vq *q, void (*make)(struct sbuf *b, const struct vq *q))
{
	struct sbuf b;
	VX_TRY(sbuf_arena(&b, &q->arena, TEXT_FIRST, TEXT_MAX));
	make(&b, q);
	if (b.over)
		return -VX_ERR_arena_full;
	q->j.out_text = b.p;
	q->j.out_text_n = (uint32_t)b.n;
	return 0;
}

static void stats_text(struct sbuf *b, const struct vq *q)
{
	vq_stats_json(b, q->e);
}
int vq_local_stats(struct vq *q)
{
	return vq_text(q, stats_text);
}

static void ok_text(struct sbuf *b, const struct vq *q)
{
	(void)q; /* as above */
	sb_str(b, "{\"ok\":true}\n");
}

int vq_local_stats_reset(struct vq *q)
{
	perf_reset();
	return vq_text(q, ok_text);
}

/* ---- capabilities ---- */

static void caps_text(struct sbuf *b, const struct vq *q)
{
	(void)q; /* the same for everybody */
	sb_str(b, "{\"schema\":1");
	num(b, "dim_max", CONF_DIM_MAX);
	num(b, "k_max", CONF_K_MAX);
	num(b, "ef_max", CONF_EF_MAX);
	num(b, "batch_max", CONF_BATCH_MAX);
	num(b, "payload_max", CONF_PAYLOAD_MAX);
	num(b, "request_max", CONF_REQUEST_MAX);
	num(b, "ioctl_bytes_max", CONF_IOCTL_MAX);
	sb_str(b, ",\"verbs\":[");
	bool first = true;
	for (const struct verb *v = verb_next(NULL); v; v = verb_next(v)) {
		if (!first)
			sb_ch(b, ',');
		first = false;
		sb_json(b, v->name, strlen(v->name));
	}
	sb_str(b, "]}\n");
}

int vq_local_caps(struct vq *q)
{
	return vq_text(q, caps_text);
}

/* ---- baseline ---- */

static void baseline_text(struct sbuf *b, const struct vq *q)
{
	eng_baseline_json(q->e, b);
	sb_ch(b, '\n');
}
int vq_local_baseline(struct vq *q)
{
	return vq_text(q, baseline_text);
}
int vq_local_baseline_record(struct vq *q)
{
	VX_TRY(eng_baseline(q->e, ENG_BASELINE_record));
	return vq_text(q, baseline_text);
}
int vq_local_baseline_drop(struct vq *q)
{
	VX_TRY(eng_baseline(q->e, ENG_BASELINE_drop));
	return vq_text(q, baseline_text);
}
