"""Checks of built distributions, also as a command, on all that `make wheels` built: `distributions.py dist`."""

from __future__ import annotations

import ctypes
import email.parser
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"nq_tflite": ROOT / "nq_tflite", "nq_tflite_models": ROOT / "models"}
LIBRARY = "nq_tflite/libnq_tflite.so"
DATA = {LIBRARY, "nq_tflite/FORMAT.md", "nq_tflite/py.typed", "nq_tflite_models/imagenet_classes.txt"}
DATA |= {f"nq_tflite/plot/page/page.{suffix}" for suffix in ("html", "css", "js")}
INFO = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
SOURCE_FOLDERS = ("custom_ops", "docs", "models", "notebooks", "nq_tflite", "tests")
MAX_INSTALLED_BYTES = 5_000_000
#: For CMake, where a library is built to be found and linked, which compiles in a third of the time.
NOT_OPTIMIZED = "-DCMAKE_CXX_FLAGS_RELEASE=-O0"
#: Of glibc, or the dynamic linker under the name of an architecture; libstdc++ too in a wheel built by GCC.
SYSTEM_LIBRARIES = re.compile(r"lib(c|m|dl|pthread|gcc_s|stdc\+\+)\.so\.\d|ld-linux[\w-]*\.so\.\d")

#: ISAs that a library has kernels for: where a compiler refuses a flag, they are left out without a word.
ISAS = {
    "x86_64": ("pclmulqdq", "avx2", "avxvnni", "avx512vnni", "avx512vpclmulqdq"),
    "aarch64": ("neon", "crc32", "neondotprod", "neoni8mm"),
    "armv7l": ("neon",),
}

#: Bytes of a page where they are largest: the Raspberry Pi 5's system has 16 KiB, other arm64 systems have 64.
LARGEST_PAGE = {"x86_64": 4096, "aarch64": 65536, "armv7l": 4096}

#: The binary interface. Removing or changing one of these, or a struct of nq.h, needs a new major version.
EXPORTS = {
    "LiteRtAcceleratorImpl",
    "nq_accelerator_set_options",
    "nq_format_version",
    "nq_isa",
    "nq_kernels",
    "nq_last_error",
    "nq_session_close",
    "nq_session_delegation",
    "nq_session_get_level",
    "nq_session_invocation_ended",
    "nq_session_levels",
    "nq_session_memory",
    "nq_session_num_weights",
    "nq_session_open",
    "nq_session_prepare",
    "nq_session_set_level",
    "nq_version",
    "tflite_plugin_create_delegate",
    "tflite_plugin_destroy_delegate",
}


def exported(library: Path) -> set[str]:
    """Names of the dynamic symbols that a shared library defines."""
    table = _readelf("--dyn-syms", library)
    rows = [line.split() for line in table.splitlines() if re.match(r"\s*\d+:", line)]
    return {row[7].split("@")[0] for row in rows if len(row) > 7 and row[6] not in ("UND", "ABS")}


def needed(library: Path) -> set[str]:
    """File names of the shared libraries that a shared library needs."""
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", _readelf("--dynamic", library)))


def segment_alignment(library: Path) -> int:
    """What every loaded segment is aligned to: a system with larger pages refuses the library."""
    return min(
        int(each, 16) for each in re.findall(r"^ +LOAD .* (0x\w+)$", _readelf("--segments", library), re.MULTILINE)
    )


def _readelf(option: str, library: Path) -> str:
    return subprocess.run(["readelf", "-W", option, library], check=True, capture_output=True, text=True).stdout


def check_library(library: Path) -> None:
    """Exports the C API and nothing else, and needs only what every system has."""
    assert exported(library) == EXPORTS
    assert not {name for name in needed(library) if not SYSTEM_LIBRARIES.fullmatch(name)}


def check_dispatch(library: Path) -> str:
    """The ISA that a library of this machine's own architecture chooses: a vector one where there is one."""
    loaded = ctypes.CDLL(str(library))
    loaded.nq_isa.restype = ctypes.c_char_p
    isa = str(loaded.nq_isa().decode())
    if re.search(r"\bavx2\b", Path("/proc/cpuinfo").read_text()):
        assert isa.startswith(("avx", "amx")), f"the CPU has AVX2, and the library chooses {isa}"
    return isa


def check_wheel(path: Path) -> str:
    """Asserts on names, contents, requirements and the library; returns a line to print."""
    name, version, *_, tag = path.stem.split("-")
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        names = {info.filename for info in wheel.infolist() if not info.is_dir()}
        size = sum(info.file_size for info in wheel.infolist())
        sources = {f"{name}/{each.relative_to(at)}" for name, at in PACKAGES.items() for each in at.rglob("*.py")}
        assert names == sources | DATA | {f"{name}-{version}.dist-info/{each}" for each in INFO}
        assert size < MAX_INSTALLED_BYTES
        metadata = email.parser.Parser().parsestr(wheel.read(f"{name}-{version}.dist-info/METADATA").decode())
        required = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
        assert [re.split(r"[<>=]", each)[0] for each in required] == ["numpy"]
        library = Path(wheel.extract(LIBRARY, folder))
        check_library(library)
        [architecture] = (each for each in ISAS if tag.endswith(each))
        assert segment_alignment(library) >= LARGEST_PAGE[architecture]
        # Linkers let a name that ends another one share its bytes: pclmulqdq stands within avx512vpclmulqdq.
        assert all(f"{isa}\0".encode() in library.read_bytes() for isa in ISAS[architecture])
        isa = f", chooses {check_dispatch(library)} here" if tag.endswith(platform.machine()) else ""
        sizes = f"{path.stat().st_size} bytes, {size} installed, {library.stat().st_size} of them the library"
    return f"{path.name}: {sizes}, {len(names)} files{isa}"


def check_sdist(path: Path) -> str:
    """Asserts that an sdist holds the sources and nothing that was built from them; returns a line to print."""
    with tarfile.open(path) as sdist:
        names = {info.name.partition("/")[2] for info in sdist if info.isfile()}
    tracked = subprocess.run(["git", "ls-files", *SOURCE_FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {each for each in tracked.stdout.split() if (ROOT / each).is_file()}
    wanted -= {each for each in wanted if each.startswith("models/") and each.endswith(".md")}
    assert wanted <= names, f"missing: {sorted(wanted - names)}"
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE"} <= names
    built = {each for each in names if re.search(r"\.(so|o|a|pyc|tflite)$|^build/|^dist/", each)}
    assert built <= wanted, f"not sources: {sorted(built - wanted)}"
    return f"{path.name}: {path.stat().st_size} bytes, {len(names)} files"


if __name__ == "__main__":
    found = Path(sys.argv[1])
    for each in sorted(found.glob("*.whl")):
        print(check_wheel(each))
    for each in sorted(found.glob("*.tar.gz")):
        print(check_sdist(each))
