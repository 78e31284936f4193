"""Makes what is given to others: `python3 -B scripts/packages COMMAND`, or the targets of the Makefile that call it.

    stage FOLDER            the programs and their libtorch, as they lie in an image
    rootfs FOLDER [--try]   an image as a plain folder, and whether it works (scripts/rootfs)
    release                 the tarball, the Debian package, the bill of materials and their checksums, in target/packages
    boot                    whether that release installs and runs under systemd, in a Debian that is booted for it
    wheel                   the Python wheel, in target/packages
    check                   what lies in docker/ and the files of packages, against the rules of those who read them

The programs are those in target/release. Commands other than `stage` need Python 3.11, and run in an environment with the tools in
tools-requirements.txt.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from environments import tools  # noqa: E402
from problem import Problem  # noqa: E402

# The module of each command. A module imports what the command needs, so it is imported only then.
WITHOUT_TOOLS = {"stage": "stage"}
WITH_TOOLS = {"rootfs": "rootfs", "release": "release", "boot": "boot", "wheel": "python_wheel", "check": "checks"}


def main(arguments):
    command, *rest = arguments or [""]
    try:
        if command in WITH_TOOLS:
            use_the_tools()
        elif command not in WITHOUT_TOOLS:
            sys.exit(__doc__.strip())
        module = importlib.import_module({**WITHOUT_TOOLS, **WITH_TOOLS}[command])
        sys.exit(module.main(rest))
    except Problem as problem:
        sys.exit(f"scripts/packages {command}: {problem}")
    except subprocess.CalledProcessError as failed:
        sys.exit(f"scripts/packages {command}: `{' '.join(map(str, failed.cmd))}` failed; its output is above")


def use_the_tools():
    """Lets the interpreter that has the tools take this one's place, if it is another one."""
    python = tools()
    if Path(sys.prefix) != python.parent.parent:
        os.execv(python, [str(python), "-B", str(HERE), *sys.argv[1:]])


if __name__ == "__main__":
    main(sys.argv[1:])
