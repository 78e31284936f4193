"""Processes by id *and* start time: an id alone may be reused a moment later."""

import json
import os
import signal
import threading
import time
from pathlib import Path

from . import options  # puts `benches` on the path

from measure.memory import tree

assert options


def identity(pid):
    """(process id, start time) of a live process, else None. A zombie counts as dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (pid, fields[19])


def alive(one):
    return one is not None and identity(one[0]) == one


def children(pid):
    """Identities of all descendants."""
    found = [identity(child) for child in tree(pid)[1:]]
    return [one for one in found if one]


def command(pid):
    """Its command line; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
    except OSError:
        return []


def run_dir(words):
    """The folder of a worker that has one."""
    return Path(words[words.index("--run-dir") + 1])


def work(words):
    """What a worker of this command line does: the kind in its run file, else its command."""
    if len(words) < 2 or words[1] != "run":
        return words[1] if len(words) > 1 else ""
    try:
        return json.loads((run_dir(words) / "run.json").read_text())["kind"]
    except (OSError, ValueError):
        return ""


def send(one, number):
    """Sends a signal to exactly this process; False if it is gone."""
    if not alive(one):
        return False
    try:
        os.kill(one[0], number)
    except ProcessLookupError:
        return False
    return True


def end(ones):
    for one in ones:
        send(one, signal.SIGKILL)


class Orphans:
    """Watches processes whose parent was killed: which are still alive after `limit` seconds, and how long each took."""

    EVERY_SECONDS = 0.02

    def __init__(self, limit):
        self.limit, self.watched, self.left, self.lasted = limit, [], [], []
        self.lock, self.over = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def add(self, ones):
        now = time.monotonic()
        with self.lock:
            self.watched += [(one, now, " ".join(command(one[0])[1:])) for one in ones]

    def watch(self):
        while not self.over.wait(self.EVERY_SECONDS) or self.watched:
            now = time.monotonic()
            with self.lock:
                still = []
                for one, since, what in self.watched:
                    if not alive(one):
                        self.lasted.append(now - since)
                    elif now - since > self.limit:
                        # Measured until it ends, so that the table shows how bad it is; but not forever.
                        if now - since > 12 * self.limit:
                            self.left.append(f"{what} for more than {now - since:.0f} s")
                            send(one, signal.SIGKILL)
                        else:
                            still.append((one, since, what))
                    else:
                        still.append((one, since, what))
                self.watched = still

    def stop(self):
        """Waits until all are gone."""
        self.over.set()
        self.thread.join()
