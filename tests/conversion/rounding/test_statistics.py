"""Statistics of a layer's inputs: what the error of its outputs is measured by."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nq_tflite.conversion.rounding import statistics
from nq_tflite.conversion.rounding.quadratic import Factor, channels, columns
from nq_tflite.conversion.rounding.statistics import CentredRows, InputStatistics, Prior, input_statistics

seeds = st.integers(0, 2**32 - 1)


def inputs(seed: int, groups: int = 2, rows: int = 40, depth: int = 9) -> np.ndarray:
    """Inputs that vary together, float32 [groups, rows, depth], some of which never vary."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.5, 1, (groups, rows, depth)) @ rng.normal(0, 1, (depth, depth))
    values[:, :, 0] = 0
    values[-1, :, 1] = 3
    return values.astype(np.float32)


def statistics_of(exact: np.ndarray, rounded: np.ndarray, prior: Prior | None = None, taps: int = 1) -> InputStatistics:
    return input_statistics(CentredRows.of(exact.copy()), CentredRows.of(rounded.copy()), prior, taps)


@given(seed=seeds, rows=st.sampled_from([1, 3, 40]), taps=st.sampled_from([1, 9]), known=st.booleans())
def test_hessian_is_symmetric_and_positive_definite(seed: int, rows: int, taps: int, known: bool) -> None:
    """With fewer rows than inputs, with inputs that never vary, with and without a prior."""
    exact = inputs(seed, rows=rows)
    rng = np.random.default_rng(seed)
    prior = Prior(rng.normal(size=(2, 9)), np.square(rng.normal(size=(2, 9)))) if known else None
    quadratic = statistics_of(exact, exact, prior, taps).quadratic
    assert quadratic is not None
    np.testing.assert_allclose(quadratic.hessian, quadratic.hessian.transpose(0, 2, 1), rtol=1e-5, atol=1e-6)
    assert (np.linalg.eigvalsh(quadratic.hessian) > 0).all()


def test_inputs_that_are_all_zero() -> None:
    quadratic = statistics_of(np.zeros((1, 4, 9), np.float32), np.zeros((1, 4, 9), np.float32)).quadratic
    assert quadratic is not None
    assert (np.linalg.eigvalsh(quadratic.hessian) > 0).all()


@given(seed=seeds)
def test_weights_are_their_own_target_where_nothing_is_rounded(seed: int) -> None:
    exact = inputs(seed)
    found = statistics_of(exact, exact)
    assert found.quadratic is not None
    weights = np.random.default_rng(seed).normal(0, 40, (6, 9))
    np.testing.assert_allclose(channels(found.quadratic.target(weights)), weights, rtol=1e-6)
    assert not found.drift.any()


@given(seed=seeds)
def test_quadratic_is_the_output_error_up_to_a_constant(seed: int) -> None:
    """Without ridges, and with all of the regression: mean square of (w x - v y), for any v, each without its mean."""
    exact, rng = inputs(seed, groups=1, rows=200), np.random.default_rng(seed + 1)
    rounded = exact + rng.normal(0, 0.2, exact.shape).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_RIDGE", 1e-9)
        patch.setattr(statistics, "_BELIEF", 1.0)
        quadratic = statistics_of(exact, rounded).quadratic
    assert quadratic is not None
    weights = rng.normal(size=(3, 9))
    values = weights + rng.normal(size=(5, 3, 9))
    x, y = (np.float64(each[0] - each[0].mean(axis=0)) for each in (exact, rounded))
    errors = np.square(x @ weights.T - np.einsum("rk,vck->vrc", y, values)).mean(axis=1)
    away = values - channels(quadratic.target(weights))
    excess = errors - np.einsum("vck,kl,vcl->vc", away, quadratic.hessian[0], away)
    np.testing.assert_allclose(excess, np.broadcast_to(excess[0], excess.shape), rtol=1e-2, atol=1e-2)


