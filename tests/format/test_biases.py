"""Biases of levels: nearest in real units, exact where the format can be, safe at the ends of the types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nq_tflite.errors import WeightsError
from nq_tflite.format.biases import LevelBiases, correct, fit_biases

DTYPES = (np.int32, np.float32)


def real_error(biases: LevelBiases, wanted: np.ndarray, level: int, scales: np.ndarray) -> float:
    """Squared error of a level's biases in real units, against what the type can hold of those wanted."""
    is_int32 = biases.base.dtype == np.int32
    held = np.clip(np.rint(wanted[level]), -(2.0**31), 2.0**31 - 1) if is_int32 else wanted[level].astype(np.float32)
    unit = scales.astype(np.float64) if is_int32 else 1.0
    return float(np.square((biases.at(level, scales).astype(np.float64) - held) * unit).sum())


@st.composite
def wishes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Wanted biases [levels, channels] of any size, and scales."""
    shape = draw(st.integers(2, 7)), draw(st.sampled_from([1, 2, 5, 64, 65]))
    wanted = draw(hnp.arrays(np.float64, shape, elements=st.floats(-1e12, 1e12) | st.floats(-100, 100)))
    scales = draw(hnp.arrays(np.float32, shape[1], elements=st.floats(0, 2, width=32)))
    return wanted, scales


@pytest.mark.parametrize("dtype", DTYPES)
@given(wishes())
def test_no_level_is_worse_than_without_deltas(dtype: Any, wish: tuple[np.ndarray, np.ndarray]) -> None:
    wanted, scales = wish
    biases = fit_biases(wanted, scales, dtype)
    levels, channels = wanted.shape
    assert (biases.base.dtype, biases.base.shape) == (dtype, (channels,))
    assert (biases.deltas.dtype, biases.deltas.shape) == (np.int8, (levels, channels))
    assert (biases.steps.dtype, biases.steps.shape) == (np.float32, (levels,))
    assert biases.steps[-1] == 0
    np.testing.assert_array_equal(biases.at(levels - 1, scales), biases.base)
    none = LevelBiases(biases.base, np.zeros_like(biases.deltas), np.zeros_like(biases.steps))
    for level in range(levels):
        assert 0 <= biases.steps[level] < np.inf
        assert biases.deltas[level].any() == (biases.steps[level] > 0)
        assert biases.at(level, scales).dtype == dtype
        assert np.isfinite(biases.at(level, scales)).all()
        assert real_error(biases, wanted, level, scales) <= real_error(none, wanted, level, scales)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 24, 1280])
def test_ordinary_corrections_come_within_a_hundredth(dtype: Any, channels: int) -> None:
    rng = np.random.default_rng(channels)
    scales = rng.uniform(0.001, 0.02, channels).astype(np.float32)
    unit = 1 if dtype is np.int32 else scales
    wanted = rng.normal(0, 10000, (3, channels)) * unit
    biases = fit_biases(wanted, scales, dtype)
    for level in range(2):
        missing = (wanted[level] - biases.base) * (scales if dtype is np.int32 else 1)
        assert real_error(biases, wanted, level, scales) < 1e-4 * np.square(missing).sum()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_channel_that_hardly_counts_does_not_ruin_the_others(dtype: Any) -> None:
    """As those that were all zero, whose scale is tiny and whose units are huge."""
    rng = np.random.default_rng(2)
    scales = np.full(64, 0.01, np.float32)
    scales[7] = 1e-9
    wanted = rng.normal(0, 1000, (2, 64))
    wanted[0, 7] = 1e8
    wanted *= 1 if dtype is np.int32 else scales
    biases = fit_biases(wanted, scales, dtype)
    missing = (wanted[0] - biases.base) * (scales if dtype is np.int32 else 1)
    missing[7] = 0
    assert real_error(biases, wanted, 0, scales) < 1e-3 * np.square(missing).sum()


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_biases_need_no_deltas(dtype: Any) -> None:
    wanted = np.tile(np.array([1.25, -3.0, 1e6]), (3, 1))
    biases = fit_biases(wanted, np.array([0.5, 0.0, 1.0], np.float32), dtype)
    assert not biases.steps.any()
    assert not biases.deltas.any()
    near = fit_biases(wanted + np.array([[0.2], [0.1], [0.0]]), np.ones(1, np.float32), np.int32)
    assert not near.steps.any()  # less than an int32 can tell apart


def test_int32_saturates() -> None:
    wanted = np.array([[1e15, -1e15, 5.0], [3e9, -3e9, 7.0]])
    biases = fit_biases(wanted, np.ones(3, np.float32), np.int32)
    assert biases.base.tolist() == [2**31 - 1, -(2**31), 7]
    assert biases.at(0, np.ones(3, np.float32)).tolist() == [2**31 - 1, -(2**31), 5]


def test_floats_stay_finite() -> None:
    scales = np.array([1e-45, 1e30, 0.0], np.float32)
    wanted = np.array([[1e38, 1e300, 4.0], [-1e38, -1e300, 5.0]])
    biases = fit_biases(wanted, scales, np.float32)
    assert biases.base[2] == 5.0
    for level in range(2):
        assert np.isfinite(biases.at(level, scales)).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(broken: float) -> None:
    with pytest.raises(WeightsError, match="NaN or infinity in 1 of 4 values"):
        fit_biases(np.array([[1.0, broken], [0.0, 0.0]]), np.ones(2, np.float32), np.int32)


def test_corrections_of_a_damaged_size_saturate() -> None:
    largest = np.float32(np.finfo(np.float32).max)
    base = np.array([-(2**31), 2**31 - 1, 5], np.int32)
    got = correct(base, np.array([127, -127, 0], np.int8), largest, np.ones(1, np.float32))
    assert got.tolist() == [2**31 - 1, -(2**31), 5]
