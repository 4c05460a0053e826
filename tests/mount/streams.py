#!/usr/bin/env python3
"""Random operation streams against a model, with kills.

usage: streams.py [--seed N] [--streams N] [--ops N] [--verbose]

A stream creates, writes, renames, links and removes files and directories on a mount, sets and removes vectors, and kills the daemon now
and then.  The model knows every object: its paths, its content, its vector and the content that the vector was bound to.  After each
wait, exact search through the mount must give what a brute-force walk of the model gives: the fresh objects, their distances, each by
its smallest path.

A kill may take back what was not yet durable, but only from the end: what is found after it must be the model's state after some
prefix of the vector events, and that prefix must hold every event that fsync or wait --durable has acknowledged.  (A vector that a
rename hands on is written behind; only wait acknowledges it.)  File content is never allowed to differ.  After each kill `vexfs verify` must find the store clean.
"""
import argparse
import concurrent.futures
import os
import random
import signal
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from mnt import Mount, cosine_distance, rand_vec, run, VEXFS  # noqa: E402

DIM = 12
REPLACED = object()  # bound to content that is gone: never fresh


class Obj:
    """An inode of a regular file."""
    n = 0

    def __init__(self, content):
        Obj.n += 1
        self.id, self.content = Obj.n, content
        self.paths = set()
        self.vec = self.bound = None

    def fresh(self):
        return self.vec is not None and self.bound is not REPLACED and self.bound == self.content


