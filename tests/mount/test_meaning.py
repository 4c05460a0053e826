#!/usr/bin/env python3
"""Text found by meaning, on a real mount: toy models whose vectors this test works out itself, as files and behind an endpoint.

Ingest, hybrid and vector searches against brute force; what an edit, a copy, a rename, a remount embeds; "phrases", -not, path: ext: size>
against an oracle; a change of model while searches go on, and who waits meanwhile; an endpoint that is down, slow, wrong, talks nonsense, refuses
some texts; hostile model files; chunks and vectors damaged on the disk; that disk full; kill -9 in the middle.
"""
import errno
import glob
import json
import os
import random
import shutil
import socket
import sqlite3
import struct
import subprocess
import threading

import vioc
from mnt import VEXFS, Mount, done, eq, ok, run, seed, setfattr, skip, vexfs, wait_until
from toymodel import TOPICS, WORDS, Endpoint, Toy

rng = random.Random(seed())


def attr(m, rel, name):
    try:
        return os.getxattr(m.p(rel), "user.vexfs." + name).decode()
    except OSError as e:
        return errno.errorcode[e.errno]


def find(m, text, **keys):
    a = m.ask("search", text=text, k=keys.pop("k", 100), **keys)
    if "results" not in a:
        raise AssertionError(f"search {text!r}: {a}")
    return a


def paths(a):
    return [r["path"] for r in a["results"]]


def model(m):
    return m.status()["components"]["model"]


def emb(m):
    return m.status()["embedding"]


def by_meaning(toy, files, q):
    """oracle: (path, cosine), best first"""
    got = [(toy.cos(q, t), p) for p, t in files.items()]
    return sorted(((p, c) for c, p in got if c is not None), key=lambda x: (-x[1], x[0]))


def same_order(got, want, tol=2e-4):
    """paths as wanted, neighbours within tol may be swapped; scores right"""
    score = dict(want)
    if sorted(p for p, _ in got) != sorted(score):
        return False
    return all(abs(s - score[p]) < tol for p, s in got) and all(a[1] >= b[1] - 1e-6 for a, b in zip(got, got[1:]))


def notes():
    files = {}
    for i in range(24):
        topic = list(TOPICS)[i % len(TOPICS)]
        words = rng.sample(TOPICS[topic], 3) + rng.sample(["lorem", "ipsum", "dolor", "amet", "quod", "erat"], 3)
        rng.shuffle(words)
        files[f"n{i:02d}.{'md' if i % 3 else 'txt'}"] = f"note{i} " + " ".join(words) + ".\n" + "x" * (i * 40) + "\n"
    return files


def fill(m, files):
    for p, t in files.items():
        if os.path.dirname(p):
            os.makedirs(m.p(os.path.dirname(p)), exist_ok=True)
        m.write(p, t)
    m.wait()


