"""Arrays of samples beyond a budget of memory: they come back as they were, and leave nothing behind."""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import numpy as np
import pytest

from nq_tflite.conversion.sources import sample_store
from nq_tflite.conversion.sources.sample_store import Kept, KeptArrays, SampleStore
from nq_tflite.errors import OutputError

RNG = np.random.default_rng(1)
ARRAYS = [
    RNG.normal(size=(2, 3, 5)).astype(np.float32),
    RNG.integers(-128, 128, (1, 7, 7, 3), np.int8),
    RNG.normal(size=(4, 6)).T,
    RNG.normal(size=(9, 9))[2:8:2, ::-1],
    np.array(2.5, np.float32),
    np.empty((0, 3), np.int32),
    np.array([[True, False]]),
    np.array([b"ab", None], object),
]


def open_files(folder: Path) -> list[str]:
    """What this process has open in a folder, files without a name too."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(each.readlink()))
        except FileNotFoundError:  # the listing's own
            continue
    return [path for path in found if path.startswith(f"{folder}{os.sep}")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("memory", [0, 200, 1 << 20])
def test_arrays_come_back_as_they_were(memory: int) -> None:
    with SampleStore(memory) as store:
        kept = [store.keep(each) for each in ARRAYS]
        assert (store.file_bytes > 0) is (memory < 1 << 20)
        for array, wanted in zip(KeptArrays(kept), ARRAYS, strict=True):
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)
        assert store.keep(kept[0]) is kept[0]


def test_what_fits_is_not_copied() -> None:
    store = SampleStore()
    assert store.keep(ARRAYS[0]).load() is ARRAYS[0]


def test_arrays_pass_through_a_function() -> None:
    store = SampleStore(0)
    arrays = KeptArrays([store.keep(np.full(3, number)) for number in range(5)], lambda array: array + 1)
    assert [len(arrays), arrays[-1][0], *(each[0] for each in arrays[3:])] == [5, 5, 4, 5]


def test_room_is_used_again() -> None:
    """Arrays of many sizes come and go; the file grows hardly beyond what was alive at once."""
    choose, store, most = random.Random(3), SampleStore(10_000), 0
    alive: list[tuple[Kept, np.ndarray]] = []
    for number in range(3000):
        array = np.full(choose.choice([1000, 1000, 1000, 250, 4000]), number, np.int32)
        alive.append((store.keep(array), array))
        most = max(most, sum(each.nbytes for _, each in alive))
        if len(alive) > 40:
            for _ in range(choose.randrange(1, 30)):
                kept, wanted = alive.pop(choose.randrange(len(alive)))
                np.testing.assert_array_equal(kept.load(), wanted)
    for kept, wanted in alive:
        np.testing.assert_array_equal(kept.load(), wanted)
    assert store._file is not None
    assert os.fstat(store._file.fileno()).st_size < 1.5 * most < store.file_bytes / 10
    del alive, kept, wanted
    store._take_back()
    assert (store._gaps._gaps, store._gaps._end, store._left) == ([], 0, 10_000)


@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt])
def test_the_file_is_gone_in_every_ending(ending: type[BaseException] | None, folder: Path) -> None:
    """It never has a name; whoever still refers to an array, as a traceback does, does not keep it open."""
    kept = None
    try:
        with SampleStore(0) as store:
            kept = store.keep(ARRAYS[0])
            assert len(open_files(folder)) == 1
            if ending is not None:
                raise ending
    except (ValueError, KeyboardInterrupt) as error:
        assert type(error) is ending  # noqa: PT017
    assert kept is not None
    assert open_files(folder) == list(folder.iterdir()) == []


def test_a_store_without_a_block_closes_with_its_last_array(folder: Path) -> None:
    kept = SampleStore(0).keep(ARRAYS[0])
    np.testing.assert_array_equal(kept.load(), ARRAYS[0])
    assert len(open_files(folder)) == 1
    del kept
    gc.collect()
    assert open_files(folder) == list(folder.iterdir()) == []


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    message = rf"temporary file in {folder}: expected room for 1.00 MB, .* No space left on device.*TMPDIR"
    with Path("/dev/full").open("r+b", buffering=0) as full, SampleStore(0) as store:
        monkeypatch.setattr(sample_store, "_temporary_file", lambda: full)
        with pytest.raises(OutputError, match=message):
            store.keep(np.zeros(250_000, np.float32))


def test_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(folder / "none"))
    with SampleStore(0) as store, pytest.raises(OutputError, match=r"/none: .* No such file or directory.*TMPDIR"):
        store.keep(ARRAYS[0])


def test_a_file_that_became_shorter() -> None:
    with SampleStore(0) as store:
        kept = store.keep(ARRAYS[0])
        assert store._file is not None
        store._file.truncate(50)
        with pytest.raises(OutputError, match="expected what was written there, got it has become shorter"):
            kept.load()
