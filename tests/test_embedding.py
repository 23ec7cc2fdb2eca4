"""Programs find the installed library with CMake and with pkg-config; its binary interface is the recorded one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import EXPORTS, ROOT, exported

import nq_tflite as nq
from nq_tflite.native import library_path

HEADER = ROOT / "custom_ops" / "include" / "nq.h"
PROGRAM = ROOT / "custom_ops" / "tests" / "abi.c"
#: Its version; NQ_NOT_READY, for the session has no model yet; NQ_INVALID_ARGUMENT, for it is closed.
PRINTED = f"{nq.__version__} 2 1"


def run(*command: object, **environment: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # cmake and ninja
    variables = os.environ | {"PATH": path} | environment
    done = subprocess.run(list(map(str, command)), env=variables, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `cmake --install` has put the library."""
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("prefix")
    run("cmake", "-S", ROOT / "custom_ops", "-B", build, "-G", "Ninja", "-DCMAKE_INSTALL_LIBDIR=lib")
    run("cmake", "--build", build, "--target", "nq_tflite")
    run("cmake", "--install", build, "--prefix", prefix)
    return prefix


def test_the_header_declares_what_the_library_exports() -> None:
    declared = re.findall(r"^NQ_EXPORT [^(]*?(\w+)\(", HEADER.read_text(), re.MULTILINE)
    assert set(declared) == exported(library_path()) == EXPORTS
    assert len(declared) == len(EXPORTS)


def test_the_version_is_semantic() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", nq.__version__)


@pytest.mark.slow
def test_pkg_config_finds_it(installed: Path, tmp_path: Path) -> None:
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed")
    found = {"PKG_CONFIG_PATH": str(installed / "lib" / "pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", "nq_tflite", **found).split()
    run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", PROGRAM, *flags, "-o", tmp_path / "abi")
    assert run(tmp_path / "abi", LD_LIBRARY_PATH=str(installed / "lib")) == PRINTED
    assert run("pkg-config", "--modversion", "nq_tflite", **found) == nq.__version__


@pytest.mark.slow
def test_find_package_finds_it(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\n"
        "project(embedder LANGUAGES C)\n"
        "set(CMAKE_C_STANDARD 11)\n"
        f"find_package(nq_tflite {nq.__version__} REQUIRED)\n"
        f"add_executable(abi {PROGRAM})\n"
        "target_link_libraries(abi PRIVATE nq::nq_tflite)\n"
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "abi") == PRINTED
