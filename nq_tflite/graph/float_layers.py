"""Lets single layers of a full-int8 graph compute with float weights, between DEQUANTIZE and QUANTIZE.

TFLite's INT8 layers take symmetric weights alone. This is how other weights are tried in such a graph, to compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, OperatorT, SubGraphT
from nq_tflite.graph.quantization import real_constant
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site, as_weight

_Type = schema.TensorType


def compute_in_float(model: ModelT, weights: Sequence[tuple[tuple[Site, ...], NDArray[np.float32]]]) -> None:
    """Leaves a stock model whose activations are INT8 as before.

    Args:
        model: full-int8; it is changed in place.
        weights: where each is read, and its values [channels, depth].
    """
    for index, subgraph in fb.subgraphs(model):
        values = {
            id(subgraph.operators[position]): as_weight(matrix, site.layout, fb.shape(subgraph.tensors[site.tensor]))
            for sites, matrix in weights
            for site in sites
            if site.subgraph == index
            for position in site.operators
        }
        operators: list[OperatorT] = []
        for operator in subgraph.operators:
            weight = values.get(id(operator))
            operators += [operator] if weight is None else _in_float(model, subgraph, operator, weight)
        subgraph.operators = operators


def _in_float(model: ModelT, subgraph: SubGraphT, operator: OperatorT, weight: NDArray[np.float32]) -> list[OperatorT]:
    """DEQUANTIZE, the layer, QUANTIZE."""
    reader, inputs, [output] = slots_of(model, operator), fb.indices(operator.inputs), fb.indices(operator.outputs)
    data, bias = inputs[reader.data], reader.bias_of(operator)
    inputs[reader.data] = _float_like(subgraph, data)
    inputs[reader.weight] = _constant(model, subgraph, inputs[reader.weight], weight)
    if bias >= 0 and reader.bias is not None:
        real = real_constant(model, subgraph, subgraph.tensors[bias])
        if real is not None:
            inputs[reader.bias] = _constant(model, subgraph, bias, real)
    operator.inputs, operator.outputs = inputs, [_float_like(subgraph, output)]
    ends = schema.BuiltinOperator.DEQUANTIZE, schema.BuiltinOperator.QUANTIZE
    dequantize, quantize = (fb.builtin_opcode(model, code, version) for code, version in zip(ends, (2, 1), strict=True))
    return [
        fb.new_operator(dequantize, [data], [inputs[reader.data]]),
        operator,
        fb.new_operator(quantize, fb.indices(operator.outputs), [output]),
    ]


def _float_like(subgraph: SubGraphT, index: int) -> int:
    """A float tensor of the name and shape of another."""
    old = subgraph.tensors[index]
    made = fb.add_tensor(subgraph, f"{fb.text(old.name)}/float", fb.shape(old), _Type.FLOAT32, 0)
    subgraph.tensors[made].shapeSignature = old.shapeSignature
    return made


def _constant(model: ModelT, subgraph: SubGraphT, index: int, values: NDArray[np.float32]) -> int:
    name, buffer = f"{fb.text(subgraph.tensors[index].name)}/float", fb.add_buffer(model, values.astype(np.float32))
    return fb.add_tensor(subgraph, name, values.shape, _Type.FLOAT32, buffer)
