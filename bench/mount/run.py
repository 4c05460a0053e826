#!/usr/bin/env python3
"""run.py - what a request costs through the mount: round trips beside libfuse's own bare handler, searches and puts beside the
same requests answered in-process.

usage: bench/mount/run.py VEXFS BUILD [--quick] [--rounds N] [--seconds S] [--points N] [--dim D] [--nice N] [--out DIR]

 * round trip: an ioctl of 4 KiB and a getxattr, p50, at each placement of the client (each CPU, free); the best of the placements
   counts, for ours and for the bare handler (libfuse's loop with one thread, and with its default of several).
   Two clients: requests a second of two at once over one alone.
 * search and put: by ioctl, by the query file in binary, by the query file in JSON, and in-process (the query layer called directly, the
   library's way).  (through the mount - in-process) is set beside a bare round trip of equal payload.
 * memory at rest: RSS and VSZ of a mount with all components, with none, and of the bare handler with as many threads.
Interleaved, medians of the rounds.  Writes mount.csv, mount.svg and mount.txt into bench/results.
"""
import argparse, csv, json, os, pathlib, random, shutil, signal, statistics, struct, subprocess, sys, tempfile, threading, time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import favour  # noqa: E402
ROOT = HERE.parent.parent
PARAM = pathlib.Path("/sys/module/fuse/parameters/enable_uring")
TRANSPORTS = ("plain", "uring", "pt+uring")
MAGIC = 0x31584556


def sh(*a, **k):
    r = subprocess.run([str(x) for x in a], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **k)
    if r.returncode:
        raise RuntimeError("%s: %s" % (" ".join(map(str, a[:3])), r.stderr.strip() or r.stdout.strip()))
    return r.stdout


def hdr(op, size, flags=0):
    return struct.pack("<IHHIiII", MAGIC, 1, op, size, 0, flags, 0)


def pad(name):
    return name.encode().ljust(64, b"\0")


def vec(dim, r):
    return struct.pack("<%df" % dim, *[r.gauss(0, 1) for _ in range(dim)])


def req_create(dim):
    body = pad("bench") + struct.pack("<III", dim, 0, 0) + struct.pack("<III", 0, 0, 0) + bytes(16) + bytes(32) + bytes(16) + bytes(16)
    return hdr(8, 24 + len(body)) + body


def req_batch(ids, dim, r):
    head = 24 + 64 + 8 + 8 + 8 + 16
    at = head + 32 * len(ids)
    points, data = b"", b""
    for i in ids:
        points += struct.pack("<QIIIIII", i, at + len(data), dim * 4, 0, 0, 0, 0)
        data += vec(dim, r)
    size = at + len(data)
    return hdr(6, size) + pad("bench") + struct.pack("<II", head, len(ids)) + bytes(8) + bytes(8) + bytes(16) + points + data


def req_search(q, k):
    head = 24 + 64 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + 8 + 16
    size = head + len(q)
    return (hdr(5, size) + pad("bench") + struct.pack("<IIIIII", k, 64, head, len(q), 0, 0) + struct.pack("<II", 0xff800000, 0) +
            bytes(8) + bytes(24) + bytes(8) + bytes(16) + q)


def wait_mount(m, p=None):
    for _ in range(200):
        if os.path.ismount(m):
            return
        if p and p.poll() is not None:
            break
        time.sleep(.02)
    raise RuntimeError("not mounted: %s" % m)


def exchange(m, data):
    fd = os.open(m + "/.vexfs/query", os.O_RDWR)
    try:
        os.pwrite(fd, data, 0)
        b = os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)
    if data[:1] == b"V":
        status = struct.unpack_from("<i", b, 12)[0]
        if status < 0:
            raise RuntimeError("refused: %d" % status)
    elif b.startswith(b'{"error"'):
        raise RuntimeError(b.decode())
    return b


