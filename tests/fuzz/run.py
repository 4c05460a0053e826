#!/usr/bin/env python3
"""Build every tests/fuzz/fuzz_*.c with clang's libFuzzer, AddressSanitizer and UBSan, and run each for some seconds.  TAP on stdout.

usage: run.py [--seconds N] [--only NAME] [--work DIR] [--build DIR]
A finding is left in the work directory (kept then, and named) as NAME/crash-* or NAME/timeout-*; repeat it with the fuzzer beside it:
WORK/fuzz_NAME WORK/NAME/crash-…"""
import argparse
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYERS = ["fs", "query", "engine", "server", "embed", "store", "index", "text", "simd", "base"]  # callers first
MAX_LEN = {"graph": 400_000, "wire": 70_000}
PACKAGES = {"html": ["libxml-2.0"], "zip": ["libxml-2.0", "libarchive"], "pdf": ["poppler-glib"]}  # beside what the layers need


def archive(parts):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in parts:
            z.writestr(name, text)
    return b.getvalue()


def pdf(text):
    stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
    objs = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    return ("%PDF-1.4\n" + "".join(f"{i + 1} 0 obj\n{o}\nendobj\n" for i, o in enumerate(objs)) + "trailer << /Root 1 0 R /Size 6 >>\n%%EOF\n").encode()


WORD = '<w:document xmlns:w="w"><w:body><w:p><w:pPr><w:pStyle w:val="Heading2"/></w:pPr><w:r><w:t>a &lt; b</w:t><w:tab/><w:br/></w:r></w:p></w:body></w:document>'
OPEN = '<o:d xmlns:o="o" xmlns:text="t"><text:tracked-changes><text:p>x</text:p></text:tracked-changes><text:h text:outline-level="3">K</text:h><text:p>E<text:s/>S<text:line-break/></text:p></o:d>'
CONTAINER = '<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>'
PACKAGE = '<package><manifest><item id="c" href="a%20b.xhtml"/></manifest><spine><itemref idref="c"/></spine></package>'
CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%s","arguments":%s}}\n'
SEEDS = {
    "safetensors": [b'y\x08{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}01234567',
                    b'y\x04{"__metadata__":{"f":"pt"},"b":{"dtype":"BF16","shape":[],"data_offsets":[2,4]},'
                    b'"c":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}0123'],
    "tokenizer": [b'1{"[UNK]":0,"a":1,"##b":2,"[CLS]":7}', "2ab aba [MASK][M e\u0301 é 日日 İ a\u00a0b".encode(),
                  b'0{"model":{"type":"WordPiece","vocab":{"a":0}},"normalizer":{"type":"BertNormalizer"},'
                  b'"pre_tokenizer":{"type":"BertPreTokenizer"}}'],
    "html": [b"<!doctype html><title>A &amp; B</title><h2>T</h2><p>One <b>t</b><br>x<script>x()</script><pre> y </pre><ul><li>a<li>b</ul><img alt=c>",
             '<meta charset="shift_jis"><p>日本'.encode("shift_jis"), b"<table><tr><td>1<td>2</table><svg><p>x</svg><select><option>z</select>&#65;&#xd800;"],
    "zip": [b"a" + archive([("word/document.xml", WORD)]), b"a" + archive([("content.xml", OPEN)]), b"w" + WORD.encode(), b"o" + OPEN.encode(),
            b"s" + b'<p:s xmlns:p="p" xmlns:a="a"><a:p><a:r><a:t>S</a:t></a:r></a:p></p:s>',
            b"p\x03" + CONTAINER.encode() + b"\xff\x04" + PACKAGE.encode() + b"\xff\x05<h1>2</h1>second", b"p\x00" + WORD.encode() + b"\xff\x01" + WORD.encode(),
            b"p\x02" + OPEN.encode(), b"p\x06<a:p xmlns:a='a'><a:t>x</a:t></a:p>\xff\x07<a:p xmlns:a='a'/>"],
    "pdf": [pdf("Hello"), pdf("(x) \\(y\\) \\101")],
    "mcp": [b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n{"jsonrpc":"2.0","id":"a","method":"ping"}\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n',
            (CALL % ("search", '{"query":"x","k":5,"mode":"text","cursor":"5","scope":"a","filter":"size > 1","min_score":0.5}')).encode() +
            b'\xff{"results":[{"rank":1,"path":"a.txt","score":0.5,"state":"stale","locator":{"lines":[1,2]},"snippet":"a"},{"rank":2,"path":"b","score":1}],'
            b'"generation":3,"complete":false,"pending":1}',
            (CALL % ("similar", '{"like":"a.txt","k":1}') + CALL % ("read", '{"path":"a.txt","start_line":2,"lines":1}') + CALL % ("status", "{}")).encode() +
            b'\xff{"generation":1}', (CALL % ("search", '{"query":"x"}')).encode() + b'\xff{"error":{"code":"x","message":"y"}}'],
    "chunk": ["=~line one. two\n\n# heading\n```\ncode\n```\n\n}\nint f(void)\n\ufeff 。".encode()],
    "json": [b'{"verb":"search","text":"who","k":5,"mode":"hybrid"}',
             b'{"verb":"put","collection":"c","points":[{"id":7,"vector":[1,2e-3],"payload":{"a":[null,true]}}],"wait":"durable"}'],
}


