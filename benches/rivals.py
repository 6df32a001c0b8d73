#!/usr/bin/env python3
"""Times aiocp against cp, xcp, cpz and fcp until the copy is durable; prints medians and ratios.

    benches/rivals.py [--dir DIR] [--ext4] [--rounds N] [--only big|tree] [--engines] [--json FILE]

With --engines it compares aiocp's three engines with each other instead. benches/chart.py draws
what --json writes.

The script builds aiocp, installs the others from the registry into target/rivals, and makes a file
and a tree in DIR (default: target/bench). DIR has to be on the device under test, with 14 GB free.
With --ext4, both are on an ext4 with a journal of its own: an image in DIR, mounted past the page
cache, which needs root. The tools alternate, so a noisy machine burdens all of them. aiocp hashes
(--manifest) and syncs by itself; the others do not hash, and are followed by `sync -f`.

Before a cold run the caches are dropped. That needs root; without it the script says so and evicts
the source alone. Then an unrelated sparse file is read until it fills the page cache. Memory that a
virtual machine has given back to its host is slow to touch again. Without this step that cost would
burden the tools that use the page cache, and flatter aiocp.
"""

import argparse
import datetime
import json
import os
import platform
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
BIG_BYTES = 4 << 30
TREE_FILES = 30_000
RECENTLY_DELETED_S = 305
IMAGE_BYTES = 11 << 30
RIVALS = {"xcp": "0.24.9", "cpz": "3.2.1", "fcp": "0.2.2"}


def build(with_rivals):
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=REPO, check=True)
    root = REPO / "target" / "rivals"
    for name, version in RIVALS.items():
        if with_rivals and not (root / "bin" / name).exists():
            subprocess.run(
                ["cargo", "install", "--quiet", "--locked", "--root", root, f"{name}@{version}"],
                check=True,
            )
    return root / "bin"


class Filesystem:
    """An ext4 with a journal, so that deleted inodes do not slow the next copy down."""

    def __init__(self, folder):
        self.image, self.mount = folder / "ext4.img", folder / "ext4"

    def __enter__(self):
        self.mount.mkdir(parents=True, exist_ok=True)
        subprocess.run(["fallocate", "-l", str(IMAGE_BYTES), self.image], check=True)
        loop = ["losetup", "--find", "--show", "--direct-io=on", self.image]
        made = subprocess.run(loop, check=True, stdout=subprocess.PIPE, text=True)
        self.loop = made.stdout.strip()
        subprocess.run(["mkfs.ext4", "-q", "-F", self.loop], check=True)
        subprocess.run(["mount", self.loop, self.mount], check=True)
        return self.mount

    def __exit__(self, *_):
        subprocess.run(["umount", self.mount], check=True)
        subprocess.run(["losetup", "-d", self.loop], check=True)
        self.image.unlink()


def first(path, key):
    """The value of the first line of a /proc file that begins with this key."""
    lines = Path(path).read_text().splitlines()
    found = next((line for line in lines if line.startswith(key)), ":unknown")
    return found.split(":", 1)[1].strip()


