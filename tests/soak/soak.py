#!/usr/bin/env python3
"""soak.py - a mount under mixed work for hours, with a verdict and curves:  tests/soak/soak.py [--minutes M] [--cpu PERCENT] [--out DIR] …

What runs, in turns of a second or two:
  twins     two processes apply the same random file operations to the mount and to a native directory and compare each outcome
  vectors   puts (free points, batches, files), payloads, deletes; what was acknowledged is remembered, and how (visible, durable)
  searches  by vector (exact, compared with a brute-force walk of the model), through the graph, by words, through search directories
  victims   clients with all of that in a shell loop, killed by SIGKILL in the middle
On a schedule: the store's disk is full for a while; its flushes fail (it turns read-only, is unmounted, verified, mounted again); the
daemon is killed by SIGKILL.  From a quarter to three quarters of the time none of the last two happens: that is the one life in
which memory and descriptors must stay flat.

Verdict: the twin trees are equal; no acknowledged vector is lost or changed; every exact search was right; `verify` is clean after
each stop; memory and descriptors are flat; the daemon died only when it was killed.  Curves: soak.csv and soak.svg in --out.

--cpu holds all of it together (daemon, clients, this) below so many percent of one processor."""
import argparse
import csv
import errno
import json
import math
import os
import random
import shutil
import signal
import stat
import hashlib
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../mount"))
import mnt  # noqa: E402
from curves import draw  # noqa: E402

DIM, POINTS, FILES = 32, 1500, 120
E_WRITE, E_FLUSH, E_GROW = 1, 2, 4
TICK = os.sysconf("SC_CLK_TCK")
WORDS = "storm river budget vector winter approved garden engine quiet lantern".split()

TWIN = r"""
import errno, os, random, sys
pair, seed = sys.argv[1:3], int(sys.argv[3])
rng = random.Random(seed)
names = [f"n{i}" for i in range(30)] + [f"d{i}/n{j}" for i in range(3) for j in range(15)]
words = "storm river budget vector winter approved garden engine quiet".split()
for d in pair:
    for i in range(3):
        os.makedirs(f"{d}/d{i}", exist_ok=True)

def op(top, a, b, k, off, n, text):
    a, b = f"{top}/{a}", f"{top}/{b}"
    if k < 4:
        fd = os.open(a, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            r = os.pwrite(fd, text or b"\0" * n, off if k == 0 else 0)
            if k == 1: os.ftruncate(fd, n)
            if k == 2: os.fsync(fd)
            return r, os.pread(fd, 200, 0)
        finally:
            os.close(fd)
    if k == 4: return os.rename(a, b)
    if k == 5: return os.unlink(a)
    if k == 6: return os.link(a, b)
    if k == 7: return os.symlink(os.path.basename(b), a)
    if k == 8: return os.chmod(a, [0o600, 0o644, 0o755, 0o444][n % 4])
    if k == 9: return os.truncate(a, n)
    if k == 10: return os.setxattr(a, "user.s", text[:1000])
    if k == 11: return os.mkdir(a)
    if k == 12: return os.rmdir(a)
    if k == 13: return os.utime(a, ns=(n * 10**9, off * 10**9), follow_symlinks=False)
    if k == 14:
        with open(a, "rb") as f: return f.read()
    if k == 15: return sorted(os.listdir(os.path.dirname(a)))
    if k == 16: return os.removexattr(a, "user.s")
    st = os.lstat(a)
    return oct(st.st_mode), st.st_nlink, st.st_size if not os.path.isdir(a) else 0

def outcome(*args):
    try:
        return op(*args)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)

for line in sys.stdin:
    bad = []
    for _ in range(int(line)):
        args = (rng.choice(names), rng.choice(names), rng.randrange(18), rng.randrange(60000), rng.randrange(9000),
                " ".join(rng.choice(words) for _ in range(rng.randrange(60))).encode())
        got, want = outcome(pair[0], *args), outcome(pair[1], *args)
        if got != want:
            bad.append(f"{args[:5]}: mount {got!r:.200}, native {want!r:.200}")
    print(len(bad), *bad[:1], flush=True)
"""

VICTIM = r"""
while :; do
    ls -lR . >/dev/null; cat vec/f* >/dev/null; cp vec/f1 vec/k.$$; rm -f vec/k.$$; ls .vexfs/search/winter >/dev/null
    getfattr -n user.vexfs.similar vec/f2 >/dev/null; $VEXFS search 'budget winter' . -k 5 >/dev/null
done
"""


