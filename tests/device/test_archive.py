"""A model stored uncompressed inside another file, where an Android package has it: at a multiple of 4 bytes."""

from __future__ import annotations

import mmap
import zipfile
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import switching_jobs

from nq_tflite.graph.nested import read_nested


def store(model: Path, archive: Path, alignment: int) -> int:
    """Puts the model into an archive as Android's tools do: stored, at an odd multiple of the alignment; its offset."""
    entry = zipfile.ZipInfo("assets/model.tflite")
    start = 30 + len(entry.filename)  # of the entry's data, after its header
    entry.extra = bytes(-start % alignment + (alignment if (start + -start % alignment) // alignment % 2 == 0 else 0))
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as package:
        package.writestr(entry, model.read_bytes())
        package.writestr("classes.dex", b"more of the package" * 999)
    return start + len(entry.extra)


@pytest.mark.parametrize("alignment", [4, mmap.PAGESIZE])
@pytest.mark.parametrize("name", ["int8_8_5", "int8_8_6_4", "float_8_5"])
def test_a_model_inside_a_package_gives_the_same_and_pages(
    alignment: int, name: str, worker: Any, nested_dir: Path, samples: np.ndarray, tmp_path: Path, cpu: str | None
) -> None:
    model, archive = nested_dir / f"{name}.tflite", tmp_path / "app.apk"
    offset = store(model, archive, alignment)
    assert offset % alignment == 0
    assert offset % (2 * alignment) != 0
    order = ["full", "part", "full", "part"]
    wanted = worker(jobs.run_nested, model, samples[:4], order, builtin=False)
    got = worker(switching_jobs.run_inside_archive, archive, offset, model.stat().st_size, samples[:4], order)
    levels = [section.size for section in read_nested(model).table.sections]
    kept = 0 if alignment == mmap.PAGESIZE else (len(levels) - 1) * mmap.PAGESIZE  # shared with a neighbour
    for precision, outputs, (found, resident, can_page) in zip(order, wanted, got, strict=True):
        np.testing.assert_array_equal(found, outputs)
        assert can_page
        if precision == "full":
            assert resident == sum(levels)
        elif cpu is None:  # emulation gives no pages back
            assert levels[0] <= resident <= levels[0] + kept
