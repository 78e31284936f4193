"""The bare forward loop that serving on a card is held against.

`forward.py MODULE DEVICE SIZE` prints one line of JSON: images per second by batch size, of a TorchScript module over pictures that are on
the device already.
"""

import json
import sys
import time

import torch

BATCHES = (8, 32, 128)
SECONDS = 4


def main():
    path, device, size = sys.argv[1], torch.device(sys.argv[2]), int(sys.argv[3])
    kind = torch.float16 if device.type == "cuda" else torch.float32
    module = torch.jit.load(path, map_location=device).eval().to(device, kind)
    with torch.inference_mode():
        module = torch.jit.freeze(module)
        rates = {batch: rate(module, batch, size, device, kind) for batch in BATCHES}
    print(json.dumps(rates))


def rate(module, batch, size, device, kind):
    pictures = torch.randn(batch, 3, size, size, device=device, dtype=kind).contiguous(memory_format=torch.channels_last)
    for _ in range(3):
        module(pictures)
    settle(device)
    images, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for _ in range(max(1, 64 // batch)):
            module(pictures)
            images += batch
        settle(device)
    return images / (time.perf_counter() - began)


def settle(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
