#!/usr/bin/env python3
"""Unfinished TLS handshakes by the thousand, and floods of cancelled requests, pings and settings over HTTP/2, beside clients that do neither.

Each flood is a process of its own and reopens the connections that the server closes. Meanwhile health checks come from the flood's own
address, and requests from another one, each on a new TLS connection. The certificate is made with `openssl` and has an RSA key, whose signatures
cost most.

    python3 -B scripts/chaos/tls.py
"""

import asyncio
import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness import options
from harness.api import Failed
from harness.server import Server
from harness.table import Table

# Both together have fewer connections than the server, and each its share: all of them stand.
FLOODS, OTHER = ("127.0.0.1", "127.0.0.3"), "127.0.0.2"
HANDSHAKES = {"silent": 600, "half_a_hello": 700, "hello": 700}
FRAMES = {"resets": 16, "late_resets": 8, "pings": 4, "settings": 4}
SHORT_DIVISOR = 20
SHORT_FRAMES_DIVISOR = 4
IDLE_SECONDS, FLOOD_SECONDS = 10, 40
SHORT_IDLE_SECONDS, SHORT_FLOOD_SECONDS = 2, 6
HEALTH_MILLISECONDS, MEMORY_BYTES = 200, 60e6
RETURN_SECONDS = (1.0, 3.0)
BURST = 100


def run(argv):
    parser = options.parser(__doc__)
    parser.add_argument("--flood", metavar="WHAT,PORT", help="what the processes of the floods are called with")
    early, _ = parser.parse_known_args(argv)
    if early.flood:
        what, port = early.flood.split(",")
        return Flood(int(port), early).run(what)
    chosen = options.parse(parser, argv)
    table = Table("TLS under fire", chosen.slack)
    with options.scratch(chosen) as folder:
        certificate = make_certificate(folder)
        for what in ("handshakes", "frames"):
            with served(chosen, folder / what, certificate) as server:
                idle = Measured(server.port, SHORT_IDLE_SECONDS if chosen.short else IDLE_SECONDS)
                idle.run(server)
                with flooding(chosen, what, server.port) as flood:
                    flooded = Measured(server.port, SHORT_FLOOD_SECONDS if chosen.short else FLOOD_SECONDS)
                    flooded.run(server)
                    told = flood.told()
                show(table, chosen, what, idle, flooded, told)
    return table.show()


