#!/usr/bin/env python3
"""run.py - what the monitors cost, in instructions of the daemon (callgrind), on against off.

usage: bench/monitor/run.py VEXFS [--searches N] [--files N]

The daemon runs under callgrind and serves a fixed script twice: once with a collection only searched, once with file operations only.  "Off"
is the same run less everything in the monitors' own functions (base/perf.c, base/stack.c) and every reading of the clock, theirs or not.  The
warm-up, in which every request is painted, is not part of the counts.  Not told apart: the two readings of the processor's counter (base/tick.h),
which are part of transport_process, about ten instructions a request.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MONITOR = ("perf_op", "first_count", "take_shard", "new_max", "perf_add", "perf_set", "stack_op_begin", "stack_op_begin_op", "stack_op_end",
           "stack_check", "stack_left",
           "record", "turn", "look", "sample_begin", "paint_below", "intact", "lowest_touched", "window_low", "note_deep", "seen", "tell_once",
           "bucket_of", "stack_used_below", "tick_by_clock", "tick_long")
DIM = 384
WARM = 3000  # the first 256 of an operation on each of its threads are painted


def counts(out):
    """(all, monitors', clock's) instructions of one callgrind file"""
    text = subprocess.run(["callgrind_annotate", "--auto=no", "--inclusive=no", "--threshold=100", "--show=Ir", out], capture_output=True, text=True).stdout
    total = mon = clock = 0
    for line in text.splitlines():
        m = re.match(r"\s*([\d,]+) \(.*?\)\s+(.*)", line)
        if not m:
            continue
        n = int(m[1].replace(",", ""))
        if "PROGRAM TOTALS" in m[2]:
            total = n
        f = re.search(r":(\w+)(?:'\d+)?(?:\.\w+(?:\.\d+)?)? ", m[2] + " ")
        if f and f[1] in MONITOR:
            mon += n
        if f and f[1] in ("lx_mono_ns", "clock_gettime", "__vdso_clock_gettime"):
            clock += n
    return total, mon, clock


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("vexfs")
    ap.add_argument("--searches", type=int, default=2000)
    ap.add_argument("--files", type=int, default=3000)
    a = ap.parse_args()
    os.environ["VEXFS"] = os.path.abspath(a.vexfs)
    sys.path.insert(0, os.path.join(ROOT, "tests/mount"))
    import mnt
    rng = mnt.random.Random(1)
    tmp = tempfile.mkdtemp(prefix="vexfs-monitor.", dir="/var/tmp")
    m = mnt.Mount("-o", "components=search,transport=plain", start=False, base=os.path.join(tmp, "m"))
    out = os.path.join(tmp, "cg")
    p = subprocess.Popen(["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", os.environ["VEXFS"], "mount", "-f", m.dir, m.mnt,
                          *m.opts], stderr=subprocess.DEVNULL)
    try:
        if not mnt.wait_until(lambda: mnt.mounted(m.mnt), 120):
            raise RuntimeError("no mount under valgrind")
        ctl = ["callgrind_control"]

        def segment(warm, fn, n):
            for f, k in ((warm, WARM), (None, 0), (fn, n)):  # past the warm-up of the stack's marks, then counted
                if f is None:
                    subprocess.run([*ctl, "-z", str(p.pid)], check=True, stdout=subprocess.DEVNULL)
                    continue
                for i in range(k):
                    f(i)
            before = set(os.listdir(tmp))
            subprocess.run([*ctl, "-d", str(p.pid)], check=True, stdout=subprocess.DEVNULL)
            mnt.wait_until(lambda: set(os.listdir(tmp)) - before, 60)
            new = sorted(set(os.listdir(tmp)) - before)[-1]
            return counts(os.path.join(tmp, new))
        m.ask("collection_create", name="c", dim=DIM, metric="cosine")
        m.ask("collection_create", name="w", dim=4, metric="cosine")
        m.ask("put", collection="w", points=[{"id": i, "vector": mnt.rand_vec(rng, 4)} for i in range(1200)])
        for k in range(0, 1000, 250):
            m.ask("put", collection="c", points=[{"id": k + i, "vector": mnt.rand_vec(rng, DIM)} for i in range(250)])
        for c in "cw":
            m.ask("index_build", name=c)
        small = mnt.json.dumps({"verb": "search", "collection": "w", "vector": mnt.rand_vec(rng, 4), "k": 1, "ef": 8}).encode()
        qs = [mnt.json.dumps({"verb": "search", "collection": "c", "vector": mnt.rand_vec(rng, DIM), "k": 10}).encode() for _ in range(50)]
        for i in range(30):
            m.write(f"f{i}", b"x" * 4096)
        m.wait()
        m.raw(qs[0])

        def files(i):
            fd = os.open(m.p(f"f{i % 30}"), os.O_RDONLY)
            os.read(fd, 4096)
            os.close(fd)
        for name, warm, fn, n in (("searches", lambda i: m.raw(small), lambda i: m.raw(qs[i % 50]), a.searches),
                                  ("file open, read, close", files, files, a.files)):
            total, mon, clock = segment(warm, fn, n)
            off = total - mon - clock
            print(f"{name}: {n} times, {total / n:,.0f} instructions each; monitors {mon / n:,.0f}, their clock {clock / n:,.0f}: "
                  f"{100 * (total - off) / off:.2f}% on against off", flush=True)
    finally:
        m.drop_query()
        subprocess.run(["umount", "-l", m.mnt])
        p.terminate()
        try:
            p.wait(60)
        except subprocess.TimeoutExpired:
            p.kill()
        print(tmp) if os.environ.get("KEEP") else subprocess.run(["rm", "-rf", tmp])


main()
