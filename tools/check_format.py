#!/usr/bin/env python3
"""Layout of every C file against .clang-format.

usage: check_format.py ROOT

The releases of clang-format differ in what they make of one configuration, so one is fixed: 14, the default of Debian 12 and a package on
Ubuntu.  Exit status 77 (skipped) when that release is not installed.
"""
import pathlib
import shutil
import subprocess
import sys

RELEASE = "14"


def find_tool():
    for name in (f"clang-format-{RELEASE}", "clang-format"):
        if shutil.which(name):
            out = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
            if f"version {RELEASE}." in out:
                return name
    return None


def main():
    root, tool = pathlib.Path(sys.argv[1]), find_tool()
    if not tool:
        print(f"format: clang-format {RELEASE} is not installed")
        return 77
    files = [str(p) for d in ("src", "include", "tests") for p in sorted((root / d).rglob("*.[ch]"))]
    bad = []
    for f in files:
        want = subprocess.run([tool, "--style=file", f], capture_output=True).stdout
        if want != open(f, "rb").read():
            bad.append(f)
    for f in bad:
        print(f"{f}: run {tool} -i on it")
    print(f"format: {len(files)} files, {len(bad)} differ")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
