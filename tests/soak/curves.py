"""curves.py - rows of numbers over time as an SVG: one panel a figure, written without any library."""
from xml.sax.saxutils import escape

PANELS = (("rss_kib", "resident, KiB"), ("heap_kib", "heap, KiB"), ("fds", "descriptors"), ("search_p50_us", "search p50, us"),
          ("search_p99_us", "search p99, us"), ("put_p99_us", "put p99, us"), ("file_ops", "file operations"), ("puts", "puts"),
          ("searches", "searches"), ("cpu_s", "processor seconds"))
W, H, LEFT, GAP = 900, 90, 150, 24


def line(points, x_of, y_of):
    """runs between missing values, as paths"""
    out, d = [], ""
    for t, v in points:
        if v == "":
            if d:
                out.append(d)
            d = ""
            continue
        d += f"{'L' if d else 'M'}{x_of(t):.1f} {y_of(float(v)):.1f} "
    return out + ([d] if d else [])


def draw(path, title, rows, panels=PANELS, x="t_s"):
    """@rows dicts with @x (seconds) and the panels' keys; "event" marks a vertical line"""
    if not rows:
        return
    panels = [p for p in panels if p[0] in rows[0]]
    t0, t1 = float(rows[0][x]), max(float(rows[-1][x]), float(rows[0][x]) + 1)

    def x_of(t):
        return LEFT + (float(t) - t0) / (t1 - t0) * (W - LEFT - 20)
    s = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{W}" height="{40 + len(panels) * (H + GAP)}" font-family="sans-serif" font-size="11">',
         f'<rect width="100%" height="100%" fill="white"/><text x="10" y="20" font-size="14">{escape(title)}: {t1 - t0:.0f} s</text>']
    for n, (key, label) in enumerate(panels):
        top = 36 + n * (H + GAP)
        vals = [float(r[key]) for r in rows if r[key] != ""]
        lo, hi = (min(vals), max(vals)) if vals else (0, 1)
        lo = min(lo, 0) if lo < hi * 0.5 else lo
        hi = hi if hi > lo else lo + 1

        def y_of(v):
            return top + H - (v - lo) / (hi - lo) * H
        s.append(f'<rect x="{LEFT}" y="{top}" width="{W - LEFT - 20}" height="{H}" fill="none" stroke="#ccc"/>'
                 f'<text x="10" y="{top + 14}">{escape(label)}</text><text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{hi:g}</text>'
                 f'<text x="{LEFT - 6}" y="{top + H}" text-anchor="end">{lo:g}</text>')
        for r in rows:
            if r.get("event"):
                s.append(f'<path d="M{x_of(r[x]):.1f} {top}v{H}" stroke="#e6a0a0"><title>{escape(r["event"])}</title></path>')
        for d in line([(r[x], r[key]) for r in rows], x_of, y_of):
            s.append(f'<path d="{d}" fill="none" stroke="#2060a0" stroke-width="1.3"/>')
    s.append("</svg>\n")
    with open(path, "w") as f:
        f.write("\n".join(s))
