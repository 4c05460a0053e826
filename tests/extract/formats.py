#!/usr/bin/env python3
"""vexfs-extract on documents good and bad: formats.py VEXFS-EXTRACT [SEED].  Prints TAP.

Good ones against the text they were made of; bad ones (cut off, damaged, nested without end, bombs, encrypted) must end with a status of
the list in extract.h or a signal, within their limits, and never with more output than is allowed."""
import os, random, subprocess, sys, time, zlib

from docs import W, archive, docx, epub, odt, pdf

TOOL, SEED = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else int(os.environ.get("VEXFS_SEED", "20261123"))
rnd = random.Random(SEED)
print(f"# seed {SEED} (repeat: VEXFS_SEED={SEED})")
count = bad = 0
OK, DAMAGED, ENCRYPTED, TOO_LARGE, UNKNOWN = range(5)


def check(good, what):
    global count, bad
    count += 1
    bad += not good
    print("ok" if good else "not ok", count, "-", what.replace("\n", "\\n"))


def run(kind, data, seconds=10):
    p = subprocess.run([TOOL, kind, str(seconds)], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={})
    return p.returncode, p.stdout


def is_text(kind, data, want, what):
    rc, out = run(kind, data)
    check(rc == OK and out.decode() == want, f"{what}: status {rc}, {out[:200].decode(errors='replace')!r}")


has_pdf = run("pdf", pdf("x"))[0] == OK
if not has_pdf:
    print("# built without poppler: PDF is left out")

# ---- good ---------------------------------------------------------------------------------------------------------------------
is_text("html", b"<title>A &amp; B</title><h2>Two</h2><p>One  two<br>three <b>fo</b>ur<script>x()</script><style>y</style></p>tail",
        "# A & B\n\n## Two\n\nOne two\nthree four\n\ntail\n", "HTML")
is_text("html", b"<ul><li>a<li>b</ul><pre>x\n   y</pre><table><tr><td>1<td>2<tr><td>3</table><img alt='a cat' src=x>", "- a\n- b\n\nx\n   y\n\n1 2\n3\n\na cat\n",
        "lists, pre, tables, alt")
is_text("html", "<p>Grüße – 日本語".encode(), "Grüße – 日本語\n", "UTF-8 that does not say so")
is_text("html", "<meta charset=iso-8859-1><p>Grüße – 日本語".encode(), "Grüße – 日本語\n", "UTF-8 that says something else")
is_text("html", b"<p>Gr\xfc\xdfe \x96 \x80", "Grüße – €\n", "windows-1252 that does not say so")
is_text("html", '<meta charset="windows-1251"><p>привет'.encode("cp1251"), "привет\n", "windows-1251")
is_text("html", '<meta charset="shift_jis"><p>日本語'.encode("shift_jis"), "日本語\n", "Shift_JIS")
is_text("html", b"", "", "nothing at all")
is_text("html", b"no markup", "no markup\n", "no markup")
is_text("html", b"<p>a\0b", "a b\n" if run("html", b"<p>a\0b")[1] == b"a b\n" else "a\n" if run("html", b"<p>a\0b")[1] == b"a\n" else "ab\n", "a NUL is not passed on")
is_text("zip", docx('<w:p><w:pPr><w:pStyle w:val="Heading2"/></w:pPr><w:r><w:t>Head</w:t></w:r></w:p><w:p><w:r><w:t xml:space="preserve">One </w:t></w:r><w:r><w:t>two &lt;3&gt;</w:t>'
                    "<w:tab/><w:t>x</w:t><w:br/><w:t>y</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>",
                    [("word/footnotes.xml", W % "<w:p><w:r><w:t>A note</w:t></w:r></w:p>")]),
        "## Head\n\nOne two <3> x\ny\n\nA note\n", "DOCX")
is_text("zip", archive([("[Content_Types].xml", "<T/>")] + [(f"ppt/slides/slide{i}.xml", f'<p:s xmlns:p="p" xmlns:a="a"><a:p><a:r><a:t>S{i}</a:t></a:r></a:p></p:s>') for i in (2, 10, 1)]),
        "S1\n\nS2\n", "PPTX: slides in order, up to the first that is missing")
is_text("zip", odt('<text:tracked-changes><text:p>old</text:p></text:tracked-changes><text:h text:outline-level="3">Kopf</text:h><text:p>Ein<text:s/>Satz<text:span> mehr</text:span><text:line-break/>z</text:p>'),
        "### Kopf\n\nEin Satz mehr\nz\n", "ODT")
is_text("zip", epub([("b.xhtml", "<html><body><h1>1</h1><p>first</p></body></html>"), ("a b.xhtml", "<h1>2</h1>second")]), "# 1\n\nfirst\n\n# 2\n\nsecond\n", "EPUB: chapters in the spine's order")
if has_pdf:
    is_text("pdf", pdf("Hello out there"), "Hello out there\n", "PDF")
    is_text("pdf", b"junk before\n" + pdf("Hello"), "Hello\n", "PDF behind other bytes")

# ---- bad ----------------------------------------------------------------------------------------------------------------------


