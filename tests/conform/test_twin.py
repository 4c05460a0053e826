#!/usr/bin/env python3
"""Behaviour against a native twin: one check for each thing that a public suite, or thinking, found worth one."""
import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from twin import ROOT, Twin, as_user, mnt, mode, outcome  # noqa: E402

libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
AT_FDCWD = -100


def renameat2(a, b, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags):
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))


def fallocate(fd, how, off, n):
    if libc.fallocate(fd, how, ctypes.c_long(off), ctypes.c_long(n)):
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))


def put(path, data=b"data", perm=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, perm)
    os.write(fd, data)
    os.close(fd)
    return path


def get(path):
    with open(path, "rb") as f:
        return f.read()


# ---- names -----------------------------------------------------------------------------------------------------------------------------

def names(d):
    out = []
    d = os.fsencode(d)
    rng = random.Random(1)
    tries = [b"a\nb", b"\xff\xfe\x80", b" ", b"-rf", b"*", b"\x01\x7f", "é".encode(), b"x" * 255, b"y" * 256,
             bytes(rng.choice([c for c in range(1, 256) if c != 47]) for _ in range(255))]
    for n in tries:
        out.append(outcome(lambda: put(d + b"/" + n) and get(d + b"/" + n)))
    out.append(sorted(os.listdir(d)))
    return out


def rename_flags(d):
    out = []
    put(d + "/a", b"A"), put(d + "/b", b"B")
    os.mkdir(d + "/dir")
    out.append(outcome(renameat2, d + "/a", d + "/b", NOREPLACE))
    out.append(outcome(renameat2, d + "/a", d + "/c", NOREPLACE))
    out.append(outcome(renameat2, d + "/c", d + "/dir", EXCHANGE))
    out.append([stat.S_IFMT(os.lstat(d + "/" + n).st_mode) for n in ("c", "dir")])
    out.append(outcome(renameat2, d + "/c", d + "/none", EXCHANGE))
    out.append(outcome(renameat2, d + "/b", d + "/w", WHITEOUT))
    out.append([(n, mode(d + "/" + n)) for n in sorted(os.listdir(d))])
    out.append(outcome(renameat2, d + "/w", d + "/w", NOREPLACE | EXCHANGE))
    os.mkdir(d + "/p")
    out.append(outcome(os.rename, d + "/p", d + "/p/q"))
    return out


def links(d):
    os.mkdir(d + "/x"), os.mkdir(d + "/y")
    put(d + "/x/f", b"1")
    os.link(d + "/x/f", d + "/y/g")
    put(d + "/y/g", b"22")
    out = [get(d + "/x/f"), os.stat(d + "/x/f").st_nlink, os.path.samefile(d + "/x/f", d + "/y/g")]
    os.rename(d + "/x/f", d + "/y/g")  # two links of one file: nothing happens
    out.append(sorted(os.listdir(d + "/x")))
    os.unlink(d + "/x/f")
    out += [os.stat(d + "/y/g").st_nlink, outcome(os.link, d + "/x", d + "/xx"), outcome(os.link, d + "/y/g", d + "/x/f")]
    os.symlink("y/g", d + "/s")
    os.link(d + "/s", d + "/s2", follow_symlinks=False)
    out += [os.readlink(d + "/s2"), os.lstat(d + "/s").st_nlink]
    return out


def nodes(d):
    out = []
    for i, (kind, dev) in enumerate([(stat.S_IFREG, 0), (stat.S_IFIFO, 0), (stat.S_IFSOCK, 0), (stat.S_IFCHR, os.makedev(1, 3)),
                                     (stat.S_IFBLK, os.makedev(7, 9))]):
        out.append(outcome(os.mknod, f"{d}/n{i}", kind | 0o640, dev))
        st = outcome(os.lstat, f"{d}/n{i}")
        out.append((oct(st.st_mode), st.st_rdev) if isinstance(st, os.stat_result) else st)
    s = socket.socket(socket.AF_UNIX)
    cwd = os.getcwd()
    os.chdir(d)
    s.bind("sock")
    s.listen()
    c = socket.socket(socket.AF_UNIX)
    c.connect("sock")
    os.chdir(cwd)
    out.append(mode(d + "/sock"))
    s.close(), c.close()
    return out


