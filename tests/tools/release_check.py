"""Says what keeps this tree from being released; `make release-check` runs it after linters, docs and wheels.

The version must be the same everywhere, the changelog dated, the wheels those of this version, and the page of
dependencies that of the lock file.
"""

from __future__ import annotations

import re
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Platforms that `make wheels` builds for.
PLATFORMS = ("x86_64", "aarch64", "armv7l")


def version_of(root: Path) -> str:
    """As nq_tflite/version.py has it."""
    return re.findall(r'^__version__ = "(.*)"$', (root / "nq_tflite" / "version.py").read_text(), re.MULTILINE)[0]


def problems(root: Path) -> list[str]:
    """One line for each, in words that say what to do."""
    version = version_of(root)
    return [
        *_changelog(root, version),
        *_citation(root, version),
        *_wheels(root / "dist", version),
    ]


def _changelog(root: Path, version: str) -> list[str]:
    newest = re.findall(r"^## (\S+) - (\S+)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    if newest[0] != version:
        return [f"CHANGELOG.md: the newest entry is {newest[0]}; expected {version}, as in nq_tflite/version.py"]
    try:
        date.fromisoformat(newest[1])
    except ValueError:
        return [f"CHANGELOG.md: {version} is dated {newest[1]!r}; expected a day such as {date.today()}"]
    return []


def _citation(root: Path, version: str) -> list[str]:
    cited = re.findall(r"^version: (.*)$", (root / "CITATION.cff").read_text(), re.MULTILINE)
    return [] if cited == [version] else [f"CITATION.cff: version {', '.join(cited) or 'none'}; expected {version}"]


def _wheels(dist: Path, version: str) -> list[str]:
    found = {path.name for path in dist.glob("*")}
    wanted = [f"nq_tflite-{version}.tar.gz"]
    wanted += [f"nq_tflite-{version}-py3-none-manylinux2014_{platform}.whl" for platform in PLATFORMS]
    return [f"dist/{name} is missing; make wheels writes it" for name in wanted if name not in found]


if __name__ == "__main__":
    found = problems(ROOT)
    print("\n".join(found) or f"{version_of(ROOT)} can be released: tag it, and upload what is in dist/")
    sys.exit(bool(found))
