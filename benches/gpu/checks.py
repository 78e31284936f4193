"""What `lease` does on a card, a function for each of its steps. Each returns rows: a name, what was measured, its target, the verdict."""

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from measure.jobs import run, upload
from measure.server import FINETUNED, Server, scratch

HERE = Path(__file__).resolve().parent
WORKER = FINETUNED.parent / "finetuned-worker"
os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"


def row(name, measured, target, met):
    return {"name": name, "measured": measured, "target": target, "verdict": "met" if met else "MISSED"}


def note(name, measured):
    return {"name": name, "measured": measured, "target": "", "verdict": ""}


def devices(_):
    listed = json.loads(subprocess.run([WORKER, "devices"], check=True, stdout=subprocess.PIPE).stdout)
    return [note(one["name"], f"{one['description']}, {one['memory_bytes'] / 2**30:.1f} GiB") for one in listed]


def probe(arguments):
    began = time.perf_counter()
    subprocess.run([WORKER, "probe", "--device", arguments.device], check=True)
    return [note("a kernel runs and computes what the processor does", f"{time.perf_counter() - began:.1f} s")]


def curve(arguments):
    with scratch() as folder, drawn(folder) as server:
        losses = {}
        for device in ("cpu", arguments.device):
            job, _ = run(server, spec(device, architecture="resnet18", size=64, epochs=3, precision="fp32"))
            losses[device] = [event["train_loss"] for event in epochs(server, job)]
    off = max(abs(one / other - 1) for one, other in zip(losses["cpu"], losses[arguments.device]))
    return [row("training loss in fp32, off the processor's", f"{100 * off:.2f} %", "<= 2 %", off <= 0.02)]


def little_memory(arguments):
    """Another process has all but 3 GiB: batches are halved, and the job succeeds."""
    hold = (
        "import sys, torch; free, _ = torch.cuda.mem_get_info(sys.argv[1]);"
        "held = torch.empty(max(0, free - 3 * 2**30), dtype=torch.uint8, device=sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    )
    command = [arguments.python, "-c", hold, arguments.device]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with scratch() as folder, drawn(folder) as server:
                fields = {"architecture": "resnet50", "size": 224, "epochs": 1, "batch_size": 256, "precision": "fp32"}
                job, _ = run(server, spec(arguments.device, **fields))
                log = all_events(server, job)
                halved = any("halves" in json.dumps(event) or "micro" in json.dumps(event) for event in log)
                answer = prediction(server, job)
                where = server.request("GET", "/v1/system")["predictions"]
        finally:
            holder.kill()
    return [
        row("a batch that does not fit is halved, and the job succeeds", "halved" if halved else "whole", "halved", halved),
        note("a prediction meanwhile", f"{answer} on {where['device']}"),
    ]


def large_steps_in_fp16(arguments):
    with scratch() as folder, drawn(folder) as server:
        fields = {"architecture": "resnet18", "size": 64, "epochs": 2, "precision": "fp16", "optimizer": {"lr": 1000}}
        job = submitted(server, spec(arguments.device, **fields))
        code = (job["error"] or {}).get("code", job["status"])
    return [row("a rate of 1000", code, "diverged, or succeeded", code in ("diverged", "succeeded"))]


def activations_over_the_cap(arguments):
    """Maps of the first stage at 224 pixels are 0.8 MB an image: 1,800 of them are more than the card's share."""
    with scratch() as folder, drawn(folder, 8) as server:
        fields = {"architecture": "resnet18", "size": 224, "epochs": 2}
        base, _ = run(server, {**spec(arguments.device, **fields), "epochs": 1, "name": "base"})
        fields = spec(arguments.device, **fields) | {"freeze": {"until": "layer1"}}
        fields["backbone"]["weights"] = base["name"]
        run(server, fields)
    return [row("kept activations of more than 1 GiB", "succeeded", "succeeded", True)]


def calls_of_a_step(arguments):
    """Kernels that are started, and times that the processor waits for the card, in a step: by the difference of two jobs."""
    with scratch() as folder:
        folder = Path(folder)
        library, counts = folder / "counter.so", folder / "counts"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "counter.c", "-ldl"], check=True)
        wrapper = folder / "worker"
        wrapper.write_text(f'#!/bin/sh\nexport LD_PRELOAD={library} FINETUNED_COUNTS={counts}\nexec {WORKER} "$@"\n')
        wrapper.chmod(0o755)
        found = {}
        with drawn(folder, 2, "--worker", wrapper, "--sandbox", "off") as server:
            for number in (1, 3):
                fields = {"architecture": "resnet50", "size": 64, "epochs": number, "precision": "bf16"}
                job, _ = run(server, spec(arguments.device, **fields) | {"split": {"val": 0}})
                found[number] = [*map(int, counts.read_text().split()), epochs(server, job)[-1]["step"]]
    launches, waits, steps = (many - few for many, few in zip(found[3], found[1]))
    return [
        row("waits for the card in a step of ResNet-50", f"{waits / steps:.2f}", "<= 1", waits <= steps),
        note("kernels in it", f"{launches / steps:.0f}"),
    ]


