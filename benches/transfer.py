#!/usr/bin/env python3
"""Whether transfer works: few images learnt by the head alone, by all layers, and from scratch, on real photographs.

20 images of each class of hymenoptera train, its own validation part judges; base weights are an EfficientNet-Lite0 trained on ImageNet,
which `scripts/weights` fetches. Best epoch of 15, mean of 3 seeds, each with other images. Then the head alone learns from all its training images, as
in the tutorial (SGD, rate 0.001, momentum 0.9, batches of 32, 10 epochs), where PyTorch with timm gets 143 to 145 of 153 right. Needs `hymenoptera.zip` in `data/` of the
folder that `FINETUNED_BENCH_SHARED` names (by default `../shared` beside the repository).
"""

import json
import os
import random
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

from measure.server import Server, scratch
from measure.table import Table

SHARED = Path(os.environ.get("FINETUNED_BENCH_SHARED") or Path(__file__).resolve().parent.parent.parent / "shared")
ARCHITECTURE = "efficientnet_lite0"
SEEDS, EACH, EPOCHS = 3, 20, 15
PRETRAINED = {"architecture": ARCHITECTURE, "weights": "imagenet"}
WAYS = {
    "head only": {"backbone": PRETRAINED, "freeze": "backbone", "optimizer": {"lr": 0.01}},
    "all layers": {"backbone": PRETRAINED, "freeze": "none", "optimizer": {"lr": 0.01, "backbone_lr_multiplier": 0.1}},
    "from scratch": {
        "backbone": {"architecture": ARCHITECTURE, "weights": "none"},
        "freeze": "none",
        "optimizer": {"lr": 0.01},
    },
}


# PyTorch 2.11.0 with timm 1.0.31: mean of 5 seeds.
OF_PYTORCH, FULL_SEEDS = 143.8, 5


def main():
    source = SHARED / "data/hymenoptera.zip"
    fetch = Path(__file__).resolve().parent.parent / "scripts/weights"
    fetched = subprocess.run([fetch, ARCHITECTURE], stdout=subprocess.PIPE, text=True)
    if not source.exists() or fetched.returncode != 0:
        print(f"\nTransfer: skipped, {source} is not there or the weights cannot be fetched")
        return
    reached = {way: [] for way in WAYS}
    with scratch() as folder, Server(folder, "--weights-cache", fetched.stdout.strip()) as server:
        for seed in range(SEEDS):
            archive = few(source, Path(folder) / f"few-{seed}.zip", seed)
            server.request("PUT", f"/v1/datasets?name=few-{seed}", archive.read_bytes())
            for way, spec in WAYS.items():
                reached[way].append(100 * best(server, {**spec, "dataset": f"few-{seed}", "seed": seed}))
        server.request("PUT", "/v1/datasets?name=all", source.read_bytes())
        right = [right_of_all(server, seed) for seed in range(FULL_SEEDS)]
    table = Table(f"Transfer, validation accuracy, best of {EPOCHS} epochs, mean of {SEEDS} seeds")
    means = {way: statistics.mean(values) for way, values in reached.items()}
    for way, values in reached.items():
        table.note(f"{way} ({', '.join(f'{value:.1f}' for value in values)})", means[way], "%")
    table.at_least("head only above scratch", means["head only"] - means["from scratch"], 25, "points")
    row = f"all images, head only, right of 153 ({', '.join(map(str, right))}), off PyTorch's {OF_PYTORCH}"
    table.at_most(row, abs(statistics.mean(right) - OF_PYTORCH), 2, "images")
    table.show()
    sys.exit(0 if table.met else 1)


def few(source, out, seed):
    """A dataset with `EACH` training images of each class, and all validation images."""
    with zipfile.ZipFile(source) as files, zipfile.ZipFile(out, "w") as target:
        names = sorted(name for name in files.namelist() if not name.endswith("/"))
        classes = {name.split("/")[1] for name in names}
        chosen = [name for name in names if name.startswith("val/")]
        for kind in sorted(classes):
            of_class = [name for name in names if name.startswith(f"train/{kind}/")]
            chosen += random.Random(f"{seed} {kind}").sample(of_class, EACH)
        for name in chosen:
            target.writestr(name, files.read(name))
    return out


def right_of_all(server, seed):
    """After the last epoch, as PyTorch's were counted."""
    spec = {"dataset": "all", "name": "all", "backbone": PRETRAINED, "freeze": "backbone", "seed": seed}
    spec |= {"epochs": 10, "batch_size": 32, "optimizer": {"lr": 0.001, "momentum": 0.9}}
    job = finished(server, spec)
    events = server.request("GET", f"/v1/jobs/{job['id']}/events?limit=1000")["data"]
    epochs = [event["data"] for event in events if event["kind"] == "epoch"]
    return round(153 * epochs[-1]["val_accuracy"])


def best(server, spec):
    spec = {
        **spec,
        "epochs": EPOCHS,
        "batch_size": 16,
        "augment": {"horizontal_flip": True},
        "name": "few",
    }
    return finished(server, spec)["best"]["val_accuracy"]


def finished(server, spec):
    job = server.request("POST", "/v1/jobs", json.dumps(spec).encode())
    while job["status"] in ("queued", "running"):
        job = server.request("GET", f"/v1/jobs/{job['id']}?wait=600")
    assert job["status"] == "succeeded", job
    return job


if __name__ == "__main__":
    main()
