#!/usr/bin/env python3
"""Promotes, takes back and deletes an alias, and fails where that happens without a question or the question leaves something out.

    python aliases.py BASE_URL ARCHIVE OTHER_ARCHIVE

The archives have images in class folders, the second one of one class more. Exit status 0: everything held; 1: the first thing that
did not, in words.
"""

import sys

from playwright.sync_api import expect

from browsing import SECOND, Failed, play, require

MOVE_BOUND = 60 * SECOND


def script(visit):
    two, three = visit.options.archives
    visit.dataset("few", two)
    visit.dataset("many", three)
    old, new = visit.model("old", "few"), visit.model("new", "many")
    differences_of_classes_are_told(visit)
    an_alias_is_made(visit, old)
    enter_moves_nothing(visit, old, new)
    a_promotion_asks_once(visit, old, new)
    what_has_changed_meanwhile_is_not_moved(visit, old, new)
    a_rollback_asks_too(visit, old)
    an_alias_is_deleted(visit)


def differences_of_classes_are_told(visit):
    """The pure part of the question, in the browser that uses it."""
    visit.go("models")
    told = visit.page.evaluate(
        """async () => {
            const { classDifference } = await import('./static/models/promotion.js');
            return [classDifference(['a', 'b'], ['a', 'b']), classDifference(['a', 'b'], ['b', 'a']), classDifference(['a', 'b', 'c'], ['b', 'c', 'd'])];
        }"""
    )
    same = {"added": [], "missing": [], "moved": []}
    turned = {"added": [], "missing": [], "moved": [["b", 1, 0], ["a", 0, 1]]}
    other = {"added": ["d"], "missing": ["a"], "moved": [["b", 1, 0], ["c", 2, 1]]}
    require(told == [same, turned, other], f"the differences are {told}")


def an_alias_is_made(visit, old):
    visit.go(f"models/{old}")
    visit.test_id("alias-name").fill("production")
    visit.test_id("promote").click()
    expect(visit.test_id("comparison")).to_contain_text("There is no such alias yet")
    visit.shoot("alias-new")
    visit.test_id("confirm").click()
    expect(row(visit)).to_have_count(1, timeout=MOVE_BOUND)
    require(named(visit) == old, "the new alias names another model")


def enter_moves_nothing(visit, old, new):
    visit.go(f"models/{new}")
    field = visit.test_id("alias-name")
    field.fill("production")
    field.press("Enter")
    expect(visit.test_id("keep")).to_be_focused()
    require(named(visit) == old, "Enter moved the alias")
    visit.page.keyboard.press("Enter")
    expect(visit.test_id("comparison")).to_have_count(0)
    expect(visit.test_id("promote")).to_be_enabled()
    require(named(visit) == old, "Enter twice moved the alias")
    field.press("Enter")
    expect(visit.test_id("keep")).to_be_focused()
    visit.page.keyboard.press("Escape")
    expect(visit.test_id("comparison")).to_have_count(0)
    expect(visit.test_id("promote")).to_be_enabled()
    require(named(visit) == old, "Escape moved the alias")
    expect(field).to_have_value("production")


def a_promotion_asks_once(visit, old, new):
    visit.test_id("promote").click()
    question = visit.test_id("comparison")
    for words in ("old@1", "new@1", "resnet20", "%", "few, version 1", "many, version 1"):
        expect(question).to_contain_text(words)
    expect(visit.test_id("class-change")).to_contain_text("1 class added: class-2")
    visit.shoot("alias-promotion")
    visit.test_id("confirm").click()
    expect(row(visit)).to_have_count(1, timeout=MOVE_BOUND)
    require(named(visit) == new, "a confirmed promotion did not move the alias")


def what_has_changed_meanwhile_is_not_moved(visit, old, new):
    """Between the question and the answer somebody else moves the alias, and back: what was shown may not hold any more."""
    visit.go(f"models/{old}")
    visit.test_id("alias-name").fill("production")
    visit.test_id("promote").click()
    expect(visit.test_id("class-change")).to_contain_text("1 class missing: class-2")
    for model in (old, new):
        visit.call("PUT", "aliases/production", {"model": model})
    visit.watch.refusals_expected.add((412, "/v1/aliases/production"))
    visit.test_id("confirm").click()
    expect(visit.test_id("problem")).to_be_visible()
    require(named(visit) == new, "the alias was moved although it had changed")
    visit.watch.refusals_expected.clear()


def a_rollback_asks_too(visit, old):
    visit.go(f"models/{named(visit)}")
    row(visit).get_by_test_id("rollback").click()
    expect(visit.test_id("class-change")).to_contain_text("class-2")
    expect(visit.test_id("keep")).to_be_focused()
    visit.test_id("confirm").click()
    expect(row(visit)).to_have_count(0, timeout=MOVE_BOUND)
    require(named(visit) == old, "the rollback went elsewhere")


def an_alias_is_deleted(visit):
    visit.go(f"models/{named(visit)}")
    row(visit).get_by_test_id("delete-alias").click()
    expect(visit.test_id("keep")).to_be_focused()
    visit.shoot("alias-deletion")
    visit.test_id("keep").click()
    named(visit)
    row(visit).get_by_test_id("delete-alias").click()
    visit.test_id("confirm").click()
    expect(row(visit)).to_have_count(0)
    try:
        visit.call("GET", "aliases/production")
    except Failed:
        return
    raise Failed("the alias is still there")


def row(visit):
    return visit.test_id("aliases").locator("[data-alias='production']")


def named(visit):
    """The model that the alias names now, as the server says."""
    return visit.call("GET", "aliases/production")["model"]


if __name__ == "__main__":
    sys.exit(play(__doc__, script))
