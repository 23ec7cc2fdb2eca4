"""A scale for each group of a channel's weights, other than its largest weight needs, if all levels gain from it.

A smaller one makes all cells smaller and cuts the largest weights off. A larger one lets the largest weight fall into
the middle of a level's outermost cell: it is the scale of weights that have that level's bits already, and as far down
as up, and such weights are found again without an error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.task import RoundingTask
from nq_tflite.format.levels import cell_middles
from nq_tflite.format.nesting import Nesting

#: What scales may be multiplied by, beside `outermost`.
RATIOS = (1.03, 1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.79, 0.76, 0.72, 0.68, 0.64, 0.6)
#: How often full-bit's error counts beside part-bit's.
_FULL_BIT = 2.0


def outermost(nesting: Nesting) -> tuple[float, ...]:
    """Ratios that let the largest weight fall into the middle of the outermost cell, of each level below full-bit.

    There are three a level, since middles alternate (FORMAT.md section 4.2): of even indices, and of odd ones above and
    below 0.

    >>> [round(127 / ratio, 3) for ratio in outermost(Nesting.parse("8|4"))]
    [120.0, 119.0, 121.0]
    """
    step = 1 << (8 - nesting.full_bits)
    middles = (128 - (1 << (7 - bits)) for bits in nesting.precisions[:-1])
    return tuple((128 - step) / (middle + more) for middle in middles for more in (0, -step, step))


def fitted_group_ratios(task: RoundingTask) -> NDArray[np.float64]:
    """The best ratio for each scale, by each input's own part in the error of nearest codes: [channels, groups].

    Args:
        task: with scales [channels, groups]. Without statistics all inputs count alike.
    """
    last = len(task.nesting.precisions) - 1
    best, least = np.ones(task.scales.shape), np.full(task.scales.shape, np.inf)
    target = task.target.astype(np.float32)
    for ratio in (*outermost(task.nesting), *RATIOS):
        cost = _cost(task, target, 0, np.float32(ratio))
        if last:
            cost += _FULL_BIT * _cost(task, target, last, np.float32(ratio))
        better = cost < least
        best[better], least[better] = ratio, cost[better]
    best[least == 0] = 1.0  # a group of zeros
    return best


def _cost(task: RoundingTask, target: NDArray[np.float32], level: int, ratio: np.float32) -> NDArray[np.float32]:
    """Errors of a level by channel and group, in units of the scales as they are."""
    width = np.float32(1 << (8 - task.nesting.precisions[level]))
    middle = cell_middles(target.shape[1], task.nesting, level).astype(np.float32)
    cells = np.rint((target / ratio - middle) / width)
    np.clip(cells, np.floor(task.lowest / width), task.highest // width, out=cells)
    error = (cells * width + middle) * ratio - target
    quadratic = task.statistics[level].quadratic if task.statistics else None
    if quadratic is not None:
        error *= np.sqrt(np.diagonal(quadratic.hessian[0]))
    grouped = np.square(error).reshape(*task.scales.shape, -1)
    return np.asarray(grouped.sum(axis=2))
