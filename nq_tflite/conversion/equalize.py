"""How much each linear chain is equalized: judged by the layers that read it, and finally by the outputs.

Equalizing a chain makes the noise of its activations smaller and that of the weights that read it larger (see
`sources.equalization`). Both are told for each chain by itself, in the outputs of the layers that read it: the
activations' noise from the scales of the chain's tensors, the weights' by rounding these layers, on samples that the
rounding does not see. At last the nets with and without are compared at their own outputs, by what their INT8
activations cost these: the weights' errors at full-bit, which biases and codes make up for, are left out of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.layer_inputs import Layer, layer_of, sample_rows
from nq_tflite.conversion.report import Equalization
from nq_tflite.conversion.rounding import FALLBACK, Method, RoundingTask
from nq_tflite.conversion.rounding.products import Rows
from nq_tflite.conversion.rounding.statistics import CentredRows, Unseen, input_statistics
from nq_tflite.conversion.sources.equalization import Equalizable
from nq_tflite.conversion.sources.sample_store import Kept
from nq_tflite.conversion.sources.source import Samples, Source
from nq_tflite.conversion.trial import start_walk
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.levels import SignalToNoise, value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.float_twin import make_float_twin
from nq_tflite.graph.linear_chains import LAYERS, Chain
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.round_activation import round_activation, rounded_activations
from nq_tflite.graph.sites import as_matrix
from nq_tflite.progress import Progress

Real = NDArray[np.float64]

#: What channels' widths may be raised to: 0 leaves them as they are, 1 makes them all alike.
EXPONENTS = (0.0, 1 / 3, 1 / 2, 1.0)
#: Neither full-bit nor the coarsest level may lose more.
MOST_LOSS_DB = 0.1
#: Samples that layers are rounded and judged by; where none is held out, every so many is for that once.
_MOST_FITTED, _MOST_JUDGED, _EVERY = 32, 16, 4
#: Rows of a layer's inputs, and output channels that stand for all. Deeper filters are rounded without covariances.
_MOST_ROWS, _MOST_CHANNELS, _MOST_DEPTH = 4096, 64, 1024
_LARGEST_CODE = 127


def equalize(
    source: Source, nesting: Nesting, method: Method, *, notify: Progress
) -> tuple[Source, Equalization | None]:
    """Equalizes each of a source's chains as far as that serves full-bit and the coarsest level.

    Args:
        source: as `load_source` gives it; one without chains is returned as it is.
        nesting: the levels that count.
        method: how the codes will be chosen.
        notify: called with a stage's name, the steps done and the steps in all.
    """
    chains = source.equalizable
    if chains is None or source.samples is None:
        return source, None
    nothing = (0.0,) * len(chains.chains)
    fitted, judged = _parted(source.samples)
    few = [*fitted[:: -(-len(fitted) // _MOST_FITTED)], *judged[:_MOST_JUDGED]]
    try:
        samples = replace(source.samples, arrays=few, held_out=min(len(judged), _MOST_JUDGED))
        exponents = _chosen(chains, samples, nesting, method, notify)
        samples = replace(source.samples, arrays=judged, held_out=0)
        gain_db = _gain_db(source, exponents, samples) if any(exponents) else 0.0
    except UnsupportedModelError as error:
        return source.equalized(nothing, final=True), Equalization(nothing, 0.0, 0, str(error))
    if gain_db < -MOST_LOSS_DB:
        exponents, gain_db = nothing, 0.0
    return source.equalized(exponents, final=True), Equalization(exponents, gain_db, len(judged))


def _parted(samples: Samples) -> tuple[list[Sequence[Kept]], list[Sequence[Kept]]]:
    """Samples to round by, and others; the same twice where there are too few to hold any out."""
    if not samples.held_out and len(samples.arrays) >= _EVERY:
        samples = samples.hold_out(range(_EVERY - 1, len(samples.arrays), _EVERY))
    if not samples.held_out:
        return list(samples.arrays), list(samples.arrays)
    return list(samples.arrays[: -samples.held_out]), list(samples.arrays[-samples.held_out :])


def _gain_db(source: Source, exponents: Sequence[float], samples: Samples) -> float:
    """By how much less the full-int8 net's activations cost its outputs."""
    plain, equalized = (
        _activations_db(model, samples) for model in (source.model, source.equalized(exponents, final=False).model)
    )
    return equalized - plain if np.isfinite(plain) else 0.0


def _activations_db(model: ModelT, samples: Samples) -> float:
    """Signal over error of a full-int8 model's outputs, beside those of the same weights with activations in floats."""
    nets = [copy.deepcopy(model) for _ in range(2)]
    for net in nets:
        make_float_twin(net)
    for activation in rounded_activations(model):
        round_activation(nets[1], activation)
    score = SignalToNoise()
    for wanted, rounded in zip(*(start_walk(net, samples).outputs() for net in nets), strict=True):
        score.add(wanted, rounded)
    return score.db


# ---- each chain by itself --------------------------------------------------------------------------------------------


