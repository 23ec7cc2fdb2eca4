"""Codes that also work on inputs that rounding has not seen: a method's own, or else more cautious ones.

A method that serves part-bit pays at full-bit: the code of a weight must stay in the cell that part-bit chose. With
good statistics full-bit's other codes make up for that; with few inputs, noise or none at all they make it worse.
So full-bit is measured beside plain rounding, layer by layer. What is too far from the source steps down a ladder:
plain codes inside the method's cells, descents that leave ever fewer of the nearest cells, SQuant with ever less
freedom, plain rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from nq_tflite.conversion.rounding.descent import descent
from nq_tflite.conversion.rounding.nearest import nearest, nearest_inside
from nq_tflite.conversion.rounding.quadratic import Real
from nq_tflite.conversion.rounding.squant import BORDER, squant
from nq_tflite.conversion.rounding.statistics import Moments, Outputs, Rehearsal, Unseen
from nq_tflite.conversion.rounding.task import RoundingTask
from nq_tflite.format.levels import Codes, value_at

#: By how much a layer may err more at full-bit than by plain rounding: half of the decibel that the model may lose.
#: `python tests/tools/caution_table.py` shows what other limits lose and gain.
SLACK = 10**0.05 - 1
#: What leaving the nearest cell costs in more cautious descents, in units of the ordinary one.
_PENALTIES = (8.0, 64.0)
#: Fewer rows of inputs than that tell an error's size by half a decibel or worse: the weights must tell it too.
_ENOUGH_ROWS = 64
#: Where a layer's inputs are not known: the square of their mean over their variance, which is a ReLU's of noise.
_MEAN_OVER_VARIANCE = 0.47


def cautious(
    task: RoundingTask, name: str, round_: Callable[[RoundingTask], Codes], rehearsal: Rehearsal | None
) -> tuple[str, Codes]:
    """The codes of a method, or more cautious ones.

    Args:
        task: what to round.
        name, round_: of the method.
        rehearsal: how the method does on inputs that it has not seen; None: only the weights can tell.

    Returns:
        The name of the method that the codes are of, and the codes.
    """
    trial = task if rehearsal is None or not rehearsal.statistics else replace(task, statistics=rehearsal.statistics)
    tried = round_(trial)
    judge = _Judge(trial, rehearsal)
    chosen = judge.first(_ladder(trial, name, tried))
    codes = tried if trial is task else round_(task)
    return next(islice(_ladder(task, name, codes), chosen, None))


def _ladder(task: RoundingTask, name: str, codes: Codes) -> Iterator[tuple[str, Codes]]:
    """From a method's own codes down to plain rounding."""
    yield name, codes
    yield name, nearest_inside(task, codes)
    if name == "descent":
        for penalty in _PENALTIES:
            yield name, nearest_inside(task, descent(task, penalty, cells_alone=True))
    for border in (BORDER, BORDER / 2, BORDER / 4, BORDER / 8):
        yield "squant", squant(task, border)
    yield "nearest", nearest(task)


