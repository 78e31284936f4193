"""A peer's server on a free port: started, waited for, ended with everything that it started."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time

READY_SECONDS = 120


class Service:
    """`command` gets the port as its last argument and answers `GET /health` once it can work; use it in `with`."""

    def __init__(self, command):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen([*command, str(self.port)], start_new_session=True, stdout=subprocess.DEVNULL)
        end = time.monotonic() + READY_SECONDS
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > end:
                self.end()
                raise RuntimeError(f"a peer did not start: {command}")
            time.sleep(0.1)

    def healthy(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            pass
        # What a peer's main process left behind, or that would not end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
