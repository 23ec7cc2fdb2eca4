"""How much each layer's bits improve the outputs: measured, then given to the layers that gain most.

Weights are rounded one at a time, in the net before any rounding, which then runs from there to its end. The noise of
several weights is taken to add up, and to grow fourfold with each bit that is missing, as rounding errors do, and
eightfold below LEAST_BITS:

    noise(h) = noise(PROBE.part_bits) * 4 ** (PROBE.part_bits - h) * 2 ** max(LEAST_BITS - h, 0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nq_tflite.conversion.lockstep import Lockstep
from nq_tflite.conversion.observer import Constants
from nq_tflite.conversion.plan import make_plan
from nq_tflite.conversion.rounding.statistics import InputStatistics, Rehearsal
from nq_tflite.conversion.sources.source import Reference, Samples, Source
from nq_tflite.conversion.trial import Road, start_walk
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.bitpack import packed_bytes
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.flatbuffer import Array
from nq_tflite.graph.model import TensorPlace
from nq_tflite.graph.sites import Site

#: What weights are rounded for.
PROBE = Nesting((8, 4))
#: Samples that go on to the outputs; statistics are those of all. A noise that is half as large again moves few bits.
_MOST_SAMPLES = 8
#: Part-bits that a layer may have of its own within a budget.
LEAST_BITS, MOST_BITS = 3, 7


@dataclass(frozen=True)
class Sensitivity:
    """What a weight's part-bits cost and bring.

    Attributes:
        noise: power of the outputs' error over that of the outputs, with this weight alone at PROBE's part-bits.
        bit_bytes: bytes in the file of each of its bits.
        most_bits: part-bits that it may have.
    """

    noise: float
    bit_bytes: int
    most_bits: int = MOST_BITS

    def noise_at(self, bits: int) -> float:
        """With that many part-bits."""
        return self.noise * 4.0 ** (PROBE.part_bits - bits) * 2.0 ** max(LEAST_BITS - bits, 0)


def measure_sensitivities(source: Source, road: Road) -> dict[TensorPlace, Sensitivity]:
    """Sensitivities of a source's weights by their places; none of those that cannot be followed to the outputs.

    Args:
        source: with samples.
        road: how its weights will be rounded.

    Raises:
        UnsupportedModelError, WeightsError: as `plan.make_plan`.
    """
    if source.samples is None:
        return {}
    model = source.reference.model
    places = {there: here for here, there in source.reference.weights.items()}
    probe = _Probe(Reference(model, {there: there for there in places}, source.reference.moments), source.samples)
    plan = make_plan(model, PROBE, road.method, probe, careful=road.careful)
    found = {}
    for weight in plan.weights:
        there = weight.sites[0].place
        if there in probe.noise and there in places:
            channels, depth = weight.codes.shape
            size = packed_bytes(weight.layout, channels, depth, 1)
            most = min(MOST_BITS, (weight.codes.size - 1) // size)  # with more it would be left as it is
            found[places[there]] = Sensitivity(probe.noise[there], size, most)
    return found


def spend_bits(
    sensitivities: Mapping[TensorPlace, Sensitivity], most_bytes: int, least_bits: int = LEAST_BITS
) -> dict[TensorPlace, int] | None:
    """Part-bits for each weight, so that all together take at most so many bytes and make the least noise.

    From the most down, a bit is taken where it costs the least noise for its bytes; what the last one left over buys
    bits back. None if `least_bits` are too many.

    >>> some, much = Sensitivity(0.001, 64), Sensitivity(0.016, 64)
    >>> spend_bits({(0, 1): some, (0, 2): much}, 10 * 64)
    {(0, 1): 4, (0, 2): 6}
    """
    bits = {place: each.most_bits for place, each in sensitivities.items()}
    excess = sum(each.most_bits * each.bit_bytes for each in sensitivities.values()) - most_bytes

    def price(place: TensorPlace, count: int) -> float:
        """Noise for a byte that the last of so many bits keeps away."""
        each = sensitivities[place]
        return (each.noise_at(count - 1) - each.noise_at(count)) / each.bit_bytes

    while excess > 0:
        left = [place for place in bits if bits[place] > least_bits]
        if not left:
            return None
        cheapest = min(left, key=lambda place: price(place, bits[place]))
        bits[cheapest] -= 1
        excess -= sensitivities[cheapest].bit_bytes
    while True:
        able = [p for p, each in sensitivities.items() if bits[p] < each.most_bits and each.bit_bytes <= -excess]
        if not able:
            return bits
        dearest = max(able, key=lambda place: price(place, bits[place] + 1))
        bits[dearest] += 1
        excess += sensitivities[dearest].bit_bytes


class _Probe:
    """Observes the net before any rounding; follows every weight that is settled to the outputs and forgets it again.

    Attributes:
        noise: what each weight that could be followed does to the outputs, as `Sensitivity.noise`.
    """

    def __init__(self, reference: Reference, samples: Samples) -> None:
        self._walk = start_walk(reference.model, samples)
        self._lockstep = Lockstep(
            model=reference.model,
            reference=reference,
            original=self._walk,
            levels=[self._walk],
            held_out=samples.held_out,
            made_up=samples.noise,
        )
        self._followed = min(_MOST_SAMPLES, len(samples.arrays) - samples.held_out)
        self._wanted: Sequence[Array] | None = None
        self._is_stuck = False
        self.noise: dict[TensorPlace, float] = {}

    def observe(self, site: Site, *, covariances: bool, with_means: bool = False) -> tuple[InputStatistics, ...]:
        """The same statistics for every level: those of the net before any rounding."""
        if self._is_stuck:
            return ()
        return self._lockstep.observe(site, covariances=covariances) * len(PROBE.precisions)

    def rehearse(self, site: Site) -> Rehearsal | None:
        """Of the net before any rounding, too."""
        found = self._lockstep.rehearse(site)
        if found is None:
            return None
        count = len(PROBE.precisions)
        return replace(found, statistics=found.statistics * count, unseen=found.unseen * count)

    def settle(self, site: Site, levels: Sequence[Constants]) -> None:
        """Measures what part-bit does to the outputs."""
        if self._is_stuck or self._lockstep.stopped or site.subgraph != 0 or len(site.operators) != 1:
            return
        try:
            if self._wanted is None:
                self._wanted = self._walk.fork(self._followed).outputs()
            walk = self._walk.fork(self._followed)
            walk.replace(levels[0])
            power = noise = 0.0
            for wanted, got in zip(self._wanted, walk.outputs(), strict=True):
                power += float(np.square(wanted, dtype=np.float64).sum())
                noise += float(np.square(got - wanted, dtype=np.float64).sum())
        except (UnsupportedModelError, ValueError):
            self._is_stuck = True
            return
        self.noise[site.place] = noise / max(power, 1e-300)
