#!/usr/bin/env python3
"""Opens many windows of one browser on running jobs, and fails where one of them is not live, or where plain requests wait.

    python windows.py BASE_URL ARCHIVE

ARCHIVE has images in class folders. A browser has six connections to a server for all of its windows together. Exit status 0:
everything held; 1: the first thing that did not, in words.
"""

import sys
from contextlib import contextmanager

from playwright.sync_api import expect

from browsing import SECOND, Watch, play, require

WINDOWS = 8
STEP_BOUND = 60 * SECOND
LONG = {"dataset": "flowers", "epochs": 10000, "batch_size": 8, "backbone": {"architecture": "resnet20", "weights": "none"}}
POINTS = "() => Number(document.querySelector('[data-line=train_loss]')?.dataset.points ?? 0)"
MORE_POINTS = "(above) => Number(document.querySelector('[data-line=train_loss]')?.dataset.points ?? 0) > above"
PLAIN_REQUEST = "async () => (await fetch('v1/system', { signal: AbortSignal.timeout(10000) })).status"
# Whether this window has the lock: its own requests have the same client id.
LEADS = """
    async () => {
        const name = `finetuned-live-1 ${new URL('./', location).pathname}`;
        const mine = await navigator.locks.request('own-id', async () => (await navigator.locks.query()).held.find((each) => each.name === 'own-id').clientId);
        return (await navigator.locks.query()).held.some((each) => each.name === name && each.clientId === mine);
    }
"""
HIDE = """
    async (hidden) => {
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event('visibilitychange'));
        // What had come until then is drawn.
        for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
    }
"""


def script(visit):
    expect.set_options(timeout=STEP_BOUND)
    visit.dataset("flowers", visit.options.archives[0])
    all_windows_of_a_job_are_live(visit)
    so_are_windows_of_as_many_jobs(visit)
    a_window_that_is_closed_hands_over(visit)
    without_anything_shared_a_window_asks_again_and_again(visit)


def all_windows_of_a_job_are_live(visit):
    with running(visit) as job, windows(visit, [job] * WINDOWS) as pages:
        each_is_live(pages)
        plain_requests_go_through(pages)
        hidden = pages[3]
        hidden.evaluate(HIDE, True)
        before = hidden.evaluate(POINTS)
        each_is_live([page for page in pages if page is not hidden])
        require(hidden.evaluate(POINTS) == before, "a hidden window went on")
        hidden.evaluate(HIDE, False)
        each_is_live([hidden])
        pages[0].close()
        each_is_live(pages[1:])
        ended_alike(visit, job, pages[1:])
    print(f"ok: {WINDOWS} windows of a job", flush=True)


def so_are_windows_of_as_many_jobs(visit):
    with running(visit) as first:
        queued = [visit.call("POST", "jobs", LONG)["id"] for _ in range(WINDOWS - 1)]
        with windows(visit, [first, *queued]) as pages:
            each_is_live(pages[:1])
            for page in pages:
                expect(page.get_by_test_id("connection")).to_have_text("live")
            plain_requests_go_through(pages)
            for job in queued:
                visit.call("POST", f"jobs/{job}/cancel")
            for page in pages[1:]:
                expect(page.get_by_role("heading", level=1)).to_contain_text("Cancelled")
                expect(page.get_by_test_id("connection")).to_have_text("")
            each_is_live(pages[:1])
    print(f"ok: windows of {WINDOWS} jobs", flush=True)


def a_window_that_is_closed_hands_over(visit):
    """Without shared workers one of the windows has the stream."""
    with running(visit) as job, windows(visit, [job] * WINDOWS, "delete globalThis.SharedWorker") as pages:
        each_is_live(pages)
        plain_requests_go_through(pages)
        for _ in range(2):
            leader = next(page for page in pages if page.evaluate(LEADS))
            pages.remove(leader)
            leader.close()
            each_is_live(pages)
            require(sum(page.evaluate(LEADS) for page in pages) == 1, "not one window leads after the other was closed")
        leader = next(page for page in pages if page.evaluate(LEADS))
        leader.evaluate(HIDE, True)
        others = [page for page in pages if page is not leader]
        each_is_live(others)
        require(not leader.evaluate(LEADS), "a hidden window leads")
        leader.evaluate(HIDE, False)
        ended_alike(visit, job, pages)
    print("ok: the window that had the stream was closed", flush=True)


def without_anything_shared_a_window_asks_again_and_again(visit):
    nothing = "delete globalThis.SharedWorker; delete globalThis.BroadcastChannel"
    with running(visit) as job, windows(visit, [job] * WINDOWS, nothing) as pages:
        each_is_live(pages)
        plain_requests_go_through(pages)
        ended_alike(visit, job, pages)
    print("ok: windows that share nothing", flush=True)


@contextmanager
def running(visit):
    job = visit.call("POST", "jobs", LONG)["id"]
    try:
        yield job
    finally:
        if visit.call("GET", f"jobs/{job}")["status"] in ("queued", "running"):
            cancelled(visit, job)


@contextmanager
def windows(visit, jobs, prepare=None):
    """A window for each of these jobs, in a browser of their own. Nothing may have gone wrong in them at the end."""
    context = visit.context.browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(STEP_BOUND)
    if prepare:
        context.add_init_script(prepare)
    opened = []
    for job in jobs:
        page = context.new_page()
        opened.append((page, Watch(page, visit.options.base_url)))
        visit.go(f"jobs/{job}", page)
    try:
        yield [page for page, _ in opened]
        for page, watch in opened:
            if not page.is_closed():
                watch.check(page, page.url)
    finally:
        context.close()


def each_is_live(pages):
    """Each window says so, and draws what happens after the last has said so."""
    for page in pages:
        expect(page.get_by_test_id("connection")).to_have_text("live")
    seen = [page.evaluate(POINTS) for page in pages]
    for page, points in zip(pages, seen):
        page.wait_for_function(MORE_POINTS, arg=points + 1, timeout=STEP_BOUND)


def plain_requests_go_through(pages):
    for page in pages:
        require(page.evaluate(PLAIN_REQUEST) == 200, "a plain request was refused")


def ended_alike(visit, job, pages):
    """When the job is over, every window has drawn every step, and none twice."""
    cancelled(visit, job)
    steps = sum(event["kind"] == "step" for event in events(visit, job))
    for page in pages:
        expect(page.get_by_test_id("connection")).to_have_text("")
        page.wait_for_function(MORE_POINTS, arg=steps - 1, timeout=STEP_BOUND)
        require(page.evaluate(POINTS) == steps, f"a window drew {page.evaluate(POINTS)} steps of {steps}")


def cancelled(visit, job):
    visit.call("POST", f"jobs/{job}/cancel")
    visit.call("GET", f"jobs/{job}?wait=60")


def events(visit, job):
    more, seen = True, 0
    while more:
        page = visit.call("GET", f"jobs/{job}/events?limit=1000&after={seen}")
        yield from page["data"]
        more, seen = page["has_more"], page["data"][-1]["seq"] if page["data"] else seen


if __name__ == "__main__":
    sys.exit(play(__doc__, script))
