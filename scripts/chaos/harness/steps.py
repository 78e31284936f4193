"""Kills a program at a chosen durable step, without any hooks in it: see `steps.c`, which is compiled here."""

import mmap
import os
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

from .options import Unable

SOURCE = Path(__file__).with_name("steps.c")
NEVER = 1 << 60


def compiled(folder):
    """Compiles the library to preload."""
    compiler = next((found for found in map(shutil.which, ("cc", "gcc", "clang")) if found), None)
    if not compiler:
        raise Unable("there is no C compiler: `apt-get install gcc`, or your distribution's equivalent")
    library = Path(folder) / "steps.so"
    command = [compiler, "-O1", "-std=gnu11", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unable(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    return library


class Steps:
    """The durable steps of a program, counted from `arm` on."""

    def __init__(self, folder, name, library):
        self.path, self.library = Path(folder) / f"{name}.steps", library
        self.path.write_bytes(bytes(16))
        with open(self.path, "r+b") as file:
            self.mapped = mmap.mmap(file.fileno(), 16)

    def environment(self):
        return {"LD_PRELOAD": str(self.library), "CHAOS_STEPS": str(self.path)}

    def wrapped(self, program):
        """A wrapper of `program` that counts its steps: for a worker, whose environment is set by the server."""
        wrapper = self.path.with_suffix(".sh")
        exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.environment().items())
        wrapper.write_text(f'#!/bin/sh\nexec env {exports} {shlex.quote(str(program))} "$@"\n')
        os.chmod(wrapper, 0o755)
        return wrapper

    def arm(self, last=NEVER):
        """Counts steps from now on; the process is killed just before this one."""
        self.mapped[:] = struct.pack("qq", 0, 0)
        Path(f"{self.path}.log").unlink(missing_ok=True)
        self.mapped[:] = struct.pack("qq", last, 0)

    def disarm(self):
        """Stops counting; returns the number of steps."""
        seen = struct.unpack("qq", self.mapped[:])[1]
        self.mapped[:8] = struct.pack("q", 0)
        return seen

    def last(self):
        """The last step, as text."""
        try:
            number, call, path = Path(f"{self.path}.log").read_text(errors="replace").splitlines()[-1].split(" ", 2)
        except (OSError, IndexError, ValueError):
            return "?"
        return f"{call} {named(path)}"


def named(path):
    """`…/data/blobs/ab/abcd…` → `blobs`: the kind of file."""
    parts = Path(path.rstrip("/")).parts
    for place in ("blobs", "spool", "runs", "uploads", "logs", "exports", "thumbnails"):
        if place in parts:
            # Files of a run are identified by their name, others by their folder.
            last = "a run's directory" if parts[-1].isdigit() else parts[-1]
            return last if place == "runs" else place
    return parts[-1] if parts else "?"
