"""rot.py - a closed store with one bit flipped, or one file cut short, at a time: the store tells of it, or it is without effect."""
import os
import random
import time


def tree_of(top):
    """{directory: None, file: bytes} of everything below"""
    out = {}
    for p, dirs, files in os.walk(top):
        for n in dirs:
            out[os.path.relpath(os.path.join(p, n), top)] = None
        for n in files:
            with open(os.path.join(p, n), "rb") as f:
                out[os.path.relpath(os.path.join(p, n), top)] = f.read()
    return out


def tree_put(top, want):
    """make it that tree again, writing only what differs"""
    have = tree_of(top)
    for n in sorted(set(have) - set(want), reverse=True):
        (os.rmdir if have[n] is None else os.unlink)(os.path.join(top, n))
    for n in sorted(n for n in want if have.get(n, b"") != want[n] or n not in have):
        if want[n] is None:
            os.makedirs(os.path.join(top, n), exist_ok=True)
        else:
            with open(os.path.join(top, n), "wb") as f:
                f.write(want[n])


def flips(opt, d, ask, progress, n_flips):
    """@d the store's DIR, closed; @n_flips bits at random, 0 all; (faults, [what went unnoticed])"""
    rng, bad, n, count = random.Random(opt.seed + 2), [], 0, {}
    clean = tree_of(d)
    sizes = {f: len(x) for f, x in sorted(clean.items())
             if x is not None and os.path.basename(f) not in ("LOCK", ".gitignore") and f.endswith(tuple(opt.files.split(",")))}
    if opt.every_byte:  # all bits of a store are millions; this is a pass over all of it in an hour
        bits = [(f, 8 * i + rng.randrange(8)) for f in sizes for i in range(sizes[f])]
        rng.shuffle(bits)
    else:
        bits = [(f, b) for f in sizes for b in range(sizes[f] * 8)]
        bits = rng.sample(bits, min(n_flips, len(bits))) if n_flips else bits
    cuts = [(f, c) for f in sizes for c in range(0, sizes[f], 512)]
    jobs = [("cut", *c) for c in (cuts if not opt.small else rng.sample(cuts, min(len(cuts), 300, n_flips // 2)))] + [("bit", *b) for b in bits]
    print(f"# a store of {sum(sizes.values())} bytes in {len(sizes)} files: {len(bits)} flips, {len(jobs) - len(bits)} cuts", flush=True)
    got = ask("rot", d, opt.seed, opt.steps)
    if got != "same":  # else nothing below could be silent
        return 1, [f"the store as it is: {got}"]
    t0 = time.monotonic()
    for kind, f, where in jobs:
        if n % 200 == 0:
            progress("flips", n, len(jobs), t0)
        if n and n % 20000 == 0:  # a run of hours that is stopped has still shown something
            print(f"# {n} of {len(jobs)}: {sorted(count.items())}, {len(bad)} failures", flush=True)
        tree_put(d, clean)
        with open(os.path.join(d, f), "r+b") as h:
            if kind == "bit":
                h.seek(where // 8)
                h.write(bytes([clean[f][where // 8] ^ 1 << where % 8]))
            else:
                h.truncate(where)
        got = ask("rot", d, opt.seed, opt.steps)
        n += 1
        word = got.split()[0].rstrip(":")
        key = (kind, os.path.basename(f).split(".")[-1], word)
        count[key] = count.get(key, 0) + 1
        if not got.startswith(("told", "same")):
            bad.append(f"{kind} {where} of {f}: {got}")
    told, same = (sum(v for k, v in count.items() if k[2] == w) for w in ("told", "same"))
    for k, v in sorted(count.items()):
        print(f"# {'flips' if k[0] == 'bit' else 'cuts'} of .{k[1]}: {v} {'told' if k[2] == 'told' else 'without effect' if k[2] == 'same' else 'WRONG'}",
              flush=True)
    print(f"# flips and cuts: {told} told, {same} without effect, {len(bad)} silent or crashed", flush=True)
    return n, bad
