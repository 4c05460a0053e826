/* test_fts.c - words to chunks: the user's text is never a query language, versions, scores, limits, deadline, cancel; point reads. */
#include "storetest.h"

struct rd { /* a read and its end */
	struct store_read r;
	struct arena a;
	pthread_mutex_t m;
	pthread_cond_t c;
	bool done;
};
static void on_done(struct store_read *r)
{
	struct rd *x = (struct rd *)r;
	pthread_mutex_lock(&x->m);
	x->done = true;
	pthread_cond_signal(&x->c);
	pthread_mutex_unlock(&x->m);
}
static void rd_init(struct rd *x, enum store_read_kind kind)
{
	memset(x, 0, sizeof *x);
	arena_init(&x->a, MEM_misc, 1 << 20);
	pthread_mutex_init(&x->m, NULL);
	pthread_cond_init(&x->c, NULL);
	x->r.kind = kind;
	x->r.arena = &x->a;
	x->r.done = on_done;
	x->r.limit = 10;
}
static int rd_run(struct store *st, struct rd *x)
{
	int rc = store_read(st, &x->r);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&x->m);
	while (!x->done)
		pthread_cond_wait(&x->c, &x->m);
	pthread_mutex_unlock(&x->m);
	return x->r.rc;
}
static int fts(struct store *st, struct rd *x, const char *text, uint32_t n)
{
	rd_init(x, SRD_fts);
	x->r.text = text;
	x->r.text_n = n;
	x->r.want_snippet = true;
	return rd_run(st, x);
}
static void link1(struct store *st, enum store_op_kind kind, uint64_t oid, const char *name)
{
	struct top t;
	memset(&t, 0, sizeof t);
	t.op.kind = kind;
	t.op.oid = oid;
	t.op.parent = STORE_OID_ROOT;
	strcpy(t.op.name, name);
	run1(st, &t);
}
static void text_put(
        struct store *st, uint64_t oid, uint64_t ver, const char *const *lines, uint32_t n, bool done, uint8_t state)
{
	struct top t;
	struct store_chunk k[8];
	for (uint32_t i = 0; i < n; i++)
		k[i] = (struct store_chunk){.ord = i,
		        .byte0 = i * 100,
		        .byte1 = i * 100 + 50,
		        .line0 = i + 1,
		        .line1 = i + 2,
		        .text = lines[i],
		        .text_n = (uint32_t)strlen(lines[i])};
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_text_chunks;
	t.op.oid = oid;
	t.op.text_ver = ver;
	t.op.chunk = k;
	t.op.chunk_n = n;
	if (n)
		T_EQ(run1(st, &t), 0, "chunks");
	if (!done)
		return;
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_text_done;
	t.op.oid = oid;
	t.op.text_ver = ver;
	t.op.text_state = state;
	T_EQ(run1(st, &t), 0, "text done");
}

static void test_match(void)
{
	static const struct {
		const char *in, *out;
	} t[] = {
	        {"one", "(\"one\")"},
	        {"one two", "(\"one\" OR \"two\")"},
	        {"  a-b*c:(d) ^ NEAR/2 \"x", "(\"a\" OR \"b\" OR \"c\" OR \"d\" OR \"NEAR\" OR \"2\" OR \"x\")"},
	        {"na\xc3\xafve caf\xc3\xa9", "(\"na\xc3\xafve\" OR \"caf\xc3\xa9\")"},
	        {"\xff\xfe", "(\"\xff\xfe\")"},
	        {"東", "(\"東\")"},
	        {"東京タ", "(\"東京\" OR \"京タ\")"},
	        {"ab東京cd京 x", "(\"ab\" OR \"東京\" OR \"cd\" OR \"京\" OR \"x\")"},
	        {"\x1e東京 tower\x1e", "(\"東京 tower\")"},
	        {"a b\x1f c\x1f\x1f"
	         "d",
	                "(\"a\" OR \"b\") AND (\"c\") AND (\"d\")"},
	        {"\x1f"
	         "a\x1f",
	                "(\"a\")"},
	};
	struct arena a;
	arena_init(&a, MEM_misc, 1 << 20);
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		const char *m = NULL;
		T_EQ(fts_match(&a, t[i].in, (uint32_t)strlen(t[i].in), &m), 0, "match");
		T_STR(m, t[i].out, "expression");
	}
	const char *m;
	T_EQ(fts_match(&a, " .,;\"'()", 8, &m), -VX_ERR_query_syntax, "no word");
	T_EQ(fts_match(&a, "", 0, &m), -VX_ERR_query_syntax, "nothing");
	T_EQ(fts_match(&a, "x", CONF_QUERY_TEXT_MAX + 1, &m), -VX_ERR_query_too_long, "too long");
	arena_done(&a);
}

