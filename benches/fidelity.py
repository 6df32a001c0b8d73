#!/usr/bin/env python3
"""Times what keeping everything costs, on 30,000 small files: aiocp -a against aiocp and against
aiocp --no-preserve=all.

    benches/fidelity.py [--dir DIR] [--rounds N]

Needs root, for other owners, ACLs and dropped caches. The script builds aiocp and makes the tree of
benches/rivals.py in DIR (default: target/bench), with the metadata of a home's or a server's tree:
an extended attribute on a tenth of the files, an ACL on a twentieth, a second name for a twentieth,
another owner for a fifth, and a capability on one in a thousand.

The three alternate, in an order that changes from round to round. Each run begins with a cold
source and ends when the copy is durable. The script prints medians, and the medians of each round's
ratios.
"""

import argparse
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

import bench
import rivals

WAYS = {
    "everything (-a)": ["-a"],
    "default": [],
    "nothing (--no-preserve=all)": ["--no-preserve=all"],
}


def acl(*bits):
    any_id = 0xFFFFFFFF
    entries = [(0x01, any_id), (0x02, 1), (0x04, any_id), (0x10, any_id), (0x20, any_id)]
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, bit, who) for (tag, who), bit in zip(entries, bits)
    )


def make_tree(root):
    """Makes the tree of rivals.py and adds metadata. A fixed seed makes it the same each run."""
    if (root / "decorated").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    bench.make_tree(root)
    rng = random.Random(2)
    for file in sorted(root.rglob("*.dat")):
        if rng.random() < 0.2:
            os.chown(file, 1000, 1000)
        if rng.random() < 0.1:
            os.setxattr(file, "user.origin", b"https://example.org/" + file.name.encode())
        if rng.random() < 0.05:
            os.setxattr(file, "system.posix_acl_access", acl(6, 6, 4, 6, 4))
        if rng.random() < 0.05:
            os.link(file, file.with_suffix(".again"))
        if rng.random() < 0.001:
            os.setxattr(
                file, "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
            )
    (root / "decorated").write_text("")
    os.sync()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=bench.REPO / "target" / "bench")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("fidelity.py needs root: it changes owners and drops caches")
    args.dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=bench.REPO, check=True)
    source, filler = args.dir / "fidelity", args.dir / "filler"
    filler.touch()
    make_tree(source)
    times = {way: [] for way in WAYS}
    for old in args.dir.glob("copy-*"):
        bench.remove(old)
    bench.forget_deleted()
    for round_ in range(args.rounds):
        order = list(WAYS)
        random.Random(round_).shuffle(order)
        for n, way in enumerate(order):
            target = args.dir / f"copy-{round_}-{n}"
            bench.cool(source, filler)
            aiocp = str(bench.REPO / "target/release/aiocp")
            command = [aiocp, *WAYS[way], str(source), str(target)]
            times[way].append(rivals.run([command]))
            last = times[way][-1]
            print(f"  {way}: {last['wall_s']:.2f} s, CPU {last['cpu_s']:.2f} s", file=sys.stderr)
    for old in args.dir.glob("copy-*"):
        bench.remove(old)
    print(f"30,000 small files, medians of {args.rounds}")
    print("| kept | wall s, durable | CPU s | wall vs default |\n| --- | --- | --- | --- |")
    for way, runs in times.items():
        wall, cpu = (statistics.median(run[key] for run in runs) for key in ("wall_s", "cpu_s"))
        ratios = [run["wall_s"] / d["wall_s"] for run, d in zip(runs, times["default"])]
        ratio = statistics.median(ratios)
        print(f"| {way} | {wall:.2f} | {cpu:.2f} | {ratio:.2f} × |")


if __name__ == "__main__":
    main()