def ingest_and_search(base):
    toy = Toy("toy")
    toy.folder(base + "/toy")
    files = notes()
    with Mount("--model", base + "/toy", "-o", "model-idle=1") as m:
        fill(m, files)
        st = m.status()
        eq((model(m)["state"], model(m)["name"], model(m)["dim"]), ("ready", "toy", 16), "status tells the model")
        eq((st["embedding"]["pending"], st["complete"]), (0, True), "all is embedded after wait")
        eq(st["embedding"]["chunks"], len(files), "each chunk was embedded once")
        good = 0
        for q in ["feline", "refund payment", "thunder", "violin tide", "loaf", "judge orbit", "monsoon sonata court"]:
            want = by_meaning(toy, files, q)
            got = [(r["path"], r["score"]) for r in find(m, q, mode="vector")["results"]]
            good += same_order(got, want)
        eq(good, 7, "search by meaning is brute force's: paths, order, scores")
        r = find(m, "feline", mode="vector", k=1)["results"][0]
        text = files[r["path"]]
        ok(r["locator"]["lines"][0] == 1 and text[:10] in r["snippet"] and r["state"] == "fresh" and r["collection"] == "text",
           "a hit has lines, a snippet and a state", detail=r)
        kitten = {p for p, t in files.items() if any(w in t for w in TOPICS["animals"])}
        none = [w for w in TOPICS["animals"] if not any(w in t for t in files.values())]
        m.write("odd.txt", "leopardless wombat\n")
        q = (none or ["puma"])[0]
        m.wait()
        eq(set(paths(find(m, q, k=3))) <= kitten, True, "hybrid is the default and finds what shares no word")
        eq(sorted(paths(find(m, q, mode="text"))), sorted(p for p, t in files.items() if q in t.replace(".", " ").split()),
           "by words: only what has the word")
        both = find(m, "cat feline", k=50)["results"]
        ok(all(0 <= r["score"] <= 1 for r in both) and both[0]["score"] > 0 and [r["score"] for r in both] == sorted((r["score"] for r in both), reverse=True),
           "fused scores are in [0, 1], best first", detail=[r["score"] for r in both])
        p = next(iter(kitten))
        eq([attr(m, p, a) for a in ("model", "chunks", "state", "dim")], ["toy", "1", "fresh", "16"], "xattrs tell the truth")
        eq(attr(m, "odd.txt", "model"), "ENODATA", "a text of which the model knows nothing has no model")
        rc, _, err = setfattr(m.p(p), "user.vexfs.vector.text", b"\0" * 64)
        ok(rc and "Read-only" in err, "vectors of text are ingest's alone: EROFS", detail=err)
        near = [r["path"] for r in m.ask("search", like=p, k=2)["results"]]
        ok(set(near) <= kitten and p not in near, "similar goes by meaning where there is no vector of the user's", detail=near)
        eq([c["dim"] for c in m.ask("collections")["collections"] if c["name"] == "text"], [16], "one collection `text`")
        narrowing(m, files)
        permission_and_filter(m, toy, files)
        m.set_vector(p, [1.0, 0.0])
        with open(m.p(p)) as f:
            g = vioc.call(f.fileno(), vioc.m_get())
        at, n = struct.unpack_from("<II", g, 128)
        eq((g[at:at + n], m.ask("get", path=p).get("model")), (b"toy", "toy"), "ioctl and query file name the model")
        os.removexattr(m.p(p), "user.vexfs.vector")
        ok(wait_until(lambda: not model(m)["loaded"], 20), "an idle model is dropped")
        eq(find(m, "feline", mode="vector", k=1)["results"][0]["path"], r["path"], "and loaded again when asked")
        m.umount()
        m.mount()
        m.wait()
        eq((emb(m)["chunks"], emb(m)["pending"]), (0, 0), "a remount embeds nothing again")
        eq(find(m, "feline", mode="vector", k=1)["results"][0]["path"], r["path"], "and finds the same")
        m.umount()
        rc, out, _ = vexfs("verify", m.dir)
        eq(rc, 0, "verify finds a clean store")


def narrowing(m, files):
    """operators, in words and in meaning, against an oracle"""
    words = {p: [w.strip(".") for w in t.split()] for p, t in files.items()}
    size = {p: len(t) for p, t in files.items()}

    def phrase(p, a, b):
        return any(words[p][i:i + 2] == [a, b] for i in range(len(words[p]) - 1))

    cases = 0
    for mode in ("text", "vector", "hybrid"):
        for _ in range(12):
            p0 = rng.choice(sorted(files))
            w = rng.choice([x for x in words[p0] if x in WORDS])
            base = {p for p in files if w in words[p]} if mode == "text" else set(files)
            kind = rng.randrange(6)
            if kind == 0:
                no = rng.choice([x for x in words[rng.choice(sorted(files))] if 3 < len(x) < 20])
                q, keep = f"{w} -{no}", lambda p: no not in words[p]
            elif kind == 1:
                i = rng.randrange(1, 4)
                a, b = words[p0][i], words[p0][i + 1]
                q, keep = f'{w} "{a} {b}"', lambda p: phrase(p, a, b)
                if mode == "text":  # the phrase is a word, too
                    base |= {p for p in files if phrase(p, a, b)}
            elif kind == 2:
                q, keep = f"ext:md {w}", lambda p: p.endswith(".md")
            elif kind == 3:
                n = rng.choice(list(size.values()))
                q, keep = f"{w} size>{n}", lambda p: size[p] > n
            elif kind == 4:
                q, keep = f"{w} path:n1", lambda p: "n1" in p
            else:
                n = rng.choice(list(size.values()))
                q, keep = f"-ext:txt size<={n} {w} path:n*.md", lambda p: size[p] <= n and p.endswith(".md")
            want = {p for p in base if keep(p)}
            got = set(paths(find(m, q, mode=mode))) - {"odd.txt"}
            if not ok(got == want, f"{mode}: {q}", detail=f"too many {sorted(got - want)}, missing {sorted(want - got)}"):
                return
            cases += 1
    old = m.p("n00.txt")
    os.utime(old, (1e9, 1e9))  # 2001-09-09
    m.wait()
    eq(paths(find(m, "note0 note1 before:2002", mode="text")), ["n00.txt"], "before: a year")
    ok("n00.txt" not in paths(find(m, "note0 note1 after:2001-10", mode="text")), "after: a month")
    ok("n01.md" in paths(find(m, "note0 note1 after:2d", mode="text")), "after: days ago")
    for far in ("500y", "9999y", "9999m"):
        ok("n01.md" in paths(find(m, f"note0 note1 after:{far}", mode="text")), f"after:{far}, before any clock: all are later")
        eq(paths(find(m, f"note0 note1 before:{far}", mode="text")), [], f"before:{far}: none")
    bad = ['size>', 'size>lots', 'after:noon', 'before:2024-99', '"', '""', '-', '--', '-"', 'path:', 'ext:', '"open', 'a -"b', "note0 size>-1",
           "note0 -- - \"\"", "note0 \x01\x02\x1d", "NEAR(note0 *)", "note0* AND OR NOT", "{note0}:^", "(((", "note0 path:" + "[" * 200]
    odd = 0
    for q in bad:
        a = m.ask("search", text=q, k=3)
        odd += not ("results" in a or a["error"]["code"] == "query_syntax")
    eq(odd, 0, "what is malformed is words, or has none: never another error")


