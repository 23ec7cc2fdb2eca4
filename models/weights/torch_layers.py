"""Puts the tensors of a PyTorch state dict into Keras layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nq_tflite.errors import ModelSourceError

if TYPE_CHECKING:
    import keras

Array = npt.NDArray[Any]

# PyTorch keeps OIHW (depthwise [C, 1, H, W]) and [out, in]; Keras HWIO (depthwise [H, W, C, 1]) and [in, out].
_CONV_AXES = (2, 3, 1, 0)
_DEPTHWISE_AXES = (2, 3, 0, 1)
_DENSE_AXES = (1, 0)


def set_conv(layer: keras.Layer, weights: Mapping[str, Array], prefix: str) -> None:
    """Sets a Conv2D without bias from `<prefix>.weight` [O, I, H, W]; shape mismatches are a ModelSourceError.

    Example:
      set_conv(model.get_layer("Conv1"), weights, "features.0.0")
    """
    _set(layer, prefix, [np.transpose(_tensor(weights, f"{prefix}.weight", 4), _CONV_AXES)])


def set_depthwise(layer: keras.Layer, weights: Mapping[str, Array], prefix: str) -> None:
    """Sets a DepthwiseConv2D without bias from `<prefix>.weight` [C, 1, H, W]; mismatches are a ModelSourceError.

    Example:
      set_depthwise(model.get_layer("expanded_conv_depthwise"), weights, "features.1.conv.0.0")
    """
    _set(layer, prefix, [np.transpose(_tensor(weights, f"{prefix}.weight", 4), _DEPTHWISE_AXES)])


def set_batch_norm(layer: keras.Layer, weights: Mapping[str, Array], prefix: str) -> None:
    """Sets a BatchNormalization from weight, bias, running_mean and running_var; mismatches are a ModelSourceError.

    Example:
      set_batch_norm(model.get_layer("bn_Conv1"), weights, "features.0.1")
    """
    names = ("weight", "bias", "running_mean", "running_var")
    _set(layer, prefix, [_tensor(weights, f"{prefix}.{name}", 1) for name in names])


def set_dense(layer: keras.Layer, weights: Mapping[str, Array], prefix: str) -> None:
    """Sets a Dense from `<prefix>.weight` [out, in] and `<prefix>.bias`; mismatches are a ModelSourceError.

    Example:
      set_dense(model.get_layer("predictions"), weights, "classifier.1")
    """
    kernel = np.transpose(_tensor(weights, f"{prefix}.weight", 2), _DENSE_AXES)
    _set(layer, prefix, [kernel, _tensor(weights, f"{prefix}.bias", 1)])


def _tensor(weights: Mapping[str, Array], name: str, rank: int) -> Array:
    if name not in weights or weights[name].ndim != rank:
        got = f"rank {weights[name].ndim}" if name in weights else "no such tensor"
        raise _mismatch(name, f"a tensor of rank {rank}", got)
    return weights[name]


def _set(layer: keras.Layer, prefix: str, arrays: Iterable[Array]) -> None:
    values = list(arrays)
    expected, got = [tuple(weight.shape) for weight in layer.weights], [value.shape for value in values]
    if expected != got:
        raise _mismatch(f"{prefix} for layer {layer.name}", f"shapes {expected}", f"{got}")
    layer.set_weights(values)


def _mismatch(what: str, expected: str, got: str) -> ModelSourceError:
    fix = "The weights belong to another architecture; obtain the archive that models/README.md names."
    return ModelSourceError(f"weights {what}", expected=expected, got=got, fix=fix)
