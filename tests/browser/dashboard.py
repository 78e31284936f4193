#!/usr/bin/env python3
"""Does a person's whole job on the dashboard in a real browser, and fails where the page, its console or its network use is wrong.

    python dashboard.py BASE_URL ARCHIVE IMAGE [--screenshots DIR] [--weights none]

Uploads ARCHIVE (images in class folders) to a running server, trains on it, watches the curve grow, cancels a second job, drops
IMAGE on the first one's model. Needs `pip install playwright` and a Chromium (FINETUNED_CHROMIUM, default /usr/bin/chromium).
Exit status 0: everything held; 1: the first thing that did not, in words.
"""

import argparse
import base64
import mimetypes
import os
import re
import sys
import time
from pathlib import Path

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import expect, sync_playwright

from browsing import BROWSER_FLAGS, SECOND, Failed, Watch, require

INGEST_BOUND = 120 * SECOND
TRAINING_BOUND = 600 * SECOND
STEP_BOUND = 180 * SECOND
POINTS = """({ line, above }) => Number(document.querySelector(`[data-line="${line}"]`)?.dataset.points ?? 0) > above"""


class Session:
    """One run through the page."""

    def __init__(self, page, options):
        self.page = page
        self.options = options
        self.watch = Watch(page, options.base_url)
        # Unique, so that the same server can be tested again.
        self.name = f"browser-{int(time.time() * 1000):x}"
        self.shots = 0

    def test_id(self, name):
        return self.page.get_by_test_id(name)

    def shoot(self, name):
        """A checkpoint of the run: nothing may have gone wrong, and nothing may stick out of a narrow window."""
        self.watch.check(self.page, name)
        wide = self.page.viewport_size
        self.page.set_viewport_size({"width": 400, "height": 860})
        overflow = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        self.screenshot(f"{name}-narrow")
        self.page.set_viewport_size(wide)
        self.screenshot(name)
        if self.options.screenshots:
            self.page.emulate_media(color_scheme="dark")
            self.screenshot(f"{name}-dark")
            self.page.emulate_media(color_scheme="light")
        require(overflow <= 0, f"{name}: {overflow} pixels stick out of a 400 pixel window")
        nameless = self.page.evaluate(
            """() => [...document.querySelectorAll('input:not([hidden]), select, button')]
                .filter((control) => control.checkVisibility())
                .filter((control) => !control.labels?.length && !control.ariaLabel && !control.textContent.trim())
                .map((control) => control.outerHTML)"""
        )
        require(not nameless, f"{name}: controls without a name: {nameless}")
        print(f"ok: {name}", flush=True)

    def screenshot(self, name):
        if self.options.screenshots:
            self.shots += 1
            path = Path(self.options.screenshots) / f"{self.shots:02}-{name}.png"
            self.page.screenshot(path=path, full_page=True)

    def run(self):
        self.open()
        self.upload()
        self.an_image_is_relabelled()
        self.fields_that_are_wrong_are_named()
        self.preview_shows_what_training_sees()
        first = self.start_job(self.name, epochs=self.options.epochs)
        self.curve_grows()
        self.reload_keeps_the_place()
        second = self.start_job(f"{self.name}-long", epochs=1000)
        self.list_shows("jobs", [first, second])
        model = self.job_succeeds(first)
        self.cancel(second)
        self.predict(model)
        self.evaluation_is_shown(model)
        self.an_alias_is_promoted_and_taken_back(model)
        self.other_kinds_of_jobs_show_what_they_found(model)
        self.a_wrong_label_is_found_and_mended()
        self.watch.check(self.page, "end")

    def open(self):
        answer = self.page.goto(f"{self.options.base_url}/")
        policy = answer.headers.get("content-security-policy", "")
        require("script-src 'self'" in policy and "unsafe" not in policy, f"content security policy is `{policy}`")
        expect(self.page.get_by_role("heading", name="Datasets", level=1)).to_be_visible()
        expect(self.test_id("system")).not_to_be_empty()
        self.check_chart_functions()
        self.shoot("opened")

    def check_chart_functions(self):
        """The pure parts of the chart, in the browser that uses them."""
        answer = self.page.evaluate(
            """async () => {
                const { ticks, thin } = await import('./static/shared/chart.js');
                const { Curves } = await import('./static/jobs/curves.js');
                const spiky = Array.from({ length: 5000 }, (_, x) => ({ x, y: x === 3333 ? 99 : Math.sin(x) }));
                const thinned = thin(spiky, 400);
                const curves = new Curves();
                for (let step = 1; step <= 30; step += 1) {
                    curves.apply('step', { step, epoch: Math.ceil(step / 10), train_loss: 1 / step });
                    if (step % 10 === 0) curves.apply('epoch', { epoch: step / 10, step, val_loss: null, val_accuracy: 0.5 });
                }
                curves.apply('rewind', { to_step: 20, to_epoch: 2 });
                return {
                    ticks: ticks(0, 1, 5), odd: ticks(-3, 28, 4), flat: ticks(2, 2, 5),
                    size: thinned.length, spike: thinned.some(({ y }) => y === 99), end: thinned.at(-1).x,
                    rising: thinned.every(({ x }, i) => i === 0 || x > thinned[i - 1].x),
                    steps: curves.lastStep.step, epochs: curves.epochs.length, unknown: curves.perEpoch('val_loss').length,
                };
            }"""
        )
        expected = {
            "ticks": [0, 0.2, 0.4, 0.6, 0.8, 1], "odd": [0, 10, 20], "flat": [2],
            "spike": True, "end": 4999, "rising": True, "steps": 20, "epochs": 2, "unknown": 0,
        }  # fmt: skip
        size = answer.pop("size")
        require(answer == expected, f"chart functions gave {answer}")
        require(size <= 401, f"5000 points were thinned to {size}, not to about 400")

    def upload(self):
        self.test_id("archive-input").set_input_files(self.options.archive)
        field = self.page.get_by_label("Name of the dataset")
        require(field.input_value(), "the name is not filled in from the file's name")
        field.fill(self.name)
        self.shoot("archive-chosen")
        self.test_id("upload-start").click()
        self.page.wait_for_url(re.compile(r"#/datasets/ds_"), timeout=INGEST_BOUND)
        status = self.test_id("status").or_(self.test_id("dataset-error")).first
        expect(status).not_to_have_text("Processing", timeout=INGEST_BOUND)
        expect(status).to_have_text("Ready")
        require(self.test_id("classes").get_by_role("listitem").count() >= 2, "fewer than two classes are shown")
        self.shoot("dataset-ready")

    def an_image_is_relabelled(self):
        grid = self.test_id("images")
        expect(grid.get_by_role("img").first).to_be_visible()
        drawn = "() => [...document.querySelectorAll('.thumbnails img')].slice(0, 8).every((each) => each.naturalWidth > 0)"
        self.page.wait_for_function(drawn, timeout=INGEST_BOUND)
        label = grid.locator("bdi").first
        before = label.text_content()
        # What an archive could be full of is text and nothing else.
        for version, name in ((2, "<img src=x onerror=alert(1)>"), (3, before)):
            grid.get_by_role("checkbox").first.check()
            self.test_id("new-class").fill(name)
            if version == 2:
                self.shoot("image-chosen")
            self.test_id("relabel").click()
            expect(self.test_id("versions").get_by_role("listitem")).to_have_count(version)
            expect(label).to_have_text(name)
        require(self.test_id("classes").get_by_role("listitem").count() >= 2, "a class is missing")
        self.shoot("relabelled")

    def fields_that_are_wrong_are_named(self):
        self.test_id("train").click()
        expect(self.page.get_by_label("Dataset", exact=True)).to_have_value(self.name)
        self.a_network_brings_its_own_choices()
        self.fill_form("wrong", epochs=0, lr="much")
        self.watch.refusals_expected.add((422, "/v1/jobs"))
        self.test_id("start-job").click()
        for pointer in ("epochs", "optimizer-lr"):
            expect(self.test_id(f"error-{pointer}")).not_to_be_empty()
        expect(self.page.get_by_label("Epochs", exact=True)).to_be_focused()
        self.shoot("fields-refused")
        self.watch.refusals_expected.clear()

    def a_network_brings_its_own_choices(self):
        network = self.page.get_by_label("Architecture", exact=True)
        layers = self.page.get_by_label("Frozen layers", exact=True)
        weights = self.page.get_by_label("Base weights", exact=True)
        for name, last, usual in (("resnet20", "until:layer3", "none"), ("resnet18", "until:layer4", "imagenet")):
            network.select_option(name)
            expect(layers.locator("option").last).to_have_attribute("value", last)
            expect(weights).to_have_value(usual)

    def preview_shows_what_training_sees(self):
        """On the form that is open: a wrong field is named beside it, a right one drawn."""
        page = self.page
        page.get_by_text("More settings", exact=True).click()
        rotation = page.get_by_label("Random rotation, degrees", exact=True)
        rotation.fill("900")
        self.watch.refusals_expected.add((422, f"/v1/datasets/{self.name}/preview"))
        self.test_id("preview-button").click()
        expect(self.test_id("error-augment-rotation_degrees")).not_to_be_empty()
        self.watch.refusals_expected.clear()
        rotation.fill("30")
        page.get_by_label("Random crops, share of the area", exact=True).fill("0.3, 1")
        self.test_id("preview-button").click()
        sheet = self.test_id("preview").locator("img")
        expect(sheet).to_be_visible(timeout=STEP_BOUND)
        loaded = "() => document.querySelector('[data-testid=preview] img').naturalWidth > 100"
        page.wait_for_function(loaded, timeout=STEP_BOUND)
        expect(self.test_id("error-augment-rotation_degrees")).to_be_empty()
        self.shoot("preview")

    def fill_form(self, name, epochs, lr="0.01"):
        page = self.page
        page.get_by_label("Model name", exact=True).fill(name)
        weights = page.get_by_label("Base weights", exact=True)
        if self.options.weights in ("none", "imagenet"):
            weights.select_option(self.options.weights)
        else:
            weights.select_option("other")
            page.get_by_label("File name", exact=True).fill(self.options.weights)
        page.get_by_label("Image size", exact=True).fill(str(self.options.image_size))
        page.get_by_label("Epochs", exact=True).fill(str(epochs))
        page.get_by_label("Batch size", exact=True).fill("8")
        page.get_by_label("Learning rate", exact=True).fill(lr)

    def start_job(self, name, epochs):
        """Starts a job through the form; returns its id."""
        self.page.goto(f"{self.options.base_url}/#/jobs/new?dataset={self.name}")
        self.fill_form(name, epochs)
        self.test_id("start-job").click()
        self.page.wait_for_url(re.compile(r"#/jobs/job_"), timeout=30 * SECOND)
        expect(self.page.get_by_role("heading", name=name, level=1)).to_be_visible()
        return self.page.url.rsplit("/", 1)[1]

    def points(self, line="train_loss"):
        return self.page.evaluate(
            """(line) => Number(document.querySelector(`[data-line="${line}"]`)?.dataset.points ?? 0)""", line
        )

    def wait_for_more_points(self, above, line="train_loss"):
        self.page.wait_for_function(POINTS, arg={"line": line, "above": above}, timeout=STEP_BOUND)
        return self.points(line)

    def curve_grows(self):
        seen = [0]
        while len(seen) < 4:
            seen.append(self.wait_for_more_points(seen[-1]))
        drawn = self.page.locator('[data-line="train_loss"] polyline').get_attribute("points") or ""
        require(len(drawn.split()) >= seen[1], f"the curve has {len(drawn.split())} places for {seen[-1]} points")
        summary = self.test_id("loss-chart").locator(".chart-summary")
        expect(summary).to_contain_text("Training loss")
        print(f"ok: the curve grew: {seen[1:]} points", flush=True)
        self.shoot("job-running")

    def reload_keeps_the_place(self):
        before = self.points()
        address = self.page.url
        self.page.reload()
        self.wait_for_more_points(before - 1)
        require(self.page.url == address, f"a reload went from {address} to {self.page.url}")
        self.watch.check(self.page, "reloaded")

    def list_shows(self, section, ids):
        self.page.get_by_role("navigation").get_by_role("link", name=section.capitalize()).click()
        for each in ids:
            expect(self.test_id(section).locator(f'[data-id="{each}"]')).to_be_visible(timeout=30 * SECOND)
        self.shoot(f"{section}-listed")

    def job_succeeds(self, job):
        self.page.goto(f"{self.options.base_url}/#/jobs/{job}")
        ended = self.test_id("try-model").or_(self.test_id("job-error"))
        expect(ended).to_be_visible(timeout=TRAINING_BOUND)
        error = self.test_id("job-error")
        require(error.count() == 0, f"the job failed: {error.inner_text() if error.count() else ''}")
        expect(self.page.get_by_role("heading", level=1).get_by_test_id("status")).to_have_text("Succeeded")
        self.wait_for_more_points(self.options.epochs - 1, line="val_accuracy")
        self.shoot("job-succeeded")
        self.test_id("try-model").click()
        self.page.wait_for_url(re.compile(r"#/models/mdl_"))
        return self.page.url.rsplit("/", 1)[1]

    def cancel(self, job):
        self.page.goto(f"{self.options.base_url}/#/jobs/{job}")
        self.wait_for_more_points(1)
        self.test_id("cancel-job").click()
        self.test_id("confirm").click()
        status = self.page.get_by_role("heading", level=1).get_by_test_id("status")
        expect(status).to_have_text("Cancelled", timeout=60 * SECOND)
        expect(self.test_id("cancel-job")).to_be_hidden()
        self.shoot("job-cancelled")

    def predict(self, model):
        self.list_shows("models", [model])
        self.page.goto(f"{self.options.base_url}/#/models/{model}")
        image = Path(self.options.image)
        carried = self.page.evaluate_handle(
            """async ({ bytes, name, type }) => {
                const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type });
                const carried = new DataTransfer();
                carried.items.add(file);
                return carried;
            }""",
            {
                "bytes": base64.b64encode(image.read_bytes()).decode(),
                "name": image.name,
                "type": mimetypes.guess_type(image.name)[0] or "",
            },
        )
        self.test_id("image-drop").dispatch_event("drop", {"dataTransfer": carried})
        answer = self.test_id("predictions").or_(self.test_id("results").get_by_test_id("problem"))
        expect(answer).to_be_visible(timeout=60 * SECOND)
        rows = self.test_id("predictions").get_by_role("listitem").all_inner_texts()
        require(1 <= len(rows) <= 5, f"the top predictions are {rows or answer.inner_text()}")
        shares = [float(re.search(r"([\d.]+) %", row).group(1)) for row in rows]
        require(shares == sorted(shares, reverse=True) and sum(shares) <= 100.5, f"the probabilities are {shares}")
        expect(self.test_id("timing")).to_contain_text("forward")
        self.shoot("predicted")
        print(f"ok: {image.name} is {' '.join(rows[0].split())}", flush=True)

    def evaluation_is_shown(self, model):
        self.page.goto(f"{self.options.base_url}/#/models/{model}")
        expect(self.test_id("evaluation-accuracy")).to_contain_text("%")
        expect(self.test_id("calibration")).to_contain_text("error")
        classes = self.test_id("class-scores").locator("tbody tr").count()
        require(classes >= 2, f"{classes} classes have scores")
        cells = self.test_id("confusion").locator("tbody td").count()
        require(cells == classes**2, f"the confusion matrix of {classes} classes has {cells} cells")
        self.shoot("model-measured")

    def an_alias_is_promoted_and_taken_back(self, first):
        spec = {"dataset": self.name, "name": f"{self.name}-second", "epochs": 1, **self.training()}
        job = self.submit(spec)
        second = self.page.evaluate("async (job) => (await (await fetch(`v1/jobs/${job}?wait=600`)).json()).model", job)
        alias = f"{self.name}-live"
        row = self.test_id("aliases").locator(f"[data-alias='{alias}']")
        for model in (first, second):
            self.page.goto(f"{self.options.base_url}/#/models/{model}")
            expect(self.test_id("alias-name")).to_be_visible()
            expect(row).to_have_count(0)
            self.test_id("alias-name").fill(alias)
            self.test_id("promote").click()
            self.test_id("confirm").click()
            expect(row).to_have_count(1, timeout=STEP_BOUND)
        self.shoot("alias-promoted")
        row.get_by_test_id("rollback").click()
        self.test_id("confirm").click()
        expect(row).to_have_count(0, timeout=STEP_BOUND)
        # A name that is none is refused in words.
        self.watch.refusals_expected.add((422, "/v1/aliases/mdl_1"))
        self.test_id("alias-name").fill("mdl_1")
        self.test_id("promote").click()
        self.test_id("confirm").click()
        expect(self.test_id("problem")).to_contain_text("ids do")
        self.watch.refusals_expected.clear()
        self.page.goto(f"{self.options.base_url}/#/models")
        named = self.test_id("models").locator(f"[data-id='{first}']").get_by_test_id("named")
        expect(named).to_have_text(alias)
        self.shoot("alias-taken-back")

    def training(self):
        return {"backbone": {"weights": self.options.weights}, "image": {"size": self.options.image_size}}

    def submit(self, spec):
        return self.page.evaluate(
            """async (spec) => {
                const headers = { 'content-type': 'application/json' };
                const answer = await fetch('v1/jobs', { method: 'POST', headers, body: JSON.stringify(spec) });
                return (await answer.json()).id;
            }""",
            spec,
        )

    def other_kinds_of_jobs_show_what_they_found(self, model):
        training = self.training()
        kinds = (
            ({"kind": "evaluate", "model": model, "dataset": self.name, "split": "all"}, "evaluation"),
            ({"kind": "lr_find", "dataset": self.name, "batch_size": 8, "lr_find": {"steps": 20}, **training}, "lr-find"),
            ({"kind": "cross_validate", "dataset": self.name, "backbone": {"weights": model}, "repeats": 1}, "cross-validation"),
            ({"kind": "batch-predict", "model": model, "dataset": self.name}, "predictions"),
        )
        for spec, card in kinds:
            job = self.submit(spec)
            self.page.goto(f"{self.options.base_url}/#/jobs/{job}")
            found = self.test_id(card).or_(self.test_id("job-error"))
            expect(found).to_be_visible(timeout=TRAINING_BOUND)
            require(self.test_id(card).count() == 1, f"{spec['kind']}: {found.inner_text()}")
            self.shoot(f"job-{card}")
        with self.page.expect_download() as download:
            self.test_id("predictions-csv").click()
        rows = Path(download.value.path()).read_text().splitlines()
        require(rows[0].startswith("image,path,split,label,predicted,probability"), f"the table begins with {rows[0]}")

    def a_wrong_label_is_found_and_mended(self):
        image, version = self.relabel_one()
        self.page.goto(f"{self.options.base_url}/#/datasets/{self.name}")
        self.test_id("check-labels").click()
        # Its own model knows these images best.
        self.page.get_by_label("Base weights", exact=True).select_option(f"{self.name}@1")
        self.page.get_by_label("Job name", exact=True).fill(f"{self.name}-labels")
        self.shoot("label-check-form")
        self.test_id("start-job").click()
        self.page.wait_for_url(re.compile(r"#/jobs/job_"), timeout=30 * SECOND)
        found = self.test_id("label-check").or_(self.test_id("job-error"))
        expect(found).to_be_visible(timeout=TRAINING_BOUND)
        require(self.test_id("label-check").count() == 1, f"label check: {found.inner_text()}")
        doubt = self.test_id("doubtful").locator(f'[data-image="{image}"]')
        expect(doubt).to_be_visible()
        expect(self.test_id("apply-labels")).to_be_disabled()
        drawn = "() => document.querySelector('.doubts img').naturalWidth > 0"
        self.page.wait_for_function(drawn, timeout=INGEST_BOUND)
        doubt.get_by_role("combobox").select_option(index=1)
        self.shoot("labels-checked")
        self.test_id("apply-labels").click()
        self.test_id("confirm").click()
        applied = self.test_id("labels-applied")
        expect(applied).to_contain_text(f"Version {version + 1}")
        self.shoot("labels-applied")
        applied.get_by_role("link").click()
        expect(self.test_id("versions").get_by_role("listitem")).to_have_count(version + 1)

    def relabel_one(self):
        """Gives an image of the first class the label of the second; its id, and the version that has it."""
        return self.page.evaluate(
            """async (name) => {
                const address = `v1/datasets/${name}`;
                const [first, second] = (await (await fetch(address)).json()).classes;
                const { data } = await (await fetch(`${address}/images?limit=1&class=${encodeURIComponent(first.name)}`)).json();
                const headers = { 'content-type': 'application/json' };
                const body = JSON.stringify({ images: [{ id: data[0].id, class: second.name }] });
                const { version } = await (await fetch(`${address}/images`, { method: 'PATCH', headers, body })).json();
                return [data[0].id, version];
            }""",
            self.name,
        )


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base_url", metavar="BASE_URL", type=lambda url: url.rstrip("/"))
    parser.add_argument("archive", metavar="ARCHIVE", help="zip or tar of images in class folders")
    parser.add_argument("image", metavar="IMAGE", help="an image to classify at the end")
    parser.add_argument("--screenshots", metavar="DIR", help="keep screenshots of every stage, wide, narrow and dark")
    parser.add_argument("--weights", default="none", help="base weights of the jobs (default: none)")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    return parser.parse_args()


def main():
    options = read_options()
    if options.screenshots:
        Path(options.screenshots).mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = os.environ.get("FINETUNED_CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light", reduced_motion="reduce")
        page.set_default_timeout(15 * SECOND)
        session = Session(page, options)
        try:
            session.run()
        except (Failed, AssertionError, BrowserError) as failure:
            print(f"FAILED at {page.url}: {failure}", file=sys.stderr)
            print(f"The browser complained: {session.watch.complaints or 'of nothing'}", file=sys.stderr)
            session.screenshot("failed")
            return 1
        finally:
            browser.close()
    print("The dashboard does the whole job.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
