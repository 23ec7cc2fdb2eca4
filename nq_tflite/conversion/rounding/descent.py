"""Output-aware rounding: coordinate descent on the error of a layer's outputs, inside nested cells.

A layer's squared output error is a quadratic (v - t) H (v - t)' of its weights' values v (statistics.py). Levels
choose their cells from the coarsest down, each by its own statistics: a start by GPTQ (Frantar et al., ICLR 2023),
which rounds one depth of all weights after another and makes up for its error in those that are left, then sweeps of
exact coordinate descent. With more than two levels a last descent moves full-bit codes so that all levels gain
together. Matrices have a column a channel, as in quadratic.py.
"""

from __future__ import annotations

import numpy as np

from nq_tflite.conversion.rounding.joint import Level, joint_descent
from nq_tflite.conversion.rounding.lattice import Lattice, gptq, sweep
from nq_tflite.conversion.rounding.products import Rows
from nq_tflite.conversion.rounding.quadratic import Quadratic, channels, columns
from nq_tflite.conversion.rounding.task import RoundingTask
from nq_tflite.format.levels import Codes, cell_middles

#: A coarsest-level weight may take a neighbour cell only within this distance of the border, in cells.
BORDER = 0.25
#: What leaving the nearest cell costs, beside the output error that it saves.
_PENALTY, _PENALTY_AT_BORDER = 1.0, 0.1


def descent(task: RoundingTask, penalty: float = _PENALTY, *, cells_alone: bool = False) -> Codes:
    """Chooses cells level by level, coarsest first, each by its own statistics, then the code inside the last cell.

    Args:
        penalty: what leaving the nearest cell at the coarsest level costs.
        cells_alone: whether only the cells before full-bit count, and any code inside them will do.
    """
    quadratics = [each.quadratic for each in task.statistics if each.quadratic is not None]
    groups, precisions = len(quadratics[0].hessian), task.nesting.precisions
    if cells_alone and len(precisions) == 2:
        precisions = precisions[:1]
    nearest = columns(task.nearest(), groups)
    low = columns(np.broadcast_to(task.lowest, task.target.shape), groups)
    high = np.full_like(nearest, task.highest)
    levels = []
    for level, (bits, quadratic, target) in enumerate(zip(precisions, quadratics, task.aims, strict=False)):
        width = 1 << (8 - bits)
        middle = cell_middles(task.target.shape[1], task.nesting, level).astype(np.float32)
        lattice = Lattice(width, middle, np.floor(low / width), np.floor(high / width))
        if level == 0:
            wanted = columns(task.target + task.step / 2, groups)
            cells = _coarsest(quadratic, target, lattice, nearest, wanted, penalty)
        else:
            cells = _descend(quadratic, target, lattice, gptq(quadratic, target, lattice))
        low, high = np.maximum(low, cells * width), np.minimum(high, cells * width + width - task.step)
        levels.append(Level(width, middle, target, quadratic.hessian))
    if len(levels) > 2:
        low = joint_descent(low, nearest, (task.lowest, task.highest), task.step, levels)
    return channels(low).astype(np.int8)


def _coarsest(quadratic: Quadratic, target: Rows, lattice: Lattice, nearest: Rows, wanted: Rows, price: float) -> Rows:
    """Cells near the plain code's: its own, or the other one of a border that is near."""
    home = np.floor(nearest / lattice.width)
    place = np.clip(wanted / lattice.width - home, 0, 1)
    other = np.where(place < 0.5, home - 1, home + 1)
    from_border = np.minimum(place, 1 - place)
    other = np.where((from_border <= BORDER) & (other >= lattice.low) & (other <= lattice.high), other, home)
    low, high = np.minimum(home, other), np.maximum(home, other)
    start = gptq(quadratic, target, Lattice(lattice.width, lattice.middle, low, high))
    mean_curvature = np.trace(quadratic.hessian, axis1=1, axis2=2)[:, None, None] / target.shape[1]
    penalty = (_PENALTY_AT_BORDER + from_border) * np.float32(price * lattice.width**2) * mean_curvature

    # The other cell costs D (curvature (home + other - 2 v) + 2 gradient) more than home, v being the value that there
    # is now and D the way from home to the other.
    way, both = (other - home) * np.float32(lattice.width), (home + other) * np.float32(lattice.width)
    double = np.float32(2 * lattice.width)

    def choose(at: int, cells: Rows, gradient: Rows, curvature: Rows) -> Rows:
        cost = both[:, at] - double * cells
        cost *= curvature
        cost += 2 * gradient
        cost *= way[:, at]
        cost += penalty[:, at]
        return np.where(cost < 0, other[:, at], home[:, at])

    return sweep(quadratic, target, lattice, start, choose)


def _descend(quadratic: Quadratic, target: Rows, lattice: Lattice, start: Rows) -> Rows:
    def choose(at: int, cells: Rows, gradient: Rows, curvature: Rows) -> Rows:
        best = np.rint(cells - gradient / (curvature * np.float32(lattice.width)))
        return np.minimum(np.maximum(best, lattice.low[:, at]), lattice.high[:, at])

    return sweep(quadratic, target, lattice, start, choose)
