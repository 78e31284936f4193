#!/usr/bin/env python3
"""Corrupt data is never used silently: one bit is flipped at random positions of every kind of file that the server keeps, and everything that
reads the file is exercised.

For each position the data directory of a stopped server is copied, one bit of one file is flipped (keeping the file's timestamps, as on a
disk that loses a bit), a server is started on the copy, and everything that depends on the file is requested. The outcome is one of:

  refused     500 `data-damaged`, a job or a dataset that failed with `data_damaged`, or a row of a batch prediction that says so
  made again  the right response, bit for bit, and a warning, or an intact file in place of the damaged one
  harmless    the right response, bit for bit: nothing that was requested needs the bit
  other error an error that does not report damage
  SILENT      a wrong response. With either of the last two the exit status is 1.

Thumbnails and previews cannot warn: an image that was made again for them counts as harmless.

Everything random depends on the seed. Only loopback is used.
"""

import argparse
import collections
import contextlib
import hashlib
import http.client
import http.server
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = 20
PLACES_SHORT = 2
PATIENCE = 240
OF_EACH_CLASS = 20
REFUSED, AGAIN, HARMLESS, OTHER, SILENT = ENDS = "refused", "made again", "harmless", "other error", "SILENT"
SMALL = {"architecture": "resnet20", "weights": "none"}
# 256 pixels, as ingest packs them, and a frozen backbone, whose activations are kept.
WIDE = {"backbone": {"architecture": "resnet20", "weights": "net"}, "image": {"size": 256}, "freeze": "backbone", "batch_size": 64}


def main(argv):
    options = parsed(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="integrity-", dir=options.folder) as folder, Hub() as hub:
        stage = Stage(options, Path(folder), hub)
        rows = [(kind, tried(stage, kind, options)) for kind in KINDS if not options.kinds or kind.name in options.kinds]
    print(f"A flipped bit, seed {options.seed}, {time.monotonic() - began:.0f} s\n")
    print(f"  {'kind':<24}{'places':>7}" + "".join(f"{end:>13}" for end in ENDS) + "  requested")
    for kind, found in rows:
        ends = collections.Counter(end for end, _ in found)
        counts = "".join(f"{ends[end]:>13}" for end in ENDS)
        uses = ", ".join(dict.fromkeys(use for _, use in found))
        print(f"  {kind.name:<24}{len(found):>7}{counts}  {uses}")
    ends = collections.Counter(end for _, found in rows for end, _ in found)
    print(f"\n{ends.total()} flipped bits, {ends[SILENT]} used silently, {ends[OTHER]} with another error", flush=True)
    return 1 if ends[SILENT] or ends[OTHER] else 0


def parsed(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=Path, default=ROOT / "target/release/finetuned")
    parser.add_argument("--worker", type=Path, default=ROOT / "target/release/finetuned-worker")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--places", type=int, help=f"of every kind; {PLACES} by default, with --short {PLACES_SHORT}")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--folder", type=Path, help="temporary folder, removed at the end; the system's by default")
    parser.add_argument("--kind", dest="kinds", action="append", choices=[kind.name for kind in KINDS], help="only this one")
    parser.add_argument("--slack", type=float, default=1, help="factor for every time limit")
    parser.add_argument("--keep", action="store_true", help="accepted for consistency with the other scenarios")
    options = parser.parse_args(argv)
    options.places = options.places or (PLACES_SHORT if options.short else PLACES)
    options.server, options.worker = options.server.resolve(), options.worker.resolve()
    return options


def tried(stage, kind, options):
    """[(outcome, use)], one for each position."""
    draws = random.Random(f"{options.seed} {kind.name}")
    ground = stage.ground(kind.ground)
    uses = kind.uses(ground)
    found = []
    for number in range(options.places):
        use = uses[number % len(uses)]
        path = draws.choice(ground.files(kind.name))
        end, why = stage.ask(ground, use, Flip(path, draws.random(), draws.randrange(8)))
        found.append((end, use.name))
        if end in (OTHER, SILENT):
            print(f"{kind.name}, {use.name}, {path}, place {number}: {why}", flush=True)
    return found


