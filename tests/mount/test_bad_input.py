#!/usr/bin/env python3
"""What is asked wrongly gets a sentence and a non-zero status or an errno; nothing is lost and the mount stays up."""
import ctypes
import errno
import fcntl
import json
import math
import os
import random
import shutil
import sqlite3
import struct
import subprocess

from mnt import (Mount, VEXFS, alive, done, eq, floats, mounted, ok, rand_vec, run, seed, skip, vexfs)

rng = random.Random(seed(3))
DIM = 8


def refused(what, argv, *words, **kw):
    """Status 2, one sentence with these words, nothing on stdout."""
    rc, out, err = vexfs(*argv, **kw)
    ok(rc == 2 and err.startswith("vexfs: ") and all(w in err for w in words) and not out, f"{what}: {err.strip()[:150]}",
       detail=f"status {rc}, {out} {err}, want {words}")


def fails(what, want, fn):
    try:
        fn()
        ok(False, f"{what}: {errno.errorcode[want]}", detail="it succeeded")
    except OSError as e:
        eq(errno.errorcode.get(e.errno), errno.errorcode[want], f"{what}: {errno.errorcode[want]}")


def mounting(base):
    d, m = os.path.join(base, "d"), os.path.join(base, "m")
    os.makedirs(d)
    os.makedirs(m)
    open(os.path.join(base, "file"), "w").close()
    refused("missing mount point", ["mount", d, m + "/nowhere"], "does not exist", "mkdir")
    refused("mount point is a file", ["mount", d, os.path.join(base, "file")], "not a directory")
    refused("missing directory", ["mount", d + "/nowhere", m], "No such file")
    refused("directory is a file", ["mount", os.path.join(base, "file"), m], "not a directory")
    refused("DIR equal to MNT", ["mount", d, d], "the same")
    refused("DIR equal to MNT by another name", ["mount", d, d + "/../d/"], "the same")
    os.makedirs(m + "/in")
    refused("DIR inside MNT", ["mount", m + "/in", m], "inside the mount point")
    os.makedirs(d + "/in")
    refused("MNT inside DIR", ["mount", d, d + "/in"], "contain itself")
    refused("store inside its own mount", ["mount", d, m, "--store", m + "/store"], "own mount")
    refused("store that is a file", ["mount", d, m, "--store", os.path.join(base, "file")], "not a directory")
    refused("unknown option", ["mount", d, m, "-o", "allow_other,colour=blue"], "colour=blue")
    refused("unknown components", ["mount", d, m, "-o", "components=some"], "components")
    refused("bad memory limit", ["mount", d, m, "--mem-limit", "lots"], "512M")
    ok(not mounted(m), "none of them mounted anything")

    # no permission: another user who owns neither
    if os.getuid() == 0:
        os.chmod(base, 0o755)
        shutil.copy(VEXFS, os.path.join(base, "vexfs"))
        os.chmod(os.path.join(base, "vexfs"), 0o755)
        parents_open = all(os.stat(p).st_mode & 1 for p in [base, os.path.dirname(base), os.path.dirname(os.path.dirname(base))])
        if parents_open and shutil.which("setpriv"):
            def as_nobody(*argv):
                return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", os.path.join(base, "vexfs"), *argv],
                                      capture_output=True, text=True)
            p = as_nobody("mount", d, m)
            ok(p.returncode == 2 and "permission" in p.stderr, f"no permission: {p.stderr.strip()[:150]}", detail=p.stderr)
            os.chmod(d, 0o700)
            p = as_nobody("mount", d, m)
            ok(p.returncode == 2 and "permission" in p.stderr, f"unreadable DIR: {p.stderr.strip()[:150]}", detail=p.stderr)
        else:
            skip("no permission", "the test's directory is not open to others")
        # no /dev/fuse: in a mount namespace of our own, with an empty /dev
        p = subprocess.run(["unshare", "-m", "sh", "-c", f"mount -t tmpfs none /dev && exec {VEXFS} mount {d} {m}"],
                           capture_output=True, text=True)
        if "unshare" in p.stderr or "mount:" in p.stderr:
            skip("no /dev/fuse", "no mount namespaces here")
        else:
            ok(p.returncode == 2 and "/dev/fuse" in p.stderr, f"no /dev/fuse: {p.stderr.strip()[:150]}", detail=p.stderr)
    else:
        skip("no permission", "not root")


