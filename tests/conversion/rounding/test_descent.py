"""Output-aware rounding: what its descents never do, and what they reach."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nq_tflite.conversion.rounding import RoundingTask, descent, nearest, squant
from nq_tflite.conversion.rounding.descent import BORDER, _descend
from nq_tflite.conversion.rounding.joint import Level, joint_descent
from nq_tflite.conversion.rounding.lattice import Lattice, gptq
from nq_tflite.conversion.rounding.quadratic import Quadratic, channels, columns
from nq_tflite.conversion.rounding.statistics import CentredRows, InputStatistics, input_statistics
from nq_tflite.format.levels import cell_middles, lowest_codes, value_at
from nq_tflite.format.nesting import Nesting

seeds = st.integers(0, 2**32 - 1)


def quadratic_of(rng: np.random.Generator, groups: int, depth: int, rows: int = 60) -> Quadratic:
    """Of inputs that vary together."""
    return statistics_of(rng, groups, depth, [0.05], rows)[0].quadratic or pytest.fail("no quadratic")


def statistics_of(
    rng: np.random.Generator, groups: int, depth: int, noises: list[float], rows: int = 60
) -> tuple[InputStatistics, ...]:
    exact = (rng.normal(0.5, 1, (groups, rows, depth)) @ rng.normal(0, 1, (depth, depth))).astype(np.float32)
    noisy = [exact + rng.normal(0, noise, exact.shape).astype(np.float32) for noise in noises]
    centred = CentredRows.of(exact)
    return tuple(input_statistics(centred, CentredRows.of(each), None, 1) for each in noisy)


def cost(quadratic: Quadratic, target: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(v - t) H (v - t)' of every channel [groups, channels of a group]."""
    away = values - target
    return np.asarray(np.einsum("gkc,gkl,glc->gc", away, quadratic.hessian.astype(float), away))


@st.composite
def problems(draw: st.DrawFn) -> tuple[Quadratic, np.ndarray, Lattice]:
    """A quadratic, targets, and cells that they may take."""
    rng = np.random.default_rng(draw(seeds))
    groups, channels, depth = draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 9, 70]))
    width = draw(st.sampled_from([1, 4, 16]))
    target = rng.normal(0, draw(st.sampled_from([5.0, 60.0])), (groups, depth, channels)).astype(np.float32)
    middle = np.full(depth, width / 2, np.float32)
    low = np.floor(target / width) - rng.integers(0, 3, target.shape).astype(np.float32)
    high = low + rng.integers(0, 4, target.shape).astype(np.float32)
    return quadratic_of(rng, groups, depth), target, Lattice(width, middle, low, high)


@given(problem=problems())
def test_descents_keep_their_bounds_and_never_get_worse(problem: tuple[Quadratic, np.ndarray, Lattice]) -> None:
    quadratic, target, lattice = problem
    start = gptq(quadratic, target, lattice)
    cells = _descend(quadratic, target, lattice, start)
    for each in (start, cells):
        assert ((each >= lattice.low) & (each <= lattice.high)).all()
        assert (each == np.rint(each)).all()
    before, after = (cost(quadratic, target, lattice.values(each)) for each in (start, cells))
    assert (after <= before * (1 + 1e-5) + 1e-6).all()


@given(problem=problems())
def test_no_single_weight_could_do_better(problem: tuple[Quadratic, np.ndarray, Lattice]) -> None:
    quadratic, target, lattice = problem
    cells = gptq(quadratic, target, lattice)
    for _ in range(20):
        cells = _descend(quadratic, target, lattice, cells)
    least = cost(quadratic, target, lattice.values(cells))
    for at in range(cells.shape[1]):
        for step in (-1, 1):
            moved = cells.copy()
            moved[:, at] = np.clip(moved[:, at] + step, lattice.low[:, at], lattice.high[:, at])
            assert (cost(quadratic, target, lattice.values(moved)) >= least * (1 - 1e-4) - 1e-4).all()


