#!/usr/bin/env python3
"""The n-th allocation fails, for every n of a script of operations, on a real mount: it goes on serving and loses nothing it acknowledged.

The mount is made with `-o debug`, so that ctl has alloc_fail.  For each n the script runs with that one failure somewhere in it: an
operation may be refused, never wrong.  Then, without failures, everything acknowledged is read back and searched.  Opening has allocations
of its own: for each of those n a cold mount is touched for the first time, must say why it failed, and open at the next try.

A sample of n in `make check`; every n with VEXFS_ALL=1 (`make torture-alloc`).
"""
import errno
import json
import os
import random

import mnt
from mnt import Mount, done, eq, f32, ok, seed

rng = random.Random(seed())
ALL = bool(os.environ.get("VEXFS_ALL"))
SAMPLE = 40
DIM = 16
IDS = 12


def vec(k):
    r = random.Random(k)
    return [f32(r.gauss(0, 1)) for _ in range(DIM)]


def close(a, b):
    return a is not None and len(a) == len(b) and all(abs(x - y) < 1e-5 for x, y in zip(a, b))


def ctl(m, line):
    fd = os.open(m.p(".vexfs/ctl"), os.O_RDWR)
    try:
        os.write(fd, line.encode())
        out = os.read(fd, 65536)
        return json.loads(out) if out else {}  # the answer to arming may be what fails
    finally:
        os.close(fd)


def arm(m, n):
    """a failing allocation may hit the request that takes the failure back: asked again"""
    last = None
    for _ in range(20):
        try:
            a = ctl(m, f"alloc_fail nth={n}")
            if n or a:
                return a
        except (OSError, ValueError) as e:
            last = e
    raise RuntimeError(f"alloc_fail cannot be asked: {last!r}")


class Model:
    """What was acknowledged: points by wait=durable, files by a successful close."""

    def __init__(self, m):
        self.m, self.may, self.files, self.refused, self.k = m, {}, {}, 0, 0

    def tolerant(self, fn, *args, **kw):
        try:
            return fn(*args, **kw)
        except (OSError, ValueError) as e:
            self.refused += 1
            if isinstance(e, OSError) and e.errno in (errno.ENOTCONN, errno.ECONNABORTED):
                raise
            return None

    def put(self, i):
        self.k += 1
        a = self.tolerant(self.m.ask, "put", collection="c", points=[{"id": i, "vector": vec(self.k)}], wait="durable")
        good = a is not None and "error" not in a
        self.may[i] = {self.k} if good else self.may.get(i, {0}) | {self.k}
        self.refused += a is not None and not good

    def write(self, name):
        self.k += 1
        text = f"note {self.k} on winter and the budget\n" * 3
        fd = self.tolerant(os.open, self.m.p(name), os.O_WRONLY | os.O_CREAT, 0o644)
        if fd is None:
            return
        n = self.tolerant(os.pwrite, fd, text.encode().ljust(200), 0)
        self.tolerant(os.close, fd)
        if n == 200:
            self.files[name] = {text.encode().ljust(200)}
        else:
            self.files.setdefault(name, set()).add(text.encode().ljust(200))

    def script(self):
        m = self.m
        for i in range(3):
            self.put(rng.randrange(IDS))
            self.write(f"f{i}")
            self.tolerant(m.set_vector, f"f{i}", vec(self.k))
        self.tolerant(m.ask, "search", collection="c", vector=vec(3), k=5)
        self.tolerant(m.ask, "search", text="winter", k=3)
        self.tolerant(m.ask, "put", collection="c", points=[{"id": 100 + i, "vector": vec(i), "payload": {"n": i}} for i in range(4)], wait="durable")
        self.tolerant(m.ask, "search", collection="c", vector=vec(3), k=5, filter="payload.n > 1")
        self.tolerant(os.listdir, m.p(".vexfs/search/budget"))
        self.tolerant(os.getxattr, m.p("f1"), "user.vexfs.similar")
        self.tolerant(os.rename, m.p("f2"), m.p("g2"))
        self.tolerant(os.rename, m.p("g2"), m.p("f2"))
        self.tolerant(os.listdir, m.mnt)
        self.tolerant(os.link, m.p("f0"), m.p("l"))
        self.tolerant(os.unlink, m.p("l"))
        self.tolerant(m.ask, "collections")
        self.tolerant(m.ask, "status")
        m.drop_query()

    def holds(self):
        """[] or what is wrong"""
        bad = []
        for i, want in self.may.items():
            a = self.m.ask("get", collection="c", id=i, with_vectors=True)
            v = a.get("vector")
            got = next((k for k in want if (v is None if k == 0 else close(v, vec(k)))), None)
            if got is None:
                bad.append(f"point {i}: {a if v is None else v[:2]}, may be {len(want)}")
            else:
                self.may[i] = {got}
        live = sum(min(w) != 0 for w in self.may.values())
        a = self.m.ask("search", collection="c", vector=vec(1), k=200, exact=True)
        ids = {r["id"] for r in a.get("results", [])}
        if "error" in a or len([i for i in ids if i < IDS]) != live:
            bad.append(f"search finds {sorted(ids)} of {live} points {str(a)[:100]}")
        for name, want in self.files.items():
            with open(self.m.p(name), "rb") as f:
                got = f.read()
            if got not in want:
                bad.append(f"{name}: {got[:30]!r}")
            self.files[name] = {got}
        return bad