def tmpfile(d):
    """O_TMPFILE: no name, then one."""
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"hello")
    out = [os.fstat(fd).st_nlink, os.pread(fd, 9, 0), mode(f"/proc/self/fd/{fd}")[-3:], os.listdir(d)]

    def linkat(fd, name):
        if libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, os.fsencode(name), 0x400):
            e = ctypes.get_errno()
            raise OSError(e, os.strerror(e))
    linkat(fd, d + "/named")
    out += [os.fstat(fd).st_nlink, get(d + "/named"), os.path.samestat(os.stat(d + "/named"), os.fstat(fd))]
    os.close(fd)
    fd = os.open(d, os.O_TMPFILE | os.O_WRONLY | os.O_EXCL, 0o600)
    out.append(outcome(linkat, fd, d + "/no"))
    os.close(fd)
    return out + [os.listdir(d), outcome(os.open, d, os.O_TMPFILE | os.O_RDONLY)]


# ---- ownership, modes --------------------------------------------------------------------------------------------------------------------

def owners(d):
    def make(d):
        os.umask(0o026)
        put(d + "/f", perm=0o666)
        os.mkdir(d + "/d", 0o777)
        os.symlink("f", d + "/l")
        os.mkfifo(d + "/p", 0o666)
        return [(mode(d + "/" + n), os.lstat(d + "/" + n).st_uid, os.lstat(d + "/" + n).st_gid) for n in ("f", "d", "l", "p")]
    out = [as_user(40001, 40002, [], make, d)]
    os.chmod(d, 0o2777)
    os.chown(d, 0, 40003)
    os.mkdir(d + "/sub")
    os.chmod(d + "/sub", 0o2777)
    out.append(as_user(40001, 40002, [], make, d + "/sub"))

    def sgid_file(d):
        fd = os.open(d + "/sg", os.O_CREAT | os.O_WRONLY, 0o2775)
        os.close(fd)
        return mode(d + "/sg")
    out.append(as_user(40001, 40002, [], sgid_file, d + "/sub"))
    os.mkdir(d + "/grp")
    os.chown(d + "/grp", 0, 40009)
    os.chmod(d + "/grp", 0o770)
    out.append(as_user(40001, 40002, [40009], make, d + "/grp"))  # may write by a supplementary group only
    out.append(as_user(40001, 40002, [], make, d + "/grp"))
    return out


def suid(d):
    """Who writes loses suid and sgid, by each way of writing."""
    def by_write(p):
        fd = os.open(p, os.O_WRONLY)
        os.write(fd, b"x")
        os.close(fd)

    def by_trunc(p):
        os.truncate(p, 1)

    def by_open(p):
        os.close(os.open(p, os.O_WRONLY | os.O_TRUNC))

    def by_falloc(p):
        fd = os.open(p, os.O_WRONLY)
        fallocate(fd, 0, 0, 8192)
        os.close(fd)

    def by_punch(p):
        fd = os.open(p, os.O_WRONLY)
        fallocate(fd, 3, 0, 4096)
        os.close(fd)

    def by_append(p):
        fd = os.open(p, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"x")
        os.close(fd)

    def by_direct(p):
        fd = os.open(p, os.O_WRONLY | os.O_DIRECT)
        m = mmap.mmap(-1, 4096)
        os.write(fd, m)
        os.close(fd)

    out = []
    for perm in (0o4777, 0o2777, 0o6777, 0o2767, 0o6666, 0o777):
        for i, how in enumerate((by_write, by_trunc, by_open, by_falloc, by_punch, by_append, by_direct)):
            for uid, groups in ((40001, []), (40001, [40005]), (0, [])):
                p = put(f"{d}/s{perm:o}-{i}-{uid}-{len(groups)}", b"z" * 8192)
                os.chown(p, 40001, 40005)
                os.chmod(p, perm)
                r = as_user(uid, 40002 if uid else 0, groups, how, p) if uid else outcome(how, p)
                out.append((f"{perm:o}", how.__name__, uid, groups, r, mode(p)))
    for perm in (0o6777, 0o2767):
        p = put(f"{d}/c{perm:o}")
        os.chown(p, 40001, 40005)
        os.chmod(p, perm)
        out.append((as_user(40001, 40002, [40005], os.chown, p, -1, 40002), mode(p)))
        out.append((as_user(40001, 40002, [], os.chmod, p, perm), mode(p)))
    return out


