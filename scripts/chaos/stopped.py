#!/usr/bin/env python3
"""Processes that are stopped but not dead (SIGSTOP): a worker whose server is killed meanwhile, a worker whose job is cancelled, the server.

    python3 -B scripts/chaos/stopped.py --rounds 10
"""

import signal
import sys
import threading
import time

from harness import images, options, processes
from harness.api import BROKEN, Api, Failed, until
from harness.left import Left
from harness.server import Server
from harness.table import Table

ROUNDS, SHORT_ROUNDS = 10, 1
GONE_SECONDS = 5
CANCEL_SECONDS = 5
SERVER_STOPPED_SECONDS, SHORT_STOPPED_SECONDS = 5, 2
EPOCHS = 30


def spec(name):
    return {"dataset": "base", "name": name, "backbone": {"architecture": "resnet20"}, "epochs": EPOCHS, "batch_size": 8}


def trainer(server, job):
    """The worker of a job, once it has reported its first epoch."""
    api = Api(server)
    until("an epoch", lambda: (api.get(f"/v1/jobs/{job}")["progress"] or {}).get("epoch", 0) >= 2, 120)
    ones = [one for one in server.children() if any(job in word for word in processes.command(one[0]))]
    if not ones:
        raise Failed("a job runs without a worker")
    return ones[0]


class Times:
    def __init__(self):
        self.gone, self.cancelled, self.back, self.both, self.bits, self.lost = [], [], [], [], [], []


def stop_worker_kill_server(server, chosen, times, golden):
    """The server is killed while the worker is stopped; the next one must get rid of it before it starts the job again."""
    job = server.api.expect("POST", "/v1/jobs", spec("stopped")).json["id"]
    worker = trainer(server, job)
    processes.send(worker, signal.SIGSTOP)
    server.kill()
    began = time.monotonic()
    server.start()
    limit = 60 * chosen.slack
    while processes.alive(worker) and time.monotonic() - began < limit:
        one_more = [one for one in server.children() if one != worker and any(job in word for word in processes.command(one[0]))]
        if one_more and processes.alive(worker):
            times.both.append(f"{job} has a second worker while the first one is stopped")
            break
        time.sleep(0.01)
    if processes.alive(worker):
        # Wake it up: it must not run beside the other one.
        processes.send(worker, signal.SIGCONT)
        while processes.alive(worker) and time.monotonic() - began < limit:
            time.sleep(0.01)
    times.gone.append(time.monotonic() - began)
    processes.send(worker, signal.SIGKILL)
    ended = server.api.finished(job)
    if ended["status"] != "succeeded":
        raise Failed(f"a job whose server died is {ended['status']}: {ended['error']}")
    times.bits.append(server.api.get(f"/v1/models/{ended['model']}")["sha256"] == golden)


def cancel_stopped_worker(server, times):
    job = server.api.expect("POST", "/v1/jobs", spec("cancelled")).json["id"]
    worker = trainer(server, job)
    processes.send(worker, signal.SIGSTOP)
    began = time.monotonic()
    server.api.expect("POST", f"/v1/jobs/{job}/cancel")
    ended = server.api.finished(job, 60)
    times.cancelled.append(time.monotonic() - began)
    if ended["status"] != "cancelled" or processes.alive(worker):
        times.lost.append(f"{job} is {ended['status']}, its worker {'is alive' if processes.alive(worker) else 'is gone'}")
    processes.send(worker, signal.SIGKILL)


def stop_server(server, times, golden, number, seconds):
    """Clients wait meanwhile; everything acknowledged before and requested afterwards exists."""
    job = server.api.expect("POST", "/v1/jobs", spec("through")).json["id"]
    trainer(server, job)
    told = []

    def upload():
        try:
            answer = Api(server).ask("PUT", f"/v1/datasets?name=through-{number}", images.archive(5000 + 10 * number, 4), timeout=60)
            told.append(answer.status)
        except BROKEN as fault:
            told.append(str(fault))

    me = processes.identity(server.pid)
    processes.send(me, signal.SIGSTOP)
    client = threading.Thread(target=upload)
    client.start()
    time.sleep(seconds)
    processes.send(me, signal.SIGCONT)
    began = time.monotonic()
    server.wait_ready(began)
    times.back.append(time.monotonic() - began)
    client.join()
    if told != [201]:
        times.lost.append(f"an upload to a stopped server gave {told}")
    ended = server.api.finished(job)
    if ended["status"] != "succeeded" or ended["attempt"] != 1:
        times.lost.append(f"{job} is {ended['status']} after {ended['attempt']} attempts: {ended['error']}")
    else:
        times.bits.append(server.api.get(f"/v1/models/{ended['model']}")["sha256"] == golden)


def run(argv):
    parser = options.parser(__doc__)
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS} by default")
    chosen = options.parse(parser, argv)
    rounds = chosen.rounds or (SHORT_ROUNDS if chosen.short else ROUNDS)
    table = Table(f"Stopped processes, {rounds} rounds", chosen.slack)
    stopped = SHORT_STOPPED_SECONDS if chosen.short else SERVER_STOPPED_SECONDS
    times = Times()
    with options.scratch(chosen) as folder, Server(chosen, folder) as server:
        server.start()
        server.api.upload("base", images.archive(0, 16))
        server.wait_devices()
        golden = server.api.train(spec("golden"))["sha256"]
        for number in range(rounds):
            stop_worker_kill_server(server, chosen, times, golden)
            cancel_stopped_worker(server, times)
            stop_server(server, times, golden, number, stopped)
        server.stop()
        table.within("a stopped worker whose server was killed is gone after the next start", times.gone, GONE_SECONDS)
        table.none("two workers of one job at once", times.both)
        table.within("cancel of a stopped worker", times.cancelled, CANCEL_SECONDS)
        table.within(f"ready again after the server was stopped for {stopped} s", times.back, 5)
        table.none("lost or ended differently", times.lost)
        table.all("training jobs with the golden bits", sum(times.bits), len(times.bits))
        with Left(server.data) as left:
            table.none("jobs that ended twice, or a broken event stream", left.streams())
            table.none("database integrity errors", left.integrity())
    return table.show()


if __name__ == "__main__":
    sys.exit(options.main(run, sys.argv[1:]))
