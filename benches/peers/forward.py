"""The bare forward pass that serving is held to: PyTorch, channels-last, traced and frozen (BatchNorm folded into the convolutions).

`forward.py WEIGHTS FOLDER` prints one line of JSON: images per second by batch size over pictures that are decoded already, and the
medians of decoding one picture and of one forward pass of it, in milliseconds.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch

import resnet

BATCHES = (1, 4, 8, 16, 32)
SECONDS = 4


def main():
    files = [path.read_bytes() for path in sorted(Path(sys.argv[2]).rglob("*.jpg"))[:64]]
    began = time.perf_counter()
    pictures = torch.stack([resnet.prepare(file) for file in files])
    decode = []
    for file in files:
        began = time.perf_counter()
        resnet.prepare(file)
        decode.append(time.perf_counter() - began)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    model = resnet.load(sys.argv[1]).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        model = torch.jit.freeze(torch.jit.trace(model, pictures[:1]))
        passes = {batch: timed(model, pictures, batch) for batch in BATCHES}
    rates = {batch: batch / statistics.mean(seconds) for batch, seconds in passes.items()}
    milliseconds = {"decode": statistics.median(decode) * 1e3, "forward": statistics.median(passes[1]) * 1e3}
    print(json.dumps({"images_per_second": rates, "milliseconds": milliseconds}))


def timed(model, pictures, batch):
    """Seconds of each pass over ever other pictures."""
    parts = [part for part in pictures.split(batch) if len(part) == batch]
    for _ in range(3):
        model(parts[0])
    seconds, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        model(parts[len(seconds) % len(parts)])
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()
