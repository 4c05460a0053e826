#!/usr/bin/env python3
"""The store under faults: power cuts at every write, kill -9, errors and kills at system calls, a full disk, rot.

usage: torture.py [--small] [--only PART,...] [--client BIN] [--seed N] [--cuts N] [--kills N] [--flips N|--every-byte] [--files .hnsw,...] [--mutants] [--fs ext4,xfs]

Parts: cuts kills syscalls errors nospace flips graph mutants.  --small is what each CI run does (under three minutes on two cores).
Cuts need root, /dev/fuse, loop devices and qemu-storage-daemon; a part that cannot run here says so and counts as skipped.

Power cuts: the file system of a script's run lies on a loop device over qemu's blklogwrites driver, which records every block write
and flush in the format of dm-log-writes.  The client notes the log's length at each acknowledgement.  Replay builds the device as
it may be after a cut at entry N: everything up to the last flush, and of the writes after it all, none, or a random part (large
writes torn at sectors).  Each is mounted, the store opened and compared with what the script must have left (fault_client.c).
"""
import argparse
import concurrent.futures
import contextlib
import ctypes
import fcntl
import gzip
import mmap
import multiprocessing
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MB = 1 << 20
LIBC = ctypes.CDLL(None, use_errno=True)
MNT_DETACH = 2
PAGE = 4096
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2
SUBSETS = 2  # random parts of the unflushed writes, beside all of them, at each cut
CLONE_NEWNS, MS_REC, MS_SLAVE = 0x20000, 0x4000, 0x80000


class Skip(Exception):
    pass


def progress(what, done, want, t0):
    """a line that is written over, on a terminal only"""
    if not sys.stderr.isatty():
        return
    rate = done / max(time.monotonic() - t0, 0.001)
    left = (want - done) / rate if rate and want else 0
    print(f"\r{what}: {done} of {want}, {rate:.0f}/s, {left:.0f} s left   ", end="" if done < want else "\n", file=sys.stderr, flush=True)


class Tap:
    """A line a part; the last line is the plan."""
    n = bad = 0

    @classmethod
    def line(cls, good, text):
        cls.n += 1
        cls.bad += not good
        print(f"{'ok' if good else 'not ok'} {cls.n} - {text}", flush=True)

    @classmethod
    def skip(cls, text):
        cls.n += 1
        print(f"ok {cls.n} # SKIP {text}", flush=True)


class Room:
    """A directory in memory with everything that must be taken down again, whatever happens."""

    def __init__(self):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.dir = tempfile.mkdtemp(prefix="vexfs-torture.", dir=base)
        self.undo = []

    def path(self, name):
        return os.path.join(self.dir, name)

    def close(self):
        while self.undo:
            try:
                self.undo.pop()()
            except Exception as e:  # the rest must go as well
                print(f"# taking down: {e}", flush=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def page_runs(pages):
    """[(first byte, byte after the last)] of neighbouring pages"""
    out = []
    for p in sorted(pages):
        if out and out[-1][1] == p * PAGE:
            out[-1][1] += PAGE
        else:
            out.append([p * PAGE, (p + 1) * PAGE])
    return out


def mount(dev, at, fs, opts=""):
    if LIBC.mount(dev.encode(), at.encode(), fs.encode(), 0, opts.encode()):
        raise OSError(ctypes.get_errno(), f"mount {dev} {fs}: {os.strerror(ctypes.get_errno())}")


def own_namespace():
    """Mounts of our own: else a process that makes a namespace of its own meanwhile copies them, and keeps a file system mounted that we
    believe unmounted; the next mount of the same device would then show the old one's memory, not the disk."""
    if os.geteuid() == 0 and LIBC.unshare(CLONE_NEWNS) == 0:
        LIBC.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None)


def free_device(dev):
    """nobody holds a file system on it: what is mounted next comes from the disk"""
    try:
        os.close(os.open(dev, os.O_RDONLY | os.O_EXCL))
        return True
    except OSError:
        return False