def permission_and_filter(m, toy, files):
    os.makedirs(m.p("sub"), exist_ok=True)
    m.write("sub/s.md", "kitten in a box\n")
    m.wait()
    eq(paths(find(m, "feline", mode="vector", scope="sub")), ["sub/s.md"], "scope holds for meaning")
    eq(paths(find(m, "feline", mode="vector", filter="size < 20")), ["sub/s.md"], "so does a filter")
    lines = vexfs("search", "feline", m.mnt, "--mode", "vector", "-k", "1", "--json")
    ok(lines[0] == 0 and '"score"' in lines[1], "the command asks by meaning", detail=lines)
    os.rename(m.p("sub/s.md"), m.p("sub/t.md"))
    eq(paths(find(m, "feline", mode="vector", scope="sub")), ["sub/t.md"], "a rename is followed at once")
    os.unlink(m.p("sub/t.md"))
    eq(paths(find(m, "feline", mode="vector", scope="sub")), [], "what is removed is found no more")


def edits(base):
    toy = Toy("toy")
    toy.folder(base + "/toy")
    with Mount("--model", base + "/toy") as m:
        paras = []
        for i in range(110):
            r = random.Random(i)
            paras.append(f"Paragraph {i}. " + " ".join(r.choice(WORDS) + str(r.randrange(10**6)) for _ in range(110)) + " "
                         + " ".join(r.choice(WORDS) for _ in range(8)) + ".")
        m.write("long.txt", "\n\n".join(paras) + "\n")
        m.wait()
        n = int(attr(m, "long.txt", "chunks"))
        first = emb(m)["chunks"]
        ok(n >= 100 and first == n, "a file of 100 chunks and more", detail=(n, first))
        paras[50] = paras[50].replace("Paragraph 50.", "Paragraph fifty, which is another one now.")
        m.write("long.txt", "\n\n".join(paras) + "\n")
        m.wait()
        again = emb(m)["chunks"] - first
        ok(1 <= again <= 3, f"an edited paragraph of {n} chunks embeds {again}", detail=again)
        eq(int(attr(m, "long.txt", "chunks")), m.status()["collections"][[c["name"] for c in m.status()["collections"]].index("text")]["points"],
           "a vector for each chunk and none beside")
        paras.insert(0, "A new first paragraph about a lighthouse and the tide. " + "lorem " * 30)
        m.write("long.txt", "\n\n".join(paras) + "\n")
        m.wait()
        ok(emb(m)["chunks"] - first - again <= 3, "one put in front shifts all and embeds as few")
        before = emb(m)["chunks"]
        m.write("copy.txt", "\n\n".join(paras) + "\n")
        os.rename(m.p("long.txt"), m.p("renamed.txt"))
        os.utime(m.p("renamed.txt"))
        m.wait()
        eq(emb(m)["chunks"] - before, 0, "a copy, a rename and a touch embed nothing")
        eq(sorted(paths(find(m, "lighthouse tide", mode="vector", k=2))), ["copy.txt", "renamed.txt"], "both are found")
        os.unlink(m.p("renamed.txt"))
        m.write("more.txt", "\n\n".join(paras) + "\n")
        m.wait()
        eq(emb(m)["chunks"] - before, 0, "nor when the first of them is gone")


