#!/usr/bin/env python3
"""Random permission trees and users: nobody finds, by any door, what open(2) would refuse him.

usage: perms.py [--seed N] [--trees N]

A tree has directories and files with owners, groups, modes and ACLs drawn at random, names linked into other directories, vectors, words and
payloads.  A user (uid, gid, supplementary groups) asks a child process that has become him: first the oracle, which opens every path by
the directory behind the mount; then every door to a search.  What is found must be what the oracle could open, each file by its smallest
such path, best first, and k of them whenever there are k.  Every file has a name, a word and a payload of its own, so that any trace of
a file in the bytes of an answer is seen: those that the oracle could not open are counted as leaks, of names, of snippets and of counts.
"""
import argparse
import errno
import json
import os
import random
import re
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from mnt import Mount, as_uid, cosine_distance, done, floats, ok, rand_vec  # noqa: E402
from vioc import DIR_FLAGS, EXACT, LIKE, TEXT, WPAY, call, m_coll, m_search, results, CINFO  # noqa: E402

DIM = 6
UIDS, GIDS = list(range(5001, 5005)), list(range(6001, 6006))
MODES = [0o644, 0o644, 0o640, 0o600, 0o604, 0o044, 0o004, 0o040, 0o400, 0o000, 0o444]
DMODES = [0o755, 0o755, 0o755, 0o711, 0o750, 0o700, 0o705, 0o744, 0o010, 0o755]
NAMED_USER, NAMED_GROUP, MASK = 2, 8, 16


def acl(rng, mode):
    """system.posix_acl_access as the kernel takes it: owner, a user or two, group, a group or two, mask, other."""
    perm = lambda: rng.choice([0, 4, 4, 5, 7])
    e = [(1, mode >> 6 & 7, 0xffffffff)]
    e += [(NAMED_USER, perm(), u) for u in sorted(rng.sample(UIDS, rng.randrange(3)))]
    e.append((4, mode >> 3 & 7, 0xffffffff))
    e += [(NAMED_GROUP, perm(), g) for g in sorted(rng.sample(GIDS, rng.randrange(3)))]
    e += [(MASK, perm(), 0xffffffff), (32, mode & 7, 0xffffffff)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *x) for x in e)


class Tree:
    def __init__(self, m, rng, no):
        self.m, self.rng, self.root = m, rng, f"t{no}"
        self.dirs, self.files = [self.root], []  # files: dict of what is known
        os.mkdir(m.p(self.root))
        for i in range(rng.randrange(1, 6)):
            d = os.path.join(rng.choice(self.dirs), f"d{no}x{i}")
            os.mkdir(m.p(d))
            self.dirs.append(d)
        for i in range(rng.randrange(4, 13)):
            token = f"q{no}f{i}z"
            p = os.path.join(rng.choice(self.dirs), token)
            m.write(p, f"the budget of {token} is secret\n")
            v = rand_vec(rng, DIM)
            m.set_vector(p, v)
            os.setxattr(m.p(p), "user.vexfs.payload", json.dumps({"who": token}).encode())
            self.files.append({"token": token, "paths": [p], "vec": v})
            if rng.random() < 0.3:
                q = os.path.join(rng.choice(self.dirs), f"{token}l")
                os.link(m.p(p), m.p(q))
                self.files[-1]["paths"].append(q)
        for f in self.files:
            self.guard(f["paths"][0], MODES)
        for d in self.dirs[1:]:
            self.guard(d, DMODES)
        assert "error" not in m.ask("wait")

    def guard(self, rel, modes):
        p, rng = self.m.p(rel), self.rng
        mode = rng.choice(modes)
        os.chown(p, rng.choice(UIDS + [0]), rng.choice(GIDS + [0]))
        os.chmod(p, mode)
        if rng.random() < 0.3:
            os.setxattr(p, "system.posix_acl_access", acl(rng, mode))

    def drop(self):
        for d, ds, fs in os.walk(self.m.p(self.root), topdown=False):
            for n in fs:
                os.unlink(os.path.join(d, n))
            os.rmdir(d)


def readable(m, files):
    """[run as the user] what open(2) lets him read, each file by its smallest path"""
    out = {}
    for f in files:
        for p in sorted(f["paths"]):
            try:
                os.close(os.open(os.path.join(m.dir, p), os.O_RDONLY))
            except PermissionError:
                continue
            out.setdefault(f["token"], p)
    return out


def attempt(fn, *a):
    try:
        return fn(*a)
    except OSError as e:
        return errno.errorcode.get(e.errno, e.errno)