def vec_of(seed):
    rng = random.Random(seed)
    return [mnt.f32(rng.gauss(0, 1)) for _ in range(DIM)]


def unit(v):
    n = math.sqrt(sum(x * x for x in v))
    return [x / n for x in v]


def close(a, b):
    return len(a) == len(b) and all(abs(x - y) <= 1e-5 * (1 + abs(y)) for x, y in zip(a, b))


def cpu_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            w = f.read().rsplit(")", 1)[1].split()
        return (int(w[11]) + int(w[12])) / TICK
    except OSError:
        return 0.0


def tree(top):
    out = {}
    for d, subs, files in os.walk(top):
        for name in subs + files:
            p = os.path.join(d, name)
            st = os.lstat(p)
            x, body = (), ""
            if stat.S_ISLNK(st.st_mode):
                body = os.readlink(p)
            else:
                x = tuple((k, os.getxattr(p, k)) for k in sorted(os.listxattr(p)) if not k.startswith("user.vexfs."))
            if stat.S_ISREG(st.st_mode):
                with open(p, "rb") as f:
                    body = hashlib.sha1(f.read()).hexdigest()
            out[os.path.relpath(p, top)] = (oct(st.st_mode), st.st_uid, st.st_nlink,
                                            st.st_size if stat.S_ISREG(st.st_mode) else 0, body, x)
    return out


class Governor:
    """Sleeps until everything together has used no more than its share."""

    def __init__(self, percent):
        self.share, self.t0, self.gone, self.daemon, self.seen = percent / 100, time.monotonic(), 0.0, 0, 0.0
        self.live = []

    def used(self):
        t = os.times()
        return self.gone + self.seen_daemon() + t.user + t.system + t.children_user + t.children_system + \
            sum(cpu_of(p.pid) for p in self.live)

    def seen_daemon(self):
        self.seen = max(self.seen, cpu_of(self.daemon))
        return self.seen

    def new_daemon(self, pid):
        self.gone += self.seen
        self.daemon, self.seen = pid, 0.0

    def rest(self):
        if self.share < 1e-9:
            return
        due = self.t0 + self.used() / self.share
        time.sleep(min(max(due - time.monotonic(), 0), 20))


