"""The transfer-learning loop that everybody knows, in PyTorch, for any network: ImageFolder, Resize 256, CenterCrop 224, SGD, one process.

Prints one line of JSON. `benches/families.py` calls it.
"""

import argparse
import json

import family
import loop
import torch
from torch import nn, optim


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("network")
    parser.add_argument("data", help="folder with train/ and val/")
    parser.add_argument("weights", help="state dict with as many outputs as classes")
    parser.add_argument("--learns", choices=("head", "all"), default="head")
    parser.add_argument("--epochs", type=int, default=10)
    # As the loop of `loop.py` that is not tuned.
    parser.set_defaults(tuned=False)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = family.load(arguments.network, arguments.weights)
    if arguments.learns == "head":
        model.requires_grad_(False)
        family.head(model).requires_grad_(True)
    train, val = loop.loaders(arguments)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optim.SGD(learning, lr=0.001, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    for _ in range(arguments.epochs):
        model.train()
        for images, labels in train:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in val:
                right += (model(images).argmax(1) == labels).sum().item()
    torch.save(model.state_dict(), "/dev/null")
    print(json.dumps({"val_accuracy": right / len(val.dataset)}))


if __name__ == "__main__":
    main()
