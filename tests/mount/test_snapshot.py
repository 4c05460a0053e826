#!/usr/bin/env python3
"""Snapshots through a mount: a search at one sees the vectors and words of then, the paths and permissions of now, and says of each file
whether it is still what was searched, has changed, or is gone; they outlive mounts and kills, are there whole or not at all."""
import json
import os
import random
import subprocess
import threading
import time

import mnt
from mnt import Mount, cosine_distance, done, eq, ok, rand_vec, seed, vexfs

SEED = seed()
rnd = random.Random(SEED)
DIM = 12


def states(answer):
    return {r.get("path", r.get("id")): r["state"] for r in answer.get("results", [])}


def as_user(uid, fn):
    """fn()'s value (JSON), computed by a process of that user"""
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(r)
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            out = json.dumps(fn())
        except Exception as e:  # shown by the comparison
            out = json.dumps({"exception": str(e)})
        os.write(w, out.encode())
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        out = f.read()
    os.waitpid(pid, 0)
    return json.loads(out)


def one_shot(m, verb, **keys):
    """a request on a handle of its own, so that it is the asking process's"""
    fd = os.open(m.p(".vexfs/query"), os.O_RDWR)
    try:
        os.write(fd, json.dumps({"verb": verb, **keys}).encode())
        return json.loads(os.pread(fd, 1 << 20, 0))
    finally:
        os.close(fd)


def test_then_and_now(m):
    vec = {}
    for name in ["kept", "changed", "moved", "gone", "touched", "revec", "secret"]:
        m.write(name + ".txt", f"{name} content about its{name}\n")  # no word of its name
        vec[name] = rand_vec(rnd, DIM)
        m.set_vector(name + ".txt", vec[name])
    m.ask("collection_create", name="pts", dim=DIM)
    points = {i: rand_vec(rnd, DIM) for i in range(50)}
    m.ask("put", collection="pts", points=[{"id": i, "vector": v} for i, v in points.items()], wait="durable")
    m.wait()
    status, out, err = vexfs("snapshot", "create", "s1", m.mnt, "--json")
    made = json.loads(out) if not status else {}
    eq((status, made.get("name"), made.get("vectors")), (0, "s1", 57), "made by the command")
    gen = made.get("generation")

    m.write("changed.txt", "something else altogether\n")
    os.mkdir(m.p("d"))
    os.rename(m.p("moved.txt"), m.p("d/elsewhere.txt"))
    os.unlink(m.p("gone.txt"))
    os.chmod(m.p("touched.txt"), 0o640)
    os.chmod(m.p("secret.txt"), 0o600)
    m.set_vector("revec.txt", [-x for x in vec["revec"]])
    m.write("new.txt", "came later\n")
    m.set_vector("new.txt", vec["kept"])
    m.ask("del", collection="pts", id=7, wait=True)
    m.ask("put", collection="pts", id=8, vector=[-x for x in points[8]], wait=True)
    m.wait()

    want = {"kept.txt": "fresh", "changed.txt": "stale", "d/elsewhere.txt": "fresh", "gone.txt": "gone", "touched.txt": "fresh",
            "revec.txt": "fresh", "secret.txt": "fresh"}
    a = m.ask("search", vector=vec["kept"], k=20, at="s1")
    eq(states(a), want, "the files of then, at the paths of now, with their states")
    eq(a.get("generation"), gen, "the answer is of the snapshot's generation")
    order = [r["path"] for r in a["results"]]
    name = {"d/elsewhere.txt": "moved"}
    exact = sorted(order, key=lambda p: cosine_distance(vec[name.get(p, p[:-4])], vec["kept"]))
    eq(order, exact, "in the order of the vectors of then")
    now = m.ask("search", vector=vec["kept"], k=20)
    ok("new.txt" in states(now) and "gone.txt" not in states(now), "now is another answer", detail=now)
    r = m.ask("search", vector=vec["revec"], k=1, at="s1")
    eq([(x["path"], round(x["score"], 4)) for x in r["results"]], [("revec.txt", 1.0)], "a vector that was replaced is found as it was")
    a = m.ask("search", collection="pts", vector=points[7], k=50, exact=True, at="s1")
    eq(sorted(states(a)), list(range(50)), "all free points of then")
    eq(a["results"][0]["id"], 7, "the deleted one among them")
    a = m.ask("search", text="itschanged", k=5, at="s1", mode="text")
    eq(states(a), {"changed.txt": "stale"}, "words that are not in the file any more")
    eq(states(m.ask("search", text="itschanged", k=5, mode="text")), {}, "and not found now")
    a = m.ask("search", like="kept.txt", k=20, at="s1")
    eq(sorted(states(a)), sorted(set(want) - {"kept.txt"}), "near a file, by its vector of then")
    a = m.ask("batch_search", vectors=[vec["kept"], vec["revec"]], k=1, at="s1")
    eq([b["results"][0]["path"] for b in a.get("batch", [])], ["kept.txt", "revec.txt"], "a batch")
    status, out, err = vexfs("search", "changeds", m.mnt, "--mode", "text", "--at", "s1", "--jsonl")
    eq((status, [json.loads(line)["state"] for line in out.splitlines()]), (0, ["stale"]), "by the command " + err)
    status, out, err = vexfs("search", "changeds", m.mnt, "--at", "nope")
    ok(status == 2 and "no snapshot of that name" in err, "which says that there is no such", detail=err)

    a = as_user(65534, lambda: one_shot(m, "search", vector=vec["kept"], k=20, at="s1"))
    eq(sorted(states(a)), sorted(set(want) - {"secret.txt", "gone.txt", "touched.txt"}), "others see what they may read now")
    a = as_user(65534, lambda: one_shot(m, "snapshot_create", name="mine"))
    eq(a.get("error", {}).get("code"), "not_owner", "others make none")
    a = as_user(65534, lambda: one_shot(m, "snapshot_drop", name="s1"))
    eq(a.get("error", {}).get("code"), "not_owner", "and drop none")
    a = as_user(65534, lambda: one_shot(m, "snapshots"))
    eq([sorted(s) for s in a.get("snapshots", [])], [["generation", "made_ns", "name"]], "they see which there are, not how much is in them")
    eq(sorted(m.ask("snapshots")["snapshots"][0]), ["chunks", "files", "generation", "made_ns", "name", "vectors"], "the owner sees that")
    return vec, want


