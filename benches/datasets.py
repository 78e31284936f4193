#!/usr/bin/env python3
"""Reading datasets: against torchvision's loading, and whether many images cost more apiece, or more memory, than few.

The pictures to decode are those of hymenoptera (`FINETUNED_BENCH_DATA`, by default `../shared/data/hymenoptera.zip` beside the
repository), or else drawn ones, many times over so that the start of a child does not count for much. Our time is the life of the child:
its start, decoding, turning, resizing, packing, hashing each image, looking for duplicates, making all of it durable (the server hashes
the pack as it takes it in); that of the whole, from the
first byte of the upload until the dataset is ready, is told besides. The peer's is that of the better of two passes over the unpacked
files, with its workers up; it decodes, resizes and keeps nothing. The many are drawn, 32 pixels a side.
"""

import json
import os
import random
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

from measure import pytorch
from measure.memory import ChildWatch
from measure.server import FINETUNED, Server, scratch
from measure.table import Table

HERE = Path(__file__).resolve().parent
MB = 1e6
ROUNDS = 3
COPIES = 16
FASTER_THAN_TORCHVISION = 1.5
FEW, MANY = 1000, 100_000
DEARER_APIECE = 1.3
# What may be needed more for the many than for the few: a name and some numbers for each, nothing of its pixels.
MORE_MEMORY_OF_CHILD, MORE_MEMORY_OF_SERVER = 128, 64


def main():
    table = Table("Reading datasets")
    with scratch() as folder:
        folder = Path(folder)
        with Server(folder) as server:
            decode(table, server, folder)
            scale(table, server, folder)
    table.show()
    sys.exit(0 if table.met else 1)


def decode(table, server, folder):
    archive, unpacked = copies(pictures(folder), folder)
    python = pytorch.python()
    ours, whole, theirs = [], [], []
    for number in range(ROUNDS):
        mine, peers = upload(server, f"pictures-{number}", archive), peer(python, unpacked)
        assert mine["images"] == peers["images"], (mine, peers)
        ours.append(mine["images"] / mine["child_seconds"])
        whole.append(mine["images"] / mine["seconds"])
        theirs.append(peers["images"] / peers["seconds"])
    ratio = max(ours) / max(theirs)
    table.at_least("decode, resize, pack: ours / torchvision with 2 workers", ratio, FASTER_THAN_TORCHVISION, "x")
    table.note("images a second: ours, torchvision", (max(ours), max(theirs)), "")
    table.note("images a second: ours with upload and publishing", max(whole), "")


def scale(table, server, folder):
    runs = {}
    for images, rounds in ((2, ROUNDS), (FEW, 2 * ROUNDS), (MANY, 1)):
        archive = draw(folder / f"{images}.zip", images)
        runs[images] = [upload(server, f"drawn-{images}-{number}", archive) for number in range(rounds)]
    seconds = {images: min(run["seconds"] for run in them) for images, them in runs.items()}
    # Without what an archive of two takes: the start of a child, the publishing. It would flatter the many.
    apiece = [(seconds[images] - seconds[2]) / images for images in (FEW, MANY)]
    table.at_most(f"an image: of {MANY:,} / of {FEW:,}", apiece[1] / apiece[0], DEARER_APIECE, "x")
    table.note(f"an image: of {FEW:,}, of {MANY:,}", tuple(each * 1e6 for each in apiece), "µs")
    table.note(f"whole: of 2, {FEW:,}, {MANY:,}", tuple(seconds.values()), "s")
    for who, most in (("child", MORE_MEMORY_OF_CHILD), ("server", MORE_MEMORY_OF_SERVER)):
        few, many = (max(run[who] for run in runs[images]) / MB for images in (FEW, MANY))
        table.at_most(f"peak memory of the {who}: {MANY:,} more than {FEW:,}", many - few, most, "MB")
        table.note(f"peak memory of the {who}: {FEW:,}, {MANY:,}", (few, many), "MB")


def pictures(folder):
    asked = os.environ.get("FINETUNED_BENCH_DATA")
    archive = Path(asked) if asked else HERE.parent.parent / "shared/data/hymenoptera.zip"
    if archive.exists():
        return archive
    drawn = folder / "drawn.zip"
    subprocess.run([FINETUNED, "sample-dataset", drawn], check=True, stdout=subprocess.DEVNULL)
    return drawn


def copies(archive, folder):
    """`CLASS/N-FILE` for each copy of `…/CLASS/FILE`, as an archive and as a folder."""
    out, unpacked = folder / "copies.zip", folder / "unpacked"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            parts = entry.filename.split("/")
            if entry.is_dir() or parts[-1].startswith(".") or "__MACOSX" in parts:
                continue
            for number in range(COPIES):
                name = f"{parts[-2]}/{number}-{'-'.join(parts)}"
                target.writestr(name, source.read(entry))
    with zipfile.ZipFile(out) as files:
        files.extractall(unpacked)
    return out, unpacked


def draw(path, images):
    """PNGs of noise, all different, of two classes."""
    rng = random.Random(images)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(images):
            archive.writestr(f"{'ab'[number % 2]}/{number:06}.png", png(rng.randbytes(32 * 96)))
    return path


def png(rgb):
    rows = b"".join(b"\0" + rgb[begin : begin + 96] for begin in range(0, len(rgb), 96))
    chunks = (b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def upload(server, name, archive):
    server.forget_peak()
    child = ChildWatch(server.process.pid)
    began = time.perf_counter()
    with open(archive, "rb") as body:
        server.request("PUT", f"/v1/datasets?name={name}", body)
    dataset = server.request("GET", f"/v1/datasets/{name}?wait=600")
    seconds = time.perf_counter() - began
    assert dataset["status"] == "ready", dataset
    child.stop()
    run = {"images": dataset["images"], "seconds": seconds, "child_seconds": child.seconds}
    run |= {"server": server.peak_resident_bytes(), "child": child.peak_bytes}
    server.request("DELETE", f"/v1/datasets/{name}")
    return run


def peer(python, unpacked):
    command = [python, HERE / "peers/imagefolder.py", unpacked]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