def test_means_and_drift() -> None:
    exact = inputs(3)
    found = statistics_of(exact, exact + np.float32(0.25))
    np.testing.assert_allclose(found.mean, exact.mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.drift, 0.125, rtol=1e-5)
    prior = Prior(np.full((2, 9), 7.0), np.ones((2, 9)))
    informed = statistics_of(exact, exact, prior)
    np.testing.assert_allclose(informed.mean, (exact.mean(axis=1) + 7) / 2, rtol=1e-5)
    without = input_statistics(CentredRows.of(exact.copy()), CentredRows.of(exact.copy()), None, 1, covariances=False)
    assert without.quadratic is None
    weights = np.arange(36.0).reshape(4, 9)
    np.testing.assert_allclose(found.dot(weights, found.mean)[2:], weights[2:] @ found.mean[1])


def test_the_prior_makes_up_for_samples_that_vary_too_little() -> None:
    still = np.ones((2, 5, 9), np.float32)
    prior = Prior(np.ones((2, 9)), np.full((2, 9), 4.0))
    dense, depthwise = (statistics_of(still, still, prior, taps).quadratic for taps in (1, 9))
    assert dense is not None
    assert depthwise is not None
    np.testing.assert_allclose(dense.hessian[0], 0.4 * np.eye(9), atol=1e-6)
    assert (depthwise.hessian[0] > 0.04).all()
    assert depthwise.hessian[0, 0, 1] > depthwise.hessian[0, 0, 8]


def test_sums_beyond_float32() -> None:
    """Inputs of 1e30 have the covariance of plain ones, times 1e60."""
    plain = inputs(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = CentredRows.of(plain.copy())
        large = CentredRows.of(plain * np.float32(1e30))
        found = large.covariance()
    np.testing.assert_allclose(found / 1e60, small.covariance(), rtol=1e-4, atol=1e-4)


def test_huge_inputs_have_the_quadratic_of_plain_ones() -> None:
    """In a unit of its own, so that float32 holds it; what turns w into t has no unit."""
    plain, factor, rng = inputs(3), np.float32(1e25), np.random.default_rng(4)
    other, weights = plain + rng.normal(0, 0.2, plain.shape).astype(np.float32), rng.normal(0, 40, (6, 9))
    small, large = (statistics_of(plain * each, other * each).quadratic for each in (np.float32(1), factor))
    assert small is not None
    assert large is not None
    assert np.isfinite(large.hessian).all()
    assert not np.allclose(small.target(weights), columns(weights, 2), atol=0.1)
    np.testing.assert_allclose(large.target(weights), small.target(weights), rtol=1e-3, atol=1e-3)
    ratio = large.hessian.max() / small.hessian.max()
    np.testing.assert_allclose(large.hessian / ratio, small.hessian, rtol=1e-3, atol=1e-3)


@given(seed=seeds, depth=st.sampled_from([1, 9, 64, 65, 150]), groups=st.sampled_from([1, 3]))
def test_factor(seed: int, depth: int, groups: int) -> None:
    """M' D M is H, in blocks or in one, and what it solves is solved."""
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(groups, depth, depth))
    hessian = roots @ roots.transpose(0, 2, 1) + 0.1 * depth * np.eye(depth)
    factor = Factor.of(hessian)
    lower = factor.lower.astype(float)
    assert not np.triu(lower, 1).any()
    np.testing.assert_array_equal(np.diagonal(lower, axis1=1, axis2=2), 1)
    ordered = hessian[:, factor.order][:, :, factor.order]
    found = lower.transpose(0, 2, 1) @ (factor.pivots[:, :, None] * lower)
    np.testing.assert_allclose(found, ordered, rtol=1e-5, atol=1e-5 * depth)
    right = rng.normal(size=(groups, depth, 5)).astype(np.float32)
    np.testing.assert_allclose(hessian @ factor.solve(right), right, atol=1e-3)
    np.testing.assert_array_equal(channels(columns(right[0], 1)), right[0])
