"""Virtual environments in the user's cache with packages that are pinned by hash, for tools that one command needs and nobody installs.

`scripts/browser`, `scripts/tensorboard` and `scripts/packages` get theirs here. An environment is complete or absent (cachedir.py).
"""

import hashlib
import os
import subprocess
import sys

from cachedir import damage, locked, put_in_place, say


def python_with(what, place, requirements):
    """The interpreter of an environment with the packages in the file `requirements`, made if it is missing or incomplete. There is one for
    each version of Python: `place` with that at its end."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    sources = {requirements.name: hashlib.sha256(requirements.read_bytes()).hexdigest(), "python": sys.version}
    folder = place.with_name(f"{place.name}-python{version}")
    if damage(folder, sources):
        with locked(folder.parent / ".lock", f"another process is installing {what}; waiting for that one"):
            if damage(folder, sources):
                say(f"installing {what} into {folder}")
                put_in_place(folder, sources, lambda new: install(new, version, requirements))
    return folder / "bin/python"


def install(folder, version, requirements):
    # Without its own pip: on Debian the module that would install one is in a separate package.
    run([sys.executable, "-m", "venv", "--without-pip", folder])
    packages = folder / f"lib/python{version}/site-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    pip += ["--require-hashes", "--only-binary=:all:", "--no-compile", "--no-warn-conflicts", "--target", packages, "-r", requirements]
    run(pip, PIP_ROOT_USER_ACTION="ignore")


def run(command, **environment):
    subprocess.run(command, env={**os.environ, **environment}, stdout=sys.stderr, check=True)