/* A word that every chunk has still tells them apart. Values: BM25 by hand (k1 1.2, b 0.75, N 3, mean 2 words), q/(1+q) of its root. */
static void test_rank(void)
{
	static const struct {
		const char *query;
		struct {
			uint64_t oid;
			double score;
		} want[3];
	} t[] = {
	        {"red", {{4, 0.290638}, {2, 0.286331}, {3, 0.267624}}},
	        {"red green", {{3, 0.513532}, {4, 0.290638}, {2, 0.286331}}},
	};
	struct box b;
	struct top op;
	static struct rd x;
	box_open(&b);
	struct store *st = open_ok(&b);
	for (uint64_t i = 2; i < 5; i++) {
		op_obj(&op, i);
		run1(st, &op);
	}
	text_put(st, 2, 1, (const char *[]){"red red blue"}, 1, true, STORE_TEXT_done);
	text_put(st, 3, 1, (const char *[]){"red green"}, 1, true, STORE_TEXT_done);
	text_put(st, 4, 1, (const char *[]){"red"}, 1, true, STORE_TEXT_done);
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		T_EQ(fts(st, &x, t[i].query, (uint32_t)strlen(t[i].query)), 0, "search");
		T_EQ(x.r.hit_n, 3, "all three");
		for (uint32_t h = 0; h < x.r.hit_n && h < 3; h++) {
			double is = (double)x.r.hits[h].score, want = 0;
			for (int w = 0; w < 3; w++)
				want = t[i].want[w].oid == x.r.hits[h].oid ? t[i].want[w].score : want;
			T_OK(is > want - 1e-5 && is < want + 1e-5, "%s: file %d scores %g, by hand %g", t[i].query,
			        (int)x.r.hits[h].oid, is, want);
			T_OK(!h || x.r.hits[h].score <= x.r.hits[h - 1].score, "falling");
		}
		arena_done(&x.a);
	}
	store_close(st);
	box_close(&b);
}

/* scripts without spaces between words: what stands inside a run is found, what only shares characters with it is not */
static void test_no_spaces(void)
{
	static const struct {
		const char *query;
		uint64_t oid; /* the best hit; 0: none */
	} t[] = {
	        {"東京", 2},
	        {"タワー", 2},
	        {"京都", 3},
	        {"都京", 0},
	        {"行", 2},
	        {"VEXFS", 4},
	        {"速い", 4},
	        {"東京タワー", 2},
	        {"검색", 5},
	        {"naïve", 6},
	};
	struct box b;
	struct top op;
	static struct rd x;
	box_open(&b);
	struct store *st = open_ok(&b);
	for (uint64_t i = 2; i < 7; i++) {
		op_obj(&op, i);
		run1(st, &op);
	}
	text_put(st, 2, 1, (const char *[]){"今日は東京タワーに行きました。"}, 1, true, STORE_TEXT_done);
	text_put(st, 3, 1, (const char *[]){"京都の寺"}, 1, true, STORE_TEXT_done);
	text_put(st, 4, 1, (const char *[]){"VexFSはとても速い"}, 1, true, STORE_TEXT_done);
	text_put(st, 5, 1, (const char *[]){"파일검색은 빠르다"}, 1, true, STORE_TEXT_done);
	text_put(st, 6, 1, (const char *[]){"a naive plan"}, 1, true, STORE_TEXT_done);
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		T_EQ(fts(st, &x, t[i].query, (uint32_t)strlen(t[i].query)), 0, "search");
		T_EQ(x.r.hit_n ? x.r.hits[0].oid : 0, t[i].oid, t[i].query);
		arena_done(&x.a);
	}
	link1(st, SOP_link_put, 3, "sorbet.txt");
	store_close(st);
	/* a catalog made by an earlier version: its index is made again */
	char cat[160];
	sqlite3 *db;
	T_EQ(snprintf(cat, sizeof cat, "%s/.vexfs/catalog.db", b.path) > 0, true, "path");
	T_EQ(sqlite3_open(cat, &db), SQLITE_OK, "open the catalog");
	T_EQ(fts_add(db), SQLITE_OK, "as the store does");
	T_EQ(sqlite3_exec(db,
	             "DROP TABLE fts;CREATE VIRTUAL TABLE fts USING fts5(text,content='chunk',content_rowid='id',"
	             "tokenize='porter unicode61');INSERT INTO fts(fts) VALUES('rebuild')",
	             NULL, NULL, NULL),
	        SQLITE_OK, "the index of before");
	sqlite3_close(db);
	st = open_ok(&b);
	T_EQ(fts(st, &x, "京都", 6), 0, "search");
	T_EQ(x.r.hit_n ? x.r.hits[0].oid : 0, 3, "found in an older catalog");
	arena_done(&x.a);
	T_EQ(fts(st, &x, "sorbet", 6), 0, "search");
	T_EQ(x.r.hit_n ? x.r.hits[0].oid : 0, 3, "and by the name of its file, which that one had no words of");
	arena_done(&x.a);
	store_close(st);
	box_close(&b);
}

