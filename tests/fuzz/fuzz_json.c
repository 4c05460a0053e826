/* fuzz_json.c - libFuzzer target: any bytes as a JSON request, as a payload and as a filter.  What is accepted keeps its limits; what is
 * refused says where, inside the request; and either is rendered.
 *     tests/fuzz/run.py --only json [--seconds N] */
#include <stdlib.h>
#include <string.h>
#include "base/filter.h"
#include "../unit/query/stub_engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void filter(const char *s, size_t n)
{
	struct arena a;
	const struct flt *f;
	size_t at;
	const char *why;
	arena_init(&a, MEM_query, 1 << 20);
	int rc = vq_filter_parse(&a, s, n, 1700000000, &f, &at, &why);
	if (rc == -VX_ERR_filter_syntax && (at > n || !why))
		abort();
	int depth = 0;
	for (uint32_t i = 0; rc >= 0 && i < f->n;
	        i++) { /* a program that the evaluator can run: never empty, one value left */
		depth += f->node[i].op == FLT_cmp ? 1 : f->node[i].op == FLT_not ? 0 : -1;
		if (depth < 1)
			abort();
	}
	if (rc >= 0 && depth != 1)
		abort();
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct eng_caller who = {.uid = 1000};
	char *copy = malloc(n ? n : 1);
	memcpy(copy, p, n);
	struct vq *q = vq_new(stub_engine, &who);
	int rc = vq_json(q, copy, n);
	const struct eng_job *j = &q->j;
	if (rc < 0 && (j->rc != rc || j->err.code != rc || j->err.position < 0 || (size_t)j->err.position > n))
		abort();
	if (rc >= 0 &&
	        (!q->verb || j->k > CONF_K_MAX || j->ef > CONF_EF_MAX || j->point_n > CONF_BATCH_MAX ||
	                j->payload_n > CONF_PAYLOAD_MAX || j->text_n > CONF_QUERY_TEXT_MAX ||
	                j->vec_bytes / 4 > CONF_DIM_MAX || (j->path && (j->path[0] == '/' || strstr(j->path, "//")))))
		abort();
	q->batch_n = 0; /* the stub leaves no results */
	(void)vq_submit(q);
	vq_render(q);
	if (!q->out.n || q->out.over)
		abort();
	vq_free(q);
	memcpy(copy, p, n);
	int a = vq_payload_check(copy, n), b = vq_payload_check(copy, n);
	if (a != b || memcmp(copy, p, n))
		abort(); /* looking changes nothing */
	filter(copy, n);
	free(copy);
	return 0;
}
