"""toymodel.py - models small enough to be written by a test, whose vectors the test can work out itself.

A toy knows some topics, each with a few words; a word's vector is its topic's axis and a little noise of its own, so words of a
topic lie near one another though they share no letter.  toy_folder writes it as a static token table (model2vec's files); Endpoint serves the
same vectors as an OpenAI-compatible server on loopback, and can be told to be slow, down, wrong or to talk nonsense.
"""
import http.server
import json
import os
import random
import re
import struct
import threading

TOPICS = {
    "animals": "cat feline kitten puma leopard whisker",
    "money": "invoice payment refund ledger salary budget",
    "weather": "rain thunder drizzle snowfall monsoon hail",
    "music": "violin sonata melody chorus trumpet rhythm",
    "sea": "harbour sailor anchor vessel tide lighthouse",
    "bread": "flour yeast loaf bakery dough oven",
    "law": "court judge verdict statute lawyer appeal",
    "stars": "comet galaxy nebula orbit telescope planet",
}
TOPICS = {k: v.split() for k, v in TOPICS.items()}
WORDS = [w for t in TOPICS.values() for w in t]


class Toy:
    def __init__(self, name, dim=16, seed=1, noise=0.2):
        self.name, self.dim = name, dim
        rng = random.Random(seed)
        self.of = {}
        for t, words in enumerate(TOPICS.values()):
            for w in words:
                v = [rng.gauss(0, noise) for _ in range(dim)]
                v[(t * 2 + seed) % dim] += 1.0
                self.of[w] = [struct.unpack("<f", struct.pack("<f", x))[0] for x in v]

    def vector(self, text):
        """unit vector of a text, None when it has no word the toy knows"""
        known = [self.of[w] for w in re.findall(r"[a-z]+", text.lower()) if w in self.of]
        if not known:
            return None
        v = [sum(c) / len(known) for c in zip(*known)]
        n = sum(x * x for x in v) ** 0.5
        return [x / n for x in v]

    def cos(self, a, b):
        x, y = self.vector(a), self.vector(b)
        return sum(p * q for p, q in zip(x, y)) if x and y else None

    def folder(self, at):
        os.makedirs(at, exist_ok=True)
        vocab = {"[PAD]": 0, "[UNK]": 1}
        vocab.update({w: i + 2 for i, w in enumerate(self.of)})
        rows = [[0.0] * self.dim] * 2 + list(self.of.values())
        data = b"".join(struct.pack(f"<{self.dim}f", *r) for r in rows)
        head = json.dumps({"embeddings": {"dtype": "F32", "shape": [len(rows), self.dim], "data_offsets": [0, len(data)]}}).encode()
        with open(f"{at}/model.safetensors", "wb") as f:
            f.write(struct.pack("<Q", len(head)) + head + data)
        with open(f"{at}/config.json", "w") as f:
            json.dump({"model_type": "model2vec", "normalize": True}, f)
        with open(f"{at}/tokenizer.json", "w") as f:
            json.dump({"normalizer": {"type": "BertNormalizer", "lowercase": True}, "pre_tokenizer": {"type": "BertPreTokenizer"},
                       "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocab}}, f)
        return at


class Endpoint:
    """/v1/embeddings on 127.0.0.1.  mode: ok, wrong_dim, garbage, error; gate: while clear, requests wait (after `free` more of them);
    limit: bytes of a text, longer ones are refused; refuse: texts that have this word -> the HTTP status they are answered with, or None for a vector of nulls"""

    def __init__(self, toy):
        self.toy, self.mode, self.texts = toy, "ok", []
        self.refuse, self.limit = {}, 1 << 30
        self.gate, self.free, self.lock = threading.Event(), 0, threading.Lock()
        self.gate.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer.answer(self)

            def log_message(self, *a):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # a client that was killed

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, h):
        texts = json.loads(h.rfile.read(int(h.headers["Content-Length"])))["input"]
        texts = [texts] if isinstance(texts, str) else texts
        with self.lock:
            wait = self.free <= 0
            self.free -= 1
        if wait:
            self.gate.wait(60)
        with self.lock:
            self.texts += texts
        status = 500 if self.mode == "error" else 413 if any(len(t.encode()) > self.limit for t in texts) else 200
        for word, code in self.refuse.items():
            if any(word in t for t in texts):
                status = code or status
        if status != 200:
            body = b'{"error":"no"}'
        elif self.mode == "garbage":
            body = b"<html>no json here"
        else:
            dim = self.toy.dim + (1 if self.mode == "wrong_dim" else 0)
            data = [{"index": i, "embedding": ((self.toy.vector(t) or [1e-3] * self.toy.dim) + [0.0])[:dim]} for i, t in enumerate(texts)]
            for i, t in enumerate(texts):
                if any(w in t and code is None for w, code in self.refuse.items()):
                    data[i]["embedding"] = [None] * dim
            body = json.dumps({"data": data}).encode()
        try:
            h.send_response(status)
            h.send_header("Content-Length", str(len(body)))
            h.end_headers()
            h.wfile.write(body)
        except OSError:
            pass  # the one who asked is gone

    def folder(self, at, **more):
        os.makedirs(at, exist_ok=True)
        with open(f"{at}/endpoint.json", "w") as f:
            json.dump({"url": f"http://127.0.0.1:{self.port}/v1/embeddings", "model": "toy", "dim": self.toy.dim, "retries": 0,
                       "timeout_ms": 20000, "batch": 8, **more}, f)
        return at

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
