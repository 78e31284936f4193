#!/usr/bin/env python3
"""An hour of everything at once: the server's memory, file descriptors and threads do not grow after the first minutes.

Uploads, jobs, predictions, event streams, exports, thumbnails, aliases, refused requests and deletions, from loopback, while the process is
measured in /proc every few seconds.

    python3 -B scripts/chaos/soak.py --minutes 60
"""

import http.client
import statistics
import sys
import threading
import time
from pathlib import Path

from harness import images, options
from harness.api import BROKEN, Api, Failed
from harness.server import Server
from harness.table import Table

MINUTES, SHORT_SECONDS = 60, 15
WARM_MINUTES = 5
SAMPLE_SECONDS = 5
KEPT = 12
# Threads of the file I/O pool end after 10 s without work.
REST_SECONDS = 15
MORE_DESCRIPTORS, MORE_THREADS = 2, 1
MB = 1e6
# Requests that must be refused.
REFUSED = [
    ("POST", "/v1/jobs", b'{"dataset":', {"content-type": "application/json"}),
    ("POST", "/v1/jobs", b'{"dataset":"base","epochs":-1}', {"content-type": "application/json"}),
    ("POST", "/v1/jobs", b'{"dataset":"nothing"}', {"content-type": "application/json"}),
    ("PUT", "/v1/datasets?name=wrong", b"this is not an archive", {}),
    ("PUT", "/v1/models?name=wrong", b"this is not a model", {}),
    ("GET", "/v1/nothing", None, {}),
    ("GET", "/v1/jobs/job_00000000000000000000000000000000", None, {}),
    ("PATCH", "/v1/jobs", None, {}),
    ("GET", "/v1/models?limit=1000", None, {}),
    ("POST", "/v1/models/first/predict", b"this is not an image", {}),
    ("GET", "/v1/models", None, {"host": "elsewhere.example"}),
]


class Load:
    """Threads that each repeat one action until `stop`."""

    def __init__(self, server, chosen):
        self.server, self.chosen, self.api = server, chosen, Api(server)
        self.over, self.done, self.faults, self.lock = threading.Event(), {}, [], threading.Lock()
        self.going, self.busy = threading.Event(), 0
        self.going.set()
        self.images = [images.png(number % 2, 9000 + number) for number in range(32)]

    def prepare(self):
        self.api.upload("base", images.archive(0, 24))
        self.server.wait_devices()
        for name in ("first", "second"):
            self.api.train(spec(name, 2))
        self.bundle = self.api.expect("GET", "/v1/models/first/export?format=bundle").body

    def begin(self):
        acts = (self.predict, self.predict, self.upload, self.submit, self.export, self.look, self.promote, self.refuse, self.bring)
        self.threads = [threading.Thread(target=self.repeat, args=(act,), daemon=True) for act in acts]
        for thread in self.threads:
            thread.start()

    def repeat(self, act):
        draws = type(self.chosen.random)(f"{self.chosen.seed} {act.__name__}")
        number = 0
        while not self.over.is_set():
            self.going.wait()
            with self.lock:
                self.busy += 1
            try:
                act(number, draws)
            except (*BROKEN, Failed) as fault:
                with self.lock:
                    self.faults.append(f"{act.__name__}: {fault}")
                self.over.wait(1)
            with self.lock:
                self.done[act.__name__] = self.done.get(act.__name__, 0) + 1
                self.busy -= 1
            number += 1

    def at_rest(self, began):
        """The server's resources while it is idle, so that requests in progress are not counted."""
        self.going.clear()
        end = time.monotonic() + 300
        while self.busy and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(REST_SECONDS)
        resting = Sample(self.server.pid, began)
        self.going.set()
        return resting

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(timeout=180)

    # What clients do.

    def predict(self, number, draws):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        for _ in range(20):
            connection.request("POST", f"/v1/models/{draws.choice(['first', 'second'])}/predict", draws.choice(self.images))
            answer = connection.getresponse()
            answer.read()
            if answer.status not in (200, 429):
                raise Failed(f"a prediction got {answer.status}")
            self.over.wait(0.02)
        connection.close()

    def upload(self, number, draws):
        name = f"set-{number}"
        self.api.upload(name, images.archive(10_000 + number * 8, 8))
        if number >= KEPT:
            self.api.expect("DELETE", f"/v1/datasets/set-{number - KEPT}")
        self.over.wait(1)

    def submit(self, number, draws):
        name = f"job-{number}"
        job = self.api.expect("POST", "/v1/jobs", spec(name, 3), headers={"idempotency-key": name}).json["id"]
        if number % 5 == 4:
            self.over.wait(draws.random() * 2)
            self.api.ask("POST", f"/v1/jobs/{job}/cancel")
        self.follow(job)
        self.api.finished(job)
        self.api.expect("GET", f"/v1/jobs/{job}/metrics?series=train_loss,val_loss")
        self.api.expect("GET", f"/v1/jobs/{job}/logs")
        model = self.api.get(f"/v1/jobs/{job}")["model"]
        self.api.expect("DELETE", f"/v1/jobs/{job}")
        if model:
            self.api.expect("DELETE", f"/v1/models/{model}")

    def follow(self, job):
        """Reads the event stream of a job from beginning to end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        connection.request("GET", f"/v1/jobs/{job}/events", headers={"accept": "text/event-stream"})
        stream = connection.getresponse()
        while stream.read1(1 << 16):
            pass
        connection.close()

    def export(self, number, draws):
        form = draws.choice(["safetensors", "bundle", "onnx", "torchscript"])
        self.api.expect("GET", f"/v1/models/{draws.choice(['first', 'second'])}/export?format={form}")
        self.api.expect("GET", "/v1/datasets/base/archive")
        self.over.wait(1)

    def look(self, number, draws):
        self.api.expect("GET", f"/v1/datasets/base/images/{draws.randrange(48)}?size={draws.choice([32, 64, 160])}")
        for path in ("/v1/jobs", "/v1/datasets", "/v1/models", "/v1/system", "/readyz", "/v1/datasets/base/images", "/"):
            self.api.expect("GET", path)
        self.over.wait(0.2)

    def promote(self, number, draws):
        self.api.expect("PUT", "/v1/aliases/production", {"model": draws.choice(["first", "second"])})
        self.over.wait(0.5)

    def refuse(self, number, draws):
        method, path, body, headers = REFUSED[number % len(REFUSED)]
        answer = self.api.ask(method, path, body, headers)
        if answer.status // 100 != 4:
            raise Failed(f"{method} {path} should be refused: {answer}")
        self.over.wait(0.05)

    def bring(self, number, draws):
        model = self.api.expect("PUT", f"/v1/models?name=import-{number}", self.bundle).json["id"]
        self.api.expect("DELETE", f"/v1/models/{model}")
        self.over.wait(3)


def spec(name, epochs):
    return {"dataset": "base", "name": name, "backbone": {"architecture": "resnet20"}, "epochs": epochs, "batch_size": 8}


class Sample:
    """The resources of the server's process at one moment."""

    def __init__(self, pid, began):
        self.minute = (time.monotonic() - began) / 60
        status = fields(Path(f"/proc/{pid}/status"))
        self.resident, self.anonymous = status["VmRSS"] * 1024, status["RssAnon"] * 1024
        self.threads = status["Threads"]
        self.descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))


