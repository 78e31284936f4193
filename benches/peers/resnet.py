"""What the serving peers and the bare forward pass share: the network, torchvision's preprocessing, a few names."""

import io

import torch
from PIL import Image
from torchvision import models, transforms

PREPARE = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def load(weights):
    """torchvision's ResNet-18 for inference, from a state dict."""
    state = torch.load(weights, weights_only=True)
    model = models.resnet18(num_classes=state["fc.bias"].shape[0])
    model.load_state_dict(state)
    return model.eval()


def prepare(file):
    """From the bytes of a picture to the network's input."""
    return PREPARE(Image.open(io.BytesIO(file)).convert("RGB"))


def answer(logits):
    """The JSON of one picture's answer."""
    probabilities = torch.softmax(logits, 0)
    best = torch.argsort(probabilities, descending=True)[:5]
    return {"predictions": [{"index": int(index), "probability": float(probabilities[index])} for index in best]}
