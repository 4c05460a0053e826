#!/usr/bin/env python3
"""Many: names in one directory, files known under a limit of 1,024 fds, operations without a leak.

CONFORM_FULL=1: 300,000 names, 100,000 files, 1,000,000 operations; else a tenth of each.
"""
import os
import random
import resource
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from twin import mnt, outcome  # noqa: E402

FULL = bool(os.environ.get("CONFORM_FULL"))
OPS, NAMES, FILES = (1000000, 300000, 100000) if FULL else (50000, 30000, 20000)


def usage(pid):
    with open(f"/proc/{pid}/status") as f:
        rss = next(int(ln.split()[1]) for ln in f if ln.startswith("VmRSS"))
    return rss, len(os.listdir(f"/proc/{pid}/fd"))


def fill(d, n):
    for i in range(n):
        os.close(os.open(f"{d}/f{i:06}", os.O_CREAT | os.O_WRONLY, 0o644))


def big_dir():
    with mnt.Mount("-o", "components=none") as m:
        n = NAMES
        os.mkdir(m.dir + "/big")
        fill(m.dir + "/big", n)
        t = time.monotonic()
        names = os.listdir(m.p("big"))
        mnt.ok(len(names) == n and len(set(names)) == n, f"{n} names, each once, in {time.monotonic() - t:.1f} s")
        fd = os.open(m.p("big"), os.O_RDONLY)
        with os.scandir(fd) as it:
            some = [next(it).name for _ in range(1000)]
        for s in some[::2]:
            os.unlink(m.p("big", s))
        left = os.listdir(m.p("big"))
        mnt.eq((len(left), len(set(left) & set(some[::2]))), (n - 500, 0), "after removals while it is read")
        os.close(fd)


def fd_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard[1]))
    base = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"m-fd-{os.getpid()}")
    try:
        # the daemon raises its soft limit: only a hard one binds it
        real, wrap = mnt.VEXFS, base + ".sh"
        with open(wrap, "w") as f:
            f.write(f'#!/bin/sh\nulimit -H -n 1024\nexec {real} "$@"\n')
        os.chmod(wrap, 0o755)
        mnt.VEXFS = wrap
        with mnt.Mount("-o", "components=none", base=base) as m:
            n, per = FILES, FILES // 100
            for k in range(n // per):
                os.mkdir(f"{m.dir}/d{k:03}")
                fill(f"{m.dir}/d{k:03}", per)
            count = sum(1 for d in os.scandir(m.mnt) for e in os.scandir(d.path) if os.stat(e.path).st_size == 0)
            rss, fds = usage(m.pid)
            mnt.eq(count, n, f"a hard limit of 1,024 fds: {n} files known ({fds} fds, {rss // 1024} MB)")
            mnt.ok(fds < 400, f"{fds} fds in use")
            rng, bad = random.Random(mnt.seed(7)), 0
            for _ in range(2000):
                p = m.p(f"d{rng.randrange(100):03}", f"f{rng.randrange(per):06}")
                bad += outcome(lambda: open(p, "rb").read()) != b""
            mnt.eq(bad, 0, "2,000 of them opened at random")
            held = [os.open(m.p(f"d{i // 100:03}", f"f{i % 100:06}"), os.O_RDONLY) for i in range(600)]
            mnt.eq(outcome(lambda: len(os.listdir(m.p("d050")))), per, "600 held open: the rest still works")
            for fd in held:
                os.close(fd)
        mnt.VEXFS = real
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, hard)
        subprocess.run(["rm", "-rf", base, base + ".sh"])


WORK = r"""
import os, random, sys
d, n, rng = sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3]))
os.chdir(d)
for i in range(n // 10):
    a, b = f"w{sys.argv[3]}-{rng.randrange(50)}", f"w{sys.argv[3]}-{rng.randrange(50)}"
    fd = os.open(a, os.O_CREAT | os.O_RDWR)
    os.write(fd, b"x" * rng.randrange(5000)); os.pread(fd, 100, 0); os.fstat(fd)
    if rng.random() < .3: os.unlink(a)
    os.close(fd)
    for f in (lambda: os.rename(a, b), lambda: os.stat(b), lambda: os.link(b, a), lambda: os.setxattr(b, "user.x", b"1"), lambda: os.listdir("."),
              lambda: os.unlink(b)):
        try: f()
        except OSError: pass
"""


def leak():
    with mnt.Mount("-o", "components=none") as m:
        os.mkdir(m.p("w"))

        def work(n, seed):
            ps = [subprocess.Popen([sys.executable, "-c", WORK, m.p("w"), str(n // 2), str(seed + k)]) for k in range(2)]
            return [p.wait() for p in ps]
        work(max(OPS // 10, 5000), 1)
        subprocess.run("sync; echo 2 >/proc/sys/vm/drop_caches 2>/dev/null || :", shell=True, stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        rss0, fds0 = usage(m.pid)
        rc = work(OPS, 11)
        subprocess.run("sync; echo 2 >/proc/sys/vm/drop_caches 2>/dev/null || :", shell=True, stderr=subprocess.DEVNULL)
        mnt.wait_until(lambda: usage(m.pid)[1] <= fds0 + 20, 5)
        rss1, fds1 = usage(m.pid)
        mnt.eq(rc, [0, 0], f"{OPS} operations by two processes")
        mnt.ok(fds1 <= fds0 + 20, f"fds: {fds0} before, {fds1} after")
        mnt.ok(rss1 <= rss0 + 1024, f"RSS: {rss0} KiB before, {rss1} KiB after")


big_dir()
fd_limit()
leak()
mnt.done()
