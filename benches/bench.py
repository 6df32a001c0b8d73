"""What the benchmarks share: the machine, filesystems of their own, data, and cold caches.

Before a cold run the caches are dropped. That needs root; without it the source alone is evicted.
Then an unrelated sparse file is read and evicted, which has more bytes than the run can touch.
Memory that a virtual machine has given back to its host is slow to touch again. Without this step
that cost would burden the tools that use the page cache, and flatter aiocp.

A filesystem of a benchmark's own is made anew for each round of a tree. Inodes that were deleted
slow down the next copy, and a tree takes as long to delete as to copy.
"""

import datetime
import os
import platform
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
BIG_BYTES = 4 << 30
TREE_FILES = 30_000
MIDDLE_FILES, MIDDLE_BYTES = 64, 32 << 20
RECENTLY_DELETED_S = 305
IMAGE_BYTES = 20 << 30
RIVALS = {"xcp": "0.24.9", "cpz": "3.2.1", "fcp": "0.2.2", "b3sum": "1.8.7"}
# Where xfs can clone, some rivals do so even where they were told not to. Nothing is discarded, so
# that the image keeps its blocks, and nothing is initialised while something is measured.
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=0"],
    "xfs-reflink": ["mkfs.xfs", "-q", "-f", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"],
}


def build(with_rivals):
    """Builds aiocp, and the rivals if they are wanted; the folder of these."""
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
    """A filesystem in an image, mounted past the page cache; which needs root."""

    def __init__(self, folder, kind="ext4"):
        self.image, self.path, self.kind = folder / f"{kind}.img", folder / kind, kind
        self.is_mounted = False

    def __enter__(self):
        self.path.mkdir(parents=True, exist_ok=True)
        # What was never written would be allocated by the first run that comes there.
        zeros = ["dd", "if=/dev/zero", f"of={self.image}", "oflag=direct", "bs=16M"]
        subprocess.run([*zeros, f"count={IMAGE_BYTES >> 24}", "status=none"], check=True)
        loop = ["losetup", "--find", "--show", "--direct-io=on", self.image]
        made = subprocess.run(loop, check=True, stdout=subprocess.PIPE, text=True)
        self.loop = made.stdout.strip()
        self.renew()
        return self

    def renew(self):
        """Makes the filesystem anew, and empty."""
        self.unmount()
        subprocess.run([*MAKE[self.kind], self.loop], check=True)
        subprocess.run(["mount", self.loop, self.path], check=True)
        self.is_mounted = True

    def unmount(self):
        if self.is_mounted:
            subprocess.run(["umount", self.path], check=True)
            self.is_mounted = False

    def __exit__(self, *_):
        self.unmount()
        subprocess.run(["losetup", "-d", self.loop], check=True)
        self.image.unlink()


class Folder:
    """A folder of a disk that is measured as it is. What trees were copied stays to the end."""

    kind = "none"

    def __init__(self, folder):
        self.path = folder

    def __enter__(self):
        """Removes the copies of earlier runs, and waits until that slows nothing down."""
        old = list(self.path.glob("copy-*"))
        for path in old:
            remove(path)
        if old:
            forget_deleted()
        return self

    def renew(self):
        """Nothing: it is measured as it is."""

    def __exit__(self, *_):
        for path in self.path.glob("copy-*"):
            remove(path)


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
    return re.search(r"\d+\.[\w.]*", asked.stdout)[0]


def size_of(source):
    """The bytes of a file, or of all files of a tree."""
    files = [source] if source.is_file() else [f for f in source.rglob("*") if f.is_file()]
    return sum(f.lstat().st_size for f in files)


def make_big(path, size=BIG_BYTES):
    if path.exists() and path.stat().st_size == size:
        return
    with open(path, "wb") as out:
        for _ in range(size >> 24):
            out.write(os.urandom(1 << 24))
        os.fsync(out.fileno())


def make_middle(root):
    """Makes 64 files of 32 MiB in one directory."""
    root.mkdir(exist_ok=True)
    for number in range(MIDDLE_FILES):
        make_big(root / f"file{number}.dat", MIDDLE_BYTES)


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


def touch(source, filler):
    """Has more free memory touched than a run with this source needs."""
    os.sync()
    os.truncate(filler, min(3 * size_of(source) + (1 << 30), free_bytes() // 8 * 7))
    read(filler)
    evict(filler)


def cool(source, filler):
    """Has nothing of the source in the page cache, and other memory touched."""
    touch(source, filler)
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    else:
        evict(source)


def warm(source, filler):
    """Has the whole source in the page cache, and other memory touched."""
    touch(source, filler)
    for file in [source] if source.is_file() else source.rglob("*"):
        if file.is_file():
            read(file)


def read(file):
    with open(file, "rb", buffering=0) as f:
        while f.read(1 << 20):
            pass


def free_bytes():
    return int(first("/proc/meminfo", "MemFree").split()[0]) << 10


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
