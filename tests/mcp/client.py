#!/usr/bin/env python3
"""The official MCP client against `vexfs mcp`: initialise, list, call each tool, bad arguments refused.

    client.py VEXFS [COMMAND...]     VEXFS is the built command; COMMAND (default: VEXFS mcp) is started with the mount appended

Mounts a directory of its own, waits until it is indexed, and unmounts at the end whatever happens.  Needs the Python package `mcp`; without
it the test says so and exits 77 (skipped)."""
import asyncio, os, shutil, subprocess, sys, tempfile

try:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
except ImportError:
    print("skipped: no package mcp (pip install mcp)")
    sys.exit(77)

FILES = {
    "notes/budget.md": "# Minutes\n\nThe treasurer signed off the spending plan for next year.\n",
    "notes/cooking.md": "# Bread\n\nMix flour, water, salt and yeast. Knead for ten minutes.\n",
    "long.txt": "".join(f"line {i}\n" for i in range(1, 501)),
}
checks = []


def check(good, what):
    checks.append(bool(good))
    print(("ok" if good else "not ok"), len(checks), "-", what)


def text(r):
    return "".join(c.text for c in r.content if c.type == "text")


def is_error(r):
    return getattr(r, "isError", None) if hasattr(r, "isError") else r.is_error


def data(r):
    return (getattr(r, "structuredContent", None) if hasattr(r, "structuredContent") else r.structured_content) or {}


async def talk(command, mnt):
    async with stdio_client(StdioServerParameters(command=command[0], args=command[1:] + [mnt])) as (r, w):
        async with ClientSession(r, w) as s:
            init = await s.initialize()
            info = getattr(init, "serverInfo", None) or init.server_info
            check(info.name == "vexfs", f"initialise: {info.name} {info.version}")
            tools = (await s.list_tools()).tools
            check([t.name for t in tools] == ["search", "similar", "read", "status"], "tools: " + " ".join(t.name for t in tools))
            check(all((t.annotations and (getattr(t.annotations, "readOnlyHint", None) or getattr(t.annotations, "read_only_hint", None))) for t in tools), "all are marked read-only")
            r = await s.call_tool("search", {"query": "spending plan", "k": 3})
            check(not is_error(r) and "notes/budget.md" in text(r), "search finds the file: " + text(r).split("\n")[0])
            hits = data(r).get("results", [])
            check(hits and hits[0]["path"] == "notes/budget.md", "the same as data")
            r = await s.call_tool("read", {"path": "long.txt", "start_line": 498, "lines": 2})
            check(text(r) == "line 498\nline 499\n" and data(r).get("next_line") == 500, "read by lines")
            r = await s.call_tool("similar", {"like": "notes/budget.md", "k": 2})
            check(text(r) != "", "similar answers: " + text(r).split("\n")[0])
            r = await s.call_tool("status", {})
            check(not is_error(r) and "generation" in text(r), "status")
            for tool, args in (("search", {"query": "x", "limit": 3}), ("search", {}), ("search", {"query": "x", "k": 0}), ("read", {"path": "../etc/passwd"}),
                               ("read", {"path": "/etc/passwd"}), ("status", {"a": 1})):
                r = await s.call_tool(tool, args)
                check(is_error(r), f"{tool} {args} is refused: {text(r)}")
            try:
                r = await s.call_tool("write", {})
                check(is_error(r), "an unknown tool is refused")
            except Exception as e:
                check(True, f"an unknown tool is refused: {e}")


def main():
    vexfs = os.path.abspath(sys.argv[1])
    command = sys.argv[2:] or [vexfs, "mcp"]
    tmp = tempfile.mkdtemp(prefix="vexfs-mcp-")
    src, mnt = tmp + "/dir", tmp + "/mnt"
    os.makedirs(mnt)
    for name, body in FILES.items():
        os.makedirs(os.path.dirname(f"{src}/{name}"), exist_ok=True)
        with open(f"{src}/{name}", "w") as f:
            f.write(body)
    try:
        subprocess.run([vexfs, "mount", src, mnt], check=True)
        subprocess.run([vexfs, "wait", mnt], check=True, timeout=60)
        asyncio.run(asyncio.wait_for(talk(command, mnt), 60))
    finally:
        subprocess.run([vexfs, "umount", mnt]).returncode and subprocess.run(["umount", "-l", mnt])
        shutil.rmtree(tmp, ignore_errors=True)
    print(f"1..{len(checks)}")
    return 0 if all(checks) and len(checks) > 12 else 1


sys.exit(main())
