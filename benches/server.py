#!/usr/bin/env python3
"""The server by itself: how fast it is ready, what its workers' sandbox costs, what it holds when idle, what an upload of 500 MB costs it.

`make bench` runs every file of this folder; each prints one table and ends with status 1 where a target was missed.
"""

import base64
import os
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from measure.server import FINETUNED, Server, scratch
from measure.table import Table

STARTS = 11
UPLOAD_BYTES = 500_000_000
ENTRY_BYTES = 1_000_000
PART_BYTES = 64 << 20
MB = 1e6


def main():
    table = Table("Server")
    table.at_most(f"start to ready, median of {STARTS}", 1000 * statistics.median(starts()), 300, "ms")
    table.at_most(f"a sandbox delays the predict worker by, medians of {2 * STARTS}", 1000 * sandbox_delay(), 30, "ms")
    with scratch() as folder, Server(folder) as server:
        idle = settled(server)
        table.at_most("resident when idle", idle / MB, 40, "MB")
        archive = Path(folder) / "large.zip"
        write_archive(archive)
        peak, seconds = upload(server, archive)
        table.at_most("resident rises during an upload of 500 MB by", (peak - idle) / MB, 32, "MB")
        table.at_least("upload to durable, hashed", archive.stat().st_size / MB / seconds, 300, "MB/s")
        peak, seconds = resumable_upload(server, archive)
        table.at_most("resident rises during a resumable upload of it by", (peak - idle) / MB, 32, "MB")
        table.note("resumable upload to durable, 64 MiB a request", archive.stat().st_size / MB / seconds, "MB/s")
    table.show()
    sys.exit(0 if table.met else 1)


def starts():
    """Seconds from start to ready, each with a fresh data directory."""
    for _ in range(STARTS):
        with scratch() as folder, Server(folder) as server:
            yield server.ready_seconds


def sandbox_delay():
    """Seconds by which a predict worker says later that it is ready than one without a sandbox; one of each in turn, the first one varying."""
    seconds = {"auto": [], "off": []}
    for pair in range(2 * STARTS):
        for sandbox in sorted(seconds, reverse=pair % 2 == 0):
            seconds[sandbox].append(predict_worker_start(sandbox))
    return statistics.median(seconds["auto"]) - statistics.median(seconds["off"])


def predict_worker_start(sandbox):
    """Seconds from the start of a predict worker to its first frame, which says that it is ready."""
    with scratch() as folder:
        command = [FINETUNED.with_name("finetuned-worker"), "predict", "--models", folder, "--sandbox", sandbox]
        started = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
            if not worker.stdout.read(1):
                raise RuntimeError("the predict worker does not start")
            return time.perf_counter() - started


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


def resumable_upload(server, archive):
    """The same by tus: a request for each part, the next one when its answer, that is its sync, is there."""
    total = archive.stat().st_size
    connection = server.connect()
    server.forget_peak()
    started = time.perf_counter()
    begin = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(total),
        "Upload-Metadata": "name " + base64.b64encode(b"resumable").decode(),
    }
    location = answered(connection, 201, "POST", "/v1/uploads", None, begin).headers["Location"]
    with open(archive, "rb") as body:
        for offset in range(0, total, PART_BYTES):
            part = body.read(PART_BYTES)
            headers = {
                "Tus-Resumable": "1.0.0",
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
            }
            answered(connection, 204, "PATCH", location, part, headers)
    return server.peak_resident_bytes(), time.perf_counter() - started


def answered(connection, status, *request):
    connection.request(*request)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != status:
        raise RuntimeError(f"{request[0]} was answered with {answer.status}: {text[:500]!r}")
    return answer


if __name__ == "__main__":
    main()
