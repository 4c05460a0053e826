#!/usr/bin/env python3
"""Random operation streams against a model: through the mount, behind it and while it is down, with kills.

usage: streams.py [--seed N] [--streams N] [--ops N] [--verbose]

A stream does with files and directories what programs do: creates, writes, appends, truncates, maps and changes, touches, chmods, chowns,
renames (over others, exchanging two, whole directories), links, removes, saves as editors do, copies with attributes; sets and
removes vectors; and kills the daemon now and then.  Every operation goes through the mount or, where the mount hears of that (root), by
the directory behind it; some are done while nothing is mounted, and the directory is moved away and back or replaced by a copy.

The model knows every object: its paths, its content, its vector and the content that the vector was bound to.  After each wait, exact search
through the mount must give what a brute-force walk of the model gives: the fresh objects, their distances, each by its smallest
path; with "stale" all objects that have a vector, each in its state; and as another user what that user may read.  What is found too
much is counted: stale content called fresh, ghosts (no such file), leaks (not the caller's).

A kill may take back what was not yet durable, but only from the end: what is found after it must be the model's state after some
prefix of the vector events, and that prefix must hold every event that fsync or wait --durable has acknowledged.  (A vector that a
rename hands on is written behind; only wait acknowledges it.)  File content is never allowed to differ.  After each kill `vexfs verify` must find the store clean.
"""
import argparse
import concurrent.futures
import ctypes
import json
import mmap
import os
import random
import signal
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from mnt import Mount, as_uid, cosine_distance, rand_vec, run, VEXFS  # noqa: E402

DIM = 12
UID = 54321
REPLACED = object()  # bound to content that is gone: never fresh
ROOT = os.geteuid() == 0
PACKED = "user.vexfs.packed"
libc = ctypes.CDLL(None, use_errno=True)


def exchange(a, b):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2):
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), a)


def below(p, d):
    return p == d or p.startswith(d + "/")


class Obj:
    """An inode of a regular file."""
    n = 0

    def __init__(self, content):
        Obj.n += 1
        self.id, self.content, self.mode = Obj.n, content, 0o644
        self.paths = set()
        self.vec = self.bound = self.former = None
        self.acked = 0  # events that an fsync of it acknowledges: those up to the last attribute set on it
        self.hashed = False  # the hash of what its vector is bound to is known: such content makes it fresh again
        self.hash_kept = False  # and on disk: no kill takes it back

    def fresh(self):
        return self.vec is not None and self.bound is not REPLACED and self.bound == self.content


