"""NestQuant as its authors' code does it (github.com/jianhayes/NESTQUANT, nestquant/quant_modules.py, at 04eb703).

Weights are asymmetric per channel, and adaptively rounded twice: as n-bit codes, and once more for the upper bits. With
r = (2^n - 1) / (max w - min w) and z = round(r min w) + 2^(n-1) of a channel,

    q = A(r w - z),     q_h = A(q / 2^l),     residual = q - 2^l q_h,     w_h = (2^l q_h + z) / r.

A is SQuant's rounding: kernel after kernel, then channel after channel. The residual takes l + 1 bits, of which the
paper calls the last the compensation bit. The code has two levels; with more, each is rounded from the next finer one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.baselines.codes import LevelCodes
from nq_tflite.conversion.rounding.quadratic import Real
from nq_tflite.format.nesting import Nesting

#: The least range of a channel.
_LEAST_SPAN = 1e-8
_Rows = NDArray[np.float64]


def published_code(weights: Real, taps: int, nesting: Nesting) -> tuple[LevelCodes, ...]:
    """All levels, part-bit first, each in units of the full-bit code."""
    num_bits = nesting.full_bits
    lowest, span = weights.min(axis=1), np.maximum(weights.max(axis=1) - weights.min(axis=1), _LEAST_SPAN)
    steps = ((1 << num_bits) - 1) / span
    points = np.rint(steps * lowest) + (1 << (num_bits - 1))
    codes = adaptively_rounded(steps[:, None] * weights - points[:, None], num_bits, taps)
    upper, scales = [codes], (1 / steps).astype(np.float32)
    finer = num_bits
    for bits in nesting.precisions[-2::-1]:
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        target = np.clip(upper[-1] / float(1 << (finer - bits)), low, high)
        upper.append(adaptively_rounded(target, bits, taps))
        finer = bits
    shifts = [num_bits - bits for bits in nesting.precisions]
    return tuple(
        LevelCodes((part << shift).astype(np.int8), scales, -points)
        for part, shift in zip(upper[::-1], shifts, strict=True)
    )


def adaptively_rounded(target: _Rows, num_bits: int, taps: int) -> NDArray[np.int16]:
    """Codes for targets [channels, depth] in their units, each nearest or second nearest.

    >>> adaptively_rounded(np.array([[0.4, 0.3, 0.4, 0.2]]), 4, 1)
    array([[1, 0, 0, 0]], dtype=int16)
    """
    channels, depth = target.shape
    low, high = -(1 << (num_bits - 1)), (1 << (num_bits - 1)) - 1
    by_kernel = target.reshape(channels, taps, -1).transpose(0, 2, 1).reshape(channels, depth)
    nearest = np.rint(by_kernel)
    now = nearest - by_kernel
    may = np.where((now < 0) & (by_kernel < high), 1, np.where((now > 0) & (by_kernel > low), -1, 0))
    moved = np.zeros_like(may)
    if taps > 1:
        moved, may, now = (
            each.reshape(channels, depth) for each in _balance_kernels(now.reshape(-1, taps), may.reshape(-1, taps))
        )
    moved = moved + _flips(now, may)[0]
    codes = np.clip(nearest + moved, low, high).astype(np.int16)
    return np.asarray(codes.reshape(channels, -1, taps).transpose(0, 2, 1)).reshape(channels, depth)


def _balance_kernels(error: _Rows, way: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], _Rows]:
    """What each weight of a kernel moves by, what it may still move by for its channel's sake, and its error then.

    One weight of each kernel may: the last one that moved goes back, if the kernel's sum went past 0, or else the next
    in the order goes the same way.
    """
    moved, rank = _flips(error, way)
    total = np.abs(error.sum(axis=1, keepdims=True))
    count = np.rint(total)
    went_past = count >= total
    one = rank == np.where(went_past, count - 1, count)
    spare = np.where(one, np.where(went_past, -moved, np.where(moved == 0, way, 0)), 0)
    toward = -np.sign(error.sum(axis=1, keepdims=True))
    spare = np.where(~went_past & (spare != toward), 0, spare)
    return moved, spare, error + moved


def _flips(error: _Rows, way: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Moves round(|sum of errors|) weights of each row against the sum, those of greatest error first.

    Args:
        way: 1 for a weight that may rise, -1 for one that may fall, 0 for one that stays.

    Returns:
        What each weight moves by, and its rank among those that may.
    """
    total = error.sum(axis=1, keepdims=True)
    movable = (way != 0) & (way == -np.sign(total))
    priority = np.where(movable, np.abs(error), -1.0)
    rank = np.argsort(np.argsort(-priority, axis=1, kind="stable"), axis=1, kind="stable")
    return np.where(movable & (rank < np.rint(np.abs(total))), way, 0), rank