def change_of_model(base):
    one, two = Toy("one"), Toy("two", dim=24, seed=5)
    one.folder(base + "/one")
    ep = Endpoint(two)
    ep.folder(base + "/two")
    files = notes()
    try:
        with Mount("--model", base + "/one") as m:
            fill(m, files)
            m.ask("snapshot_create", name="byone")
            ep.gate.clear()
            ep.free = 2
            eq(m.ask("model", folder=base + "/two").get("error"), None, "another model is asked for while mounted")
            ok(wait_until(lambda: model(m).get("answers") == "one" and ep.texts, 20), "the new one embeds, the old one answers", detail=model(m))
            want = by_meaning(one, files, "thunder feline")
            got = [(r["path"], r["score"]) for r in find(m, "thunder feline", mode="vector")["results"]]
            ok(same_order(got, want), "by the old model alone, all of it", detail=got[:3])
            eq(m.status()["complete"], False, "and says that it is not through")
            ep.gate.set()
            m.wait()
            ok(wait_until(lambda: "answers" not in model(m), 20), "the new one takes over")
            want = by_meaning(two, files, "thunder feline")
            got = [(r["path"], r["score"]) for r in find(m, "thunder feline", mode="vector")["results"]]
            ok(same_order(got, want), "by the new model alone, all of it", detail=got[:3])
            eq([c["dim"] for c in m.status()["collections"] if c["name"].startswith("text")], [24], "the old one's vectors are gone")
            m.umount()
            n = len(ep.texts)
            m.mount("--model", base + "/two")
            m.wait()
            eq(len(ep.texts), n, "the next mount by it embeds nothing")
            want = by_meaning(one, files, "thunder feline")
            a = m.ask("search", text="thunder feline", mode="vector", k=100, at="byone")
            got = [(r["path"], r["score"]) for r in a.get("results", [])]
            ok(same_order(got, want), "a snapshot of before is asked by the old one", detail=a)
            m.umount()
            m.mount("--model", "none")
            m.wait()
            eq(model(m)["state"], "off", "no model: said so")
            eq(m.ask("search", text="feline", mode="vector").get("error", {}).get("code"), "no_model", "and refused where it is asked for")
            ok(paths(find(m, "note1")) == ["n01.md"], "words go on")
    finally:
        ep.close()


def waits(m):
    """does `wait` come to an end?"""
    try:
        return run(VEXFS, "wait", m.mnt, timeout=30)[0] == 0
    except subprocess.TimeoutExpired:
        return False


def waiting_meanwhile(base):
    """who waits while the model changes: told when there is nothing to wait for, and not before"""
    toy = Toy("w")
    ep = Endpoint(toy)
    ep.folder(base + "/wep")
    toy.folder(base + "/wtoy")
    files = notes()
    try:
        ep.gate.clear()
        with Mount("--model", base + "/wep") as m:
            for p, t in files.items():
                m.write(p, t)
            ok(wait_until(lambda: ep.free < 0, 20), "a model that hangs is asked")
            parked = m.ask("stats")["counters"]["parked"]
            p = subprocess.Popen([VEXFS, "wait", m.mnt])
            ok(wait_until(lambda: m.ask("stats")["counters"]["parked"] > parked, 20) and p.poll() is None, "somebody waits for it")
            eq(m.ask("model", folder="").get("error"), None, "no model any more")
            try:
                eq(p.wait(10), 0, "he is told at once")
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
                ok(False, "he is told at once", detail="waits on")
            ep.mode = "error"
            ep.gate.set()
            m.ask("model", folder=base + "/wep")
            ok(waits(m) and wait_until(lambda: model(m)["state"] == "failed", 20), "a model that fails is not waited for")
            m.ask("model", folder=base + "/wtoy")
            ok(waits(m), "the one after it is")
            eq((emb(m)["pending"], model(m)["state"], model(m)["name"]), (0, "ready", "wtoy"), "until it has embedded everything")
            got = [(r["path"], r["score"]) for r in find(m, "rain ledger", mode="vector")["results"]]
            ok(same_order(got, by_meaning(toy, files, "rain ledger")), "which is found", detail=got[:3])
    finally:
        ep.close()


