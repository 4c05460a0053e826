#!/usr/bin/env python3
"""vexfs export-tree and import-tree: there and back, and both ways with real tar; big values, big collections, hostile archives."""
import io
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import tarfile

from mnt import VEXFS, Mount, done, eq, floats, ok, rand_vec, run, seed, skip, vexfs

rng = random.Random(seed())
PACKED = "user.vexfs.packed"
TAR = ("tar", "--xattrs", "--xattrs-include=user.*")


def err_of(fn, *a):
    try:
        return fn(*a)
    except OSError as e:
        return e.errno


def picture(m, root):
    """Everything of a tree that is to arrive: kinds, modes, times, owners, links, content; attributes as they travel."""
    out, first = {}, {}
    for d, ds, fs in os.walk(m.p(root)):
        for n in sorted(ds + fs):
            p = os.path.join(d, n)
            st, rel = os.lstat(p), os.path.relpath(p, m.p(root))
            if os.path.islink(p):
                out[rel] = os.readlink(p)
            elif os.path.isdir(p):
                out[rel] = (st.st_mode, st.st_uid, st.st_gid)
            else:
                same = first.setdefault(st.st_ino, rel)
                xattrs = {x: os.getxattr(p, x) for x in os.listxattr(p)}
                out[rel] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, same, open(p, "rb").read(), xattrs)
    return out


def states(m, root):
    return {r["path"][len(root) + 1:]: r["state"] for r in m.ask("search", vector=[1.0] * 8, k=10000, exact=True, stale=True, scope=root)["results"]}


def fill(m, root):
    m.ask("collection_create", name="other", dim=5, metric="l2")
    m.ask("collection_create", name="wide", dim=16000, metric="cosine")
    os.makedirs(m.p(root, "a/ü b/c"))
    os.mkdir(m.p(root, "empty"))
    for i in range(120):
        rel = os.path.join(root, rng.choice(["", "a", "a/ü b", "a/ü b/c"]), f"f{i}" + rng.choice(["", " x", "ä" * 60]))
        m.write(rel, rng.randbytes(rng.choice([0, 1, 511, 70000])) + b"%d" % i)
        if i % 3:
            m.set_vector(rel, rand_vec(rng, 8))
        if i % 5 == 0:
            m.set_vector(rel, rand_vec(rng, 5), "other")
        if i % 4 == 0:
            os.setxattr(m.p(rel), "user.vexfs.payload", b'{"n": %d}' % i)
        if i % 7 == 0:
            os.setxattr(m.p(rel), "user.mine", b"\0\xff=%d" % i)
        os.chmod(m.p(rel), rng.choice([0o644, 0o600, 0o755, 0o444]))
        os.utime(m.p(rel), ns=(0, rng.randrange(10 ** 18)))
    m.write(root + "/wide", b"a packed value of nearly 64 KiB")
    m.set_vector(root + "/wide", rand_vec(rng, 16000), "wide")
    os.setxattr(m.p(root, "wide"), "user.vexfs.payload", b'{"n": 1}')
    m.write(root + "/hard1", b"two names")
    m.set_vector(root + "/hard1", rand_vec(rng, 8))
    os.link(m.p(root, "hard1"), m.p(root, "a/hard2"))
    os.symlink("../nowhere", m.p(root, "a/link"))
    m.write(root + "/edited", b"before")
    m.set_vector(root + "/edited", rand_vec(rng, 8))
    m.wait()
    m.write(root + "/edited", b"after")
    m.wait()


