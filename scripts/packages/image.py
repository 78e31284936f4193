"""What the last stage of a Dockerfile says: its base, its steps in order, and how its container is started.

It knows the instructions that ours use, and refuses others: a step that is left out would make a folder that is not the image.
"""

import dataclasses
import json
import shlex

from dockerfile_parse import DockerfileParser
from problem import Problem

# They say something about the image, and change no file in it.
ABOUT = ("ARG", "LABEL", "EXPOSE", "VOLUME")


@dataclasses.dataclass
class Image:
    base: str
    # (RUN, a command line) or (COPY, [from, to], whether `from` is in an earlier stage).
    steps: list = dataclasses.field(default_factory=list)
    environment: dict = dataclasses.field(default_factory=dict)
    user: str = "0:0"
    folder: str = "/"
    health: list = dataclasses.field(default_factory=list)
    entry: list = dataclasses.field(default_factory=list)
    command: list = dataclasses.field(default_factory=list)
    # What the build stage fetches: `cpu` or `cuda`.
    libtorch: str = ""


def last_stage(path):
    """The image that a Dockerfile describes."""
    with open(path, "rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    image = None
    for step in structure:
        name, value = step["instruction"], step["value"]
        if name == "FROM":
            image = Image(value.split()[0], libtorch=image.environment["FINETUNED_LIBTORCH"] if image else "")
        elif name not in ("COMMENT", *ABOUT):
            read(image, name, value)
    return image


def read(image, name, value):
    if name == "RUN":
        image.steps.append(("RUN", value))
    elif name == "COPY":
        words = shlex.split(value)
        image.steps.append(("COPY", [word for word in words if not word.startswith("--")], words[0].startswith("--from=")))
    elif name == "ENV":
        image.environment.update(word.split("=", 1) for word in shlex.split(value))
    elif name == "USER":
        image.user = value
    elif name == "WORKDIR":
        image.folder = value
    elif name == "HEALTHCHECK":
        image.health = json.loads(value.partition("CMD")[2])
    elif name == "ENTRYPOINT":
        image.entry = json.loads(value)
    elif name == "CMD":
        image.command = json.loads(value)
    else:
        raise Problem(f"does not know the instruction {name}: add it to scripts/packages/image.py")
