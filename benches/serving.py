#!/usr/bin/env python3
"""Serving, against the bare forward pass and against what teams serve with today: ResNet-18 at 224 pixels, real JPEGs, the CPU, one run.

The pictures are those of hymenoptera (`FINETUNED_BENCH_DATA`, by default `../shared/data/hymenoptera.zip` beside the repository), or
else drawn ones. Peers come from the Python registry (`peers/*_service.py`) and have the same weights, the same cores and the same load
generator (`measure/load.py`). What is compared is measured in turns, several times, and the best of each side counts: a machine that
has other things to do for a while shall not decide. Names of parts (`serving.py throughput overload`) measure these alone.
"""

import base64
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from measure import pytorch
from measure.load import Load, closed, open_loop, request
from measure.memory import resident, tree
from measure.server import Server, scratch
from measure.service import Service
from measure.table import Table
from training import HERE, ingest, make_weights, pictures, unpacked

PARTS = ("throughput", "latency", "peers", "overload", "mixed", "training")
PATH = "/v1/models/bench/predict"
CLIENTS = 16
SECONDS = 15
ROUNDS = 3
OVERLOAD_SECONDS = 60
MIXED_REQUESTS, MIXED_CLIENTS, MIXED_PICTURES = 2000, 64, 60
PEERS = {"FastAPI + torchvision": "fastapi_service.py", "LitServe": "litserve_service.py"}
MB = 1e6


