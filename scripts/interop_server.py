"""What the interop scripts share: a Python environment with the client packages, and a server to test."""

import contextlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/release/finetuned"


def enter(script, name, packages, note=""):
    """Runs `script` again with the environment's Python and exits with its status; returns if it already runs there.

    The environment is created once, in the user's cache; `FINETUNED_INTEROP_VENV` names another folder.
    """
    if os.environ.get("FINETUNED_INTEROP_INSIDE") == "1":
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("FINETUNED_INTEROP_VENV") or cache / "finetuned" / name)
    python = folder / "bin/python"
    if not python.exists():
        print(f"creating an environment in {folder} {note}".strip(), flush=True)
        venv.create(folder, with_pip=True)
    # pip checks by itself whether they are already installed, and then fetches nothing.
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    environment = {**os.environ, "FINETUNED_INTEROP_INSIDE": "1"}
    sys.exit(subprocess.run([python, "-B", script, *sys.argv[1:]], env=environment).returncode)


@contextlib.contextmanager
def served(folder, *flags):
    """A server with its data in a folder, for the duration of the block; gives its port."""
    command = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--offline", "--data-dir", folder / "data", *flags]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield listening_port(server)
        finally:
            server.terminate()
            server.wait(timeout=60)


def listening_port(server):
    for line in server.stdout:
        address = line.partition("listening on http://")[2].strip()
        if address:
            return int(address.rstrip("/").rpartition(":")[2])
    sys.exit("the server did not start")


def draw(archive):
    """Writes the sample dataset."""
    subprocess.run([PROGRAM, "sample-dataset", archive], check=True, stdout=subprocess.DEVNULL)
