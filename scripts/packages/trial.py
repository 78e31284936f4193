"""Starts the server of an image in its plain folder, and does with it what a user would: make a key, upload, train, predict, stop.

`scripts/rootfs --try` calls it in namespaces of its own. As with `docker run --read-only --cap-drop ALL --security-opt no-new-privileges`, the
root is read-only, /data is the only place to write, and the image's user has no rights beyond its own. Every line that it prints is
something that was seen; the first that fails ends it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from image import last_stage

START_SECONDS = 60
COMMAND_SECONDS = 600
# One compute thread: two that synchronise at every step are slow when other processes use the cores, too.
THREADS = {"FINETUNED_TRAIN_THREADS": "1", "FINETUNED_PREDICT_THREADS": "1"}
BUILD_TOOLS = ("cc", "gcc", "c++", "g++", "ld", "as", "make", "cargo", "rustc", "git", "python3", "pip", "curl", "wget")
DEVICES = ("null", "zero", "full", "random", "urandom")
SPEC = {
    "dataset": "shapes",
    "name": "shapes",
    "backbone": {"architecture": "resnet18", "weights": "none"},
    "image": {"size": 32},
    "epochs": 1,
    "batch_size": 16,
}


def main():
    dockerfile, folder = map(Path, sys.argv[1:])
    image = last_stage(dockerfile)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        data.mkdir(mode=0o700)
        os.chown(data, *map(int, image.user.split(":")))
        mount(folder, data)
        container = Container(image, folder)
        look_around(container)
        serve(container)
    print("works", flush=True)


def mount(folder, data):
    """The file systems of a container. They are gone with this process's namespace."""
    for command in (
        "ip link set lo up",
        f"mount --bind {folder} {folder}",
        f"mount --bind {data} {folder}/data",
        f"mount -t tmpfs -o mode=0755 tmpfs {folder}/dev",
        f"mount -t proc -o nosuid,nodev,noexec proc {folder}/proc",
    ):
        subprocess.run(command.split(), check=True)
    for name in DEVICES:
        (folder / "dev" / name).touch()
        subprocess.run(["mount", "--bind", f"/dev/{name}", folder / "dev" / name], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


class Container:
    def __init__(self, image, folder):
        self.image, self.folder = image, folder

    def command(self, arguments, **environment):
        """What `docker exec` would run."""
        user, group = self.image.user.split(":")
        rights = ["--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        settings = [f"{name}={value}" for name, value in {**self.image.environment, **environment}.items()]
        there = ["env", "-i", "-C", self.image.folder, *settings]
        return ["chroot", self.folder, "/usr/bin/setpriv", *rights, *there, *arguments]

    def main(self):
        """What `docker run` would run. tini is not the first process here, and has to be told."""
        return self.command([*self.image.entry, *self.image.command], TINI_SUBREAPER="1", **THREADS)

    def run(self, *arguments, given=None, **environment):
        """(exit status, what it printed)"""
        command = self.command(arguments, **environment)
        try:
            done = subprocess.run(command, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired as late:
            return 124, f"not done in {COMMAND_SECONDS} seconds: {(late.stdout or b'').decode(errors='replace')[-1000:]}"
        return done.returncode, done.stdout

    def succeed(self, *arguments, **options):
        status, printed = self.run(*arguments, **options)
        expect(status == 0, f"{' '.join(arguments)}: {printed}")
        return printed


def expect(holds, otherwise):
    if not holds:
        sys.exit(f"trial: {otherwise}")


def saw(line):
    print(f"  {line}", flush=True)


def look_around(container):
    """What must not be there."""
    user = container.succeed("sh", "-c", "id -u; grep -E '^(NoNewPrivs|CapBnd|CapEff)' /proc/self/status")
    expect("NoNewPrivs:\t1" in user and user.count("0" * 16) == 2, user)
    saw(f"user {user.split()[0]}, no new privileges, no capabilities")
    for place in ("/", "/usr/bin", "/opt/finetuned", "/tmp", "/etc"):
        status, printed = container.run("touch", f"{place}/written")
        expect(status != 0 and "Read-only" in printed, f"{place} can be written to: {printed}")
    saw("the root is read-only, /tmp too")
    found = [tool for tool in BUILD_TOOLS if container.run("sh", "-c", f"command -v {tool}")[0] == 0]
    expect(not found, f"the image holds {', '.join(found)}")
    saw(f"none of {', '.join(BUILD_TOOLS)}")
    linked = container.succeed("ldd", "/opt/finetuned/bin/finetuned-worker")
    expect("not found" not in linked and "/opt/finetuned/" in linked, linked)
    saw("the worker finds all of its libraries")


def serve(container):
    status, refused = container.run("timeout", "20", *container.image.command)
    expect(status not in (0, 124) and "keys create" in refused, f"without a key: {refused}")
    saw("without a key it does not listen to others, and says how to make one")
    key = container.succeed("finetuned", "keys", "create", "admin", "--scope", "admin").split()[-1]
    expect(container.run(*container.image.health)[0] != 0, "the health check says yes, and there is no server")
    log_file = container.folder / "data/server.log"
    with open(log_file, "w") as log:
        server = subprocess.Popen(container.main(), stdout=log, stderr=log)
    try:
        wait_until_healthy(container, server)
        saw("it starts, and the health check sees it")
        use(container, key)
        server.send_signal(signal.SIGTERM)
        expect(server.wait(timeout=60) == 0, "the server did not stop by itself")
        saw("it stops when it is asked to")
    except BaseException:
        print(f"the end of the server's log:\n{log_file.read_text()[-3000:]}", flush=True)
        raise
    finally:
        server.kill()


def wait_until_healthy(container, server):
    end = time.monotonic() + START_SECONDS
    while container.run(*container.image.health)[0] != 0:
        log = (container.folder / "data/server.log").read_text()
        expect(server.poll() is None and time.monotonic() < end, f"the server did not start: {log}")
        time.sleep(0.2)


def use(container, key):
    def client(*arguments, **options):
        return container.succeed("finetuned", *arguments, FINETUNED_KEY=key, **options)

    client("sample-dataset", "/data/shapes.zip")
    client("upload", "/data/shapes.zip", "--name", "shapes")
    saw("a dataset is uploaded and read")
    done = client("submit", "--json", "-", "--watch", given=json.dumps(SPEC))
    saw(f"a job trains: {done.strip().splitlines()[-1]}")
    image = container.folder / "data/one.png"
    with zipfile.ZipFile(container.folder / "data/shapes.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith((".png", ".jpg")))
        image.write_bytes(archive.read(name))
    image.chmod(0o644)
    saw(f"the model predicts: {client('predict', 'shapes', '/data/one.png').strip().splitlines()[0]}")


if __name__ == "__main__":
    main()
