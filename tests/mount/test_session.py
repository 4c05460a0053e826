#!/usr/bin/env python3
"""A first session, whole: mount, vectors by xattr and by command, searches by every front, rename, unlink, remount, kill, unmount.

Also run under the sanitizers, and last it reads the stack marks that all of this left.
"""
import json
import os
import signal
import subprocess
import time

from mnt import (Mount, SANITIZED, alive, cosine_distance, done, eq, f32, floats, mounted, ok, rand_vec, run, seed, setfattr, unfloats,
                 vexfs, wait_until)
import random

STACK_LIMIT = 6144

rng = random.Random(seed(20261123))
DIM = 48


def names(out):
    return [l.split("\t")[0].rsplit(":", 1)[0] if "\t" in l else l for l in out.splitlines()]


def xattr_round_trip(m):
    m.write("f.txt", "first file\n")
    v = floats(rand_vec(rng, DIM))
    rc, _, err = setfattr(m.p("f.txt"), "user.vexfs.vector", v)
    eq(rc, 0, "setfattr user.vexfs.vector")
    get = lambda: subprocess.run(["getfattr", "--only-values", "-n", "user.vexfs.vector", m.p("f.txt")], capture_output=True).stdout
    eq(get(), v, "getfattr returns the same bytes")
    eq(os.getxattr(m.p("f.txt"), "user.vexfs.dim").decode().strip(), str(DIM), "user.vexfs.dim")
    m.umount()
    m.mount()
    eq(get(), v, "the same bytes after umount and mount")
    v2 = floats(rand_vec(rng, DIM))
    setfattr(m.p("f.txt"), "user.vexfs.vector", v2)
    fd = os.open(m.p("f.txt"), os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    m.kill9()
    m.mount()
    eq(get(), v2, "the same bytes after fsync, kill -9, umount -l, mount")
    os.removexattr(m.p("f.txt"), "user.vexfs.vector")
    try:
        os.getxattr(m.p("f.txt"), "user.vexfs.vector")
        ok(False, "a removed vector is gone")
    except OSError as e:
        eq(os.strerror(e.errno), "No data available", "a removed vector is gone")
    listed = os.listxattr(m.p("f.txt"))
    ok(not any(n.startswith("user.vexfs") for n in listed), "computed names are not listed", detail=listed)


def touched_while_closing(m):
    """A writer's last close comes after the file was touched and given a vector: nothing has changed since, so the vector is fresh."""
    for what in ("nothing", "touch", "write"):
        p = m.p(f"closing-{what}")
        fd = os.open(p, os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"content\n")
        os.close(os.dup(fd))  # a flush: for us the writing is over, as far as anyone can tell
        if what == "touch":
            os.utime(p, (1_000_000_000, 1_000_000_000))
        m.set_vector(f"closing-{what}", rand_vec(rng, DIM))
        if what == "write":
            os.write(fd, b"more\n")
        os.close(fd)
        m.wait()
        eq(os.getxattr(p, "user.vexfs.state").decode(), "stale" if what == "write" else "fresh", f"{what} before the last close")
        os.unlink(p)


def words(m):
    m.write("a.md", "# Budget\n\nThe committee approved the annual budget on Monday.\n")
    m.write("b.md", "Bread is baked from flour, water and salt.\n")
    os.mkdir(m.p("sub"))
    m.write("sub/c.txt", "one\ntwo\nthe budget was approved again\n")
    rc, out, err = vexfs("search", "budget approved", m.mnt, "--wait")
    eq(rc, 0, "search exits 0 when there are results")
    eq(sorted(os.path.relpath(n, m.mnt) for n in names(out)), ["a.md", "sub/c.txt"], "both files, and no other")
    rc, out, _ = vexfs("search", "budget", m.p("sub"))
    eq([os.path.relpath(n, m.mnt) for n in names(out)], ["sub/c.txt"], "a path narrows the search")
    eq(vexfs("search", "zebracorn", m.mnt)[0], 1, "search exits 1 when there is none")
    for i in range(5):  # a shell's redirection: the file is flushed before it is written, by a copy of the descriptor
        run("sh", "-c", f"echo redirected{i} > '{m.mnt}/r.txt'", check=True)
        eq(vexfs("search", f"redirected{i}", m.mnt, "--wait")[0], 0, "what a shell wrote is found at once")
    os.unlink(m.p("r.txt"))
    rc, out, _ = vexfs("search", "budget", m.mnt, "-l", "-0")
    ok(out.count("\0") == 2 and "\n" not in out, "-0 ends names in NUL", detail=out)
    rc, out, _ = vexfs("search", "budget", m.mnt, "--json")
    ans = json.loads(out)
    ok(ans["complete"] and ans["pending"] == 0 and ans["generation"] >= 0, "the answer says how complete it is", detail=ans)
    eq({r["state"] for r in ans["results"]}, {"fresh"}, "every result says its state")
    rc, out, _ = vexfs("search", "budget", "--jsonl", cwd=m.mnt)
    eq(len([json.loads(l) for l in out.splitlines()]), 2, "--jsonl, and the current directory's mount")

    d = m.p(".vexfs/search/budget approved")
    links = sorted(os.listdir(d))
    eq(len(links), 2, "ls of a search directory")
    for l in links:
        ok(os.path.islink(os.path.join(d, l)) and b"budget" in open(os.path.join(d, l), "rb").read(), f"the link {l} opens")
    rc, out, err = run("ls", "-l", d)
    ok(rc == 0 and out.count("->") == 2, "ls -l of it", detail=out + err)
    os.rename(m.p("a.md"), m.p("renamed.md"))
    targets = {os.path.relpath(os.path.realpath(os.path.join(d, l)), m.mnt) for l in os.listdir(d)}
    eq(targets, {"renamed.md", "sub/c.txt"}, "after mv the next ls shows the new path")
    os.rename(m.p("sub"), m.p("sub2"))
    targets = {os.path.relpath(os.path.realpath(os.path.join(d, l)), m.mnt) for l in os.listdir(d)}
    eq(targets, {"renamed.md", "sub2/c.txt"}, "a directory's rename moves what is in it")
    os.unlink(m.p("renamed.md"))
    targets = {os.path.relpath(os.path.realpath(os.path.join(d, l)), m.mnt) for l in os.listdir(d)}
    eq(targets, {"sub2/c.txt"}, "after rm it is gone")
    eq(sorted(os.listdir(m.mnt)), ["b.md", "f.txt", "sub2"], "the root shows neither .vexfs nor the store")


def vectors(m, tmp):
    vs = {f"v{i:02d}.bin": rand_vec(rng, DIM) for i in range(40)}
    for n, v in vs.items():
        m.write(n, n)
        m.set_vector(n, v)
    q = rand_vec(rng, DIM)
    want = sorted(vs, key=lambda n: cosine_distance(q, vs[n]))
    for exact in (True, False):
        r = m.ask("search", vector=q, k=10, exact=exact, wait=True)
        eq([x["path"] for x in r.get("results", [])], want[:10], f"ten nearest, exact {exact}")
        ok(all(abs(x["distance"] - cosine_distance(q, vs[x["path"]])) < 1e-5 for x in r.get("results", [])), "their distances")
    open(os.path.join(tmp, "q.f32"), "wb").write(floats(q))
    rc, out, err = vexfs("query", "--vector", os.path.join(tmp, "q.f32"), m.mnt, "-k", "3", "-l")
    eq([os.path.basename(l) for l in out.splitlines()], want[:3], "vexfs query --vector")
    me = want[0]
    near = sorted((n for n in vs if n != me), key=lambda n: cosine_distance(vs[me], vs[n]))
    rc, out, err = vexfs("similar", m.p(me), "-k", "5", "-l")
    eq([os.path.basename(l) for l in out.splitlines()], near[:5], "vexfs similar leaves the file itself out")
    eq(os.getxattr(m.p(me), "user.vexfs.similar").decode().split(), near[:10], "user.vexfs.similar")
    like = m.p(".vexfs/like", me)
    eq([os.path.basename(os.path.realpath(os.path.join(like, l))) for l in sorted(os.listdir(like))][:5], near[:5], "ls like/FILE")
    os.rename(m.p(near[0]), m.p("moved.bin"))
    eq(os.getxattr(m.p(me), "user.vexfs.similar").decode().split()[0], "moved.bin", "a rename is followed at once")
    os.unlink(m.p("moved.bin"))
    eq(os.getxattr(m.p(me), "user.vexfs.similar").decode().split()[0], near[1], "an unlink leaves the search at once")
    eq(os.getxattr(m.p(me), "user.vexfs.state").decode().strip(), "fresh", "state: fresh")
    m.write(me, "other content now")
    m.wait()
    eq(os.getxattr(m.p(me), "user.vexfs.state").decode().strip(), "stale", "state after an edit: stale")
    r = m.ask("search", vector=q, k=1, exact=True)
    eq(r["results"][0]["path"], [n for n in want if n not in (me, near[0])][0], "stale is hidden")
    eq(m.ask("search", vector=q, k=1, exact=True, stale=True)["results"][0]["path"], me, "and shown when asked")


def commands(m, tmp):
    v = rand_vec(rng, 5)
    m.write("p.txt", "point\n")
    open(os.path.join(tmp, "v.json"), "w").write(json.dumps(v))
    rc, _, err = vexfs("set", m.p("p.txt"), "--vector", os.path.join(tmp, "v.json"), "--payload", '{"lang":"en"}', "-c", "five")
    ok(rc == 2 and "no such collection" in err, "set into an unknown collection is refused", detail=err)
    eq(vexfs("collection", "create", "five", m.mnt, "--dim", "5", "--metric", "l2")[0], 0, "collection create")
    rc, _, err = vexfs("set", m.p("p.txt"), "--vector", os.path.join(tmp, "v.json"), "--payload", '{"lang":"en"}', "-c", "five", "--durable")
    ok(rc == 0, "set", detail=err)
    rc, out, err = vexfs("get", m.p("p.txt"), "-c", "five")
    ok(rc == 0 and [f32(x) for x in json.loads(out)] == v, "get returns the same numbers", detail=out + err)
    out = subprocess.run([os.environ.get("VEXFS", "vexfs"), "get", m.p("p.txt"), "-c", "five", "--format", "f32"], capture_output=True).stdout
    eq(unfloats(out), v, "get --format f32")
    rc, out, err = vexfs("get", m.p("p.txt"), "--payload", "-c", "five")
    ok(rc == 0 and json.loads(out) == {"lang": "en"}, "get --payload", detail=out + err)
    eq(vexfs("rm", m.p("p.txt"), "-c", "five")[0], 0, "rm")
    eq(vexfs("get", m.p("p.txt"), "-c", "five")[0], 2, "get after rm")

    rows = [rand_vec(rng, 16) for _ in range(2500)]
    with open(os.path.join(tmp, "in.jsonl"), "w") as f:
        for i, r in enumerate(rows):
            f.write(json.dumps({"id": i + 10, "vector": r}) + "\n")
    rc, _, err = vexfs("import", os.path.join(tmp, "in.jsonl"), "--into", "points", m.mnt, "--metric", "l2", "--batch", "700")
    ok(rc == 0 and "2500 vectors imported" in err, "import .jsonl", detail=err)
    npy = os.path.join(tmp, "out.npy")
    rc, _, err = vexfs("export", "points", npy, m.mnt, "--ids", os.path.join(tmp, "ids.npy"))
    ok(rc == 0, "export .npy", detail=err)
    data = open(npy, "rb").read()
    ids = open(os.path.join(tmp, "ids.npy"), "rb").read()[128:]
    ids = [int.from_bytes(ids[i:i + 8], "little") for i in range(0, len(ids), 8)]
    eq(sorted(ids), list(range(10, 2510)), "every id is exported once")
    got = unfloats(data[128:])
    ok(all(got[i * 16:i * 16 + 16] == rows[k - 10] for i, k in enumerate(ids)), "every vector is exported as it came in")
    rc, _, err = vexfs("import", npy, "--into", "again", m.mnt)
    ok(rc == 0, "import what was exported", detail=err)
    q = rows[77]
    l2 = lambda v: sum((a - b) ** 2 for a, b in zip(q, v))
    want = sorted(range(2500), key=lambda i: l2(rows[i]))[:10]
    r = m.ask("search", collection="points", vector=q, k=10, exact=True, wait=True)
    eq([x["id"] - 10 for x in r["results"]], want, "free points are found, exactly")
    r = m.ask("search", collection="points", vector=q, k=10, wait=True)
    ok(len({x["id"] - 10 for x in r["results"]} & set(want)) >= 9, "and by the graph")
    rc, out, _ = vexfs("collection", "list", m.mnt)
    ok(rc == 0 and "points" in out and "2500" in out, "collection list", detail=out)
    rc, out, _ = vexfs("collection", "info", "points", m.mnt, "--json")
    ok(rc == 0 and '"dim": 16' in out, "collection info", detail=out)
    eq(vexfs("collection", "drop", "again", m.mnt)[0], 0, "collection drop")
    rc, out, _ = vexfs("collection", "list", m.mnt)
    ok("again" not in out, "it is gone")
    rc, out, err = vexfs("verify", m.mnt)
    ok(rc == 0, "verify of the live mount is clean", detail=out + err)
    rc, out, err = vexfs("query", "--json", "-", m.mnt, stdin=b'{"verb":"collections"}')
    ok(rc == 0 and '"points"' in out, "query --json -", detail=out + err)


def stack_marks(m):
    if SANITIZED:
        return  # the sanitizer's frames are not ours: nothing is painted
    marks = m.status().get("stack", [])
    over = [s for s in marks if s["bytes"] >= s["limit"]]
    ok(len(marks) > 10, f"status has stack marks of {len(marks)} operations")
    fuse = [s for s in marks if s["limit"] == STACK_LIMIT]
    ok(fuse and max(s["bytes"] for s in fuse) < STACK_LIMIT,
       f"deepest operation: {max(fuse, key=lambda s: s['bytes']) if fuse else None}, limit {STACK_LIMIT}", detail=over)
    for s in sorted(fuse, key=lambda s: -s["bytes"])[:8]:
        print(f"# stack {s['operation']:14} {s['bytes']:5} B on {s['thread']}")


def main():
    with Mount() as m:
        tmp = m.base
        ok(mounted(m.mnt) and os.path.isdir(m.p(".vexfs")), "the mount serves when the command returns")
        xattr_round_trip(m)
        touched_while_closing(m)
        words(m)
        vectors(m, tmp)
        commands(m, tmp)
        stack_marks(m)
        pid = m.pid
        m.drop_query()
        rc, out, err = vexfs("umount", m.mnt)
        ok(rc == 0, "umount", detail=err)
        ok(not mounted(m.mnt), "no mount is left")
        ok(not alive(pid), "no process is left")
        rc, out, err = vexfs("verify", m.dir)
        ok(rc == 0, "verify of the directory is clean", detail=out + err)
        t0 = time.monotonic()
        m.mount()
        pid = m.pid
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGTERM)
        ok(wait_until(lambda: not alive(pid), 20), "SIGTERM stops the daemon (SIGHUP did not)")
        ok(wait_until(lambda: not mounted(m.mnt), 5), "and leaves no mount")
        if mounted(m.mnt):
            run("umount", "-l", m.mnt)
    done()


main()
