"""The ResNets for images of 32 pixels (He et al. 2015, section 4.2), which torchvision does not have, for `scripts/parity`.

Written from the paper, independently of the Rust code, so that the two do not share a mistake.
"""

import torch
from torch import nn
from torch.nn import functional as F

BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9}


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut without parameters (option A)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        # Where the channels double, the resolution is halved.
        self.stride = outputs // inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def shortcut(self, x):
        if self.stride == 1:
            return x
        taken = x[:, :, :: self.stride, :: self.stride]
        zeros = torch.zeros_like(taken)[:, : taken.shape[1] // 2]
        return torch.cat([zeros, taken, zeros], dim=1)

    def forward(self, x):
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + self.shortcut(x))


class CifarResNet(nn.Module):
    def __init__(self, blocks, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        width = 16
        for index, outputs in enumerate([16, 32, 64], start=1):
            stage = []
            for _ in range(blocks):
                stage.append(Block(width, outputs))
                width = outputs
            self.add_module(f"layer{index}", nn.Sequential(*stage))
        self.linear = nn.Linear(width, num_classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def build(name, num_classes):
    return CifarResNet(BLOCKS[name], num_classes)
