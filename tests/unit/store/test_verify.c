/* test_verify.c - damage of every kind is found, named, repaired; what was repaired verifies clean and loads right. */
#include "storetest.h"

static char said[64][1100];
static int said_n;

static void say(void *u, const char *line)
{
	if (said_n < 64)
		snprintf(said[said_n++], sizeof said[0], "%s", line);
}
static int verify(struct box *b, bool repair, struct store_verify_report *r)
{
	struct store_cfg cfg = {.os = os_real(), .root_fd = b->fd};
	said_n = 0;
	int rc = store_verify(&cfg, repair, say, NULL, r);
	for (int i = 0; i < said_n; i++)
		printf("#   %s\n", said[i]);
	return rc;
}
static bool was_said(const char *part)
{
	for (int i = 0; i < said_n; i++)
		if (strstr(said[i], part))
			return true;
	return false;
}

#define OBJS 40u
static void fill(struct box *b)
{
	struct top t;
	struct store *st = open_ok(b);
	struct waiter w;
	static struct top m[OBJS * 4];
	uint32_t n = 0;
	waiter_init(&w);
	op_bind(&t, 1, DIM);
	run1(st, &t);
	for (uint64_t i = 2; i < 2 + OBJS; i++) {
		op_obj(&m[n], i);
		send(st, &w, &m[n++]);
		memset(&m[n], 0, sizeof m[n]);
		m[n].op.kind = SOP_link_put;
		m[n].op.oid = i;
		m[n].op.parent = 1;
		snprintf(m[n].op.name, sizeof m[n].op.name, "file%d", (int)i);
		send(st, &w, &m[n++]);
		op_put_file(&m[n], 1, i, i * 3, UINT32_MAX);
		send(st, &w, &m[n++]);
	}
	memset(&t, 0, sizeof t);
	static struct store_chunk k[OBJS];
	static char text[OBJS][80];
	for (uint32_t i = 0; i < OBJS; i++) {
		snprintf(text[i], sizeof text[i], "the quick brown fox number%d jumps over a lazy dog", (int)i);
		k[i] = (struct store_chunk){.ord = i,
		        .byte1 = 10,
		        .line0 = 1,
		        .line1 = 2,
		        .text = text[i],
		        .text_n = (uint32_t)strlen(text[i])};
	}
	t.op.kind = SOP_text_chunks;
	t.op.oid = 5;
	t.op.text_ver = 9;
	t.op.chunk = k;
	t.op.chunk_n = OBJS;
	run1(st, &t);
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_text_done;
	t.op.oid = 5;
	t.op.text_ver = 9;
	t.op.text_state = STORE_TEXT_done;
	run1(st, &t);
	memset(&t, 0, sizeof t);
	t.op.kind = SOP_payload_put;
	t.op.oid = 6;
	t.op.data = "{}";
	t.op.data_n = 2;
	run1(st, &t);
	wait_all(&w);
	store_close(st);
}

