"""The range of every channel of a calibrated model's activations, and with them the ranges that calibration got wrong.

tensorflow's calibration looks at a tensor after its operator has run. TFLite lets an addition write its sum over one of
its inputs: what calibration then takes for that input's values are in part those of the sum, which may be twice as
wide. Half of such an input's codes would stand for values that it never has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.activation_ranges import feed
from nq_tflite.conversion.sources.calibration import Sample
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.linear_chains import LAYERS
from nq_tflite.graph.model import ModelT, SubGraphT

Real = NDArray[np.float64]
#: Bytes of tensors that an interpreter keeps at a time, beside those that it needs.
_AT_ONCE = 64 << 20
#: Operators that never write over what they read.
_WITH_OWN_OUTPUTS = {
    *LAYERS,
    schema.BuiltinOperator.AVERAGE_POOL_2D,
    schema.BuiltinOperator.CONCATENATION,
    schema.BuiltinOperator.MAX_POOL_2D,
    schema.BuiltinOperator.MEAN,
    schema.BuiltinOperator.PAD,
}


@dataclass
class ChannelRange:
    """The least and the largest value of each channel of a tensor, along its last axis: float64 [channels]."""

    low: Real
    high: Real

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> ChannelRange:
        """Of values [..., channels]."""
        rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
        return cls(rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64))

    def add(self, values: NDArray[np.float32]) -> None:
        """Takes in more values: [..., channels]."""
        other = ChannelRange.of(values)
        if other.low.shape != self.low.shape:  # a free last axis has no channels
            self.low, self.high = (np.array([pick(each)]) for pick, each in ((np.min, self.low), (np.max, self.high)))
            other.low, other.high = other.low.min(keepdims=True), other.high.max(keepdims=True)
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)

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


def measure_channels(
    model: ModelT,
    tensors: Collection[int],
    interpreter_of: Callable[[bytes], Any],
    samples: Callable[[], Iterable[Sample]],
) -> dict[int, ChannelRange]:
    """Ranges of tensors' channels, by tensor.

    Args:
        model: a calibrated float model.
        tensors: computed ones of the main subgraph; those that calibration gave no range are passed over.
        interpreter_of: makes an interpreter of a model's bytes.
        samples: gives what to run it on; called once for so many tensors as are looked at together.
    """
    graph = model.subgraphs[0]
    outputs = fb.indices(graph.outputs)
    ranges: dict[int, ChannelRange] = {}
    for group in _groups(graph, tensors):
        graph.outputs = outputs + group
        try:
            interpreter = interpreter_of(fb.pack_model(model))
        finally:
            graph.outputs = outputs
        for sample in samples():
            feed(model, interpreter, sample)
            details = interpreter.get_output_details()
            for tensor, each in zip(group, details[len(outputs) :], strict=True):
                values = interpreter.get_tensor(each["index"])
                if tensor in ranges:
                    ranges[tensor].add(values)
                elif values.size:
                    ranges[tensor] = ChannelRange.of(values)
    return ranges


def written_over(model: ModelT) -> set[int]:
    """Computed tensors of the main subgraph that the operator which reads them may write its output over."""
    graph = model.subgraphs[0]
    computed = {output for operator in graph.operators for output in fb.indices(operator.outputs)}
    return computed.intersection(
        tensor
        for operator in graph.operators
        if fb.builtin_code(model, operator) not in _WITH_OWN_OUTPUTS
        for tensor in fb.indices(operator.inputs)
    )


def correct_ranges(model: ModelT, ranges: Mapping[int, ChannelRange]) -> None:
    """Gives the activations of a calibrated model the ranges that they have, in place."""
    for tensor, found in ranges.items():
        model.subgraphs[0].tensors[tensor].quantization = fb.new_range(*found.limits)


def _groups(graph: SubGraphT, tensors: Collection[int]) -> Iterator[list[int]]:
    """The tensors to look at, so many at a time as fit into _AT_ONCE."""
    group: list[int] = []
    size = 0
    for tensor in sorted(tensors):
        quantization = graph.tensors[tensor].quantization
        if quantization is None or quantization.min is None or len(quantization.min) != 1:
            continue
        of_this = 4 * prod(max(each, 1) for each in fb.shape(graph.tensors[tensor]))
        if group and size + of_this > _AT_ONCE:
            yield group
            group, size = [], 0
        group.append(tensor)
        size += of_this
    if group:
        yield group
