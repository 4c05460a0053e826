/* test_render - answers to the byte, as INTERFACE promises them. */
#include "tap.h"

#include "stub_engine.h"

static const struct eng_caller who = {.uid = 1000};

static struct vq *ask(enum eng_verb v)
{
	struct vq *q = vq_new(stub_engine, &who);
	q->j.verb = v;
	return q;
}
static void is(struct vq *q, const char *want, const char *what)
{
	vq_render(q);
	for (size_t i = 0; i < q->out.n; i++) /* one line a check */
		if (q->out.p[i] == '\n')
			q->out.p[i] = '|';
	T_STR(sbuf_cstr(&q->out), want, what);
	vq_free(q);
}

static void big(void)
{
	struct vq *q = ask(EV_search);
	uint32_t n = 10000;
	struct eng_hit *h = calloc(n, sizeof *h);
	float v[64];
	for (int i = 0; i < 64; i++)
		v[i] = (float)i / 7;
	for (uint32_t i = 0; i < n; i++)
		h[i] = (struct eng_hit){.id = i, .vec = v, .vec_bytes = sizeof v};
	q->j.res = h;
	q->j.res_n = n;
	vq_render(q);
	T_OK(q->j.rc == 0 && q->out.n > 5000000 && !memcmp(q->out.p + q->out.n - 5, "]}]}\n", 5),
	        "10000 results with vectors: %zu bytes", q->out.n);
	vq_free(q);
	free(h);
}

int main(void)
{
	struct vq *q = ask(EV_search);
	struct eng_hit hits[3] = {{.path = "a/b.md",
	                                  .score = 0.873f,
	                                  .distance = 0.127f,
	                                  .state = ENG_STATE_fresh,
	                                  .collection = "default",
	                                  .has_locator = true,
	                                  .byte0 = 1200,
	                                  .byte1 = 3100,
	                                  .line0 = 42,
	                                  .line1 = 78,
	                                  .snippet = "a \"b\"\n"},
	        {.id = 7,
	                .score = 0.5f,
	                .distance = 0.5f,
	                .state = ENG_STATE_stale,
	                .collection = "c",
	                .payload = "{\"x\":1}",
	                .payload_n = 7},
	        {.path = "\xff.txt", .state = ENG_STATE_pending}};
	const float v[] = {0.1f, -3, 1e20f};
	hits[2].vec = v;
	hits[2].vec_bytes = sizeof v;
	q->j.res = hits;
	q->j.res_n = 3;
	q->j.generation = 91;
	q->j.complete = true;
	q->j.took_ns = 412999;
	q->j.distances = 17;
	is(q,
	        "{\"generation\":91,\"complete\":true,\"pending\":0,\"took_us\":412,\"distances\":17,\"exact\":false,"
	        "\"results\":["
	        "{\"rank\":1,\"path\":\"a/"
	        "b.md\",\"score\":0.873,\"distance\":0.127,\"state\":\"fresh\",\"collection\":\"default\","
	        "\"locator\":{\"bytes\":[1200,3100],\"lines\":[42,78]},\"snippet\":\"a \\\"b\\\"\\n\"},| "
	        "{\"rank\":2,\"id\":7,\"score\":0.5,\"distance\":0.5,\"state\":\"stale\",\"collection\":\"c\","
	        "\"payload\":{\"x\":1}},| "
	        "{\"rank\":3,\"path\":\"\xef\xbf\xbd.txt\",\"score\":0,\"distance\":0,\"state\":\"pending\",\"vector\":"
	        "[0.1,-3,100000000000000000000]}]}|",
	        "search");
	q = ask(EV_get);
	q->j.path = "x";
	q->j.with_vectors = true;
	q->j.ret_vec = v;
	q->j.ret_vec_bytes = 8;
	q->j.ret_dim = 2;
	q->j.ret_state = ENG_STATE_fresh;
	q->j.ret_hashed = true;
	memset(q->j.ret_hash, 0xa5, 16);
	is(q,
	        "{\"generation\":0,\"path\":\"x\",\"collection\":\"default\",\"state\":\"fresh\",\"dim\":2,"
	        "\"hash\":\"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5\",\"chunks\":0,\"vector\":[0.1,-3]}|",
	        "get");
	q = ask(EV_coll_list);
	struct eng_coll_info ci = {.name = "c",
	        .dim = 4,
	        .uid = 1,
	        .gid = 2,
	        .mode = 0640,
	        .M = 16,
	        .ef_construction = 200,
	        .ef = 64,
	        .metric = 1,
	        .points = 9,
	        .linked = 8,
	        .tail = 1,
	        .index = "hnsw",
	        .index_bytes = 100};
	q->j.colls = &ci;
	q->j.coll_n = 1;
	is(q,
	        "{\"generation\":0,\"collections\":[{\"name\":\"c\",\"dim\":4,\"metric\":\"cosine\",\"dtype\":\"f32\","
	        "\"M\":16,"
	        "\"ef_construction\":200,\"ef\":64,\"uid\":1,\"gid\":2,\"mode\":\"0640\",\"points\":9,\"linked\":8,"
	        "\"tail\":1,\"dead\":0,"
	        "\"index_bytes\":100,\"index\":\"hnsw\"}]}|",
	        "collections");
	ci.target_recall = 9900;
	ci.recall = 9912;
	ci.recall_ef = 96;
	ci.recall_state = "ef raised";
	q = ask(EV_coll_info);
	q->j.colls = &ci;
	q->j.coll_n = 1;
	is(q,
	        "{\"name\":\"c\",\"dim\":4,\"metric\":\"cosine\",\"dtype\":\"f32\",\"M\":16,"
	        "\"ef_construction\":200,\"ef\":64,\"uid\":1,\"gid\":2,\"mode\":\"0640\",\"points\":9,\"linked\":8,"
	        "\"tail\":1,\"dead\":0,\"index_bytes\":100,\"target_recall\":0.9900,\"recall\":0.9912,\"recall_ef\":96,"
	        "\"recall_state\":\"ef raised\",\"index\":\"hnsw\"}|",
	        "a collection with a target");
	q = ask(EV_put);
	q->j.generation = 3;
	is(q, "{\"generation\":3,\"ok\":true}|", "put");
	q = ask(EV_wait);
	q->j.complete = true;
	is(q, "{\"generation\":0,\"complete\":true,\"pending\":0,\"took_us\":0}|", "wait");
	q = ask(EV_put);
	q->j.rc = -VX_ERR_dim_mismatch;
	is(q,
	        "{\"error\":{\"code\":\"dim_mismatch\",\"message\":\"the vector's length does not match the "
	        "collection's dimension\"}}|",
	        "an engine's refusal");
	q = ask(EV_put);
	q->j.rc = -ENOENT;
	vq_render(q);
	T_OK(strstr(sbuf_cstr(&q->out), "\"ENOENT\""), "an errno's name: %s", sbuf_cstr(&q->out));
	vq_free(q);
	q = ask(EV_put); /* the worst error text: every byte escaped, every field full */
	q->j.rc = q->j.err.code = -VX_ERR_stack_risk;
	memset(q->j.err.detail, 1, sizeof q->j.err.detail - 1);
	q->j.err.position = INT64_MAX;
	vq_render(q);
	T_OK(!q->out.over && q->out.n > 700, "the longest error: %zu bytes", q->out.n);
	vq_free(q);
	big();
	return tap_done();
}
