// bench_faiss.cc - FAISS under the benchmark's protocol. kind=hnswflat|hnswsq8|ivfpq (IVF512, PQ of half a byte for two
// dimensions scanned by FastScan, the best 10 k refined on the f32 vectors; "ef" is nprobe).
// Cosine: vectors scaled to length one, inner product.
#include "bench_data.h"
#include <faiss/IndexHNSW.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexRefine.h>
#include <faiss/impl/HNSW.h>
#include <omp.h>
#include <string>

static faiss::Index *ix;
static faiss::IndexHNSW *hnsw;
static faiss::IndexIVFPQFastScan *ivf;
static faiss::IndexRefineFlat *refine;

static void search(void *, const float *q, uint32_t k, uint32_t ef, int32_t *ids, uint64_t *distances)
{
	float d[64];
	faiss::Index::idx_t id[64];
	if (hnsw)
		hnsw->hnsw.efSearch = (int)ef;
	else
		ivf->nprobe = ef;
	faiss::hnsw_stats.reset();
	ix->search(1, q, k, d, id);
	*distances += faiss::hnsw_stats.n3;
	for (uint32_t i = 0; i < k; i++)
		ids[i] = (int32_t)id[i];
}
int main(int argc, char **argv)
{
	struct bench_set s = bench_load(argc, argv);
	std::string kind = bench_arg(argc, argv, "kind", "hnswflat");
	int M = atoi(bench_arg(argc, argv, "M", "16")), efc = atoi(bench_arg(argc, argv, "efc", "200"));
	int threads = atoi(bench_arg(argc, argv, "threads", "1"));
	omp_set_num_threads(threads);
	if (s.cosine) {
		bench_normalise(s.base, s.n, s.dim);
		bench_normalise(s.query, s.queries, s.dim);
	}
	faiss::MetricType metric = s.cosine ? faiss::METRIC_INNER_PRODUCT : faiss::METRIC_L2;
	double c0 = bench_cpu(), w0 = bench_wall(), over = 0;
	if (kind == "ivfpq") {
		faiss::Index *coarse = s.cosine ? (faiss::Index *)new faiss::IndexFlatIP(s.dim) : new faiss::IndexFlatL2(s.dim);
		ivf = new faiss::IndexIVFPQFastScan(coarse, s.dim, 512, s.dim / 2, 4, metric);
		ix = refine = new faiss::IndexRefineFlat(ivf);
		refine->k_factor = 10;
		ix->train(s.n < 25000 ? s.n : 25000, s.base); // 48 a centroid: more is minutes for nothing
		over = s.dim / 2 / 2 + 8;
	} else {
		hnsw = kind == "hnswsq8" ? (faiss::IndexHNSW *)new faiss::IndexHNSWSQ((int)s.dim, faiss::ScalarQuantizer::QT_8bit, M, metric)
					 : (faiss::IndexHNSW *)new faiss::IndexHNSWFlat((int)s.dim, M, metric);
		hnsw->hnsw.efConstruction = efc;
		ix = hnsw;
		ix->train(s.n, s.base);
	}
	ix->add(s.n, s.base);
	double cpu = bench_cpu() - c0, wall = bench_wall() - w0;
	if (hnsw)
		over = (double)(hnsw->hnsw.neighbors.size() * 4 + hnsw->hnsw.offsets.size() * 8 + hnsw->hnsw.levels.size() * 4) / s.n +
			(kind == "hnswsq8" ? (double)s.dim - 4.0 * s.dim : 0.0); // negative: it keeps no raw vectors
	printf("{\"engine\":\"faiss-%s\",\"n\":%u,\"build_cpu_s\":%.2f,\"build_wall_s\":%.2f,\"threads\":%d,\"overhead_bytes\":%.1f,\"rss\":%ld}\n",
		kind.c_str(), s.n, cpu, wall, threads, over, bench_rss());
	fflush(stdout);
	omp_set_num_threads(1);
	bench_serve(&s, search, nullptr, nullptr);
	return 0;
}
