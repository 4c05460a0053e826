/* test_chunk_rows.c - rows, the hashes of their chunks and the files that have them, against arrays looked through from end to end. */
#include "engine/sem.h"
#include "tap.h"

#define ROWS   600u
#define FILES  17u
#define HASHES 40u
#define STEPS  40000u

static struct eng_coll *c;
static struct { /* oracle; oid 0: no row */
	uint64_t oid;
	uint32_t hash, ord;
} want[ROWS];
static bool refused[FILES + 1];
static uint64_t rnd_state;

static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rnd_state >> 33) % n;
}
static void hash_of(uint32_t h, uint8_t ret[16])
{
	memset(ret, 0, 16);
	ret[0] = (uint8_t)(h % 4); /* many at one place of the table */
	ret[8] = (uint8_t)h;
}
static void add(uint32_t row, uint64_t oid, uint32_t h)
{
	uint8_t hash[16];
	hash_of(h, hash);
	if (coll_row_live(c, row, false, oid, false) < 0 || chunk_rows_add(c, row, oid, hash) < 0) {
		printf("Bail out! no memory\n");
		exit(1);
	}
	want[row].oid = oid;
	want[row].hash = h;
	want[row].ord = ENG_ROW_NONE;
}
static void gone(uint32_t row)
{
	want[row].oid = 0;
}
/* rows of a file by the list, each once, forwards and by the links back */
static bool file_right(uint64_t oid)
{
	bool seen[ROWS] = {false};
	const struct chunk_file *f = chunk_rows_file(c, oid);
	uint32_t n = 0, m = 0, before = ENG_ROW_NONE;
	for (uint32_t i = f ? f->head : ENG_ROW_NONE; i != ENG_ROW_NONE && n <= ROWS; i = c->chunks->row[i].next, n++) {
		if (i >= ROWS || seen[i] || want[i].oid != oid || want[i].ord != c->chunks->row[i].ord ||
		        c->chunks->row[i].prev != before)
			return false;
		seen[i] = true;
		before = i;
	}
	for (uint32_t i = 0; i < ROWS; i++)
		m += want[i].oid == oid;
	return n == m;
}
static bool hash_right(uint32_t h)
{
	uint8_t hash[16];
	hash_of(h, hash);
	uint32_t any = chunk_rows_find(c, hash, 0);
	bool is = false;
	for (uint32_t i = 0; i < ROWS; i++)
		is |= want[i].oid && want[i].hash == h;
	if (is != (any != ENG_ROW_NONE) || (is && (!want[any].oid || want[any].hash != h)))
		return false;
	for (uint64_t oid = 1; oid <= FILES; oid++) {
		uint32_t row = chunk_rows_find(c, hash, oid);
		is = false;
		for (uint32_t i = 0; i < ROWS; i++)
			is |= want[i].oid == oid && want[i].hash == h;
		if (is != (row != ENG_ROW_NONE) || (is && (want[row].oid != oid || want[row].hash != h)))
			return false;
	}
	return true;
}
static void map(uint64_t oid)
{
	uint32_t row[32], n = rnd(32);
	bool whole = true, no = false;
	for (uint32_t i = 0; i < ROWS; i++)
		if (want[i].oid == oid)
			want[i].ord = ENG_ROW_NONE;
	for (uint32_t i = 0; i < n; i++) {
		row[i] = rnd(8) ? rnd(ROWS) : rnd(2) ? SEM_HOLE : rnd(2) ? SEM_NOTHING : SEM_REFUSED;
		if (row[i] < ROWS && want[row[i]].oid == oid)
			want[row[i]].ord = want[row[i]].ord < i ? want[row[i]].ord : i; /* the lowest */
		else if (row[i] != SEM_NOTHING && row[i] != SEM_REFUSED)
			whole = false;
		no |= row[i] == SEM_REFUSED;
	}
	refused[oid] = no;
	if (chunk_rows_map(c, oid, 7, row, n) < 0)
		exit(1);
	const struct chunk_file *f = chunk_rows_file(c, oid);
	if (!f || !f->current || f->whole != whole || f->refused != no || f->ver != 7)
		T_OK(false, "what a mapping says of file %u", (unsigned)oid);
}
static void step(void)
{
	uint32_t row = rnd(ROWS);
	uint64_t oid = 1 + rnd(FILES);
	switch (rnd(8)) {
	case 0:
		map(oid);
		break;
	case 1:
		if (rnd(20))
			break;
		chunk_rows_forget(c, oid);
		refused[oid] = false;
		for (uint32_t i = 0; i < ROWS; i++)
			if (want[i].oid == oid)
				gone(i);
		break;
	case 2: /* one that is of no file is let be */
		if (!want[row].oid)
			chunk_rows_del(c, row, oid);
		break;
	case 3:
	case 4:
	case 5:
		if (want[row].oid) {
			coll_row_dead(c, row);
			gone(row);
		}
		break;
	default:
		if (!want[row].oid)
			add(row, oid, rnd(HASHES));
	}
}
int main(void)
{
	struct store_coll k = {.name = STORE_MODEL_COLL "0", .dim = 4};
	unsigned wrong = 0;
	rnd_state = tap_seed(20261128);
	c = coll_new(NULL, &k);
	if (!c)
		return 1;
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < STEPS; i++) {
		step();
		if (i % 97)
			continue;
		uint32_t n = 0;
		for (uint64_t oid = 1; oid <= FILES; oid++) {
			wrong += !file_right(oid);
			n += refused[oid];
		}
		wrong += n != c->chunks->refused_n;
		for (uint32_t h = 0; h < HASHES; h++)
			wrong += !hash_right(h);
	}
	T_EQ(wrong, 0, "files' lists and hashes' rows that are not what the arrays say");
	for (uint64_t oid = 1; oid <= FILES; oid++)
		chunk_rows_forget(c, oid);
	T_OK(!c->chunks->file_n && !c->chunks->refused_n && !c->chunks->hash_n && !c->live_n,
	        "forgotten: nothing is left");
	/* a large text replaced by another: the old rows lie behind the new ones, and each is taken out where it is */
	for (uint32_t i = 0; i < 200000; i++) {
		uint8_t hash[16] = {0};
		memcpy(hash, &i, sizeof i);
		if (coll_row_live(c, i, false, 1, false) < 0 || chunk_rows_add(c, i, 1, hash) < 0)
			return 1;
	}
	for (uint32_t i = 0; i < 100000; i++)
		coll_row_dead(c, i);
	T_EQ(chunk_rows_file(c, 1)->head, 199999, "the newest first");
	T_EQ(c->chunks->row[100000].next, ENG_ROW_NONE, "the oldest that lives last");
	T_EQ(c->chunks->hash_n, 100000, "hashes of those alone");
	pthread_mutex_unlock(&c->lock);
	coll_put(c);
	return tap_done();
}