class Stream:
    def __init__(self, seed, ops, verbose=False):
        self.rng = random.Random(seed)
        self.seed, self.ops, self.verbose = seed, ops, verbose
        self.files, self.dirs = {}, {""}  # path -> Obj; directories
        self.log = []      # (Obj, vec, bound, late): what became of an object's vector, in order
        self.durable = 0   # events acknowledged
        self.settled = 0   # of those that a rename causes by itself, the ones acknowledged: only a wait speaks of them
        self.trace, self.kills, self.searches, self.names = [], 0, 0, 0

    # ---- the model's changes
    def event(self, o, vec, bound, late=False):
        """@late: what binds the vector to its content follows behind: it was set while the file was open for writing, or the file was
        touched since"""
        o.vec, o.bound = vec, bound
        self.log.append((o, vec, bound, late))

    def newname(self):
        self.names += 1
        d = self.rng.choice(sorted(self.dirs))
        return os.path.join(d, f"{self.rng.choice('abcxyz')}{self.names}")

    def pick(self, want=lambda o: True):
        c = sorted(p for p, o in self.files.items() if want(o))
        return self.rng.choice(c) if c else None

    def content(self):
        return self.rng.randbytes(self.rng.choice([0, 10, 3000])) + b"#%d" % self.rng.randrange(1 << 40)

    def drop_path(self, path):
        o = self.files.pop(path)
        o.paths.discard(path)
        return o

    def add_path(self, path, o):
        self.files[path] = o
        o.paths.add(path)

    # ---- operations: each does it on the mount, then in the model
    def op_create(self):
        p, c = self.newname(), self.content()
        self.m.write(p, c)
        self.add_path(p, Obj(c))

    def op_write(self):
        p = self.pick()
        if p:
            c = self.content()
            self.m.write(p, c, sync=self.rng.random() < 0.2)
            self.files[p].content = c

    def op_append(self):
        p = self.pick()
        if p:
            c = b"+%d" % self.rng.randrange(1 << 40)
            with open(self.m.p(p), "ab") as f:
                f.write(c)
            self.files[p].content += c

    def op_touch(self):
        p = self.pick()
        if p:
            self.rng.choice([lambda: os.utime(self.m.p(p)), lambda: os.chmod(self.m.p(p), 0o640)])()
            o = self.files[p]
            if o.vec is not None:  # the stamp follows behind: after a kill the file may look changed, and no hash of before says it is not
                self.event(o, o.vec, o.bound, late=True)

    def op_set(self):
        p = self.pick()
        if p:
            v = rand_vec(self.rng, DIM)
            self.m.set_vector(p, v)
            self.event(self.files[p], v, self.files[p].content)

    def op_set_open(self):
        """As tar does: the vector first, the content after, one handle."""
        p, v, c = self.newname(), rand_vec(self.rng, DIM), self.content()
        fd = os.open(self.m.p(p), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            self.m.set_vector(p, v)
            os.write(fd, c)
        finally:
            os.close(fd)
        o = Obj(c)
        self.add_path(p, o)
        self.event(o, v, c, late=True)

    def op_del(self):
        p = self.pick(lambda o: o.vec is not None)
        if p:
            os.removexattr(self.m.p(p), "user.vexfs.vector")
            self.event(self.files[p], None, None)

    def op_rename(self):
        p = self.pick()
        if p:
            q = self.newname()
            os.rename(self.m.p(p), self.m.p(q))
            self.add_path(q, self.drop_path(p))

    def op_rename_over(self):
        p, q = self.pick(), self.pick()
        if not p or not q or self.files[p] is self.files[q]:
            return
        os.rename(self.m.p(p), self.m.p(q))
        over, o = self.drop_path(q), self.drop_path(p)
        self.add_path(q, o)
        if over.vec is not None and o.vec is None and not over.paths:  # with another name left the old object keeps what it has
            self.event(o, over.vec, REPLACED)

    def op_link(self):
        p = self.pick()
        if p:
            q = self.newname()
            os.link(self.m.p(p), self.m.p(q))
            self.add_path(q, self.files[p])

    def op_unlink(self):
        p = self.pick()
        if p:
            os.unlink(self.m.p(p))
            self.drop_path(p)

    def op_mkdir(self):
        if len(self.dirs) < 6:
            p = self.newname()
            os.mkdir(self.m.p(p))
            self.dirs.add(p)

    def op_rename_dir(self):
        c = sorted(self.dirs - {""})
        if not c:
            return
        p = self.rng.choice(c)
        self.names += 1
        q = os.path.join(self.rng.choice([d for d in sorted(self.dirs) if d != p and not d.startswith(p + "/")]), f"dir{self.names}")
        os.rename(self.m.p(p), self.m.p(q))
        move = lambda x: q + x[len(p):] if x == p or x.startswith(p + "/") else x
        self.dirs = {move(d) for d in self.dirs}
        for x in [x for x in self.files if x.startswith(p + "/")]:
            self.add_path(move(x), self.drop_path(x))

    def op_fsync(self):
        p = self.pick(lambda o: o.vec is not None)
        if p:
            fd = os.open(self.m.p(p), os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            last = max(i for i, e in enumerate(self.log) if e[0] is self.files[p])
            self.durable = max(self.durable, last + 1)

    def op_wait_durable(self):
        a = self.m.ask("wait", durable=True)
        assert "error" not in a, a
        self.durable = self.settled = len(self.log)

    def op_search(self):
        self.check_search()

    def op_remount(self):
        self.m.umount()
        self.m.mount()
        self.durable = self.settled = len(self.log)
        self.check_search()

    def op_kill(self):
        self.kills += 1
        self.m.kill9()
        if os.path.exists(os.path.join(self.m.dir, ".vexfs")):  # else it was killed before it made one
            rc, out, err = run(VEXFS, "verify", self.m.dir)
            assert rc == 0, f"verify after a kill: status {rc}: {out} {err}"
        self.m.mount()
        self.wait()
        self.recover()
        self.check_search()

    # ---- the oracle
    def wait(self):
        a = self.m.ask("wait")
        assert "error" not in a, f"wait: {a}"

    def check_search(self):
        self.wait()
        q = rand_vec(self.rng, DIM)
        objs = {o for o in self.files.values() if o.fresh()}
        want = sorted((cosine_distance(q, o.vec), min(o.paths, key=os.fsencode)) for o in objs)
        if not any(o.vec is not None for o in self.files.values()):
            return  # an empty default collection is unbound: nothing to compare
        for k in (5, 1000):
            for _ in range(5):  # a file written within the last two seconds is hashed once more, and is pending while that lasts
                a = self.m.ask("search", vector=q, k=k, exact=True)
                assert "results" in a, f"search: {a}"
                if a["complete"]:
                    break
                self.wait()
            got = [(r["distance"], r["path"]) for r in a["results"]]
            assert [p for _, p in got] == [p for _, p in want[:k]], \
                f"search k={k}: {len(got)} {sorted(set(p for _, p in got) ^ set(p for _, p in want[:k]))}\n got {got}\nwant {want[:k]}\n" + \
                "\n".join(self.describe(p) for p in sorted(set(p for _, p in got) ^ set(p for _, p in want[:k])))
            assert all(abs(x - y) < 1e-4 for (x, _), (y, _) in zip(got, want)), f"distances: {got} {want}"
            assert all(r["state"] == "fresh" for r in a["results"]), f"states: {a}"
            assert a["complete"] and a["pending"] == 0, f"after a wait: complete {a['complete']}, pending {a['pending']}"
        self.searches += 1
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
        heir = {o for o in live if seen[o] in gone and os.getxattr(self.m.p(min(o.paths)), "user.vexfs.state") == b"stale"}
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
                self.log = [(o, o.vec, o.bound, False) for o in live if o.vec is not None]
                self.durable = self.settled = len(self.log)  # it was read back from the disk
                return
        lines = [f"{sorted(o.paths)}: seen {'none' if seen[o] is None else seen[o][0]}, events "
                 f"{[(i, e[1][0] if e[1] else None) for i, e in enumerate(self.log) if e[0] is o]}" for o in live]
        raise AssertionError(f"no prefix of the {len(self.log)} events ({self.durable} acknowledged) gives what is there:\n" + "\n".join(lines))

    # ---- running
    WEIGHTS = {"create": 10, "write": 6, "append": 4, "touch": 3, "set": 14, "set_open": 4, "del": 4, "rename": 7, "rename_over": 4, "link": 5,
               "unlink": 6, "mkdir": 3, "rename_dir": 4, "fsync": 4, "wait_durable": 1, "search": 6, "remount": 1, "kill": 3}

    def run(self):
        names, weights = list(self.WEIGHTS), list(self.WEIGHTS.values())
        with Mount() as self.m:
            for _ in range(self.ops):
                name = self.rng.choices(names, weights)[0]
                self.trace.append(name)
                if self.verbose:
                    print(f"# {self.seed}: {name}", flush=True)
                getattr(self, "op_" + name)()
            if not self.kills:
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
        return seed, None, s.kills, s.searches
    except Exception as e:
        where = "" if isinstance(e, AssertionError) else traceback.format_exc()
        return seed, f"after {len(s.trace)} operations ({' '.join(s.trace[-6:])}): {type(e).__name__}: {e}\n{where}", s.kills, s.searches


def main(argv=None):
    ap = argparse.ArgumentParser()
    ap.add_argument("--seed", type=int, default=int(os.environ.get("VEXFS_SEED") or 0))
    ap.add_argument("--streams", type=int, default=100)
    ap.add_argument("--ops", type=int, default=60)
    ap.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 1))
    ap.add_argument("--verbose", action="store_true")
    a = ap.parse_args(argv)
    if a.seed:
        seeds = [a.seed]
    else:
        base = random.SystemRandom().randrange(1 << 31)
        print(f"# seeds {base} to {base + a.streams - 1} (repeat one: streams.py --seed N --ops {a.ops})", flush=True)
        seeds = range(base, base + a.streams)
    bad = kills = searches = n = 0
    with concurrent.futures.ProcessPoolExecutor(a.jobs) as ex:
        for seed, why, k, s in ex.map(one, [(x, a.ops, a.verbose) for x in seeds]):
            n += 1
            kills += k
            searches += s
            print(f"{'not ok' if why else 'ok'} {n} - stream of seed {seed}: {k} kills, {s} searches compared", flush=True)
            if why:
                bad += 1
                print("\n".join("#   " + l for l in why.splitlines()[:25]), flush=True)
    print(f"# {n} streams, {kills} kills, {searches} searches compared")
    print(f"1..{n}")
    return bad > 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main())
