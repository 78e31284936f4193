#!/usr/bin/env python3
"""Reads the API reference and tries an operation, and fails where it needs anything but the server, or leaves operations out.

    python reference.py BASE_URL

Exit status 0: everything held; 1: the first thing that did not, in words.
"""

import sys

from playwright.sync_api import expect

from browsing import SECOND, play, require

LOADING_BOUND = 60 * SECOND


def script(visit):
    expect.set_options(timeout=LOADING_BOUND)
    page = visit.page
    page.goto(f"{visit.options.base_url}/docs")
    every_operation_is_there(visit)
    an_operation_can_be_tried(visit)
    # Not `shoot`: its narrow layout is not ours.
    visit.watch.check(page, "reference")
    if visit.options.screenshots:
        page.screenshot(path=f"{visit.options.screenshots}/reference.png")


def every_operation_is_there(visit):
    description = visit.page.evaluate("async () => (await fetch('../openapi.json')).json()")
    operations = sum(len(item) for item in description["paths"].values())
    require(operations > 100, f"only {operations} operations are described")
    expect(visit.page.locator(".opblock")).to_have_count(operations)


def an_operation_can_be_tried(visit):
    block = visit.page.locator(".opblock", has=visit.page.locator("[data-path='/healthz']"))
    block.locator("button.opblock-summary-control").click()
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")


if __name__ == "__main__":
    sys.exit(play(__doc__, script))
