#!/usr/bin/env python3
"""A set larger than the memory the mount may use: import, linking, searches, with the process's memory watched all the time.

usage: bench/index/large.py VEXFS [--set mix1m] [--mem-limit 200M] [--queries 500] [--ef 64]

Prints resident size (highest seen, of it anonymous and of files), time to import and to link, recall@10 against exact search, and
latency warm, p50 and p99, through the mount's query file in its binary form; then the same after a remount.
"""
import argparse
import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
spec = importlib.util.spec_from_file_location("recall", os.path.join(ROOT, "bench", "recall.py"))
recall = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recall)


class Watch(threading.Thread):
    """the daemon's memory, ten times a second"""
    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.on, self.top = pid, True, {}
        self.start()

    def look(self):
        now = {}
        with open("/proc/%d/status" % self.pid) as f:
            for line in f:
                k, _, v = line.partition(":")
                if k in ("VmRSS", "RssAnon", "RssFile", "VmSize", "VmHWM"):
                    now[k] = int(v.split()[0]) / 1024
        return now

    def run(self):
        while self.on:
            try:
                now = self.look()
            except OSError:
                return
            for k, v in now.items():
                self.top[k] = max(self.top.get(k, 0), v)
            time.sleep(0.1)

    def take(self):
        t, self.top = self.top, {}
        return "RSS at most %.0f MB seen (anonymous %.0f, files %.0f; the kernel's own mark %.0f), VSZ %.0f MB" % (
            t.get("VmRSS", 0), t.get("RssAnon", 0), t.get("RssFile", 0), t.get("VmHWM", 0), t.get("VmSize", 0))


def searches(m, name, dim, data, n, ef):
    qs = [struct.pack("<%df" % dim, *q) for q in recall.read_vecs(os.path.join(data, "query.fvecs"), n, "f")]
    truth = recall.read_vecs(os.path.join(data, "truth.ivecs"), n, "i")
    c = recall.Client(m, name)
    for e in ef:
        for q in qs[:100]:
            c.search(q, 10, ef=e)
        times, good = [], 0
        for q, t in zip(qs, truth):
            ids, _, took = c.search(q, 10, ef=e)
            times.append(took)
            good += len(set(ids) & set(t[:10]))
        times.sort()
        print("  ef %4d: recall@10 %.4f, p50 %.2f ms, p99 %.2f ms, %.0f/s" % (e, good / 10 / len(qs), times[len(times) // 2] * 1e3,
                                                                        times[len(times) * 99 // 100] * 1e3, len(qs) / sum(times)), flush=True)
    os.close(c.fd)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("vexfs")
    ap.add_argument("--set", default="mix1m")
    ap.add_argument("--mem-limit", default="200M")
    ap.add_argument("--queries", type=int, default=500)
    ap.add_argument("--ef", type=int, nargs="*", default=[32, 64, 128])
    a = ap.parse_args()
    fetch = [sys.executable, os.path.join(ROOT, "tools", "fetch_data.py")]
    subprocess.run(fetch + [a.set], check=True)
    data = os.path.join(subprocess.run(fetch + ["--where"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip(), a.set)
    metric = open(os.path.join(data, "metric")).read().strip()
    tmp = tempfile.mkdtemp(prefix="vexfs-large-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    d, m = os.path.join(tmp, "dir"), os.path.join(tmp, "mnt")
    os.mkdir(d)
    os.mkdir(m)
    run = lambda *args: subprocess.run([os.path.abspath(a.vexfs), *args], check=True)
    mount = ["mount", d, m] + (["--mem-limit", a.mem_limit] if a.mem_limit != "0" else [])
    run(*mount)
    try:
        for turn in ("first mount", "second mount"):
            pid = json.load(open(os.path.join(m, ".vexfs/status")))["pid"]
            w = Watch(pid)
            t0 = time.monotonic()
            if turn == "first mount":
                run("import", os.path.join(data, "base.fvecs"), "--into", a.set, "--metric", metric, m)
                t1 = time.monotonic()
                print("%s under %s: import %.0f s; %s" % (a.set, a.mem_limit, t1 - t0, w.take()), flush=True)
                info = {"linked": -1, "points": 0}
                while info["linked"] < info["points"]:
                    time.sleep(1)
                    out = subprocess.run([os.path.abspath(a.vexfs), "collection", "info", a.set, "--json", m], check=True, capture_output=True, text=True)
                    info = json.loads(out.stdout)
                cpu = sum(map(int, open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")
                print("all %d linked %.0f s later (%.0f CPU s in all); %s" % (info["points"], time.monotonic() - t1, cpu, w.take()), flush=True)
            else:
                subprocess.run(["cat", os.path.join(m, ".vexfs/status")], stdout=subprocess.DEVNULL, check=True)
                run("wait", m)
            searches(m, a.set, info["dim"], data, a.queries, a.ef)
            print("%s, searching: %s" % (turn, w.take()), flush=True)
            w.on = False
            w.join()
            subprocess.run([os.path.abspath(a.vexfs), "umount", m])  # another mount namespace may hold it for a while
            if turn == "first mount":
                t0 = time.monotonic()
                run(*mount)
                print("mounted again in %.2f s" % (time.monotonic() - t0))
        return 0
    finally:
        subprocess.run([os.path.abspath(a.vexfs), "umount", m], stderr=subprocess.DEVNULL)
        subprocess.run(["umount", "-l", m], stderr=subprocess.DEVNULL)
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
