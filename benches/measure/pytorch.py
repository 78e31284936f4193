"""The Python of an environment with PyTorch and torchvision from the Python registry: the peers, and what checks us against them."""

import os
import subprocess
import venv
from pathlib import Path

PACKAGES = ("torch==2.11.0", "torchvision==0.26.0", "safetensors==0.8.0")
# What serves a network in Python.
SERVICES = ("fastapi==0.165.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", "litserve==0.2.19")


def python(*more):
    """Made once, 5 GB in the user's cache; `FINETUNED_BENCH_VENV` names another place. `more` are packages to have besides."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("FINETUNED_BENCH_VENV") or cache / "finetuned/parity")
    program = folder / "bin/python"
    if not program.exists():
        print(f"making an environment with PyTorch in {folder} (5 GB, once)", flush=True)
        venv.create(folder, with_pip=True)
    # pip finds out by itself whether they are already there, and then fetches nothing.
    subprocess.run([program, "-m", "pip", "install", "--quiet", *PACKAGES, *more], check=True)
    return program
