"""twin.py - the same script run in a native directory and through the mount; what comes back must be equal.

A script is a function of a directory.  It returns anything comparable; an OSError it lets through counts as its errno.  as_user runs a
function in a child with another uid, gid and groups and brings its result back.
"""
import errno
import os
import pickle
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../mount"))
import mnt  # noqa: E402

ROOT = os.geteuid() == 0


def outcome(fn, *args):
    try:
        return fn(*args)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)


def as_user(uid, gid, groups, fn, *args):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(r)
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            out = outcome(fn, *args)
        except BaseException as e:  # the child must not return into the parent's code
            out = f"died: {e!r}"
        with os.fdopen(w, "wb") as f:
            pickle.dump(out, f)
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        data = f.read()
    os.waitpid(pid, 0)
    return pickle.loads(data) if data else "died"


class Twin:
    """A mount and a native directory on the same file system, emptied between scripts by using fresh subdirectories."""

    def __init__(self, m):
        self.m = m
        self.native = os.path.join(m.base, "native")
        os.makedirs(self.native, exist_ok=True)
        os.chmod(self.native, 0o755)
        self.n = 0

    def same(self, what, fn, *, settle=None):
        self.n += 1
        name = f"t{self.n}"
        a, b = os.path.join(self.native, name), self.m.p(name)
        for d in (a, b):
            os.mkdir(d)
            os.chmod(d, 0o777)
        want, got = outcome(fn, a), outcome(fn, b)
        return mnt.ok(got == want, what, detail=f"mount {got!r}, native {want!r}")


def mode(path):
    return oct(os.lstat(path).st_mode)


def temp(m):
    return tempfile.mkdtemp(dir=m.base)
