"""Inputs that are kept: an archive for each target, the same bytes for the same inputs."""

from __future__ import annotations

import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NATIVE, PYTHON = ROOT / "custom_ops" / "fuzz" / "corpus", ROOT / "tests" / "fuzz" / "corpus"


def kept_inputs(archive: Path) -> list[bytes]:
    """Each input of an archive, in the order of their names."""
    with zipfile.ZipFile(archive) as kept:
        return [kept.read(name) for name in sorted(kept.namelist())]


def unpack(archive: Path, folder: Path) -> None:
    """Writes the inputs of an archive into a folder, for a target that reads files."""
    with zipfile.ZipFile(archive) as kept:
        kept.extractall(folder)


def pack(folder: Path, archive: Path) -> None:
    """Makes the archive of a folder's inputs."""
    with zipfile.ZipFile(archive, "w") as kept:
        for path in sorted(folder.iterdir()):
            # A date of its own would make other bytes of the same inputs.
            kept.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
