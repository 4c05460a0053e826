"""docs.py - documents made for tests: office archives and PDFs of a few lines."""
import io
import zipfile


def archive(parts, comp=zipfile.ZIP_DEFLATED):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", comp) as z:
        for i, (n, t) in enumerate(parts):
            z.writestr(n, t, zipfile.ZIP_STORED if n == "mimetype" else comp)
    return b.getvalue()


W = '<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>%s</w:body></w:document>'


def docx(body, extra=()):
    return archive([("[Content_Types].xml", "<Types/>"), ("word/document.xml", W % body), *extra])


def odt(body):
    return archive([("mimetype", "application/vnd.oasis.opendocument.text"),
                    ("content.xml", '<?xml version="1.0"?><o:d xmlns:o="o" xmlns:text="t">' + body + "</o:d>")])


def epub(chapters, opf=None):
    items = "".join(f'<item id="c{i}" href="{n.replace(" ", "%20")}"/>' for i, (n, _) in reversed(list(enumerate(chapters))))
    spine = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    return archive([("mimetype", "application/epub+zip"),
                    ("META-INF/container.xml", '<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>'),
                    ("O/p.opf", opf or f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>"), *[("O/" + n, t) for n, t in chapters]])


def pdf(text, extra=""):
    stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
    objs = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    out, at = "%PDF-1.4\n", []
    for i, o in enumerate(objs):
        at.append(len(out))
        out += f"{i + 1} 0 obj\n{o}\nendobj\n"
    x = len(out)
    out += f"xref\n0 {len(objs) + 1}\n0000000000 65535 f \n" + "".join(f"{a:010d} 00000 n \n" for a in at)
    return (out + f"trailer\n<< /Size {len(objs) + 1} /Root 1 0 R {extra}>>\nstartxref\n{x}\n%%EOF\n").encode()
