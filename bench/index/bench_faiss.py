#!/usr/bin/env python3
"""FAISS from PyPI (the wheel faiss-cpu: built for AVX2 and AVX-512, which Debian's library is not) under the benchmark's protocol.

usage: bench_faiss.py DATADIR [kind=hnswflat|hnswsq8|ivfpq] [queries=N] [M=16] [efc=200] [threads=1] [keep=DIR]

The protocol and the kinds are those of bench_data.h and bench_faiss.cc, with two differences, both to FAISS's favour: a pass hands all
queries over in one call, so that Python costs nothing and the scan may share work between queries; and hnswsq8 is refined on the f32
vectors as well.  p50 and p99 are of single queries after that, Python's call in it.  Distances: what FAISS counts itself (HNSW only).
keep: the built index is left there together with what it cost, and read from there when it is there.
"""
import json
import os
import sys
import time

import faiss
import numpy as np

K = 10


def read(path, kind):
    a = np.fromfile(path, dtype="<i4")
    a = a.reshape(-1, a[0] + 1)[:, 1:]
    return np.ascontiguousarray(a.view("<f4") if kind == "f" else a)


def inner(ix, kind):
    """what is searched, below the refinement"""
    return faiss.downcast_index(ix if kind == "hnswflat" else ix.base_index)


def build(kind, base, metric, M, efc):
    dim = base.shape[1]
    if kind == "ivfpq":
        ix = faiss.index_factory(dim, "IVF512,PQ%dx4fs,RFlat" % (dim // 2), metric)
        ix.train(base[:25000])  # 48 a centroid: more is minutes for nothing
        ix.add(base)
        return ix
    if kind == "hnswsq8":
        graph = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, M, metric)
        ix = faiss.IndexRefineFlat(graph)
    else:
        ix = graph = faiss.IndexHNSWFlat(dim, M, metric)
    graph.hnsw.efConstruction = efc
    ix.train(base)
    ix.add(base)
    return ix


def overhead(ix, kind, dim):
    if kind == "ivfpq":
        return dim // 2 / 2 + 8
    h = inner(ix, kind).hnsw
    return (h.neighbors.size() * 4 + h.offsets.size() * 8 + h.levels.size() * 4) / ix.ntotal + (dim if kind == "hnswsq8" else 0)


def main():
    args = dict(a.split("=", 1) for a in sys.argv[2:])
    at = lambda name: os.path.join(sys.argv[1], name)
    base, query, truth = read(at("base.fvecs"), "f"), read(at("query.fvecs"), "f"), read(at("truth.ivecs"), "i")
    most = int(args.get("queries", 0)) or len(query)
    query, truth = query[:most].copy(), truth[:most, :K]
    metric = faiss.METRIC_L2
    with open(at("metric")) as f:
        if f.read().strip() == "cosine":
            metric = faiss.METRIC_INNER_PRODUCT
            faiss.normalize_L2(base)
            faiss.normalize_L2(query)
    threads = int(args.get("threads", 1))
    faiss.omp_set_num_threads(threads)
    kind = args.get("kind", "hnswflat")
    M, efc = int(args.get("M", 16)), int(args.get("efc", 200))
    kept = "keep" in args and os.path.join(args["keep"], "%s-%s-%d-%d-%d" % (faiss.__version__, kind, M, efc, len(base)))
    if kept and os.path.exists(kept + ".json"):
        ix = faiss.read_index(kept)
        with open(kept + ".json") as f:
            info = json.load(f)
    else:
        c0, w0 = time.process_time(), time.monotonic()
        ix = build(kind, base, metric, M, efc)
        info = {"engine": "faiss-" + kind, "n": len(base), "build_cpu_s": round(time.process_time() - c0, 2),
                "build_wall_s": round(time.monotonic() - w0, 2), "threads": threads, "version": faiss.__version__,
                "options": faiss.get_compile_options().strip()}
        if kept:
            os.makedirs(args["keep"], exist_ok=True)
            faiss.write_index(ix, kept)
            with open(kept + ".json", "w") as f:
                json.dump(info, f)
    info["overhead_bytes"] = round(overhead(ix, kind, base.shape[1]), 1)
    print(json.dumps(info), flush=True)
    low = inner(ix, kind)
    if kind != "hnswflat":
        ix.k_factor = 10 if kind == "ivfpq" else 2
    faiss.omp_set_num_threads(1)
    stats = faiss.cvar.hnsw_stats
    for line in sys.stdin:
        ef = int(line)
        if kind == "ivfpq":
            low.nprobe = ef
        else:
            low.hnsw.efSearch = ef
        ix.search(query[:50], K)  # warm
        stats.reset()
        w0, c0 = time.monotonic(), time.thread_time()
        _, ids = ix.search(query, K)
        cpu, wall = time.thread_time() - c0, time.monotonic() - w0
        dist = stats.ndis / len(query)
        took = []
        for q in query[:200]:
            q = q.reshape(1, -1)
            c0 = time.thread_time()
            ix.search(q, K)
            took.append((time.thread_time() - c0) * 1e6)
        took.sort()
        found = (ids[:, :, None] == truth[:, None, :]).sum()
        print(json.dumps({"ef": ef, "recall": round(float(found) / truth.size, 5), "qps": round(len(query) / cpu, 1),
                          "qps_wall": round(len(query) / wall, 1), "p50_us": round(took[len(took) // 2], 1),
                          "p99_us": round(took[len(took) * 99 // 100], 1), "distances": round(dist, 1)}), flush=True)


if __name__ == "__main__":
    main()
