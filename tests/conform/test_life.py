#!/usr/bin/env python3
"""The mount's life: signals, a killed daemon, clients that die, a backing directory that fails, an unprivileged mount, mount(8)."""
import ctypes
import json
import mmap
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from twin import ROOT, as_user, mnt, outcome  # noqa: E402

NOBODY = pwd.getpwnam("nobody").pw_uid  # fusermount3 wants a user with a name
HELPER = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../dist/mount.fuse.vexfs"))


def put(path, data=b"x"):
    with open(path, "wb") as f:
        f.write(data)


def gone(pid, seconds=20):
    return mnt.wait_until(lambda: not mnt.alive(pid), seconds)


def signals():
    with mnt.Mount("-o", "components=none") as m:
        put(m.p("f"))
        os.kill(m.pid, signal.SIGHUP)
        os.kill(m.pid, signal.SIGPIPE)
        mnt.eq(outcome(os.listdir, m.mnt), ["f"], "SIGHUP and SIGPIPE are harmless")
        os.kill(m.pid, signal.SIGTERM)
        mnt.ok(gone(m.pid), "SIGTERM ends the daemon")
        mnt.ok(not mnt.mounted(m.mnt), "and takes the mount away")
    with mnt.Mount("-o", "components=none,transport=plain") as m:  # passed through, the file would outlive the daemon
        fd = os.open(m.p("held"), os.O_CREAT | os.O_RDWR)
        os.kill(m.pid, signal.SIGTERM)
        mnt.ok(gone(m.pid), "SIGTERM with a file open: the daemon ends all the same")
        mnt.eq(outcome(os.write, fd, b"x"), "ENOTCONN", "the file's holder is told ENOTCONN")
        outcome(os.close, fd)
        mnt.ok(not mnt.mounted(m.mnt), "no mount is left")
    with mnt.Mount("-o", "components=none") as m:
        os.kill(m.pid, signal.SIGTERM), os.kill(m.pid, signal.SIGTERM)
        mnt.ok(gone(m.pid), "a second signal at once: gone as well")


def killed():
    with mnt.Mount("-o", "components=none,transport=plain") as m:
        put(m.p("a"), b"1" * 100000)
        fd = os.open(m.p("a"), os.O_RDWR)
        os.write(fd, b"2")
        d = os.open(m.mnt, os.O_RDONLY)
        os.kill(m.pid, signal.SIGKILL)
        gone(m.pid)
        mnt.eq(outcome(os.read, fd, 10), "ENOTCONN", "killed daemon: read says ENOTCONN")
        mnt.eq(outcome(os.listdir, m.mnt), "ENOTCONN", "so does the mount point")
        mnt.eq(outcome(lambda: os.stat("a", dir_fd=d)), "ENOTCONN", "and a directory held open")
        outcome(os.close, fd), outcome(os.close, d)
        code, _, err = mnt.vexfs("mount", m.dir, m.mnt)
        mnt.ok(code and m.mnt in err, "mounting over the dead mount is refused", detail=err)
        mnt.eq(mnt.vexfs("umount", m.mnt)[0], 0, "umount takes it away")
        m.mount()
        with open(m.p("a"), "rb") as f:
            mnt.eq(f.read(3), b"211", "the next mount has the data")


def again():
    """Mounted again while the daemon before, whose mount umount(8) took away, still closes its store."""
    if not ROOT:
        return mnt.skip("umount(2) and mount at once", "needs root")
    with mnt.Mount() as m:
        put(m.p("f"), b"before")
        m.wait()
        old = m.pid
        os.kill(old, signal.SIGSTOP)
        try:
            mnt.ok(ctypes.CDLL(None, use_errno=True).umount2(os.fsencode(m.mnt), 0) == 0, "unmounted below a daemon that stands still")
            p = subprocess.Popen([mnt.VEXFS, "mount", m.dir, m.mnt], stderr=subprocess.PIPE)

            def waits():
                return p.poll() is not None or any("pidfd" in (outcome(os.readlink, f"/proc/{p.pid}/fd/{f}") or "")
                                                   for f in outcome(os.listdir, f"/proc/{p.pid}/fd"))
            mnt.ok(mnt.wait_until(waits) and p.poll() is None, "mount waits for it")
        finally:
            os.kill(old, signal.SIGCONT)
        err = p.communicate(timeout=60)[1]
        mnt.eq((p.returncode, err), (0, b""), "and mounts when it is gone")
        m.pid = m.status()["pid"]
        mnt.ok(m.pid != old and not mnt.alive(old), "a new daemon serves")
        with open(m.p("f"), "rb") as f:
            mnt.eq(f.read(), b"before", "the file is there")
        other = m.base + "/other"
        os.mkdir(other), os.mkdir(m.base + "/m")
        code, _, err = mnt.vexfs("mount", "--store", m.dir + "/.vexfs", other, m.base + "/m")
        mnt.ok(code == 2 and f"process {m.pid};" in err, "a store in use by one that serves is refused", detail=(code, err))


