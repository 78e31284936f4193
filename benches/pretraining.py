#!/usr/bin/env python3
"""Pretraining without labels: SimSiam, resnet20, on 8,000 photographs of CIFAR-10 (32 pixels), then 20 labels a class. Mean of 3 seeds.

Accuracy on the test images of a head on the frozen features, beside a training of all layers from scratch and a head on random features, each with
the same 200 labels. Names of methods measure these instead, and numbers these seeds: `pretraining.py simsiam 0`. Needs `cifar10-small.tar.gz` and
`cifar10-unlabelled.tar.gz` in `data/` of the folder that `FINETUNED_BENCH_SHARED` names (by default `../shared` beside the repository).
"""

import io
import os
import statistics
import sys
import tarfile
from pathlib import Path

from measure.jobs import run, upload
from measure.server import Server, scratch
from measure.table import Table

SHARED = Path(os.environ.get("FINETUNED_BENCH_SHARED") or Path(__file__).resolve().parent.parent.parent / "shared")
SEEDS, EPOCHS, LABELS = 3, 32, 20
BACKBONE = {"architecture": "resnet20", "weights": "none"}
# In the few thousand steps that there are, a higher rate than the papers' goes further.
RATES = {"simsiam": {"lr": 0.06, "weight_decay": 5e-4}}
# From scratch all layers learn; steps enough for the training loss to vanish.
FROM_SCRATCH = {
    "epochs": 60,
    "batch_size": 32,
    "optimizer": {"name": "adamw", "lr": 0.002},
    "schedule": {"name": "cosine"},
    "augment": {"horizontal_flip": True},
}
ON_FEATURES = {"freeze": "backbone", "epochs": 100, "optimizer": {"name": "adamw", "lr": 0.01}}
# Random layers cannot be frozen; these do not learn either.
ON_RANDOM_FEATURES = {"epochs": 100, "optimizer": {"name": "adamw", "lr": 0.01, "backbone_lr_multiplier": 0}}


def main():
    if not (SHARED / "data/cifar10-unlabelled.tar.gz").exists():
        print(f"\nPretraining: skipped, {SHARED / 'data/cifar10-unlabelled.tar.gz'} is not there")
        return
    table = Table(f"Pretraining, resnet20, {EPOCHS} epochs, then {LABELS} labels a class")
    with scratch() as folder, Server(folder) as server:
        upload(server, "photographs", SHARED / "data/cifar10-unlabelled.tar.gz")
        few = Path(folder) / "few.tar"
        few.write_bytes(with_few_labels(SHARED / "data/cifar10-small.tar.gz"))
        upload(server, "few", few)
        seeds = [int(given) for given in sys.argv[1:] if given.isdigit()] or range(SEEDS)
        scratches = [trained(server, f"scratch-{seed}", BACKBONE, FROM_SCRATCH, seed) for seed in seeds]
        table.note(f"all layers from scratch: {listed(scratches)}", statistics.mean(scratches), "%")
        drawn = [trained(server, f"random-{seed}", BACKBONE, ON_RANDOM_FEATURES, seed) for seed in seeds]
        table.note(f"a head on random features: {listed(drawn)}", statistics.mean(drawn), "%")
        methods = [given for given in sys.argv[1:] if not given.isdigit()]
        for method in methods or ["simsiam"]:
            row(server, table, method, seeds, statistics.mean(scratches))
    table.show()
    sys.exit(0 if table.met else 1)


def row(server, table, method, seeds, scratch):
    found, times, spread = [], [], None
    for seed in seeds:
        name = f"{method}-{seed}"
        spec = {
            "kind": "pretrain",
            "dataset": "photographs",
            "name": name,
            "method": method,
            "backbone": BACKBONE,
            "epochs": EPOCHS,
            "seed": seed,
            "split": {"val": 0},
            "optimizer": RATES.get(method, {}),
        }
        job, seconds = run(server, spec)
        times.append(seconds)
        spread = server.request("GET", f"/v1/models/{job['model']}")["card"]["pretraining"]["feature_spread"]
        found.append(trained(server, f"on-{name}", {**BACKBONE, "weights": name}, ON_FEATURES, seed))
    table.at_least(f"{method}, head only, over all layers from scratch ({listed(found)})", statistics.mean(found) - scratch, 5, "points")
    table.at_most(f"{method}: the longest pretraining", max(times) / 60, 20, "min")
    table.note(f"{method}: spread of the features", spread, "")


def trained(server, name, backbone, settings, seed):
    """Accuracy on the test images, in percent."""
    job, _ = run(server, {"dataset": "few", "name": name, "backbone": backbone, "seed": seed, **settings, "split": {"val": 0}})
    job, _ = run(server, {"kind": "evaluate", "model": job["model"], "dataset": "few", "split": "test"})
    return 100 * server.request("GET", f"/v1/jobs/{job['id']}/evaluation")["accuracy"]


def listed(shares):
    return ", ".join(f"{share:.1f}" for share in shares)


def with_few_labels(path):
    """The archive with the first training images of each class only, and all test images."""
    kept, counts = io.BytesIO(), {}
    with tarfile.open(path) as archive, tarfile.open(fileobj=kept, mode="w") as few:
        for entry in sorted(archive.getmembers(), key=lambda entry: entry.name):
            parts = entry.name.split("/")
            if not entry.isfile() or len(parts) < 3:
                continue
            split, label = parts[-3:-1]
            counts[split, label] = counts.get((split, label), 0) + 1
            if split == "test" or counts[split, label] <= LABELS:
                few.addfile(entry, archive.extractfile(entry))
    return kept.getvalue()


if __name__ == "__main__":
    main()
