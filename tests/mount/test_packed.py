#!/usr/bin/env python3
"""user.vexfs.packed: what real tools carry from file to file and from mount to mount, what arrives fresh, and what forgers get."""
import errno
import os
import random
import shutil
import struct
import zlib

from mnt import Mount, done, eq, floats, ok, rand_vec, run, seed, skip

SEED = seed()
rnd = random.Random(SEED)
PACKED = "user.vexfs.packed"


def err_of(f, *a):
    try:
        f(*a)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)
    return "no error"


def state(m, rel):
    return os.getxattr(m.p(rel), "user.vexfs.state").decode()


def carried(src, dst, rel, rel2, what, want_state="fresh"):
    dst.wait()
    try:
        got = [dst.get_vector(rel2), dst.get_vector(rel2, "other"), os.getxattr(dst.p(rel2), "user.vexfs.payload"), state(dst, rel2)]
    except OSError as e:
        got = repr(e)
    eq(got, [src.get_vector(rel), src.get_vector(rel, "other"), b'{"k": "v"}', want_state], what)


with Mount() as a, Mount() as b:
    a.ask("collection_create", name="other", dim=5, metric="l2")
    a.write("f.bin", os.urandom(3000))
    a.write("plain", b"x")
    eq([n for n in os.listxattr(a.p("f.bin")) if "vexfs" in n], [], "no vectors, nothing listed")
    eq(err_of(os.getxattr, a.p("f.bin"), PACKED), "ENODATA", "nor read")
    a.set_vector("f.bin", rand_vec(rnd, 8))
    a.set_vector("f.bin", rand_vec(rnd, 5), "other")
    os.setxattr(a.p("f.bin"), "user.vexfs.payload", b'{"k": "v"}')
    a.wait()
    eq([n for n in os.listxattr(a.p("f.bin")) if "vexfs" in n], [PACKED], "listed once there is something to carry")
    eq([n for n in os.listxattr(a.p("plain")) if "vexfs" in n], [], "and only there")
    value = os.getxattr(a.p("f.bin"), PACKED)
    ok(value[:4] == b"VXPK" and len(value) > 8 * 4 + 5 * 4, f"{len(value)} bytes")

    src, d = a.p("f.bin"), a.p("sub")
    os.mkdir(d)
    run("cp", "-a", src, a.p("sub/cp"), check=True)
    carried(a, a, "f.bin", "sub/cp", "cp -a inside the mount")
    run("cp", "-a", src, b.p("cp"), check=True)
    carried(a, b, "f.bin", "cp", "cp -a to another mount: the collection is made there")
    eq(b.ask("collection_info", name="other")["metric"], "l2", "with its metric")
    run("tar", "--xattrs", "--xattrs-include=user.*", "-C", a.mnt, "-cf", a.base + "/t.tar", "f.bin", check=True)
    os.mkdir(b.p("t"))
    run("tar", "--xattrs", "--xattrs-include=user.*", "-C", b.p("t"), "-xf", a.base + "/t.tar", check=True)
    carried(a, b, "f.bin", "t/f.bin", "tar --xattrs: attributes before content")
    if shutil.which("rsync"):
        run("rsync", "-aX", src, b.p("rs"), check=True)
        carried(a, b, "f.bin", "rs", "rsync -aX: a temporary file, renamed")
    else:
        skip("rsync -aX", "no rsync")
    run("mv", a.p("sub/cp"), b.p("mv"), check=True)
    carried(a, b, "f.bin", "mv", "mv to another mount")
    ok(not os.path.exists(a.p("sub/cp")), "and gone from the first")
    shutil.copystat  # plain copies carry nothing:
    shutil.copyfile(src, a.p("sub/plain"))
    eq(err_of(a.get_vector, "sub/plain"), "ENODATA", "a copy without attributes has no vector")

    # believed only with its content
    b.write("wrong", os.urandom(3000))
    os.setxattr(b.p("wrong"), PACKED, value)
    carried(a, b, "f.bin", "wrong", "on other content it is stale", "stale")
    ok("wrong" not in [r.get("path") for r in b.ask("search", vector=a.get_vector("f.bin"), k=50, exact=True)["results"]], "and not found")
    with open(src, "rb") as f:
        b.write("wrong", f.read())
    carried(a, b, "f.bin", "wrong", "until the file has that content", "fresh")
    a.write("f.bin", b"new content")
    a.wait()
    eq(state(a, "f.bin"), "stale", "an edited file is stale")
    run("cp", "-a", src, b.p("stale"), check=True)
    carried(a, b, "f.bin", "stale", "and so is its copy", "stale")

    # remove
    os.removexattr(b.p("mv"), PACKED)
    eq([err_of(b.get_vector, "mv"), err_of(b.get_vector, "mv", "other"), err_of(os.getxattr, b.p("mv"), "user.vexfs.payload")], ["ENODATA"] * 3, "removed: vectors and payload")
    eq(err_of(os.removexattr, b.p("mv"), PACKED), "ENODATA", "removed twice")

    # forged and broken values
    bad = 0
    tried = 0
    for _ in range(1500):
        v = bytearray(value)
        for _ in range(rnd.randrange(1, 4)):
            k = rnd.randrange(3)
            i = rnd.randrange(len(v))
            if k == 0:
                v[i] ^= 1 << rnd.randrange(8)
            elif k == 1:
                del v[i:]
                v += b"\0"
            else:
                v[i:i] = bytes([rnd.randrange(256)])
        tried += 1
        if bytes(v) != value and err_of(os.setxattr, b.p("mv"), PACKED, bytes(v)) != "EINVAL":
            bad += 1
    eq(bad, 0, f"{tried} broken values refused, seed {SEED}")
    eq(err_of(os.setxattr, b.p("mv"), PACKED, b""), "EINVAL", "an empty one")
    eq(err_of(b.get_vector, "mv"), "ENODATA", "and nothing came of them")
    eq(err_of(os.setxattr, b.p("t"), PACKED, value), "ENOTSUP", "a directory")

    # too large to travel
    a.ask("collection_create", name="huge", dim=16384, metric="l2")
    a.write("huge", b"x")
    a.set_vector("huge", [1.0] * 16384, "huge")
    ok(PACKED not in os.listxattr(a.p("huge")), "64 KiB are not listed")
    eq(err_of(os.getxattr, a.p("huge"), PACKED), "E2BIG", "and too big to read")
    eq(len(a.get_vector("huge", "huge")), 16384, "the vector itself is there")
done()