def busy(m):
    refused("busy mount point", ["mount", os.path.join(m.base, "src"), m.mnt], "busy")
    other = os.path.join(m.base, "other")
    os.makedirs(other, exist_ok=True)
    refused("second mount of the same DIR", ["mount", m.dir, other], f"process {m.pid}")
    # the store's lock speaks even when the mount can't be seen
    refused("a second DIR with the same store", ["mount", os.path.join(m.base, "src"), other, "--store", os.path.join(m.dir, ".vexfs")],
            f"process {m.pid}")
    refused("umount of what is not mounted", ["umount", other], "nothing is mounted")
    refused("umount of something else", ["umount", "/proc"], "not VexFS")
    with open(m.p("open"), "w"):
        refused("umount while a file is open", ["umount", m.mnt], "in use")
    refused("verify --repair of a live mount", ["verify", m.mnt, "--repair"], "umount")
    refused("a command outside any mount", ["search", "x"], "not inside a VexFS mount", cwd="/")


def racing(base):
    """Of four mounts of one DIR that start at once one serves it; the others say by whom."""
    d = os.path.join(base, "rd")
    at = [os.path.join(base, f"rm{i}") for i in range(4)]
    for p in [d] + at:
        os.makedirs(p)
    for turn in range(3):
        kids = [subprocess.Popen([VEXFS, "mount", d, m], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for m in at]
        said = [(p.communicate()[1].strip(), p.returncode) for p in kids]
        up = [m for m in at if mounted(m)]
        eq(len(up), 1, f"four at once: one mount ({said[0][0][:150] or said[1][0][:150]})")
        pid = json.load(open(up[0] + "/.vexfs/status"))["pid"] if up else 0
        eq([rc for _, rc in said if rc != 2], [0], "one succeeded, three were refused")
        ok(all(f"process {pid}" in err for err, rc in said if rc), "they name the process that serves it", detail=said)
        for m in up:
            vexfs("umount", m, check=True)
    ok(not os.listdir(at[0]) and alive(os.getpid()), "and afterwards nothing is mounted")
    # nobody is kept from mounting by another program's lock on DIR
    fd = os.open(d, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    vexfs("mount", d, at[0], check=True)
    vexfs("umount", at[0], check=True)
    os.close(fd)
    ok(True, "a lock of another program on DIR does not keep it from being mounted")


def newer_store(base):
    d, m = os.path.join(base, "nd"), os.path.join(base, "nm")
    os.makedirs(d)
    os.makedirs(m)
    vexfs("mount", d, m, check=True)
    open(m + "/f", "w").write("text")
    os.setxattr(m + "/f", "user.vexfs.vector", floats([1, 2, 3]))
    vexfs("umount", m, check=True)
    db = sqlite3.connect(d + "/.vexfs/catalog.db")
    was = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute(f"PRAGMA user_version={was + 1}")
    db.commit()
    db.close()
    refused("a store of a newer version", ["mount", d, m], "format", "newer")
    refused("verify of a newer store", ["verify", d], "newer")
    db = sqlite3.connect(d + "/.vexfs/catalog.db")
    db.execute(f"PRAGMA user_version={was}")
    db.commit()
    db.close()
    vexfs("mount", d, m, check=True)
    eq(os.getxattr(m + "/f", "user.vexfs.vector"), floats([1, 2, 3]), "with its own version again nothing was lost")
    vexfs("umount", m, check=True)


def bad_vectors(m):
    f = m.p("f")
    name = "user.vexfs.vector"
    keep = floats(rand_vec(rng, DIM))
    os.setxattr(f, name, keep)
    fails("wrong length", errno.EINVAL, lambda: os.setxattr(f, name, keep + b"\0\0\0\0"))
    fails("not a multiple of 4", errno.EINVAL, lambda: os.setxattr(f, name, keep[:-1]))
    fails("empty", errno.EINVAL, lambda: os.setxattr(f, name, b""))
    for bad in (math.nan, math.inf, -math.inf):
        fails(f"{bad}", errno.EINVAL, lambda: os.setxattr(f, name, floats([bad] + [1.0] * (DIM - 1))))
    fails("the zero vector under cosine", errno.EINVAL, lambda: os.setxattr(f, name, floats([0.0] * DIM)))
    fails("unknown collection", errno.ENOENT, lambda: os.setxattr(f, name + ".nosuch", keep))
    fails("a collection's name", errno.EINVAL, lambda: os.setxattr(f, name + ".no/such", keep))
    fails("a computed name", errno.EROFS, lambda: os.setxattr(f, "user.vexfs.state", b"fresh"))
    fails("the text collection", errno.EROFS, lambda: os.setxattr(f, name + ".text", keep))
    fails("a payload that is not an object", errno.EINVAL, lambda: os.setxattr(f, "user.vexfs.payload", b"[1,2"))
    eq(os.getxattr(f, name), keep, "after all of these the vector is what it was")


def bad_requests(m):
    def code(req):
        a = json.loads(m.raw(req if isinstance(req, bytes) else json.dumps(req).encode()))
        return a.get("error", {})

    v = rand_vec(rng, DIM)
    eq(code({"verb": "search", "vector": v, "k": 0}).get("code"), "k_range", "k = 0")
    eq(code({"verb": "search", "vector": v, "k": 10001}).get("code"), "k_range", "k = 10001")
    eq(code({"verb": "search", "vector": v, "ef": 0}).get("code"), "ef_range", "ef = 0")
    eq(code({"verb": "search", "vector": v + [1.0]}).get("code"), "dim_mismatch", "a query of another length")
    eq(code({"verb": "search", "vector": [0.0] * DIM}).get("code"), "zero_vector", "a query of length zero")
    eq(code({"verb": "search", "vector": v, "collection": "nosuch"}).get("code"), "no_collection", "unknown collection")
    eq(code({"verb": "frobnicate"}).get("code"), "unknown_verb", "unknown verb")
    eq(code({"verb": "search"}).get("code"), "missing_key", "a search by nothing")
    e = code({"verb": "search", "vektor": v})
    ok(e.get("code") == "unknown_key" and "vektor" in json.dumps(e) and e.get("position", -1) > 0, "an unknown key is named with its position",
       detail=e)
    bad = b'{"verb":"search","vector":[1,2,,3]}'
    e = code(bad)
    ok(e.get("code") == "json_syntax" and e.get("position") == bad.index(b",,") + 1, "malformed JSON: the position", detail=e)
    for req in (b"", b"[]", b"{", b'{"verb":', b"nonsense", b"\xff\xfe", b'{"verb":"search","text":"\xc3"}', b"[" * 100000,
                b'{"verb":"search","k":1e999,"text":"a"}', b'{"verb":"put","points":[]}', b"VEX1", b"V" * 24, b"V" + bytes(300)):
        a = m.raw(req) if req else b"{}"
        ok(b"error" in a or a[:1] == b"V" or not req, f"garbage {req[:24]!r}: an answer, and an error", detail=a[:200])
    eq(vexfs("search", "x", m.mnt, "-k", "0")[0], 2, "the command refuses k = 0 as well")
    refused("an empty text", ["search", "", m.mnt], "word")
    refused("a query vector of NaN", ["query", "--vector", "-", m.mnt], "NaN", stdin=floats([math.nan] * DIM))
    refused("a query vector of 3 bytes", ["query", "--vector", "-", m.mnt], "3 bytes", stdin=b"abc")
    rc, out, err = vexfs("query", "--json", "-", m.mnt, stdin=b'{"verb":"search","vektor":[1]}')
    ok(rc == 2 and "unknown_key" in out, "query --json - exits 2 on an error answer", detail=out + err)


def bad_files(m):
    tmp = m.base
    rows = [rand_vec(rng, DIM) for _ in range(100)]
    fv = b"".join(struct.pack("<i", DIM) + floats(r) for r in rows)

    def imp(name, data, *words):
        p = os.path.join(tmp, name)
        open(p, "wb").write(data)
        refused(f"import {name}", ["import", p, "--into", "imp", m.mnt], *words)

    imp("short.fvecs", fv[:-5], "truncated")
    imp("mixed.fvecs", fv[:50 * 36] + struct.pack("<i", DIM + 1) + fv[50 * 36 + 4:], "row 50")
    imp("empty.fvecs", b"", "empty")
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100, 8), }"
    npy = b"\x93NUMPY\x01\0" + struct.pack("<H", 118) + head.ljust(117) + b"\n" + b"".join(map(floats, rows))
    imp("short.npy", npy[:-1], "truncated")
    imp("noise.npy", rng.randbytes(500), "not a .npy")
    imp("x.csv", b"1,2,3", ".npy")
    imp("bad.jsonl", b'{"id":1,"vector":[1,2]}\n{"id":2,"vector":[1,2,3]}\n', "line 2")
    open(os.path.join(tmp, "nan.npy"), "wb").write(npy[:128] + floats([math.nan] * 8) + npy[160:])
    refused("import nan.npy", ["import", os.path.join(tmp, "nan.npy"), "--into", "nans", m.mnt], "NaN")
    refused("import of a missing file", ["import", tmp + "/none.npy", "--into", "imp", m.mnt], "No such file")
    refused("import into a bad name", ["import", tmp + "/short.npy", "--into", "a/b", m.mnt], "")
    open(os.path.join(tmp, "good.npy"), "wb").write(npy)
    eq(vexfs("import", os.path.join(tmp, "good.npy"), "--into", "imp2", m.mnt)[0], 0, "a good file goes in")
    open(os.path.join(tmp, "nine.fvecs"), "wb").write(struct.pack("<i", 9) + floats([1.0] * 9))
    refused("import of another dimension", ["import", os.path.join(tmp, "nine.fvecs"), "--into", "imp2", m.mnt], "9", "8")


