"""Gives the channels of linear chains other offsets: a float model whose outputs stay the same.

A channel whose values go from -2 to 6 has codes for -6 to 6 where another one needs those. A layer's bias can move its
output channels by any offset, and the layers that read them take it back in theirs:

    y = B (A x + a) + b  =  B (A x + a - m) + (b + B m)

Sums carry the offsets of what they add up. Zeros that a layer puts around an image would not be zeros any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.bitpack import Layout
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array, schema
from nq_tflite.graph.linear_chains import LAYERS, Chain
from nq_tflite.graph.model import ModelT, OperatorT
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.scale_chains import by_input

Real = NDArray[np.float64]

_Builtin = schema.BuiltinOperator
#: Operators of one input that give an offset on as it is.
_KEEPING = {
    _Builtin.AVERAGE_POOL_2D,
    _Builtin.MAX_POOL_2D,
    _Builtin.MEAN,
    _Builtin.RESIZE_BILINEAR,
    _Builtin.RESIZE_NEAREST_NEIGHBOR,
}


def offset_parts(model: ModelT, chain: Chain) -> dict[int, Real] | None:
    """How the offsets of a chain's tensors come from those of its layers' outputs.

    Returns:
        For each tensor the part that each layer's offset has in its own: float64 [layers]. None if the chain takes
        no offsets.
    """
    whole = np.arange(chain.num_factors)
    if not chain.is_linear or not all(np.array_equal(labels, whole) for labels in chain.tensors.values()):
        return None
    touching = list(_touching(model, chain))
    makers = [output for operator, output in touching if output in chain.tensors and _is_layer(model, operator)]
    parts: dict[int, Real] = dict(zip(makers, np.eye(len(makers)), strict=True))
    for operator, output in touching:
        if _is_layer(model, operator):
            if slots_of(model, operator).data_of(operator) in chain.tensors and not _takes_offsets(model, operator):
                return None
            continue
        data = [each for each in fb.indices(operator.inputs) if each in chain.tensors]
        code = fb.builtin_code(model, operator)
        if code in _KEEPING or (code in (_Builtin.ADD, _Builtin.SUB) and len(data) == 1):
            sign = -1 if code == _Builtin.SUB and data[0] != fb.indices(operator.inputs)[0] else 1
            parts[output] = sign * parts[data[0]]
        elif code in (_Builtin.ADD, _Builtin.SUB):
            parts[output] = parts[data[0]] + (1 if code == _Builtin.ADD else -1) * parts[data[1]]
        else:
            return None
    return parts


def shift_chain(model: ModelT, offsets: Mapping[int, Real]) -> None:
    """Makes the tensors of a chain hold their values less offsets, in place.

    Args:
        model: float, of constants that nothing shares.
        offsets: float64 [channels] for each tensor of the chain, as `offset_parts` lets them be.
    """
    for operator in model.subgraphs[0].operators:
        if not _is_layer(model, operator):
            continue
        reader, output = slots_of(model, operator), fb.indices(operator.outputs)[0]
        given, taken = offsets.get(reader.data_of(operator)), offsets.get(output)
        if given is None and taken is None:
            continue
        change: Real = np.zeros(1) if given is None else _carried(model, operator, given)
        _add_to_bias(model, operator, change - (0 if taken is None else taken))


def _touching(model: ModelT, chain: Chain) -> Iterator[tuple[OperatorT, int]]:
    """The operators that read or compute a chain's tensors, with their outputs."""
    for operator in model.subgraphs[0].operators:
        output = fb.indices(operator.outputs)[0]
        if chain.tensors.keys() & {output, *fb.indices(operator.inputs)}:
            yield operator, output


def _is_layer(model: ModelT, operator: OperatorT) -> bool:
    return fb.builtin_code(model, operator) in LAYERS


def _takes_offsets(model: ModelT, operator: OperatorT) -> bool:
    """Whether a layer puts no zeros around what it reads."""
    if fb.builtin_code(model, operator) == _Builtin.FULLY_CONNECTED:
        return True
    if fb.builtin_code(model, operator) == _Builtin.TRANSPOSE_CONV:
        return False
    weight = _weight(model, operator)
    return weight.shape[1:3] == (1, 1) or operator.builtinOptions.padding == schema.Padding.VALID


def _carried(model: ModelT, operator: OperatorT, offsets: Real) -> Real:
    """What offsets of a layer's input channels do to its outputs: float64 [channels]."""
    weight = _weight(model, operator).astype(np.float64)
    if slots_of(model, operator).layout is Layout.DEPTHWISE:
        along = np.repeat(offsets, weight.shape[-1] // len(offsets))
        return np.asarray((weight * along).reshape(-1, weight.shape[-1]).sum(axis=0))
    return np.asarray((weight * by_input(weight, offsets)).reshape(len(weight), -1).sum(axis=1))


def _weight(model: ModelT, operator: OperatorT) -> Array:
    tensor = model.subgraphs[0].tensors[slots_of(model, operator).weight_of(operator)]
    return np.asarray(fb.constant(model, tensor))


def _add_to_bias(model: ModelT, operator: OperatorT, change: Real) -> None:
    """Gives a layer a bias of its own."""
    graph, reader = model.subgraphs[0], slots_of(model, operator)
    if reader.bias is None:
        raise ValueError("offsets: expected a layer with a bias")
    inputs, index = fb.indices(operator.inputs), reader.bias_of(operator)
    old = 0 if index < 0 else np.asarray(fb.constant(model, graph.tensors[index]), np.float64)
    weight = graph.tensors[reader.weight_of(operator)]
    channels = fb.shape(weight)[3 if reader.layout is Layout.DEPTHWISE else 0]
    values = np.broadcast_to(old + change, (channels,)).astype(np.float32)
    buffer = fb.add_buffer(model, values)
    if index >= 0 and len(fb.readers(graph)[index]) == 1:
        graph.tensors[index].buffer = buffer
        return
    made = fb.add_tensor(graph, f"{fb.text(weight.name)}/bias", [channels], schema.TensorType.FLOAT32, buffer)
    operator.inputs = [*inputs[: reader.bias], made, *inputs[reader.bias + 1 :]]
