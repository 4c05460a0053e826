#!/usr/bin/env python3
"""Content, vector and payload replaced in one step: staged on a temporary file by attributes, committed by rename. Searchers who race with it
see one version of the three, never new text with an old vector.  A free point that is put again and again is there for readers all the time."""
import json
import multiprocessing
import os

from mnt import Mount, done, eq, floats, ok

VERSIONS = 150


def vec(n):
    return [1.0, n / VERSIONS, 0.5]


def content(m):
    with open(m.p("f"), "rb") as f:
        return int(f.read().split()[1])


def search(m, until, out):
    """Each answer lies between the version that was there before it was asked and the one after, or is the one whose rename is under way:
    a search looks at the directory below, a reader at names that the kernel changes when the rename has been answered."""
    bad, n = [], 0
    while not until.is_set():
        before = content(m)
        a = m.ask_anew(json.dumps({"verb": "search", "vector": vec(0), "k": 5, "exact": True, "with_vectors": True, "with_payload": True}).encode())
        t = m.ask_anew(json.dumps({"verb": "search", "text": "version", "k": 5, "mode": "text"}).encode())
        after = content(m)
        for r in a.get("results", [{"error": a}]):
            got = [round(r["vector"][1] * VERSIONS), r.get("payload", {}).get("n")] if r.get("path") == "f" else r
            if r.get("path") == "f" and not (before <= got[0] <= after + 1 and got[0] == got[1]):
                bad.append([before, got, after, r["state"]])
            elif r.get("path") not in ("f", "tmp"):
                bad.append(r)
        bad += [["text", r] for r in t.get("results", [{"path": str(t)}]) if r["path"] not in ("f", "tmp")]
        n += 1
    out.put([n, bad[:5]])


def get(m, until, out):
    """the point as it is read while it is replaced: never gone, never older than what was read before"""
    bad, n, last = [], 0, 0
    while not until.is_set():
        a = json.loads(m.raw(json.dumps({"verb": "get", "collection": "p", "id": 7, "with_vectors": True}).encode()))
        v = round(a["vector"][1] * VERSIONS) if "vector" in a else None
        if v is None or v < last:
            bad.append([last, a])
        last = v or last
        n += 1
    out.put([n, bad[:5]])


def others(m, until, out):
    """keeps the store in commits, so that a put waits for its turn"""
    n = 0
    while not until.is_set():
        m.ask("put", collection="p", points=[{"id": 100 + n % 50, "vector": vec(1)}], wait="durable")
        n += 1
    out.put([n, []])


def race(m, who, change):
    """change(1 to VERSIONS) while each of @who works in a process of its own; [requests made, what was wrong] of each"""
    until, out = multiprocessing.Event(), multiprocessing.Queue()
    procs = [multiprocessing.Process(target=f, args=(m, until, out)) for f in who]
    for p in procs:
        p.start()
    for n in range(1, VERSIONS + 1):
        change(n)
    until.set()
    got = [out.get(timeout=120) for _ in procs]
    for p in procs:
        p.join()
    ok(all(n > 0 for n, _ in got), "all were at work")
    return sum(n for n, _ in got), [b for _, bad in got for b in bad]


def replaced(m):
    m.ask("collection_create", name="p", dim=3, metric="cosine")
    m.ask("put", collection="p", points=[{"id": 7, "vector": vec(0)}])
    m.drop_query()
    n, bad = race(m, (get, others), lambda n: m.ask("put", collection="p", points=[{"id": 7, "vector": vec(n)}]))
    eq(bad, [], f"a point put {VERSIONS} times was there at each of {n} requests")


with Mount() as m:
    replaced(m)

    def stage(n):
        m.write("tmp", b"version %d %s\n" % (n, b"x" * (n % 7)))
        os.setxattr(m.p("tmp"), "user.vexfs.vector", floats(vec(n)))
        os.setxattr(m.p("tmp"), "user.vexfs.payload", b'{"n": %d}' % n)
    stage(0)
    os.rename(m.p("tmp"), m.p("f"))
    m.wait()
    n, bad = race(m, (search, search), lambda n: (stage(n), os.rename(m.p("tmp"), m.p("f"))))
    eq(bad, [], f"{VERSIONS} versions, {n} racing searches: content, vector and payload of one version")
    m.wait()
    r = m.ask("search", vector=vec(0), k=5, exact=True, with_payload=True)["results"]
    eq([(x["path"], x["state"], x["payload"]["n"]) for x in r], [("f", "fresh", VERSIONS)], "the last one stays, fresh")
done()
