#!/usr/bin/env python3
"""What another user sees of the virtual tree: his own results only, by every name and every file; and what is left of it when the vector
side is switched off or broken. As root, with allow_other."""
import errno
import json
import os
import shutil
import struct
import sys

from mnt import Mount, done, eq, floats, ok, run, skip, wait_until

UID = 54321


def err_of(f, *a):
    try:
        f(*a)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)
    return "no error"


def as_user(f):
    """The result of f() run by another uid without groups, by JSON."""
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setgid(UID)
            os.setuid(UID)
            out = f()
        except BaseException as e:  # noqa: BLE001: told to the parent
            out = repr(e)
        os.write(w, json.dumps(out).encode())
        os._exit(0)
    os.close(w)
    data = b""
    while True:
        b = os.read(r, 1 << 16)
        if not b:
            break
        data += b
    os.close(r)
    os.waitpid(pid, 0)
    return json.loads(data)


def base(names):
    return sorted(n.split("_", 2)[2] for n in names)


def users():
    with Mount("-o", "allow_other") as m:
        os.chmod(m.mnt, 0o755)
        for d, mode in (("open", 0o755), ("shut", 0o700)):
            os.mkdir(m.p(d))
            os.chmod(m.p(d), mode)
        for i, (rel, mode) in enumerate((("open/a.txt", 0o644), ("open/b.txt", 0o600), ("shut/c.txt", 0o644), ("open/d.txt", 0o644))):
            m.write(rel, "the secret budget %d\n" % i)
            os.chmod(m.p(rel), mode)
            m.set_vector(rel, [1.0, i / 10, 0])
        m.wait()
        d = m.p(".vexfs/search/secret")
        eq(base(os.listdir(d)), ["a.txt", "b.txt", "c.txt", "d.txt"], "root finds all")
        m.write("open/plain.txt", "of otters\n")
        os.chmod(m.p("open/plain.txt"), 0o644)
        m.wait()
        words = lambda w: as_user(lambda: base(os.listdir(m.p(".vexfs/search/" + w))))
        eq(words("plain"), ["plain.txt"], "by a word of its name")
        os.link(m.p("open/plain.txt"), m.p("shut/merger.txt"))
        m.wait()
        eq([words("merger"), words("otters")], [[], ["plain.txt"]], "a name in a shut directory is not told by what it finds")
        os.unlink(m.p("open/plain.txt"))
        m.wait()
        eq(words("merger"), [], "nor when it is the only one")
        mine = os.listdir(d)
        eq(as_user(lambda: base(os.listdir(d))), ["a.txt", "d.txt"], "another user what he may read")
        eq(as_user(lambda: [err_of(os.readlink, os.path.join(d, n)) for n in mine if n.endswith(("b.txt", "c.txt"))]), ["ENOENT"] * 2,
           "names handed out to root lead him nowhere")
        links = [os.path.join(d, n) for n in mine]
        eq(as_user(lambda: [err_of(os.stat, x) for x in links].count("no error") <= 2), True, "nor do they all resolve")
        q = json.dumps({"verb": "search", "vector": [1, 0, 0], "k": 10, "exact": True}).encode()

        def ask():
            f = os.open(m.p(".vexfs/query"), os.O_RDWR)
            os.write(f, q)
            a = json.loads(os.read(f, 1 << 20))
            return [[r["path"] for r in a["results"]], a["pending"] in (0, 1)]
        for _ in range(8):  # by whichever thread
            r = as_user(ask)
            if r != [["open/a.txt", "open/d.txt"], True]:
                break
        eq(r, [["open/a.txt", "open/d.txt"], True], "by the query file, k filled, eight times")
        like = m.p(".vexfs/like")
        eq(as_user(lambda: [base(os.listdir(like + "/open/a.txt")), err_of(os.listdir, like + "/shut"), err_of(os.stat, like + "/shut/c.txt"),
                            err_of(os.listdir, like + "/open/b.txt")]), [["d.txt"], "EACCES", "EACCES", "EACCES"], "like/ is shut where the tree is")
        eq(as_user(lambda: [err_of(open, m.p(".vexfs", f)) for f in ("ctl", "events", "stats", "metrics", "collections/default/vectors.npy", "collections/default/ids")]),
           ["EACCES"] * 6, "the owner's files are the owner's")
        eq(as_user(lambda: [err_of(open, m.p(".vexfs", f)) for f in ("status", "health", "query", "collections/default/info")]), ["no error"] * 4, "the others are open")
        ok(as_user(lambda: "c.txt" not in open(m.p(".vexfs/status")).read() and json.load(open(m.p(".vexfs/status")))["collections"] == []),
           "status tells him nothing of collections")
        eq(as_user(lambda: [err_of(os.symlink, "x", m.p(".vexfs/saved/x")), err_of(os.setxattr, m.p("open/a.txt"), "user.vexfs.vector", floats([1, 2, 3])),
                            err_of(os.getxattr, m.p("open/b.txt"), "user.vexfs.vector"), err_of(os.getxattr, m.p("open/b.txt"), "user.vexfs.packed")]), ["EACCES"] * 4,
           "nothing can be saved or set, nothing private read")

        def put():
            f = os.open(m.p(".vexfs/query"), os.O_RDWR)
            codes = []
            for req in ({"verb": "put", "path": "open/a.txt", "vector": [9, 9, 9]}, {"verb": "get", "path": "open/b.txt"}, {"verb": "get", "path": "shut/c.txt"},
                        {"verb": "payload", "path": "open/a.txt", "payload": {}}, {"verb": "search", "like": "open/b.txt"}, {"verb": "del", "path": "open/a.txt"},
                        {"verb": "collection_create", "name": "his"}, {"verb": "stats"}, {"verb": "verify"}):
                os.write(f, json.dumps(req).encode())
                codes.append(json.loads(os.read(f, 1 << 20)).get("error", {}).get("code"))
            return codes
        eq(as_user(put), ["EACCES"] * 7 + ["not_owner"] * 2, "every verb asks")
        os.chmod(m.p("shut"), 0o755)
        eq(as_user(lambda: base(os.listdir(d))), ["a.txt", "c.txt", "d.txt"], "a door that opens opens the search")
        os.chmod(m.p("open/a.txt"), 0o600)
        eq(as_user(lambda: base(os.listdir(d))), ["c.txt", "d.txt"], "and one that shuts shuts it at once")
        os.chown(m.p("open/a.txt"), UID, UID)
        eq(as_user(lambda: base(os.listdir(d))), ["a.txt", "c.txt", "d.txt"], "his own")


