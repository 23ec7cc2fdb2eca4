"""The float net and, for each level, the net as rounded so far, walked side by side from one weight to the next."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.layer_inputs import Layer, layer_of, sample_rows
from nq_tflite.conversion.observer import Constants
from nq_tflite.conversion.rounding.statistics import CentredRows, InputStatistics, Prior, input_statistics
from nq_tflite.conversion.sources.moments import Moments
from nq_tflite.conversion.sources.source import Reference
from nq_tflite.conversion.walk import GraphWalk, real_values
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site

#: Rows of probabilities sum to 1, give or take INT8's rounding; less than half its step is 0 to it.
_SUM_TOLERANCE, _LEAST_PROBABILITY = 0.05, 1 / 512


@dataclass(frozen=True)
class Outcome:
    """What a level's outputs are like beside the float net's on the samples walked.

    Attributes:
        agreement: samples whose greatest output is the float net's; None if the output is no row of scores.
        expected_agreement: the same by `expected_agreement`, which a few samples tell better.
        snr_db: power of the float net's outputs over that of the difference.
    """

    agreement: float | None
    expected_agreement: float | None
    snr_db: float


class Lockstep:
    """Gives rounding the statistics of each layer's inputs, and hears what became of the layer.

    Weights are asked for in the order of the graph; each is settled before the next.

    Args:
        model: the model to be rounded; it is left as it is.
        reference: the same net before any rounding.
        original: a walk over `reference.model`.
        levels: for each level of the nesting a walk over `model`, part-bit first, on the same samples.
        held_out: so many of the last samples are left out of the statistics; outcomes are theirs alone.

    Attributes:
        stopped: why there are no statistics from some operator on; None as long as there are.
    """

    def __init__(
        self, model: ModelT, reference: Reference, original: GraphWalk, levels: Sequence[GraphWalk], held_out: int = 0
    ) -> None:
        self._model, self._reference = model, reference
        self._original, self._levels = original, levels
        self._fitted = original.num_samples - held_out
        self._judged = self._fitted if held_out else 0
        self.stopped: str | None = None

    def observe(self, site: Site, *, covariances: bool) -> tuple[InputStatistics, ...]:
        """As `Observer.observe`: of the float net's inputs, and of those of the level's net."""
        place = self._reference.weights.get(site.place)
        if self.stopped or place is None or site.subgraph != 0 or place[0] != 0 or len(site.operators) != 1:
            return ()
        [position] = site.operators
        try:
            original_position = _only_reader(self._reference.model, place[1])
            layer = layer_of(self._model, position)
            seed = zlib.crc32(site.name.encode())
            original = self._rows(self._reference.model, self._original, original_position, layer, seed)
            rounded = [self._rows(self._model, walk, position, layer, seed) for walk in self._levels]
            if any(each.rows.shape != original.rows.shape for each in rounded):
                raise UnsupportedModelError(
                    f"inputs of {site.name!r}", expected=str(original.rows.shape), got="another shape"
                )
        except UnsupportedModelError as error:
            self.stopped = str(error)
            return ()
        prior = self._prior(original_position, layer)
        return tuple(input_statistics(original, each, prior, layer.taps, covariances=covariances) for each in rounded)

    def settle(self, site: Site, levels: Sequence[Constants]) -> None:
        """Gives every level's net what the weight and its bias became there."""
        if site.subgraph == 0:
            for walk, constants in zip(self._levels, levels, strict=True):
                walk.replace(constants)

    def outcomes(self) -> tuple[Outcome, ...]:
        """Walks on to the end; none where that is not possible."""
        if self.stopped:
            return ()
        try:
            original = self._original.outputs()
            levels = [np.concatenate(walk.outputs()[self._judged :]) for walk in self._levels]
            judged, everything = np.concatenate(original[self._judged :]), np.concatenate(original)
            return tuple(_outcome(judged, each, everything) for each in levels)
        except (UnsupportedModelError, ValueError) as error:
            self.stopped = str(error)
            return ()

    def _rows(self, model: ModelT, walk: GraphWalk, position: int, layer: Layer, seed: int) -> CentredRows:
        subgraph = model.subgraphs[0]
        tensor = _data_of(model, position)
        values = [real_values(subgraph.tensors[tensor], each) for each in walk.values(tensor, position)[: self._fitted]]
        return CentredRows.of(sample_rows(layer, values, seed))

    def _prior(self, position: int, layer: Layer) -> Prior | None:
        moments = self._reference.moments.get(_data_of(self._reference.model, position))
        return None if moments is None else _by_group(moments, layer)


def _by_group(moments: Moments, layer: Layer) -> Prior | None:
    """Moments of a layer's input channels as [groups, depth]; None where they do not fit."""

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        by_group = np.broadcast_to(values.reshape(layer.groups, 1, -1), (layer.groups, layer.taps, width))
        return by_group.reshape(layer.groups, layer.depth)

    if layer.window is not None and layer.window.transposed:
        return None  # its taps see a part of the places each
    width = layer.depth // layer.taps
    if len(moments.mean) != layer.groups * width:
        return None
    return Prior(spread(moments.mean), spread(moments.variance))


def _data_of(model: ModelT, position: int) -> int:
    """Tensor that a layer of the main subgraph multiplies by its weight."""
    operator = model.subgraphs[0].operators[position]
    return slots_of(model, operator).data_of(operator)


def _only_reader(model: ModelT, tensor: int) -> int:
    readers = [position for position, _ in fb.readers(model.subgraphs[0])[tensor]]
    if len(readers) != 1:
        raise UnsupportedModelError("a weight of the float model", expected="one reader", got=str(len(readers)))
    return readers[0]


def _outcome(original: Array, rounded: Array, everything: Array) -> Outcome:
    snr_db = signal_to_noise_db(original, rounded)
    if original.ndim != 2 or original.shape[1] < 2:
        return Outcome(None, None, snr_db)
    agreement = float(np.mean(original.argmax(axis=1) == rounded.argmax(axis=1)))
    logits = [_logits(each) for each in (everything, rounded, original)]
    return Outcome(agreement, expected_agreement(logits[0], logits[1] - logits[2]), snr_db)


def expected_agreement(scores: Array, errors: Array) -> float:
    """The fraction of samples whose greatest score stays the greatest, over all pairs of a sample and an error.

    Whether a sample flips hangs on its margin, which every sample shows, and on the error, which only samples do that
    rounding has not seen. Some 20 errors on 80 samples tell it as surely as counting several hundred samples.

    Args:
        scores: [samples, classes] of the float net.
        errors: [fewer samples, classes] of the rounded one.

    >>> expected_agreement(np.array([[0.0, 1.0], [5.0, 0.0]]), np.array([[0.0, 0.0], [2.0, 0.0]]))
    0.75
    """
    best = scores.argmax(axis=1)
    return float(np.mean([np.mean((scores + error).argmax(axis=1) == best) for error in errors]))


def _logits(scores: Array) -> Array:
    """Scores whose errors do not depend on their sizes: of probabilities the logarithms, as far as INT8 tells them."""
    if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=_SUM_TOLERANCE):
        return np.asarray(np.log(np.maximum(scores, _LEAST_PROBABILITY)))
    return scores
