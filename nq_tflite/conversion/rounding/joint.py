"""Coordinate descent on all levels of a nesting together.

Levels that choose one after another leave the finest one little freedom. Here each full-bit code w moves to where

    J(w) = sum over precisions h of 2^-(n - h) (D_h(w) - t_h) H_h (D_h(w) - t_h)'

is least, D_h(w) being the value that the upper h bits of w stand for. Matrices have a column a channel, as in
quadratic.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.products import Rows, product
from nq_tflite.conversion.rounding.quadratic import BLOCK, blocks

#: How far codes may move from where they start, and from the plain code, in steps.
_REACH = 8
_SWEEPS = 3
_STILL = 0.005


@dataclass(frozen=True)
class Level:
    """What one level makes of codes, and what it should make of them.

    Attributes:
        width: of a cell, in codes.
        middle: of a cell: float32 [depth]
        target: t, [groups, depth, channels of a group]
        hessian: float32 [groups, depth, depth]
    """

    width: int
    middle: Rows
    target: Rows
    hessian: Rows

    def values(self, codes: Rows, middle: Rows) -> Rows:
        """D of codes."""
        width = np.float32(self.width)
        return np.asarray(np.floor(codes / width) * width + middle)


def joint_descent(
    codes: Rows, plain: Rows, bounds: tuple[NDArray[np.int16], int], step: int, levels: Sequence[Level]
) -> Rows:
    """Moves codes [groups, depth, channels of a group] so that all levels gain together.

    Args:
        codes: where to start.
        plain: the codes of rounding to nearest.
        bounds: least [depth] and greatest [] allowed code.
        step: distance of neighbouring codes.
        levels: part-bit first.
    """
    reach = np.float32(_REACH * step)
    low = np.maximum(np.minimum(codes, plain - reach), bounds[0].astype(np.float32)[:, None])
    high = np.minimum(np.maximum(codes, plain + reach), np.float32(bounds[1]))
    codes = codes.copy()
    walkers = [_Walker(level, codes, levels[-1].width / level.width) for level in levels]
    depth = codes.shape[1]
    for _ in range(_SWEEPS * (2 if depth < BLOCK else 1)):
        changed = 0
        for block in blocks(depth):
            for walker in walkers:
                walker.enter(block)
            for at in range(block.start, block.stop):
                changed += _move(codes[:, at], low[:, at], high[:, at], step, walkers, at)
        if changed <= _STILL * codes.size:
            break
    return codes


def _move(now: Rows, low: Rows, high: Rows, step: int, walkers: Sequence[_Walker], at: int) -> int:
    """Moves the codes `now` [groups, channels of a group] of one depth; how many have changed."""
    count = int((high - low).max()) // step + 1
    steps = np.arange(count, dtype=np.float32)[:, None, None] * np.float32(step)
    candidates = np.minimum(low + steps, high)
    cost = np.zeros(candidates.shape, np.float32)
    for walker in walkers:
        cost += walker.cost(candidates, now, at)
    best = np.take_along_axis(candidates, cost.argmin(axis=0)[None], axis=0)[0]
    changed = int(np.count_nonzero(best != now))
    if changed:
        for walker in walkers:
            walker.move(best, now, at)
        now[...] = best
    return changed


class _Walker:
    """The gradient of one level's error, kept up with the codes."""

    def __init__(self, level: Level, codes: Rows, weight: float) -> None:
        self._level, self._weight = level, np.float32(weight)
        self._away = level.values(codes, level.middle[:, None]) - level.target

    def enter(self, block: slice) -> None:
        """Takes the depths of a block in hand."""
        self._start, hessian = block.start, self._level.hessian
        self._within = hessian[:, block, block]
        self._gradient = product(hessian[:, block], self._away)

    def cost(self, candidates: Rows, now: Rows, at: int) -> Rows:
        """Of codes [candidates, groups, channels of a group] in place of those that are there now."""
        j, middle = at - self._start, self._level.middle[at]
        change = self._level.values(candidates, middle) - self._level.values(now, middle)
        curvature = self._within[:, j, j, None]
        return np.asarray(self._weight * change * (curvature * change + 2 * self._gradient[:, j]))

    def move(self, best: Rows, now: Rows, at: int) -> None:
        """Takes the codes at one depth."""
        j, middle = at - self._start, self._level.middle[at]
        change = self._level.values(best, middle) - self._level.values(now, middle)
        self._away[:, at] += change
        self._gradient[:, j + 1 :] += self._within[:, j + 1 :, j, None] * change[:, None]
