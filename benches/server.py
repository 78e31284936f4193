#!/usr/bin/env python3
"""The server by itself: how fast it is ready, what it holds when idle, what an upload of 500 MB costs it.

`make bench` runs every file of this folder; each prints one table and ends with status 1 where a target was missed.
"""

import os
import statistics
import sys
import time
import zipfile
from pathlib import Path

from measure.server import Server, scratch
from measure.table import Table

STARTS = 11
UPLOAD_BYTES = 500_000_000
ENTRY_BYTES = 1_000_000
MB = 1e6


def main():
    table = Table("Server")
    table.at_most(f"start to ready, median of {STARTS}", 1000 * statistics.median(starts()), 300, "ms")
    with scratch() as folder, Server(folder) as server:
        idle = settled(server)
        table.at_most("resident when idle", idle / MB, 40, "MB")
        archive = Path(folder) / "large.zip"
        write_archive(archive)
        peak, seconds = upload(server, archive)
        table.at_most("resident rises during an upload of 500 MB by", (peak - idle) / MB, 32, "MB")
        table.note("upload to durable", archive.stat().st_size / MB / seconds, "MB/s")
    table.show()
    sys.exit(0 if table.met else 1)


def starts():
    """Seconds from start to ready, each with a fresh data directory."""
    for _ in range(STARTS):
        with scratch() as folder, Server(folder) as server:
            yield server.ready_seconds


def settled(server):
    """Resident memory once it has not moved for half a second: what start-up still does in the background counts."""
    last, since = server.resident_bytes(), time.monotonic()
    end = since + 20
    while time.monotonic() - since < 0.5 and time.monotonic() < end:
        time.sleep(0.02)
        now = server.resident_bytes()
        if now != last:
            last, since = now, time.monotonic()
    return last


def write_archive(path):
    """A stored zip of two classes. The bytes are random, so nothing on the way can make them fewer."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(UPLOAD_BYTES // ENTRY_BYTES):
            archive.writestr(f"class{number % 2}/{number:04}.jpg", os.urandom(ENTRY_BYTES))


def upload(server, archive):
    """(highest resident memory in bytes, seconds until the 201). The body goes out in one PUT without `Expect`."""
    connection = server.connect()
    server.forget_peak()
    started = time.perf_counter()
    with open(archive, "rb") as body:
        length = {"Content-Length": str(archive.stat().st_size)}
        connection.request("PUT", "/v1/datasets?name=large", body=body, headers=length)
        answer = connection.getresponse()
        text = answer.read()
    seconds = time.perf_counter() - started
    if answer.status != 201:
        raise RuntimeError(f"the upload was answered with {answer.status}: {text[:500]!r}")
    return server.peak_resident_bytes(), seconds


if __name__ == "__main__":
    main()
