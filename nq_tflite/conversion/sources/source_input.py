"""What a source records about its image input, before it is converted."""

from __future__ import annotations

import importlib
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from nq_tflite.conversion.sources.keras_export import is_keras_source
from nq_tflite.conversion.sources.keras_models import KerasLayer, KerasModel, all_layers, flat, is_a, model_inputs
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.image_input import PIXEL_FACTORS, ImageInput, find_image_input

#: Keras' signature of a model's ordinary call.
_SERVING = "serving_default"
#: Layers that tell which values an input takes.
_TELLING = ("Rescaling", "Normalization")
#: A Normalization layer whose mean is above this was adapted to pixels of 0..255.
_LEAST_PIXEL_MEAN = 2.0


def source_input(source: Any) -> ImageInput:
    """The image input of what `convert` takes.

    Args:
        source: a Keras model, one that `keras_export.open_source` opened, the path of a SavedModel folder, or that of a
            .tflite file.

    Raises:
        UnsupportedModelError: it has no image input, or several inputs.
        FormatError: as `graph.flatbuffer.read_model`.
    """
    if not is_keras_source(source):
        found = find_image_input(fb.read_model(source).model)
    elif isinstance(source, str | os.PathLike):
        found = _saved_model_input(Path(source))
    else:
        found = _keras_input(source)
    if found is None:
        raise UnsupportedModelError(
            "photos as representative data",
            expected="a model with one input [1, height, width, 3 or 1]",
            got="other inputs",
            fix="Give a .npy file, or a .npz file with an array for each input.",
        )
    return found


def may_tell_values(path: Path) -> bool:
    """Whether a saved Keras model may say which values its input takes; False is certain. Loads no tensorflow."""
    if path.is_dir():
        return not (path / "saved_model.pb").is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json")
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error):  # no .keras file: what loads it says so
        return True
    return any(f'"{name}"'.encode() in config for name in _TELLING)


def _keras_input(model: KerasModel) -> ImageInput | None:
    inputs = flat(model_inputs(model))
    if len(inputs) == 1:
        shape = [None if side is None else int(side) for side in inputs[0].shape]
    else:
        built = getattr(model, "input_shape", None) if not inputs else None
        shape = list(built) if isinstance(built, tuple) else []
    for layer in all_layers(model):
        if is_a(layer, *_TELLING):
            values = _rescaled(layer) if is_a(layer, "Rescaling") else _normalized(layer)
            return ImageInput.of_shape(shape, values, f"the model's {type(layer).__name__} layer" if values else "")
        if not is_a(layer, "InputLayer", "Functional", "Sequential", "BaseImagePreprocessingLayer"):
            break
    return ImageInput.of_shape(shape)


def _rescaled(layer: KerasLayer) -> tuple[float, float] | None:
    scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
    if scale.size != 1 or offset.size != 1:
        return None
    if np.isclose(float(scale), PIXEL_FACTORS, rtol=1e-3).any():
        return 0.0, 255.0
    return (0.0, 1.0) if (float(scale), float(offset)) == (2.0, -1.0) else None


def _normalized(layer: KerasLayer) -> tuple[float, float] | None:
    mean = getattr(layer, "mean", None)
    if mean is None:
        return None
    return (0.0, 255.0) if float(np.max(np.asarray(mean))) > _LEAST_PIXEL_MEAN else None


def _saved_model_input(folder: Path) -> ImageInput | None:
    """From the signature in saved_model.pb, without loading the model."""
    messages = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    saved = messages.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for graph in saved.meta_graphs:
        inputs = list(graph.signature_def[_SERVING].inputs.values()) if _SERVING in graph.signature_def else []
        if len(inputs) == 1:
            return ImageInput.of_shape([dimension.size for dimension in inputs[0].tensor_shape.dim])
    return None
