"""A small disk for one scenario, in its own mount namespace: filled to the last byte and emptied again."""

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from .options import Unable

PIECE = 1 << 16


class SmallDisk:
    """A tmpfs; use it in `with`. It outlives the server that is started in it by `enter`; other processes can access it only through `data`."""

    def __init__(self, folder, size_bytes):
        for program in ("unshare", "nsenter", "mount"):
            if not shutil.which(program):
                raise Unable(f"`{program}` is not installed: it is part of util-linux")
        self.inside = Path(folder) / "disk"
        self.inside.mkdir()
        # Root can mount directly; other users become root of a new user namespace.
        self.own_user = os.geteuid() != 0
        mount = f'mount -t tmpfs -o size={size_bytes},mode=0700 chaos "$0" && echo mounted && exec sleep 86400'
        command = ["unshare", *(["-r"] if self.own_user else []), "-m", "sh", "-c", mount, str(self.inside)]
        self.holder = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        if self.holder.stdout.readline().strip() != "mounted":
            said = self.holder.communicate()[1].strip()
            raise Unable(
                f"a small disk cannot be mounted here ({said}): run it as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
            )
        self.data = Path(f"/proc/{self.holder.pid}/root{self.inside}")
        self.ballast = self.data / "ballast"

    def enter(self):
        """The prefix for the command line of a program that is to see the disk."""
        user = ["-U", "--preserve-credentials"] if self.own_user else []
        return ["nsenter", "-t", str(self.holder.pid), *user, "-m", "--"]

    def fill(self):
        """Fills the disk completely."""
        with open(self.ballast, "ab", buffering=0) as file:
            piece = PIECE
            while piece:
                try:
                    if file.write(bytes(piece)) < piece:
                        piece //= 2
                except OSError:
                    piece //= 2

    def kept_full(self, seconds, meanwhile=None):
        """Keeps the disk full for a while, also using space that others free. `meanwhile` runs once it is full."""
        end = time.monotonic() + seconds
        self.fill()
        found = meanwhile() if meanwhile else None
        while time.monotonic() < end:
            self.fill()
            time.sleep(0.05)
        return found

    def free(self):
        self.ballast.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()
        self.holder.stderr.close()
