"""`scripts/tensorboard` against a registry on loopback, with a TensorBoard of one file."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from registry import Registry, wheel

SCRIPTS = Path(__file__).resolve().parent.parent
TENSORBOARD = "tensorboard-1.0-py3-none-any.whl"


class TensorBoard(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="tensorboard-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        body = wheel("tensorboard", "1.0", {"tensorboard.py": b"print('read')\n"})
        self.registry.files = {TENSORBOARD: body}
        for script in ("tensorboard", "venvs.py", "cachedir.py"):
            shutil.copy(SCRIPTS / script, self.folder / script)
        self.require(hashlib.sha256(body).hexdigest())

    def require(self, sha256):
        (self.folder / "tensorboard-requirements.txt").write_text(f"tensorboard==1.0 --hash=sha256:{sha256}\n")

    def run_script(self):
        return subprocess.run(
            [sys.executable, self.folder / "tensorboard"],
            env=self.registry.environment(self.folder / "the cache"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )

    def test_a_shell_gets_a_python_with_tensorboard_and_the_second_run_fetches_nothing(self):
        first = self.run_script()
        self.assertEqual(first.returncode, 0, first.stderr)
        shell = first.stdout + '"$FINETUNED_TENSORBOARD_PYTHON" -c "import tensorboard"'
        said = subprocess.run(["sh", "-euc", shell], stdout=subprocess.PIPE, text=True, timeout=60).stdout
        self.assertEqual(said.splitlines(), ["read"])

        self.registry.requests.clear()
        self.assertEqual(self.run_script().stdout, first.stdout)
        self.assertEqual(self.registry.requests, [])

    def test_another_hash_is_refused(self):
        self.require("0" * 64)
        refused = self.run_script()
        self.assertEqual((refused.returncode, refused.stdout), (1, ""))
        self.assertIn("HASH", refused.stderr)


if __name__ == "__main__":
    unittest.main()
