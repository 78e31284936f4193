"""Folders under the user's cache that are either complete or absent.

`scripts/libtorch` and `scripts/browser` install into them, so that a second clone fetches nothing. A folder is
built beside its final place, synced, and renamed; the file `complete` in it names what it was made from and the size of
every file, and a folder is used only while that still matches. Nothing here knows what is in the folders.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

MARKER = "complete"


def say(line):
    """One line for the person at the terminal; standard output stays free for results."""
    print(line, file=sys.stderr, flush=True)


def cache_root():
    """`$XDG_CACHE_HOME/finetuned`; a relative value is ignored, as the XDG base directory specification asks."""
    asked = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(asked) if os.path.isabs(asked) else Path("~/.cache").expanduser()
    return base / "finetuned"


@contextlib.contextmanager
def locked(path, waiting):
    """Holds the lock file `path`; prints `waiting` if another process has it. The kernel releases it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def damage(folder, sources):
    """Why `folder` cannot be used as it is, as text; None if it can."""
    try:
        marker = json.loads((folder / MARKER).read_text())
        recorded, files = marker["sources"], marker["files"].items()
    except FileNotFoundError:
        return "is not complete" if folder.exists() else "does not exist yet"
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return f"has an unreadable `{MARKER}` file"
    if recorded != sources:
        return "was made from other files"
    for name, size in files:
        try:
            found = os.stat(folder / name).st_size
        except OSError:
            return f"lacks {name}"
        if found != size:
            return f"has {found:,} bytes of {name} where {size:,} belong"
    return None


def put_in_place(folder, sources, fill):
    """Lets `fill(new)` fill a new folder and moves it to `folder`. The caller holds the lock.

    Whenever this process is killed, `folder` is the old one, the new one, or (when an old one is replaced, for as
    long as a rename takes) absent.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(left_over)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    new.chmod(0o755)
    try:
        fill(new)
        marker = {"sources": sources, "files": sizes(new)}
        (new / MARKER).write_text(json.dumps(marker, indent=0, sort_keys=True) + "\n")
        # One sync for thousands of headers: a flush per file takes a minute on a slow disk.
        os.sync()
        if folder.exists():
            old = new.with_name(new.name.replace(".tmp", ".old.tmp"))
            os.rename(folder, old)
            os.rename(new, folder)
            shutil.rmtree(old)
        else:
            os.rename(new, folder)
        sync_folder(folder.parent)
    finally:
        if new.exists():
            shutil.rmtree(new, ignore_errors=True)


def sizes(folder):
    """Every file under `folder` (relative name to bytes); a link counts as its target."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = os.stat(path).st_size
    return found


def sync_folder(folder):
    """Syncs `folder`, so that its renames survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