def acl_sgid(d):
    """An ACL set by a stranger to the group takes the setgid bit (xfstests generic/375)."""
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i) for t, p, i in
                                          [(1, 7, 0xffffffff), (4, 7, 0xffffffff), (0x20, 7, 0xffffffff)])
    out = []
    for groups in ([], [40005]):
        p = put(f"{d}/f{len(groups)}")
        os.chown(p, 40001, 40005)
        os.chmod(p, 0o2775)
        out.append((as_user(40001, 40002, groups, os.setxattr, p, "system.posix_acl_access", acl), mode(p)))
    return out


def default_acl(d):
    """With a default ACL the umask does not count."""
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i) for t, p, i in
                                          [(1, 7, 0xffffffff), (2, 6, 40077), (4, 5, 0xffffffff), (0x10, 7, 0xffffffff), (0x20, 0, 0xffffffff)])
    os.setxattr(d, "system.posix_acl_default", acl)
    old = os.umask(0o077)
    put(d + "/f", perm=0o666)
    os.mkdir(d + "/d", 0o777)
    os.umask(old)
    return [mode(d + "/f"), mode(d + "/d"), os.getxattr(d + "/f", "system.posix_acl_access"), os.getxattr(d + "/d", "system.posix_acl_default"),
            as_user(40077, 40078, [], os.access, d + "/f", os.W_OK), as_user(40079, 40078, [], os.access, d + "/f", os.R_OK)]


def append_only(d):
    """A file made append-only behind the mount still opens for appending (generic/079)."""
    p = put(d + "/a", b"1")
    back = "/dir/".join(os.path.realpath(p).rsplit("/mnt/", 1))
    if subprocess.run(["chattr", "+a", back], stderr=subprocess.DEVNULL).returncode:
        return "no chattr"
    try:
        time.sleep(0.05)
        fd = os.open(p, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"2")
        os.close(fd)
        return [outcome(os.open, p, os.O_WRONLY), outcome(os.truncate, p, 0), outcome(os.unlink, p), get(p)]
    finally:
        subprocess.run(["chattr", "-a", back])


# ---- data --------------------------------------------------------------------------------------------------------------------------------

def offsets(d):
    fd = os.open(d + "/big", os.O_RDWR | os.O_CREAT)
    out = []
    for off in (0, 1 << 31, (1 << 32) + 5, (1 << 40) + 7):
        os.pwrite(fd, b"%d" % off, off)
    for off in (0, 1 << 31, (1 << 32) + 5, (1 << 40) + 7):
        out.append(os.pread(fd, 20, off))
    out.append(os.fstat(fd).st_size)
    out.append([os.lseek(fd, at, how) for at, how in ((10000, os.SEEK_DATA), (0, os.SEEK_HOLE), ((1 << 32) + 5, os.SEEK_HOLE))])
    out.append(outcome(os.lseek, fd, 1 << 41, os.SEEK_DATA))
    fallocate(fd, 3, 0, 1 << 31)
    out.append([os.pread(fd, 4, 0), os.fstat(fd).st_size, os.lseek(fd, 0, os.SEEK_DATA)])
    out.append(outcome(os.pwrite, fd, b"x", (1 << 62)))
    out.append(outcome(os.ftruncate, fd, 3))
    out.append(os.fstat(fd).st_size)
    os.close(fd)
    return out


def maps(d):
    p = put(d + "/m", b"." * 10000)
    fd = os.open(p, os.O_RDWR)
    s = mmap.mmap(fd, 10000)
    c = mmap.mmap(fd, 10000, access=mmap.ACCESS_COPY)
    s[5000:5004] = b"MMAP"
    c[0:4] = b"PRIV"
    out = [os.pread(fd, 4, 5000), os.pread(fd, 4, 0)]
    os.pwrite(fd, b"PWRITE", 9000)
    out.append(s[9000:9006])
    s.flush()
    out.append(get(p)[4998:5006])
    os.unlink(p)
    s[0:3] = b"end"
    out += [os.pread(fd, 3, 0), os.fstat(fd).st_nlink]
    s.close(), c.close()
    os.close(fd)
    return out


