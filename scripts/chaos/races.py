#!/usr/bin/env python3
"""Cancelling while jobs finish and workers are killed: hundreds of tiny jobs, each of which ends exactly once.

Half of the jobs are cancelled at a random moment around the time when an undisturbed one ends, some twice at once; meanwhile workers are
killed. A job whose cancel was accepted ends as `cancelled`; a cancel is refused only if the job had already ended.

    python3 -B scripts/chaos/races.py --seed 1 --jobs 300
"""

import signal
import sys
import threading
import time

from harness import images, options, processes
from harness.api import BROKEN, Api, Failed
from harness.left import ENDS, Left
from harness.server import Server
from harness.table import Table

JOBS, SHORT_JOBS = 300, 16
AT_ONCE = 4


def spec(name):
    return {
        "dataset": "base",
        "name": name,
        "backbone": {"architecture": "resnet20"},
        "epochs": 1,
        "batch_size": 16,
        "max_attempts": 3,
    }


class Race:
    def __init__(self, chosen, server):
        self.random, self.server, self.api = chosen.random, server, Api(server)
        self.lock = threading.Lock()
        self.accepted, self.refused, self.faults, self.killed = set(), set(), [], 0
        self.usual = 1.0

    def prepare(self):
        self.api.upload("base", images.archive(0, 8))
        self.server.wait_devices()
        self.api.train(spec("usual"))
        began = time.monotonic()
        self.api.train(spec("usual"))
        self.usual = time.monotonic() - began

    def one(self, number, draws):
        """A job and what happens to it."""
        job = self.api.expect("POST", "/v1/jobs", spec(f"race-{number}")).json["id"]
        fate = draws.choice(["finish", "cancel", "cancel", "cancel twice", "kill and cancel", "kill"])
        if draws.random() < 0.8:
            self.until_claimed(job)
        if "kill" in fate:
            time.sleep(self.usual * draws.uniform(0.2, 1.0))
            self.kill(job)
        if "cancel" in fate:
            time.sleep(self.usual * draws.uniform(0.0, 0.3 if "kill" in fate else 1.1))
            others = [threading.Thread(target=self.cancel, args=(job,)) for _ in range(fate == "cancel twice")]
            for other in others:
                other.start()
            self.cancel(job)
            for other in others:
                other.join()
        ended = self.api.finished(job, 120)
        if ended["status"] not in ENDS:
            self.fault(f"{job} is {ended['status']} after two minutes")

    def until_claimed(self, job):
        """Waits until it is this job's turn."""
        end = time.monotonic() + 120
        while self.api.get(f"/v1/jobs/{job}")["status"] == "queued" and time.monotonic() < end:
            time.sleep(0.02)

    def cancel(self, job):
        answer = self.api.ask("POST", f"/v1/jobs/{job}/cancel")
        with self.lock:
            if answer.ok:
                self.accepted.add(job)
            elif answer.status == 409:
                self.refused.add(job)
            else:
                self.faults.append(f"a cancel got {answer}")

    def kill(self, job):
        for one in self.server.children():
            if any(job in word for word in processes.command(one[0])) and processes.send(one, signal.SIGKILL):
                with self.lock:
                    self.killed += 1

    def fault(self, text):
        with self.lock:
            self.faults.append(text)

    def run(self, numbers, seed):
        for number in numbers:
            try:
                self.one(number, type(self.random)(f"{seed} {number}"))
            except (*BROKEN, Failed) as fault:
                self.fault(f"job {number}: {fault}")


def run(argv):
    parser = options.parser(__doc__)
    parser.add_argument("--jobs", type=int, help=f"{JOBS} by default")
    chosen = options.parse(parser, argv)
    jobs = chosen.jobs or (SHORT_JOBS if chosen.short else JOBS)
    table = Table(f"Cancel racing finish and kill, {jobs} jobs, seed {chosen.seed}", chosen.slack)
    with options.scratch(chosen) as folder, Server(chosen, folder, "--stop-grace-seconds", "5") as server:
        server.start()
        race = Race(chosen, server)
        race.prepare()
        shares = [range(first, jobs, AT_ONCE) for first in range(AT_ONCE)]
        threads = [threading.Thread(target=race.run, args=(share, chosen.seed)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.stop()
        look(table, race, jobs)
    return table.show()


def look(table, race, jobs):
    with Left(race.server.data) as left:
        rows = left.rows("select id, status, cancel_requested from jobs where name like 'race-%'")
        by_status = {status: sum(row["status"] == status for row in rows) for status in ENDS}
        table.count("cancels accepted", len(race.accepted))
        table.count("cancels refused, because the job had ended", len(race.refused - race.accepted))
        table.count("workers killed", race.killed)
        table.rows.append(("ends", ", ".join(f"{status} {count}" for status, count in by_status.items()), "", ""))
        table.all("jobs that ended", sum(by_status.values()), jobs)
        other = [f"{row['id']} is {row['status']}" for row in rows if row["id"] in race.accepted and row["status"] != "cancelled"]
        table.none("accepted cancels that did not end in `cancelled`", other)
        uncalled = [row["id"] for row in rows if row["status"] == "cancelled" and row["id"] not in race.accepted]
        table.none("jobs cancelled without a request", uncalled)
        table.none("event streams without exactly one end", left.streams())
        table.none("duplicate or missing models", left.models())
        table.none("other failures", race.faults)
        table.none("database integrity errors", left.integrity())


if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
