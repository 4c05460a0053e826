#!/usr/bin/env python3
"""Files with several vectors: a score that is the sum over all of them, by JSON, ioctl, library and command, against brute force over the
chunks; the best chunk is the default."""
import os
import random

from mnt import Mount, done, eq, ok, seed, vexfs
from toymodel import TOPICS, Toy
from vioc import call, m_search, results

rnd = random.Random(seed())
TEXT, SUM, SEARCH_VECTOR = 1 << 7, 1 << 9, 1
FILLER = "lorem ipsum dolor amet quod erat sunt enim velit magna nulla culpa".split()


def document(sections):
    """a text of sections, each long enough to be a chunk of its own"""
    out = []
    for i in range(sections):
        words = rnd.sample(TOPICS[rnd.choice(list(TOPICS))], 2) + [rnd.choice(TOPICS["animals"])] * rnd.randrange(2)
        body = [rnd.choice(FILLER) for _ in range(260)]
        for w in words:
            body.insert(rnd.randrange(len(body)), w)
        out.append(f"# Part {i} {rnd.randrange(10**6)}\n\n" + " ".join(body) + ".\n\n")
    return "".join(out)


def answer(a):
    return [(r["path"], r["score"]) for r in a["results"]]


def same(got, want, tol=1e-3):
    want = dict(want)
    return len(got) == len(want) and all(abs(s - want.get(p, 1e9)) < tol for p, s in got) and all(a[1] >= b[1] - 1e-6 for a, b in zip(got, got[1:]))


with Mount(start=False) as m:
    toy = Toy("toy")
    toy.folder(m.base + "/toy")
    m.mount("--model", m.base + "/toy")
    files = {f"d{i:02d}.md": document(1 + i % 6) for i in range(18)}
    for p, t in files.items():
        m.write(p, t)
    m.wait()
    several = 0
    for q in ("feline", "court verdict", "violin tide", "kitten rain dough"):
        chunks = m.ask("search", text=q, mode="vector", group="chunk", k=1000)["results"]
        # brute force: each chunk's text by the toy itself
        right, sums, best, count = 0, {}, {}, {}
        for r in chunks:
            b0, b1 = r["locator"]["bytes"]
            cos = toy.cos(q, files[r["path"]].encode()[b0:b1].decode())
            right += cos is not None and abs(cos - r["score"]) < 1e-3
            sums[r["path"]] = sums.get(r["path"], 0) + cos
            best[r["path"]] = max(best.get(r["path"], -1), cos)
            count[r["path"]] = count.get(r["path"], 0) + 1
        eq(right, len(chunks), f"{q}: chunks score as the model says")
        several += sum(n > 1 for n in count.values())
        order = sorted(sums, key=lambda p: -sums[p])
        a = m.ask("search", text=q, mode="vector", combine="sum", k=100)
        ok(same(answer(a), sums), f"{q}: sums are brute force's", detail=(answer(a), sums))
        ok(same(answer(m.ask("search", text=q, mode="vector", k=100)), best), f"{q}: without a word about it, the best chunk counts")
        ok(same(answer(m.ask("search", text=q, mode="vector", combine="max", k=100)), best), f"{q}: which is max")
        top = answer(m.ask("search", text=q, mode="vector", combine="sum", k=3))
        eq([p for p, _ in top], [p for p, _ in answer(a)][:3], f"{q}: the first three of all")
        score = {(r["path"], *r["locator"]["bytes"]): r["score"] for r in chunks}  # two chunks may be as good as one another
        ok(all(score[(r["path"], *r["locator"]["bytes"])] > best[r["path"]] - 1e-3 for r in a["results"]), f"{q}: a file is shown at its best chunk",
           detail=(a, best))
        cut = (sums[order[2]] + sums[order[3]]) / 2
        eq(len(m.ask("search", text=q, mode="vector", combine="sum", k=100, min_score=cut)["results"]), 3, f"{q}: min_score is of the sum")
    ok(several > 20, f"files have several chunks ({several})")
    q = "feline"
    a = answer(m.ask("search", text=q, mode="vector", combine="sum", k=5))
    scope = m.ask("search", text="feline path:d0*", mode="vector", combine="sum", k=100)["results"]
    ok(scope and all(r["path"].startswith("d0") for r in scope), "what narrows, narrows sums")
    eq(m.ask("search", text=q, combine="mean").get("error", {}).get("code"), "bad_value", "there is no third way")

    d = os.open(m.mnt, os.O_RDONLY)
    r = results(call(d, m_search(q.encode(), k=5, flags=TEXT | SUM, mode=SEARCH_VECTOR)))
    ok([x[0] for x in r] == [p for p, _ in a] and all(abs(x[1] - s) < 1e-5 for x, (_, s) in zip(r, a)), "by ioctl", detail=(r, a))
    os.close(d)
    rc, out, err = vexfs("search", q, m.mnt, "--mode", "vector", "--combine", "sum", "-k", "5", "-l")
    eq((rc, [os.path.basename(x) for x in out.split()]), (0, [p for p, _ in a]), "by the command")
    # an edit: the sum follows
    p = a[0][0]
    m.write(p, document(1))
    m.wait()
    now = dict(answer(m.ask("search", text=q, mode="vector", combine="sum", k=100)))
    ok(p not in now or now[p] <= 1.0 + 1e-6, "fewer chunks, a smaller sum", detail=(a[0], now.get(p)))
done()