def fields(path):
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.split() and value.split()[0].isdigit():
            found[name] = int(value.split()[0])
    return found


def slope(samples, value):
    """Growth in 10 minutes as a share of the mean, by least squares."""
    values, minutes = [value(one) for one in samples], [one.minute for one in samples]
    mean, middle = statistics.mean(values), statistics.mean(minutes)
    spread = sum((minute - middle) ** 2 for minute in minutes)
    growth = sum((minute - middle) * (held - mean) for minute, held in zip(minutes, values)) / spread
    return 10 * growth / mean


def run(argv):
    parser = options.parser(__doc__)
    parser.add_argument("--minutes", type=float, help=f"{MINUTES} by default")
    parser.add_argument("--samples", type=Path, help="write every sample into this file, as CSV")
    chosen = options.parse(parser, argv)
    minutes = chosen.minutes or (SHORT_SECONDS / 60 if chosen.short else MINUTES)
    table = Table(f"Soak, {minutes:g} minutes of mixed load, seed {chosen.seed}", chosen.slack)
    with options.scratch(chosen) as folder, Server(chosen, folder) as server:
        server.start()
        load = Load(server, chosen)
        load.prepare()
        began = time.monotonic()
        load.begin()
        resting = []
        if minutes > 2 * WARM_MINUTES:
            samples = sample(server, began, WARM_MINUTES, chosen.samples)
            resting.append(load.at_rest(began))
            samples += sample(server, began, minutes, chosen.samples)
            resting.append(load.at_rest(began))
        else:
            samples = sample(server, began, minutes, chosen.samples)
        load.stop()
        server.stop()
    tell(table, load, samples, resting)
    return table.show()


def sample(server, began, minutes, to):
    samples = []
    every = min(SAMPLE_SECONDS, minutes * 60 / 10)
    out = open(to, "a") if to else None
    if out and not out.tell():
        print("minute,resident_mb,anonymous_mb,descriptors,threads", file=out, flush=True)
    while time.monotonic() - began < minutes * 60:
        one = Sample(server.pid, began)
        samples.append(one)
        if out:
            sizes = f"{one.resident / MB:.2f},{one.anonymous / MB:.2f}"
            print(f"{one.minute:.2f},{sizes},{one.descriptors},{one.threads}", file=out, flush=True)
        time.sleep(every)
    if out:
        out.close()
    return samples


def tell(table, load, samples, resting):
    table.count("operations, by kind", sum(load.done.values()))
    table.rows.append(("", ", ".join(f"{name} {count}" for name, count in sorted(load.done.items())), "", ""))
    table.none("failures", load.faults)
    warm = [one for one in samples if one.minute >= WARM_MINUTES] if resting else []
    measures = {
        "resident memory, MB": lambda one: one.resident / MB,
        "of that anonymous, MB": lambda one: one.anonymous / MB,
        "descriptors": lambda one: one.descriptors,
        "threads": lambda one: one.threads,
    }
    for name, value in measures.items():
        seen = [value(one) for one in warm or samples]
        table.note(f"{name}: first, median, highest, last", (seen[0], statistics.median(seen), max(seen), seen[-1]), "")
    if not resting:
        table.row(f"samples (growth is checked in runs longer than {2 * WARM_MINUTES} minutes)", str(len(samples)), "> 0", bool(samples))
        return
    for name in list(measures)[:2]:
        table.at_most(f"{name.partition(',')[0]}: growth in 10 minutes", 100 * slope(warm, measures[name]), 1, "%")
    before, after = resting
    table.at_most("file descriptors at rest, increase since the first minutes", after.descriptors - before.descriptors, MORE_DESCRIPTORS, "")
    table.at_most("threads at rest, increase since the first minutes", after.threads - before.threads, MORE_THREADS, "")


if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