def test_names(m):
    for verb, keys, code in [("search", {"text": "x", "at": "nope"}, "no_snapshot"), ("snapshot_drop", {"name": "nope"}, "no_snapshot"),
                             ("snapshot_create", {"name": "s1"}, "snapshot_exists"), ("snapshot_create", {}, "missing_key"),
                             ("snapshot_create", {"name": "../s1"}, "collection_name"), ("get", {"path": "kept.txt", "at": "s1"}, "unknown_key")]:
        eq(m.ask(verb, **keys).get("error", {}).get("code"), code, f"{verb} {keys}")
    with open(m.p(".vexfs/ctl"), "w") as f:
        f.write("snapshot_create name=by-ctl\n")
    a = m.ask("snapshots")
    eq([s["name"] for s in a["snapshots"]], ["by-ctl", "s1"], "made through ctl, listed by name")
    status, out, err = vexfs("snapshot", "list", m.mnt)
    ok(status == 0 and [line.split()[0] for line in out.splitlines()] == ["by-ctl", "s1"], "the command's list", detail=out + err)
    for i in range(3):  # more than may be open at once, one after the other
        m.ask("snapshot_create", name=f"n{i}")
        eq(len(m.ask("search", text="kept", at=f"n{i}").get("results", [])), 1, f"snapshot n{i} is searched")
    eq(vexfs("snapshot", "drop", "by-ctl", m.mnt)[0], 0, "dropped")
    eq(vexfs("snapshot", "drop", "by-ctl", m.mnt)[0], 2, "once")
    eq(m.ask("snapshot_drop", name="n1").get("ok"), True, "one that is open for searching")
    eq(m.ask("search", text="kept", at="n1").get("error", {}).get("code"), "no_snapshot", "is gone at once")
    m.write("later.txt", "latern word\n")
    m.wait()
    m.ask("snapshot_create", name="n1")
    eq(states(m.ask("search", text="latern", at="n1")), {"later.txt": "fresh"}, "another of its name is another")
    os.unlink(m.p("later.txt"))
    m.ask("snapshot_drop", name="n1")


def test_searches_meanwhile(m, vec):
    """searches at a snapshot while others are made and dropped: always the same answer"""
    stop, bad = threading.Event(), []
    want = states(m.ask("search", vector=vec["kept"], k=20, at="s1"))

    def search():
        while not stop.is_set():
            a = one_shot(m, "search", vector=vec["kept"], k=20, at="s1")
            if states(a) != want:
                bad.append(a)
    threads = [threading.Thread(target=search) for _ in range(2)]
    for t in threads:
        t.start()
    for i in range(6):
        a = m.ask("snapshot_create", name="t")
        b = m.ask("snapshot_drop", name="t")
        if "error" in a or "error" in b:
            bad.append((a, b))
    stop.set()
    for t in threads:
        t.join()
    eq(bad, [], "searches beside makes and drops")


def test_after(m, vec, want):
    m.umount()
    status, out, err = vexfs("verify", m.dir)
    eq(status, 0, "the store and its snapshots are clean")
    m.mount()
    eq(states(m.ask("search", vector=vec["kept"], k=20, at="s1")), want, "a snapshot outlives the mount")
    for i in range(5):
        p = subprocess.Popen([mnt.VEXFS, "snapshot", "create" if i % 2 == 0 else "drop", "k" if i % 2 == 0 else f"n{i - 1}", m.mnt],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rnd.random() * 0.02)  # any moment will do
        m.kill9()
        p.wait()
        m.mount()
        a = m.ask("snapshots")
        ok(not any(s.get("damaged") for s in a["snapshots"]), f"kill {i}: what is listed is whole", detail=a)
        eq([n for n in os.listdir(os.path.join(m.dir, ".vexfs/snap")) if n.startswith(".")], [], f"kill {i}: nothing half made is left")
        m.ask("snapshot_drop", name="k")
        eq(states(m.ask("search", vector=vec["kept"], k=20, at="s1")), want, f"kill {i}: the others are as they were")
    m.umount()
    eq(vexfs("verify", m.dir)[0], 0, "clean after the kills")


def main():
    with Mount("-o", "allow_other") as m:
        vec, want = test_then_and_now(m)
        test_names(m)
        test_searches_meanwhile(m, vec)
        test_after(m, vec, want)
    done()


main()
