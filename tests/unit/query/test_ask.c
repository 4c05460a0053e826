/* test_ask - requests as users write them: what each becomes, and for every wrong one the code, the position and the words. */
#include "tap.h"

#include "stub_engine.h"

static struct vq *parse(const char *text)
{
	static char buf[1 << 18];
	struct eng_caller who = {.uid = 1000};
	struct vq *q = vq_new(stub_engine, &who);
	strcpy(buf, text);
	(void)vq_json(q, buf, strlen(buf)); /* the result is in q->j.rc */
	return q;
}

/* an @ in the text marks where the error is to be found; it is not part of the request */
static void refused(const char *marked, int code, const char *words)
{
	char text[256];
	const char *mark = strchr(marked, '@');
	int64_t at = mark - marked;
	memcpy(text, marked, (size_t)at);
	strcpy(text + at, mark + 1);
	struct vq *q = parse(text);
	T_OK(q->j.rc == code && q->j.err.position == at && strstr(q->j.err.detail, words),
	        "%.70s: %s at %lld \"%s\", want %s at %lld \"%s\"", text, err_name(q->j.rc),
	        (long long)q->j.err.position, q->j.err.detail, err_name(code), (long long)at, words);
	vq_free(q);
}

static void accepted(void)
{
	struct vq *q = parse(
	        "{\"k\":7,\"vector\":[0.5,-1],\"verb\":\"search\",\"collection\":\"c\",\"scope\":\"./a//b/\",\"ef\":99,"
	        "\"exact\":true,\"stale\":true,\"min_score\":0.25,\"with_vectors\":true,\"mode\":\"vector\"}");
	T_EQ(q->j.rc, 0, "search by vector");
	T_EQ(q->j.verb, EV_search, "verb");
	T_EQ(q->j.k, 7, "k");
	T_EQ(q->j.ef, 99, "ef");
	T_EQ(q->j.vec_bytes, 8, "vector bytes");
	T_OK(((const float *)q->j.vec)[0] == 0.5f && ((const float *)q->j.vec)[1] == -1.0f, "vector values");
	T_STR(q->j.coll, "c", "collection");
	T_STR(q->j.scope, "a/b", "scope in its one form");
	T_OK(q->j.exact && q->j.stale && q->j.with_vectors && q->j.has_min_score && q->j.min_score == 0.25f, "flags");
	T_EQ(q->j.mode, ENG_MODE_vector, "mode");
	vq_free(q);

	q = parse("{\"verb\":\"search\",\"text\":\"caf\\u00e9 \\\"x\\\"\",\"scope\":\".\"}");
	T_EQ(q->j.rc, 0, "search by text");
	T_STR(q->j.text, "caf\xc3\xa9 \"x\"", "text decoded");
	T_EQ(q->j.text_n, 9, "its length");
	T_OK(!q->j.scope && q->j.with_snippet, "scope . is everything; snippets come with text");
	vq_free(q);

	q = parse("{\"verb\":\"put\",\"collection\":\"c\",\"points\":[{\"id\":18446744073709551615,\"vector\":[1],"
	          "\"payload\":{\"a\":[1]}},"
	          "{\"path\":\"a/b.md\",\"vector\":[2,3]}],\"wait\":\"durable\"}");
	T_EQ(q->j.rc, 0, "put of points");
	T_EQ(q->j.verb, EV_batch_put, "is a batch");
	T_EQ(q->j.point_n, 2, "points");
	T_OK(q->j.points[0].id == UINT64_MAX && !q->j.points[0].path && q->j.points[0].vec_bytes == 4, "point 0");
	T_OK(q->j.points[0].payload_n == 9 && !memcmp(q->j.points[0].payload, "{\"a\":[1]}", 9),
	        "its payload as written");
	T_STR(q->j.points[1].path, "a/b.md", "point 1");
	T_OK(q->j.want_durable, "durable");
	vq_free(q);

	q = parse("{\"verb\":\"get\",\"path\":\"x\"}");
	T_OK(q->j.rc == 0 && q->j.verb == EV_get && q->j.with_vectors && q->j.with_payload, "get");
	vq_free(q);
	q = parse("{\"verb\":\"collection_create\",\"name\":\"n-1\",\"dim\":3,\"metric\":\"l2\",\"M\":8}");
	T_OK(q->j.rc == 0 && q->j.coll_new.dim == 3 && q->j.coll_new.metric == 0 && q->j.coll_new.M == 8,
	        "collection_create");
	T_STR(q->j.coll_new.name, "n-1", "its name");
	vq_free(q);
	q = parse("{\"verb\":\"wait\",\"durable\":true}");
	T_OK(q->j.rc == 0 && q->j.verb == EV_wait && q->j.want_durable && q->j.wait, "wait");
	vq_free(q);
	q = parse("{\"verb\":\"verify\"}");
	stub_cfg.owner_uid = 0;
	T_OK(vq_submit(q) == ENG_DONE && q->j.rc == -VX_ERR_not_owner, "an owner's verb asked by another");
	vq_free(q);
}

