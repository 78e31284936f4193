#!/usr/bin/env python3
"""A disk that fills up while an archive is read, or a checkpoint, a model, an export or the database is written, and then has room again.

Nothing that was acknowledged is lost, the server resumes within five seconds without a restart, running jobs wait instead of failing.
While the disk is full, uploads get 507; reads, predictions, cancels and deletes work, and `/readyz` reports it.

    python3 -B scripts/chaos/fulldisk.py --rounds 10
"""

import hashlib
import shutil
import sys
import threading
import time

from harness import images, options, processes
from harness.api import BROKEN, Api, Failed, until
from harness.disk import SmallDisk
from harness.left import Left, lies
from harness.server import Server
from harness.table import Table

ROUNDS, SHORT_ROUNDS = 10, 1
DISK_BYTES = 96 << 20
FULL_SECONDS = 3
# How long it may take until a job reports that it waits: this depends on its next checkpoint.
WAITING_SECONDS = 30
GOES_ON_SECONDS = 5
EPOCHS, SHORT_EPOCHS = 40, 20
FULL = 507


def spec(name, epochs):
    return {"dataset": "base", "name": name, "backbone": {"architecture": "resnet20"}, "epochs": epochs, "batch_size": 8}


class World:
    def __init__(self, chosen, disk, server):
        self.chosen, self.disk, self.server, self.api = chosen, disk, server, Api(server)
        self.random, self.epochs = chosen.random, SHORT_EPOCHS if chosen.short else EPOCHS
        self.acknowledged, self.lost, self.wrong, self.went_on, self.told = [], [], [], {}, {}
        self.bits, self.waited, self.restarts = [], [], 0

    def prepare(self):
        self.api.upload("base", images.archive(0, 16))
        self.api.upload("labelled", images.archive(30_000, 4))
        self.server.wait_devices()
        model = self.api.train(spec("golden", self.epochs))
        self.golden, self.model = model["sha256"], model["id"]
        self.bundle = self.api.expect("GET", f"/v1/models/{self.model}/export?format=bundle").body
        # So that the predict child is running, as in normal operation.
        self.api.expect("POST", f"/v1/models/{self.model}/predict", images.png(0, 1))

    def note(self, place, what):
        self.wrong.append(f"{place}: {what}")

    def ask(self, place, name, statuses, *request, **more):
        """Sends a request whose response must have one of these statuses; counted by name."""
        try:
            answer = self.api.ask(*request, timeout=30, **more)
        except BROKEN as fault:
            self.note(place, f"{name} got no response: {fault}")
            return None
        held, of = self.told.get(name, (0, 0))
        well = answer.status in statuses
        self.told[name] = (held + well, of + 1)
        if not well:
            self.note(place, f"{name} got {answer}")
        return answer

    # Requests while the disk is full.

    def while_full(self, place, number):
        tag = f"{place}-{number}"
        self.ask(place, "while full: upload", (FULL,), "PUT", f"/v1/datasets?name=full-{tag}", images.archive(70_000, 4))
        self.ask(place, "while full: read", (200,), "GET", "/v1/datasets/base")
        self.ask(place, "while full: list", (200,), "GET", "/v1/jobs")
        self.ask(place, "while full: predict", (200,), "POST", f"/v1/models/{self.model}/predict", images.png(0, 2))
        self.ask(place, "while full: /healthz", (200,), "GET", "/healthz")
        self.ask(place, "while full: /readyz reports it", (503, FULL), "GET", "/readyz")

    def cancel_and_delete_while_full(self, place, job, dataset):
        answer = self.ask(place, "while full: cancel", (200, 202, 204), "POST", f"/v1/jobs/{job}/cancel")
        if answer and answer.ok:
            self.acknowledged.append(("cancel", job))
        answer = self.ask(place, "while full: delete", (204,), "DELETE", f"/v1/datasets/{dataset}")
        if answer and answer.ok:
            self.acknowledged.append(("deletion", dataset))

    # Places. Each fills the disk there, frees it, and records how long it took to resume.

    def ingest(self, number):
        name, archive = f"ingest-{number}", images.archive(20_000 + 100 * number, 60)
        answer = self.api.expect("PUT", f"/v1/datasets?name={name}", archive)
        self.acknowledged.append(("dataset", answer.json["id"], hashlib.sha256(archive).hexdigest()))
        time.sleep(self.random.random() * 0.4)
        self.disk.kept_full(FULL_SECONDS, lambda: self.while_full("ingest", number))
        self.disk.free()
        began = time.monotonic()
        dataset = self.api.get(f"/v1/datasets/{name}?wait=60")
        self.went_on.setdefault("ingest", []).append(time.monotonic() - began)
        if dataset["status"] != "ready":
            self.lost.append(f"{name} is {dataset['status']}: {dataset['error']}")

    def checkpoint(self, number):
        dataset = self.api.upload(f"spare-{number}", images.archive(40_000 + 10 * number, 3))
        job = self.submitted(f"checkpoint-{number}")
        # Queued behind the other one, so that it can be cancelled.
        spare = self.api.expect("POST", "/v1/jobs", {**spec(f"spare-{number}", self.epochs), "priority": -5})
        self.until_epoch(job, 1 + self.random.randrange(self.epochs // 3))

        def meanwhile():
            self.while_full("checkpoint", number)
            self.cancel_and_delete_while_full("checkpoint", spare.json["id"], dataset["id"])
            self.waits(job, "checkpoint")

        self.full_through("checkpoint", number, job, meanwhile)

    def publish(self, number):
        job = self.submitted(f"publish-{number}")
        run = self.server.data / "runs" / job
        end = time.monotonic() + 120
        looked_for = self.random.choice(["*/model.safetensors*", "*/evaluation.json*", "*/result.json*"])
        while not lies(run, looked_for) and time.monotonic() < end:
            if self.api.get(f"/v1/jobs/{job}")["status"] not in ("queued", "running"):
                break
            time.sleep(0.001)
        self.full_through("publish", number, job, lambda: self.while_full("publish", number))

    def full_through(self, place, number, job, meanwhile):
        """Full, then not: the job resumes and ends with the same bits as an undisturbed one."""
        self.disk.kept_full(FULL_SECONDS, meanwhile)
        before = self.progress(job)
        self.disk.free()
        began = time.monotonic()
        try:
            until("a job resumes", lambda: self.moves(job, before), 60)
        except Failed:
            self.lost.append(f"{place}: {job} does not resume within a minute after there is room")
            return
        finally:
            self.went_on.setdefault(place, []).append(time.monotonic() - began)
        ended = self.api.finished(job)
        if ended["status"] != "succeeded":
            self.lost.append(f"{place}: {job} is {ended['status']}: {ended['error']}")
        else:
            self.bits.append(self.api.get(f"/v1/models/{ended['model']}")["sha256"] == self.golden)

    def submitted(self, name):
        job = self.api.expect("POST", "/v1/jobs", {**spec(name, self.epochs), "priority": 5}).json["id"]
        self.acknowledged.append(("job", job))
        return job

    def progress(self, job):
        one = self.api.get(f"/v1/jobs/{job}")
        return one["status"], (one["progress"] or {}).get("step", 0), (one["progress"] or {}).get("waiting")

    def moves(self, job, before):
        now = self.progress(job)
        return now[0] not in ("queued", "running") or (now[2] is None and now[1:2] != before[1:2])

    def until_epoch(self, job, epoch):
        until("an epoch", lambda: (self.api.get(f"/v1/jobs/{job}")["progress"] or {}).get("epoch", 0) >= epoch, 120)

    def waits(self, job, place):
        """A running job reports that it waits for the disk, and does not fail."""
        end = time.monotonic() + WAITING_SECONDS
        while time.monotonic() < end:
            self.disk.fill()
            one = self.api.get(f"/v1/jobs/{job}")
            if (one["progress"] or {}).get("waiting") == "disk":
                self.waited.append(True)
                return
            if one["status"] not in ("queued", "running"):
                break
            time.sleep(0.05)
        self.waited.append(False)
        self.note(place, f"{job} does not report that it waits for the disk; it is {one['status']}: {one['error']}")

    def export(self, number):
        model = self.api.expect("PUT", f"/v1/models?name=export-{number}", self.bundle).json["id"]
        self.acknowledged.append(("model", model))
        path = f"/v1/models/{model}/export?format={self.random.choice(['onnx', 'torchscript', 'safetensors'])}"
        asked = []
        asking = threading.Thread(target=lambda: asked.append(self.ask("export", "an export on a full disk", (200, FULL, 503), "GET", path)))
        asking.start()
        time.sleep(self.random.random() * 0.3)
        self.disk.kept_full(FULL_SECONDS, lambda: self.while_full("export", number))
        asking.join()
        self.disk.free()
        self.again("export", [("GET", path, None)])

    def database(self, number):
        """Every kind of write while the disk is full: done or refused, and done when there is room."""
        dataset = self.api.upload(f"kinds-{number}", images.archive(50_000 + 10 * number, 3))["id"]
        job = self.api.expect("POST", "/v1/jobs", {**spec(f"kinds-{number}", 400), "priority": -5}).json["id"]
        writes = [
            ("POST", "/v1/jobs", spec(f"more-{number}", 1)),
            ("PATCH", f"/v1/models/{self.model}", {"metadata": {"round": str(number)}}),
            ("PUT", f"/v1/aliases/alias-{number}", {"model": self.model}),
            ("PUT", f"/v1/models?name=kinds-{number}", self.bundle),
            ("PUT", f"/v1/datasets?name=more-{number}", images.archive(60_000 + 10 * number, 3)),
            ("PATCH", f"/v1/datasets/labelled/images/{number % 4}", {"class": f"kind-{number // 4 % 2}"}),
        ]

        def meanwhile():
            for method, path, body in writes:
                self.ask("database", "while full: any other write", (200, 201, FULL), method, path, body)
            self.while_full("database", number)
            self.cancel_and_delete_while_full("database", job, dataset)

        self.disk.kept_full(FULL_SECONDS, meanwhile)
        self.disk.free()
        self.again("database", writes)

    def again(self, place, requests):
        """Everything works once there is room."""
        began = time.monotonic()
        for method, path, body in requests:
            end = began + 60
            while True:
                try:
                    answer = self.api.ask(method, path, body, timeout=60)
                    if answer.ok or answer.status == 409:
                        break
                    said = str(answer)
                except BROKEN as fault:
                    said = str(fault)
                if time.monotonic() > end:
                    self.note(place, f"still failing a minute after there was room: {method} {path}: {said}")
                    break
                time.sleep(0.05)
        self.went_on.setdefault(place, []).append(time.monotonic() - began)


    def cancel_rest(self):
        """Cancels the jobs that were only submitted for that."""
        for job in self.api.every("/v1/jobs?status=queued") + self.api.every("/v1/jobs?status=running"):
            self.api.ask("POST", f"/v1/jobs/{job['id']}/cancel")
            self.api.finished(job["id"], 60)


PLACES = ("ingest", "checkpoint", "publish", "export", "database")


def run(argv):
    parser = options.parser(__doc__)
    parser.add_argument("--rounds", type=int, help=f"at each place, {ROUNDS} by default")
    parser.add_argument("--place", choices=PLACES, action="append", help="only at this place (may be repeated)")
    chosen = options.parse(parser, argv)
    rounds = chosen.rounds or (SHORT_ROUNDS if chosen.short else ROUNDS)
    places = chosen.place or PLACES
    table = Table(f"A full disk, {rounds} times at each of {len(places)} places, seed {chosen.seed}", chosen.slack)
    with options.scratch(chosen) as folder, SmallDisk(folder, DISK_BYTES) as disk:
        server = Server(chosen, folder, "--min-free-bytes", str(1 << 20), data_dir=disk.inside / "data")
        with server:
            server.start(wrapper=disk.enter())
            # From here on the data directory is accessed from outside the namespace.
            server.data = disk.data / "data"
            me = processes.identity(server.pid)
            world = World(chosen, disk, server)
            world.prepare()
            for number in range(rounds):
                for place in places:
                    try:
                        getattr(world, place)(number)
                    except (*BROKEN, Failed) as fault:
                        world.note(place, fault)
                    finally:
                        disk.free()
                    restore(world, disk, server, me, place)
                    me = processes.identity(server.pid)
            world.cancel_rest()
            server.stop()
            tell(table, world, places)
            # SQLite would resolve the link into the other namespace to a wrong path.
            left = folder / "left"
            shutil.copytree(disk.data / "data", left)
            look(table, world, left)
    return table.show()


def restore(world, disk, server, me, place):
    """Restarts a server that does not recover by itself, so that the other places can be tried; that counts as a fault."""
    try:
        until("writes work", lambda: world.api.ask("GET", "/readyz").status == 200, 20)
        if processes.alive(me):
            return
    except (*BROKEN, Failed):
        pass
    world.restarts += 1
    world.note(place, "the server did not recover by itself and was restarted")
    server.kill()
    server.data = disk.inside / "data"
    server.start(wrapper=disk.enter())
    server.data = disk.data / "data"
    server.wait_devices()


def tell(table, world, places):
    for place in places:
        table.within(f"{place}: resumes after there is room", world.went_on.get(place, []), GOES_ON_SECONDS)
    for name, (held, of) in sorted(world.told.items()):
        table.all(name, held, of)
    if world.waited:
        table.all("jobs that report that they wait for the disk", sum(world.waited), len(world.waited))
    if world.bits:
        table.all("training jobs with the golden bits", sum(world.bits), len(world.bits))
    table.row("restarts needed", str(world.restarts), "0", world.restarts == 0)
    table.none("acknowledged, but failed or lost", world.lost)
    table.faults += sorted(set(world.wrong))[:40]


def look(table, world, data):
    with Left(data) as left:
        there = {
            "job": {row["id"]: row for row in left.rows("select * from jobs")},
            "dataset": {row["id"]: row for row in left.rows("select * from datasets")},
            "model": {row["id"]: row for row in left.rows("select * from models")},
        }
        lost = []
        for kind, one, *digest in world.acknowledged:
            if kind == "cancel" and there["job"].get(one, {"status": "gone"})["status"] != "cancelled":
                lost.append(f"the cancel of {one}")
            elif kind == "deletion" and one in there["dataset"]:
                lost.append(f"the deletion of {one}")
            elif kind in there and one not in there[kind]:
                lost.append(f"{kind} {one}")
            elif digest and there[kind][one]["sha256"] != digest[0]:
                lost.append(f"the archive of {one}")
        table.none("acknowledged but lost", lost)
        table.none("jobs that ended twice, or a broken event stream", left.streams())
        table.none("rows that name a missing or damaged blob", left.dangling())
        table.none("database integrity errors", left.integrity())


if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
