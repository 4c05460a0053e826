#!/usr/bin/env python3
"""What the text index makes of files: documents of each kind on a real mount, what rules leave out, external commands, and bad input: the state
and the reason of that file, while all else goes on.

user.vexfs.state and user.vexfs.error of a file, `errors` of the status, and searches are what is looked at."""
import errno
import glob
import os
import shutil
import sys
import threading

from mnt import Mount, done, eq, ok, seed, skip, vexfs, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../extract"))
from docs import W, archive, docx, epub, odt, pdf

seed(1)


def state(m, name):
    return os.getxattr(m.p(name), "user.vexfs.state").decode()


def reason(m, name):
    try:
        return os.getxattr(m.p(name), "user.vexfs.error").decode()
    except OSError as e:
        return None if e.errno == errno.ENODATA else errno.errorcode[e.errno]


def found(m, text):
    a = m.ask("search", text=text, k=50, mode="text")
    return sorted(r["path"] for r in a["results"])


def documents(m):
    para = "<w:p><w:r><w:t>Der Haushalt zebrafish wurde beschlossen.</w:t></w:r></w:p>"
    made = {"plain.txt": b"A zebrafish in plain text.\n", "notes.md": b"# Fish\n\nThe zebrafish heading.\n", "code.c": b"int zebrafish(void)\n{\n\treturn 1;\n}\n",
            "page.html": b"<!doctype html><title>T</title><script>var noscriptword;</script><p>An html zebrafish.", "word.docx": docx(para),
            "open.odt": odt("<text:p>An odt zebrafish.</text:p>"), "book.epub": epub([("c1.xhtml", "<h1>One</h1><p>A book's zebrafish.")]),
            "paper.pdf": pdf("A portable zebrafish"), "bom.txt": b"\xef\xbb\xbfzebrafish behind a BOM\n", "latin.txt": ("Ein zebrafish und viele Wörter dazu, wie in einem Brief.\n" * 3).encode("latin-1")}
    for name, data in made.items():
        m.write(name, data)
    m.wait()
    have = found(m, "zebrafish")
    has_pdf = "paper.pdf" in have
    if not has_pdf and reason(m, "paper.pdf") is None:
        skip("PDF", "built without poppler")
        made.pop("paper.pdf")
    eq(have, sorted(made), "a word is found in text, markdown, source, HTML, DOCX, ODT, EPUB, PDF")
    eq(found(m, "noscriptword"), [], "and not in a script")
    eq({n: state(m, n) for n in made}, {n: "fresh" for n in made}, "all are fresh")
    a = m.ask("search", text="zebrafish", k=50, mode="text")["results"]
    has = {r["path"]: r.get("locator", {}).get("lines") for r in a}
    eq([has["notes.md"], has["code.c"], has["word.docx"], has["page.html"]], [[1, 3], [1, 4], None, None], "lines of text files; documents have none")
    ok(all("zebrafish" in r.get("snippet", "") for r in a), "each with a snippet", detail=a)
    m.write("word.docx", docx(para.replace("zebrafish", "quokka")))
    m.wait()
    ok("word.docx" not in found(m, "zebrafish") and found(m, "quokka") == ["word.docx"], "an edited document is read again")
    # real ones
    real = sorted(glob.glob("/usr/share/**/*.pdf", recursive=True))[:2] + sorted(glob.glob("/usr/share/doc/**/*.html", recursive=True))[:5]
    if real:
        for i, f in enumerate(real):
            shutil.copy(f, m.p(f"real{i}{os.path.splitext(f)[1]}"))
        m.wait()
        got = {f: state(m, f"real{i}{os.path.splitext(f)[1]}") for i, f in enumerate(real)}
        ok(set(got.values()) <= {"fresh"} | (set() if has_pdf else {"none"}), f"{len(real)} documents of this machine", detail=got)
    return has_pdf


