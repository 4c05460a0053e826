#!/usr/bin/env python3
"""The official MCP client against `vexfs mcp` and against `vexfs mount --listen`: initialise, list, call each tool, bad arguments refused.

    client.py VEXFS [COMMAND...]     VEXFS is the built command; COMMAND (default: VEXFS mcp) is started with the mount appended

Over HTTP once without and once with a token, with which a client that does not send it gets nowhere.

Mounts a directory of its own, waits until it is indexed, and unmounts at the end whatever happens.  Needs the Python package `mcp`; without
it the test says so and exits 77 (skipped)."""
import asyncio, json, os, shutil, subprocess, sys, tempfile

try:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client import streamable_http
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


def over_http(url, token):
    """A client of any version of the package."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if hasattr(streamable_http, "streamablehttp_client"):
        return streamable_http.streamablehttp_client(url, headers=headers)
    return streamable_http.streamable_http_client(url, http_client=streamable_http.create_mcp_http_client(headers=headers))


async def talk(transport, what):
    print(f"# {what}")
    async with transport as streams:
        async with ClientSession(streams[0], streams[1]) as s:
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


async def unwelcome(url):
    """Without the token not even initialize is answered."""
    try:
        async with over_http(url, None) as streams:
            async with ClientSession(streams[0], streams[1]) as s:
                await asyncio.wait_for(s.initialize(), 10)
        check(False, "without the token the client is refused")
    except BaseException as e:
        if isinstance(e, (KeyboardInterrupt, SystemExit)):
            raise
        check(True, f"without the token the client is refused ({type(e).__name__})")


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
        asyncio.run(asyncio.wait_for(talk(stdio_client(StdioServerParameters(command=command[0], args=command[1:] + [mnt])), "stdio"), 60))
        if len(sys.argv) == 2:
            token = "sesame-" + os.urandom(16).hex()
            with open(os.open(tmp + "/token", os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
                f.write(token + "\n")
            for opts, t in (([], None), (["--token-file", tmp + "/token"], token)):
                subprocess.run([vexfs, "umount", mnt], check=True)
                subprocess.run([vexfs, "mount", src, mnt, "--listen", "127.0.0.1:0", *opts], check=True)
                subprocess.run([vexfs, "wait", mnt], check=True, timeout=60)
                with open(mnt + "/.vexfs/status") as f:
                    url = json.load(f)["listen"] + "/mcp"
                asyncio.run(asyncio.wait_for(talk(over_http(url, t), f"streamable HTTP{' with a token' if t else ''}"), 60))
                if t:
                    asyncio.run(unwelcome(url))
    finally:
        subprocess.run([vexfs, "umount", mnt]).returncode and subprocess.run(["umount", "-l", mnt])
        shutil.rmtree(tmp, ignore_errors=True)
    print(f"1..{len(checks)}")
    return 0 if all(checks) and len(checks) > 12 else 1


sys.exit(main())
