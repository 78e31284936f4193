#!/usr/bin/env python3
"""What methods beyond plain training give on real photographs, each beside what it is to be better than.

Label checks: of hymenoptera one training label in ten is flipped, and so many and half as many again are taken from the top of the list; mean
of 3 seeds, each with other flips. Cross-validation: 5 folds, 3 seeds, and whether its interval has the mean of 20 other seeds. Base weights are an EfficientNet-Lite0 trained on ImageNet, which `scripts/weights` fetches. Needs
`hymenoptera.zip` in `data/` of the folder that `FINETUNED_BENCH_SHARED` names (by default `../shared` beside the repository).
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from measure.server import Server, scratch
from measure.table import Table

SHARED = Path(os.environ.get("FINETUNED_BENCH_SHARED") or Path(__file__).resolve().parent.parent.parent / "shared")
ARCHITECTURE = "efficientnet_lite0"
BACKBONE = {"architecture": ARCHITECTURE, "weights": "imagenet"}
SEEDS, FLIPPED_SHARE, LISTED_SHARE = 3, 0.1, 1.5
MORE_SEEDS = 20


def main():
    source = SHARED / "data/hymenoptera.zip"
    fetch = Path(__file__).resolve().parent.parent / "scripts/weights"
    fetched = subprocess.run([fetch, ARCHITECTURE], stdout=subprocess.PIPE, text=True)
    if not source.exists() or fetched.returncode != 0:
        print(f"\nMethods: skipped, {source} is not there or the weights cannot be fetched")
        return
    table = Table(f"Methods on hymenoptera, {ARCHITECTURE}")
    with scratch() as folder, Server(folder, "--weights-cache", fetched.stdout.strip()) as server:
        label_checks(server, source, Path(folder), table)
        cross_validations(server, source, table)
    table.show()
    sys.exit(0 if table.met else 1)


def label_checks(server, source, folder, table):
    shares, seconds = [], []
    for seed in range(SEEDS):
        archive, flipped = flip(source, folder / f"flipped-{seed}.zip", seed)
        name = f"flipped-{seed}"
        server.request("PUT", f"/v1/datasets?name={name}", archive.read_bytes())
        spec = {"kind": "label_check", "dataset": name, "backbone": BACKBONE, "seed": seed}
        run(server, spec)
        # The same again, with the features that the first one has left.
        job, took = run(server, spec)
        listed = server.request("GET", f"/v1/jobs/{job}/label_check")["listed"]
        first = {image["path"] for image in listed[: int(LISTED_SHARE * len(flipped))]}
        shares.append(100 * len(first & flipped) / len(flipped))
        seconds.append(took)
    each = ", ".join(f"{share:.1f}" for share in shares)
    table.at_least(f"label_check: flipped labels among the first 1.5 times as many ({each})", statistics.mean(shares), 90, "%")
    table.at_most("label_check with kept features", max(seconds), 10, "s")


def cross_validations(server, source, table):
    server.request("PUT", "/v1/datasets?name=whole", source.read_bytes())
    spec = {"kind": "cross_validate", "dataset": "whole", "backbone": BACKBONE, "folds": 5}
    # What comes first leaves the features.
    run(server, {**spec, "repeats": 1})
    job, seconds = run(server, {**spec, "repeats": SEEDS})
    found = server.request("GET", f"/v1/jobs/{job}/cross_validation")
    more, _ = run(server, {**spec, "repeats": MORE_SEEDS, "seed": SEEDS})
    mean = 100 * server.request("GET", f"/v1/jobs/{more}/cross_validation")["accuracy"]
    low, high = (100 * end for end in found["accuracy_interval"])
    table.at_most(f"cross_validate with kept features, 5 folds x {SEEDS} seeds", seconds, 15, "s")
    table.note(f"cross_validate: accuracy of {SEEDS} seeds, and its 95 % interval", (100 * found["accuracy"], low, high), "%")
    table.note(f"cross_validate: mean of {MORE_SEEDS} further seeds", mean, "%")
    table.at_least("cross_validate: how far inside of the interval that is", min(mean - low, high - mean), 0, "points")


def flip(source, out, seed):
    """The archive with some training images in the other class's folder, and their paths there."""
    with zipfile.ZipFile(source) as files, zipfile.ZipFile(out, "w") as target:
        names = sorted(name for name in files.namelist() if not name.endswith("/") and name.count("/") == 2)
        training = [name for name in names if name.startswith("train/")]
        other = dict(zip(classes := sorted({name.split("/")[1] for name in names}), reversed(classes)))
        chosen = set(random.Random(f"flip {seed}").sample(training, round(FLIPPED_SHARE * len(training))))
        flipped = set()
        for name in names:
            split, kind, file = name.split("/")
            path = f"{split}/{other[kind]}/flipped-{file}" if name in chosen else name
            if name in chosen:
                flipped.add(path)
            target.writestr(path, files.read(name))
    return out, flipped


def run(server, spec):
    """The id of a job that has succeeded, and the seconds from its submission to its end."""
    began = time.perf_counter()
    job = server.request("POST", "/v1/jobs", json.dumps(spec).encode())
    while job["status"] in ("queued", "running"):
        job = server.request("GET", f"/v1/jobs/{job['id']}?wait=600")
    assert job["status"] == "succeeded", job
    return job["id"], time.perf_counter() - began


if __name__ == "__main__":
    main()