class Run:
    def __init__(self, a, base):
        self.a, self.base, self.res, self.procs, self.mounts, self.rest_text = a, base, {}, [], [], []
        self.cpus = sorted(os.sched_getaffinity(0))
        self.client = base / "client"
        sh("cc", "-O2", "-I" + str(ROOT / "include"), "-o", self.client, HERE / "client.c")
        flags = sh("pkg-config", "--cflags", "--libs", "fuse3").split()
        sh("cc", "-O2", "-o", base / "bare", HERE / "bare.c", *flags, "-Wl,-z,now")
        sh("ninja", "-C", a.build, "bench/mount/bench_direct")
        self.direct = pathlib.Path(a.build).resolve() / "bench/mount/bench_direct"

    def add(self, key, v):
        self.res.setdefault(key, []).append(v)

    def bare(self, name, *args):
        m = self.base / name
        m.mkdir()
        p = subprocess.Popen([str(self.base / "bare"), str(m), *args])
        self.procs.append(p)
        self.mounts.append(str(m))
        wait_mount(str(m), p)
        return str(m)

    def ours(self, transport):
        d, m = self.base / ("d_" + transport.replace("+", "_")), self.base / ("m_" + transport.replace("+", "_"))
        d.mkdir()
        m.mkdir()
        (d / "f").write_bytes(b"x")
        sh(self.a.vexfs, "mount", d, m, "-o", "transport=" + transport)
        self.mounts.append(str(m))
        j = json.loads(sh(self.a.vexfs, "status", "--json", m))
        if j["transport"] != transport:
            print("  %s runs as %s (%s)" % (transport, j["transport"], j["transport_why"]))
        return str(m)

    def one(self, what, file, cpu, *args):
        o = sh(self.client, what, file, self.a.seconds, cpu, *args).split()
        return int(o[0]) / 1e3, int(o[1]) / 1e3, float(o[2])

    def two(self, what, file, *args):
        ps = [subprocess.Popen([str(self.client), what, file, str(self.a.seconds), str(c), *map(str, args)], stdout=subprocess.PIPE, text=True)
              for c in (self.cpus * 2)[:2]]
        return sum(float(p.communicate()[0].split()[2]) for p in ps)

    def rest(self, m):
        """until its daemon has nothing to do: what the puts left for the index would be measured with the next"""
        pid, last = json.loads(sh(self.a.vexfs, "status", "--json", m))["pid"], -1
        for _ in range(100):
            f = pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()
            now = int(f[11]) + int(f[12])
            if now - last <= 1 and last >= 0:
                return
            last = now
            time.sleep(.1)

    def close(self):
        for m in self.mounts:
            for _ in range(50):
                if not subprocess.run(["umount", m], stderr=subprocess.DEVNULL).returncode:
                    break
                time.sleep(.1)
        for p in self.procs:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("vexfs")
    ap.add_argument("build")
    ap.add_argument("--quick", action="store_true", help="a few minutes: 3 rounds, 5,000 vectors")
    ap.add_argument("--rounds", type=int)
    ap.add_argument("--seconds", type=float)
    ap.add_argument("--points", type=int)
    ap.add_argument("--dim", type=int, default=128)
    ap.add_argument("--nice", type=int, default=0)
    ap.add_argument("--out", default=str(HERE.parent / "results"))
    a = ap.parse_args()
    a.rounds = a.rounds or (3 if a.quick else 5)
    a.seconds = a.seconds or (.2 if a.quick else .4)
    a.points = a.points or (5000 if a.quick else 20000)
    if os.geteuid():
        sys.exit("bench-mount: needs root")
    if a.nice and os.getpgrp() != os.getpid():
        os.setsid()
    a.vexfs = str(pathlib.Path(a.vexfs).resolve())
    base = pathlib.Path(tempfile.mkdtemp(prefix="vx-bm-", dir="/var/tmp"))
    was = PARAM.read_text().strip() if PARAM.exists() else None
    run = None
    try:
        if was is not None:
            PARAM.write_text("Y")
        run = Run(a, base)
        at_rest(run)
        measure(run)
        report(run)
    finally:
        if run:
            run.close()
        if was is not None:
            PARAM.write_text(was)
        shutil.rmtree(base, ignore_errors=True)


def at_rest(run):
    """a fresh mount that has served a few requests and has nothing to do, beside a bare server with its number of threads"""
    def usage(pid):
        s = dict(ln.split(":", 1) for ln in pathlib.Path("/proc/%d/status" % pid).read_text().splitlines())
        return [int(s[k].split()[0]) for k in ("VmRSS", "VmSize", "Threads")]

    def touch(f):
        for _ in range(50):
            try:
                os.getxattr(f, "user.none")
            except OSError:
                pass
    for comp in ("all", "none"):
        for t in ("pt", "pt+uring"):
            d, m, b = (run.base / ("%s_%s_%s" % (x, comp, t.replace("+", "_"))) for x in ("rd", "rm", "rb"))
            for x in (d, m, b):
                x.mkdir()
            (d / "f").write_bytes(b"x")
            sh(run.a.vexfs, "mount", d, m, "-o", "transport=%s,components=%s" % (t, comp))
            touch(m / "f")
            if comp == "all":
                sh(run.a.vexfs, "wait", m)
            time.sleep(1)
            st = json.loads((m / ".vexfs/status").read_text())
            rss, vsz, n = usage(st["pid"])
            ring = st["transport_ring_bytes"] // 1024
            p = subprocess.Popen([str(run.base / "bare"), str(b), "threads", str(n)])
            wait_mount(str(b), p)
            touch(b / "f")
            time.sleep(.2)
            r0, v0, _ = usage(p.pid)
            for x in (m, b):
                sh("umount", x)
            p.wait()
            run.add(("rest", comp, st["transport"], "rss"), (rss - r0) / 1024)
            run.add(("rest", comp, st["transport"], "vsz"), (vsz - v0) / 1024)
            run.rest_text.append("  %-7s at rest, components=%-4s %-8s RSS %.1f MB, VSZ %.1f MB, %d threads; bare server with as many %.1f, %.1f: + %.1f MB RSS (goal 3), + %.1f MB VSZ (goal 20, and %.1f of rings)" % (
                "ok" if rss - r0 <= 3072 and vsz - v0 - ring <= 20480 else "MISSED", comp, st["transport"], rss / 1024, vsz / 1024, n, r0 / 1024, v0 / 1024, (rss - r0) / 1024,
                (vsz - v0) / 1024, ring / 1024))


