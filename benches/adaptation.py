#!/usr/bin/env python3
"""Domain adaptation from MNIST to MNIST-M: resnet20 from scratch, 3,000 labelled digits in grey, 3,000 coloured ones without labels.

Accuracy on 1,000 other coloured digits, mean of 3 seeds, beside the same training without adaptation. Names of methods measure these alone:
`adaptation.py dann`. Needs `da-mnist-mnistm` in `data/` of the folder that `FINETUNED_BENCH_SHARED` names (by default `../shared` beside
the repository).
"""

import os
import statistics
import sys
from pathlib import Path

from measure.jobs import run, upload
from measure.server import Server, scratch
from measure.table import Table

SHARED = Path(os.environ.get("FINETUNED_BENCH_SHARED") or Path(__file__).resolve().parent.parent.parent / "shared")
DIGITS = SHARED / "data/da-mnist-mnistm"
ARCHIVES = {
    "mnist": "source-mnist.zip",
    "mnistm": "target-mnistm-train-unlabelled.zip",
    "mnistm-test": "target-mnistm-test.zip",
}
SEEDS, EPOCHS = 3, 6
TARGETS = {"coral": 55, "mmd": 55, "dann": 45, "adabn": 30}
# At full strength the opponents are not stable from scratch in so few epochs.
WEIGHTS = {"dann": 0.3}
SGD, ADAMW = {"name": "sgd", "lr": 0.05}, {"name": "adamw", "lr": 0.002}
OPTIMIZERS = {"coral": ADAMW}


def main():
    if not DIGITS.exists():
        print(f"\nDomain adaptation: skipped, {DIGITS} is not there")
        return
    table = Table(f"Domain adaptation, MNIST to MNIST-M, resnet20, {EPOCHS} epochs")
    with scratch() as folder, Server(folder) as server:
        for name, file in ARCHIVES.items():
            upload(server, name, DIGITS / file)
        plain = [trained(server, None, seed) for seed in range(SEEDS)]
        row(table, "source only", plain, None)
        for method in sys.argv[1:] or TARGETS:
            found = [trained(server, method, seed) for seed in range(SEEDS)]
            row(table, method, found, TARGETS[method])
            if method == "dann":
                over = min(own - alone for (own, _), (alone, _) in zip(found, plain))
                table.at_least("dann: the least that a seed is above source only", over, 0, "points")
    table.show()
    sys.exit(0 if table.met else 1)


def row(table, name, found, target):
    shares = [share for share, _ in found]
    each = ", ".join(f"{share:.1f}" for share in shares)
    if target is None:
        table.note(f"{name}: {each}", statistics.mean(shares), "%")
    else:
        table.at_least(f"{name}: {each}", statistics.mean(shares), target, "%")
    table.note(f"{name}: one training", statistics.mean(seconds for _, seconds in found), "s")


def trained(server, method, seed):
    """Accuracy on the target's test images in percent, and the seconds of the training."""
    spec = {
        "dataset": "mnist",
        "name": f"{method or 'plain'}-{seed}",
        "backbone": {"architecture": "resnet20", "weights": "none"},
        "epochs": EPOCHS,
        "batch_size": 32,
        "optimizer": OPTIMIZERS.get(method, SGD),
        "seed": seed,
    }
    if method is not None:
        spec["domain_adaptation"] = {"target_dataset": "mnistm", "method": method, "baseline": False}
        if method in WEIGHTS:
            spec["domain_adaptation"]["weight"] = WEIGHTS[method]
    model, seconds = run(server, spec)
    job, _ = run(server, {"kind": "evaluate", "model": model["model"], "dataset": "mnistm-test", "split": "all"})
    return 100 * server.request("GET", f"/v1/jobs/{job['id']}/evaluation")["accuracy"], seconds


if __name__ == "__main__":
    main()
