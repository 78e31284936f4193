#!/usr/bin/env python3
"""Silent, slow and non-reading clients, thousands at once from one address, beside one client from another.

The flood (a separate process) opens silent sockets, heads without bodies, slow heads, slow uploads, and event streams that are never
read. Connections that the server closes are reopened after a while. Meanwhile the other address sends requests on new connections and on
a kept one, and health checks are sent from the flood's own address.

    python3 -B scripts/chaos/clients.py --server target/release/finetuned --worker target/release/finetuned-worker
"""

import argparse
import asyncio
import http.client
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FLOOD, OTHER = "127.0.0.1", "127.0.0.2"
KINDS = {"silent": 2000, "bodiless": 1100, "slow-heads": 500, "slow-uploads": 40, "unread-streams": 300}
SHORT_DIVISOR = 20
HEALTH_MILLISECONDS, RATIO = 200, 2.0
IDLE_SECONDS, FLOOD_SECONDS = 15, 60
SHORT_IDLE_SECONDS, SHORT_FLOOD_SECONDS = 3, 8
# Below this, a percentile is mostly noise on a machine that is also busy with other things.
LEAST_MILLISECONDS = 2.0
DRIP_SECONDS = 2.0
RETURN_SECONDS = (4.0, 8.0)


def main(argv):
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--server", type=Path, default=ROOT / "target/release/finetuned")
    options.add_argument("--worker", type=Path, default=ROOT / "target/release/finetuned-worker")
    options.add_argument("--seed", type=int, default=0, help="for the times at which clients reconnect")
    options.add_argument("--short", action="store_true", help="a twentieth of the clients, against a server with limits as much lower")
    options.add_argument("--slack", type=float, default=1.0, help="factor for every time limit: for a machine that is busy with other things")
    options.add_argument("--keep", action="store_true", help="keep the folder with the server's log")
    options.add_argument("--flood", metavar="PORT,JOB", help=argparse.SUPPRESS)
    chosen = options.parse_args(argv)
    if chosen.flood:
        port, job = chosen.flood.split(",")
        asyncio.run(Flood(int(port), job, chosen).run())
        return 0
    folder = Path(tempfile.mkdtemp(prefix="finetuned-clients-"))
    try:
        return 0 if held(chosen, folder) else 1
    finally:
        if chosen.keep:
            print(f"the server's log is in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def held(chosen, folder):
    idle_seconds, flood_seconds = (
        (SHORT_IDLE_SECONDS, SHORT_FLOOD_SECONDS) if chosen.short else (IDLE_SECONDS, FLOOD_SECONDS)
    )
    with Server(chosen, folder) as server:
        job = waiting_job(server.port)
        idle = Measured(server.port, idle_seconds)
        idle.run()
        before = server.resident()
        with flooding(chosen, server.port, job) as flood:
            sockets = server.sockets()
            flooded = Measured(server.port, flood_seconds)
            flooded.run()
            during = server.resident()
            told = flood.told()
    elsewhere = None if chosen.short else flooded_elsewhere(chosen, folder)
    return show(chosen, idle, flooded, elsewhere, (before, during, sockets), told)


def flooded_elsewhere(chosen, folder):
    """Latencies of a server without a flood, while another one on the same machine is flooded: the cost of the flood's CPU time alone, not
    of how the server handles it."""
    (folder / "one").mkdir()
    (folder / "other").mkdir()
    with Server(chosen, folder / "one") as server, Server(chosen, folder / "other") as other:
        with flooding(chosen, other.port, waiting_job(other.port)):
            measured = Measured(server.port, FLOOD_SECONDS)
            measured.run()
    return measured


def show(chosen, idle, flooded, elsewhere, memory, told):
    met, rows = True, []

    def row(name, value, must="", holds=True):
        nonlocal met
        met &= holds
        rows.append((name, value, must, ("met" if holds else "MISSED") if must else ""))

    clients = counts(chosen)
    row("clients of the flood", f"{sum(clients.values()):,}: " + ", ".join(f"{n:,} {kind}" for kind, n in clients.items()))
    row("their connections opened / closed by the server", f"{told['opened']:,} / {told['closed']:,}")
    limit = HEALTH_MILLISECONDS * chosen.slack
    health = max(flooded.health) * 1000
    row(f"/healthz from the flood's address, longest of {len(flooded.health):,}", f"{health:.1f} ms", f"≤ {limit:g} ms", health <= limit)
    for name in ("fresh", "kept"):
        quiet, loud = percentile(getattr(idle, name), 99) * 1000, percentile(getattr(flooded, name), 99) * 1000
        limit = RATIO * max(quiet, LEAST_MILLISECONDS) * chosen.slack
        what = {"fresh": "on a new connection", "kept": "on one that is kept"}[name]
        count = len(getattr(flooded, name))
        row(f"another address {what}, p99 idle", f"{quiet:.2f} ms")
        row(f"another address {what}, p99 of {count:,} under the flood", f"{loud:.2f} ms", f"≤ {limit:.2f} ms", loud <= limit)
        if elsewhere:
            value = percentile(getattr(elsewhere, name), 99) * 1000
            row(f"another address {what}, p99 while another server is flooded", f"{value:.2f} ms")
        row(f"another address {what}, p50 idle / flood", " / ".join(f"{percentile(getattr(m, name), 50) * 1000:.2f}" for m in (idle, flooded)) + " ms")
    faults = idle.faults + flooded.faults
    row("requests not answered with 200", f"{len(faults):,}", "0", not faults)
    before, during, sockets = memory
    row("connections of the server", f"{sockets:,}")
    row("its memory before / under the flood", f"{before / 1e6:.1f} / {during / 1e6:.1f} MB")
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print(f"\nSilent and slow clients ({len(os.sched_getaffinity(0))} cores, seed {chosen.seed})\n")
    for cells in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
    for fault in faults[:12]:
        print(f"  {fault}")
    print(flush=True)
    return met


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def counts(chosen):
    divisor = SHORT_DIVISOR if chosen.short else 1
    return {kind: max(2, count // divisor) for kind, count in KINDS.items()}


class Measured:
    """Measures well-behaved clients for a while: seconds of each response, and failures."""

    def __init__(self, port, seconds):
        self.port, self.seconds = port, seconds
        self.fresh, self.kept, self.health, self.faults = [], [], [], []

    def run(self):
        kept = connect(self.port, OTHER)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            self.timed(self.fresh, lambda: ask(connect(self.port, OTHER), "/v1/system", close=True))
            self.timed(self.kept, lambda: ask(kept, "/v1/system"))
            self.timed(self.health, lambda: ask(connect(self.port, FLOOD), "/healthz", close=True))
            time.sleep(0.005)
        kept.close()

    def timed(self, times, act):
        began = time.perf_counter()
        try:
            status = act()
            if status != 200:
                self.faults.append(f"status {status}")
        except OSError as fault:
            self.faults.append(repr(fault))
        times.append(time.perf_counter() - began)


def connect(port, address):
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))


def ask(connection, path, close=False):
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head).group(1))
    while len(body) < length:
        body += received(connection)
    if close:
        connection.close()
    return int(head[9:12])


