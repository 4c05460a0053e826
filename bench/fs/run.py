#!/usr/bin/env python3
"""run.py - file jobs on a native directory, on this mount by each transport, and on other FUSE file systems: one table of ratios.

usage: bench/fs/run.py VEXFS [--quick] [--rounds N] [--seconds S] [--dir D] [--loop] [--jobs a,b] [--targets a:b] [--nice N] [--out DIR]

Interleaved: a round runs one job on all targets in turn before the next job, each round begins with another target; the median
over the rounds is what counts, and the spread (max - min) / median is shown.  Ratios are worth trusting, absolutes are not.
Peers come from Debian's packages (mergerfs, bindfs, gocryptfs); passthrough_hp of libfuse (passthrough;
with ,uring: its io_uring too) is used when it is on PATH.  Where a disk sets the pace of create and unlink, give --dir a
file system in memory; with --loop each target has an ext4 of its own there.
FUSE over io_uring needs root and /sys/module/fuse/parameters/enable_uring: switched on for the run, put back after it.
Writes fs.csv, fs.svg and fs.txt into bench/results.
"""
import argparse, csv, math, os, pathlib, shutil, statistics, subprocess, sys, tarfile, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import favour  # noqa: E402
PARAM = pathlib.Path("/sys/module/fuse/parameters/enable_uring")
# job: (unit, divisor, higher is better)
JOBS = {
    "rread4k": ("kIOPS", 1e3, True), "rwrite4k": ("kIOPS", 1e3, True), "sread1m": ("GB/s", 1e9, True),
    "swrite1m": ("GB/s", 1e9, True), "stat_warm": ("k/s", 1e3, True), "stat_sync": ("k/s", 1e3, True),
    "getxattr": ("k/s", 1e3, True), "open_read_close": ("k/s", 1e3, True), "create": ("k/s", 1e3, True),
    "unlink": ("k/s", 1e3, True), "readdir": ("k entries/s", 1e3, True), "untar": ("s", 1, False),
    "walk": ("s", 1, False), "rm": ("s", 1, False), "git_clone": ("s", 1, False), "git_status": ("s", 1, False),
}
OURS = {"plain": "plain", "pt": "pt", "uring": "uring", "pt+uring": "pt+uring", "pt+uring,none": "pt+uring"}
PEERS = ("mergerfs", "bindfs", "gocryptfs", "passthrough_hp", "passthrough_hp,uring")
# job: (against, ratio wanted); for seconds the ratio is turned so that more is better
GOALS = {
    "rread4k": ("native", .90), "rwrite4k": ("native", .85), "sread1m": ("native", .90), "swrite1m": ("native", .90),
    "stat_warm": ("native", .80), "stat_sync": ("peer", 1), "open_read_close": ("peer", 1.05), "create": ("peer", 1),
    "unlink": ("peer", 1), "readdir": ("peer", 1), "untar": ("peer", 1), "walk": ("peer", 1), "rm": ("peer", 1),
    "git_clone": ("peer", 1), "git_status": ("peer", 1),
}


def sh(*a, **k):
    return subprocess.run([str(x) for x in a], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **k).stdout


def program(peer):
    return peer.split(",")[0]