def show(table, chosen, what, idle, flooded, told):
    if what == "handshakes":
        row = f"unfinished handshakes, of which stood at most (opened in all {told['opened']:,})"
        table.row(row, f"{told['most']:,}", f"≥ {told['wanted'] * 9 // 10:,}", told["most"] >= told["wanted"] * 9 // 10)
    else:
        for kind, frames in sorted(told["frames"].items()):
            table.count(f"frames of {kind.replace('_', ' ')} sent", frames)
        table.row("connections of these that the server closed", f"{told['closed']:,}", "≥ 1", told["closed"] >= 1)
    limit = HEALTH_MILLISECONDS * chosen.slack
    longest = max(flooded.health) * 1000
    name = f"{what}: /healthz from the flood's address, longest of {len(flooded.health):,}"
    table.row(name, f"{longest:.1f} ms", f"≤ {limit:g} ms", longest <= limit)
    for measured, when in ((idle, "idle"), (flooded, "flooded")):
        times = sorted(measured.other)
        p50, p99 = (times[len(times) * percent // 100] * 1000 for percent in (50, 99))
        table.rows.append((f"{what}: another address, {when}, p50 / p99", f"{p50:.1f} / {p99:.1f} ms", "", ""))
    table.none(f"{what}: requests not answered with 200", idle.faults + flooded.faults)
    grown = flooded.memory - idle.memory
    name = f"{what}: memory before / at most under the flood"
    table.rows.append((name, f"{idle.memory / 1e6:.1f} / {flooded.memory / 1e6:.1f} MB", "", ""))
    table.row(f"{what}: growth of memory", f"{grown / 1e6:.1f} MB", f"≤ {MEMORY_BYTES / 1e6:g} MB", grown <= MEMORY_BYTES)


def make_certificate(folder):
    """The paths of a self-signed certificate and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    try:
        made = subprocess.run([*command, "-out", certificate, "-keyout", key], capture_output=True, text=True)
    except FileNotFoundError:
        raise options.Unable("there is no `openssl` to make a certificate: install it")
    if made.returncode:
        raise options.Unable(f"openssl made no certificate: {made.stderr[-300:]}")
    return certificate, key


@contextlib.contextmanager
def served(chosen, folder, certificate):
    folder.mkdir()
    flags = ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1]), "--min-free-bytes", "0", "--log", "warn"]
    if chosen.short:
        flags += ["--max-connections", str(2048 // SHORT_DIVISOR)]
    with Server(chosen, folder, *flags, trusts=trusting(certificate[0])) as server:
        server.start()
        yield server


def trusting(certificate=None, protocols=("http/1.1",)):
    context = ssl.create_default_context(cafile=certificate)
    if not certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


class Measured:
    """Well-behaved clients for a while: seconds of each response with its handshake, failures, and the server's memory at most."""

    def __init__(self, port, seconds):
        self.port, self.seconds, self.context = port, seconds, trusting()
        self.other, self.health, self.faults, self.memory = [], [], [], 0

    def run(self, server):
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            self.timed(self.other, OTHER, "/v1/system")
            self.timed(self.health, FLOODS[0], "/healthz")
            self.memory = max(self.memory, server.resident_bytes())
            time.sleep(0.01)

    def timed(self, times, address, path):
        began = time.perf_counter()
        try:
            status = self.ask(address, path)
            if status != 200:
                self.faults.append(f"{path}: status {status}")
        except OSError as fault:
            self.faults.append(f"{path}: {fault!r}")
        times.append(time.perf_counter() - began)

    def ask(self, address, path):
        with connect(self.port, address, self.context) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            answer = b""
            while some := connection.recv(1 << 16):
                answer += some
        found = re.match(rb"HTTP/1\.1 (\d+)", answer)
        return int(found.group(1)) if found else 0


def connect(port, address, context):
    plain = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname="localhost")


class Flood:
    """One of the floods, in its process."""

    def __init__(self, port, chosen):
        self.port, self.chosen = port, chosen
        self.opened, self.closed, self.open, self.most = 0, 0, 0, 0
        self.frames, self.wanted = {}, 0
        self.context = trusting(protocols=("h2",))

    def run(self, what):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        signal.signal(signal.SIGTERM, lambda *_: self.tell())
        if what == "handshakes":
            asyncio.run(self.handshakes())
        else:
            self.all_frames()

    def tell(self):
        told = {name: getattr(self, name) for name in ("opened", "closed", "most", "wanted", "frames")}
        print(json.dumps(told), flush=True)
        os._exit(0)

    async def handshakes(self):
        hello = client_hello(self.context)
        parts = {"silent": b"", "half_a_hello": hello[: len(hello) // 2], "hello": hello}
        divisor = SHORT_DIVISOR if self.chosen.short else 1
        clients = [kind for kind, count in HANDSHAKES.items() for _ in range(count // divisor)]
        self.wanted = len(clients)
        tasks = [
            asyncio.create_task(self.handshake(FLOODS[number % 2], parts[kind])) for number, kind in enumerate(clients)
        ]
        while self.opened < self.wanted:
            await asyncio.sleep(0.05)
        print("up", flush=True)
        await asyncio.gather(*tasks)

    async def handshake(self, address, says):
        loop = asyncio.get_running_loop()
        while True:
            client = socket.socket()
            client.setblocking(False)
            try:
                client.bind((address, 0))
                await loop.sock_connect(client, ("127.0.0.1", self.port))
                self.opened, self.open = self.opened + 1, self.open + 1
                self.most = max(self.most, self.open)
                try:
                    await loop.sock_sendall(client, says)
                    while await loop.sock_recv(client, 1 << 14):
                        pass
                finally:
                    self.open -= 1
            except OSError:
                pass
            finally:
                client.close()
            self.closed += 1
            await asyncio.sleep(RETURN_SECONDS[self.opened % 2])

    def all_frames(self):
        divisor = SHORT_FRAMES_DIVISOR if self.chosen.short else 1
        for kind, count in FRAMES.items():
            self.frames[kind] = 0
            for _ in range(max(1, count // divisor)):
                threading.Thread(target=self.one_of_frames, args=(kind,), daemon=True).start()
        while self.closed < 1:
            time.sleep(0.05)
        print("up", flush=True)
        while True:
            time.sleep(60)

    def one_of_frames(self, kind):
        while True:
            try:
                with connect(self.port, FLOODS[self.opened % 2], self.context) as connection:
                    self.opened += 1
                    connection.sendall(BEGINNING)
                    for burst in range(100_000):
                        connection.sendall(frames_of(kind, burst))
                        self.frames[kind] += BURST
                        drain(connection)
            except OSError:
                pass
            self.closed += 1


def drain(connection):
    """Reads what is there."""
    while connection.pending() or select.select([connection], [], [], 0)[0]:
        if not connection.recv(1 << 16):
            raise ConnectionResetError("the server has ended the connection")


def client_hello(context):
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(into, out, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


BEGINNING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
# By the numbers of HPACK's static table (RFC 7541, appendix A): a GET over https of a path, from `localhost`.
ASKED = b"\x82\x87\x04\x08/v1/jobs\x01\x09localhost"


def frames_of(kind, burst):
    """`BURST` frames of a flood."""
    if kind == "pings":
        return frame(6, 0, 0, b"12345678") * BURST
    if kind == "settings":
        return frame(4, 0, 0, b"\0\3\0\0\0\x64") * BURST
    streams = [2 * (burst * BURST // 2 + number) + 1 for number in range(BURST // 2)]
    asked = [frame(1, 5, stream, ASKED) for stream in streams]
    resets = [frame(3, 0, stream, b"\0\0\0\x08") for stream in streams]
    if kind == "resets":
        return b"".join(one + reset for one, reset in zip(asked, resets))
    return b"".join(asked + resets)


class flooding:
    """The process of a flood, which is there when the block begins."""

    def __init__(self, chosen, what, port):
        command = [sys.executable, "-B", __file__, "--flood", f"{what},{port}"]
        self.process = subprocess.Popen(
            command + ["--short"] * chosen.short, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def __enter__(self):
        line = self.process.stdout.readline()
        if line != "up\n":
            raise Failed(f"the flood did not come up: {line!r}")
        return self

    def told(self):
        self.process.terminate()
        return json.loads(self.process.stdout.readline())

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
