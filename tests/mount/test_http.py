#!/usr/bin/env python3
"""The network front by raw sockets: who is let in, what is refused and how, and that no client, however it behaves, costs more than its own
connection.  The same searches are asked through the query file, which is the oracle."""
import contextlib
import json
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../extract"))
from docs import docx
from mnt import SANITIZED, Mount, alive, done, eq, ok, seed, vexfs, wait_until

seed(1)
JSON = {"Content-Type": "application/json"}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}


class Conn:
    def __init__(self, m):
        url = m.status()["listen"]
        self.s = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=60)
        self.buf = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.s.close()

    def send(self, method, path, body=None, headers=None, host="localhost"):
        h = {"Host": host, **({"Content-Length": len(body)} if body is not None else {}), **(headers or {})}
        with contextlib.suppress(ConnectionError):  # refused before all of it was read: the answer may be there all the same
            self.s.sendall(f"{method} {path} HTTP/1.1\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in h.items() if v is not None) + b"\r\n" + (body or b""))

    def more(self):
        b = self.s.recv(1 << 16)
        self.buf += b
        return b

    def answer(self):
        """status, headers in lower case, body; status 0: the connection ended before an answer"""
        while b"\r\n\r\n" not in self.buf:
            try:
                if not self.more():
                    return 0, {}, b""
            except ConnectionError:
                return 0, {}, b""
        head, self.buf = self.buf.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        status, h = int(lines[0].split()[1]), {l.split(":", 1)[0].lower(): l.split(":", 1)[1].strip() for l in lines[1:]}
        n = int(h.get("content-length", 0))
        while len(self.buf) < n:
            if not self.more():
                break
        body, self.buf = self.buf[:n], self.buf[n:]
        return status, h, body


def once(m, method, path, body=None, headers=None, host="localhost"):
    with Conn(m) as c:
        c.send(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body).encode(), headers, host)
        return c.answer()


def status_is(want, m, *a, what=None, **kw):
    st, h, body = once(m, *a, **kw)
    # who is refused while he still sends may find the line cut before he can read why
    ok(st == want or (want == 413 and st == 0), f"{what or a[:2]}: {want}", detail=(st, h, body[:300]))
    return h, body


