#!/usr/bin/env python3
"""Keys: what looking one up costs a request, and what 100,000 wrong tries cost those who have a right one.

The rate is measured with `wrk` (Debian has it), which takes little of the cores that it shares with the server: a load generator in Python
would measure itself.
"""

import io
import json
import multiprocessing
import re
import secrets
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections import Counter

from measure.load import closed, open_loop, question
from measure.server import Server, scratch
from measure.table import Table

TRIES = 100_000
CLIENTS = 8
SECONDS = 5
# What somebody with a right key asks meanwhile, a second.
RATE = 200


def main():
    table = Table("Keys")
    with scratch() as folder, Server(folder, "--offline", "--min-free-bytes", "0") as server:
        path = f"/v1/jobs/{waiting_job(server)}"
        key = server.request("POST", "/v1/keys", json.dumps({"name": "bench", "scopes": ["read"]}))["secret"]
        wires = [question(path, key)]
        closed(server.port, wires, CLIENTS, 2)
        table.at_least(f"GET /v1/jobs/{{job}} with a key, {CLIENTS} clients", rate(server.port, path, key), 10_000, "a second")
        one = closed(server.port, wires, 1, SECONDS)
        table.at_most("the same, one client, p50", 1000 * one.quantile(0.5), 1, "ms")
        idle = open_loop(server.port, wires, RATE, SECONDS)
        attack = multiprocessing.Pool(1)
        tried = attack.apply_async(try_wrong_keys, (server.port,))
        beside = open_loop(server.port, wires, RATE, SECONDS)
        let_in, seconds = tried.get()
        attack.close()
        table.at_most(f"let in by {TRIES:,} wrong tries from another address", let_in, 0, "")
        table.note("their rate", TRIES / seconds, "a second")
        table.at_most("answers other than 200 to the right key meanwhile", refused(beside), 0, "")
        worse = beside.quantile(0.99) / idle.quantile(0.99)
        table.note("p99 with the right key, idle / meanwhile", tuple(1000 * load.quantile(0.99) for load in (idle, beside)), "ms")
        table.at_most("meanwhile : idle", worse, 2, "x")
    table.show()
    sys.exit(0 if table.met else 1)


def rate(port, path, key):
    """Answers a second, all of them 200."""
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("this needs wrk: apt-get install wrk")
    command = [wrk, "-t1", f"-c{CLIENTS}", f"-d{SECONDS}", "-H", f"authorization: Bearer {key}", f"http://127.0.0.1:{port}{path}"]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "Non-2xx" not in text and "Socket errors" not in text, text
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))


def waiting_job(server):
    """The id of a job that waits for a device that is not there."""
    image = b"P6 8 8 255\n"
    archive = stored_zip({f"{name}/{number}.ppm": image + bytes([40 * number + ord(name) % 2] * 192) for name in "ab" for number in range(3)})
    server.request("PUT", "/v1/datasets?name=small", archive)
    spec = {"dataset": "small", "device": "cuda:9", "backbone": {"weights": "none"}}
    return server.request("POST", "/v1/jobs", json.dumps(spec))["id"]


def stored_zip(files):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def try_wrong_keys(port):
    """(how many were let in, seconds): well-formed keys that nobody made, each another one."""
    wires = [question("/v1/system", wrong_key()) for _ in range(TRIES)]
    load = closed(port, wires, CLIENTS, source="127.0.0.2")
    statuses = Counter(answer.status for answer in load.answers)
    return sum(count for status, count in statuses.items() if status not in (401, 429)), load.seconds


def wrong_key():
    digits = secrets.token_hex(32)
    return f"ft_{digits}{zlib.crc32(digits.encode()):08x}"


def refused(load):
    return sum(answer.status != 200 for answer in load.answers) + load.unanswered


if __name__ == "__main__":
    main()