/* every verb refuses every key it does not know, and names it */
static void keys(void)
{
	static const char *const sample[VQK_N] = {[VQK_verb] = "",
	        [VQK_collection] = "\"c\"",
	        [VQK_vector] = "[1]",
	        [VQK_text] = "\"t\"",
	        [VQK_like] = "\"p\"",
	        [VQK_k] = "1",
	        [VQK_ef] = "1",
	        [VQK_exact] = "true",
	        [VQK_filter] = "\"size > 1\"",
	        [VQK_scope] = "\"s\"",
	        [VQK_mode] = "\"text\"",
	        [VQK_wait] = "true",
	        [VQK_stale] = "true",
	        [VQK_with_vectors] = "true",
	        [VQK_with_payload] = "true",
	        [VQK_snippet] = "true",
	        [VQK_group] = "\"file\"",
	        [VQK_min_score] = "0",
	        [VQK_id] = "1",
	        [VQK_path] = "\"p\"",
	        [VQK_payload] = "{}",
	        [VQK_points] = "[{\"id\":1,\"vector\":[1]}]",
	        [VQK_name] = "\"n\"",
	        [VQK_dim] = "1",
	        [VQK_metric] = "\"l2\"",
	        [VQK_dtype] = "\"f32\"",
	        [VQK_M] = "4",
	        [VQK_ef_construction] = "4",
	        [VQK_cursor] = "0",
	        [VQK_limit] = "1",
	        [VQK_rescan] = "true",
	        [VQK_durable] = "true",
	        [VQK_target_recall] = "0.9",
	        [VQK_recall] = "true",
	        [VQK_combine] = "\"sum\""};
	static const char *const names[] = {
#define X(n) #n,
	        VQ_KEYS(X)
#undef X
	};
	int verbs = 0, named = 0, wrong = 0;
	for (const struct verb *v = verb_next(NULL); v; v = verb_next(v)) {
		verbs++;
		T_OK(verb_by_name(v->name, strlen(v->name)) == v, "verb %s is found by its name", v->name);
		for (int k = 0; k < VQK_N; k++) {
			if (v->keys >> k & 1 || !sample[k])
				continue;
			char text[256];
			snprintf(text, sizeof text, "{\"verb\":\"%s\",\"%s\":%s}", v->name, names[k], sample[k]);
			struct vq *q = parse(text);
			char want[80];
			snprintf(want, sizeof want, "\"%s\"", names[k]);
			if (q->j.rc == -VX_ERR_unknown_key && strstr(q->j.err.detail, want) &&
			        q->j.err.position == (int64_t)(strlen(v->name) + 11))
				named++;
			else if (k != VQK_filter && wrong++ < 5)
				printf("# %s: %s at %lld %s\n", text, err_name(q->j.rc), (long long)q->j.err.position,
				        q->j.err.detail);
			vq_free(q);
		}
	}
	T_OK(verbs > 10 && named > 100, "%d verbs, %d keys they do not take are named", verbs, named);
	T_EQ(wrong, 0, "keys that were not refused by name");
}

static void errors_json(void)
{
	struct vq *q = parse("{\"verb\":\"search\",\"vektor\":[1]}");
	T_EQ(vq_submit(q), ENG_DONE, "a refused request needs no engine");
	vq_render(q);
	T_EQ(q->out.p[q->out.n - 1], '\n', "an answer ends its line");
	q->out.p[--q->out.n] = 0;
	T_STR(sbuf_cstr(&q->out),
	        "{\"error\":{\"code\":\"unknown_key\",\"message\":\"the request has a key this verb does not know: "
	        "unknown key "
	        "\\\"vektor\\\"\",\"position\":17}}",
	        "error as JSON");
	vq_free(q);
}

static void limits(void)
{
	struct eng_caller who = {0};
	struct vq *all[300];
	int n = 0;
	while (n < 300 && (all[n] = vq_new(stub_engine, &who)))
		n++;
	T_EQ(n, 256, "queries at once");
	while (n)
		vq_free(all[--n]);
	T_OK(vq_payload_check("{\"a\":1}", 7) == 0, "a payload");
	T_EQ(vq_payload_check("[1]", 3), -VX_ERR_payload_syntax, "an array is none");
	T_EQ(vq_payload_check("{\"a\":1} x", 9), -VX_ERR_payload_syntax, "nor is one with a tail");
	static char big[CONF_PAYLOAD_MAX + 1];
	memset(big, ' ', sizeof big);
	big[0] = '{';
	big[CONF_PAYLOAD_MAX - 1] = '}';
	T_EQ(vq_payload_check(big, CONF_PAYLOAD_MAX), 0, "64 KiB");
	T_EQ(vq_payload_check(big, CONF_PAYLOAD_MAX + 1), -VX_ERR_payload_too_big, "64 KiB + 1");
}

