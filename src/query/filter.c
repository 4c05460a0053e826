/* filter.c - filter expressions. */
#include "query/json.h"
#include "query/query.h"

int vq_filter_value(struct vq *q, struct js *js)
{
	(void)q; /* used once filters are compiled */
	VX_TRY(js_peek(js));
	return js_fail(
	        js, -VX_ERR_filter_syntax, js->i, "the key \"filter\" is not served by this build", NULL, 0, NULL);
}
