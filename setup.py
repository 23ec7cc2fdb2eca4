"""Builds the native library with CMake and puts it into the package; everything else is in pyproject.toml."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
NATIVE_SOURCE = ROOT / "custom_ops"
LIBRARY = Extension("nq_tflite.libnq_tflite", sources=[])

NO_COMPILER = """nq-tflite builds its delegate from C++17 sources and found no compiler. Install one and try again:
    Debian, Ubuntu, Raspberry Pi OS   sudo apt install g++
    Fedora                            sudo dnf install gcc-c++
    Alpine                            sudo apk add g++
or name yours in the environment variable CXX."""


class BuildNative(build_ext):
    """CMake in place of setuptools' own compiler calls."""

    def build_extension(self, ext: Extension) -> None:
        if "CMAKE_TOOLCHAIN_FILE" not in os.environ and not has_compiler():
            raise CompileError(NO_COMPILER)
        target = Path(self.get_ext_fullpath(ext.name)).absolute()
        build = Path(self.build_temp).absolute()
        ninja = shutil.which("ninja")
        # Named anew each time: pip's build environment, and the ninja in it, is gone at the next build.
        generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
        run_cmake("-S", str(NATIVE_SOURCE), "-B", str(build), *generator, "-DCMAKE_BUILD_TYPE=Release")
        run_cmake("--build", str(build), "--target", "nq_tflite", "--parallel", str(os.cpu_count() or 1))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a running process may have the old one mapped
        shutil.copy2(build / target.name, target)

    def get_ext_filename(self, fullname: str) -> str:
        # A plain shared library: no interpreter's ABI is in it, nor in its name.
        return fullname.replace(".", os.sep) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []  # not a Python module: no PyInit function


class PlatformWheel(bdist_wheel):
    """A wheel for any Python 3 of this platform."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def has_compiler() -> bool:
    """Whether CMake will find a C++ compiler: the one named in CXX, or a usual one."""
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([named.split()[0]] if named else ["c++", "g++", "clang++"]))


def run_cmake(*arguments: str) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        raise CompileError("nq-tflite needs CMake 3.18 or newer to build: pip install cmake ninja")
    sys.stdout.flush()
    try:
        subprocess.run([cmake, *arguments], check=True)
    except subprocess.CalledProcessError as error:
        raise CompileError(f"{' '.join(error.cmd)} failed; its messages above say why") from error


def index_page() -> str:
    """The README as the package index shows it, where the repository's pictures and pages are not to be had."""
    readme = re.sub(
        r"<picture>.*?</picture>\n\n", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", readme)


setup(
    ext_modules=[LIBRARY],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": PlatformWheel},
    long_description=index_page(),
    long_description_content_type="text/markdown",
)
