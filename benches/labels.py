#!/usr/bin/env python3
"""Several labels: how well shapes, colours and patterns are told in drawn scenes, how fast, and whether thresholds are the best ones.

The images are those of `finetuned sample-dataset --multi-label`, the network is trained from scratch. F1 at the fitted thresholds is compared
with the highest that any threshold reaches on the same validation images, as scikit-learn's `precision_recall_curve` would find it.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from measure.jobs import run, upload
from measure.server import FINETUNED, Server, scratch
from measure.table import Table

SEEDS = 3
SPEC = {
    "dataset": "scenes",
    "task": "multi_label",
    "backbone": {"architecture": "resnet20", "weights": "none"},
    "image": {"size": 56, "resize": "squash"},
    "augment": {"horizontal_flip": True, "vertical_flip": True, "rotation_degrees": 20, "random_resized_crop": [0.6, 1.0]},
    "epochs": 54,
    "batch_size": 16,
    "optimizer": {"name": "adamw", "lr": 0.004, "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup_epochs": 1},
}


def main():
    table = Table("Several labels, 600 drawn scenes")
    with scratch() as folder, Server(folder) as server:
        scenes = Path(folder) / "scenes.zip"
        subprocess.run([FINETUNED, "sample-dataset", "--multi-label", scenes], check=True, stdout=subprocess.DEVNULL)
        upload(server, "scenes", scenes)
        precisions, seconds, losses = [], [], []
        for seed in range(SEEDS):
            job, took = run(server, {**SPEC, "name": f"scenes-{seed}", "seed": seed})
            evaluation = server.request("GET", f"/v1/jobs/{job['id']}/evaluation")
            precisions.append(evaluation["multi_label"]["mean_average_precision"])
            seconds.append(took)
            losses.append(most_lost(server, f"scenes-{seed}", evaluation))
    each = ", ".join(f"{precision:.3f}" for precision in precisions)
    table.at_least(f"mean average precision x 100 ({each})", 100 * statistics.mean(precisions), 95, "")
    table.at_most("longest training", max(seconds), 120, "s")
    table.at_most("F1 x 100 below that of the best threshold, any class and seed", 100 * max(losses), 1, "")
    table.show()
    sys.exit(0 if table.met else 1)


def most_lost(server, model, evaluation):
    """How far F1 of a class is below the highest possible, at most, on the validation images of the training."""
    spec = {"kind": "batch-predict", "model": model, "dataset": "scenes", "split": "val", "top_k": len(evaluation["classes"])}
    job, _ = run(server, spec)
    connection = server.connect()
    connection.request("GET", f"/v1/jobs/{job['id']}/predictions?format=jsonl")
    rows = [json.loads(line) for line in connection.getresponse().read().splitlines()]
    assert len(rows) == evaluation["images"], (len(rows), evaluation["images"])
    lost = 0.0
    for report in evaluation["classes"]:
        name = report["name"]
        pairs = []
        for row in rows:
            labels = row.get("labels") or [row["label"]]
            probability = next(found["probability"] for found in row["predictions"] if found["label"] == name)
            pairs.append((probability, name in labels))
        lost = max(lost, best_f1(pairs) - report["f1"])
    return lost


def best_f1(pairs):
    shown = sum(truth for _, truth in pairs)
    best = 0.0
    for threshold in {probability for probability, _ in pairs}:
        found = [truth for probability, truth in pairs if probability >= threshold]
        best = max(best, 2 * sum(found) / (len(found) + shown))
    return best


if __name__ == "__main__":
    main()
