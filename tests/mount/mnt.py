"""mnt.py - what the tests on a real mount share: TAP, a mount with its directory, requests, waiting.

A test makes a Mount (its own directory below $TMPDIR), and leaves nothing behind: the context manager unmounts, lazily if it must, and
ends the daemon by its pid.
"""
import array
import base64
import contextlib
import json
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

VEXFS = os.path.abspath(os.environ.get("VEXFS") or os.path.join(os.path.dirname(__file__), "../../build/vexfs"))
SANITIZED = bool(os.environ.get("VEXFS_SANITIZED"))

_n = 0
_bad = 0


def ok(good, what, *, detail=""):
    """One TAP line. @detail is shown when it fails."""
    global _n, _bad
    _n += 1
    print(f"{'ok' if good else 'not ok'} {_n} - {what}", flush=True)
    if not good:
        _bad += 1
        f = sys._getframe(1)
        while f and f.f_code.co_filename == __file__:
            f = f.f_back
        print(f"#   {os.path.basename(f.f_code.co_filename)}:{f.f_lineno} {str(detail)[:1500]}", flush=True)
    return bool(good)


def eq(got, want, what):
    return ok(got == want, what, detail=f"got {got!r}, want {want!r}")


def skip(what, why):
    global _n
    _n += 1
    print(f"ok {_n} - {what} # SKIP {why}", flush=True)


def done():
    print(f"1..{_n}", flush=True)
    sys.exit(_bad > 0)


def run(*argv, check=False, stdin=None, env=None, timeout=120, cwd=None):
    """status, stdout, stderr (text)"""
    p = subprocess.run([str(a) for a in argv], input=stdin, capture_output=True, timeout=timeout, cwd=cwd,
                       env=dict(os.environ, **env) if env else None)
    out, err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")
    if check and p.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: status {p.returncode}: {err or out}")
    return p.returncode, out, err


def vexfs(*argv, **kw):
    return run(VEXFS, *argv, **kw)


def floats(v):
    return struct.pack(f"<{len(v)}f", *v)


def unfloats(b):
    a = array.array("f")
    a.frombytes(b)
    return a.tolist()


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def rand_vec(rng, dim):
    return [f32(rng.gauss(0, 1)) for _ in range(dim)]


def cosine_distance(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return 1.0 - dot / ((sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5)


def setfattr(path, name, value):
    return run("setfattr", "-n", name, "-v", "0s" + base64.b64encode(value).decode(), path)


def wait_until(cond, seconds=30, step=0.02):
    """For what the kernel or another process does in its own time; never for the mount's own work, which `vexfs wait` waits for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if cond():
            return True
        time.sleep(step)
    return bool(cond())


def alive(pid):
    """A process whose first thread is gone lives while others do: what it had open is open still."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def mounted(path):
    with open("/proc/self/mountinfo") as f:
        return any(line.split()[4].replace("\\040", " ") == path for line in f)


def seed(default=None):
    s = int(os.environ.get("VEXFS_SEED") or default or random.SystemRandom().randrange(1 << 32))
    print(f"# seed {s} (repeat: VEXFS_SEED={s})", flush=True)
    return s


def as_uid(uid, f, gid=None, groups=()):
    """The result of f() run as another user, by JSON."""
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups(list(groups))
            os.setgid(uid if gid is None else gid)
            os.setuid(uid)
            out = f()
        except BaseException as e:  # noqa: BLE001: told to the parent
            out = repr(e)
        with os.fdopen(w, "w") as o:
            o.write(json.dumps(out))
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as i:
        data = i.read()
    os.waitpid(pid, 0)
    return json.loads(data)


def ask_at(mnt, req):
    """A request to a mount on a handle of its own, as whoever asks."""
    fd = os.open(os.path.join(mnt, ".vexfs/query"), os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(fd, req, 0)
        out = b""
        while b := os.pread(fd, 1 << 20, len(out)):
            out += b
        return json.loads(out)
    finally:
        os.close(fd)


class Mount:
    def __init__(self, *opts, start=True, base=None):
        self.base = base or tempfile.mkdtemp(prefix="m-")
        os.makedirs(self.base, exist_ok=True)
        os.chmod(self.base, 0o711)
        self.dir, self.mnt = os.path.join(self.base, "dir"), os.path.join(self.base, "mnt")
        os.makedirs(self.dir, exist_ok=True)
        os.makedirs(self.mnt, exist_ok=True)
        everywhere = os.environ.get("VEXFS_OPTS")  # such as transport=pt: for all mounts of a run; a test's own come behind and win
        self.opts, self.pid = (("-o", everywhere) if everywhere else ()) + opts, 0
        self._q = None
        if start:
            try:
                self.mount()
            except BaseException:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.drop_query()
        if mounted(self.mnt):
            with contextlib.suppress(Exception):
                vexfs("umount", self.mnt, timeout=60)
        if mounted(self.mnt):
            run("umount", "-l", self.mnt)
        if self.pid and alive(self.pid):
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
        shutil.rmtree(self.base, ignore_errors=True)

    def p(self, *rel):
        return os.path.join(self.mnt, *rel)

    def mount(self, *extra):
        run(VEXFS, "mount", self.dir, self.mnt, *self.opts, *extra, check=True)
        self.pid = self.status()["pid"]
        return self

    def drop_query(self):
        if self._q is not None:
            os.close(self._q)
            self._q = None

    def umount(self):
        self.drop_query()
        rc, _, err = run(VEXFS, "umount", self.mnt)
        if rc and "still closing" in err:  # a busy disk: it is unmounted, and the process ends in its own time
            rc = not wait_until(lambda: not alive(self.pid), 300, 0.2)
        if rc:
            raise RuntimeError(f"umount: {err}")

    def kill9(self):
        """The daemon dies, all of its threads; the dead mount is taken away."""
        self.drop_query()
        fd = os.pidfd_open(self.pid)
        try:
            os.kill(self.pid, signal.SIGKILL)
            if not select.select([fd], [], [], 30)[0]:
                raise RuntimeError(f"process {self.pid} outlives SIGKILL")
        finally:
            os.close(fd)
        run("umount", "-l", self.mnt, check=True)

    def status(self):
        with open(self.p(".vexfs/status")) as f:
            return json.load(f)

    def wait(self, *opts):
        run(VEXFS, "wait", self.mnt, *opts, check=True)

    def raw(self, req):
        """Bytes of a request to bytes of its answer, on one kept handle."""
        if self._q is None:
            self._q = os.open(self.p(".vexfs/query"), os.O_RDWR | os.O_CLOEXEC)
        at = 0
        while at < len(req):
            at += os.pwrite(self._q, req[at:at + (1 << 20)], at)
        out = b""
        while True:
            b = os.pread(self._q, 1 << 20, len(out))
            if not b:
                return out
            out += b

    def ask_anew(self, req):
        return ask_at(self.mnt, req)

    def ask(self, verb, **keys):
        return json.loads(self.raw(json.dumps({"verb": verb, **keys}).encode()))

    def set_vector(self, rel, v, coll=None):
        os.setxattr(self.p(rel), "user.vexfs.vector" + (f".{coll}" if coll else ""), floats(v))

    def get_vector(self, rel, coll=None):
        return unfloats(os.getxattr(self.p(rel), "user.vexfs.vector" + (f".{coll}" if coll else "")))

    def write(self, rel, data, sync=False):
        path = self.p(rel)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(fd, data if isinstance(data, bytes) else data.encode())
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