def main():
    helper = os.path.join(os.path.dirname(os.path.realpath(VEXFS)), "vexfs-tree")
    if not os.path.exists(helper):
        skip("export-tree", "built without libarchive")
        return done()
    with Mount() as a, Mount() as b:
        fill(a, "src")
        want, fresh = picture(a, "src"), states(a, "src")
        eq(fresh["edited"], "stale", "one of them is stale")
        t = os.path.join(a.base, "t.tar")
        rc, out, err = vexfs("export-tree", a.p("src"), t)
        ok(rc == 0 and not out and not os.path.exists(t + ".part"), "export-tree", detail=err)
        for name in ("there", "by tar"):
            os.mkdir(b.p(name))
        rc, out, err = vexfs("import-tree", t, b.p("there"))
        ok(rc == 0 and not out, f"import-tree: {err.strip()}", detail=err)
        b.wait()
        same(b, "there", want, fresh, "export-tree, import-tree")
        eq(b.ask("collection_info", name="wide")["dim"], 16000, "collections are made as they were")
        rc, _, err = run(*TAR, "-C", b.p("by tar"), "-xpf", t)
        ok(rc == 0 and not err, "tar --xattrs reads it without a word", detail=err)
        b.wait()
        same(b, "by tar", want, fresh, "export-tree, tar --xattrs -x")
        rc, out, err = run("tar", "-tf", t)
        eq([rc, len(out.splitlines()), err], [0, len(want) + 1, ""], "plain tar lists it")
        run(*TAR, "--format=posix", "-C", a.p("src"), "-cf", t, ".", check=True)
        os.mkdir(b.p("from tar"))
        rc, out, err = vexfs("import-tree", t, b.p("from tar"))
        ok(rc == 0, "import-tree reads what tar --xattrs wrote", detail=err)
        b.wait()
        same(b, "from tar", want, fresh, "tar --xattrs -c, import-tree")
        os.mkdir(b.p("piped"))
        p = subprocess.run(f"'{VEXFS}' export-tree '{a.p('src')}' - | gzip | '{VEXFS}' import-tree - '{b.p('piped')}'", shell=True, capture_output=True, text=True)
        ok(p.returncode == 0, "by a pipe, compressed", detail=p.stderr)
        b.wait()
        same(b, "piped", want, fresh, "by a pipe")
        run(VEXFS, "import-tree", t, b.p("from tar"), check=True)
        b.wait()
        same(b, "from tar", want, fresh, "over itself once more")
        whole(a)
        big(a, b)
        refused(a, b)
    if os.geteuid():
        skip("a disk full behind a file that may not be read", "only root can be another user")
    else:
        half()
    done()


def same(m, root, want, fresh, what):
    got = picture(m, root)
    bad = [(k, str(got.get(k))[:200], str(want.get(k))[:200]) for k in sorted(got | want) if got.get(k) != want.get(k)]
    ok(not bad, f"{what}: {len(want)} entries are what they were, attributes and vectors too", detail=bad[:3])
    now = states(m, root)
    eq({k: v for k, v in now.items() if fresh.get(k) != v}, {k: v for k, v in fresh.items() if now.get(k) != v}, f"{what}: fresh what was fresh, stale what was stale")


def whole(m):
    """The mount itself, with the archive in it."""
    rc, out, err = vexfs("export-tree", m.mnt, m.p("self.tar"))
    with tarfile.open(m.p("self.tar")) as t:
        names = t.getnames()
    ok(rc == 0 and "src/hard1" in names and not [n for n in names if "vexfs" in n or "self.tar" in n], "a whole mount: neither .vexfs nor the archive itself is in it",
       detail=[rc, err, names[:5]])
    os.unlink(m.p("self.tar"))


def big(a, b):
    os.mkdir(a.p("many"))
    n = 3000
    for i in range(n):
        with open(a.p(f"many/{i}"), "wb") as f:
            f.write(b"%d" % i)
    vec = [rand_vec(rng, 8) for _ in range(n)]
    for at in range(0, n, 500):
        a.ask("batch_put", points=[{"path": f"many/{i}", "vector": vec[i]} for i in range(at, at + 500)])
    a.write("many/huge", b"x")
    a.ask("collection_create", name="huge", dim=16384, metric="l2")
    a.set_vector("many/huge", [1.0] * 16384, "huge")
    a.wait()
    t = os.path.join(a.base, "many.tar")
    rc, _, err = vexfs("export-tree", a.p("many"), t)
    ok(rc == 0 and "huge: its vectors are larger" in err, "what is too large for the attribute is named", detail=err)
    os.mkdir(b.p("many"))
    rc, _, err = vexfs("import-tree", t, b.p("many"))
    b.wait()
    eq([rc, list(states(b, "many").values()).count("fresh"), [i for i in rng.sample(range(n), 200) if b.get_vector(f"many/{i}") != vec[i]]], [0, n, []], f"{n} files with vectors")


