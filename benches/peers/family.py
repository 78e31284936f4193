"""A network of torchvision's or timm's, as the peers of `benches/families.py` need it."""

import timm
import torch
import torchvision

# Ours under timm's name.
OF_TIMM = {"efficientnet_lite0": "tf_efficientnet_lite0"}


def build(name, classes):
    """The network with random weights."""
    if hasattr(torchvision.models, name):
        return getattr(torchvision.models, name)(weights=None, num_classes=classes)
    return timm.create_model(OF_TIMM.get(name, name), num_classes=classes)


def head(model):
    """The last linear layer, which is all that learns in a head-only training."""
    return [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]


def load(name, path):
    state = torch.load(path, weights_only=True)
    classes = list(state.values())[-1].shape[0]
    model = build(name, classes)
    model.load_state_dict(state)
    return model
