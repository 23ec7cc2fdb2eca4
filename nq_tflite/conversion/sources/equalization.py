"""A calibrated model's linear chains, each channel scaled so that it fills more of its tensor's INT8 range.

A tensor's 256 codes cover its widest channel. Another channel, a tenth as wide, has 25 of them. Where the channels may
be scaled (`graph.linear_chains`), channel c is divided by

    s_c = (r_c / geometric mean of r) ** exponent

with r_c the largest magnitude that its values had on the representative data, in any tensor of the chain. With an
exponent of 1 all channels are equally wide. The next layers' weights then differ more from one input channel to the
other, which costs them more of their own codes: that is why smaller exponents can be better, and 0 changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.channel_ranges import ChannelRange
from nq_tflite.conversion.sources.moments import Moments
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.linear_chains import Chain
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.scale_chains import scale_chains

Real = NDArray[np.float64]
#: A channel that stays at a thousandth of the others is taken for one that does nothing.
_MOST_APART = 2.0**10


@dataclass(frozen=True)
class Equalizable:
    """A calibrated float model whose chains can be equalized.

    Attributes:
        model: the float model, with the ranges that calibration saw.
        chains: its linear chains.
        ranges: of their tensors' channels, on the representative data.
        moments: of its tensors, by index, where batch norms tell them.
        quantize: from the bytes of a calibrated model to those of the full-int8 one; with False for the ranges that
            calibration saw, with True for those that the user asked for.
    """

    model: ModelT
    chains: Sequence[Chain]
    ranges: Mapping[int, ChannelRange]
    moments: Mapping[int, Moments]
    quantize: Callable[[bytes, bool], bytes]

    def factors(self, chain: Chain, exponent: float) -> Real:
        """What the channels of a chain are divided by: float64 [chain.num_factors], with a geometric mean of 1."""
        magnitudes = np.zeros(chain.num_factors)
        for tensor, labels in chain.tensors.items():
            seen = self.ranges[tensor]
            np.maximum.at(magnitudes, labels, np.maximum(np.abs(seen.low), np.abs(seen.high)))
        alive = magnitudes > magnitudes.max() / _MOST_APART
        logarithms = np.log(np.where(alive, magnitudes, 1.0))
        mean = logarithms.sum() / max(int(alive.sum()), 1)
        return np.asarray(np.exp(np.where(alive, exponent * (logarithms - mean), 0.0)))

    def limits(self, tensor: int, factors: Real) -> tuple[float, float]:
        """The least and the largest value that a tensor has when its channels are divided by factors [channels]."""
        seen = self.ranges[tensor]
        return float((seen.low / factors).min()), float((seen.high / factors).max())

    def equalized(self, exponents: Sequence[float]) -> tuple[ModelT, dict[int, Moments]]:
        """The float model with channels scaled, the ranges that calibration would see in it, and its moments.

        Args:
            exponents: for each chain; 0 leaves it as it is.
        """
        changed = [(chain, each) for chain, each in zip(self.chains, exponents, strict=True) if each]
        factors = [self.factors(chain, exponent) for chain, exponent in changed]
        model, moments = scale_chains(self.model, [chain for chain, _ in changed], factors), dict(self.moments)
        for (chain, _), each in zip(changed, factors, strict=True):
            for tensor, labels in chain.tensors.items():
                scale = each[labels]
                model.subgraphs[0].tensors[tensor].quantization = fb.new_range(*self.limits(tensor, scale))
                if tensor in moments:
                    old = moments[tensor]
                    moments[tensor] = Moments(old.mean / scale, old.variance / np.square(scale))
        return model, moments