def _chosen(
    chains: Equalizable, samples: Samples, nesting: Nesting, method: Method, notify: Progress
) -> tuple[float, ...]:
    """The exponent of each chain with the most decibels at full-bit and the coarsest level, where neither loses."""
    noises = [{exponent: np.zeros(2) for exponent in EXPONENTS} for _ in chains.chains]
    readers = list(_readers(chains))
    walk = start_walk(chains.model, samples)
    for done, (position, number, tensor) in enumerate(readers):
        notify("equalizing", done, len(readers))
        layer = layer_of(chains.model, position)
        values = walk.values(tensor, position)
        rows = [
            CentredRows.of(sample_rows(layer, part, position, _MOST_ROWS))
            for part in (values[: -samples.held_out], values[-samples.held_out :])
        ]
        weight = _weight_of(chains.model, position)
        if layer.groups == 1:
            weight = weight[:: -(-len(weight) // _MOST_CHANNELS)]
        for exponent in EXPONENTS:
            scaled = _Scaled(chains, chains.chains[number], exponent, tensor, layer)
            noises[number][exponent] += scaled.noise(weight, rows, nesting, method)
    return tuple(_best(each) if chain.is_linear else 1.0 for chain, each in zip(chains.chains, noises, strict=True))


def _best(noises: Mapping[float, Real]) -> float:
    """Of (coarsest, full-bit) noises by exponents."""
    gains = {exponent: 10 * np.log10(noises[0.0] / each) for exponent, each in noises.items() if each.all()}
    allowed = [exponent for exponent, each in gains.items() if each.min() >= -MOST_LOSS_DB]
    return max(allowed, key=lambda exponent: float(gains[exponent].sum()), default=0.0)


def _readers(chains: Equalizable) -> Iterator[tuple[int, int, int]]:
    """The layers that read chains for which there is a choice: position, the chain's number, and what is read."""
    linear = [(number, chain) for number, chain in enumerate(chains.chains) if chain.is_linear]
    numbers = {tensor: number for number, chain in linear for tensor in chain.tensors}
    for position, operator in enumerate(chains.model.subgraphs[0].operators):
        if fb.builtin_code(chains.model, operator) in LAYERS:
            tensor = slots_of(chains.model, operator).data_of(operator)
            if tensor in numbers:
                yield position, numbers[tensor], tensor


def _weight_of(model: ModelT, position: int) -> Real:
    """A layer's weight: float64 [channels, depth]."""
    graph = model.subgraphs[0]
    reader = slots_of(model, graph.operators[position])
    values = fb.constant(model, graph.tensors[reader.weight_of(graph.operators[position])])
    return as_matrix(np.asarray(values), reader.layout).astype(np.float64)


class _Scaled:
    """A layer that reads a chain, with the chain equalized by an exponent.

    Args:
        chains, chain, exponent: whose.
        tensor: the one that the layer reads.
        layer: the layer.
    """

    def __init__(self, chains: Equalizable, chain: Chain, exponent: float, tensor: int, layer: Layer) -> None:
        change = chains.change(chain, exponent)
        self._layer, self._factors = layer, _by_depth(change.factors[chain.tensors[tensor]], layer)
        self._step_power = 0.0
        for each, ranges in change.ranges.items():
            low, high = ranges.limits
            self._step_power += ((max(high, 0.0) - min(low, 0.0)) / 255) ** 2 / 12
            if each == tensor:
                break

    def noise(self, weight: Real, rows: Sequence[CentredRows], nesting: Nesting, method: Method) -> Real:
        """Noise of the layer's outputs over their power, at the coarsest level and at full-bit: [2].

        Args:
            weight: [channels, depth], before the chain was equalized.
            rows: of inputs before that: those that rounding sees, and others.
            nesting, method: how the weight will be rounded.
        """
        seen, unseen = (CentredRows(each.mean / self._factors, self._divided(each.rows)) for each in rows)
        scaled = weight * np.repeat(self._factors, len(weight) // len(self._factors), axis=0)
        judge = Unseen(unseen, unseen)
        power = judge.own_error(scaled)[0].sum()
        if not power:
            return np.zeros(2)
        scales = np.maximum(np.abs(scaled).max(axis=1), 1e-30) / _LARGEST_CODE
        method = FALLBACK if method.needs_covariances and weight.shape[1] > _MOST_DEPTH else method
        statistics = input_statistics(seen, seen, None, self._layer.taps, covariances=method.needs_covariances)
        levels = len(nesting.precisions)
        target = scaled / scales[:, None]
        task = RoundingTask(
            target, self._layer.taps, nesting, (statistics,) * levels, scales.astype(np.float32), corrected=True
        )
        codes = method.round(task)
        errors = [(value_at(codes, nesting, level) - target) * scales[:, None] for level in (0, levels - 1)]
        of_weights = np.array([judge.own_error(each)[0].sum() for each in errors])
        of_activations = self._step_power * np.square(scaled).sum()
        return np.asarray((of_weights + of_activations) / power)

    def _divided(self, rows: Rows) -> Rows:
        return np.asarray(rows / self._factors[:, None], np.float32)


def _by_depth(factors: Real, layer: Layer) -> Real:
    """Factors of a layer's input channels as [groups, depth]."""
    if layer.window is None:
        return np.resize(factors, (1, layer.depth))
    width = layer.depth // layer.taps
    by_group = np.broadcast_to(factors.reshape(layer.groups, 1, width), (layer.groups, layer.taps, width))
    return by_group.reshape(layer.groups, layer.depth)
