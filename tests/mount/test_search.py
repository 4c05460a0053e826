#!/usr/bin/env python3
"""`vexfs search` as people and scripts meet it: exit statuses, output forms, colour on a terminal alone, a directory that is not mounted."""
import json
import os
import pty
import re
import select
import subprocess

from mnt import VEXFS, Mount, done, eq, ok, run, seed, vexfs

seed(1)


def on_tty(*argv, env=None):
    """What is shown on a terminal."""
    main, side = pty.openpty()
    p = subprocess.Popen([VEXFS, *argv], stdin=side, stdout=side, stderr=side, env={**os.environ, "TERM": "xterm", **(env or {})})
    os.close(side)
    out = b""
    while select.select([main], [], [], 60)[0]:
        try:
            b = os.read(main, 65536)
        except OSError:
            break
        if not b:
            break
        out += b
    os.close(main)
    p.wait(60)
    return out.decode()


def statuses(m):
    table = [((), ("wombat", m.mnt), 0), ((), ("axolotl", m.mnt), 1), ((), ("wombat", "/nonexistent"), 2), ((), ("wombat", "/"), 2), ((), (), 2), ((), ("a", "b", "c"), 2),
             (("--k", "0"), ("wombat", m.mnt), 2), (("-k", "x"), ("wombat", m.mnt), 2), (("--mode", "magic"), ("wombat", m.mnt), 2), (("--filter", "size >"), ("wombat", m.mnt), 2),
             (("-c", "none"), ("wombat", m.mnt), 2), (("--no-such-flag",), ("wombat", m.mnt), 2), (("--filter", "size > 1M"), ("wombat", m.mnt), 1), (("--min-score", "2"), ("wombat", m.mnt), 1),
             (("--strict",), ("wombat", m.mnt), 0), (("--strict",), ("axolotl", m.mnt), 1), (("--mode", "text", "--exact", "--wait", "--stale"), ("wombat", m.mnt), 0),
             (("--at", "no-such"), ("wombat", m.mnt), 2), (("-h",), (), 0)]
    for opts, args, want in table:
        rc, out, err = vexfs("search", *opts, *args)
        good = rc == want and (want != 2 or (err and not out)) and (want != 1 or not out)
        ok(good, f"search {' '.join(opts + args[:1])}: {want}", detail=(rc, out, err))
    eq(vexfs("similar", m.p("none.txt"))[0], 2, "similar to a file that is not there: 2")
    eq(vexfs("query", "--vector", "/nonexistent.npy", m.mnt)[0], 2, "query with a vector that is not there: 2")
    eq(run(VEXFS, "query", "--json", "-", m.mnt, stdin=b'{"verb":"search","text":"axolotl"}')[0], 1, "query --json without results: 1")
    eq(run(VEXFS, "query", "--json", "-", m.mnt, stdin=b"{")[0], 2, "query --json that is none: 2")


def forms(m):
    at = m.p("a.txt")
    _, out, _ = vexfs("search", "wombat", m.mnt)
    eq(out, f"{at}:2\t{out.split(chr(9))[1]}\tfirst line the wombat sleeps a marsupial\n", "a pipe: path:line, score, snippet, tabs between; the line is the word's")
    eq(vexfs("search", "-l", "wombat", m.mnt)[1], at + "\n", "-l: paths")
    eq(vexfs("search", "-0", "wombat", m.mnt)[1], at + "\0", "-0: ended by NUL")
    eq(vexfs("search", "-l", "wombat", cwd=m.mnt)[1], "a.txt\n", "below the current directory paths are short")
    eq(vexfs("search", "-l", "quoll", m.p("sub"))[1], m.p("sub/b.txt") + "\n", "a directory is the scope")
    eq(vexfs("search", "-l", "wombat", m.p("sub"))[:2], (1, ""), "what lies outside it is not found")
    a = json.loads(vexfs("search", "--json", "wombat", m.mnt)[1])
    eq((a["complete"], a["results"][0]["path"], a["results"][0]["locator"]["lines"]), (True, "a.txt", [1, 5]), "--json: the whole answer")
    lines = vexfs("search", "--jsonl", "marsupial", m.mnt, "-k", "2")[1].splitlines()
    eq(sorted(json.loads(l)["path"] for l in lines), ["a.txt", "sub/b.txt"], "--jsonl: one result a line, -k of them")
    t = on_tty("search", "wombat", m.mnt)
    ok("\033[" in t and "\033[1;31mwombat\033[0m" in t, "a terminal: colour, the word marked", detail=repr(t))
    ok("\033[" not in on_tty("search", "wombat", m.mnt, env={"NO_COLOR": "1"}), "not with NO_COLOR")
    ok("\033[" not in on_tty("search", "wombat", m.mnt, env={"TERM": "dumb"}), "nor on a dumb one")
    ok("\033[" not in vexfs("search", "wombat", m.mnt)[1], "nor in a pipe")
    m.write("evil\033[2J.txt", "a bandicoot \033]0;title\007 here\n")
    m.wait()
    t = re.sub(r"\033\[[0-9;]*m", "", on_tty("search", "bandicoot", m.mnt))
    ok("\033" not in t and "\007" not in t, "what names and texts hold does not reach the terminal", detail=repr(t))


