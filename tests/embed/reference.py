#!/usr/bin/env python3
"""The reference run of a sentence encoder, and the comparison of vexfs's own encoder with it.

    reference.py check MODEL TOOL [--texts FILE] [--n 200]   tokens and vectors agree: cosine >= .999 on every text
    reference.py bench MODEL TOOL [--texts FILE] [--n 200]   chunks/s, one thread, against onnxruntime in the same run

MODEL is a model's folder, TOOL the built tests/unit/embed/embed_tool.  The reference is the network of the paper in numpy float32 with
the `tokenizers` library in front, straight from model.safetensors; `bench` also builds the same network as an ONNX graph (with
onnxruntime's own fused operators) and runs it on one thread.  Needs: numpy, tokenizers; bench: onnx, onnxruntime.
Prints one line of JSON; exit status 0 when the bar is met."""
import argparse, json, math, os, struct, subprocess, sys, tempfile, time
import numpy as np
from tokenizers import Tokenizer


def safetensors(path):
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(n))
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + n)
    out = {}
    for name, t in head.items():
        if name != "__metadata__" and t["dtype"] == "F32":
            a, b = t["data_offsets"]
            out[name] = np.frombuffer(data[a:b].tobytes(), dtype="<f4").reshape(t["shape"])
    return out


GRID = np.linspace(-6, 6, 200001)
ERF = np.array([math.erf(v) for v in GRID])


def erf(x):
    # linear between 200,001 exact points: error below 5e-10
    return np.interp(x, GRID, ERF)


