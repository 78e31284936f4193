#!/usr/bin/env python3
"""Adapters beside training all layers: parameters, size, time of a step, and what several of one base take in memory.

LoRA of rank 8 on `vit_small_patch16_224` with random weights, which cost what any others do, on hymenoptera at 224 pixels
(`FINETUNED_BENCH_DATA` names other images). Trainings of all layers and of the adapter take turns. Memory is that of the process that
answers, at 32 pixels, where the images take next to nothing.
"""

import statistics
import sys
import time
import zipfile
from pathlib import Path

from measure import jobs, memory
from measure.server import Server, scratch
from measure.table import Table
from training import ingest, pictures

NETWORK = "vit_small_patch16_224"
LORA = {"lora": {"rank": 8}}
ROUNDS, SEVERAL = 2, 5
# A process that answers is looked at every 10 seconds.
REST_SECONDS = 25


def main():
    table = Table(f"Adapters of {NETWORK}")
    with scratch() as folder:
        archive = pictures(Path(folder))
        with Server(folder) as server:
            ingest(server, archive)
            train(server, "whole", "none", {"epochs": 1, "image": {"size": 32}})
            whole = server.request("GET", "/v1/models/whole")
            rates = {"all": [], "adapter": []}
            for _ in range(ROUNDS):
                rates["all"].append(images_a_second(server, "all", {"freeze": "none"}))
                rates["adapter"].append(images_a_second(server, "adapter", {"adapt": LORA}))
            adapter = server.request("GET", "/v1/models/adapter")
            head = 4 * (described(server)["features"] + 1) * len(whole["card"]["classes"])
            parameters = 100 * adapter["card"]["adapter"]["parameters"] / parameters_of(server)
            table.at_most("trained parameters, share of all", parameters, 2, "%")
            table.at_most("file of the adapter without the head", (adapter["bytes"] - head) / 1e6, 1, "MB")
            table.note("file of the whole network", whole["bytes"] / 1e6, "MB")
            all_layers, own = (max(rates[name]) for name in ("all", "adapter"))
            table.at_most("time of a step / of all layers", all_layers / own, 0.8, "x")
            table.note("images a second in training: adapter, all layers", (own, all_layers), "")
            in_memory(table, server)
    table.show()
    sys.exit(0 if table.met else 1)


def train(server, name, weights, more):
    spec = {
        "dataset": "bench",
        "name": name,
        "backbone": {"architecture": NETWORK, "weights": weights},
        "optimizer": {"name": "adamw", "lr": 0.001, "backbone_lr_multiplier": 1.0},
        **more,
    }
    return jobs.run(server, spec)[0]


def images_a_second(server, name, more):
    job = train(server, name, "whole", {"epochs": 1, "image": {"size": 224}, **more})
    found = server.request("GET", f"/v1/jobs/{job['id']}/metrics?series=images_per_second")
    return statistics.median(point["value"] for point in found["series"]["images_per_second"])


def described(server):
    found = server.request("GET", "/v1/architectures")["data"]
    return next(it for it in found if it["name"] == NETWORK)


def parameters_of(server):
    """Of the network with its head of two classes."""
    about = described(server)
    return about["parameters"] - (about["classes"] - 2) * (about["features"] + 1)


def in_memory(table, server):
    """What further models take that answer, of each kind."""
    image = an_image()
    small = {"epochs": 1, "image": {"size": 32}}
    grown = {}
    for kind, more in (("adapter", {"adapt": LORA}), ("whole network", {"freeze": "backbone"})):
        names = [f"{kind.split()[0]}-{number}" for number in range(SEVERAL + 1)]
        for number, name in enumerate(names):
            train(server, name, "whole", {**small, **more, "seed": number})
        # The first one also brings what its kind shares.
        ask(server, names[:1], image)
        first = at_rest(server)
        ask(server, names[1:], image)
        grown[kind] = (at_rest(server) - first) / SEVERAL / 1e6
    table.at_most("memory of a further adapter / of a further network", grown["adapter"] / grown["whole network"], 0.1, "x")
    table.note("memory of a further adapter, of a further network", (grown["adapter"], grown["whole network"]), "MB")


def ask(server, names, image):
    for name in names:
        server.request("PUT", f"/v1/models/{name}/predict", image, "image/jpeg")


def at_rest(server):
    """What answers takes in memory once it has returned what it has no use for."""
    time.sleep(REST_SECONDS)
    return sum(map(memory.resident, memory.tree(server.process.pid)[1:]))


def an_image():
    with scratch() as folder, zipfile.ZipFile(pictures(Path(folder))) as files:
        name = next(name for name in sorted(files.namelist()) if name.lower().endswith((".jpg", ".png")))
        return files.read(name)


if __name__ == "__main__":
    main()
