#!/usr/bin/env python3
"""The rules of docs/HACKING.md that a script can check in the sources.

usage: check_rules.py SRC [BUILD]

Calls: each rule names functions that only some files may call.  A line that must break a rule says so: `/* rule NAME: reason */`.
Symbols (with BUILD, a Meson build directory): every global function of a layer's static library begins with the layer's name, or
with a part of the name of one of its files, so that a name tells where it is from; tools/prefixes.txt lists the others.
"""
import pathlib
import re
import subprocess
import sys

# name, functions, files that may (regex on the path below src/), why
CALLS = [
    ("malloc", "malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf getline getdelim posix_memalign "
     "aligned_alloc valloc", r"base/mem\.c", "memory comes from base/mem.h, where it is counted and limited"),
    ("printf", "printf fprintf sprintf snprintf vprintf vfprintf vsprintf vsnprintf dprintf vdprintf puts fputs putchar perror "
     "scanf sscanf fscanf strtod strtof atof", r"cli/", "printf takes 2-10 KB of stack; base/sbuf.h writes text"),
    ("syslog", "syslog vsyslog openlog", r"base/log\.c", "lines go to base/log.h"),
    ("deep", "qsort qsort_r realpath getpwuid getpwnam getgrgid getgrnam getaddrinfo localtime strftime glob ftw nftw fts_open",
     r"cli/", "kilobytes of stack inside libc, or hidden allocation"),
    ("alloca", "alloca __builtin_alloca strdupa strndupa", r"^$", "frames have a fixed size"),
    ("errno-map", "err_posix", r"(base/err\.[ch]|fs/reply\.c|query/binary\.c|lib/.*|server/.*|cli/.*)",
     "codes become errnos at the edges only: fs/reply.c, the binary reply's status, lib/, server/, cli/"),
    ("clock", "clock_gettime gettimeofday time clock nanosleep usleep sleep clock_nanosleep", r"(base|cli|fs)/",
     "time comes through struct os, so that tests can set it"),
    ("random", "rand srand random srandom drand48 getrandom getentropy arc4random", r"base/", "random comes through struct os"),
    ("thread", "pthread_create pthread_detach thrd_create fork vfork clone", r"(base|cli)/",
     "threads come from base/thread.h, on painted stacks of our own"),
    ("file-io", "open openat open64 creat read pread write pwrite readv writev preadv pwritev fsync fdatasync sync_file_range "
     "ftruncate truncate rename renameat renameat2 unlink unlinkat mkdir mkdirat fopen fdopen mmap munmap mremap msync",
     r"(base|fs|cli|lib)/", "file I/O comes through struct os, so that tests can fail, cut and count it"),
    ("exit", "exit _exit abort _Exit quick_exit", r"(cli/|base/err\.c|base/os_fault\.c)",
     "a mount that ends leaves its users with ENOTCONN; return a code"),
    ("unbounded", "strcpy strcat gets stpcpy strtok", r"^$", "no bound on what is written"),
]
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
PATH_ARRAY = re.compile(r"^\s+(?!static\b)(?:u?int8_t|char)\s+\w+\s*\[\s*(?:CONF_)?PATH_MAX\b")


def strip(text):
    """Comments and literals blanked, line structure kept."""
    return TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def check_source(rel, text):
    code = strip(text).splitlines()
    raw = text.splitlines()
    if not text.lstrip().startswith("/*"):
        yield f"{rel}:1: a file opens with a comment that tells its design"
    for name, funcs, may, why in CALLS:
        if re.match(may, str(rel)):
            continue
        rx = re.compile(r"(?<![\w.>])(" + "|".join(funcs.split()) + r")\s*\(")
        for n, line in enumerate(code):
            m = rx.search(line)
            if not m or line.lstrip().startswith("#define") or re.search(r"\b(struct|static|int|void|ssize_t)\s+\**" + m[1] + r"\s*\(", line):
                continue
            near = raw[n] + (raw[n - 1] if n else "")
            if f"rule {name}:" not in near:
                yield f"{rel}:{n + 1}: {m[1]}() [{name}]: {why}"
    if not str(rel).startswith("cli/") and rel.suffix == ".c":
        for n, line in enumerate(code):
            if PATH_ARRAY.match(line):
                yield f"{rel}:{n + 1}: a path on the stack [path]: 4 KiB of a 16 KiB stack; use the request's arena"


def check_symbols(root, build):
    for lib in sorted(pathlib.Path(build).glob("src/*/libvx_*.a")):
        layer = lib.parent.name
        stems = {layer}
        for f in (root / layer).glob("*.[ch]"):
            stems |= {f.stem, *f.stem.split("_"), *(part + "s" for part in f.stem.split("_"))}
        extra = root.parent / "tools" / "prefixes.txt"
        for line in extra.read_text().splitlines() if extra.exists() else []:
            who, _, names = line.split("#", 1)[0].partition(":")
            if who.strip() == layer:
                stems |= set(names.split())
        out = subprocess.run(["nm", "-A", "--defined-only", "-g", str(lib)], capture_output=True, text=True).stdout
        for line in out.splitlines():
            parts = line.split()
            sym, kind = parts[-1], parts[-2]
            if kind not in "TDBRCV" or sym.startswith(("__", "_")):
                continue
            if sym in stems or any(sym.startswith(s + "_") for s in stems):
                continue
            yield f"{layer}: the global symbol {sym} has no prefix of its layer or file ({line.split(':')[1]})"


def main():
    root = pathlib.Path(sys.argv[1])
    bad, files = [], sorted(root.rglob("*.[ch]"))
    for f in files:
        bad += check_source(f.relative_to(root), f.read_text(errors="replace"))
    if len(sys.argv) > 2:
        bad += check_symbols(root, sys.argv[2])
    for line in bad:
        print(line)
    print(f"rules: {len(files)} files, {len(CALLS)} call rules, {len(bad)} violations")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
