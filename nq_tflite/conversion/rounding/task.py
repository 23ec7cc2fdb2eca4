"""What every rounding method is given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.rounding.products import Rows
from nq_tflite.conversion.rounding.statistics import InputStatistics
from nq_tflite.format.levels import lowest_codes
from nq_tflite.format.nesting import Nesting


@dataclass(frozen=True)
class RoundingTask:
    """One weight to round.

    Attributes:
        target: float64 [channels, depth], the wanted weights in units of an INT8 code: real / spread(scales).
        taps: spatial size of a kernel; depth = taps * inputs, the tap varying slowest.
        nesting: the levels that the codes will be cut into.
        statistics: of the layer's inputs, for each level; empty where nothing is known of them.
        scales: float32 [1], [channels] or, for groups of a channel's weights, [channels, groups]; real value of one
            code.
        corrected: whether a bias for each level takes the mean error of the outputs away.
    """

    target: NDArray[np.float64]
    taps: int
    nesting: Nesting
    statistics: tuple[InputStatistics, ...] = ()
    scales: NDArray[np.float32] = field(default_factory=lambda: np.ones(1, np.float32))
    corrected: bool = False
    _aims: list[Rows] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def step(self) -> int:
        """Distance of neighbouring codes: 2 ** (8 - n)."""
        return 1 << (8 - self.nesting.full_bits)

    @property
    def lowest(self) -> NDArray[np.int16]:
        """Smallest allowed code: int16 [depth]."""
        return lowest_codes(self.target.shape[1], self.nesting)

    @property
    def highest(self) -> int:
        """Largest allowed code."""
        return 128 - self.step

    @property
    def aims(self) -> Sequence[Rows]:
        """What each level's values should come to, by its statistics: t as columns. Their first use computes them."""
        if not self._aims:
            quadratics = [each.quadratic for each in self.statistics if each.quadratic is not None]
            with ThreadPoolExecutor(min(len(quadratics), os.cpu_count() or 1)) as pool:
                self._aims.extend(pool.map(lambda each: each.target(self.target), quadratics))
        return self._aims

    def rescaled(self, target: NDArray[np.float64], scales: NDArray[np.float32]) -> RoundingTask:
        """The same weights in units of other scales."""
        other = replace(self, target=target, scales=scales)
        ratio = self.scales / np.where(scales > 0, scales, 1)
        by_channel = np.broadcast_to(np.where(scales > 0, ratio, 1), len(target))
        other._aims.extend(aim * by_channel.reshape(len(aim), 1, -1) for aim in self._aims)
        return other

    def nearest(self) -> NDArray[np.int16]:
        """The allowed code nearest to each target, ties to even: int16 [channels, depth]."""
        codes = np.rint(self.target / self.step).astype(np.int16) * self.step
        allowed: NDArray[np.int16] = np.clip(codes, self.lowest, self.highest).astype(np.int16)
        return allowed