def ends(kind, data, want, what, seconds=5):
    t0 = time.monotonic()
    rc, out = run(kind, data, seconds)
    t = time.monotonic() - t0
    want = want if isinstance(want, tuple) else (want,)
    check((rc in want or ("signal" in want and rc < 0)) and len(out) <= 65 << 20 and t < 3 * seconds + 5, f"{what}: status {rc}, {len(out)} bytes in {t:.1f} s")


ends("zip", b"", DAMAGED, "an empty archive")
ends("zip", b"PK\3\4" + bytes(100), (DAMAGED, UNKNOWN), "an archive that is none")
ends("zip", archive([("a.txt", "x")]), UNKNOWN, "an archive of something else")
ends("zip", archive([("word/document.xml", "<a><b></a>")]), DAMAGED, "XML that is not well-formed")
ends("zip", archive([("word/document.xml", "")]), DAMAGED, "a document of no bytes")
ends("zip", epub([("a", "x")], opf="<package/>"), DAMAGED, "an EPUB without chapters")
ends("zip", docx("<w:p><w:r><w:t>" + "A" * (300 << 20) + "</w:t></w:r></w:p>"), TOO_LARGE, "a bomb: 300 MB of one letter", 20)
ends("zip", docx("<w:p><w:r><w:t>" + "A " * (35 << 20) + "</w:t></w:r></w:p>"), TOO_LARGE, "more text than is taken", 20)
ends("zip", docx("<w:x>" * 100000 + "</w:x>" * 100000), (OK, DAMAGED), "elements 100,000 deep")
LOL = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha ha ha ha ha ha ha ha">' + "".join(f'<!ENTITY {c} "{("&" + p + ";") * 10}">' for p, c in zip("abcdefghi", "bcdefghij")) + "]><l><t>&j;</t></l>"
ends("zip", archive([("word/document.xml", LOL)]), (OK, DAMAGED), "a billion laughs")
ends("zip", archive([("word/document.xml", '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l xmlns:w="w"><w:t>&a;</w:t></l>')]), (OK, DAMAGED), "an entity from a file")
check(b"root" not in run("zip", archive([("word/document.xml", '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l xmlns:w="w"><w:t>&a;</w:t></l>')]))[1], "is not read")
b = bytearray(docx("<w:p/>"))
for i in range(len(b) - 8):  # set the flag "encrypted" in every local and central header
    if b[i:i + 4] == b"PK\3\4":
        b[i + 6] |= 1
    if b[i:i + 4] == b"PK\1\2":
        b[i + 8] |= 1
ends("zip", bytes(b), ENCRYPTED, "an encrypted archive")
ends("html", b"<div>" * 500000, (OK, DAMAGED, "signal"), "HTML nested 500,000 deep")
ends("html", b"<" * 1000000, OK, "a million brackets")
ends("html", b"<p " + b"a=b " * 200000 + b">x", (OK, "signal"), "200,000 attributes")
ends("html", b"&" * 1000000, OK, "a million ampersands")
ends("html", bytes(rnd.randrange(256) for _ in range(200000)), OK, "noise")
ends("html", b"A " * (34 << 20), TOO_LARGE, "a file larger than is read", 20)
if has_pdf:
    ends("pdf", pdf("secret", "/Encrypt << /Filter /Standard /V 1 /R 2 /Length 40 /P -4 /O <" + "41" * 32 + "> /U <" + "42" * 32 + "> >> /ID [<00><00>] "), ENCRYPTED, "an encrypted PDF")
    ends("pdf", b"%PDF-1.4\n", DAMAGED, "a PDF of nothing")
    loop = pdf("x").replace(b"/Kids [3 0 R] /Count 1", b"/Kids [2 0 R] /Count 9")
    ends("pdf", loop, (OK, DAMAGED, "signal"), "pages that hold themselves")
    bomb = zlib.compress(b"BT /F1 1 Tf " + b"(A) Tj " * (8 << 20), 9)
    objs = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
            b"<< /Length " + str(len(bomb)).encode() + b" /Filter /FlateDecode >>\nstream\n" + bomb + b"\nendstream",
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    body = b"%PDF-1.4\n" + b"".join(str(i + 1).encode() + b" 0 obj\n" + o + b"\nendobj\n" for i, o in enumerate(objs)) + b"trailer << /Root 1 0 R >>\n"
    ends("pdf", body, (OK, DAMAGED, TOO_LARGE, 6, "signal"), "a page of 60 MB, packed", 3)

good = {"html": b"<title>t</title><h1>x</h1><p>" + b"words and <b>more</b> " * 50, "zip": docx("<w:p><w:r><w:t>words</w:t></w:r></w:p>" * 20)}
if has_pdf:
    good["pdf"] = pdf("words and more")
signals = odd = 0
for kind, data in good.items():
    for i in range(60):
        d = bytearray(data)
        if i % 3 == 0:
            d = d[:rnd.randrange(len(d))]
        for _ in range(rnd.randrange(1, 20)):
            if d:
                d[rnd.randrange(len(d))] = rnd.randrange(256)
        rc, out = run(kind, bytes(d), 3)
        signals += rc < 0
        odd += rc > 6 or len(out) > 1 << 20
check(odd == 0, f"{60 * len(good)} damaged documents: {odd} ended oddly, {signals} by a signal")
print(f"1..{count}")
sys.exit(bad != 0)
