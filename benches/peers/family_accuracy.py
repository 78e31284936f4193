"""A head on a frozen backbone in PyTorch, picture for picture as finetuned trains it: the same preprocessing, first weights and order.

`family_accuracy.py NETWORK DATA WEIGHTS PREPROCESSING EPOCHS RATE` prints one line of JSON: hits among the validation images after each epoch.
`PREPROCESSING` is that of a model's card. The backbone is in eval mode, and each picture passes through it once. `benches/families.py` calls it.
"""

import json
import sys

import family
import torch
from loop import OurOrder
from torch import nn, optim
from torchvision import datasets, transforms

BATCH = 32


def main():
    network, data, weights, preprocessing, epochs, rate = sys.argv[1:]
    torch.manual_seed(0)
    model = family.load(network, weights).eval()
    pictures = recipe(json.loads(preprocessing))
    (train, labels), (val, answers) = (features(model, datasets.ImageFolder(f"{data}/{part}", pictures)) for part in ("train", "val"))
    head = family.head(model)
    optimizer = optim.SGD(head.parameters(), lr=float(rate), momentum=0.9)
    criterion, order, hits = nn.CrossEntropyLoss(), OurOrder(len(train)), []
    for order.epoch in range(1, int(epochs) + 1):
        for places in torch.tensor(list(order)).split(BATCH):
            optimizer.zero_grad()
            criterion(head(train[places]), labels[places]).backward()
            optimizer.step()
        with torch.no_grad():
            hits.append((head(val).argmax(1) == answers).sum().item())
    print(json.dumps({"hits": hits, "images": len(answers)}))


def recipe(preprocessing):
    assert preprocessing["resize"] == "shortest_crop", preprocessing
    interpolation = transforms.InterpolationMode(preprocessing.get("interpolation", "bilinear"))
    return transforms.Compose(
        [
            transforms.Resize(preprocessing["resize_to"], interpolation),
            transforms.CenterCrop(preprocessing["crop"]),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing["mean"], preprocessing["std"]),
        ]
    )


def features(model, images):
    """What reaches the head of each image, and the labels."""
    seen, labels = [], []
    hook = family.head(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for batch, classes in torch.utils.data.DataLoader(images, batch_size=BATCH):
            model(batch)
            labels.append(classes)
    hook.remove()
    return torch.cat(seen), torch.cat(labels)


if __name__ == "__main__":
    main()
