#!/usr/bin/env python3
"""kill -9 of the server and of its workers, at random moments and in the middle of checkpoints and publications, while clients keep working.

Clients submit, upload, import, cancel, delete and move an alias; each retries until it gets a response, as a careful client does. What was
acknowledged is compared with what exists at the end; every training job with the bits of an undisturbed one.

    python3 -B scripts/chaos/kills.py --seed 1 --kills 20
"""

import hashlib
import json
import signal
import sys
import threading
import time

from harness import images, options, processes
from harness.api import BROKEN, Api, Failed
from harness.left import Left, lies
from harness.server import Server
from harness.table import Table

KILLS, SHORT_KILLS = 200, 6
# Number of different training jobs, each also run undisturbed. All jobs with the same seed must give the same bits.
KINDS_OF_TRAINING = 3
UNFINISHED = 5
RUNNING_AGAIN_SECONDS = 5
ORPHAN_SECONDS = 5
AT_REST_SECONDS = 600
# A worker that dies while reading an archive is restarted twice, and a job waits 1, 5, 25 s: more kills would only take time.
DEATHS_OF_ONE = 2


def spec(seed, name, epochs):
    return {
        "dataset": "base",
        "name": name,
        "backbone": {"architecture": "resnet20"},
        "image": {"size": 32},
        "epochs": epochs,
        "batch_size": 8,
        "optimizer": {"lr": 0.01},
        "seed": seed,
        "max_attempts": 10,
    }


