#!/usr/bin/env python3
"""Clicks "New job with these settings" on jobs of every kind, and fails where the new job's spec is another than the old one's.

    python again.py BASE_URL ARCHIVE

ARCHIVE has images in class folders. Exit status 0: everything held; 1: the first thing that did not, in words.
"""

import json
import re
import sys

from playwright.sync_api import expect

from browsing import SECOND, play, require

SMALL = {"architecture": "resnet20", "weights": "none"}
# Settings of which the form has a field, and above all those of which it has none.
EVERYTHING = {
    "name": "everything",
    "epochs": 4,
    "batch_size": 8,
    "gradient_accumulation_steps": 2,
    "freeze": {"gradual": 2},
    "head": {"dropout": 0.2},
    "image": {"size": 48, "resize": "squash"},
    "augment": {
        "horizontal_flip": True, "hue_jitter": 0.1, "rand_augment": {"num_ops": 3, "magnitude": 5},
        "random_resized_crop": [0.5, 1], "views": 3,
    },
    "split": {"val": 0.25, "test": 0.1, "seed": 7, "group_by": {"separator": "--", "parts": 2}},
    "optimizer": {"name": "adamw", "lr": 0.002, "betas": [0.8, 0.99], "eps": 1e-7, "weight_decay": 0.05, "layer_decay": 0.7},
    "schedule": {"name": "cosine", "warmup_epochs": 0.5},
    "loss": {"label_smoothing": 0.1, "imbalance": "class_weights"},
    "clip_grad_norm": 1.5,
    "ema_decay": 0.99,
    "early_stopping": {"monitor": "val_accuracy", "patience": 9, "min_delta": 0.01},
    "precision": "fp32",
    "device": "cpu",
    "metadata": {"by": "me", "a/b ~c": "odd"},
    "seed": 11,
    "priority": -3,
    "max_seconds": 600,
    "max_attempts": 2,
}  # fmt: skip
PLATEAU = {
    "epochs": 9,
    "backbone": SMALL,
    "image": {"resize": "letterbox"},
    "optimizer": {"nesterov": True, "momentum": 0.8, "norm_weight_decay": 0.01, "bias_weight_decay": 0.02},
    "schedule": {"name": "plateau", "gamma": 0.3, "patience": 4},
    "loss": {"name": "focal", "gamma": 1.5, "imbalance": "balanced_sampler"},
}
THAWED = {"freeze": {"until": "layer2"}, "unfreeze_at_epoch": 3, "epochs": 5}


def script(visit):
    visit.dataset("flowers", visit.options.archives[0])
    model = visit.model("first", "flowers")
    learned = {"architecture": "resnet20", "weights": model}
    search = {"kind": "lr_find", "dataset": "flowers", "backbone": SMALL, "lr_find": {"steps": 40, "min_lr": 1e-5, "max_lr": 0.5}}
    every_kind = (
        {"dataset": "flowers", "backbone": learned, **EVERYTHING},
        {"dataset": "flowers@1", **PLATEAU},
        {"dataset": "flowers", "backbone": learned, **THAWED},
        {"dataset": "flowers", "backbone": {"architecture": "resnet50", "weights": "own.pth.tar"}, "freeze": "none"},
        {**search, "loss": {"label_smoothing": 0.2}, "split": {"seed": 5}},
        {"kind": "evaluate", "model": "first@1", "dataset": "flowers", "split": "all", "batch_size": 7, "priority": 2},
        {"kind": "batch-predict", "model": "first", "dataset": "flowers", "top_k": 2, "metadata": {"by": "me"}, "max_attempts": 1},
    )
    for spec in every_kind:
        the_new_job_is_the_old_one_again(visit, spec)
    a_search_becomes_a_training(visit, search)
    what_is_unchecked_is_left_out(visit, {"dataset": "flowers", "backbone": learned, **EVERYTHING})
    what_does_not_fit_any_more_is_told_beside_it(visit)
    a_number_that_a_page_cannot_repeat_is_named(visit, {"dataset": "flowers", "backbone": SMALL, "split": {"seed": 2**53 + 1}})


def the_new_job_is_the_old_one_again(visit, spec):
    source = submitted(visit, spec)
    open_form(visit, source)
    if spec.get("name") == "everything":
        for name, value in (("optimizer.name", "adamw"), ("schedule.name", "cosine"), ("split.seed", "7"), ("loss.label_smoothing", "0.1")):
            expect(setting(visit, name)).to_contain_text(value)
        visit.shoot("settings-taken-over")
    same(visit, started(visit), source["spec"], f"a {source['kind']} job again")


def a_search_becomes_a_training(visit, search):
    source = submitted(visit, search)
    open_form(visit, source, "Train with these settings")
    expect(visit.page.get_by_text("does not apply to training")).to_be_visible()
    expected = {name: value for name, value in source["spec"].items() if name != "lr_find"}
    same(visit, started(visit), {**expected, "kind": "train"}, "the training of a search")


