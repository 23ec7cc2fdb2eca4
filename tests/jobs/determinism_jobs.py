"""Conversions that test_determinism.py compares; `determinism_jobs.py FOLDER NAME...` prints their files' sha256.

`python tests/jobs/determinism_jobs.py --renew` writes recorded_hashes.json, of this environment's library versions.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import nq_tflite as nq

TESTS = Path(__file__).resolve().parents[1]
RECORDED = TESTS / "support" / "recorded_hashes.json"
#: Those whose versions decide the bytes.
LIBRARIES = ("numpy", "tensorflow", "keras", "flatbuffers", "ai-edge-litert")
#: OpenBLAS chooses kernels by the CPU; these run on every x86-64 with AVX2.
CORE_TYPE = {"OPENBLAS_CORETYPE": "Haswell"}
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


def make_sources(folder: Path) -> None:
    """A seeded net as full-int8 and float .tflite, by tensorflow, and its samples."""
    from nq_tflite_models.nets.small import mixed_net

    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export

    samples = np.random.default_rng(5).normal(0.3, 0.5, (24, 16, 16, 3)).astype(np.float32)
    net = mixed_net(seed=3, width=9)
    (folder / "int8.tflite").write_bytes(export(net, sample_source(samples)))
    (folder / "float.tflite").write_bytes(export(net, None))
    np.save(folder / "samples.npy", samples)


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def convert(folder: Path, name: str) -> str:
    """The sha256 of a conversion's file."""
    source, nesting, looks, options = CONVERSIONS[name]
    data = np.load(folder / "samples.npy") if looks else None
    with tempfile.TemporaryDirectory() as target:
        path = Path(target) / "nested.tflite"
        nq.convert(folder / source, path, nesting, representative_data=data, **options)
        return sha256(path)


def convert_in_process(folder: Path, *names: str, cwd: Path | None = None, **environment: str) -> dict[str, str]:
    """Name -> sha256, converted in a process of its own with these variables."""
    command = [sys.executable, __file__, str(folder), *names]
    variables = os.environ | CORE_TYPE | environment
    done = subprocess.run(command, cwd=cwd, env=variables, check=True, capture_output=True, text=True)
    hashes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return hashes


def versions() -> dict[str, str]:
    """Of the libraries that have a say in the bytes, and the vectors of the CPU, by which kernels are chosen."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES} | {"vectors": _vectors()}


def _vectors() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
    return next((name for name in ("avx512f", "avx2", "asimd") if name in flags), "none")


def renew() -> None:
    """Records hashes of the sources and of every conversion."""
    with tempfile.TemporaryDirectory() as folder:
        make_sources(Path(folder))
        sources = {path.name: sha256(path) for path in Path(folder).iterdir()}
        hashes = convert_in_process(Path(folder), *CONVERSIONS)
    recorded = {"versions": versions(), "sources": dict(sorted(sources.items())), "conversions": hashes}
    RECORDED.write_text(json.dumps(recorded, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--renew"]:
        renew()
    else:
        print(json.dumps({name: convert(Path(sys.argv[1]), name) for name in sys.argv[2:]}))
