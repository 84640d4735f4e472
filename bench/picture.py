#!/usr/bin/env python3
"""Makes results.svg from RESULTS.md: one bar for each row that has a name in the column "bar".

    bench/picture.py [FILE]

A bar is the ratio gomem / peer. The colors are readable on white and on black, since a page's
background is not known to a picture in it."""

import pathlib
import sys
from xml.sax.saxutils import escape

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, LEFT, UNIT, ROW, BAR = 830, 248, 220, 20, 11  # pixels; UNIT: a ratio of 1
GOMEM, PEER = 612, 690  # where the two columns of figures begin
TEXT, LINE, BETTER, WORSE = "#7a7a7a", "#a0a0a0", "#3a86c8", "#c2702d"


def sections(text):
    """The bars of each table, under its heading: (name, gomem, peer, ratio)."""
    heading, bars = "", []
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 7 or cells[4] in ("", "bar") or set(line) <= set("|-"):
            continue
        bars.append((heading, cells[4], cells[1], cells[2], float(cells[3].strip("*"))))
    return bars


def draw(bars):
    out, y, heading = [], 14, ""

    def text(x, y, words, anchor="start", weight="normal"):
        out.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" '
                   f'font-weight="{weight}">{escape(words)}</text>')

    top = y + 4
    for group, name, gomem, peer, ratio in bars:
        if group != heading:
            heading = group
            y += 22
            text(LEFT - 8, y, group, "end", "bold")
        y += ROW
        color = BETTER if ratio < 1 else WORSE
        length = UNIT * ratio
        text(LEFT - 8, y, name, "end")
        out.append(f'<rect x="{LEFT}" y="{y - BAR + 1}" width="{length:.1f}" height="{BAR}" '
                   f'fill="{color}"/>')
        text(LEFT + length + 6, y, f"{ratio:.2f}", weight="bold")
        text(GOMEM, y, gomem)
        text(PEER, y, peer)
    bottom = y + 8
    x = LEFT + UNIT
    out.insert(0, f'<path d="M{x} {top}V{bottom}" stroke="{LINE}" stroke-dasharray="3 3"/>')
    out.insert(0, f'<path d="M{LEFT} {top}V{bottom}" stroke="{LINE}"/>')
    text(x, top - 6, "the peer = 1", "middle")
    text(GOMEM, top - 6, "gomem")
    text(PEER, top - 6, "peer")
    text(LEFT, bottom + 18, "time (or memory, where it says so) relative to the peer; shorter is better")
    body = "\n".join(out)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 28}" '
            f'width="{WIDTH}" height="{bottom + 28}" font-family="sans-serif" font-size="12" '
            f'fill="{TEXT}">\n<title>gomem.h beside its peers</title>\n{body}\n</svg>\n')


def main():
    picture = draw(sections((HERE / "RESULTS.md").read_text(encoding="utf-8")))
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "results.svg"
    target.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
