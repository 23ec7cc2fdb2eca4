"""Output-aware rounding: coordinate descent on the error of a layer's outputs, inside nested cells.

A layer's squared output error is a quadratic (v - t) H (v - t)' of its weights' values v (statistics.py). Levels
choose their cells from the coarsest down, each by its own statistics: a start by GPTQ (Frantar et al., ICLR 2023),
which rounds one column of weights after another and makes up for its error in those that are left, then sweeps of exact
coordinate descent. With more than two levels a last descent moves full-bit codes so that all levels gain together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.joint import joint_descent
from nq_tflite.conversion.rounding.lattice import Lattice, gptq, sweep
from nq_tflite.conversion.rounding.statistics import Quadratic, Real
from nq_tflite.conversion.rounding.task import RoundingTask
from nq_tflite.format.levels import Codes, cell_middles

#: A coarsest-level weight may take a neighbour cell only within this distance of the border, in cells.
BORDER = 0.25
#: What leaving the nearest cell costs, beside the output error that it saves.
_PENALTY, _PENALTY_AT_BORDER = 1.0, 0.1


def descent(task: RoundingTask, penalty: float = _PENALTY) -> Codes:
    """Chooses cells level by level, coarsest first, each by its own statistics, then the code inside the last cell.

    Args:
        penalty: what leaving the nearest cell at the coarsest level costs.
    """
    quadratics = [each.quadratic for each in task.statistics if each.quadratic is not None]
    groups = len(quadratics[0].hessian)

    def grouped(values: NDArray[Any]) -> Real:
        return np.asarray(values, np.float64).reshape(groups, -1, values.shape[-1])

    nearest = grouped(task.nearest())
    wanted = grouped(task.target)
    low = grouped(np.broadcast_to(task.lowest, task.target.shape))
    high = np.full(nearest.shape, float(task.highest))
    levels = []
    for level, (bits, quadratic) in enumerate(zip(task.nesting.precisions, quadratics, strict=True)):
        width = 1 << (8 - bits)
        middle = cell_middles(task.target.shape[1], task.nesting, level).astype(np.float64)
        lattice = Lattice(width, middle, np.floor(low / width), np.floor(high / width))
        target = grouped(quadratic.target(task.target))
        if level == 0:
            cells = _coarsest(quadratic, target, lattice, nearest, wanted + task.step / 2, penalty)
        else:
            cells = _descend(quadratic, target, lattice, gptq(quadratic, target, lattice))
        low, high = np.maximum(low, cells * width), np.minimum(high, cells * width + width - task.step)
        levels.append((width, middle, target, quadratic.hessian))
    if len(levels) > 2:
        low = joint_descent(low, nearest, (task.lowest, task.highest), task.step, levels)
    return low.reshape(task.target.shape).astype(np.int8)


def _coarsest(quadratic: Quadratic, target: Real, lattice: Lattice, nearest: Real, wanted: Real, price: float) -> Real:
    """Real near the plain code's: its own, or the other one of a border that is near."""
    home = np.floor(nearest / lattice.width)
    place = np.clip(wanted / lattice.width - home, 0, 1)
    other = np.where(place < 0.5, home - 1, home + 1)
    from_border = np.minimum(place, 1 - place)
    other = np.where((from_border <= BORDER) & (other >= lattice.low) & (other <= lattice.high), other, home)
    low, high = np.minimum(home, other), np.maximum(home, other)
    start = gptq(quadratic, target, Lattice(lattice.width, lattice.middle, low, high))
    mean_curvature = np.trace(quadratic.hessian, axis1=1, axis2=2)[:, None, None] / target.shape[2]
    penalty = (_PENALTY_AT_BORDER + from_border) * price * lattice.width**2 * mean_curvature

    def choose(columns: slice, j: int, cells: Real, gradient: Real, curvature: Real) -> Real:
        at = columns.start + j
        steps = [(each[:, :, at] - cells) * lattice.width for each in (home, other)]
        costs = [d * (curvature * d + 2 * gradient) for d in steps]
        return np.asarray(np.where(costs[1] + penalty[:, :, at] < costs[0], other[:, :, at], home[:, :, at]))

    return sweep(quadratic, target, lattice, start, choose)


def _descend(quadratic: Quadratic, target: Real, lattice: Lattice, start: Real) -> Real:
    def choose(columns: slice, j: int, cells: Real, gradient: Real, curvature: Real) -> Real:
        at = columns.start + j
        best = np.rint(cells - gradient / (curvature * lattice.width))
        return np.asarray(np.clip(best, lattice.low[:, :, at], lattice.high[:, :, at]))

    return sweep(quadratic, target, lattice, start, choose)