def another_namespace():
    """Who makes a mount namespace takes copies of all mounts: the daemon ends all the same."""
    with mnt.Mount("-o", "components=none") as m:
        p = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", "echo there; exec sleep 60"], stdout=subprocess.PIPE)
        if p.stdout.readline() != b"there\n":
            p.wait()
            return mnt.skip("umount while another namespace has the mount", "no mount namespaces here")
        code, _, err = mnt.vexfs("umount", m.mnt)
        mnt.eq(code, 0, "umount while another namespace has the mount")
        mnt.ok(not mnt.alive(m.pid), "no process is left")
        mnt.ok("namespace" in err, "and it is said", detail=err)
        p.kill()
        p.wait()


def clients():
    with mnt.Mount("-o", "components=none") as m:
        put(m.p("big"), os.urandom(1 << 20))
        for i in range(60):  # die anywhere in a request
            p = subprocess.Popen(["sh", "-c", "while :; do cat big big >c.$$; ls -lR . >/dev/null; mv c.$$ d.$$; rm -f d.$$; done"], cwd=m.mnt,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            time.sleep(0.01 + (i % 7) * 0.003)
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
        mnt.ok(mnt.alive(m.pid), "60 clients killed in the middle: the daemon lives")
        subprocess.run("rm -f c.* d.*", shell=True, cwd=m.mnt)
        mnt.eq(sorted(os.listdir(m.mnt)), ["big"], "and the mount is in order")
        fds = os.listdir(f"/proc/{m.pid}/fd")
        held = [os.readlink(f"/proc/{m.pid}/fd/{f}") for f in fds if os.path.exists(f"/proc/{m.pid}/fd/{f}")]
        mnt.ok(mnt.wait_until(lambda: not any("/c." in h or "/d." in h for h in (outcome(os.readlink, f"/proc/{m.pid}/fd/{f}") or ""
                              for f in os.listdir(f"/proc/{m.pid}/fd")))), "no file of theirs is held open", detail=held)


def absurd():
    with mnt.Mount("-o", "components=none") as m:
        import fcntl
        put(m.p("f"))
        mnt.eq(outcome(os.setxattr, m.p("f"), "user.x", b"x" * 70000), "E2BIG", "an xattr of 70,000 bytes")
        mnt.ok(outcome(os.setxattr, m.p("f"), "user." + "n" * 300, b"") in ("ERANGE", "EINVAL"), "a name of 305")
        fd = os.open(m.p("f"), os.O_RDWR)
        for cmd in (0, 0xffffffff, 0xc0005600, 0xd0005600, 0xffff56ff, 0x5401, 0x1234):
            r = outcome(fcntl.ioctl, fd, cmd, bytearray(16383))
            mnt.ok(isinstance(r, str), f"ioctl {cmd:#x} is refused ({r})")
        mnt.eq(outcome(os.pwrite, fd, b"x", 2 ** 62), "EFBIG", "a write at the end of all offsets")
        mnt.ok(outcome(os.pread, fd, 10, 2 ** 63 - 11) in (b"", "EINVAL"), "a read there")
        os.close(fd)


def backing():
    if not ROOT:
        return mnt.skip("failing backing directories", "needs root")
    base = tempfile.mkdtemp(prefix="m-")
    os.makedirs(base + "/dir")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", base + "/dir"], check=True)
    try:
        with mnt.Mount("-o", "components=none", base=base) as m:
            put(m.p("keep"), b"k" * 1000)
            fd = os.open(m.p("fill"), os.O_WRONLY | os.O_CREAT)
            r = outcome(lambda: [os.write(fd, b"z" * 65536) for _ in range(100)])
            mnt.eq(r, "ENOSPC", "a full backing file system says ENOSPC")
            os.close(fd)
            mnt.eq(outcome(lambda: open(m.p("keep"), "rb").read()), b"k" * 1000, "reading goes on")
            os.unlink(m.p("fill"))
            # the file goes with its last descriptor, the daemon's, and nobody waits for a RELEASE
            mnt.wait_until(lambda: outcome(put, m.p("again"), b"a" * 100000) is None)
            mnt.eq(os.stat(m.p("again")).st_size, 100000, "and so does writing, once there is room")
            subprocess.run(["mount", "-o", "remount,ro", base + "/dir"], check=True)
            mnt.eq(outcome(put, m.p("more")), "EROFS", "made read-only below: EROFS")
            mnt.eq(outcome(os.chmod, m.p("keep"), 0o600), "EROFS", "for chmod, too")
            mnt.eq(outcome(os.unlink, m.p("keep")), "EROFS", "and unlink")
            mnt.eq(outcome(lambda: open(m.p("keep"), "rb").read(2)), b"kk", "reading goes on")
            subprocess.run(["mount", "-o", "remount,rw", base + "/dir"], check=True)
            mnt.eq(outcome(put, m.p("more")), None, "writable again")
            m.umount()
    finally:
        subprocess.run(["umount", "-l", base + "/dir"])
    with mnt.Mount("-o", "components=none") as m:
        os.mkdir(m.p("d"))
        put(m.p("d/f"), b"deep")
        keep = os.open(m.p("d/f"), os.O_RDONLY)
        os.rename(m.dir, m.base + "/moved")
        os.symlink("/etc", m.dir)
        mnt.eq(sorted(os.listdir(m.mnt)), ["d"], "DIR replaced by a symlink: the mount stays with the directory it was given")
        mnt.eq(outcome(os.stat, m.p("passwd")), "ENOENT", "and never follows it")
        os.unlink(m.dir)
        subprocess.run(["rm", "-rf", m.base + "/moved"])
        time.sleep(0.1)
        mnt.ok(outcome(os.listdir, m.mnt) in ([], "ENOENT", "ESTALE"), "DIR removed: empty or an error")
        mnt.ok(outcome(put, m.p("x")) in ("ENOENT", "ESTALE"), "nothing can be made in it")
        mnt.eq(os.read(keep, 10), b"deep", "a file held open is still there")
        os.close(keep)
        mnt.ok(mnt.alive(m.pid), "and the daemon lives")
        os.makedirs(m.dir)
    with mnt.Mount() as m:
        for i in range(20):
            put(m.p(f"f{i}"), b"text %d" % i)
            m.set_vector(f"f{i}", [1.0, i])
        m.wait()
        mnt.eq(len(m.ask("search", vector=[1.0, 2.0], k=5)["results"]), 5, "vectors are found")
        subprocess.run(["rm", "-rf", m.dir])
        mnt.ok(mnt.wait_until(lambda: not m.ask("search", vector=[1.0, 2.0], k=5).get("results")), "DIR removed, its store as well: nothing is found any more")
        mnt.ok(outcome(put, m.p("x")) in ("ENOENT", "ESTALE"), "nothing can be made in it")
        mnt.eq(m.status()["pid"], m.pid, "status is answered")
        pid = m.pid
        m.drop_query()
        mnt.eq(mnt.vexfs("umount", m.mnt)[0], 0, "unmounted")
        mnt.ok(gone(pid), "and the daemon ends")
        os.makedirs(m.dir)


def times():
    """Access times by the mount's option, and the times of a file written by a mapping, also where the kernel passes data through."""
    for tr in ("plain", "pt"):
        with mnt.Mount("-o", f"components=none,noatime,transport={tr}") as m:
            put(m.p("a"), b"x" * 8192)
            os.utime(m.p("a"), (1000, 2000))
            with open(m.p("a"), "rb") as f:
                f.read()
                with mmap.mmap(f.fileno(), 8192, prot=mmap.PROT_READ) as mem:
                    mnt.eq(mem[:1] + mem[4096:4097], b"xx", f"{m.status()['transport']}: read, and by a mapping")
            mnt.eq([os.stat(p).st_atime for p in (m.p("a"), m.dir + "/a")], [1000, 1000], "-o noatime: neither moves the access time")
            os.utime(m.p("a"), (1000, 2000))
            with open(m.p("a"), "r+b") as f, mmap.mmap(f.fileno(), 8192) as mem:
                before = os.stat(m.p("a"))  # what the kernel might keep
                mem[0] = 65
                now = os.stat(m.p("a"))
                if m.status()["transport"] == "pt":  # else the page is the kernel's until it is written back
                    mnt.ok(now.st_mtime > 2000 and now.st_ctime_ns > before.st_ctime_ns, "a store into a shared mapping moves mtime and ctime", detail=now)
                fd = os.open(m.p("b"), os.O_CREAT | os.O_RDWR, 0o644)
                os.truncate(fd, 4096)
                os.utime(m.p("b"), (1000, 2000))
                with mmap.mmap(fd, 4096) as new:
                    os.close(fd)
                    os.stat(m.p("b"))
                    new[0] = 66
            for name in "ab":
                now = os.stat(m.p(name))
                mnt.ok(now.st_mtime > 2000 and now.st_mtime_ns == os.stat(m.dir + "/" + name).st_mtime_ns, f"{name}: moved when the mapping is gone", detail=now)
    for opt, kept in (("atime", False), ("nodiratime", True), ("noatime", True)):
        with mnt.Mount("-o", f"components=none,{opt}") as m:
            os.mkdir(m.p("d"))
            put(m.p("d/f"), b"x")
            os.utime(m.p("d"), (1000, 2000))
            os.listdir(m.p("d"))
            mnt.eq(os.stat(m.dir + "/d").st_atime == 1000, kept, f"-o {opt}: a listing {'leaves' if kept else 'moves'} the directory's access time")


def failing():
    """EIO from below: a process's memory is a file of which no page is there at offset 0."""
    if not ROOT:
        return mnt.skip("EIO from below", "needs root")
    p = subprocess.Popen(["sleep", "600"])
    base = tempfile.mkdtemp(prefix="m-")
    os.mkdir(base + "/mnt")
    try:
        for tr in ("plain", "pt"):
            code, _, err = mnt.vexfs("mount", "-o", f"components=none,transport={tr}", f"/proc/{p.pid}", base + "/mnt")
            if not mnt.eq((code, err), (0, ""), f"{tr}: a directory without file handles is mounted"):
                return
            with open(base + "/mnt/.vexfs/status") as f:
                pid = json.load(f)["pid"]
            fds = len(os.listdir(f"/proc/{pid}/fd"))
            for _ in range(50):
                fd = os.open(base + "/mnt/mem", os.O_RDWR)
                got = outcome(os.pwrite, fd, b"x", 0)
                os.close(fd)
                if got != "EIO":
                    break
            mnt.eq(got, "EIO", f"{tr}: EIO from below comes through, each time")
            mnt.eq(outcome(os.mkdir, base + "/mnt/new"), outcome(os.mkdir, f"/proc/{p.pid}/new"), f"{tr}: and what else it says")
            mnt.ok(mnt.wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= fds + 5), f"{tr}: no descriptor stays behind")
            mnt.eq(mnt.vexfs("umount", base + "/mnt")[0], 0, f"{tr}: unmounted")
    finally:
        if mnt.mounted(base + "/mnt"):
            subprocess.run(["umount", "-l", base + "/mnt"])
        p.kill()
        p.wait()
        subprocess.run(["rm", "-rf", base])