class Stream:
    def __init__(self, seed, ops, verbose=False):
        self.rng = random.Random(seed)
        self.seed, self.ops, self.verbose = seed, ops, verbose
        self.files, self.dirs = {}, {"": 0o755}  # path -> Obj; directories -> mode
        self.log = []      # (Obj, vec, bound, late): what became of an object's vector, in order
        self.described = {}  # vector -> contents that it was set for
        self.durable = 0   # events acknowledged
        self.settled = 0   # of those that a rename causes by itself, the ones acknowledged: only a wait speaks of them
        self.trace, self.names, self.sizes = [], 0, 0
        self.behind = self.down = False
        self.count = {"kills": 0, "searches": 0, "behind": 0, "down": 0, "stale": 0, "ghosts": 0, "leaks": 0}

    def p(self, rel):
        return os.path.join(self.m.dir if self.behind or self.down else self.m.mnt, rel)

    # ---- the model's changes
    def event(self, o, vec, bound, late=False):
        """@late: what binds the vector to its content follows behind: it was set while the file was open for writing, or the file was
        touched since"""
        o.vec, o.bound, o.hashed, o.hash_kept = vec, bound, False, False
        self.log.append((o, vec, bound, late))
        if vec is not None and bound is not REPLACED:
            self.described.setdefault(tuple(vec), set()).add(bound)

    def newname(self, d=None):
        self.names += 1
        d = self.rng.choice(sorted(self.dirs)) if d is None else d
        return os.path.join(d, f"{self.rng.choice('abcxyz')}{self.names}")

    def pick(self, want=lambda o: True):
        c = sorted(p for p, o in self.files.items() if want(o))
        return self.rng.choice(c) if c else None

    def content(self):
        """Never the same twice. Behind the mount its size is new as well: there a write within one tick of the clock is told by nothing else."""
        self.sizes += self.behind or self.down
        return self.rng.randbytes(self.rng.choice([0, 10, 3000]) + self.sizes * 23) + b"#%d" % self.rng.randrange(1 << 40)

    def drop_path(self, path):
        o = self.files.pop(path)
        o.paths.discard(path)
        return o

    def add_path(self, path, o):
        self.files[path] = o
        o.paths.add(path)

    def put(self, p, data, sync=False, flags=os.O_TRUNC):
        fd = os.open(self.p(p), os.O_WRONLY | os.O_CREAT | flags, 0o644)
        try:
            os.write(fd, data)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def touched(self, o):
        """The stamp follows behind: after a kill the file may look changed, and no hash of before says it is not."""
        if o.vec is not None:
            known = o.hashed, o.hash_kept
            self.event(o, o.vec, o.bound, late=True)
            o.hashed, o.hash_kept = known

    def replaced(self, over, o):
        """o has the name of over, which is gone."""
        if over.vec is not None and o.vec is None and not self.down:
            self.event(o, over.vec, REPLACED)

    def by_name(self):
        """What the mount remembers of names: directory and name."""
        return {(os.stat(os.path.join(self.m.dir, os.path.dirname(p))).st_ino, os.path.basename(p)): o for p, o in self.files.items()}

    def inherit(self, before):
        """While the mount was down, names have changed hands: who has the name of one that is gone inherits. Of two, one does."""
        now = self.by_name()
        for o in set(before.values()):
            if o.paths or o.vec is None:
                continue
            heirs = {now[n] for n, x in before.items() if x is o and n in now and now[n].vec is None}
            for h in heirs:
                if len(heirs) == 1 or "user.vexfs.packed" in os.listxattr(self.m.p(min(h.paths))):
                    self.event(h, o.vec, REPLACED)
                    break

    # ---- operations: each does it, then changes the model
    def op_create(self):
        p, c = self.newname(), self.content()
        self.put(p, c)
        self.add_path(p, Obj(c))

    def op_write(self):
        p = self.pick()
        if p:
            c = self.content()
            self.put(p, c, sync=self.rng.random() < 0.2)
            self.files[p].content = c

    def op_append(self):
        p = self.pick()
        if p:
            c = b"+%d" % self.rng.randrange(1 << 40)
            self.put(p, c, flags=os.O_APPEND)
            self.files[p].content += c

    def op_truncate(self):
        p = self.pick(lambda o: len(o.content) > 24)  # so short that two are alike by chance: nobody could say which it is
        if p:
            o = self.files[p]
            n = self.rng.choice([len(o.content) // 2, len(o.content) + 1 + self.rng.randrange(5000)])
            new = o.content[:n] + b"\0" * (n - len(o.content))
            if new == o.bound and not o.hashed:
                return  # it describes this, but nobody knows
            os.truncate(self.p(p), n)
            o.content = new
            self.touched(o)

    def op_mmap(self):
        """Changed through a shared mapping; the descriptor is closed before or after, msync called or not."""
        p = self.pick(lambda o: o.content)
        if not p:
            return
        o = self.files[p]
        fd = os.open(self.p(p), os.O_RDWR)
        m = mmap.mmap(fd, len(o.content))
        early = self.rng.random() < 0.5
        if early:
            os.close(fd)
        new = b"%012d" % self.rng.randrange(10 ** 12)
        at = self.rng.randrange(len(o.content))
        new = new[:len(o.content) - at]
        m[at:at + len(new)] = new
        if self.rng.random() < 0.5:
            m.flush()
        m.close()
        if not early:
            os.close(fd)
        o.content = o.content[:at] + new + o.content[at + len(new):]

    def op_revert(self):
        """The content comes back that the vector describes."""
        p = self.pick(lambda o: o.vec is not None and o.hashed and o.bound is not REPLACED and not o.fresh())
        if p:
            o = self.files[p]
            self.put(p, o.bound)
            o.content = o.bound
            if not o.hash_kept:
                self.touched(o)

    def op_touch(self):
        p = self.pick()
        if p and (self.behind or self.down) and self.files[p].fresh() and not self.files[p].hashed:
            return  # another time, seen before the hash is known: nobody could say that it is the same content
        if p:
            os.utime(self.p(p))
            self.touched(self.files[p])

    def op_chmod(self):
        p = self.pick()
        if p:
            o = self.files[p]
            o.mode = self.rng.choice([0o600, 0o640, 0o644, 0o444])
            os.chmod(self.p(p), o.mode)
            self.touched(o)
        d = sorted(d for d in self.dirs if d)
        if d and self.rng.random() < 0.3:
            d = self.rng.choice(d)
            self.dirs[d] = self.rng.choice([0o755, 0o700, 0o711])
            os.chmod(self.p(d), self.dirs[d])

    def op_chown(self):
        p = self.pick()
        if p and ROOT:
            os.chown(self.p(p), -1, self.rng.choice([0, 1, 2]))
            self.touched(self.files[p])

    def op_set(self):
        p = self.pick()
        if p:
            v = rand_vec(self.rng, DIM)
            self.m.set_vector(p, v)
            self.event(self.files[p], v, self.files[p].content)
            self.files[p].acked = len(self.log)

    def op_set_open(self):
        """As tar does: the vector first, the content after, one handle."""
        p, v, c = self.newname(), rand_vec(self.rng, DIM), self.content()
        fd = os.open(self.p(p), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            self.m.set_vector(p, v)
            os.write(fd, c)
        finally:
            os.close(fd)
        o = Obj(c)
        self.add_path(p, o)
        self.event(o, v, c, late=True)
        o.acked = len(self.log)

    def op_del(self):
        p = self.pick(lambda o: o.vec is not None)
        if p:
            os.removexattr(self.m.p(p), "user.vexfs.vector")
            self.event(self.files[p], None, None)
            self.files[p].acked = len(self.log)

    def op_copy(self):
        """With attributes: before the content, as tar, or after it, as cp -a."""
        p = self.pick(lambda o: o.vec is not None)
        if not p:
            return
        self.wait()
        src, q = self.files[p], self.newname()
        packed = os.getxattr(self.m.p(p), PACKED)
        fd = os.open(self.m.p(q), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            first = self.rng.random() < 0.5
            if first:
                os.setxattr(self.m.p(q), PACKED, packed)
            os.write(fd, src.content)
            if not first:
                os.setxattr(self.m.p(q), PACKED, packed)
        finally:
            os.close(fd)
        o = Obj(src.content)
        self.add_path(q, o)
        self.event(o, src.vec, src.bound)
        o.acked = len(self.log)

    def op_rename(self):
        p = self.pick()
        if p:
            q = self.newname()
            os.rename(self.p(p), self.p(q))
            o = self.drop_path(p)
            self.add_path(q, o)
            self.left(o, p)

    def left(self, o, p):
        if o.vec is not None and not self.down:
            o.former = (self.dir_id(os.path.dirname(p)), os.path.basename(p))

    def dir_id(self, d):
        return os.stat(self.p(d)).st_ino

    def op_rename_over(self):
        p, q = self.pick(), self.pick()
        if not p or not q or self.files[p] is self.files[q]:
            return
        os.rename(self.p(p), self.p(q))
        over, o = self.drop_path(q), self.drop_path(p)
        self.add_path(q, o)
        self.left(o, p)
        if not over.paths:  # with another name left the old object keeps what it has
            self.replaced(over, o)

    def op_save(self):
        """As sed -i and many editors: a new file is written and renamed over the old one."""
        p = self.pick()
        if p:
            t, c = self.newname(os.path.dirname(p)), self.content()
            self.put(t, c)
            os.rename(self.p(t), self.p(p))
            over, o = self.drop_path(p), Obj(c)
            self.add_path(p, o)
            if not over.paths:
                self.replaced(over, o)

    def op_save_backup(self):
        """As vim: the old file is renamed, a new one written under its name, the old one removed."""
        p = self.pick(lambda o: len(o.paths) == 1)
        if p:
            b, c = p + "~", self.content()
            os.rename(self.p(p), self.p(b))
            self.put(p, c)
            os.unlink(self.p(b))
            over, o = self.drop_path(p), Obj(c)
            self.add_path(p, o)
            self.replaced(over, o)

    def op_exchange(self):
        p, q = self.pick(), self.pick()
        if not p or not q or self.files[p] is self.files[q]:
            return
        exchange(self.p(p), self.p(q))
        a, b = self.drop_path(p), self.drop_path(q)
        self.add_path(q, a)
        self.add_path(p, b)
        a.former = b.former = None
        if self.behind:  # two renames, as far as is heard of it
            self.left(a, p)
            self.left(b, q)

    def op_link(self):
        p = self.pick()
        if p:
            q = self.newname()
            os.link(self.p(p), self.p(q))
            self.add_path(q, self.files[p])

    def op_unlink(self):
        p = self.pick()
        if p:
            os.unlink(self.p(p))
            self.gone(self.drop_path(p))

    def gone(self, o):
        """Who saved by renaming has a successor under the former name."""
        if o.paths or o.vec is None or not o.former or self.down:
            return
        for p, h in self.files.items():
            if os.path.basename(p) == o.former[1] and self.dir_id(os.path.dirname(p)) == o.former[0]:
                self.replaced(o, h)

    def op_mkdir(self):
        if len(self.dirs) < 6:
            p = self.newname()
            os.mkdir(self.p(p))
            self.dirs[p] = 0o755

    def a_dir(self):
        c = sorted(d for d in self.dirs if d)
        return self.rng.choice(c) if c else None

    def move(self, p, q):
        """In the model: what is below p is below q."""
        new = lambda x: q + x[len(p):] if below(x, p) else x
        self.dirs = {new(d): mode for d, mode in self.dirs.items()}
        for x, o in [(x, self.drop_path(x)) for x in list(self.files) if below(x, p)]:
            self.add_path(new(x), o)

    def op_rename_dir(self):
        p = self.a_dir()
        if p:
            self.names += 1
            q = os.path.join(self.rng.choice([d for d in sorted(self.dirs) if not below(d, p)]), f"dir{self.names}")
            os.rename(self.p(p), self.p(q))
            self.move(p, q)

    def op_exchange_dirs(self):
        p, q = self.a_dir(), self.a_dir()
        if p and q and not below(p, q) and not below(q, p):
            exchange(self.p(p), self.p(q))
            self.move(p, "\0")
            self.move(q, p)
            self.move("\0", q)

    def op_out_and_in(self):
        """Moved out of the tree and back: what was gone for a wait is gone."""
        p = self.a_dir()
        if not p or not ROOT or self.down:
            return
        out = os.path.join(self.m.base, "out")
        back, files = [(x, self.files[x]) for x in self.files if below(x, p)], {}
        dirs = {d: mode for d, mode in self.dirs.items() if below(d, p)}
        self.side(True)
        os.rename(self.p(p), out)
        for x, o in back:
            self.drop_path(x)
        for o in sorted({o for _, o in back}, key=lambda o: o.id):
            self.gone(o)
        self.dirs = {d: mode for d, mode in self.dirs.items() if d not in dirs}
        self.check_search()
        self.names += 1
        q = f"in{self.names}"
        self.side(True)
        os.rename(out, self.p(q))
        for x, o in back:
            if not o.paths and o.id not in files:  # all of its names were inside
                files[o.id] = Obj(o.content)
                files[o.id].mode = o.mode
                if o.vec is not None:
                    self.event(o, None, None)
            self.add_path(q + x[len(p):], files.get(o.id, o))
        for d, mode in dirs.items():
            self.dirs[q + d[len(p):]] = mode

    def op_fsync(self):
        p = self.pick(lambda o: o.vec is not None)
        if p:
            fd = os.open(self.m.p(p), os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            self.durable = max(self.durable, self.files[p].acked)
            self.files[p].acked = 0

    def op_wait_durable(self):
        a = self.m.ask("wait", durable=True)
        assert "error" not in a, a
        for o in self.files.values():
            o.hashed |= o.fresh()
        self.all_kept()

    def all_kept(self):
        """Whatever was known is on disk now."""
        self.durable = self.settled = len(self.log)
        for o in self.files.values():
            o.hash_kept = o.hashed

    def op_search(self):
        self.check_search()

    FILES = {"create": 10, "write": 6, "append": 4, "truncate": 3, "mmap": 3, "revert": 3, "touch": 2, "chmod": 3, "chown": 1, "rename": 7,
             "rename_over": 4, "save": 3, "save_backup": 2, "exchange": 3, "link": 5, "unlink": 6, "mkdir": 3, "rename_dir": 4, "exchange_dirs": 1}
    OTHER = {"set": 16, "set_open": 4, "del": 3, "copy": 4, "out_and_in": 1, "fsync": 4, "wait_durable": 1, "search": 6, "remount": 1,
             "offline": 1, "kill": 2}

    # Behind the mount a vector changes hands by what is found of the names when their events are read.  Names that change hands twice before
    # that may lose it; so one of these is told before the next is done.
    HANDS = {"rename", "rename_over", "save", "save_backup", "exchange", "rename_dir", "exchange_dirs", "unlink"}

    # ---- sides
    def side(self, behind):
        """Whoever goes back to the mount waits for what it hears of the other side: the kernel's caches are as old as that."""
        if self.behind and not behind:
            self.wait()
        self.behind = behind

    def while_down(self, names):
        self.down = True
        before = self.by_name()
        for o in self.files.values():
            o.former = None
        for _ in range(self.rng.randrange(6)):
            self.count["down"] += 1
            self.one_op(self.rng.choices(names, [self.FILES[n] for n in names])[0])
        self.down = False
        return before

    def elsewhere(self):
        """The directory is moved away and back, or what is mounted from now on is a copy of it."""
        d = self.m.dir
        if self.rng.random() < 0.5:
            os.rename(d, d + ".moved")
            os.rename(d + ".moved", d)
            return
        run("cp", "-a", d, d + ".copy", check=True)
        run("rm", "-rf", d, check=True)
        os.rename(d + ".copy", d)

    def op_remount(self):
        self.m.umount()
        for o in self.files.values():
            o.former = None  # kept in memory only
        self.m.mount()
        self.all_kept()
        self.check_search()

    def op_offline(self):
        self.m.umount()
        self.all_kept()
        if self.rng.random() < 0.3:
            self.elsewhere()
            before = self.while_down(["write", "append", "truncate", "touch", "create"])  # a copy is found again by its paths
        else:
            before = self.while_down(sorted(self.FILES))
        self.m.mount()
        self.wait()
        self.inherit(before)
        self.check_search()
        self.op_wait_durable()

    def op_kill(self):
        self.count["kills"] += 1
        self.m.kill9()
        if os.path.exists(os.path.join(self.m.dir, ".vexfs")):  # else it was killed before it made one
            rc, out, err = run(VEXFS, "verify", self.m.dir)
            assert rc == 0, f"verify after a kill: status {rc}: {out} {err}"
        self.while_down(["write", "append", "rename"])
        self.m.mount()
        self.wait()
        self.recover()
        self.check_search()

    # ---- the oracle
    def wait(self):
        a = self.m.ask("wait")
        assert "error" not in a, f"wait: {a}"
        for p, o in self.files.items():
            o.hashed |= o.fresh()
            # A vector that was handed on describes what it was set for, wherever that is; whether the mount still knows is its own affair.
            if o.bound is REPLACED and o.content in self.described.get(tuple(o.vec), ()) and \
                    os.getxattr(self.m.p(p), "user.vexfs.state") == b"fresh":
                o.bound = o.content

    def readable(self, p):
        return all(self.dirs[p[:i]] & 1 for i in range(len(p)) if p[i] == "/") and self.files[p].mode & 4

    def compare(self, who, a, want, k):
        """@want: distance, path, state; best first."""
        assert "results" in a, f"search as {who}: {a}"
        got = [(r["path"], r["state"]) for r in a["results"]]
        names, dist = {p for _, p, _ in want}, [(r["distance"], r["path"], r["state"]) for r in a["results"]]
        for p, state in got:
            o = self.files.get(p)
            self.count["ghosts"] += o is None
            self.count["stale"] += o is not None and state == "fresh" and not o.fresh()
            self.count["leaks"] += o is not None and o.fresh() and p not in names
        diff = sorted({p for p, _ in got} ^ {p for _, p, _ in want[:k]} | {p for p, s in got for _, q, t in want if p == q and s != t})
        assert got == [(p, s) for _, p, s in want[:k]], \
            f"search as {who}, k={k}: {len(got)} {diff}\n" + "\n".join(self.describe(p) for p in diff) + f"\n got {dist}\nwant {want[:k]}"
        assert all(abs(r["distance"] - d) < 1e-4 for r, (d, _, _) in zip(a["results"], want)), f"distances: {a} {want}"

    def check_search(self):
        self.side(False)
        self.wait()
        q = rand_vec(self.rng, DIM)
        objs = {o for o in self.files.values() if o.vec is not None}
        if not objs:
            return  # an empty default collection is unbound: nothing to compare
        rank = lambda objs, names: sorted((cosine_distance(q, o.vec), min(names(o), key=os.fsencode), "fresh" if o.fresh() else "stale") for o in objs)
        fresh, every = rank({o for o in objs if o.fresh()}, lambda o: o.paths), rank(objs, lambda o: o.paths)
        for k, stale, want in ((5, False, fresh), (1000, False, fresh), (1000, True, every)):
            a = self.m.ask("search", vector=q, k=k, exact=True, stale=stale)
            self.compare("owner", a, want, k)
            assert a["complete"] and a["pending"] == 0, f"after a wait: complete {a['complete']}, pending {a['pending']}"
        if ROOT and self.rng.random() < 0.4:
            mine = lambda o: [p for p in o.paths if self.readable(p)]
            want = rank({o for o in objs if o.fresh() and mine(o)}, mine)
            req = json.dumps({"verb": "search", "vector": q, "k": 4, "exact": True}).encode()
            self.compare("another user", as_uid(UID, lambda: self.m.ask_anew(req)), want, 4)
        self.count["searches"] += 1
        p = self.pick()
        if p:
            assert open(self.m.p(p), "rb").read() == self.files[p].content, f"content of {p}"

    def describe(self, p):
        o = self.files.get(p)
        try:
            state = os.getxattr(self.m.p(p), "user.vexfs.state").decode()
        except OSError as e:
            state = str(e)
        return f"{p}: model {'fresh' if o and o.fresh() else 'stale' if o and o.vec else 'none'}, mount says {state}"

    def recover(self):
        """After a kill: find the prefix of events that the mount shows, and make it the model's truth."""
        live = sorted(set(self.files.values()), key=lambda o: o.id)
        seen = {}
        for o in live:
            try:
                seen[o] = tuple(self.m.get_vector(min(o.paths)))
            except OSError:
                seen[o] = None
        # A file that stands at a name of one that is gone may be its heir: what became of the names in the last second before a kill is
        # not in the catalog, and a vector is rather kept, as stale, than lost.
        gone = {tuple(e[1]) for e in self.log if e[1] is not None and e[0] not in seen}
        # (And fresh, where the content is what that vector was set for.)
        heir = {o for o in live if seen[o] in gone and (o.content in self.described.get(seen[o], ()) or
                                                        os.getxattr(self.m.p(min(o.paths)), "user.vexfs.state") == b"stale")}
        # files stay touched, also where the kill took back what happened to their vectors meanwhile
        late = {o for o, _, _, is_late in self.log[self.settled:] if is_late}
        for n in range(len(self.log), self.durable - 1, -1):
            state, before = {}, {}  # with all that renames caused, and without what nobody was told of
            for i, (o, vec, bound, _) in enumerate(self.log[:n]):
                state[o] = (vec, bound)
                if bound is not REPLACED or i < self.settled:
                    before[o] = (vec, bound)
            none = (None, None)
            value = lambda s, o: None if s.get(o, none)[0] is None else tuple(s[o][0])
            if all(seen[o] in (value(state, o), value(before, o)) or o in heir for o in live):
                for o in live:
                    if o in heir and seen[o] not in (value(state, o), value(before, o)):
                        o.vec, o.bound = list(seen[o]), REPLACED
                        continue
                    o.vec, o.bound = state.get(o, none) if seen[o] == value(state, o) else before.get(o, none)
                    if o in late and os.getxattr(self.m.p(min(o.paths)), "user.vexfs.state") == b"stale":
                        o.bound = REPLACED  # the vector was on disk, its binding not yet: honest, and hidden
                # read back from the disk; what an heir was given at this opening is written behind
                self.log = [(o, o.vec, o.bound, False) for o in sorted(live, key=lambda o: o in heir) if o.vec is not None]
                for o in live:
                    o.acked, o.hashed = 0, o.hash_kept
                self.durable = self.settled = sum(e[0] not in heir for e in self.log)
                return
        lines = [f"{sorted(o.paths)}: seen {'none' if seen[o] is None else seen[o][0]}, events "
                 f"{[(i, e[1][0] if e[1] else None) for i, e in enumerate(self.log) if e[0] is o]}" for o in live]
        raise AssertionError(f"no prefix of the {len(self.log)} events ({self.durable} acknowledged) gives what is there:\n" + "\n".join(lines))

    # ---- running
    def one_op(self, name):
        self.trace.append(("down:" if self.down else "behind:" if self.behind else "") + name)
        if self.verbose:
            print(f"# {self.seed}: {self.trace[-1]}", flush=True)
        if self.behind and name in self.HANDS:
            self.wait()
        getattr(self, "op_" + name)()

    def run(self):
        os.umask(0o022)
        names, weights = list(self.FILES | self.OTHER), list((self.FILES | self.OTHER).values())
        opts = ("-o", "allow_other") if ROOT else ()
        with Mount(*opts) as self.m:
            os.chmod(self.m.mnt, 0o755)
            watched = self.m.status()["watch"] != "none"
            for _ in range(self.ops):
                name = self.rng.choices(names, weights)[0]
                flip = self.rng.random() < 0.25
                if name in self.OTHER:
                    self.side(False)
                elif watched and flip:
                    self.side(not self.behind)
                self.count["behind"] += self.behind
                self.one_op(name)
            self.side(False)
            if not self.count["kills"]:
                self.op_kill()
            self.check_search()
            self.m.umount()
            rc, out, err = run(VEXFS, "verify", self.m.dir)
            assert rc == 0, f"verify at the end: {out} {err}"


def one(args):
    seed, ops, verbose = args
    s = Stream(seed, ops, verbose)
    try:
        s.run()
        return seed, None, s.count
    except Exception as e:
        where = "" if isinstance(e, AssertionError) else traceback.format_exc()
        return seed, f"after {len(s.trace)} operations ({' '.join(s.trace[-12:])}): {type(e).__name__}: {e}\n{where}", s.count


def main(argv=None):
    ap = argparse.ArgumentParser()
    ap.add_argument("--seed", type=int, default=int(os.environ.get("VEXFS_SEED") or 0))
    ap.add_argument("--first", type=int, default=0, help="the first stream's seed; else one by chance")
    ap.add_argument("--streams", type=int, default=200)
    ap.add_argument("--ops", type=int, default=60)
    ap.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 1))
    ap.add_argument("--verbose", action="store_true")
    a = ap.parse_args(argv)
    base = a.seed or a.first or random.SystemRandom().randrange(1 << 31)
    seeds = [a.seed] if a.seed else range(base, base + a.streams)
    print(f"# seeds {seeds[0]} to {seeds[-1]} (repeat one: streams.py --seed N --ops {a.ops})", flush=True)
    bad, total = 0, {}
    with concurrent.futures.ProcessPoolExecutor(a.jobs) as ex:
        for n, (seed, why, count) in enumerate(ex.map(one, [(x, a.ops, a.verbose) for x in seeds]), 1):
            for k, v in count.items():
                total[k] = total.get(k, 0) + v
            print(f"{'not ok' if why else 'ok'} {n} - stream of seed {seed}: {count['kills']} kills, {count['searches']} searches compared", flush=True)
            if why:
                bad += 1
                print("\n".join("#   " + l for l in why.splitlines()[:25]), flush=True)
    print(f"# {len(seeds)} streams, {bad} failed: " + ", ".join(f"{v} {k}" for k, v in total.items()))
    print(f"1..{len(seeds)}")
    return bad > 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