def svg(path, med, names, transports):
    """round trips at their best placement, and what a search or batch takes by each way"""
    groups = [(w, [(n, min(v for k, v in med.items() if k[:2] == (w, n))) for n in names]) for w in ("ioctl4k", "getxattr")]
    for kind in ("search", "batch"):
        groups.append((kind, [("in-process", med["direct", kind, "bin"])] + [(t + " " + f, med[t, kind, f]) for t in transports for f in ("ioctl", "bin", "json")]))
    colors = ["#888", "#bbb", "#9ecae1", "#4292c6", "#08519c", "#31a354", "#006d2c"]
    o, x, top, h = [], 50, 50, 240
    for title, bars in groups:
        most = max(v for _, v in bars)
        o.append('<text x="%d" y="%d" font-size="13">%s, \u00b5s (median)</text>' % (x, top - 12, title))
        for i, (n, v) in enumerate(bars):
            y = top + h - v / most * h
            o.append('<rect x="%d" y="%g" width="30" height="%g" fill="%s"/><text x="%d" y="%g" text-anchor="middle">%.4g</text>' % (
                x + i * 36, y, v / most * h, colors[i % len(colors)], x + i * 36 + 15, y - 3, v))
            o.append('<text transform="translate(%d,%d) rotate(55)">%s</text>' % (x + i * 36 + 8, top + h + 12, n))
        x += 36 * len(bars) + 40
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="10">\n%s\n</svg>\n' % (x + 60, top + h + 150, "\n".join(o)))


def measure(run):
    a, r = run.a, random.Random(5)
    files = {}

    def save(name, data):
        files[name] = str(run.base / name)
        pathlib.Path(files[name]).write_bytes(data)

    save("create", req_create(a.dim))
    setup = ["create"]
    for i in range(0, a.points, 1000):
        save("put%d" % i, req_batch(range(i, min(i + 1000, a.points)), a.dim, r))
        setup.append("put%d" % i)
    save("wait", b'{"verb":"wait"}')
    setup.append("wait")
    q = vec(a.dim, r)
    save("search.bin", req_search(q, 10))
    save("search.json", json.dumps({"verb": "search", "collection": "bench", "vector": [round(x, 6) for x in struct.unpack("<%df" % a.dim, q)],
                                    "k": 10, "ef": 64, "mode": "vector"}).encode())
    few = 20  # in 16 KiB
    save("batch.bin", req_batch(range(a.points, a.points + few), a.dim, r))
    vs = [[round(r.gauss(0, 1), 6) for _ in range(a.dim)] for _ in range(few)]
    save("batch.json", json.dumps({"verb": "put", "collection": "bench", "points": [{"id": a.points + i, "vector": v} for i, v in enumerate(vs)]}).encode())
    bare = {"bare, one thread": run.bare("b1"), "bare, libfuse's default": run.bare("b2", "mt")}
    ours = {t: run.ours(t) for t in TRANSPORTS}
    print("  mounted; loading %d vectors of %d into each" % (a.points, a.dim), flush=True)
    favour(a.nice, run.base)
    main_t = "pt+uring"
    for t in ("plain", main_t):
        for s in setup:
            exchange(ours[t], pathlib.Path(files[s]).read_bytes())
    dd = run.base / "direct_d"
    dd.mkdir()
    sizes = {}
    for kind in ("search", "batch"):
        for form in ("bin", "json"):
            n = len(pathlib.Path(files[kind + "." + form]).read_bytes())
            sizes[kind, form] = (n, len(exchange(ours[main_t], pathlib.Path(files[kind + "." + form]).read_bytes())))
    run.sizes = sizes
    first = True
    for rnd in range(a.rounds):
        for cpu in run.cpus + [-1]:
            for name, m in list(bare.items()) + list(ours.items()):
                run.add(("ioctl4k", name, cpu), run.one("bare_ioctl" if name in bare else "ioctl4k", m + "/f", cpu, 4096)[0])
                run.add(("getxattr", name, cpu), run.one("getxattr", m + "/f", cpu, "user.none")[0])
        for name, m in list(bare.items()) + list(ours.items()):
            one = max(run.one("getxattr", m + "/f", c, "user.none")[2] for c in run.cpus)
            two = run.two("getxattr", m + "/f", "user.none")
            run.add(("one", name), one)
            run.add(("two", name), two)
            run.add(("twoone", name), two / one)
        reqs = [files["search.bin"], files["search.json"], files["batch.bin"], files["batch.json"]]
        out = sh(run.direct, dd, a.seconds, *([files[s] for s in setup] if first else [files["wait"]]), "--", *reqs).split("\n")
        first = False
        for k, line in zip((("search", "bin"), ("search", "json"), ("batch", "bin"), ("batch", "json")), out):
            run.add(("direct",) + k, int(line.split()[0]) / 1e3)
        c = run.cpus[0]
        for t in (("plain", main_t) if rnd % 2 else (main_t, "plain")):
            m = ours[t]
            for kind in ("search", "batch"):
                run.add((t, kind, "ioctl"), run.one("exchange_ioctl", m + "/f", c, files[kind + ".bin"])[0])
                for form in ("bin", "json"):
                    run.add((t, kind, form), run.one("exchange", m + "/.vexfs/query", c, files[kind + "." + form])[0])
            exchange(m, b'{"verb":"wait"}')
            run.rest(m)
        m = bare["bare, one thread"]
        for kind in ("search", "batch"):
            n = sizes[kind, "bin"][0]
            run.add(("bare", kind, "ioctl"), run.one("bare_ioctl", m + "/f", c, 4096 if n <= 2048 else 16383)[0])
            for form in ("bin", "json"):
                run.add(("bare", kind, form), run.one("bare_exchange", m + "/f", c, *sizes[kind, form])[0])
        print("  round %d of %d" % (rnd + 1, a.rounds), flush=True)


