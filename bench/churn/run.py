#!/usr/bin/env python3
"""run.py - what is left behind when every vector of a collection is replaced, ten times over, while a client searches.

usage: bench/churn/run.py VEXFS [--count 100000] [--dim 100] [--rounds 10] [--queries 200] [--dir D] [--out D]

A collection of --count free points (clusters of a thousand centres) is imported into a mount; then each round imports other vectors under the
same ids, by `vexfs import` as a user would, while another process searches without a pause.  After a round the mount is left alone until it has
settled: nothing waits to be linked, and its rows, commits and bytes on disk stand still for some seconds.  Then are noted:

  disk      st_blocks of everything below .vexfs, and the largest sum seen during the round
  live      the same of a new mount that has had the last round's vectors alone, settled as well and its graph published whole: what this
            content costs without a past
  memory    VmRSS of the daemon, and its anonymous part; descriptors open; mappings
  verify    of the mount, and at the end of the directory
  recall    recall@10 with the collection's own ef against the mount's exact search, which is held against a scan in Python for some queries

Required: disk <= 1.5 x live after every round; RSS within 2% of its median over the rounds; descriptors the same after every round; verify clean;
recall within .01 of the new mount's.  Written to --out: churn.csv, churn.svg; the table on stdout.  Status 1 where something is missed.
"""
import argparse
import csv
import json
import math
import multiprocessing
import operator
import os
import pathlib
import platform
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests/soak"))
sys.path.insert(0, str(HERE.parent.parent / "tests/mount"))
import curves  # noqa: E402

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("vexfs")
ap.add_argument("--count", type=int, default=100000)
ap.add_argument("--dim", type=int, default=100)
ap.add_argument("--rounds", type=int, default=10)
ap.add_argument("--queries", type=int, default=200)
ap.add_argument("--spread", type=float, default=4, help="width of a cluster; the centres' own deviation is 1")
ap.add_argument("--seed", type=int, default=7)
ap.add_argument("--still", type=float, default=6, help="seconds without change that count as settled")
ap.add_argument("--dir", default="/var/tmp/vexfs-churn")
ap.add_argument("--out", default=str(HERE.parent / "results"))
A = ap.parse_args()
VEXFS = os.path.abspath(A.vexfs)
os.environ["VEXFS"] = VEXFS
from mnt import ask_at  # noqa: E402
BASE = pathlib.Path(A.dir)
COLL = "c"
K = 10


def run(*a, **k):
    return subprocess.run([VEXFS, *map(str, a)], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **k).stdout


def ask(mnt, **req):
    return ask_at(mnt, json.dumps(req).encode())


# ---- vectors: round r of the same ids ------------------------------------------------------------------------------------------
def centres():
    r = random.Random(A.seed)
    return [[r.gauss(0, 1) for _ in range(A.dim)] for _ in range(1000)]


def one(rng, cs):
    u = rng.random
    return [x + A.spread * (u() - .5) for x in cs[rng.randrange(len(cs))]]


def write_round(path, r, cs):
    """.fvecs of --count vectors"""
    rng, pack = random.Random(A.seed * 1000 + r), struct.Struct("<i%df" % A.dim)
    with open(path, "wb", buffering=1 << 20) as f:
        for _ in range(A.count):
            f.write(pack.pack(A.dim, *one(rng, cs)))


def brute(path, q):
    """ids of the k nearest by cosine, by reading the file that was imported"""
    pack, best = struct.Struct("<i%df" % A.dim), []
    with open(path, "rb") as f:
        for i, row in enumerate(pack.iter_unpack(f.read())):
            v = row[1:]
            best.append((-sum(map(operator.mul, v, q)) / math.sqrt(sum(map(operator.mul, v, v))), i))
    return [i for _, i in sorted(best)[:K]]


# ---- a mount -------------------------------------------------------------------------------------------------------------------
def blocks(top):
    """bytes on disk of everything below, by kind"""
    n = {"slots": 0, "graphs": 0, "catalog": 0, "other": 0}
    for p, _, files in os.walk(top):
        n["other"] += os.lstat(p).st_blocks * 512
        for f in files:
            try:
                b = os.lstat(os.path.join(p, f)).st_blocks * 512
            except FileNotFoundError:
                continue  # a graph that has just been replaced
            kind = "slots" if f.endswith(".vec") else "graphs" if f.endswith(".hnsw") else "catalog" if f.startswith("catalog") else "other"
            n[kind] += b
    n["all"] = sum(n.values())
    return n


