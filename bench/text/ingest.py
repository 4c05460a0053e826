#!/usr/bin/env python3
"""What embedding costs those who use the files meanwhile; and a kill in the middle of it.

    ingest.py VEXFS [--files 10000] [--rounds 9] [--model minilm] [--fsstress PROGRAM] [--nice N] [--no-kill]

Copies that many real text files of this machine (200 to 4,000 bytes, below /usr and this Python) into a mount with the model in use.  While they are
embedded, fsstress (of xfstests; $FSSTRESS) runs on the same mount, in turns with the model taken away and given back, so that each pair differs in
nothing else: the median of the pairs' ratios is printed, and how often a FUSE worker's note met the object table locked and was left in its queue,
and how often one waited more than 1 ms.  Then kill -9: what was finished must not be embedded again, and nothing may be lost.
--nice N moves all of it (the daemon's own threads keep their distance): on a machine that has other work."""
import argparse
import glob
import json
import os
import random
import shutil
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
sys.path.insert(0, os.path.join(ROOT, "tests/mount"))
ap = argparse.ArgumentParser()
ap.add_argument("vexfs")
ap.add_argument("--files", type=int, default=10000)
ap.add_argument("--rounds", type=int, default=9)
ap.add_argument("--model", default="minilm")
ap.add_argument("--fsstress", default=os.environ.get("FSSTRESS") or shutil.which("fsstress"))
ap.add_argument("--ops", type=int, default=3000)
ap.add_argument("--nice", type=int, default=0)
ap.add_argument("--no-kill", action="store_true")
args = ap.parse_args()
os.environ["VEXFS"] = os.path.abspath(args.vexfs)
os.nice(args.nice)
from mnt import Mount, run, wait_until  # noqa: E402

if not args.fsstress:
    print("bench-ingest: SKIP: no fsstress (build xfstests, set FSSTRESS)")
    sys.exit(0)


def texts():
    got = []
    for top in ("/usr/share", "/usr/include", "/usr/lib/python3", os.path.dirname(os.__file__)):
        for base, _, names in os.walk(top):
            for n in names:
                p = os.path.join(base, n)
                try:
                    if os.path.islink(p) or not 200 <= os.path.getsize(p) <= 4000:
                        continue
                    b = open(p, "rb").read()
                    b.decode()
                except (OSError, UnicodeDecodeError):
                    continue
                if b"\0" not in b:
                    got.append(b)
    random.Random(1).shuffle(got)
    return list(dict.fromkeys(got))[:args.files]


def shift(pid):
    """the daemon's threads set their nice values absolutely"""
    for t in glob.glob(f"/proc/{pid}/task/*"):
        name = open(t + "/comm").read().strip()
        more = {"vx-embed": 10, "vx-ingest": 5}.get(name)
        if more is not None and args.nice:
            os.setpriority(os.PRIO_PROCESS, int(os.path.basename(t)), args.nice + more)


def stats(m):
    with open(m.p(".vexfs/stats")) as f:
        return json.load(f).get("counters", {})


def stress(m, k):
    d = m.p("s")
    shutil.rmtree(d, ignore_errors=True)
    os.mkdir(d)
    t0 = time.monotonic()
    subprocess.run([args.fsstress, "-d", d, "-n", str(args.ops), "-p", "2", "-s", str(k)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - t0


files = texts()
print(f"{len(files)} files, {sum(map(len, files)) / 1e6:.1f} MB", flush=True)
with Mount("--model", args.model) as m:
    folder = None
    for home in (os.environ.get("VEXFS_MODELS"), "/var/lib/vexfs/models", os.path.expanduser("~/.local/share/vexfs/models")):
        if home and os.path.isdir(f"{home}/{args.model}"):
            folder = folder or f"{home}/{args.model}"
    m.wait()
    shift(m.pid)
    t0 = time.monotonic()
    for i, b in enumerate(files):
        if i % 1000 == 0:
            os.makedirs(m.p(f"d{i // 1000}"))
        m.write(f"d{i // 1000}/{i}.txt", b)
    print(f"written in {time.monotonic() - t0:.1f} s; embedded by then: {m.status()['embedding']['files']} files", flush=True)
    ratios = []
    for k in range(args.rounds):
        m.ask("model", folder="")
        idle = stress(m, k)
        m.ask("model", folder=folder or args.model)
        wait_until(lambda: m.status()["components"]["model"]["state"] == "ready", 30)
        a = m.status()["embedding"]
        busy = stress(m, k)
        b = m.status()["embedding"]
        if not b["pending"]:
            print("all is embedded: no more rounds")
            break
        ratios.append(busy / idle)
        print(f"round {k + 1}: fsstress {idle:.2f} s without, {busy:.2f} s while {b['chunks'] - a['chunks']} chunks were embedded: {busy / idle:.2f}", flush=True)
    c = stats(m)
    print(f"fsstress, median of {len(ratios)} pairs: {sorted(ratios)[len(ratios) // 2]:.3f}" if ratios else "no pairs")
    print(f"FUSE workers' notes that met the object table locked by ingest or embedding and were left there: {c.get('note_met_ingest')}, that waited over 1 ms: {c.get('note_waits_ingest')}"
          f"; by others (one another, the store): {c.get('note_met')}, {c.get('note_waits')}")
    if not args.no_kill:
        wait_until(lambda: m.status()["embedding"]["files"] >= len(files) // 3, 3600, 1)
        st = m.status()["embedding"]
        m.kill9()
        m.mount()
        wait_until(lambda: m.status()["components"]["model"]["state"] == "ready", 60)
        shift(m.pid)
        t0 = time.monotonic()
        run(args.vexfs, "wait", m.mnt, check=True, timeout=7200)
        e = m.status()["embedding"]
        left = len(files) - st["files"]
        print(f"killed with {st['files']} files finished; {e['chunks']} chunks of {e['files']} files embedded after, {e['chunks'] / (time.monotonic() - t0):.1f} a second; "
              f"{'no finished file again' if e['files'] <= left + 300 else 'FINISHED FILES WERE EMBEDDED AGAIN'}")
        lost = 0
        for i in random.Random(2).sample(range(len(files)), 100):
            lost += os.getxattr(m.p(f"d{i // 1000}/{i}.txt"), "user.vexfs.state") != b"fresh"
        print(f"of 100 files looked at {lost} are not fresh, pending {e['pending']}")
        m.umount()
        rc, out, _ = run(args.vexfs, "verify", m.dir, timeout=1200)
        print(f"verify: {'clean' if rc == 0 else out}")
