"""A load generator that leaves the cores to what it measures: one thread, raw sockets kept alive, requests that are bytes beforehand.

The same one for every server. What it costs itself, `Load.cpu_seconds` says.
"""

import selectors
import socket
import time
from dataclasses import dataclass, field

PATIENCE_SECONDS = 60


HERE = "127.0.0.1"


def question(path, key):
    """A GET with a key as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\r\n".encode()


def request(path, body, content_type="application/octet-stream"):
    """A POST as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class Answer:
    number: int
    status: int
    seconds: float
    body: bytes
    retry_after: bool


@dataclass
class Load:
    """What came of a load; `seconds` is how long it lasted, `cpu_seconds` what generating it took of a core."""

    answers: list = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    unanswered: int = 0

    def rate(self, status=200):
        return sum(answer.status == status for answer in self.answers) / self.seconds

    def quantile(self, share, status=200):
        """Seconds that this share of the answers with a status took at most."""
        times = sorted(answer.seconds for answer in self.answers if answer.status == status)
        return times[min(len(times) - 1, int(share * len(times)))] if times else float("inf")


class Connection:
    """One request after the other. An answer has to come with its length."""

    def __init__(self, port, source):
        self.socket = socket.create_connection((HERE, port), source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.rest, self.read, self.number = b"", bytearray(), None

    def begin(self, number, wire):
        self.number, self.began, self.rest = number, time.perf_counter(), memoryview(wire)
        self.read.clear()
        self.write()

    def write(self):
        """Whether everything is on its way."""
        try:
            self.rest = self.rest[self.socket.send(self.rest) :]
        except BlockingIOError:
            pass
        return not self.rest

    def answer(self):
        """The answer once it is whole."""
        try:
            chunk = self.socket.recv(1 << 16)
        except BlockingIOError:
            return None
        if not chunk:
            raise ConnectionError("the server closed a connection without an answer")
        self.read += chunk
        head, found, body = bytes(self.read).partition(b"\r\n\r\n")
        if not found:
            return None
        lower = head.lower()
        length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return None
        seconds = time.perf_counter() - self.began
        return Answer(self.number, int(head[9:12]), seconds, body, b"\r\nretry-after:" in lower)


def closed(port, wires, clients, seconds=None, source=HERE):
    """So many clients, each asking again once it is answered: for a time, or through `wires` once. Numbers are places in `wires`."""
    run = Run(port, source)
    for _ in range(clients):
        run.connect()
    number, began = 0, time.perf_counter()
    while True:
        now = time.perf_counter()
        over = now - began >= seconds if seconds else number >= len(wires)
        while not over and run.idle:
            run.begin(number % len(wires), wires[number % len(wires)])
            number += 1
            over = not seconds and number >= len(wires)
        if over and not run.busy:
            break
        run.step(1.0)
        if not run.progressing():
            break
    return run.end()


def open_loop(port, wires, per_second, seconds):
    """A request every so often, whether or not those before are answered; connections are kept and made as they are needed."""
    run = Run(port)
    number, began = 0, time.perf_counter()
    while True:
        now = time.perf_counter() - began
        while number < min(now, seconds) * per_second:
            if not run.idle:
                run.connect()
            run.begin(number % len(wires), wires[number % len(wires)])
            number += 1
        if now >= seconds and not run.busy:
            break
        run.step(max(0.0, number / per_second - now) if now < seconds else 1.0)
        if not run.progressing():
            break
    return run.end()


class Run:
    def __init__(self, port, source=HERE):
        self.port, self.source, self.selector, self.load = port, source, selectors.DefaultSelector(), Load()
        self.idle, self.busy = [], set()
        self.began, self.cpu_began, self.last = time.perf_counter(), time.process_time(), time.perf_counter()

    def connect(self):
        """A connection is watched from its first moment to its last: what the kernel need not be told again costs nothing."""
        connection = Connection(self.port, self.source)
        self.selector.register(connection.socket, selectors.EVENT_READ, connection)
        self.idle.append(connection)

    def begin(self, number, wire):
        connection = self.idle.pop()
        connection.begin(number, wire)
        if connection.rest:
            self.selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)
        self.busy.add(connection)

    def step(self, timeout):
        for key, events in self.selector.select(timeout):
            connection = key.data
            if connection not in self.busy:
                # A server lets go of connections on which nothing comes for a while; there are as many clients as before.
                self.idle.remove(connection)
                self.close(connection)
                self.connect()
                continue
            if events & selectors.EVENT_WRITE and connection.write():
                self.selector.modify(connection.socket, selectors.EVENT_READ, connection)
            if events & selectors.EVENT_READ:
                try:
                    answer = connection.answer()
                except ConnectionError:
                    self.load.unanswered += 1
                    self.busy.discard(connection)
                    self.close(connection)
                    self.connect()
                    continue
                if answer:
                    self.last = time.perf_counter()
                    self.load.answers.append(answer)
                    self.busy.discard(connection)
                    self.idle.append(connection)

    def close(self, connection):
        self.selector.unregister(connection.socket)
        connection.socket.close()

    def progressing(self):
        return time.perf_counter() - self.last < PATIENCE_SECONDS

    def end(self):
        self.load.seconds = time.perf_counter() - self.began
        self.load.cpu_seconds = time.process_time() - self.cpu_began
        self.load.unanswered += len(self.busy)
        for connection in [*self.idle, *self.busy]:
            connection.socket.close()
        self.selector.close()
        return self.load
