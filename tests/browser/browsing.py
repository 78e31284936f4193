"""What the browser tests share: a browser on a running server, a watch over what it complains about, and the API beside it."""

import argparse
import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Error as BrowserError
from playwright.sync_api import sync_playwright

SECOND = 1000
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Violations of the content security policy, as the page itself is told of them.
RECORD_VIOLATIONS = """
    window.policyViolations = [];
    addEventListener('securitypolicyviolation', (event) =>
        window.policyViolations.push(`${event.effectiveDirective} ${event.blockedURI}`));
"""


class Failed(Exception):
    """Something that should hold does not."""


def require(holds, message):
    if not holds:
        raise Failed(message)


class Watch:
    """Everything that the browser complains about and every host that it talks to."""

    def __init__(self, page, base_url):
        self.host = urlsplit(base_url).netloc
        self.root = urlsplit(base_url).path
        self.complaints = []
        self.refusals_expected = set()
        page.add_init_script(RECORD_VIOLATIONS)
        page.on("console", self.on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", self.on_request)

    def on_console(self, message):
        if message.type not in ("error", "warning"):
            return
        refusal = re.search(r"responded with a status of (\d+)", message.text)
        place = urlsplit(message.location.get("url", "")).path.removeprefix(self.root)
        if refusal and (int(refusal.group(1)), place) in self.refusals_expected:
            return
        self.complaints.append(f"console {message.type}: {message.text} ({place})")

    def on_request(self, request):
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != self.host:
            self.complaints.append(f"request to another host: {request.url}")
        elif parts.netloc == self.host and not parts.path.startswith(f"{self.root}/"):
            self.complaints.append(f"request beside the server's path: {request.url}")

    def check(self, page, where):
        violations = page.evaluate("window.policyViolations")
        require(not violations, f"{where}: content security policy violated: {violations}")
        require(not self.complaints, f"{where}: {self.complaints}")


class Visit:
    """A browser with one page, and the server's API."""

    def __init__(self, browser, options):
        self.options = options
        self.context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light", reduced_motion="reduce")
        self.context.set_default_timeout(15 * SECOND)
        self.page, self.watch = self.window()
        self.shots = 0

    def window(self):
        """Another window of the same browser: `(page, watch)`."""
        page = self.context.new_page()
        return page, Watch(page, self.options.base_url)

    def test_id(self, name):
        return self.page.get_by_test_id(name)

    def go(self, route, page=None):
        (page or self.page).goto(f"{self.options.base_url}/#/{route}")

    def shoot(self, name):
        """Nothing may have gone wrong so far; takes screenshots, wide and narrow, if they are wanted."""
        self.watch.check(self.page, name)
        wide = self.page.viewport_size
        for width in (wide["width"], 400):
            self.page.set_viewport_size({"width": width, "height": wide["height"]})
            if self.options.screenshots:
                self.shots += 1
                self.page.screenshot(path=Path(self.options.screenshots) / f"{self.shots:02}-{name}-{width}.png", full_page=True)
            overflow = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            require(overflow <= 0, f"{name}: {overflow} pixels stick out of a window of {width}")
        self.page.set_viewport_size(wide)
        print(f"ok: {name}", flush=True)

    def call(self, method, path, body=None):
        """A call of the API, past the browser; the answer's JSON, or None where there is none."""
        archive = isinstance(body, bytes)
        data = body if archive or body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if archive else "application/json"
        request = urllib.request.Request(f"{self.options.base_url}/v1/{path}", data, {"content-type": kind}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                text = answer.read()
        except urllib.error.HTTPError as refusal:
            raise Failed(f"{method} {path}: {refusal.read().decode()}") from refusal
        return json.loads(text) if text else None

    def dataset(self, name, archive):
        """Uploads an archive; returns when it is ready."""
        dataset = self.call("PUT", f"datasets?name={name}", Path(archive).read_bytes())
        dataset = self.call("GET", f"datasets/{dataset['id']}?wait=120")
        require(dataset["status"] == "ready", f"the dataset is {dataset}")

    def model(self, name, dataset):
        """Trains as little as can be trained; returns the model's id."""
        small = {"architecture": "resnet20", "weights": "none"}
        job = self.call("POST", "jobs", {"dataset": dataset, "name": name, "epochs": 1, "backbone": small})
        job = self.call("GET", f"jobs/{job['id']}?wait=600")
        require(job["status"] == "succeeded", f"the job is {job}")
        return job["model"]


def play(description, script):
    """Runs `script(visit)` over the server and the archives of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("base_url", metavar="BASE_URL", type=lambda url: url.rstrip("/"))
    parser.add_argument("archives", metavar="ARCHIVE", nargs="*", help="archives of images in class folders")
    parser.add_argument("--screenshots", metavar="DIR", help="keep screenshots of every stage")
    options = parser.parse_args()
    if options.screenshots:
        Path(options.screenshots).mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = os.environ.get("FINETUNED_CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        visit = Visit(browser, options)
        try:
            script(visit)
            visit.watch.check(visit.page, "end")
        except (Failed, AssertionError, BrowserError) as failure:
            print(f"FAILED at {visit.page.url}: {failure}", file=sys.stderr)
            print(f"The browser complained: {visit.watch.complaints or 'of nothing'}", file=sys.stderr)
            if options.screenshots:
                visit.page.screenshot(path=Path(options.screenshots) / "failed.png", full_page=True)
            return 1
        finally:
            browser.close()
    print("It holds.")
    return 0