@given(seed=seeds, bits=st.sets(st.integers(2, 8), min_size=2, max_size=5), groups=st.sampled_from([1, 3]))
def test_joint_descent_never_increases_what_it_minimises(seed: int, bits: set[int], groups: int) -> None:
    nesting, rng, depth = Nesting(tuple(sorted(bits, reverse=True))), np.random.default_rng(seed), 9
    step, lowest = 1 << (8 - nesting.full_bits), lowest_codes(depth, nesting)
    target = rng.normal(0, 50, (groups, depth, 2)).astype(np.float32)
    lowest = lowest[:, None]
    plain = np.clip(np.rint(target / step) * step, lowest, 128 - step).astype(np.float32)
    start = np.clip(plain + step * rng.integers(-3, 4, plain.shape), lowest, 128 - step).astype(np.float32)
    quadratics = [quadratic_of(rng, groups, depth) for _ in nesting.precisions]
    levels = [
        Level(1 << (8 - precision), cell_middles(depth, nesting, level).astype(np.float32), target, quadratic.hessian)
        for level, (precision, quadratic) in enumerate(zip(nesting.precisions, quadratics, strict=True))
    ]
    found = joint_descent(start, plain, (lowest[:, 0], 128 - step), step, levels)
    assert ((found >= lowest) & (found <= 128 - step) & (found % step == 0)).all()

    def objective(codes: np.ndarray) -> float:
        flat = channels(codes).astype(np.int8)
        return sum(
            2.0 ** (precision - nesting.full_bits)
            * float(cost(quadratic, target, columns(value_at(flat, nesting, level), groups)).sum())
            for level, (precision, quadratic) in enumerate(zip(nesting.precisions, quadratics, strict=True))
        )

    assert objective(found) <= objective(start) * (1 + 1e-5)


@pytest.mark.slow
@given(seed=seeds, text=st.sampled_from(["8|5", "8|4", "8|2", "6|3", "5|4"]), channels=st.integers(1, 4))
def test_the_coarsest_cell_is_left_only_near_its_border(seed: int, text: str, channels: int) -> None:
    """Whole numbers of half steps among the targets: ties at every border."""
    nesting, rng = Nesting.parse(text), np.random.default_rng(seed)
    step = 1 << (8 - nesting.full_bits)
    target = rng.integers(-130, 130, (channels, 18)) * (step / 2)
    statistics = statistics_of(rng, channels, 18, [0.1, 0.01])
    task = RoundingTask(target, 9, nesting, statistics)
    cell = 1 << (8 - nesting.part_bits)
    home, found = task.nearest() // cell, descent(task).astype(int) // cell
    place = (target + step / 2) / cell - home
    near_border = np.minimum(np.clip(place, 0, 1), 1 - np.clip(place, 0, 1)) <= BORDER
    assert (np.abs(found - home) <= 1).all()
    assert near_border[found != home].all()


@pytest.mark.parametrize("groups", [1, 32], ids=["dense", "depthwise"])
@pytest.mark.parametrize("text", ["8|5", "8|4", "8|6|4"])
def test_outputs_err_less_than_by_other_methods(text: str, groups: int) -> None:
    nesting, rng = Nesting.parse(text), np.random.default_rng(2)
    statistics = statistics_of(rng, groups, 27, [0.0] * len(nesting.precisions), rows=500)
    task = RoundingTask(rng.normal(0, 40, (32, 27)).clip(-127, 127), 9, nesting, statistics)

    def error(codes: np.ndarray, level: int) -> float:
        quadratic = statistics[level].quadratic
        assert quadratic is not None
        values = columns(value_at(codes, nesting, level), groups)
        return float(cost(quadratic, columns(task.target, groups), values).sum())

    for level in range(len(nesting.precisions) - 1):
        best = error(descent(task), level)
        assert best < 0.7 * error(squant(task), level)
        assert best < 0.7 * error(nearest(task), level)


def test_saturated_weights_and_channels_without_variety() -> None:
    """Codes stay within bounds whatever the target, and the same codes come out each time."""
    target = np.repeat([[0.0], [127.0], [-127.0], [1000.0], [-1000.0]], 18, axis=1)
    for text in ("8|5", "8|7", "6|3", "3|2", "8|7|6|5|4|3|2"):
        nesting = Nesting.parse(text)
        statistics = statistics_of(np.random.default_rng(1), 5, 18, [0.1] * len(nesting.precisions))
        task = RoundingTask(target, 9, nesting, statistics)
        codes = descent(task)
        assert (codes[3] >= 128 - (1 << (8 - nesting.part_bits))).all()
        assert ((codes >= task.lowest) & (codes <= task.highest) & (codes % task.step == 0)).all()
        np.testing.assert_array_equal(codes, descent(task))
