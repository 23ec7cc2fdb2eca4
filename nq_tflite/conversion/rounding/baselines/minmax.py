"""Symmetric min-max, a model of its own for each bit-width: ai-edge-quantizer's default for weights.

    s_b = max |w| / (2^(b-1) - 1) over the channel,     q_b = round(w / s_b), ties to even

(its algorithm "min_max_uniform_quantize", channel-wise and symmetric). Nothing is shared between bit-widths, so that a
device that has both models holds n + h bits a weight, and a change of precision loads the other model.
"""

from __future__ import annotations

import numpy as np

from nq_tflite.conversion.rounding.baselines.codes import LevelCodes
from nq_tflite.conversion.rounding.quadratic import Real
from nq_tflite.format.nesting import Nesting


def minmax(weights: Real, taps: int, nesting: Nesting) -> tuple[LevelCodes, ...]:
    """Each level by itself, part-bit first."""
    return tuple(symmetric(weights, bits) for bits in nesting.precisions)


def minmax_bits(nesting: Nesting) -> int:
    """Bits a weight of all models together.

    >>> minmax_bits(Nesting.parse("8|5"))
    13
    """
    return sum(nesting.precisions)


def symmetric(weights: Real, num_bits: int) -> LevelCodes:
    """A weight [channels, depth] at one bit-width.

    >>> symmetric(np.array([[3.5, -7.0]]), 4).codes
    array([[ 4, -7]], dtype=int8)
    """
    largest = (1 << (num_bits - 1)) - 1
    scales = (np.abs(weights).max(axis=1) / largest).astype(np.float32)
    steps = np.where(scales > 0, scales, 1).astype(np.float64)[:, None]
    return LevelCodes(np.clip(np.rint(weights / steps), -largest, largest).astype(np.int8), scales)
