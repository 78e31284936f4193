#!/usr/bin/env python3
"""A crash at each durable step of every operation: before each sync, rename and unlink of the server and of its workers.

For step 1, 2, 3, … until the operation passes: do it, kill the process at that step, start again, and check. What was acknowledged exists,
no row names a missing blob, and the second try works. The programs have no hooks for this (`harness/steps.c`).

    python3 -B scripts/chaos/failpoints.py
"""

import hashlib
import sys
import time

from harness import images, options
from harness.api import BROKEN, Api, Failed
from harness.left import Left
from harness.server import Server
from harness.steps import Steps, compiled
from harness.table import Table

MOST_STEPS = 150
SHORT_STEPS = 2
GOLDEN_EPOCHS = 2


def spec(name):
    return {
        "dataset": "base",
        "name": name,
        "backbone": {"architecture": "resnet20"},
        "epochs": GOLDEN_EPOCHS,
        "batch_size": 8,
        "max_attempts": 10,
    }


class World:
    def __init__(self, chosen, folder):
        library = compiled(folder)
        self.of_server, self.of_workers = Steps(folder, "server", library), Steps(folder, "worker", library)
        self.server = Server(
            chosen,
            folder,
            environment=self.of_server.environment(),
            worker=self.of_workers.wrapped(chosen.worker),
        )
        self.api = Api(self.server)

    def prepare(self):
        self.server.start()
        self.api.upload("base", images.archive(0, 12))
        self.server.wait_devices()
        model = self.api.train(spec("golden"))
        self.golden, self.model = model["sha256"], model["id"]
        self.bundle = self.api.expect("GET", f"/v1/models/{self.model}/export?format=bundle").body

    def running(self):
        return self.server.process.poll() is None


class Operation:
    """An operation that is acknowledged, with a new name each time. `act` is interrupted."""

    name = ""

    def __init__(self, world):
        self.world, self.api = world, world.api

    def before(self, tag):
        """Preparation."""

    def act(self, tag):
        """Runs it and returns what was acknowledged. Raises `BROKEN` or `Failed` otherwise."""

    def faults(self, tag, told):
        """What is wrong now, given that `told` was acknowledged (None: nothing was)."""
        return []


class Upload(Operation):
    name = "upload"

    def archive(self, tag):
        return images.archive(int(hashlib.sha256(tag.encode()).hexdigest()[:6], 16), 2)

    def act(self, tag):
        return self.api.expect("PUT", f"/v1/datasets?name={tag}", self.archive(tag)).json["id"]

    def faults(self, tag, told):
        answer = self.api.ask("GET", f"/v1/datasets/{tag}?wait=60", timeout=90)
        if not told and answer.status == 404:
            return []
        if not answer.ok or answer.json["status"] != "ready" or told not in (None, answer.json["id"]):
            return [f"the dataset is {answer}"]
        return []


class Ingest(Upload):
    name = "upload and reading"

    def act(self, tag):
        told = super().act(tag)
        dataset = self.api.expect("GET", f"/v1/datasets/{tag}?wait=60", timeout=90).json
        if dataset["status"] != "ready":
            raise Failed(f"the dataset is {dataset['status']}: {dataset['error']}")
        return told


class Submit(Operation):
    name = "submit"

    def act(self, tag):
        return self.api.expect("POST", "/v1/jobs", spec(tag), headers={"idempotency-key": tag}).json["id"]

    def jobs(self, tag):
        return [job for job in self.api.every("/v1/jobs") if job["name"] == tag]

    def faults(self, tag, told):
        jobs = self.jobs(tag)
        faults = [f"{len(jobs)} jobs of one submission"] if len(jobs) > 1 or (told and not jobs) else []
        for job in jobs:
            if told not in (None, job["id"]):
                faults.append("it is a different job")
            ended = self.api.finished(job["id"], 120)
            if ended["status"] != "succeeded":
                faults.append(f"the job is {ended['status']}: {ended['error']}")
            elif self.api.get(f"/v1/models/{ended['model']}")["sha256"] != self.world.golden:
                faults.append("the model differs from the undisturbed one")
        return faults


class Publish(Submit):
    name = "training and publication"

    def act(self, tag):
        told = super().act(tag)
        ended = self.api.finished(told, 120)
        if ended["status"] != "succeeded":
            raise Failed(f"the job is {ended['status']}: {ended['error']}")
        return told


class Import(Operation):
    name = "import"

    def act(self, tag):
        return self.api.expect("PUT", f"/v1/models?name={tag}", self.world.bundle).json["id"]

    def faults(self, tag, told):
        models = [model for model in self.api.every("/v1/models") if model["name"] == tag]
        if len(models) > 1 or (told and [model["id"] for model in models] != [told]):
            return [f"{len(models)} models of one import"]
        for model in models:
            answer = self.api.ask("POST", f"/v1/models/{model['id']}/predict", images.png(0, 1))
            if not answer.ok:
                return [f"the imported model does not answer: {answer}"]
        return []


class Delete(Operation):
    name = "delete"

    def before(self, tag):
        self.api.upload(tag, Upload.archive(self, tag))

    def act(self, tag):
        answer = self.api.ask("DELETE", f"/v1/datasets/{tag}")
        if answer.status not in (204, 404):
            raise Failed(str(answer))
        return tag

    def faults(self, tag, told):
        answer = self.api.ask("GET", f"/v1/datasets/{tag}/archive")
        if told and answer.status != 404:
            return [f"the deleted dataset is {answer}"]
        return [] if answer.status in (200, 404) else [f"the dataset is {answer}"]


