"""The peer of `datasets.py`: torchvision's ImageFolder, Resize(256) and two workers that load, timed over all images of a folder.

Prints a line of JSON: how many images, and the seconds from the first request to the last tensor. The better of two passes, so that the workers are up.
"""

import json
import sys
import time

from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

WORKERS = 2
BATCH = 32


def main():
    # Resized and as bytes: what a pack holds. Batches are lists, because the pictures have different shapes.
    data = ImageFolder(sys.argv[1], v2.Compose([v2.Resize(256), v2.PILToTensor()]))
    loader = DataLoader(data, BATCH, num_workers=WORKERS, persistent_workers=True, collate_fn=list)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        images = sum(len(batch) for batch in loader)
        times.append(time.perf_counter() - began)
    print(json.dumps({"images": images, "seconds": min(times)}))


if __name__ == "__main__":
    main()
