"""Data-free adaptive rounding of the upper bits: NestQuant section 3.2, after SQuant (Guo et al., ICLR 2022).

With E = (value - target) / cell, the error of a weight in units of its cell, SQuant approximates the Hessian by three
terms and minimises each in turn: the element's own error, the squared sum over a kernel, the squared sum over a channel

    sum_i E_i^2,     (sum over kernel of E)^2,     (sum over channel of E)^2.

Where a sum is k or more in magnitude after rounding to nearest, the k weights whose errors contribute most to it move
to the next cell. Here cells are those of a level, and the full-bit code is then the best one inside the chosen cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.task import RoundingTask
from nq_tflite.format.levels import Codes, cell_middles

#: A weight may leave its nearest cell only within this distance of the border, in cells: the full-bit code, which must
#: stay inside the cell, then errs by no more.
BORDER = 0.25


def squant(task: RoundingTask, border: float = BORDER) -> Codes:
    """Chooses cells level by level, coarsest first, then the nearest code inside the innermost cell.

    Args:
        border: how far from a border, in cells, a weight may leave its cell.
    """
    nearest = task.nearest()
    lowest = np.broadcast_to(task.lowest, nearest.shape)
    highest = np.full(nearest.shape, task.highest, np.int16)
    for level, bits in enumerate(task.nesting.precisions[:-1]):
        shift = 8 - bits
        cells = np.clip(nearest, lowest, highest) >> shift
        middles = cell_middles(nearest.shape[1], task.nesting, level).astype(np.float64)
        error = cells + (middles - task.target) / (1 << shift)
        cells = cells + moves(error, cells > lowest >> shift, cells < highest >> shift, task.taps, border)
        lowest = np.maximum(lowest, cells << shift)
        highest = np.minimum(highest, (cells << shift) + (1 << shift) - task.step)
    return np.clip(nearest, lowest, highest).astype(np.int8)


def moves(
    error: NDArray[np.float64], may_fall: NDArray[np.bool_], may_rise: NDArray[np.bool_], taps: int, border: float
) -> NDArray[np.int16]:
    """Cells to add to each weight, -1, 0 or 1: first to balance every kernel, then every channel.

    Args:
        error: [channels, depth], value above target in cells.
        may_fall, may_rise: whether there is a cell below, or above.
        taps: as in RoundingTask.
        border: how far from a border, in cells, a weight may leave its cell.
    """
    channels, depth = error.shape
    moved = np.zeros(error.shape, np.int16)
    if 1 < taps < depth:
        rows = _balance(_kernel_rows(error, taps), _kernel_rows(may_fall, taps), _kernel_rows(may_rise, taps), border)
        moved = rows.reshape(channels, -1, taps).transpose(0, 2, 1).reshape(channels, depth)
    still = moved == 0
    return moved + _balance(error + moved, may_fall & still, may_rise & still, border)


def _kernel_rows(values: NDArray[Any], taps: int) -> NDArray[Any]:
    """[channels, taps * inputs] -> [channels * inputs, taps], one row a kernel."""
    return values.reshape(len(values), taps, -1).transpose(0, 2, 1).reshape(-1, taps)


def _balance(
    error: NDArray[np.float64], may_fall: NDArray[np.bool_], may_rise: NDArray[np.bool_], border: float
) -> NDArray[np.int16]:
    """In each row, moves the round(|sum|) weights nearest to their border against the sign of the row's sum."""
    total = error.sum(axis=1, keepdims=True)
    sign = np.sign(total)
    movable = np.where(sign > 0, may_fall, may_rise) & (error * sign >= 0.5 - border)
    gain = np.where(movable, np.abs(error), -1.0)
    rank = np.argsort(np.argsort(-gain, axis=1, kind="stable"), axis=1, kind="stable")
    chosen = movable & (rank < np.rint(np.abs(total)))
    moved: NDArray[np.int16] = (-sign * chosen).astype(np.int16)
    return moved
