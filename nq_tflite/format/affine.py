"""TFLite's affine quantization of activations: real = scale * (code - zero_point)."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

Real = TypeVar("Real", np.float32, np.float64)


def quantize(values: NDArray[Any], scale: float, zero_point: int, dtype: DTypeLike) -> NDArray[Any]:
    """Codes of real values: rounded to nearest, ties to even, and saturated.

    >>> quantize(np.float32([0.6, -1000.0, 1000.0]), 0.25, -4, np.int8)
    array([  -2, -128,  127], dtype=int8)
    """
    limits = np.iinfo(np.dtype(dtype))
    codes: NDArray[Any] = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(dtype)
    return codes


def dequantize(codes: NDArray[Any], scale: float, zero_point: int, real: type[Real]) -> NDArray[Real]:
    """Real values of codes, in arithmetic of that type.

    >>> dequantize(np.int8([-2, 127]), 0.25, -4, np.float32)
    array([ 0.5 , 32.75], dtype=float32)
    """
    return (codes.astype(real) - real(zero_point)) * real(scale)
