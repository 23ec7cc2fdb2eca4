"""Scales smaller than a channel's largest weight needs, if the coarsest level gains from them.

With four bits a channel has sixteen cells between its largest weight and the opposite of it, and few weights are in the
outer ones. A smaller scale makes all cells smaller and cuts the largest weights off. The other weights' codes make up
for part of that; the rest is an error at every level, so full-bit has a say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.quadratic import Quadratic, channels
from nq_tflite.conversion.rounding.task import RoundingTask
from nq_tflite.format.levels import cell_middles

#: What scales may be multiplied by.
RATIOS = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.76, 0.72, 0.68, 0.64, 0.6, 0.55, 0.5)
#: How often full-bit's error counts beside the coarsest level's, where that has four bits or more; with each bit less
#: the coarsest level's is four times as large, and full-bit's counts so much more.
_FULL_BIT, _BITS = 2.0, 4


def fitted_ratios(task: RoundingTask) -> NDArray[np.float64]:
    """The best of RATIOS for each scale, by each input's own part in the error of nearest codes: [1] or [channels].

    Args:
        task: with quadratics.
    """
    part_bits, full_bits = task.nesting.part_bits, task.nesting.full_bits
    coarsest, finest = (each.quadratic for each in (task.statistics[0], task.statistics[-1]))
    if coarsest is None or finest is None:
        return np.ones(len(task.scales))
    costs = _costs(task, 0, part_bits, coarsest)
    costs += _FULL_BIT * 4.0 ** max(_BITS - part_bits, 0) * _costs(task, -1, full_bits, finest)
    costs[1:, ~task.target.any(axis=1)] = np.inf  # a channel of zeros has a scale for its bias' sake
    if len(task.scales) == 1:
        costs = costs.sum(axis=1, keepdims=True)
    best: NDArray[np.float64] = np.array(RATIOS)[costs.argmin(axis=0)]
    return best


def _costs(task: RoundingTask, level: int, bits: int, quadratic: Quadratic) -> NDArray[np.float64]:
    """Errors of a level by ratio and channel, in units of the scales as they are: [ratios, channels]."""
    target, width = channels(task.aims[level]).astype(np.float64), 1 << (8 - bits)
    middle = cell_middles(target.shape[1], task.nesting, level % len(task.nesting.precisions)).astype(np.float64)
    low, high = np.floor(task.lowest / width), task.highest // width
    curvature = np.diagonal(quadratic.hessian, axis1=1, axis2=2)
    curvature = np.repeat(curvature, len(target) // len(curvature), axis=0)
    costs = np.empty((len(RATIOS), len(target)))
    for number, ratio in enumerate(RATIOS):
        cells = np.clip(np.rint((target / ratio - middle) / width), low, high)
        error = (cells * width + middle) * ratio - target
        costs[number] = np.einsum("ck,ck->c", curvature, np.square(error))
    return costs
