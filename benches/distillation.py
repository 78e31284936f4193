#!/usr/bin/env python3
"""Knowledge distillation: a small student with and without its teacher, mean of 3 seeds.

On 1,000 photographs of CIFAR-10 (32 pixels), with the teacher's word on 8,000 more without labels; the teacher is a ResNet-18 at 64 pixels that
begins with weights trained on CIFAR-10, the student a resnet20 from scratch, 40 times smaller. And on 300 drawn shapes, where the teacher is a
ResNet-18 from scratch at 64 pixels; accuracy there is on 300 other drawings. Needs `cifar10-small.tar.gz` and `cifar10-unlabelled.tar.gz` in `data/` and `resnet18-cifar10-64.safetensors` in
`weights/` of the folder that `FINETUNED_BENCH_SHARED` names (by default `../shared` beside the repository).
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from measure.jobs import run, upload
from measure.server import FINETUNED, Server, scratch
from measure.table import Table

SHARED = Path(os.environ.get("FINETUNED_BENCH_SHARED") or Path(__file__).resolve().parent.parent.parent / "shared")
WEIGHTS = "resnet18-cifar10-64.safetensors"
SEEDS, EPOCHS = 3, 15
STUDENT = {"architecture": "resnet20", "weights": "none"}


def main():
    if not (SHARED / "weights" / WEIGHTS).exists():
        print(f"\nDistillation: skipped, {SHARED / 'weights' / WEIGHTS} is not there")
        return
    table = Table("Distillation into resnet20")
    with scratch() as folder, Server(folder, "--weights-dir", SHARED / "weights") as server:
        photographs(server, table)
        shapes(server, Path(folder), table)
    table.show()
    sys.exit(0 if table.met else 1)


def photographs(server, table):
    for name in ("cifar10-small", "cifar10-unlabelled"):
        upload(server, name, SHARED / f"data/{name}.tar.gz")
    teacher = {
        "dataset": "cifar10-small",
        "name": "teacher",
        "backbone": {"architecture": "resnet18", "weights": WEIGHTS},
        "image": {"size": 64},
        "head": {"solver": "lbfgs"},
    }
    run(server, teacher)
    spec = {"dataset": "cifar10-small", "image": {"size": 32}, "augment": {"horizontal_flip": True}}
    compare(server, table, "cifar10-small", ("cifar10-small", "test"), spec, {"unlabelled_dataset": "cifar10-unlabelled"})


def shapes(server, folder, table):
    for seed, name in enumerate(("shapes", "other-shapes")):
        archive = folder / f"{name}.zip"
        subprocess.run([FINETUNED, "sample-dataset", "--seed", str(seed), archive], check=True, stdout=subprocess.DEVNULL)
        upload(server, name, archive)
    teacher = {
        "dataset": "shapes",
        "name": "teacher",
        "backbone": {"architecture": "resnet18", "weights": "none"},
        "image": {"size": 64},
        "epochs": 30,
        "optimizer": {"name": "adamw", "lr": 0.001},
        "schedule": {"name": "cosine"},
        "augment": {"horizontal_flip": True},
        "split": {"val": 0},
    }
    run(server, teacher)
    spec = {"dataset": "shapes", "image": {"size": 32}, "split": {"val": 0.1}}
    compare(server, table, "shapes", ("other-shapes", "all"), spec, {})


def compare(server, table, name, test, spec, more):
    """`test`: the dataset and the split of it that accuracy is measured on."""
    alone, taught, costs = [], [], None
    for seed in range(SEEDS):
        student = {
            **spec,
            "backbone": STUDENT,
            "epochs": EPOCHS,
            "batch_size": 32,
            "optimizer": {"name": "adamw", "lr": 0.002},
            "seed": seed,
        }
        plain, _ = run(server, {**student, "name": f"alone-{name}-{seed}"})
        distill = {"teacher": "teacher", "baseline": False, **more}
        job, _ = run(server, {**student, "name": f"student-{name}-{seed}", "distill": distill})
        alone.append(accuracy(server, plain["model"], *test))
        taught.append(accuracy(server, job["model"], *test))
        found = server.request("GET", f"/v1/jobs/{job['id']}/evaluation")["distillation"]
        costs = found["teachers"][0], found["student"]
    teacher = accuracy(server, "teacher", *test)
    each = ", ".join(f"{before:.1f} -> {after:.1f}" for before, after in zip(alone, taught))
    table.at_least(f"{name}: gain by the teacher ({each})", statistics.mean(taught) - statistics.mean(alone), 2, "points")
    table.note(f"{name}: accuracy of teacher, student, student alone", (teacher, statistics.mean(taught), statistics.mean(alone)), "%")
    table.note(f"{name}: megabytes of teacher, student", tuple(cost["bytes"] / 1e6 for cost in costs), "MB")
    table.note(f"{name}: one image, teacher, student", tuple(cost["latency_ms"] for cost in costs), "ms")


def accuracy(server, model, dataset, split):
    job, _ = run(server, {"kind": "evaluate", "model": model, "dataset": dataset, "split": split})
    return 100 * server.request("GET", f"/v1/jobs/{job['id']}/evaluation")["accuracy"]


if __name__ == "__main__":
    main()
