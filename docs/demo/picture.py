"""Draws what was seen in a terminal as one SVG that moves by itself."""

from html import escape

COLUMN_PX, ROW_PX, FONT_PX, MARGIN_PX, BAR_PX = 8.4, 19, 14, 16, 30
PAUSE_MAX_S, LAST_S = 1.5, 5.0

# A terminal is dark on any page. The last frame stands where nothing may move.
STYLE = """
  .page { fill: #161b22; stroke: #3d444d; }
  text { fill: #e6edf3; white-space: pre; font-size: FONTpx;
    font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; }
  .bold { font-weight: 700; } .dim { fill: #9198a1; }
  .red { fill: #ff7b72; } .green { fill: #56d364; } .yellow { fill: #e3b341; }
  .blue { fill: #79c0ff; } .magenta { fill: #d2a8ff; } .cyan { fill: #76e3ea; }
  .black { fill: #6e7681; } .white { fill: #ffffff; }
  .cursor { fill: #e6edf3; opacity: 0.6; }
  .film { animation: film TIMEs steps(1, end) infinite; }
  @media (prefers-reduced-motion: reduce) { .film { animation: none; } }
"""


def shortened(frames):
    """The frames with the seconds that each is shown."""
    shown = []
    for n, (at, seen) in enumerate(frames):
        lasts = frames[n + 1][0] - at if n + 1 < len(frames) else LAST_S
        shown.append((min(lasts, PAUSE_MAX_S) if n + 1 < len(frames) else LAST_S, seen))
    return shown


def text_of(runs):
    """One row: its runs, each held to the columns that it has in the terminal."""
    spans = []
    for column, text, style in runs:
        names = f' class="{" ".join(style)}"' if style else ""
        spans.append(
            f'<text x="{column * COLUMN_PX:.1f}"{names} textLength="{len(text) * COLUMN_PX:.1f}"'
            f' lengthAdjust="spacingAndGlyphs">{escape(text, quote=False)}</text>'
        )
    return "".join(spans)


def drawn(shown, height):
    """The rows, each once, and the frames below each other, which use them."""
    rows, frames = {}, []
    for n, (_, (seen, cursor)) in enumerate(shown):
        uses = []
        for number, runs in enumerate(seen):
            if runs:
                name = rows.setdefault(runs, f"r{len(rows)}")
                uses.append(f'<use href="#{name}" y="{number * ROW_PX}"/>')
        if cursor:
            x, y = cursor[1] * COLUMN_PX, cursor[0] * ROW_PX - FONT_PX + 1
            uses.append(f'<use href="#cursor" x="{x:.1f}" y="{y}"/>')
        frames.append(f'<g transform="translate(0 {n * height})">{"".join(uses)}</g>')
    symbols = [f'<g id="{name}">{text_of(runs)}</g>' for runs, name in rows.items()]
    cursor = f'<rect id="cursor" class="cursor" width="{COLUMN_PX}" height="{FONT_PX + 3}"/>'
    return [*symbols, cursor], frames


def keyframes(shown, height):
    """When which frame is shown."""
    whole = sum(seconds for seconds, _ in shown)
    at, lines = 0.0, []
    for n, (seconds, _) in enumerate(shown):
        lines.append(f"{at / whole * 100:.3f}% {{ transform: translateY({-n * height}px); }}")
        at += seconds
    lines.append(f"100% {{ transform: translateY({-(len(shown) - 1) * height}px); }}")
    return whole, "@keyframes film { " + " ".join(lines) + " }"


def write(path, frames, rows, columns):
    """Writes the picture of all frames, with just the rows that are used."""
    shown = shortened(frames)
    used = max(n + 1 for _, (seen, _) in shown for n, runs in enumerate(seen) if runs)
    rows = min(rows, used + 1)
    height = rows * ROW_PX
    width_px = columns * COLUMN_PX + 2 * MARGIN_PX
    height_px = height + BAR_PX + MARGIN_PX
    symbols, groups = drawn(shown, height)
    whole, film = keyframes(shown, height)
    style = STYLE.replace("TIME", f"{whole:.2f}").replace("FONT", str(FONT_PX))
    last = (len(shown) - 1) * height
    dots = "".join(
        f'<circle cx="{MARGIN_PX + 4 + n * 18}" cy="{BAR_PX / 2 + 1}" r="5" fill="{colour}"/>'
        for n, colour in enumerate(["#ff5f57", "#febc2e", "#28c840"])
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width_px:.0f}" height="{height_px}"'
        f' viewBox="0 0 {width_px:.0f} {height_px}" role="img">\n'
        "<title>aiocp copies a folder, is interrupted, continues, and compares the copy with its"
        " source</title>\n"
        f"<style>{style}  {film}</style>\n"
        f"<defs>{''.join(symbols)}"
        f'<clipPath id="window"><rect x="-4" y="{-FONT_PX}" width="{width_px:.0f}"'
        f' height="{height}"/></clipPath></defs>\n'
        f'<rect class="page" x="0.5" y="0.5" width="{width_px - 1:.0f}" height="{height_px - 1}"'
        f' rx="8"/>{dots}\n'
        f'<g transform="translate({MARGIN_PX} {BAR_PX + FONT_PX})" clip-path="url(#window)">'
        f'<g class="film" transform="translate(0 {-last})">\n'
        + "\n".join(groups)
        + "\n</g></g>\n</svg>\n"
    )
