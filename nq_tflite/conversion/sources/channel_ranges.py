"""The least and the largest values that a float model's tensors have on samples, as tensorflow's quantizer needs them.

tensorflow's own calibrator runs plain kernels in one thread, and looks at an operator's inputs after it has run. Where
ADD writes its result over an input, it takes the range of the sum for the input's. Here the tensors are outputs of the
model, which runs by XNNPACK in several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.activation_ranges import feed
from nq_tflite.conversion.sources.calibration import Sample
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.linear_chains import find_chains
from nq_tflite.graph.model import ModelT

Real = NDArray[np.float64]


@dataclass
class ChannelRange:
    """The least and the largest value of each channel of a tensor: float64 [channels]."""

    low: Real
    high: Real

    def add(self, values: NDArray[np.float32]) -> None:
        """Takes in more values: [..., channels]."""
        rows = values.reshape(-1, len(self.low))
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))


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


def measure_ranges(content: bytes, interpreter_of: Callable[[bytes], Any], samples: Iterable[Sample]) -> MeasuredRanges:
    """Runs a float model on samples; one that needs tensorflow's calibrator keeps the ranges that it has.

    Args:
        content: the .tflite.
        interpreter_of: makes an interpreter of a model's bytes.
        samples: as the model takes them.
    """
    model = fb.read_model(content).model
    wide = {tensor: len(labels) for chain in find_chains(model) for tensor, labels in chain.tensors.items()}
    if needs_calibrator(model):
        return MeasuredRanges(content, _measured(model, wide, interpreter_of, samples))
    ranges = _measured(model, dict.fromkeys(_float_activations(model), 1) | wide, interpreter_of, samples)
    for tensor, seen in ranges.items():
        limits = float(seen.low.min()), float(seen.high.max())
        model.subgraphs[0].tensors[tensor].quantization = fb.new_range(*limits)
    return MeasuredRanges(fb.pack_model(model), {tensor: ranges[tensor] for tensor in wide})


def _float_activations(model: ModelT) -> list[int]:
    """Tensors of the main subgraph that are inputs, or that operators make."""
    graph = model.subgraphs[0]
    made = [*fb.indices(graph.inputs), *(each for operator in graph.operators for each in fb.indices(operator.outputs))]
    return [each for each in dict.fromkeys(made) if graph.tensors[each].type == schema.TensorType.FLOAT32]


def _measured(
    model: ModelT, wide: Mapping[int, int], interpreter_of: Callable[[bytes], Any], samples: Iterable[Sample]
) -> dict[int, ChannelRange]:
    """Ranges of tensors, of so many channels each, or of one that stands for all of them."""
    ranges = {tensor: ChannelRange(np.full(each, np.inf), np.full(each, -np.inf)) for tensor, each in wide.items()}
    if not ranges:
        return ranges
    graph = model.subgraphs[0]
    outputs = fb.indices(graph.outputs)
    graph.outputs = list(wide)
    try:
        interpreter = interpreter_of(fb.pack_model(model))
    finally:
        graph.outputs = outputs
    for sample in samples:
        feed(model, interpreter, sample)
        for seen, each in zip(ranges.values(), interpreter.get_output_details(), strict=True):
            seen.add(interpreter.get_tensor(each["index"]))
    return ranges
