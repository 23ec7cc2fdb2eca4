"""What nq-tflite depends on, by its own metadata; `python tests/tools/dependencies.py` renews the lock file and list.

The lock file has the versions of this environment with the sha256 of the archives that pip takes for this Python and
machine; `make test` installs from it where it fits. The list of licences is docs/dependencies.md.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / f"cp{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}.txt"
LIST = ROOT / "docs" / "dependencies.md"
#: What an installation for use may ask for; "" is no extra at all. The others are for development.
RUNTIME_EXTRAS = ("", "litert", "tflite-runtime", "govern", "cli", "convert", "plot", "report", "cluster", "demo")
#: What the packages' metadata leave out or spell at length.
_LICENCES_IN_WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
_HEAD = """\
# What nq-tflite depends on

`pip install nq-tflite` brings NumPy alone; the rest comes with the extra that needs it. Licences are what the packages'
own metadata say. `make lock` writes this page, and into `requirements/` the versions and hashes that the tests run
with; a test holds both against what is installed.

| package | tested version | licence | comes with |
| -- | -- | -- | -- |
"""


@cache
def project() -> dict[str, Any]:
    """pyproject.toml's table of the project."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def own_requirements(extra: str) -> list[Requirement]:
    """What nq-tflite itself asks for with an extra, its own extras resolved."""
    texts = project()["optional-dependencies"][extra] if extra else project()["dependencies"]
    found: list[Requirement] = []
    for requirement in map(Requirement, texts):
        if canonicalize_name(requirement.name) == "nq-tflite":
            found += [each for inner in sorted(requirement.extras) for each in own_requirements(inner)]
        elif requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found.append(requirement)
    return found


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """Canonical names of these packages and of all that they need, as they are installed here."""
    names: set[str] = set()
    todo = list(requirements)
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in names and not requirement.extras:
            continue
        names.add(name)
        todo += _needs(name, requirement.extras)
    return names


def _needs(name: str, extras: set[str]) -> Iterator[Requirement]:
    for each in map(Requirement, importlib.metadata.requires(name) or ()):
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield each


def licence(name: str) -> str:
    """A package's licence by its metadata, as an SPDX name where that is plain.

    Raises:
        ValueError: it names none.
    """
    metadata = importlib.metadata.metadata(name)
    classifiers = [each.split(" :: ")[-1] for each in metadata.get_all("Classifier") or () if "License ::" in each]
    # By get_all: where the package importlib_metadata has been loaded, a field that is not there is a KeyError.
    short = [each for each in metadata.get_all("License") or () if each and len(each) < 60 and "\n" not in each]
    stated = metadata.get_all("License-Expression") or short or classifiers or list(_in_licence_files(name))
    if not stated:
        raise ValueError(f"{name} {importlib.metadata.version(name)} names no licence")
    return ", ".join(_LICENCES_IN_WORDS.get(each, each) for each in stated)


def _in_licence_files(name: str) -> Iterator[str]:
    for file in importlib.metadata.files(name) or ():
        if "licenses" in file.parts:
            text = file.read_text()
            yield from [words for words in sorted(_LICENCES_IN_WORDS, key=len) if words in text][-1:]


def runtime_packages() -> dict[str, list[str]]:
    """Package -> the extras that bring it, for every extra of RUNTIME_EXTRAS."""
    brought: dict[str, list[str]] = {}
    for extra in RUNTIME_EXTRAS:
        for name in closure(own_requirements(extra)):
            brought.setdefault(name, []).append(extra or "always")
    return dict(sorted(brought.items()))


def list_text() -> str:
    """docs/dependencies.md as it should be."""
    rows = []
    for name, extras in runtime_packages().items():
        shown = ["always"] if "always" in extras else extras
        rows.append(f"| {name} | {importlib.metadata.version(name)} | {licence(name)} | {', '.join(shown)} |\n")
    return _HEAD + "".join(rows)


def locked() -> dict[str, tuple[str, list[str]]]:
    """Package -> version and hashes in the lock file."""
    found: dict[str, tuple[str, list[str]]] = {}
    for line in LOCK.read_text().splitlines():
        if line and not line.startswith("#"):
            pin, *hashes = line.split()
            name, version = pin.split("==")
            found[name] = version, [each.removeprefix("--hash=sha256:") for each in hashes]
    return found


def write_lock() -> None:
    """Asks pip which archives the installed versions of everything for development are."""
    names = sorted(closure(own_requirements("dev")) | {"pip"})
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in names]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    answer = subprocess.run([*command, "--report", "-", *pins], check=True, capture_output=True, text=True)
    lines = []
    for entry in json.loads(answer.stdout)["install"]:
        name, sha256 = (
            canonicalize_name(entry["metadata"]["name"]),
            entry["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        lines.append(f"{name}=={entry['metadata']['version']} --hash=sha256:{sha256}\n")
    LOCK.parent.mkdir(exist_ok=True)
    LOCK.write_text(
        "# By tests/tools/dependencies.py, for `pip install --require-hashes --no-deps`.\n" + "".join(sorted(lines))
    )


if __name__ == "__main__":
    write_lock()
    LIST.write_text(list_text())
