"""A weight at one level of a baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.levels import Codes


@dataclass(frozen=True)
class LevelCodes:
    """A weight as INT8 kernels take it, with scales that are the level's own.

    Attributes:
        codes: int8 [channels, depth]
        scales: float32 [channels], real value of one code; 0 for a channel of zeros.
        zero_points: [channels], the code that stands for 0; None if it is 0 everywhere, as INT8 kernels want it.
    """

    codes: Codes
    scales: NDArray[np.float32]
    zero_points: NDArray[np.float64] | None = None

    @property
    def values(self) -> NDArray[np.float32]:
        """Real weights: [channels, depth]."""
        codes = self.codes if self.zero_points is None else self.codes - self.zero_points[:, None]
        return np.asarray(codes * self.scales[:, None], np.float32)
