"""A `finetuned serve` of the benchmark's own: an empty data directory, a free port, ended at the end."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

FINETUNED = Path(__file__).resolve().parent.parent.parent / "target/release/finetuned"
READY_SECONDS = 30


class Server:
    """A running server; use it in `with`. `ready_seconds` is the time from its start to the first 200 of `GET /readyz`."""

    def __init__(self, folder, *flags):
        self.log = open(Path(folder) / "server.log", "w")
        command = [FINETUNED, "serve", "--listen", "127.0.0.1:0", "--data-dir", Path(folder) / "data", *flags]
        started = time.perf_counter()
        # A group of its own, so that a worker that it started ends with it whatever happens.
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True
        )
        try:
            self.port = self.listening_port()
            self.wait_ready(started + READY_SECONDS)
        except BaseException:
            self.end()
            raise
        self.ready_seconds = time.perf_counter() - started

    def listening_port(self):
        for line in self.process.stdout:
            address = line.partition("listening on http://")[2].strip()
            if address:
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return int(address.rstrip("/").rpartition(":")[2])
        raise RuntimeError(f"the server did not start: {Path(self.log.name).read_text()[-2000:]}")

    def wait_ready(self, end):
        while time.perf_counter() < end:
            connection = self.connect()
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
            connection.close()
            time.sleep(0.001)
        raise RuntimeError(f"the server was not ready after {READY_SECONDS} s")

    def connect(self):
        # Python sends a file in blocks of 8 KiB by default, and then it is Python that is measured.
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=660, blocksize=1 << 20)

    def request(self, method, path, body=None, content_type="application/json"):
        """The JSON that the server answers; anything but a 2xx is an error of the benchmark."""
        connection = self.connect()
        headers = {"content-type": content_type} if method == "POST" else {}
        if hasattr(body, "fileno"):
            headers["content-length"] = str(os.fstat(body.fileno()).st_size)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status // 100 != 2:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text) if text else None

    def devices(self):
        """The devices by name. A worker finds them while the server is up already, a card's libraries in a few seconds."""
        end = time.perf_counter() + READY_SECONDS
        while not (found := self.request("GET", "/v1/system")["devices"]) and time.perf_counter() < end:
            time.sleep(0.05)
        return {device["name"]: device for device in found}

    def resident_bytes(self):
        """Resident memory of the server alone, without its workers."""
        return self.memory("VmRSS")

    def peak_resident_bytes(self):
        """The highest that `resident_bytes` has been since `forget_peak`, as the kernel counts it: no sample can miss it."""
        return self.memory("VmHWM")

    def forget_peak(self):
        # Where the kernel was built without this the peak is that since the start: too high, never too low.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def memory(self, field):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the server has ended")

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def scratch():
    """A folder for one measurement, beside the build, because a memory file system would flatter an upload."""
    beside = FINETUNED.parent.parent / "bench"
    beside.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=beside)
