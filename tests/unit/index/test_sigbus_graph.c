/* test_sigbus_graph.c - a published graph is cut short while it is mapped: a code, no crash, and an exact scan still answers. */
#include <fcntl.h>
#include <unistd.h>
#include "base/guard.h"
#include "index_fixture.h"

#define N 4000u

int main(void)
{
	static struct fix f;
	char dir[] = "/tmp/vexfs-graph.XXXXXX";
	struct index *ix;
	struct index_cfg cfg = {0};
	uint64_t gen;
	struct index_hit hit[10], want[10];
	_Atomic int stop = 0;
	fix_init(&f, 24, VXD_f32, VXM_l2, N, 3);
	uint32_t rows[N];
	for (uint32_t i = 0; i < N; i++) {
		float *v = (float *)(uintptr_t)rows_vec(&f.rows, i);
		for (uint32_t k = 0; k < 24; k++)
			v[k] = fix_gauss(&f);
		rows[i] = i;
		f.live.w[i / 64] |= 1ull << (i % 64);
	}
	if (!mkdtemp(dir))
		return 99;
	int d = open(dir, O_RDONLY | O_DIRECTORY);
	T_EQ(index_new(&f.rows, &cfg, &ix), 0, "new");
	T_EQ(index_build(ix, rows, N, 1, &stop), 0, "build");
	T_EQ(index_publish(ix, os_real(), d, "g1.hnsw", 1), 0, "publish");
	index_free(ix);
	T_EQ(index_open(&f.rows, &cfg, os_real(), d, "g1.hnsw", &gen, &ix), 0, "open");
	struct index_query q = {.q = rows_vec(&f.rows, 17), .k = 10, .ef = 64, .live = &f.live};
	T_EQ(index_search(ix, &q, hit), 10, "search the mapped graph");
	T_EQ(hit[0].row, 17, "its own row first");
	int fd = openat(d, "g1.hnsw", O_RDWR);
	T_EQ(ftruncate(fd, 4096), 0, "cut the file to its header");
	int rc = 0;
	for (uint32_t i = 0; i < 50 && rc >= 0; i++) {
		q.q = rows_vec(&f.rows, i * 79);
		rc = index_search(ix, &q, hit);
	}
	T_EQ(rc, -VX_ERR_graph_corrupt, "a search that meets it");
	T_OK(index_failed(ix), "the graph has failed");
	T_OK(guard_hits() > 0, "pages replaced: %d", (int)guard_hits());
	T_EQ(flat_search(&f.rows, &q, want), 10, "an exact scan answers");
	close(fd);
	index_free(ix);
	unlinkat(d, "g1.hnsw", 0);
	close(d);
	rmdir(dir);
	fix_done(&f);
	return tap_done();
}