/* names and headings: with the first chunk, kept with every change of a name; a heading counts more than its words in the text */
static uint64_t hits_of(struct store *st, struct rd *x, const char *text, uint64_t *ret_first)
{
	T_EQ(fts(st, x, text, (uint32_t)strlen(text)), 0, "search");
	uint64_t n = x->r.hit_n;
	*ret_first = n ? x->r.hits[0].oid : 0;
	arena_done(&x->a);
	return n;
}
static void test_names(void)
{
	struct box b;
	struct top t;
	static struct rd x;
	uint64_t oid;
	box_open(&b);
	struct store *st = open_ok(&b);
	for (uint64_t i = 2; i < 5; i++) {
		op_obj(&t, i);
		run1(st, &t);
	}
	link1(st, SOP_link_put, 2, "tax_return-2024.txt");
	text_put(st, 2, 1, (const char *[]){"figures of the year", "more of them"}, 2, true, STORE_TEXT_done);
	text_put(st, 3, 1, (const char *[]){"# Otters\nthey swim all day in a river"}, 1, true, STORE_TEXT_done);
	text_put(st, 4, 1, (const char *[]){"all otters\nswim all day"}, 1, true, STORE_TEXT_done);
	T_EQ(hits_of(st, &x, "returns", &oid), 1, "by a word of its name, stemmed");
	T_EQ(oid, 2, "the file");
	T_EQ(hits_of(st, &x, "2024", &oid), 1, "its first chunk alone");
	T_EQ(hits_of(st, &x, "otter", &oid), 2, "both");
	T_EQ(oid, 3, "the heading first");
	link1(st, SOP_link_put, 2, "copy.txt");
	T_EQ(hits_of(st, &x, "copy", &oid), 0, "not by a second name, which not everybody may know");
	T_EQ(hits_of(st, &x, "tax", &oid), 0, "nor by the first any more");
	link1(st, SOP_link_del, 2, "tax_return-2024.txt");
	T_EQ(hits_of(st, &x, "tax", &oid), 0, "a name that is gone");
	T_EQ(hits_of(st, &x, "copy", &oid), 1, "by the one that is left");
	text_put(st, 2, 2, (const char *[]){"a new text"}, 1, true, STORE_TEXT_done);
	T_EQ(hits_of(st, &x, "copy", &oid), 1, "with a new text");
	T_EQ(hits_of(st, &x, "figures", &oid), 0, "not with the old");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_obj_del;
	t.op.oid = 2;
	run1(st, &t);
	T_EQ(hits_of(st, &x, "copy", &oid), 0, "gone with the file");
	store_close(st);
	struct store_verify_report r;
	struct store_cfg cfg = {.os = os_real(), .root_fd = b.fd};
	T_EQ(store_verify(&cfg, false, NULL, NULL, &r), 0, "verify");
	T_EQ(r.findings, 0, "the index fits the names");
	box_close(&b);
}

