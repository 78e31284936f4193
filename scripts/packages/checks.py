"""Whether those who read the files in docker/ and in packages would accept them: `scripts/packages check`, and a test.

hadolint reads the Dockerfiles, the schema of the Compose specification the Compose files, Kubernetes' own schemas (strictly, without unknown
fields) the objects, shellcheck the scripts, and systemd the unit. No schema says what the Pod Security Standard `restricted` asks for, so
its rules stand here. A program that is not installed is named, and its check left out: it says nothing about the files.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml
from environments import program_of, tools
from programs import ROOT

FILES = Path(__file__).resolve().parent / "files"
DOCKER = ROOT / "docker"
KUBERNETES = DOCKER / "kubernetes"
KUBERNETES_VERSION = "1.37"
MOST_EXPOSED = 2.0
# What a volume may be in a pod that is `restricted`.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def main(_):
    found = [*dockerfiles(), *compose(), *kubernetes(), *scripts(), *unit()]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


def run(*command):
    """(exit status, what was printed)"""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def complaints(*command):
    status, printed = run(*command)
    return [printed.strip() or f"{command[0]}: exit status {status}"] if status else []


def missing(program, package):
    """Whether a program is missing; that is said."""
    if shutil.which(program):
        return False
    print(f"left out what {program} checks: it is not installed (Debian: apt-get install {package})", file=sys.stderr)
    return True


def dockerfiles(folder=DOCKER):
    found = []
    for name in ("Dockerfile", "Dockerfile.cuda"):
        found += complaints(program_of(tools(), "hadolint"), "--no-color", "--config", DOCKER / "hadolint.yaml", folder / name)
    # Two files that differ in what they fetch only: a change of one is a change of both.
    cpu, cuda = (set(lines_of(folder / name)) for name in ("Dockerfile", "Dockerfile.cuda"))
    for line in sorted(cpu ^ cuda):
        if "FINETUNED_LIBTORCH=" not in line and "NVIDIA_VISIBLE_DEVICES" not in line:
            found.append(f"only in one of the Dockerfiles: {line}")
    return found


def lines_of(path):
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def compose(folder=DOCKER):
    files = sorted(folder.glob("compose*.yaml"))
    return complaints(tools(), "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files)


def kubernetes(folder=KUBERNETES):
    objects = [part for path in sorted((folder / "base").glob("*.yaml")) for part in yaml.safe_load_all(path.read_text())]
    objects = [part for part in objects if part["kind"] != "Kustomization"]
    if shutil.which("kubectl"):
        for overlay in ("base", "gpu"):
            status, printed = run("kubectl", "kustomize", folder / overlay)
            if status:
                return [printed]
            objects += yaml.safe_load_all(printed)
    else:
        print("left out what kubectl checks, that the overlay fits: it is not installed", file=sys.stderr)
    return [complaint for part in objects for complaint in (*schema_of(part), *restricted(part))]


def schema_of(part):
    try:
        kubernetes_validate.validate(part, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{name_of(part)}: {error.message}"]
    return []


def name_of(part):
    return f"{part['kind']} {part['metadata']['name']}"


def restricted(part):
    """What the Pod Security Standard `restricted` says against an object's pods."""
    if "template" not in part.get("spec", {}):
        return []
    pod = part["spec"]["template"]["spec"]
    of_pod = pod.get("securityContext", {})
    found = [f"has {name}" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [f"volume {one['name']} is of another kind" for one in pod.get("volumes", []) if not VOLUMES & one.keys()]
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        effective = {**of_pod, **own}
        rules = {
            "runAsNonRoot": effective.get("runAsNonRoot") is True,
            "runAsUser": effective.get("runAsUser", 1) != 0,
            "seccompProfile": effective.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "privileged": not own.get("privileged"),
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
            # Beyond the standard.
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
        }
        found += [f"container {container['name']}: {rule}" for rule, holds in rules.items() if not holds]
    return [f"{name_of(part)} is not restricted: {one}" for one in found]


def scripts():
    if missing("shellcheck", "shellcheck"):
        return []
    return complaints("shellcheck", FILES / "install.sh", FILES / "booted.sh", DOCKER / "finetuned-health", ROOT / "scripts/rootfs")


def unit(path=FILES / "finetuned.service"):
    """What systemd says against the unit: lines that it does not know, and how exposed it is."""
    if missing("systemd-analyze", "systemd"):
        return []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bin/finetuned"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        written = Path(folder) / "finetuned.service"
        written.write_text(path.read_text().replace("@PREFIX@", folder))
        status, said = run("systemd-analyze", "verify", "--recursive-errors=no", written)
        found = [said] if status or str(written) in said else []
        _, report = run("systemd-analyze", "security", "--offline=true", "--no-pager", written)
    exposure = re.search(r"exposure level for finetuned\.service: ([\d.]+)", report)
    if not exposure:
        return [*found, report]
    print(f"the unit's exposure is {exposure[1]}", file=sys.stderr)
    return [*found, *([f"the unit's exposure is over {MOST_EXPOSED}"] if float(exposure[1]) > MOST_EXPOSED else [])]