class World:
    """The server, what it has acknowledged, and what must follow from that."""

    def __init__(self, chosen, server):
        self.chosen, self.server, self.random = chosen, server, chosen.random
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.jobs, self.datasets, self.imports = {}, {}, {}  # name → what was acknowledged
        self.cancelled, self.deleted, self.alias = set(), set(), []
        self.answers, self.unexpected, self.clients = {}, [], []
        self.golden, self.bundle, self.epochs = {}, b"", 0

    def prepare(self):
        """The results of undisturbed training jobs, and a model to import repeatedly."""
        api = self.server.api
        api.upload("base", images.archive(0, 16))
        self.server.wait_devices()
        self.epochs = 6 if self.chosen.short else 25
        for seed in range(KINDS_OF_TRAINING):
            model = api.train(spec(seed, f"golden-{seed}", self.epochs))
            self.golden[seed] = model["sha256"]
        again = api.train(spec(0, "golden-0", self.epochs))
        if again["sha256"] != self.golden[0]:
            raise Failed("two undisturbed training jobs with the same spec differ: there is nothing to compare the disturbed ones with")
        self.models = [model["id"], again["id"]]
        self.bundle = api.expect("GET", f"/v1/models/{model['id']}/export?format=bundle").body

    def insist(self, *request, well=(), **more):
        """Retries until there is a final response, however often the server is killed meanwhile; None when time is up."""
        api = Api(self.server)
        while not self.over.is_set():
            try:
                answer = api.ask(*request, timeout=20, **more)
            except BROKEN:
                self.over.wait(0.05)
                continue
            with self.lock:
                key = (request[0], answer.status)
                self.answers[key] = self.answers.get(key, 0) + 1
            if answer.ok or answer.status in well:
                return answer
            if answer.status in (429, 503, 507):
                if "retry-after" not in answer.headers:
                    self.wrong(request, answer, "has no Retry-After")
            elif answer.status != 409:
                self.wrong(request, answer, "was not expected")
            self.over.wait(0.1)
        return None

    def wrong(self, request, answer, how):
        with self.lock:
            self.unexpected.append(f"{request[0]} {request[1].partition('?')[0]}: {answer} {how}")

    # What clients do, each in its own thread until the kills are over.

    def submitter(self, draws):
        number = 0
        while not self.over.is_set():
            if self.unfinished() >= UNFINISHED:
                self.over.wait(0.1)
                continue
            seed, name = draws.randrange(KINDS_OF_TRAINING), f"job-{number}"
            key = {"idempotency-key": f"kills-{self.chosen.seed}-{name}"}
            answer = self.insist("POST", "/v1/jobs", spec(seed, name, self.epochs), headers=key)
            if answer:
                self.jobs[name] = (answer.json["id"], seed)
                number += 1
                if draws.random() < 0.2:
                    self.cancel(draws, answer.json["id"])

    def cancel(self, draws, job):
        """Some immediately, some while they run."""
        self.over.wait(draws.random() * 3)
        answer = self.insist("POST", f"/v1/jobs/{job}/cancel", well=(409,))
        if answer and answer.ok:
            self.cancelled.add(job)

    def unfinished(self):
        answer = self.insist("GET", "/v1/jobs?limit=100")
        return sum(job["status"] in ("queued", "running") for job in answer.json["data"]) if answer else UNFINISHED

    def uploader(self, draws):
        number = 0
        while not self.over.is_set():
            name = f"set-{number}"
            archive = images.archive(1000 + 3 * number, 3)
            answer = self.insist("PUT", f"/v1/datasets?name={name}", archive)
            if not answer:
                return
            self.datasets[name] = (answer.json["id"], hashlib.sha256(archive).hexdigest())
            number += 1
            if number % 4 == 0:
                victim = f"set-{draws.randrange(number)}"
                # 404: an earlier try has already deleted it.
                if self.insist("DELETE", f"/v1/datasets/{victim}", well=(404,)):
                    self.deleted.add(victim)
            self.over.wait(draws.random() * 0.5)

    def importer(self, draws):
        number = 0
        while not self.over.is_set():
            name = f"import-{number}"
            answer = self.insist("PUT", f"/v1/models?name={name}", self.bundle, well=(500,))
            if not answer:
                return
            if answer.status == 500:
                self.wrong(("PUT", "/v1/models"), answer, "should be 503 with Retry-After")
                continue
            self.imports[name] = answer.json["id"]
            number += 1
            self.over.wait(draws.random())

    def promoter(self, draws):
        while not self.over.is_set():
            model = draws.choice(self.models)
            self.alias.append((model, False))
            if self.insist("PUT", "/v1/aliases/production", {"model": model}):
                self.alias[-1] = (model, True)
            self.over.wait(draws.random())

    def begin(self):
        for number, act in enumerate((self.submitter, self.uploader, self.importer, self.promoter)):
            draws = type(self.random)(self.chosen.seed * 10 + number)
            thread = threading.Thread(target=act, args=(draws,), daemon=True)
            thread.start()
            self.clients.append(thread)

    def end(self):
        self.over.set()
        for thread in self.clients:
            thread.join(timeout=60)


