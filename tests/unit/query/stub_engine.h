/* stub_engine.h - the engine seen from query/: jobs are answered by the test itself. */
#pragma once
#include "query/query.h"

static struct eng_cfg stub_cfg;
static void (*stub_answer)(struct eng_job *j);
const struct eng_cfg *eng_cfg(const struct engine *e)
{
	(void)e;
	stub_cfg.os = os_real();
	return &stub_cfg;
}
int eng_submit(struct engine *e, struct eng_job *j)
{
	(void)e;
	if (stub_answer)
		stub_answer(j);
	return ENG_DONE;
}
static struct engine *const stub_engine = (struct engine *)&stub_cfg;
void eng_queues(struct engine *e, struct eng_queues *ret)
{
	(void)e;
	*ret = (struct eng_queues){.parked = 1, .store = 2, .tail = 3};
}
int eng_baseline(struct engine *e, enum eng_baseline what)
{
	(void)e;
	(void)what;
	return 0;
}
void eng_baseline_json(struct engine *e, struct sbuf *b)
{
	(void)e;
	sb_str(b, "{}");
}
