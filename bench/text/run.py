#!/usr/bin/env python3
"""make bench-text: how good words, meaning and both are on Cranfield, through the product; how fast and how large the model is.

    run.py VEXFS [--data DIR] [--model MODEL] [--dump FILE]

DIR holds docs.txt docs.ids q.txt q.ids qrels (default: ../shared/data/cranfield beside the project).  Every document becomes a file of a mount
with the model in use; each of the queries is asked by the search verb in the modes text, vector and hybrid (k 100).  Prints nDCG@10 and R@100 of
each, nDCG@10 of each half of the queries (fusion was chosen on the first), and of hybrid against the better leg the ratio on all queries and the 95%
lower bound of a paired bootstrap on the half that was held out.  Then chunks/s of one thread beside onnxruntime in the same run (where its modules are
to be had), the daemon's memory with the model in use and after it has been idle.
Exit status 1 when hybrid is below the better leg or the bound below 0.98."""
import argparse
import json
import math
import os
import random
import subprocess
import sys
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
sys.path.insert(0, os.path.join(ROOT, "tests/mount"))

ap = argparse.ArgumentParser()
ap.add_argument("vexfs")
ap.add_argument("--data", default=os.path.join(ROOT, "../shared/data/cranfield"))
ap.add_argument("--model", default="minilm")
ap.add_argument("--dump")
ap.add_argument("--no-speed", action="store_true")
args = ap.parse_args()
os.environ["VEXFS"] = os.path.abspath(args.vexfs)
from mnt import Mount, run, wait_until  # noqa: E402

if not os.path.exists(args.data + "/qrels"):
    print(f"bench-text: SKIP: no Cranfield collection at {args.data}")
    sys.exit(0)


def read(name):
    return open(f"{args.data}/{name}").read().rstrip("\n").split("\n")


docs, dids, qs, qids = read("docs.txt"), read("docs.ids"), read("q.txt"), read("q.ids")
rel = {}
for line in read("qrels"):
    q, d, s = line.split()[:3]
    if float(s) > 0:
        rel.setdefault(q, {})[d] = float(s)


def measure(lists):
    """lists: query id -> document ids, best first. nDCG@10 a query, R@100 a query"""
    n, r = [], []
    for q in qids:
        want = rel.get(q)
        if not want:
            continue
        ideal = sum(v / math.log2(k + 2) for k, v in enumerate(sorted(want.values(), reverse=True)[:10]))
        n.append(sum(want.get(d, 0) / math.log2(k + 2) for k, d in enumerate(lists[q][:10])) / ideal)
        r.append(len(want.keys() & set(lists[q][:100])) / len(want))
    return n, r


def mean(v):
    return sum(v) / len(v)


def bound(a, b, rounds=10000, seed=1):
    """95% lower bound of mean(a) / mean(b) over queries drawn again and again, in pairs"""
    rng = random.Random(seed)
    ratios = []
    for _ in range(rounds):
        pick = rng.choices(range(len(a)), k=len(a))
        ratios.append(sum(a[i] for i in pick) / sum(b[i] for i in pick))
    return sorted(ratios)[int(rounds * 0.05)]


def have_model():
    rc, out, _ = run(args.vexfs, "model", "list")
    if os.sep in args.model or any(line[2:].split()[:1] == [args.model] for line in out.splitlines()):
        return True
    return run(args.vexfs, "model", "add", args.model, timeout=1200)[0] == 0


if not have_model():
    print("bench-text: SKIP: the model cannot be had here")
    sys.exit(0)


def rss(m):
    return m.status()["memory"]["rss"]


