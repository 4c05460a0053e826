#!/usr/bin/env python3
"""The oracle of test_json: documents with what Python's json module says of them. usage: gen_json_corpus.py OUT [SEED]

One line each: V or I (valid or not) and the document in hex; S: a string, document and its text; N: a number and its bits."""
import json, random, struct, sys

out, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20261123
rnd = random.Random(seed)


def constant(name):
    raise ValueError(name)


def depth_of(v):
    n, level = 0, [v]
    while True:
        level = [x for x in level if isinstance(x, (dict, list))]
        if not level:
            return n
        n += 1
        level = [y for x in level for y in (x.values() if isinstance(x, dict) else x)]


def pairs(p):
    return [x for kv in p for x in kv]  # keys are strings that must be valid too


def oracle(doc):
    try:
        v = json.loads(doc.decode("utf-8"), parse_constant=constant, object_pairs_hook=lambda p: {str(i): x for i, x in enumerate(pairs(p))})
        json.dumps(v, ensure_ascii=False).encode("utf-8")  # a lone surrogate fails here
    except (ValueError, RecursionError):
        return False
    return depth_of(v) <= 16


def text():
    kinds = ["a", "0", " ", "\u00e9", "\u4e2d", "\U0001f600", '"', "\\", "/", "\n", "\x01", "\u007f", "\u2028"]
    return "".join(rnd.choice(kinds) for _ in range(rnd.randrange(8)))


def number():
    k = rnd.randrange(5)
    if k == 0:
        return str(rnd.randrange(-10, 10**rnd.randrange(1, 22)))
    if k == 1:
        return repr(rnd.uniform(-1, 1))
    if k == 2:
        return repr(struct.unpack("<d", struct.pack("<Q", rnd.getrandbits(64) & 0x7FDFFFFFFFFFFFFF))[0])
    if k == 3:
        return "%d.%de%+d" % (rnd.randrange(100), rnd.randrange(10**9), rnd.randrange(-330, 300))
    return rnd.choice(["0", "-0", "1e5", "1E+2", "0.1e-3", "12345678901234567890", "2.2250738585072011e-308", "5e-324"])


def value(d):
    k = rnd.randrange(8 if d > 0 else 5)
    if k == 0:
        return number()
    if k in (1, 2):
        return json.dumps(text(), ensure_ascii=rnd.random() < 0.5)
    if k in (3, 4):
        return rnd.choice(["true", "false", "null"])
    sp = rnd.choice(["", " ", "\n\t", "\r\n"])
    if k in (5, 6):
        return "[" + sp + ("," + sp).join(value(d - 1) for _ in range(rnd.randrange(4))) + sp + "]"
    return "{" + sp + ("," + sp).join(json.dumps(text()) + sp + ":" + value(d - 1) for _ in range(rnd.randrange(4))) + sp + "}"


def mutate(doc):
    b = bytearray(doc)
    for _ in range(rnd.randrange(1, 4)):
        i = rnd.randrange(len(b) + 1)
        k = rnd.randrange(4)
        if k == 0 and i < len(b):
            del b[i]
        elif k == 1:
            b.insert(i, rnd.choice(b'{}[]",:\\ue0-+.1 tfn\x00\x80\xff\xed\xc0'))
        elif i < len(b):
            b[i] = rnd.choice(b'{}[]",:\\ue0-+.1 tfn\x1f\x80\xf5\xe0') if k == 2 else rnd.randrange(256)
    return bytes(b)


fixed = [b"", b" ", b"nul", b"truex", b"[1,]", b"{\"a\":1,}", b"[,1]", b"01", b"-", b"1.", b".5", b"1e", b"+1", b"NaN", b"Infinity",
         b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\udc00\\ud800"', b'"\\u12"', b'"\\x"', b'"a', b'"\t"', b'"\xc3"', b'"\xed\xa0\x80"', b'"\xc0\x80"',
         b'"\xf4\x90\x80\x80"', b"{}", b"[]", b'{"a"}', b'{"a":}', b"{1:2}", b"[1 2]", b"[1]]", b"[[1]", b"1 1", b"\xef\xbb\xbf1",
         b"[" * 16 + b"]" * 16, b"[" * 17 + b"]" * 17, b'{"a":' * 16 + b"1" + b"}" * 16, b'{"a":' * 17 + b"1" + b"}" * 17, b"[" * 100000]
with open(out, "w") as f:
    f.write("# seed %d\n" % seed)
    for doc in fixed:
        f.write("%s %s\n" % ("V" if oracle(doc) else "I", doc.hex()))
    for _ in range(6000):
        doc = value(rnd.choice([1, 3, 6, 18])).encode()
        f.write("%s %s\n" % ("V" if oracle(doc) else "I", doc.hex()))
        for _ in range(2):
            m = mutate(doc)
            f.write("%s %s\n" % ("V" if oracle(m) else "I", m.hex()))
    for _ in range(3000):
        s = text()
        f.write("S %s %s\n" % (json.dumps(s, ensure_ascii=rnd.random() < 0.7).encode().hex(), s.encode().hex()))
    for _ in range(3000):
        n = number()
        f.write("N %s %s\n" % (n.encode().hex(), struct.pack("<d", float(n)).hex()))
