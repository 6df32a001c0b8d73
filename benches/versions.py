#!/usr/bin/env python3
"""Times one build of aiocp and aiosum against another, alternating in one run.

    benches/versions.py OLD NEW [--dir DIR] [--rounds N] [--only CASE[,CASE]] [--json FILE]

OLD and NEW are folders with both programs. The script makes the tree and the big file of
benches/rivals.py on an ext4 with a journal of its own: an image in DIR (default: target/bench),
mounted past the page cache, which needs root. Each round runs each case with both builds, in
changing order, with a cooled source and an empty destination. The script prints the medians, and
the median of each round's ratios NEW/OLD for wall clock and processor time.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench

LOOPS = 300


def run(command, codes=(0,)):
    """The seconds of wall clock and of CPU."""
    before, start = os.times(), time.monotonic()
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seconds, after = time.monotonic() - start, os.times()
    if process.returncode not in codes:
        sys.exit(f"{command}: {process}")
    user = after.children_user - before.children_user
    return seconds, user + after.children_system - before.children_system


def cases(tree, big, one, target):
    """Each case: its name, the source that is cooled, and how a folder of programs runs it."""

    def copy(source, *flags):
        return lambda programs: run([programs / "aiocp", *flags, "-T", source, target])

    def resume(programs):
        """A second --resume of a finished tree, whose FIFO keeps the journal."""
        command = [programs / "aiocp", "--resume", "-T", tree, target]
        run(command, codes=(1,))
        return run(command, codes=(1,))

    def often(programs):
        times = [run([programs / "aiocp", one, target]) for _ in range(LOOPS)]
        return tuple(map(sum, zip(*times)))

    return [
        ("tree", tree, lambda programs: run([programs / "aiocp", "-T", tree, target], (1,))),
        ("tree --verify", tree, lambda p: run([p / "aiocp", "--verify", "-T", tree, target], (1,))),
        ("big", big, copy(big)),
        ("big --verify", big, copy(big, "--verify")),
        ("aiosum tree", tree, lambda programs: run([programs / "aiosum", tree])),
        ("aiosum big", big, lambda programs: run([programs / "aiosum", big])),
        ("second --resume", tree, resume),
        (f"{LOOPS} times one small file", one, often),
    ]


def empty(target):
    for path in target.parent.glob(".aiocp-*"):
        path.unlink()
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def measure(name, source, case, target, programs, rounds, filler):
    times = {version: [] for version in programs}
    for number in range(rounds):
        order = list(programs) if number % 2 else list(reversed(programs))
        for version in order:
            empty(target)
            bench.cool(source, filler)
            times[version].append(case(programs[version]))
    empty(target)
    medians = {v: [statistics.median(t) for t in zip(*times[v])] for v in programs}
    pairs = list(zip(times["old"], times["new"]))
    wall, cpu = (statistics.median(new[i] / old[i] for old, new in pairs) for i in (0, 1))
    old, new = medians["old"], medians["new"]
    print(
        f"{name:28} old {old[0]:7.3f} s {old[1]:7.3f} CPU s   new {new[0]:7.3f} s"
        f" {new[1]:7.3f} CPU s   wall {wall:.3f}   CPU {cpu:.3f}",
        flush=True,
    )
    return {"name": name, "wall_ratio": wall, "cpu_ratio": cpu, "times": times}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--dir", type=Path, default=bench.REPO / "target" / "bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("versions.py mounts a filesystem, for which it has to be root")
    programs = {"old": args.old.resolve(), "new": args.new.resolve()}
    args.dir.mkdir(parents=True, exist_ok=True)
    filler = args.dir / "filler"
    filler.touch()
    results = []
    with bench.Filesystem(args.dir.resolve()) as place:
        mount = place.path
        tree, big, one = mount / "tree", mount / "big", mount / "one"
        bench.make_tree(tree)
        os.mkfifo(tree / "fifo")
        bench.make_big(big)
        one.write_bytes(os.urandom(3000))
        os.sync()
        wanted = [name for name in args.only.split(",") if name]
        for name, source, case in cases(tree, big, one, mount / "copy"):
            if not wanted or name in wanted:
                target = mount / "copy"
                results.append(measure(name, source, case, target, programs, args.rounds, filler))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