def damaged(base):
    """a chunk whose row is damaged and a vector that is: the rest is embedded, and nobody waits for ever"""
    toy = Toy("d")
    toy.folder(base + "/dtoy")
    rest = "quod erat\n" * 300
    long = f"# a\n\nfeline {rest}\n# b\n\nledger {rest}\n# c\n\nmonsoon {rest}"
    with Mount("--model", base + "/dtoy") as m:
        fill(m, {"long.md": long, "one.txt": "violin sonata\n"})
        m.umount()
        db = sqlite3.connect(m.dir + "/.vexfs/catalog.db")
        db.execute("UPDATE chunk SET text=replace(text,'ledger','ledges') WHERE text LIKE '%ledger%'")
        eq(db.total_changes, 1, "one chunk of three is damaged")
        db.execute("DELETE FROM emb")
        db.commit()
        db.close()
        m.mount()
        ok(waits(m), "its file is embedded again, to an end")
        eq(emb(m)["pending"], 0, "nothing stays pending")
        found = {w: paths(find(m, w, mode="vector", k=1)) for w in ("puma", "hail")}
        eq(found, {"puma": ["long.md"], "hail": ["long.md"]}, "the other chunks are found")
        m.umount()
        hurt = 0
        for name in glob.glob(m.dir + "/.vexfs/c[3-9]/v0.vec"):
            with open(name, "r+b") as f:
                data = f.read()
                f.seek(0)
                f.write(data[:64] + bytes(b ^ 1 if any(data[64 + i - i % 4:68 + i - i % 4]) else b for i, b in enumerate(data[64:])))
                hurt += 1
        eq(hurt, 1, "all vectors are damaged")
        m.mount()
        m.write("two.txt", "violin sonata\n")
        ok(waits(m), "a copy of a text whose vector is damaged is embedded anew")
        eq(emb(m)["pending"], 0, "and does not stay pending")
        a = find(m, "melody", mode="vector", k=10)
        ok([r["path"] for r in a["results"] if abs(r["score"] - toy.cos("melody", "violin sonata")) < 1e-3] == ["two.txt"], "and found", detail=a)


def endpoint_troubles(base):
    toy = Toy("ep")
    ep = Endpoint(toy)
    ep.folder(base + "/ep", timeout_ms=1500)
    files = notes()
    try:
        with Mount("--model", base + "/ep") as m:
            some = dict(list(files.items())[:8])
            fill(m, some)
            eq(emb(m)["pending"], 0, "an endpoint that works")
            for mode, why in (("error", "an error"), ("garbage", "nonsense"), ("wrong_dim", "vectors of another length"), ("down", "no answer")):
                if mode == "down":
                    ep.gate.clear()
                else:
                    ep.mode = mode
                name = f"{mode}.txt"
                m.write(name, f"about {mode}now puma comet\n")
                m.wait()
                st = model(m)
                said = vexfs("wait", m.mnt)
                ok(said[0] == 0 and "has no vectors yet, for the model fails: " in said[2], f"{why}: `wait` says that the model fails", detail=said)
                ok(st["state"] == "failed" and st["reason"], f"{why}: said in status ({st.get('detail') or st.get('reason')})", detail=st)
                ok(emb(m)["pending"] >= 1 and attr(m, name, "state") == "pending", f"{why}: the vector stays pending")
                a = find(m, f"{mode}now")
                ok(paths(a) == [name] and not a["complete"], f"{why}: words are searched, and the answer says it is not complete", detail=a)
                eq(m.ask("search", text="puma", mode="vector").get("error", {}).get("code"), "model_failed", f"{why}: meaning is refused")
                ep.mode = "ok"
                ep.gate.set()
                m.ask("retry")
                ok(wait_until(lambda: emb(m)["pending"] == 0, 30), f"{why}: made good when it works again", detail=model(m))
                a = find(m, "leopard galaxy", mode="vector")
                ok(name in paths(a), f"{why}: and found", detail=a)
            # slow: files and words do not wait
            ep.gate.clear()
            t = threading.Thread(target=lambda: find(m, "comet", mode="vector") if False else m.ask("search", text="comet"))
            m.write("slow.txt", "slownow telescope\n")
            ok(wait_until(lambda: find(m, "slownow", mode="text")["results"], 20), "an endpoint that hangs holds nothing up")
            del t
            ep.gate.set()
    finally:
        ep.close()