def unlinked(d):
    out = []
    p = put(d + "/u", b"0123456789")
    fd = os.open(p, os.O_RDWR)
    os.unlink(p)
    os.pwrite(fd, b"AB", 3)
    out += [os.pread(fd, 20, 0), os.fstat(fd).st_nlink, os.fstat(fd).st_size]
    os.ftruncate(fd, 4)
    os.fchmod(fd, 0o600)
    os.futimens(fd, (1, 2)) if hasattr(os, "futimens") else os.utime(fd, (1, 2))
    out += [os.pread(fd, 20, 0), oct(os.fstat(fd).st_mode), os.fstat(fd).st_mtime]
    put(p, b"new")
    out += [os.pread(fd, 20, 0), get(p)]
    os.close(fd)
    put(d + "/o", b"path")
    fd = os.open(d + "/o", os.O_PATH)
    put(d + "/o2", b"over")
    os.rename(d + "/o2", d + "/o")
    out += [os.fstat(fd).st_nlink, os.fstat(fd).st_size, get(f"/proc/self/fd/{fd}")]
    os.close(fd)
    os.mkdir(d + "/rd")
    fd = os.open(d + "/rd", os.O_RDONLY)
    os.rmdir(d + "/rd")
    out += [outcome(os.listdir, fd), os.fstat(fd).st_nlink, outcome(os.mkdir, f"/proc/self/fd/{fd}/x")]
    os.close(fd)
    return out