def who_gets_in(m):
    for host in ("localhost", "localhost:1", "127.0.0.1:7070", "[::1]:80", "LOCALHOST"):
        status_is(200, m, "GET", "/health", host=host, what=f"Host {host}")
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil", "localhost:", "localhost:x", "[::1", "", None):
        st = once(m, "GET", "/health", host=host)[0]
        ok(st in (400, 403), f"Host {host!r} is refused", detail=st)
    for o in ("http://localhost", "https://127.0.0.1:3000"):
        status_is(200, m, "GET", "/health", headers={"Origin": o}, what=f"Origin {o}")
    for o in ("http://evil.example", "null", "http://localhost.evil.example", "file://", "http://127.0.0.1@evil"):
        status_is(403, m, "POST", "/v1/query", {"verb": "status"}, {**JSON, "Origin": o}, what=f"Origin {o}")
    status_is(404, m, "GET", "/", what="no such path")
    status_is(405, m, "GET", "/v1/query", what="GET of a query")
    status_is(405, m, "GET", "/mcp", what="no stream to GET")
    status_is(405, m, "PUT", "/mcp", b"{}", JSON, what="PUT")
    status_is(405, m, "BREW", "/health", what="an unknown method")
    status_is(415, m, "POST", "/v1/query", {"verb": "status"}, what="no content type")
    status_is(415, m, "POST", "/v1/query", b"{}", {"Content-Type": "text/plain"}, what="text/plain, which a form can send")


def queries(m):
    for req in ({"verb": "search", "text": "wombat", "k": 5}, {"verb": "search", "text": "wombat", "filter": "size > 1", "k": 1}, {"verb": "collections"},
                {"verb": "get", "path": "a.txt"}, {"verb": "search", "text": "wombat", "mode": "text", "snippet": True}):
        st, h, body = once(m, "POST", "/v1/query", req, JSON)
        got, want = json.loads(body), m.ask(**req)
        for d in (got, want):
            d.pop("took_us", None)
        eq((st if "error" not in want else st >= 400, got), (200 if "error" not in want else True, want), f"{req['verb']} {list(req)[1:]}: the same as the query file's")
    for body, st, code in ((b"", 400, None), (b"{", 400, "json_syntax"), (b"[1]", 400, None), (b'{"verb":"search","txt":"x"}', 400, "unknown_key"), (b'{"verb":"nope"}', 400, "unknown_verb"),
                           (b'{"verb":"search","text":"x","k":0}', 400, "k_range"), (b'{"verb":"search","text":"x","collection":"none"}', 404, "no_collection"),
                           (b"[" * 100000, 400, None), (b"\xff\xfe{}", 400, "json_syntax"), (b'{"verb":"search","text":"' + b"x" * 9000 + b'"}', 413, "query_too_long")):
        h, out = status_is(st, m, "POST", "/v1/query", body, JSON, what=f"bad request {body[:40]!r}")
        e = json.loads(out)["error"]
        ok(e["message"] and (code is None or e["code"] == code), f"says why: {e['code']}", detail=e)
    st, h, body = once(m, "GET", "/metrics")
    ok(st == 200 and h["content-type"].startswith("text/plain; version=0.0.4") and b"\nvexfs_events_total{event=\"searches\"} " in body, "metrics are Prometheus text", detail=body[:200])
    st, h, body = once(m, "GET", "/health")
    eq((st, json.loads(body)["status"]), (200, "ok"), "health")
    for req in ({"verb": "put", "path": "a.txt", "vector": [1, 2]}, {"verb": "collection_create", "name": "c", "dim": 2}, {"verb": "retry"}):
        status_is(403, m, "POST", "/v1/query", req, JSON, what=f"{req['verb']} without a token")
    eq([c["name"] for c in m.ask("collections")["collections"] if c["name"] == "c"], [], "nothing was changed")


def agents(m):
    h, body = status_is(200, m, "POST", "/mcp", CALL, JSON, what="initialize")
    sid = h.get("mcp-session-id", "")
    ok(len(sid) == 32 and json.loads(body)["result"]["serverInfo"]["name"] == "vexfs", "begins a session", detail=(h, body))
    S = {**JSON, "Mcp-Session-Id": sid, "MCP-Protocol-Version": "2025-06-18"}
    h, body = status_is(202, m, "POST", "/mcp", {"jsonrpc": "2.0", "method": "notifications/initialized"}, S, what="a notification")
    eq(body, b"", "is not answered")

    def call(tool, args):
        st, _, body = once(m, "POST", "/mcp", {"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {"name": tool, "arguments": args}}, S)
        return st, json.loads(body)
    st, a = call("search", {"query": "wombat", "k": 2})
    r = a["result"]["structuredContent"]
    eq((st, a["id"], len(r["results"]), r["nextCursor"]), (200, "x", 2, "2"), "search: a page and a cursor")
    st, b = call("search", {"query": "wombat", "k": 2, "cursor": "2"})
    ok(not {x["path"] for x in b["result"]["structuredContent"]["results"]} & {x["path"] for x in r["results"]}, "the next page holds others", detail=b)
    st, a = call("read", {"path": "a.txt"})
    eq(a["result"]["content"][0]["text"], "a wombat in a\n", "read")
    st, a = call("read", {"path": "doc.docx", "start_line": 3, "lines": 1})
    d = a["result"].get("structuredContent", {})
    SANITIZED or eq((a["result"]["content"][0]["text"], d.get("extracted"), d.get("end_line"), d.get("more"), d.get("next_line")), ("line 2\n", True, 3, True, 4), "read of a document: its text, by lines")
    for path in ("../etc/passwd", "/etc/passwd", ".vexfs/catalog.db", ".vexfs/LOCK", "link"):
        st, a = call("read", {"path": path})
        ok(st == 200 and a["result"]["isError"], f"read {path} is refused", detail=a)
    st, a = call("search", {"query": "wombat", "limit": 1})
    ok(a["result"]["isError"] and "limit" in a["result"]["content"][0]["text"], "an unknown argument is refused", detail=a)
    st, a = call("nope", {})
    eq(a["error"]["code"], -32602, "an unknown tool")
    for msg, want in (({"jsonrpc": "2.0", "id": 1, "method": "nope"}, -32601), (b"{", -32700), (b"[]", -32600), (b"[" * 3000, -32700)):
        st, _, body = once(m, "POST", "/mcp", msg, S)
        eq(json.loads(body)["error"]["code"], want, f"bad message {str(msg)[:40]}: {want}")
    status_is(400, m, "POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, JSON, what="before initialize")
    status_is(404, m, "POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, {**JSON, "Mcp-Session-Id": "f" * 32}, what="an unknown session")
    status_is(404, m, "POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, {**JSON, "Mcp-Session-Id": "f" * 320}, what="an endless session")
    status_is(400, m, "POST", "/mcp", CALL, {**JSON, "MCP-Protocol-Version": "1999-01-01"}, what="an unknown revision")
    status_is(413, m, "POST", "/mcp", b'"' + b"x" * (1 << 20) + b'"', JSON, what="a message over 1 MiB")
    status_is(204, m, "DELETE", "/mcp", headers={"Mcp-Session-Id": sid}, what="the session is ended")
    status_is(404, m, "POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, S, what="and known no more")


def bad_clients(m):
    with Conn(m) as c:  # several requests in one write, answered in order
        one = b"".join(f"POST /v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(b)}\r\n\r\n{b}".encode()
                       for b in (json.dumps({"verb": "search", "text": "wombat", "k": k}) for k in (1, 2, 3)))
        c.s.sendall(one)
        eq([len(json.loads(c.answer()[2])["results"]) for _ in range(3)], [1, 2, 3], "pipelined requests are answered in order")
    with Conn(m) as c:
        c.send("POST", "/v1/query", None, {**JSON, "Content-Length": 9 << 20})
        eq(c.answer()[0], 413, "a body announced too large is refused before it comes")
    with Conn(m) as c:  # chunked: its length is found out
        c.send("POST", "/mcp", None, {**JSON, "Transfer-Encoding": "chunked"})
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            for _ in range(20):
                c.s.sendall(piece)
            c.s.sendall(b"0\r\n\r\n")
        except OSError:
            pass
        ok(c.answer()[0] in (0, 413), "a chunked body without end is refused")
    with Conn(m) as c:
        c.s.sendall(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1" + os.urandom(100) + b"\r\n\r\n")
        ok(c.answer()[0] in (0, 400), "TLS to a plain port")
    with Conn(m) as c:
        c.s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * 200000 + b"\r\n\r\n")
        ok(c.answer()[0] in (0, 400, 413, 414, 431), "headers without end")
    # more connections than there may be
    many = []
    for _ in range(80):
        try:
            many.append(Conn(m))
        except OSError:
            break
    served = 0
    for c in many:
        try:
            c.s.settimeout(30)
            c.send("GET", "/health")
            served += c.answer()[0] == 200
        except OSError:
            pass
    here = 0
    for c in many:  # a connection that was ended says so at once
        c.s.setblocking(False)
        try:
            here += c.s.recv(1) != b""
        except BlockingIOError:
            here += 1
        except OSError:
            pass
    ok(0 < served and 0 < here <= 64, "connections are bounded", detail=(len(many), served, here))
    for c in many:
        c.s.close()
    ok(wait_until(lambda: once(m, "GET", "/health")[0] == 200), "and are given back")
    # a client that dies while its answer is made
    for _ in range(10):
        c = Conn(m)
        c.send("POST", "/v1/query", json.dumps({"verb": "search", "text": "wombat", "k": 50}).encode(), JSON)
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        c.s.close()
    status_is(200, m, "POST", "/v1/query", {"verb": "search", "text": "wombat"}, JSON, what="clients killed in the middle")
    eq(m.status()["pid"], m.pid, "the mount is the same process")


def slow_clients(m):
    """One byte a while is no request; the time limit of this mount is 1 s."""
    slow = [Conn(m) for _ in range(3)]
    slow[0].s.sendall(b"GET /health HT")
    slow[1].send("POST", "/v1/query", None, {**JSON, "Content-Length": 100})
    slow[2].s.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n")
    t0, ended = time.monotonic(), [False] * 3
    while not all(ended) and time.monotonic() - t0 < 120:
        for i, c in enumerate(slow):
            if ended[i]:
                continue
            try:
                c.s.settimeout(0.1)
                c.s.sendall(b"x")
                ended[i] = c.s.recv(4096) == b"" or ended[i]
            except socket.timeout:
                pass
            except OSError:
                ended[i] = True
    ok(all(ended), "slow clients lose their connections", detail=ended)
    for c in slow:
        c.s.close()
    ok(wait_until(lambda: once(m, "GET", "/health")[0] == 200, 60), "others are served")
    st = once(m, "GET", "/metrics")[0]
    eq(st, 200, "and metrics")


def starting():
    with Mount(start=False) as m:
        token = os.path.join(m.base, "token")

        def write(text, mode=0o600):
            with open(token, "w") as f:
                f.write(text)
            os.chmod(token, mode)
        write("a token of the tests\n".replace(" ", "-"))
        for opts, word in ((["--listen", "0.0.0.0:0"], "--token-file"), (["--listen", "[::]:0"], "--token-file"), (["--listen", "localhost"], "127.0.0.1:7070"),
                           (["--listen", "127.0.0.1:99999"], "127.0.0.1:7070"), (["--listen", "1.2.3:1"], "127.0.0.1:7070"), (["--token-file", token], "--listen"),
                           (["--listen", "127.0.0.1:0", "--token-file", token + "x"], "No such file"), (["--listen", "203.0.113.1:1", "--token-file", token], "cannot listen")):
            rc, out, err = vexfs("mount", m.dir, m.mnt, *opts)
            ok(rc == 2 and word in err and not os.path.ismount(m.mnt), f"mount {' '.join(opts[:2])}: {err.strip()[:120]}", detail=(rc, err))
        for text, mode, word in (("short\n", 0o600, "16 to 512"), ("a" * 600, 0o600, "16 to 512"), ("two words in a token, and more\n", 0o600, "16 to 512"), ("a-token-of-the-tests\n", 0o644, "chmod 600")):
            write(text, mode)
            rc, out, err = vexfs("mount", m.dir, m.mnt, "--listen", "127.0.0.1:0", "--token-file", token)
            ok(rc == 2 and word in err, f"a bad token file: {err.strip()[-80:]}", detail=(rc, err))
        write("a-token-of-the-tests\n")
        m.mount("--listen", "127.0.0.1:0", "--token-file", token)
        port = m.status()["listen"].rsplit(":", 1)[1]
        with open(os.path.join(m.mnt, "a.txt"), "w") as f:
            f.write("a wombat\n")
        m.wait()
        A = {**JSON, "Authorization": "Bearer a-token-of-the-tests"}
        for h in ({}, {"Authorization": "Bearer a-token-of-the-test"}, {"Authorization": "Bearer a-token-of-the-tests2"}, {"Authorization": "Basic a-token-of-the-tests"}, {"Authorization": "Bearer"}):
            hd, _ = status_is(401, m, "POST", "/v1/query", {"verb": "status"}, {**JSON, **h}, what=f"token {h}")
        eq(hd.get("www-authenticate"), "Bearer", "says what is needed")
        status_is(401, m, "GET", "/metrics", what="metrics want the token")
        status_is(200, m, "GET", "/health", what="health does not")
        status_is(200, m, "POST", "/v1/query", {"verb": "put", "path": "a.txt", "vector": [1, 0], "wait": "durable"}, A, what="with the token things can be changed")
        eq(m.get_vector("a.txt"), [1.0, 0.0], "and are")
        status_is(200, m, "POST", "/v1/query", {"verb": "status"}, A, host="any.example", what="with a token the Host may be any")
        # another mount cannot have the port; nothing of it is left
        with Mount(start=False) as other:
            rc, out, err = vexfs("mount", other.dir, other.mnt, "--listen", f"127.0.0.1:{port}")
            ok(rc == 2 and "cannot listen" in err and not os.path.ismount(other.mnt), "a port that is taken: " + err.strip(), detail=(rc, err))
        # an unmount while a client waits for something that does not come
        with Conn(m) as c:
            c.send("POST", "/v1/query", json.dumps({"verb": "search", "text": "wombat"}).encode(), A)
            eq(c.answer()[0], 200, "a kept connection")
            m.umount()
            eq(c.answer()[0], 0, "ends with the mount")
        ok(wait_until(lambda: not alive(m.pid)), "whose process is gone")


with Mount("--listen", "127.0.0.1:0") as m:
    for n in "abcd":
        m.write(f"{n}.txt", f"a wombat in {n}\n")
    os.symlink("/etc/passwd", m.p("link"))
    m.write("doc.docx", docx("".join(f"<w:p><w:r><w:t>line {i}</w:t></w:r></w:p>" for i in (1, 2, 3))))
    m.wait()
    who_gets_in(m)
    queries(m)
    agents(m)
    bad_clients(m)
with Mount("--listen", "127.0.0.1:0", "-o", "listen-timeout=1") as m:
    slow_clients(m)
starting()
done()
