"""What the benchmarks share."""

import os
import pathlib


def favour(nice, under):
    """nice for this process and every daemon whose command line names a path below @under; sessions are groups of their own to the
    scheduler (autogroup), so each is told"""
    if not nice:
        return
    for p in [str(os.getpid())] + [x for x in os.listdir("/proc") if x.isdigit()]:
        try:
            if p != str(os.getpid()) and str(under).encode() not in pathlib.Path("/proc", p, "cmdline").read_bytes():
                continue
            for t in os.listdir("/proc/%s/task" % p):
                # a thread that stands back for the others goes on to do so
                os.setpriority(os.PRIO_PROCESS, int(t), max(-20, nice + max(0, os.getpriority(os.PRIO_PROCESS, int(t)))))
            pathlib.Path("/proc", p, "autogroup").write_text("%d" % nice)
        except OSError:
            pass  # ended meanwhile, or a kernel thread