class Flip:
    """A bit of a file: `place` is its position as a share of the file's length."""

    def __init__(self, path, place, bit):
        self.path, self.place, self.bit = path, place, bit

    def carry_out(self, data_dir):
        path = data_dir / self.path
        about = path.stat()
        with open(path, "r+b") as file:
            place = int(self.place * about.st_size)
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ (1 << self.bit)]))
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


Use = collections.namedtuple("Use", "name act")
Kind = collections.namedtuple("Kind", "name ground uses")


class Refused(Exception):
    """The server reports the damage."""


class Unexpected(Exception):
    """Neither a report of damage nor a response."""


class Ground:
    """A data directory to copy, its contents, and the response of every use on the intact one."""

    def __init__(self, data_dir, about, flags=()):
        self.data_dir, self.about, self.flags = data_dir, about, flags
        self.expected = {}

    def row(self, query):
        with contextlib.closing(sqlite3.connect(f"file:{self.data_dir}/finetuned.db?mode=ro", uri=True)) as database:
            return [row[0] for row in database.execute(query) if row[0]]

    def blobs(self, query):
        return [Path("blobs") / digest[:2] / digest for digest in self.row(query)]

    def files(self, kind):
        found = WHERE[kind](self)
        found = sorted(path for path in found if (self.data_dir / path).is_file())
        if not found:
            raise RuntimeError(f"there is no file of kind `{kind}` to flip a bit of")
        return found


WHERE = {
    "model weights": lambda ground: ground.blobs("select sha256 from models where name = 'net'"),
    "model card": lambda ground: ground.blobs("select card_blob from models where name = 'net'"),
    "fetched base weights": lambda ground: map(ground.relative, (ground.data_dir / "weights").rglob("model.safetensors")),
    "checkpoint": lambda ground: [max(ground.checkpoints(), key=lambda path: int(path.stem.partition("-")[2]))],
    "manifest": lambda ground: ground.blobs("select manifest_blob from dataset_versions"),
    "originals": lambda ground: ground.blobs("select images_blob from segments"),
    "pack of ingest": lambda ground: ground.blobs("select pack_blob from segments"),
    "pack of a job": lambda ground: ground.blobs("select blob from packs where side = 32"),
    "activations": lambda ground: ground.blobs("select blob from activations"),
    "evaluation": lambda ground: ground.blobs("select evaluation_blob from models where name = 'net'"),
    "result of a job": lambda ground: ground.blobs("select result_blob from jobs where kind in ('evaluate', 'lr_find')"),
    "batch predictions": lambda ground: ground.blobs(
        "select result_blob from jobs where kind = 'batch-predict' union select csv_blob from jobs"
    ),
    "report": lambda ground: ground.blobs("select report_blob from datasets"),
    "archive": lambda ground: ground.blobs("select sha256 from datasets"),
    "kept export": lambda ground: map(ground.relative, (ground.data_dir / "exports").glob("*/*")),
    "kept thumbnails": lambda ground: map(ground.relative, (ground.data_dir / "thumbnails").glob("*/*")),
}
Ground.relative = lambda ground, path: path.relative_to(ground.data_dir)
Ground.checkpoints = lambda ground: [
    ground.relative(path) for path in (ground.data_dir / "runs").rglob("checkpoint-*.safetensors")
]