def what_is_unchecked_is_left_out(visit, spec):
    source = submitted(visit, spec)
    open_form(visit, source)
    for name in ("schedule.name", "early_stopping", "metadata.a/b ~c"):
        setting(visit, name).get_by_role("checkbox").uncheck()
    visit.page.get_by_text("More settings", exact=True).click()
    visit.page.get_by_label("RandAugment strength", exact=True).fill("")
    # What belongs to a thing that is off is not sent.
    expect(setting(visit, "augment.rand_augment.num_ops")).to_be_hidden()
    visit.page.get_by_label("Epochs", exact=True).fill("6")
    # betas are AdamW's: the server says so beside them.
    setting(visit, "optimizer.name").get_by_role("checkbox").uncheck()
    visit.watch.refusals_expected.add((422, "/v1/jobs"))
    visit.test_id("start-job").click()
    expect(visit.test_id("error-optimizer-betas")).to_contain_text("adamw")
    visit.shoot("settings-refused")
    visit.watch.refusals_expected.clear()
    for name in ("optimizer.betas", "optimizer.eps"):
        setting(visit, name).get_by_role("checkbox").uncheck()
    expected = json.loads(json.dumps(source["spec"]))
    expected["schedule"]["name"] = "constant"
    expected["early_stopping"] = None
    expected["metadata"] = {"by": "me"}
    expected["augment"]["rand_augment"] = None
    expected["epochs"] = 6
    expected["optimizer"] |= {"name": "sgd", "betas": None, "eps": None, "momentum": 0.9}
    same(visit, started(visit), expected, "a job with settings left out")


def what_does_not_fit_any_more_is_told_beside_it(visit):
    frozen = {"freeze": {"until": "layer4"}, "backbone": {"architecture": "resnet18", "weights": "imagenet"}}
    source = submitted(visit, {"dataset": "flowers", **frozen})
    open_form(visit, source)
    page = visit.page
    page.get_by_label("Architecture", exact=True).select_option("resnet20")
    expect(page.get_by_label("Frozen layers", exact=True)).to_have_value("until:layer4")
    expect(page.get_by_label("Base weights", exact=True)).to_have_value("imagenet")
    visit.watch.refusals_expected.add((422, "/v1/jobs"))
    visit.test_id("start-job").click()
    expect(visit.test_id("error-freeze")).to_contain_text("resnet20")
    expect(visit.test_id("error-backbone-weights")).to_contain_text("resnet20")
    visit.shoot("another-architecture")
    visit.watch.refusals_expected.clear()
    page.get_by_label("Architecture", exact=True).select_option("resnet18")
    same(visit, started(visit), source["spec"], "a job whose network was changed and changed back")


def a_number_that_a_page_cannot_repeat_is_named(visit, spec):
    source = submitted(visit, spec)
    open_form(visit, source)
    expect(visit.test_id("error-split-seed")).to_contain_text("left out")
    expect(setting(visit, "split.seed").get_by_role("checkbox")).to_be_disabled()
    source["spec"]["split"]["seed"] = 0
    same(visit, started(visit), source["spec"], "a job with a seed that is too long")


def submitted(visit, spec):
    """A job of this spec, which need not run for this."""
    job = visit.call("POST", "jobs", spec)
    visit.call("POST", f"jobs/{job['id']}/cancel")
    return job


def open_form(visit, job, button="New job with these settings"):
    visit.go(f"jobs/{job['id']}")
    visit.page.get_by_role("link", name=button, exact=True).click()
    expect(visit.test_id("job-form")).to_be_visible()


def setting(visit, name):
    pointer = "/" + "/".join(part.replace("~", "~0") for part in name.split("."))
    pointer = pointer.replace("a/b", "a~1b")
    return visit.test_id("carried").locator(f'[data-pointer="{pointer}"]')


def started(visit):
    """The spec of the job that the form starts."""
    visit.test_id("start-job").click()
    visit.page.wait_for_url(re.compile(r"#/jobs/job_"), timeout=30 * SECOND)
    job = visit.page.url.rsplit("/", 1)[1]
    spec = visit.call("GET", f"jobs/{job}")["spec"]
    visit.call("POST", f"jobs/{job}/cancel")
    return spec


def same(visit, spec, expected, what):
    """Two specs, field by field."""
    differences = list(differing(spec, expected))
    require(not differences, f"{what} differs: {differences}")
    visit.watch.check(visit.page, what)
    print(f"ok: {what}", flush=True)


def differing(spec, expected, place=""):
    if isinstance(spec, dict) and isinstance(expected, dict):
        for name in sorted(spec.keys() | expected.keys()):
            yield from differing(spec.get(name), expected.get(name), f"{place}/{name}")
    elif spec != expected:
        yield f"{place} is {spec}, not {expected}"


if __name__ == "__main__":
    sys.exit(play(__doc__, script))
