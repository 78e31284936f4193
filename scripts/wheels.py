"""Fetches pinned wheels from the Python registry, resumably.

`scripts/libtorch` and `scripts/weights` call `obtain`. pip is asked for the URL of a wheel, so that the user's mirror, certificates and proxies apply;
the bytes are then fetched here, because pip restarts a broken 530 MB download from zero. If that does not work, pip
fetches the wheel itself. A file under its final name has been verified; everything else is called `.part`.
"""

import dataclasses
import functools
import hashlib
import http.client
import importlib.util
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from cachedir import say

CHUNK = 1 << 20
ATTEMPTS = 5
TIMEOUT_SECONDS = 60
# Network errors; a full disk or missing permissions are not among them.
NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, socket.timeout, ssl.SSLError)


class FetchError(Exception):
    """A wheel that cannot be fetched; the message is for the person at the terminal."""


@dataclasses.dataclass(frozen=True)
class Wheel:
    """One line of the list of pins. `bytes` and `sha256` are those of the file."""

    layouts: tuple
    bytes: int
    sha256: str
    file: str

    @property
    def project(self):
        return self.file.split("-")[0].replace("_", "-")

    @property
    def version(self):
        return self.file.split("-")[1]

    def tags(self):
        """(Python version, implementation, ABI, platforms), as `pip download` expects them."""
        pythons, abi, platforms = self.file[: -len(".whl")].split("-")[-3:]
        python = pythons.split(".")[-1]
        digits = python.lstrip("cpy")
        return digits, python.rstrip("0123456789"), abi, platforms.split(".")


def read_pins(path):
    """The wheels named in `path`: layouts, bytes, SHA-256, file name; `#` starts a comment."""
    pins = []
    for line in path.read_text().splitlines():
        fields = line.split("#")[0].split()
        if fields:
            layouts, size, sha256, file = fields
            pins.append(Wheel(tuple(layouts.split(",")), int(size), sha256, file))
    return pins


def obtain(wheel, folder):
    """The path of `wheel` in `folder`, fetched if it is missing; its SHA-256 is always the pinned one."""
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / wheel.file, folder / (wheel.file + ".part")
    if path.exists() and sha256_of(path) == wheel.sha256:
        return path
    resumed = part.exists()
    fetch(wheel, part)
    if sha256_of(part) != wheel.sha256 and resumed:
        say(f"  the partial download of {wheel.file} was damaged; fetching it from the start")
        part.unlink()
        fetch(wheel, part)
    if sha256_of(part) != wheel.sha256:
        part.unlink()
        raise FetchError(
            f"{wheel.file} does not have the pinned SHA-256 {wheel.sha256}: the registry or mirror that pip uses sent "
            "other bytes, which were discarded"
        )
    with open(part, "rb") as handle:
        os.fsync(handle.fileno())
    os.rename(part, path)
    return path


def fetch(wheel, part):
    """Fetches the whole wheel into `part`, by either method; the caller checks its hash."""
    try:
        fetch_resumably(wheel, part)
    except (*NETWORK, FetchError) as problem:
        say(f"  {problem}; pip fetches the whole file instead")
        fetch_with_pip(wheel, part)


def fetch_resumably(wheel, part):
    """Fetches `part` up to the wheel's pinned length, resuming after an earlier run or a broken connection."""
    if size_of(part) > wheel.bytes:
        part.unlink()
    if size_of(part) == wheel.bytes:
        return
    url = address(wheel)
    context = certificates() if url.startswith("https:") else None
    fruitless = 0
    while True:
        before = size_of(part)
        try:
            copy_rest(url, context, wheel, part)
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise
            problem = f"the server answered {error.code}"
        except NETWORK as error:
            problem = str(error) or type(error).__name__
        have = size_of(part)
        if have == wheel.bytes:
            return
        fruitless = fruitless + 1 if have <= before else 0
        if fruitless == ATTEMPTS:
            raise FetchError(f"{wheel.file}: {problem}, {ATTEMPTS} times at {have:,} bytes")
        say(f"  {problem} at {have:,} of {wheel.bytes:,} bytes; resuming from there")
        time.sleep(fruitless)


