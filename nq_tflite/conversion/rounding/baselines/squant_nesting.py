"""NestQuant on symmetric weights (after Xie et al., IEEE TMC 2025, section 3): upper bits by SQuant, in steps of 2^l.

With q the plain n-bit code at scale s and l = n - h,

    q_h = SQuant(q / 2^l), clipped to [-2^(h-1), 2^(h-1) - 1],     w_h = 2^l s q_h,     residual = q - 2^l q_h.

Full-bit is the plain code, as INT8 kernels take it; the authors' own code (`published_code`) has asymmetric ones.
Adaptive rounding moves q_h up to a step away from q / 2^l, so that the residual takes l + 1 bits and a file n + 1 bits
a weight. Biases stay as they are. The paper has two levels; with more, each is rounded from the codes of the next finer
one, and each residual takes its extra bit.
"""

from __future__ import annotations

import numpy as np

from nq_tflite.conversion.rounding.baselines.codes import LevelCodes
from nq_tflite.conversion.rounding.baselines.minmax import symmetric
from nq_tflite.conversion.rounding.quadratic import Real
from nq_tflite.conversion.rounding.squant import moves
from nq_tflite.format.levels import Codes
from nq_tflite.format.nesting import Nesting

#: Any weight may move to its second nearest code.
_BORDER = 0.5


def squant_nesting(weights: Real, taps: int, nesting: Nesting) -> tuple[LevelCodes, ...]:
    """All levels, part-bit first, each in units of the full-bit code."""
    full = symmetric(weights, nesting.full_bits)
    levels, upper = [full], full.codes
    finer = nesting.full_bits
    for bits in nesting.precisions[-2::-1]:
        upper = upper_bits(upper, finer - bits, bits, taps)
        levels.append(LevelCodes(upper << np.int8(nesting.full_bits - bits), full.scales))
        finer = bits
    return tuple(levels[::-1])


def squant_nesting_bits(nesting: Nesting) -> int:
    """n, and one more for each residual.

    >>> squant_nesting_bits(Nesting.parse("8|5"))
    9
    """
    return nesting.full_bits + len(nesting.precisions) - 1


def upper_bits(codes: Codes, missing: int, bits: int, taps: int) -> Codes:
    """q_h of codes q, int8 [channels, depth], that lose `missing` bits and keep `bits`.

    >>> upper_bits(np.array([[90, -90]], np.int8), 3, 5, taps=1)
    array([[ 11, -11]], dtype=int8)
    """
    target = codes / float(1 << missing)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    nearest = np.clip(np.rint(target), low, high).astype(np.int16)
    moved = moves(nearest - target, nearest > low, nearest < high, taps, _BORDER)
    return np.asarray(nearest + moved, np.int8)
