"""A server that may be killed at any moment and started again over the same data directory, each time on a free port."""

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

from . import processes
from .api import BROKEN, Api, Failed

START_SECONDS = 60
STOP_SECONDS = 60


class Server:
    """`start` it, `kill` it, `stop` it; use it in `with`: at the end it is gone with everything that it started.

    `trusts` is the TLS context for a server that speaks TLS. `wrapper` comes before the command line (an `strace`, an `unshare`); it must become the server by `exec`, or have it as its child.
    """

    def __init__(self, chosen, folder, *flags, data_dir=None, worker=None, environment=None, trusts=None):
        self.chosen, self.flags, self.trusts = chosen, flags, trusts
        self.data = Path(data_dir or Path(folder) / "data")
        self.log = Path(folder) / "server.log"
        self.worker = worker or chosen.worker
        self.environment = environment or {}
        self.process, self.port, self.pid = None, 0, None
        self.api = Api(self)

    def command(self):
        where = ["--listen", "127.0.0.1:0", "--data-dir", str(self.data), "--worker", str(self.worker), "--offline"]
        # One compute thread: two that synchronise at every step are slow when other processes use the cores, too.
        threads = ["--train-threads", "1", "--predict-threads", "1"]
        return [str(self.chosen.server), "serve", *where, *threads, *self.flags]

    def start(self, wrapper=(), ready=True):
        """Seconds from the start until `/readyz` says 200."""
        began = time.monotonic()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FINETUNED_")}
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [*wrapper, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env={**environment, **self.environment},
            )
        self.port = self.listening_port()
        self.pid = self.own_pid()
        if ready:
            self.wait_ready(began)
        return time.monotonic() - began

    def listening_port(self):
        for line in self.process.stdout:
            found = re.search(r"listening on https?://127\.0\.0\.1:(\d+)", line)
            if found:
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return int(found.group(1))
        self.process.wait()
        raise Failed(f"the server did not start (status {self.process.returncode}): {self.said()}")

    def own_pid(self):
        """The server's own process id, also if a wrapper started it."""
        for pid in processes.tree(self.process.pid):
            if processes.command(pid)[:1] == [str(self.chosen.server)]:
                return pid
        raise Failed("the server ended during its start: " + self.said())

    def wait_ready(self, began):
        while time.monotonic() - began < START_SECONDS:
            try:
                if self.api.ask("GET", "/readyz").status == 200:
                    return
            except BROKEN:
                if self.process.poll() is not None:
                    break
            time.sleep(0.005)
        raise Failed(f"the server was not ready within {START_SECONDS} s: {self.said()}")

    def wait_devices(self):
        """Waits until the worker has reported the devices, so that jobs can run."""
        end = time.monotonic() + START_SECONDS
        while not self.api.get("/v1/system")["devices"]:
            if time.monotonic() > end:
                raise Failed("the worker did not report any device: " + self.said())
            time.sleep(0.02)

    def said(self, characters=1500):
        """The end of its log."""
        return self.log.read_text(errors="replace")[-characters:]

    def children(self):
        return processes.children(self.pid)

    def kill(self):
        """Kills the server alone, without warning; returns the identities of its children."""
        orphans = self.children()
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        return orphans

    def stop(self):
        """Stops the server gracefully."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            self.process.wait(timeout=STOP_SECONDS)

    def resident_bytes(self):
        return memory(self.pid, "VmRSS")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.process:
            return
        left = self.children() if self.pid else []
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        processes.end(left)
        self.process.stdout.close()


def memory(pid, field):
    """A field of the process's status, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise Failed("the server has ended")


def refused(chosen, folder, data_dir, seconds=30):
    """Starts a server that should refuse to start: (its exit status or None if it kept running, its stderr)."""
    server = Server(chosen, folder, data_dir=data_dir)
    with open(Path(folder) / "refused.log", "w+") as log:
        process = subprocess.Popen(
            server.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
        )
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            status = None
            left = processes.children(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            processes.end(left)
        log.seek(0)
        return status, log.read()