static void paths(void)
{
	static const struct {
		const char *in, *out;
	} t[] = {{"a/b", "a/b"}, {"", ""}, {".", ""}, {"./a/./b//c/", "a/b/c"}, {"..", NULL}, {"a/../b", NULL},
	        {"/a", NULL}, {"a/..b", "a/..b"}, {"...", "..."}, {"a//", "a"}};
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		char p[64];
		strcpy(p, t[i].in);
		int rc = vq_path(p, strlen(p));
		T_OK(t[i].out ? rc == 0 && !strcmp(p, t[i].out) : rc == -VX_ERR_path_outside, "path \"%s\" -> %s",
		        t[i].in, rc < 0 ? err_name(rc) : p);
	}
}

int main(void)
{
	accepted();
	refused("@", -VX_ERR_json_syntax, "ends here");
	refused("@[]", -VX_ERR_json_syntax, "one object");
	refused("@{}", -VX_ERR_missing_key, "verb");
	refused("{\"verb\":@\"serch\"}", -VX_ERR_unknown_verb, "\"serch\"");
	refused("{\"verb\":\"search\",\"text\":\"x\",\"k\":@0}", -VX_ERR_k_range, "");
	refused("{\"verb\":\"search\",\"text\":\"x\",\"k\":@10001}", -VX_ERR_k_range, "");
	refused("{\"verb\":\"search\",\"text\":\"x\",\"k\":@-1}", -VX_ERR_bad_value, "whole number");
	refused("{\"verb\":\"search\",\"text\":\"x\",\"k\":@1.5}", -VX_ERR_bad_value, "whole number");
	refused("{\"verb\":\"search\",\"text\":\"x\",\"ef\":@0}", -VX_ERR_ef_range, "");
	refused("{@\"verb\":\"search\"}", -VX_ERR_missing_key, "like");
	refused("{\"verb\":\"search\",@\"like\":\"a\",\"text\":\"b\"}", -VX_ERR_bad_value, "excludes");
	refused("{\"verb\":\"search\",\"vector\":[1,@1e39]}", -VX_ERR_not_finite, "");
	refused("{\"verb\":\"search\",\"vector\":[1,2@}", -VX_ERR_json_syntax, "']'");
	refused("{\"verb\":\"search\",\"vector\":@[]}", -VX_ERR_dim_range, "");
	refused("{\"verb\":\"search\",\"text\":\"x\",@\"text\":\"y\"}", -VX_ERR_bad_value, "twice");
	refused("{\"verb\":\"search\",\"text\":\"x\",\"scope\":@\"../y\"}", -VX_ERR_path_outside, "");
	refused("{\"verb\":\"search\",\"text\":\"x\",\"mode\":@\"fuzzy\"}", -VX_ERR_bad_value, "hybrid");
	refused("{\"verb\":\"search\",\"text\":\"x\",\"collection\":@\"a b\"}", -VX_ERR_collection_name, "");
	refused("{\"verb\":\"search\",\"text\":@\"a\\u0000b\"}", -VX_ERR_bad_value, "NUL");
	refused("{\"verb\":\"search\",\"text\":\"x\"} @?", -VX_ERR_json_syntax, "end of the request");
	refused("{@\"verb\":\"put\",\"vector\":[1]}", -VX_ERR_missing_key, "path");
	refused("{@\"verb\":\"put\",\"path\":\"a\",\"id\":1,\"vector\":[1]}", -VX_ERR_missing_key, "path");
	refused("{\"verb\":\"put\",\"points\":@[]}", -VX_ERR_batch_range, "");
	refused("{\"verb\":\"put\",\"points\":[@{\"vector\":[1]}]}", -VX_ERR_missing_key, "either");
	refused("{\"verb\":\"put\",\"points\":[@{\"id\":1}]}", -VX_ERR_missing_key, "needs");
	refused("{\"verb\":\"put\",\"points\":[{\"id\":1,@\"vectors\":[1]}]}", -VX_ERR_unknown_key, "\"vectors\"");
	refused("{\"verb\":\"put\",\"id\":1,\"vector\":[1],\"payload\":@[]}", -VX_ERR_payload_syntax, "");
	refused("{\"verb\":\"put\",\"id\":1,\"vector\":[1],\"wait\":@\"yes\"}", -VX_ERR_bad_value, "durable");
	refused("{\"verb\":\"collection_create\",\"name\":\"x\",\"M\":@1}", -VX_ERR_m_range, "");
	refused("{@\"verb\":\"collection_create\",\"dim\":1}", -VX_ERR_missing_key, "name");
	keys();
	errors_json();
	limits();
	paths();
	return tap_done();
}
