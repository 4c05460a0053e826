#!/usr/bin/env python3
"""The virtual tree on a real mount: results as directories, like/, saved/, collections/, query's handle rules, ctl, events, and that
nobody falls into it by walking the mount."""
import errno
import json
import os
import resource
import select
import stat
import struct
import subprocess
import sys
import threading
import time

from mnt import Mount, done, eq, floats, ok, run, seed, skip, vexfs, wait_until


def err_of(f, *a):
    try:
        f(*a)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)
    return "no error"


def results(m, *rel):
    return sorted(os.listdir(m.p(".vexfs", *rel)))


def tree(m):
    for d in ("proj/a", "proj/b", "other"):
        os.makedirs(m.p(d))
    m.write("proj/a/budget.md", "alice approved the yearly budget in march\n")
    m.write("proj/b/plan.txt", "the plan needs a larger budget\n")
    m.write("other/weather.txt", "rain and wind\n")
    m.write("other/100%.txt", "budget at one hundred percent\n")
    m.wait()


def by_words(m):
    names = results(m, "search", "budget")
    eq(len(names), 3, "three files have the word")
    ok(all(n[3] == "_" and n[:3].isdigit() for n in names), "names begin with the rank", detail=names)
    for n in names:
        with open(m.p(".vexfs/search/budget", n)) as f:
            ok("budget" in f.read(), f"{n} opens")
    eq(len(results(m, "search", "budget", "alice")), 1, "a second level narrows")
    eq(results(m, "search", "budget", "tornado"), [], "to nothing")
    eq(len(results(m, "search", "%62udget")), 3, "%XX is decoded")
    eq(len(results(m, "search", "budget 100%zz")), 3, "a % that isn't followed by two hex digits stays")
    eq(err_of(os.listdir, m.p(".vexfs/search/%00x")), "EINVAL", "a NUL is refused")
    eq(err_of(os.listdir, m.p(".vexfs/search/...,;")), "ENOENT", "names with a leading dot are nothing: tools probe for them")
    eq(err_of(os.listdir, m.p(".vexfs/search/,;!")), "EINVAL", "no word to search by")
    eq(err_of(os.listdir, m.p(".vexfs/search/" + "x" * 256)), "ENAMETOOLONG", "256 bytes")
    ok(os.listdir(m.p(".vexfs/search/" + ("xyz " * 64)[:255])) == [], "255 bytes are a search")
    ok(isinstance(os.listdir(os.fsencode(m.p(".vexfs/search/")) + b"\xff\xfebudget"), list), "invalid UTF-8 is a search")
    ok(stat.S_ISDIR(os.stat(os.fsencode(m.p(".vexfs/search/")) + b"\xc3%2F%zz\x80").st_mode), "in any mixture, found without running")
    eq(err_of(os.listdir, m.p(".vexfs/search/a%2Fbudget")), "no error", "%2F is a slash in the words, not in the path")
    eq(sorted(os.path.basename(os.readlink(m.p("proj/.vexfs/search/budget", n))) for n in os.listdir(m.p("proj/.vexfs/search/budget"))),
       ["budget.md", "plan.txt"], "below a directory only what is in it")
    n = os.listdir(m.p("proj/a/.vexfs/search/budget"))[0]
    eq(os.readlink(m.p("proj/a/.vexfs/search/budget", n)), "../../../../../proj/a/budget.md", "the link leads up to the root and down")
    with open(m.p("proj/a/.vexfs/search/budget", n)) as f:
        ok("alice" in f.read(), "and opens")
    st = os.lstat(m.p(".vexfs/search/budget"))
    ok(stat.S_IMODE(st.st_mode) == 0o555 and st.st_ino >> 63, "mode 0555, inode with the top bit")


