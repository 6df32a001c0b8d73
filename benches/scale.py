#!/usr/bin/env python3
"""Times aiocp and aiosum with ever more files, ever longer ones, and ever more threads; prints
medians, and the peak of memory.

    benches/scale.py [--dir DIR] [--rounds N] [--only CASE[,CASE]] [--json FILE]

DIR (default: /dev/shm) is a tmpfs, where no device bounds anything: what the figures show is the
program's own. It needs 12 GB free, and 2.3 million inodes. CASE is one of these (default: all):

    tree      10,000, 100,000 and 1,000,000 files of 140 bytes, 100 in a directory
    folder    the same in one directory
    sparse    one file of 1 GiB, 64 GiB and 1 TiB, with 64 pieces of data
    many      100, 1,000 and 10,000 files of 10 MB, with one piece of data each
    threads   the tree of 100,000 files with 1 to 1,024 threads

`hashed` is a copy with --manifest; `sum` is aiosum.
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

import bench

COUNTS = [10_000, 100_000, 1_000_000]
SPARSE_GIB = [1, 64, 1024]
MANY = [100, 1_000, 10_000]
THREADS = [1, 2, 4, 16, 64, 256, 1024]
PIECE = b"data" * 1024


def make_files(root, count, per_folder):
    """Files of 140 bytes; the numbers of their folders show the order in which they were made."""
    for first in range(0, count, per_folder):
        folder = root / f"a{first // per_folder // 1000}" / f"b{first // per_folder}"
        folder = folder if per_folder < count else root
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        for number in range(first, first + per_folder):
            file = os.open(f"file{number}", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=descriptor)
            os.write(file, b"%014d" % number * 10)
            os.close(file)
        os.close(descriptor)


def make_sparse(path, size_bytes, pieces):
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.ftruncate(file, size_bytes)
    for number in range(pieces):
        os.pwrite(file, PIECE, size_bytes // pieces * number)
    os.close(file)


def make_many(root, count):
    root.mkdir()
    for number in range(count):
        make_sparse(root / str(number), 10_000_000, 1)


def remove(path):
    """By another program: what this one takes counts as its children's peak of memory."""
    subprocess.run(["rm", "-rf", path], check=True)


def run(command):
    """A child begins as a copy of this script, so no peak is below the script's own."""
    start = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command}: exit code {os.waitstatus_to_exitcode(status)}")
    return {
        "wall_s": round(time.monotonic() - start, 4),
        "user_s": round(usage.ru_utime, 4),
        "system_s": round(usage.ru_stime, 4),
        "peak_mib": usage.ru_maxrss >> 10,
    }


def sizes(case):
    """The name of each source, and what makes it."""
    if case == "tree":
        return {f"{n:,} files": lambda root, n=n: make_files(root, n, 100) for n in COUNTS}
    if case == "folder":
        return {f"{n:,} files": lambda root, n=n: make_files(root, n, n) for n in COUNTS}
    if case == "sparse":
        return {f"{n} GiB": lambda path, n=n: make_sparse(path, n << 30, 64) for n in SPARSE_GIB}
    if case == "many":
        return {f"{n:,} files": lambda root, n=n: make_many(root, n) for n in MANY}
    return {"100,000 files": lambda root: make_files(root, 100_000, 100)}


def commands(case, source, target):
    programs = bench.REPO / "target" / "release"
    copy = [programs / "aiocp", "-T"]
    if case == "threads":
        return {f"{n} threads": [*copy, "--threads", n, source, target] for n in THREADS}
    return {
        "copy": [*copy, source, target],
        "hashed": [*copy, "--manifest", os.devnull, source, target],
        "sum": [programs / "aiosum", source],
    }


def measure(case, folder, rounds):
    rows = {}
    for name, make in sizes(case).items():
        source, target = folder / "source", folder / "target"
        make(source)
        ways = commands(case, source, target)
        runs = {way: [] for way in ways}
        for round_ in range(rounds):
            order = list(ways)
            random.Random(round_).shuffle(order)
            for way in order:
                runs[way].append(run(ways[way]))
                remove(target)
        remove(source)
        for way, all_ in runs.items():
            middle = {key: statistics.median(r[key] for r in all_) for key in all_[0]}
            rows[f"{name}, {way}"] = middle | {"runs": all_}
            print(
                f"| {case}: {name}, {way} | {middle['wall_s']:.2f} | {middle['user_s']:.2f} |"
                f" {middle['system_s']:.2f} | {middle['peak_mib']:.0f} |",
                flush=True,
            )
    return rows


def main():
    cases = ["tree", "folder", "sparse", "many", "threads"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(cases))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    wanted = args.only.split(",")
    unknown = [case for case in wanted if case not in cases]
    if unknown:
        sys.exit(f"unknown case {unknown[0]}: expected {', '.join(cases)}")
    bench.build(with_rivals=False)
    folder = args.dir / f"aiocp-scale-{os.getpid()}"
    folder.mkdir()
    results = {"machine": bench.machine(folder), "rounds": args.rounds, "cases": {}}
    try:
        print("| what | wall s | user s | system s | peak MiB |")
        print("| --- | --- | --- | --- | --- |", flush=True)
        for case in wanted:
            results["cases"][case] = measure(case, folder, args.rounds)
    finally:
        remove(folder)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
