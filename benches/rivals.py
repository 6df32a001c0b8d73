#!/usr/bin/env python3
"""Times aiocp against cp, xcp, cpz and fcp until the copy is durable, and all of them against what
the kernel and the device allow; prints medians and ratios.

    benches/rivals.py [--dir DIR] [--filesystem KIND] [--rounds N] [--only CASE[,CASE]]
                      [--engines] [--json FILE]

KIND is ext4 (the default), xfs (made without reflink), xfs-reflink or btrfs: a filesystem of its
own in an image in DIR, mounted past the page cache, which needs root. With `none`, DIR itself is
measured, for a real disk. DIR (default: target/bench) needs 14 GB free.

CASE is one of these (default: big,tree), or `all`:

    big, big-warm              one file of 4 GiB
    middle, middle-warm        64 files of 32 MiB
    tree, tree-warm            30,000 small files
    toolchain, toolchain-warm  a copy of the Rust toolchain
    clones, clones-hashed      30,000 small files that share their blocks: xfs-reflink and btrfs
    one                        one file of 3,000 bytes

aiocp hashes (--manifest) in all cases but `clones` and `one`, and syncs by itself. The others do
not hash, and are followed by `sync -f`. The tools alternate, so a noisy machine burdens all of
them. A warm source is in the page cache, a cold one is not: benches/bench.py says how.

The limits are measured in the same rounds. For trees it is benches/least.c, which asks the kernel
for the least, with the number of threads that was best in a first trial; `least whole` names a
file only when it is written, as aiocp does. For big files it is fio, which writes one file while it
reads another, at the best block size and depth of a first trial.
The last column is what part of the limit's speed the tool had.

With --engines it compares aiocp's three engines with each other instead. benches/chart.py draws
what --json writes. The script builds aiocp, and installs the others from the registry.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import bench

NAMES = {
    "big": "a 4 GiB file",
    "big-warm": "a 4 GiB file in the page cache",
    "middle": "64 files of 32 MiB",
    "middle-warm": "64 files of 32 MiB in the page cache",
    "tree": "30,000 small files",
    "tree-warm": "30,000 small files in the page cache",
    "toolchain": "the Rust toolchain",
    "toolchain-warm": "the Rust toolchain in the page cache",
    "clones": "30,000 small files as clones",
    "clones-hashed": "30,000 small files as clones, hashed",
    "one": "one small file",
}
CLONING = ["xfs-reflink", "btrfs"]
LIMIT_NAMES = ["fio", "least"]
LEAST_THREADS = [2, 4, 8, 16, 32, 64]
FIO_SETTINGS = [(1 << 20, 8), (1 << 20, 32), (4 << 20, 4), (4 << 20, 16)]
ENGINES = ["posix", "threads"]


def run(command, target):
    """Seconds of wall clock and of CPU until all is durable, and the peak of resident memory.

    A child begins as a copy of this script, so no peak is below the script's own.
    """
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command}: exit code {process.returncode}")
    if Path(command[0]).name not in ["aiocp", *LIMIT_NAMES]:
        subprocess.run(["sync", "-f", target], check=True)
    return {
        "wall_s": round(time.monotonic() - start, 4),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 4),
        "peak_mib": usage.ru_maxrss >> 10,
    }


def least(place, source, prepare):
    """The program that asks for the least, with the number of threads that suits it best."""
    program = place / "least"
    code = bench.REPO / "benches" / "least.c"
    subprocess.run(["cc", "-O2", "-pthread", "-o", program, code], check=True)

    def command(threads):
        return lambda source, target: [program, str(threads), source, target]

    return best("least", {n: command(n) for n in LEAST_THREADS}, source, prepare)


def fio(place, source, prepare):
    """fio, which writes one file while it reads another, at the setting that suits it best."""
    if not shutil.which("fio"):
        print("SKIPPED: fio is missing (Debian package fio), so big files have no limit")
        return None

    def command(block_bytes, depth):
        both = [
            "fio", "--ioengine=libaio", "--direct=1", f"--bs={block_bytes}",
            f"--iodepth={depth}", f"--size={bench.size_of(source)}", f"--output={os.devnull}",
        ]  # fmt: skip
        return lambda source, target: [
            *both, "--name=read", "--rw=read", f"--filename={source}",
            "--name=write", "--rw=write", f"--filename={target}", "--end_fsync=1",
        ]  # fmt: skip

    settings = {f"{b >> 20} MiB x {d}": command(b, d) for b, d in FIO_SETTINGS}
    return best("fio", settings, source, prepare)


def best(name, settings, source, prepare):
    """The command of the setting that was the fastest of one run each."""
    times = {}
    for setting, command in settings.items():
        target = source.parent / "copy-limit"
        prepare()
        times[setting] = run(command(source, target), target)["wall_s"]
        bench.remove(target)
        print(f"  {name}, {setting}: {times[setting]:.2f} s", file=sys.stderr)
    setting = min(times, key=times.get)
    print(f"{name} is at its best with {setting}")
    return settings[setting]


# The limit of each kind of source that has one.
LIMITS = {"big": fio, "tree": least, "toolchain": least}


def measure(case, source, commands, args, prepare):
    """The runs of each tool, in the order of the rounds. See bench.forget_deleted for `keep`."""
    times = {tool: [] for tool in commands}
    keep = source.is_dir() and args.filesystem == "none"
    for old in source.parent.glob("copy-*"):
        bench.remove(old)
    if keep:
        bench.forget_deleted()
    for round_ in range(args.rounds):
        order = list(commands)
        random.Random(round_).shuffle(order)
        for tool in order:
            target = source.parent / f"copy-{round_}-{tool.replace(chr(32), chr(95))}"
            prepare()
            times[tool].append(run(list(map(str, commands[tool](source, target))), target))
            if not keep:
                bench.remove(target)
            last = times[tool][-1]
            print(
                f"  {case} {tool}: {last['wall_s']:.2f} s, CPU {last['cpu_s']:.2f} s",
                file=sys.stderr,
            )
    for old in source.parent.glob("copy-*"):
        bench.remove(old)
    size = bench.size_of(source)
    result = {"name": NAMES[case], "bytes": size, "tools": summary(times, size)}
    print_table(result, args.rounds)
    return result


def summary(times, size):
    """The medians of each tool, and of its ratios to aiocp and the limit, with the runs."""
    rows = {}
    limit = next((times[name] for name in LIMIT_NAMES if name in times), None)
    for tool, runs in times.items():
        wall, cpu = (statistics.median(r[key] for r in runs) for key in ("wall_s", "cpu_s"))
        # Ratios are taken round by round, so a slow spell of the machine burdens both sides.
        ratios = [r["wall_s"] / a["wall_s"] for r, a in zip(runs, times["aiocp"])]
        rows[tool] = {
            "wall_s": round(wall, 3),
            "cpu_s": round(cpu, 3),
            "cpu_s_per_gb": round(cpu / size * 1e9, 2),
            "peak_mib": max(r["peak_mib"] for r in runs),
            "ratio": round(statistics.median(ratios), 2),
            "runs": runs,
        }
        if limit:
            parts = [least["wall_s"] / r["wall_s"] for r, least in zip(runs, limit)]
            rows[tool]["of_limit"] = round(statistics.median(parts), 2)
    return rows


def print_table(result, rounds):
    print(f"\n{result['name']} ({result['bytes'] / 1e9:.2f} GB), medians of {rounds}")
    print("| tool | wall s, durable | CPU s | CPU s/GB | peak MiB | wall vs aiocp | of the limit |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for tool, row in result["tools"].items():
        of_limit = f"{row['of_limit']:.2f}" if "of_limit" in row else ""
        print(
            f"| {tool} | {row['wall_s']:.3f} | {row['cpu_s']:.2f} | {row['cpu_s_per_gb']:.2f} |"
            f" {row['peak_mib']} | {row['ratio']:.2f} × | {of_limit} |",
            flush=True,
        )


def tools(case, rivals, args):
    """The command of each tool, given source and destination."""
    aiocp = [bench.REPO / "target/release/aiocp"]
    hashing = [*aiocp, "--manifest", args.dir / "manifest"]
    ours = aiocp if case in ["clones", "one"] else hashing
    if args.engines:
        others = {f"aiocp --engine={name}": [*ours, f"--engine={name}"] for name in ENGINES}
        commands = {"aiocp": [*ours, "--engine=kernel"]} | others
    else:
        reflink = "auto" if case.startswith("clones") else "never"
        commands = {
            "aiocp": ours,
            "cp": ["cp", "-r", f"--reflink={reflink}"],
            "xcp": [rivals / "xcp", "-r", "--no-progress", f"--reflink={reflink}"],
            "cpz": [rivals / "cpz"],
            "fcp": [rivals / "fcp"],
        }

    def appending(command):
        return lambda source, target: [*command, source, target]

    return {tool: appending(command) for tool, command in commands.items()}





def make_source(case, place):
    """The file or tree of a case."""
    kind = case.split("-")[0]
    if kind == "big":
        bench.make_big(place / "big")
    elif kind == "middle":
        bench.make_middle(place / "middle")
    elif kind == "one":
        (place / "one").write_bytes(os.urandom(3000))
    elif kind == "toolchain" and not (place / "toolchain").exists():
        ask = ["rustc", "--print", "sysroot"]
        root = subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        subprocess.run(["cp", "-r", root, place / "toolchain"], check=True)
    elif kind in ["tree", "clones"]:
        kind = "tree"
        bench.make_tree(place / "tree")
    os.sync()
    return place / kind


def compare(place, rivals, args, filler):
    """What was run where, and what came of it: what --json writes."""
    results = {"machine": bench.machine(place), "kind": args.filesystem, "rounds": args.rounds}
    results["cases"] = {}
    programs = {"aiocp": bench.REPO / "target/release/aiocp", "cp": "cp"}
    programs |= {} if args.engines else {name: rivals / name for name in bench.RIVALS}
    results["versions"] = {name: bench.version(path) for name, path in programs.items()}
    for case in args.only:
        source = make_source(case, place)
        state = bench.warm if case.endswith("-warm") else bench.cool
        prepare = lambda: state(source, filler)  # noqa: E731
        commands = tools(case, rivals, args)
        kind = case.split("-")[0]
        if kind in LIMITS and not args.engines:
            limit = LIMITS[kind]
            command = limit(args.dir, source, prepare)
            commands |= {limit.__name__: command} if command else {}
            if limit is least:
                # The same with the promise that no name leads to a half of a file.
                commands["least whole"] = lambda *both, named=command: [*named(*both), "whole"]
        results["cases"][case] = measure(case, source, commands, args, prepare)
    return results


def wanted(text, filesystem):
    """The cases that --only names, as far as the filesystem can have them."""
    cases = list(NAMES) if text == "all" else text.split(",")
    unknown = [case for case in cases if case not in NAMES]
    if unknown:
        sys.exit(f"unknown case {unknown[0]}: expected {', '.join(NAMES)}, or all")
    if filesystem in CLONING or (filesystem == "none" and text != "all"):
        return cases
    return [case for case in cases if not case.startswith("clones")]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=bench.REPO / "target" / "bench")
    parser.add_argument("--filesystem", choices=[*bench.MAKE, "none"], default="ext4")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="big,tree")
    parser.add_argument("--engines", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.only = wanted(args.only, args.filesystem)
    args.dir = args.dir.resolve()
    args.dir.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        if args.filesystem != "none":
            sys.exit("only root can mount a filesystem; --filesystem=none measures DIR itself")
        print("not root: only the source's data is evicted, not its metadata", file=sys.stderr)
    rivals = bench.build(not args.engines)
    filler = args.dir / "filler"
    filler.touch()
    own = args.filesystem != "none"
    with bench.Filesystem(args.dir, args.filesystem) if own else nullcontext(args.dir) as place:
        results = compare(place, rivals, args, filler)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
