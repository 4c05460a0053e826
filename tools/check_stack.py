#!/usr/bin/env python3
"""Worst-case stack, from GCC's call graph (-fcallgraph-info=su,da).

usage: check_stack.py [options] BUILD|file.ci ...

Finds recursion (any cycle of calls), frames of dynamic size, frames over a limit, and the deepest path from each root.  Calls through
pointers can't be seen by the compiler: tools/indirect.txt names their targets, by caller ("name: target target", * matches in both) or
by the text of the calling line ("/regex/: target target"); "-" is a call that leaves for code outside the graph.  What it doesn't name is
listed.  A frame limit for functions that a FUSE thread can reach is checked apart from that of all others, and the
deepest path from the FUSE handlers must stay within --fuse-path.  Frames of libc and libfuse are not in the graph; what they cost is
measured at run time (`vexfs status --json`, stack).
"""
import argparse
import fnmatch
import pathlib
import re
import sys

NODE = re.compile(r'title: "([^"]+)" label: "([^"]*)"')
EDGE = re.compile(r'sourcename: "([^"]+)" targetname: "([^"]+)"(?: label: "([^"]*)")?')


class Graph:
    def __init__(self):
        self.size, self.dynamic, self.where, self.calls = {}, {}, {}, {}
        self.through = {}  # caller -> [place of a call through a pointer]

    def read(self, path):
        for line in open(path, errors="replace"):
            if line.startswith("node:"):
                m = NODE.search(line)
                if not m:
                    continue
                parts = m[2].split("\\n")
                stack = next((p for p in parts if "bytes (" in p), None)
                if stack:
                    self.size[m[1]] = int(stack.split()[0])
                    self.dynamic[m[1]] = "dynamic" in stack and "bounded" not in stack
                    self.where[m[1]] = parts[1] if len(parts) > 1 else "?"
            elif line.startswith("edge:"):
                m = EDGE.search(line)
                if m and m[2] == "__indirect_call":
                    self.through.setdefault(m[1], []).append(str(pathlib.Path(path).parent) + "|" + (m[3] or ""))
                elif m:
                    self.calls.setdefault(m[1], set()).add(m[2])

    def by_name(self, pattern):
        return [t for t in self.size if fnmatch.fnmatchcase(short(t), pattern)]

    def source_line(self, place, build):
        """The text of the line a label like "../src/a.c:12:3" points at, joined with the next: a call may be broken."""
        name, line = place.split("|")[1].rsplit(":", 2)[:2]
        f = pathlib.Path(build, name)
        if f not in self.lines:
            try:
                self.lines[f] = f.read_text(errors="replace").splitlines()
            except OSError:
                self.lines[f] = []
        return " ".join(x.strip() for x in self.lines[f][int(line) - 1:int(line) + 1])

    def resolve_indirect(self, table, build):
        """Fills in the calls that the table knows; returns complaints about names it has and the graph does not."""
        stale, by_caller, by_line, self.lines = [], [], [], {}
        for n, line in enumerate(open(table), 1):
            line = line.split("#", 1)[0].strip()
            if not line:
                continue
            left, right = line.rsplit(":", 1)
            tos = set()
            for t in right.split():
                got = self.by_name(t)
                if not got and t != "-":
                    stale.append(f"{table}:{n}: no function {t}")
                tos |= set(got)
            if left.startswith("/"):
                by_line.append((re.compile(left.strip()[1:-1]), tos))
            else:
                by_caller.append((left.strip(), tos))
        for caller, places in list(self.through.items()):
            named = [t for pat, t in by_caller if fnmatch.fnmatchcase(short(caller), pat)]
            if named:
                self.calls.setdefault(caller, set()).update(*named)
                del self.through[caller]
                continue
            left = []
            for place in places:
                text = self.source_line(place, build)
                hit = [t for rx, t in by_line if rx.search(text)]
                if hit:
                    self.calls.setdefault(caller, set()).update(*hit)
                else:
                    left.append(place)
            if left:
                self.through[caller] = left
            else:
                del self.through[caller]
        return stale

    def components(self):
        """Strongly connected components, callees first (Tarjan 1972), with an explicit stack: the checker keeps the rule it checks."""
        index, low, on, stack, out, n = {}, {}, set(), [], [], 0
        for root in self.size:
            if root in index:
                continue
            work = [(root, iter(sorted(self.calls.get(root, ()))))]
            index[root] = low[root] = n
            n += 1
            stack.append(root)
            on.add(root)
            while work:
                v, it = work[-1]
                for w in it:
                    if w not in self.size:
                        continue
                    if w not in index:
                        index[w] = low[w] = n
                        n += 1
                        stack.append(w)
                        on.add(w)
                        work.append((w, iter(sorted(self.calls.get(w, ())))))
                        break
                    if w in on:
                        low[v] = min(low[v], index[w])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[v])
                    if low[v] == index[v]:
                        comp = []
                        while True:
                            w = stack.pop()
                            on.discard(w)
                            comp.append(w)
                            if w == v:
                                break
                        out.append(comp)
        return out

    def reach(self, roots):
        seen, todo = set(roots), list(roots)
        while todo:
            for w in self.calls.get(todo.pop(), ()):
                if w in self.size and w not in seen:
                    seen.add(w)
                    todo.append(w)
        return seen


