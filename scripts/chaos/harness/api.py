"""Requests to a server that may disappear at any moment and return on another port."""

import http.client
import json
import time
from dataclasses import dataclass

BROKEN = (OSError, http.client.HTTPException)


class Failed(Exception):
    """An unexpected response."""


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes
    seconds: float

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def ok(self):
        return self.status // 100 == 2

    def __str__(self):
        return f"{self.status} {self.body[:300].decode(errors='replace')}"


class Api:
    """Sends requests to the server that listens on `where.port` now; every request has its own connection."""

    def __init__(self, where):
        self.where = where

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """The response, whatever it is. Raises one of `BROKEN` if there is none."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("content-type", "application/json")
        began = time.monotonic()
        connection = self.connection(timeout)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        lower = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, lower, text, time.monotonic() - began)

    def connection(self, timeout):
        trusts = getattr(self.where, "trusts", None)
        if trusts:
            return http.client.HTTPSConnection("127.0.0.1", self.where.port, timeout=timeout, blocksize=1 << 20, context=trusts)
        return http.client.HTTPConnection("127.0.0.1", self.where.port, timeout=timeout, blocksize=1 << 20)

    def expect(self, *request, **more):
        """The response, which must be a success."""
        answer = self.ask(*request, **more)
        if not answer.ok:
            raise Failed(f"{request[0]} {request[1]}: {answer}")
        return answer

    def get(self, path):
        """The JSON at a path."""
        return self.expect("GET", path).json

    def every(self, path):
        """All objects of a list."""
        found, after = [], ""
        while True:
            page = self.get(f"{path}{'&' if '?' in path else '?'}limit=100&order=asc{after}")
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&after={page['data'][-1]['id']}"

    def upload(self, name, archive):
        """Uploads a dataset; returns it once it is ready."""
        self.expect("PUT", f"/v1/datasets?name={name}", archive)
        dataset = self.get(f"/v1/datasets/{name}?wait=120")
        if dataset["status"] != "ready":
            raise Failed(f"the dataset {name} is {dataset['status']}: {dataset['error']}")
        return dataset

    def finished(self, job, seconds=300):
        """Waits for a job to end; returns it."""
        return self.expect("GET", f"/v1/jobs/{job}?wait={seconds}", timeout=seconds + 30).json

    def train(self, spec):
        """Runs a training job, which must succeed; returns its model."""
        job = self.finished(self.expect("POST", "/v1/jobs", spec).json["id"])
        if job["status"] != "succeeded":
            raise Failed(f"a training job is {job['status']}: {job['error']}")
        return self.get(f"/v1/models/{job['model']}")


def until(what, condition, seconds, every=0.02):
    """Waits for a condition; returns the value that made it true."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {seconds:g} s")
        time.sleep(every)
