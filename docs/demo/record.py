#!/usr/bin/env python3
"""Records docs/demo/demo.svg from a real run: a copy, ^C, its continuation, and a verification.

    docs/demo/record.py [--aiocp PROGRAM] [--dir DIR] [--gib N]

A shell runs in a terminal of its own. The script types into it and keeps what is seen, with the
time. PROGRAM is target/release/aiocp by default. DIR (default: target/demo) has to have room for
twice N GiB (default: 3); choose N so that a copy takes a few seconds. Pauses are shortened, and
nothing else is changed.
"""

import argparse
import fcntl
import os
import pty
import random
import re
import select
import shutil
import signal
import struct
import sys
import termios
import time
from pathlib import Path

import picture
from terminal import Terminal

REPO = Path(__file__).resolve().parent.parent.parent
ROWS, COLUMNS = 20, 112
PROMPT = "$ "
KEY_S, FRAME_S = 0.035, 0.1
STOP_PER_CENT = 45
DEADLINE_S = 120

COPY = "aiocp --progress --resume -T photos backup/photos"
CHECK = "aiocp --progress --verify-only -T photos backup/photos"


def make_photos(folder, size_bytes):
    """A folder of photos and a few films, as many a home has it."""
    rng = random.Random(1)
    noise = os.urandom(1 << 24)
    made = 0
    number = 0
    while made < size_bytes:
        film = number % 60 == 30
        size = rng.randrange(300, 700) << 20 if film else rng.randrange(2_000_000, 9_000_000)
        year = folder / str(2019 + number // 60 % 7)
        year.mkdir(parents=True, exist_ok=True)
        name = f"MOV_{number:04}.mp4" if film else f"IMG_{number:04}.jpg"
        with open(year / name, "wb") as out:
            for start in range(0, size, len(noise)):
                cut = rng.randrange(1, 1 << 20)
                out.write((noise[cut:] + noise[:cut])[: size - start])
        made += size
        number += 1
    os.sync()


class Session:
    """A shell in a terminal, and what was seen of it: the frames, each with its time."""

    def __init__(self, folder, program):
        self.terminal = Terminal(ROWS, COLUMNS)
        self.frames = []
        self.start = time.monotonic()
        self.child, self.master = pty.fork()
        if self.child == 0:
            os.chdir(folder)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            keep = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PS1": PROMPT}
            os.execve("/bin/sh", ["sh"], keep | {"TERM": "xterm-256color", "LANG": "C.UTF-8"})
        size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def watch(self, seconds, until=lambda: False):
        """Takes what is printed, for this long or until something is seen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            ready, _, _ = select.select([self.master], [], [], 0.02)
            if ready:
                self.terminal.feed(os.read(self.master, 1 << 16).decode())
            self.keep()
        return until()

    def keep(self):
        """Keeps the screen as a frame, unless it is the last one or follows it too soon."""
        now, seen = time.monotonic() - self.start, self.terminal.snapshot()
        if self.frames and self.frames[-1][1] == seen:
            return
        if self.frames and now - self.frames[-1][0] < FRAME_S:
            self.frames[-1] = (self.frames[-1][0], seen)
        else:
            self.frames.append((now, seen))

    def type(self, text):
        for key in text:
            os.write(self.master, key.encode())
            self.watch(KEY_S)

    def wait_for_prompt(self):
        if not self.watch(DEADLINE_S, lambda: self.terminal.line() == PROMPT.strip()):
            sys.exit(f"no prompt came back:\n{self.terminal.text()}")

    def run(self, command):
        self.wait_for_prompt()
        self.watch(0.5)
        self.type(command)
        self.watch(0.3)
        os.write(self.master, b"\n")
        self.watch(0.1)

    def stop_at(self, per_cent):
        """Presses ^C when the progress says this."""

        def reached():
            found = re.findall(r"(\d+) ?%", self.terminal.text())
            return bool(found) and int(found[-1]) >= per_cent

        if not self.watch(DEADLINE_S, reached):
            sys.exit(f"the progress was not seen:\n{self.terminal.text()}")
        os.write(self.master, b"\x03")

    def end(self):
        os.close(self.master)
        os.waitpid(self.child, 0)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--aiocp", type=Path, default=REPO / "target" / "release" / "aiocp")
    parser.add_argument("--dir", type=Path, default=REPO / "target" / "demo")
    parser.add_argument("--gib", type=float, default=3)
    args = parser.parse_args()
    shutil.rmtree(args.dir, ignore_errors=True)
    (args.dir / "backup").mkdir(parents=True)
    make_photos(args.dir / "photos", int(args.gib * (1 << 30)))
    session = Session(args.dir, args.aiocp.resolve())
    session.run(COPY)
    session.stop_at(STOP_PER_CENT)
    session.run(COPY)
    session.run(CHECK)
    session.wait_for_prompt()
    session.watch(0.5)
    session.end()
    picture.write(Path(__file__).parent / "demo.svg", session.frames, ROWS, COLUMNS)
    print(session.terminal.text())
    shutil.rmtree(args.dir)


if __name__ == "__main__":
    main()
