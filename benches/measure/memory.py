"""Memory of a process and everything that it started, as one number that counts shared pages once."""

import threading
import time
from pathlib import Path


class Peak:
    """Samples the proportional set size (`smaps_rollup`) of a process tree until `stop`; `bytes` is the highest sum seen."""

    EVERY_SECONDS = 0.25

    def __init__(self, pid):
        self.pid, self.bytes = pid, 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.over.wait(self.EVERY_SECONDS):
            self.bytes = max(self.bytes, sum(map(resident, tree(self.pid))))

    def stop(self):
        self.over.set()
        self.thread.join()
        return self.bytes


def tree(root):
    """The process and its descendants."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name may hold anything, so what follows its last parenthesis is read.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, next_ones = [], [root]
    while next_ones:
        found += next_ones
        next_ones = [child for parent in next_ones for child in children.get(parent, [])]
    return found


def resident(pid):
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class ChildWatch:
    """How long any child of a process was there, and the highest resident memory that one had, as the kernel counts it, until `stop`."""

    EVERY_SECONDS = 0.01

    def __init__(self, pid):
        self.pid, self.peak_bytes = pid, 0
        self.first_seen = self.last_seen = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    @property
    def seconds(self):
        return self.last_seen - self.first_seen

    def watch(self):
        known = []
        while not self.over.wait(self.EVERY_SECONDS):
            known = [pid for pid in known if self.look(pid)] or tree(self.pid)[1:]
            if known:
                self.last_seen = time.perf_counter()
                self.first_seen = self.first_seen or self.last_seen

    def look(self, pid):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return False
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self.peak_bytes = max(self.peak_bytes, int(line.split()[1]) * 1024)
                return True
        return False

    def stop(self):
        self.over.set()
        self.thread.join()
