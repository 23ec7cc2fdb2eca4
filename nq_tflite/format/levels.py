"""Splitting n-bit codes into levels, merging them back, and the value of a weight at each precision.

NestQuant section 3.3 splits an n-bit weight into an upper part and a residual. Here levels are plain slices of the
two's complement bits (FORMAT.md section 4), so that a file holds exactly n bits a weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.nesting import Nesting

Codes = NDArray[np.int8]
Fields = NDArray[np.uint8]


def split(codes: Codes, nesting: Nesting) -> tuple[Fields, ...]:
    """Splits left-aligned INT8 codes into one array of bit fields for each level.

    Args:
        codes: int8, any shape: n-bit weights shifted left by 8 - n.
        nesting: the bit-widths.

    Returns:
        One uint8 array for each level, of the codes' shape. Values of level k are below 2 ** nesting.level_bits[k].

    >>> [int(level[0]) for level in split(np.array([0x5A], np.int8), Nesting.parse("8|5"))]
    [11, 2]
    """
    bits = codes.view(np.uint8)
    return tuple(
        (bits >> np.uint8(8 - total)) & np.uint8((1 << added) - 1)
        for total, added in zip(nesting.precisions, nesting.level_bits, strict=True)
    )


def merge(levels: Sequence[Fields], nesting: Nesting) -> Codes:
    """The codes that `split` split into these levels; missing residuals count as zero bits.

    >>> merge([np.array([11], np.uint8), np.array([2], np.uint8)], Nesting.parse("8|5"))
    array([90], dtype=int8)
    """
    bits = np.zeros_like(levels[0])
    for fields, total in zip(levels, nesting.precisions, strict=False):
        bits |= fields << np.uint8(8 - total)
    return bits.view(np.int8)


def value_at(codes: Codes, nesting: Nesting, level: int) -> Codes:
    """The INT8 value that each weight has with levels 0 to `level` in use (FORMAT.md section 4.2).

    Args:
        codes: int8 [channels, depth].
        nesting: the bit-widths.
        level: last level in use; the highest one returns the codes themselves.

    >>> value_at(np.array([[0x5A, -0x5A]], np.int8), Nesting.parse("8|5"), 0)
    array([[ 92, -93]], dtype=int8)
    """
    missing = nesting.full_bits - nesting.precisions[level]
    if missing == 0:
        return codes
    kept = codes.view(np.uint8) & np.uint8(0xFF << (8 - nesting.precisions[level]) & 0xFF)
    return (kept | cell_middles(codes.shape[-1], nesting, level)).view(np.int8)


def cell_middles(depth: int, nesting: Nesting, level: int) -> NDArray[np.uint8]:
    """The low bits that stand for the missing levels: uint8 [depth], alternating along the filter."""
    missing = nesting.full_bits - nesting.precisions[level]
    if missing == 0:
        return np.zeros(depth, np.uint8)
    middle = (1 << (missing - 1)) - (np.arange(depth) & 1)
    return (middle << (8 - nesting.full_bits)).astype(np.uint8)


def lowest_codes(depth: int, nesting: Nesting) -> NDArray[np.int16]:
    """Smallest code allowed at each depth index: int16 [depth].

    Codes are symmetric, and no code may read as -128 at any level: integer kernels may overflow on it.
    """
    step = 1 << (8 - nesting.full_bits)
    lowest = np.full(depth, -128 + step, np.int16)
    if any(nesting.full_bits - total == 1 for total in nesting.precisions):
        lowest[1::2] += step
    return lowest


class SignalToNoise:
    """Sums of squares over arrays that come one by one.

    Attributes:
        signal: of the references.
        noise: of what the values differ from them by.
    """

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def add(self, reference: NDArray[Any], values: NDArray[Any]) -> None:
        """Counts more values."""
        self.noise += float(np.square(reference.astype(np.float64) - values).sum())
        self.signal += float(np.square(reference.astype(np.float64)).sum())

    @property
    def db(self) -> float:
        """10 log10 of the signal over the noise; infinite where there is no noise."""
        return float("inf") if self.noise == 0.0 else 10.0 * float(np.log10(max(self.signal, 1e-300) / self.noise))


def signal_to_noise_db(reference: NDArray[Any], values: NDArray[Any]) -> float:
    """10 log10 of the reference's power over the error's, in dB; infinite where they are equal."""
    both = SignalToNoise()
    both.add(reference, values)
    return both.db
