#!/usr/bin/env python3
"""Draws the chart and the tables of runs of benches/rivals.py.

    benches/chart.py [JSON]

JSON is what benches/rivals.py wrote with --json (default: benches/results/rivals.json). The script
writes docs/speed.svg, and the tables between the comments `<!-- speed -->` and `<!-- /speed -->` in
README.md and docs/performance.md. So all three show one run on one machine. Between `<!-- rows -->`
and `<!-- /rows -->` in docs/performance.md, it writes a row for each case of that run, and of the
runs on other filesystems: benches/results/rivals-*.json.
"""

import json
import statistics
import sys
from html import escape
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "benches" / "results" / "rivals.json"
CHART = REPO / "docs" / "speed.svg"
DOCUMENTS = ["README.md", "docs/performance.md"]
ROWS = "docs/performance.md"
HEADLINE, LIMITS = ["big", "tree"], ["fio", "least", "least whole"]
OURS = ["aiocp", "aiosum"]

WIDTH, MARGIN = 760, 24
NAME_WIDTH, FIGURE_WIDTH = 150, 140
BAR_HEIGHT, BAR_STEP, PANEL_GAP = 20, 30, 30

# The chart has a background of its own, so that it can be read on any page.
STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de; }
  .title { fill: #1f2328; font-weight: 600; font-size: 16px; }
  .name, .figure { fill: #1f2328; font-size: 14px; }
  .note { fill: #59636e; font-size: 12px; }
  .other { fill: #afb8c1; }
  .ours { fill: #1a7f37; }
  .bold { font-weight: 600; }
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d; }
    .title, .name, .figure { fill: #f0f6fc; }
    .note { fill: #9198a1; }
    .other { fill: #656c76; }
    .ours { fill: #3fb950; }
  }
"""


def headline(results):
    """The cases that are drawn."""
    return [results["cases"][name] for name in HEADLINE]


def ranked(case):
    """The tools of a case, the fastest first, without the limits, which copy nothing for anyone."""
    tools = [item for item in case["tools"].items() if item[0] not in LIMITS]
    return sorted(tools, key=lambda item: item[1]["wall_s"])


def label(tool, versions):
    """A tool's name as the reader sees it."""
    return "aiocp, hashing" if tool == "aiocp" else f"{tool} {versions[tool]}"


def where(results):
    """The machine, in one line."""
    case = headline(results)[0]
    machine = case["machine"]
    filesystem = machine["filesystem"]["kind"]
    return (
        f"{machine['cores']} cores, {machine['memory_gib']:.0f} GiB, {filesystem},"
        f" Linux {machine['kernel']}, {machine['date']};"
        f" medians of {case['rounds']} alternating rounds"
    )


def panel(case, versions, top):
    """The bars of one case, from this height on, and the height at which they end."""
    rows = ranked(case)
    room = WIDTH - 2 * MARGIN - NAME_WIDTH - FIGURE_WIDTH
    longest = max(row["wall_s"] for _, row in rows)
    size = f"{case['bytes'] / 1e9:.2f} GB"
    parts = [f'<text class="title" x="{MARGIN}" y="{top}">{escape(case["name"])}, {size}</text>']
    y = top + 14
    left = MARGIN + NAME_WIDTH
    for tool, row in rows:
        ours = tool == "aiocp"
        bar = room * row["wall_s"] / longest
        ratio = "" if ours else f", {row['ratio']:.2f} ×"
        bold = " bold" if ours else ""
        middle = y + BAR_HEIGHT * 0.75
        name = escape(label(tool, versions))
        parts += [
            f'<text class="name{bold}" x="{left - 10}" y="{middle}" text-anchor="end">'
            f"{name}</text>",
            f'<rect class="{"ours" if ours else "other"}" x="{left}" y="{y}" rx="3"'
            f' width="{bar:.1f}" height="{BAR_HEIGHT}"/>',
            f'<text class="figure{bold}" x="{left + bar + 8:.1f}" y="{middle}">'
            f"{row['wall_s']:.2f} s{ratio}</text>",
        ]
        y += BAR_STEP
    return parts, y


def chart(results):
    """The whole picture."""
    parts, y = [], MARGIN + 14
    for case in headline(results):
        drawn, y = panel(case, results["versions"], y)
        parts += drawn
        y += PANEL_GAP
    notes = [
        "Seconds until the copy is durable, from a cold source: shorter is better. ×: the time"
        " against aiocp's, round by round.",
        where(results),
    ]
    for note in notes:
        parts.append(f'<text class="note" x="{MARGIN}" y="{y}">{escape(note)}</text>')
        y += 18
    height = y + 2
    alternative = "; ".join(
        f"{case['name']}: "
        + ", ".join(f"{label(t, results['versions'])} {r['wall_s']:.2f} s" for t, r in ranked(case))
        for case in headline(results)
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}" role="img">',
            f"<title>{escape(alternative)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}"'
            ' rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def table(results):
    """One table of all cases, in the order of the first one."""
    cases = headline(results)
    head = ["until durable"]
    for case in cases:
        head += [f"{case['name']}: s", "CPU s/GB", "against aiocp"]
    lines = [head, ["---"] * len(head)]
    for tool, _ in ranked(cases[0]):
        line = [label(tool, results["versions"])]
        for case in cases:
            row = case["tools"][tool]
            line += [
                f"{row['wall_s']:.2f}",
                f"{row['cpu_s_per_gb']:.2f}",
                f"{row['ratio']:.2f} ×",
            ]
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(limit, ours):
    """What part of the limit's speed aiocp had: the median of the rounds."""
    pairs = zip(limit["runs"], ours["runs"])
    return statistics.median(least["wall_s"] / run["wall_s"] for least, run in pairs)


def row(case, kind):
    """What one case comes to: ours, the fastest rival, the cheapest one, and the limit."""
    tool = next(name for name in OURS if name in case["tools"])
    ours, limits = case["tools"][tool], [case["tools"].get(name) for name in LIMITS]
    rivals = [item for item in ranked(case) if item[0] != tool]
    fastest, (cheapest, cheap) = rivals[0], min(rivals, key=lambda item: item[1]["cpu_s"])
    parts = [f"{share(limit, ours):.2f}" for limit in limits if limit]
    return [
        f"{case['name']}, {kind}",
        case["machine"]["processor"].split()[0].removesuffix("(R)"),
        f"{ours['wall_s']:.2f}",
        f"{fastest[1]['ratio']:.2f} × ({fastest[0]})",
        " · ".join(parts),
        f"{ours['cpu_s']:.2f}",
        f"{ours['cpu_s'] / cheap['cpu_s']:.2f} ({cheapest})",
        f"{ours['peak_mib']}",
    ]


def rows(all_results):
    """The table of all cases on all filesystems."""
    head = ["what", "on", "s", "fastest rival", "of the limit"]
    head += ["CPU s", "of the cheapest", "peak MiB"]
    lines = [head, ["---"] * len(head)]
    for results in all_results:
        lines += [row(case, results["kind"]) for case in results["cases"].values()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rewrite(document, name, text):
    """Puts a text between the two comments of this name in a document."""
    path, opening, closing = REPO / document, f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = path.read_text().split(f"{opening}\n", 1)
    after = rest.split(closing, 1)[1]
    path.write_text(f"{before}{opening}\n{text}\n{closing}{after}")


def main():
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    results = json.loads(Path(*sys.argv[1:] or [RESULTS]).read_text())
    CHART.write_text(chart(results))
    for document in DOCUMENTS:
        rewrite(document, "speed", table(results))
    others = [json.loads(path.read_text()) for path in sorted(RESULTS.parent.glob("rivals-*.json"))]
    rewrite(ROWS, "rows", rows([results, *others]))


if __name__ == "__main__":
    main()