def copy_rest(url, context, wheel, part):
    """One request: appends the missing bytes to `part`, or starts over if the server sends the whole file."""
    have = size_of(part)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        # Unbuffered, and read as it arrives (read1), so that received bytes survive a kill.
        with open(part, "ab" if resumed else "wb", buffering=0) as out:
            progress = Progress(wheel, have if resumed else 0)
            while out.tell() < wheel.bytes:
                block = response.read1(min(CHUNK, wheel.bytes - out.tell()))
                if not block:
                    break
                out.write(block)
                progress.at(out.tell())


def address(wheel):
    """The URL that pip would fetch the wheel from. pip prints every link of the project when asked for its versions."""
    command = [*pip(), "-vv", "index", "versions", wheel.project]
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    found = re.search(r"https?://[^\s\"'<>#]+/" + re.escape(wheel.file), answer.stdout)
    if not found:
        raise FetchError(f"pip does not know a URL of {wheel.file}")
    return found[0]


def fetch_with_pip(wheel, part):
    """`pip download` into a folder beside `part`, by hash; slower to recover, but it honours every setting."""
    python, implementation, abi, platforms = wheel.tags()
    with tempfile.TemporaryDirectory(dir=part.parent) as scratch:
        pinned = os.path.join(scratch, "pinned.txt")
        with open(pinned, "w") as out:
            out.write(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        command = [*pip(), "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "-r", pinned]
        command += ["--python-version", python, "--implementation", implementation, "--abi", abi, "--dest", scratch]
        for platform in platforms:
            command += ["--platform", platform]
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        fetched = os.path.join(scratch, wheel.file)
        if answer.returncode != 0 or not os.path.exists(fetched):
            reason = (answer.stdout.strip().splitlines() or ["no reason given"])[-1]
            raise FetchError(f"pip could not fetch {wheel.file}: {reason}")
        os.replace(fetched, part)


def pip():
    """The command line of this Python's pip."""
    if importlib.util.find_spec("pip") is None:
        raise FetchError(f"{sys.executable} has no pip: install it (Debian: apt-get install python3-pip)")
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


@functools.lru_cache()
def certificates():
    """A TLS context with the certificate file that pip is configured to use, if any; otherwise with the system's."""
    listing = subprocess.run([*pip(), "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    named = re.findall(r"\.cert='([^']+)'", listing.stdout)
    return ssl.create_default_context(cafile=named[0] if named else None)


def size_of(path):
    """The size of a file in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def sha256_of(path):
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(CHUNK), b""):
            digest.update(block)
    return digest.hexdigest()


class Progress:
    """Download progress: one line that is redrawn on a terminal, otherwise a line for every quarter of a large file."""

    def __init__(self, wheel, start):
        self.wheel, self.terminal = wheel, sys.stderr.isatty()
        large = wheel.bytes > 100_000_000
        self.steps = 100 if self.terminal else 4 if large else 1
        self.shown = self.steps * start // wheel.bytes
        if large and not self.terminal:
            say(f"  {self.line(start)}")

    def at(self, done):
        step = self.steps * done // self.wheel.bytes
        if step == self.shown:
            return
        self.shown = step
        if self.terminal:
            width = shutil.get_terminal_size().columns - 3
            ending = "\n" if done == self.wheel.bytes else ""
            print(f"\r  {self.line(done)[:width]:<{width}}{ending}", end="", file=sys.stderr, flush=True)
        else:
            say(f"  {self.line(done)}")

    def line(self, done):
        return f"{self.wheel.project} {self.wheel.version}: {done / 1e6:,.0f} of {self.wheel.bytes / 1e6:,.0f} MB"
