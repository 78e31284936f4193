"""The golden values for training, computed by torch: optimisers, clipping, losses, learning rates. `scripts/parity` calls it.

Parameters, gradients and logits come from the formula of `scripts/parity`, so that the file contains only results.
"""

import torch

SHAPES = {"fc.weight": (4, 2), "fc.bias": (4,)}
STEPS = 50


def answers(values):
    return {
        "torch": torch.__version__.split("+")[0],
        "adamw": [adamw(values, **case) for case in ADAMW_CASES],
        "clipped": [clipped(values, **case) for case in CLIP_CASES],
        "losses": [loss(values, **case) for case in LOSS_CASES],
        "schedules": [schedule(**case) for case in SCHEDULE_CASES],
        "plateau": plateau(),
    }


ADAMW_CASES = [
    {"lr": 0.05, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
    {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1},
]


def adamw(values, **settings):
    """Steps down a quadratic bowl with a different slope for each element; only the matrix has weight decay."""
    decay = settings.pop("weight_decay")
    bowl = Bowl(values)
    groups = [
        {"params": [bowl.parameters["fc.weight"]], "weight_decay": decay},
        {"params": [bowl.parameters["fc.bias"]], "weight_decay": 0.0},
    ]
    bowl.descend(torch.optim.AdamW(groups, foreach=False, **settings))
    return {**settings, "weight_decay": decay, "end": bowl.place()}


CLIP_CASES = [{"lr": 0.05, "momentum": 0.9, "max_norm": 1.0}, {"lr": 0.02, "momentum": 0.0, "max_norm": 3.0}]


def clipped(values, lr, momentum, max_norm):
    bowl = Bowl(values)
    optimizer = torch.optim.SGD(bowl.parameters.values(), lr=lr, momentum=momentum, foreach=False)
    norms = bowl.descend(optimizer, max_norm)
    return {"lr": lr, "momentum": momentum, "max_norm": max_norm, "norms": norms, "end": bowl.place()}


class Bowl:
    """Half the squared distance of each parameter from its goal, times a slope."""

    def __init__(self, values):
        of = lambda what: {name: values(f"{what} {name}", shape).float() for name, shape in SHAPES.items()}
        self.parameters = {name: torch.nn.Parameter(start) for name, start in of("start").items()}
        self.goal = of("goal")
        self.slope = {name: slope + 1.5 for name, slope in of("slope").items()}

    def descend(self, optimizer, max_norm=None):
        norms = []
        for _ in range(STEPS):
            for name, parameter in self.parameters.items():
                parameter.grad = (parameter.detach() - self.goal[name]) * self.slope[name]
            if max_norm is not None:
                norms.append(torch.nn.utils.clip_grad_norm_(self.parameters.values(), max_norm).item())
            optimizer.step()
        return norms

    def place(self):
        return {name: parameter.detach().flatten().tolist() for name, parameter in self.parameters.items()}


LOSS_CASES = [
    {"name": "cross_entropy", "label_smoothing": 0.0, "balanced": False},
    {"name": "cross_entropy", "label_smoothing": 0.1, "balanced": False},
    {"name": "cross_entropy", "label_smoothing": 0.1, "balanced": True},
    {"name": "focal", "gamma": 2.0, "balanced": False},
    {"name": "focal", "gamma": 0.5, "balanced": True},
]


def loss(values, name, balanced, label_smoothing=0.0, gamma=None):
    """The mean over six images of classes 0, 0, 0, 1, 2, 2, and its gradient. `balanced`: weights as scikit-learn gives them."""
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    logits = torch.nn.Parameter((values("logits", (6, 3)) * 3).float())
    weight = (6 / (3 * torch.bincount(labels))).float() if balanced else None
    if name == "cross_entropy":
        mean = torch.nn.functional.cross_entropy(logits, labels, weight, label_smoothing=label_smoothing)
    else:
        # Lin et al. 2017, equation 5, with the class weights in place of alpha.
        right = torch.softmax(logits, 1)[torch.arange(6), labels]
        counts = torch.ones(6) if weight is None else weight[labels]
        mean = (counts * (1 - right) ** gamma * -right.log()).sum() / counts.sum()
    mean.backward()
    return {
        "name": name,
        "label_smoothing": label_smoothing,
        "gamma": gamma,
        "balanced": balanced,
        "loss": mean.item(),
        "gradient": logits.grad.flatten().tolist(),
    }


SCHEDULE_CASES = [
    {"name": "constant", "warmup_epochs": 1.5},
    {"name": "step", "step_epochs": 2, "gamma": 0.3},
    {"name": "step", "step_epochs": 2, "gamma": 0.3, "warmup_epochs": 1.0},
    {"name": "cosine"},
    {"name": "cosine", "warmup_epochs": 0.5},
    {"name": "one_cycle"},
    {"name": "one_cycle", "warmup_epochs": 3.0},
]
EPOCHS, STEPS_PER_EPOCH, LR = 6, 4, 0.2


def schedule(name, warmup_epochs=0.0, step_epochs=None, gamma=None):
    """The learning rate of every step."""
    total, warmup = EPOCHS * STEPS_PER_EPOCH, round(warmup_epochs * STEPS_PER_EPOCH)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    of = torch.optim.lr_scheduler
    if name == "one_cycle":
        rise = warmup / total if warmup else 0.3
        scheduler = of.OneCycleLR(optimizer, max_lr=LR, total_steps=total, pct_start=rise)
    else:
        scheduler = {
            "constant": lambda: of.ConstantLR(optimizer, factor=1.0),
            "step": lambda: of.StepLR(optimizer, step_epochs * STEPS_PER_EPOCH, gamma),
            "cosine": lambda: of.CosineAnnealingLR(optimizer, T_max=total - warmup),
        }[name]()
        if warmup:
            rise = of.LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
            scheduler = of.SequentialLR(optimizer, [rise, scheduler], milestones=[warmup])
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"name": name, "warmup_epochs": warmup_epochs, "step_epochs": step_epochs, "gamma": gamma, "rates": rates}


def plateau():
    """The learning rate of every epoch, for losses that stop falling, fall by too little, and fall again."""
    losses = [1.0, 0.8, 0.79999, 0.8, 0.9, 0.5, 0.6, 0.6, 0.6, 0.49, 0.5, 0.5, 0.5, 0.5]
    patience, gamma = 1, 0.5
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=gamma, patience=patience)
    rates = []
    for loss in losses:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(loss)
    return {"patience": patience, "gamma": gamma, "losses": losses, "rates": rates}
