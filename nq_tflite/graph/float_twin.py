"""Makes a full-int8 graph compute in floats: the same weights, and activations that nothing rounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array, schema
from nq_tflite.graph.model import ModelT, OperatorT, SubGraphT, TensorT
from nq_tflite.graph.quantization import scales_of

_Type, _Builtin = schema.TensorType, schema.BuiltinOperator
#: Between real values and codes, or between two kinds of codes.
_CONVERSIONS = {_Builtin.QUANTIZE, _Builtin.DEQUANTIZE}


def make_float_twin(model: ModelT) -> None:
    """Changes a stock full-int8 model in place.

    Tensors keep their indices. QUANTIZE and DEQUANTIZE become multiplications by 1.

    Raises:
        UnsupportedModelError: an operator keeps scales of what it computes inside, or a custom one may.
    """
    for _, graph in fb.subgraphs(model):
        for operator in graph.operators:
            _check(model, operator)
        for tensor in graph.tensors:
            _make_real(model, tensor)
        for operator in graph.operators:
            if fb.builtin_code(model, operator) in _CONVERSIONS:
                _make_identity(model, graph, operator)


def _check(model: ModelT, operator: OperatorT) -> None:
    name = fb.operator_name(model, operator)
    if fb.indices(operator.intermediates) or fb.custom_name(model, operator):
        raise UnsupportedModelError(
            f"operator {name}", expected="a builtin one without inner tensors", got="one that may round inside"
        )


def _make_real(model: ModelT, tensor: TensorT) -> None:
    """What stands for real values holds them; classes and places stay integers."""
    scales = scales_of(tensor)
    if tensor.type == _Type.FLOAT32 or not len(scales):
        return
    values = fb.constant(model, tensor)
    if values is not None:
        tensor.buffer = fb.add_buffer(model, _real(tensor, values, scales))
    tensor.type, tensor.quantization = _Type.FLOAT32, None


def _real(tensor: TensorT, values: Array, scales: NDArray[np.float32]) -> NDArray[np.float32]:
    quantization = tensor.quantization
    points = np.asarray(fb.indices(None if quantization is None else quantization.zeroPoint) or [0], np.int64)
    sizes = [1] * values.ndim
    if len(scales) > 1 and quantization is not None:
        sizes[quantization.quantizedDimension] = -1
    shifted = values.astype(np.int64) - (points.reshape(sizes) if len(points) > 1 else points[0])
    return np.asarray(shifted * scales.astype(np.float64).reshape(sizes), np.float32)


def _make_identity(model: ModelT, graph: SubGraphT, operator: OperatorT) -> None:
    """TFLite has no operator that does nothing."""
    one = fb.add_tensor(graph, "one", [], _Type.FLOAT32, fb.add_buffer(model, np.float32(1).tobytes()))
    operator.opcodeIndex = fb.add_builtin_code(model, _Builtin.MUL)
    operator.inputs = [fb.indices(operator.inputs)[0], one]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