def follows(m):
    d = m.p(".vexfs/search/alice")
    (n,) = os.listdir(d)
    link = os.path.join(d, n)
    os.rename(m.p("proj/a/budget.md"), m.p("other/money.md"))
    eq(os.readlink(link), "../../../other/money.md", "a name handed out follows the file")
    with open(link) as f:
        ok("alice" in f.read(), "and opens")
    (n2,) = os.listdir(d)
    ok(n2.endswith("money.md"), "the next listing has the new name", detail=n2)
    os.unlink(m.p("other/money.md"))
    eq(err_of(os.readlink, link), "ENOENT", "a removed file's link is gone")
    eq(os.listdir(d), [], "and out of the next listing")
    m.write("proj/a/budget.md", "alice approved the yearly budget in march\n")
    m.wait()
    eq(err_of(os.stat, m.p(".vexfs/search/alice/001_0.999_nothing.md")), "ENOENT", "a name never handed out is nothing")
    for f in (lambda: os.mkdir(m.p(".vexfs/search/x/y")), lambda: os.unlink(m.p(".vexfs/query")),
              lambda: open(m.p(".vexfs/search/new"), "w"), lambda: os.rename(m.p(".vexfs/query"), m.p("q"))):
        ok(err_of(f) in ("EPERM", "EROFS", "EACCES", "EISDIR", "EXDEV", "EINVAL", "EBUSY", "EEXIST"), f"nothing can be made or moved in it: {err_of(f)}")


def no_query_by_walking(m):
    before = m.status()
    searches = stats(m)["counters"]["searches"]
    ok(".vexfs" not in os.listdir(m.mnt), "readdir of the root does not show it")
    for cmd in (["find", m.mnt], ["ls", "-lR", m.mnt], ["grep", "-r", "zzz", m.mnt], ["du", "-s", m.mnt], ["tar", "cf", "/dev/null", "-C", m.mnt, "."]):
        rc, out, _ = run(*cmd)
        ok("/.vexfs" not in out.replace(m.mnt + ":", ""), f"{cmd[0]} does not see it")
    for name in ("a", "b c", "%41"):
        os.stat(m.p(".vexfs/search", name))
        os.stat(m.p(".vexfs/search", name, "more"))
    run("ls", "-l", m.p(".vexfs/"))
    eq(stats(m)["counters"]["searches"], searches, "walking, lookups and stats ran no search")
    ok(before["pid"] == m.status()["pid"], "same daemon")


def like(m):
    for i, rel in enumerate(["proj/a/budget.md", "proj/b/plan.txt", "other/weather.txt"]):
        m.set_vector(rel, [1.0, 0.1 * i, 0])
    eq(sorted(os.listdir(m.p(".vexfs/like"))), ["other", "proj"], "like/ mirrors the tree")
    eq([os.path.basename(os.readlink(m.p(".vexfs/like/proj/a/budget.md", n))) for n in results(m, "like", "proj/a/budget.md")],
       ["plan.txt", "weather.txt"], "a file's name lists what is near it, best first")
    eq(err_of(os.listdir, m.p(".vexfs/like/.vexfs")), "ENOENT", "the store is not in it")
    eq(err_of(os.listdir, m.p(".vexfs/like/none")), "ENOENT", "nor what does not exist")


def saved(m):
    os.symlink("../search/budget", m.p(".vexfs/saved/money"))
    eq(os.listdir(m.p(".vexfs/saved")), ["money"], "saved searches are listed")
    eq(len(os.listdir(m.p(".vexfs/saved/money"))), 3, "and lead to their results")
    eq(err_of(os.symlink, "x", m.p(".vexfs/saved/money")), "EEXIST", "once")
    m.umount()
    m.mount()
    eq(os.readlink(m.p(".vexfs/saved/money")), "../search/budget", "after a remount, too")
    os.unlink(m.p(".vexfs/saved/money"))
    eq(os.listdir(m.p(".vexfs/saved")), [], "and can be removed")
    eq(err_of(os.readlink, m.p(".vexfs/saved/money")), "ENOENT", "then it is gone")


