"""What the sdist and the wheel of this platform hold, and what the wheel's library exports and needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import ROOT, check_sdist, check_wheel

# One worker: two builds of one source tree at once disturb each other.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("distributions")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist of this source tree and a wheel built from it, in a folder."""
    folder = tmp_path_factory.mktemp("dist")
    run = [sys.executable, "-m"]
    tools = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # cmake and ninja
    subprocess.run([*run, "build", "--quiet", "--sdist", "--no-isolation", "--outdir", folder, ROOT], check=True)
    [sdist] = folder.glob("*.tar.gz")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*run, "pip", "wheel", *options, sdist], check=True, env=tools)
    return folder


def test_the_sdist_holds_the_sources_and_nothing_built(folder: Path) -> None:
    [sdist] = folder.glob("*.tar.gz")
    check_sdist(sdist)


def test_the_wheel_holds_the_packages_and_exports_the_c_api(folder: Path) -> None:
    [wheel] = folder.glob("*.whl")
    check_wheel(wheel)
    assert wheel.name.split("-")[2:4] == ["py3", "none"]
