"""Split and merge, and what a weight is worth at each precision."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from strategies import coded

from nq_tflite.format.levels import cell_middles, lowest_codes, merge, signal_to_noise_db, split, value_at
from nq_tflite.format.nesting import Nesting

EVERY_NESTING = [Nesting(c) for k in range(2, 8) for c in combinations(range(8, 1, -1), k)]


def every_code(nesting: Nesting) -> np.ndarray:
    limit = (1 << (nesting.full_bits - 1)) - 1
    return (np.arange(-limit, limit + 1, dtype=np.int16) << (8 - nesting.full_bits)).astype(np.int8)


@pytest.mark.parametrize("nesting", EVERY_NESTING, ids=str)
def test_merge_undoes_split_for_every_code_of_every_nesting(nesting: Nesting) -> None:
    codes = every_code(nesting)
    levels = split(codes, nesting)
    for fields, bits in zip(levels, nesting.level_bits, strict=True):
        assert fields.dtype == np.uint8
        assert fields.max() < 1 << bits
    np.testing.assert_array_equal(merge(levels, nesting), codes)


@pytest.mark.parametrize("nesting", EVERY_NESTING, ids=str)
@pytest.mark.parametrize("index", [0, 1])
def test_a_value_is_the_middle_of_its_cell(nesting: Nesting, index: int) -> None:
    """Against the definition: of the codes that share the upper bits, the one below or above the middle."""
    codes = every_code(nesting)
    step = 1 << (8 - nesting.full_bits)
    pair = np.stack([codes, codes], axis=1)
    for level, bits in enumerate(nesting.precisions):
        values = value_at(pair, nesting, level)[:, index].astype(int)
        cell = 1 << (8 - bits)
        start = codes.astype(int) // cell * cell
        if bits == nesting.full_bits:
            np.testing.assert_array_equal(values, codes)
            continue
        inside = np.arange(0, cell, step)
        np.testing.assert_array_equal(values, start + inside[len(inside) // 2 - index])


@given(coded())
def test_upper_bits_never_change_between_precisions(case: tuple[Nesting, np.ndarray]) -> None:
    nesting, codes = case
    for level, bits in enumerate(nesting.precisions):
        values = value_at(codes, nesting, level)
        np.testing.assert_array_equal(values.view(np.uint8) >> (8 - bits), codes.view(np.uint8) >> (8 - bits))
        assert np.abs(values.astype(int) - codes).max(initial=0) <= 1 << (7 - bits) if bits < 8 else True


@pytest.mark.parametrize("nesting", EVERY_NESTING, ids=str)
def test_no_code_at_or_above_the_lowest_reads_as_minus_128(nesting: Nesting) -> None:
    lowest = lowest_codes(4, nesting)
    codes = np.array([[c if c >= low else 0 for low in lowest] for c in every_code(nesting)], np.int8)
    for level in range(len(nesting.precisions)):
        assert value_at(codes, nesting, level).min() > -128
    assert lowest.min() == -128 + (1 << (8 - nesting.full_bits))


def test_the_mean_of_middles_is_the_mean_of_the_cell() -> None:
    for nesting in (Nesting.parse("8|5"), Nesting.parse("6|4")):
        step = 1 << (8 - nesting.full_bits)
        cell = np.arange(0, 1 << (8 - nesting.part_bits), step)
        assert cell_middles(2, nesting, 0).mean() == cell.mean()


def test_signal_to_noise() -> None:
    reference = np.array([3.0, 4.0])
    assert signal_to_noise_db(reference, reference) == float("inf")
    assert signal_to_noise_db(reference, reference * 0.9) == pytest.approx(20.0)
    assert signal_to_noise_db(np.zeros(2), np.ones(2)) < -1000