def refused(base):
    """texts that the endpoint refuses: the others have vectors, these are told, asked about so often and no more"""
    toy = Toy("ref")
    ep = Endpoint(toy)
    ep.folder(base + "/ref", batch=8)
    ep.refuse = {"qqfour": 400, "qqbig": 413, "qqodd": 422, "qqfive": 500, "qqnan": None}
    bad = {f"{w}.txt": f"{w} violin {i}\n" for i, w in enumerate(ep.refuse)}
    long = "".join(f"# {w}\n\n{w} " + "".join(f"{w[:2]}{i} erat\n" for i in range(240)) + "\n" for w in ("feline", "qqbig ledger", "monsoon"))
    files = notes()
    why = "the model refuses this text"

    def asked(w):
        return sum(w in t for t in ep.texts)

    def best(m, q, w):
        """is long.md found by the chunk that has w?"""
        got = [r["score"] for r in find(m, q, mode="vector")["results"] if r["path"] == "long.md"]
        return len(got) == 1 and abs(got[0] - toy.cos(q, w)) < 2e-3

    def told(m):
        return sorted(x["path"] for x in emb(m)["errors"])
    try:
        with Mount("--model", base + "/ref") as m:
            fill(m, {**files, **bad, "long.md": long})
            st = emb(m)
            eq((model(m)["state"], st["pending"], st["failed"], m.status()["complete"]), ("ready", 0, 0, True), "the model goes on, nothing is pending")
            n = len(files) + len(bad) + int(attr(m, "long.md", "chunks"))
            eq((st["refused"], st["chunks"]), (len(bad) + 1, n), "each text refused is counted, and no other")
            eq([c["points"] for c in m.status()["collections"] if c["name"] == "text"], [n - len(bad) - 1], "a vector less for each")
            got = [(r["path"], r["score"]) for r in find(m, "thunder feline", mode="vector")["results"] if r["path"] != "long.md"]
            ok(same_order(got, by_meaning(toy, files, "thunder feline")), "the others are found by meaning, the refused are not", detail=got)
            eq([paths(find(m, f"qq{w}", mode="text")) for w in ("four", "odd", "five", "nan")],
               [[f"qq{w}.txt"] for w in ("four", "odd", "five", "nan")], "words find these")
            eq([best(m, q, w) for q, w in (("puma", "feline"), ("hail", "monsoon"), ("payment", "ledger"))], [True, True, False],
               "a file's other chunks are found by meaning")
            eq({attr(m, p, "state") for p in [*bad, "long.md"]}, {"fresh"}, "their state is what it was")
            ok(all(attr(m, p, "error").startswith(why) for p in [*bad, "long.md"]), "each tells why", detail=attr(m, "qqbig.txt", "error"))
            eq((attr(m, "n00.txt", "error"), attr(m, "qqbig.txt", "model")), ("ENODATA", "ENODATA"), "the others tell nothing")
            eq(told(m), sorted([*bad, "long.md"]), "the status names them")
            ok("no vector: qqbig.txt: " + why in vexfs("status", m.mnt)[1], "for people, too")
            most = max(asked(w) for w in ep.refuse if w != "qqbig")
            ok(most <= 2, "asked at most twice about each", detail=most)
            n = len(ep.texts)
            m.umount()
            m.mount()
            m.wait()
            eq((len(ep.texts) - n, emb(m)["pending"], told(m)), (0, 0, sorted([*bad, "long.md"])), "a remount asks nothing, and tells them still")
            ok(attr(m, "long.md", "error").startswith(why), "as the file does")
            m.write("qqfour.txt", "feline instead\n")
            n = asked("qqodd")
            m.write("qqodd.txt", "qqodd violin again\n")
            m.wait()
            eq((attr(m, "qqfour.txt", "error"), asked("qqodd") - n in (1, 2)), ("ENODATA", True), "an edit asks again: taken, or refused again")
            ok("qqfour.txt" in paths(find(m, "puma", mode="vector")), "what is taken now is found")
            n = len(ep.texts)
            ep.refuse = {"qqodd": 422}
            eq(m.ask("retry").get("error"), None, "all are asked once more on demand")
            m.wait()
            ok(told(m) == ["qqodd.txt"] and 0 < len(ep.texts) - n <= 12, "refused is what still is", detail=(told(m), ep.texts[n:]))
            ok(best(m, "payment", "ledger") and attr(m, "long.md", "error") == "ENODATA", "the rest has its vectors")
            eq(m.ask("search", text="qqodd", mode="vector").get("error", {}).get("code"), "text_refused", "a question that is refused is said to be")
            a = find(m, "qqodd violin")
            ok(paths(a)[:1] == ["qqodd.txt"] and not a["complete"], "or is one by words", detail=a)
            eq((model(m)["state"], emb(m)["failed"]), ("ready", 0), "and costs the model nothing")
            ep.refuse, ep.limit = {}, 1000
            n = len(ep.texts)
            m.write("wide.txt", "feline " + "æøå" * 270 + " feline\n")
            m.wait()
            sent = ep.texts[n:]
            got = [r["score"] for r in find(m, "puma", mode="vector")["results"] if r["path"] == "wide.txt"]
            ok(len(got) == 1 and abs(got[0] - toy.cos("puma", "feline")) < 2e-3 and attr(m, "wide.txt", "error") == "ENODATA", "what is too long is taken in halves", detail=got)
            eq(["".join(sent[2:]), len(sent)], ["feline " + "æøå" * 270 + " feline", 4], "the whole, a probe and each half were asked, no character torn")
            m.umount()
            eq(vexfs("verify", m.dir)[0], 0, "verify finds a clean store")
    finally:
        ep.close()