def disk_full(base):
    """A store on a file system of 3 MB: vectors are refused with ENOSPC, files and searches go on, nothing stored is lost."""
    small = os.path.join(base, "small")
    os.makedirs(small)
    if run("mount", "-t", "tmpfs", "-o", "size=3m", "none", small)[0]:
        skip("disk full", "cannot mount a tmpfs")
        return
    try:
        with Mount("--store", os.path.join(small, "store"), base=os.path.join(base, "full")) as m:
            kept, full = {}, None
            for i in range(3000):
                n = f"f{i}"
                open(m.p(n), "w").write(n)
                v = rand_vec(rng, 1024)
                try:
                    m.set_vector(n, v)
                    fd = os.open(m.p(n), os.O_RDONLY)
                    try:
                        os.fsync(fd)
                    finally:
                        os.close(fd)
                    kept[n] = v
                except OSError as e:
                    full = e.errno
                    break
            ok(full in (errno.ENOSPC, errno.EROFS), f"the store's disk is full after {len(kept)} vectors: {errno.errorcode.get(full)}")
            open(m.p("after"), "w").write("files go on")
            eq(open(m.p("after")).read(), "files go on", "files are still written and read")
            n = next(iter(kept))
            r = m.ask("search", vector=kept[n], k=1, exact=True)
            eq([x["path"] for x in r.get("results", [])], [n], "searches still answer")
            ok(alive(m.pid), "the mount stays up")
            m.umount()
            run("mount", "-o", "remount,size=64m", small, check=True)
            m.mount()
            lost = [n for n, v in kept.items() if m.get_vector(n) != v]
            eq(lost, [], "with room again, every acknowledged vector is there")
            m.set_vector("after", rand_vec(rng, 1024))
            ok(True, "and new ones are taken")
            m.umount()
            rc, out, err = vexfs("verify", m.dir, "--store", os.path.join(small, "store"))
            ok(rc == 0, "verify is clean", detail=out + err)
    finally:
        run("umount", "-l", small)


def main():
    with Mount() as m:
        os.makedirs(os.path.join(m.base, "src"))
        m.write("f", "file\n")
        mounting(os.path.join(m.base, "bad"))
        bad_vectors(m)
        bad_requests(m)
        bad_files(m)
        busy(m)
        newer_store(m.base)
        racing(m.base)
        ok(alive(m.pid) and open(m.p("f")).read() == "file\n", "after all of it the mount is up")
        disk_full(m.base)
    done()


main()
