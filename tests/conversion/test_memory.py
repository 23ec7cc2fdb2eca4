"""The memory of a conversion is bounded: beyond a budget, samples and what the net makes of them are in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memory_jobs
import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.conversion.sources import sample_store
from nq_tflite.conversion.sources.sample_store import SampleStore
from nq_tflite.errors import OutputError


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> list[SampleStore]:
    """Those that conversions make from now on."""
    made: list[SampleStore] = []
    init = SampleStore.__init__

    def recorded(self: SampleStore, memory: int | None = None) -> None:
        made.append(self)
        init(self, memory)

    monkeypatch.setattr(SampleStore, "__init__", recorded)
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a conversion's temporary file goes; those of others go where they went before."""
    tempfile.gettempdir()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def open_files(folder: Path) -> list[str]:
    """What this process has open in a folder, files without a name too."""
    links = [each for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return [str(path) for path in map(Path.readlink, links) if path.is_relative_to(folder)]


def one_by_one(samples: np.ndarray) -> Iterator[np.ndarray]:
    """They can be read once."""
    return (samples[number : number + 1] for number in range(len(samples)))


def images_out() -> tuple[bytes, np.ndarray]:
    """An INT8 graph whose output is an image, and samples."""
    graph, size = Graph(), (1, 6, 6, 64)
    x = graph.convolution(graph.input(size, scale=0.05), size, 64, seed=1, scale=0.1, zero_point=0)
    content = graph.build([graph.convolution(x, size, 64, seed=2, scale=0.1, zero_point=0)])
    return content, np.random.default_rng(1).normal(size=(48, *size[1:])).astype(np.float32)


CASES: dict[str, Callable[[Any, np.ndarray], tuple[Any, dict[str, Any]]]] = {
    "an INT8 file": lambda of, samples: (of("int8_tflite"), {"representative_data": samples[:8]}),
    "a float file and an iterator": lambda of, samples: (
        of("float_tflite"),
        {"representative_data": one_by_one(samples[:24]), "nesting": "8|6|4"},
    ),
    "no data": lambda of, samples: (of("float_tflite"), {"rounding": "squant"}),
    "a budget": lambda of, samples: (
        of("float_tflite"),
        {"representative_data": list(one_by_one(samples[:24])), "nesting": "auto", "budget": 0.7},
    ),
    "a Keras model and an iterator": lambda of, samples: (
        of("mixed_model"),
        {"representative_data": one_by_one(samples[:8])},
    ),
    "images out": lambda of, samples: (images_out()[0], {"representative_data": images_out()[1]}),
}


#: Those that convert for seconds.
LONG = {"a Keras model and an iterator", "a budget", "a float file and an iterator"}


@pytest.mark.parametrize(
    "case", [pytest.param(each, marks=pytest.mark.slow) if each in LONG else each for each in CASES]
)
def test_bytes_are_the_same_with_and_without_the_file(
    case: str,
    request: pytest.FixtureRequest,
    samples: np.ndarray,
    stores: list[SampleStore],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for memory in (sample_store.MEMORY, 0):
        monkeypatch.setattr(sample_store, "MEMORY", memory)
        source, options = CASES[case](request.getfixturevalue, samples)
        stores.clear()
        report = nq.convert(source, tmp_path / "nested.tflite", **options)
        assert (sum(store.file_bytes for store in stores) > 0) is (memory == 0)
        found.append(((tmp_path / "nested.tflite").read_bytes(), report.estimate))
        assert open_files(folder) == list(folder.iterdir()) == []
    assert found[0] == found[1]
    assert found[0][1] is not None


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_nothing_is_left_of_a_conversion_that_ends_early(
    error: type[BaseException],
    float_tflite: bytes,
    samples: np.ndarray,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def progress(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("rounding", 2):
            seen.append(open_files(folder))
            raise error

    monkeypatch.setattr(sample_store, "MEMORY", 0)
    with pytest.raises(error):
        nq.convert(float_tflite, tmp_path / "nested.tflite", representative_data=samples[:8], progress=progress)
    assert len(seen[0]) == 1
    assert open_files(folder) == list(folder.iterdir()) == []
    assert not (tmp_path / "nested.tflite").exists()


@pytest.mark.parametrize("source", ["float_tflite", "mixed_model"])
def test_a_full_disk_is_named(
    source: str,
    request: pytest.FixtureRequest,
    samples: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it is noticed: tensorflow reads the samples of a Keras model first."""
    monkeypatch.setattr(sample_store, "MEMORY", 30_000)
    model = request.getfixturevalue(source)
    with Path("/dev/full").open("r+b", buffering=0) as full:
        monkeypatch.setattr(sample_store, "_temporary_file", lambda: full)
        with pytest.raises(OutputError, match=r"temporary file in .* No space left on device.*TMPDIR"):
            nq.convert(model, tmp_path / "nested.tflite", representative_data=one_by_one(samples[:24]))
    assert not (tmp_path / "nested.tflite").exists()


def test_an_iterator_is_read_as_far_as_it_is_needed(int8_tflite: bytes, samples: np.ndarray, tmp_path: Path) -> None:
    read = []

    def without_end() -> Iterator[np.ndarray]:
        while True:
            read.append(1)
            yield samples[len(read) % 8][None]

    nq.convert(int8_tflite, tmp_path / "nested.tflite", representative_data=without_end(), rounding="squant")
    assert len(read) == 160


@pytest.mark.slow
def test_640_by_640_stays_under_the_ceiling(tmp_path: Path) -> None:
    """Beyond what tensorflow takes for the same model and samples; a .tflite file is converted without tensorflow."""
    of_tensorflow = memory_jobs.most_bytes(tmp_path, "export")
    assert memory_jobs.most_bytes(tmp_path, "convert") - of_tensorflow < memory_jobs.CEILING
    assert memory_jobs.most_bytes(tmp_path, "convert-alone") < memory_jobs.CEILING
