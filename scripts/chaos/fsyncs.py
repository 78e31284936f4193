#!/usr/bin/env python3
"""The order of writes to the disk before an acknowledgement, as the kernel sees it (strace).

A file is synced and renamed to its final name, its directory is synced; then the database's log is written and synced; then the first byte
of the response is sent. Requests without a file start with the log. A kill cannot test this, because the page cache survives it: only a
loss of power could.

    python3 -B scripts/chaos/fsyncs.py --requests 60
"""

import re
import shutil
import sys
import time
from pathlib import Path

from harness import images, options
from harness.api import Api
from harness.options import Unable
from harness.server import Server
from harness.table import Table

REQUESTS, SHORT_REQUESTS = 60, 15
KINDS = ("upload", "submit", "cancel", "delete", "publish")
CALLS = "fsync,fdatasync,rename,renameat,renameat2,pwrite64,pwritev,write,writev,sendto,sendmsg,recvfrom"
LINE = re.compile(r"^(?P<thread>\d+) +(?P<time>[\d.]+) (?P<rest>.*)$")
RESUMED = re.compile(r"^<\.\.\. (?P<call>\w+) resumed>(?P<arguments>.*)$")
CALL = re.compile(r"^(?P<call>\w+)\((?P<arguments>.*)$")


class Call:
    """A system call, with the positions of its begin and end in the trace."""

    def __init__(self, name, arguments, begin):
        self.name, self.arguments, self.begin, self.end, self.failed = name, arguments, begin, None, False

    @property
    def syncs(self):
        return self.name in ("fsync", "fdatasync") and not self.failed

    def path(self):
        """The path of the file behind its descriptor."""
        found = re.match(r"\d+<([^>]*)>", self.arguments)
        return found.group(1) if found else ""

    def renames(self):
        """(from, to) of a rename, else None."""
        if not self.name.startswith("rename") or self.failed:
            return None
        names = re.findall(r'"([^"]*)"', self.arguments)
        return (names[0], names[1]) if len(names) == 2 else None


def calls(trace):
    """Every completed call, ordered by their begin."""
    found, open_ones = [], {}
    for place, line in enumerate(trace.read_text(errors="replace").splitlines()):
        parts = LINE.match(line)
        if not parts:
            continue
        thread, rest = parts["thread"], parts["rest"]
        resumed = RESUMED.match(rest)
        if resumed:
            call = open_ones.pop(thread, None)
            if call:
                # The data that a call returns is known when it ends.
                call.arguments += resumed["arguments"]
        else:
            begins = CALL.match(rest)
            if not begins:
                continue
            call = Call(begins["call"], begins["arguments"], place)
            found.append(call)
            if rest.endswith("<unfinished ...>"):
                open_ones[thread] = call
                continue
        if call:
            call.end, call.failed = place, bool(re.search(r"= -1 E", rest))
    return [call for call in found if call.end is not None]


class Order:
    """Checks whether the calls of a request are in order in a trace."""

    def __init__(self, found, data):
        self.calls, self.data = found, str(data)

    def request(self, line, nth):
        """The call that received the nth request that begins like this."""
        return [call for call in self.calls if call.name == "recvfrom" and f'"{line}' in call.arguments][nth]

    def answer(self, receipt):
        """The first bytes sent on the same socket after that."""
        socket = re.match(r"\d+", receipt.arguments).group(0)
        sends = ("write", "writev", "sendto", "sendmsg")
        for call in self.calls:
            if call.begin > receipt.end and call.name in sends and call.arguments.startswith(f"{socket}<") and "HTTP/1.1 " in call.arguments:
                return call
        return None

    def log_synced(self, after, before):
        """Whether the log is written and then synced between two positions of the trace. Another write may begin before the response is sent."""
        log = f"{self.data}/finetuned.db-wal"
        written = [call for call in self.calls if call.name.startswith("pwrite") and call.path() == log and after < call.begin and call.end < before]
        synced = [call for call in self.calls if call.syncs and call.path() == log and call.end < before]
        return bool(written) and any(sync.begin > written[0].end for sync in synced)

    def files(self, after, before):
        """Renames into the blobs between two positions of the trace."""
        moved = [(call, call.renames()) for call in self.calls if after < call.begin < before and call.renames()]
        return [(call, names) for call, names in moved if names[1].startswith(f"{self.data}/blobs/")]

    def faults(self, after, before, files):
        """What is out of order between the receipt of a request and the first byte of its response; it involves at least `files` files."""
        faults = []
        moved = self.files(after, before)
        if len(moved) < files:
            faults.append(f"{len(moved)} files became blobs, expected {files}")
        last = after
        for call, (old, new) in moved:
            folder = str(Path(new).parent)
            if not any(one.syncs and one.path() == old and one.end < call.begin for one in self.calls):
                faults.append("a file is renamed before it is synced")
            synced = [one for one in self.calls if one.syncs and one.path() == folder and call.end < one.begin and one.end < before]
            if not synced:
                faults.append("a directory is not synced after a rename and before the response")
            else:
                last = max(last, synced[0].end)
        if not self.log_synced(last, before):
            faults.append("the database's log is not written and synced after the files and before the response")
        return faults


