"""The same input gives the same bytes out of `convert`: in another process, folder, with other seeds of Python's hashes
and other numbers of threads; and the bytes that were recorded, under the versions that they were recorded with, and on
such a CPU where they depend on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import determinism_jobs as jobs
import pytest

RECORDED: dict[str, Any] = json.loads(jobs.RECORDED.read_text())
#: Each differs from the first in everything that should not matter.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
THREADS = {
    "OPENBLAS_NUM_THREADS": "2",
    "OMP_NUM_THREADS": "2",
    "PYTHONHASHSEED": "12345",
    "LC_ALL": "C",
    "TZ": "Asia/Tokyo",
}
QUICK = ("nearest", "exact", "descent")
REST = tuple(name for name in jobs.CONVERSIONS if name not in QUICK)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what determinism_sources.zip keeps."""
    return jobs.unpack_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def hashes_of(sources: Path) -> Callable[[tuple[str, ...]], dict[str, str]]:
    """Hashes of conversions, made in one thread; the second call remembers."""
    known: dict[tuple[str, ...], dict[str, str]] = {}

    def convert(names: tuple[str, ...]) -> dict[str, str]:
        if names not in known:
            known[names] = jobs.convert_in_process(sources, *names, **ONE_THREAD)
        return known[names]

    return convert


names = pytest.mark.parametrize("names", [QUICK, pytest.param(REST, marks=pytest.mark.slow)], ids=["quick", "rest"])


@names
def test_nothing_but_the_input_counts(names: tuple[str, ...], sources: Path, hashes_of: Any, tmp_path: Path) -> None:
    assert jobs.convert_in_process(sources, *names, cwd=tmp_path, **THREADS) == hashes_of(names)


@pytest.mark.slow
@pytest.mark.parametrize("core_type", ["SkylakeX", "Nehalem"])
def test_what_multiplies_nothing_is_the_same_on_every_cpu(core_type: str, sources: Path) -> None:
    """OpenBLAS with another CPU's kernels, and NumPy without vector instructions."""
    plain = {"OPENBLAS_CORETYPE": core_type, "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX FMA3 AVX2"}
    hashes = jobs.convert_in_process(sources, *jobs.EVERYWHERE, **plain)
    assert hashes == jobs.convert_in_process(sources, *jobs.EVERYWHERE, **ONE_THREAD)


@pytest.fixture
def recorded() -> dict[str, Any]:
    """recorded_hashes.json, whose sources are those of the archive; `determinism_jobs.py --renew` records anew."""
    assert jobs.sha256(jobs.SOURCES) == RECORDED["sources"]
    if (found := jobs.versions()) != RECORDED["versions"]:
        pytest.skip(f"recorded with {RECORDED['versions']}, found {found}")
    return RECORDED


def test_recorded_hashes_of_every_cpu(recorded: dict[str, Any], hashes_of: Any) -> None:
    hashes = hashes_of(QUICK)
    assert {name: hashes[name] for name in jobs.EVERYWHERE} == recorded["every CPU"]


@names
def test_recorded_hashes(names: tuple[str, ...], recorded: dict[str, Any], hashes_of: Any) -> None:
    """Of what adds floats: on a CPU like one that they were recorded on."""
    known = recorded["by CPU"].get(jobs.cpu())
    if known is None:
        pytest.skip(f"recorded on {', '.join(recorded['by CPU'])}; this is {jobs.cpu()}")
    hashes = {name: value for name, value in hashes_of(names).items() if name not in jobs.EVERYWHERE}
    assert hashes == {name: known[name] for name in hashes}
