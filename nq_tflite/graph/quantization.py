"""Scales of tensors: real = scale * (code - zero_point)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.affine import dequantize, quantize
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array, schema
from nq_tflite.graph.model import ModelT, QuantizationT, SubGraphT, TensorT

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


def real_constant(model: ModelT, subgraph: SubGraphT, tensor: TensorT) -> NDArray[np.float32] | None:
    """Real values of a quantized constant, whether it has one scale, one for each channel or one for each block.

    None if it is no constant, or its scales do not fit its shape.
    """
    codes, scales = fb.constant(model, tensor), scales_of(tensor)
    if codes is None or tensor.quantization is None:
        return None
    blocks = block_scales(model, subgraph, tensor)
    if blocks is not None:
        per_block = codes.reshape(*blocks.shape, -1).astype(np.float32)
        return np.asarray(per_block * blocks[..., None], np.float32).reshape(codes.shape)
    axis, points = tensor.quantization.quantizedDimension, np.asarray(fb.indices(tensor.quantization.zeroPoint) or [0])
    dims = [1] * codes.ndim
    if len(scales) > 1 and 0 <= axis < codes.ndim:
        dims[axis] = codes.shape[axis]
    if not {len(scales), len(points)} <= {1, math.prod(dims)}:
        return None
    points = np.broadcast_to(points, scales.shape).astype(np.float32)
    return np.asarray((codes - points.reshape(dims)) * scales.reshape(dims), np.float32)


def block_scales(model: ModelT, subgraph: SubGraphT, tensor: TensorT) -> NDArray[np.float32] | None:
    """float32 [..., blocks], of a constant that has a scale for each block of its last dimension; None for any other.

    Symmetric ones alone: a constant with zero points of its own for blocks is not read.
    """
    index = scales_tensor(tensor)
    if tensor.quantization is None or index not in range(len(subgraph.tensors)):
        return None
    details, dims = tensor.quantization.details, fb.shape(tensor)
    scales, size = fb.constant(model, subgraph.tensors[index]), details.blockSize
    if scales is None or not dims or size < 1 or details.zeroPoints >= 0:
        return None
    fits = scales.size * size == math.prod(dims) and dims[-1] % size == 0
    return scales.astype(np.float32).reshape(*dims[:-1], -1) if fits else None


def scales_tensor(tensor: TensorT) -> int:
    """Index of the tensor with the scales of a tensor's blocks; -1 where it has none."""
    details = getattr(tensor.quantization, "details", None)
    return int(getattr(details, "scales", -1))


def stored_values(tensor: TensorT, values: Array) -> Array:
    """Values as a tensor stores them: real ones quantized by its scale where it is quantized."""
    if tensor.type == schema.TensorType.FLOAT32:
        return values.astype(np.float32, copy=False)
    dtype, parameters = _CODES.get(tensor.type), scale_and_zero_point(tensor)
    if dtype is None or values.dtype.kind != "f" or parameters is None:
        return values
    return quantize(values, *parameters, dtype)


def covered_values(tensor: TensorT) -> tuple[float, float] | None:
    """The least and the greatest real value that a tensor's codes can stand for; None if it is not quantized."""
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
