#!/usr/bin/env python3
"""Networks of other families beside PyTorch: answers against the bare forward pass, and whole jobs against the plain loop.

One run, one machine, the same random weights, hymenoptera at 224 pixels (`FINETUNED_BENCH_DATA` names other images). Peers are torchvision
and timm (`peers/family*.py`): of the bare forward pass, channels-last, the better of eager and `optimize_for_inference`, at the best batch
size. Names of networks measure these alone, names of parts (`jobs`, `cold`, `serving`, `accuracy`) these parts: `families.py vgg16_bn serving`.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import pytorch
from measure.load import closed, request
from measure.server import Server, scratch
from measure.table import Table
from training import HERE, import_weights, ingest, pictures, unpacked

NETWORKS = (
    "mobilenet_v3_large",
    "efficientnet_b0",
    "efficientnet_lite0",
    "convnext_tiny",
    "vit_small_patch16_224",
    "vgg16_bn",
    "densenet121",
)
TIMM = "timm==1.0.31"
CLIENTS, SECONDS, ROUNDS = 16, 10, 2
EPOCHS = 10
# Models of a network that are asked for the first time.
COLD = 3


def main():
    parts = {"jobs": jobs, "cold": cold, "serving": serving, "accuracy": accuracy}
    asked = [name for name in sys.argv[1:] if name in parts] or parts
    networks = [name for name in sys.argv[1:] if name not in parts] or NETWORKS
    python = pytorch.python(TIMM)
    table = Table("Families at 224 px")
    with scratch() as folder:
        folder = Path(folder)
        archive = pictures(folder)
        data = unpacked(archive, folder)
        weights = folder / "weights"
        weights.mkdir()
        files = [path.read_bytes() for path in sorted(data.rglob("*.jpg"))]
        files = files[:: max(1, len(files) // 128)]
        with Server(folder, "--weights-dir", weights) as server:
            ingest(server, archive)
            for network in networks:
                make_weights(python, network, weights, len(list((data / "train").iterdir())))
                for part in asked:
                    parts[part](table, server, python, network, weights, {"data": data, "files": files})
    table.show()
    sys.exit(0 if table.met else 1)


def make_weights(python, network, folder, classes, seed=1):
    make = (
        "import sys; sys.path.insert(0, sys.argv[4]); import family, torch; from safetensors.torch import save_file;"
        "torch.manual_seed(int(sys.argv[5])); state = family.build(sys.argv[1], int(sys.argv[3])).state_dict();"
        "path = sys.argv[2] + '/' + sys.argv[1]; torch.save(state, path + '-init.pth') if sys.argv[5] == '1' else None;"
        "save_file(state, path + ('-init' if sys.argv[5] == '1' else '-' + sys.argv[5]) + '.safetensors', metadata={'format': 'pt'})"
    )
    subprocess.run([python, "-c", make, network, folder, str(classes), HERE / "peers", str(seed)], check=True)


def jobs(table, server, python, network, weights, images):
    data = images["data"]
    head = job(server, network, "backbone", EPOCHS, 0.001)
    again = job(server, network, "backbone", EPOCHS, 0.003)
    plain = loop(python, network, data, weights, "head", EPOCHS)
    table.at_least(f"{network}: head only, {EPOCHS} epochs, plain / ours", plain / head, 10, "x")
    table.at_least(f"{network}: a second job, plain / ours", plain / again, 40, "x")
    table.note(f"{network}: ours, the second job, plain", (head, again, plain), "s")
    # The first keeps the activations that it needs.
    job_of(server, network, {"preset": "quick"})
    quick = job_of(server, network, {"preset": "quick", "head": {"l2": 0.003}})
    table.at_most(f"{network}: another `quick` job with kept activations", quick, 1, "s")
    ours = job(server, network, "none", 1, 0.001)
    plain = loop(python, network, data, weights, "all", 1)
    table.at_least(f"{network}: everything, 1 epoch, plain / ours", plain / ours, 1, "x")
    table.note(f"{network}: ours, plain", (ours, plain), "s")


def job(server, network, freeze, epochs, rate):
    optimizer = {"lr": rate, "momentum": 0.9, "backbone_lr_multiplier": 1.0}
    return job_of(server, network, {"freeze": freeze, "epochs": epochs, "optimizer": optimizer})


def job_of(server, network, fields):
    """Seconds from the request until it has ended."""
    spec = {
        "dataset": "bench",
        "name": network,
        "backbone": {"architecture": network, "weights": f"{network}-init.safetensors"},
        "image": {"size": 224},
        **fields,
    }
    began = time.perf_counter()
    job = server.request("POST", "/v1/jobs", json.dumps(spec).encode())
    while job["status"] in ("queued", "running"):
        job = server.request("GET", f"/v1/jobs/{job['id']}?wait=600")
    assert job["status"] == "succeeded", job
    return time.perf_counter() - began


def loop(python, network, data, weights, learns, epochs):
    command = [python, HERE / "peers/family_loop.py", network, data, weights / f"{network}-init.pth"]
    began = time.perf_counter()
    subprocess.run([*command, "--learns", learns, "--epochs", str(epochs)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def cold(table, server, python, network, weights, images):
    """The first answer of a model by a process that is running already, beside a process of PyTorch that is."""
    file = images["files"][0]
    versions = []
    classes = len(list((images["data"] / "train").iterdir()))
    for seed in range(2, COLD + 3):
        # Each has a backbone of its own: heads on the same one would find it in memory.
        make_weights(python, network, weights, classes, seed)
        backbone = {"architecture": network, "weights": f"{network}-{seed}.safetensors"}
        job_of(server, network, {"preset": "quick", "head": {"l2": 0.01}, "backbone": backbone})
        versions.append(server.request("GET", f"/v1/models/{network}")["version"])
    first = {}
    for version in versions:
        began = time.perf_counter()
        server.request("POST", f"/v1/models/{network}@{version}/predict", file, "application/octet-stream")
        first[version] = time.perf_counter() - began
    ours = statistics.median(first[version] for version in versions[1:])
    command = [python, HERE / "peers/family_cold.py", network, weights / f"{network}-init.pth"]
    peer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    table.at_most(f"{network}: first answer of a model / reading and building it", ours / peer["reading"], 1.2, "x")
    table.note(f"{network}: ours, reading and building, and an answer", (ours, peer["reading"], peer["answering"]), "s")


def accuracy(table, server, python, network, weights, images):
    """Hits among the validation images after each epoch of a head-only training with the same arithmetic: no dropout, the same order."""
    name, rate = f"{network}-init", 0.001
    import_weights(server, weights / f"{name}.safetensors", images["data"], name, network)
    optimizer = {"lr": rate, "momentum": 0.9}
    fields = {"freeze": "backbone", "epochs": EPOCHS, "optimizer": optimizer, "head": {"dropout": 0}}
    fields["backbone"] = {"architecture": network, "weights": name}
    job_of(server, network, fields)
    model = server.request("GET", f"/v1/models/{network}")
    events = server.request("GET", f"/v1/jobs/{model['job']}/events?limit=1000")["data"]
    ours = [event["data"]["val_accuracy"] for event in events if event["kind"] == "epoch"]
    preprocessing = json.dumps(model["card"]["preprocessing"])
    command = [python, HERE / "peers/family_accuracy.py", network, images["data"], weights / f"{name}.pth", preprocessing, str(EPOCHS), str(rate)]
    peer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    hits = [round(share * peer["images"]) for share in ours]
    apart = max(abs(one - other) for one, other in zip(hits, peer["hits"], strict=True))
    table.at_most(f"{network}: validation images apart from PyTorch, largest of {EPOCHS} epochs", apart, 1, "")
    table.note(f"{network}: hits of {peer['images']} after the last, ours, PyTorch", (hits[-1], peer["hits"][-1]), "")


def serving(table, server, python, network, weights, images):
    quick = {"preset": "quick", "head": {"l2": 0.003}}
    if not any(model["name"] == network for model in server.request("GET", "/v1/models?limit=100")["data"]):
        job_of(server, network, quick)
    wires = [request(f"/v1/models/{network}/predict", file) for file in images["files"]]
    closed(server.port, wires, CLIENTS, 5)
    bares, ours = [], []
    for _ in range(ROUNDS):
        command = [python, HERE / "peers/family_forward.py", network, weights / f"{network}-init.pth"]
        bares.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["images_per_second"])
        load = closed(server.port, wires, CLIENTS, SECONDS)
        wrong = [answer for answer in load.answers if answer.status != 200]
        assert not wrong and not load.unanswered, (load.unanswered, wrong[:1])
        ours.append(load.rate())
    bare = max(rate for bare in bares for rate in bare.values())
    table.at_least(f"{network}: {CLIENTS} clients / best bare forward", max(ours) / bare, 1.0, "x")
    table.note(f"{network}: ours, bare forward", (max(ours), bare), "images/s")


if __name__ == "__main__":
    main()
