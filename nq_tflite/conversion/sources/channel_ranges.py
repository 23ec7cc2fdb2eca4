"""The least and the largest values that a float model's tensors have on samples, as tensorflow's quantizer needs them.

tensorflow's own calibrator runs plain kernels in one thread, and looks at an operator's inputs after it has run. Where
ADD writes its result over an input, it takes the range of the sum for the input's, and half of the input's codes may
stand for values that it never has. Here the tensors are outputs of the model, which runs by XNNPACK in several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.activation_ranges import feed
from nq_tflite.conversion.sources.calibration import Sample
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.linear_chains import find_chains
from nq_tflite.graph.model import ModelT, SubGraphT

Real = NDArray[np.float64]
#: Bytes of tensors that an interpreter keeps at a time, beside those that it needs.
_AT_ONCE = 64 << 20


@dataclass
class ChannelRange:
    """The least and the largest value of each channel of a tensor, along its last axis: float64 [channels].

    Or of all channels together: float64 [1].
    """

    low: Real
    high: Real

    @classmethod
    def none_of(cls, channels: int) -> ChannelRange:
        """Of no values yet."""
        return cls(np.full(channels, np.inf), np.full(channels, -np.inf))

    def add(self, values: NDArray[np.float32]) -> None:
        """Takes in more values: [..., channels]."""
        rows = values.reshape(-1, len(self.low))
        if len(rows):
            self.low = np.minimum(self.low, rows.min(axis=0))
            self.high = np.maximum(self.high, rows.max(axis=0))

    def shifted(self, offsets: Real) -> ChannelRange:
        """Of the values less an offset for each channel."""
        return ChannelRange(self.low - offsets, self.high - offsets)

    def divided(self, factors: Real) -> ChannelRange:
        """Of the values over a factor for each channel."""
        return ChannelRange(self.low / factors, self.high / factors)

    @property
    def magnitudes(self) -> Real:
        """The largest of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def limits(self) -> tuple[float, float]:
        """Of all channels."""
        return float(self.low.min()), float(self.high.max())


def needs_calibrator(model: ModelT) -> bool:
    """Whether there is more to calibrate than tensors of the main subgraph: states, and what is inside of operators."""
    graph = model.subgraphs[0]
    has_insides = any(len(fb.indices(operator.intermediates)) for operator in graph.operators)
    return len(model.subgraphs) > 1 or has_insides or any(tensor.isVariable for tensor in graph.tensors)


@dataclass(frozen=True)
class MeasuredRanges:
    """A float model with the ranges of its tensors, as tensorflow's calibrator would write them.

    Attributes:
        content: the .tflite.
        channels: ranges of the channels of linear chains, by tensor.
    """

    content: bytes
    channels: Mapping[int, ChannelRange]


def measure_ranges(
    content: bytes, interpreter_of: Callable[[bytes], Any], samples: Callable[[], Iterable[Sample]]
) -> MeasuredRanges:
    """Runs a float model on samples; one that needs tensorflow's calibrator keeps the ranges that it has.

    Args:
        content: the .tflite.
        interpreter_of: makes an interpreter of a model's bytes.
        samples: gives them as the model takes them; called once for so many tensors as are looked at together.
    """
    model = fb.read_model(content).model
    wide = {tensor: len(labels) for chain in find_chains(model) for tensor, labels in chain.tensors.items()}
    if needs_calibrator(model):
        return MeasuredRanges(content, measure_channels(model, wide, interpreter_of, samples))
    ranges = measure_channels(model, dict.fromkeys(_float_activations(model), 1) | wide, interpreter_of, samples)
    for tensor, seen in ranges.items():
        model.subgraphs[0].tensors[tensor].quantization = fb.new_range(*seen.limits)
    return MeasuredRanges(fb.pack_model(model), {tensor: ranges[tensor] for tensor in wide})


def _float_activations(model: ModelT) -> list[int]:
    """Tensors of the main subgraph that are inputs, or that operators make."""
    graph = model.subgraphs[0]
    made = [*fb.indices(graph.inputs), *(each for operator in graph.operators for each in fb.indices(operator.outputs))]
    return [each for each in dict.fromkeys(made) if graph.tensors[each].type == schema.TensorType.FLOAT32]


def measure_channels(
    model: ModelT,
    wide: Mapping[int, int],
    interpreter_of: Callable[[bytes], Any],
    samples: Callable[[], Iterable[Sample]],
) -> dict[int, ChannelRange]:
    """Ranges of tensors of the main subgraph, of so many channels each, or of one that stands for all of them."""
    graph = model.subgraphs[0]
    outputs = fb.indices(graph.outputs)
    ranges = {tensor: ChannelRange.none_of(channels) for tensor, channels in wide.items()}
    for group in _groups(graph, wide):
        graph.outputs = group
        try:
            interpreter = interpreter_of(fb.pack_model(model))
        finally:
            graph.outputs = outputs
        for sample in samples():
            feed(model, interpreter, sample)
            for tensor, each in zip(group, interpreter.get_output_details(), strict=True):
                ranges[tensor].add(interpreter.get_tensor(each["index"]))
    return ranges


def _groups(graph: SubGraphT, tensors: Iterable[int]) -> Iterator[list[int]]:
    """The tensors to look at, so many at a time as fit into _AT_ONCE."""
    group: list[int] = []
    size = 0
    for tensor in tensors:
        of_this = 4 * prod(max(each, 1) for each in fb.shape(graph.tensors[tensor]))
        if group and size + of_this > _AT_ONCE:
            yield group
            group, size = [], 0
        group.append(tensor)
        size += of_this
    if group:
        yield group
