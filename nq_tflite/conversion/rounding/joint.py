"""Coordinate descent on all levels of a nesting together.

Levels that choose one after another leave the finest one little freedom. Here each full-bit code w moves to where

    J(w) = sum over precisions h of 2^-(n - h) (D_h(w) - t_h) H_h (D_h(w) - t_h)'

is least, D_h(w) being the value that the upper h bits of w stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.statistics import Real

#: How far codes may move from where they start, and from the plain code, in steps.
_REACH = 8
_SWEEPS = 3
_STILL = 0.005
_BLOCK = 64


def joint_descent(
    codes: Real,
    plain: Real,
    bounds: tuple[NDArray[np.int16], int],
    step: int,
    levels: Sequence[tuple[int, Real, Real, Real]],
) -> Real:
    """Moves codes [groups, channels of a group, depth] so that all levels gain together.

    Args:
        codes: where to start.
        plain: the codes of rounding to nearest.
        bounds: least [depth] and greatest [] allowed code.
        step: distance of neighbouring codes.
        levels: for each, part-bit first: the width of a cell, its middle [depth], the targets t, and H
            [groups, depth, depth].
    """
    walkers = [_Level(*level, weight=levels[-1][0] / level[0]) for level in levels]
    low = np.maximum(np.minimum(codes, plain - _REACH * step), bounds[0])
    high = np.minimum(np.maximum(codes, plain + _REACH * step), bounds[1])
    codes = codes.copy()
    for walker in walkers:
        walker.start(codes)
    depth = codes.shape[2]
    for _ in range(_SWEEPS * (2 if depth < _BLOCK else 1)):
        changed = 0
        for begin in range(0, depth, _BLOCK):
            end = min(begin + _BLOCK, depth)
            for walker in walkers:
                walker.enter(begin, end)
            for j in range(begin, end):
                changed += _move_column(codes, low, high, step, walkers, j)
            for walker in walkers:
                walker.leave()
        if changed <= _STILL * codes.size:
            break
    return codes


def _move_column(codes: Real, low: Real, high: Real, step: int, walkers: Sequence[_Level], j: int) -> int:
    now = codes[:, :, j]
    count = int((high[:, :, j] - low[:, :, j]).max()) // step + 1
    candidates = np.minimum(low[:, :, j, None] + np.arange(count, dtype=np.float64) * step, high[:, :, j, None])
    cost = np.zeros(candidates.shape, np.float32)
    for walker in walkers:
        cost += walker.cost(candidates, now, j)
    best = np.take_along_axis(candidates, cost.argmin(axis=2)[:, :, None], axis=2)[:, :, 0]
    changed = int(np.count_nonzero(best != now))
    if changed:
        for walker in walkers:
            walker.move(best, now, j)
        codes[:, :, j] = best
    return changed


class _Level:
    """The gradient of one level's error, kept up with the codes."""

    def __init__(self, width: int, middle: Real, target: Real, hessian: Real, weight: float) -> None:
        self._width, self._middle, self._target, self._weight = width, middle, target, np.float32(weight)
        self._hessian = hessian.astype(np.float32)

    def start(self, codes: Real) -> None:
        self._gradient = (self._values(codes, self._middle) - self._target).astype(np.float32) @ self._hessian

    def enter(self, begin: int, end: int) -> None:
        """Takes the columns of a block in hand; the others hear of their changes when it is left."""
        self._columns = slice(begin, end)
        self._within = self._hessian[:, begin:end, begin:end]
        self._block = self._gradient[:, :, begin:end].copy()
        self._steps = np.zeros(self._block.shape, np.float32)

    def cost(self, candidates: Real, now: Real, j: int) -> NDArray[np.float32]:
        middle, at = self._middle[j], j - self._columns.start
        change = (self._values(candidates, middle) - self._values(now, middle)[:, :, None]).astype(np.float32)
        curvature = self._within[:, at, at, None, None]
        return np.asarray(self._weight * change * (curvature * change + 2 * self._block[:, :, at, None]))

    def move(self, best: Real, now: Real, j: int) -> None:
        middle, at = self._middle[j], j - self._columns.start
        change = (self._values(best, middle) - self._values(now, middle)).astype(np.float32)
        self._steps[:, :, at] += change
        self._block += change[:, :, None] * self._within[:, None, at]

    def leave(self) -> None:
        self._gradient += self._steps @ self._hessian[:, self._columns]

    def _values(self, codes: Real, middle: Real | np.floating[Any]) -> Real:
        return np.asarray(np.floor(codes / self._width) * self._width + middle)
