#!/usr/bin/env python3
"""run.py - how long a store takes to open: from the start of `vexfs mount` to the first file operation and to the first search's answer.

usage: bench/open/run.py VEXFS [--points 10000,100000,1000000] [--dim 100] [--rounds 9] [--dir D]

Each store is made once by `vexfs import` of clustered random vectors (kept below --dir, and used again), linked, and unmounted.  Then each round
mounts every store in turn: the page cache is warm, the process new.  Medians; RSS of the daemon before the first search and after it.
Written to --out: open.csv; the table on stdout.
"""
import argparse
import csv
import json
import os
import pathlib
import random
import statistics
import struct
import subprocess
import time

ap = argparse.ArgumentParser()
ap.add_argument("vexfs")
ap.add_argument("--points", default="10000,100000,1000000")
ap.add_argument("--dim", type=int, default=100)
ap.add_argument("--rounds", type=int, default=9)
ap.add_argument("--dir", default="/var/tmp/vexfs-open")
ap.add_argument("--out", default=str(pathlib.Path(__file__).resolve().parent.parent / "results"))
A = ap.parse_args()
VEXFS = os.path.abspath(A.vexfs)
BASE = pathlib.Path(A.dir)
MNT = BASE / "mnt"
RNG = random.Random(7)


def run(*a, **k):
    return subprocess.run([VEXFS, *map(str, a)], check=True, stdout=subprocess.PIPE, text=True, **k).stdout


def vectors(path, n):
    """clusters of a thousand centres, .fvecs"""
    centres = [[RNG.gauss(0, 1) for _ in range(A.dim)] for _ in range(1000)]
    pack = struct.Struct("<i%df" % A.dim)
    with open(path, "wb") as f:
        for _ in range(n):
            noise = RNG.randrange(1000)
            f.write(pack.pack(A.dim, *[x + .6 * RNG.random() * (1 if i & 1 else -1) for i, x in enumerate(centres[noise])]))


def made(n):
    d = BASE / ("d%d" % n)
    if (d / ".vexfs").exists() and (BASE / ("ready%d" % n)).exists():
        return d
    d.mkdir(parents=True, exist_ok=True)
    (d / "a.txt").write_text("a file\n")
    src = BASE / "import.fvecs"
    print("# making a store of %d" % n, flush=True)
    vectors(src, n)
    run("mount", d, MNT)
    try:
        run("import", src, "--into", "big", cwd=MNT)
        while True:
            j = json.loads(run("collection", "info", "big", "--json", cwd=MNT))
            if j["tail"] == 0:
                break
            time.sleep(1)  # the linking's own time, which no event ends
    finally:
        run("umount", MNT)
        src.unlink()
    (BASE / ("ready%d" % n)).touch()
    return d


def rss(pid):
    for line in open("/proc/%d/status" % pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1e3
    return 0


def daemon():
    """found by its command line: asking the mount would open the store"""
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            a = (p / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"mount" in a and str(MNT).encode() in a:
            return int(p.name)
    raise RuntimeError("no daemon serves %s" % MNT)


def once(d):
    q = json.dumps({"verb": "search", "collection": "big", "vector": [RNG.gauss(0, 1) for _ in range(A.dim)], "k": 10}).encode()
    t0 = time.monotonic()
    run("mount", d, MNT)
    t1 = time.monotonic()
    try:
        (MNT / "a.txt").read_bytes()
        t2 = time.monotonic()
        pid = daemon()
        before = rss(pid)
        t3 = time.monotonic()
        fd = os.open(MNT / ".vexfs/query", os.O_RDWR)
        os.write(fd, q)
        got = json.loads(os.pread(fd, 1 << 20, 0))
        t4 = time.monotonic()
        os.close(fd)
        assert len(got["results"]) == 10, got
        ticks = sum(int(x) for x in open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[11:13])
        return (t1 - t0) * 1e3, (t2 - t1) * 1e3, (t4 - t3) * 1e3, (t2 - t0 + t4 - t3) * 1e3, ticks * 1e3 / os.sysconf("SC_CLK_TCK"), before, rss(pid)
    finally:
        run("umount", MNT)


def main():
    MNT.mkdir(parents=True, exist_ok=True)
    sizes = [int(x) for x in A.points.split(",")]
    dirs = {n: made(n) for n in sizes}
    got = {n: [] for n in sizes}
    for n in sizes:
        once(dirs[n])  # warms the page cache
    for _ in range(A.rounds):
        for n in sizes:
            got[n].append(once(dirs[n]))
    out = pathlib.Path(A.out)
    out.mkdir(parents=True, exist_ok=True)
    cols = ("mount ms", "first file op. ms", "first search ms", "mount to answer ms", "processor ms", "RSS MB before", "RSS MB after")
    med = {n: [statistics.median(c) for c in zip(*got[n])] for n in sizes}
    with open(out / "open.csv", "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(("points",) + cols)
        for n in sizes:
            w.writerow([n] + ["%.3f" % x for x in med[n]])
    print("%-10s" % "points" + "".join("%20s" % c for c in cols))
    for n in sizes:
        print("%-10d" % n + "".join("%20.2f" % x for x in med[n]))
    first, last = med[sizes[0]], med[sizes[-1]]
    print("mount to the first search's answer, largest / smallest: %.2f (<= 2); %.1f ms (< 50); RSS before it %.1f MB (< 50)" % (
        last[3] / first[3], last[3], last[5]))


main()
