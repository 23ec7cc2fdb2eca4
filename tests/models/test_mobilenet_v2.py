"""The whole of MobileNetV2: exact under each runtime, n bits a weight, small switches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest

import nq_tflite as nq

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def photos() -> np.ndarray:
    """Smooth random pictures in the model's own range: float32 [4, 224, 224, 3]."""
    coarse = np.random.default_rng(0).normal(0, 1, (4, 28, 28, 3))
    return np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.float32)


@pytest.fixture(scope="session")
def files(photos: np.ndarray, made_once: Any) -> Path:
    """Stock full-int8 MobileNetV2 as int8.tflite, nested 8|5 as nested.tflite, and what is extracted from that.

    Its weights are random; nothing below depends on what it has learnt.
    """

    def make(folder: Path) -> None:
        import keras
        from nq_tflite_models.nets.mobilenet_v2 import untrained_mobilenet_v2

        from nq_tflite.conversion.sources.calibration import sample_source
        from nq_tflite.conversion.sources.keras_export import export

        keras.utils.set_random_seed(11)
        (folder / "int8.tflite").write_bytes(export(untrained_mobilenet_v2(), sample_source(photos)))
        nq.convert(folder / "int8.tflite", folder / "nested.tflite", "8|5", rounding="nearest")
        for precision in ("full", "part"):
            nq.extract(folder / "nested.tflite", folder / f"{precision}.tflite", precision)

    return made_once("mobilenet_v2", make)


@pytest.mark.parametrize("precision", ["full", "part"])
def test_nested_is_extracted_bit_for_bit(precision: str, worker: Any, files: Path, photos: np.ndarray) -> None:
    wanted = worker(jobs.run_stock, files / f"{precision}.tflite", photos)
    for threads in (1, 2):
        [got] = worker(jobs.run_nested, files / "nested.tflite", photos, [precision], threads=threads)
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("nesting", ["8|6", "8|5", "8|4", "8|6|4"])
def test_file_holds_n_bits_a_weight(nesting: str, files: Path, tmp_path: Path) -> None:
    nq.convert(files / "int8.tflite", tmp_path / "nested.tflite", nesting, rounding="nearest")
    report = nq.inspect_file(tmp_path / "nested.tflite")
    assert report.num_weights > 3.4e6
    assert 0 <= report.overhead <= 0.02
    if nesting.count("|") == 1:
        full, part = (int(bits) for bits in nesting.split("|"))
        assert report.switching.ratio == pytest.approx((full - part) / (full + part), rel=0.01)
        assert report.switching.ratio < report.switching.paper_ratio(full, part)


def test_the_whole_network_is_one_partition(worker: Any, files: Path) -> None:
    assert worker(delegation_jobs.is_one_partition, files / "nested.tflite")