def direct(d):
    fd = os.open(d + "/d", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    m = mmap.mmap(-1, 8192)
    m[:] = bytes(range(256)) * 32
    out = [os.write(fd, m), os.fstat(fd).st_size, get(d + "/d") == m[:]]
    b = os.open(d + "/d", os.O_RDWR)
    os.pread(b, 8192, 0)
    m[:] = b"D" * 8192
    os.pwrite(fd, m, 0)
    out.append(os.pread(b, 8, 0))  # buffered after direct (generic/451)
    os.pwrite(b, b"buff", 0)
    r = mmap.mmap(-1, 4096)
    os.preadv(fd, [r], 0)
    out.append(r[:8])
    os.close(fd), os.close(b)
    return out


def append(d):
    def child(k):
        pid = os.fork()
        if pid == 0:
            fd = os.open(d + "/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            for i in range(200):
                os.write(fd, b"%d:%03d\n" % (k, i))
            os._exit(0)
        return pid
    for pid in [child(k) for k in range(4)]:
        os.waitpid(pid, 0)
    lines = get(d + "/log").split()
    per = [[ln for ln in lines if ln.startswith(b"%d:" % k)] for k in range(4)]
    return [len(lines), [p == sorted(p) for p in per]]


def copies(d):
    put(d + "/a", bytes(range(256)) * 400)
    a, b = os.open(d + "/a", os.O_RDONLY), os.open(d + "/b", os.O_RDWR | os.O_CREAT)
    out = [os.copy_file_range(a, b, 100000, 100, 50), os.copy_file_range(a, b, 10 ** 9, 102390, 0), os.fstat(b).st_size]
    out.append(outcome(os.copy_file_range, a, a, 100, 0, 50))
    out.append(os.sendfile(b, a, 0, 1000))
    os.close(a), os.close(b)
    return out + [get(d + "/b")]


def times(d):
    p = put(d + "/t")
    os.utime(p, ns=(123456789, 4102444800 * 10 ** 9 + 7))
    out = [os.stat(p).st_atime_ns, os.stat(p).st_mtime_ns]
    os.utime(p, ns=(-5 * 10 ** 9, 2 ** 33 * 10 ** 9))
    out += [os.stat(p).st_atime_ns, os.stat(p).st_mtime_ns]
    before = os.stat(p).st_ctime_ns
    time.sleep(0.02)
    os.chmod(p, 0o600)
    out.append(os.stat(p).st_ctime_ns > before)
    m = os.stat(d).st_mtime_ns
    time.sleep(0.02)
    put(d + "/t2")
    out.append(os.stat(d).st_mtime_ns > m)
    os.symlink("x", d + "/l")
    os.utime(d + "/l", ns=(9, 9), follow_symlinks=False)
    out.append(os.lstat(d + "/l").st_mtime_ns)
    return out


def xattrs(d):
    p = put(d + "/x")
    out = []
    for n, v in (("user.a", b""), ("user.b", b"x" * 2000), ("trusted.c", b"t"), ("user.n" + "n" * 249, b"v"), ("user.m" + "m" * 250, b"v"),
                 ("user.big", b"x" * 65537), ("bad.ns", b"")):
        out.append(outcome(os.setxattr, p, n, v))
    out.append(sorted(os.listxattr(p)))
    out.append(as_user(40001, 40001, [], os.listxattr, p))
    out += [os.getxattr(p, "user.b"), outcome(os.getxattr, p, "user.zz"), outcome(os.setxattr, p, "user.a", b"1", os.XATTR_CREATE),
            outcome(os.setxattr, p, "user.q", b"1", os.XATTR_REPLACE), outcome(os.removexattr, p, "user.q")]
    os.symlink("x", d + "/l")
    out += [outcome(lambda: os.setxattr(d + "/l", "trusted.l", b"L", follow_symlinks=False)),
            outcome(lambda: os.getxattr(d + "/l", "trusted.l", follow_symlinks=False)), outcome(os.getxattr, p, "trusted.l"),
            outcome(lambda: os.setxattr(d + "/l", "user.l", b"L", follow_symlinks=False))]
    # as many as the file system below has room for (xfstests 020), and not one of them lost or made up
    p = put(d + "/many")
    for i in range(1100):
        r = outcome(os.setxattr, p, f"user.attribute_{i}", b"value_%d" % i)
        if r is not None:
            break
    got = {n: os.getxattr(p, n) for n in os.listxattr(p)}
    out += [i, r, got == {f"user.attribute_{k}": b"value_%d" % k for k in range(i + (r is None))}]
    for n in got:
        os.removexattr(p, n)
    return out + [os.listxattr(p)]


# ---- locks -----------------------------------------------------------------------------------------------------------------------------

F_OFD_SETLK = 37


def locks(d):
    p = put(d + "/lock", b"x" * 100)
    out = []
    a, b = os.open(p, os.O_RDWR), os.open(p, os.O_RDWR)

    def child(fn):
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            fd = os.open(p, os.O_RDWR)
            os.write(w, repr(outcome(fn, fd)).encode())
            os._exit(0)
        os.close(w)
        s = os.read(r, 4096).decode()
        os.close(r)
        os.waitpid(pid, 0)
        return s

    fcntl.lockf(a, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    out.append(child(lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5)))
    out.append(child(lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 10)))
    out.append(outcome(fcntl.lockf, b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0))  # the same process: no conflict
    me = os.getpid()

    def whose(fd):
        f = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        t, _, s, n, pid = struct.unpack("hhqqi4x", f)
        return t, s, n, pid == me
    out.append(child(whose))
    os.close(b)  # any close drops the process's locks
    out.append(child(lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)))
    fcntl.flock(a, fcntl.LOCK_EX)
    out.append(child(lambda fd: fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)))
    fcntl.flock(a, fcntl.LOCK_UN)
    out.append(child(lambda fd: fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)))
    ofd = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    c = os.open(p, os.O_RDWR)
    out.append(outcome(fcntl.fcntl, a, F_OFD_SETLK, ofd) == ofd)
    out.append(outcome(fcntl.fcntl, c, F_OFD_SETLK, ofd))  # another open file, the same process: a conflict
    os.close(a)
    out.append(outcome(fcntl.fcntl, c, F_OFD_SETLK, ofd) == ofd)
    os.close(c)
    return out


