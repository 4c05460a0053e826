#!/usr/bin/env python3
"""What permissions and vectors cost: two ratios, medians of one interleaved run.

usage: bench/life/run.py VEXFS [--files N] [--rounds N]        (root)

1. Search as another user, to whom half of the files are shut, over search as the mount's owner: <= 1.15.
2. Rename of a directory of N files that have vectors over one of N files without: <= 1.5.
"""
import argparse
import json
import os
import random
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/mount"))

ap = argparse.ArgumentParser()
ap.add_argument("vexfs")
ap.add_argument("--files", type=int, default=100000)
ap.add_argument("--rounds", type=int, default=201)
A = ap.parse_args()
os.environ["VEXFS"] = os.path.abspath(A.vexfs)
from mnt import Mount, as_uid  # noqa: E402

DIM = 32


def vec(i):
    r = random.Random(i)  # one number, one vector; whether the file is shut has nothing to do with it
    return [r.uniform(-1, 1) for _ in range(DIM)]


def fill(m, d, vectors):
    os.mkdir(m.p(d))
    for i in range(A.files):
        fd = os.open(os.path.join(m.dir, d, str(i)), os.O_WRONLY | os.O_CREAT, 0o600 if i % 2 else 0o644)
        os.write(fd, b"\0%d" % i)
        os.close(fd)
    m.ask("wait", rescan=True)
    for at in range(0, A.files if vectors else 0, 2000):
        a = m.ask("batch_put", points=[{"path": f"{d}/{i}", "vector": vec(i)} for i in range(at, min(at + 2000, A.files))])
        assert "error" not in a, a
    m.ask("wait")


def timed(m, rounds, at):
    """microseconds of each search, by a handle of its own, asked by whoever calls"""
    fd, out = os.open(m.p(".vexfs/query"), os.O_RDWR), []
    for i in range(rounds):
        req = json.dumps({"verb": "search", "vector": vec(-7 * (i + at) - 3), "k": 10}).encode()
        t = time.monotonic()
        os.pwrite(fd, req, 0)
        a = json.loads(os.pread(fd, 1 << 20, 0))
        out.append((time.monotonic() - t) * 1e6)
        assert len(a["results"]) == 10, a
    os.close(fd)
    return out


with Mount("-o", "allow_other") as m:
    os.chmod(m.mnt, 0o755)
    fill(m, "with", True)
    fill(m, "without", False)
    m.ask("index_build", collection="default")
    own, other, ren = [], [], {"with": [], "without": []}
    for turn in range(20):  # by turns, so that what else the machine does hits both
        n = max(1, A.rounds // 20)
        own += as_uid(0, lambda: timed(m, n, turn * n))
        other += as_uid(54321, lambda: timed(m, n, turn * n))
    for i in range(A.rounds // 2 * 2):
        for d in ren:
            a, b = (d, d + "2") if i % 2 == 0 else (d + "2", d)
            t = time.monotonic()
            os.rename(m.p(a), m.p(b))
            ren[d].append((time.monotonic() - t) * 1e6)
    med = statistics.median
    r1, r2 = med(other) / med(own), med(ren["with"]) / med(ren["without"])
    print(f"search, {A.files} vectors: owner {med(own):.0f} us, another user {med(other):.0f} us: {r1:.2f} (<= 1.15: {'pass' if r1 <= 1.15 else 'MISS'})")
    print(f"rename of a directory of {A.files} files: with vectors {med(ren['with']):.0f} us, without {med(ren['without']):.0f} us: {r2:.2f} (<= 1.5: {'pass' if r2 <= 1.5 else 'MISS'})")
