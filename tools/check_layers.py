#!/usr/bin/env python3
"""Who may include whom: src/layers.txt against every #include below src/.

usage: check_layers.py SRC

layers.txt holds two kinds of line.  "layer: layer layer" grants a folder its includes of "layer/file.h"; the grants must form no
cycle.  "<regex: layer layer" reserves system headers to the layers listed.  Beyond that: base names are unique in the tree, and a
header called *_int.h or *_priv.h stays inside its folder.
"""
import pathlib
import re
import sys

INCLUDE = re.compile(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def read_table(path):
    grants, reserved = {}, []
    for line in path.read_text().splitlines():
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        left, right = line.split(":", 1)
        if left.startswith("<"):
            reserved.append((re.compile(left[1:].strip()), set(right.split())))
        else:
            grants[left.strip()] = set(right.split())
    return grants, reserved


def order_of(grants):
    """The layers from the ground up; None names the ones caught in a cycle."""
    done, left = [], dict(grants)
    while left:
        free = sorted(name for name, uses in left.items() if uses <= set(done))
        if not free:
            return done, left
        done += free
        for name in free:
            del left[name]
    return done, {}


def check_file(rel, text, grants, reserved):
    layer = rel.parts[0]
    if layer not in grants:
        yield f"{rel}: the folder {layer} is not in layers.txt"
        return
    for n, line in enumerate(text.splitlines(), 1):
        m = INCLUDE.match(line)
        if not m:
            continue
        own, system = m.groups()
        if system:
            for rx, who in reserved:
                if rx.match(system) and layer not in who:
                    yield f"{rel}:{n}: <{system}> belongs to {' '.join(sorted(who))}"
            continue
        parts = own.split("/")
        if own.startswith("vexfs"):
            continue  # include/: the public headers
        if len(parts) != 2:
            yield f'{rel}:{n}: write "layer/file.h", not "{own}"'
        elif parts[0] != layer:
            if parts[0] not in grants[layer]:
                yield f"{rel}:{n}: {layer} may not include {parts[0]} ({own})"
            if re.search(r"_(int|priv)\.h$", parts[1]):
                yield f"{rel}:{n}: {own} is private to {parts[0]}"


def main():
    root = pathlib.Path(sys.argv[1])
    grants, reserved = read_table(root / "layers.txt")
    order, cycle = order_of(grants)
    bad = [f"layers.txt: {n} needs {' '.join(sorted(u - set(order)))}, which is a cycle or unknown" for n, u in cycle.items()]
    seen, files = {}, sorted(root.rglob("*.[ch]"))
    for f in files:
        rel = f.relative_to(root)
        if f.name in seen:
            bad.append(f"{rel}: the base name is also used by {seen[f.name]}")
        seen[f.name] = rel
        bad += check_file(rel, f.read_text(errors="replace"), grants, reserved)
    for line in bad:
        print(line)
    print(f"layers: {' < '.join(order)}; {len(files)} files, {len(bad)} violations")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
