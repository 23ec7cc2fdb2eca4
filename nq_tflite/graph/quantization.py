"""Scales of tensors: real = scale * (code - zero_point)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import QuantizationT, TensorT


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
