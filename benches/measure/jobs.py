"""Jobs of a benchmark, from their submission to their end."""

import json
import time


def run(server, spec):
    """A job that has succeeded, and the seconds from its submission to its end."""
    began = time.perf_counter()
    job = server.request("POST", "/v1/jobs", json.dumps(spec).encode())
    while job["status"] in ("queued", "running"):
        job = server.request("GET", f"/v1/jobs/{job['id']}?wait=600")
    assert job["status"] == "succeeded", job
    return job, time.perf_counter() - began


def upload(server, name, path):
    """Uploads an archive and waits until it is read."""
    server.request("PUT", f"/v1/datasets?name={name}", path.read_bytes())
    server.request("GET", f"/v1/datasets/{name}?wait=600")
