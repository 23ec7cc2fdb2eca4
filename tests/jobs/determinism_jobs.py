"""Conversions that test_determinism.py compares; `determinism_jobs.py FOLDER NAME...` prints their files' sha256.

Their sources are kept in determinism_sources.zip, for tensorflow's converter gives other bytes on another CPU.
`python tests/jobs/determinism_jobs.py --renew` writes recorded_hashes.json, of this environment's library versions;
hashes that depend on the CPU stay beside those of other CPUs while the versions stay. `--renew-sources` writes the
archive first, by tensorflow.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

import nq_tflite as nq

TESTS = Path(__file__).resolve().parents[1]
RECORDED = TESTS / "support" / "recorded_hashes.json"
SOURCES = TESTS / "support" / "determinism_sources.zip"
#: Those whose versions decide the bytes.
LIBRARIES = ("numpy", "flatbuffers", "ai-edge-litert")
#: OpenBLAS chooses kernels by the CPU; these run on every x86-64 with AVX2.
CORE_TYPE = {"OPENBLAS_CORETYPE": "Haswell"}
#: What OpenBLAS (by make), NumPy and XNNPACK choose their kernels by, as /proc/cpuinfo has it.
VECTORS = ("fma", "avx2", "avx512f", "avx_vnni", "avx512_vnni", "gfni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")
#: Name -> (source, nesting, whether samples are given, options).
CONVERSIONS: dict[str, tuple[str, str, bool, dict[str, Any]]] = {
    "nearest": ("int8.tflite", "8|6|4", False, {"rounding": "nearest"}),
    "squant": ("float.tflite", "8|5", False, {"rounding": "squant"}),
    "exact": ("int8.tflite", "8|4", False, {"exact": True}),
    "descent": ("int8.tflite", "8|5", True, {}),
    "descent of floats": ("float.tflite", "8|6|4", True, {}),
    "descent without data": ("float.tflite", "8|5", False, {}),
}
#: Without sums of floats: the same on every CPU.
EVERYWHERE = ("nearest", "exact")


def make_sources(archive: Path) -> None:
    """A seeded net as full-int8 and float .tflite, by tensorflow, and its samples."""
    from nq_tflite_models.nets.small import mixed_net

    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export

    samples = (np.random.default_rng(5).integers(-64, 192, (24, 16, 16, 3)) / 128).astype(np.float32)
    net = mixed_net(seed=3, width=3)
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(archive, "w") as kept:
        folder = Path(name)
        (folder / "float.tflite").write_bytes(export(net, None))
        (folder / "int8.tflite").write_bytes(export(net, sample_source(samples)))
        np.save(folder / "samples.npy", samples)
        for path in sorted(folder.iterdir()):
            # A date of its own would make other bytes of the same files.
            kept.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def unpack_sources(folder: Path) -> Path:
    """The folder, with the kept files in it."""
    with zipfile.ZipFile(SOURCES) as kept:
        kept.extractall(folder)
    return folder


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def convert(folder: Path, name: str) -> str:
    """The sha256 of a conversion's file, which has every weight nested, however small."""
    source, nesting, looks, options = CONVERSIONS[name]
    data = np.load(folder / "samples.npy") if looks else None
    with tempfile.TemporaryDirectory() as target:
        path = Path(target) / "nested.tflite"
        nq.convert(folder / source, path, nesting, representative_data=data, include="*", **options)
        return sha256(path)


def convert_in_process(folder: Path, *names: str, cwd: Path | None = None, **environment: str) -> dict[str, str]:
    """Name -> sha256, converted in a process of its own with these variables."""
    command = [sys.executable, __file__, str(folder), *names]
    inherited = {name: value for name, value in os.environ.items() if name != "NPY_DISABLE_CPU_FEATURES"}
    variables = inherited | CORE_TYPE | environment
    done = subprocess.run(command, cwd=cwd, env=variables, check=True, capture_output=True, text=True)
    hashes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return hashes


def versions() -> dict[str, str]:
    """Of the libraries that have a say in the bytes."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def cpu() -> str:
    """What of this CPU has a say in sums of floats: its architecture, maker and vector instructions."""
    fields = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    first = {key.strip(): value.strip() for key, value in reversed(fields)}
    flags = first.get("flags", first.get("Features", "")).split()
    maker = first.get("vendor_id", first.get("CPU implementer", ""))
    return " ".join([platform.machine(), maker, *(name for name in VECTORS if name in flags)])


def renew() -> None:
    """Records hashes of every conversion, of this CPU where they depend on it."""
    with tempfile.TemporaryDirectory() as folder:
        hashes = convert_in_process(unpack_sources(Path(folder)), *CONVERSIONS)
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    everywhere = {name: hashes.pop(name) for name in EVERYWHERE}
    # Hashes of other CPUs hold as long as their sources and versions are these.
    same = {"versions": versions(), "sources": sha256(SOURCES)}
    kept = recorded["by CPU"] if all(recorded.get(key) == value for key, value in same.items()) else {}
    by_cpu = dict(sorted((kept | {cpu(): hashes}).items()))
    RECORDED.write_text(json.dumps(same | {"every CPU": everywhere, "by CPU": by_cpu}, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] in (["--renew"], ["--renew-sources"]):
        if sys.argv[1] == "--renew-sources":
            make_sources(SOURCES)
        renew()
    else:
        print(json.dumps({name: convert(Path(sys.argv[1]), name) for name in sys.argv[2:]}))