def sh(cmd, **kw):
    return subprocess.run([str(c) for c in cmd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **kw)


def build(bdir):
    if not (bdir / "build.ninja").exists():
        r = sh(["meson", "setup", bdir, "-Db_sanitize=address,undefined", "-Db_lundef=false", "--buildtype=debug", "-Doptimization=1",
                "-Dc_args=-fsanitize=fuzzer-no-link"], env={**os.environ, "CC": os.environ.get("FUZZ_CC", "clang")}, cwd=ROOT)
        if r.returncode:
            return r.stdout
    r = sh(["ninja", "-C", bdir, *[f"src/{x}/libvx_{x}.a" for x in LAYERS if (ROOT / "src" / x / "meson.build").exists()],
            "src/cli/vexfs"])
    return r.stdout if r.returncode else None


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seconds", type=int, default=10)
    ap.add_argument("--only", default="")
    ap.add_argument("--work")
    ap.add_argument("--build", default=str(ROOT / "build-check-fuzz"))
    a = ap.parse_args()
    bdir = pathlib.Path(a.build)
    work = pathlib.Path(a.work or tempfile.mkdtemp(prefix="vexfs-fuzz-"))
    targets = [f for f in sorted((ROOT / "tests/fuzz").glob("fuzz_*.c")) if not a.only or f.stem == "fuzz_" + a.only]
    n, bad = 0, 0
    err = build(bdir)
    if err:
        print("not ok 1 - the fuzz build\n# " + "\n# ".join(err.splitlines()[-15:]) + "\n1..1")
        return 1
    libs = [x for layer in LAYERS for x in sorted((bdir / "src" / layer).glob("lib*.a"))]
    pk = sh(["pkg-config", "--cflags", "--libs", "fuse3", "sqlite3", "libxxhash", "jansson", "libutf8proc", "libcurl", "liburing"])
    flags = ["-std=gnu17", "-O1", "-g", "-w", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", f"-I{ROOT}/src", f"-I{ROOT}/include",
             f"-I{ROOT}/tests", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"]
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0"}
    for t in targets:
        name, n = t.stem[5:], n + 1
        exe, d = work / t.stem, work / name
        (d / "corpus").mkdir(parents=True, exist_ok=True)
        for i, s in enumerate(SEEDS.get(name, [])):
            (d / "corpus" / f"seed{i}").write_bytes(s)
        own = sh(["pkg-config", "--cflags", "--libs", *PACKAGES[name]]) if name in PACKAGES else None
        if own and own.returncode:
            print(f"ok {n} - fuzz {name} # SKIP no {' '.join(PACKAGES[name])}")
            continue
        link = [*(own.stdout.split() if own else []), "-Wl,--start-group", *libs, "-Wl,--end-group", *pk.stdout.split(), "-lm", "-lpthread"]
        r = sh(["clang", *flags, t, *link, "-o", exe])
        if not r.returncode and "MAKE_CORPUS" in t.read_text():
            c = sh(["clang", *[f for f in flags if "fuzzer" not in f], "-fsanitize=fuzzer-no-link,address,undefined", "-DMAKE_CORPUS", t, *link,
                    "-o", work / "corpus_maker"])
            r = c if c.returncode else sh([work / "corpus_maker", d / "corpus"])
        if not r.returncode:
            r = sh([exe, f"-max_total_time={a.seconds}", "-timeout=20", "-rss_limit_mb=2048", f"-max_len={MAX_LEN.get(name, 20_000)}",
                    "-print_final_stats=1", "corpus"], cwd=d, env=env)
        runs = next((x.split()[-1] for x in r.stdout.splitlines() if "number_of_executed_units" in x), "0")
        good = r.returncode == 0
        bad += not good
        print(f"{'ok' if good else 'not ok'} {n} - fuzz {name}: {runs} inputs in {a.seconds} s", flush=True)
        if not good:
            print("# " + "\n# ".join(r.stdout.splitlines()[-40:]))
    print(f"1..{n}")
    if bad:
        print(f"# findings are kept in {work}")
    elif not a.work:
        shutil.rmtree(work, ignore_errors=True)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
