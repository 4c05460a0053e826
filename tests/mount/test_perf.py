#!/usr/bin/env python3
"""stats, metrics, health, vexfs perf and the baseline of a real mount. With VEXFS_LONG=1 a baseline is recorded and outlives a mount."""
import json
import os
import re

import mnt
from mnt import Mount, done, eq, ok, rand_vec, seed, skip, vexfs

rng = __import__("random").Random(seed(3))


def work(m, n=60):
    for i in range(n):
        m.write(f"f{i % 20}", f"text number {i} of winter")
        m.set_vector(f"f{i % 20}", rand_vec(rng, 16))
    m.wait("--durable")
    for _ in range(n):
        m.ask("search", vector=rand_vec(rng, 16), k=5)
        with open(m.p("f1")) as f:
            f.read()


def counted(m):
    work(m)
    a = m.ask("stats")
    ops = {o["operation"]: o for o in a["operations"]}
    ok(ops["v_search"]["count"] >= 60 and ops["setxattr"]["count"] >= 60, "operations are counted")
    ok(all(o["p50_ns"] <= o["p90_ns"] <= o["p99_ns"] <= o["p999_ns"] <= o["max_ns"] for o in ops.values()), "quantiles are in order")
    ok(all(o["mean_ns"] <= o["max_ns"] for o in ops.values()), "means too")
    c, r, q = a["counters"], a["ratios"], a["queues"]
    ok(c["searches"] >= 60 and c["flushes"] > 0 and c["commits"] > 0 and c["distances"] > 0, "searches, flushes, commits, distances", detail=c)
    ok(abs(r["distances_per_search"] - c["distances"] / c["searches"]) < 0.06, "distances of a search", detail=r)
    ok(0 < r["pool_hits"] <= 1 and abs(r["pool_hits"] - c["pool_hits"] / (c["pool_hits"] + c["pool_misses"])) < 0.001, "pool hits", detail=r)
    eq({"parked", "search", "update", "store", "store_ops", "pending", "tail"}, set(q), "every queue is there")
    with open(m.p(".vexfs/metrics")) as f:
        text = f.read()
    bad = [ln for ln in text.splitlines() if not re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .*|[a-z_]+(\{[a-z]+=\"[a-zA-Z0-9_.]+\"(,[a-z]+=\"[0-9.]+\")?\})? [0-9.e+-]+", ln)]
    ok(not bad, "metrics are Prometheus text", detail=bad[:3])
    for name in ('vexfs_queue_length{queue="tail"}', 'quantile="0.999"', 'vexfs_events_total{event="flushes"}'):
        ok(name in text, f"metrics have {name}")


def told(m):
    code, out, err = vexfs("perf", m.mnt, "-n", "1", "-i", "0.2")
    ok(code == 0 and "v_search" in out and "p99.9" in out and "waiting:" in out, "vexfs perf prints a table", detail=out + err)
    code, out, _ = vexfs("perf", m.mnt, "--json")
    eq((code, "operations" in json.loads(out)), (0, True), "vexfs perf --json")
    code, _, err = vexfs("perf", m.mnt, "-i", "0")
    eq(code, 2, "an interval of nothing is refused")
    with open(m.p(".vexfs/health")) as f:
        h = json.load(f)
    eq((h["live"], h["ready"], h["reasons"]), (True, True, []), "healthy: live, ready, no reasons")
    eq(m.status()["regressions"], [], "nothing is slower than it was")


def baseline(m):
    eq(m.ask("baseline")["state"], "off", "no baseline at first")
    eq(m.ask("baseline_record")["state"], "recording", "recording begins")
    ok(mnt.wait_until(lambda: m.ask("baseline")["windows"] >= 1, 30), "windows pass")
    eq(m.ask("baseline_drop")["state"], "off", "and is given up")
    if not os.environ.get("VEXFS_LONG"):
        skip("a baseline outlives the mount", "VEXFS_LONG is not set; it takes half a minute")
        return
    m.ask("baseline_record")
    while m.ask("baseline")["state"] == "recording":
        work(m, 20)
    a = m.ask("baseline")
    ok(a["state"] == "watching" and {"v_search", "read"} <= {o["operation"] for o in a["operations"]}, "recorded", detail=a)
    m.umount()
    m.mount()
    m.wait()
    b = m.ask("baseline")
    eq({o["operation"]: o["baseline_ns"] for o in b["operations"]}, {o["operation"]: o["baseline_ns"] for o in a["operations"]}, "the same after another mount")
    gen = m.status()["generation"]
    m.ask("baseline_drop")
    ok(mnt.wait_until(lambda: m.status()["generation"] > gen), "dropped, and committed")
    m.umount()
    m.mount()
    m.wait()
    eq(m.ask("baseline")["state"], "off", "and gone for good when it is dropped")


def main():
    with Mount() as m:
        counted(m)
        told(m)
        baseline(m)
    done()


main()