def bad_inputs(m, has_pdf):
    big = b"bombword " + b"A" * (150 << 20)
    encrypted = pdf("secret", "/Encrypt << /Filter /Standard /V 1 /R 2 /Length 40 /P -4 /O <" + "41" * 32 + "> /U <" + "42" * 32 + "> >> /ID [<00><00>] ")
    whole = docx("<w:p><w:r><w:t>thylacine</w:t></w:r></w:p>" * 200)
    table = [  # name, bytes, states it may have, what the reason says (None: none), a word it must be found by
        ("binary", bytes(range(256)) * 40, ("none",), None, None), ("empty", b"", ("fresh",), None, None),
        ("invalid.txt", b"pangolin \xff\xfe\xfd and more words, enough of them to be text all the same\n" * 4, ("fresh",), None, "pangolin"),
        ("half.docx", whole[:len(whole) // 2], ("error",), "damaged", None), ("half.pdf", pdf("x")[:60], *((("error",), "damaged") if has_pdf else (("none",), None)), None),
        ("half.html", b"<html><p>echidna and no end <b", ("fresh",), None, "echidna"),
        ("line.txt", b"wombat " + b"x" * (10 << 20) + b" numbat\n", ("fresh",), None, "wombat"),
        ("bomb.docx", archive([("word/document.xml", (W % "<w:p><w:r><w:t>%s</w:t></w:r></w:p>").encode() % big)]), ("error",), "more than is read", None),
        ("locked.pdf", encrypted, *((("error",), "encrypted") if has_pdf else (("none",), None)), None),
        ("deep.html", b"<html><p>axolotl" + b"<div>" * 400000 + b"deepest", ("fresh",), None, "axolotl"),
        ("not.docx", archive([("[Content_Types].xml", "<T/>"), ("a.txt", "x")]), ("none",), None, None),
        ("xml.docx", archive([("word/document.xml", "<a><b></a>")]), ("error",), "damaged", None)]
    for name, data, *_ in table:
        m.write("bad-" + name, data)
    os.truncate(m.p("bad-empty"), 0)
    for name, head in (("sparse", b""), ("sparse.txt", b"text at the beginning, and then a hole\n" * 300)):
        m.write("bad-" + name, head)
        os.truncate(m.p("bad-" + name), 2 << 30)
    table += [("sparse", None, ("none",), None, None), ("sparse.txt", None, ("error",), "larger than is indexed", None)]
    m.write("bystander.txt", b"a tamarin among bad files\n")
    m.wait()
    for name, _, states, says, word in table:
        s, r = state(m, "bad-" + name), reason(m, "bad-" + name)
        good = s in states and (s == "error") == (r is not None) and (says is None or (r and (says in r or (name.startswith("bomb") and "longer than it may" in r)))) and (not word or "bad-" + name in found(m, word))
        ok(good, f"bad input {name}: {s}{': ' + r if r else ''}", detail=f"want {states}, {says}, {word}")
    eq(found(m, "numbat"), ["bad-line.txt"], "a line of 10 MB is read to its end")
    eq(found(m, "tamarin"), ["bystander.txt"], "all else goes on")
    s = m.status()
    eq((s["pending"], s["complete"]), (0, True), "nothing waits")
    errors = {e["path"]: e["code"] for e in s["ingest"]["errors"]}
    ok(errors.get("bad-half.docx") == "doc_damaged" and errors.get("bad-sparse.txt") == "text_too_large", "the status lists them with their reasons", detail=errors)
    rc, out, _ = vexfs("status", m.mnt)
    ok(rc == 0 and "no text: bad-half.docx: the document is damaged" in out, "and `vexfs status` says them", detail=out)
    m.write("bad-half.docx", whole)
    m.wait()
    eq((state(m, "bad-half.docx"), reason(m, "bad-half.docx"), found(m, "thylacine")), ("fresh", None, ["bad-half.docx"]), "an error is gone when the file is good")
    m.umount()
    m.mount()
    m.wait()
    eq((state(m, "bad-xml.docx"), reason(m, "bad-xml.docx") is not None), ("error", True), "a reason outlives the mount")
    for f in glob.glob(m.p("bad-*")):
        os.unlink(f)


def changed_while_read(m):
    """A writer that never rests; at the end the index has its last word and nothing of before."""
    stop, n = threading.Event(), [0]

    def writer():
        with open(m.p("log.txt"), "wb") as f:
            while not stop.is_set() or n[0] < 50:
                n[0] += 1
                f.seek(0)
                f.write(b"".join(b"entry %d marsupial%d\n" % (n[0], n[0] % 7) for _ in range(20000)))
                f.flush()
    t = threading.Thread(target=writer)
    t.start()
    m.write("calm.txt", b"a calm bilby\n")
    ok(wait_until(lambda: found(m, "bilby") == ["calm.txt"], 120), "a file that never rests keeps no other from being indexed")
    stop.set()
    t.join()
    m.wait()
    last = n[0]
    eq([found(m, f"marsupial{i}") for i in range(7)], [["log.txt"] if i == last % 7 else [] for i in range(7)], "and its own last content is what is found")


def left_out(m):
    for name in ("keep.txt", "a.log", "sub/b.log", "sub/keep.log", "build/x.txt", "build/keep.txt", ".git/config", "deep/er/c.txt"):
        os.makedirs(os.path.dirname(m.p(name)), exist_ok=True)
        m.write(name, f"platypus in {name}\n")
    every = ["a.log", "build/keep.txt", "build/x.txt", "deep/er/c.txt", "keep.txt", "sub/b.log", "sub/keep.log"]
    m.wait()
    eq(found(m, "platypus"), every, "without rules all is indexed but .git")
    m.write(".gitignore", "*.log\nbuild/\n!build/keep.txt\n")
    m.wait()
    eq(found(m, "platypus"), ["deep/er/c.txt", "keep.txt"], ".gitignore: what is below a directory that is left out stays out")
    m.write("sub/.vexfsignore", "!keep.log\n")
    m.wait()
    eq(found(m, "platypus"), ["deep/er/c.txt", "keep.txt", "sub/keep.log"], ".vexfsignore of a deeper directory takes back")
    eq((state(m, "a.log"), reason(m, "a.log")), ("none", None), "what is left out has state none")
    m.write("sub/new.log", b"platypus of later\n")
    m.wait()
    ok("sub/new.log" not in found(m, "platypus"), "a new file is judged by the same rules")
    m.set_vector("a.log", [1.0, 0.0, 0.0])
    m.wait()
    eq([r["path"] for r in m.ask("search", vector=[1, 0, 0], k=1)["results"]], ["a.log"], "a user's vector is no business of theirs")
    os.setxattr(m.p("deep"), "user.vexfs.ignore", b"1")
    m.wait()
    eq(found(m, "platypus"), ["keep.txt", "sub/keep.log"], "user.vexfs.ignore on a directory")
    ok("user.vexfs.ignore" in os.listxattr(m.p("deep")), "is listed, as it is the user's own")
    eq(os.getxattr(os.path.join(m.dir, "deep"), "user.vexfs.ignore"), b"1", "and lies in DIR")
    os.removexattr(m.p("deep"), "user.vexfs.ignore")
    os.unlink(m.p("sub/.vexfsignore"))
    m.wait()
    eq(found(m, "platypus"), ["deep/er/c.txt", "keep.txt"], "taken off again, and a list removed")
    os.rename(m.p(".gitignore"), m.p("sub/.gitignore"))
    m.wait()
    eq(found(m, "platypus"), ["a.log", "build/keep.txt", "build/x.txt", "deep/er/c.txt", "keep.txt"], "a list that moved rules where it is now")
    limit = 256 << 10
    m.write("deep/x.log", b"platypus\n")
    m.wait()
    long = b"c.txt\n" + b"#" * (limit - 8) + b"\n"
    m.write("deep/.gitignore", long + b"*.nothing\n")
    m.wait()
    eq(found(m, "platypus"), ["a.log", "build/keep.txt", "build/x.txt", "deep/x.log", "keep.txt"], "a list longer than is read is cut at a line's end: *.nothing is not *")
    os.unlink(m.p("deep/.gitignore"))
    os.unlink(m.p("deep/x.log"))
    m.umount()
    os.unlink(os.path.join(m.dir, "sub/.gitignore"))
    os.setxattr(os.path.join(m.dir, "build"), "user.vexfs.ignore", b"")
    m.mount()
    m.wait("--rescan")
    want = [n for n in every if not n.startswith("build/")] + ["sub/new.log"]
    eq(found(m, "platypus"), want, "rules that changed while nothing was mounted")


def commands():
    with Mount(start=False) as m:
        table = os.path.join(m.base, "filters")
        with open(table, "w") as f:
            f.write("# endings command\nup,UPP /usr/bin/tr a-z A-Z\nsh sh -c \"cat; cat /etc/hostname >/dev/null; echo leak >" + m.base + "/leak; cat " + table + "\"\nno /nonexistent/command\n"
                    "slow sleep 100\nbad false\ndisks sh -c \"cat && ls /dev\"\n"
                    "caps sh -c \"cat && grep -q '^CapEff:.000000000000000[0246]$' /proc/self/status && head -c1 /dev/urandom >/dev/null\"\n")
        m.opts = ("-o", f"filters={table}")
        m.mount()
        for name, text in (("x.up", "shouted capybara\n"), ("y.upp", "more capybara\n"), ("z.sh", "sandboxed capybara\n"), ("w.no", "capybara\n"), ("v.bad", "capybara\n"), ("u.txt", "capybara\n"),
                           ("t.disks", "capybara\n"), ("s.caps", "weak capybara\n")):
            m.write(name, text)
        m.wait()
        a = {r["path"]: r["snippet"] for r in m.ask("search", text="capybara", k=50, mode="text")["results"]}
        ok("CAPYBARA" in a.get("x.up", "") and "CAPYBARA" in a.get("y.upp", "") and "capybara" in a.get("u.txt", ""), "an external command makes the text", detail=a)
        ok(not os.path.exists(m.base + "/leak"), "it can write nothing")
        ok("weak capybara" in a.get("s.caps", ""), "root's command has no powers but to read its document", detail=(a, reason(m, "s.caps")))
        r = {n: reason(m, n) for n in ("z.sh", "w.no", "v.bad", "t.disks")}
        ok(all(v and "parser" in v for v in r.values()), "it can read no other's file and see no devices; one that fails or is not there leaves an error", detail=r)
        m.umount()
        os.chmod(table, 0o666)
        m.mount()
        m.write("x.up", "whispered capybara\n")
        m.wait()
        a = {r["path"]: r["snippet"] for r in m.ask("search", text="whispered", k=50, mode="text")["results"]}
        ok("whispered" in a.get("x.up", ""), "a table that others may write is not used", detail=a)
        m.opts = ("-o", "filters=/nonexistent/table")
        m.umount()
        rc, _, err = vexfs("mount", m.dir, m.mnt, *m.opts)
        ok(rc == 2 and "filters=" in err, "a table that is not there is refused: " + err.strip())
        m.opts = ()
        m.mount()


with Mount() as m:
    bad_inputs(m, documents(m))
    changed_while_read(m)
with Mount() as m:
    left_out(m)
commands()
done()