def spec(name):
    return {"dataset": "base", "name": name, "backbone": {"architecture": "resnet20"}, "epochs": 1, "batch_size": 16}


def drive(api, each):
    """Sends the requests one after another. For each: its kind, the beginning of its head, its index among equal heads, the number of files."""
    asked, counts = [], {}

    def note(kind, head, files):
        asked.append((kind, head, counts.get(head, 0), files))
        counts[head] = counts.get(head, 0) + 1

    for number in range(each):
        api.expect("PUT", f"/v1/datasets?name=set-{number}", images.archive(100 + 4 * number, 4))
        note("upload", f"PUT /v1/datasets?name=set-{number} ", 1)
        job = api.expect("POST", "/v1/jobs", spec(f"job-{number}")).json["id"]
        note("submit", "POST /v1/jobs HTTP", 0)
        wait = f"/v1/jobs/{job}?wait=300"
        ended = api.expect("GET", wait, timeout=330).json
        assert ended["status"] == "succeeded", ended["error"]
        note("publish", f"GET {wait} ", 2)
        job = api.expect("POST", "/v1/jobs", spec(f"job-{number}")).json["id"]
        note("other", "POST /v1/jobs HTTP", 0)
        api.expect("POST", f"/v1/jobs/{job}/cancel")
        note("cancel", f"POST /v1/jobs/{job}/cancel ", 0)
        api.get(f"/v1/datasets/set-{number}?wait=60")
        api.expect("DELETE", f"/v1/datasets/set-{number}")
        note("delete", f"DELETE /v1/datasets/set-{number} ", 0)
        api.finished(job)
    return asked


def run(argv):
    parser = options.parser(__doc__)
    parser.add_argument("--requests", type=int, help=f"{REQUESTS} by default, divided equally among the kinds")
    chosen = options.parse(parser, argv)
    if not shutil.which("strace"):
        raise Unable("strace is not installed: `apt-get install strace`, or your distribution's equivalent")
    requests = chosen.requests or (SHORT_REQUESTS if chosen.short else REQUESTS)
    each = max(1, requests // len(KINDS))
    table = Table(f"Order of writes to the disk, {each * len(KINDS)} requests", chosen.slack)
    with options.scratch(chosen) as folder, Server(chosen, folder) as server:
        trace = folder / "trace"
        # Including the worker's calls: it syncs its own files.
        server.start(wrapper=["strace", "-f", "-y", "-ttt", "-s", "96", "-e", f"trace={CALLS}", "-o", str(trace)])
        api = Api(server)
        api.upload("base", images.archive(0, 8))
        server.wait_devices()
        asked = drive(api, each)
        server.stop()
        judge(table, Order(settled(trace), server.data.resolve()), asked)
    return table.show()


def settled(trace):
    """The complete output of strace, which outlives the server by a moment."""
    size, end = -1, time.monotonic() + 10
    while time.monotonic() < end and trace.stat().st_size != size:
        size = trace.stat().st_size
        time.sleep(0.1)
    return calls(trace)


def judge(table, order, asked):
    for kind in KINDS:
        faults, ones = [], [one for one in asked if one[0] == kind]
        for _, head, nth, files in ones:
            receipt = order.request(head, nth)
            answer = order.answer(receipt)
            # The files of a training job may come before the request that waits for its end.
            after = order.request("POST /v1/jobs HTTP", submitted(asked, head)).end if kind == "publish" else receipt.end
            wrong = order.faults(after, answer.begin, files) if answer else ["there is no response in the trace"]
            if wrong:
                faults.append(f"{head.strip()}: {'; '.join(wrong)}")
        table.all(f"{kind}: in order", len(ones) - len(faults), len(ones), faults)


def submitted(asked, head):
    """The submission of the training job that is waited for: the one just before it."""
    place = next(place for place, one in enumerate(asked) if one[1] == head)
    return next(one[2] for one in reversed(asked[:place]) if one[1] == "POST /v1/jobs HTTP")


if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
