"""The checks of the scenarios in `scripts/chaos` must be able to fail: traces out of order, a faulty database, a slope."""

import sqlite3
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "chaos"))

import fsyncs  # noqa: E402
import soak  # noqa: E402
from harness import images  # noqa: E402
from harness.left import Left  # noqa: E402

DATA = "/srv/data"
RECEIVED = '9 1.0 recvfrom(7<TCP:[1]>, "PUT /v1/datasets?name=a HTTP/1.1\\r\\n"..., 8192, 0, NULL, NULL) = 90'
FILE_SYNCED = f"9 1.1 fsync(8<{DATA}/spool/f>) = 0"
RENAMED = f'9 1.2 rename("{DATA}/spool/f", "{DATA}/blobs/ab/abcd") = 0'
FOLDER_SYNCED = f"9 1.3 fsync(8<{DATA}/blobs/ab>) = 0"
LOG_WRITTEN = f'5 1.4 pwrite64(4<{DATA}/finetuned.db-wal>, "..."..., 4096, 32) = 4096'
LOG_SYNCED = f"5 1.5 fdatasync(4<{DATA}/finetuned.db-wal>) = 0"
ANSWERED = '9 1.6 sendto(7<TCP:[1]>, "HTTP/1.1 201 Created\\r\\n"..., 300, MSG_NOSIGNAL, NULL, 0) = 300'
IN_ORDER = [RECEIVED, FILE_SYNCED, RENAMED, FOLDER_SYNCED, LOG_WRITTEN, LOG_SYNCED, ANSWERED]


class FsyncOrder(unittest.TestCase):
    def faults(self, lines):
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder) / "trace"
            trace.write_text("\n".join(lines))
            order = fsyncs.Order(fsyncs.calls(trace), DATA)
        receipt = order.request("PUT /v1/datasets", 0)
        return order.faults(receipt.end, order.answer(receipt).begin, 1)

    def test_what_is_in_order_has_no_fault(self):
        self.assertEqual(self.faults(IN_ORDER), [])

    def test_every_call_left_out_is_seen(self):
        for call in (FILE_SYNCED, RENAMED, FOLDER_SYNCED, LOG_WRITTEN, LOG_SYNCED):
            with self.subTest(call):
                self.assertNotEqual(self.faults([line for line in IN_ORDER if line != call]), [])

    def test_every_call_that_comes_after_the_answer_is_seen(self):
        for call in (FILE_SYNCED, RENAMED, FOLDER_SYNCED, LOG_WRITTEN, LOG_SYNCED):
            with self.subTest(call):
                self.assertNotEqual(self.faults([line for line in IN_ORDER if line != call] + [call]), [])

    def test_a_sync_that_has_not_ended_when_the_answer_goes_does_not_count(self):
        begun = LOG_SYNCED.replace(") = 0", " <unfinished ...>")
        ended = "5 1.7 <... fdatasync resumed>) = 0"
        self.assertNotEqual(self.faults(IN_ORDER[:5] + [begun, ANSWERED, ended]), [])
        self.assertEqual(self.faults(IN_ORDER[:5] + [begun, ended, ANSWERED]), [])

    def test_a_sync_that_fails_does_not_count(self):
        failed = LOG_SYNCED.replace("= 0", "= -1 EIO (Input/output error)")
        self.assertNotEqual(self.faults(IN_ORDER[:5] + [failed, ANSWERED]), [])


class WhatIsLeft(unittest.TestCase):
    def left(self, *statements):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        connection = sqlite3.connect(Path(folder.name) / "finetuned.db")
        connection.execute("create table jobs (id text, status text, kind text)")
        connection.execute("create table events (job_id text, seq integer, kind text)")
        connection.execute("create table models (job_id text)")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()
        return Left(folder.name)

    def test_a_job_has_one_end_and_it_is_the_last_event(self):
        job = "insert into jobs values ('j', 'succeeded', 'train')"
        events = "insert into events values ('j', 1, 'status'), ('j', 2, 'end')"
        for more, faults in [
            ("", 0),
            (", ('j', 3, 'end')", 1),
            (", ('j', 3, 'step')", 1),
            (", ('j', 5, 'log')", 2),
        ]:
            with self.subTest(more), self.left(job, events + more) as left:
                self.assertEqual(len(left.streams()), faults, left.streams())

    def test_a_job_that_ended_without_an_end_is_seen(self):
        with self.left("insert into jobs values ('j', 'cancelled', 'train')") as left:
            self.assertEqual(len(left.streams()), 1)

    def test_a_training_has_its_model_and_no_other(self):
        job = "insert into jobs values ('j', 'succeeded', 'train'), ('k', 'failed', 'train')"
        for made, faults in [("('j')", 0), ("('j'), ('j')", 1), ("('k')", 2)]:
            with self.subTest(made), self.left(job, f"insert into models values {made}") as left:
                self.assertEqual(len(left.models()), faults, left.models())


class Soak(unittest.TestCase):
    def test_growth_is_a_share_in_ten_minutes(self):
        class At:
            def __init__(self, minute):
                self.minute, self.held = minute, 100 + 0.2 * minute

        samples = [At(minute) for minute in range(60)]
        self.assertAlmostEqual(soak.slope(samples, lambda one: one.held), 2 / 105.9, places=4)
        self.assertEqual(soak.slope(samples, lambda one: 7), 0)


class Images(unittest.TestCase):
    def test_no_two_numbers_give_one_image_and_the_same_numbers_the_same_archive(self):
        self.assertEqual(len({images.png(kind, number) for kind in range(2) for number in range(600)}), 1200)
        self.assertEqual(images.archive(5, 3), images.archive(5, 3))


if __name__ == "__main__":
    unittest.main()
