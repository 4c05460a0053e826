#!/usr/bin/env python3
"""The stack monitor on a real mount: warning and refusal as ctl makes requests come in deep, marks that can be set, one line each in the log.

The daemon runs in the foreground, so that its log can be read; `-o debug` gives ctl the verb that eats stack.
"""
import errno
import json
import os
import subprocess

import mnt
from mnt import Mount, done, eq, ok, rand_vec, seed, wait_until

rng = __import__("random").Random(seed(9))


class Front(Mount):
    """a mount whose log is ours to read"""

    def mount(self, *extra):
        self.log = open(os.path.join(self.base, "log"), "a+")
        self.proc = subprocess.Popen([mnt.VEXFS, "mount", "-f", self.dir, self.mnt, *self.opts, *extra], stderr=self.log, stdout=self.log)
        if not wait_until(lambda: mnt.mounted(self.mnt) or self.proc.poll() is not None) or self.proc.poll() is not None:
            raise RuntimeError("it does not mount: " + self.text())
        self.pid = self.status()["pid"]
        return self

    def text(self):
        self.log.flush()
        with open(os.path.join(self.base, "log")) as f:
            return f.read()

    def close(self):
        super().close()
        if getattr(self, "proc", None):
            self.proc.wait()
            self.log.close()


def ctl(m, line):
    """(errno or 0, answer)"""
    fd = os.open(m.p(".vexfs/ctl"), os.O_RDWR)
    try:
        os.write(fd, line.encode())
        rc = 0
    except OSError as e:
        rc = e.errno
    try:
        return rc, os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def marks(a):
    return {k: a[k] for k in ("warn", "critical")}


def counters(m):
    return m.ask("stats")["counters"]


def without_debug():
    with Mount() as plain:
        rc, _ = ctl(plain, "stack_eat bytes=100")
        eq(rc != 0, True, "without -o debug there is no stack to eat")
        rc, out = ctl(plain, "stack_limits")
        eq((rc, marks(json.loads(out))), (0, {"warn": 4096, "critical": 6144}), "the marks of the report are what a mount starts with")


def eat(m):
    c0 = counters(m)
    rc, _ = ctl(m, "stack_eat bytes=1024")
    c1 = counters(m)
    eq((rc, c1["stack_warned"] - c0["stack_warned"], c1["stack_refused"] - c0["stack_refused"]), (0, 0, 0), "1 KiB: nothing happens")
    rc, _ = ctl(m, "stack_eat bytes=4096")
    c2 = counters(m)
    eq((rc, c2["stack_warned"] > c1["stack_warned"], c2["stack_refused"]), (0, True, c1["stack_refused"]), "4 KiB: answered and counted as near")
    for n in range(3):
        rc, out = ctl(m, "stack_eat bytes=5632")
    eq(rc, errno.EAGAIN, "5.5 KiB on top of the way there: refused with EAGAIN")
    eq(json.loads(out)["error"]["code"], "stack_risk", "and named")
    c3 = counters(m)
    eq(c3["stack_refused"] - c2["stack_refused"], 3, "each refusal is counted")
    text = m.text()
    eq(text.count("too little is left"), 1, "the refusal is logged once")
    eq(text.count("above the warning mark"), 1, "the warning is logged once")


def settable(m):
    m.write("f", "content")
    v = rand_vec(rng, 8)
    m.set_vector("f", v)
    m.wait()
    rc, _ = ctl(m, "stack_limits warn=256 critical=256")
    eq(rc, 0, "marks are set by ctl")
    a = m.ask("search", vector=v, k=1)
    eq(a.get("error", {}).get("code"), "stack_risk", "with a mark below what libfuse takes a search is refused")
    with open(m.p("f")) as f:
        eq(f.read(), "content", "while files are read")
    m.write("g", "written meanwhile")
    os.rename(m.p("g"), m.p("h"))
    with open(os.path.join(m.dir, "h")) as f:
        eq(f.read(), "written meanwhile", "and written, and renamed")
    rc, out = ctl(m, "stack_limits warn=4096 critical=6144")
    eq(marks(json.loads(out)), {"warn": 4096, "critical": 6144}, "set back")
    eq(len(m.ask("search", vector=v, k=1)["results"]), 1, "and it searches")
    for bad in ("warn=5000 critical=4000", "critical=16000", "warn=10"):
        rc, _ = ctl(m, f"stack_limits {bad}")
        eq(rc, errno.EINVAL, f"{bad} is refused")


def main():
    without_debug()
    with Front("-o", "debug,components=all") as m:
        eat(m)
        settable(m)
    with Mount("-o", "stack-warn=2k,stack-critical=3000") as m:
        eq(marks(m.ask("stack_limits")), {"warn": 2048, "critical": 3000}, "marks as mount options")
        ok(any(s["limit"] == 3000 for s in m.status()["stack"]), "status tells them")
    code, _, err = mnt.vexfs("mount", "/tmp", "/mnt", "-o", "stack-critical=1M")
    ok(code == 2 and "stack-critical" in err, "a mark as large as the stack is refused with a sentence", detail=err)
    done()


main()
