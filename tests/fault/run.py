#!/usr/bin/env python3
"""Build the clients of the fault suite and run torture.py with the same arguments.  usage: run.py [--small] [...]; BUILD names the build dir."""
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
build = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
if not build.is_absolute():
    build = ROOT / build
if not (build / "build.ninja").exists():
    subprocess.run(["meson", "setup", build, ROOT], check=True, stdout=subprocess.DEVNULL)
r = subprocess.run(["ninja", "-C", build, "tests/fault/fault_client", "tests/fault/rot_client"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
if r.returncode:
    sys.exit(r.stdout)
os.execv(sys.executable, [sys.executable, HERE / "torture.py", "--client", build / "tests/fault/fault_client", *sys.argv[1:]])
