#!/usr/bin/env python3
"""The index against its peers: same data, same machine, in turn.

    bench/index/run.py [--quick] [--sets fashion glove100 cluster768] [--rounds 3] [--peers hnswlib faiss] [--out bench/results]
                       [--keep] [--churn] [--strict]

Every engine is a program that builds its index once and then answers passes over all queries (bench_data.h).  All programs of a
set are kept open and asked in turn, pass by pass, so that other work on the machine hits all alike; of the rounds the fastest counts.
QPS is queries by CPU second of one thread, latencies are a thread's CPU time: both leave out what the machine gave to others.  Ratios
between engines are medians over the rounds of what was measured in the same round.  Everything runs with malloc on huge pages
(GLIBC_TUNABLES=glibc.malloc.hugetlb=1).

FAISS is the wheel faiss-cpu where pip can have it (kept beside the data sets; it uses AVX2 and AVX-512), else Debian's library, which is
built for any amd64 and several times slower.  The engine's name tells the version and which it was: faiss1.15-..., debian-faiss-....

--quick: ten minutes instead of most of an hour: 1,000 queries, two rounds, two programs build at a time, no builds by two threads but
our own.  --churn: every row is replaced twice, the graph checked at every 1,000th step (minutes a set).

Written to --out: SET.csv (all passes), SET.svg (recall against QPS), filter-SET.csv, summary.csv, goals.csv; the tables on stdout.
--strict: status 1 when a required goal is missed.
"""
import argparse
import csv
import json
import math
import os
import platform
import subprocess
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
EFS = {"fashion": [10, 12, 16, 24, 32, 48, 64, 96, 128, 192], "cluster768": [10, 12, 16, 24, 32, 48, 64, 96, 128, 192],
       "small": [10, 12, 16, 24, 32, 48, 64, 96, 128, 192],
       "glove100": [32, 64, 96, 128, 160, 192, 256, 384, 512, 768]}
PROBES = [1, 2, 4, 8, 12, 16, 24, 32, 64, 128]
TARGETS = (.90, .95, .99)
SHARES = (.5, .2, .1, .05, .02, .01, .005, .001, .0001)


def faiss_wheel(cache):
    """a python's environment with faiss-cpu in it, and its version; None: it can't be had"""
    where = os.path.join(cache, "faiss-cpu")
    env = dict(os.environ, PYTHONPATH=where)
    for turn in (0, 1):
        p = subprocess.run([sys.executable, "-c", "import faiss; print(faiss.__version__)"], env=env, capture_output=True, text=True)
        if not p.returncode:
            return env, ".".join(p.stdout.split()[0].split(".")[:2])
        if not turn and subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", where, "faiss-cpu", "numpy"],
                                       capture_output=True).returncode:
            break
    print("faiss-cpu cannot be had by pip: Debian's FAISS, which uses no AVX2, instead", flush=True)
    return None


def build(peers, wheel):
    b = os.path.join(ROOT, "build-bench")
    if not os.path.exists(os.path.join(b, "build.ninja")):
        subprocess.run(["meson", "setup", "--buildtype=release", b], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", b, "src/index/libvx_index.a", "src/simd/libvx_simd.a", "src/base/libvx_base.a"], check=True,
                   stdout=subprocess.DEVNULL)
    libs = [os.path.join(b, "src", l, "libvx_%s.a" % l) for l in ("index", "simd", "base")]
    subprocess.run(["gcc", "-O2", "-std=gnu17", "-D_GNU_SOURCE", "-I" + os.path.join(ROOT, "src"), os.path.join(HERE, "bench_vexfs.c"),
                    "-o", os.path.join(b, "bench_vexfs")] + libs + ["-lm", "-lpthread"], check=True)
    if "hnswlib" in peers:
        subprocess.run(["g++", "-O3", "-march=native", "-DNDEBUG", os.path.join(HERE, "bench_hnswlib.cc"), "-o",
                        os.path.join(b, "bench_hnswlib"), "-lpthread"], check=True)
    if "faiss" in peers and not wheel:
        subprocess.run(["g++", "-O3", "-march=native", "-fopenmp", os.path.join(HERE, "bench_faiss.cc"), "-o",
                        os.path.join(b, "bench_faiss"), "-lfaiss", "-llapack", "-lblas"], check=True)
    return b


