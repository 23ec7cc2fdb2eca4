"""The nearest points of a lattice in the measure of a quadratic: where to start, and how to get better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nq_tflite.conversion.rounding.statistics import Quadratic, Real

_SWEEPS = 3
#: A sweep that changes no larger a share of the weights is the last.
_STILL = 0.002
#: Columns that are finished before the others hear of their changes.
_BLOCK = 64


@dataclass(frozen=True)
class Lattice:
    """Values that weights may take at a level: v = cell * width + middle, low <= cell <= high.

    Attributes:
        width: of a cell, in codes.
        middle: [depth]
        low, high: [groups, channels of a group, depth]
    """

    width: int
    middle: Real
    low: Real
    high: Real

    def values(self, cells: Real) -> Real:
        """v"""
        return np.asarray(cells * self.width + self.middle)


#: (columns of the block, column in it, cells, gradient, curvature) -> the cells to take.
Choice = Callable[[slice, int, Real, Real, Real], Real]


def sweep(quadratic: Quadratic, target: Real, lattice: Lattice, start: Real, choose: Choice) -> Real:
    """Coordinate descent: column by column, each weight to what is best with all others as they are."""
    cells = start.copy()
    hessian = quadratic.hessian.astype(np.float32)
    gradient = (lattice.values(cells) - target).astype(np.float32) @ hessian
    depth = cells.shape[2]
    for _ in range(_SWEEPS * (3 if depth < _BLOCK else 1)):
        changed = 0
        for begin in range(0, depth, _BLOCK):
            columns = slice(begin, min(begin + _BLOCK, depth))
            within, block = hessian[:, columns, columns], gradient[:, :, columns].copy()
            steps = np.zeros(block.shape, np.float32)
            for j in range(columns.stop - columns.start):
                now = cells[:, :, begin + j]
                chosen = choose(columns, j, now, block[:, :, j], within[:, None, j, j])
                step = ((chosen - now) * lattice.width).astype(np.float32)
                count = np.count_nonzero(step)
                if count:
                    changed += count
                    steps[:, :, j] = step
                    cells[:, :, begin + j] = chosen
                    block += step[:, :, None] * within[:, None, j]
            gradient += steps @ hessian[:, columns]
        if changed <= _STILL * cells.size:
            break
    return cells


def gptq(quadratic: Quadratic, target: Real, lattice: Lattice) -> Real:
    """Rounds column after column, those of the greatest curvature first, and spreads each error over the rest."""
    order = np.argsort(-np.diagonal(quadratic.hessian, axis1=1, axis2=2).mean(axis=0), kind="stable")
    inverse = quadratic.inverse[:, order][:, :, order]
    upper = np.linalg.cholesky(inverse).transpose(0, 2, 1)
    wanted, middle = target[:, :, order].copy(), lattice.middle[order]
    low, high = lattice.low[:, :, order], lattice.high[:, :, order]
    cells = np.empty_like(wanted)
    depth = wanted.shape[2]
    for begin in range(0, depth, _BLOCK):
        end = min(begin + _BLOCK, depth)
        errors = np.zeros((*wanted.shape[:2], end - begin))
        for j in range(begin, end):
            cells[:, :, j] = np.clip(
                np.rint((wanted[:, :, j] - middle[j]) / lattice.width), low[:, :, j], high[:, :, j]
            )
            error = (wanted[:, :, j] - cells[:, :, j] * lattice.width - middle[j]) / upper[:, None, j, j]
            wanted[:, :, j + 1 : end] -= error[:, :, None] * upper[:, None, j, j + 1 : end]
            errors[:, :, j - begin] = error
        wanted[:, :, end:] -= errors @ upper[:, begin:end, end:]
    placed = np.empty_like(cells)
    placed[:, :, order] = cells
    return placed