def hostile_models(base):
    """folders that lie: none becomes the model, each says why, words go on; the good one after them is used"""
    toy = Toy("h")
    good = toy.folder(base + "/hgood")
    weights = open(good + "/model.safetensors", "rb").read()
    tokens = json.load(open(good + "/tokenizer.json"))
    n = len(toy.of) + 2
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = s.getsockname()[1]

    def tensor(shape, data, at=None, dtype="F32"):
        head = json.dumps({"embeddings": {"dtype": dtype, "shape": shape, "data_offsets": at or [0, len(data)]}}).encode()
        return struct.pack("<Q", len(head)) + head + data

    def bert(**more):
        return json.dumps({"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
                           "vocab_size": n, "max_position_embeddings": 16, "hidden_act": "gelu", **more})

    def endpoint(**more):
        return json.dumps({"url": f"http://127.0.0.1:{closed}/v1/embeddings", "model": "m", "retries": 0, **more})
    w, t, c = "model.safetensors", "tokenizer.json", "config.json"
    cases = {"cut": {w: weights[:len(weights) // 2]}, "no weights": {w: None}, "empty": {w: b""}, "long header": {w: struct.pack("<Q", 1 << 60) + weights[8:]},
             "offsets beyond": {w: tensor([n, 16], bytes(64), [0, n * 64])}, "offsets backwards": {w: tensor([n, 16], bytes(n * 64), [n * 64, 0])},
             "offsets that wrap": {w: tensor([n, 16], bytes(n * 64), [(1 << 63) - n * 64, (1 << 63) - 1])},
             "huge shape": {w: tensor([1 << 33, 1 << 33], bytes(64))}, "too many dimensions": {w: tensor([n, 5000], bytes(n * 20000))},
             "another type": {w: tensor([n, 16], bytes(n * 128), dtype="F64")},
             "too few rows": {w: tensor([3, 16], bytes(192))}, "no tokens": {t: None}, "garbage tokens": {t: b"\x89PNG"},
             "deep tokens": {t: b'{"a":' * 100000}, "an id beyond": {t: json.dumps({**tokens, "model": {**tokens["model"], "vocab": {"[UNK]": 0, "cat": 1 << 40}}}).encode()},
             "no config": {c: None}, "config of another": {c: b'{"model_type":"gpt2"}'}, "config of zeros": {c: bytes(4096)},
             "huge layers": {c: bert(hidden_size=1 << 30, num_hidden_layers=1 << 30).encode()}, "no layers there": {c: bert().encode()},
             "no folder": None, "nobody listens": {"endpoint.json": endpoint().encode()}, "endpoint cut": {"endpoint.json": endpoint().encode()[:30]},
             "endpoint of a file": {"endpoint.json": endpoint(url="file:///etc/passwd").encode()}, "endpoint of many": {"endpoint.json": endpoint(dim=10**9).encode()}}
    with Mount() as m:
        m.write("a.txt", "violin sonata wordhere\n")
        m.wait()
        silent, rss = [], m.status()["memory"]["rss"]
        for name, change in cases.items():
            at = base + "/hostile/" + name
            if change is not None:
                shutil.copytree(good, at)
            for file, data in (change or {}).items():
                os.unlink(f"{at}/{file}") if data is None else open(f"{at}/{file}", "wb").write(data)
            a = m.ask("model", folder=at)
            if "error" in a:
                continue
            if not (wait_until(lambda: (lambda s: s.get("name") == name and s["state"] == "failed")(model(m)), 20) and model(m)["reason"]):
                silent.append((name, model(m)))
            elif paths(find(m, "wordhere")) != ["a.txt"] or emb(m)["chunks"] or not waits(m):
                silent.append((name, "something else stopped"))
        eq(silent, [], f"{len(cases)} models that lie or are not there: none is used, each says why, words go on")
        more = m.status()["memory"]["rss"] - rss
        ok(more < 64 << 20, f"they cost {more >> 10} KiB of memory at most", detail=more)
        nan = shutil.copytree(good, base + "/hostile/nan")
        open(f"{nan}/{w}", "wb").write(tensor([n, 16], b"\0\0\xc0\x7f" * (n * 16)))
        m.ask("model", folder=nan)
        m.wait()
        eq(([e["path"] for e in emb(m)["errors"]], paths(find(m, "wordhere"))), (["a.txt"], ["a.txt"]), "a table of NaN: its texts have no vectors, and say so")
        m.ask("model", folder=good)
        m.wait()
        eq((model(m)["state"], [r["path"] for r in find(m, "melody", mode="vector")["results"]]), ("ready", ["a.txt"]), "the good one after them is used")


def full_disk(base):
    """the store's disk is full while text and vectors arrive: files and searches go on; with room all of it is there"""
    toy = Toy("full")
    folder = toy.folder(base + "/ftoy")
    small = base + "/small"
    os.makedirs(small)
    if run("mount", "-t", "tmpfs", "-o", "size=4m", "none", small)[0]:
        skip("a full disk", "cannot mount a tmpfs")
        return
    r = random.Random(7)
    files = {f"f{i:02d}.txt": f"number{i} {WORDS[i % len(WORDS)]}\n" + "".join(f"{r.getrandbits(200):x}\n" for _ in range(2000)) for i in range(50)}
    try:
        with Mount("--model", folder, "--store", small + "/store", base=base + "/fullm") as m:
            first = dict(list(files.items())[:4])
            fill(m, first)
            for p, t in files.items():
                if p not in first:
                    m.write(p, t)
            ok(wait_until(lambda: "disk is full" in m.status().get("read_only_reason", ""), 60), "the disk is full, and the status says so")
            ok(wait_until(lambda: any((attr(m, p, "state"), "disk is full" in attr(m, p, "error")) == ("pending", True) for p in files), 60),
               "a file that waits for room tells that", detail=[(attr(m, p, "state"), attr(m, p, "error")) for p in files])
            m.write("after.txt", "files go on\n")
            eq(open(m.p("after.txt")).read(), "files go on\n", "files are written and read")
            a = find(m, " ".join(f"number{i}" for i in range(4)), mode="text")
            ok(set(first) <= set(paths(a)) and not a["complete"], "searches go on, and say that they lack something", detail=a)
            ok(set(first) <= set(paths(find(m, "puma", mode="vector"))), "by meaning, too")
            run("mount", "-o", "remount,size=64m", small, check=True)
            m.ask("retry")
            m.wait()
            eq((m.status()["complete"], emb(m)["pending"]), (True, 0), "with room, all is made good")
            have = {p for i, p in enumerate(files) if p in paths(find(m, f"number{i}", mode="text"))}
            eq(sorted(set(files) - have), [], "every text is found by its words")
            eq(sorted(set(files) - set(paths(find(m, "puma", mode="vector")))), [], "and by meaning")
            m.umount()
            rc, out, err = vexfs("verify", m.dir, "--store", small + "/store")
            ok(rc == 0, "verify finds a clean store", detail=out + err)
    finally:
        run("umount", "-l", small)


def killed_in_the_middle(base):
    toy = Toy("ep")
    ep = Endpoint(toy)
    ep.folder(base + "/ep2", batch=1)
    files = {f"k{i:02d}.txt": f"file{i} {WORDS[i % len(WORDS)]} {WORDS[(i * 7 + 3) % len(WORDS)]} {'z' * i}\n" for i in range(60)}
    try:
        ep.gate.clear()
        ep.free = 25
        with Mount("--model", base + "/ep2") as m:
            for p, t in files.items():
                m.write(p, t)
            ok(wait_until(lambda: emb(m)["files"] >= 20, 30), "in the middle")
            finished = emb(m)["files"]
            before = len(ep.texts)
            m.kill9()
            ep.gate.set()
            m.mount()
            m.wait()
            eq(emb(m)["pending"], 0, "a mount after kill -9 embeds the rest")
            asked = len(ep.texts) - before
            ok(asked <= len(files) - finished + 1, "and no finished file again", detail=f"{finished} were finished, {asked} asked after")
            good = 0
            for q in ("feline rain", "ledger", "anchor flour"):
                got = [(r["path"], r["score"]) for r in find(m, q, mode="vector")["results"]]
                good += same_order(got, by_meaning(toy, files, q))
            eq(good, 3, "nothing is lost")
            m.umount()
            eq(vexfs("verify", m.dir)[0], 0, "and verify finds a clean store")
    finally:
        ep.close()


with Mount(start=False) as home:
    ingest_and_search(home.base)
    edits(home.base)
    change_of_model(home.base)
    waiting_meanwhile(home.base)
    damaged(home.base)
    endpoint_troubles(home.base)
    refused(home.base)
    hostile_models(home.base)
    full_disk(home.base)
    killed_in_the_middle(home.base)
done()