static void sql_on(struct box *b, const char *text)
{
	char path[200];
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/.vexfs/catalog.db", b->path);
	if (sqlite3_open(path, &db) != SQLITE_OK || fts_add(db) != SQLITE_OK ||
	        sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
		printf("# sql: %s\n", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void slot_flip(struct box *b, uint32_t row)
{
	int fd = openat(b->fd, ".vexfs/c1/v0.vec", O_RDWR);
	uint8_t x;
	off_t at = (off_t)(SLOTS_HEADER + row * slots_stride(DIM, VXD_f32) + 9);
	if (pread(fd, &x, 1, at) != 1)
		abort();
	x ^= 1;
	if (pwrite(fd, &x, 1, at) != 1)
		abort();
	close(fd);
}

static void case_sql(const char *what, const char *sql, int findings, int lost, const char *word, int vecs_after)
{
	struct box b;
	struct store_verify_report r;
	static struct seen s;
	box_open(&b);
	fill(&b);
	if (sql)
		sql_on(&b, sql);
	else
		slot_flip(&b, 7);
	printf("# %s\n", what);
	int n = verify(&b, false, &r);
	T_OK(findings < 0 ? n > 0 : n == findings, "%s: %d findings, want %d", what, n, findings);
	T_OK(was_said(word), "%s: names \"%s\"", what, word);
	T_EQ(verify(&b, true, &r), 0, "  repair leaves no finding");
	T_EQ(r.lost, lost, "  lost");
	T_EQ(verify(&b, false, &r), 0, "  verifies clean after it");
	struct store *st = open_ok(&b);
	T_EQ(load(st, &s), 0, "  loads");
	T_EQ(s.damaged + s.bad_bytes, 0, "  nothing damaged is left");
	T_EQ(s.vecs, vecs_after, "  vectors");
	store_close(st);
	box_close(&b);
}

static void test_clean(void)
{
	struct box b;
	struct store_verify_report r;
	box_open(&b);
	struct store_cfg cfg = {.os = os_real(), .root_fd = b.fd};
	T_EQ(store_verify(&cfg, false, say, NULL, &r), -ENOENT, "no store, nothing to verify");
	fill(&b);
	T_EQ(verify(&b, false, &r), 0, "a good store is clean");
	T_EQ(r.objects, OBJS, "objects");
	T_EQ(r.links, OBJS, "links");
	T_EQ(r.vectors, OBJS, "vectors");
	T_EQ(r.slots_checked, OBJS, "slots");
	T_EQ(r.chunks, OBJS, "chunks");
	struct store *st = open_ok(&b);
	T_EQ(verify(&b, false, &r), -VX_ERR_store_locked, "an open store is not verified");
	store_close(st);
	T_EQ(verify(&b, true, &r), 0, "repair of a good store changes nothing");
	T_EQ(r.repaired, 0, "repaired");
	box_close(&b);
}

static void catalog_poke(struct box *b, off_t at, const void *p, size_t n)
{
	int fd = openat(b->fd, ".vexfs/catalog.db", O_RDWR);
	if (pwrite(fd, p, n, at) != (ssize_t)n)
		abort();
	close(fd);
}

/* a meta row of the collection `default`, and one of a collection that was never made */
static void metas(struct box *b)
{
	struct store *st = open_ok(b);
	struct top t;
	for (int i = 0; i < 2; i++) {
		memset(&t, 0, sizeof t);
		t.op.kind = SOP_meta_put;
		strcpy(t.op.name, i ? "recall.77" : "recall.1");
		t.op.cid = i ? 0 : 1;
		t.op.data = "abc";
		t.op.data_n = 3;
		if (run1(st, &t))
			abort();
	}
	store_close(st);
}

static void test_salvage(void)
{
	struct box b;
	struct store_verify_report r;
	static struct seen s;
	struct store *st;
	/* gone */
	box_open(&b);
	fill(&b);
	unlinkat(b.fd, ".vexfs/catalog.db", 0);
	T_OK(verify(&b, false, &r) > 0, "a catalog that is gone is a finding");
	T_EQ(verify(&b, true, &r), 0, "repair makes an empty one");
	st = open_ok(&b);
	T_OK(st != NULL, "it opens");
	load(st, &s);
	T_EQ(s.vecs, 0, "and is empty");
	store_close(st);
	box_close(&b);
	/* header overwritten: not a database at all */
	box_open(&b);
	fill(&b);
	catalog_poke(&b, 0, "garbage garbage garbage", 20);
	T_OK(verify(&b, false, &r) > 0, "no database: a finding");
	T_EQ(verify(&b, true, &r), 0, "repair");
	st = open_ok(&b);
	T_OK(st != NULL, "it opens");
	store_close(st);
	box_close(&b);
	/* a page in the middle overwritten, page by page: whatever it held, the rest is kept and all is right */
	uint8_t junk[4096];
	memset(junk, 0x5a, sizeof junk);
	uint32_t opened = 0, clean = 0, bad = 0, kept = 0, cases = 0, told = 0, anew = 0, orphans = 0, theirs = 0, n;
	char buf[8];
	for (off_t page = 1; page < 26; page++) {
		struct stat sb;
		box_open(&b);
		fill(&b);
		metas(&b);
		fstatat(b.fd, ".vexfs/catalog.db", &sb, 0);
		if ((page + 1) * 4096 > sb.st_size) {
			box_close(&b);
			break;
		}
		cases++;
		catalog_poke(&b, page * 4096, junk, sizeof junk);
		told += verify(&b, false, &r) > 0;
		(void)verify(&b, true, &r);
		clean += verify(&b, false, &r) == 0;
		st = open_ok(&b);
		if (st) {
			opened++;
			load(st, &s);
			bad += s.bad_bytes + s.damaged + s.keybad;
			kept += s.vecs;
			if (!fstatat(b.fd, ".vexfs/catalog.db.damaged", &sb, 0)) {
				anew++;
				orphans += store_meta_get(st, "recall.77", buf, sizeof buf, &n) != -ENOENT;
				theirs += store_meta_get(st, "recall.1", buf, sizeof buf, &n) == 0;
			}
			store_close(st);
		}
		box_close(&b);
	}
	T_OK(cases >= 10, "pages overwritten: %u", cases);
	T_OK(told + 3 >= cases, "told: %u (free pages hold nothing)", told);
	T_EQ(clean, cases, "clean after repair");
	T_EQ(opened, cases, "opened after repair");
	T_EQ(bad, 0, "wrong answers");
	T_OK(anew >= 5, "catalogs made anew: %u", anew);
	T_EQ(orphans, 0, "meta rows of collections that are not there");
	T_OK(theirs >= anew - 2, "those of collections that are: %u (one page held them)", theirs);
	T_OK(kept >= cases * OBJS * 3 / 4, "vectors kept: %u of %u", kept, cases * OBJS);
}

int main(void)
{
	test_clean();
	case_sql("a bit of a slot", NULL, 1, 1, "\"file9\" in collection default", OBJS - 1);
	case_sql("a vector row", "UPDATE vec SET size=size+1 WHERE id=4", 1, 1, "vec", OBJS - 1);
	case_sql("a vector's owner", "DELETE FROM obj WHERE oid=7", 3, 1, "file is not known", OBJS - 1);
	case_sql("an object row", "UPDATE obj SET key=x'00' WHERE oid=7", 1, 2, "damaged row: obj", OBJS - 1);
	case_sql("a link row", "UPDATE link SET name='x' WHERE oid=7", 1, 0, "damaged row: link", OBJS);
	case_sql("a payload", "UPDATE payload SET data='{ }'", 1, 1, "payload", OBJS);
	case_sql("a chunk's text", "UPDATE chunk SET text='other' WHERE ord=3", 1, 0, "chunk", OBJS);
	case_sql("full text", "INSERT INTO fts(fts,rowid,text) VALUES('delete',3,'the quick brown')", 1, 0, "full text",
	        OBJS);
	case_sql("counters", "UPDATE meta SET crc=0 WHERE name='state'", 2, 0, "state row", OBJS);
	case_sql("default's row", "UPDATE coll SET ef=1 WHERE cid=1", 2, 0, "coll", OBJS);
	case_sql("a graph's file", "INSERT INTO graphgen VALUES(1,1,'g1.hnsw',0)", 1, 0, "graphgen", OBJS);
	case_sql("a missing index entry",
	        "PRAGMA writable_schema=1;UPDATE sqlite_master SET rootpage=(SELECT rootpage FROM sqlite_master "
	        "WHERE name='chunk_owner') WHERE name='vec_owner'",
	        -1, 0, "catalog.db", OBJS);
	test_salvage();
	return tap_done();
}