class Soak:
    def __init__(self, a):
        self.a, self.seed = a, mnt.seed(a.seed)
        self.rng = random.Random(self.seed)
        self.m = mnt.Mount("-o", a.opts, start=False, base=os.path.join(a.out, "mount"))
        self.page = os.path.join(a.out, "page")
        with open(self.page, "wb") as f:
            f.write(bytes(4096))
        self.errors = os.path.join(a.out, "store_errors.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self.errors, os.path.join(HERE, "store_errors.c")], check=True)
        self.gov = Governor(a.cpu)
        self.may = {}  # point -> seeds it may have: one when nothing is open
        self.now = {}  # point -> the seed it has, None: not known, -1: none
        self.filev, self.story = {}, {}
        self.lat = {"search": [], "put": [], "file": []}
        self.count = dict.fromkeys(("file_ops", "puts", "puts_refused", "searches", "deadlines", "exact", "victims", "store_errors", "daemon_kills",
                                    "read_only", "remounts", "turns"), 0)
        self.wrong, self.rows, self.lives, self.life = [], [], [], 0
        self.twins = []

    # ---- the daemon ---------------------------------------------------------------------------------------------------------
    def mount(self):
        env = {"LD_PRELOAD": self.errors, "VEXFS_SOAK_PAGE": self.page, "VEXFS_SOAK_STORE": os.path.join(self.m.dir, ".vexfs")}
        mnt.run(mnt.VEXFS, "mount", self.m.dir, self.m.mnt, *self.m.opts, check=True, env=env)
        self.m.pid = self.m.status()["pid"]
        self.gov.new_daemon(self.m.pid)
        self.life += 1

    def bad(self, what):
        self.wrong.append(f"{time.monotonic() - self.gov.t0:.0f} s: {what}")
        print(f"# WRONG: {self.wrong[-1][:600]}", flush=True)

    def fault(self, what, err=0):
        with open(self.page, "r+b") as f:
            f.write(struct.pack("<II", what, err))

    def hits(self):
        with open(self.page, "rb") as f:
            return struct.unpack("<III", f.read(12))[2]

    # ---- vectors --------------------------------------------------------------------------------------------------------------
    def put(self, ids, durable):
        seeds = [self.rng.randrange(1 << 40) for _ in ids]
        t0 = time.monotonic()
        pts = [{"id": i, "vector": vec_of(s)} for i, s in zip(ids, seeds)]
        a = self.m.ask("put", collection="soak", points=pts, **({"wait": "durable"} if durable else {}))
        self.lat["put"].append(time.monotonic() - t0)
        good = "error" not in a
        self.count["puts" if good else "puts_refused"] += len(ids)
        for i, s in zip(ids, seeds):
            self.may[i] = {s} if good and durable else self.may.get(i, {-1}) | {s}
            self.now[i] = s if good else None
            self.note(i, f"put {s:x} of {len(ids)}{' durable' if durable else ''}", a.get("error", {}).get("code", "ok"))
        if not good and not self.faulty:
            self.bad(f"a put was refused: {a}")

    def note(self, i, what, how):
        h = self.story.setdefault(i, [])
        h.append(f"{time.monotonic() - self.gov.t0:.2f} {what}: {how}")
        del h[:-8]

    def delete(self, i):
        a = self.m.ask("del", collection="soak", id=i)
        good = "error" not in a or a["error"]["code"] in ("no_point", "no_vector", "not_found")
        self.may[i] = self.may.get(i, {-1}) | {-1}
        self.now[i] = -1 if good else None
        self.note(i, "del", a.get("error", {}).get("code", "ok"))
        if not good and not self.faulty:
            self.bad(f"a delete was refused: {a}")

    def barrier(self):
        """what is visible is durable from here on"""
        code, _, err = mnt.vexfs("wait", self.m.mnt, "--durable", timeout=600)
        if code:
            if not self.faulty:
                self.bad(f"wait --durable: {err}")
            return
        for i, s in self.now.items():
            if s is not None:
                self.may[i] = {s}
                self.note(i, "wait --durable", "ok")
        for v in self.filev.values():
            v[1] = True

    def look(self, i):
        a = self.m.ask("get", collection="soak", id=i, with_vectors=True)
        return a.get("vector") if "error" not in a else None

    def settle(self, ids, why):
        """each of ids holds one of the vectors it may have; from here on that one"""
        for i in ids:
            v, want = self.look(i), self.may.get(i, {-1})
            got = next((s for s in want if (v is None if s == -1 else v is not None and close(v, vec_of(s)))), None)
            if got is None:
                self.bad(f"{why}: point {i} holds {'nothing' if v is None else v[:3]}, may hold {len(want)} other(s)"
                         f"{' (acknowledged as durable)' if len(want) == 1 else ''}; {self.story.get(i)}")
                self.put([i], True)  # told once; from here on it is known again
                continue
            self.now[i] = got
            self.may[i] = {got}

    def exact(self):
        """an exact search against the model; points whose vector is not known make it void"""
        unknown = [i for i, s in self.now.items() if s is None]
        if unknown:
            self.settle(unknown[:50], "after an error")
            return
        q = vec_of(self.rng.randrange(1 << 40))
        u = unit(q)
        rows = sorted((1 - sum(x * y for x, y in zip(u, unit(vec_of(s)))), i) for i, s in self.now.items() if s != -1)
        a = self.m.ask("search", collection="soak", vector=q, k=5, exact=True)
        got = [(r["distance"], r["id"]) for r in a.get("results", [])]
        good = len(got) == min(5, len(rows)) and all(abs(d - rows[n][0]) < 1e-4 for n, (d, _) in enumerate(got))
        self.count["exact"] += 1
        if not good:
            self.bad(f"exact search: got {str(got or a)[:300]}, want {rows[:5]}")

    def search(self):
        k = self.rng.randrange(4)
        t0 = time.monotonic()
        if k == 0:
            try:
                os.listdir(self.m.p(f".vexfs/search/{self.rng.choice(WORDS)} {self.rng.choice(WORDS)}"))
            except OSError as e:
                self.bad(f"search directory: {e}")
            return
        if k == 1:
            a = self.m.ask("search", text=f"{self.rng.choice(WORDS)}", k=5)
        elif k == 2:
            a = self.m.ask("search", vector=vec_of(self.rng.randrange(1 << 40)), k=5)
        else:
            a = self.m.ask("search", collection="soak", vector=vec_of(self.rng.randrange(1 << 40)), k=10)
            self.lat["search"].append(time.monotonic() - t0)
        self.count["searches"] += 1
        if "error" in a and a["error"]["code"] == "deadline":  # on a machine far too busy it is refused after two seconds, as promised
            self.count["deadlines"] += 1
        elif "error" in a and not self.faulty:
            self.bad(f"a search failed: {a}")

    def file_vector(self):
        n = f"vec/f{self.rng.randrange(FILES)}"
        t0 = time.monotonic()
        self.m.write(n, " ".join(self.rng.choice(WORDS) for _ in range(40)))
        self.lat["file"].append(time.monotonic() - t0)
        seed = self.rng.randrange(1 << 40)
        try:
            self.m.set_vector(n, vec_of(seed))
            self.filev[n] = [seed, False]
            self.count["puts"] += 1
        except OSError as e:
            self.count["puts_refused"] += 1
            self.filev.pop(n, None)
            if not self.faulty:
                self.bad(f"setxattr: {e}")
            return
        if not self.faulty and not close(self.m.get_vector(n), vec_of(seed)):
            self.bad(f"{n} does not hold the vector just set")

    # ---- a turn -----------------------------------------------------------------------------------------------------------------
    def turn(self):
        victim = None
        for p in self.twins:
            p.stdin.write("25\n")
            p.stdin.flush()
        if self.rng.random() < 0.15:
            victim = subprocess.Popen(["sh", "-c", VICTIM], cwd=self.m.mnt, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      start_new_session=True, env=dict(os.environ, VEXFS=mnt.VEXFS))
        for _ in range(6):
            self.put([self.rng.randrange(POINTS) for _ in range(1)], self.rng.random() < 0.3)
        if self.rng.random() < 0.3:
            self.put(self.rng.sample(range(POINTS), 20), True)
        if self.rng.random() < 0.5 and not self.faulty:
            self.delete(self.rng.randrange(POINTS))
        self.file_vector()
        for _ in range(20):
            self.search()
        if self.rng.random() < 0.3 and not self.faulty:  # while the store fails, what was visible may be taken back
            self.exact()
        for p in self.twins:
            n, _, first = p.stdout.readline().partition(" ")
            self.count["file_ops"] += 25
            if n.strip() != "0":
                self.bad(f"twin: {n} differences, {first}")
        if victim:
            time.sleep(self.rng.random() * 0.3)
            os.killpg(victim.pid, signal.SIGKILL)
            victim.wait()
            self.count["victims"] += 1
        self.count["turns"] += 1
        if not mnt.alive(self.m.pid):
            raise RuntimeError("the daemon is gone")
        self.gov.rest()

    def sample(self, mark=""):
        s = self.m.status()
        q = {k: sorted(v) for k, v in self.lat.items()}

        def pct(k, p):
            v = q[k]
            return round(v[min(len(v) - 1, int(len(v) * p))] * 1e6) if v else ""
        self.rows.append({"t_s": round(time.monotonic() - self.gov.t0, 1), "life": self.life, "rss_kib": s["memory"]["rss"] >> 10,
                          "vsz_kib": s["memory"]["vsz"] >> 10, "heap_kib": s["memory"]["heap"] >> 10,
                          "fds": len(os.listdir(f"/proc/{self.m.pid}/fd")), "threads": len(os.listdir(f"/proc/{self.m.pid}/task")),
                          "pending": s["pending"], "disk_kib": s.get("store", {}).get("disk_bytes", 0) >> 10,
                          "search_p50_us": pct("search", .5), "search_p99_us": pct("search", .99), "put_p50_us": pct("put", .5),
                          "put_p99_us": pct("put", .99), "cpu_s": round(self.gov.used(), 2), "wrong": len(self.wrong), "event": mark,
                          **self.count})
        self.lat = {k: [] for k in self.lat}
        with open(os.path.join(self.a.out, "soak.csv"), "w", newline="") as f:
            w = csv.DictWriter(f, self.rows[0])
            w.writeheader()
            w.writerows(self.rows)
        draw(os.path.join(self.a.out, "soak.svg"), "soak", self.rows)
        r = self.rows[-1]
        print(f"# {r['t_s']:.0f} s: RSS {r['rss_kib']} KiB, {r['fds']} fds, {r['file_ops']} file ops, {r['puts']} puts, {r['searches']} searches, "
              f"p99 {r['search_p99_us']} us, {r['wrong']} wrong {mark}", flush=True)

    # ---- events -------------------------------------------------------------------------------------------------------------------
    faulty = False

    def disk_full(self):
        """the store's file system has no room for a few turns; then it has"""
        self.barrier()
        self.faulty, before = True, self.hits()
        self.fault(E_WRITE | E_GROW, errno.ENOSPC)
        for _ in range(3):
            self.turn()
        self.fault(0)
        self.count["store_errors"] += self.hits() - before
        self.recover()

    def flush_fails(self):
        """a flush fails once: read-only until mounted again, nothing acknowledged is lost, files and searches go on meanwhile"""
        self.barrier()
        self.faulty, before = True, self.hits()
        self.fault(E_FLUSH, errno.EIO)
        for _ in range(3):
            self.turn()
        self.fault(0)
        self.count["store_errors"] += self.hits() - before
        if self.m.status()["components"].get("store", {}).get("state") == "ready" and self.m.status()["writable"]:
            self.bad("a failed flush left the store writable")
        self.count["read_only"] += 1
        self.recover()

    def recover(self):
        """writable again by itself, or by mounting again when the store says so"""
        self.put([0], True)
        if self.now[0] is None:
            self.again()
        self.faulty = False
        self.forget()
        self.settle(sorted(self.may), "after errors of the store")

    def again(self):
        self.park_twins()
        self.m.umount()
        self.verify()
        self.mount()
        self.count["remounts"] += 1
        self.start_twins()

    def kill(self):
        self.park_twins()
        self.put(self.rng.sample(range(POINTS), 30), False)
        self.m.kill9()
        self.count["daemon_kills"] += 1
        self.verify()
        self.mount()
        self.start_twins()
        self.forget()
        self.settle(sorted(self.may), "after SIGKILL of the daemon")

    def forget(self):
        """vectors of files that were only visible: either is right"""
        self.filev = {n: v for n, v in self.filev.items() if v[1]}

    def verify(self):
        code, out, err = mnt.vexfs("verify", self.m.dir, timeout=600)
        if code == 2:
            self.bad(f"verify: status {code}: {out}{err}"[:500])

    def start_twins(self):
        self.round = getattr(self, "round", 0) + 1
        self.twins = [subprocess.Popen([sys.executable, "-c", TWIN, self.m.p(f"work{k}"), os.path.join(self.a.out, f"native{k}"),
                                        str(self.seed + self.round * 10 + k)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                      for k in range(2)]
        self.gov.live = list(self.twins)

    def park_twins(self):
        for p in self.twins:
            p.stdin.close()
            p.wait()
            p.stdout.close()
        self.twins = self.gov.live = []

    # ---- all --------------------------------------------------------------------------------------------------------------------
    def schedule(self):
        """(seconds, event): none that ends the daemon between a quarter and three quarters"""
        total = self.a.minutes * 60
        ev = [(f * total, fn) for f, fn in ((.05, self.kill), (.10, self.disk_full), (.15, self.flush_fails), (.20, self.kill),
                                            (.40, self.disk_full), (.60, self.disk_full), (.78, self.kill), (.84, self.flush_fails),
                                            (.90, self.kill), (.95, self.disk_full))]
        return ev

    def run(self):
        self.mount()
        os.makedirs(self.m.p("vec"))
        self.m.ask("collection_create", name="soak", dim=DIM, metric="cosine")
        for i in range(FILES):
            self.m.write(f"vec/f{i}", f"note {i} on winter and the budget")
        for i in range(0, POINTS, 250):
            self.put(list(range(i, i + 250)), True)
        self.start_twins()
        ev, nxt = self.schedule(), 0.0
        while True:
            t = time.monotonic() - self.gov.t0
            if t >= self.a.minutes * 60:
                break
            if ev and t >= ev[0][0]:
                fn = ev.pop(0)[1]
                fn()
                self.sample(fn.__name__)
            self.turn()
            if t >= nxt:
                nxt = t + max(self.a.minutes * 60 / 400, 5)
                if self.rng.random() < 0.5:
                    self.barrier()
                self.sample()
        self.end()

    def end(self):
        self.barrier()
        self.park_twins()
        subprocess.run(f"rm -f {self.m.mnt}/vec/k.*", shell=True, check=False)
        self.settle(sorted(self.may), "at the end")
        for n, (s, _) in self.filev.items():
            if not close(self.m.get_vector(n), vec_of(s)):
                self.bad(f"{n} lost its vector")
        objects = 0
        for k in range(2):
            a, b = tree(self.m.p(f"work{k}")), tree(os.path.join(self.a.out, f"native{k}"))
            objects += len(b)
            diff = [(p, a.get(p), b.get(p)) for p in sorted(set(a) | set(b)) if a.get(p) != b.get(p)]
            if diff:
                self.bad(f"trees differ: {diff[:2]}")
        self.sample("end")
        mnt.ok(objects > 20, f"{self.count['file_ops']} file operations compared one by one, {objects} objects in equal trees")
        alive = mnt.alive(self.m.pid)
        code, out, err = mnt.vexfs("verify", self.m.mnt, timeout=600)
        mnt.ok(code == 0, "verify is clean on the live mount", detail=out + err)
        self.m.umount()
        code, out, err = mnt.vexfs("verify", self.m.dir, timeout=600)
        mnt.ok(code == 0, "and after unmounting", detail=out + err)
        mnt.ok(alive, f"the daemon lived; killed {self.count['daemon_kills']} times, each time by us")
        mnt.ok(not self.wrong, f"{self.count['puts']} puts, {self.count['searches']} searches, {self.count['exact']} of them checked by brute "
               f"force, {self.count['deadlines']} out of time, {self.count['victims']} clients killed, {self.count['store_errors']} errors of the store: nothing wrong",
               detail="; ".join(self.wrong[:5]))
        self.flat()

    def flat(self):
        """in the longest life: the second quarter against the last"""
        best = max({r["life"] for r in self.rows}, key=lambda n: sum(r["life"] == n for r in self.rows))
        rows = [r for r in self.rows if r["life"] == best]
        if len(rows) < 16:
            mnt.skip("memory and descriptors are flat", f"the longest life has {len(rows)} samples")
            return
        q = len(rows) // 4

        def med(part, k):
            v = sorted(r[k] for r in part)
            return v[len(v) // 2]
        for k, slack in (("rss_kib", 2048), ("heap_kib", 2048), ("fds", 60), ("threads", 2)):
            a, b = med(rows[q:2 * q], k), med(rows[3 * q:], k)
            mnt.ok(b <= a * 1.1 + slack, f"{k} flat over {rows[-1]['t_s'] - rows[0]['t_s']:.0f} s of one life: {a} then {b}")


def timed(fn):
    """who takes long is named"""
    def call(*args, **kw):
        t0 = time.monotonic()
        try:
            return fn(*args, **kw)
        finally:
            if time.monotonic() - t0 > 5:
                print(f"# {time.monotonic() - t0:.1f} s: {fn.__name__} {str(args[1:])[:100]}", flush=True)
    return call


mnt.run, mnt.Mount.raw = timed(mnt.run), timed(mnt.Mount.raw)
mnt.Mount.umount, mnt.Mount.kill9 = timed(mnt.Mount.umount), timed(mnt.Mount.kill9)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=30)
    ap.add_argument("--cpu", type=float, default=0, help="percent of one processor for everything together (0: all it can get)")
    ap.add_argument("--opts", default="components=all")
    ap.add_argument("--out", default="/var/tmp/vexfs-soak")
    ap.add_argument("--seed", type=int)
    a = ap.parse_args()
    a.out = os.path.abspath(a.out)
    for d in ("mount", "native0", "native1"):
        shutil.rmtree(os.path.join(a.out, d), ignore_errors=True)
    os.makedirs(a.out, exist_ok=True)
    s = Soak(a)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        s.run()
    except Exception as e:
        mnt.ok(False, f"it ran to its end: {type(e).__name__}: {e}", detail="; ".join(s.wrong[:5]))
    finally:
        s.fault(0)
        for p in s.twins:
            p.kill()
        s.m.close()
        with open(os.path.join(a.out, "verdict.json"), "w") as f:
            json.dump({"seed": s.seed, "minutes": round((time.monotonic() - s.gov.t0) / 60, 1), "opts": a.opts, "failed": mnt._bad,
                       "checks": mnt._n, "wrong": s.wrong[:50], "counts": s.count, "cpu_s": round(s.gov.used(), 1),
                       "last": s.rows[-1] if s.rows else None}, f, indent=1)
            f.write("\n")
    print(f"# verdict: {'FAILED' if mnt._bad else 'good'}; {a.out}/verdict.json, soak.csv, soak.svg", flush=True)
    mnt.done()


main()