def machine(folder):
    """What the figures depend on."""
    memory_kib = int(first("/proc/meminfo", "MemTotal").split()[0])
    mount = ["findmnt", "--noheadings", "--output", "FSTYPE,SOURCE,OPTIONS", "--target", folder]
    found = subprocess.run(mount, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return {
        "date": datetime.date.today().isoformat(),
        "processor": first("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / (1 << 20), 1),
        "kernel": platform.release().split("-")[0],
        "filesystem": dict(zip(["kind", "device", "options"], found)),
    }


def version(program):
    """The first number that --version prints. fcp prints it on stderr, and exits with 1."""
    kept = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    asked = subprocess.run([program, "--version"], **kept)
    return re.search(r"\d[\w.]*", asked.stdout)[0]


def make_big(path, size=BIG_BYTES):
    if path.exists() and path.stat().st_size == size:
        return
    with open(path, "wb") as out:
        for _ in range(size >> 24):
            out.write(os.urandom(1 << 24))
        os.fsync(out.fileno())


def make_tree(root):
    """Makes 30,000 files, 438 MB, with sizes from a log-normal law.

    Directories hold 30 files each and go three levels deep. The seed is fixed.
    """
    if (root / "done").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    rng = random.Random(1)
    noise = os.urandom(1 << 20)
    for n in range(TREE_FILES):
        folder = root / f"a{n // 3000}" / f"b{n // 300 % 10}" / f"c{n // 30 % 10}"
        if n % 30 == 0:
            folder.mkdir(parents=True)
        size = min(int(rng.lognormvariate(8.6, 1.4)), 1 << 20)
        start = rng.randrange(len(noise))
        data = (noise[start:] + noise)[:size]
        (folder / f"file{n}.dat").write_bytes(data)
    (root / "done").write_text("")
    os.sync()


def evict(path):
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    for file in files:
        fd = os.open(file, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def cool(source, filler):
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    else:
        evict(source)
    with open("/proc/meminfo") as lines:
        free = int(next(line.split()[1] for line in lines if line.startswith("MemFree"))) << 10
    os.truncate(filler, max(free - (1 << 30), 1 << 20))
    with open(filler, "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass


def forget_deleted():
    """Waits until ext4 reuses the inodes of deleted files.

    Without a journal, ext4 leaves them alone for a minute, or for five if the inode table's block
    has changed since (RECENTCY_MIN and RECENTCY_DIRTY in the kernel's fs/ext4/ialloc.c). Until
    then each new file makes ext4 search through all of them.
    """
    os.sync()
    time.sleep(RECENTLY_DELETED_S)


def remove(path):
    if path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def run(command, target):
    """Seconds of wall clock and of CPU until all is durable."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if Path(command[0]).name != "aiocp":
        subprocess.run(["sync", "-f", target], check=True)
    wall_s = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall_s, 4), "cpu_s": round(cpu_s, 4)}


def measure(name, source, size, tools, args, filler):
    """The runs of each tool, in the order of the rounds. See forget_deleted for `keep`."""
    times = {tool: [] for tool in tools}
    keep = source.is_dir() and not args.ext4
    for old in source.parent.glob("copy-*"):
        remove(old)
    if keep:
        forget_deleted()
    for round_ in range(args.rounds):
        order = list(tools)
        random.Random(round_).shuffle(order)
        for tool in order:
            target = source.parent / f"copy-{round_}-{tool.replace(chr(32), chr(95))}"
            cool(source, filler)
            times[tool].append(run([*map(str, tools[tool]), str(source), str(target)], target))
            if not keep:
                remove(target)
            last = times[tool][-1]
            print(
                f"  {name} {tool}: {last['wall_s']:.2f} s, CPU {last['cpu_s']:.2f} s",
                file=sys.stderr,
            )
    for old in source.parent.glob("copy-*"):
        remove(old)
    result = {"name": name, "bytes": size, "tools": summary(times, size)}
    print_table(result, args.rounds)
    return result


def summary(times, size):
    """The medians of each tool, and of its ratios to aiocp, with the runs themselves."""
    rows = {}
    for tool, runs in times.items():
        wall, cpu = (statistics.median(r[key] for r in runs) for key in ("wall_s", "cpu_s"))
        # Ratios are taken round by round, so a slow spell of the machine burdens both sides.
        ratios = [r["wall_s"] / a["wall_s"] for r, a in zip(runs, times["aiocp"])]
        rows[tool] = {
            "wall_s": round(wall, 2),
            "cpu_s_per_gb": round(cpu / size * 1e9, 2),
            "ratio": round(statistics.median(ratios), 2),
            "runs": runs,
        }
    return rows


def print_table(result, rounds):
    print(f"\n{result['name']} ({result['bytes'] / 1e9:.2f} GB), medians of {rounds}")
    print("| tool | wall s, durable | CPU s/GB | wall vs aiocp |")
    print("| --- | --- | --- | --- |")
    for tool, row in result["tools"].items():
        print(
            f"| {tool} | {row['wall_s']:.2f} | {row['cpu_s_per_gb']:.2f} |"
            f" {row['ratio']:.2f} × |"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=REPO / "target" / "bench")
    parser.add_argument("--ext4", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["big", "tree"])
    parser.add_argument("--engines", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.dir = args.dir.resolve()
    args.dir.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        print("not root: only the source's data is evicted, not its metadata", file=sys.stderr)
    rivals = build(not args.engines)
    filler = args.dir / "filler"
    filler.touch()
    with Filesystem(args.dir) if args.ext4 else nullcontext(args.dir) as place:
        results = compare(place, tools(rivals, args), args, filler)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def tools(rivals, args):
    """The command of each tool, without source and destination."""
    aiocp = [REPO / "target/release/aiocp", "--manifest", args.dir / "manifest"]
    if args.engines:
        others = ["posix", "threads"]
        return {"aiocp": [*aiocp, "--engine=kernel"]} | {
            f"aiocp --engine={name}": [*aiocp, f"--engine={name}"] for name in others
        }
    return {
        "aiocp": aiocp,
        "cp": ["cp", "-r", "--reflink=never"],
        "xcp": [rivals / "xcp", "-r", "--no-progress"],
        "cpz": [rivals / "cpz"],
        "fcp": [rivals / "fcp"],
    }


def compare(place, commands, args, filler):
    """What was run where, and what came of it: what --json writes."""
    results = {
        "machine": machine(place),
        "rounds": args.rounds,
        "versions": {Path(c[0]).name: version(c[0]) for c in commands.values()},
        "cases": {},
    }
    if args.only != "tree":
        big = place / "big"
        make_big(big)
        case = measure("a 4 GiB file", big, BIG_BYTES, commands, args, filler)
        results["cases"]["big"] = case
    if args.only != "big":
        tree = place / "tree"
        make_tree(tree)
        size = sum(f.stat().st_size for f in tree.rglob("*") if f.is_file())
        case = measure("30,000 small files", tree, size, commands, args, filler)
        results["cases"]["tree"] = case
    return results


if __name__ == "__main__":
    main()
