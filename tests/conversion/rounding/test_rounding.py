"""Rounding methods: exact where integers are involved, and better than nearest where they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import nestings

from nq_tflite.conversion.rounding import METHODS, Method, RoundingTask, nearest, rounding_method, squant
from nq_tflite.conversion.rounding.squant import BORDER
from nq_tflite.conversion.rounding.statistics import CentredRows, InputStatistics, input_statistics
from nq_tflite.errors import NestingError
from nq_tflite.format.levels import Codes, lowest_codes, value_at
from nq_tflite.format.nesting import Nesting


def statistics_of(rng: np.random.Generator, nesting: Nesting, groups: int, depth: int) -> tuple[InputStatistics, ...]:
    """Of random inputs that vary together, and that the coarser levels change the more."""
    mixing = rng.normal(0, 1, (depth, depth))
    exact = (rng.normal(0.5, 1, (groups, 50, depth)) @ mixing).astype(np.float32)
    rounded = [exact + rng.normal(0, 2.0**-bits, exact.shape).astype(np.float32) for bits in nesting.precisions]
    centred = CentredRows.of(exact)
    return tuple(input_statistics(centred, CentredRows.of(each), None, 1) for each in rounded)


@st.composite
def tasks(draw: st.DrawFn) -> RoundingTask:
    """Weights of one group, or of a depthwise layer, with statistics for every level."""
    nesting = draw(nestings)
    channels, inputs, taps = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.sampled_from([1, 4, 9]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    target = rng.normal(0, draw(st.sampled_from([1.0, 30.0, 200.0])), (channels, taps * inputs))
    if draw(st.booleans()):
        target = np.rint(target)
    groups = draw(st.sampled_from([1, channels]))
    return RoundingTask(target, taps, nesting, statistics_of(rng, nesting, groups, target.shape[1]))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
@given(task=tasks())
@settings(deadline=None)
def test_codes_are_allowed(method: Method, task: RoundingTask) -> None:
    codes = method.round(task)
    assert codes.dtype == np.int8
    assert codes.shape == task.target.shape
    assert not (codes.astype(int) % task.step).any()
    assert (codes >= lowest_codes(codes.shape[1], task.nesting)).all()
    for level in range(len(task.nesting.precisions)):
        assert value_at(codes, task.nesting, level).min() > -128


@given(st.integers(0, 2**32 - 1), st.sampled_from(["8|7", "8|6", "8|5", "8|4", "8|2", "8|6|4", "8|7|6|5|4|3|2"]))
@settings(deadline=None)
def test_nearest_slices_the_codes_of_an_int8_source(seed: int, text: str) -> None:
    codes = np.random.default_rng(seed).integers(-126, 128, (3, 20)).astype(np.int8)
    task = RoundingTask(codes.astype(np.float64), 1, Nesting.parse(text))
    np.testing.assert_array_equal(nearest(task), codes)


@given(task=tasks())
@settings(deadline=None)
def test_squant_leaves_a_cell_only_near_its_border(task: RoundingTask) -> None:
    """The full-bit code is the nearest one wherever the cell was kept, and errs by a quarter of the cell elsewhere."""
    error = squant(task) - np.clip(task.target, task.lowest, task.highest)
    largest_cell = 1 << (8 - task.nesting.part_bits)
    assert np.abs(error).max() <= BORDER * largest_cell + task.step


@pytest.mark.parametrize("text", ["8|6", "8|5", "8|4", "8|6|4"])
def test_squant_balances_kernels_and_channels(text: str) -> None:
    """Its purpose: the errors of a channel add up to less than half a cell where any weight could still move."""
    rng = np.random.default_rng(7)
    task = RoundingTask(np.clip(rng.normal(0, 40, (32, 9 * 24)), -127, 127), 9, Nesting.parse(text))
    cell = 1 << (8 - task.nesting.part_bits)

    def channel_error(codes: Codes) -> float:
        values = value_at(codes, task.nesting, 0)
        return float(np.abs((values - task.target).sum(axis=1)).mean() / cell)

    assert channel_error(squant(task)) < 0.3
    assert channel_error(squant(task)) < 0.25 * channel_error(nearest(task))


def test_constant_and_all_zero_channels() -> None:
    target = np.stack([np.zeros(18), np.full(18, 127.0), np.full(18, -127.0), np.full(18, 1000.0)])
    for text in ("8|5", "8|7", "6|3", "3|2"):
        nesting = Nesting.parse(text)
        task = RoundingTask(target, 9, nesting, statistics_of(np.random.default_rng(1), nesting, 1, 18))
        np.testing.assert_array_equal(nearest(task)[0], 0)
        np.testing.assert_array_equal(nearest(task)[1], 128 - task.step)
        for method in METHODS.values():
            np.testing.assert_array_equal(method.round(task), method.round(task))


def test_unknown_method() -> None:
    with pytest.raises(NestingError, match="squant"):
        rounding_method("bogus")
