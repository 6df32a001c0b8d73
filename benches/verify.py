#!/usr/bin/env python3
"""Times aiocp --verify against the chains that do the same with other tools: copy, hash both sides,
compare.

    benches/verify.py [--dir DIR] [--rounds N] [--only big|tree] [--big-gib N]
                      [--copiers cp,xcp,cpz,fcp] [--json FILE]

The big file has 4 GiB, which the page cache keeps for the chain's second look at the source. With
--big-gib it can exceed the memory.

A chain copies until the copy is durable and hashes the source with b3sum, from the page cache where
the copy left it there. It then evicts the copy from the page cache and hashes it with b3sum; both
lists have to be the same. Many small files are shared among as many b3sum processes as there are
cores. The rest is as in rivals.py, which installs the tools.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench

B3SUM = "1.8.7"


def b3sum(folder, binary):
    """The lines of all files, sorted, from one process a core."""
    find = subprocess.Popen(
        ["find", ".", "-type", "f", "-print0"], cwd=folder, stdout=subprocess.PIPE
    )
    command = ["xargs", "-0", "-n", "512", "-P", str(os.cpu_count()), binary]
    lines = subprocess.run(
        command, cwd=folder, stdin=find.stdout, stdout=subprocess.PIPE, check=True
    ).stdout
    find.wait()
    return sorted(lines.splitlines())


def hashes(path, binary):
    if path.is_dir():
        return b3sum(path, binary)
    return subprocess.run([binary, "--no-names", path], stdout=subprocess.PIPE, check=True).stdout


def chain(copier, source, target, binary):
    subprocess.run(
        [*map(str, copier), str(source), str(target)], check=True, stdout=subprocess.DEVNULL
    )
    subprocess.run(["sync", "-f", target], check=True)
    wanted = hashes(source, binary)
    bench.evict(target)
    if hashes(target, binary) != wanted:
        sys.exit(f"{copier[0]}: the copy differs")


def run(tool, source, target, binary):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    if tool[0] == "verify":
        subprocess.run(
            [*map(str, tool[1]), str(source), str(target)], check=True, stdout=subprocess.DEVNULL
        )
    else:
        chain(tool[1], source, target, binary)
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(name, source, tools, args, filler, binary):
    times = {tool: [] for tool in tools}
    keep = source.is_dir()
    for old in args.dir.glob("copy-*"):
        bench.remove(old)
    if keep:
        bench.forget_deleted()
    for round_ in range(args.rounds):
        order = list(tools)
        random.Random(round_).shuffle(order)
        for tool in order:
            target = args.dir / f"copy-{round_}-{tool.replace(chr(32), chr(95))}"
            bench.cool(source, filler)
            times[tool].append(run(tools[tool], source, target, binary))
            if not keep:
                bench.remove(target)
            print(
                f"  {name} {tool}: {times[tool][-1][0]:.2f} s, CPU {times[tool][-1][1]:.2f} s",
                file=sys.stderr,
            )
    for old in args.dir.glob("copy-*"):
        bench.remove(old)
    print(f"\n{name}, medians of {args.rounds}")
    print("| chain | wall s | CPU s | wall vs aiocp |\n| --- | --- | --- | --- |")
    rows = {}
    for tool, runs in times.items():
        # Ratios are taken round by round, as in rivals.py.
        ratio = statistics.median(r[0] / a[0] for r, a in zip(runs, times["aiocp --verify"]))
        wall, cpu = (statistics.median(r[n] for r in runs) for n in range(2))
        rows[tool] = {"wall_s": wall, "cpu_s": cpu, "ratio": ratio, "runs": runs}
        print(f"| {tool} | {wall:.2f} | {cpu:.2f} | {ratio:.2f} × |")
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=bench.REPO / "target" / "bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["big", "tree"])
    parser.add_argument("--big-gib", type=int, default=bench.BIG_BYTES >> 30)
    parser.add_argument("--copiers", default="cp,xcp,cpz,fcp")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        print("not root: only the source's data is evicted, not its metadata", file=sys.stderr)
    bench.RIVALS["b3sum"] = B3SUM
    bin_ = bench.build(True)
    filler = args.dir / "filler"
    filler.touch()
    copiers = {
        "cp": ["cp", "-r", "--reflink=never"],
        "xcp": [bin_ / "xcp", "-r", "--no-progress"],
        "cpz": [bin_ / "cpz"],
        "fcp": [bin_ / "fcp"],
    }
    tools = {"aiocp --verify": ("verify", [bench.REPO / "target/release/aiocp", "--verify"])}
    tools |= {f"{name} + b3sum": ("chain", copiers[name]) for name in args.copiers.split(",")}
    results = {}
    if args.only != "tree":
        big = args.dir / "big"
        bench.make_big(big, args.big_gib << 30)
        results["big"] = measure(
            f"one file of {args.big_gib} GiB", big, tools, args, filler, bin_ / "b3sum"
        )
    if args.only != "big":
        bench.make_tree(args.dir / "tree")
        results["tree"] = measure(
            "30,000 small files", args.dir / "tree", tools, args, filler, bin_ / "b3sum"
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


main()
