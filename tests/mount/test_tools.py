#!/usr/bin/env python3
"""What becomes of a file's vector when real tools work on the file: through the mount, behind it and while it is down.

docs/LIFECYCLE.md is this table for people; that the two say the same is checked here.
"""
import os
import pty
import random
import re
import select
import shutil
import sys
import tempfile

from mnt import Mount, done, eq, mounted, rand_vec, run, seed, skip, vexfs

rng = random.Random(seed())
ROOT = os.geteuid() == 0
HERE = os.path.dirname(os.path.abspath(__file__))
GIT = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
       "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": "/nonexistent"}
VIM = shutil.which("vim.tiny") or shutil.which("vim")


def sh(cmd, cwd):
    return run("sh", "-c", cmd, cwd=cwd, check=True, env=GIT)


def nano(path):
    """As a person does: some words, ^O, Enter, ^X, on a terminal."""
    pid, fd = pty.fork()
    if not pid:
        os.environ["TERM"] = "vt100"
        os.execvp("nano", ["nano", "-I", path])
    seen = b""

    def until(what):
        nonlocal seen
        while what not in seen:
            if not select.select([fd], [], [], 60)[0]:
                raise RuntimeError(f"nano never said {what!r}: {seen[-300:]!r}")
            seen += os.read(fd, 4096)
        seen = b""
    until(b"Exit")
    os.write(fd, b"new words ")
    os.write(fd, b"\x0f")
    until(b"Write")
    os.write(fd, b"\r")
    until(b"Wrote")
    os.write(fd, b"\x18")
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        pass
    os.close(fd)
    return os.waitpid(pid, 0)[1]


# What is done in the directory d, which holds f ("some words\n", a vector), the empty directory sub and, for two of them, other (another mount).
# Then what each name has: fresh, stale, or none; a name that isn't there: gone.
ROWS = [  # tool, command, {name: state}, where: t through, b behind, d while down
    ("vim", lambda d, o: run(VIM, "-u", "NONE", "-es", "-c", "%s/some/new/", "-c", "wq", d + "/f", check=True), {"f": "stale"}, "tbd"),
    ("vim, backupcopy=yes", lambda d, o: run(VIM, "-u", "NONE", "-es", "-c", "set backupcopy=yes", "-c", "%s/some/new/", "-c", "wq", d + "/f", check=True), {"f": "stale"}, "tbd"),
    ("vim, backup kept", lambda d, o: run(VIM, "-u", "NONE", "-es", "-c", "set backup backupskip= backupcopy=no", "-c", "%s/some/new/", "-c", "wq", d + "/f", check=True),
     {"f": "none", "f~": "fresh"}, "tb"),
    ("nano", lambda d, o: nano(d + "/f"), {"f": "stale"}, "tbd"),
    ("sed -i", lambda d, o: sh("sed -i s/some/new/ f", d), {"f": "stale"}, "tbd"),
    ("sed -i, nothing to change", lambda d, o: sh("sed -i s/nowhere/x/ f", d), {"f": "fresh"}, "tbd"),
    (">>", lambda d, o: sh("echo more >> f", d), {"f": "stale"}, "tbd"),
    ("edited and undone", lambda d, o: sh("echo new > f; echo some words > f", d), {"f": "fresh"}, "tbd"),
    ("truncate", lambda d, o: sh("truncate -s 3 f", d), {"f": "stale"}, "tbd"),
    ("cp -a", lambda d, o: sh("cp -a f g", d), {"f": "fresh", "g": "fresh"}, "t"),
    ("cp", lambda d, o: sh("cp f g", d), {"f": "fresh", "g": "none"}, "tbd"),
    ("cp over it", lambda d, o: sh("echo new > g; cp g f", d), {"f": "stale", "g": "none"}, "tbd"),
    ("cp --reflink", lambda d, o: sh("cp --reflink=auto --preserve=xattr f g", d), {"f": "fresh", "g": "fresh"}, "t"),
    ("rsync -aX", lambda d, o: sh("rsync -aX f sub/", d), {"f": "fresh", "sub/f": "fresh"}, "t"),
    ("rsync -a", lambda d, o: sh("rsync -a f sub/", d), {"f": "fresh", "sub/f": "none"}, "tbd"),
    ("rsync -aX to another mount", lambda d, o: sh(f"rsync -aX f {o}/", d), {"f": "fresh", "other/f": "fresh"}, "t"),
    ("tar --xattrs", lambda d, o: sh("tar --xattrs --xattrs-include='user.*' -cf ../a.tar f && tar --xattrs --xattrs-include='user.*' -C sub -xf ../a.tar; rm ../a.tar", d),
     {"f": "fresh", "sub/f": "fresh"}, "t"),
    ("tar", lambda d, o: sh("tar -cf - f | tar -C sub -xf -", d), {"f": "fresh", "sub/f": "none"}, "tbd"),
    ("git checkout, the file differs", lambda d, o: sh("git init -q . && git add f && git commit -qm a && git checkout -qb other && echo new > f && git commit -qam b "
                                                        "&& git checkout -q -", d), {"f": "none"}, "tb"),
    ("git checkout there and back", lambda d, o: sh("git init -q . && git add f && git commit -qm a && git checkout -qb other && echo new > f && git commit -qam b "
                                                     "&& git checkout -q -", d), {"f": "fresh"}, "d"),
    ("git checkout, the file is the same", lambda d, o: sh("git init -q . && git add f && git commit -qm a && git checkout -qb other && echo x > g && git add g && "
                                                            "git commit -qm b && git checkout -q -", d), {"f": "fresh", "g": "gone"}, "tbd"),
    ("mv", lambda d, o: sh("mv f sub/g", d), {"f": "gone", "sub/g": "fresh"}, "tbd"),
    ("mv of its directory", lambda d, o: sh("mkdir a && mv f a/ && mv a sub/b", d), {"f": "gone", "sub/b/f": "fresh"}, "tbd"),
    ("mv to another mount", lambda d, o: sh(f"mv f {o}/", d), {"f": "gone", "other/f": "fresh"}, "t"),
    ("mv over it", lambda d, o: sh("echo new > g; mv g f", d), {"f": "stale", "g": "gone"}, "tbd"),
    ("ln", lambda d, o: sh("ln f g", d), {"f": "fresh", "g": "fresh"}, "tbd"),
    ("ln, then rm of one name", lambda d, o: sh("ln f g; rm f", d), {"f": "gone", "g": "fresh"}, "tbd"),
    ("rm", lambda d, o: sh("rm f", d), {"f": "gone"}, "tbd"),
    ("touch", lambda d, o: sh("touch f; touch -d 2001-02-03 f", d), {"f": "fresh"}, "tbd"),
    ("chmod", lambda d, o: sh("chmod 600 f", d), {"f": "fresh"}, "tbd"),
    ("chown", lambda d, o: sh("chown 1:1 f", d) if ROOT else sh("chgrp $(id -g) f", d), {"f": "fresh"}, "tbd"),
    ("setfattr of one's own", lambda d, o: sh("setfattr -n user.mine -v 1 f", d), {"f": "fresh"}, "tbd"),
]
NEED = {"vim": VIM, "nano": shutil.which("nano"), "rsync": shutil.which("rsync"), "git": shutil.which("git")}
WHERE = {"t": "through", "b": "behind", "d": "while down"}


