#!/usr/bin/env python3
"""Times aiocp and aiosum against other programs that do the same, and all of them against what the
kernel and the device allow; prints medians and ratios.

    benches/rivals.py [--dir DIR] [--filesystem KIND] [--rounds N] [--only CASE[,CASE]]
                      [--big-gib N] [--engines] [--json FILE]

KIND is ext4 (the default), xfs (made without reflink), xfs-reflink or btrfs: a filesystem of its
own in an image in DIR, mounted past the page cache, which needs root. With `none`, DIR itself is
measured, for a real disk. DIR (default: target/bench) needs 21 GB free, and less with --big-gib.

CASE is one of these (default: big,tree), or `all`:

    big, big-warm              one file of 4 GiB
    middle, middle-warm        64 files of 32 MiB
    tree, tree-warm            30,000 small files
    toolchain, toolchain-warm  a copy of the Rust toolchain
    clones, clones-hashed      30,000 small files that share their blocks: xfs-reflink and btrfs
    one                        one file of 3,000 bytes
    verify-tree, verify-big    aiocp --verify, against a copier, b3sum of both sides, and cmp
    sum-tree, sum-tree-warm    aiosum, against b3sum
    sum-big, sum-big-warm      the same for one file of 4 GiB

A copy ends when it is durable: others than aiocp are followed by `sync -f`, which counts as theirs.
aiocp hashes (--manifest) in all copies but `clones` and `one`; the others do not hash. A chain that
verifies hashes the source from the page cache, where the copier left it there. It evicts the copy
before it hashes it. Many small files are shared among as many b3sum processes as there are cores.

The tools alternate, so a noisy machine burdens all of them. A warm source is in the page cache, a
cold one is not: benches/bench.py says how. Ratios are taken round by round.

The limits are measured in the same rounds. For trees it is benches/least.c, which asks the kernel
for the least, with the number of threads that was best in a first trial; `least whole` names a
file only when it is written, as aiocp does. For big files it is fio, which writes one file while it
reads another. It only writes where the source is in memory, and only reads where nothing is copied;
64 files are one for it. It has the best block size and depth of a first trial. What it takes to
begin is not counted.

With --engines it compares aiocp's three engines with each other instead. --json writes what came
of it after each case, and keeps the other cases that the file has. benches/chart.py draws them. The
script builds aiocp, and installs the others from the registry.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import bench


class Case(NamedTuple):
    """What is measured: how it is called, what it works on, and what it is."""

    text: str
    source: str
    work: str = "copy"
    is_warm: bool = False


CACHED = "in the page cache"
CASES = {
    "big": Case("a 4 GiB file", "big"),
    "big-warm": Case(f"a 4 GiB file {CACHED}", "big", is_warm=True),
    "middle": Case("64 files of 32 MiB", "middle"),
    "middle-warm": Case(f"64 files of 32 MiB {CACHED}", "middle", is_warm=True),
    "tree": Case("30,000 small files", "tree"),
    "tree-warm": Case(f"30,000 small files {CACHED}", "tree", is_warm=True),
    "toolchain": Case("the Rust toolchain", "toolchain"),
    "toolchain-warm": Case(f"the Rust toolchain {CACHED}", "toolchain", is_warm=True),
    "clones": Case("30,000 small files as clones", "tree", "clone"),
    "clones-hashed": Case("30,000 small files as clones, hashed", "tree", "clone-hashed"),
    "one": Case("one small file", "one", "one"),
    "verify-tree": Case("`--verify` of 30,000 small files", "tree", "verify"),
    "verify-big": Case("`--verify` of a 4 GiB file", "big", "verify"),
    "sum-tree": Case("aiosum of 30,000 small files", "tree", "sum"),
    "sum-tree-warm": Case(f"aiosum of 30,000 small files {CACHED}", "tree", "sum", True),
    "sum-big": Case("aiosum of a 4 GiB file", "big", "sum"),
    "sum-big-warm": Case(f"aiosum of a 4 GiB file {CACHED}", "big", "sum", True),
}
CLONING = ["xfs-reflink", "btrfs"]
LIMIT_NAMES = ["fio", "least"]
LEAST_THREADS = [2, 4, 8, 16, 32, 64]
FIO_SETTINGS = [(1 << 20, 8), (1 << 20, 32), (4 << 20, 4), (4 << 20, 16)]
ENGINES = ["posix", "threads"]
LOOPS = 100


def run(steps):
    """Seconds of wall clock and of CPU of all steps, and the highest peak of resident memory.

    A step is a command, or a function, whose CPU time is not counted. A child begins as a copy of
    this script, so no peak is below the script's own.
    """
    start, cpu_s, peak_kib, wall_s = time.monotonic(), 0, 0, None
    for step in steps:
        if callable(step):
            step()
            continue
        is_fio = step[0] == "fio"
        out = subprocess.PIPE if is_fio else subprocess.DEVNULL
        process = subprocess.Popen(list(map(str, step)), stdout=out)
        printed = process.stdout.read() if is_fio else None
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{step}: exit code {os.waitstatus_to_exitcode(status)}")
        cpu_s += usage.ru_utime + usage.ru_stime
        peak_kib = max(peak_kib, usage.ru_maxrss)
        if is_fio:
            # The processes that read and write begin together, when fio has set itself up.
            wall_s = max(job["job_runtime"] for job in json.loads(printed)["jobs"]) / 1000
    return {
        "wall_s": round(wall_s or time.monotonic() - start, 4),
        "cpu_s": round(cpu_s, 4),
        "peak_mib": peak_kib >> 10,
    }


def least(folder, case, source):
    """The program that asks for the least, with each number of threads."""
    if case.work == "sum":
        return {}
    cloned = ["clone"] if case.work.startswith("clone") else []
    program, code = folder / "least", bench.REPO / "benches" / "least.c"
    subprocess.run(["cc", "-O2", "-pthread", "-o", program, code], check=True)
    return {
        f"{n} threads": lambda source, target, n=n: [[program, n, source, target, *cloned]]
        for n in LEAST_THREADS
    }


def fio(_, case, source):
    """fio, which writes one file while it reads another, or does what is left of that where the
    source is in memory or nothing is copied, with each setting. Many files are one for it."""
    if not shutil.which("fio"):
        print("SKIPPED: fio is missing (Debian package fio), so big files have no limit")
        return {}
    if case.work == "sum" and case.is_warm:
        return {}
    size = bench.size_of(source)
    is_read, is_written = not case.is_warm, case.work != "sum"
    to_read = source if source.is_file() else source.with_name("copy-limit-source")
    if is_read:
        bench.make_big(to_read, size)

    def command(block_bytes, depth):
        both = [
            "fio", "--ioengine=libaio", "--direct=1", f"--bs={block_bytes}",
            f"--iodepth={depth}", f"--size={size}", "--output-format=json",
        ]  # fmt: skip
        read = ["--name=read", "--rw=read", f"--filename={to_read}"] if is_read else []
        write = ["--name=write", "--rw=write", "--end_fsync=1"]
        return lambda _, target: [
            [*both, *read, *([*write, f"--filename={target}"] if is_written else [])]
        ]

    return {f"{b >> 20} MiB x {d}": command(b, d) for b, d in FIO_SETTINGS}


# The limit of each kind of source that has one.
LIMITS = {"big": fio, "middle": fio, "tree": least, "toolchain": least}


def limits(case, place, args, prepare):
    """The limit of a case, at the setting that was the fastest of one run each."""
    limit = LIMITS.get(case.source)
    if not limit or args.engines:
        return {}
    source = make_source(case, place, args)
    settings, times = limit(args.dir, case, source), {}
    for setting, steps in settings.items():
        target = place.path / "copy-limit"
        prepare(source)
        times[setting] = run(steps(source, target))["wall_s"]
        bench.remove(target)
        print(f"  {limit.__name__}, {setting}: {times[setting]:.2f} s", file=sys.stderr)
    if not times:
        return {}
    setting = min(times, key=times.get)
    print(f"{limit.__name__} is at its best with {setting}")
    steps = settings[setting]
    if limit is fio:
        return {"fio": steps}
    # The same with the promise that no name leads to a half of a file.
    return {"least": steps, "least whole": lambda *both: [[*steps(*both)[0], "whole"]]}


def make_source(case, place, args):
    """The file or tree of a case. A filesystem of its own is made anew for a tree."""
    path = place.path / case.source
    if case.source == "big":
        bench.make_big(path, args.big_gib << 30)
    elif case.source == "one":
        path.write_bytes(os.urandom(3000))
    elif case.source == "middle":
        bench.make_middle(path)
    else:
        kept = toolchain() if case.source == "toolchain" else args.dir / "tree"
        if case.source == "tree":
            bench.make_tree(kept)
        place.renew()
        if not path.exists():
            subprocess.run(["cp", "-a", "--reflink=never", kept, path], check=True)
    os.sync()
    return path


def toolchain():
    ask = ["rustc", "--print", "sysroot"]
    return Path(subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def measure(case, place, tools, args, prepare):
    """The runs of each tool, in the order of the rounds."""
    times = {tool: [] for tool in tools}
    for round_ in range(args.rounds):
        source = make_source(case, place, args)
        order = list(tools)
        random.Random(round_).shuffle(order)
        for tool in order:
            target = place.path / f"copy-{round_}-{tool.replace(' ', '_')}"
            prepare(source)
            last = run(tools[tool](source, target))
            times[tool].append(last)
            if case.source not in ["tree", "toolchain"]:
                bench.remove(target)
            print(
                f"  {case.text}, {tool}: {last['wall_s']:.2f} s, CPU {last['cpu_s']:.2f} s",
                file=sys.stderr,
            )
    size = bench.size_of(source)
    rows = summary(times, next(iter(tools)), size)
    machine = bench.machine(place.path)
    return {"name": case.text, "rounds": args.rounds, "machine": machine, "bytes": size} | {
        "tools": rows
    }


def summary(times, ours, size):
    """The medians of each tool, and of its ratios to ours and the limit, with the runs."""
    rows = {}
    limit = next((times[name] for name in LIMIT_NAMES if name in times), None)
    for tool, runs in times.items():
        wall, cpu = (statistics.median(r[key] for r in runs) for key in ("wall_s", "cpu_s"))
        ratios = [r["wall_s"] / a["wall_s"] for r, a in zip(runs, times[ours])]
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


def print_table(result):
    print(f"\n{result['name']} ({result['bytes'] / 1e9:.2f} GB), medians of {result['rounds']}")
    print("| tool | wall s | CPU s | CPU s/GB | peak MiB | wall vs ours | of the limit |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for tool, row in result["tools"].items():
        of_limit = f"{row['of_limit']:.2f}" if "of_limit" in row else ""
        print(
            f"| {tool} | {row['wall_s']:.3f} | {row['cpu_s']:.2f} | {row['cpu_s_per_gb']:.2f} |"
            f" {row['peak_mib']} | {row['ratio']:.2f} × | {of_limit} |",
            flush=True,
        )


def tools(case, rivals, args):
    """The steps of each tool, given source and destination; ours are first."""
    if case.work == "sum":
        return summers(rivals)
    aiocp = bench.REPO / "target/release/aiocp"
    flags = {"verify": ["--verify"], "clone": [], "one": []}
    ours = [aiocp, *flags.get(case.work, ["--manifest", args.dir / "manifest"])]
    if args.engines:
        engines = {"aiocp": "kernel"} | {f"aiocp --engine={name}": name for name in ENGINES}
        return {
            tool: lambda *both, name=name: [[*ours, f"--engine={name}", *both]]
            for tool, name in engines.items()
        }
    reflink = "auto" if case.work.startswith("clone") else "never"
    copiers = {
        "cp": ["cp", "-r", f"--reflink={reflink}"],
        "xcp": [rivals / "xcp", "-r", "--no-progress", f"--reflink={reflink}"],
        "cpz": [rivals / "cpz"],
        "fcp": [rivals / "fcp"],
    }

    if case.work == "one":
        cp = lambda source, target: [["cp", source, target], ["sync", target]]  # noqa: E731
        return {"aiocp": often(lambda *both: [[*ours, *both]]), "cp": often(cp)}
    way = chain if case.work == "verify" else durable
    suffix = " + b3sum" if case.work == "verify" else ""
    others = {f"{name}{suffix}": way(copier, rivals, args) for name, copier in copiers.items()}
    return {"aiocp": lambda *both: [[*ours, *both]]} | others


def durable(copier, *_):
    """A copier, and all that it wrote on the device."""
    return lambda source, target: [[*copier, source, target], ["sync", "-f", target]]


def often(steps):
    """Many copies into a new folder, as one is over before a clock shows it."""

    def all_steps(source, target):
        return [target.mkdir, *(s for n in range(LOOPS) for s in steps(source, target / str(n)))]

    return all_steps


def chain(copier, rivals, args):
    """A copier, b3sum of both sides, and a comparison."""

    def steps(source, target):
        lists = [args.dir / f"list-{n}" for n in range(2)]
        first, second = (
            ["sh", "-c", f"({b3sum(path, rivals)}) | sort > {shlex.quote(str(out))}"]
            for path, out in zip((source, target), lists)
        )
        evict = lambda: bench.evict(target)  # noqa: E731
        return [*durable(copier)(source, target), first, evict, second, ["cmp", *lists]]

    return steps


def summers(rivals):
    """aiosum, and b3sum."""
    return {
        "aiosum": lambda source, _: [[bench.REPO / "target/release/aiosum", source]],
        "b3sum": lambda source, _: [["sh", "-c", b3sum(source, rivals)]],
    }


def b3sum(path, rivals):
    """The shell command that hashes a file, or all files of a tree by a process a core."""
    program, path = shlex.quote(str(rivals / "b3sum")), shlex.quote(str(path))
    many = f"xargs -0 -n 512 -P {os.cpu_count()} {program}"
    of_tree = f"cd {path} && find . -type f -print0 | {many}"
    return f"if [ -d {path} ]; then {of_tree}; else {program} --no-names {path}; fi"


def compare(place, rivals, args, filler):
    """Measures each case, and writes what --json wants after it."""
    results = {"kind": args.filesystem}
    programs = {"aiocp": bench.REPO / "target/release/aiocp", "cp": "cp"}
    programs |= {} if args.engines else {name: rivals / name for name in bench.RIVALS}
    results["versions"] = {name: bench.version(path) for name, path in programs.items()}
    is_begun = args.json and args.json.exists()
    found = json.loads(args.json.read_text())["cases"] if is_begun else {}
    for name in args.only:
        case = CASES[name]
        state = bench.warm if case.is_warm else bench.cool
        prepare = lambda source: state(source, filler)  # noqa: E731
        place.renew()
        commands = tools(case, rivals, args) | limits(case, place, args, prepare)
        result = measure(case, place, commands, args, prepare)
        print_table(result)
        found[name] = result
        results["cases"] = {known: found[known] for known in CASES if known in found}
        if args.json:
            args.json.write_text(json.dumps(results, indent=1) + "\n")


def wanted(text, filesystem):
    """The cases that --only names, as far as the filesystem can have them."""
    cases = list(CASES) if text == "all" else text.split(",")
    unknown = [case for case in cases if case not in CASES]
    if unknown:
        sys.exit(f"unknown case {unknown[0]}: expected {', '.join(CASES)}, or all")
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
    parser.add_argument("--big-gib", type=int, default=bench.BIG_BYTES >> 30)
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
    place = bench.Filesystem(args.dir, args.filesystem) if own else bench.Folder(args.dir)
    with place:
        compare(place, rivals, args, filler)


if __name__ == "__main__":
    main()