class Reference:
    def __init__(self, folder):
        self.cfg = json.load(open(folder + "/config.json"))
        self.w = safetensors(folder + "/model.safetensors")
        self.tok = Tokenizer.from_file(folder + "/tokenizer.json")
        self.tok.no_padding()
        self.max = json.load(open(folder + "/sentence_bert_config.json"))["max_seq_length"]
        self.tok.enable_truncation(self.max)

    def norm(self, x, name):
        m = x.mean(-1, keepdims=True)
        v = ((x - m) ** 2).mean(-1, keepdims=True)
        return (x - m) / np.sqrt(v + self.cfg["layer_norm_eps"]) * self.w[name + ".weight"] + self.w[name + ".bias"]

    def encode(self, text):
        ids = self.tok.encode(text).ids
        c, w, n = self.cfg, self.w, len(ids)
        heads, d = c["num_attention_heads"], c["hidden_size"] // c["num_attention_heads"]
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:n] + w["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for l in range(c["num_hidden_layers"]):
            p = f"encoder.layer.{l}."
            lin = lambda a, s: a @ w[p + s + ".weight"].T + w[p + s + ".bias"]
            q, k, v = (lin(x, "attention.self." + s).reshape(n, heads, d).transpose(1, 0, 2) for s in ("query", "key", "value"))
            a = q @ k.transpose(0, 2, 1) / math.sqrt(d)
            a = np.exp(a - a.max(-1, keepdims=True))
            a = (a / a.sum(-1, keepdims=True)) @ v
            x = self.norm(x + lin(a.transpose(1, 0, 2).reshape(n, -1), "attention.output.dense"), p + "attention.output.LayerNorm")
            h = lin(x, "intermediate.dense")
            h = (h * 0.5 * (1 + erf(h / math.sqrt(2)))).astype(np.float32)
            x = self.norm(x + lin(h, "output.dense"), p + "output.LayerNorm")
        v = x.mean(0)
        return v / np.linalg.norm(v), n


def onnx_session(ref, path):
    import onnx, onnxruntime
    from onnx import helper as H, numpy_helper as N, TensorProto as T
    c, w = ref.cfg, ref.w
    nodes, inits = [], []

    def const(name, a):
        inits.append(N.from_array(np.ascontiguousarray(a), name))
        return name

    def node(op, ins, out, n=1, domain="", **kw):
        outs = [out] + [f"{out}_{i}" for i in range(1, n)]
        nodes.append(H.make_node(op, ins, outs, domain=domain, **kw))
        return out
    M = "com.microsoft"
    heads, eps = c["num_attention_heads"], c["layer_norm_eps"]
    node("EmbedLayerNormalization", ["ids", "types", const("we", w["embeddings.word_embeddings.weight"]),
         const("pe", w["embeddings.position_embeddings.weight"]), const("te", w["embeddings.token_type_embeddings.weight"]),
         const("eg", w["embeddings.LayerNorm.weight"]), const("eb", w["embeddings.LayerNorm.bias"]), "mask"], "x0", 2, M, epsilon=eps)
    x = "x0"
    for l in range(c["num_hidden_layers"]):
        p = f"encoder.layer.{l}."
        s = p + "attention.self."
        wq = np.concatenate([w[s + k + ".weight"].T for k in ("query", "key", "value")], 1)
        bq = np.concatenate([w[s + k + ".bias"] for k in ("query", "key", "value")])
        node("Attention", [x, const(f"wq{l}", wq), const(f"bq{l}", bq), "x0_1"], f"a{l}", 1, M, num_heads=heads)
        node("MatMul", [f"a{l}", const(f"wo{l}", w[p + "attention.output.dense.weight"].T)], f"o{l}")
        node("SkipLayerNormalization", [f"o{l}", x, const(f"g1{l}", w[p + "attention.output.LayerNorm.weight"]), const(f"b1{l}", w[p + "attention.output.LayerNorm.bias"]),
             const(f"bo{l}", w[p + "attention.output.dense.bias"])], f"y{l}", 1, M, epsilon=eps)
        node("MatMul", [f"y{l}", const(f"wi{l}", w[p + "intermediate.dense.weight"].T)], f"i{l}")
        node("BiasGelu", [f"i{l}", const(f"bi{l}", w[p + "intermediate.dense.bias"])], f"h{l}", 1, M)
        node("MatMul", [f"h{l}", const(f"wd{l}", w[p + "output.dense.weight"].T)], f"d{l}")
        node("SkipLayerNormalization", [f"d{l}", f"y{l}", const(f"g2{l}", w[p + "output.LayerNorm.weight"]), const(f"b2{l}", w[p + "output.LayerNorm.bias"]),
             const(f"bd{l}", w[p + "output.dense.bias"])], f"x{l+1}_", 1, M, epsilon=eps)
        x = f"x{l+1}_"
    i32 = lambda n: H.make_tensor_value_info(n, T.INT32, ["b", "s"])
    g = H.make_graph(nodes, "bert", [i32("ids"), i32("types"), i32("mask")], [H.make_tensor_value_info(x, T.FLOAT, None)], inits)
    m = H.make_model(g, opset_imports=[H.make_opsetid("", 17), H.make_opsetid(M, 1)], ir_version=8)
    onnx.save(m, path)
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = o.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"])


def onnx_encode(ref, ses, texts, batch):
    """As sentence-transformers does it: sort by length, pad within the batch, mean over the mask, unit length."""
    enc = ref.tok.encode_batch(texts)
    order = sorted(range(len(texts)), key=lambda i: -len(enc[i].ids))
    out = np.zeros((len(texts), ref.cfg["hidden_size"]), np.float32)
    for a in range(0, len(order), batch):
        part = order[a:a + batch]
        n = max(len(enc[i].ids) for i in part)
        ids, mask = np.zeros((len(part), n), np.int32), np.zeros((len(part), n), np.int32)
        for r, i in enumerate(part):
            ids[r, :len(enc[i].ids)] = enc[i].ids
            mask[r, :len(enc[i].ids)] = 1
        x = ses.run(None, {"ids": ids, "types": np.zeros_like(ids), "mask": mask})[0]
        v = (x * mask[..., None]).sum(1) / mask.sum(1)[:, None]
        out[part] = v / np.linalg.norm(v, axis=1, keepdims=True)
    return out


def texts_of(path, n):
    if path:
        return [t for t in open(path, "rb").read().decode("utf-8", "ignore").split("\0") if t][:n]
    # this project's own files, in pieces of growing length, and some of what tokenizers trip over
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    out = ["", " ", "a", "naïve café ÅNGSTRÖM", "日本語のテキスト。", "🙂🙃 emoji", "x" * 300, "[MASK] [SEP] [CLS]", "C++ &amp; <b>html</b>", "Ελληνικά και русский", "1,234.56e-7", "don't—stop…", "\u202bעברית\u202c", "한국어 문장", "e\u0301 = \u00e9", "\ufeffBOM", "ﬁ ligature ½", "a\u0000b", "tab\tand\r\nline", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢"]
    src = []
    for top, _, names in sorted(os.walk(os.path.join(root, "src"))):
        src += [os.path.join(top, f) for f in sorted(names) if f.endswith((".c", ".h"))]
    k = 0
    while len(out) < n and src:
        t = open(src[k % len(src)], encoding="utf-8", errors="ignore").read()
        size = 40 + (k * 37) % 2400
        at = (k * 911) % max(1, len(t) - size)
        out.append(t[at:at + size])
        k += 1
    return out[:n]


def run_tool(tool, model, texts, tmp, batch=32):
    src, dst = tmp + "/in", tmp + "/out.f32"
    with open(src, "wb") as f:
        for t in texts:
            f.write(t.replace("\0", "").encode() + b"\0")
    r = subprocess.run([tool, model, src, dst, str(batch)], check=True, stdout=subprocess.PIPE)
    info = json.loads(r.stdout)
    return np.fromfile(dst, dtype="<f4").reshape(-1, info["dim"]), info


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("what", choices=["check", "bench"])
    ap.add_argument("model")
    ap.add_argument("tool")
    ap.add_argument("--texts")
    ap.add_argument("--n", type=int, default=200)
    a = ap.parse_args()
    texts = [t.replace("\0", "") for t in texts_of(a.texts, a.n)]
    ref = Reference(a.model)
    with tempfile.TemporaryDirectory() as tmp:
        if a.what == "check":
            want = np.stack([ref.encode(t)[0] for t in texts])
            got, info = run_tool(a.tool, a.model, texts, tmp)
            cos = (want * got).sum(1)
            worst = int(cos.argmin())
            print(json.dumps({"texts": len(texts), "cosine_min": float(cos.min()), "cosine_mean": float(cos.mean()), "worst_text": texts[worst][:80],
                              "rss_kb": info["rss_kb"], "rss_dropped_kb": info["rss_dropped_kb"]}))
            return 0 if len(got) == len(texts) and cos.min() >= 0.999 else 1
        ses = onnx_session(ref, tmp + "/m.onnx")
        ours, theirs = [], []
        for rep in range(3):  # interleaved, best of three of each
            got, info = run_tool(a.tool, a.model, texts, tmp)
            ours.append(info["seconds"])
            t0 = time.monotonic()
            other = onnx_encode(ref, ses, texts, 32)
            theirs.append(time.monotonic() - t0)
        cos = float((got * other).sum(1).min())
        print(json.dumps({"texts": len(texts), "vexfs_per_s": len(texts) / min(ours), "onnxruntime_per_s": len(texts) / min(theirs),
                          "ratio": min(theirs) / min(ours), "cosine_min": cos, "rss_kb": info["rss_kb"]}))
        return 0 if min(theirs) / min(ours) >= 0.8 and cos >= 0.999 else 1


sys.exit(main())