static void test_search(void)
{
	struct box b;
	struct top t;
	static struct rd x;
	box_open(&b);
	struct store *st = open_ok(&b);
	for (uint64_t i = 2; i < 7; i++) {
		op_obj(&t, i);
		run1(st, &t);
	}
	text_put(st, 2, 1, (const char *[]){"budget approved by the board", "nothing here"}, 2, true, STORE_TEXT_done);
	text_put(st, 3, 1, (const char *[]){"the budget was not approved, said the budget office about the budget"}, 1,
	        true, STORE_TEXT_done);
	text_put(st, 4, 1, (const char *[]){"cats and dogs"}, 1, true, STORE_TEXT_done);
	text_put(st, 5, 1, (const char *[]){"budget of an unfinished version"}, 1, false, 0);
	text_put(st, 6, 1, (const char *[]){"budget of a binary"}, 1, true, STORE_TEXT_not_text);
	T_EQ(fts(st, &x, "Budgets", 7), 0, "search (stemmed, other case)");
	T_EQ(x.r.hit_n, 2, "hits: neither the unfinished nor the binary");
	T_EQ(x.r.hits[0].oid, 3, "more of the word first");
	T_OK(x.r.hits[0].score > x.r.hits[1].score && x.r.hits[1].score > 0 && x.r.hits[0].score < 1,
	        "scores in (0,1), falling: %g %g", (double)x.r.hits[0].score, (double)x.r.hits[1].score);
	T_STR(x.r.hits[1].snippet, "budget approved by the board", "snippet");
	T_EQ(x.r.hits[1].byte1, 50, "locator");
	T_EQ(x.r.hits[1].line1, 2, "lines");
	arena_done(&x.a);
	T_EQ(fts(st, &x, "cat OR NOT \"", 12), 0, "operators are words");
	T_EQ(x.r.hit_n, 2, "cat, or the word not");
	arena_done(&x.a);
	rd_init(&x, SRD_fts);
	x.r.text = "budget";
	x.r.text_n = 6;
	x.r.limit = 1;
	x.r.offset = 1;
	T_EQ(rd_run(st, &x), 0, "limit and offset");
	T_EQ(x.r.hit_n, 1, "one hit");
	T_EQ(x.r.hits[0].oid, 2, "the second");
	T_OK(!x.r.hits[0].snippet, "no snippet unless asked");
	arena_done(&x.a);
	/* a new version replaces the old one at once */
	text_put(st, 3, 2, (const char *[]){"zebra crossing"}, 1, false, 0);
	T_EQ(fts(st, &x, "zebra", 5), 0, "search");
	T_EQ(x.r.hit_n, 0, "a version not done is not found");
	arena_done(&x.a);
	text_put(st, 3, 2, NULL, 0, true, STORE_TEXT_done);
	T_EQ(fts(st, &x, "zebra", 5), 0, "search");
	T_EQ(x.r.hit_n, 1, "then it is");
	arena_done(&x.a);
	T_EQ(fts(st, &x, "budget", 6), 0, "search");
	T_EQ(x.r.hit_n, 1, "and the older is not");
	arena_done(&x.a);
	struct store_stats ss;
	store_stats(st, &ss);
	T_EQ(ss.chunks, 5, "chunks counted");
	/* removed with its file */
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_obj_del;
	t.op.oid = 2;
	run1(st, &t);
	T_EQ(fts(st, &x, "budget", 6), 0, "search");
	T_EQ(x.r.hit_n, 0, "gone with the file");
	arena_done(&x.a);
	/* chunk, payload, free id */
	rd_init(&x, SRD_chunk);
	x.r.oid = 3;
	T_EQ(rd_run(st, &x), 0, "chunk");
	T_STR(x.r.hits[0].snippet, "zebra crossing", "its text");
	arena_done(&x.a);
	rd_init(&x, SRD_chunk);
	x.r.oid = 3;
	x.r.ord = 9;
	T_EQ(rd_run(st, &x), -ENOENT, "no such chunk");
	arena_done(&x.a);
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_payload_put;
	t.op.is_free_point = true;
	t.op.cid = 1;
	t.op.free_id = UINT64_MAX - 3;
	t.op.data = "{\"k\":\"v\"}";
	t.op.data_n = 9;
	T_EQ(run1(st, &t), 0, "payload of a free point, id near 2^64");
	rd_init(&x, SRD_payload);
	x.r.is_free_point = true;
	x.r.cid = 1;
	x.r.free_id = UINT64_MAX - 3;
	T_EQ(rd_run(st, &x), 0, "read it");
	T_EQ(x.r.data_n, 9, "its length");
	T_OK(!memcmp(x.r.data, "{\"k\":\"v\"}", 9), "its bytes");
	arena_done(&x.a);
	t.op.data_n = 0;
	T_EQ(run1(st, &t), 0, "remove it");
	rd_init(&x, SRD_payload);
	x.r.is_free_point = true;
	x.r.cid = 1;
	x.r.free_id = UINT64_MAX - 3;
	T_EQ(rd_run(st, &x), -ENOENT, "gone");
	arena_done(&x.a);
	op_bind(&t, 1, DIM);
	run1(st, &t);
	op_put(&t, 1, 0, 3, UINT32_MAX);
	t.op.is_free_point = true;
	t.op.free_id = UINT64_MAX;
	T_EQ(run1(st, &t), 0, "a free point with the highest id");
	rd_init(&x, SRD_free_ids);
	x.r.cid = 1;
	x.r.free_id = UINT64_MAX;
	T_EQ(rd_run(st, &x), 0, "look it up");
	T_EQ(x.r.ret_row, 0, "its row");
	arena_done(&x.a);
	rd_init(&x, SRD_free_ids);
	x.r.cid = 2;
	x.r.free_id = UINT64_MAX;
	T_EQ(rd_run(st, &x), 0, "in another collection");
	T_EQ(x.r.ret_row, UINT32_MAX, "none");
	arena_done(&x.a);
	/* cancelled before it began */
	_Atomic int stop = 1;
	rd_init(&x, SRD_fts);
	x.r.text = "budget";
	x.r.text_n = 6;
	x.r.cancel = &stop;
	T_EQ(rd_run(st, &x), -VX_ERR_cancelled, "cancelled");
	arena_done(&x.a);
	store_close(st);
	box_close(&b);
}

