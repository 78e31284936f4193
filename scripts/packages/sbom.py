"""The bill of materials of a release (CycloneDX 1.6): every crate in the two programs, as Cargo.lock pins it, and the libtorch beside them.

Crates that only build scripts and tests use are in no program, and so not in the list.
"""

import datetime
import json
import subprocess
import tomllib
import uuid

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from problem import Problem
from programs import ROOT
from wheels import read_pins

TARGET = "x86_64-unknown-linux-gnu"
# Of those wheels that a release runs with on the CPU; the others are for GPUs, and are NVIDIA's as well.
LICENCES = {"torch": "BSD-3-Clause"}
PROPRIETARY = "LicenseRef-NVIDIA-Proprietary"


def describe(date):
    """The document as JSON text, checked against its schema. `date` is the source's, in seconds since 1970."""
    packages, edges, root = resolved()
    sums = checksums()
    bom = Bom()
    made = {id_: component(package, sums) for id_, package in packages.items()}
    bom.metadata.component = made[root]
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(date, datetime.timezone.utc)
    wheels = [of_wheel(wheel) for wheel in read_pins(ROOT / "scripts/libtorch-wheels.txt") if "cpu" in wheel.layouts]
    for id_, one in made.items():
        if id_ != root:
            bom.components.add(one)
        bom.register_dependency(one, [made[other] for other in edges[id_]] + (wheels if id_ == root else []))
    for one in wheels:
        bom.components.add(one)
    about = json.dumps([str(one.purl) for one in sorted([*made.values(), *wheels], key=lambda one: str(one.purl))])
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, f"{about} {date}")
    text = JsonV1Dot6(bom).output_as_string(indent=1) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong:
        raise Problem(f"the bill of materials does not fit its schema: {wrong}")
    return text


def resolved():
    """(packages by id, ids that each depends on, the id of finetuned): what is reached from finetuned by normal dependencies."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]
    told = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    root, edges = told["resolve"]["root"], {}
    waiting = [root]
    while waiting:
        id_ = waiting.pop()
        if id_ not in edges:
            edges[id_] = [dep["pkg"] for dep in nodes[id_]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
            waiting += edges[id_]
    packages = {package["id"]: package for package in told["packages"] if package["id"] in edges}
    return packages, edges, root


def checksums():
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    return {(package["name"], package["version"]): package.get("checksum") for package in locked}


def component(package, sums):
    name, version = package["name"], package["version"]
    sum_ = sums[name, version]
    is_ours = package["source"] is None
    purl = PackageURL("cargo", None, name, version)
    return Component(
        name=name,
        version=version,
        type=ComponentType.APPLICATION if is_ours else ComponentType.LIBRARY,
        bom_ref=str(purl),
        purl=purl,
        description=package["description"],
        licenses=[licence(package["license"])] if package["license"] else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sum_)] if sum_ else [],
    )


def licence(text):
    # `MIT/Apache-2.0` is the old way to write `MIT OR Apache-2.0`.
    return LicenseFactory().make_from_string(text.replace("/", " OR "))


def of_wheel(wheel):
    """A wheel of the libtorch that is fetched when the programs are installed."""
    purl = PackageURL("pypi", None, wheel.project, wheel.version, {"file_name": wheel.file})
    return Component(
        name=wheel.project,
        version=wheel.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(purl),
        purl=purl,
        description="Fetched when it is installed, and run by finetuned-worker",
        licenses=[licence(LICENCES.get(wheel.project, PROPRIETARY))],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=wheel.sha256)],
    )
