"""Rounding with a scale for each group of a channel's weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nq_tflite.conversion.rounding import RoundingTask, descent, nearest
from nq_tflite.conversion.rounding.group_ratios import RATIOS, fitted_group_ratios, outermost
from nq_tflite.conversion.rounding.statistics import CentredRows, level_statistics
from nq_tflite.format.groups import spread, storable
from nq_tflite.format.levels import value_at
from nq_tflite.format.nesting import Nesting

CHANNELS, DEPTH, GROUP = 24, 96, 32


def task_of(nesting: str, *, alike: bool = False, seed: int = 0) -> tuple[RoundingTask, np.ndarray]:
    """A weight whose groups differ in size, or have the same scale; and the inputs that it was made for [rows, depth].

    Its inputs vary together, and some of them more than others.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(0.2, 4, (CHANNELS, DEPTH // GROUP))
    weights = rng.normal(0, 1, (CHANNELS, DEPTH)) * np.repeat(sizes, GROUP, axis=1)
    inputs = rng.normal(0, 1, (512, DEPTH)) @ rng.normal(0, 1, (DEPTH, DEPTH)) * rng.uniform(0.1, 3, DEPTH)
    parsed = Nesting.parse(nesting)
    largest = np.abs(weights).reshape(CHANNELS, -1, GROUP).max(axis=2) / 127
    scales = storable(np.full_like(largest, largest.max()) if alike else largest)
    rows = CentredRows.of(inputs[None].astype(np.float32)).around_zero()
    statistics = level_statistics(rows, [rows] * len(parsed.precisions), None, 1, covariances=True)
    return RoundingTask(weights / spread(scales, DEPTH), 1, parsed, statistics, scales), inputs


def output_error(task: RoundingTask, inputs: np.ndarray, codes: np.ndarray, level: int) -> float:
    """Power of the error of the layer's outputs."""
    away = value_at(codes, task.nesting, level).astype(np.float64) - task.target
    return float(np.square(inputs @ (away * spread(task.scales, DEPTH)).T).mean())


@pytest.mark.parametrize("nesting", ["8|4", "8|6|4", "4|3|2"])
def test_part_bit_errs_less_than_nearest_codes(nesting: str) -> None:
    task, inputs = task_of(nesting)
    codes, plain = descent(task), nearest(task)
    assert ((codes >= task.lowest) & (codes <= task.highest)).all()
    assert not (codes % task.step).any()
    assert output_error(task, inputs, codes, 0) < 0.7 * output_error(task, inputs, plain, 0)


@pytest.mark.parametrize("nesting", ["8|4", "8|6|4"])
def test_groups_of_one_scale_are_a_channel_of_that_scale(nesting: str) -> None:
    task, _ = task_of(nesting, alike=True)
    by_channel = replace(task, scales=task.scales[:, 0].copy())
    np.testing.assert_array_equal(descent(task), descent(by_channel))


def test_other_scales_serve_part_bit_and_hardly_cost_full_bit() -> None:
    task, inputs = task_of("8|4")
    ratios = fitted_group_ratios(task)
    assert ratios.shape == task.scales.shape
    assert len(np.unique(ratios)) > 3
    scales = storable(task.scales * ratios)
    target = task.target * spread(task.scales, DEPTH) / spread(scales, DEPTH)
    fitted = replace(task, scales=scales, target=target)
    before, after = ([output_error(each, inputs, descent(each), level) for level in (0, 1)] for each in (task, fitted))
    assert after[0] < before[0]
    assert after[1] < 2 * before[1]


def test_a_group_of_zeros_keeps_its_scale() -> None:
    task, _ = task_of("8|4")
    target = task.target.copy()
    target[3, GROUP : 2 * GROUP] = 0
    ratios = fitted_group_ratios(replace(task, target=target))
    assert set(np.unique(ratios)) <= {*RATIOS, *outermost(task.nesting)}
    assert ratios[3, 1] in RATIOS


def test_weights_of_four_bits_are_found_again() -> None:
    """Codes of four bits as far down as up, such as GGUF's types have: part-bit is the source."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-8, 8, (CHANNELS, DEPTH))
    codes[:, ::GROUP], codes[:, 1::GROUP] = -8, 7
    steps = np.repeat(rng.uniform(0.2, 4, (CHANNELS, DEPTH // GROUP)), GROUP, axis=1)
    weights = (codes + 0.5) * steps
    scales = storable(np.abs(weights).reshape(CHANNELS, -1, GROUP).max(axis=2) / 127)
    task = RoundingTask(weights / spread(scales, DEPTH), 1, Nesting.parse("8|4"), (), scales)
    ratios = fitted_group_ratios(task)
    assert (ratios == outermost(task.nesting)[0]).all()
    fitted = storable(scales * ratios)
    found = nearest(replace(task, target=weights / spread(fitted, DEPTH), scales=fitted))
    np.testing.assert_array_equal(found.astype(np.int16) >> 4, codes)
    values = value_at(found, task.nesting, 0) * spread(fitted, DEPTH)
    assert (np.abs(values - weights) < 0.08 * steps).all()
