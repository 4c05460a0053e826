#!/usr/bin/env python3
"""Every check and test of the project, in the order in which a failure is cheapest to find.

usage: tests/run.py [--only STEP,STEP] [--skip STEP,STEP] [--limit SECONDS] [--list]

Each step builds or runs something and yields results: a test program's TAP lines are counted one by one, a check counts as one.  The
last line is "N passed, N failed, N skipped"; the exit status is 0 only when nothing failed.  Without /dev/fuse the tests on a real
mount cannot run: that is a failure, not a skip, because nothing else can stand in for them.

Build directories are build-check-*; they are kept, so a second run only rebuilds what changed.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CPUS = os.cpu_count() or 1
OK, BAD, SKIP = "ok", "not ok", "skip"
LSAN = "detect_leaks=1:fast_unwind_on_malloc=1"


def failures(lines):
    """The lines of what failed, each with the remarks behind it: in a long output they are what has to be seen."""
    out, on = [], False
    for line in lines:
        on = line.startswith("not ok") or (on and line.startswith("#"))
        if on:
            out.append(line)
    return out


class Tally:
    def __init__(self):
        self.n = {OK: 0, BAD: 0, SKIP: 0}
        self.failed = []

    def add(self, kind, what):
        self.n[kind] += 1
        if kind == BAD:
            self.failed.append(what)

    def line(self):
        return f"{self.n[OK]} passed, {self.n[BAD]} failed, {self.n[SKIP]} skipped"


class Run:
    """What the steps share: where time ends, where output goes."""

    def __init__(self, limit):
        self.end = time.monotonic() + limit
        self.tally = Tally()
        self.times = []

    def left(self, most):
        return max(1.0, min(most, self.end - time.monotonic()))

    def command(self, argv, most, env=None, cwd=ROOT):
        """(status, output); status None when the time was up. The whole process group is ended then."""
        full = dict(os.environ, **(env or {}))
        p = subprocess.Popen([str(a) for a in argv], cwd=cwd, env=full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            out, _ = p.communicate(timeout=self.left(most))
            return p.returncode, out.decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGTERM)
            try:
                out, _ = p.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                out, _ = p.communicate()
            return None, out.decode(errors="replace")

    def check(self, name, argv, most=120, env=None):
        """A command that passes with status 0 and is skipped with 77."""
        status, out = self.command(argv, most, env)
        kind = OK if status == 0 else SKIP if status == 77 else BAD
        self.tally.add(kind, name)
        lines = out.rstrip().splitlines()
        print(f"{kind} - {name}{': ' + lines[-1] if lines else ''}")
        if kind == BAD:
            print("\n".join("    " + l for l in lines[-60:]))
            if status is None:
                print("    (out of time)")
        return kind == OK

    def tap(self, name, argv, most=120, env=None, cwd=ROOT):
        """A program that prints TAP: each line counts; its plan must agree and its status be 0."""
        t0 = time.monotonic()
        status, out = self.command(argv, most, env, cwd)
        plan, seen, bad, skipped = None, 0, [], 0
        for line in out.splitlines():
            m = re.match(r"(not )?ok\b(.*)", line)
            if m:
                seen += 1
                if m[1]:
                    bad.append(line)
                    self.tally.add(BAD, f"{name}: {line}")
                elif re.search(r"#\s*SKIP", m[2], re.I):
                    skipped += 1
                    self.tally.add(SKIP, name)
                else:
                    self.tally.add(OK, name)
            elif re.match(r"1\.\.\d+", line):
                plan = int(line.split("..")[1].split()[0])
        why = None
        if status is None:
            why = "out of time"
        elif status != 0 and not bad:
            why = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        elif plan is None:
            why = "no plan: it ended early"
        elif plan != seen:
            why = f"{seen} of {plan} tests ran"
        if why:
            self.tally.add(BAD, f"{name}: {why}")
        good = not why and not bad
        text = (f"{OK if good else BAD} - {name}: {seen - len(bad) - skipped} passed, {len(bad) + bool(why)} failed"
                f"{f', {skipped} skipped' if skipped else ''}  ({time.monotonic() - t0:.1f} s)")
        if not good:
            tail = out.rstrip().splitlines()
            shown = failures(tail)[:60] + ["..."] + tail[-40:] if len(tail) > 60 else tail
            text += "".join("\n    " + l for l in shown + ([why] if why else []))
        print(text, flush=True)  # in one piece: several run at once
        return good


# ---- builds ----------------------------------------------------------------------------------------------------------------------
def build(run, name, cc, options, flags=("-Dwerror=true",)):
    if not shutil.which(cc):
        run.tally.add(BAD, f"{name}: there is no {cc}")
        print(f"{BAD} - {name}: there is no {cc}")
        return False
    d = ROOT / f"build-check-{name}"
    # a cached compilation leaves no call graph behind, and the stack check would see half of the program
    wrap = "ccache " if shutil.which("ccache") and "-Dcallgraph=true" not in options else ""
    if not (d / "build.ninja").exists():
        shutil.rmtree(d, ignore_errors=True)
        if not run.check(f"{name}: configure", ["meson", "setup", d, *flags, *options], env={"CC": wrap + cc}):
            return False
    elif options:  # a directory of an earlier version may lack one
        run.command(["meson", "configure", d, *options], 60)
    return run.check(f"{name}: build without a warning", ["ninja", "-C", d], most=600)


def unit_tests(run, d, env=None, most=300, label="", without=()):
    out = subprocess.run(["meson", "introspect", "--tests", str(d)], capture_output=True, text=True, cwd=ROOT).stdout
    try:
        tests = json.loads(out)
    except ValueError:
        tests = []
    if not tests:
        run.tally.add(BAD, f"unit tests of {d.name}: none found")
        print(f"{BAD} - unit tests of {d.name}: none found")
    tests = sorted((t for t in tests if not without or not t["suite"][0].endswith(without)), key=lambda t: (t["suite"], t["name"]))
    with concurrent.futures.ThreadPoolExecutor(CPUS) as ex:
        list(ex.map(lambda t: run.tap(f"{label}{t['suite'][0].split(':')[-1]}/{t['name']}", t["cmd"],
                                      most=max(most, t.get("timeout") or 0), env={**(env or {}), **t.get("env", {})},
                                      cwd=t.get("workdir") or d), tests))


# ---- steps -----------------------------------------------------------------------------------------------------------------------
def step_layers(run):
    run.check("layers", [sys.executable, "tools/check_layers.py", "src"])


def step_rules(run):
    run.check("rules", [sys.executable, "tools/check_rules.py", "src"])


def step_format(run):
    run.check("format", [sys.executable, "tools/check_format.py", "."])


def step_gcc(run):
    if build(run, "gcc", "gcc", ["-Dcallgraph=true"]):
        d = ROOT / "build-check-gcc"
        run.check("stack: frames, recursion, deepest path", ["sh", "tools/stack.sh", d])
        run.check("symbols", [sys.executable, "tools/check_rules.py", "src", d])


def step_clang(run):
    # this build is compiled, not shipped: it carries the handler that the stack test must find too deep
    build(run, "clang", "clang", ["-Dtest_stack_hog=true"])


def step_unit(run):
    unit_tests(run, ROOT / "build-check-gcc")


def fuse_usable(run):
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
        return True
    except OSError as e:
        run.tally.add(BAD, f"real mount: /dev/fuse: {e.strerror}")
        print(f"{BAD} - real mount: /dev/fuse cannot be opened ({e.strerror}); the tests on a real mount cannot run. In a container "
              "give it the device: --device /dev/fuse --cap-add SYS_ADMIN --security-opt apparmor=unconfined")
        return False


def ended(pid, seconds):
    """Whether a process ends within that time."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def left_behind(run, tmp):
    """Mounts and processes a test forgot; they are taken down and counted as a failure."""
    mounts = [l.split()[4] for l in open("/proc/self/mountinfo") if l.split()[4].startswith(tmp)]
    for m in reversed(mounts):
        subprocess.run(["umount", "-l", m.replace("\\040", " ")], stderr=subprocess.DEVNULL)
    procs = []
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (p / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(line) > 1 and line[1] == b"mount" and any(a.startswith(tmp.encode()) for a in line) and b"vexfs" in line[0] \
                and not ended(int(p.name), 20):  # one that was unmounted a moment ago may still be writing
            procs.append(b" ".join(line).decode(errors="replace"))
            try:
                os.kill(int(p.name), signal.SIGKILL)
            except OSError:
                pass
    kind = BAD if mounts or procs else OK
    run.tally.add(kind, f"left behind: {mounts} {procs}")
    print(f"{kind} - nothing left behind{f': {mounts} {procs}' if kind == BAD else ''}")


def mount_tests(run, exe, names, label="", env=None, most=900):
    if not fuse_usable(run):
        return
    # a file system with handles, hard links and sparse files: /tmp may be a tmpfs, /var/tmp rarely is
    with tempfile.TemporaryDirectory(prefix="vexfs-check-", dir=os.environ.get("VEXFS_TEST_DIR") or "/var/tmp") as tmp:
        os.chmod(tmp, 0o711)  # a test acts as another user in there
        env = dict(env or {})
        for k in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):  # a daemon's stderr goes nowhere: its reports are collected
            if k in env:
                env[k] += f":log_path={tmp}/report"
        # the longest first, as many at once as there are processors: each has its own directory and mount
        first = ["test_scale", "test_streams", "test_twin", "test_behind"]
        names = sorted(names, key=lambda f: first.index(f.stem) if f.stem in first else len(first))
        with concurrent.futures.ThreadPoolExecutor(CPUS) as ex:
            list(ex.map(lambda f: run.tap(f"{label}{f.parent.name}/{f.stem}", [sys.executable, f], most=most,
                                          env={"VEXFS": str(exe), "TMPDIR": tmp, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}),
                        names))
        for r in sorted(pathlib.Path(tmp).glob("report*")):
            run.tally.add(BAD, f"{label}sanitizer: {r.name}")
            print(f"{BAD} - {label}sanitizer report\n" + "\n".join("    " + l for l in r.read_text(errors="replace").splitlines()[:40]))
        left_behind(run, tmp)


