#!/usr/bin/env python3
"""A collection's recall on a real mount: measured against exact search by the engine, by `vexfs verify --recall`, and here; a target that
the collection's own ef misses is reached with a larger one, one that no ef reaches by exact search; told by info and status, kept over a
mount, and measured again when the rows have changed."""
import json
import os
import random
import struct

from mnt import Mount, done, eq, ok, run, seed, vexfs

SEED = seed()
rnd = random.Random(SEED)
N, DIM, K = 3000, 24, 10


def fvecs(path, rows):
    with open(path, "wb") as f:
        for r in rows:
            f.write(struct.pack(f"<i{len(r)}f", len(r), *r))


def rows(n):
    return [[rnd.gauss(0, 1) for _ in range(DIM)] for _ in range(n)]


def near(m, coll, v, **keys):
    return [r["id"] for r in m.ask("search", collection=coll, vector=v, k=K + 1, **keys)["results"]]


def recall(m, coll, queries, **keys):
    """of the ten nearest besides itself, as the engine defines it"""
    good = 0
    for i, v in queries:
        true = [x for x in near(m, coll, v, exact=True) if x != i][:K]
        good += len(set(true) & set([x for x in near(m, coll, v, **keys) if x != i][:K]))
    return good / (K * len(queries))


def info(m, coll):
    return m.ask("collection_info", name=coll)


def make(m, coll, path, **keys):
    a = m.ask("collection_create", name=coll, dim=DIM, metric="l2", **keys)
    ok("error" not in a, f"{coll} is made", detail=a)
    rc, out, err = vexfs("import", path, "--into", coll, m.mnt)
    eq(rc, 0, f"{coll} is filled")
    m.ask("index_build", name=coll)  # answered when all is linked and measured


with Mount() as m:
    base = rows(N)
    path = os.path.join(m.base, "base.fvecs")
    fvecs(path, base)
    queries = [(i, base[i]) for i in rnd.sample(range(N), 60)]

    # the graph is poor on purpose: 6 links a node, and a narrow search
    make(m, "plain", path, M=3, ef_construction=16, ef=40)
    make(m, "aimed", path, M=3, ef_construction=16, ef=40, target_recall=0.9)
    rc, out, err = vexfs("verify", "--recall", m.mnt)
    eq((rc, err), (0, ""), "verify --recall finds nothing wrong")
    # so poor that parts of it hang together by chance: no ef finds all
    make(m, "beyond", path, M=2, ef_construction=2, ef=40, target_recall=1)
    plain, aimed, beyond = info(m, "plain"), info(m, "aimed"), info(m, "beyond")
    eq([k for k in plain if "recall" in k], [], "a collection without a target tells nothing of one")
    low = recall(m, "plain", queries)
    ok(low < 0.85, f"without a target recall is low here ({low:.3f}): the next lines show something")

    eq((aimed["target_recall"], aimed["recall_state"]), (0.9, "ef raised"), "a target out of its ef's reach raises it")
    ok(aimed["recall_ef"] > 40 and 0.9 <= aimed["recall"] <= 1, "to one that reaches it", detail=aimed)
    got = recall(m, "aimed", queries)
    ok(got >= 0.86, f"searches have it: {got:.3f}", detail=aimed)
    named = recall(m, "aimed", queries, ef=40)
    ok(named < 0.85, f"an ef that is named is used as it is: {named:.3f}")
    ok(abs(got - aimed["recall"]) < 0.06, f"what was measured ({aimed['recall']}) is what is seen ({got:.3f})")

    eq((beyond["recall_state"], beyond["recall"], beyond["recall_ef"]), ("exact", 1.0, 0), "a target that no ef reaches means exact search")
    eq(recall(m, "beyond", queries), 1.0, "which finds all")
    st = {c["name"]: c for c in m.status()["collections"]}
    eq([(st[c].get("recall_state"), st[c].get("target_recall")) for c in ("plain", "aimed", "beyond")],
       [(None, None), ("ef raised", 0.9), ("exact", 1.0)], "status says so")

    _, out, err = vexfs("verify", "--recall", m.mnt)
    lines = {line.split()[0]: line for line in out.splitlines() if "recall@10" in line}
    ok(" at ef 40, " in lines.get("plain", "") and abs(float(lines["plain"].split()[2]) - low) < 0.08, "plain: its recall, measured", detail=out)
    ok(f" at ef {aimed['recall_ef']}, " in lines.get("aimed", "") and "(target 0.9000: ef raised)" in lines["aimed"], "aimed: at the raised ef", detail=out)
    ok("1: searches are exact (target 1.0000: exact)" in lines.get("beyond", ""), "beyond: exact", detail=out)
    v = m.ask("verify", recall=True)
    r = {c["name"]: c["recall"] for c in v["collections"]}
    eq((r["beyond"]["exact"], r["aimed"]["exact"], r["aimed"]["ef"]), (True, False, aimed["recall_ef"]), "and in JSON")
    ok("recall" not in json.dumps(m.ask("verify")), "nothing is measured unasked")
    rc, out, err = vexfs("verify", "--recall", m.dir)
    eq(rc, 2, "a directory has no live graph")
    for bad in (1.5, -0.1):
        eq(m.ask("collection_create", name="bad", dim=4, target_recall=bad).get("error", {}).get("code"), "bad_value", f"a target of {bad} is refused")

    # kept: the next mount begins with what this one knew
    m.umount()
    m.mount()
    m.ask("status")
    m.wait()
    again = info(m, "aimed")
    eq([again[k] for k in ("target_recall", "recall", "recall_ef", "recall_state")], [aimed[k] for k in ("target_recall", "recall", "recall_ef", "recall_state")],
       "target and measurement are those of the last mount")
    more = os.path.join(m.base, "more.fvecs")
    fvecs(more, rows(2000))
    vexfs("import", more, "--into", "aimed", "--first-id", str(N), m.mnt, check=True)
    m.ask("index_build", name="aimed")
    grown = info(m, "aimed")
    ok(grown["recall"] != aimed["recall"] or grown["recall_ef"] != aimed["recall_ef"], "measured again after many new rows", detail=(aimed, grown))
    ok(recall(m, "aimed", queries) >= 0.86, "and reached again", detail=grown)
done()
