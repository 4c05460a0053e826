#!/usr/bin/env python3
"""What `vexfs CMD -h` tells, the manual and the completions of bash and zsh tell as well; and every option it tells is taken.  No mount is made."""
import os
import re

from mnt import done, eq, ok, vexfs

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


def text(path):
    with open(os.path.join(ROOT, path)) as f:
        return f.read()


man, bash, zsh = re.sub(r"\\f[BIRP]|\\", "", text("man/vexfs.1")), text("completions/vexfs.bash"), text("completions/_vexfs")
rc, out, err = vexfs("--help")
commands = re.findall(r"^  ([a-z-]+)\s", out, re.M)
ok(rc == 0 and len(commands) >= 16, f"{len(commands)} commands", detail=out)
eq(vexfs("--version")[0], 0, "--version")
eq(vexfs()[0], 2, "no command: 2")
eq(vexfs("no-such-command")[0], 2, "no such command: 2")
word = re.search(r"local commands='([^']*)'", bash)[1].split()
for c in commands:
    rc, out, err = vexfs(c, "-h")
    ok(rc == 0 and out.startswith(f"usage: vexfs {c} ") or out.startswith(f"usage: vexfs {c}\n"), f"{c} -h", detail=(rc, out[:200], err))
    told = "\n".join(l for l in out.splitlines() if re.match(r"usage:|\s+-", l))  # not what is said of other programs
    options = sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", told)) - {"--help"})
    eq([o for o in options if o not in man], [], f"{c}: the manual has its {len(options)} options")
    eq([o for o in options if o not in bash and o[:-1] not in bash], [], f"{c}: bash completes them")
    eq([o for o in options if o not in zsh], [], f"{c}: zsh completes them")
    ok(c in word and f"'{c}:" in zsh and re.search(rf"vexfs {c}\b", man), f"{c} itself is completed, and in the manual's synopsis")
    eq(vexfs(c, "--no-such-option")[0], 2, f"{c} --no-such-option: 2")
done()