def serving():
    with Mount("-o", "debug,components=all") as m:
        m.ask("collection_create", name="c", dim=DIM, metric="cosine")
        t = Model(m)
        for i in range(IDS):
            t.put(i)
        t.script()
        m.wait("--durable")
        n0 = ctl(m, "alloc_fail")["allocations"]
        t.script()
        m.wait()
        total = ctl(m, "alloc_fail")["allocations"] - n0
        ns = range(1, total + 1) if ALL else sorted(rng.sample(range(1, total + 1), min(SAMPLE, total)))
        wrong, hit = [], 0
        for n in ns:
            arm(m, n)
            t.script()
            hit += arm(m, 0)["waits"] == 0
            if not mnt.alive(m.pid):
                wrong.append(f"n {n}: the daemon died")
                break
            bad = t.holds()
            if bad:
                wrong.append(f"n {n}: {bad[:2]}")
        eq(wrong, [], f"{len(ns)} of {total} allocations failed, one at a time: {hit} were reached, {t.refused} operations refused, nothing lost")
        ok(hit >= len(ns) * 0.5, f"the failures happened: {hit} of {len(ns)}")
        ok(mnt.alive(m.pid), "the daemon lives")
        m.wait("--durable")
        code, out, err = mnt.vexfs("verify", m.mnt)
        eq(code, 0, "verify is clean")
        m.umount()
        m.mount()
        eq(t.holds(), [], "the same after another mount")


def first_touch(m, n):
    """The opening with its n-th allocation failing. (reached, what is wrong)"""
    arm(m, n)
    a = {}
    try:
        a = m.ask("search", collection="c", vector=vec(1), k=50, exact=True)
    except (OSError, ValueError):
        m.drop_query()
    reached = arm(m, 0)["waits"] == 0
    if "results" not in a:
        state = m.status()["components"]["store"]
        if state["state"] not in ("cold", "failed", "opening", "ready"):
            return reached, f"refused, and the store is {state}"
        for _ in range(2):  # an opening that was under way when the failure was taken back may have met it already
            m.ask("retry")
            if not mnt.vexfs("wait", m.mnt)[0]:
                break
        a = m.ask("search", collection="c", vector=vec(1), k=50, exact=True)
    got = len(a.get("results", []))
    return reached, None if got == IDS else f"{got} of {IDS} points: {str(a)[:150]}"


def opening():
    with Mount("-o", "debug,components=search") as m:
        m.ask("collection_create", name="c", dim=DIM, metric="cosine")
        m.ask("put", collection="c", points=[{"id": i, "vector": vec(i)} for i in range(IDS)], wait="durable")
        for i in range(3):
            m.write(f"f{i}", "x")
            m.set_vector(f"f{i}", vec(i))
        m.wait("--durable")
        m.umount()
        m.mount()
        n0 = ctl(m, "alloc_fail")["allocations"]
        m.ask("search", collection="c", vector=vec(1), k=50, exact=True)
        total = ctl(m, "alloc_fail")["allocations"] - n0
        ns = range(1, total + 1) if ALL else sorted(rng.sample(range(1, total + 1), min(8, total)))
        wrong, hit = [], 0
        for n in ns:
            m.umount()
            m.mount()
            reached, bad = first_touch(m, n)
            hit += reached
            if bad or not mnt.alive(m.pid):
                wrong.append(f"n {n}: {bad}")
        eq(wrong, [], f"{len(ns)} of {total} allocations of a first touch failed, {hit} were reached: each time it opened at the next try, nothing lost")
        ok(hit >= len(ns) * 0.5, f"the failures happened: {hit} of {len(ns)}")


serving()
opening()
done()