def received(connection):
    some = connection.recv(1 << 16)
    if not some:
        raise ConnectionResetError("the connection ended before the answer did")
    return some


class Flood:
    """All clients of the flood, in a separate process."""

    def __init__(self, port, job, chosen):
        self.port, self.job = port, job
        self.counts, self.random = counts(chosen), random.Random(chosen.seed)
        self.first, self.opened, self.closed = 0, 0, 0

    async def run(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.tell)
        clients = [
            asyncio.create_task(self.client(kind, number)) for kind, count in self.counts.items() for number in range(count)
        ]
        while self.first < len(clients):
            await asyncio.sleep(0.05)
        print("up", flush=True)
        await asyncio.gather(*clients)

    def tell(self):
        print(json.dumps({"opened": self.opened, "closed": self.closed}), flush=True)
        os._exit(0)

    async def client(self, kind, number):
        loop, first = asyncio.get_running_loop(), True
        while True:
            client = socket.socket()
            client.setblocking(False)
            try:
                client.bind((FLOOD, 0))
                await loop.sock_connect(client, (FLOOD, self.port))
                self.opened += 1
                if first:
                    first, self.first = False, self.first + 1
                await getattr(self, kind.replace("-", "_"))(loop, client, number)
            except OSError:
                pass
            finally:
                client.close()
            self.closed += 1
            await asyncio.sleep(self.random.uniform(*RETURN_SECONDS))

    async def silent(self, loop, client, _):
        await self.until_closed(loop, client)

    async def bodiless(self, loop, client, number):
        path = ("/v1/jobs", "/v1/aliases/x", "/v1/datasets/things/split")[number % 3]
        method = ("POST", "PUT", "POST")[number % 3]
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        await loop.sock_sendall(client, head.encode())
        await self.until_closed(loop, client)

    async def slow_heads(self, loop, client, _):
        await loop.sock_sendall(client, b"GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nx-long: ")
        await self.drip(loop, client, b"x")

    async def slow_uploads(self, loop, client, number):
        head = f"PUT /v1/datasets?name=slow-{number} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n4\r\nPK\x03\x04\r\n"
        await loop.sock_sendall(client, head.encode())
        await self.drip(loop, client, b"1\r\nx\r\n")

    async def unread_streams(self, loop, client, _):
        head = f"GET /v1/jobs/{self.job}/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n"
        await loop.sock_sendall(client, head.encode())
        while True:
            await asyncio.sleep(DRIP_SECONDS)
            # Not a byte is read, but a client that was refused or disconnected comes back.
            if client.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 1) != b"\x01":
                return

    async def until_closed(self, loop, client):
        while await loop.sock_recv(client, 4096):
            pass

    async def drip(self, loop, client, drop):
        while True:
            await asyncio.sleep(DRIP_SECONDS)
            await loop.sock_sendall(client, drop)


