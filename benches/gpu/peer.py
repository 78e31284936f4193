"""PyTorch's eager loop with channels-last memory and autocast, over pictures that are decoded beforehand; `training` calls it.

Prints one line of JSON: images per second over all epochs but the first, and the best validation accuracy.
"""

import json
import sys
import time

import torch
from torch import nn, optim
from torchvision import datasets, models, transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main():
    data, device, architecture = sys.argv[1:4]
    batch_size, epochs, size = map(int, sys.argv[4:7])
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    (pictures, labels), (val_pictures, val_labels) = (decoded(f"{data}/{part}", size, device) for part in ("train", "val"))
    model = getattr(models, architecture)(num_classes=int(labels.max()) + 1)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    best, images, seconds = 0, 0, 0
    for epoch in range(epochs):
        model.train()
        synchronize(device)
        began = time.perf_counter()
        for rows in torch.randperm(len(labels)).split(batch_size):
            batch = normalised(pictures[rows], device)
            target = labels[rows].to(device, non_blocking=True)
            optimizer.zero_grad(set_to_none=True)
            with autocast(device):
                loss = criterion(model(batch), target)
            loss.backward()
            optimizer.step()
        synchronize(device)
        if epoch > 0:
            seconds += time.perf_counter() - began
            images += len(labels)
        best = max(best, accuracy(model, val_pictures, val_labels, batch_size, device))
    print(json.dumps({"images_per_second": images / seconds, "accuracy": best}))


def decoded(folder, size, device):
    """Cropped pictures `[N, H, W, 3]`, u8, and labels, in page-locked memory where a card is to read them."""
    crop = transforms.Compose([transforms.Resize(size * 256 // 224), transforms.CenterCrop(size), transforms.PILToTensor()])
    loader = torch.utils.data.DataLoader(datasets.ImageFolder(folder, crop), batch_size=64, num_workers=4)
    parts = [(pictures.permute(0, 2, 3, 1).contiguous(), labels) for pictures, labels in loader]
    both = tuple(torch.cat([part[side] for part in parts]) for side in (0, 1))
    return tuple(tensor.pin_memory() for tensor in both) if device.startswith("cuda") else both


def normalised(pictures, device):
    pixels = pictures.to(device, non_blocking=True).float() / 255
    pixels = (pixels - torch.tensor(MEAN, device=device)) / torch.tensor(STD, device=device)
    return pixels.permute(0, 3, 1, 2)


def accuracy(model, pictures, labels, batch_size, device):
    model.eval()
    right = 0
    with torch.no_grad(), autocast(device):
        for rows in torch.arange(len(labels)).split(batch_size):
            right += (model(normalised(pictures[rows], device)).argmax(1).cpu() == labels[rows]).sum().item()
    return right / len(labels)


def autocast(device):
    """bf16, as `precision: auto` takes on cards that have it."""
    return torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=device.startswith("cuda"))


def synchronize(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