class _Judge:
    """Measures codes beside plain rounding. Errors are summed over channels in real units."""

    def __init__(self, task: RoundingTask, rehearsal: Rehearsal | None) -> None:
        self._task, self._plain = task, nearest(task)
        self._unseen: tuple[Unseen, ...] = () if rehearsal is None else rehearsal.unseen
        self._made_up = not self._unseen or rehearsal is None or rehearsal.made_up
        self._is_sure = not self._made_up and self._unseen[-1].rounded.rows.shape[1] >= _ENOUGH_ROWS
        # Plain rounding's: its weights' errors by how they are measured, and those of its outputs by level.
        self._plain_errors: dict[Callable[[Real], Moments], Moments] = {}
        self._plain_totals: dict[int, Moments] = {}
        self._wanted: dict[int, Outputs] = {}
        self._weight = np.broadcast_to(np.square(task.scales.astype(np.float64)), len(task.target))

    def first(self, ladder: Iterator[tuple[str, Codes]]) -> int:
        """Number of the first rung where full-bit holds, and the levels before it are no worse than plain rounding's.

        Rungs cost time, and the first ones serve the levels before full-bit best. The last one is plain rounding.
        """
        return next(number for number, (_, codes) in enumerate(ladder) if self._accepts(codes))

    def _accepts(self, codes: Codes) -> bool:
        return self._holds(codes) and self._serves(codes)

    def _holds(self, codes: Codes) -> bool:
        """Whether full-bit is near enough to the source, by all that can be told of its inputs."""
        if not self._is_sure and not self._is_near(codes, _of_weights, np.full(1, float(self._task.target.shape[1]))):
            return False
        if not self._unseen:
            return True
        last = self._unseen[-1]
        return self._is_near(codes, last.own_error, last.power) or self._makes_up(codes)

    def _usual(self, power: Real) -> float:
        """What rounding weights to nearest costs on average, with inputs of that power [groups]."""
        by_channel = self._weight.reshape(len(power), -1) * power[:, None]
        return float(by_channel.sum()) * self._task.step**2 / 12

    def _is_near(self, codes: Codes, measure: Callable[[Real], Moments], power: Real) -> bool:
        """Whether the weights' own errors are little more than plain rounding's.

        Plain rounding of weights that are codes already costs nothing more; what it once cost is allowed for then.
        """
        if measure not in self._plain_errors:
            self._plain_errors[measure] = measure(self._plain.astype(np.float64) - self._task.target)
        ours = measure(codes.astype(np.float64) - self._task.target)
        return self._is_less(ours, self._plain_errors[measure], self._usual(power))

    def _makes_up(self, codes: Codes) -> bool:
        """Whether the outputs are no further from the float net's, since codes make up for the errors before them."""
        return self._is_less(*self._total_errors(len(self._unseen) - 1, codes))

    def _total_errors(self, level: int, codes: Codes) -> tuple[Moments, Moments]:
        """Of codes and of plain rounding, at a level."""
        inputs = self._unseen[level]
        if level not in self._wanted:
            self._wanted[level] = inputs.wanted(self._task.target)
            plain = value_at(self._plain, self._task.nesting, level)
            self._plain_totals[level] = inputs.total_error(plain, self._wanted[level])
        ours = inputs.total_error(value_at(codes, self._task.nesting, level), self._wanted[level])
        return ours, self._plain_totals[level]

    def _is_less(self, ours: Moments, plain: Moments, usual: float | None = None) -> bool:
        """Whether an error is no more than plain rounding's, or little more if its usual size is given.

        Plain rounding's biases are never corrected. Its mean errors count in full, unless ours count too, for the
        layers behind may take the difference of two outputs, or the inputs are not known well enough to tell.
        """

        def within(*, with_our_means: bool, with_plain_means: bool) -> bool:
            limit = self._sum(plain, with_means=with_plain_means)
            if usual is not None:
                limit += SLACK * max(limit, usual)
            return self._sum(ours, with_means=with_our_means) <= limit

        if self._task.corrected:
            return within(with_our_means=False, with_plain_means=not self._made_up)
        return all(within(with_our_means=means, with_plain_means=means) for means in (False, True))

    def _serves(self, codes: Codes) -> bool:
        """Whether the levels before full-bit err no more than plain rounding's, in the mean of their ratios."""
        excess = 0.0
        for level in range(len(self._unseen) - 1):
            errors = self._total_errors(level, codes)
            ours, plain = (self._sum(each, with_means=not self._task.corrected) for each in errors)
            excess += (ours - plain) / max(plain, 1e-300)
        return excess <= 0

    def _sum(self, moments: Moments, *, with_means: bool) -> float:
        variance, squared_mean = moments
        return float(self._weight @ (variance + squared_mean if with_means else variance))


def _of_weights(error: Real) -> Moments:
    """Of inputs that are not known: of variance 1 each, on their own."""
    return np.square(error).sum(axis=1), _MEAN_OVER_VARIANCE * np.square(error.sum(axis=1))
