"""Own part-bits for each layer, in the bytes that equal part-bits for all layers would take.

Layers differ in what a bit costs and in what it brings. MobileNetV2's last dense layer has 37 % of the weights, and
with four bits it causes a hundredth of the outputs' error; the first ten layers have 1 % of the weights and cause a
third of it. So bits move from large layers on which the outputs hardly depend to small ones on which they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nq_tflite.conversion.rounding import METHODS
from nq_tflite.conversion.sensitivity import Sensitivity, measure_sensitivities, spend_bits
from nq_tflite.conversion.sources.source import Source
from nq_tflite.conversion.trial import Road
from nq_tflite.format.nesting import MIN_PART_BITS, Nesting
from nq_tflite.graph.model import TensorPlace
from nq_tflite.progress import Progress

#: A layer has no fewer part-bits than this, or one less than the nesting says where that is fewer.
_LEAST_BITS = 3
#: How layers are rounded to be measured. Descent takes longer, and bits shared out by it are no better.
ROAD = Road(METHODS["squant"])


def own_nestings(source: Source, nesting: Nesting, *, notify: Progress) -> dict[TensorPlace, Nesting]:
    """Nestings of single weights for `plan.make_plan`: the coarsest level takes no more bytes than it would without.

    Args:
        source: what will be rounded; without samples nothing can be measured, and all layers have the same.
        nesting: the levels of the whole file.
        notify: called with a stage's name, the steps done and the steps in all.

    Raises:
        UnsupportedModelError, WeightsError: as `plan.make_plan`.
    """
    notify("measuring layers", 0, 0)
    return shared_out(measure_sensitivities(source, ROAD), nesting)


def shared_out(
    sensitivities: Mapping[TensorPlace, Sensitivity], nesting: Nesting, min_bits: int = MIN_PART_BITS
) -> dict[TensorPlace, Nesting]:
    """Nestings of the weights that get others than `nesting`, for as many bytes at every level, or fewer.

    Args:
        sensitivities: of weights by their places; those of others keep `nesting`.
        nesting: the levels of the whole file.
        min_bits: part-bits that no layer has fewer of.

    >>> some, much = Sensitivity(0.001, 128), Sensitivity(0.016, 64)
    >>> shared = shared_out({TensorPlace(0, 1): some, TensorPlace(0, 2): much}, Nesting.parse("8|6|4"))
    >>> [str(each) for each in shared.values()]
    ['8|5|3', '8|7|6']
    """
    part_bits, most = nesting.part_bits, nesting.full_bits - len(nesting.level_bits) + 1
    limited = {place: replace(each, most_bits=min(each.most_bits, most)) for place, each in sensitivities.items()}
    able = {place: each for place, each in limited.items() if each.most_bits >= part_bits}
    least = max(min_bits, min(_LEAST_BITS, part_bits - 1))
    bits = spend_bits(able, part_bits * sum(each.bit_bytes for each in able.values()), least)
    shared = {place: _moved(nesting, count - part_bits) for place, count in (bits or {}).items()}
    return {place: own for place, own in shared.items() if own != nesting}


def _moved(nesting: Nesting, more: int) -> Nesting:
    """A nesting with so many bits more at every level below full-bit, as far as there is room."""
    widths = [nesting.full_bits]
    for bits in nesting.bit_widths[1:]:
        widths.append(min(bits + more, widths[-1] - 1))
    return Nesting(tuple(widths))