def unprivileged():
    """Mounted by another user with fusermount3."""
    if not ROOT:
        return mnt.skip("another user's mount", "needs root to become him")
    if not shutil.which("fusermount3"):
        return mnt.skip("another user's mount", "fusermount3 is not installed")
    base = tempfile.mkdtemp(prefix="m-")
    os.chmod(base, 0o755)
    exe = shutil.copy(mnt.VEXFS, base + "/vexfs")  # the build may lie where he can't go
    os.chmod(exe, 0o755)
    for d in ("dir", "mnt"):
        os.mkdir(f"{base}/{d}")
        os.chown(f"{base}/{d}", NOBODY, NOBODY)
    put(base + "/dir/his")
    os.chown(base + "/dir/his", NOBODY, NOBODY)
    mode = os.stat("/dev/fuse").st_mode & 0o777
    try:
        if mode & 0o6 != 0o6:
            os.chmod("/dev/fuse", 0o666)  # as udev has it everywhere
        run = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        p = subprocess.run([*run, exe, "mount", "-o", "components=none", base + "/dir", base + "/mnt"], capture_output=True, text=True)
        if not mnt.eq(p.returncode, 0, "an unprivileged mount") and print("#", p.stderr):
            return
        def look():
            with open(base + "/mnt/.vexfs/status") as f:
                s = json.load(f)
            out = [s["watch"], bool(s["watch_why"]), s["transport"] in ("plain", "uring"), s["pid"]]
            with open(base + "/mnt/new", "w") as f:
                f.write("mine")
            os.mkdir(base + "/mnt/d")
            os.rename(base + "/mnt/new", base + "/mnt/d/moved")
            os.link(base + "/mnt/d/moved", base + "/mnt/link")
            fd = os.open(base + "/mnt/link", os.O_RDONLY)
            os.unlink(base + "/mnt/link")
            os.unlink(base + "/mnt/d/moved")
            out += [os.read(fd, 10), os.fstat(fd).st_nlink, sorted(os.listdir(base + "/mnt")), outcome(os.chown, base + "/mnt/his", 0, 0)]
            os.symlink("his", base + "/mnt/sym")
            out += [os.path.realpath(base + "/mnt/sym").endswith("/his"), os.stat(base + "/mnt/his").st_uid]
            return out
        got = as_user(NOBODY, NOBODY, [], look)
        pid = got[3] if isinstance(got, list) else 0
        mnt.eq(got[:3] + got[4:] if isinstance(got, list) else got,
               ["none", True, True, b"mine", 0, ["d", "his"], "EPERM", True, NOBODY], "works; status says what is missing and why")
        mnt.eq(outcome(os.listdir, base + "/mnt"), "EACCES", "without allow_other even root stays out")
        deep = base + "/dir/" + "/".join(["deep"] * 60)
        os.makedirs(deep)
        subprocess.run(["chown", "-R", str(NOBODY), base + "/dir/deep"], check=True)

        def many():
            for i in range(3000):
                put(base + f"/mnt/d/n{i}", b"%d" % i)
            ok = all(open(base + f"/mnt/d/n{i}", "rb").read() == b"%d" % i for i in range(0, 3000, 7))
            with open(base + "/mnt/" + "/".join(["deep"] * 60) + "/f", "w") as f:
                f.write("x")
            return ok, len(os.listdir(base + "/mnt/d"))
        mnt.eq(as_user(NOBODY, NOBODY, [], many), (True, 3000), "3,000 files and 60 levels, reopened by name")
        fds = len(os.listdir(f"/proc/{pid}/fd")) if pid else 0
        mnt.ok(0 < fds < 1500, f"with {fds} fds")
        p = subprocess.run([*run, exe, "umount", base + "/mnt"], capture_output=True, text=True)
        if os.path.lexists("/etc/mtab"):
            mnt.eq(p.returncode, 0, "unmounted by its owner")
        else:
            mnt.ok(p.returncode == 2 and "/etc/mtab" in p.stderr, "fusermount3 finds no /etc/mtab: said", detail=p.stderr)
    finally:
        os.chmod("/dev/fuse", mode)
        if mnt.mounted(base + "/mnt"):
            subprocess.run(["umount", "-l", base + "/mnt"])
        subprocess.run(["rm", "-rf", base])