class Target:
    def __init__(self, name, base, vexfs, loop):
        self.name, self.pid, self.mnt, self.own = name, None, None, None
        self.root = base / name.replace("+", "_").replace(",", "_")
        self.back, self.dir = self.root / "d", self.root / "m"
        self.back.mkdir(parents=True)
        self.dir.mkdir()
        if loop:  # a mount watches its file system: so that nobody pays for another's
            img = self.root / "img"
            with open(img, "w") as f:
                f.truncate(2 << 30)
            sh("mkfs.ext4", "-q", "-F", img)
            sh("mount", "-o", "loop", img, self.root / "d")
            self.own = self.back
            self.back = self.back / "d"
            self.back.mkdir()
        self.vexfs, self.got, self.mem = vexfs, name, (0, 0)

    def up(self):
        b, m = str(self.back), str(self.dir)
        if self.name == "native":
            self.dir = self.back
            return
        self.mnt = m
        if self.name in OURS:
            opt = "transport=" + OURS[self.name] + (",components=none" if self.name.endswith("none") else "")
            sh(self.vexfs, "mount", b, m, "-o", opt)
            st = sh(self.vexfs, "status", "--json", m) if "none" not in opt else ""
            if st:
                import json
                j = json.loads(st)
                self.got = j["transport"]
                self.mem = (j["memory"]["rss"], j["memory"]["vsz"])
        elif self.name == "mergerfs":
            sh("mergerfs", "-o", "allow_other,minfreespace=1M,cache.files=auto-full,category.create=ff", b, m)
        elif self.name == "bindfs":
            sh("bindfs", b, m)
        elif self.name == "gocryptfs":
            pw = self.root / "pw"
            pw.write_text("x\n")
            sh("gocryptfs", "-q", "-init", "-scryptn", "10", "-passfile", pw, b)
            sh("gocryptfs", "-q", "-passfile", pw, b, m)
        elif program(self.name) == "passthrough_hp":
            ring = ["-o", "io_uring"] if self.name.endswith(",uring") else []
            self.proc = subprocess.Popen(["passthrough_hp", "--foreground", *ring, b, m], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            if os.path.ismount(m):
                return
            time.sleep(.05)
        raise RuntimeError(self.name + " did not mount")

    def down(self):
        for m in (self.mnt, self.own):
            for _ in range(50):
                if not m or not subprocess.run(["umount", m], stderr=subprocess.DEVNULL).returncode:
                    break
                time.sleep(.1)
            else:
                subprocess.run(["umount", "-l", m], stderr=subprocess.DEVNULL)


def make_tar(path):
    """4,136 files in 300 directories, most of them small, as a source tree has"""
    import io, random
    r = random.Random(7)
    with tarfile.open(path, "w") as t:
        for i in range(4136):
            n = int(r.lognormvariate(7.6, 1.3)) % 100000
            ti = tarfile.TarInfo("src/d%03d/%s/f%04d.txt" % (i % 300 // 10, "ab"[i % 2] + str(i % 300 % 10), i))
            ti.size = n
            t.addfile(ti, io.BytesIO(r.randbytes(n)))


def big_jobs(job, t, tar, repo):
    d = str(t.dir)
    t0 = time.monotonic()
    if job == "untar":
        subprocess.run(["rm", "-rf", d + "/src"], check=True)
        t0 = time.monotonic()
        sh("tar", "xf", tar, "-C", d)
    elif job == "walk":
        sh("find", d + "/src", "-type", "f", "-size", "+9999k", "-ls")
    elif job == "rm":
        sh("rm", "-rf", d + "/src")
    elif job == "git_clone":
        subprocess.run(["rm", "-rf", d + "/repo"], check=True)
        t0 = time.monotonic()
        sh("git", "clone", "-q", "--no-hardlinks", repo, d + "/repo")
    elif job == "git_status":
        for _ in range(5):
            sh("git", "-C", d + "/repo", "status", "--porcelain")
    return time.monotonic() - t0


def make_repo(base, tar):
    w = base / "work"
    w.mkdir()
    sh("tar", "xf", tar, "-C", w)
    env = dict(os.environ, GIT_AUTHOR_NAME="b", GIT_AUTHOR_EMAIL="b@b", GIT_COMMITTER_NAME="b", GIT_COMMITTER_EMAIL="b@b")
    for a in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(w)] + a, check=True, env=env, stdout=subprocess.DEVNULL)
    return w


def svg(path, rows, targets):
    colors = ["#888", "#9ecae1", "#6baed6", "#3182bd", "#08519c", "#54278f", "#fdae6b", "#e6550d", "#a63603", "#31a354"]
    bw, gap, left, top, h = 9, 26, 60, 40, 260
    width = left + sum(bw * len(targets) + gap for _ in rows) + 20
    o = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">' % (width, top + h + 110),
         '<text x="%d" y="18" font-size="14">Speed relative to the native directory (1.0), medians, higher is better</text>' % left]
    for v in (0, .25, .5, .75, 1, 1.25):
        y = top + h - v / 1.25 * h
        o.append('<line x1="%d" x2="%d" y1="%g" y2="%g" stroke="#ddd"/><text x="%d" y="%g" text-anchor="end">%g</text>' % (left, width - 10, y, y, left - 6, y + 4, v))
    x = left + 8
    for job, ratios in rows:
        for i, t in enumerate(targets):
            r = min(ratios.get(t) or 0, 1.25)
            o.append('<rect x="%g" y="%g" width="%d" height="%g" fill="%s"><title>%s %s %.2f</title></rect>' % (
                x + i * bw, top + h - r / 1.25 * h, bw - 1, r / 1.25 * h, colors[i % len(colors)], job, t, ratios.get(t) or 0))
        o.append('<text x="%g" y="%d" text-anchor="middle">%s</text>' % (x + bw * len(targets) / 2, top + h + 16, job))
        x += bw * len(targets) + gap
    x = left
    for i, t in enumerate(targets):
        o.append('<rect x="%g" y="%d" width="10" height="10" fill="%s"/><text x="%g" y="%d">%s</text>' % (x, top + h + 40, colors[i % len(colors)], x + 14, top + h + 49, t))
        x += 30 + 7 * len(t)
    path.write_text("\n".join(o + ["</svg>", ""]))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("vexfs")
    ap.add_argument("--quick", action="store_true", help="a few minutes: 3 rounds, shorter jobs, without the second run of components=none")
    ap.add_argument("--rounds", type=int)
    ap.add_argument("--seconds", type=float)
    ap.add_argument("--dir", default="/var/tmp")
    ap.add_argument("--loop", action="store_true", help="each target on an ext4 of its own, in a file below --dir")
    ap.add_argument("--jobs", default=",".join(JOBS))
    ap.add_argument("--targets", default="")
    ap.add_argument("--nice", type=int, default=0, help="for clients and daemons alike, where the machine does other things")
    ap.add_argument("--out", default=str(HERE.parent / "results"))
    a = ap.parse_args()
    a.rounds = a.rounds or (3 if a.quick else 5)
    a.seconds = a.seconds or (.2 if a.quick else .4)
    if os.geteuid():
        sys.exit("bench-fs: needs root (passthrough, io_uring, the peers' mounts)")
    if a.nice and os.getpgrp() != os.getpid():
        os.setsid()
    vexfs = pathlib.Path(a.vexfs).resolve()
    names = ["native"] + list(OURS) + [p for p in PEERS if shutil.which(program(p))]
    if a.quick:
        names.remove("pt+uring,none")
    if a.targets:
        names = [n for n in names if n in ["native"] + a.targets.split(":")]
    missing = [p for p in PEERS if not shutil.which(program(p))]
    jobs = [j for j in JOBS if j in a.jobs.split(",")]
    base = pathlib.Path(tempfile.mkdtemp(prefix="vx-bench-", dir=a.dir))
    was = PARAM.read_text().strip() if PARAM.exists() else None
    targets, res = [], {}
    try:
        if was is not None:
            PARAM.write_text("Y")
        tool = base / "fsjobs"
        sh("cc", "-O2", "-o", tool, HERE / "fsjobs.c")
        tar = base / "t.tar"
        make_tar(tar)
        repo = make_repo(base, tar)
        for n in names:
            t = Target(n, base, vexfs, a.loop)
            targets.append(t)
            t.up()
            sh(tool, "prep", t.dir)
            print("  %-16s %s" % (n, "" if t.got == n or n not in OURS or n.endswith("none") else "runs as " + t.got), flush=True)
        favour(a.nice, base)
        time.sleep(3)  # daemons that work on what was just written come to rest
        for rnd in range(a.rounds):
            for job in jobs:
                order = targets[rnd % len(targets):] + targets[:rnd % len(targets)]
                for t in order:
                    try:
                        if job in ("untar", "walk", "rm", "git_clone", "git_status"):
                            v = big_jobs(job, t, tar, repo)
                        else:
                            v = float(sh(tool, job, t.dir, a.seconds)) / JOBS[job][1]
                    except subprocess.CalledProcessError as e:
                        if t.name not in PEERS:
                            raise
                        v = 1e-9 if JOBS[job][2] else math.inf  # never the best
                        print("  %s fails at %s: %s" % (t.name, job, (e.stderr or "").strip()[:160]), flush=True)
                    res.setdefault((job, t.name), []).append(v)
            print("  round %d of %d" % (rnd + 1, a.rounds), flush=True)
    finally:
        for t in targets:
            t.down()
        if was is not None:
            PARAM.write_text(was)
        time.sleep(.5)
        shutil.rmtree(base, ignore_errors=True)
    report(a, names, jobs, res, missing, targets)