def listing(d):
    """names of a directory of results, in order, as the files they lead to"""
    names = sorted(os.listdir(d))
    return [[n, os.path.relpath(os.path.join(d, os.readlink(os.path.join(d, n))), d.split("/.vexfs/")[0])] for n in names]


def ask_binary(m, msg):
    fd = os.open(m.p(".vexfs/query"), os.O_RDWR)
    try:
        os.pwrite(fd, msg, 0)
        return os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)


def ask_all(m, tree, q):
    """[run as the user] the oracle, then every door. Bytes are told as latin-1."""
    j = lambda **k: m.ask_anew(json.dumps({"verb": "search", **k}).encode())
    seen = readable(m, tree.files)
    mine = sorted(seen.values())
    some = os.open(m.mnt, DIR_FLAGS)
    out = {"oracle": seen}
    out["json"] = j(vector=q, k=100, exact=True, with_payload=True)
    out["json k=3"] = j(vector=q, k=3)
    out["scope"] = j(vector=q, k=100, scope=tree.root)
    out["filter"] = j(vector=q, k=100, filter="payload.who != 'x'")
    out["words"] = j(text="budget secret", k=100, mode="text", snippet=True)
    out["words k=2"] = j(text="budget", k=2, mode="text", snippet=True)
    out["hybrid"] = j(text="budget", vector=q, k=100, mode="hybrid", snippet=True)
    out["stale"] = j(vector=q, k=100, stale=True)
    out["binary"] = ask_binary(m, m_search(floats(q), k=100, flags=EXACT | WPAY)).decode("latin-1")
    out["ioctl"] = call(some, m_search(floats(q), k=50, flags=EXACT | WPAY), 16000).decode("latin-1")
    out["ioctl words"] = call(some, m_search(b"budget", k=50, flags=TEXT), 16000).decode("latin-1")
    out["batch"] = m.ask_anew(json.dumps({"verb": "batch_search", "vectors": [q, q], "k": 100}).encode())
    out["ls"] = attempt(listing, m.p(".vexfs/search/budget"))
    out["ls sub"] = attempt(listing, m.p(tree.root, ".vexfs/search/secret"))
    for name, p in (("", mine[0] if mine else None), (" other", tree.files[0]["paths"][0])):
        if p:
            out["like" + name] = j(like=p, k=100)
            out["ls like" + name] = attempt(listing, m.p(".vexfs/like", p))
            out["similar" + name] = attempt(lambda: os.getxattr(m.p(p), "user.vexfs.similar").decode())
            out["vector" + name] = attempt(lambda: os.getxattr(m.p(p), "user.vexfs.packed").decode("latin-1"))
    out["counts"] = [m.ask_anew(b'{"verb":"collections"}'), m.ask_anew(b'{"verb":"collection_info","name":"default"}'),
                     attempt(lambda: open(m.p(".vexfs/status")).read()), attempt(lambda: open(m.p(".vexfs/collections/default/info")).read()),
                     list(struct.unpack_from("<4Q", call(some, m_coll(CINFO, b"default")), 128))]
    out["like tree"] = [[d, attempt(os.listdir, m.p(".vexfs/like", d)), attempt(os.listdir, os.path.join(m.dir, d))] for d in tree.dirs]
    out["shut"] = [attempt(lambda: open(m.p(".vexfs", f)).read(1)) for f in ("stats", "metrics", "events", "collections/default/vectors.npy", "collections/default/ids")]
    os.close(some)
    return out