def query_handle(m):
    q = os.open(m.p(".vexfs/query"), os.O_RDWR)
    eq(os.read(q, 100), b"", "nothing asked, nothing answered")
    req = json.dumps({"verb": "search", "text": "budget", "k": 2}).encode()
    for piece in (req[:10], req[10:11], req[11:]):
        os.write(q, piece)
    a = os.read(q, 10)
    b = os.read(q, 1 << 20)
    whole = json.loads(a + b)
    eq([len(whole["results"]), os.read(q, 10)], [2, b""], "written in pieces, read in pieces, then the end")
    os.pwrite(q, req, 0)
    again = os.pread(q, 1 << 20, 0)
    strip = lambda x: [(r["path"], r["rank"]) for r in x["results"]]
    eq(strip(json.loads(again)), strip(whole), "pwrite and pread at 0")
    eq(os.pread(q, 5, 3), again[3:8], "and anywhere in it")
    eq(os.pread(q, 5, 1 << 20), b"", "and behind it")
    os.write(q, b"{")
    eq(json.loads(os.read(q, 1000))["error"]["code"], "json_syntax", "a mistake is an answer")
    os.close(q)
    q = os.open(m.p(".vexfs/query"), os.O_RDWR)
    os.pwrite(q, b"abc", 0)
    eq(err_of(os.pwrite, q, b"x", 100), "EINVAL", "a gap is refused")
    eq(err_of(os.pwrite, q, b"x", 64 << 20), "EINVAL", "also at the limit")
    os.close(q)
    a, b = os.open(m.p(".vexfs/query"), os.O_RDWR), os.open(m.p(".vexfs/query"), os.O_RDWR)
    os.write(a, req)
    os.write(b, json.dumps({"verb": "collections"}).encode())
    ok(b"collections" in os.read(b, 1 << 20) and b"results" in os.read(a, 1 << 20), "handles know nothing of each other")
    os.close(a)
    os.close(b)
    big = json.dumps({"verb": "put", "collection": "big", "points": [{"id": i, "vector": [float(i)] * 64} for i in range(10000)]}).encode()
    m.ask("collection_create", name="big", dim=64, metric="l2")
    a = json.loads(m.raw(big))
    eq(a.get("points"), 10000, f"a request of {len(big)} bytes")
    out = m.raw(json.dumps({"verb": "search", "collection": "big", "vector": [0] * 64, "k": 10000, "with_vectors": True}).encode())
    r = json.loads(out)["results"]
    eq([x["id"] for x in r], list(range(10000)), f"an answer of {len(out)} bytes")


def many_clients(m):
    bad = []

    def client(i):
        try:
            q = os.open(m.p(".vexfs/query"), os.O_RDWR)
            for k in range(10):
                os.pwrite(q, json.dumps({"verb": "search", "collection": "big", "vector": [float(i + k)] * 64, "k": 1, "exact": True}).encode(), 0)
                a = json.loads(os.pread(q, 1 << 16, 0))
                if "error" in a and a["error"]["code"] in ("queue_full", "visit_pool_empty"):
                    continue
                if a["results"][0]["id"] != i + k:
                    bad.append((i, a))
            os.close(q)
        except Exception as e:  # noqa: BLE001: any failure of a client is what is looked for
            bad.append((i, repr(e)))
    ts = [threading.Thread(target=client, args=(i,)) for i in range(200)]
    [t.start() for t in ts]
    [t.join() for t in ts]
    eq(bad[:2], [], "200 clients, 10 queries each, each its own answer")


TABLE = 8192  # VNODES_MAX, src/fs/virt_priv.h