def report(a, names, jobs, res, missing, targets):
    out = pathlib.Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    med = {k: statistics.median(v) for k, v in res.items()}
    ratio = lambda job, n, m: (med[job, n] / med[job, m]) if JOBS[job][2] else (med[job, m] / med[job, n])
    peers = [n for n in names if n in PEERS]
    rows, lines = [], []
    with open(out / "fs.csv", "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["job", "unit", "target", "median", "spread", "rounds", "ratio_native", "ratio_best_peer"])
        for job in jobs:
            best = max(peers, key=lambda p: med[job, p] if JOBS[job][2] else -med[job, p]) if peers else None
            for n in names:
                v = res[job, n]
                w.writerow([job, JOBS[job][0], n, "%.4g" % med[job, n], "%.2f" % ((max(v) - min(v)) / med[job, n] if med[job, n] < math.inf else 0), len(v),
                            "%.3f" % ratio(job, n, "native"), "%.3f" % ratio(job, n, best) if best else ""])
            rows.append((job, {n: ratio(job, n, "native") for n in names}))
    wide = max(len(n) for n in names) + 1
    lines.append("medians of %d interleaved rounds; ratio to the native directory in brackets, higher is better" % a.rounds)
    lines.append("%-16s%-12s" % ("job", "unit") + "".join("%*s" % (max(wide, 15), n) for n in names))
    for job in jobs:
        lines.append("%-16s%-12s" % (job, JOBS[job][0]) + "".join(
            "%*s" % (max(wide, 15), "%.4g [%.2f]" % (med[job, n], ratio(job, n, "native"))) for n in names))
    lines.append("")
    for t in targets:
        if t.mem[0]:
            lines.append("memory at rest, %-10s RSS %.1f MB, VSZ %.1f MB" % (t.name, t.mem[0] / 1e6, t.mem[1] / 1e6))
    lines.append("")
    lines.append("goals, by pt+uring and by what is the default where io_uring is off (pt); peer: the best of %s%s" % (
        ", ".join(peers) or "none", "; not installed: " + ", ".join(missing) if missing else ""))
    for job in jobs:
        if job not in GOALS:
            continue
        against, want = GOALS[job]
        if against == "peer" and not peers:
            continue
        ref = "native" if against == "native" else max(peers, key=lambda p: med[job, p] if JOBS[job][2] else -med[job, p])
        for n in ("pt+uring", "pt"):
            if n in names:
                r = ratio(job, n, ref)
                lines.append("  %-7s %-16s %-9s %.2f of %s, goal %.2f" % ("ok" if r >= want else "MISSED", job, n, r, ref, want))
    text = "\n".join(lines) + "\n"
    (out / "fs.txt").write_text(text)
    svg(out / "fs.svg", rows, names)
    print(text)
    print("written: %s/fs.csv, fs.svg, fs.txt" % out)


if __name__ == "__main__":
    main()