class Stage:
    """Prepares the data directories, each once, and runs a use on a copy with a flipped bit."""

    def __init__(self, options, folder, hub):
        self.options, self.folder, self.hub = options, folder, hub
        self.grounds = {}

    def ground(self, name):
        if name not in self.grounds:
            data_dir = self.folder / name
            self.grounds[name] = GROUNDS[name](self, data_dir)
        return self.grounds[name]

    def server(self, data_dir, *flags):
        return Server(self.options, data_dir, *flags)

    def ask(self, ground, use, flip):
        # Uses with the same name differ between kinds.
        if use.act not in ground.expected:
            ground.expected[use.act], _, _ = self.play(ground, use, None)
        expected = ground.expected[use.act]
        try:
            answer, warned, replaced = self.play(ground, use, flip)
        except Refused:
            return REFUSED, ""
        except Unexpected as error:
            return OTHER, str(error)
        if use.name.startswith("rows") and answer != expected:
            # Rows of damaged images report it, and the others are as expected.
            differing = [row for row, right in zip(answer, expected) if row != right]
            if len(answer) == len(expected) and all(row[-1] == "data_damaged" for row in differing):
                return REFUSED, ""
        if answer != expected:
            return SILENT, f"the response is {str(answer)[:300]}, expected {str(expected)[:300]}"
        return (AGAIN if warned or replaced else HARMLESS), ""

    def play(self, ground, use, flip):
        """(the response, whether a job warned of damage, whether the damaged file is gone or intact again)"""
        data_dir = self.folder / "copy"
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.copytree(ground.data_dir, data_dir, symlinks=True)
        if flip:
            flip.carry_out(data_dir)
            damaged = digest(data_dir / flip.path)
        with self.server(data_dir, *ground.flags) as server:
            answer = use.act(server, ground.about)
            warned = server.warned()
        replaced = flip is not None and digest(data_dir / flip.path) != damaged
        return answer, warned, replaced


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


