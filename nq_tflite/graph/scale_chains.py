"""Gives the channels of linear chains other factors: a float model whose outputs stay the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.bitpack import Layout
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array, schema
from nq_tflite.graph.linear_chains import LAYERS, Chain
from nq_tflite.graph.model import InputSlot, ModelT, OperatorT
from nq_tflite.graph.readers import slots_of

Real = NDArray[np.float64]

_Builtin = schema.BuiltinOperator


def scale_chains(model: ModelT, chains: Sequence[Chain], factors: Sequence[Real]) -> ModelT:
    """A copy of a model in which the tensors of chains hold their values divided by factors.

    Its outputs differ by no more than float arithmetic does.

    Args:
        model: the one that the chains were found in; it is left as it is.
        chains: some or all of them.
        factors: positive ones for each chain, float64 [num_factors].
    """
    scaled = copy.deepcopy(model)
    by_tensor = {
        tensor: each[labels]
        for chain, each in zip(chains, factors, strict=True)
        for tensor, labels in chain.tensors.items()
    }
    readers = fb.readers(scaled.subgraphs[0])
    for position, operator in enumerate(scaled.subgraphs[0].operators):
        for slot, values in _changed(scaled, operator, by_tensor).items():
            index = fb.indices(operator.inputs)[slot]
            _replace(scaled, InputSlot(position, slot), values, alone=len(readers[index]) == 1)
    return scaled


def _changed(model: ModelT, operator: OperatorT, by_tensor: Mapping[int, Real]) -> dict[int, Array]:
    """The constants that an operator must read now, by its input slots."""
    inputs, [output, *_] = fb.indices(operator.inputs), fb.indices(operator.outputs)
    if not by_tensor.keys() & {*inputs, output}:
        return {}
    code = fb.builtin_code(model, operator)
    if code in LAYERS:
        return _of_layer(model, operator, by_tensor)
    if code not in (_Builtin.ADD, _Builtin.SUB, _Builtin.MUL):
        return {}
    constants = {slot: _constant(model, index) for slot, index in enumerate(inputs)}
    data = next(index for slot, index in enumerate(inputs) if constants[slot] is None)
    divisor = by_tensor.get(output, np.ones(1))
    factor = by_tensor.get(data, np.ones(1)) if code == _Builtin.MUL else np.ones(1)
    return {slot: values * factor / divisor for slot, values in constants.items() if values is not None}


def _of_layer(model: ModelT, operator: OperatorT, by_tensor: Mapping[int, Real]) -> dict[int, Array]:
    """A layer's weight, and its bias."""
    reader, [output, *_] = slots_of(model, operator), fb.indices(operator.outputs)
    weight = _constant(model, reader.weight_of(operator))
    if weight is None:
        return {}
    divisor, factor = by_tensor.get(output, np.ones(1)), by_tensor.get(reader.data_of(operator), np.ones(1))
    if reader.layout is Layout.DEPTHWISE:
        along = np.repeat(factor, weight.shape[-1] // len(factor)) / divisor
    else:
        along = by_input(weight, factor) / divisor.reshape(-1, *[1] * (weight.ndim - 1))
    changed = {reader.weight: weight * along}
    bias = _constant(model, reader.bias_of(operator))
    if reader.bias is not None and bias is not None:
        changed[reader.bias] = bias / divisor
    return changed


def by_input(weight: Array, factor: Real) -> Real:
    """Factors of the input's channels where a weight [channels, ..., inputs] multiplies them."""
    width = weight.shape[-1]
    if len(factor) <= width:
        return np.resize(factor, width)  # of a dense layer, which may read a flattened image
    groups = len(factor) // width
    each = np.repeat(factor.reshape(groups, width), len(weight) // groups, axis=0)
    return each.reshape(len(weight), *[1] * (weight.ndim - 2), width)


def _constant(model: ModelT, tensor: int) -> Array | None:
    return None if tensor < 0 else fb.constant(model, model.subgraphs[0].tensors[tensor])


def _replace(model: ModelT, at: InputSlot, values: Array, *, alone: bool) -> None:
    """Gives an operator another float constant; `alone` if nobody else reads the tensor that it reads now."""
    graph = model.subgraphs[0]
    operator = graph.operators[at.position]
    inputs = fb.indices(operator.inputs)
    tensor = graph.tensors[inputs[at.slot]]
    buffer = fb.add_buffer(model, values.astype(np.float32))
    if alone:
        tensor.buffer = buffer
        return
    inputs[at.slot] = fb.add_tensor(graph, fb.text(tensor.name), fb.shape(tensor), tensor.type, buffer)
    operator.inputs = inputs