class Killer:
    """Kills processes and restarts the server."""

    def __init__(self, world, orphans):
        self.world, self.server, self.random, self.orphans = world, world.server, world.random, orphans
        self.starts, self.again, self.aimed = [], [], {}
        self.deaths, self.workers = {}, {}

    def wait_for_moment(self):
        """A random moment; every other time one inside a checkpoint, an upload or a publication, if there is one soon."""
        if self.random.random() < 0.5:
            time.sleep(self.random.random() * 2.5)
            return self.count("any")
        aim = self.random.choice(["checkpoint", "result", "blob"])
        looks = {
            "checkpoint": lambda: lies(self.server.data, "runs/*/*/checkpoint-*.partial"),
            "result": lambda: lies(self.server.data, "runs/*/*/result.json"),
            "blob": lambda: lies(self.server.data, "spool/*"),
        }
        end = time.monotonic() + 4
        while time.monotonic() < end:
            if looks[aim]():
                time.sleep(self.random.random() * 0.02)
                return self.count(aim)
            time.sleep(0.001)
        return self.count("any")

    def count(self, aim):
        self.aimed[aim] = self.aimed.get(aim, 0) + 1

    def kill_server(self):
        self.wait_for_moment()
        running = self.jobs("running")
        self.orphans.add(self.server.kill())
        began = time.monotonic()
        self.starts.append(self.server.start())
        if running and self.random.random() < 0.5:
            # Half of the time, because kills during recovery are of interest too.
            self.again.append(self.running_again(began, running))

    def jobs(self, status):
        try:
            return {job["id"] for job in self.server.api.get(f"/v1/jobs?limit=100&status={status}")["data"]}
        except (*BROKEN, Failed):
            return set()

    def running_again(self, began, before):
        """Seconds from the start until a job runs, or none of the earlier running jobs is left."""
        while time.monotonic() - began < 120:
            if self.jobs("running") or not before & self.jobs("queued"):
                break
            time.sleep(0.01)
        return time.monotonic() - began

    def kill_worker(self):
        """Kills one of the workers, at a random moment of its life; False if there was none to kill."""
        end = time.monotonic() + 10
        self.wait_for_moment()
        while time.monotonic() < end:
            ones = self.server.children()
            self.random.shuffle(ones)
            for one in ones:
                words = processes.command(one[0])
                work = processes.work(words)
                of, attempt = processes.run_dir(words).parts[-2:] if "--run-dir" in words else (work, "1")
                if not work or work == "devices" or (work != "predict" and self.deaths.get(of, 0) >= DEATHS_OF_ONE):
                    continue
                # The server's own deaths count as well: reading an archive is given up at the third death.
                if work == "ingest" and int(attempt) > DEATHS_OF_ONE:
                    continue
                if processes.send(one, signal.SIGKILL):
                    self.deaths[of] = self.deaths.get(of, 0) + (of != "runs")
                    self.workers[work] = self.workers.get(work, 0) + 1
                    return True
            time.sleep(0.005)
        return False


def run(argv):
    options_ = options.parser(__doc__)
    options_.add_argument("--kills", type=int, help=f"of the server, and the same number of workers; {KILLS} by default")
    chosen = options.parse(options_, argv)
    kills = chosen.kills or (SHORT_KILLS if chosen.short else KILLS)
    table = Table(f"kill -9, {kills} of the server and {kills} of workers, seed {chosen.seed}", chosen.slack)
    with options.scratch(chosen) as folder, Server(chosen, folder) as server:
        server.start()
        world = World(chosen, server)
        world.prepare()
        orphans = processes.Orphans(ORPHAN_SECONDS * chosen.slack)
        killer = Killer(world, orphans)
        world.begin()
        of_server = of_workers = tries = 0
        turns = [True] * kills + [False] * kills
        chosen.random.shuffle(turns)
        for server_next in turns:
            if server_next:
                killer.kill_server()
                of_server += 1
            else:
                tries += 1
                of_workers += killer.kill_worker()
        time.sleep(0.5)
        world.end()
        rested = at_rest(server)
        orphans.stop()
        server.stop()
        tell(table, chosen, world, killer, orphans, of_server, of_workers)
        table.none("unfinished jobs and datasets", rested)
        look(table, world)
    return table.show()


def at_rest(server):
    """Waits until all work is done; returns what is not."""
    api = server.api
    end = time.monotonic() + AT_REST_SECONDS
    while time.monotonic() < end:
        jobs = [job["id"] for job in api.every("/v1/jobs") if job["status"] in ("queued", "running")]
        datasets = [one["name"] for one in api.every("/v1/datasets") if one["status"] == "processing"]
        if not jobs and not datasets:
            return []
        time.sleep(0.2)
    return jobs + datasets


