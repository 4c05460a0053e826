#!/usr/bin/env python3
"""Every file of the store that the daemon has mapped is cut short while clients search and others put: errors and incomplete answers, no crash,
nothing wrong; files go on.  Then a graph, a file of slots and the catalog are gone at the next mount.

Each turn takes one mapped file, cuts it to half and then to nothing, and looks at the answers after each.  An answer that says `complete`
must be the brute-force one (exact search) or hold only true distances (graph); one that does not may lack results, and what it holds must be
true as well.  Then the mount is ended, the file put back as it was at the beginning of the turn, and the next mount must have everything.
"""
import heapq
import json
import os
import random
import shutil
import threading

from mnt import Mount, alive, cosine_distance, done, eq, floats, mounted, ok, rand_vec, seed, vexfs

N, DIM, K = 5000, 8, 10
rng = random.Random(seed(11))


def oracle(rows, q):
    return heapq.nsmallest(K, ((cosine_distance(q, v), i) for i, v in enumerate(rows)))


def maps_of(pid, store):
    """files of the store in the process's memory, by their path below it"""
    out = set()
    for line in open(f"/proc/{pid}/maps"):
        path = line.split(maxsplit=5)[5].strip() if len(line.split(maxsplit=5)) > 5 else ""
        if path.startswith(store + "/"):
            out.add(path[len(store) + 1:].removesuffix(" (deleted)"))
    return sorted(out)


class Clients:
    """two that search and one that puts, until told to stop; what they saw"""
    id, acked = 0, 1  # the last point of the other collection; those that were acknowledged as durable

    def __init__(self, m, rows, questions):
        self.m, self.rows, self.questions = m, rows, questions
        self.stop, self.wrong, self.n = threading.Event(), [], {"complete": 0, "incomplete": 0, "error": 0, "put": 0, "refused": 0}
        self.t = [threading.Thread(target=self.search, args=(i,)) for i in range(2)] + [threading.Thread(target=self.put)]
        for t in self.t:
            t.start()

    def judge(self, q, best, exact, a):
        if "error" in a:
            self.n["error"] += 1
            return
        self.n["complete" if a["complete"] else "incomplete"] += 1
        for x in a["results"]:
            if x["id"] < N and abs(x["distance"] - cosine_distance(q, self.rows[x["id"]])) > 1e-4:
                self.wrong.append(f"distance of {x['id']}: {x['distance']}")
        if exact and a["complete"] and len(a["results"]) == K and any(
                abs(x["distance"] - d) > 1e-4 for x, (d, _) in zip(a["results"], best)):
            self.wrong.append(f"complete and not the nearest: {a['results'][:3]}, want {best[:3]}")
        if a["complete"] and len(a["results"]) != K:
            self.wrong.append(f"complete with {len(a['results'])} results")

    def search(self, i):
        while not self.stop.is_set():
            for q, best in self.questions:
                exact = bool(i)
                try:
                    self.judge(q, best, exact, self.m.ask_anew(json.dumps(
                        {"verb": "search", "collection": "c", "vector": q, "k": K, "exact": exact}).encode()))
                except OSError:
                    self.n["error"] += 1

    def put(self):
        while not self.stop.is_set():
            Clients.id += 1
            try:
                a = self.m.ask_anew(json.dumps({"verb": "put", "collection": "other", "wait": "durable",
                                                "points": [{"id": Clients.id, "vector": self.rows[0]}]}).encode())
                good = "error" not in a
            except OSError:
                good = False
            self.n["put" if good else "refused"] += 1
            Clients.acked += good

    def more(self, n):
        """until so many more answers have come"""
        at = self.answers() + n
        while self.answers() < at and alive(self.m.pid):
            self.stop.wait(0.01)

    def answers(self):
        return self.n["complete"] + self.n["incomplete"] + self.n["error"]

    def end(self):
        self.stop.set()
        for t in self.t:
            t.join()