def more_names_than_fit(m):
    """The table of virtual names is bounded: names are not refused when it is full, those used longest ago make room."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (TABLE + 2000, max(TABLE + 2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    m.write("many.txt", "word of many names\n")
    m.wait()
    listed, start = m.p(".vexfs/search/word"), time.monotonic()
    (name,) = os.listdir(listed)
    kept = os.open(m.p(".vexfs/search/kept"), os.O_RDONLY | os.O_DIRECTORY)
    # nobody holds them: the kernel lets go of them when asked, and whoever is in one stays
    first = os.open(m.p(".vexfs/search/first"), os.O_PATH)
    ino = os.fstat(first).st_ino
    eq({err_of(os.stat, m.p(f".vexfs/search/word {i}")) for i in range(TABLE + 500)}, {"no error"}, f"{TABLE + 500} names looked up one after the other")
    # all of them held: the oldest make room
    held = [first] + [os.open(m.p(f".vexfs/search/held {i}"), os.O_PATH) for i in range(TABLE + 500)]
    eq(err_of(os.fstat, first), "ESTALE", "of more names held than fit, the one used longest ago is stale")
    eq([err_of(os.stat, m.p(".vexfs/search", n)) for n in ("first", "held 0", "held 1")], ["no error"] * 3, "by its path it is found anew")
    ok(os.stat(m.p(".vexfs/search/first")).st_ino != ino, "as another node")
    eq(err_of(os.fstat, held[-1]), "no error", "the newest are valid")
    eq(os.listdir(kept), [], "what is open stays, however old")
    if time.monotonic() - start < 50:
        eq(os.path.basename(os.readlink(os.path.join(listed, name))), "many.txt", "a name handed out within the minute resolves")
    for fd in held + [kept]:
        os.close(fd)
    eq(err_of(os.listdir, m.p(".vexfs/search/held 7")), "no error", "and all works as before")
    os.unlink(m.p("many.txt"))


def stats(m):
    with open(m.p(".vexfs/stats")) as f:
        return json.load(f)


def numbers(m):
    s = stats(m)
    ok(any(o["operation"] == "lookup" and o["count"] for o in s["operations"]), "stats counts operations")
    ok(s["counters"]["searches"] > 0, "and searches")
    with open(m.p(".vexfs/metrics")) as f:
        text = f.read()
    ok('vexfs_operation_seconds_count{operation="lookup"}' in text and all(
        ln.startswith("#") or len(ln.rsplit(" ", 1)) == 2 and float(ln.rsplit(" ", 1)[1]) >= 0 for ln in text.splitlines()), "metrics are Prometheus text")
    with open(m.p(".vexfs/health")) as f:
        ok(json.load(f)["ok"] is True, "health")
    for f, mode in (("stats", 0o400), ("metrics", 0o400), ("ctl", 0o600), ("events", 0o400), ("status", 0o444), ("query", 0o666)):
        eq(stat.S_IMODE(os.stat(m.p(".vexfs", f)).st_mode), mode, f"mode of {f}")


def ctl(m):
    with open(m.p(".vexfs/ctl")) as f:
        ok("retry" in f.read().split(), "ctl lists its verbs")
    c = os.open(m.p(".vexfs/ctl"), os.O_RDWR)
    os.write(c, b"collection_create name=byctl dim=3 metric=dot\n")
    ok(json.loads(os.read(c, 4096)), "a verb is answered on the same handle")
    eq(m.ask("collection_info", name="byctl")["metric"], "dot", "and has been done")
    eq(err_of(os.write, c, b"no_such_verb\n"), "EINVAL", "an unknown verb")
    ok(b"unknown_verb" in os.read(c, 4096), "with its reason")
    eq(err_of(os.write, c, b"retry\nretry\n"), "EINVAL", "one line a write")
    os.write(c, b'{"verb":"stats_reset"}\n')
    ok(stats(m)["counters"]["searches"] == 0, "stats_reset by ctl")
    os.close(c)


def events(m):
    e = os.open(m.p(".vexfs/events"), os.O_RDONLY | os.O_NONBLOCK)
    eq(err_of(os.read, e, 4096), "EAGAIN", "nothing has happened yet")
    p = select.poll()
    p.register(e, select.POLLIN)
    eq(p.poll(0), [], "poll says so")
    m.set_vector("other/weather.txt", [0.5, 1, 0])
    ok(p.poll(10000), "poll wakes up")
    line = json.loads(os.read(e, 1 << 16).splitlines()[-1])
    eq([line["kind"], line["text"]], ["put", "default"], "and the event is there")
    os.close(e)
    got = []
    e = os.open(m.p(".vexfs/events"), os.O_RDONLY)
    t = threading.Thread(target=lambda: got.append(os.read(e, 1 << 16)))
    t.start()
    time.sleep(0.1)
    m.set_vector("other/weather.txt", [0.5, 1, 0.25])
    t.join(10)
    ok(got and b'"kind":"put"' in got[0], "a read waits for it", detail=got)
    pid = os.fork()
    if not pid:
        os.read(e, 1 << 16)
        os._exit(0)
    time.sleep(0.1)
    os.kill(pid, 9)
    ok(os.waitpid(pid, 0)[1] == 9, "a waiting reader can be killed")
    os.close(e)


def collections(m):
    try:
        import numpy
    except ImportError:
        return skip("vectors.npy by numpy", "no numpy")
    eq(sorted(os.listdir(m.p(".vexfs/collections")))[:2], ["big", "byctl"], "collections are directories")
    with open(m.p(".vexfs/collections/big/info")) as f:
        eq(json.load(f)["points"], 10000, "info")
    a = numpy.load(m.p(".vexfs/collections/big/vectors.npy"), mmap_mode="r")
    with open(m.p(".vexfs/collections/big/ids")) as f:
        ids = [json.loads(x) for x in f]
    eq([a.shape, str(a.dtype), sorted(ids) == list(range(10000))], [(10000, 64), "float32", True], "vectors.npy maps; ids has a line a row")
    ok(bool((a == numpy.array(ids, dtype="float32")[:, None]).all()), "row i is the vector of line i")
    m.ask("put", collection="big", id=10000, vector=[10000.0] * 64, wait="durable")
    b = numpy.load(m.p(".vexfs/collections/big/vectors.npy"), mmap_mode="r")
    eq([a.shape[0], b.shape[0]], [10000, 10001], "the next generation is another file; the old map stays")
    d = numpy.load(m.p(".vexfs/collections/default/vectors.npy"))
    with open(m.p(".vexfs/collections/default/ids")) as f:
        paths = [json.loads(x) for x in f]
    eq([d.shape[1], set(paths) <= {"proj/a/budget.md", "proj/b/plan.txt", "other/weather.txt"}], [3, True], "files by path")
    for p, row in zip(paths, d):
        eq(m.get_vector(p), row.tolist(), f"the vector of {p}")
    eq(err_of(os.listdir, m.p(".vexfs/collections/none")), "ENOENT", "no such collection")


def xattrs(m):
    f = m.p("proj/a/budget.md")
    eq(err_of(os.setxattr, f, "user.vexfs.vector", b""), "EINVAL", "an empty vector")
    eq(err_of(os.setxattr, f, "user.vexfs.vector", b"12345"), "EINVAL", "five bytes")
    eq(err_of(os.setxattr, f, "user.vexfs.vector", floats([1, 2])), "EINVAL", "another length")
    eq(err_of(os.setxattr, f, "user.vexfs.vector", floats([1, 2, float("nan")])), "EINVAL", "NaN")
    eq(err_of(os.setxattr, f, "user.vexfs.vector", floats([1, 2, float("inf")])), "EINVAL", "Inf")
    eq(err_of(os.setxattr, f, "user.vexfs.vector", floats([1, 2, 3]), os.XATTR_CREATE), "EEXIST", "XATTR_CREATE over one")
    eq(err_of(os.setxattr, m.p("other/100%.txt"), "user.vexfs.vector", floats([1, 2, 3]), os.XATTR_REPLACE), "ENODATA", "XATTR_REPLACE of none")
    os.setxattr(m.p("other/100%.txt"), "user.vexfs.vector", floats([1, 2, 3]), os.XATTR_CREATE)
    os.setxattr(m.p("other/100%.txt"), "user.vexfs.vector", floats([1, 2, 4]), os.XATTR_REPLACE)
    eq(m.get_vector("other/100%.txt"), [1, 2, 4], "create, then replace")
    os.removexattr(m.p("other/100%.txt"), "user.vexfs.vector")
    eq(err_of(os.removexattr, m.p("other/100%.txt"), "user.vexfs.vector"), "ENODATA", "removed twice")
    eq(err_of(os.getxattr, m.p("other/100%.txt"), "user.vexfs.vector"), "ENODATA", "and gone")
    # every name of ours: create over what is there, replace what is not, both at once, and more than any xattr may hold
    m.ask("collection_create", name="side", dim=2, metric="l2")
    m.write("flags.txt", "flags")
    g = m.p("flags.txt")
    value = {"user.vexfs.vector": floats([1, 2, 3]), "user.vexfs.vector.side": floats([1, 2]), "user.vexfs.payload": b'{"a": 1}',
             "user.vexfs.packed": os.getxattr(f, "user.vexfs.packed")}
    for n, v in value.items():
        eq(err_of(os.setxattr, g, n, v, os.XATTR_REPLACE), "ENODATA", f"{n}: XATTR_REPLACE of none")
        eq(err_of(os.setxattr, g, n, v, os.XATTR_CREATE | os.XATTR_REPLACE), "EINVAL", f"{n}: both flags")
        os.setxattr(g, n, v, os.XATTR_CREATE)
        eq(err_of(os.setxattr, g, n, v, os.XATTR_CREATE), "EEXIST", f"{n}: XATTR_CREATE over one")
        os.setxattr(g, n, v, os.XATTR_REPLACE)
        there = os.getxattr(g, n)
        ok(there == v or n == "user.vexfs.packed", f"{n}: created, then replaced", detail=there)
        eq(err_of(os.setxattr, g, n, v + bytes(65537 - len(v))), "E2BIG", f"{n}: 64 KiB and a byte")
        eq(os.getxattr(g, n), there, f"{n}: is what it was")
        os.removexattr(g, n)
    eq(err_of(os.setxattr, g, "user.vexfs.state", bytes(65537)), "E2BIG", "the kernel refuses 64 KiB and a byte for any name")
    os.unlink(g)
    for n in ("state", "dim", "hash", "chunks", "model", "similar"):
        eq(err_of(os.setxattr, f, "user.vexfs." + n, b"x"), "EROFS", f".{n} is computed")
    eq(err_of(os.setxattr, f, "user.vexfs.nothing", b"x"), "EINVAL", "an unknown name cannot be set")
    eq(err_of(os.getxattr, f, "user.vexfs.nothing"), "ENODATA", "nor read")
    eq(err_of(os.getxattr, f, "user.vexfs.vector.none"), "ENODATA", "no such collection")
    eq(err_of(os.setxattr, f, "user.vexfs.vector.none", floats([1])), "ENOENT", "nor can it be set there")
    eq(err_of(os.setxattr, f, "user.vexfs.vector.text", floats([1])), "EROFS", "the text collection is written by ingest alone")
    eq(err_of(os.setxattr, f, "user.vexfs.payload", b"[1]"), "EINVAL", "a payload is an object")
    os.setxattr(f, "user.vexfs.payload", b'{"a": [1, 2]}')
    eq(os.getxattr(f, "user.vexfs.payload"), b'{"a": [1, 2]}', "a payload")
    eq(err_of(os.setxattr, m.p("proj"), "user.vexfs.vector", floats([1, 2, 3])), "ENOTSUP", "a directory has no vector")
    eq(os.getxattr(f, "user.vexfs.dim"), b"3", "dim")
    eq(os.getxattr(f, "user.vexfs.state"), b"fresh", "state")
    eq(os.getxattr(m.p("proj"), "user.vexfs.state"), b"none", "state of a directory")
    eq(os.getxattr(f, "user.vexfs.similar").decode().splitlines()[0], "proj/b/plan.txt", "similar")
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.getxattr.restype = ctypes.c_ssize_t
    buf = ctypes.create_string_buffer(8)
    eq(libc.getxattr(f.encode(), b"user.vexfs.vector", None, ctypes.c_size_t(0)), 12, "size 0 asks for the size")
    ok(libc.getxattr(f.encode(), b"user.vexfs.vector", buf, ctypes.c_size_t(8)) == -1 and ctypes.get_errno() == errno.ERANGE, "a buffer too small: ERANGE")
    names = os.listxattr(f)
    ok(all(n in ("user.vexfs.packed",) for n in names if n.startswith("user.vexfs.")), "computed names are not listed", detail=names)
    os.setxattr(f, "user.mine", b"1")
    eq(os.getxattr(f, "user.mine"), b"1", "the user's own pass through")


with Mount() as m:
    tree(m)
    for t in (by_words, follows, query_handle, many_clients, more_names_than_fit, saved, like, no_query_by_walking, numbers, ctl, events, collections, xattrs):
        print(f"# {t.__name__}", flush=True)
        t(m)
done()
