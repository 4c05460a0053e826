/* test_binary - messages of vexfs_ioctl.h: good ones become the job they say; every 32-bit word of each is replaced by every nasty
 * value, and what is still accepted points only into the message; replies are read back field by field. */
#include "tap.h"

#include "stub_engine.h"
#include "vexfs_ioctl.h"

static const struct eng_caller who = {.uid = 1000};
static uint8_t msg[8192] __attribute__((aligned(16)));

static struct vexfs_hdr *begin(uint16_t op, size_t size, uint32_t flags)
{
	memset(msg, 0, sizeof msg);
	struct vexfs_hdr *h = (void *)msg;
	*h = (struct vexfs_hdr){VEXFS_MAGIC, VEXFS_VERSION, op, (uint32_t)size, 0, flags, 0};
	return h;
}
static size_t make_put(void)
{
	struct vexfs_put *p = (void *)begin(VEXFS_OP_PUT, sizeof *p + 16 + 16, VEXFS_F_FREE_POINT | VEXFS_F_DURABLE);
	strcpy(p->collection, "c");
	p->id = 77;
	p->vector_off = sizeof *p;
	p->vector_bytes = 12;
	p->payload_off = sizeof *p + 16;
	p->payload_bytes = 7;
	const float v[] = {1, -2, 0.5f};
	memcpy(msg + p->vector_off, v, 12);
	memcpy(msg + p->payload_off, "{\"a\":1}", 7);
	return p->hdr.size;
}
static size_t make_get(void)
{
	struct vexfs_get *g = (void *)begin(VEXFS_OP_GET, sizeof *g, VEXFS_F_FREE_POINT);
	g->id = 5;
	return sizeof *g;
}
static size_t make_search(void)
{
	struct vexfs_search *s = (void *)begin(VEXFS_OP_SEARCH, sizeof *s + 32, VEXFS_F_EXACT | VEXFS_F_WITH_PAYLOAD);
	s->k = 3;
	s->data_off = sizeof *s;
	s->data_bytes = 8;
	s->scope_off = sizeof *s + 8;
	s->scope_bytes = 3;
	s->min_score = -INFINITY;
	const float v[] = {1, 2};
	memcpy(msg + s->data_off, v, 8);
	memcpy(msg + s->scope_off, "a/b", 3);
	s->filter_off = sizeof *s + 16;
	s->filter_bytes = 8;
	memcpy(msg + s->filter_off, "size > 1", 8);
	s->text_off = sizeof *s + 24;
	s->text_bytes = 5;
	s->mode = VEXFS_MODE_HYBRID;
	memcpy(msg + s->text_off, "words", 5);
	return s->hdr.size;
}
static size_t make_batch(void)
{
	struct vexfs_batch_put *b =
	        (void *)begin(VEXFS_OP_BATCH_PUT, sizeof *b + 2 * sizeof(struct vexfs_batch_point) + 16, 0);
	b->point_off = sizeof *b;
	b->point_n = 2;
	struct vexfs_batch_point *p = (void *)(msg + b->point_off);
	uint32_t data = (uint32_t)(sizeof *b + 2 * sizeof *p);
	p[0] = (struct vexfs_batch_point){.id = 9, .vector_off = data, .vector_bytes = 8};
	p[1] = (struct vexfs_batch_point){.vector_off = data, .vector_bytes = 8, .path_off = data + 8, .path_bytes = 4};
	memcpy(msg + data + 8, "x/yz", 4);
	return b->hdr.size;
}
static size_t make_batch_search(void)
{
	struct vexfs_batch_search *b = (void *)begin(VEXFS_OP_BATCH_SEARCH, sizeof *b + 32, VEXFS_F_EXACT);
	b->k = 2;
	b->vector_off = sizeof *b;
	b->vector_bytes = 32;
	b->query_n = 4;
	b->min_score = -INFINITY;
	return b->hdr.size;
}
static size_t make_collection(void)
{
	struct vexfs_collection *c = (void *)begin(VEXFS_OP_COLLECTION_CREATE, sizeof *c, 0);
	strcpy(c->collection, "new");
	c->dim = 8;
	c->metric = 1;
	c->M = 16;
	return sizeof *c;
}
static size_t make_export(void)
{
	struct vexfs_export *e = (void *)begin(VEXFS_OP_EXPORT, sizeof *e, VEXFS_F_WITH_PAYLOAD);
	strcpy(e->collection, "c");
	e->point_max = 100;
	e->cursor = 4;
	return sizeof *e;
}
static size_t make_caps(void)
{
	begin(VEXFS_OP_CAPS, sizeof(struct vexfs_caps), 0);
	return sizeof(struct vexfs_caps);
}
static size_t make_flush(void)
{
	begin(VEXFS_OP_FLUSH, sizeof(struct vexfs_flush), 0);
	return sizeof(struct vexfs_flush);
}
static size_t make_stats(void)
{
	begin(VEXFS_OP_STATS, sizeof(struct vexfs_text), 0);
	return sizeof(struct vexfs_text);
}