def helper():
    if not ROOT:
        return mnt.skip("mount(8)'s helper", "needs root")
    base = tempfile.mkdtemp(prefix="m-")
    os.mkdir(base + "/dir"), os.mkdir(base + "/mnt")
    env = {"VEXFS": mnt.VEXFS}
    try:
        code, _, err = mnt.run(HELPER, base + "/dir", base + "/mnt", "-s", "-o", "rw,noauto,nofail,x-systemd.automount,allow_other,components=none", env=env)
        mnt.eq((code, err), (0, ""), "mount.fuse.vexfs with fstab's options")
        mnt.ok(mnt.mounted(base + "/mnt"), "mounts")
        put(base + "/mnt/f")
        code, _, err = mnt.run(HELPER, base + "/dir", base + "/mnt", "-o", "remount,ro", env=env)
        mnt.eq(code, 0, "remount goes to the kernel")
        mnt.eq(outcome(put, base + "/mnt/g"), "EROFS", "read-only now")
        mnt.eq(mnt.run("umount", base + "/mnt")[0], 0, "plain umount takes it down")
        code, _, err = mnt.run(HELPER, base + "/dir", base + "/mnt", "-o", "nonsense", env=env)
        mnt.ok(code and "nonsense" in err and not mnt.mounted(base + "/mnt"), "an unknown option is named", detail=err)
    finally:
        if mnt.mounted(base + "/mnt"):
            subprocess.run(["umount", "-l", base + "/mnt"])
        subprocess.run(["rm", "-rf", base])


for part in (signals, killed, again, another_namespace, clients, absurd, times, backing, failing, unprivileged, helper):
    part()
mnt.done()