def state(m, rel, v):
    """fresh and stale only with the very vector"""
    if not os.path.lexists(m.p(rel)):
        return "gone"
    try:
        got = m.get_vector(rel)
    except OSError:
        return "none"
    s = os.getxattr(m.p(rel), "user.vexfs.state").decode()
    return s if got == v else f"{s}, but another vector"


def found(m, v):
    return sorted(r["path"] for r in m.ask("search", vector=v, k=1000, exact=True)["results"] if r["distance"] < 1e-6)


def table():
    with Mount() as m, Mount() as other:
        watched = m.status()["watch"] != "none"
        rows = {}
        for how in "tbd":
            for i, (tool, do, want, where) in enumerate(ROWS):
                need = [n for n in NEED if tool.startswith(n) and not NEED[n]]
                if how not in where:
                    continue
                if need or (how == "b" and not watched):
                    skip(f"{tool}, {WHERE[how]}", f"no {need[0]}" if need else "nobody tells of changes behind the mount")
                    continue
                rows[how + tool] = (f"{how}{i}", do, want, rand_vec(rng, 8))
                d = f"{how}{i}"
                os.makedirs(m.p(d, "sub"))
                m.write(d + "/f", "some words\n")
                m.set_vector(d + "/f", rows[how + tool][3])
        m.wait()
        for where in "tbd":
            mine = [(k[1:], r) for k, r in rows.items() if k[0] == where]
            if where == "d":
                m.umount()
            for tool, (d, do, want, v) in mine:
                for n in list(os.listdir(other.mnt)):
                    os.unlink(other.p(n))
                do(os.path.join(m.mnt if where == "t" else m.dir, d), other.mnt)
                if where == "d":
                    continue
                check(m, other, tool, where, d, want, v)
            if where == "d":
                m.mount()
                for tool, (d, do, want, v) in mine:
                    check(m, other, tool, where, d, want, v)