def unmounted(m):
    want = vexfs("search", "-l", "marsupial", m.mnt)[1].replace(m.mnt, m.dir)
    eq(sorted(vexfs("search", "-l", "marsupial", m.dir)[1].splitlines()), sorted(want.splitlines()), "a directory that is mounted is asked through its mount")
    m.umount()
    before = sorted(os.listdir(m.dir + "/.vexfs"))
    rc, out, err = vexfs("search", "-l", "marsupial", m.dir)
    eq((rc, sorted(out.splitlines()), err), (0, sorted(want.splitlines()), ""), "and one that is not is searched in this process")
    eq(vexfs("search", "-l", "quoll", m.dir + "/sub")[1], m.dir + "/sub/b.txt\n", "with its scope")
    eq(vexfs("search", "axolotl", m.dir)[0], 1, "none: 1")
    eq(vexfs("search", "-l", "quoll", cwd=m.dir + "/sub")[1], "b.txt\n", "from within it")
    eq(run(VEXFS, "query", "--json", "-", m.dir, stdin=b'{"verb":"put","path":"a.txt","vector":[1]}')[0], 2, "nothing can be changed there")
    ok("is not mounted" in on_tty("search", "wombat", m.dir), "a terminal is told")
    with open(m.dir + "/late.txt", "w") as f:
        f.write("a late wombat\n")
    eq([vexfs("search", "-l", "wombat", m.dir, *o)[0] for o in ((), ("--strict",))], [0, 3], "a file that came since makes the answer incomplete: 3 under --strict")
    os.truncate(m.dir + "/a.txt", 0)
    eq(vexfs("search", "wombat", m.dir)[0], 1, "and one that changed is no result any more")
    eq(sorted(f for f in os.listdir(m.dir + "/.vexfs") if not f.endswith(("-shm", "-wal"))), before, "the store was only read")
    eq(vexfs("search", "x", os.path.dirname(m.dir))[0], 2, "a directory without a store: 2")
    os.unlink(m.dir + "/late.txt")
    m.mount("-o", "ro")
    eq(vexfs("search", "-l", "quoll", m.mnt)[:2], (0, m.p("sub/b.txt") + "\n"), "a mount that is read-only")
    m.wait("--rescan")
    pending = [m.status()["pending"]]
    for come in (True, False):
        open(m.dir + "/late.txt", "w").close() if come else os.unlink(m.dir + "/late.txt")
        m.wait("--rescan")
        pending.append(m.status()["pending"])
    eq(pending, [1, 2, 1], "what changed behind it stays pending; what is gone again does not")
    m.umount()
    m.mount()


with Mount() as m:
    m.write("a.txt", "first line\nthe wombat sleeps\n\n\na marsupial\n")
    os.mkdir(m.p("sub"))
    m.write("sub/b.txt", "a quoll, a marsupial\n")
    m.wait()
    statuses(m)
    forms(m)
    unmounted(m)
done()