def turn(m, name, rows, questions):
    path, kept = os.path.join(m.dir, ".vexfs", name), os.path.join(m.base, "kept")
    shutil.copyfile(path, kept)
    c = Clients(m, rows, questions)
    try:
        c.more(10)
        for size in (os.path.getsize(path) // 2 // 4096 * 4096, 0):
            os.truncate(path, size)
            c.more(30)
    finally:
        c.end()
    ok(alive(m.pid) and not c.wrong, f"{name} cut to half and to nothing under load: {c.n}", detail=c.wrong[:3])
    m.write("f", name)
    eq(open(m.p("f")).read(), name, "  files go on")
    vexfs("umount", m.mnt)
    if mounted(m.mnt):
        m.kill9()
    shutil.copyfile(kept, path)  # the store's own writes since then went into another collection
    if name == "catalog.db-shm":  # SQLite's own, made at each opening
        os.unlink(path)
    m.mount()
    m.wait()
    got = [m.ask("search", collection="c", vector=q, k=K, exact=True) for q, _ in questions]
    bad = [a for a, (_, best) in zip(got, questions) if not a.get("complete") or [x["id"] for x in a["results"]] != [i for _, i in best]]
    eq(bad, [], "  put back: every answer is the exact one")
    n = json.loads(vexfs("collection", "info", "other", m.mnt, "--json", check=True)[1])["points"]
    ok(n >= Clients.acked, f"  what was acknowledged meanwhile is there: {n} of {Clients.acked}")


def gone(m, name, rows, questions, *, opens, complete):
    """a file of the store is removed between two mounts: what the next one says, and that all is there when it is put back"""
    path, aside = os.path.join(m.dir, ".vexfs", name), os.path.join(m.base, "aside")
    m.umount()
    os.rename(path, aside)
    m.mount()
    got = [m.ask("search", collection="c", vector=q, k=K, exact=True) for q, _ in questions]
    ok(all(("error" not in a) == opens for a in got), f"without {name}: {'it answers' if opens else 'a search is refused'}", detail=got[0])
    if opens:
        m.wait()
        got = [m.ask("search", collection="c", vector=q, k=K, exact=True) for q, _ in questions]
        ok(all(a["complete"] == complete for a in got), f"  the answers are {'' if complete else 'not '}complete", detail=got[0])
        wrong = sum(abs(x["distance"] - cosine_distance(q, rows[x["id"]])) > 1e-4 for a, (q, _) in zip(got, questions) for x in a["results"])
        eq(wrong, 0, "  and what they hold is true")
    else:
        ok("catalog.db is gone" in json.dumps(got[0]), "  and it is said why", detail=got[0])
    m.write("f", name)
    eq(open(m.p("f")).read(), name, "  files go on")
    m.umount()
    if not complete:
        ok(vexfs("verify", m.dir)[0] != 0, "  verify tells of it")
        for n in os.listdir(os.path.join(m.dir, ".vexfs")):
            if name == "catalog.db" and n.startswith(name):
                os.unlink(os.path.join(m.dir, ".vexfs", n))
        os.rename(aside, path)
    m.mount()
    m.wait()
    got = [[x["id"] for x in m.ask("search", collection="c", vector=q, k=K, exact=True)["results"]] for q, _ in questions]
    eq(got, [[i for _, i in best] for _, best in questions], f"  {'the next mount' if complete else 'put back'}: every answer is the exact one")


def main():
    with Mount() as m:
        rows = [rand_vec(rng, DIM) for _ in range(N)]
        qs = [rand_vec(rng, DIM) for _ in range(6)]
        questions = [(q, oracle(rows, q)) for q in qs]
        src = os.path.join(m.base, "rows.fvecs")
        with open(src, "wb") as f:
            for v in rows:
                f.write(DIM.to_bytes(4, "little") + floats(v))
        vexfs("import", src, "--into", "c", m.mnt, check=True)
        m.ask("collection_create", name="other", dim=DIM)
        m.ask("put", collection="other", points=[{"id": 0, "vector": rows[0]}], wait="durable")
        m.ask("index_build", collection="c")
        m.umount()
        m.mount()
        store, seen = os.path.join(m.dir, ".vexfs"), set()
        for q, _ in questions:
            m.ask("search", collection="c", vector=q, k=K)
        def kind(n):  # a graph that was cut is built again under another name
            return "graph" if n.endswith(".hnsw") else n
        while left := [n for n in maps_of(m.pid, store) if kind(n) not in seen and not n.startswith("c4/")]:
            seen.add(kind(left[0]))
            turn(m, left[0], rows, questions)
            for q, _ in questions:
                m.ask("search", collection="c", vector=q, k=K)
        print(f"# files: {sorted(seen)}")
        ok(any(n.endswith(".vec") for n in seen) and "graph" in seen and "catalog.db-shm" in seen,
           "slots, a graph and SQLite's shared memory were among them", detail=seen)
        graph = next(n for n in maps_of(m.pid, store) if n.endswith(".hnsw"))
        gone(m, graph, rows, questions, opens=True, complete=True)  # built anew behind exact search
        gone(m, "c3/v1.vec", rows, questions, opens=True, complete=False)
        gone(m, "catalog.db", rows, questions, opens=False, complete=False)
        m.umount()
        rc, out, err = vexfs("verify", m.dir)
        eq(rc, 0, "at the end it verifies clean")
    done()


main()
