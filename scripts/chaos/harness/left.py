"""Checks a data directory whose server has stopped: rows of the database against each other and against the blobs."""

import contextlib
import glob
import hashlib
import sqlite3
from pathlib import Path

ENDS = ("succeeded", "failed", "cancelled")
# Every column that names a blob. Evicted packs do not count.
BLOBS = """
    select sha256 from datasets
    union select report_blob from datasets
    union select manifest_blob from dataset_versions
    union select images_blob from segments
    union select pack_blob from segments where pack_gone = 0
    union select sha256 from models
    union select card_blob from models
    union select evaluation_blob from models
    union select blob from activations
    union select blob from packs
    union select result_blob from jobs
    union select csv_blob from jobs
"""


class Left:
    """Read only; use it in `with`."""

    def __init__(self, data):
        self.data = Path(data)
        self.connection = sqlite3.connect(f"file:{self.data / 'finetuned.db'}?mode=ro", uri=True)
        self.connection.row_factory = sqlite3.Row

    def rows(self, query, *values):
        return self.connection.execute(query, values).fetchall()

    def integrity(self):
        """Integrity errors of the database file."""
        found = [row[0] for row in self.rows("pragma integrity_check")]
        dangling = [f"a row of {row[0]} names a missing row of {row[2]}" for row in self.rows("pragma foreign_key_check")]
        return [one for one in found if one != "ok"] + dangling

    def dangling(self, hashed=True):
        """Blobs that a row names and that are missing or do not match their digests."""
        faults = []
        for (digest,) in self.rows(f"select * from ({BLOBS}) where 1"):
            if digest is None:
                continue
            path = self.data / "blobs" / digest[:2] / digest
            if not path.is_file():
                faults.append(f"blob {digest[:12]} is missing")
            elif hashed and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                faults.append(f"blob {digest[:12]} has other bytes")
        return faults

    def streams(self):
        """Event streams with a gap, with no end or two ends, or with events after the end."""
        faults = []
        for job in self.rows("select id, status from jobs"):
            events = self.rows("select seq, kind from events where job_id = ? order by seq", job["id"])
            ends = [event["seq"] for event in events if event["kind"] == "end"]
            if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
                faults.append(f"{job['id']}: numbers of events are not 1, 2, 3 …")
            if len(ends) != (job["status"] in ENDS):
                faults.append(f"{job['id']} is {job['status']} and has {len(ends)} ends")
            if ends and ends[-1] != events[-1]["seq"]:
                faults.append(f"{job['id']}: its stream continues after its end")
        return faults

    def models(self):
        """Training jobs without a model, or with two."""
        faults = []
        query = "select id, status, kind, (select count(*) from models where models.job_id = jobs.id) as made from jobs"
        for job in self.rows(query):
            if job["kind"] == "train" and job["made"] != (job["status"] == "succeeded"):
                faults.append(f"{job['id']} is {job['status']} and has {job['made']} models")
        return faults

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()


def blobs(data):
    """Digests of all blobs in a data directory."""
    return {path.name for path in (Path(data) / "blobs").glob("*/*")}


def lies(data, pattern):
    """Whether a path matches the pattern in the data directory of a running server, which may remove folders meanwhile."""
    return bool(glob.glob(pattern, root_dir=data))
