#!/usr/bin/env python3
"""Word-count vectors for the demo: one per text file of a directory, as .jsonl for `vexfs import`.

usage: demo_vectors.py DIR OUT.jsonl [MAX_FILES]      prints "QUERY<tab>FILE": two telling words of one file, and that file

Every word is hashed to one of 256 dimensions (the hashing trick: Weinberger et al., arXiv:0902.2206), its weight is 1 + log(count) times
its rarity among the files.  That knows shared words, not meaning; a sentence model in its place would.
"""
import hashlib
import json
import math
import os
import re
import sys

DIM, WORD = 256, re.compile(r"[a-z][a-z]{3,}")


def words_of(path):
    try:
        with open(path, "rb") as f:
            raw = f.read(1 << 16)
    except OSError:
        return {}
    if b"\0" in raw:
        return {}
    n = {}
    for w in WORD.findall(raw.decode(errors="ignore").lower()):
        n[w] = n.get(w, 0) + 1
    return n if sum(n.values()) >= 20 else {}


def main():
    root, out = sys.argv[1:3]
    most = int(sys.argv[3]) if len(sys.argv) > 3 else 400
    files = []
    for d, dirs, names in os.walk(root):
        dirs[:] = sorted(x for x in dirs if not x.startswith("."))
        for name in sorted(names):
            rel = os.path.relpath(os.path.join(d, name), root)
            try:
                rel.encode()
            except UnicodeEncodeError:
                continue
            if not name.startswith(".") and os.path.isfile(os.path.join(d, name)) and not os.path.islink(os.path.join(d, name)):
                n = words_of(os.path.join(d, name))
                if n:
                    files.append((rel, n))
        if len(files) >= most:
            break
    seen = {}
    for _, n in files:
        for w in n:
            seen[w] = seen.get(w, 0) + 1
    best = None
    with open(out, "w") as f:
        for rel, n in files:
            v = [0.0] * DIM
            weight = {w: (1 + math.log(c)) * math.log(1 + len(files) / seen[w]) for w, c in n.items()}
            for w, x in weight.items():
                h = hashlib.blake2b(w.encode(), digest_size=4).digest()
                v[int.from_bytes(h[:2], "little") % DIM] += x if h[2] & 1 else -x
            f.write(json.dumps({"path": rel, "vector": [round(x, 5) for x in v]}) + "\n")
            top = sorted((w for w in weight if len(w) > 5 and 1 < seen[w] <= max(2, len(files) // 4)), key=lambda w: -weight[w])
            top = top[:1] + [w for w in top[1:] if w[:4] != top[0][:4]][:1]
            if len(top) == 2:  # prose reads better than code
                score = (rel.endswith((".md", ".txt", ".org", ".rst")), weight[top[0]] + weight[top[1]])
                if best is None or score > best[0]:
                    best = (score, " ".join(top), rel)
    if not best:
        sys.exit("demo: no text files there that share words")
    print(best[1], best[2], sep="\t")


if __name__ == "__main__":
    main()
