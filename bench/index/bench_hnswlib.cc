// bench_hnswlib.cc - hnswlib under the benchmark's protocol. Cosine: vectors scaled to length one, inner product space.
#include "bench_data.h"
#include <hnswlib/hnswlib.h>
#include <atomic>
#include <thread>
#include <vector>

typedef hnswlib::HierarchicalNSW<float> Hnsw;

static void search(void *u, const float *q, uint32_t k, uint32_t ef, int32_t *ids, uint64_t *distances)
{
	Hnsw *h = (Hnsw *)u;
	h->ef_ = ef;
	h->metric_distance_computations = 0;
	auto r = h->searchKnn(q, k);
	for (uint32_t i = 0; i < k; i++)
		ids[i] = -1;
	for (size_t i = r.size(); i-- > 0; r.pop())
		ids[i] = (int32_t)r.top().second;
	*distances += (uint64_t)h->metric_distance_computations;
}
int main(int argc, char **argv)
{
	struct bench_set s = bench_load(argc, argv);
	int M = atoi(bench_arg(argc, argv, "M", "16")), efc = atoi(bench_arg(argc, argv, "efc", "200"));
	int threads = atoi(bench_arg(argc, argv, "threads", "1"));
	if (s.cosine) {
		bench_normalise(s.base, s.n, s.dim);
		bench_normalise(s.query, s.queries, s.dim);
	}
	hnswlib::L2Space l2(s.dim);
	hnswlib::InnerProductSpace ip(s.dim);
	hnswlib::SpaceInterface<float> *space = s.cosine ? (hnswlib::SpaceInterface<float> *)&ip : &l2;
	double c0 = bench_cpu(), w0 = bench_wall();
	Hnsw h(space, s.n, M, efc);
	std::atomic<uint32_t> next{0};
	std::vector<std::thread> t;
	auto work = [&]() {
		for (uint32_t i; (i = next++) < s.n;)
			h.addPoint(s.base + (size_t)i * s.dim, i);
	};
	for (int i = 1; i < threads; i++)
		t.emplace_back(work);
	work();
	for (auto &x : t)
		x.join();
	double cpu = bench_cpu() - c0, wall = bench_wall() - w0;
	// level-0 block without the vector, upper links, the label map's node
	size_t up = 0;
	for (uint32_t i = 0; i < s.n; i++)
		up += h.element_levels_[i] ? h.size_links_per_element_ * h.element_levels_[i] + 16 : 0;
	double over = (double)(h.size_data_per_element_ - h.data_size_) + (double)up / s.n + 8 + 4 + 40 + 40; // list pointer, level, lock, hash node
	printf("{\"engine\":\"hnswlib\",\"n\":%u,\"build_cpu_s\":%.2f,\"build_wall_s\":%.2f,\"threads\":%d,\"overhead_bytes\":%.1f,\"rss\":%ld}\n",
		s.n, cpu, wall, threads, over, bench_rss());
	fflush(stdout);
	bench_serve(&s, search, &h, nullptr);
	return 0;
}
