"""Scales that cut outliers off: where they help, where they stay, and what becomes of the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.conversion.rounding import RoundingTask, nearest
from nq_tflite.conversion.rounding.scales import RATIOS, fitted_ratios
from nq_tflite.conversion.rounding.statistics import CentredRows, input_statistics
from nq_tflite.format.levels import value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.nested import read_nested


def task_of(target: np.ndarray, nesting: str, scales: int = 1) -> RoundingTask:
    """Of inputs that vary on their own."""
    rows = np.random.default_rng(1).normal(size=(1, 400, target.shape[1])).astype(np.float32)
    centred = CentredRows.of(rows)
    statistics = (input_statistics(centred, centred, None, 1),) * 2
    return RoundingTask(target, 1, Nesting.parse(nesting), statistics, np.ones(scales, np.float32))


def weights(channels: int = 12, depth: int = 300) -> np.ndarray:
    """Channels with few large weights, in units of min-max scales."""
    values = np.random.default_rng(2).laplace(size=(channels, depth))
    return np.asarray(values * 127 / np.abs(values).max(axis=1, keepdims=True))


def error_at(task: RoundingTask, ratios: np.ndarray, level: int) -> np.ndarray:
    """Squared errors of plain codes at a level, by channel."""
    by = np.broadcast_to(ratios, len(task.target))[:, None]
    codes = nearest(replace(task, target=task.target / by))
    return np.asarray(np.square(value_at(codes, task.nesting, level) * by - task.target).sum(axis=1))


@pytest.mark.parametrize("nesting", ["8|4", "8|3", "6|3"])
def test_few_bits_gain_by_smaller_scales(nesting: str) -> None:
    task = task_of(weights(), nesting, 12)
    ratios = fitted_ratios(task, floats=False)
    assert set(ratios) <= set(RATIOS)
    before, after = (error_at(task, each, 0) for each in (np.ones(1), ratios))
    assert (after <= before * 1.01).all()
    assert after.sum() < 0.9 * before.sum()
    assert error_at(task, ratios, 1).sum() < after.sum() / 2


def test_full_bit_counts_more_where_activations_are_floats() -> None:
    task = task_of(weights(), "8|4", 12)
    codes, floats = (fitted_ratios(task, floats=each) for each in (False, True))
    part, full = (error_at(task, floats, level).sum() / error_at(task, codes, level).sum() for level in (0, 1))
    assert 1 < part < 1.2
    assert full < 0.7


def test_many_bits_and_even_weights_keep_theirs() -> None:
    assert (fitted_ratios(task_of(weights(), "8|7", 12), floats=False) > 0.95).all()
    even = np.random.default_rng(3).choice([-120.0, 120.0, 40.0], (4, 200))
    assert (fitted_ratios(task_of(even, "8|4", 4), floats=False) == 1).all()


def test_one_scale_for_all_channels_stays_one_and_channels_of_zeros_keep_theirs() -> None:
    assert fitted_ratios(task_of(weights(), "8|4"), floats=False).shape == (1,)
    some = weights()
    some[3] = 0
    ratios = fitted_ratios(task_of(some, "8|4", 12), floats=False)
    assert ratios[3] == 1
    assert (np.delete(ratios, 3) < 1).all()


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_files_have_smaller_scales_only_where_codes_are_ours(
    kind: str, stock_dir: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "nested.tflite"
    nq.convert(stock_dir / f"{kind}.tflite", path, "8|4", np.concatenate([samples, samples + 0.1]))
    fitted = {weight.name: weight.scales for weight in read_nested(path).weights}
    nq.convert(stock_dir / f"{kind}.tflite", path, "8|4", samples, rounding="nearest")
    plain = {weight.name: weight.scales for weight in read_nested(path).weights}
    smaller = [(fitted[name] / np.where(scales > 0, scales, 1) < 0.99).any() for name, scales in plain.items()]
    assert any(smaller) is (kind == "float")
    assert all((fitted[name] <= scales * 1.001).all() for name, scales in plain.items())
