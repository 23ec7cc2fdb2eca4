"""A bias for every level of a weight: one in full, and int8 deltas with a step for each level that needs them.

Each coarse level shifts the means of its layer's outputs by its own amount. The last level's bias is stored like any
bias; each level before it costs one byte per channel (FORMAT.md section 4.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import WeightsError

_INT32 = np.iinfo(np.int32)
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_LARGEST_DELTA = 127
#: Magnitudes to try as the largest that a delta holds: these quantiles of what is wanted, and these shares of them.
_QUANTILES = np.linspace(0, 1, 33)
_SHARES = np.array([1.0, 0.85, 0.7, 0.6])


@dataclass(frozen=True)
class LevelBiases:
    """What a weight's reader adds, level by level.

    Attributes:
        base: int32 (for INT8 weights) or float32 (for FLOAT32 ones) [channels], the last level's bias.
        deltas: int8 [levels, channels], part-bit first; zeros where the step is 0.
        steps: float32 [levels], finite, not negative.
    """

    base: NDArray[Any]
    deltas: NDArray[np.int8]
    steps: NDArray[np.float32]

    def at(self, level: int, scales: NDArray[np.float32]) -> NDArray[Any]:
        """The bias with levels 0 to `level` in use: int32 or float32 [channels], as the base.

        Args:
            level: last level in use.
            scales: float32 [1] or [channels], the weight's; they count for float32 biases only.
        """
        return correct(self.base, self.deltas[level], self.steps[level], scales)


def correct(
    base: NDArray[Any], delta: NDArray[np.int8], step: NDArray[np.float32] | np.float32, scales: NDArray[np.float32]
) -> NDArray[Any]:
    """A level's bias to the bit (FORMAT.md section 4.5); `delta` and `step` may have further leading dimensions.

    >>> correct(np.array([10, 20], np.int32), np.array([3, -1], np.int8), np.float32(0.5), np.ones(1, np.float32))
    array([12, 20], dtype=int32)
    """
    with np.errstate(over="ignore"):
        product = delta.astype(np.float32) * np.asarray(step, np.float32)
        if base.dtype == np.float32:
            return np.asarray(base + product * np.asarray(scales, np.float32), np.float32)
    return np.asarray(np.clip(base + np.rint(product).astype(np.float64), _INT32.min, _INT32.max), np.int32)


def fit_biases(wanted: NDArray[np.float64], scales: NDArray[np.float32], dtype: type[np.generic]) -> LevelBiases:
    """The biases nearest to those wanted, by the squared error in real units over a small grid of steps for each level.

    Args:
        wanted: float64 [levels, channels], part-bit first, in units of the bias tensor: for int32 real value /
            (input scale * weight scale), for float32 real values.
        scales: float32 [1] or [channels], the weight's, not negative.
        dtype: np.int32 for INT8 weights, np.float32 for FLOAT32 ones.

    Returns:
        Biases that saturate like their type. A level gets no deltas if no step comes closer than the base itself.

    Raises:
        WeightsError: a wanted bias is NaN or infinite.

    Example:
        >>> biases = fit_biases(np.array([[130.0, -40.0], [100.0, 0.0]]), np.ones(2, np.float32), np.int32)
        >>> biases.at(0, np.ones(2)), biases.at(1, np.ones(2))
        (array([130, -40], dtype=int32), array([100,   0], dtype=int32))
    """
    if not np.isfinite(wanted).all():
        raise WeightsError(
            "biases",
            expected="finite values",
            got=f"NaN or infinity in {int((~np.isfinite(wanted)).sum())} of {wanted.size} values",
            fix="Repair the model's weights, or the representative data.",
        )
    per_channel = np.broadcast_to(np.asarray(scales, np.float32), wanted.shape[1:])
    base = _stored(wanted[-1], dtype)
    fitted = [_fit_level(row, base, per_channel) for row in wanted]
    return LevelBiases(base, np.array([delta for delta, _ in fitted]), np.array([step for _, step in fitted]))


def _stored(values: NDArray[np.float64], dtype: type[np.generic]) -> NDArray[Any]:
    if dtype is np.float32:
        return np.clip(values, -_LARGEST_FLOAT, _LARGEST_FLOAT).astype(np.float32)
    return np.clip(np.rint(values), _INT32.min, _INT32.max).astype(np.int32)


def _fit_level(
    wanted: NDArray[np.float64], base: NDArray[Any], scales: NDArray[np.float32]
) -> tuple[NDArray[np.int8], np.float32]:
    """Deltas [channels] and step of one level; zeros if no step of the grid does better than none."""
    reachable = _stored(wanted, base.dtype.type).astype(np.float64)
    # Channels of scale 0 take no float32 correction, and int32 weights have none.
    unit = np.where(scales > 0, scales, 1).astype(np.float64) if base.dtype == np.float32 else 1.0
    missing = np.where(scales > 0, (reachable - base) / unit, 0.0)
    steps = np.concatenate([np.zeros(1, np.float32), _steps(missing)])[:, None]
    divisors = np.where(steps > 0, steps, 1).astype(np.float64)
    deltas = np.clip(np.rint(missing / divisors), -_LARGEST_DELTA, _LARGEST_DELTA).astype(np.int8)
    deltas[0] = 0
    real = scales if base.dtype == np.int32 else np.float32(1)
    error = (correct(base, deltas, steps, scales) - reachable) * np.asarray(real, np.float64)
    best = int(np.argmin(np.square(error).sum(axis=1)))  # the first of equals: no step
    return deltas[best], steps[best, 0]


def _steps(missing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Steps to try: float32, positive, their largest product finite."""
    sizes = np.abs(missing[missing != 0])
    if not sizes.size:
        return np.zeros(0, np.float32)
    tops = np.quantile(sizes, _QUANTILES, method="nearest")[:, None] * _SHARES
    steps = np.unique(np.minimum(tops, _LARGEST_FLOAT / 2).astype(np.float32) / np.float32(_LARGEST_DELTA))
    return np.asarray(steps[steps > 0], np.float32)
