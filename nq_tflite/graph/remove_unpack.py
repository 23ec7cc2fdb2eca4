"""Replaces NQ_UNPACK_DEQUANT operators by constant weights at one precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.constants import MADE_BIAS, METADATA_NAME
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, SubGraphT
from nq_tflite.graph.nested import NestedWeight
from nq_tflite.graph.prune import prune
from nq_tflite.graph.readers import reader_of
from nq_tflite.graph.stock_weights import StockWeights, weight_writer


def remove_unpack(model: ModelT, weights: list[NestedWeight], level: int, weights_as: StockWeights = "nested") -> None:
    """Leaves a stock model whose weights (and corrected biases) are those of the level; equal constants stay shared.

    Raises:
        UnsupportedModelError: a weight that cannot be of the kind that `weights_as` says.
    """
    write = weight_writer(weights_as)
    constants: dict[bytes, int] = {}

    def buffer_of(data: bytes) -> int:
        if data not in constants:
            constants[data] = fb.add_buffer(model, data)
        return constants[data]

    for weight in weights:
        subgraph = model.subgraphs[weight.subgraph]
        subgraph.tensors[weight.tensor].buffer = buffer_of(write(model, weight, level))
        if weight.bias_tensor is not None:
            subgraph.tensors[weight.bias_tensor].buffer = buffer_of(weight.bias(level).tobytes())
    for weight in weights:
        subgraph, made = model.subgraphs[weight.subgraph], weight.bias_tensor
        if made is not None:
            _read_bias(model, subgraph, made, _former_bias(model, subgraph, made, weight, weight.bias(level)))
    for subgraph_index in {weight.subgraph for weight in weights}:
        removed = {weight.operator for weight in weights if weight.subgraph == subgraph_index}
        subgraph = model.subgraphs[subgraph_index]
        subgraph.operators = [op for position, op in enumerate(subgraph.operators) if position not in removed]
    model.metadata = [m for m in model.metadata or [] if fb.text(m.name) != METADATA_NAME]
    prune(model)


def _former_bias(model: ModelT, subgraph: SubGraphT, made: int, weight: NestedWeight, bias: NDArray[Any]) -> int:
    """What the layer read before it was nested, if that says the same: a shared tensor, or -1 for none."""
    name = fb.text(subgraph.tensors[made].name)
    if not name.endswith(MADE_BIAS):
        return made
    owner = name.removesuffix(MADE_BIAS)
    if owner == weight.name:
        return made if bias.any() else -1
    for index, tensor in enumerate(subgraph.tensors):
        values = fb.constant(model, tensor) if fb.text(tensor.name) == owner else None
        if values is not None and values.dtype == bias.dtype and np.array_equal(values, bias):
            return index
    return made


def _read_bias(model: ModelT, subgraph: SubGraphT, old: int, new: int) -> None:
    for position, slot in fb.readers(subgraph).get(old, []):
        operator = subgraph.operators[position]
        reader = reader_of(model, operator)
        if reader is None or slot != reader.bias:
            continue
        inputs = fb.indices(operator.inputs)
        inputs[slot] = new
        if new < 0 and fb.builtin_code(model, operator) != schema.BuiltinOperator.FULLY_CONNECTED:
            inputs = inputs[:slot]  # convolutions refuse -1
        operator.inputs = inputs
