"""How long a process of PyTorch that is running takes to read a file of weights, build the network and answer about one image.

Prints one line of JSON: the shortest of some tries, of reading and building alone and with the answer. `benches/families.py` calls it.
"""

import json
import sys
import time

import family
import torch

TRIES = 5


def main():
    network, weights = sys.argv[1:]
    image = torch.randn(1, 3, 224, 224)
    reading, answering = [], []
    with torch.inference_mode():
        for _ in range(TRIES):
            began = time.perf_counter()
            model = family.load(network, weights).eval()
            reading.append(time.perf_counter() - began)
            model(image)
            answering.append(time.perf_counter() - began)
    print(json.dumps({"reading": min(reading), "answering": min(answering)}))


if __name__ == "__main__":
    main()
