#!/usr/bin/env python3
"""Metrics: what they cost predictions, where a prediction costs little: ResNet-20 at 32 pixels.

`/metrics` is read 25 times a second and not at all, in turns, and what that costs is divided by 25: one reading a second, which is fifteen times as
often as Prometheus reads by default, costs less than a machine's rate of predictions changes by itself. Counting is part of both.
"""

import contextlib
import http.client
import multiprocessing
import statistics
import sys
import time

from keys import stored_zip
from measure.jobs import run
from measure.load import closed, request
from measure.server import Server, scratch
from measure.table import Table

ROUNDS, SECONDS, CLIENTS = 16, 4, 8
READINGS = 25


def main():
    table = Table(f"Metrics, beside predictions of {CLIENTS} clients")
    with scratch() as folder, Server(folder, "--offline", "--min-free-bytes", "0") as server:
        files = {f"{label}/{number}.ppm": picture(label, number) for label in "ab" for number in range(10)}
        server.request("PUT", "/v1/datasets?name=small", stored_zip(files))
        server.request("GET", "/v1/datasets/small?wait=60")
        backbone = {"architecture": "resnet20", "weights": "none"}
        run(server, {"dataset": "small", "name": "small", "backbone": backbone, "image": {"size": 32}, "epochs": 1})
        wires = [request("/v1/models/small/predict", picture) for picture in files.values()]
        closed(server.port, wires, CLIENTS, SECONDS)
        rates = {False: [], True: []}
        for number in range(2 * ROUNDS):
            # Each is first as often as the other.
            is_read = number % 4 in (1, 2)
            with reading(server.port) if is_read else contextlib.nullcontext():
                load = closed(server.port, wires, CLIENTS, SECONDS)
            assert not load.unanswered and load.rate() > 0
            rates[is_read].append(load.rate())
        times = [timed(server) for _ in range(50)]
    without, beside = (statistics.median(rates[is_read]) for is_read in (False, True))
    table.note(f"predictions a second, /metrics not read / read {READINGS} times a second", (without, beside), "a second")
    table.at_most("fewer for one reading a second, by the medians", 100 * (1 - beside / without) / READINGS, 1, "%")
    table.note("GET /metrics, median", 1000 * statistics.median(times), "ms")
    table.show()
    sys.exit(0 if table.met else 1)


def picture(label, number):
    return b"P6 32 32 255\n" + bytes([12 * number, 200 * (label == "a"), 90] * 1024)


@contextlib.contextmanager
def reading(port):
    """A process of its own: what it takes is not to be the load generator's time."""
    reader = multiprocessing.Process(target=read_on_and_on, args=(port,), daemon=True)
    reader.start()
    try:
        yield
    finally:
        reader.terminate()
        reader.join()


def read_on_and_on(port):
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        connection.close()
        time.sleep(1 / READINGS)


def timed(server):
    connection = server.connect()
    began = time.perf_counter()
    connection.request("GET", "/metrics")
    connection.getresponse().read()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