def judge(tree, q, out):
    """what is wrong with the answers, and how many leaks"""
    seen, bad = out.pop("oracle"), []
    by_path = {p: f for f in tree.files for p in f["paths"]}
    near = [p for _, p in sorted((cosine_distance(q, f["vec"]), seen[f["token"]]) for f in tree.files if f["token"] in seen)]

    def expect(door, got, want):
        if got != want:
            bad.append(f"{door}: got {got}, want {want}")

    paths = lambda a: [r["path"] for r in a.get("results", [{"path": a}])]
    for door in ("json", "scope", "filter", "stale"):
        expect(door, paths(out[door]), near)
    expect("json k=3", paths(out["json k=3"]), near[:3])
    for door in ("words", "hybrid"):
        expect(door, sorted(paths(out[door])), sorted(near))
    expect("words k=2", len(paths(out["words k=2"])), min(2, len(near)))
    for door, want in (("binary", near), ("ioctl", near), ("ioctl words", None)):
        got = [r[0] for r in results(out[door].encode("latin-1"))]
        expect(door, sorted(got) if want is None else got, sorted(near) if want is None else want)
    expect("batch", [paths(b) for b in out["batch"].get("batch", [])], [near, near])
    rel = lambda door, p: os.path.join(tree.root, p) if door == "ls sub" else p
    in_order = lambda l: [p for _, p in l] if isinstance(l, list) else l
    for door in ("ls", "ls sub"):
        expect(door, [p for p in in_order(out[door]) if rel(door, p) not in near] + [len(out[door])], [len(near)])
    like = lambda p: [x for _, x in sorted((cosine_distance(by_path[p]["vec"], f["vec"]), seen[f["token"]]) for f in tree.files
                                           if f["token"] in seen and f is not by_path[p])]
    if near:
        p = sorted(seen.values())[0]
        expect("like", paths(out["like"]), like(p))
        expect("similar", out["similar"].split("\n")[:-1] if out["similar"] else [], like(p)[:10])
        expect("ls like", in_order(out["ls like"]), like(p))
    same = lambda l: sorted(l) if isinstance(l, list) else l
    expect("like/ as the tree", [[d, same(a)] for d, a, _ in out["like tree"]], [[d, same(b)] for d, _, b in out["like tree"]])
    del out["like tree"]  # a directory that may be listed shows its names, readable or not
    first = tree.files[0]["paths"][0]
    if first not in [p for p in tree.files[0]["paths"] if p in out["own"]]:
        expect("like other", "error" in out["like other"], True)
        expect("others' vector", out["vector other"], "EACCES")
        expect("ls like other", out["ls like other"] in ("EACCES", "ENOENT"), True)
    expect("the owner's files", out["shut"], ["EACCES"] * 5)
    raw = json.dumps({k: v for k, v in out.items() if not k.endswith(" other")})  # there he named a file himself
    leaks = sum(len(re.findall(f["token"] + r"\b", raw)) + raw.count(f["token"] + "l") for f in tree.files if f["token"] not in seen)
    counts = json.dumps(out["counts"])
    counted = 0
    for c in out["counts"][0].get("collections", []) + [out["counts"][1]]:
        counted += sum(c.get(k, 0) for k in ("points", "linked", "tail", "dead", "index_bytes"))
    counted += sum(out["counts"][4]) + ('"points":0' not in str(out["counts"][3]) and '"points"' in str(out["counts"][3]))
    counted += sum(a.get("distances", 0) for a in out.values() if isinstance(a, dict))
    if counted:
        bad.append(f"counts of others' files: {counts[:300]}")
    return bad, leaks, counted


def main(argv=None):
    ap = argparse.ArgumentParser()
    ap.add_argument("--seed", type=int, default=int(os.environ.get("VEXFS_SEED") or 0))
    ap.add_argument("--trees", type=int, default=500)
    ap.add_argument("--users", type=int, default=1)
    a = ap.parse_args(argv)
    base = a.seed or random.SystemRandom().randrange(1 << 31)
    n = 1 if a.seed else a.trees
    print(f"# seeds {base} to {base + n - 1} (repeat one: perms.py --seed N)", flush=True)
    failed = leaks = counted = found = hidden = 0
    with Mount("-o", "allow_other") as m:
        os.chmod(m.mnt, 0o755)
        os.chmod(m.dir, 0o755)
        for no in range(n):
            rng = random.Random(base + no)
            tree = Tree(m, rng, no)
            for _ in range(a.users):
                q = rand_vec(rng, DIM)
                uid, gid = rng.choice(UIDS), rng.choice(GIDS)
                groups = rng.sample(GIDS, rng.randrange(4))
                every = [p for f in tree.files for p in f["paths"]]
                out = as_uid(uid, lambda: dict(ask_all(m, tree, q), own=[p for p in every if attempt(os.access, os.path.join(m.dir, p), os.R_OK) is True]),
                             gid=gid, groups=groups)
                if not isinstance(out, dict):
                    bad, l, c = [f"the user's process: {out}"], 0, 0
                else:
                    found += len(out["oracle"])
                    hidden += len(tree.files) - len(out["oracle"])
                    bad, l, c = judge(tree, q, out)
                leaks, counted, failed = leaks + l, counted + c, failed + bool(bad or l)
                if bad or l:
                    print(f"# seed {base + no}: uid {uid}, gid {gid}, groups {groups}, {l} leaks\n" + "\n".join(f"#   {b[:700]}" for b in bad[:8]), flush=True)
            tree.drop()
            if failed > 10:
                break
        print(f"# {n} trees, {found} files found by their users, {hidden} hidden from them; leaked names and snippets: {leaks}, counts: {counted}")
        ok(not failed, f"{n} permission trees by every door: what open(2) lets its user read, and k filled")
        if n >= 20:  # fewer may by chance hide nothing, or all
            ok(found > n and hidden > n, f"the trees show something: {found} readable, {hidden} not")
    done()


if __name__ == "__main__":
    main()
