"""The float net and, for each level, the net as rounded so far, walked side by side from one weight to the next."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.layer_inputs import MOST_ROWS, Layer, layer_of, sample_rows
from nq_tflite.conversion.observer import Constants
from nq_tflite.conversion.rounding.statistics import (
    CentredRows,
    InputStatistics,
    Prior,
    Rehearsal,
    Unseen,
    level_statistics,
)
from nq_tflite.conversion.sources.moments import Moments
from nq_tflite.conversion.sources.source import Reference
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.levels import SignalToNoise, signal_to_noise_db
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array
from nq_tflite.graph.model import ModelT, TensorPlace
from nq_tflite.graph.quantization import real_values, stored_values
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site

#: Rows of probabilities sum to 1, give or take INT8's rounding; less than half its step is 0 to it.
_SUM_TOLERANCE, _LEAST_PROBABILITY = 0.05, 1 / 512

#: Rows of inputs to judge codes by; every so many samples is kept back for them where none is held out.
_MOST_UNSEEN_ROWS, _KEPT_BACK = 2048, 4
#: Fewer rows tell too little of a layer's inputs to round by.
_LEAST_ROWS = 8


@dataclass(frozen=True)
class Outcome:
    """What a level's outputs are like beside the float net's on the samples walked.

    Attributes:
        agreement: samples whose greatest output is the float net's; None if the output is not a row of scores.
        expected_agreement: the same by `expected_agreement`, which a few samples tell better.
        snr_db: power of the float net's outputs over that of the difference.
    """

    agreement: float | None
    expected_agreement: float | None
    snr_db: float


@dataclass(frozen=True)
class _Observed:
    """The layer that was observed last.

    Attributes:
        original_positions: of the operators that read its weight in the float model.
        seed: of the choice of its rows.
    """

    site: Site
    original_positions: tuple[int, ...]
    seed: int


class Lockstep:
    """Gives rounding the statistics of each layer's inputs, and hears what became of the layer.

    Weights are asked for in the order of the graph; each is settled before the next.

    Args:
        model: the model to be rounded; it is left as it is.
        reference: the same net before any rounding.
        original: a walk over `reference.model`.
        levels: for each level of the nesting a walk over `model`, part-bit first, on the same samples.
        held_out: so many of the last samples are left out of the statistics; outcomes are theirs alone.
        made_up: whether the samples are noise.

    Attributes:
        stopped: why there are no statistics from some operator on; None as long as there are.
    """

    def __init__(
        self,
        model: ModelT,
        reference: Reference,
        original: GraphWalk,
        levels: Sequence[GraphWalk],
        held_out: int = 0,
        *,
        made_up: bool = False,
    ) -> None:
        self._model, self._reference = model, reference
        self._original, self._levels = original, levels
        self._fitted = original.num_samples - held_out
        self._judged = self._fitted if held_out else 0
        self._made_up = made_up
        self._observed: _Observed | None = None
        self.stopped: str | None = None

    def observe(self, site: Site, *, covariances: bool, with_means: bool = False) -> tuple[InputStatistics, ...]:
        """As `Observer.observe`: of the float net's inputs, and of those of the level's net.

        A weight with several readers has those of all readers in the float net: most are not reached yet.
        """
        place = self._reference.weights.get(site.place)
        is_shared = len(site.operators) > 1
        if self.stopped or place is None or site.subgraph != 0 or place[0] != 0 or (is_shared and not covariances):
            return ()
        try:
            layer = self._layer(site, place)
            original, rounded = self._rows(layer, range(self._fitted), MOST_ROWS)
            if any(each.rows.shape != original.rows.shape for each in rounded):
                raise UnsupportedModelError(
                    f"inputs of {site.name!r}", expected=str(original.rows.shape), got="another shape"
                )
        except UnsupportedModelError as error:
            if not is_shared:
                self.stopped = str(error)
            return ()
        if covariances and original.rows.shape[1] < _LEAST_ROWS:
            return ()
        self._observed = layer
        if with_means:
            original, rounded = original.around_zero(), tuple(each.around_zero() for each in rounded)
        return self._statistics(layer, original, rounded, covariances=covariances)

    def rehearse(self, site: Site) -> Rehearsal | None:
        """As `Observer.rehearse`: by the samples held out, or by every fourth where there are none."""
        layer = self._observed
        if layer is None or layer.site != site:
            return None
        if self._judged:
            unseen = self._unseen(layer, range(self._fitted, self._original.num_samples))
            return Rehearsal((), unseen, self._made_up)
        kept_back = range(min(_KEPT_BACK, self._fitted) - 1, self._fitted, _KEPT_BACK)
        seen = [number for number in range(self._fitted) if number not in kept_back]
        if not seen:
            return None
        original, rounded = self._rows(layer, seen, MOST_ROWS)
        statistics = self._statistics(layer, original, rounded, covariances=True)
        return Rehearsal(statistics, self._unseen(layer, kept_back), self._made_up)

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
            _check_alike(original)
            levels = [walk.outputs()[self._judged :] for walk in self._levels]
            return tuple(_outcome(original, each) for each in levels)
        except (UnsupportedModelError, ValueError) as error:
            self.stopped = str(error)
            return ()

    def _layer(self, site: Site, place: TensorPlace) -> _Observed:
        readers = tuple(position for position, _ in fb.readers(self._reference.model.subgraphs[0])[place.tensor])
        if len(site.operators) == 1 != len(readers):
            raise UnsupportedModelError("a weight of the float model", expected="one reader", got=str(len(readers)))
        return _Observed(site, readers, zlib.crc32(site.name.encode()))

    def _rows(self, layer: _Observed, numbers: Sequence[int], most: int) -> tuple[CentredRows, tuple[CentredRows, ...]]:
        """Of some samples in the float net, and at the same places in every level's."""
        positions, model = layer.original_positions, self._reference.model
        if len(positions) > 1:
            ahead = self._original.fork(self._original.num_samples)
            rows = [_sample(model, ahead, each, numbers, layer.seed, most // len(positions)) for each in positions]
            original = CentredRows.of(np.concatenate(rows, axis=1))
            return original, (original,) * len(self._levels)
        original = CentredRows.of(_sample(model, self._original, positions[0], numbers, layer.seed, most))
        [position] = layer.site.operators
        rounded = (_sample(self._model, walk, position, numbers, layer.seed, most) for walk in self._levels)
        return original, tuple(map(CentredRows.of, rounded))

    def _unseen(self, layer: _Observed, numbers: Sequence[int]) -> tuple[Unseen, ...]:
        original, rounded = self._rows(layer, numbers, _MOST_UNSEEN_ROWS)
        return tuple(Unseen(original, each) for each in rounded)

    def _statistics(
        self, layer: _Observed, original: CentredRows, rounded: Sequence[CentredRows], *, covariances: bool
    ) -> tuple[InputStatistics, ...]:
        if len(layer.original_positions) > 1:
            original = original.around_zero()
            rounded = [original] * len(rounded)
        shape = layer_of(self._reference.model, layer.original_positions[0])
        moments = self._reference.moments.get(_data_of(self._reference.model, layer.original_positions[0]))
        is_known = moments is not None and len(layer.original_positions) == 1
        prior = _by_group(moments, shape) if moments is not None and is_known else None
        return level_statistics(original, rounded, prior, shape.taps, covariances=covariances)


def _sample(
    model: ModelT, walk: GraphWalk, position: int, numbers: Sequence[int], seed: int, most: int
) -> NDArray[np.float32]:
    """Rows of an operator's inputs, of some samples."""
    data = _data_of(model, position)
    tensor, inputs = model.subgraphs[0].tensors[data], walk.values(data, position, numbers)
    padding = float(stored_values(tensor, np.zeros(1, np.float32))[0])
    return real_values(tensor, sample_rows(layer_of(model, position), inputs, seed, most, padding))


def _by_group(moments: Moments, layer: Layer) -> Prior | None:
    """Moments of a layer's input channels as [groups, depth]; None if they do not fit."""

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


def _check_alike(outputs: Sequence[Array]) -> None:
    shapes = {each.shape[1:] if each.ndim else None for each in outputs}
    if len(shapes) > 1 or None in shapes:
        raise ValueError("outputs of one shape were expected, with a batch in front")


def _outcome(everything: Sequence[Array], judged: Sequence[Array]) -> Outcome:
    """Of a level's outputs for the last samples, beside the float net's for all of them.

    Rows of scores are in memory all at once; images are too large for that.
    """
    exact, first = everything[-len(judged) :], everything[0]
    if first.ndim != 2 or first.shape[1] < 2:
        _check_alike([first, *judged])
        both = SignalToNoise()
        for reference, values in zip(exact, judged, strict=True):
            both.add(reference, values)
        return Outcome(None, None, both.db)
    original, rounded, scores = (np.concatenate(each) for each in (exact, judged, everything))
    snr_db = signal_to_noise_db(original, rounded)
    agreement = float(np.mean(original.argmax(axis=1) == rounded.argmax(axis=1)))
    logits = [_logits(each) for each in (scores, rounded, original)]
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