def switched_off():
    with Mount("-o", "components=none") as m:
        m.write("f", b"x")
        eq([err_of(os.getxattr, m.p("f"), "user.vexfs.vector"), err_of(os.setxattr, m.p("f"), "user.vexfs.vector", floats([1]))], ["ENODATA", "ENOTSUP"],
           "components=none: no vectors")
        eq([n for n in os.listxattr(m.p("f")) if "vexfs" in n], [], "none listed")
        ok(err_of(os.listdir, m.p(".vexfs/search/x")) in ("ENOTSUP", "ENOENT"), "no search")
        eq(os.listdir(m.mnt), ["f"], "files as ever")


def broken():
    m = Mount()
    try:
        m.write("f", b"x")
        m.set_vector("f", [1.0, 2.0])
        m.wait("--durable")
        m.umount()
        with open(m.dir + "/.vexfs/catalog.db", "r+b") as f:
            f.write(b"this is no database at all" * 200)
        for x in ("-wal", "-shm"):
            if os.path.exists(m.dir + "/.vexfs/catalog.db" + x):
                os.unlink(m.dir + "/.vexfs/catalog.db" + x)
        m.mount()
        m.write("g", b"files go on")
        with open(m.p("f"), "rb") as f:
            eq(f.read(), b"x", "a broken store: files are read and written")
        ok(err_of(os.getxattr, m.p("f"), "user.vexfs.vector") in ("EIO", "EILSEQ"), "vectors are refused")

        def bad():
            with open(m.p(".vexfs/health")) as f:
                return json.load(f)
        wait_until(lambda: bad()["status"] == "failed")
        eq([bad()["ok"], bad()["status"]], [False, "failed"], "health says so")
        a = m.ask("search", text="x")
        ok(a.get("error", {}).get("code") in ("store_format", "store_corrupt", "store_failed"), "a search is an error with its reason", detail=a)
        ok(err_of(os.listdir, m.p(".vexfs/search/x")) in ("EIO", "EILSEQ"), "a listing fails")
        eq([n for n in os.listxattr(m.p("f")) if "vexfs" in n], [], "listxattr goes on")
        run("cp", "-a", m.p("f"), m.p("h"), check=True)
        ok(os.path.exists(m.p("h")), "and cp -a")
    finally:
        m.close()


if os.geteuid() == 0:
    users()
else:
    skip("another user", "not root")
switched_off()
broken()
done()
