"""Weights recognised by their values: names and places change from one conversion to the next, weights do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, OperatorT, SubGraphT, TensorPlace, TensorT
from nq_tflite.graph.quantization import scales_of
from nq_tflite.graph.readers import reader_of, slots_of
from nq_tflite.graph.sites import as_matrix

#: Float weights of one layer differ by what folding a batch norm rounds, relative to their channel's largest.
_FLOAT_ERROR = 2.0**-16


@dataclass(frozen=True)
class LayerWeight:
    """A constant weight where an operator reads it.

    Attributes:
        subgraph, operator, tensor: indices of the reading operator and the weight.
        kind: the operator's builtin code.
        matrix: float32 [channels, depth], real values, depth in the weight's own order.
        error: float32 [channels, 1], how far the stored values may be from those they were rounded from.
    """

    subgraph: int
    operator: int
    tensor: int
    kind: int
    matrix: NDArray[np.float32]
    error: NDArray[np.float32]

    @property
    def place(self) -> TensorPlace:
        """Of the weight tensor."""
        return TensorPlace(self.subgraph, self.tensor)

    def is_of(self, matrix: NDArray[np.floating[Any]]) -> bool:
        """Whether these are those float weights [channels, depth], rounded."""
        if matrix.shape != self.matrix.shape:
            return False
        # A few channels tell most strangers apart at a small part of the cost.
        few = slice(None, None, max(1, len(matrix) // 4))
        return all(bool((np.abs(self.matrix[at] - matrix[at]) <= self.error[at]).all()) for at in (few, slice(None)))


def layer_weights(model: ModelT) -> Iterator[LayerWeight]:
    """The constant float32 and int8 weights of every convolution and dense layer, in graph order."""
    for number, subgraph in fb.subgraphs(model):
        for position, operator in enumerate(subgraph.operators):
            reader = reader_of(model, operator)
            index = reader.weight_of(operator) if reader is not None and reader.is_layer and not reader.looks_up else -1
            if reader is None or index < 0:
                continue
            tensor = subgraph.tensors[index]
            values = real_constant(model, tensor)
            if values is not None and values.ndim:
                matrix = as_matrix(values, reader.layout)
                kind = fb.builtin_code(model, operator)
                yield LayerWeight(number, position, index, kind, matrix, _error(tensor, matrix))


def _error(tensor: TensorT, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far a weight's stored values may be from those they were rounded from: float32 [channels, 1]."""
    error = _FLOAT_ERROR * np.abs(matrix).max(axis=1, initial=0)[:, None]
    if tensor.type == schema.TensorType.INT8:
        error = (0.5 * (1 + 2.0**-10)) * np.broadcast_to(scales_of(tensor)[:, None], error.shape) + error
    return np.asarray(error)


def real_constant(model: ModelT, tensor: TensorT) -> NDArray[np.float32] | None:
    """A constant's real values, float32 in its shape; None for variable tensors and types other than float and int8.

    An int32 constant counts where it has a scale, as biases have.
    """
    values = fb.constant(model, tensor)
    if values is None or values.dtype == np.float32:
        return values
    quantization, scale = tensor.quantization, scales_of(tensor)
    if quantization is None or not len(scale):
        return None
    zero_point = np.zeros(1) if quantization.zeroPoint is None else np.asarray(quantization.zeroPoint)
    if len(scale) > 1:
        along = [1] * values.ndim
        along[quantization.quantizedDimension] = len(scale)
        scale, zero_point = scale.reshape(along), np.resize(zero_point, len(scale)).reshape(along)
    return np.asarray(scale * (values - zero_point), np.float32)


def real_bias(model: ModelT, subgraph: SubGraphT, operator: OperatorT) -> NDArray[np.float32] | None:
    """A layer's constant bias, real values [channels]; None if it has none, or one that is computed."""
    index = slots_of(model, operator).bias_of(operator)
    return None if index < 0 else real_constant(model, subgraph.tensors[index])


def pair_weights(float_model: ModelT, int8_model: ModelT) -> dict[TensorPlace, TensorPlace]:
    """Finds the float weight that each int8 weight was rounded from.

    Args:
        float_model, int8_model: two conversions of one model.

    Returns:
        Places in the int8 model -> places in the float model. A weight is left out that matches none, or several that
        differ from each other; among equal ones the order of the graph decides.
    """
    floats: dict[tuple[int, tuple[int, ...]], list[LayerWeight]] = defaultdict(list)
    for weight in _by_tensor(layer_weights(float_model)):
        floats[weight.kind, weight.matrix.shape].append(weight)
    matches = {}
    for weight in _by_tensor(layer_weights(int8_model)):
        found = [each for each in floats[weight.kind, weight.matrix.shape] if weight.is_of(each.matrix)]
        alike = all(np.array_equal(each.matrix, found[0].matrix) for each in found[1:])
        matches[weight.place] = [each.place for each in found] if alike else []
    return _in_order(matches)


def _by_tensor(weights: Iterator[LayerWeight]) -> Iterator[LayerWeight]:
    """The first reader of each weight."""
    seen = set()
    for weight in weights:
        if weight.place not in seen:
            seen.add(weight.place)
            yield weight


def _in_order(matches: dict[TensorPlace, list[TensorPlace]]) -> dict[TensorPlace, TensorPlace]:
    """Equal weights pair first with first, second with second, if there are as many on both sides."""
    alike: dict[Sequence[TensorPlace], list[TensorPlace]] = defaultdict(list)
    for int8, found in matches.items():
        if found:
            alike[tuple(found)].append(int8)
    return {
        int8: found[place] if len(group) == len(found) else found[0]
        for found, group in alike.items()
        for place, int8 in enumerate(group)
    }