def short(title):
    return title.split(":")[-1]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--frame", type=int, default=2048, help="limit of any frame")
    ap.add_argument("--fuse-frame", type=int, default=1024, help="limit of a frame a FUSE thread can reach")
    ap.add_argument("--fuse-path", type=int, default=6144, help="limit of the deepest path from a FUSE handler")
    ap.add_argument("--fuse-root", action="append", default=[], metavar="PATTERN", help="functions a FUSE thread enters")
    ap.add_argument("--fuse-not", action="append", default=[], metavar="PATTERN", help="functions only other threads run")
    ap.add_argument("--indirect", help="table of calls through pointers")
    ap.add_argument("--top", type=int, default=8, help="deepest paths to print")
    ap.add_argument("--strict-indirect", action="store_true", help="an unlisted call through a pointer is a finding")
    ap.add_argument("ci", nargs="+")
    a = ap.parse_args()

    g = Graph()
    files = []
    for p in map(pathlib.Path, a.ci):
        files += sorted(p.glob("src/**/*.ci")) if p.is_dir() else [p]
    for f in files:
        g.read(f)
    if not g.size:
        print("stack: no call graph; configure with -Dcallgraph=true and gcc")
        return 1
    build = next((p for p in a.ci if pathlib.Path(p).is_dir()), ".")
    bad = g.resolve_indirect(a.indirect, build) if a.indirect else []

    depth, nxt = {}, {}
    for comp in g.components():
        if len(comp) > 1 or comp[0] in g.calls.get(comp[0], ()):
            bad.append("RECURSION: " + " -> ".join(short(x) for x in reversed(comp)))
        for v in comp:
            best = max((w for w in g.calls.get(v, ()) if w in depth and w not in comp), key=depth.get, default=None)
            nxt[v] = best
            depth[v] = g.size[v] + (depth[best] if best else 0)

    roots = [t for pat in a.fuse_root for t in g.by_name(pat)]
    roots = [t for t in roots if not any(fnmatch.fnmatchcase(short(t), p) for p in a.fuse_not)]
    on_fuse = g.reach(roots)
    for v in sorted(g.size):
        limit = a.fuse_frame if v in on_fuse else a.frame
        if g.size[v] > limit:
            bad.append(f"FRAME {g.size[v]} > {limit}: {short(v)} {g.where[v]}")
        if g.dynamic[v]:
            bad.append(f"DYNAMIC FRAME: {short(v)} {g.where[v]}")

    def path_of(v):
        steps = []
        while v:
            steps.append(f"{short(v)} {g.size[v]}")
            v = nxt[v]
        return " > ".join(steps)

    print("deepest paths (bytes of our own frames):")
    for v in sorted(depth, key=depth.get, reverse=True)[: a.top]:
        print(f"{depth[v]:7d}  {path_of(v)}")
    if a.fuse_root:
        print("deepest from a FUSE handler:")
        for v in sorted(roots, key=depth.get, reverse=True)[: a.top]:
            print(f"{depth[v]:7d}  {path_of(v)}")
        if roots and depth[max(roots, key=depth.get)] > a.fuse_path:
            bad.append(f"FUSE PATH {depth[max(roots, key=depth.get)]} > {a.fuse_path}: {path_of(max(roots, key=depth.get))}")
        if not roots:
            bad.append("no function matches --fuse-root")
    left = sorted(f"{short(c)} {pathlib.Path(x.split('|')[1].rsplit(':', 1)[0]).name}" for c, xs in g.through.items() for x in xs)
    if left:
        print(f"{len(left)} calls through pointers are not in {a.indirect or 'a table'}:", ", ".join(left))
        if a.strict_indirect:
            bad.append(f"{len(left)} callers through pointers are not in the table")
    for line in bad:
        print(line)
    print(f"stack: {len(g.size)} functions, {len(on_fuse)} reachable by a FUSE thread, {len(bad)} findings")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