class Engine:
    def __init__(self, b, name, prog, data, args, env=None):
        env = dict(env or os.environ, GLIBC_TUNABLES="glibc.malloc.hugetlb=1")
        self.name = name
        prog = [sys.executable, os.path.join(HERE, prog)] if prog.endswith(".py") else [os.path.join(b, prog)]
        self.p = subprocess.Popen(prog + [data] + args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.rounds = []  # ef -> what was measured, a round each
        self.info = None

    def ready(self):
        """waits until it has built its index"""
        if self.info:
            return self
        line = self.p.stdout.readline()
        if not line:
            raise SystemExit("%s: did not start" % self.name)
        self.info = json.loads(line)
        over = self.info["overhead_bytes"]
        print("  %-20s built in %.1f CPU s, %.0f B a vector %s" %
              (self.name, self.info["build_cpu_s"], abs(over), "over the raw f32" if over >= 0 else "less than the raw f32, which it does not keep"),
              flush=True)
        return self

    def ask(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())

    def run(self, no, ef):
        while len(self.rounds) <= no:
            self.rounds.append({})
        self.rounds[no][ef] = self.ask(str(ef))

    @property
    def best(self):
        out = {}
        for r in self.rounds:
            for ef, x in r.items():
                if ef not in out or x["qps"] > out[ef]["qps"]:
                    out[ef] = x
        return out

    @staticmethod
    def cross(passes, recall, what):
        """interpolated between the passes around it; the first pass if that already reaches it (a lower bound)"""
        pts = sorted((r["recall"], r[what]) for r in passes.values())
        if pts and pts[0][0] >= recall:
            return pts[0][1]
        for (r0, q0), (r1, q1) in zip(pts, pts[1:]):
            if r0 < recall <= r1:
                return q0 + (q1 - q0) * (recall - r0) / (r1 - r0)
        return None

    def at(self, recall, what="qps"):
        return self.cross(self.best, recall, what)

    def ratio(self, other, recall):
        """of QPS at a recall, the median over the rounds; None: one of them does not get there"""
        both = [(self.cross(a, recall, "qps"), other.cross(b, recall, "qps")) for a, b in zip(self.rounds, other.rounds)]
        both = [a / b for a, b in both if a and b]
        return statistics.median(both) if both else None

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def svg(path, title, engines):
    w, h, x0, y0 = 760, 460, 70, 40
    colours = ["#c0392b", "#2471a3", "#239b56", "#b9770e", "#7d3c98", "#34495e", "#d35400"]
    pts = [(r["recall"], r["qps"]) for e in engines for r in e.best.values() if r["recall"] >= .7]
    lo, hi = min(q for _, q in pts), max(q for _, q in pts)
    lo, hi = math.log10(lo) - .05, math.log10(hi) + .05

    def px(r):  # nines on the way to 1 get room
        return x0 + (w - x0 - 160) * (-math.log10(max(1 - r, 5e-4)) + math.log10(.3)) / (math.log10(.3) - math.log10(5e-4))

    def py(q):
        return y0 + (h - y0 - 50) * (hi - math.log10(q)) / (hi - lo)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">' % (w, h),
           '<rect width="100%" height="100%" fill="white"/>', '<text x="%d" y="22" font-size="15">%s</text>' % (x0, title)]
    for r in (.7, .8, .9, .95, .98, .99, .995, .999):
        out.append('<line x1="%.0f" y1="%d" x2="%.0f" y2="%d" stroke="#ddd"/><text x="%.0f" y="%d" text-anchor="middle">%g</text>' %
                   (px(r), y0, px(r), h - 50, px(r), h - 34, r))
    q = 10 ** math.floor(lo)
    while math.log10(q) < hi:
        for m in (1, 2, 5):
            if lo < math.log10(q * m) < hi:
                y = py(q * m)
                out.append('<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="#ddd"/><text x="%d" y="%.0f" text-anchor="end">%g</text>' %
                           (x0, y, w - 160, y, x0 - 6, y + 4, q * m))
        q *= 10
    out.append('<text x="%d" y="%d">recall@10</text><text x="14" y="%d" transform="rotate(-90 14 %d)">queries a CPU second</text>' %
               ((w - 160 + x0) // 2 - 30, h - 12, h // 2 + 60, h // 2 + 60))
    for i, e in enumerate(engines):
        c = colours[i % len(colours)]
        line = sorted((r["recall"], r["qps"]) for r in e.best.values() if r["recall"] >= .7)
        out.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>' % (c, " ".join("%.1f,%.1f" % (px(r), py(q)) for r, q in line)))
        out += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (px(r), py(q), c) for r, q in line]
        out.append('<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="3"/><text x="%d" y="%d">%s</text>' %
                   (w - 150, y0 + 10 + 20 * i, w - 130, y0 + 10 + 20 * i, c, w - 124, y0 + 14 + 20 * i, e.name))
    out.append("</svg>")
    open(path, "w").write("\n".join(out) + "\n")


def put_csv(path, head, rows):
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows([head] + rows)


class Goals:
    """what is asked for, and what was measured: (set, what, measured, required, moonshot or None, met)"""
    def __init__(self):
        self.rows = []

    def least(self, name, what, got, want, moon=None):
        self.rows.append((name, what, got, want, moon, got >= want))

    def most(self, name, what, got, want, moon=None, ok=True):
        self.rows.append((name, what, got, want, moon, got <= want and ok))


def start(b, data, a, wheel):
    peers, quick = a.peers, a.quick
    args = ["queries=1000"] if quick else []
    todo = [("vexfs", "bench_vexfs", [], None), ("vexfs-f32", "bench_vexfs", ["codes=f32"], None)]
    if "hnswlib" in peers:
        todo.append(("hnswlib", "bench_hnswlib", [], None))
    if "faiss" in peers:
        prog, env, pre = ("bench_faiss.py", wheel[0], "faiss%s-" % wheel[1]) if wheel else ("bench_faiss", None, "debian-faiss-")
        keep = ["keep=" + os.path.join(data, "faiss")] if a.keep and wheel else []
        todo += [(pre + k, prog, ["kind=" + k] + keep, env) for k in ("hnswflat", "hnswsq8", "ivfpq")]
    engines = []
    for name, prog, more, env in todo:
        engines.append(Engine(b, name, prog, data, more + args, env))
        # one builds at a time, in the quick form two
        for e in engines[:-1] if quick else engines:
            e.ready()
    for e in engines:
        e.ready()
    return engines


def ask_filters(name, vx, out, goals):
    fl = []
    ef = min((r["ef"] for r in vx.best.values() if r["recall"] >= .96), default=max(EFS[name]))  # where .95 can be asked for
    for share in SHARES:
        r = vx.ask("filter %g %d" % (share, ef))
        fl.append(r)
        goals.least(name, "filter %g%% of rows: recall (no k missed)" % (share * 100), 0 if r["short"] else r["recall"], .95)
        goals.most(name, "filter %g%%: us, 1.2 x exact + 50" % (share * 100), r["us"], 1.2 * r["scan_us"] + 50)
    put_csv(os.path.join(out, "filter-%s.csv" % name), list(fl[0]), [list(r.values()) for r in fl])


def ask_churn(name, vx, goals):
    before = [vx.ask("%d" % ef)["recall"] for ef in (32, 64, 128)]
    c = vx.ask("churn")
    after = [vx.ask("%d" % ef)["recall"] for ef in (32, 64, 128)]
    print("  churn: delete %.0f us, insert %.0f us; recall at ef 32, 64, 128: %s before, %s after" %
          (c["delete_us"], c["insert_us"], before, after), flush=True)
    goals.most(name, "recall lost by replacing all twice", max(b - a for b, a in zip(before, after)), .01)
    goals.most(name, "graph checks with findings, of %d" % c["checks"], c["dirty"], 0)


def against(name, vx, vf, hn, goals):
    long = name != "glove100"
    for what, e, t, want, moon in (("QPS / hnswlib at .95", vx, .95, 2.0 if long else 1.5, 4.0 if long else 2.2),
                                   ("QPS / hnswlib at .99", vx, .99, 1.8 if long else 1.4, 4.0 if long else 2.0),
                                   ("f32 traversal / hnswlib at .95", vf, .95, 1.0 if long else 1.1, None)):
        r = e.ratio(hn, t)
        if r:
            goals.least(name, what, r, want, moon)
    goals.most(name, "build CPU / hnswlib", vx.info["build_cpu_s"] / hn.info["build_cpu_s"], .7, .4)


def against_faiss(name, vx, faiss, goals):
    """the best of FAISS's indexes at each recall"""
    for t in TARGETS:
        both = [(r, e.name.split("-")[-1]) for e in faiss for r in (vx.ratio(e, t),) if r]
        if both:
            r, which = min(both)
            goals.least(name, "QPS / best FAISS at %.2f (%s)" % (t, which), r, 1.0)


def bench_set(b, data, name, a, wheel, summary, goals):
    print("%s:" % name, flush=True)
    engines = start(b, data, a, wheel)
    vx, vf = engines[0], engines[1]
    hn = next((e for e in engines if e.name == "hnswlib"), None)
    for no in range(a.rounds):
        for i in range(len(EFS[name])):
            for e in engines:
                e.run(no, PROBES[i] if e.name.endswith("ivfpq") else EFS[name][i])
    put_csv(os.path.join(a.out, name + ".csv"), ["engine", "ef", "recall", "qps", "p50_us", "p99_us", "distances"],
            [[e.name, ef, r["recall"], r["qps"], r["p50_us"], r["p99_us"], r["distances"]]
             for e in engines for ef, r in sorted(e.best.items())])
    svg(os.path.join(a.out, name + ".svg"), "%s, %d vectors" % (name, vx.info["n"]), engines)
    if hn:
        against(name, vx, vf, hn, goals)
    against_faiss(name, vx, [e for e in engines if "faiss" in e.name], goals)
    ask_filters(name, vx, a.out, goals)
    mid = min(vx.best.values(), key=lambda r: abs(r["recall"] - .95))
    goals.most(name, "p99 / p50, CPU time of a query", mid["p99_us"] / mid["p50_us"], 2.5)
    bt = vx.ask("batch %d" % mid["ef"])
    goals.least(name, "batch by 2 threads: wall of 1 / of 2 (idle?)", bt["wall1_s"] / bt["wall2_s"], 1.8)
    goals.least(name, "batch by 2 threads: 2 x CPU of 1 / of 2", 2 * bt["cpu1_s"] / bt["cpu2_s"], 1.8)
    if a.churn:
        ask_churn(name, vx, goals)
    for e in engines:
        e.close()
    # builds by two threads, alone
    two = {}
    for e, prog in ((vx, "bench_vexfs"), (hn, "bench_hnswlib")):
        if e and not (a.quick and e is hn):
            t = Engine(b, e.name + " 2 thr", prog, data, ["threads=2"]).ready()
            t.close()
            two[e.name] = t.info
    t = two["vexfs"]
    if not a.quick:
        goals.least(name, "build by 2 threads: wall of 1 / of 2 (idle?)", vx.info["build_wall_s"] / t["build_wall_s"], 1.8)
    goals.least(name, "build by 2 threads: 2 x CPU of 1 / of 2", 2 * vx.info["build_cpu_s"] / t["build_cpu_s"], 1.8)
    bytes_most = 150 + {"fashion": 784, "cluster768": 768, "small": 64}.get(name, 100)
    goals.most(name, "bytes over raw, 150 + 1/dim", vx.info["overhead_bytes"], bytes_most)
    for e in engines:
        m = min(e.best.values(), key=lambda r: abs(r["recall"] - .95))
        row = [name, e.name]
        for what in ("qps", "distances"):
            row += [round(e.at(t, what)) if e.at(t, what) else "" for t in TARGETS]
        summary.append(row + [m["p50_us"], m["p99_us"], e.info["overhead_bytes"], e.info["build_cpu_s"], e.info["build_wall_s"],
                              two.get(e.name, {}).get("build_cpu_s", ""), two.get(e.name, {}).get("build_wall_s", "")])


def tables(a, summary, goals):
    head = ["set", "engine"] + ["qps@%.2f" % t for t in TARGETS] + ["dist@%.2f" % t for t in TARGETS] + \
        ["p50 us", "p99 us", "B over raw", "build CPU s", "build wall s", "2 thr CPU s", "2 thr wall s"]
    put_csv(os.path.join(a.out, "summary.csv"), head, summary)
    put_csv(os.path.join(a.out, "goals.csv"), ["set", "goal", "measured", "required", "moonshot", "met"], [list(g) for g in goals.rows])
    model = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    print("\n%s, %d cores, load %.1f, %s; k=10, M=16, efConstruction=200, one search thread; p50 and p99 near recall .95" %
          (model, os.cpu_count(), os.getloadavg()[0], time.strftime("%Y-%m-%d")))
    print("%-11s %-20s" % tuple(head[:2]) + "".join("%*s" % (len(h) + 2, h) for h in head[2:]))
    for r in summary:
        print("%-11s %-20s" % tuple(r[:2]) + "".join("%*s" % (len(h) + 2, round(x) if isinstance(x, float) and x >= 100 else x)
                                                      for h, x in zip(head[2:], r[2:])))
    print("B over raw: bytes a vector beyond its f32 form; below zero where the f32 form is not kept, and hits are not re-ranked on it")
    print("dist: distances a query, as the engine counts them; FAISS counts its own way, its IVF not at all")
    print("\n%-11s %-48s %10s %10s %10s" % ("set", "goal", "measured", "required", "moonshot"))
    for s, what, got, want, moon, ok in goals.rows:
        print("%-11s %-48s %10.3f %10.3f %10s %s" % (s, what, got, want, "" if moon is None else "%.3f" % moon, "" if ok else "MISSED"))
    missed = sum(not g[5] for g in goals.rows)
    print("%d of %d goals missed; curves and tables in %s" % (missed, len(goals.rows), os.path.relpath(a.out)))
    return missed


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--sets", nargs="*", default=["fashion", "glove100", "cluster768"], choices=list(EFS))
    ap.add_argument("--peers", nargs="*", default=["hnswlib", "faiss"], choices=["hnswlib", "faiss"])
    ap.add_argument("--rounds", type=int, default=0)
    ap.add_argument("--out", default=os.path.join(ROOT, "bench", "results"))
    ap.add_argument("--quick", action="store_true", help="about ten minutes")
    ap.add_argument("--keep", action="store_true", help="FAISS's indexes are left beside the data and used again, with what building them cost then")
    ap.add_argument("--churn", action="store_true", help="also replace every row twice and ask again (minutes)")
    ap.add_argument("--strict", action="store_true")
    a = ap.parse_args()
    a.rounds = a.rounds or (2 if a.quick else 3)
    os.makedirs(a.out, exist_ok=True)
    fetch = [sys.executable, os.path.join(ROOT, "tools", "fetch_data.py")]
    if subprocess.run(fetch + a.sets).returncode:
        return 1
    cache = subprocess.run(fetch + ["--where"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    wheel = faiss_wheel(cache) if "faiss" in a.peers else None
    b = build(a.peers, wheel)
    summary, goals = [], Goals()
    for s in a.sets:
        bench_set(b, os.path.join(cache, s), s, a, wheel, summary, goals)
    missed = tables(a, summary, goals)
    return 1 if missed and a.strict else 0


if __name__ == "__main__":
    sys.exit(main())
