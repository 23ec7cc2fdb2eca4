"""Published baselines: their grids, their residuals, their arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import nestings

from nq_tflite.conversion.rounding.baselines import MINMAX, PUBLISHED_CODE, SQUANT_NESTING
from nq_tflite.conversion.rounding.baselines.published_code import adaptively_rounded
from nq_tflite.format.nesting import Nesting


def weights(seed: int, channels: int = 5, inputs: int = 7, taps: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, (channels, taps * inputs))


@given(nesting=nestings, seed=st.integers(0, 2**32 - 1))
def test_minmax_is_nearest_at_its_own_scale(nesting: Nesting, seed: int) -> None:
    target = weights(seed)
    for bits, level in zip(nesting.precisions, MINMAX.levels(target, 9, nesting), strict=True):
        largest = 2 ** (bits - 1) - 1
        assert (np.abs(level.codes).max(axis=1) == largest).all()
        assert (np.abs(level.values - target) <= 0.5001 * level.scales[:, None]).all()


def test_minmax_of_known_weights() -> None:
    part, full = MINMAX.levels(np.array([[3.5, -7.0, 1.2], [0.0, 0.0, 0.0]]), 1, Nesting.parse("8|4"))
    assert part.codes.tolist() == [[4, -7, 1], [0, 0, 0]]  # 3.5 to even
    assert part.scales.tolist() == [1.0, 0.0]
    assert full.codes[:, 1:].tolist() == [[-127, 22], [0, 0]]
    assert full.scales.tolist() == [np.float32(7 / 127), 0.0]
    assert part.values.dtype == np.float32


@given(nesting=nestings, seed=st.integers(0, 2**32 - 1), taps=st.sampled_from([1, 9]))
def test_residuals_of_squant_nesting_take_one_bit_more(nesting: Nesting, seed: int, taps: int) -> None:
    levels = SQUANT_NESTING.levels(weights(seed, inputs=63 // taps, taps=taps), taps, nesting)
    upper = []
    for bits, level in zip(nesting.precisions, levels, strict=True):
        shift = nesting.full_bits - bits
        assert not (level.codes % (1 << shift)).any()
        upper.append(level.codes.astype(int) >> shift)
        assert upper[-1].min() >= -(1 << (bits - 1))
        assert upper[-1].max() < 1 << (bits - 1)
    widths = zip(nesting.precisions[1:], nesting.precisions, strict=False)
    for coarse, fine, (more, bits) in zip(upper, upper[1:], widths, strict=False):
        residual = fine - (coarse << (more - bits))
        assert residual.min() >= -(1 << (more - bits))
        assert residual.max() < 1 << (more - bits)


def test_squant_nesting_balances_what_nearest_leaves() -> None:
    """Full-bit is the plain code; the errors of the upper bits sum to half a step or less in every channel."""
    nesting = Nesting.parse("8|5")
    target = weights(3, channels=16, inputs=64, taps=1)
    part, full = SQUANT_NESTING.levels(target, 1, nesting)
    np.testing.assert_array_equal(full.codes, MINMAX.levels(target, 1, nesting)[1].codes)
    error = (full.codes.astype(int) - part.codes) / 8
    assert (np.abs(error.sum(axis=1)) <= 0.5).all()
    nearest = np.clip(np.rint(full.codes / 8), -16, 15) * 8
    assert np.abs((full.codes - nearest).sum(axis=1) / 8).max() > 0.5


# ---- NestQuant's code ------------------------------------------------------------------------------------------------


@given(nesting=nestings, seed=st.integers(0, 2**32 - 1), taps=st.sampled_from([1, 9]))
def test_published_codes_take_all_of_an_asymmetric_range(nesting: Nesting, seed: int, taps: int) -> None:
    target = weights(seed, inputs=63 // taps, taps=taps) + 0.1
    levels = PUBLISHED_CODE.levels(target, taps, nesting)
    full = levels[-1]
    assert (full.values.min(axis=1) < 0).all()
    spread = full.codes.max(axis=1).astype(int) - full.codes.min(axis=1)
    assert (spread >= (1 << nesting.full_bits) - 3).all()  # a step at each end may be rounded away
    assert (np.abs(full.values - target) <= 1.51 * full.scales[:, None]).all()  # rounded zero point and second nearest
    upper = [
        level.codes.astype(int) >> (nesting.full_bits - bits)
        for level, bits in zip(levels, nesting.precisions, strict=True)
    ]
    widths = zip(nesting.precisions[1:], nesting.precisions, strict=False)
    for coarse, fine, (more, bits) in zip(upper, upper[1:], widths, strict=False):
        residual = fine - (coarse << (more - bits))
        assert residual.min() >= -(1 << (more - bits))
        assert residual.max() < 1 << (more - bits)


def test_published_code_of_known_weights() -> None:
    """Of [-1, 2]: r = 255 / 3 = 85 and z = -85 + 128 = 43, so that -1 is code -128 and 2 is 127."""
    part, full = PUBLISHED_CODE.levels(np.array([[-1.0, 2.0, 0.0, 0.5]]), 1, Nesting.parse("8|4"))
    assert full.codes.tolist() == [[-128, 127, -43, 0]]  # 0.5 is -0.5, a tie
    assert full.zero_points is not None
    assert full.zero_points.tolist() == [-43.0]
    np.testing.assert_allclose(full.values, [[-1.0, 2.0, 0.0, 43 / 85]], rtol=1e-6)
    assert part.codes.tolist() == [[-128, 112, -48, 0]]  # 7 is the highest of 4 bits
    np.testing.assert_allclose(part.values, (part.codes.astype(int) + 43) / 85, rtol=1e-6)


def test_kernels_are_balanced_before_channels() -> None:
    """Every kernel's errors sum to a step or less, and every channel's to half a step."""
    taps, inputs = 9, 8
    target = np.random.default_rng(4).normal(0, 30, (6, taps * inputs)).clip(-128, 127)
    error = adaptively_rounded(target, 8, taps) - target
    assert (np.abs(error) < 1).all()
    assert (np.abs(error.reshape(6, taps, inputs).sum(axis=1)) <= 1).all()
    assert (np.abs(error.sum(axis=1)) <= 0.5).all()
    plain = np.rint(target) - target
    assert np.abs(plain.sum(axis=1)).max() > 0.5


@pytest.mark.parametrize(("nesting", "minmax", "squant"), [("8|4", 12, 9), ("8|6|4", 18, 10), ("6|3", 9, 7)])
def test_bits_a_weight(nesting: str, minmax: int, squant: int) -> None:
    assert MINMAX.bits_a_weight(Nesting.parse(nesting)) == minmax
    assert SQUANT_NESTING.bits_a_weight(Nesting.parse(nesting)) == squant
    assert PUBLISHED_CODE.bits_a_weight(Nesting.parse(nesting)) == squant
