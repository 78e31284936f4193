#!/usr/bin/env python3
"""Training against PyTorch: the same job as a plain loop and as a tuned one (`peers/loop.py`), whole, start to finished model.

One run, one machine, the same initial weights, ResNet-18 at 224 pixels, batches of 32. The pictures are those of hymenoptera
(`FINETUNED_BENCH_DATA`, by default `../shared/data/hymenoptera.zip` beside the repository), or else drawn ones. A peer's time is
that of its process; ours is from the submission of the job to its model being published, by a server that is up, as it would be. What
the server did before, once for the dataset, is in the table as well. Where everything learns and nothing is kept from one job to the
next, each is measured several times, in turns, and the fastest counts: a machine that is busy for a while shall not decide.
"""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from measure import pytorch
from measure.memory import Peak
from measure.server import FINETUNED, Server, scratch
from measure.table import Table

HERE = Path(__file__).resolve().parent
MB = 1e6
# What learns, epochs, our `freeze`, and how many times faster than the plain and the tuned loop we mean to be.
JOBS = {
    "head only, 10 epochs": ("head", 10, "backbone", 10, 7),
    "layer4 and head, 10 epochs": ("layer4", 10, {"until": "layer3"}, 3, 2),
    "everything, 3 epochs": ("all", 3, "none", 1.3, 1.05),
}
AGAIN = "head only, 10 epochs, another rate"
AGAIN_TARGETS = (40, 28)
MEMORY_TARGET = 0.7
ROUNDS_OF_EVERYTHING = 3


def main():
    python = pytorch.python()
    table = Table("Training, ResNet-18 at 224 px")
    with scratch() as folder:
        folder = Path(folder)
        archive = pictures(folder)
        data = unpacked(archive, folder)
        weights = folder / "weights"
        weights.mkdir()
        make_weights(python, weights, len(list((data / "train").iterdir())))
        with Server(folder, "--weights-dir", weights) as server:
            table.note("reading the dataset, once", ingest(server, archive), "s")
            import_weights(server, weights / "init.safetensors", data)
            for name, (learns, epochs, freeze, *targets) in JOBS.items():
                rounds = []
                for _ in range(ROUNDS_OF_EVERYTHING if learns == "all" else 1):
                    ours = train(server, freeze, epochs, 0.001)
                    again = train(server, freeze, epochs, 0.003) if learns == "head" else None
                    plain, tuned = (peer(python, data, weights, folder, learns, epochs, tuned) for tuned in (False, True))
                    rounds.append((ours, plain, tuned))
                ours, *peers = (min(runs, key=lambda run: run["seconds"]) for runs in zip(*rounds))
                compare(table, name, ours, peers, targets)
                if again:
                    for kind, theirs, target in zip(("plain", "tuned"), peers, AGAIN_TARGETS):
                        table.at_least(f"{AGAIN}: {kind} / ours", theirs["seconds"] / again["seconds"], target, "x")
                    table.note(f"{AGAIN}: ours", again["seconds"], "s")
    table.show()
    sys.exit(0 if table.met else 1)


def compare(table, name, ours, peers, targets):
    for kind, theirs, target in zip(("plain", "tuned"), peers, targets):
        table.at_least(f"{name}: {kind} / ours", theirs["seconds"] / ours["seconds"], target, "x")
    for kind, theirs in zip(("plain", "tuned"), peers):
        table.at_most(f"{name}: peak memory, ours / {kind}", ours["peak"] / theirs["peak"], MEMORY_TARGET, "x")
    table.note(f"{name}: ours, plain, tuned", tuple(run["seconds"] for run in (ours, *peers)), "s")
    table.note(f"{name}: memory of ours, plain, tuned", tuple(run["peak"] / MB for run in (ours, *peers)), "MB")
    # The tuned loop takes the same pictures in the same order: what differs is rounding, and what rounding grows into.
    apart = [abs(a - b) * peers[1]["val_images"] for a, b in zip(ours["val_accuracy"], peers[1]["val_accuracy"])]
    if "everything" in name:
        table.note(f"{name}: validation images apart from tuned, last epoch", apart[-1], "")
    else:
        table.at_most(f"{name}: validation images apart from tuned, largest of the epochs", max(apart), 1, "")


