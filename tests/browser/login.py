#!/usr/bin/env python3
"""Logs in on the dashboard with a key, works, and logs out, and fails where somebody without a key sees more than the form.

    python login.py BASE_URL ARCHIVE KEY_FILE

The server needs a key, and KEY_FILE has one that may do everything. Exit status 0: everything held; 1: the first thing that did not, in words.
"""

import sys
from pathlib import Path

from playwright.sync_api import expect

from browsing import SECOND, play, require

READ_BOUND = 60 * SECOND


def script(visit):
    archive, key_file = visit.options.archives
    key = Path(key_file).read_text(encoding="utf-8")
    visit.watch.refusals_expected.update({(401, "/v1/session")})
    visit.go("datasets")
    form = visit.test_id("login")
    expect(form).to_be_visible()
    expect(visit.page.get_by_role("navigation")).to_be_hidden()
    visit.shoot("login")
    # Wrong ones first: cut short, and one that was never made.
    field = visit.test_id("key")
    for wrong, why in [(key[:40], "key is"), ("ft_" + "0" * 72, "checksum")]:
        field.fill(wrong)
        visit.test_id("log-in").click()
        expect(visit.test_id("problem")).to_contain_text(why)
    visit.shoot("login-refused")
    field.fill(f" {key} ")
    visit.test_id("log-in").click()
    expect(visit.page.get_by_role("navigation")).to_be_visible()
    visit.test_id("archive-input").set_input_files(archive)
    visit.test_id("upload-start").click()
    expect(visit.test_id("classes")).to_be_visible(timeout=READ_BOUND)
    cookies = visit.context.cookies()
    require(len(cookies) == 1 and cookies[0]["httpOnly"] and cookies[0]["sameSite"] == "Strict", f"the cookies are {cookies}")
    require(key[3:20] not in str(cookies) and key[3:20] not in visit.page.url, "the key is kept in the browser")
    visit.shoot("logged-in")
    another_key(visit)
    # A reload, and another window, are of the same session.
    visit.page.reload()
    expect(visit.test_id("log-out")).to_be_visible()
    visit.test_id("log-out").click()
    expect(form).to_be_visible()
    visit.page.reload()
    expect(form).to_be_visible()
    visit.shoot("logged-out")


def another_key(visit):
    """Makes a key for predictions alone, uses it, and revokes it."""
    visit.page.get_by_role("link", name="Keys").click()
    visit.watch.refusals_expected.add((422, "/v1/keys"))
    visit.test_id("key-name").fill("camera")
    visit.test_id("make-key").click()
    expect(visit.test_id("problem")).to_contain_text("scopes")
    visit.test_id("scope-read").check()
    visit.test_id("key-models").fill("flowers, birds")
    visit.test_id("key-life").select_option("30")
    visit.test_id("make-key").click()
    expect(visit.test_id("made-key")).to_contain_text("ft_")
    row = visit.page.locator("[data-key=camera]")
    expect(row).to_contain_text("only the models birds, flowers")
    expect(row).to_contain_text("never used")
    visit.shoot("keys")
    secret = visit.test_id("made-key").locator("code").inner_text()
    status = "async (key) => (await fetch('v1/models/flowers', { headers: { authorization: `Bearer ${key}` }, credentials: 'omit' })).status"
    # There is no such model, which only those are told who may ask.
    visit.watch.refusals_expected.add((404, "/v1/models/flowers"))
    require(visit.page.evaluate(status, secret) == 404, "the key that was made is refused")
    row.get_by_test_id("revoke").click()
    visit.page.get_by_role("button", name="Revoke the key").click()
    expect(row).to_contain_text("revoked")
    visit.watch.refusals_expected.add((401, "/v1/models/flowers"))
    require(visit.page.evaluate(status, secret) == 401, "the key that was revoked is taken")
    visit.page.reload()
    expect(row).to_be_visible()
    require(secret not in visit.page.content(), "the key is shown again")


if __name__ == "__main__":
    sys.exit(play(__doc__, script))
