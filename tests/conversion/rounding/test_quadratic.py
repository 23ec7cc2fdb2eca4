"""Factors of matrices of several panels, and descents over them."""

from __future__ import annotations

import numpy as np
import pytest
from test_descent import cost, quadratic_of

from nq_tflite.conversion.rounding import RoundingTask, lattice, quadratic
from nq_tflite.conversion.rounding.descent import _descend
from nq_tflite.conversion.rounding.lattice import Lattice, gptq
from nq_tflite.conversion.rounding.quadratic import BLOCK, PANEL, Factor
from nq_tflite.conversion.rounding.statistics import CentredRows, input_statistics
from nq_tflite.format.nesting import Nesting

DEPTH = PANEL + 2 * BLOCK + 5


def hessian_of(rank: int, ridge: float) -> np.ndarray:
    rows = np.random.default_rng(2).normal(size=(1, rank, DEPTH)) * np.linspace(0.1, 3, DEPTH)
    found = rows.transpose(0, 2, 1) @ rows / rank
    return np.asarray(found + ridge * np.eye(DEPTH))


def test_factors_of_panels_make_the_matrix_and_solve_it() -> None:
    hessian = hessian_of(2 * DEPTH, 0.01)
    factor = Factor.of(hessian)
    made = factor.lower.transpose(0, 2, 1) @ (factor.pivots[:, :, None] * factor.lower)
    np.testing.assert_allclose(made, hessian[:, factor.order[:, None], factor.order], atol=1e-4)
    wanted = np.random.default_rng(3).normal(size=(1, DEPTH, 7)).astype(np.float32)
    np.testing.assert_allclose(factor.solve((hessian @ wanted).astype(np.float32)), wanted, rtol=0.02, atol=0.02)


def test_a_matrix_that_floats_are_too_coarse_for_has_its_products_in_float64() -> None:
    hessian = hessian_of(40, 1e-8)
    with pytest.raises(np.linalg.LinAlgError):
        quadratic._triangle(hessian.copy(), exact=False)
    factor = Factor.of(hessian)
    made = factor.lower.transpose(0, 2, 1) @ (factor.pivots[:, :, None] * factor.lower)
    np.testing.assert_allclose(made, hessian[:, factor.order[:, None], factor.order], atol=1e-4)


def test_panels_change_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    of_inputs = quadratic_of(rng, 1, 3 * BLOCK + 5, 300)
    target = rng.normal(0, 40, (1, 3 * BLOCK + 5, 6)).astype(np.float32)
    cells = Lattice(16, np.full(target.shape[1], 7.5, np.float32), np.full_like(target, -8), np.full_like(target, 7))
    errors = []
    for size in (BLOCK, 2 * BLOCK, PANEL):
        monkeypatch.setattr(lattice, "PANEL", size)
        found = _descend(of_inputs, target, cells, gptq(of_inputs, target, cells))
        errors.append(cost(of_inputs, target, cells.values(found)))
    np.testing.assert_allclose(errors[1:], [errors[0]] * 2, rtol=1e-3)


def test_aims_follow_the_scales() -> None:
    rng = np.random.default_rng(5)
    exact = rng.normal(size=(2, 90, 18)).astype(np.float32)
    rounded = CentredRows.of(exact + rng.normal(0, 0.1, exact.shape).astype(np.float32))
    statistics = (input_statistics(CentredRows.of(exact), rounded, None, 9),) * 2
    target, scales = rng.normal(0, 40, (6, 18)), np.array([1, 2, 0, 3, 4, 5], np.float32)
    task = RoundingTask(target, 9, Nesting.parse("8|4"), statistics, scales)
    assert len(task.aims) == 2
    ratio = np.array([0.5, 1, 1, 0.75, 1, 0.9], np.float32)
    other = task.rescaled(target / ratio[:, None], scales * ratio)
    fresh = RoundingTask(other.target, 9, task.nesting, statistics, other.scales)
    for found, wanted in zip(other.aims, fresh.aims, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)
