"""Puts the weights of a .h5 or float .tflite file into a Keras model of the same layers; no code in the file runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from nq_tflite.errors import ModelSourceError, NqError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.widening import widen

Array = npt.NDArray[Any]

#: From TFLite's axes to Keras': OHWI to HWIO, [1, H, W, C] to [H, W, C, 1], [out, in] to [in, out].
_KERAS_AXES = {"CONV_2D": (1, 2, 3, 0), "DEPTHWISE_CONV_2D": (1, 2, 3, 0), "FULLY_CONNECTED": (1, 0)}


def set_from_h5(model: keras.Model, path: Path) -> None:
    """Sets all weights from a .h5 file, layer by layer in its order; the model that the file describes is not built.

    Raises:
      ModelSourceError: the file cannot be read, or has other layers.

    Example:
      set_from_h5(model, Path("vww_96.h5"))
    """
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise _not_of(model, path, "a .h5 file with weights of its layers", str(error)) from error


def set_from_tflite(model: keras.Model, path: Path) -> None:
    """Sets kernel and bias of all layers from a float .tflite file, whose batch norms have been folded, in its order.

    Kernels that the file has in eight bits or in half precision, beside float activations, become float32.

    Raises:
      ModelSourceError: the file cannot be read, or has other layers.

    Example:
      set_from_tflite(model, Path("kws_ref_model_float32.tflite"))
    """
    try:
        stored = fb.read_model(path).model
        widen(stored)
        values = list(_kernels_and_biases(stored))
    except (OSError, NqError) as error:
        raise _not_of(model, path, "a .tflite file", str(error)) from error
    expected = [tuple(weight.shape) for weight in model.weights]
    got = [(*value.shape, str(value.dtype)) for value in values]
    if got != [(*shape, "float32") for shape in expected]:
        raise _not_of(model, path, f"float32 weights of the shapes {expected}", f"{got}")
    model.set_weights(values)


def _kernels_and_biases(model: ModelT) -> Iterator[Array]:
    graph = model.subgraphs[0]
    for operator in graph.operators:
        axes = _KERAS_AXES.get(fb.operator_name(model, operator))
        if axes is None:
            continue
        kernel, bias = (fb.constant(model, graph.tensors[index]) for index in fb.indices(operator.inputs)[1:3])
        if kernel is not None and bias is not None:
            yield np.transpose(kernel, axes)
            yield bias


def _not_of(model: keras.Model, path: Path, expected: str, got: str) -> ModelSourceError:
    return ModelSourceError(f"weights {path} for {model.name}", expected=expected, got=" ".join(got.split()))
