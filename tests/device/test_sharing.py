"""Interpreters of one file share its pages: what the system counts for each of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import switching_jobs

from nq_tflite.graph.inspection import inspect_file


@pytest.mark.parametrize("precision", ["full", "part"])
def test_two_interpreters_share_all_pages_of_the_weights(
    precision: str, worker: Any, nested_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"  # that no other process has mapped
    shutil.copy(nested_dir / "int8_8_5.tflite", path)
    sections = inspect_file(path).section_bytes
    wanted = sum(sections) if precision == "full" else sections[0]
    (one, alone), (two, shared) = worker(switching_jobs.file_pages, path, precision)
    assert wanted <= one == alone  # one interpreter: its pages are its own
    assert two == 2 * one  # the second one maps as many,
    assert shared == alone  # which are the same ones
