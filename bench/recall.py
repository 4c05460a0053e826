#!/usr/bin/env python3
"""recall@10 of the mounted index against exact search, on real vectors: Fashion-MNIST, 60,000 x 784, l2.

usage: bench/recall.py VEXFS [--queries N] [--ef N,N,...] [--set NAME]

Imports the set into a fresh mount with `vexfs import`, waits until every row is linked, then asks each query twice through the mount's
query file in its binary form: once by the graph, once with the exact flag.  Prints recall, distances counted per query, and time, for
the collection's default ef first.  The exact answers are checked against the set's own ground truth, which numpy computed.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAGIC, OP_SEARCH, F_EXACT = 0x31584556, 5, 4
HDR = struct.Struct("<IHHIiII")
# struct vexfs_search of include/vexfs_ioctl.h
SEARCH = struct.Struct("<24s64sIIIIIIfIIIQQQIIQQ")


def read_vecs(path, n, code):
    out = []
    with open(path, "rb") as f:
        while len(out) < n:
            head = f.read(4)
            if not head:
                break
            d = struct.unpack("<i", head)[0]
            out.append(struct.unpack(f"<{d}{code}", f.read(4 * d)))
    return out


class Client:
    def __init__(self, mnt, coll):
        self.fd = os.open(os.path.join(mnt, ".vexfs/query"), os.O_RDWR)
        self.coll = coll.encode()

    def search(self, vec, k, ef=0, exact=False):
        """ids, distances counted, seconds by the client's clock"""
        n = SEARCH.size + len(vec)
        hdr = HDR.pack(MAGIC, 1, OP_SEARCH, n, 0, F_EXACT if exact else 0, 0)
        msg = SEARCH.pack(hdr, self.coll, k, ef, SEARCH.size, len(vec), 0, 0, float("-inf"), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) + vec
        t0 = time.perf_counter()
        os.pwrite(self.fd, msg, 0)
        a = os.pread(self.fd, 1 << 20, 0)
        t = time.perf_counter() - t0
        status = HDR.unpack_from(a)[4]
        if status:
            sys.exit(f"search: {os.strerror(-status)}: {a[HDR.size:].decode(errors='replace')}")
        f = SEARCH.unpack_from(a)
        off, count, dist = f[10], f[11], f[13]
        return [struct.unpack_from("<Q", a, off + i * 48)[0] for i in range(count)], dist, t


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("vexfs")
    ap.add_argument("--queries", type=int, default=500)
    ap.add_argument("--ef", default="0,16,32,128,256")
    ap.add_argument("--set", default="fashion")
    ap.add_argument("--want", type=float, default=0.95, help="least recall@10 at the default ef")
    a = ap.parse_args()
    vexfs = os.path.abspath(a.vexfs)
    fetch = [sys.executable, os.path.join(ROOT, "tools/fetch_data.py")]
    data = os.path.join(subprocess.run(fetch + ["--where"], check=True, capture_output=True, text=True).stdout.strip(), a.set)
    if not os.path.exists(os.path.join(data, "sha256")):
        subprocess.run(fetch + [a.set], check=True)
    metric = open(os.path.join(data, "metric")).read().strip()
    tmp = tempfile.mkdtemp(prefix="vexfs-recall-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    d, m = os.path.join(tmp, "dir"), os.path.join(tmp, "mnt")
    os.mkdir(d)
    os.mkdir(m)
    run = lambda *args, **kw: subprocess.run([vexfs, *args], check=True, **kw)
    run("mount", d, m)
    try:
        t0 = time.monotonic()
        run("import", os.path.join(data, "base.fvecs"), "--into", a.set, "--metric", metric, m)
        t1 = time.monotonic()
        run("wait", m)
        info = None
        while True:  # searchable is at once; linked is the index thread's work behind
            out = subprocess.run([vexfs, "collection", "info", a.set, "--json", m], check=True, capture_output=True, text=True).stdout
            info = json.loads(out)
            if info["linked"] >= info["points"]:
                break
            if sys.stderr.isatty():
                print(f"\rlinking {info['linked']}/{info['points']} ", end="", file=sys.stderr, flush=True)
            time.sleep(0.5)
        t2 = time.monotonic()
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        rows, dim = info["points"], info["dim"]
        print(f"{a.set}: {rows:,} x {dim}, {metric}; M {info['M']}, efConstruction {info['ef_construction']}; {platform.machine()}, "
              f"{os.cpu_count()} CPUs, {time.strftime('%Y-%m-%d')}")
        print(f"import {t1 - t0:.1f} s ({rows / (t1 - t0):,.0f} vectors/s, durable), all linked after {t2 - t0:.1f} s; "
              f"index {info['index_bytes'] / rows:,.0f} bytes a vector")

        qs = [struct.pack(f"<{dim}f", *q) for q in read_vecs(os.path.join(data, "query.fvecs"), a.queries, "f")]
        truth = read_vecs(os.path.join(data, "truth.ivecs"), a.queries, "i")
        c = Client(m, a.set)
        exact, times = [], []
        for q in qs:
            ids, dist, t = c.search(q, 10, exact=True)
            exact.append(ids)
            times.append(t)
        agree = statistics.mean(len(set(e) & set(t[:10])) / 10 for e, t in zip(exact, truth))
        print(f"exact: {dist:,} distances a query, {statistics.median(times) * 1e3:.2f} ms; equal to the ground truth in "
              f"{agree:.4f} of the results")
        print(f"{'ef':>8} {'recall@10':>10} {'distances':>10} {'p50 ms':>8} {'p99 ms':>8} {'queries/s':>10}")
        first = None
        for ef in map(int, a.ef.split(",")):
            hit = dists = 0
            times = []
            for q, e in zip(qs, exact):
                ids, dist, t = c.search(q, 10, ef=ef)
                hit += len(set(ids) & set(e))
                dists += dist
                times.append(t)
            recall = hit / (10 * len(qs))
            first = recall if first is None else first
            times.sort()
            print(f"{ef or 'default':>8} {recall:10.4f} {dists / len(qs):10.0f} {times[len(times) // 2] * 1e3:8.3f} "
                  f"{times[int(len(times) * .99)] * 1e3:8.3f} {len(qs) / sum(times):10.0f}")
        os.close(c.fd)
        if agree < 0.999 or first < a.want:
            print(f"FAILED: recall {first:.4f} at the default ef, {a.want} wanted; exact search agrees with the truth in {agree:.4f}")
            return 1
        return 0
    finally:
        subprocess.run([vexfs, "umount", m])
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
