/* cross_search.c - on another machine: the golden store's vectors are found by the exact scan, at the distance they have. */
#include "storetest.h"
#include "index/index.h"

int main(void)
{
	struct box b;
	static struct seen s;
	char cmd[500];
	uint32_t wrong = 0, n = 0;
	box_open(&b);
	snprintf(cmd, sizeof cmd, "tar xzf %s -C %s", GOLDEN_DIR "/v1.tgz", b.path);
	T_EQ(system(cmd), 0, "unpacked");
	struct store *st = open_ok(&b);
	T_OK(st && load(st, &s) == 0, "opens");
	const struct vec_rows *r = store_rows(st, 1);
	uint32_t words = (atomic_load(&r->n) + 63) / 64;
	_Atomic uint64_t *w = calloc(words, 8);
	for (uint32_t id = 0; id < 4096; id++)
		if (s.row_of[id] != UINT32_MAX)
			w[s.row_of[id] / 64] |= 1ull << s.row_of[id] % 64;
	struct row_bits live = {.w = w, .n = words * 64};
	for (uint32_t id = 0; id < 4096; id++) {
		float q[DIM];
		struct index_hit hit[3] = {{0}};
		if (s.row_of[id] == UINT32_MAX)
			continue;
		vec_fill(q, s.x_of[id]);
		struct index_query iq = {.q = q, .k = 3, .live = &live};
		int got = flat_search(r, &iq, hit);
		n++;
		wrong += got != 3 || hit[0].row != s.row_of[id] ||
		         !(hit[0].distance > -1e-5f && hit[0].distance < 1e-5f) ||
		         !(hit[1].distance > hit[0].distance && hit[2].distance >= hit[1].distance);
	}
	T_EQ(n, 30, "vectors asked for");
	T_EQ(wrong, 0, "not found first, or at a wrong distance");
	store_close(st);
	box_close(&b);
	return tap_done();
}
