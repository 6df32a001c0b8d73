#!/usr/bin/env python3
"""Times aiocp against cp, xcp, cpz and fcp until the copy is durable; prints medians and ratios.

    benches/rivals.py [--dir DIR] [--rounds N] [--only big|tree] [--engines] [--json FILE]

With --engines it compares aiocp's three engines with each other instead.

The script builds aiocp, installs the others from the registry into target/rivals, and makes a file
and a tree in DIR (default: target/bench). DIR has to be on the device under test, with 14 GB free.
The tools alternate, so a noisy machine burdens all of them. aiocp hashes (--manifest) and syncs by
itself; the others do not hash, and are followed by `sync -f`.

Before a cold run the caches are dropped. That needs root; without it the script says so and evicts
the source alone. Then an unrelated sparse file is read until it fills the page cache. Memory that a
virtual machine has given back to its host is slow to touch again. Without this step that cost would
burden the tools that use the page cache, and flatter aiocp.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
BIG_BYTES = 4 << 30
TREE_FILES = 30_000
RECENTLY_DELETED_S = 305
RIVALS = {"xcp": "0.24.9", "cpz": "3.2.1", "fcp": "0.2.2"}


def build(with_rivals):
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=REPO, check=True)
    root = REPO / "target" / "rivals"
    for name, version in RIVALS.items():
        if with_rivals and not (root / "bin" / name).exists():
            subprocess.run(
                ["cargo", "install", "--quiet", "--root", root, f"{name}@{version}"], check=True
            )
    return root / "bin"


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
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if "aiocp" not in str(command[0]):
        subprocess.run(["sync", "-f", target], check=True)
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(name, source, size, tools, args, filler):
    times = {tool: [] for tool in tools}
    # Copies of trees stay until the end; see forget_deleted.
    keep = source.is_dir()
    for old in args.dir.glob("copy-*"):
        remove(old)
    if keep:
        forget_deleted()
    for round_ in range(args.rounds):
        order = list(tools)
        random.Random(round_).shuffle(order)
        for tool in order:
            target = args.dir / f"copy-{round_}-{tool.replace(chr(32), chr(95))}"
            cool(source, filler)
            times[tool].append(run([*map(str, tools[tool]), str(source), str(target)], target))
            if not keep:
                remove(target)
            print(
                f"  {name} {tool}: {times[tool][-1][0]:.2f} s, CPU {times[tool][-1][1]:.2f} s",
                file=sys.stderr,
            )
    for old in args.dir.glob("copy-*"):
        remove(old)
    rows = {}
    for tool, runs in times.items():
        wall = statistics.median(r[0] for r in runs)
        cpu = statistics.median(r[1] for r in runs)
        rows[tool] = {
            "wall_s": round(wall, 2),
            "cpu_s_per_gb": round(cpu / size * 1e9, 2),
            "runs": runs,
        }
    print(f"\n{name} ({size / 1e9:.2f} GB), medians of {args.rounds}")
    print("| tool | wall s, durable | CPU s/GB | wall vs aiocp |\n| --- | --- | --- | --- |")
    for tool, row in rows.items():
        # Ratios are taken round by round, so a slow spell of the machine burdens both sides.
        ratio = statistics.median(r[0] / a[0] for r, a in zip(row["runs"], rows["aiocp"]["runs"]))
        row["ratio"] = round(ratio, 2)
        print(f"| {tool} | {row['wall_s']:.2f} | {row['cpu_s_per_gb']:.2f} | {ratio:.2f} × |")
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=REPO / "target" / "bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["big", "tree"])
    parser.add_argument("--engines", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        print("not root: only the source's data is evicted, not its metadata", file=sys.stderr)
    rivals = build(not args.engines)
    filler = args.dir / "filler"
    filler.touch()
    manifest = args.dir / "manifest"
    tools = {
        "aiocp": [REPO / "target/release/aiocp", "--manifest", manifest],
        "cp": ["cp", "-r", "--reflink=never"],
        "xcp": [rivals / "xcp", "-r", "--no-progress"],
        "cpz": [rivals / "cpz"],
        "fcp": [rivals / "fcp"],
    }
    if args.engines:
        aiocp = tools["aiocp"]
        tools = {"aiocp": [*aiocp, "--engine=kernel"]}
        tools |= {
            f"aiocp --engine={name}": [*aiocp, f"--engine={name}"] for name in ["posix", "threads"]
        }
    results = {}
    if args.only != "tree":
        make_big(args.dir / "big")
        results["big"] = measure("one big file", args.dir / "big", BIG_BYTES, tools, args, filler)
    if args.only != "big":
        make_tree(args.dir / "tree")
        size = sum(f.stat().st_size for f in (args.dir / "tree").rglob("*") if f.is_file())
        results["tree"] = measure(
            "30,000 small files", args.dir / "tree", size, tools, args, filler
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