class Alias(Operation):
    name = "alias"

    def act(self, tag):
        return self.api.expect("PUT", f"/v1/aliases/{tag}", {"model": self.world.model}).json["name"]

    def faults(self, tag, told):
        answer = self.api.ask("GET", f"/v1/aliases/{tag}")
        return [f"the alias is {answer}"] if told and not answer.ok else []


class Export(Operation):
    name = "export"

    def before(self, tag):
        self.api.expect("PUT", f"/v1/models?name={tag}", self.world.bundle)

    def act(self, tag):
        return hashlib.sha256(self.api.expect("GET", f"/v1/models/{tag}/export?format=onnx").body).hexdigest()

    def faults(self, tag, told):
        first, second = self.act(tag), self.act(tag)
        return [] if first == second and told in (None, first) else ["exports of one model have other bytes"]


class Cancel(Operation):
    name = "cancel"

    def before(self, tag):
        self.job = self.api.expect("POST", "/v1/jobs", {**spec(tag), "epochs": 200}).json["id"]

    def act(self, tag):
        answer = self.api.ask("POST", f"/v1/jobs/{self.job}/cancel")
        if not answer.ok and answer.status != 409:
            raise Failed(str(answer))
        return self.job

    def faults(self, tag, told):
        if not told:
            return []
        ended = self.api.finished(self.job, 60)
        return [] if ended["status"] == "cancelled" else [f"the cancelled job is {ended['status']}"]


SERVERS = (Upload, Ingest, Submit, Publish, Import, Delete, Alias, Export, Cancel)
WORKERS = (Ingest, Publish, Import, Export)


class Trial:
    """An operation and the durable steps of one program, which is killed once at each of them."""

    def __init__(self, world, operation, steps, who, chosen):
        self.world, self.steps, self.who, self.chosen = world, steps, who, chosen
        self.operation = operation(world)
        self.deaths, self.faults, self.places = 0, [], {}

    def tag(self, number):
        return f"{self.operation.name.replace(' ', '-')}-{self.who}-{number}"

    def run(self):
        there_are = self.count()
        numbers = range(1, MOST_STEPS)
        if self.chosen.short:
            # The first step always exists; later ones may have been another process's.
            others = range(2, there_are + 1)
            numbers = [1, *sorted(self.chosen.random.sample(others, min(SHORT_STEPS - 1, len(others))))]
        for number in numbers:
            if not self.once(number):
                break
        else:
            if not self.chosen.short:
                self.faults.append(f"no pass in {MOST_STEPS} steps")

    def count(self):
        """Runs the operation undisturbed."""
        tag = self.tag("whole")
        self.operation.before(tag)
        self.steps.arm()
        self.operation.act(tag)
        return self.steps.disarm()

    def once(self, number):
        """Runs it with a crash at this step; False if the operation finished before it."""
        tag, told = self.tag(number), None
        self.operation.before(tag)
        self.steps.arm(number)
        try:
            told = self.operation.act(tag)
        except (*BROKEN, Failed):
            pass
        died = self.steps.disarm() >= number
        if died:
            self.deaths += 1
            place = self.steps.last()
            self.places[place] = self.places.get(place, 0) + 1
            self.after(number, place, tag, told)
        elif told is None:
            self.faults.append(f"step {number}: not done, although nothing crashed")
        return died

    def after(self, number, place, tag, told):
        def note(faults):
            self.faults += [f"step {number}, before {place}: {fault}" for fault in faults]

        try:
            if self.who == "server":
                self.world.server.process.wait(timeout=10)
                self.world.server.start()
                self.world.server.wait_devices()
            with Left(self.world.server.data) as left:
                note(left.dangling(hashed=False))
            if told is not None:
                note(self.operation.faults(tag, told))
            again = insist(self.operation, tag)
            note(self.operation.faults(tag, again))
        except (*BROKEN, Failed) as fault:
            note([f"the second try: {fault}"])
            if not self.world.running():
                self.world.server.start()


def insist(operation, tag, seconds=30):
    """The second try, which may be asked to retry while the crashed process is restarted."""
    end = time.monotonic() + seconds
    while True:
        try:
            return operation.act(tag)
        except Failed:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def run(argv):
    chosen = options.parse(options.parser(__doc__), argv)
    table = Table(f"A crash at {'some durable steps' if chosen.short else 'each durable step'}, seed {chosen.seed}", chosen.slack)
    with options.scratch(chosen) as folder:
        world = World(chosen, folder)
        with world.server:
            world.prepare()
            trials = [Trial(world, operation, world.of_server, "server", chosen) for operation in SERVERS]
            trials += [Trial(world, operation, world.of_workers, "worker", chosen) for operation in WORKERS]
            for trial in trials:
                trial.run()
                places = ", ".join(f"{place} {count}" for place, count in sorted(trial.places.items()))
                name = f"{trial.operation.name}: crashes of the {trial.who}"
                table.rows.append((name, str(trial.deaths), "> 0", "met" if trial.deaths else "MISSED"))
                table.met &= trial.deaths > 0
                table.rows.append(("  " + places, "", "", ""))
                table.none(f"{trial.operation.name}: faults after them", trial.faults)
            world.server.stop()
            with Left(world.server.data) as left:
                table.none("jobs that ended twice, or a broken event stream", left.streams())
                table.none("duplicate or missing models", left.models())
                table.none("rows that name a missing or damaged blob", left.dangling())
                table.none("database integrity errors", left.integrity())
    return table.show()


if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