class flooding:
    """The flood's process, fully connected when the block begins."""

    def __init__(self, chosen, port, job):
        command = [sys.executable, "-B", __file__, "--flood", f"{port},{job}", "--seed", str(chosen.seed)]
        self.process = subprocess.Popen(
            command + ["--short"] * chosen.short, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def __enter__(self):
        line = self.process.stdout.readline()
        assert line == "up\n", f"the flood did not come up: {line!r}"
        return self

    def told(self):
        self.process.terminate()
        return json.loads(self.process.stdout.readline())

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Server:
    """The scenario's own server, with the default limits."""

    def __init__(self, chosen, folder):
        command = [chosen.server, "serve", "--listen", "127.0.0.1:0", "--data-dir", folder / "data", "--worker", chosen.worker]
        command += ["--offline", "--min-free-bytes", "0", "--log", "warn"]
        if chosen.short:
            for flag, most in (("connections", 2048), ("event-streams", 512), ("receiving-uploads", 64)):
                command += [f"--max-{flag}", str(most // SHORT_DIVISOR)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FINETUNED_")}
        self.log = open(folder / "server.log", "w")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True, env=environment
        )
        self.port = None

    def __enter__(self):
        for line in self.process.stdout:
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                break
        assert self.port, f"the server did not start: {Path(self.log.name).read_text()[-1500:]}"
        return self

    def resident(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024

    def sockets(self):
        links = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return sum(1 for link in links if link.is_symlink() and os.readlink(link).startswith("socket:"))

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


def waiting_job(port):
    """A job that waits for a device that does not exist, so that its event stream stays open."""
    call(port, "PUT", "/v1/datasets?name=things", archive())
    dataset = call(port, "GET", "/v1/datasets/things?wait=120")
    assert dataset["status"] == "ready", dataset
    spec = {"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}}
    return call(port, "POST", "/v1/jobs", json.dumps(spec).encode(), {"content-type": "application/json"})["id"]


def call(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=150)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    assert response.status < 300, (method, path, response.status, answer)
    return json.loads(answer)


def archive():
    """Three grey images of each of two classes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for number in range(6):
            made.writestr(f"class-{number % 2}/{number}.png", png(40, 40 * number))
    return file.getvalue()


def png(side, grey):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((grey + row) % 256 for _ in range(side)) for row in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