def stopped_holder(d):
    """A client stopped while it holds a lock: others are told so, waiters wake when it goes."""
    p = put(d + "/lock")
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        fd = os.open(p, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        os.write(w, b"!")
        signal.pause()
        os._exit(0)
    os.read(r, 1)
    os.kill(pid, signal.SIGSTOP)
    fd = os.open(p, os.O_RDWR)
    out = [outcome(fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB), os.pread(fd, 4, 0)]
    got = []
    t = threading.Thread(target=lambda: (fcntl.lockf(fd, fcntl.LOCK_EX), got.append(1)))
    t.start()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    t.join(10)
    out.append(got)
    os.close(fd), os.close(r), os.close(w)
    return out


def deadlock(d):
    """Two lockers in a circle: one is told EDEADLK."""
    p = put(d + "/lock", b"xx")
    r1, w1 = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        fd = os.open(p, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
        os.write(w1, b"!")
        rc = outcome(fcntl.lockf, fd, fcntl.LOCK_EX, 1, 0)
        os._exit(1 if rc == "EDEADLK" else 0)
    fd = os.open(p, os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
    os.read(r1, 1)
    signal.alarm(10)
    rc = outcome(fcntl.lockf, fd, fcntl.LOCK_EX, 1, 1)
    signal.alarm(0)
    os.close(fd)
    st = os.waitpid(pid, 0)[1]
    os.close(r1), os.close(w1)
    return (rc == "EDEADLK") + os.waitstatus_to_exitcode(st)


# ---- directories ---------------------------------------------------------------------------------------------------------------------------

def replace(d):
    """rename over a file while others read it: never missing, never half."""
    put(d + "/cur", b"0" * 5000)
    stop, bad, reads = [], [], [0]

    def reader():
        while not stop:
            try:
                b = get(d + "/cur")
                if len(b) != 5000 or len(set(b)) != 1:
                    bad.append(len(b))
                reads[0] += 1
            except OSError as e:
                bad.append(e.errno)
    ts = [threading.Thread(target=reader) for _ in range(2)]
    [t.start() for t in ts]
    for i in range(300):
        put(d + "/new", b"%d" % (i % 10) * 5000)
        os.rename(d + "/new", d + "/cur")
    stop.append(1)
    [t.join() for t in ts]
    return bad, reads[0] > 0, sorted(os.listdir(d))


def dir_changes(d):
    for i in range(2000):
        put(f"{d}/f{i:04}", b"")
    seen = []
    with os.scandir(d) as it:
        for e in it:
            seen.append(e.name)
            os.unlink(e.path)
            put(f"{d}/new{len(seen):05}", b"") if len(seen) < 50 else None
    first = [n for n in seen if n.startswith("f")]
    return len(first), len(set(first)), [n for n in os.listdir(d) if n.startswith("f")]


def denied(d):
    os.mkdir(d + "/priv", 0o700)
    put(d + "/priv/f")
    put(d + "/ro", perm=0o444)
    os.mkdir(d + "/sticky")
    os.chmod(d + "/sticky", 0o1777)
    put(d + "/sticky/f")

    def tries():
        return [outcome(os.listdir, d + "/priv"), outcome(os.stat, d + "/priv/f"), outcome(os.open, d + "/ro", os.O_WRONLY), outcome(os.unlink, d + "/sticky/f"),
                outcome(os.chmod, d + "/ro", 0o777), outcome(os.chown, d + "/ro", 1, 1), outcome(os.truncate, d + "/ro", 0),
                outcome(os.utime, d + "/ro", (1, 1)), outcome(os.mknod, d + "/dev", stat.S_IFCHR, os.makedev(1, 3)),
                outcome(os.setxattr, d + "/ro", "user.x", b""), outcome(os.rename, d + "/sticky/f", d + "/sticky/g")]
    return as_user(40001, 40001, [], tries)


def main():
    with mnt.Mount("-o", "allow_other,dev,suid,components=" + (sys.argv[1] if len(sys.argv) > 1 else "none")) as m:
        t = Twin(m)
        os.umask(0o022)
        for fn in (names, rename_flags, links, tmpfile, offsets, maps, unlinked, append, copies, times, replace, dir_changes, locks, stopped_holder, deadlock):
            t.same(fn.__doc__.strip().split("\n")[0] if fn.__doc__ else fn.__name__, fn)
        t.same("direct I/O beside buffered", direct)
        for fn in (nodes, owners, suid, acl_sgid, default_acl, append_only, xattrs, denied):
            if ROOT:
                t.same(fn.__doc__.strip().split("\n")[0] if fn.__doc__ else fn.__name__, fn)
            else:
                mnt.skip(fn.__name__, "needs root")
    mnt.done()


main()