def main():
    parts = sys.argv[1:] or PARTS
    assert set(parts) <= set(PARTS), f"there are {', '.join(PARTS)}"
    python = pytorch.python(*pytorch.SERVICES)
    table = Table("Serving, ResNet-18 at 224 px")
    with scratch() as folder:
        folder = Path(folder)
        archive = pictures(folder)
        data = unpacked(archive, folder)
        weights = folder / "weights"
        weights.mkdir()
        make_weights(python, weights, len(list((data / "train").iterdir())))
        files = [path.read_bytes() for path in sorted(data.rglob("*.jpg"))]
        files = files[:: max(1, len(files) // 128)]
        with Server(folder, "--weights-dir", weights) as server:
            ingest(server, archive)
            train(server, "bench", 0.01)
            wires = [request(PATH, file) for file in files]
            closed(server.port, wires, CLIENTS, 5)
            if {"throughput", "latency"} & set(parts):
                beside_bare(table, server, wires, lambda: forward(python, weights, data))
            if "peers" in parts:
                for name, program in PEERS.items():
                    with peer(python, program, weights) as service:
                        compare(table, name, server, wires, service, peer_wires(program, files))
            if "overload" in parts:
                overload(table, server, wires)
            if "mixed" in parts:
                train(server, "other", 0.02)
                mixed(table, server, files)
            if "training" in parts:
                beside_training(table, server, wires)
    table.show()
    sys.exit(0 if table.met else 1)


def forward(python, weights, data):
    command = [python, HERE / "peers/forward.py", weights / "init.pth", data]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def train(server, name, rate):
    spec = {
        "dataset": "bench",
        "name": name,
        "backbone": {"architecture": "resnet18", "weights": "init.safetensors"},
        "freeze": "backbone",
        "epochs": 5,
        "optimizer": {"lr": rate},
    }
    job = server.request("POST", "/v1/jobs", json.dumps(spec).encode())
    while job["status"] in ("queued", "running"):
        job = server.request("GET", f"/v1/jobs/{job['id']}?wait=600")
    assert job["status"] == "succeeded", job


def checked(load):
    """A load of which everything was answered, and with 200."""
    wrong = [answer for answer in load.answers if answer.status != 200]
    assert not wrong and not load.unanswered, (load.unanswered, wrong[:1])
    return load


def beside_bare(table, server, wires, forward):
    """Many clients, then one alone, against the bare forward pass and against one decoding and one forward pass."""
    bares, many, one = [], [], []
    for _ in range(ROUNDS):
        bares.append(forward())
        many.append(checked(closed(server.port, wires, CLIENTS, SECONDS)))
        one.append(checked(closed(server.port, wires, 1, SECONDS)))
    throughput(table, many, bares)
    latency(table, one, bares)


def throughput(table, loads, bares):
    best = {batch: max(bare["images_per_second"][batch] for bare in bares) for batch in bares[0]["images_per_second"]}
    table.note("bare forward, batches of " + ", ".join(best), tuple(best.values()), "images/s")
    name = f"throughput, {CLIENTS} clients / best bare forward"
    table.at_least(name, best_rate(loads) / max(best.values()), 0.9, "x")
    table.note(f"{CLIENTS} clients: ours", best_rate(loads), "images/s")
    table.note(f"{CLIENTS} clients: p50, p99", (best_quantile(loads, 0.5) * 1e3, best_quantile(loads, 0.99) * 1e3), "ms")
    table.note("what the generator itself takes of a core", 100 * loads[0].cpu_seconds / loads[0].seconds, "%")


def latency(table, loads, bares):
    timings = [json.loads(answer.body)["timing_ms"] for load in loads for answer in load.answers]
    middle = {part: median([timing[part] for timing in timings]) for part in ("queue", "decode", "forward")}
    decode, forward = (min(bare["milliseconds"][part] for bare in bares) for part in ("decode", "forward"))
    name = "one client: p50 over the peer's decode + forward at batch 1"
    table.at_most(name, best_quantile(loads, 0.5) * 1e3 - decode - forward, 1.5, "ms")
    table.note("one client: p50, p99", (best_quantile(loads, 0.5) * 1e3, best_quantile(loads, 0.99) * 1e3), "ms")
    table.note("one client: the peer's decode, forward", (decode, forward), "ms")
    table.note("one client: our queue, decode, forward", tuple(middle.values()), "ms")


def best_rate(loads):
    return max(load.rate() for load in loads)


def best_quantile(loads, share):
    return min(load.quantile(share) for load in loads)


def peer(python, program, weights):
    return Service([python, HERE / "peers" / program, weights / "init.pth"])


def peer_wires(program, files):
    if program == "litserve_service.py":
        bodies = [json.dumps({"image": base64.b64encode(file).decode()}).encode() for file in files]
        return [request("/predict", body, "application/json") for body in bodies]
    return [request("/predict", file) for file in files]


def compare(table, name, server, wires, service, their_wires):
    ours, theirs = [], []
    closed(service.port, their_wires, CLIENTS, 5)
    for _ in range(ROUNDS):
        theirs.append(checked(closed(service.port, their_wires, CLIENTS, SECONDS)))
        ours.append(checked(closed(server.port, wires, CLIENTS, SECONDS)))
    table.at_least(f"throughput, {CLIENTS} clients: ours / {name}", best_rate(ours) / best_rate(theirs), 1.3, "x")
    share = best_quantile(ours, 0.99) / best_quantile(theirs, 0.99)
    table.at_most(f"p99, {CLIENTS} clients: ours / {name}", share, 0.7, "x")
    table.note(f"{name}", best_rate(theirs), "images/s")
    table.note(f"{name}: p50, p99", (best_quantile(theirs, 0.5) * 1e3, best_quantile(theirs, 0.99) * 1e3), "ms")


def overload(table, server, wires):
    samples, over = [], threading.Event()
    before = checked(closed(server.port, wires, CLIENTS, SECONDS)).rate()

    def watch():
        while not over.wait(5):
            samples.append(sum(map(resident, tree(server.process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    load = open_loop(server.port, wires, 10 * before, OVERLOAD_SECONDS)
    over.set()
    watcher.join()
    after = checked(closed(server.port, wires, CLIENTS, SECONDS)).rate()
    peak = (before + after) / 2
    others = len([answer for answer in load.answers if answer.status not in (200, 429)]) + load.unanswered
    hints = [answer for answer in load.answers if answer.status == 429 and not answer.retry_after]
    name = f"10x overload for {OVERLOAD_SECONDS} s"
    table.at_least(f"{name}: goodput / peak", load.rate() / peak, 0.9, "x")
    table.at_most(f"{name}: refusals, p99", load.quantile(0.99, 429) * 1e3, 50, "ms")
    table.note(f"{name}: peak before, after", (before, after), "images/s")
    table.note(f"{name}: refusals, p50, longest", (load.quantile(0.5, 429) * 1e3, load.quantile(1, 429) * 1e3), "ms")
    table.at_most(f"{name}: neither 200 nor 429 with Retry-After", others + len(hints), 0, "")
    table.at_most(f"{name}: memory, last 15 s / before", max(samples[-3:]) / max(samples[:-3]), 1.05, "x")
    table.note(f"{name}: asked, answered", (len(load.answers) + load.unanswered, load.rate() * load.seconds), "")
    table.note(f"{name}: memory", max(samples) / MB, "MB")
    table.note(f"{name}: what the generator itself takes of a core", 100 * load.cpu_seconds / load.seconds, "%")


def mixed(table, server, files):
    """Good and bad pictures for two models at once: what each is answered is what it is answered alone."""
    good = files[:MIXED_PICTURES]
    bad = [good[0][: len(good[0]) // 2], b"plain words", b"", b"\x89PNG\r\n\x1a\n" + bytes(40), good[1][:300]]
    paths = [f"/v1/models/{model}/predict?top_k=1000" for model in ("bench", "other")]
    wires = [request(path, file) for path in paths for file in good]
    wrong = [request(path, file) for path in paths for file in bad]
    alone = {wire: answer(server, wire) for wire in wires + wrong}
    order = []
    for number in range(MIXED_REQUESTS):
        kind = wrong if number % 10 == 3 else wires
        order.append(kind[(number * 7 + number // 10) % len(kind)])
    load = closed(server.port, order, MIXED_CLIENTS)
    collateral, apart = load.unanswered, 0.0
    for got in load.answers:
        expected = alone[order[got.number]]
        if got.status != expected.status:
            collateral += 1
        elif got.status == 200:
            apart = max(apart, difference(got.body, expected.body))
    spread = {json.loads(alone[wire].body)["predictions"][0]["probability"] for wire in wires}
    name = f"{MIXED_REQUESTS} mixed requests, {MIXED_CLIENTS} at once"
    table.at_most(f"{name}: answered otherwise than alone", collateral, 0, "")
    table.at_most(f"{name}: largest difference of a probability", apart * 1e6, 10, "millionths")
    table.note(f"{name}: lowest, highest probability of a best class", (min(spread), max(spread)), "")


def answer(server, wire):
    return closed(server.port, [wire], 1).answers[0]


def difference(one, other):
    classes = [{p["label"]: p["probability"] for p in json.loads(body)["predictions"]} for body in (one, other)]
    assert classes[0].keys() == classes[1].keys()
    return max(abs(classes[0][label] - classes[1][label]) for label in classes[0])


def beside_training(table, server, wires):
    """Predictions while a job trains everything on all cores."""
    for clients in (1, 4):
        idle, busy = Load(), Load()
        for _ in range(ROUNDS):
            idle.answers += checked(closed(server.port, wires, clients, SECONDS)).answers
            with training(server):
                busy.answers += checked(closed(server.port, wires, clients, SECONDS)).answers
        name = f"{clients} client{'s' * (clients > 1)}"
        table.at_most(f"{name}: p99 beside training / idle", busy.quantile(0.99) / idle.quantile(0.99), 2, "x")
        table.note(f"{name}: p50, p99 idle", (idle.quantile(0.5) * 1e3, idle.quantile(0.99) * 1e3), "ms")
        table.note(f"{name}: p50, p99 beside training", (busy.quantile(0.5) * 1e3, busy.quantile(0.99) * 1e3), "ms")


@contextmanager
def training(server):
    """While it lasts a job trains, from its first step on."""
    spec = {"dataset": "bench", "backbone": {"weights": "init.safetensors"}, "freeze": "none", "epochs": 1000}
    job = server.request("POST", "/v1/jobs", json.dumps(spec).encode())["id"]
    while not (server.request("GET", f"/v1/jobs/{job}")["progress"] or {}).get("step"):
        time.sleep(0.2)
    yield
    assert server.request("GET", f"/v1/jobs/{job}")["status"] == "running"
    server.request("POST", f"/v1/jobs/{job}/cancel", b"{}")
    server.request("GET", f"/v1/jobs/{job}?wait=60")


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


if __name__ == "__main__":
    main()
