#!/usr/bin/env python3
"""vexfs bench and vexfs profile, made small: what they print is whole, their figures agree with the mount's own, nothing stays behind."""
import csv
import io
import json
import os
import re
import tempfile

import mnt
from mnt import Mount, done, eq, ok, skip, vexfs

FILES = {"file create 4 KiB", "file read 4 KiB", "file stat", "file rename", "list directory"}
VECTORS = {"vector put", "vector search", "vector search exact", "setxattr vector", "getxattr vector", "search by words"}


def bench():
    with Mount() as m:
        m.write("mine", "the user's own")
        before = sorted(os.listdir(m.mnt))
        code, out, err = vexfs("bench", m.mnt, "--seconds", "0.1", "--points", "300", "--dim", "24", "--json")
        eq(code, 0, "bench runs")
        b = json.loads(out)
        eq({o["operation"] for o in b["operations"]}, FILES | VECTORS, "every operation is there")
        bad = [o for o in b["operations"] if o.get("stopped") or not o["count"] or not 0 < o["p50_ns"] <= o["p99_ns"] <= o["max_ns"]]
        ok(not bad, "each ran, none was stopped, its quantiles are in order", detail=bad or err)
        by = {o["operation"]: o for o in b["operations"]}
        seen = {o["operation"]: o["count"] for o in m.ask("stats")["operations"]}
        searches = by["vector search"]["count"] + by["vector search exact"]["count"]
        ok(seen["v_search"] >= searches, f"the mount counted its searches as well: {seen['v_search']} of {searches}")
        eq(sorted(os.listdir(m.mnt)), before, "its files are gone")
        names = [c["name"] for c in m.status()["collections"]]
        ok(not any(n.startswith("bench") for n in names), "its collection is gone", detail=names)
        code, out, _ = vexfs("bench", m.mnt, "--seconds", "0.02", "--files-only")
        ok(code == 0 and "file stat" in out and "vector" not in out, "files only, for people", detail=out)
        code, _, err = vexfs("bench", m.mnt, "--dim", "9999")
        ok(code == 2 and "--dim" in err, "a dimension too large for it is refused", detail=err)


def profile_dir():
    """four mounts after one another, half a minute on a busy machine: `make report` runs it, or VEXFS_LONG=1"""
    if not os.environ.get("VEXFS_LONG"):
        skip("profile of a directory", "VEXFS_LONG is not set; `make report` does the same at full size")
        return
    with tempfile.TemporaryDirectory() as d:
        svg = os.path.join(d, "p.svg")
        code, out, err = vexfs("profile", d, "--seconds", "0.05", "-n", "1500", "--dim", "16", "--csv", "--svg", svg, timeout=400)
        eq(code, 0, "profile runs on a directory")
        rows = list(csv.DictReader(io.StringIO(out)))
        stack = {(r["row"], r["column"]): int(r["value"]) for r in rows if r["table"] == "stack_bytes"}
        deep = {w: max(v for (op, c), v in stack.items() if c == w) for w in ("none", "store", "search", "all")} if not mnt.SANITIZED else {}
        for w, limit in (("none", 6144), ("store", 3072), ("search", 6144), ("all", 6144)):
            if deep:
                ok(0 < deep[w] < limit, f"components={w}: {deep[w]} bytes of stack, limit {limit}")
        if deep:
            ok(0 < stack[("hnsw_search", "own")] < 4096, f"HNSW: {stack[('hnsw_search', 'own')]} bytes, limit 4096")
        mem = {r["row"] for r in rows if r["table"] == "memory"}
        ok(len(mem) >= 12, f"memory at {len(mem)} stages", detail=mem)
        both = {(r["table"], r["row"]) for r in rows}
        ok(all((t, n) in both for t in ("direct", "mount") for n in ("vector store", "vector search", "HNSW traversal")),
           "three operations by both paths", detail=err + out[-800:])
        with open(svg) as f:
            ok(re.match(r"<svg.*</svg>\s*$", f.read(), re.S), "a picture")
        eq(sorted(os.listdir(d)), ["p.svg"], "nothing stays behind")
        with open("/proc/self/mountinfo") as f:
            ok(d not in f.read(), "no mount stays behind")


def profile_mount():
    with Mount() as m:
        before = sorted(os.listdir(m.mnt))
        code, out, err = vexfs("profile", m.mnt, "--seconds", "0.05", "-n", "200", "--dim", "16")
        ok(code == 0 and "## Stack" in out and "## Not measured" in out and "a mount in use" in out, "profile of a mount in use", detail=out + err)
        eq(sorted(os.listdir(m.mnt)), before, "leaves it as it was")
    code, _, err = vexfs("profile", "/nonexistent")
    ok(code == 2 and "/nonexistent" in err, "a directory that isn't there")


bench()
profile_mount()
profile_dir()
done()
