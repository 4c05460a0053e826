#!/usr/bin/env python3
"""Build every tests/fuzz/fuzz_*.c with clang's libFuzzer, AddressSanitizer and UBSan, and run each for some seconds.  TAP on stdout.

usage: run.py [--seconds N] [--only NAME] [--work DIR] [--build DIR]
A finding is left in the work directory (kept then, and named) as NAME/crash-* or NAME/timeout-*; repeat it with the fuzzer beside it:
WORK/fuzz_NAME WORK/NAME/crash-…"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYERS = ["fs", "query", "engine", "server", "embed", "store", "index", "text", "simd", "base"]  # callers first
MAX_LEN = {"graph": 400_000, "wire": 70_000}
SEEDS = {
    "safetensors": [b'y\x08{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}01234567',
                    b'y\x04{"__metadata__":{"f":"pt"},"b":{"dtype":"BF16","shape":[],"data_offsets":[2,4]},'
                    b'"c":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}0123'],
    "tokenizer": [b'1{"[UNK]":0,"a":1,"##b":2,"[CLS]":7}', "2ab aba [MASK][M e\u0301 é 日日 İ a\u00a0b".encode(),
                  b'0{"model":{"type":"WordPiece","vocab":{"a":0}},"normalizer":{"type":"BertNormalizer"},'
                  b'"pre_tokenizer":{"type":"BertPreTokenizer"}}'],
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
        link = ["-Wl,--start-group", *libs, "-Wl,--end-group", *pk.stdout.split(), "-lm", "-lpthread"]
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
