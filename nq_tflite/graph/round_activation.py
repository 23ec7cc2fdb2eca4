"""Rounds activations of a float graph to the codes that they have in a full-int8 one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, OperatorT, SubGraphT
from nq_tflite.graph.quantization import scale_and_zero_point

_Type, _Builtin = schema.TensorType, schema.BuiltinOperator
_CODES = {_Type.INT8, _Type.UINT8, _Type.INT16}
#: Operators that give some of the values that they read, and round nothing where the scale stays.
_MOVERS = {
    _Builtin.BATCH_TO_SPACE_ND,
    _Builtin.CONCATENATION,
    _Builtin.EXPAND_DIMS,
    _Builtin.GATHER,
    _Builtin.MAXIMUM,
    _Builtin.MAX_POOL_2D,
    _Builtin.MINIMUM,
    _Builtin.PACK,
    _Builtin.PAD,
    _Builtin.RESHAPE,
    _Builtin.RESIZE_NEAREST_NEIGHBOR,
    _Builtin.SLICE,
    _Builtin.SPACE_TO_BATCH_ND,
    _Builtin.SPLIT,
    _Builtin.SQUEEZE,
    _Builtin.STRIDED_SLICE,
    _Builtin.TRANSPOSE,
    _Builtin.UNPACK,
}


@dataclass(frozen=True)
class RoundedActivation:
    """A computed tensor of the main subgraph, or an input, and its codes.

    Attributes:
        tensor: by index.
        code_type: TensorType of the codes.
        scale, zero_point: of the codes.
    """

    tensor: int
    code_type: int
    scale: float
    zero_point: int


def rounded_activations(model: ModelT) -> list[RoundedActivation]:
    """All places of a full-int8 model's main subgraph where values are rounded to new codes, in the graph's order."""
    graph = model.subgraphs[0]
    made = fb.indices(graph.inputs)
    for operator in graph.operators:
        if not _moves(model, graph, operator):
            made += fb.indices(operator.outputs)
    return [found for tensor in made if (found := _rounded(graph, tensor)) is not None]


def _rounded(graph: SubGraphT, tensor: int) -> RoundedActivation | None:
    parameters = scale_and_zero_point(graph.tensors[tensor])
    if graph.tensors[tensor].type not in _CODES or parameters is None:
        return None
    return RoundedActivation(tensor, graph.tensors[tensor].type, *parameters)


def _moves(model: ModelT, graph: SubGraphT, operator: OperatorT) -> bool:
    """Whether an operator's outputs have the codes of its inputs."""
    if fb.builtin_code(model, operator) not in _MOVERS:
        return False
    tensors = [graph.tensors[each] for each in (*fb.indices(operator.inputs), *fb.indices(operator.outputs))]
    return len({scale_and_zero_point(each) for each in tensors if each.type in _CODES}) == 1


def round_activation(model: ModelT, activation: RoundedActivation) -> None:
    """Puts QUANTIZE and DEQUANTIZE between a tensor, which is float32 here, and all that reads it; in place."""
    graph, tensor = model.subgraphs[0], activation.tensor
    old = graph.tensors[tensor]
    name, sizes = fb.text(old.name), fb.shape(old)
    codes = fb.add_tensor(graph, f"{name}/codes", sizes, activation.code_type, 0)
    quantization = fb.new_quantization(np.array([activation.scale], np.float32))
    quantization.zeroPoint = [activation.zero_point]
    graph.tensors[codes].quantization = quantization
    rounded = fb.add_tensor(graph, f"{name}/rounded", sizes, _Type.FLOAT32, 0)
    for each in (codes, rounded):
        graph.tensors[each].shapeSignature = old.shapeSignature
    for operator in graph.operators:
        operator.inputs = [rounded if each == tensor else each for each in fb.indices(operator.inputs)]
    graph.outputs = [rounded if each == tensor else each for each in fb.indices(graph.outputs)]
    position = _behind(graph, tensor)
    graph.operators[position:position] = [
        fb.new_operator(fb.add_builtin_code(model, _Builtin.QUANTIZE), [tensor], [codes]),
        fb.new_operator(fb.add_builtin_code(model, _Builtin.DEQUANTIZE, 2), [codes], [rounded]),
    ]


def _behind(graph: SubGraphT, tensor: int) -> int:
    """The position behind the operator that computes a tensor; 0 for an input."""
    makers = [position for position, each in enumerate(graph.operators) if tensor in fb.indices(each.outputs)]
    return makers[0] + 1 if makers else 0