static bool inside(const void *p, size_t n, const uint8_t *m, size_t mn)
{
	return !p || !n || ((const uint8_t *)p >= m && (const uint8_t *)p + n <= m + mn);
}

/* one message in memory of exactly its size: what a job got from it lies in it, or in the arena as a C string */
static int try_one(const uint8_t *m, size_t n, uint16_t file_key)
{
	uint8_t *copy = malloc(n ? n : 1);
	memcpy(copy, m, n);
	struct vq *q = vq_new(stub_engine, &who);
	q->j.key.len = (uint8_t)file_key;
	int rc = vq_binary(q, copy, n);
	if (rc >= 0) {
		const struct eng_job *j = &q->j;
		bool good = inside(j->vec, j->vec_bytes, copy, n) && inside(j->payload, j->payload_n, copy, n) &&
		            (!j->text || strnlen(j->text, j->text_n + 1) <= j->text_n) && j->k <= CONF_K_MAX &&
		            j->ef <= CONF_EF_MAX && j->point_n <= CONF_BATCH_MAX;
		for (uint32_t i = 0; good && i < j->point_n; i++)
			good = inside(j->points[i].vec, j->points[i].vec_bytes, copy, n) &&
			       inside(j->points[i].payload, j->points[i].payload_n, copy, n);
		if (!good)
			rc = -EFAULT;
	}
	(void)vq_submit(q); /* the stub answers with nothing */
	vq_render(q);
	const struct vexfs_hdr *h = (const void *)q->out.p;
	if (h->magic != VEXFS_MAGIC || h->size != q->out.n || (h->status < 0) != (q->j.rc < 0))
		rc = -EFAULT;
	vq_free(q);
	free(copy);
	return rc;
}

static void corrupted(const char *what, size_t (*make)(void))
{
	static const uint32_t nasty[] = {
	        0, 1, 7, 8, 24, 64, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff8, 4096, 65536};
	long tried = 0, accepted = 0, broken = 0;
	size_t n = make();
	T_EQ(try_one(msg, n, 0), 0, what);
	for (size_t i = 0; i < n; i++)
		broken += try_one(msg, i, 0) >= 0; /* cut */
	for (size_t w = 0; w + 4 <= n; w += 4)
		for (size_t k = 0; k < sizeof nasty / sizeof *nasty; k++) {
			make();
			memcpy(msg + w, &nasty[k], 4);
			int rc = try_one(msg, n, k & 8);
			tried++;
			accepted += rc >= 0;
			broken += rc == -EFAULT;
		}
	T_OK(broken == 0 && tried > 100, "%s: %ld corruptions, %ld harmless, %ld read outside or answered wrongly",
	        what, tried, accepted, broken);
}

static void random_bytes(uint64_t seed)
{
	uint64_t x = seed;
	long broken = 0;
	size_t (*const makers[])(void) = {make_put, make_get, make_search, make_batch, make_collection, make_export};
	for (int i = 0; i < 200000; i++) {
		size_t n = makers[i % 6]();
		for (int k = 0; k < 3; k++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			msg[24 + x % (n - 24)] = (uint8_t)(x >> 32);
		}
		broken += try_one(msg, n, (uint16_t)(x >> 60)) == -EFAULT;
	}
	T_EQ(broken, 0, "random messages that were misread");
}

static int parse(size_t n, struct vq **ret)
{
	struct vq *q = vq_new(stub_engine, &who);
	*ret = q;
	return vq_binary(q, msg, n);
}

