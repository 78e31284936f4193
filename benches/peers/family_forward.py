"""The bare forward pass of any network: PyTorch, channels-last, eager and compiled by `optimize_for_inference`, the better of the two.

`family_forward.py NETWORK WEIGHTS` prints one line of JSON: images per second by batch size.
"""

import json
import sys
import time

import family
import torch

BATCHES = (1, 8, 16, 32)
SECONDS = 4


def main():
    network, weights = sys.argv[1:]
    images = torch.randn(32, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    eager = family.load(network, weights).eval().to(memory_format=torch.channels_last)
    rates = {}
    with torch.inference_mode():
        forms = {"eager": eager}
        try:
            forms["compiled"] = torch.jit.optimize_for_inference(torch.jit.trace(eager, images[:1]))
        except RuntimeError as fault:
            print(fault, file=sys.stderr)
        for batch in BATCHES:
            rates[batch] = max(rate(form, images[:batch]) for form in forms.values())
    print(json.dumps({"images_per_second": rates}))


def rate(model, images):
    for _ in range(3):
        model(images)
    passes, began = 0, time.perf_counter()
    while time.perf_counter() < began + SECONDS:
        model(images)
        passes += 1
    return passes * len(images) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
