#!/usr/bin/env python3
"""soak.py [MINUTES] - everything at once for a long time, on demand: `python3 tests/conform/soak.py 30`.

Four workers run the same random scripts in the mount and in a native directory; others search, set vectors, are killed in the middle.
At the end: the trees are equal (names, kinds, modes, owners, links, sizes, content, xattrs), RSS and fds are flat, the daemon lives, `verify` is clean.
"""
import hashlib
import os
import random
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from twin import mnt, outcome  # noqa: E402

MINUTES = float(sys.argv[1]) if len(sys.argv) > 1 else 30
OPTS = sys.argv[2] if len(sys.argv) > 2 else "components=all"

WORK = r"""
import os, random, sys
d, seed, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
os.makedirs(d, exist_ok=True)
os.chdir(d)
names = [f"n{i}" for i in range(40)] + [f"d{i}/n{j}" for i in range(4) for j in range(20)]
for i in range(4):
    os.makedirs(f"d{i}", exist_ok=True)
words = "storm river budget vector winter approved garden engine quiet".split()
for step in range(end):
    a, b, k = rng.choice(names), rng.choice(names), rng.randrange(16)
    off, n, text = rng.randrange(60000), rng.randrange(9000), " ".join(rng.choice(words) for _ in range(rng.randrange(60)))
    try:
        if k < 4:
            fd = os.open(a, os.O_RDWR | os.O_CREAT, 0o644)
            os.pwrite(fd, text.encode() or b"\0" * n, off if k == 0 else 0)
            if k == 1: os.ftruncate(fd, n)
            if k == 2: os.fsync(fd)
            os.close(fd)
        elif k == 4: os.rename(a, b)
        elif k == 5: os.unlink(a)
        elif k == 6: os.link(a, b)
        elif k == 7: os.symlink(b, a)
        elif k == 8: os.chmod(a, rng.choice([0o600, 0o644, 0o755, 0o444]))
        elif k == 9: os.truncate(a, n)
        elif k == 10: os.setxattr(a, "user.s", text.encode()[:1000])
        elif k == 11: os.mkdir(a)
        elif k == 12: os.rmdir(a)
        elif k == 13: os.utime(a, ns=(n * 10**9, off * 10**9), follow_symlinks=False)
        elif k == 14:
            fd = os.open(a, os.O_WRONLY | os.O_APPEND); os.write(fd, text.encode()); os.close(fd)
        else:
            os.removexattr(a, "user.s")
    except OSError:
        pass
"""


def tree(top):
    out = {}
    for d, subs, files in os.walk(top):
        for name in subs + files:
            p = os.path.join(d, name)
            st = os.lstat(p)
            x = ()
            if not stat.S_ISLNK(st.st_mode):
                x = tuple((k, os.getxattr(p, k)) for k in sorted(os.listxattr(p)) if k != "user.vexfs.packed")
            body = os.readlink(p) if stat.S_ISLNK(st.st_mode) else ""
            if stat.S_ISREG(st.st_mode):
                with open(p, "rb") as f:
                    body = hashlib.sha1(f.read()).hexdigest()
            out[os.path.relpath(p, top)] = (oct(st.st_mode), st.st_uid, st.st_nlink, st.st_size if stat.S_ISREG(st.st_mode) else 0, body, x)
    return out


def usage(pid):
    with open(f"/proc/{pid}/status") as f:
        rss = next(int(ln.split()[1]) for ln in f if ln.startswith("VmRSS"))
    return rss, len(os.listdir(f"/proc/{pid}/fd"))


def main():
    seed = mnt.seed()
    rng = random.Random(seed)
    with mnt.Mount("-o", "allow_other," + OPTS) as m:
        native = os.path.join(m.base, "native")
        os.makedirs(native), os.makedirs(m.p("work")), os.makedirs(m.p("vec"))
        for i in range(200):
            m.write(f"vec/v{i}", f"note {i} on winter and the budget")
            if "none" not in OPTS:
                m.set_vector(f"vec/v{i}", mnt.rand_vec(rng, 16))
        end, gen, marks, searches, bad = time.monotonic() + MINUTES * 60, 0, [], 0, []
        shown = 0
        while time.monotonic() < end:
            gen += 1
            ps = [subprocess.Popen([sys.executable, "-c", WORK, f"{top}/w{k}", str(seed + gen * 10 + k), "1500"]) for k in range(4)
                  for top in (m.p("work"), native)]
            kill = subprocess.Popen(["sh", "-c", "while :; do ls -lR . ; cat vec/* ; cp vec/v1 vec/k.$$; rm -f vec/k.$$; done"], cwd=m.mnt,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            while any(p.poll() is None for p in ps):
                if "none" not in OPTS:
                    a = m.ask("search", vector=mnt.rand_vec(rng, 16), k=5, exact=True)
                    if len(a.get("results", [])) != 5:
                        bad.append(str(a)[:200])
                    outcome(os.listdir, m.p(".vexfs/search/winter budget"))
                    m.set_vector(f"vec/v{rng.randrange(200)}", mnt.rand_vec(rng, 16))
                    searches += 1
                time.sleep(0.02)
            os.killpg(kill.pid, 9)
            kill.wait()
            marks.append(usage(m.pid))
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                print(f"# round {gen}: RSS {marks[-1][0]} KiB, {marks[-1][1]} fds, {searches} searches", flush=True)
        subprocess.run(f"rm -f {m.mnt}/vec/k.*", shell=True)
        a, b = tree(m.p("work")), tree(native)
        diff = [(k, a.get(k), b.get(k)) for k in sorted(set(a) | set(b)) if a.get(k) != b.get(k)]
        mnt.ok(len(b) > 50 and not diff, f"{gen} rounds, {len(b)} objects: the mount equals the native twin", detail=diff[:3])
        mnt.ok(not bad, f"{searches} searches, each with its five results", detail=bad[:3])
        first, last = marks[len(marks) // 4], marks[-1]
        half = sorted(r for r, _ in marks[len(marks) // 2:])
        early = sorted(r for r, _ in marks[len(marks) // 8:len(marks) // 2] or marks[:1])
        mnt.ok(half[len(half) // 2] <= early[len(early) // 2] * 1.1 + 2048, f"RSS flat: median {early[len(early) // 2]} then {half[len(half) // 2]} KiB")
        mnt.ok(last[1] <= max(first[1], 512) + 60, f"fds flat: {first[1]} then {last[1]} (up to 512 are a cache)")
        mnt.ok(mnt.alive(m.pid), "the daemon lives")
        if "none" not in OPTS:
            m.wait("--durable")
            code, out, err = mnt.vexfs("verify", m.mnt)
            mnt.eq(code, 0, "verify is clean")
    mnt.done()


main()
