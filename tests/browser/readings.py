#!/usr/bin/env python3
"""Chooses another reading of an archive in the dashboard, and fails where the classes are not those that it promised.

    python readings.py BASE_URL ARCHIVE

ARCHIVE has class folders with the same folders in each. Exit status 0: everything held; 1: the first thing that did not, in words.
"""

import sys

from playwright.sync_api import expect

from browsing import SECOND, play, require

READ_BOUND = 60 * SECOND


def script(visit):
    visit.dataset("dogs", visit.options.archives[0])
    before = visit.call("GET", "datasets/dogs")
    visit.go(f"datasets/{before['id']}")
    readings = visit.test_id("readings")
    expect(readings).to_contain_text("folders on level 2")
    expect(readings).to_contain_text("indoor, outdoor")
    expect(visit.page.get_by_test_id("warning").filter(has_text="Repeated folders")).to_be_visible()
    visit.shoot("readings")
    readings.get_by_role("button", name="Read it this way").first.click()
    classes = visit.test_id("classes")
    expect(classes).to_contain_text("indoor", timeout=READ_BOUND)
    expect(classes).not_to_contain_text("poodle")
    # The reading of before is now one of the others.
    expect(readings).to_contain_text("beagle, poodle")
    visit.shoot("readings-chosen")
    after = visit.call("GET", "datasets/dogs")
    require(after["version"] == 2, f"the version is {after['version']}")
    require([each["name"] for each in after["classes"]] == ["indoor", "outdoor"], f"the classes are {after['classes']}")


if __name__ == "__main__":
    sys.exit(play(__doc__, script))
