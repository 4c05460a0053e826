#!/usr/bin/env python3
"""Filters against an oracle: random expressions over payloads, sizes, times, names and ids, evaluated here in Python and by the mount;
every filtered answer is the unfiltered ranking with what does not pass taken out, and it fills k when k exist."""
import fnmatch
import json
import os
import random
import time

from mnt import Mount, cosine_distance, done, eq, f32, ok, rand_vec, seed

SEED = seed()
rnd = random.Random(SEED)
LANGS = ["en", "de", "fr", "zh"]
N, DIM = 120, 6


def rand_payload():
    p = {}
    if rnd.random() < 0.8:
        p["lang"] = rnd.choice(LANGS + [3, None, True])
    if rnd.random() < 0.7:
        p["year"] = rnd.choice([1999, 2005.5, 2020, "2020", False])
    if rnd.random() < 0.6:
        p["tags"] = rnd.sample(["a", "b", "c", 7, True], rnd.randrange(4))
    if rnd.random() < 0.5:
        p["deep"] = {"x": rnd.randrange(5), "it's": "q"}
    return p if rnd.random() < 0.9 else None


def get(p, path):
    for k in path.split("."):
        if not isinstance(p, dict) or k not in p:
            return None, False
        p = p[k]
    return p, True


def is_num(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool)


def cmp_values(v, op, want):
    if isinstance(want, bool) or want is None:
        r = (v is want)
        return r if op == "==" else not r
    same = (is_num(v) and is_num(want)) or (isinstance(v, str) and isinstance(want, str))
    if op == "!=":
        return not (same and v == want)
    if not same:
        return False
    return {"==": v == want, "<": v < want, "<=": v <= want, ">": v > want, ">=": v >= want}[op]


def lit(v):
    if isinstance(v, bool):
        return "true" if v else "false"
    if v is None:
        return "null"
    if isinstance(v, str):
        return rnd.choice(["'%s'" % v.replace("'", "''"), '"%s"' % v.replace('"', '""')])
    return repr(v)


def leaf():
    """(text, function of an item)"""
    k = rnd.randrange(9)
    eqop = rnd.choice(["==", "!="])
    op = rnd.choice(["==", "!=", "<", "<=", ">", ">="])
    shown = {"==": rnd.choice(["==", "="]), "!=": rnd.choice(["!=", "<>"])}.get(op, op)
    if k == 0:
        v = rnd.choice(LANGS)
        return f"payload.lang {shown} {lit(v)}", lambda i: cmp_values(get(i["p"], "lang")[0], op, v)
    if k == 1:
        v = rnd.choice([1999, 2005.5, 2010])
        return f"payload.year {shown} {v}", lambda i: cmp_values(get(i["p"], "year")[0], op, v)
    if k == 2:
        v = rnd.choice(["a", "c", 7, True])
        return f"payload.tags contains {lit(v)}", lambda i: any(type(x) is type(v) and x == v for x in (get(i["p"], "tags")[0] or []))
    if k == 3:
        v = rnd.randrange(6)
        return f"payload.deep.x {shown} {v}", lambda i: cmp_values(get(i["p"], "deep.x")[0], op, v)
    if k == 4:
        v = rnd.choice([0, 50, 100, 1024])
        txt = "1K" if v == 1024 else str(v)
        return f"size {shown} {txt}", lambda i: cmp_values(i["size"], op, v)
    if k == 5:
        v = rnd.choice(["*.txt", "f1*", "*[13579].md", "x"])
        return f"name glob '{v}'", lambda i: i["name"] is not None and fnmatch.fnmatchcase(i["name"], v)
    if k == 6:
        v = rnd.choice([1_000_000_000, 1_500_000_000, 1_600_000_000])
        txt = {1_000_000_000: "'2001-09-09T01:46:40Z'", 1_500_000_000: "'2017-07-14 02:40:00'"}.get(v, str(v))
        return f"mtime {shown} {txt}", lambda i: cmp_values(i["mtime"], op, v)
    if k == 7:
        f = rnd.choice(["payload.lang", "payload.deep", "payload.nothing"])
        return f"exists {f}", lambda i: get(i["p"], f[8:])[1]
    if rnd.random() < 0.5:
        vs = rnd.sample(LANGS + [3, True, None], 2)
        return (f"payload.lang in [{', '.join(map(lit, vs))}]",
                lambda i: any(cmp_values(get(i["p"], "lang")[0], "==", v) if not (v is None and not get(i["p"], "lang")[1]) else False for v in vs))
    v = rnd.choice([True, None])
    return (f"payload.lang {eqop} {lit(v)}",
            lambda i: (get(i["p"], "lang")[1] and get(i["p"], "lang")[0] is v) == (eqop == "=="))


def expr(depth):
    k = rnd.randrange(5) if depth else 0
    if k < 2:
        return leaf()
    a, fa = expr(depth - 1)
    if k == 2:
        return f"{rnd.choice(['not', '!'])} ({a})", lambda i: not fa(i)
    b, fb = expr(depth - 1)
    if k == 3:
        return f"({a}) {rnd.choice(['and', '&&'])} ({b})", lambda i: fa(i) and fb(i)
    return f"({a} {rnd.choice(['or', '||'])} {b})", lambda i: fa(i) or fb(i)