static uint64_t leaping_ns(struct os *o)
{
	static _Atomic uint64_t t;
	return atomic_fetch_add(&t, 1000000000u);
}

/* many chunks that all match: the answer is complete, an arena too small is a code, a fake clock runs into the deadline */
static void test_many(void)
{
	struct box b;
	struct top t;
	static struct rd x;
	static struct os_fault f;
	struct store *st = NULL;
	struct vx_errinfo e;
	box_open(&b);
	os_fault_init(&f, os_real());
	T_EQ(open_in(&b, &f.os, &st, &e), 0, "open");
	op_obj(&t, 2);
	run1(st, &t);
	static struct store_chunk k[20000];
	for (uint32_t i = 0; i < 20000; i++)
		k[i] = (struct store_chunk){.ord = i, .text = "common words everywhere", .text_n = 23};
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_text_chunks;
	t.op.oid = 2;
	t.op.text_ver = 1;
	t.op.chunk = k;
	t.op.chunk_n = 20000;
	T_EQ(run1(st, &t), 0, "20,000 chunks");
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_text_done;
	t.op.oid = 2;
	t.op.text_ver = 1;
	t.op.text_state = STORE_TEXT_done;
	run1(st, &t);
	rd_init(&x, SRD_fts);
	x.r.text = "common";
	x.r.text_n = 6;
	x.r.limit = 500;
	T_EQ(rd_run(st, &x), 0, "search");
	T_EQ(x.r.hit_n, 500, "hits");
	T_EQ(x.r.hits[499].ord, 499, "equal scores: in order");
	arena_done(&x.a);
	rd_init(&x, SRD_fts);
	arena_init(&x.a, MEM_misc, 4096);
	x.r.text = "common";
	x.r.text_n = 6;
	x.r.limit = 5000;
	T_EQ(rd_run(st, &x), -VX_ERR_arena_full, "an arena too small");
	arena_done(&x.a);
	store_close(st);
	/* every look at the clock finds it a second later: the deadline comes while SQLite runs */
	static struct os_ops ops;
	static struct os os;
	ops = *os_real()->ops;
	ops.mono_ns = leaping_ns;
	os.ops = &ops;
	T_EQ(open_in(&b, &os, &st, &e), 0, "open");
	rd_init(&x, SRD_fts);
	x.r.text = "common words everywhere";
	x.r.text_n = 23;
	x.r.limit = 5000;
	T_EQ(rd_run(st, &x), -VX_ERR_deadline, "a query that takes too long");
	arena_done(&x.a);
	store_close(st);
	box_close(&b);
}

int main(void)
{
	test_match();
	test_rank();
	test_no_spaces();
	test_search();
	test_names();
	test_many();
	return tap_done();
}
