#!/usr/bin/env python3
"""Times aiosum against b3sum, and against a plain read by fio, on cold data; prints medians and
ratios.

    benches/aiosum.py [--dir DIR] [--rounds N] [--only big|tree] [--json FILE]

The script builds aiosum and installs b3sum from the registry into target/rivals. It makes a file of
4 GiB and a tree of 30,000 files in DIR (default: target/bench), and alternates the tools. Before
each run the caches are dropped and the free memory is touched; benches/rivals.py says why. fio
reads the same file with 16 requests of 1 MiB in flight and hashes nothing. Needs root and fio.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import BIG_BYTES, REPO, cool, make_big, make_tree

B3SUM = "1.8.7"


def build():
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=REPO, check=True)
    root = REPO / "target" / "rivals"
    if not (root / "bin" / "b3sum").exists():
        subprocess.run(
            ["cargo", "install", "--quiet", "--root", root, f"b3sum@{B3SUM}"], check=True
        )
    return REPO / "target/release/aiosum", root / "bin/b3sum"


def run(command):
    """Seconds of wall clock and CPU, and peak resident memory in MiB, mapped files included.

    A child begins as a copy of this script, so no peak is below the script's own 30 MiB.
    """
    start = time.monotonic()
    is_fio = command[0] == "fio"
    process = subprocess.Popen(command, stdout=subprocess.PIPE if is_fio else subprocess.DEVNULL)
    output = process.stdout.read() if is_fio else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"{command}: status {status}")
    if is_fio:
        # The run time in ms without fio's own set-up: field 9 of its terse output, version 3.
        seconds = int(output.split(b";")[8]) / 1000
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(name, source, size, tools, rounds, filler):
    runs = {tool: [] for tool in tools}
    for round_ in range(rounds):
        order = list(tools)
        random.Random(round_).shuffle(order)
        for tool in order:
            cool(source, filler)
            runs[tool].append(run(tools[tool]))
            print(
                f"  {name} {tool}: {runs[tool][-1][0]:.2f} s, {runs[tool][-1][2]:.0f} MiB",
                file=sys.stderr,
            )
    print(f"\n{name} ({size / 1e9:.2f} GB), medians of {rounds}")
    print(
        "| tool | wall s | CPU s/GB | peak MiB | wall vs aiosum |\n| --- | --- | --- | --- | --- |"
    )
    rows = {}
    for tool, times in runs.items():
        wall, cpu = (statistics.median(r[n] for r in times) for n in (0, 1))
        # Ratios are taken round by round, so a slow spell of the machine burdens both sides.
        ratio = statistics.median(r[0] / a[0] for r, a in zip(times, runs["aiosum"]))
        peak = max(r[2] for r in times)
        rows[tool] = {
            "wall_s": wall,
            "cpu_s_per_gb": cpu / size * 1e9,
            "peak_mib": peak,
            "ratio": ratio,
            "runs": times,
        }
        print(f"| {tool} | {wall:.2f} | {cpu / size * 1e9:.2f} | {peak:.0f} | {ratio:.2f} × |")
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=REPO / "target" / "bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["big", "tree"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("only root can drop the caches")
    args.dir.mkdir(parents=True, exist_ok=True)
    aiosum, b3sum = build()
    filler = args.dir / "filler"
    filler.touch()
    big, tree = args.dir / "big", args.dir / "tree"
    results = {}
    if args.only != "tree":
        make_big(big)
        fio = ["fio", "--name=read", f"--filename={big}", f"--size={BIG_BYTES}", "--readonly"]
        fio += ["--ioengine=libaio", "--direct=1", "--bs=1M", "--iodepth=16", "--rw=read"]
        fio += ["--minimal"]
        tools = {"aiosum": [aiosum, big], "b3sum": [b3sum, big], "fio": fio}
        results["big"] = measure("one big file", big, BIG_BYTES, tools, args.rounds, filler)
    if args.only != "big":
        make_tree(tree)
        size = sum(f.stat().st_size for f in tree.rglob("*") if f.is_file())
        find = f"find '{tree}' -type f -print0 | xargs -0 '{b3sum}'"
        tools = {"aiosum": [aiosum, tree], "find | xargs b3sum": ["sh", "-c", find]}
        results["tree"] = measure("30,000 small files", tree, size, tools, args.rounds, filler)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


main()
