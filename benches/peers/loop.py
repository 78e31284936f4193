"""The transfer-learning loop that everybody knows, in PyTorch: ImageFolder, Resize 256, CenterCrop 224, SGD, one process.

`--tuned` is the same by a careful hand: channels-last, two loader processes, frozen stages in eval mode (so that their BatchNorm
statistics stay as they are, as ours do), and the order of pictures that our own trainer draws, so that the arithmetic is the same
picture for picture. Prints one line of JSON. Needs torch and torchvision; `benches/training.py` calls it.
"""

import argparse
import json

import torch
from torch import nn, optim
from torchvision import datasets, models, transforms

STAGES = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
# What learns beside the head: the number of entries of STAGES that are frozen.
FROZEN = {"head": 6, "layer4": 5, "all": 0}
MASK = (1 << 64) - 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="folder with train/ and val/")
    parser.add_argument("weights", help="state dict of a ResNet-18 with as many outputs as classes")
    parser.add_argument("out", help="where the trained state dict goes")
    parser.add_argument("--learns", choices=FROZEN, default="head")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--tuned", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model, frozen = network(arguments)
    train, val = loaders(arguments)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optim.SGD(learning, lr=arguments.lr, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    accuracies = []
    for epoch in range(1, arguments.epochs + 1):
        if arguments.tuned:
            train.sampler.epoch = epoch
        model.train()
        if arguments.tuned:
            for stage in frozen:
                stage.eval()
        for pictures, labels in train:
            optimizer.zero_grad()
            loss = criterion(model(laid_out(arguments, pictures)), labels)
            loss.backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for pictures, labels in val:
                right += (model(laid_out(arguments, pictures)).argmax(1) == labels).sum().item()
        accuracies.append(right / len(val.dataset))
    torch.save(model.state_dict(), arguments.out)
    print(json.dumps({"val_accuracy": accuracies, "val_images": len(val.dataset)}))


def network(arguments):
    state = torch.load(arguments.weights, weights_only=True)
    model = models.resnet18(num_classes=state["fc.bias"].shape[0])
    model.load_state_dict(state)
    frozen = [getattr(model, name) for name in STAGES[: FROZEN[arguments.learns]]]
    for stage in frozen:
        stage.requires_grad_(False)
    if arguments.tuned:
        model = model.to(memory_format=torch.channels_last)
    return model, frozen


def loaders(arguments):
    recipe = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    train, val = (datasets.ImageFolder(f"{arguments.data}/{part}", recipe) for part in ("train", "val"))
    if not arguments.tuned:
        loader = torch.utils.data.DataLoader
        return loader(train, batch_size=32, shuffle=True), loader(val, batch_size=32)
    ours = {"batch_size": 32, "num_workers": 2, "persistent_workers": True}
    return (
        torch.utils.data.DataLoader(train, sampler=OurOrder(len(train)), **ours),
        torch.utils.data.DataLoader(val, **ours),
    )


def laid_out(arguments, pictures):
    return pictures.to(memory_format=torch.channels_last) if arguments.tuned else pictures


class OurOrder(torch.utils.data.Sampler):
    """The order in which finetuned takes the training pictures with seed 0 (`src/domain/random.rs`: SplitMix64, Fisher-Yates)."""

    SHUFFLE = 2
    GOLDEN = 0x9E3779B97F4A7C15

    def __init__(self, images):
        self.images, self.epoch = images, 1

    def __len__(self):
        return self.images

    def __iter__(self):
        state = mix((0 + self.GOLDEN) & MASK)
        for part in (self.SHUFFLE, self.epoch, 0):
            state = mix(state ^ mix((part + self.GOLDEN) & MASK))
        order = list(range(self.images))
        for last in range(self.images - 1, 0, -1):
            state = (state + self.GOLDEN) & MASK
            other = (mix(state) * (last + 1)) >> 64
            order[last], order[other] = order[other], order[last]
        return iter(order)


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


if __name__ == "__main__":
    main()
