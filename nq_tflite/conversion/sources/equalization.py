"""A calibrated model's linear chains, each channel scaled so that it fills more of its tensor's INT8 range.

A tensor's 256 codes cover its widest channel. Another channel, a tenth as wide, has 25 of them. Where the channels may
be scaled (`graph.linear_chains`), channel c is divided by

    s_c = (r_c / geometric mean of r) ** exponent

with r_c the largest magnitude that its values had on the representative data, in any tensor of the chain. With an
exponent of 1 all channels are equally wide. Where the chain takes offsets (`graph.shift_chains`), each channel's range
is first moved to lie around 0. The next layers' weights then differ more from one input channel to the
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
from nq_tflite.graph.shift_chains import offset_parts, shift_chain

Real = NDArray[np.float64]
#: A channel that stays at a thousandth of the others is taken for one that does nothing.
_MOST_APART = 2.0**10


@dataclass(frozen=True)
class Change:
    """What a chain becomes.

    Attributes:
        factors: float64 [chain.num_factors]; channels are divided by them,
        offsets: and then have these taken off, for each tensor: float64 [channels]; empty if the chain takes none.
        ranges: what the channels' values are then.
    """

    factors: Real
    offsets: Mapping[int, Real]
    ranges: Mapping[int, ChannelRange]


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

    def change(self, chain: Chain, exponent: float) -> Change:
        """What an exponent makes of a chain; 0 leaves it as it is."""
        ranges = {tensor: self.ranges[tensor] for tensor in chain.tensors}
        if not exponent:
            return Change(np.ones(chain.num_factors), {}, ranges)
        offsets = self._offsets(chain)
        ranges = {tensor: each.shifted(offsets[tensor]) if offsets else each for tensor, each in ranges.items()}
        factors = _factors(chain, ranges, exponent)
        return Change(
            factors,
            {tensor: each / factors[chain.tensors[tensor]] for tensor, each in offsets.items()},
            {tensor: each.divided(factors[chain.tensors[tensor]]) for tensor, each in ranges.items()},
        )

    def _offsets(self, chain: Chain) -> dict[int, Real]:
        """Those with which the channels' ranges lie around 0, as nearly as sums let them in all tensors at once."""
        parts = offset_parts(self.model, chain)
        if parts is None:
            return {}
        ranges = [self.ranges[tensor] for tensor in chain.tensors]
        weights = np.array([1 / max(float((each.high - each.low).mean()), 1e-30) for each in ranges])[:, None]
        carried = np.stack([parts[tensor] for tensor in chain.tensors])
        middles = np.stack([(each.low + each.high) / 2 for each in ranges])
        of_layers = np.linalg.lstsq(carried * weights, middles * weights, rcond=None)[0]
        return dict(zip(chain.tensors, carried @ of_layers, strict=True))

    def equalized(self, exponents: Sequence[float]) -> tuple[ModelT, dict[int, Moments]]:
        """The float model with channels scaled, the ranges that calibration would see in it, and its moments.

        Args:
            exponents: for each chain; 0 leaves it as it is.
        """
        changed = [
            (chain, self.change(chain, each)) for chain, each in zip(self.chains, exponents, strict=True) if each
        ]
        moments = dict(self.moments)
        model = scale_chains(self.model, [chain for chain, _ in changed], [each.factors for _, each in changed])
        for chain, each in changed:
            shift_chain(model, each.offsets)
            for tensor, labels in chain.tensors.items():
                scale = each.factors[labels]
                model.subgraphs[0].tensors[tensor].quantization = fb.new_range(*each.ranges[tensor].limits)
                if tensor in moments:
                    old = moments[tensor]
                    mean = old.mean / scale - each.offsets.get(tensor, 0.0)
                    moments[tensor] = Moments(mean, old.variance / np.square(scale))
        return model, moments


def _factors(chain: Chain, ranges: Mapping[int, ChannelRange], exponent: float) -> Real:
    """What the channels of a chain are divided by: float64 [chain.num_factors].

    They have a geometric mean of 1. Where a ReLU6 clips values at 6, they bring narrower channels nearer to that.
    """
    magnitudes = np.zeros(chain.num_factors)
    for tensor, labels in chain.tensors.items():
        np.maximum.at(magnitudes, labels, ranges[tensor].magnitudes)
    alive = magnitudes > magnitudes.max() / _MOST_APART
    if chain.cap is not None:
        return np.asarray(np.where(alive, np.minimum(magnitudes / chain.cap, 1.0) ** exponent, 1.0))
    logarithms = np.log(np.where(alive, magnitudes, 1.0))
    mean = logarithms.sum() / max(int(alive.sum()), 1)
    return np.asarray(np.exp(np.where(alive, exponent * (logarithms - mean), 0.0)))
