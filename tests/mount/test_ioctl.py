#!/usr/bin/env python3
"""Every ioctl verb on a real mount, wrong sizes and fields, permissions, the same messages through the query file, and the example
program built against the header."""
import errno
import fcntl
import glob
import json
import math
import os
import random
import shutil
import struct

from mnt import VEXFS, Mount, done, eq, floats, ok, rand_vec, run, seed, skip, unfloats
from vioc import *  # noqa: F403: the messages

SEED = seed()
rnd = random.Random(SEED)
HERE = os.path.dirname(os.path.abspath(__file__))


def err_of(f, *a):
    try:
        f(*a)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)
    return "no error"


with Mount("-o", "allow_other") as m:
    for i in range(6):
        m.write(f"f{i}", b"file %d\n" % i)
        os.chmod(m.p(f"f{i}"), 0o644)
    m.wait()
    fd = os.open(m.p("f0"), os.O_RDONLY)
    d = os.open(m.mnt, os.O_RDONLY)
    caps = call(fd, hdr(CAPS, 88).ljust(88, b"\0"))
    dim, k, ef, batch, pay, io, ops = struct.unpack_from("<IIIIIIQ", caps, 24)
    eq([dim, k, ef, batch, pay, io], [65535, 10000, 10000, 10000, 65536, 16383], "CAPS: limits")
    eq([o for o in range(1, 19) if not ops >> o & 1], [], "CAPS: every verb of the header is served")
    ok(len(call(d, hdr(CAPS, 88).ljust(88, b"\0"))) == 88, "on a directory, too")

    vecs = [[1.0, 0.2 * i, 0] for i in range(6)]
    for i in range(6):
        f = os.open(m.p(f"f{i}"), os.O_RDONLY)
        call(f, m_put(floats(vecs[i]), b'{"i":%d}' % i))
        os.close(f)
    g = call(fd, m_get())
    vo, vb, yo, yb, dim, state = struct.unpack_from("<IIIIII", g, 96)
    eq([unfloats(g[vo:vo + vb]), g[yo:yo + yb], dim, state], [[1.0, 0, 0], b'{"i":0}', 3, 1], "PUT, then GET")
    eq(m.get_vector("f0"), [1.0, 0, 0], "the xattr agrees")
    r = results(call(fd, m_search(floats([1, 0, 0]), flags=WVEC | WPAY | EXACT)))
    eq([x[0] for x in r], [f"f{i}" for i in range(6)], "SEARCH by vector")
    eq([unfloats(r[2][4]), json.loads(r[2][5]), r[2][3]], [[1.0, 0.4000000059604645, 0], {"i": 2}, 1], "with vector, payload, state")
    eq([x[0] for x in results(call(fd, m_search(flags=LIKE, k=2)))], ["f1", "f2"], "SEARCH near the file it is on")
    eq([x[0] for x in results(call(d, m_search(b"file", flags=TEXT, scope=b"f3")))], ["f3"], "SEARCH by words in a scope")
    top = r[1][1]
    eq([x[0] for x in results(call(fd, m_search(floats([1, 0, 0]), k=10, min_score=top - 1e-6)))], ["f0", "f1"], "range: all above a score")
    eq([x[0] for x in results(call(fd, m_search(floats([1, 0, 0]), filter=b"payload.i > 3")))], ["f4", "f5"], "filtered")
    eq(err_of(call, fd, m_search(floats([1, 0, 0]), filter=b"payload.i >")), "EINVAL", "a filter that is none")
    eq(results(call(fd, m_search(floats([0, 1, 0]), text=b"2", mode=3)))[0][0], "f2", "hybrid: words beside a vector")
    eq(err_of(call, fd, m_search(floats([1, 0, 0]), k=0)), "EINVAL", "k = 0")
    eq(err_of(call, fd, m_search(floats([1, 0]))), "EINVAL", "a wrong dimension")
    eq(err_of(call, fd, m_search(floats([math.nan, 0, 0]))), "EINVAL", "NaN")
    call(fd, m_get(DEL))
    eq(err_of(call, fd, m_get()), "no error", "the payload outlives the vector")
    call(fd, m_put(floats(vecs[0])))

    call(d, m_coll(CCREATE, b"c", 4, 0))
    eq(err_of(call, d, m_coll(CCREATE, b"c", 4, 0)), "EEXIST", "COLLECTION_CREATE twice")
    eq(err_of(call, d, m_coll(CINFO, b"none")), "ENOENT", "COLLECTION_INFO of none")
    pts = b"".join(struct.pack("<QIIIIII", 100 + i, 128 + 32 * 20 + 16 * i, 16, 0, 0, 0, 0) for i in range(20))
    msg = hdr(BPUT, 128 + 32 * 20 + 16 * 20, DURABLE) + struct.pack("<64sIIQII16x", b"c", 128, 20, 0, 0, 0) + pts + b"".join(floats([i, 0, 0, 0]) for i in range(20))
    eq(struct.unpack_from("<I", call(d, msg), 104)[0], 20, "BATCH_PUT")
    info = call(d, m_coll(CINFO, b"c"))
    eq([*struct.unpack_from("<II", info, 88), struct.unpack_from("<Q", info, 128)[0]], [4, 0, 20], "COLLECTION_INFO")
    a = call(d, m_bsearch([floats([i, 0, 0, 0]) for i in (3, 7, 19)], 2, b"c", EXACT), 16383)
    co, ro, n = struct.unpack_from("<III", a, 112)
    eq([struct.unpack_from("<III", a, co), [x[0] for x in results(a, 116)]], [(2, 2, 2), [103, 102, 107, 106, 119, 118]], "BATCH_SEARCH")
    eq(err_of(call, d, m_search(floats([0, 0, 0, 0]), coll=b"c", k=10000, flags=WVEC)), "no error", "20 results fit 4096 bytes")
    g = call(d, m_get(coll=b"c", id=105, flags=FREE))
    eq(unfloats(g[slice(*(lambda o, n: (o, o + n))(*struct.unpack_from("<II", g, 96)))]), [5, 0, 0, 0], "GET of a free point")
    call(d, m_get(DEL, b"c", 105, FREE))
    eq(err_of(call, d, m_get(coll=b"c", id=105, flags=FREE)), "ENODATA", "DEL of a free point")
    e = call(d, hdr(EXPORT, 136) + struct.pack("<64sQI", b"c", 0, 1000).ljust(112, b"\0"), 16383)
    eq(struct.unpack_from("<I", e, 100)[0], 19, "EXPORT")
    for op, what in ((IBUILD, "INDEX_BUILD"), (IREBUILD, "INDEX_REBUILD"), (IOPT, "INDEX_OPTIMIZE"), (IINFO, "INDEX_INFO")):
        eq(struct.unpack_from("<Q", call(d, m_coll(op, b"c")), 128)[0], 19, what)
    f = call(d, hdr(FLUSH, 56).ljust(56, b"\0"))
    eq(struct.unpack_from("<II", f, 32), (0, 1), "FLUSH: nothing pending, complete")
    s = call(d, hdr(STATS, 56).ljust(56, b"\0"), 16383)
    o, n = struct.unpack_from("<II", s, 24)
    ok(json.loads(s[o:o + n])["counters"]["searches"] > 0, "STATS")
    call(d, hdr(SRESET, 56).ljust(56, b"\0"))
    s = call(d, hdr(STATS, 56).ljust(56, b"\0"), 16383)
    o, n = struct.unpack_from("<II", s, 24)
    eq(json.loads(s[o:o + n])["counters"]["searches"], 0, "STATS_RESET")
    call(d, m_coll(CDROP, b"c"))
    eq(err_of(call, d, m_coll(CINFO, b"c")), "ENOENT", "COLLECTION_DROP")

    # wrong messages
    good = m_put(floats(vecs[0]))
    for what, msg, want in (
            ("another magic", b"XXXX" + good[4:], "EINVAL"), ("another version", good[:4] + b"\2\0" + good[6:], "EINVAL"),
            ("size 0", good[:8] + b"\0\0\0\0" + good[12:], "EINVAL"), ("size 5000", good[:8] + struct.pack("<I", 5000) + good[12:], "EINVAL"),
            ("a status", good[:12] + b"\1\0\0\0" + good[16:], "EINVAL"), ("an unknown flag", good[:16] + b"\0\0\0\x80" + good[20:], "EINVAL"),
            ("a flag of another verb", m_put(floats(vecs[0]), flags=EXACT), "EINVAL"),
            ("a reserved field", good[:120] + b"\1" + good[121:], "EINVAL"), ("an id on a file", m_put(floats(vecs[0]), id=4), "EINVAL"),
            ("a payload that is none", m_put(payload=b"[]"), "EINVAL"), ("nothing at all", m_put(), "EINVAL")):
        eq(err_of(call, fd, msg), want, f"PUT with {what}")
    b = bytearray(4096)
    eq(err_of(fcntl.ioctl, fd, ioc(99, 4096), b), "EINVAL", "an unknown verb")
    eq(err_of(fcntl.ioctl, fd, 0x80045801, b), "ENOTTY", "somebody else's ioctl")
    other = os.open("/tmp", os.O_RDONLY)
    eq(err_of(call, other, good), "ENOTTY", "a file outside")
    os.close(other)
    many = b"".join(struct.pack("<QIIIIII", i, 128, 0, 0, 0, 0, 0) for i in range(1))
    eq(err_of(call, d, m_search(floats([1, 0, 0]), k=6, flags=WVEC | WPAY), 256), "ENOSPC", "an answer larger than its buffer")

    # the same through the query file, without the size limit
    g = m.raw(m_search(floats([1, 0, 0]), flags=EXACT))
    eq([x[0] for x in results(g)], [f"f{i}" for i in range(6)], "SEARCH through the query file")
    g = m.raw(m_search(floats([1, 0])))
    ok(struct.unpack_from("<i", g, 12)[0] == -errno.EINVAL and b"dimension" in g[24:] or b"bytes" in g[24:], "an error comes as status and sentence", detail=g)

    # permission: an ioctl on a file one may only read
    if os.geteuid() == 0:
        os.chmod(m.p("f1"), 0o644)
        os.chmod(m.p("f2"), 0o600)
        os.chmod(m.mnt, 0o755)
        f2 = os.open(m.p("f2"), os.O_RDONLY)
        pid = os.fork()
        if not pid:
            os.setgroups([])
            os.setgid(12345)
            os.setuid(12345)
            rc = 0
            try:
                f1 = os.open(m.p("f1"), os.O_RDONLY)
                rc |= 1 * (err_of(call, f1, m_put(floats([9, 9, 9]))) != "EACCES")
                rc |= 2 * (err_of(call, f1, m_get(DEL)) != "EACCES")
                rc |= 4 * (err_of(call, f1, m_get()) != "no error")
                rc |= 8 * (err_of(call, f2, m_get()) != "EACCES")
                rc |= 16 * ("f2" in [x[0] for x in results(call(f1, m_search(floats([1, 0, 0]), k=100)))])
                rc |= 32 * (err_of(call, f1, hdr(STATS, 56).ljust(56, b"\0")) != "EPERM")
            except BaseException:
                rc = 255
            os._exit(rc)
        eq(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, "another user: reads what he may read, writes nothing")
        eq(m.get_vector("f1"), unfloats(floats(vecs[1])), "and nothing was written")
    else:
        skip("another user", "not root")

    # the example program
    cc = shutil.which("cc") or shutil.which("gcc")
    root = os.path.abspath(os.path.join(HERE, "../.."))
    exe = os.path.join(m.base, "example")
    # against the header as it is installed
    build, dest = os.path.abspath(os.path.join(os.path.dirname(os.path.realpath(VEXFS)), "../..")), os.path.join(m.base, "dest")
    rc, out, err = run("meson", "install", "-C", build, "--no-rebuild", "--tags", "devel", "--destdir", dest)
    headers = glob.glob(dest + "/**/vexfs_ioctl.h", recursive=True)
    ok(rc == 0 and len(headers) == 1, "the header is installed", detail=out + err)
    rc, _, err = run(cc, "-Wall", "-Wextra", "-Werror", "-I", os.path.dirname(headers[0]) if headers else dest, "-o", exe, os.path.join(root, "examples/vexfs_ioctl_example.c"))
    if ok(rc == 0, "the example compiles against the header alone", detail=err):
        for n, t in (("a", "hello world hello"), ("b", "hello word hello"), ("z", "zzzzz xxx qqq")):
            m.write(n + ".txt", t)
        rc, out, err = run(exe, m.p("a.txt"), m.p("b.txt"), m.p("z.txt"))
        ok(rc == 0 and [x.split()[2] for x in out.splitlines()[:2]] == ["b.txt", "z.txt"], "and lists what is near", detail=out + err)
    os.close(fd)
    os.close(d)
done()
