"""Rounding to nearest at full-bit; the part-bit model is whatever the upper bits then say."""

from __future__ import annotations

import numpy as np

from nq_tflite.conversion.rounding.task import RoundingTask
from nq_tflite.format.levels import Codes


def nearest(task: RoundingTask) -> Codes:
    """q = round(w / s), ties to even.

    A code's cell is the one whose middle is nearest to it, so this is rounding to nearest at every level. From an INT8
    source at n = 8 the codes stay as they are, except where that would read as -128 (FORMAT.md section 4.2).
    """
    return task.nearest().astype(np.int8)


def nearest_inside(task: RoundingTask, codes: Codes) -> Codes:
    """The nearest codes in the cells that other codes take before the last level."""
    width = 1 << (8 - task.nesting.precisions[-2])
    cells = codes.astype(np.int16) // width * width
    low, high = np.maximum(cells, task.lowest), np.minimum(cells + width - task.step, task.highest)
    return np.clip(task.nearest(), low, high).astype(np.int8)