static void meaning(void)
{
	struct vq *q;
	T_EQ(parse(make_put(), &q), 0, "PUT");
	T_OK(q->j.verb == EV_put && q->j.is_free_point && q->j.free_id == 77 && q->j.vec_bytes == 12 &&
	                q->j.payload_n == 7 && q->j.want_durable && !strcmp(q->j.coll, "c") &&
	                ((const float *)q->j.vec)[2] == 0.5f,
	        "its job");
	q->j.generation = 41;
	vq_render(q);
	const struct vexfs_put *p = (const void *)q->out.p;
	T_OK(q->out.n == sizeof *p && p->hdr.op == VEXFS_OP_PUT && p->generation == 41 && !p->hdr.status, "its reply");
	vq_free(q);

	T_EQ(parse(make_search(), &q), 0, "SEARCH");
	T_OK(q->j.verb == EV_search && q->j.k == 3 && q->j.exact && q->j.with_payload && !q->j.has_min_score &&
	                q->j.vec_bytes == 8,
	        "its job");
	T_STR(q->j.scope, "a/b", "its scope");
	T_OK(q->j.filter && q->j.mode == ENG_MODE_hybrid && q->j.text_n == 5 && !strcmp(q->j.text, "words"),
	        "its filter and words");
	struct eng_hit hits[2] = {{.path = "d/e.md",
	                                  .ino = 12,
	                                  .score = 0.5f,
	                                  .distance = 0.25f,
	                                  .state = ENG_STATE_fresh,
	                                  .payload = "{}",
	                                  .payload_n = 2},
	        {.id = 9, .score = 0.25f, .vec = "abcd", .vec_bytes = 4}};
	q->j.res = hits;
	q->j.res_n = 2;
	q->j.generation = 7;
	q->j.complete = true;
	q->j.distances = 123;
	vq_render(q);
	const struct vexfs_search *s = (const void *)q->out.p;
	const struct vexfs_result *r = (const void *)(q->out.p + s->result_off);
	T_OK(s->result_n == 2 && s->generation == 7 && s->complete == 1 && s->distances == 123 &&
	                s->hdr.size == q->out.n,
	        "its reply");
	T_OK(r[0].id == 12 && r[0].score == 0.5f && r[0].distance == 0.25f && r[0].state == VEXFS_STATE_FRESH &&
	                r[0].path_bytes == 6 && !memcmp(q->out.p + r[0].path_off, "d/e.md", 6) &&
	                r[0].payload_bytes == 2 && !memcmp(q->out.p + r[0].payload_off, "{}", 2) &&
	                r[0].path_off % 8 == 0,
	        "result 0");
	T_OK(r[1].id == 9 && !r[1].path_bytes && r[1].vector_bytes == 4 &&
	                !memcmp(q->out.p + r[1].vector_off, "abcd", 4),
	        "result 1");
	vq_free(q);

	T_EQ(parse(make_batch(), &q), 0, "BATCH_PUT");
	T_OK(q->j.point_n == 2 && q->j.points[0].id == 9 && !q->j.points[0].path &&
	                !strcmp(q->j.points[1].path, "x/yz"),
	        "its points");
	vq_free(q);

	T_EQ(parse(make_get(), &q), 0, "GET");
	q->j.ret_vec = "12345678";
	q->j.ret_vec_bytes = 8;
	q->j.ret_dim = 2;
	q->j.ret_state = ENG_STATE_stale;
	q->j.ret_model = "minilm";
	vq_render(q);
	const struct vexfs_get *g = (const void *)q->out.p;
	T_OK(g->model_bytes == 6 && !memcmp(q->out.p + g->model_off, "minilm", 6) && g->model_off % 8 == 0 &&
	                g->hdr.size == q->out.n && sizeof *g == 144 && !g->payload_bytes,
	        "GET names the model, in a struct of the size it had");
	T_OK(g->dim == 2 && g->state == VEXFS_STATE_STALE && g->vector_bytes == 8 &&
	                !memcmp(q->out.p + g->vector_off, "12345678", 8) && g->id == 5,
	        "its reply");
	vq_free(q);

	make_get();
	((struct vexfs_hdr *)msg)->flags = 0;
	T_EQ(parse(sizeof(struct vexfs_get), &q), -VX_ERR_missing_key, "GET without a file and without FREE_POINT");
	vq_render(q);
	const struct vexfs_hdr *h = (const void *)q->out.p;
	T_OK(h->status == -EINVAL && h->op == VEXFS_OP_GET && h->size == q->out.n && h->size > sizeof *h,
	        "the error's reply: %.*s", (int)(h->size - sizeof *h), q->out.p + sizeof *h);
	vq_free(q);

	T_EQ(parse(make_caps(), &q), 0, "CAPS");
	vq_render(q);
	const struct vexfs_caps *c = (const void *)q->out.p;
	T_OK(c->dim_max == 65535 && c->k_max == 10000 && c->ops >> VEXFS_OP_SEARCH & 1 && c->ops >> VEXFS_OP_PUT & 1 &&
	                c->ioctl_bytes_max == 16383,
	        "its reply");
	vq_free(q);
}

int main(void)
{
	uint64_t seed = tap_seed(20261123);
	meaning();
	corrupted("CAPS", make_caps);
	corrupted("PUT", make_put);
	corrupted("GET", make_get);
	corrupted("SEARCH", make_search);
	corrupted("BATCH_PUT", make_batch);
	corrupted("BATCH_SEARCH", make_batch_search);
	corrupted("COLLECTION_CREATE", make_collection);
	corrupted("EXPORT", make_export);
	corrupted("FLUSH", make_flush);
	corrupted("STATS", make_stats);
	random_bytes(seed);
	return tap_done();
}