def half():
    """Another user: what he may not read is named and left out; a write that fails leaves the archive of before as it was."""
    with Mount("-o", "allow_other") as m:
        os.mkdir(m.p("h"))
        for i in range(3):
            m.write(f"h/secret{i}", b"secret")
            os.chmod(m.p(f"h/secret{i}"), 0o600)
        m.write("h/large", rng.randbytes(300000))
        d = os.path.join(m.base, "his")
        os.mkdir(d)
        os.chmod(d, 0o777)
        t = os.path.join(d, "t.tar")
        with open(t, "w") as f:
            f.write("the one of before")
        for name in ("vexfs", "vexfs-tree"):  # where he may run them, wherever they were built
            shutil.copy(os.path.join(os.path.dirname(os.path.realpath(VEXFS)), name), d)

        def export(most):
            def become():
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            return subprocess.run([d + "/vexfs", "export-tree", m.p("h"), t], preexec_fn=become, restore_signals=False, capture_output=True, text=True)
        p = export(100000)
        with open(t, "rb") as f:
            eq((p.returncode, f.read(), os.path.exists(t + ".part")), (2, b"the one of before", False), "no room: the archive of before stays, half a one does not")
        ok("secret1" in p.stderr and "cannot be written" in p.stderr, "both are said", detail=p.stderr)
        p = export(1 << 30)
        with tarfile.open(t) as f:
            eq((p.returncode, sorted(f.getnames())), (2, [".", "large"]), "with room: all that he may read, and the status says that it is not all")


def refused(a, b):
    """What an archive from elsewhere must not do, and what is asked wrongly."""
    outside = os.path.join(b.base, "outside")
    os.mkdir(b.p("safe"))
    t = os.path.join(b.base, "evil.tar")
    with tarfile.open(t, "w", format=tarfile.PAX_FORMAT) as f:
        for name in ("../../outside", outside, "ln/outside"):
            if name.startswith("ln"):
                link = tarfile.TarInfo("ln")
                link.type, link.linkname = tarfile.SYMTYPE, b.base
                f.addfile(link)
            i = tarfile.TarInfo(name)
            i.size = 4
            f.addfile(i, io.BytesIO(b"evil"))
        i = tarfile.TarInfo("forged")
        i.size, i.pax_headers = 4, {"SCHILY.xattr." + PACKED: "VXPK no such thing"}
        f.addfile(i, io.BytesIO(b"good"))
    rc, out, err = vexfs("import-tree", t, b.p("safe"))
    ok(rc == 2 and not os.path.exists(outside) and "forged" in err, "no name leads out, a forged vector is named", detail=[rc, err])
    eq([open(b.p("safe/forged")).read(), err_of(os.getxattr, b.p("safe/forged"), PACKED)], ["good", 61], "its file is there, without one")
    for what, argv, words in (("a directory of no mount", ["export-tree", a.base, t], "mount"), ("no such archive", ["import-tree", t + "no", b.p("safe")], "No such file"),
                              ("not an archive", ["import-tree", VEXFS, b.p("safe")], "rchive"), ("no arguments", ["export-tree"], "usage")):
        rc, out, err = vexfs(*argv)
        ok(rc == 2 and words.lower() in err.lower() and not out, f"{what}: {err.strip()[:100]}", detail=[rc, out, err])
    rc, out, err = vexfs("export-tree", a.p("src"), "/dev/full")
    ok(rc == 2 and stat.S_ISCHR(os.stat("/dev/full").st_mode), "a full disk", detail=err)
    with open(os.path.join(b.base, "cut.tar"), "wb") as f, open(os.path.join(a.base, "t.tar"), "rb") as g:
        f.write(g.read(60000))
    rc, out, err = vexfs("import-tree", os.path.join(b.base, "cut.tar"), b.p("safe"))
    ok(rc == 2, "an archive cut short", detail=[rc, err])


main()
