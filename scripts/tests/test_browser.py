"""`scripts/browser` against a registry on loopback, with a Playwright of one file."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from registry import Registry, wheel

SCRIPTS = Path(__file__).resolve().parent.parent
PLAYWRIGHT = "playwright-1.0-py3-none-any.whl"


class Browser(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="browser-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.registry = Registry()
        self.addCleanup(self.registry.close)
        body = wheel("playwright", "1.0", {"playwright.py": b"print('played')\n"})
        self.registry.files = {PLAYWRIGHT: body}
        for script in ("browser", "venvs.py", "cachedir.py"):
            shutil.copy(SCRIPTS / script, self.folder / script)
        self.require(hashlib.sha256(body).hexdigest())

    def require(self, sha256):
        (self.folder / "browser-requirements.txt").write_text(f"playwright==1.0 --hash=sha256:{sha256}\n")

    def run_script(self, chromium=sys.executable):
        environment = self.registry.environment(self.folder / "the cache")
        return subprocess.run(
            [sys.executable, self.folder / "browser"],
            env={**environment, "FINETUNED_CHROMIUM": str(chromium)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )

    def test_a_shell_gets_a_python_with_playwright_and_the_second_run_fetches_nothing(self):
        first = self.run_script()
        self.assertEqual(first.returncode, 0, first.stderr)
        shell = first.stdout + '"$FINETUNED_BROWSER_PYTHON" -c "import playwright"; echo "$FINETUNED_CHROMIUM"'
        said = subprocess.run(["sh", "-euc", shell], stdout=subprocess.PIPE, text=True, timeout=60).stdout
        self.assertEqual(said.splitlines(), ["played", sys.executable])

        self.registry.requests.clear()
        self.assertEqual(self.run_script().stdout, first.stdout)
        self.assertEqual(self.registry.requests, [])

    def test_another_hash_leaves_nothing_behind(self):
        self.require("0" * 64)
        refused = self.run_script()
        self.assertEqual(refused.returncode, 1)
        self.assertIn("HASH", refused.stderr)
        self.assertEqual(refused.stdout, "")
        left = [path.name for path in (self.folder / "the cache/finetuned/browser").iterdir()]
        self.assertEqual(left, [".lock"])

    def test_a_chromium_that_is_no_program_is_refused(self):
        refused = self.run_script(chromium=self.folder / "nothing")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("is not a program", refused.stderr)


if __name__ == "__main__":
    unittest.main()
