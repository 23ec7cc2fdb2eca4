"""Output-aware rounding: coordinate descent on the error of a layer's outputs, inside nested cells.

A layer's squared output error is a quadratic (v - t) H (v - t)' of its weights' values v (statistics.py). Levels choose
their cells from the coarsest down, each by its own statistics: a start in the order of GPTQ (Frantar et al., ICLR 2023),
which rounds one column of weights after another and makes up for its error in those that are left, then sweeps of exact
coordinate descent. With more than two levels a last descent moves full-bit codes so that all levels gain together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.levels import Codes, cell_middles
from nq_tflite.rounding.joint import joint_descent
from nq_tflite.rounding.statistics import Quadratic, Real
from nq_tflite.rounding.task import RoundingTask

Cells = NDArray[np.float64]

#: A coarsest-level weight may take a neighbour cell only within this distance of the border, in cells.
BORDER = 0.25
#: What leaving the nearest cell costs, beside the output error that it saves.
_PENALTY, _PENALTY_AT_BORDER = 1.0, 0.1
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
    low: Cells
    high: Cells

    def values(self, cells: Cells) -> Real:
        """v"""
        return cells * self.width + self.middle


def descent(task: RoundingTask) -> Codes:
    """Chooses cells level by level, coarsest first, each by its own statistics, then the code inside the last cell."""
    quadratics = [each.quadratic for each in task.statistics if each.quadratic is not None]
    groups = len(quadratics[0].hessian)
    grouped = lambda a: np.ascontiguousarray(a).reshape(groups, -1, a.shape[-1])  # noqa: E731
    nearest = grouped(task.nearest().astype(np.float64))
    exact = grouped(task.target)
    low = grouped(np.broadcast_to(task.lowest.astype(np.float64), task.target.shape))
    high = np.full(nearest.shape, float(task.highest))
    levels = []
    for level, (bits, quadratic) in enumerate(zip(task.nesting.precisions, quadratics, strict=True)):
        width = 1 << (8 - bits)
        middle = cell_middles(task.target.shape[1], task.nesting, level).astype(np.float64)
        lattice = Lattice(width, middle, np.floor(low / width), np.floor(high / width))
        target = grouped(quadratic.target(task.target))
        if level == 0:
            cells = _coarsest(quadratic, target, lattice, nearest, exact + task.step / 2)
        else:
            cells = _descend(quadratic, target, lattice, _gptq(quadratic, target, lattice))
        low, high = np.maximum(low, cells * width), np.minimum(high, cells * width + width - task.step)
        levels.append((width, middle, target, quadratic.hessian))
    if len(levels) > 2:
        low = joint_descent(low, nearest, (task.lowest.astype(np.float64), float(task.highest)), task.step, levels)
    return low.reshape(task.target.shape).astype(np.int8)


def _coarsest(quadratic: Quadratic, target: Real, lattice: Lattice, nearest: Cells, exact: Real) -> Cells:
    """Cells near the plain code's: its own, or the other one of a border that is near."""
    home = np.floor(nearest / lattice.width)
    place = np.clip(exact / lattice.width - home, 0, 1)
    other = np.where(place < 0.5, home - 1, home + 1)
    from_border = np.minimum(place, 1 - place)
    other = np.where((from_border <= BORDER) & (other >= lattice.low) & (other <= lattice.high), other, home)
    low, high = np.minimum(home, other), np.maximum(home, other)
    start = _gptq(quadratic, target, Lattice(lattice.width, lattice.middle, low, high))
    mean_curvature = np.trace(quadratic.hessian, axis1=1, axis2=2)[:, None, None] / target.shape[2]
    penalty = (_PENALTY_AT_BORDER + from_border) * _PENALTY * lattice.width**2 * mean_curvature

    def choose(columns: slice, j: int, cells: Real, gradient: Real, curvature: Real) -> Real:
        at = columns.start + j
        steps = [(each[:, :, at] - cells) * lattice.width for each in (home, other)]
        costs = [d * (curvature * d + 2 * gradient) for d in steps]
        return np.where(costs[1] + penalty[:, :, at] < costs[0], other[:, :, at], home[:, :, at])

    return _sweep(quadratic, target, lattice, start, choose)


def _descend(quadratic: Quadratic, target: Real, lattice: Lattice, start: Cells) -> Cells:
    def choose(columns: slice, j: int, cells: Real, gradient: Real, curvature: Real) -> Real:
        at = columns.start + j
        best = np.rint(cells - gradient / (curvature * lattice.width))
        return np.clip(best, lattice.low[:, :, at], lattice.high[:, :, at])

    return _sweep(quadratic, target, lattice, start, choose)


#: (columns of the block, column in it, cells, gradient, curvature) -> the cells to take.
Choice = Callable[[slice, int, Real, Real, Real], Real]


def _sweep(quadratic: Quadratic, target: Real, lattice: Lattice, start: Cells, choose: Choice) -> Cells:
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


def _gptq(quadratic: Quadratic, target: Real, lattice: Lattice) -> Cells:
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