def pictures(folder):
    asked = os.environ.get("FINETUNED_BENCH_DATA")
    archive = Path(asked) if asked else HERE.parent.parent / "shared/data/hymenoptera.zip"
    if archive.exists():
        return archive
    drawn = folder / "drawn.zip"
    subprocess.run([FINETUNED, "sample-dataset", drawn], check=True, stdout=subprocess.DEVNULL)
    return with_splits(drawn, folder / "split.zip")


def with_splits(archive, out):
    """`CLASS/FILE` as `train/CLASS/FILE`, every fifth as `val/CLASS/FILE`: a loop of PyTorch's does not split by itself."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(out, "w") as target:
        for number, name in enumerate(sorted(source.namelist())):
            target.writestr(f"{'val' if number % 5 == 0 else 'train'}/{name}", source.read(name))
    return out


def unpacked(archive, folder):
    data = folder / "data-of-peers"
    with zipfile.ZipFile(archive) as files:
        files.extractall(data)
    return data


def make_weights(python, folder, classes):
    """The same random ResNet-18, head included, as both sides read it."""
    make = (
        "import sys, torch, torchvision; from safetensors.torch import save_file; torch.manual_seed(1);"
        "state = torchvision.models.resnet18(num_classes=int(sys.argv[2])).state_dict();"
        "torch.save(state, sys.argv[1] + '/init.pth');"
        "save_file(state, sys.argv[1] + '/init.safetensors', metadata={'format': 'pt'})"
    )
    subprocess.run([python, "-c", make, folder, str(classes)], check=True)


def import_weights(server, file, data, name="init", architecture="resnet18"):
    """The weights as a model with the names of its classes: only then its head is kept, and both sides begin with the same one."""
    boundary = "of-the-benchmark"
    classes = "\n".join(sorted(path.name for path in (data / "train").iterdir()))
    fields = {"name": name, "architecture": architecture, "labels": classes}
    parts = [f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="init.safetensors"\r\n\r\n'.encode()
    body = b"".join([*parts, head, file.read_bytes(), f"\r\n--{boundary}--\r\n".encode()])
    server.request("POST", "/v1/models", body, f"multipart/form-data; boundary={boundary}")


def ingest(server, archive):
    began = time.perf_counter()
    server.request("PUT", "/v1/datasets?name=bench", archive.read_bytes())
    dataset = server.request("GET", "/v1/datasets/bench?wait=600")
    assert dataset["status"] == "ready", dataset
    return time.perf_counter() - began


def train(server, freeze, epochs, rate):
    spec = {
        "dataset": "bench",
        "name": "bench",
        "backbone": {"architecture": "resnet18", "weights": "init"},
        "freeze": freeze,
        "epochs": epochs,
        "optimizer": {"lr": rate, "momentum": 0.9, "backbone_lr_multiplier": 1.0},
    }
    peak = Peak(server.process.pid)
    began = time.perf_counter()
    job = server.request("POST", "/v1/jobs", json.dumps(spec).encode())
    while job["status"] in ("queued", "running"):
        job = server.request("GET", f"/v1/jobs/{job['id']}?wait=600")
    seconds = time.perf_counter() - began
    assert job["status"] == "succeeded", job
    events = server.request("GET", f"/v1/jobs/{job['id']}/events?limit=1000")["data"]
    accuracies = [event["data"]["val_accuracy"] for event in events if event["kind"] == "epoch"]
    return {"seconds": seconds, "peak": peak.stop(), "val_accuracy": accuracies}


def peer(python, data, weights, folder, learns, epochs, tuned):
    command = [python, HERE / "peers/loop.py", data, weights / "init.pth", folder / "peer.pth"]
    command += ["--learns", learns, "--epochs", str(epochs)] + ["--tuned"] * tuned
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = Peak(process.pid)
    output, _ = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"a peer failed with status {process.returncode}")
    return {"seconds": seconds, "peak": peak.stop(), **json.loads(output.splitlines()[-1])}


if __name__ == "__main__":
    main()