def step_mount(run):
    names = sorted((ROOT / "tests/mount").glob("test_*.py")) + sorted((ROOT / "tests/conform").glob("test_*.py"))
    mount_tests(run, ROOT / "build-check-gcc/src/cli/vexfs", names,
                env={"VEXFS_HOG": str(ROOT / "build-check-clang/src/cli/vexfs")})


def step_asan(run):
    flags = ["-Dwerror=true", "-Db_sanitize=address,undefined", "-Db_lundef=false", "--buildtype=debug", "-Doptimization=1"]
    if not build(run, "asan", "gcc", [], flags):
        return
    env = {"ASAN_OPTIONS": "abort_on_error=0:exitcode=99:" + LSAN, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
           "VEXFS_SANITIZED": "1"}
    # extract/ reads documents in a child with few system calls and little address space: no sanitizer fits in
    unit_tests(run, ROOT / "build-check-asan", env=env, most=300, label="asan: ", without=("extract",))
    mount_tests(run, ROOT / "build-check-asan/src/cli/vexfs", [ROOT / "tests/mount/test_session.py"], label="asan: ", env=env)


def step_fuzz(run):
    d = ROOT / "tests/fuzz"
    if (d / "run.py").exists():
        run.tap("fuzz", [sys.executable, d / "run.py", "--seconds", "5"], most=400)
    else:
        print("# no fuzz targets yet")