def tell(table, chosen, world, killer, orphans, of_server, of_workers):
    table.count("kills of the server", of_server)
    table.count("kills of workers", of_workers)
    aims = ", ".join(f"{name} {count}" for name, count in sorted(killer.aimed.items()))
    works = ", ".join(f"{name} {count}" for name, count in sorted(killer.workers.items()))
    table.rows.append(("moments", aims, "", ""))
    table.rows.append(("workers killed", works, "", ""))
    table.count("acknowledged jobs", len(world.jobs))
    table.count("acknowledged datasets", len(world.datasets))
    table.count("acknowledged imports", len(world.imports))
    table.count("acknowledged cancels and deletes", len(world.cancelled) + len(world.deleted))
    table.within("start to ready", killer.starts, 5)
    if killer.again:
        table.within("start to a job running again", killer.again, RUNNING_AGAIN_SECONDS)
    table.none(f"orphans after {ORPHAN_SECONDS * chosen.slack:g} s", orphans.left + late(orphans))
    table.none("unexpected responses", sorted(set(world.unexpected)))


def late(orphans):
    return [f"one for {seconds:.1f} s" for seconds in orphans.lasted if seconds > orphans.limit + 0.5]


def look(table, world):
    """Compares what exists with what was acknowledged."""
    with Left(world.server.data) as left:
        jobs = {row["name"]: row for row in left.rows("select * from jobs where name like 'job-%'")}
        counts = {name: count for name, count in left.rows("select name, count(*) from jobs group by name")}
        datasets = {row["name"]: row for row in left.rows("select * from datasets")}
        models = {row["id"]: row for row in left.rows("select * from models")}
        lost = [f"job {name}" for name, (job, _) in world.jobs.items() if name not in jobs or jobs[name]["id"] != job]
        lost += [
            f"dataset {name}"
            for name, (dataset, sha256) in world.datasets.items()
            if name not in world.deleted
            and (name not in datasets or (datasets[name]["id"], datasets[name]["sha256"]) != (dataset, sha256))
        ]
        lost += [f"model {name}" for name, model in world.imports.items() if model not in models]
        lost += [f"the deletion of {name}" for name in world.deleted if name in datasets]
        lost += [
            f"the cancel of {row['name']}, which is {row['status']}"
            for row in jobs.values()
            if row["id"] in world.cancelled and row["status"] != "cancelled"
        ]
        lost += alias_lost(left, world)
        table.none("acknowledged but lost", lost)
        table.none("jobs that ended twice, or a broken event stream", left.streams())
        twice = [f"{name} was submitted {count} times" for name, count in counts.items() if count > 1 and name != "golden-0"]
        imported = left.rows("select name, count(*) as made from models where source = 'imported' group by name")
        twice += [f"{row['name']} was imported {row['made']} times" for row in imported if row["made"] > 1]
        table.none("duplicates", twice + left.models())
        failed = [f"{row['name']}: {row['error']}" for row in jobs.values() if row["status"] == "failed"]
        failed += [f"{row['name']}: {row['error']}" for row in datasets.values() if row["status"] == "failed"]
        table.none("jobs and datasets that failed", failed)
        trained = [row for row in models.values() if row["name"].startswith("job-")]
        seeds = {name: seed for name, (_, seed) in world.jobs.items()}
        # A job whose acknowledgement was lost at the last moment is identified by its spec.
        seed = lambda name: seeds.get(name, json.loads(jobs[name]["spec"])["seed"])  # noqa: E731
        other = [row["name"] for row in trained if row["sha256"] != world.golden[seed(row["name"])]]
        table.all("training jobs with the golden bits", len(trained) - len(other), len(trained), other)
        resumed = sum(jobs[row["name"]]["attempt"] > 1 for row in trained)
        table.count("of these, in more than one attempt", resumed)
        table.none("database integrity errors", left.integrity())
        table.none("rows that name a missing or damaged blob", left.dangling())


def alias_lost(left, world):
    """The alias names the last acknowledged model, or one that was requested after that without a response."""
    acknowledged = [place for place, (_, told) in enumerate(world.alias) if told]
    if not acknowledged:
        return []
    allowed = {model for model, _ in world.alias[acknowledged[-1] :]}
    found = {row["model_id"] for row in left.rows("select model_id from aliases where name = 'production'")}
    return [] if found and found <= allowed else [f"the alias, which names {found}"]



if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
