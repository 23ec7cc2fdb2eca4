"""Full-bit beside plain rounding: what `cautious` keeps of a method's codes, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nq_tflite.conversion.rounding import RoundingTask, descent, nearest, squant
from nq_tflite.conversion.rounding.caution import cautious
from nq_tflite.conversion.rounding.nearest import nearest_inside
from nq_tflite.conversion.rounding.statistics import CentredRows, Rehearsal, Unseen, input_statistics
from nq_tflite.format.levels import Codes, value_at
from nq_tflite.format.nesting import Nesting

NESTING = Nesting.parse("8|5")
DEPTH, CHANNELS = 48, 32


class Inputs:
    """Inputs of a layer: noise, or rows that a few directions explain."""

    def __init__(self, seed: int, *, correlated: bool, mean: float = 0.0) -> None:
        self.rng, self._mean = np.random.default_rng(seed), mean
        self._mix = self.rng.normal(0, 1, (6, DEPTH)) if correlated else None

    def rows(self, count: int) -> CentredRows:
        noise = self.rng.normal(0, 1, (1, count, DEPTH))
        if self._mix is not None:
            noise = 0.1 * noise + self.rng.normal(0, 1, (1, count, 6)) @ self._mix
        return CentredRows.of((noise + self._mean).astype(np.float32))

    def task(self, count: int, *, is_int8: bool = False) -> RoundingTask:
        target = np.clip(self.rng.normal(0, 40, (CHANNELS, DEPTH)), -126, 126)
        rows = self.rows(count)
        statistics = (input_statistics(rows, rows, None, 1),) * 2
        return RoundingTask(np.rint(target) if is_int8 else target, 1, NESTING, statistics, corrected=True)

    def rehearsal(self, count: int = 400) -> Rehearsal:
        rows = self.rows(count)
        return Rehearsal((), (Unseen(rows, rows),) * 2)


def loss_db(task: RoundingTask, codes: Codes, inputs: Inputs, level: int = 1) -> float:
    """Output error on new inputs over plain rounding's, biases corrected."""
    rows = inputs.rows(4000).rows[0].astype(np.float64)

    def power(each: Codes) -> float:
        return float(np.square(rows @ (value_at(each, NESTING, level) - task.target).T).sum())

    return 10 * float(np.log10(power(codes) / power(nearest(task))))


def test_codes_that_hold_are_the_methods_own() -> None:
    inputs = Inputs(1, correlated=True)
    task = inputs.task(2000)
    name, codes = cautious(task, "descent", descent, inputs.rehearsal())
    assert name == "descent"
    np.testing.assert_array_equal(codes, descent(task))
    assert loss_db(task, codes, inputs) < -3


@pytest.mark.parametrize("count", [12, 60])
def test_few_rows_of_noise_do_not_cost_full_bit(count: int) -> None:
    """The descent fits its few rows; on others it is worse than plain rounding. Part-bit keeps what is real."""
    inputs = Inputs(2, correlated=False)
    task = inputs.task(count)
    _, codes = cautious(task, "descent", descent, inputs.rehearsal())
    assert loss_db(task, descent(task), inputs) > 2
    assert loss_db(task, codes, inputs) < 0.8
    assert loss_db(task, codes, inputs, level=0) < 0.1


def test_codes_of_an_int8_source_move_by_less_than_rounding_them_cost() -> None:
    """Plain rounding keeps them as they are, so it is no measure."""
    inputs = Inputs(3, correlated=False)
    task = inputs.task(400, is_int8=True)
    _, codes = cautious(task, "descent", descent, inputs.rehearsal())
    assert np.square(codes - task.target).mean() <= 1.2 * (10**0.05 - 1) / 12
    assert np.square(descent(task) - task.target).mean() > 0.02


@pytest.mark.parametrize("made_up", [None, True])
def test_without_real_inputs_the_weights_tell(made_up: bool | None) -> None:
    """However well the descent does on noise that was made up."""
    inputs = Inputs(4, correlated=True)
    task = inputs.task(2000)
    rehearsal = None if made_up is None else replace(inputs.rehearsal(), made_up=True)
    _, codes = cautious(task, "descent", descent, rehearsal)
    assert np.square(codes - task.target).sum() <= 10**0.05 * np.square(nearest(task) - task.target).sum()


@pytest.mark.parametrize(("count", "kept"), [(4, False), (400, True)])
def test_few_rows_do_not_speak_for_codes_that_err_more(count: int, kept: bool) -> None:
    """Codes that err where no input is: many inputs would have shown it, a handful leaves it open."""
    inputs = Inputs(9, correlated=False)
    task, rows = inputs.task(400), inputs.rows(count)
    rows.rows[:, :, 8:], rows.mean[:, 8:] = 0, 0
    cells = nearest(task) // 8 * 8
    noise = inputs.rng.integers(-1, 2, task.target.shape) * (np.arange(DEPTH) >= 8)
    noisy = np.clip(nearest(task) + noise, cells, cells + 7).astype(np.int8)
    _, codes = cautious(task, "noisy", lambda _: noisy, Rehearsal((), (Unseen(rows, rows),) * 2))
    assert bool((codes == noisy).all()) is kept


def test_means_count_where_no_bias_takes_them_away() -> None:
    """A layer with several readers: codes whose errors have one sign are refused, which a bias would have made good."""
    inputs = Inputs(5, correlated=False, mean=1.0)
    task = replace(inputs.task(400), statistics=())
    cells = nearest(task) // 8 * 8
    shifted = np.clip(np.floor(task.target + 0.62), cells, cells + 7).astype(np.int8)
    kept = [
        cautious(replace(task, corrected=corrected), "shift", lambda _: shifted, inputs.rehearsal())[1]
        for corrected in (True, False)
    ]
    np.testing.assert_array_equal(kept[0], shifted)
    assert (kept[1] != shifted).any()


def test_a_rehearsal_without_some_samples_decides_for_all() -> None:
    """Statistics of all samples round in the end; those of most, to judge by the rest."""
    inputs = Inputs(6, correlated=True)
    task, fewer = inputs.task(2000), inputs.task(1500)
    rehearsal = replace(inputs.rehearsal(), statistics=fewer.statistics)
    np.testing.assert_array_equal(cautious(task, "descent", descent, rehearsal)[1], descent(task))


@pytest.mark.parametrize("text", ["8|5", "8|6|4", "7|4"])
def test_nearest_inside_keeps_the_cells(text: str) -> None:
    nesting = Nesting.parse(text)
    task = RoundingTask(np.random.default_rng(7).normal(0, 60, (8, 36)), 9, nesting)
    codes = squant(task)
    inside = nearest_inside(task, codes)
    for level in range(len(nesting.precisions) - 1):
        np.testing.assert_array_equal(value_at(inside, nesting, level), value_at(codes, nesting, level))
    assert np.abs(inside - task.nearest()).sum() <= np.abs(codes - task.nearest()).sum()
