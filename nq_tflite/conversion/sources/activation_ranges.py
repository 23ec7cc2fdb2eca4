"""Ranges of a full-int8 model's activations: not always from the least to the largest value that calibration saw.

An activation has 256 codes for its range. One that few values reach wastes them on emptiness; one that leaves values
out clips these. `percentile` leaves out a ten-thousandth at each end, `mse` weighs both errors on the histogram.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.calibration import Sample
from nq_tflite.conversion.sources.export_options import ActivationRanges
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, TensorT

_BINS = 4096
_AT_ONCE = 1 << 20  # values that are counted at a time, since NumPy makes several copies of them
_LEFT_OUT = 1e-4  # of the values, at either end
_SHRINKAGES = np.linspace(1.0, 0.3, 36)


@dataclass(frozen=True)
class Histogram:
    """How often a tensor's values fall into each of `_BINS` even bins of [low, high], which holds 0 and all of them."""

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def width(self) -> float:
        """Of one bin."""
        return (self.high - self.low) / _BINS

    def add(self, values: NDArray[np.float32]) -> None:
        """Counts more values."""
        flat = values.ravel()
        for start in range(0, len(flat), _AT_ONCE):
            some = flat[start : start + _AT_ONCE]
            bins = ((some - np.float32(self.low)) * np.float32(1 / self.width)).astype(np.int32)
            self.counts[:] += np.bincount(np.clip(bins, 0, _BINS - 1), minlength=_BINS)


#: From a histogram to the (least, largest) value to be represented; 0 is always between them.
RangeMethod = Callable[[Histogram], tuple[float, float]]


def minmax(histogram: Histogram) -> tuple[float, float]:
    """All that was seen."""
    return histogram.low, histogram.high


def percentile(histogram: Histogram) -> tuple[float, float]:
    """All but a ten-thousandth of the values at each end."""
    below = np.cumsum(histogram.counts) / histogram.counts.sum()
    first, last = np.searchsorted(below, [_LEFT_OUT, 1 - _LEFT_OUT])
    low = histogram.low + first * histogram.width
    high = histogram.low + min(last + 1, _BINS) * histogram.width
    return min(0.0, float(low)), max(0.0, float(high))


def mse(histogram: Histogram) -> tuple[float, float]:
    """The range of the least mean squared error of rounding and clipping, found end by end."""
    middles = histogram.low + (np.arange(_BINS) + 0.5) * histogram.width

    def error(low: float, high: float) -> float:
        scale = (high - low) / 255
        codes = np.clip(np.rint((middles - low) / scale), 0, 255)
        return float(histogram.counts @ np.square(codes * scale + low - middles))

    low, high = histogram.low, histogram.high
    for _ in range(2):
        if high > 0:
            low = min((histogram.low * s for s in _SHRINKAGES), key=lambda each: error(each, high))
        if low < 0:
            high = min((histogram.high * s for s in _SHRINKAGES), key=lambda each: error(low, each))
    return low, high


#: Every one of `ActivationRanges` but "auto".
METHODS: dict[ActivationRanges, RangeMethod] = {"minmax": minmax, "percentile": percentile, "mse": mse}


def measure(model: ModelT, interpreter: Any, samples: Iterable[Sample]) -> dict[int, Histogram]:
    """Histograms of the activations between a calibrated float model's inputs and outputs.

    The ends keep their ranges: a clipped input is lost to all layers, and a clipped logit is often the largest.

    Args:
        model: one whose activations have the least and largest value that calibration saw.
        interpreter: of that model, one that preserves all tensors.
        samples: what to run it on.
    """
    graph = model.subgraphs[0]
    ends = {*fb.indices(graph.inputs), *fb.indices(graph.outputs)}
    histograms = {}
    for index, tensor in enumerate(graph.tensors):
        limits = _limits(tensor)
        if index not in ends and limits is not None and limits[0] < limits[1]:
            histograms[index] = Histogram(*limits, np.zeros(_BINS, np.int64))
    for sample in samples:
        feed(model, interpreter, sample)
        for index, histogram in histograms.items():
            histogram.add(interpreter.get_tensor(index))
    return histograms


def set_ranges(model: ModelT, histograms: Mapping[int, Histogram], method: RangeMethod) -> None:
    """Writes the ranges of that method into a calibrated float model, for tensorflow's quantizer to read."""
    for index, histogram in histograms.items():
        model.subgraphs[0].tensors[index].quantization = fb.new_range(*method(histogram))


def outputs(model: ModelT, interpreter: Any, sample: Sample) -> NDArray[np.float32]:
    """A model's float outputs for one sample, all in one row: [values]."""
    feed(model, interpreter, sample)
    details = interpreter.get_output_details()
    rows = [interpreter.get_tensor(each["index"]).ravel() for each in details]
    return np.asarray(np.concatenate(rows), np.float32)


def _limits(tensor: TensorT) -> tuple[float, float] | None:
    quantization = tensor.quantization
    if tensor.type != schema.TensorType.FLOAT32 or quantization is None:
        return None
    if quantization.min is None or quantization.max is None or len(quantization.min) != 1 or len(quantization.max) != 1:
        return None
    return min(0.0, float(quantization.min[0])), max(0.0, float(quantization.max[0]))


def feed(model: ModelT, interpreter: Any, sample: Sample) -> None:
    """Runs one sample that calibration took: arrays in the order of the inputs, or by the signature's names."""
    slots = fb.indices(model.subgraphs[0].inputs)
    if isinstance(sample, dict):
        named = {fb.text(entry.name): entry.tensorIndex for s in model.signatureDefs or [] for entry in s.inputs or []}
        slots, sample = [named[name] for name in sample], list(sample.values())
    arrays = dict(zip(slots, sample, strict=True))
    if any(tuple(interpreter.get_tensor(index).shape) != values.shape for index, values in arrays.items()):
        for index, values in arrays.items():
            interpreter.resize_tensor_input(index, values.shape)
        interpreter.allocate_tensors()
    for index, values in arrays.items():
        interpreter.set_tensor(index, values)
    interpreter.invoke()