class Box:
    def __init__(self, name):
        self.dir, self.mnt, self.peak = BASE / name, BASE / (name + ".mnt"), 0
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.mnt.mkdir(exist_ok=True)
        run("mount", self.dir, self.mnt)
        self.pid = self.status()["pid"]

    def status(self):
        return json.loads((self.mnt / ".vexfs/status").read_text())

    def umount(self):
        if os.path.ismount(self.mnt):
            run("umount", self.mnt)

    def load(self, src):
        """import, and the largest disk use meanwhile"""
        self.peak, done = 0, threading.Event()

        def watch():
            while not done.wait(.25):
                self.peak = max(self.peak, blocks(self.dir / ".vexfs")["all"])
        t = threading.Thread(target=watch)
        t.start()
        try:
            run("import", src, "--into", COLL, self.mnt)
            self.settle()
        finally:
            done.set()
            t.join()

    def settle(self):
        run("wait", self.mnt, "--durable")
        last, since = None, time.monotonic()
        while True:
            i, s = json.loads(run("collection", "info", COLL, self.mnt, "--json")), self.status()["store"]
            now = (i["tail"], s["vectors"], s["dead_rows"], s["commits"], tuple(blocks(self.dir / ".vexfs").items()))
            if now != last:
                last, since = now, time.monotonic()
            elif i["tail"] == 0 and time.monotonic() - since > A.still:
                return
            time.sleep(.5)  # the mount's own time: no event tells that nothing is left to do

    def proc(self):
        st = dict(line.split(":", 1) for line in open("/proc/%d/status" % self.pid))
        maps = sum(1 for _ in open("/proc/%d/maps" % self.pid))
        return {"rss_kib": int(st["VmRSS"].split()[0]), "anon_kib": int(st["RssAnon"].split()[0]), "fds": len(os.listdir("/proc/%d/fd" % self.pid)),
                "maps": maps, "threads": int(st["Threads"])}

    def search(self, q, **more):
        a = ask(self.mnt, verb="search", collection=COLL, vector=q, k=K, **more)
        if "error" in a or len(a["results"]) != K:
            raise RuntimeError("a search: %r" % a)
        return [x["id"] for x in a["results"]]

    def recall(self, qs, src):
        """recall@10 against exact search; the exact search against the file"""
        hit = 0
        for n, q in enumerate(qs):
            exact = self.search(q, exact=True)
            if n < 2 and exact != brute(src, q):
                raise RuntimeError("exact search differs from a scan of what was imported: query %d" % n)
            hit += len(set(exact) & set(self.search(q)))
        return hit / (K * len(qs))

    def verify(self, where=None):
        r = subprocess.run([VEXFS, "verify", str(where or self.mnt)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if r.returncode:
            print("# verify: status %d: %s" % (r.returncode, r.stdout.strip()[-400:]), flush=True)
        return r.returncode


def searcher(mnt, stop, count, slow, bad):
    """searches without a pause; each must answer with ten"""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    rng, cs = random.Random(A.seed + 99), centres()
    while not stop.is_set():
        q = one(rng, cs)
        t = time.monotonic()
        a = ask(mnt, verb="search", collection=COLL, vector=q, k=K)
        ms = (time.monotonic() - t) * 1e3
        with count.get_lock():
            count.value += 1
            slow.value = max(slow.value, ms)
            bad.value += "error" in a or len({x["id"] for x in a["results"]}) != K


# ---- the run -------------------------------------------------------------------------------------------------------------------
def measure(box, r, t0, qs, src):
    d, row = blocks(box.dir / ".vexfs"), {"round": r, "t_s": round(time.monotonic() - t0, 1)}
    s = box.status()["store"]
    row.update({"disk_mb": d["all"] / 1e6, "peak_mb": box.peak / 1e6, "slots_mb": d["slots"] / 1e6, "graphs_mb": d["graphs"] / 1e6,
                "catalog_mb": d["catalog"] / 1e6, "dead_rows": s["dead_rows"]})
    row.update(box.proc())
    row["recall"] = box.recall(qs, src)
    row["verify"] = box.verify()
    return row


def churn(cs, qs, src):
    box, rows, t0 = Box("churned"), [], time.monotonic()
    stop, count = multiprocessing.Event(), multiprocessing.Value("Q", 0)
    slow, bad = multiprocessing.Value("d", 0), multiprocessing.Value("Q", 0)
    client = None
    try:
        for r in range(A.rounds + 1):
            write_round(src, r, cs)
            t, before = time.monotonic(), count.value
            slow.value = 0
            box.load(src)
            row = {"load_s": time.monotonic() - t, "searches": count.value - before, "slowest_ms": slow.value, "failed": bad.value}
            row.update(measure(box, r, t0, qs, src))
            rows.append(row)
            print("# round %(round)d: %(load_s).0f s, disk %(disk_mb).1f MB (peak %(peak_mb).1f; slots %(slots_mb).1f, graphs %(graphs_mb).1f, catalog "
                  "%(catalog_mb).1f), RSS %(rss_kib)d KiB (anon %(anon_kib)d), %(fds)d fds, %(maps)d maps, recall %(recall).4f, verify %(verify)d, "
                  "dead %(dead_rows)d, %(searches)d searches, slowest %(slowest_ms).0f ms, failed %(failed)d" % row, flush=True)
            if not client:
                client = multiprocessing.Process(target=searcher, args=(box.mnt, stop, count, slow, bad))
                client.start()
        stop.set()
        client.join()
        box.umount()
        rows[-1]["verify"] = rows[-1]["verify"] or box.verify(box.dir)
        rows[-1]["closed_mb"] = blocks(box.dir / ".vexfs")["all"] / 1e6
        return rows
    finally:
        stop.set()
        if client:
            client.join(30)
        box.umount()


def fresh(qs, src, t0):
    box = Box("fresh")
    try:
        box.load(src)
        ask(box.mnt, verb="index_build", collection=COLL)
        box.settle()
        row = measure(box, 0, t0, qs, src)
        box.umount()
        row["closed_mb"] = blocks(box.dir / ".vexfs")["all"] / 1e6
        return row
    finally:
        box.umount()


def verdict(rows, new):
    churned, live = rows[1:], new["disk_mb"]
    rss, med = [r["rss_kib"] for r in churned], statistics.median(r["rss_kib"] for r in churned)
    fds = {r["fds"] for r in churned}
    out = [
        ("disk / live, worst round", max(r["disk_mb"] for r in churned) / live, "<= 1.5", max(r["disk_mb"] for r in churned) <= 1.5 * live),
        ("disk / live, after a clean unmount", rows[-1]["closed_mb"] / new["closed_mb"], "<= 1.5", rows[-1]["closed_mb"] <= 1.5 * new["closed_mb"]),
        ("RSS, furthest from its median, %", max(abs(x - med) for x in rss) / med * 100, "<= 2", max(abs(x - med) for x in rss) <= .02 * med),
        ("descriptors, numbers seen", len(fds), "1", len(fds) == 1),
        ("verify, rounds not clean", sum(bool(r["verify"]) for r in rows), "0", not any(r["verify"] for r in rows)),
        ("recall@10, new less worst round", new["recall"] - min(r["recall"] for r in churned), "<= .01",
         new["recall"] - min(r["recall"] for r in churned) <= .01),
        ("searches that failed or fell short", rows[-1]["failed"], "0", not rows[-1]["failed"]),
    ]
    print("%-38s %10s %8s" % ("", "measured", "required"))
    for what, got, want, good in out:
        print("%-38s %10.3f %8s %s" % (what, got, want, "" if good else "MISSED"))
    return all(x[3] for x in out)


def main():
    BASE.mkdir(parents=True, exist_ok=True)
    model = next((ln.split(":", 1)[1].strip() for ln in open("/proc/cpuinfo") if ln.startswith("model name")), platform.machine())
    print("%s, %d cores, load %.1f, Linux %s, %s; %d x %d, replaced %d times, seed %d" %
          (model, os.cpu_count(), os.getloadavg()[0], platform.release().split("-")[0], time.strftime("%Y-%m-%d"), A.count, A.dim, A.rounds, A.seed), flush=True)
    cs, src, t0 = centres(), BASE / "import.fvecs", time.monotonic()
    rng = random.Random(A.seed + 1)
    qs = [one(rng, cs) for _ in range(A.queries)]
    rows = churn(cs, qs, src)
    new = fresh(qs, src, t0)
    new["round"] = "new"
    out = pathlib.Path(A.out)
    out.mkdir(parents=True, exist_ok=True)
    cols = list(rows[-1])
    with open(out / "churn.csv", "w", newline="") as f:
        w = csv.DictWriter(f, cols, restval="")
        w.writeheader()
        w.writerows(rows + [new])
    curves.draw(out / "churn.svg", "%d vectors of %d dimensions replaced %d times" % (A.count, A.dim, A.rounds), rows,
                (("disk_mb", "on disk, MB"), ("peak_mb", "on disk at most, MB"), ("rss_kib", "resident, KiB"), ("anon_kib", "anonymous, KiB"),
                 ("fds", "descriptors"), ("recall", "recall@10"), ("load_s", "a round, s")))
    head = ("round", "load_s", "disk_mb", "peak_mb", "slots_mb", "graphs_mb", "catalog_mb", "rss_kib", "fds", "recall", "verify")
    print("".join("%12s" % h for h in head))
    for r in rows + [new]:
        print("".join("%12s" % (("%.4f" if h == "recall" else "%.1f") % r[h] if isinstance(r.get(h), float) else r.get(h, "")) for h in head))
    good = verdict(rows, new)
    shutil.rmtree(BASE, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # whatever ends it, its mounts are taken down
    sys.exit(main())