def report(run):
    a = run.a
    med = {k: statistics.median(v) for k, v in run.res.items()}
    L = ["medians of %d interleaved rounds, microseconds" % a.rounds, "", "round trip, p50      " + "".join("%12s" % ("CPU %d" % c if c >= 0 else "free") for c in run.cpus + [-1]) + "        best"]
    names = ["bare, one thread", "bare, libfuse's default"] + list(TRANSPORTS)
    best = {}
    for what in ("ioctl4k", "getxattr"):
        for n in names:
            v = [med[what, n, c] for c in run.cpus + [-1]]
            best[what, n] = min(v)
            L.append("%-9s %-24s" % (what, n) + "".join("%10.1f" % x for x in v) + "%10.1f" % min(v))
    L.append("")
    for w in ("ioctl4k", "getxattr"):
        for t in TRANSPORTS:
            for n in names[:2]:
                r = best[w, t] / best[w, n]
                L.append("  %-7s %-9s %-9s best placement %.2f x, median of placements %.2f x %s, goal 1.00" % (
                    "ok" if r <= 1 else "MISSED", w, t, r,
                    statistics.median(med[w, t, c] for c in run.cpus + [-1]) / statistics.median(med[w, n, c] for c in run.cpus + [-1]), n))
    L.append("")
    for n in names:
        L.append("  %-24s one client %8.0f/s, two %8.0f/s: %.2f x" % (n, med["one", n], med["two", n], med["twoone", n]) +
                 ("" if n not in TRANSPORTS else "   %s, goal 1.80" % ("ok" if med["twoone", n] >= 1.8 else "MISSED")))
    L += ["", *run.rest_text, ""]
    L.append("requests: %d vectors of %d; batch: 20 points" % (a.points, a.dim))
    for kind in ("search", "batch"):
        for t in ("plain", "pt+uring"):
            for form in ("ioctl", "bin", "json"):
                d = med["direct", kind, "json" if form == "json" else "bin"]
                v, b = med[t, kind, form], med["bare", kind, form]
                over = (v - d) / b
                good = over <= 1.2 and (d < 100 or v / d <= 1.2)
                L.append("  %-7s %-6s %-9s by %-5s %8.1f; in-process %8.1f; bare round trip %6.1f; (mount - in-process) / bare %.2f; mount / in-process %.2f" % (
                    "" if form == "json" else "ok" if good else "MISSED", kind, t, form, v, d, b, over, v / d))
    text = "\n".join(L) + "\n"
    out = pathlib.Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "mount.txt").write_text(text)
    with open(out / "mount.csv", "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["what", "median", "min", "max", "rounds"])
        for k, v in run.res.items():
            w.writerow(["/".join(map(str, k)), "%.4g" % statistics.median(v), "%.4g" % min(v), "%.4g" % max(v), len(v)])
    svg(out / "mount.svg", med, names, ("plain", "pt+uring"))
    print(text)
    print("written: %s/mount.csv, mount.svg, mount.txt" % out)


if __name__ == "__main__":
    main()