class Server:
    def __init__(self, options, data_dir, *flags):
        self.patience = PATIENCE * options.slack
        command = [options.server, "serve", "--listen", "127.0.0.1:0", "--min-free-bytes", "0", "--data-dir", data_dir, *flags]
        environment = {**os.environ, "FINETUNED_WORKER": str(options.worker), "FINETUNED_TRAIN_THREADS": "1"}
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment, start_new_session=True
        )
        self.jobs = []
        try:
            self.port = self.listening_port()
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def listening_port(self):
        for line in self.process.stdout:
            address = line.partition("listening on http://")[2].strip()
            if address:
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return int(address.rstrip("/").rpartition(":")[2])
        raise RuntimeError(f"the server did not start: {self.said()}")

    def wait_ready(self):
        end = time.monotonic() + self.patience
        while self.ask("GET", "/readyz")[0] != 200:
            if time.monotonic() > end:
                raise RuntimeError("the server did not become ready")
            time.sleep(0.02)

    def said(self):
        self.log.seek(0)
        return self.log.read()[-4000:]

    def ask(self, method, path, body=None, headers=None):
        """(status, body). A truncated body does not count as a response: the status is 0."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience)
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body, headers = json.dumps(body).encode(), {"content-type": "application/json", **headers}
        try:
            connection.request(method, path, body, headers)
            try:
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (http.client.IncompleteRead, ConnectionError):
                return 0, b""
        finally:
            connection.close()

    def get(self, path, headers=None):
        return self.right(*self.ask("GET", path, headers=headers))

    def right(self, status, body):
        """The body of a success; a report of damage is raised as `Refused`."""
        if status // 100 == 2:
            return body
        if status == 0:
            raise Refused
        problem = json.loads(body)
        if status == 500 and problem["type"] == "urn:finetuned:problem:data-damaged":
            leaves_no_path(problem["detail"])
            raise Refused
        raise Unexpected(f"{status} {body.decode()}; the server said: {self.said()}")

    def json(self, method, path, body=None):
        return json.loads(self.right(*self.ask(method, path, body)))

    def submitted(self, spec):
        job = self.json("POST", "/v1/jobs", spec)
        self.jobs.append(job["id"])
        return job

    def finished(self, job):
        """A job that succeeded."""
        if job["id"] not in self.jobs:
            self.jobs.append(job["id"])
        end = time.monotonic() + self.patience
        while job["status"] in ("queued", "running") and time.monotonic() < end:
            job = self.json("GET", f"/v1/jobs/{job['id']}?wait=60")
        if job["status"] == "failed" and job["error"]["code"] == "data_damaged":
            leaves_no_path(job["error"]["message"])
            if job["attempt"] != 1:
                raise Unexpected(f"a job on damaged data was tried {job['attempt']} times")
            raise Refused
        if job["status"] != "succeeded":
            raise Unexpected(f"{job}; the server said: {self.said()}")
        return job

    def done(self, spec):
        return self.finished(self.submitted(spec))

    def warned(self):
        """Whether a job of this server warned of damage."""
        kinds = ("weights_damaged", "checkpoint_damaged", "pack_damaged", "activations_damaged")
        for job in self.jobs:
            events = self.json("GET", f"/v1/jobs/{job}/events?limit=1000")["data"]
            if any(event["kind"] == "warning" and event["data"]["code"] in kinds for event in events):
                return True
        return False

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def leaves_no_path(text):
    if "/blobs/" in text or "/tmp/" in text:
        raise Unexpected(f"a server path in a message to a client: {text}")


class Hub:
    """A Hugging Face-like hub that serves the same file for every request."""

    def __enter__(self):
        hub = self
        self.weights = b""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", str(len(hub.weights)))
                self.send_header("x-linked-etag", f'"{hashlib.sha256(hub.weights).hexdigest()}"')
                self.end_headers()
                self.wfile.write(hub.weights)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


# ── the data directories ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def drawn(stage):
    """Some images of each class of the program's sample dataset."""
    archive = stage.folder / "some.zip"
    if not archive.exists():
        whole = stage.folder / "drawn.zip"
        command = [stage.options.worker, "sample-dataset", whole, "--seed", str(stage.options.seed)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(archive, "w") as some:
            for name in sorted(source.namelist()):
                if int(Path(name).stem) < OF_EACH_CLASS:
                    some.writestr(zipfile.ZipInfo(name), source.read(name))
    return archive.read_bytes()


def upload(server, name, archive):
    server.json("PUT", f"/v1/datasets?name={name}", archive)
    dataset = server.json("GET", f"/v1/datasets/{name}?wait=240")
    if dataset["status"] == "failed" and dataset["error"]["code"] == "data_damaged":
        raise Refused
    if dataset["status"] != "ready":
        raise RuntimeError(dataset)
    return dataset


def training(name, **fields):
    spec = {"dataset": "drawn", "name": name, "backbone": SMALL, "image": {"size": 32}, "epochs": 1, "batch_size": 32}
    return {**spec, **fields}


def everything(stage, data_dir):
    """A server that has done a bit of everything. `net` is a small network for 32 pixels, `wide` one for 256, the size that ingest packs."""
    with stage.server(data_dir, "--offline") as server:
        upload(server, "drawn", drawn(stage))
        server.done(training("net"))
        server.done(training("wide", **WIDE))
        server.done({"kind": "evaluate", "model": "net", "dataset": "drawn", "split": "all"})
        server.done({**training("rate"), "kind": "lr_find", "lr_find": {"steps": 20}})
        rows = server.done({"kind": "batch-predict", "model": "net", "dataset": "drawn"})
        server.get("/v1/models/net/export?format=onnx")
        server.get("/v1/datasets/drawn/images/0?size=96")
        about = {"rows": rows["id"], "image": sample_image(stage)}
    return Ground(data_dir, about, ("--offline",))


def sample_image(stage):
    with zipfile.ZipFile(io.BytesIO(drawn(stage))) as archive:
        return archive.read(sorted(archive.namelist())[0])


def bare(stage, data_dir):
    """Like `everything`, but with nothing packed at the network's size and no caches, so that the originals are read."""
    before = stage.ground("everything")
    shutil.copytree(before.data_dir, data_dir)
    shutil.rmtree(data_dir / "exports", ignore_errors=True)
    shutil.rmtree(data_dir / "thumbnails", ignore_errors=True)
    return Ground(data_dir, before.about, before.flags)


def interrupted(stage, data_dir):
    """A job that was killed after it had written checkpoints."""
    server = stage.server(data_dir, "--offline")
    try:
        upload(server, "drawn", drawn(stage))
        job = server.submitted(training("net", epochs=30))
        end = time.monotonic() + server.patience
        seen = 0
        while seen < 2 and time.monotonic() < end:
            events = server.json("GET", f"/v1/jobs/{job['id']}/events?limit=1000")["data"]
            seen = sum(event["kind"] == "checkpoint" for event in events)
            time.sleep(0.05)
    finally:
        server.kill()
    status = json.dumps(seen)
    if seen < 2:
        raise RuntimeError(f"the job wrote {status} checkpoints")
    orphans_are_gone(data_dir)
    return Ground(data_dir, {"job": job["id"]}, ("--offline",))


def orphans_are_gone(data_dir):
    """A killed server's children exit by themselves, and may write until then."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not any(str(data_dir) in command for command in commands()):
            return
        time.sleep(0.1)
    raise RuntimeError("a child of a killed server does not exit")


def commands():
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield process.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def unread(stage, data_dir):
    """A server that was killed after it had received an archive and before it had read it."""
    server = stage.server(data_dir, "--offline")
    try:
        server.json("PUT", "/v1/datasets?name=drawn", drawn(stage))
    finally:
        server.kill()
    orphans_are_gone(data_dir)
    ground = Ground(data_dir, {}, ("--offline",))
    if ground.row("select status from datasets") != ["processing"]:
        raise RuntimeError("the archive was read before the server could be killed")
    return ground


def fetched(stage, data_dir):
    """Base weights from a hub: those of a model that another server trained."""
    spec = training("drawn", backbone={"architecture": "resnet18", "weights": "none"})
    with stage.server(stage.folder / "weights-of-hub", "--offline") as server:
        upload(server, "drawn", drawn(stage))
        server.done(spec)
        stage.hub.weights = server.get("/v1/models/drawn/export?format=safetensors")
    flags = ("--hub-endpoint", stage.hub.endpoint)
    with stage.server(data_dir, *flags) as server:
        upload(server, "drawn", drawn(stage))
        server.done(fine_tuned("first"))
    return Ground(data_dir, {}, flags)


def fine_tuned(name):
    return training(name, backbone={"architecture": "resnet18", "weights": "imagenet"}, freeze="backbone")


GROUNDS = {"everything": everything, "bare": bare, "interrupted": interrupted, "unread": unread, "fetched": fetched}


# ── the uses ────────────────────────────────────────────────────────────────────────────────────────────────────────


def weights_of(server, job):
    return server.json("GET", f"/v1/models/{job['model']}")["sha256"]


def train(**fields):
    return lambda server, about: weights_of(server, server.done(training("more", **fields)))


def predict(server, about):
    answer = server.json("PUT", "/v1/models/net/predict", about["image"])
    return answer["predictions"]


def embed(server, about):
    return server.json("PUT", "/v1/models/net/embeddings", about["image"])["embedding"]


def explain(server, about):
    return server.right(*server.ask("PUT", "/v1/models/net/explain", about["image"]))


def export(name):
    return lambda server, about: digest_of(server.get(f"/v1/models/net/export?format={name}"))


def digest_of(body):
    return hashlib.sha256(body).hexdigest()


def evaluate(server, about):
    job = server.done({"kind": "evaluate", "model": "net", "dataset": "drawn", "split": "val"})
    return server.json("GET", f"/v1/jobs/{job['id']}/evaluation")


def predict_all(model):
    def act(server, about):
        job = server.done({"kind": "batch-predict", "model": model, "dataset": "drawn"})
        lines = server.get(f"/v1/jobs/{job['id']}/predictions").splitlines()
        rows = [json.loads(line) for line in lines]
        return [(row["image"], json.dumps(row.get("predictions")), (row.get("error") or {}).get("code")) for row in rows]

    return act


def promote(server, about):
    server.json("PUT", "/v1/aliases/production", {"model": "net"})
    return "promoted"


def fetch(path):
    return lambda server, about: digest_of(server.get(path.format(**about)))


def fetch_part(path):
    return lambda server, about: digest_of(server.get(path.format(**about), {"range": "bytes=100-299"}))


def relabel(server, about):
    """Relabels an image; the images of the next version, as listed."""
    server.json("PATCH", "/v1/datasets/drawn/images/3", {"class": "other"})
    return all_images(server, about)


def all_images(server, about):
    images, after = [], ""
    while True:
        page = server.json("GET", f"/v1/datasets/drawn/images?limit=100{after}")
        images += page["data"]
        if not page["has_more"]:
            return images
        after = f"&after={page['data'][-1]['id']}"


def some_thumbnails(server, about):
    return [digest_of(server.get(f"/v1/datasets/drawn/images/{image}?size=96")) for image in (0, 17, 40, 79)]


def resume(server, about):
    job = server.json("GET", f"/v1/jobs/{about['job']}")
    return weights_of(server, server.finished(job))


def wait_until_read(server, about):
    dataset = server.json("GET", "/v1/datasets/drawn?wait=240")
    if dataset["status"] == "failed" and dataset["error"]["code"] == "data_damaged":
        leaves_no_path(dataset["error"]["message"])
        raise Refused
    return dataset["status"], dataset["images"], dataset["content_sha256"]


def preview(server, about):
    body = {"images": 8, "views": 1, "image": {"size": 256}}
    return digest_of(server.right(*server.ask("POST", "/v1/datasets/drawn/preview", body)))


def report(server, about):
    return server.json("GET", "/v1/datasets/drawn/report?limit=1000")


def uses(*some):
    return lambda ground: [Use(name, act) for name, act in some]


ANSWERS = (("predict", predict), ("embeddings", embed), ("explain", explain), ("alias", promote))
KINDS = [
    Kind(
        "model weights",
        "bare",
        uses(
            ("train from it", train(backbone={"architecture": "resnet20", "weights": "net"})),
            *ANSWERS,
            ("evaluate", evaluate),
            ("rows", predict_all("net")),
            *((f"export {name}", export(name)) for name in ("safetensors", "bundle", "onnx", "torchscript")),
        ),
    ),
    Kind(
        "model card",
        "bare",
        uses(*ANSWERS, ("evaluate", evaluate), ("rows", predict_all("net")), ("export bundle", export("bundle")), ("export onnx", export("onnx"))),
    ),
    Kind("fetched base weights", "fetched", uses(("train from them", lambda server, about: weights_of(server, server.done(fine_tuned("second")))))),
    Kind("checkpoint", "interrupted", uses(("resume", resume))),
    Kind(
        "manifest",
        "bare",
        uses(
            ("images", all_images),
            ("relabel", relabel),
            ("archive", fetch("/v1/datasets/drawn/archive")),
            ("train", train(epochs=1)),
            ("rows", predict_all("net")),
            ("evaluate", evaluate),
            ("thumbnails", some_thumbnails),
            ("preview", preview),
        ),
    ),
    Kind(
        "originals",
        "bare",
        uses(
            ("archive", fetch("/v1/datasets/drawn/archive")),
            ("train at another size", train(image={"size": 40})),
            ("rows", predict_all("net")),
        ),
    ),
    Kind(
        "pack of ingest",
        "bare",
        uses(
            ("train", train(**WIDE, augment={"horizontal_flip": True})),
            ("rows", predict_all("wide")),
            ("thumbnails", some_thumbnails),
            ("preview", preview),
        ),
    ),
    Kind("pack of a job", "everything", uses(("train", train()), ("evaluate", evaluate))),
    Kind("activations", "everything", uses(("train", train(**WIDE, optimizer={"lr": 0.01})))),
    Kind("evaluation", "everything", uses(("evaluation", fetch("/v1/models/net/evaluation")))),
    Kind(
        "result of a job",
        "everything",
        uses(("results", lambda server, about: [server.json("GET", f"/v1/jobs/{job}/{what}") for job, what in found_by(server)])),
    ),
    Kind(
        "batch predictions",
        "everything",
        uses(
            *(
                (f"{form}{part}", act(f"/v1/jobs/{{rows}}/predictions?format={form}"))
                for form in ("jsonl", "csv")
                for part, act in (("", fetch), (" part", fetch_part))
            )
        ),
    ),
    Kind("report", "everything", uses(("report", report))),
    Kind("archive", "unread", uses(("read it", wait_until_read))),
    Kind("kept export", "everything", uses(("export onnx", export("onnx")))),
    Kind("kept thumbnails", "everything", uses(("thumbnails", some_thumbnails))),
]


def found_by(server):
    jobs = server.json("GET", "/v1/jobs?limit=100")["data"]
    ways = {"evaluate": "evaluation", "lr_find": "lr_find"}
    return sorted((job["id"], ways[job["kind"]]) for job in jobs if job["kind"] in ways)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
