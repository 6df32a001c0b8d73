#!/usr/bin/env python3
"""Times aiocp --resume of a finished tree against copying it, and the journal's cost to a copy, on
30,000 small files.

    benches/resume.py [--dir DIR] [--rounds N] [--json FILE]

The script builds aiocp and makes the tree of benches/rivals.py in DIR (default: target/bench), plus
a FIFO. Without -a aiocp reports the FIFO and does not copy it. So each run ends with exit code 1
and leaves its journal with all 30,000 files in it, and the same command then finds everything
finished.

Each round copies the tree without and with --resume, into new folders and in changing order. The
second copy is then resumed twice: once with dropped caches, which needs root, and once more with
what that run left in memory. The script prints medians, and the medians of each round's ratios. A
resumed run is compared with the faster of the round's two copies.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench

COPY, JOURNAL, COLD, WARM = "copy", "copy --resume", "resumed, cold", "resumed, warm"


def run(command):
    """The output, and the seconds of wall clock and of CPU. Only the FIFO may have failed."""
    before = os.times()
    start = time.monotonic()
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - start
    after = os.times()
    if (
        process.returncode != 1
        or "1 failure, named above" not in process.stderr
        or "FIFO" not in process.stderr
    ):
        sys.exit(f"{command}: {process}")
    cpu = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return process.stdout, (seconds, cpu)


def one_round(aiocp, source, targets, order, filler):
    times = {}
    for way in order:
        bench.cool(source, filler)
        resume = ["--resume"] if way == JOURNAL else []
        _, times[way] = run([aiocp, *resume, "--stats", "-T", source, targets[way]])
    for way in [COLD, WARM]:
        if way == COLD:
            bench.cool(source, filler)
        said, times[way] = run([aiocp, "--resume", "--stats", "-T", source, targets[JOURNAL]])
        # The count includes directories and the file that marks the tree as made.
        figures = dict(re.findall(r"^([a-z ]+): +(\d+)", said, re.MULTILINE))
        if figures["written bytes"] != "0" or int(figures["finished earlier"]) <= bench.TREE_FILES:
            sys.exit(f"something was copied again: {said}")
    return times


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=bench.REPO / "target" / "bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("resume.py drops caches, for which it has to be root")
    args.dir.mkdir(parents=True, exist_ok=True)
    bench.build(False)
    aiocp = bench.REPO / "target/release/aiocp"
    source, filler = args.dir / "resume", args.dir / "filler"
    filler.touch()
    bench.make_tree(source)
    if not (source / "fifo").exists():
        os.mkfifo(source / "fifo")

    def clear():
        for pattern in ["copy-*", ".aiocp-*"]:
            for old in args.dir.glob(pattern):
                bench.remove(old)

    clear()
    bench.forget_deleted()
    times = {way: [] for way in [COPY, JOURNAL, COLD, WARM]}
    for round_ in range(args.rounds):
        order = [COPY, JOURNAL]
        random.Random(round_).shuffle(order)
        # Recently removed files slow the creation of inodes down, so all copies stay to the end.
        targets = {way: args.dir / f"copy-{round_}-{way == JOURNAL:d}" for way in order}
        for way, took in one_round(aiocp, source, targets, order, filler).items():
            times[way].append(took)
            print(f"  {way}: {took[0]:.2f} s, CPU {took[1]:.2f} s", file=sys.stderr)
    clear()
    print(f"30,000 small files, medians of {args.rounds}")
    print("| what | wall s | CPU s | wall, against the faster copy |\n| --- | --- | --- | --- |")
    rows = {}
    copies = [
        min(pair) for pair in zip(*([took[0] for took in times[way]] for way in [COPY, JOURNAL]))
    ]
    for way, runs in times.items():
        wall, cpu = (statistics.median(took[n] for took in runs) for n in (0, 1))
        ratio = statistics.median(took[0] / copy for took, copy in zip(runs, copies))
        rows[way] = {"wall_s": wall, "cpu_s": cpu, "ratio": ratio, "runs": runs}
        print(f"| {way} | {wall:.2f} | {cpu:.2f} | {ratio:.3f} × |")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