def step_fault(run):
    d = ROOT / "tests/fault"
    if (d / "run.py").exists():
        run.tap("fault", [sys.executable, d / "run.py", "--small"], most=900,
                env={"VEXFS": str(ROOT / "build-check-gcc/src/cli/vexfs"), "BUILD": str(ROOT / "build-check-gcc")})
    else:
        print("# no fault suite yet")


STEPS = [("layers", step_layers), ("rules", step_rules), ("format", step_format), ("gcc", step_gcc), ("clang", step_clang),
         ("unit", step_unit), ("mount", step_mount), ("asan", step_asan), ("fuzz", step_fuzz), ("fault", step_fault)]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--only", default="")
    ap.add_argument("--skip", default="")
    ap.add_argument("--limit", type=float, default=float(os.environ.get("VEXFS_CHECK_SECONDS", 3300)))
    ap.add_argument("--list", action="store_true")
    a = ap.parse_args()
    if a.list:
        print("\n".join(n for n, _ in STEPS))
        return 0
    sys.stdout.reconfigure(line_buffering=True)
    only, skip = set(filter(None, a.only.split(","))), set(filter(None, a.skip.split(",")))
    unknown = (only | skip) - {n for n, _ in STEPS}
    if unknown:
        sys.exit(f"no step {' '.join(sorted(unknown))}")
    run = Run(a.limit)
    for name, fn in STEPS:
        if (only and name not in only) or name in skip:
            continue
        print(f"== {name}")
        t0 = time.monotonic()
        if t0 > run.end:
            run.tally.add(BAD, f"{name}: no time left")
            print(f"{BAD} - {name}: no time left ({a.limit:.0f} s in all)")
            continue
        try:
            fn(run)
        except Exception as e:  # a step that breaks is a failure of that step, not of the run
            run.tally.add(BAD, f"{name}: {type(e).__name__}: {e}")
            print(f"{BAD} - {name}: {type(e).__name__}: {e}")
        run.times.append((name, time.monotonic() - t0))
    print("== time  " + "  ".join(f"{n} {t:.0f} s" for n, t in run.times))
    for f in run.tally.failed:
        print(f"failed: {f}")
    print(run.tally.line())
    return run.tally.n[BAD] > 0


if __name__ == "__main__":
    sys.exit(main())