def check(m, other, tool, where, d, want, v):
    m.ask("wait")
    other.ask("wait")
    got = {n: state(other if n.startswith("other/") else m, n[6:] if n.startswith("other/") else f"{d}/{n}", v) for n in want}
    seen = found(m, v)
    if tool == "git checkout, the file differs" and where == "b" and got == {"f": "fresh"}:
        want = got  # git was there and back before anybody looked, as while down: the same content under the same name
    fresh = sorted(f"{d}/{n}" for n, s in want.items() if s == "fresh" and not n.startswith("other/"))
    if tool == "ln":
        fresh = fresh[:1]  # one file
    eq([got, seen], [want, fresh], f"{tool}, {WHERE[where]}: " + ", ".join(f"{n} {s}" for n, s in want.items()))


def doc():
    """docs/LIFECYCLE.md has these rows and no other"""
    path = os.path.join(HERE, "../../docs/LIFECYCLE.md")
    with open(path) as f:
        said = dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", f.read(), re.M))
    eq(said, {tool: ", ".join(f"{n} {s}" for n, s in want.items()) for tool, _, want, _ in ROWS}, "docs/LIFECYCLE.md says the same")


def elsewhere(fs, mount_it):
    """DIR with its store copied by rsync -aH to another file system, and mounted there."""
    if not shutil.which("rsync"):
        return skip(f"rsync -a DIR to {fs}", "no rsync")
    base = tempfile.mkdtemp(prefix="else-")
    try:
        with Mount() as a:
            vec = {}
            for i in range(60):
                rel = f"d{i % 7}/e{i % 3}/f{i}"
                os.makedirs(a.p(os.path.dirname(rel)), exist_ok=True)
                a.write(rel, f"file number {i} about {'apples' if i % 2 else 'pears'}\n")
                vec[rel] = rand_vec(rng, 8)
                a.set_vector(rel, vec[rel])
            os.link(a.p("d0/e0/f0"), a.p("d1/hard"))
            a.wait("--durable")
            a.umount()
            os.makedirs(base + "/fs")
            if not mount_it(base):
                return skip(f"rsync -a DIR to {fs}", "it cannot be mounted here")
            run("rsync", "-aH", a.dir + "/", base + "/fs/dir", check=True)
        with Mount(base=base + "/b", start=False) as b:
            os.rmdir(b.dir)
            os.symlink(base + "/fs/dir", b.dir)
            b.dir = base + "/fs/dir"
            b.mount()
            b.wait()
            q = rand_vec(rng, 8)
            r = b.ask("search", vector=q, k=1000, exact=True)
            eq(sorted((x["path"], x["state"]) for x in r["results"]), sorted((p, "fresh") for p in vec), f"{fs}: every vector is found and fresh")
            eq([p for p in vec if b.get_vector(p) != vec[p]], [], f"{fs}: and is what it was")
            eq(len(b.ask("search", text="apples", k=100)["results"]), 30, f"{fs}: so is the text")
            b.umount()
            edited = sorted(vec)[:20]
            for p in edited:
                with open(os.path.join(b.dir, p), "w") as f:
                    f.write(f"rewritten about plums, {p}\n")
            b.mount()
            b.wait()
            r = b.ask("search", vector=q, k=1000, exact=True)
            eq(sorted(x["path"] for x in r["results"]), sorted(set(vec) - set(edited)), f"{fs}: edited while it was down: hidden")
            r = b.ask("search", vector=q, k=1000, exact=True, stale=True)
            eq(sorted(x["path"] for x in r["results"] if x["state"] == "stale"), edited, f"{fs}: stale, not lost")
            r = b.ask("search", text="plums", k=100)
            eq(sorted((x["path"], x["state"]) for x in r["results"]), [(p, "fresh") for p in edited], f"{fs}: their text is fresh again")
            b.umount()
            rc, out, err = vexfs("verify", b.dir)
            eq(rc, 0, f"{fs}: verify is clean")
    finally:
        if mounted(base + "/fs"):
            run("umount", "-l", base + "/fs")
        shutil.rmtree(base, ignore_errors=True)


def tmpfs(base):
    return run("mount", "-t", "tmpfs", "none", base + "/fs")[0] == 0


def ext4(base):
    with open(base + "/img", "wb") as f:
        f.truncate(64 << 20)
    return run("mkfs.ext4", "-q", base + "/img")[0] == 0 and run("mount", "-o", "loop", base + "/img", base + "/fs")[0] == 0


if __name__ == "__main__":
    table()
    doc()
    if ROOT:
        elsewhere("tmpfs", tmpfs)
        elsewhere("ext4", ext4)
    else:
        skip("rsync -a DIR to another file system", "only root can mount one")
    done()