def training(architecture, batch, least):
    def measured(arguments):
        rows = []
        for precision in ("bf16", "fp16"):
            command = [sys.executable, HERE / "training", "--device", arguments.device, "--python", arguments.python, "--json"]
            command += ["--only-ratio", "--architecture", architecture, "--batch-size", str(batch), "--precision", precision]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            both = json.loads(output.splitlines()[-1])
            ours, peer = (both[side]["images_per_second"] for side in ("ours", "peer"))
            rows.append(row(f"{precision}, ours / PyTorch", f"{ours / peer:.2f} x", f">= {least} x", ours >= least * peer))
            rows.append(note(f"{precision}: ours, PyTorch", f"{ours:,.0f} / {peer:,.0f} images/s"))
        return rows

    return measured


def serving(arguments):
    command = [sys.executable, HERE / "serving", "--device", arguments.device, "--python", arguments.python, "--seconds", "10"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [line.strip() for line in output.splitlines() if line.startswith("  ") and line.strip()]
    return [note(" ".join(line.split()), "") for line in lines[1:]]


def memory_afterwards(arguments):
    if not arguments.device.startswith("cuda"):
        return [note("no card", "")]
    query = ["nvidia-smi", "-i", arguments.device.split(":")[1], "--query-compute-apps=pid,used_memory", "--format=csv,noheader"]
    left = subprocess.run(query, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return [row("processes that still have memory of the card", str(len(left) // 3), "0", not left)]


CHECKS = {
    "devices": devices,
    "probe": probe,
    "curve": curve,
    "little memory": little_memory,
    "large steps in fp16": large_steps_in_fp16,
    "activations over the cap": activations_over_the_cap,
    "calls of a step": calls_of_a_step,
    "training: resnet50, batch 128": training("resnet50", 128, 1.0),
    "training: resnet50, batch 32": training("resnet50", 32, 1.2),
    "training: resnet18, batch 128": training("resnet18", 128, 1.0),
    "serving": serving,
    "memory afterwards": memory_afterwards,
}


def drawn(folder, repeat=1, *flags):
    """A server with a dataset `drawn` of so many times 300 images."""
    server = Server(folder, *flags)
    try:
        archive = Path(folder) / "all.zip"
        with zipfile.ZipFile(archive, "w") as target, tempfile.TemporaryDirectory() as beside:
            for seed in range(repeat):
                part = Path(beside) / "part.zip"
                subprocess.run([FINETUNED, "sample-dataset", part, "--seed", str(seed)], check=True, stdout=subprocess.DEVNULL)
                with zipfile.ZipFile(part) as source:
                    for name in source.namelist():
                        label, file = name.split("/")[-2:]
                        target.writestr(f"{label}/{seed}-{file}", source.read(name))
        upload(server, "drawn", archive)
    except BaseException:
        server.end()
        raise
    return server


def spec(device, architecture, size, epochs, **fields):
    return {
        "dataset": "drawn",
        "backbone": {"architecture": architecture, "weights": "none"},
        "image": {"size": size},
        "epochs": epochs,
        "device": device,
        **fields,
    }


def submitted(server, fields):
    job = server.request("POST", "/v1/jobs", json.dumps(fields).encode())
    while job["status"] in ("queued", "running"):
        job = server.request("GET", f"/v1/jobs/{job['id']}?wait=600")
    return job


def prediction(server, job):
    images = server.request("GET", "/v1/datasets/drawn/images?limit=1")["data"]
    connection = server.connect()
    connection.request("GET", f"/v1/datasets/drawn/images/{images[0]['id']}")
    image = connection.getresponse().read()
    answer = server.request("POST", f"/v1/models/{job['model']}/predict", image, "application/octet-stream")
    return answer["object"]


def all_events(server, job):
    return server.request("GET", f"/v1/jobs/{job['id']}/events?limit=1000")["data"]


def epochs(server, job):
    return [event["data"] for event in all_events(server, job) if event["kind"] == "epoch"]