def flat_chain():
    """a or b and not c: precedence without parentheses"""
    parts = [leaf() for _ in range(4)]
    neg = [rnd.random() < 0.3 for _ in parts]
    ops = [rnd.choice(["and", "or"]) for _ in parts[1:]]
    text = ("not " if neg[0] else "") + parts[0][0]
    for o, p, ng in zip(ops, parts[1:], neg[1:]):
        text += f" {o} {'not ' if ng else ''}{p[0]}"

    def f(i):
        vals = [p[1](i) != ng for p, ng in zip(parts, neg)]
        groups, cur = [], [vals[0]]
        for o, v in zip(ops, vals[1:]):
            if o == "and":
                cur.append(v)
            else:
                groups.append(cur)
                cur = [v]
        groups.append(cur)
        return any(all(g) for g in groups)
    return text, f


with Mount() as m:
    items = []
    for n in range(N):
        name = f"f{n}.{rnd.choice(['txt', 'md'])}"
        size = rnd.choice([0, 10, 50, 100, 1024, 3000])
        m.write(name, b"x" * size)
        t = rnd.choice([900_000_000, 1_000_000_000, 1_550_000_000, 1_700_000_000])
        os.utime(m.p(name), (t, t))
        v = rand_vec(rnd, DIM)
        m.set_vector(name, v)
        p = rand_payload()
        if p is not None:
            os.setxattr(m.p(name), "user.vexfs.payload", json.dumps(p).encode())
        items.append({"name": name, "size": size, "mtime": t, "v": v, "p": p})
    m.wait()
    q = rand_vec(rnd, DIM)
    ranked = [r["path"] for r in m.ask("search", vector=q, k=N, exact=True)["results"]]
    eq(len(ranked), N, "all are found without a filter")
    by_name = {i["name"]: i for i in items}
    wrong, passed, none = [], 0, 0
    for turn in range(400):
        text, f = expr(3) if turn % 3 else flat_chain()
        want = [x for x in ranked if f(by_name[x])]
        k = rnd.choice([1, 5, N])
        for exact in (True, False):
            a = m.ask("search", vector=q, k=k, exact=exact, ef=200, filter=text)
            got = [r["path"] for r in a.get("results", [])]
            passed += len(got)
            none += not want
            if got != want[:k]:
                wrong.append((text, k, exact, a if "error" in a else got[:5], want[:5], len(got), len(want)))
    ok(not wrong, f"400 random filters, {passed} results, {none} empty, seed {SEED}", detail=wrong[:3])

    # free points by id and payload
    m.ask("collection_create", name="fp", dim=2, metric="l2")
    m.ask("put", collection="fp", points=[{"id": i, "vector": [i, 0], "payload": {"odd": i % 2 == 1}} for i in range(50)])
    a = m.ask("search", collection="fp", vector=[0, 0], k=5, filter="id >= 10 and payload.odd == true")
    eq([r["id"] for r in a["results"]], [11, 13, 15, 17, 19], "free points by id and payload, seen as soon as acknowledged")
    a = m.ask("search", collection="fp", vector=[0, 0], k=5, filter="size > 0 or name glob '*'")
    eq(a["results"], [], "free points have no size and no name")

    # what a filter let pass is remembered, but never longer than it is true
    wrong = []
    for turn in range(60):
        n = rnd.randrange(50)
        m.ask("put", collection="fp", points=[{"id": n, "vector": [n, 0], "payload": {"mark": turn}}])
        for _ in range(2):
            got = [r["id"] for r in m.ask("search", collection="fp", vector=[0, 0], k=50, filter=f"payload.mark == {turn}")["results"]]
            if got != [n]:
                wrong.append((turn, n, got))
    ok(not wrong, "a payload put is what the next filter sees, asked twice", detail=wrong[:3])

    # text
    m.write("t1.md", "the zebra crosses\n")
    m.write("t2.md", "a zebra in the zoo, a large zebra\n")
    os.setxattr(m.p("t2.md"), "user.vexfs.payload", b'{"zoo":true}')
    m.wait()
    eq([r["path"] for r in m.ask("search", text="zebra", filter="payload.zoo == true")["results"]], ["t2.md"], "filter of a search by words")
    eq([r["path"] for r in m.ask("search", text="zebra", filter="size < 20")["results"]], ["t1.md"], "and by size")
    eq(sorted(r["path"] for r in m.ask("search", text="zebra", filter="mtime > '-1h'")["results"]), ["t1.md", "t2.md"], "and by age")
    eq(m.ask("search", text="zebra", filter="mtime < '-1h'")["results"], [], "and by the other age")

    # mistakes, with their place: {"verb": "search", "text": "zebra", "filter": "…
    for text, at, why in [("", 0, "field"), ("size >", 6, "value"), ("size > 'x'", 7, "compare"), ("size > 1 size", 9, "and"), ("(size > 1", 9, "missing"),
                          ("size > 1)", 8, "without"), ("payload. == 1", 0, "field"), ("colour == 1", 0, "unknown field"), ("name == 'x", 8, "quote"),
                          ("size ~ 1", 5, "comparison"), ("payload.a in []", 14, "value"), ("mtime > 'soon'", 8, "time"), ("(" * 100, 64, "deep"),
                          (" and ".join(["size > 1"] * 200), None, "many")]:
        a = json.loads(m.raw(json.dumps({"verb": "search", "text": "zebra", "filter": text}).encode()))
        e = a.get("error", {})
        base = json.dumps({"verb": "search", "text": "zebra", "filter": ""}).index('"filter": "') + len('"filter": "')
        ok(e.get("code") == "filter_syntax" and why in e.get("message", "") and (at is None or e.get("position") == base + at),
           f"filter {text[:20]!r} is refused at {at}", detail=a)
done()
