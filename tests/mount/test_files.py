#!/usr/bin/env python3
"""Ordinary work with files through the mount gives what it gives without: cp -a, tar, git, two writers at once."""
import filecmp
import hashlib
import multiprocessing
import os
import random
import shutil

from mnt import Mount, done, eq, ok, run, seed

rng = random.Random(seed(7))


def make_tree(root, files=300):
    """Names, sizes, modes and kinds of every sort."""
    dirs = [root]
    os.makedirs(root)
    for i in range(30):
        d = os.path.join(rng.choice(dirs), f"d{i} ü")
        os.mkdir(d)
        dirs.append(d)
    for i in range(files):
        p = os.path.join(rng.choice(dirs), f"f{i}" + rng.choice(["", ".txt", " x", "-" + "n" * 200]))
        with open(p, "wb") as f:
            f.write(rng.randbytes(rng.choice([0, 1, 511, 4096, 4097, 70000, 300000])))
            if rng.random() < 0.1:
                f.seek(rng.randrange(1 << 20))
                f.write(b"after a hole")
        os.chmod(p, rng.choice([0o644, 0o600, 0o755, 0o4755, 0o444]))
        os.utime(p, ns=(rng.randrange(10 ** 18), rng.randrange(10 ** 18)))
    for i in range(20):
        os.symlink(rng.choice(["f1", "../nowhere", "/etc/passwd"]), os.path.join(rng.choice(dirs), f"l{i}"))
    a = os.path.join(root, "hard1")
    open(a, "w").write("linked")
    os.link(a, os.path.join(rng.choice(dirs), "hard2"))


def listing(root):
    """Everything a tree is: kinds, modes, owners, times, links, content."""
    out = {}
    for d, ds, fs in os.walk(root):
        for n in ds + fs:
            p = os.path.join(d, n)
            st = os.lstat(p)
            rel = os.path.relpath(p, root)
            if os.path.islink(p):
                out[rel] = ("l", os.readlink(p))
            elif os.path.isdir(p):
                out[rel] = ("d", st.st_mode, st.st_uid, st.st_gid)
            else:
                out[rel] = ("f", st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_nlink, st.st_mtime_ns,
                            hashlib.sha256(open(p, "rb").read()).hexdigest())
    return out


def same(got, want, what):
    ok(got == want, what, detail=[(k, got.get(k), want.get(k)) for k in sorted(got | want) if got.get(k) != want.get(k)][:5])


def writer(args):
    root, who, n = args
    r = random.Random(who)
    want = {}
    for i in range(n):
        p = os.path.join(root, f"w{who}-{i}")
        data = r.randbytes(r.randrange(20000))
        with open(p, "wb") as f:
            for at in range(0, len(data), 3000):
                f.write(data[at:at + 3000])
        want[p] = hashlib.sha256(data).hexdigest()
        if i % 7 == 0:
            os.rename(p, p + ".r")
            want[p + ".r"] = want.pop(p)
        if i % 5 == 0:  # read back one of ours
            q = r.choice(sorted(want))
            if hashlib.sha256(open(q, "rb").read()).hexdigest() != want[q]:
                return None
    return want


def main():
    with Mount() as m:
        src = os.path.join(m.base, "src")
        make_tree(src)
        want = listing(src)
        rc, _, err = run("cp", "-a", src, m.p("copy"))
        ok(rc == 0, "cp -a into the mount", detail=err)
        same(listing(m.p("copy")), want, "cp -a: every name, mode, owner, time, link and byte")
        eq(run("diff", "-r", "--no-dereference", src, m.p("copy"))[0], 0, "diff -r")
        rc, _, err = run("tar", "-C", m.p("copy"), "--format=posix", "-cf", os.path.join(m.base, "a.tar"), ".")
        ok(rc == 0, "tar from the mount", detail=err)
        os.mkdir(m.p("untar"))
        rc, _, err = run("tar", "-C", m.p("untar"), "-xpf", os.path.join(m.base, "a.tar"))
        ok(rc == 0, "tar into the mount", detail=err)
        got = listing(m.p("untar"))
        same(got, want, "tar: equal")
        same(listing(os.path.join(m.dir, "untar")), want, "and equal in the directory behind")
        rc, _, err = run("rm", "-rf", m.p("untar"))
        ok(rc == 0 and not os.path.exists(os.path.join(m.dir, "untar")), "rm -rf", detail=err)

        repo = os.path.join(m.base, "repo")
        env = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
               "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        shutil.copytree(src, repo, symlinks=True)
        run("git", "init", "-q", repo, env=env, check=True)
        run("git", "-C", repo, "add", "-A", env=env, check=True)
        run("git", "-C", repo, "commit", "-qm", "x", env=env, check=True)
        rc, _, err = run("git", "clone", "-q", repo, m.p("clone"), env=env)
        ok(rc == 0, "git clone into the mount", detail=err)
        rc, out, err = run("git", "-C", m.p("clone"), "status", "--porcelain", env=env)
        ok(rc == 0 and out == "", "git status is clean", detail=out + err)
        eq(run("git", "-C", m.p("clone"), "fsck", "--strict", env=env)[0], 0, "git fsck")
        eq(run("diff", "-r", "--no-dereference", "-x", ".git", repo, m.p("clone"))[0], 0, "diff -r against the source")

        os.mkdir(m.p("two"))
        with multiprocessing.Pool(2) as pool:
            parts = pool.map(writer, [(m.p("two"), 1, 500), (m.p("two"), 2, 500)])
        ok(all(parts), "two processes write and read 1,000 files")
        want = {os.path.basename(k): v for p in parts for k, v in (p or {}).items()}
        for where, root in (("through the mount", m.p("two")), ("behind it", os.path.join(m.dir, "two"))):
            got = {n: hashlib.sha256(open(os.path.join(root, n), "rb").read()).hexdigest() for n in os.listdir(root)}
            eq(got, want, f"equal {where}")
        st = os.statvfs(m.mnt)
        ok(st.f_blocks > 0 and st.f_namemax == 255, "statvfs")
    done()


main()