def umount(at):
    for _ in range(200):
        if LIBC.umount2(at.encode(), 0) == 0:
            return
        time.sleep(0.01)
    LIBC.umount2(at.encode(), MNT_DETACH)


class Server:
    """One fault_client that checks stores as it is told: no process start for each of many thousand checks."""

    def __init__(self, client, log=None):
        self.client, self.log = client, log
        self.start()

    def start(self):
        """@log: a file that gets what the store says (FAULT_LOG)"""
        env = dict(os.environ, FAULT_LOG="1") if self.log else None
        self.p = subprocess.Popen([self.client, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                  bufsize=1, errors="replace", env=env)

    def ask(self, *words):
        try:
            self.p.stdin.write(" ".join(str(w) for w in words) + "\n")
            self.p.stdin.flush()
            line = self.p.stdout.readline().rstrip("\n")
        except BrokenPipeError:
            line = ""
        if line:
            return line
        status = self.p.wait()
        self.start()
        return f"bad crash: the checker ended with status {status}"

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def run(argv, **kw):
    r = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)
    if r.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {r.stdout.decode(errors='replace').strip()}")
    return r.stdout.decode(errors="replace")


def need(*tools):
    for t in tools:
        if not shutil.which(t, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            raise Skip(f"{t} is not installed")


# ---- power cuts ------------------------------------------------------------------------------------------------------------
FS = {
    # name: bytes, mkfs. xfs refuses less than 300 MB unless it takes us for its own tests.
    "ext4": (16 * MB, ["mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "256", "-J", "size=4", "-O", "^resize_inode"]),
    # Sectors of 4,096 bytes, as those of the memory disk that cuts are mounted from.
    "xfs": (32 * MB, ["mkfs.xfs", "-q", "-f", "-s", "size=4096", "-d", "agcount=1", "-l", "size=1368b"]),
}


class RamDisk:
    """A zram device: its reads and writes end in the caller, without another thread that would have to get a processor first; on a
    busy machine a cut takes a fraction of the time it takes on a loop device."""
    CONTROL = "/sys/class/zram-control/"
    BLKDISCARD = 0x1277

    def __init__(self, room, size):
        with open(self.CONTROL + "hot_add") as f:
            n = int(f.read())
        room.undo.append(lambda: self.drop(n))
        with open(f"/sys/block/zram{n}/disksize", "w") as f:
            f.write(str(size))
        self.dev, self.size = f"/dev/zram{n}", size
        self.fd = os.open(self.dev, os.O_RDWR | os.O_DIRECT)

    def drop(self, n):
        with contextlib.suppress(AttributeError, OSError):
            os.close(self.fd)
        for _ in range(200):
            try:
                with open(self.CONTROL + "hot_remove", "w") as f:
                    f.write(str(n))
                return
            except OSError:  # held for a moment by somebody who looks at block devices
                time.sleep(0.01)

    def empty(self):
        fcntl.ioctl(self.fd, self.BLKDISCARD, struct.pack("QQ", 0, self.size))

    def renew(self):
        pass


class LoopDisk:
    """A loop device over a file in memory."""

    def __init__(self, room, size):
        self.file, self.size = room.path("scratch.img"), size
        self.fd = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600)
        os.truncate(self.fd, size)
        self.dev = run(["losetup", "-f", "--show", self.file]).strip()
        room.undo.append(self.drop)

    def drop(self):
        """only while it is ours: by now the number may be another program's"""
        if self.file in subprocess.run(["losetup", "-n", "-O", "BACK-FILE", self.dev], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       text=True).stdout:
            subprocess.run(["losetup", "-d", self.dev])

    def empty(self):
        if LIBC.fallocate(self.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(self.size)):
            raise OSError(ctypes.get_errno(), "fallocate")

    def renew(self):
        self.drop()
        self.dev = run(["losetup", "-f", "--show", self.file]).strip()


class Cuts:
    def __init__(self, room, client, fs):
        need("qemu-storage-daemon", "losetup", FS[fs][1][0])
        if os.geteuid() or not os.path.exists("/dev/fuse"):
            raise Skip("power cuts need root and /dev/fuse")
        self.room, self.client, self.fs = room, client, fs
        self.size, self.mkfs = FS[fs]
        self.mnt = room.path("mnt")
        os.makedirs(self.mnt, exist_ok=True)
        self.disk = (RamDisk if os.access(RamDisk.CONTROL + "hot_add", os.R_OK) else LoopDisk)(room, self.size)
        self.opts = "nouuid" if fs == "xfs" else ""
        self.img = mmap.mmap(-1, self.size)  # what is on the medium, page-aligned
        self.records, self.records_bad, self.kept = 0, 0, None
        self.ns = {"lay": 0, "mount": 0, "check": 0, "umount": 0}

    def template(self, seed):
        """a file system with a store that was set up and closed cleanly"""
        img = self.room.path("template.img")
        if os.path.exists(img):
            return img
        with open(img, "wb") as f:
            f.truncate(self.size)
        env = dict(os.environ, TEST_DIR="x", TEST_DEV="x", QA_CHECK_FS="x")
        env["PATH"] += ":/usr/sbin:/sbin"
        run(self.mkfs + [img], env=env)
        loop = run(["losetup", "-f", "--show", img]).strip()
        try:
            mount(loop, self.mnt, self.fs, self.opts)
            try:
                run([self.client, "setup", self.mnt, str(seed)])
            finally:
                umount(self.mnt)
        finally:
            subprocess.run(["losetup", "-d", loop])
        return img

    def record(self, seed, steps):
        """a run's log of all writes, and (ops acknowledged, log entries then).  The recorder is checked before it is believed: the log
        played in full must give the disk as it is.  qemu before 8.2.1 can mix up its log when zeroes are written while another write
        runs (its commit "block/blklogwrites: Fix a bug when logging write zeroes operations")."""
        for _ in range(5):
            entries, ack = self.record_once(seed, steps)
            have = bytearray(open(self.room.path("template.img"), "rb").read())
            for off, data, _ in entries:
                if data and off + len(data) <= len(have):
                    have[off:off + len(data)] = data
            self.records += 1
            if have == open(self.room.path("disk.img"), "rb").read():
                return entries, ack
            self.records_bad += 1
            print(f"# {self.fs} seed {seed}: the recorder's log is not what the disk holds; recorded again", flush=True)
        raise RuntimeError("the recorder's log never showed what the disk holds")

    def record_once(self, seed, steps):
        template = self.template(seed)
        disk, log, exp, acks, pid = (self.room.path(n) for n in ("disk.img", "log.img", "exp.img", "acks", "qsd.pid"))
        for f in (acks, log, pid):
            if os.path.exists(f):
                os.unlink(f)
        shutil.copyfile(template, disk)
        with open(log, "wb") as f:
            f.truncate(512 * MB)
        open(exp, "wb").close()
        run(["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=b,filename={disk}", "--blockdev",
             f"driver=file,node-name=l,filename={log}", "--blockdev",
             "driver=blklogwrites,node-name=w,file=b,log=l,log-sector-size=512,log-super-update-interval=1", "--export",
             f"type=fuse,id=e,node-name=w,mountpoint={exp},writable=on", "--pidfile", pid, "--daemonize"])
        qsd = int(open(pid).read())
        loop = None
        try:
            loop = run(["losetup", "-f", "--show", exp]).strip()
            mount(loop, self.mnt, self.fs, self.opts)
            try:
                r = subprocess.run([self.client, "run", self.mnt, str(seed), str(steps), acks, log], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
                if r.returncode:
                    raise RuntimeError(f"the script itself failed ({r.returncode}): {r.stdout.decode(errors='replace')}")
            finally:
                umount(self.mnt)
        finally:
            if loop:
                subprocess.run(["losetup", "-d", loop])
            os.kill(qsd, signal.SIGTERM)
            for _ in range(500):
                if not os.path.exists(f"/proc/{qsd}") or open(f"/proc/{qsd}/stat").read().split(")")[1].split()[0] == "Z":
                    break
                time.sleep(0.01)
            subprocess.run(["umount", "-l", exp], stderr=subprocess.DEVNULL)
        raw = open(acks, "rb").read()
        ack = [struct.unpack_from("<IQ", raw, i) for i in range(0, len(raw), 12)]
        return self.entries(log), ack

    def entries(self, log):
        """[(offset, data or None, flags)] of a log"""
        out = []
        with open(log, "rb") as f:
            magic, _, n, sector = struct.unpack("<QQQI", f.read(28))
            if magic != 0x6A736677736872:
                raise RuntimeError("not a write log")
            at = sector
            for _ in range(n):
                f.seek(at)
                s, nr, flags, _ = struct.unpack("<QQQQ", f.read(32))
                at += sector
                data = None
                if flags & 4:  # discard: the data that may read back is anything; zeros here
                    data = bytes(nr * sector)
                elif nr and not flags & 8:
                    f.seek(at)
                    data = f.read(nr * sector)
                    at += nr * sector
                out.append((s * sector, data, flags))
        return out

    def lay(self, used, extra):
        """the device as it is after the cut: emptied, then written where the disk ever held something"""
        img, undo, pages = self.img, [], set(used)
        for off, data in extra:
            undo.append((off, img[off:off + len(data)]))
            img[off:off + len(data)] = data
            pages.update(range(off // PAGE, (off + len(data) + PAGE - 1) // PAGE))
        self.disk.empty()
        with memoryview(img) as view:
            for a, b in page_runs(pages):
                while a < b:
                    a += os.pwrite(self.disk.fd, view[a:b], a)
        for off, data in reversed(undo):
            img[off:off + len(data)] = data

    def check(self, server, used, extra, *ask):
        """mount the device made of what is on the medium and the writes in extra; the checker's answer"""
        t = [time.monotonic_ns()]
        for _ in range(500):
            if free_device(self.disk.dev):
                break
            time.sleep(0.01)
        else:
            raise RuntimeError(f"{self.disk.dev} stays in use: another process holds the file system of the last cut")
        self.lay(used, extra)
        t.append(time.monotonic_ns())
        for left in (2, 1, 0):
            try:
                mount(self.disk.dev, self.mnt, self.fs, self.opts)
                break
            except OSError as e:
                # loop devices are everybody's: another program may have detached ours; then we take another
                if not left:
                    return f"bad the file system itself does not mount: {e}"
                self.disk.renew()
        t.append(time.monotonic_ns())
        try:
            got = server.ask("check", self.mnt, *ask)
            t.append(time.monotonic_ns())
        finally:
            umount(self.mnt)
        t.append(time.monotonic_ns())
        for i, k in enumerate(self.ns):
            self.ns[k] += t[i + 1] - t[i]
        return got

    def evidence(self, what, used, extra, *ask):
        """a failure is looked at twice more, with the store's own log, and its disk is kept; the directory it went to"""
        self.kept = self.kept or tempfile.mkdtemp(prefix="vexfs-torture-kept.")
        name = os.path.join(self.kept, f"{self.fs}-{ask[0]}-{len(os.listdir(self.kept))}")
        self.lay(used, extra)
        with gzip.open(name + ".img.gz", "wb", 1) as f, open(self.disk.dev, "rb") as d:
            f.write(d.read(self.size))
        again = []
        with open(name + ".log", "w", encoding="utf-8") as log:
            server = Server(self.client, log)
            try:
                for _ in range(2):
                    again.append(self.check(server, used, extra, *ask))
            finally:
                server.close()
            log.write(f"{what}\nagain: {again}\n")
            for off, data in extra:
                log.write(f"unflushed: {len(data)} bytes at {off}\n")
        return f"{what}; again: {again}; kept: {name}.img.gz, .log"

    def subsets(self, pending, rng, n):
        """up to n different random parts of what is not flushed, large writes torn at sectors.  ext4 takes its superblock of 1,024 bytes at
        1,024 for written whole or not at all: torn, it does not mount (once in a thousand cuts), which says nothing about the store."""
        seen, out = {tuple((o, len(d)) for o, d in pending)}, []
        for _ in range(n):
            some = []
            for off, data in pending:
                if rng.random() < 0.5:
                    k = len(data)
                    if k > 512 and rng.random() < 0.3:  # torn
                        k = 512 * rng.randrange(1, k // 512 + 1)
                        k += 512 * (self.fs == "ext4" and off + k == 1536)
                    some.append((off, data[:k]))
            key = tuple((o, len(d)) for o, d in some)
            if key not in seen:
                seen.add(key)
                out.append(some)
        return out

    def replay(self, server, seed, steps, entries, ack, rng, limit, stop_at_first=False):
        """cuts at every entry, or `limit` of them; (cuts, [failures])"""
        base, zero = self.img, bytes(PAGE)
        base[:] = open(self.room.path("template.img"), "rb").read()
        used = {p for p in range(len(base) // PAGE) if base[p * PAGE:(p + 1) * PAGE] != zero}
        points = set(range(len(entries) + 1))
        per = 1 + SUBSETS
        if limit and len(points) * per > limit:
            points = set(rng.sample(sorted(points), max(1, limit // per)))
        pending, cuts, bad, a, fresh_state = [], 0, [], 0, True
        for n in range(len(entries) + 1):
            while a < len(ack) and ack[a][1] <= n:
                a += 1
            acked = ack[a - 1][0] if a else 0
            if n in points:
                kinds = [("all", pending)] if fresh_state else []
                fresh_state = False
                kinds += [("part", some) for some in self.subsets(pending, rng, SUBSETS)]
                for name, extra in kinds:
                    cuts += 1
                    ask = (seed, steps, acked)
                    got = self.check(server, used, extra, *ask)
                    if not got.startswith("ok"):
                        what = f"{self.fs} seed {seed} cut {n} of {len(entries)} ({name} of {len(pending)} unflushed): {got}"
                        bad.append(what if stop_at_first else self.evidence(what, used, extra, *ask))
                        if stop_at_first:
                            return cuts, bad
            if n == len(entries):
                break
            off, data, flags = entries[n]
            if data:
                pending.append((off, data))
                fresh_state = True
            if flags & 3:  # flush or FUA: what came before is on the medium (FUA promises less; ext4 and xfs flush before it)
                for o, d in pending:
                    base[o:o + len(d)] = d
                    used.update(range(o // PAGE, (o + len(d) + PAGE - 1) // PAGE))
                pending = []
        return cuts, bad

    def close(self):
        self.img.close()


def cuts_on(fs, opt, client, want, stop, seeds):
    """power cuts on one file system; (cuts, failures)"""
    room = Room()
    server = Server(client)
    c, done, bad, seed, t0 = None, 0, [], opt.seed, time.monotonic()
    rng = random.Random(opt.seed)
    try:
        c = Cuts(room, client, fs)
        while done < want and not (stop and bad):
            entries, ack = c.record(seed, opt.steps)
            n, b = c.replay(server, seed, opt.steps, entries, ack, rng, want - done, stop)
            for x in b if not stop else []:
                print(f"# {x}", flush=True)
            done += n
            bad += b
            seed += 1
            progress(f"cuts on {fs}", done, want, t0)
            if not opt.small and not stop:  # a run of hours that is stopped has still shown something
                ms = ", ".join(f"{k} {v / 1e6 / max(done, 1):.1f}" for k, v in c.ns.items())
                print(f"# {fs} seed {seed - 1}: {done} cuts, {len(bad)} failures; {c.records} records, {c.records_bad} mixed up; ms a cut: {ms}",
                      flush=True)
            if not n or (seeds and seed >= opt.seed + seeds):
                break
    finally:
        if c:
            c.close()
        server.close()
        room.close()
    return done, bad


def part_cuts(opt, client=None, limit=None, stop=False, seeds=None):
    """power cuts on each file system: one process each, or one after the other"""
    kinds = opt.fs.split(",")
    each = (limit or opt.cuts) // len(kinds)
    if opt.one:
        got = [cuts_on(fs, opt, client or opt.client, each, stop, seeds) for fs in kinds]
        return sum(g[0] for g in got), [b for g in got for b in g[1]]
    with concurrent.futures.ProcessPoolExecutor(len(kinds)) as ex:
        jobs = [ex.submit(cuts_on, fs, opt, client or opt.client, each, stop, seeds) for fs in kinds]
        try:
            got = [j.result() for j in jobs]
        except BaseException:  # the workers take down what is theirs
            for p in multiprocessing.active_children():
                p.terminate()
            raise
    return sum(g[0] for g in got), [b for g in got for b in g[1]]


# ---- kills and errors from outside -----------------------------------------------------------------------------------------
def acked_of(path):
    try:
        raw = open(path, "rb").read()
    except FileNotFoundError:
        return 0
    return struct.unpack_from("<I", raw, len(raw) // 12 * 12 - 12)[0] if len(raw) >= 12 else 0


def fresh(room, opt):
    """a store that was set up, from a copy"""
    t, d = room.path("template"), room.path("d")
    if not os.path.exists(t):
        os.makedirs(t)
        run([opt.client, "setup", t, str(opt.seed)])
    shutil.rmtree(d, ignore_errors=True)
    shutil.copytree(t, d)
    ack = room.path("ack")
    if os.path.exists(ack):
        os.unlink(ack)
    return d, ack


def part_kills(opt):
    """SIGKILL at any time; every other run goes on in what the one before left (checked in between)"""
    room, bad = Room(), []
    server = Server(opt.client)
    rng = random.Random(opt.seed + 1)
    try:
        t0 = time.monotonic()
        for i in range(opt.kills):
            if i % 100 == 99:
                progress("kills", i + 1, opt.kills, t0)
            d, ack = fresh(room, opt)
            seed = opt.seed + i % 50
            p = subprocess.Popen([opt.client, "run", d, str(seed), str(opt.steps), ack], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.03)
            p.send_signal(signal.SIGKILL)
            p.wait()
            got = server.ask("check", d, seed, opt.steps, acked_of(ack))
            if not got.startswith("ok"):
                bad.append(f"kill {i} seed {seed}: {got}")
        return opt.kills, bad
    finally:
        server.close()
        room.close()


CALLS = ["pwrite64", "fdatasync", "fsync", "ftruncate", "unlinkat", "mkdirat", "openat", "mmap"]


def part_syscalls(opt):
    """SIGKILL at the N-th call of each kind, for every N (or a sample)"""
    need("strace")
    room, bad, n = Room(), [], 0
    server = Server(opt.client)
    try:
        for call in CALLS:
            k = 1
            while True:
                d, ack = fresh(room, opt)
                r = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={k}",
                                    opt.client, "run", d, str(opt.seed), str(opt.steps), ack], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
                n += 1
                got = server.ask("check", d, opt.seed, opt.steps, acked_of(ack))
                if not got.startswith("ok"):
                    bad.append(f"kill at {call} {k}: {got}")
                if r.returncode == 0 or k > 4000:
                    break
                k += 1 if not opt.small else 1 + k // 2
        return n, bad
    finally:
        server.close()
        room.close()


def part_errors(opt):
    """an error at the N-th call: the script ends at the first op that fails; what was acknowledged is there"""
    need("strace")
    room, bad, n = Room(), [], 0
    server = Server(opt.client)
    try:
        for call in ["pwrite64", "fdatasync", "fsync", "ftruncate", "pread64", "unlinkat", "mkdirat"]:
            for err in ["EIO", "ENOSPC", "EINTR"] if not opt.small else ["EIO", "ENOSPC"]:
                if err == "EINTR" and call not in ("pwrite64", "pread64"):
                    continue
                k = 1
                while k < 4000:
                    d, ack = fresh(room, opt)
                    r = subprocess.run(["strace", "-f", "-qq", "-o", room.path("tr"), "-e", f"trace={call}", "-e",
                                        f"inject={call}:error={err}:when={k}", opt.client, "run", d, str(opt.seed), str(opt.steps), ack],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    n += 1
                    if r.returncode < 0 or 4 < r.returncode != 127:  # 127: the loader's own call was hit
                        bad.append(f"{err} at {call} {k}: the client ended with {r.returncode}")
                    got = server.ask("check", d, opt.seed, opt.steps, acked_of(ack))
                    if not got.startswith("ok"):
                        bad.append(f"{err} at {call} {k}: {got}")
                    if b"INJECTED" not in open(room.path("tr"), "rb").read():
                        break
                    k += 1 if not opt.small else 1 + k
        return n, bad
    finally:
        server.close()
        room.close()


def part_nospace(opt):
    """file systems of every small size: the script stops where there is no more room, nothing acknowledged is lost"""
    if os.geteuid():
        raise Skip("mounting a tmpfs needs root")
    room, bad, n = Room(), [], 0
    server = Server(opt.client)
    at = room.path("tmp")
    os.makedirs(at)
    try:
        base = sum(os.path.getsize(os.path.join(p, f)) for p, _, fs in os.walk(fresh(room, opt)[0]) for f in fs)
        for kib in range(base // 1024 // 4 * 4, base // 1024 + 1024, 4 if not opt.small else 64):
            mount("none", at, "tmpfs", f"size={kib}k")
            try:
                d = os.path.join(at, "d")
                ack = room.path("ack")
                if os.path.exists(ack):
                    os.unlink(ack)
                try:
                    shutil.copytree(room.path("template"), d)
                except OSError:
                    continue
                r = subprocess.run([opt.client, "run", d, str(opt.seed), str(opt.steps), ack], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
                n += 1
                if r.returncode not in (0, 3, 4):
                    bad.append(f"{kib} KiB: the client ended with {r.returncode}")
                run(["mount", "-o", f"remount,size={kib + 4096}k", at])
                got = server.ask("check", d, opt.seed, opt.steps, acked_of(ack))
                if not got.startswith("ok"):
                    bad.append(f"{kib} KiB: {got}")
            finally:
                umount(at)
        n, bad = full_and_on(opt, room, at, n, bad)
        return n, bad
    finally:
        server.close()
        room.close()


def full_and_on(opt, room, at, n, bad):
    """a disk that is full for a while: what was acknowledged before and after is there"""
    img = room.path("full.img")
    for fs in ["tmpfs"] + opt.fs.split(","):
        loop = None
        if fs == "tmpfs":
            mount("none", at, fs, "size=4m")
        else:
            if not shutil.which(FS[fs][1][0], path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
                continue
            with open(img, "wb") as f:
                f.truncate(FS[fs][0])
            env = dict(os.environ, TEST_DIR="x", TEST_DEV="x", QA_CHECK_FS="x")
            env["PATH"] += ":/usr/sbin:/sbin"
            run(FS[fs][1] + [img], env=env)
            loop = run(["losetup", "-f", "--show", img]).strip()
            mount(loop, at, fs)
        try:
            filler = os.path.join(at, "filler")
            d = os.path.join(at, "d")
            os.makedirs(d)
            with open(filler, "wb") as f:
                f.write(bytes(MB))
                os.fsync(f.fileno())
            p = subprocess.Popen([opt.client, "full", d], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            said = p.stdout.readline().strip()
            os.unlink(filler)
            os.sync()
            got = p.communicate("on\n")[0].strip() if said.startswith("full") else said
            n += 1
            print(f"# {fs}: {said}; room again: {got}", flush=True)
            if not got.startswith("ok"):
                bad.append(f"{fs} full for a while: {said}; {got}")
        finally:
            umount(at)
            if loop:
                subprocess.run(["losetup", "-d", loop])
    return n, bad


# ---- rot -------------------------------------------------------------------------------------------------------------------
def part_flips(opt):
    """bits of a closed store flipped, files cut at every 512 bytes: told, or without effect"""
    import rot
    room = Room()
    server = Server(opt.client)
    try:
        d, ack = fresh(room, opt)
        run([opt.client, "run", d, str(opt.seed), str(opt.steps), ack])
        return rot.flips(opt, d, server.ask, progress, opt.flips)
    finally:
        server.close()
        room.close()


def part_graph(opt):
    """the same with a store that has a real graph, asked through the engine: every search right, or told"""
    import rot
    room = Room()
    client = os.path.join(os.path.dirname(opt.client), "rot_client")
    server = Server(client)
    try:
        d = room.path("d")
        os.makedirs(d)
        run([client, "make", d, str(opt.seed)])
        return rot.flips(opt, d, server.ask, progress, 300 if opt.small else opt.flips)
    finally:
        server.close()
        room.close()


def part_mutants(opt):
    """every seeded durability bug must be caught by the cuts"""
    import mutants
    room = Room()
    missed, n = [], 0
    try:
        for m in mutants.MUTANTS:
            if opt.mutant and m.name not in opt.mutant.split(","):
                continue
            client = mutants.build(m, room.path(m.name))
            n += 1
            t0 = time.monotonic()
            _, bad = part_cuts(opt, client=client, limit=opt.mutant_cuts, stop=True, seeds=6)
            caught = bad[0] if bad else None
            print(f"# mutant {m.name}: {'caught: ' + caught if caught else 'MISSED'} ({time.monotonic() - t0:.0f} s)", flush=True)
            if not caught:
                missed.append(f"mutant {m.name} was not caught")
        return n, missed
    finally:
        room.close()


PARTS = {"cuts": part_cuts, "kills": part_kills, "syscalls": part_syscalls, "errors": part_errors, "nospace": part_nospace, "flips": part_flips,
         "graph": part_graph, "mutants": part_mutants}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--small", action="store_true")
    ap.add_argument("--only", default="")
    ap.add_argument("--client", default="")
    ap.add_argument("--seed", type=int, default=int(os.environ.get("VEXFS_SEED", "20261123")))
    ap.add_argument("--steps", type=int, default=60)
    ap.add_argument("--cuts", type=int, default=0)
    ap.add_argument("--kills", type=int, default=0)
    ap.add_argument("--flips", type=int, default=0)
    ap.add_argument("--every-byte", action="store_true", help="flips, graph: one bit of each byte, instead of --flips at random or all")
    ap.add_argument("--files", default="", help="flips, graph: only files whose names end so: .hnsw,.vec")
    ap.add_argument("--fs", default="ext4,xfs")
    ap.add_argument("--one", action="store_true", help="one process: the file systems one after the other")
    ap.add_argument("--mutant", default="")
    ap.add_argument("--mutant-cuts", type=int, default=3000)
    opt = ap.parse_args()
    opt.cuts = opt.cuts or (500 if opt.small else 50000)
    opt.kills = opt.kills or (100 if opt.small else 20000)
    opt.flips = opt.flips or (2000 if opt.small else 0)
    if not opt.client:
        sys.exit("torture: --client BIN: ninja -C BUILD tests/fault/fault_client tests/fault/rot_client")
    opt.client = os.path.abspath(opt.client)
    own_namespace()
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # whatever ends it, loops and mounts are taken down
        signal.signal(sig, lambda *_: sys.exit(130))
    sys.path.insert(0, HERE)
    parts = [p for p in opt.only.split(",") if p] or (["cuts", "kills", "syscalls", "errors", "nospace", "flips", "graph"] +
                                                     ([] if opt.small else ["mutants"]))
    print(f"# seed {opt.seed} (repeat: --seed {opt.seed})", flush=True)
    for name in parts:
        t0 = time.monotonic()
        try:
            n, bad = PARTS[name](opt)
        except Skip as e:
            Tap.skip(f"{name}: {e}")
            continue
        for b in bad[:20]:
            print(f"# {b}", flush=True)
        Tap.line(n > 0 and not bad, f"{name}: {n} faults, {len(bad)} failures, {time.monotonic() - t0:.0f} s")
    print(f"1..{Tap.n}")
    return 1 if Tap.bad else 0


if __name__ == "__main__":
    sys.exit(main())
