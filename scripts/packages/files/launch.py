"""Starts the programs of this package, with a libtorch for the worker.

libtorch 2.11.0 is the first of these: the one that LIBTORCH names; the one of a torch 2.11.0 in the same environment as this package; the
one in the user's cache, which is fetched when a command first needs it. Nothing is imported of torch: that takes seconds, and the programs
need its libraries only.
"""

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "setup"))

import torchlib  # noqa: E402
from cachedir import say  # noqa: E402
from wheels import FetchError  # noqa: E402

# Commands that start a worker, or may. Others take a libtorch that is there, and fetch none.
FETCHING = ("serve", "weights", "sample-dataset")


def server():
    """The program `finetuned`, in place of this process."""
    start("finetuned", bool(sys.argv[1:]) and sys.argv[1] in FETCHING and not {"--help", "-h"} & set(sys.argv))


def worker():
    start("finetuned-worker", True)


def start(name, fetching):
    try:
        folder = libtorch(fetching)
    except (torchlib.Refused, FetchError) as problem:
        sys.exit(f"finetuned: {problem}")
    except KeyboardInterrupt:
        sys.exit("finetuned: interrupted; the next start resumes from here")
    except OSError as problem:
        sys.exit(f"finetuned: {problem}. {torchlib.DISK}")
    if folder:
        # The server passes it on to its workers.
        searched = [str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, searched))
    program = HERE / "bin" / name
    os.execv(program, [str(program), *sys.argv[1:]])


def libtorch(fetching):
    """The folder of a libtorch, or None if there is none and it is not to be fetched."""
    own = os.environ.get("LIBTORCH", "")
    if own:
        return torchlib.check_own(Path(own).absolute(), torchlib.TO_RUN)
    installed = torch_beside(fetching)
    if installed or not fetching:
        return installed
    return torchlib.cached(torchlib.choose(os.environ.get("FINETUNED_LIBTORCH", ""), torchlib.driver_release()))


def torch_beside(fetching):
    """The folder of an installed torch, if it is the right version with all that the worker needs."""
    found = importlib.util.find_spec("torch")
    if not found or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations)))
    version = torchlib.version_of(folder) or "of an unknown version"
    if version.split("+")[0] == torchlib.VERSION and all((folder / name).exists() for name in torchlib.TO_RUN):
        return folder
    if fetching:
        say(f"finetuned: the torch of this environment is {version}, and libtorch {torchlib.VERSION} is needed: using one of its own")
    return None
