"""PyTorch's eager loop with channels-last memory and autocast, over images that are decoded and cropped beforehand and lie on the card;
`training` calls it.

Prints one line of JSON: training images per second over all epochs but the first, each with its validation, and the best validation accuracy.
"""

import functools
import json
import sys
import time

import torch
from torch import nn, optim
from torchvision import datasets, models, transforms

KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main():
    data, device, architecture = sys.argv[1:4]
    batch_size, epochs, size = map(int, sys.argv[4:7])
    kind = KINDS[sys.argv[7]] if len(sys.argv) > 7 else torch.bfloat16
    scaler = torch.amp.GradScaler(device.split(":")[0], enabled=kind == torch.float16 and device.startswith("cuda"))
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
        for rows in torch.randperm(len(labels), device=device).split(batch_size):
            batch = normalised(pictures[rows], device)
            target = labels[rows]
            optimizer.zero_grad(set_to_none=True)
            with autocast(device, kind):
                loss = criterion(model(batch), target)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        best = max(best, accuracy(model, val_pictures, val_labels, batch_size, device, kind))
        synchronize(device)
        if epoch > 0:
            seconds += time.perf_counter() - began
            images += len(labels)
    print(json.dumps({"images_per_second": images / seconds, "accuracy": best}))


def decoded(folder, size, device):
    """Cropped images `[N, H, W, 3]`, u8, and labels, on the device."""
    crop = transforms.Compose([transforms.Resize(size * 256 // 224), transforms.CenterCrop(size), transforms.PILToTensor()])
    loader = torch.utils.data.DataLoader(datasets.ImageFolder(folder, crop), batch_size=64, num_workers=4)
    parts = [(pictures.permute(0, 2, 3, 1).contiguous(), labels) for pictures, labels in loader]
    return tuple(torch.cat([part[side] for part in parts]).to(device) for side in (0, 1))


def normalised(pictures, device):
    mean, std = constants(device)
    return ((pictures.float() / 255 - mean) / std).permute(0, 3, 1, 2)


@functools.cache
def constants(device):
    return torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)


def accuracy(model, pictures, labels, batch_size, device, kind):
    model.eval()
    right = 0
    with torch.no_grad(), autocast(device, kind):
        for rows in torch.arange(len(labels), device=device).split(batch_size):
            right += (model(normalised(pictures[rows], device)).argmax(1) == labels[rows]).sum()
    return right.item() / len(labels)


def autocast(device, kind):
    return torch.autocast(device.split(":")[0], dtype=kind, enabled=device.startswith("cuda"))


def synchronize(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