def reference_python():
    """a Python with the reference's modules; made once, outside the tree"""
    need = "import numpy, tokenizers, onnx, onnxruntime"
    at = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vexfs/bench-python")
    for py in (sys.executable, at + "/bin/python"):
        if os.path.exists(py) and subprocess.run([py, "-c", need], stderr=subprocess.DEVNULL).returncode == 0:
            return py
    subprocess.run([sys.executable, "-m", "venv", at], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([at + "/bin/python", "-m", "pip", "install", "-q", "numpy", "tokenizers", "onnx", "onnxruntime"], stderr=subprocess.DEVNULL) \
        if os.path.exists(at + "/bin/python") else None
    py = at + "/bin/python"
    return py if os.path.exists(py) and subprocess.run([py, "-c", need], stderr=subprocess.DEVNULL).returncode == 0 else None


def speed(folder):
    """one thread against onnxruntime, in one run of the reference script"""
    py = reference_python()
    if not py:
        return "SKIP: onnxruntime cannot be had here"
    tool = os.path.join(os.path.dirname(os.path.abspath(args.vexfs)), "tests/unit/embed/embed_tool")
    for up in ("../..", ".."):
        at = os.path.join(os.path.dirname(os.path.realpath(args.vexfs)), up, "tests/unit/embed/embed_tool")
        tool = at if os.path.exists(at) else tool
    p = subprocess.run([py, f"{ROOT}/tests/embed/reference.py", "bench", folder, tool], capture_output=True, text=True)
    return p.stdout.strip() if p.returncode in (0, 1) and p.stdout.strip() else "SKIP: " + (p.stderr.strip().split("\n") or ["?"])[-1]


with Mount("--model", args.model, "-o", "model-idle=15") as m:
    before = rss(m)
    t0 = time.monotonic()
    for i, d in zip(dids, docs):
        m.write(f"{i}.txt", d + "\n")
    run(args.vexfs, "wait", m.mnt, check=True, timeout=7200)
    took = time.monotonic() - t0
    e = m.status()["embedding"]
    print(f"{len(docs)} files, {e['chunks']} chunks embedded and {e['reused']} reused in {took:.1f} s: {e['chunks'] / took:.1f} chunks/s through the mount")
    used = rss(m)
    lists, scores = {}, {}
    for mode in ("text", "vector", "hybrid"):
        t0 = time.monotonic()
        for q, text in zip(qids, qs):
            a = m.ask("search", text=text, mode=mode, k=100)
            if not a.get("complete"):
                sys.exit(f"bench-text: {mode} search of query {q} is not complete: {a}")
            lists.setdefault(mode, {})[q] = [r["path"][:-4] for r in a["results"]]
            scores.setdefault(mode, {})[q] = [r["score"] for r in a["results"]]
        n, r = measure(lists[mode])
        print(f"{mode:7s} nDCG@10 {mean(n):.4f}  halves {mean(n[::2]):.4f} {mean(n[1::2]):.4f}  R@100 {mean(r):.4f}"
              f"  {(time.monotonic() - t0) / len(qs) * 1e3:.1f} ms a query")
    used = max(used, rss(m))
    def dropped():
        return wait_until(lambda: not m.status()["components"]["model"]["loaded"], 120)

    was = dropped()
    rest = rss(m)
    m.ask("search", text=qs[0], mode="vector")
    again = rss(m)
    gone = dropped()
    print(f"memory: {before / 2**20:.0f} MB empty, {used / 2**20:.0f} MB while all was embedded; {rest / 2**20:.1f} MB at rest, {again / 2**20:.1f} MB for a"
          f" question, {rss(m) / 2**20:.1f} MB when the model had been idle{'' if was and gone else ' (it was NOT dropped)'}")
if args.dump:
    json.dump({"lists": lists, "scores": scores, "rel": rel, "qids": qids}, open(args.dump, "w"))
n = {mode: measure(lists[mode])[0] for mode in lists}
better = max(("text", "vector"), key=lambda x: mean(n[x]))
ratio = mean(n["hybrid"]) / mean(n[better])
held = {k: v[1::2] for k, v in n.items()}
better2 = max(("text", "vector"), key=lambda x: mean(held[x]))
low = bound(held["hybrid"], held[better2])
print(f"hybrid / {better} on all queries {ratio:.3f}; held-out half: {mean(held['hybrid']) / mean(held[better2]):.3f}, 95% lower bound {low:.3f}")
if not args.no_speed:
    home = os.environ.get("VEXFS_MODELS") or ("/var/lib/vexfs/models" if os.geteuid() == 0 else
                                            os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "vexfs/models"))
    print("one thread beside onnxruntime:", speed(args.model if os.sep in args.model else f"{home}/{args.model}"))
bad = ratio < 1 or low < 0.98
print("bench-text:", "FAIL" if bad else "pass")
sys.exit(bad)
