#!/usr/bin/env python3
"""How to fuse words and meaning: chosen on one half of Cranfield's queries, judged on the other.

    fusion.py DATA EMBED_TOOL MODEL [WINDOWS]

DATA holds docs.txt docs.ids q.txt q.ids qrels (tools/fetch_data.py); EMBED_TOOL is the built tests/unit/embed/embed_tool.  The words' leg is
SQLite's FTS5 with porter and BM25, the meaning's leg the model's cosine, both over whole documents.  Prints nDCG@10 of all queries and of each
half, and R@100, for both legs and for each way of fusing them.  Needs numpy."""
import json, math, re, sqlite3, subprocess, sys, tempfile
import numpy as np

data, tool, model = sys.argv[1:4]
windows = sys.argv[4] if len(sys.argv) > 4 else "1"
read = lambda n: open(f"{data}/{n}").read().rstrip("\n").split("\n")
docs, dids, qs, qids = read("docs.txt"), read("docs.ids"), read("q.txt"), read("q.ids")
rel = {}
for line in read("qrels"):
    q, d, s = line.split()[:3]
    if float(s) > 0:
        rel.setdefault(q, {})[d] = float(s)


def encode(texts, w):
    with tempfile.TemporaryDirectory() as t:
        with open(t + "/in", "wb") as f:
            f.write(b"".join((x if x.strip() else "x").encode() + b"\0" for x in texts))
        info = json.loads(subprocess.run([tool, model, t + "/in", t + "/out", "32", w], stdout=subprocess.PIPE, check=True).stdout)
        return np.fromfile(t + "/out", "<f4").reshape(-1, info["dim"])


vec = encode(qs, "1") @ encode(docs, windows).T
db = sqlite3.connect(":memory:")
db.execute("create virtual table f using fts5(t, tokenize='porter unicode61')")
db.executemany("insert into f(rowid, t) values(?, ?)", [(i + 1, d) for i, d in enumerate(docs)])
bm = np.zeros_like(vec)
for i, q in enumerate(qs):
    match = " OR ".join(f'"{w}"' for w in re.findall(r"\w+", q.lower()))
    for row, s in db.execute("select rowid, -bm25(f) from f where f match ?", (match,)):
        bm[i, row - 1] = s


def show(name, m):
    n, r = [], []
    for i, q in enumerate(qids):
        want = rel.get(q)
        if not want:
            continue
        order = np.argsort(-m[i], kind="stable")
        ideal = sum(v / math.log2(k + 2) for k, v in enumerate(sorted(want.values(), reverse=True)[:10]))
        n.append(sum(want.get(dids[d], 0) / math.log2(k + 2) for k, d in enumerate(order[:10])) / ideal)
        r.append(len(want.keys() & {dids[d] for d in order[:100]}) / len(want))
    n = np.array(n)
    print(f"{name:24s} nDCG@10 {n.mean():.4f}  halves {n[::2].mean():.4f} {n[1::2].mean():.4f}  R@100 {np.mean(r):.4f}")


rank = lambda m: np.argsort(np.argsort(-m, axis=1), axis=1) + 1
unit = lambda m: m / (m.max(1, keepdims=True) + 1e-9)
show("words (BM25)", bm)
show("meaning (cosine)", vec)
for k in (5, 10, 20, 60):
    show(f"RRF, k {k}", 1 / (k + rank(bm)) + 1 / (k + rank(vec)))
for w in (0.4, 0.5, 0.6, 0.7):
    show(f"weighted, meaning {w}", (1 - w) * unit(bm) + w * vec)
