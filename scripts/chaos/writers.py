#!/usr/bin/env python3
"""Thirty-two writers while another process holds the database's lock, for a time that the server waits and for a longer one.

3 s: all requests wait and succeed. 12 s: some get 503 with `Retry-After`, and all is well once the lock is released. None ever gets 500.
Another process's reader that blocks checkpoints of the write-ahead log makes it grow; it shrinks again once the reader is gone.

    python3 -B scripts/chaos/writers.py --seed 1
"""

import sqlite3
import sys
import threading
import time

from harness import images, options
from harness.api import BROKEN, Api
from harness.left import Left
from harness.server import Server
from harness.table import Table

WRITERS = 32
SHORT_LOCK_SECONDS, LONG_LOCK_SECONDS = 3, 12
HEALED_SECONDS = 5
LOG_LIMIT = 64 << 20
# The size that the log must reach before the reader ends, to show that it shrinks again.
LOG_GROWS_TO = 80 << 20
GROWING_SECONDS = 120


class Writers:
    """Threads that write repeatedly, and every response with the time of its request."""

    def __init__(self, server, model, text=64):
        self.api, self.model, self.text = Api(server), model, text
        self.over, self.lock, self.answers = threading.Event(), threading.Lock(), []
        self.threads = [threading.Thread(target=self.write, args=(number,), daemon=True) for number in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def write(self, number):
        turn = 0
        while not self.over.is_set():
            turn += 1
            began = time.monotonic()
            try:
                answer = self.api.ask("PATCH", f"/v1/models/{self.model}", self.edit(number, turn), timeout=120)
                told = (answer.status, "retry-after" in answer.headers, str(answer))
            except BROKEN as fault:
                told = (0, False, str(fault))
            with self.lock:
                self.answers.append((began, time.monotonic() - began, *told))
            if told[0] != 200:
                self.over.wait(0.2)

    def edit(self, number, turn):
        return {"metadata": {f"writer-{number % 8}": f"{turn:08}" * (self.text // 8)}}

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(timeout=180)
        return self.answers


def locked(server, seconds):
    """Holds the write lock as another process would: through a connection of Python's own SQLite."""
    other = sqlite3.connect(server.data / "finetuned.db", isolation_level=None, timeout=30)
    other.execute("begin immediate")
    time.sleep(seconds)
    other.execute("rollback")
    other.close()
    return time.monotonic()


def beside_a_lock(server, model, seconds, afterwards):
    """(answers, when the lock was released)."""
    writers = Writers(server, model)
    time.sleep(0.5)
    released = locked(server, seconds)
    time.sleep(afterwards)
    return writers.stop(), released


def beside_a_reader(server, model):
    """The log's largest size, and its size once the reader that blocked checkpoints is gone."""
    log = server.data / "finetuned.db-wal"
    reader = sqlite3.connect(f"file:{server.data / 'finetuned.db'}?mode=ro", uri=True, isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from models").fetchone()
    writers = Writers(server, model, text=512)
    end = time.monotonic() + GROWING_SECONDS
    while log.stat().st_size < LOG_GROWS_TO and time.monotonic() < end:
        time.sleep(0.05)
    peak = log.stat().st_size
    reader.execute("rollback")
    reader.close()
    end = time.monotonic() + 30
    while log.stat().st_size > LOG_LIMIT and time.monotonic() < end:
        time.sleep(0.05)
    return writers.stop(), peak, log.stat().st_size


def run(argv):
    chosen = options.parse(options.parser(__doc__), argv)
    table = Table(f"{WRITERS} writers beside another process's lock", chosen.slack)
    with options.scratch(chosen) as folder, Server(chosen, folder) as server:
        server.start()
        server.api.upload("base", images.archive(0, 8))
        server.wait_devices()
        spec = {"dataset": "base", "name": "first", "backbone": {"architecture": "resnet20"}, "epochs": 1}
        model = server.api.train(spec)["id"]

        afterwards = 2 if chosen.short else HEALED_SECONDS + 1
        answers, _ = beside_a_lock(server, model, SHORT_LOCK_SECONDS, afterwards)
        table.count(f"writes beside a lock of {SHORT_LOCK_SECONDS} s", len(answers))
        table.none("of these, not done", [one[4] for one in answers if one[2] != 200])

        answers, released = beside_a_lock(server, model, LONG_LOCK_SECONDS, afterwards)
        refused = [one for one in answers if one[2] == 503]
        table.count(f"writes beside a lock of {LONG_LOCK_SECONDS} s", len(answers))
        table.count("of these, asked to retry", len(refused))
        table.none("asked to retry without Retry-After", [one[4] for one in refused if not one[3]])
        table.none("answered with anything else", [one[4] for one in answers if one[2] not in (200, 503)])
        last_refusal = max((began + seconds - released for began, seconds, *_ in refused), default=0.0)
        table.within("the last refusal after the lock was released", [max(0.0, last_refusal)], HEALED_SECONDS)
        healed = [one for one in answers if one[2] == 200 and one[0] > released]
        table.all("later writes that succeeded", len(healed), len([one for one in answers if one[0] > released]))

        if chosen.short:
            log = server.data / "finetuned.db-wal"
            table.at_most("the log", log.stat().st_size / (1 << 20), LOG_LIMIT >> 20, "MiB")
        else:
            answers, peak, after = beside_a_reader(server, model)
            table.none("writes beside another process's reader, not done", [one[4] for one in answers if one[2] != 200])
            table.note("the log at its largest, while a reader blocked it", peak / (1 << 20), "MiB")
            table.at_most("the log once the reader was gone", after / (1 << 20), LOG_LIMIT >> 20, "MiB")
        server.stop()
        with Left(server.data) as left:
            table.none("database integrity errors", left.integrity())
    return table.show()


if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
