"""Scales of tensors: real = scale * (code - zero_point)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.affine import dequantize, quantize
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array, schema
from nq_tflite.graph.model import ModelT, QuantizationT, TensorT

#: What quantized activations are stored as.
_CODES = {schema.TensorType.INT8: np.int8, schema.TensorType.UINT8: np.uint8}


def scales_of(tensor: TensorT) -> NDArray[np.float32]:
    """A tensor's scales: [1] or [channels]; [0] where it has none."""
    quantization = tensor.quantization
    return np.asarray([] if quantization is None or quantization.scale is None else quantization.scale, np.float32)


def scale_and_zero_point(tensor: TensorT) -> tuple[float, int] | None:
    """Those of a tensor that has one scale for all its values; None for any other."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return None
    points = fb.indices(quantization.zeroPoint)
    return float(quantization.scale[0]), points[0] if points else 0


def activation_scale(tensor: TensorT) -> float:
    """The scale of a quantized activation.

    Raises:
        UnsupportedModelError: it has none, or one for each channel.
    """
    parameters = scale_and_zero_point(tensor)
    if parameters is None:
        raise UnsupportedModelError(
            f"activation {fb.text(tensor.name)!r}",
            expected="one scale for all its values",
            got=f"{len(scales_of(tensor))} scales",
            fix="Convert the model again with a current tf.lite.TFLiteConverter.",
        )
    return parameters[0]


def bias_quantization(data: TensorT, weight_scales: NDArray[np.float32]) -> QuantizationT:
    """Of a layer's int32 bias, whose unit is input scale * weight scale.

    Args:
        data: what the layer multiplies by its weight.
        weight_scales: float32 [1] or [channels].
    """
    return fb.new_quantization(weight_scales * np.float32(activation_scale(data)))


# ---- values ----------------------------------------------------------------------------------------------------------


def real_values(tensor: TensorT, values: Array) -> NDArray[np.float32]:
    """Real values of what a tensor holds, by its scale and zero point where it is quantized."""
    parameters = scale_and_zero_point(tensor)
    if values.dtype.kind == "f" or parameters is None:
        return values.astype(np.float32, copy=False)
    return dequantize(values, *parameters, np.float32)


def stored_values(tensor: TensorT, values: Array) -> Array:
    """Values as a tensor stores them: real ones quantized by its scale where it is quantized."""
    if tensor.type == schema.TensorType.FLOAT32:
        return values.astype(np.float32, copy=False)
    dtype, parameters = _CODES.get(tensor.type), scale_and_zero_point(tensor)
    if dtype is None or values.dtype.kind != "f" or parameters is None:
        return values
    return quantize(values, *parameters, dtype)


def covered_values(tensor: TensorT) -> tuple[float, float] | None:
    """The least and the greatest real value that a tensor's codes can stand for; None where it is not quantized."""
    dtype, parameters = _CODES.get(tensor.type), scale_and_zero_point(tensor)
    if dtype is None or parameters is None:
        return None
    scale, zero_point = parameters
    limits = np.iinfo(dtype)
    return scale * (limits.min - zero_point), scale * (limits.max - zero_point)


def covered_input(model: ModelT, index: int) -> tuple[float, float] | None:
    """`covered_values` of an input of the main subgraph, or of what a float one is quantized to at once."""
    subgraph = model.subgraphs[0]
    candidates = [subgraph.tensors[index]]
    for use in fb.readers(subgraph).get(index, []):
        operator = subgraph.operators[use.position]
        if fb.builtin_code(model, operator) == schema.BuiltinOperator.QUANTIZE:
            candidates.append(subgraph.tensors[fb.indices(operator.outputs)[0]])
    return next((found for each in candidates if (found := covered_values(each)) is not None), None)
