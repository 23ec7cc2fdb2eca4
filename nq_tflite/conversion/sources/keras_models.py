"""Keras models as tensorflow's converter takes them: loaded, built, in float32, with samples by input name.

Nothing here imports Keras: a model brings its own, Keras 3 or tf_keras.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nq_tflite.conversion.sources.calibration import Sample
from nq_tflite.errors import RepresentativeDataError, UnsupportedModelError

#: Keras has no types that hold for Keras 3 and tf_keras alike, and a source may be of either.
KerasModel = Any
KerasLayer = Any
KerasTensor = Any

_RECURRENT = ("RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


def load_model(keras: ModuleType, path: Path, custom_objects: Mapping[str, Any] | None = None) -> KerasModel:
    """A saved Keras model.

    Args:
        keras: the module that loads it.
        path: a .keras or .h5 file.
        custom_objects: classes and functions that the file names and nobody registered, by name.

    Raises:
        UnsupportedModelError: it does not load; the message says what helps.
    """
    try:
        objects = dict(custom_objects or {})
        model = keras.models.load_model(path, custom_objects=objects, compile=False, safe_mode=True)
        return _with_inputs(keras, model)
    except (OSError, ValueError, TypeError, KeyError, ImportError, AttributeError) as error:
        raise UnsupportedModelError(
            f"model {path}",
            expected="a Keras model that loads",
            got=_first_line(error),
            fix=_loading_fix(str(error)),
        ) from error


def _with_inputs(keras: ModuleType, model: KerasModel) -> KerasModel:
    """A loaded model, one without symbolic inputs called on an input of the shape that its file recorded.

    tensorflow's converter takes the recorded shape, a list since it was in a file, for several shapes.
    """
    config: dict[str, Any] = getattr(model, "get_build_config", dict)() or {}
    shape = config.get("input_shape")
    if input_names(model) or not shape or not all(size is None or isinstance(size, int) for size in shape):
        return model
    inputs = keras.Input(shape[1:], name="input")
    return keras.Model(inputs, model(inputs), name=model.name)


def _loading_fix(message: str) -> str:
    if "safe_mode" in message:  # a Lambda layer's function is code from the file
        return (
            "Lambda layers carry code: if you trust the file, load it yourself, keras.saving.load_model(path, "
            "safe_mode=False), and pass the model to nq.convert."
        )
    if "tf_keras" in message or "Unrecognized keyword arguments" in message:  # as Keras 3 says of Keras 2's `groups`
        return (
            "If Keras 2 wrote it: pip install tf_keras, load it with tf_keras.models.load_model(path, compile=False), "
            "and pass the model to nq.convert."
        )
    if any(word in message for word in ("Could not locate", "custom", "Unknown layer", "register")):
        return (
            "In Python, pass its classes: nq.convert(path, ..., custom_objects={'MyLayer': MyLayer}); or import the "
            "module that registers them and pass the loaded model."
        )
    return "Load it yourself and pass the model."


def _first_line(error: Exception) -> str:
    """What Keras says of a class that it lacks or that lacks something, wherever it says it; or the first line."""
    lacking = re.search(r"Could not locate \w+ '[^']+'|Unrecognized keyword arguments passed to .*", str(error))
    if lacking:
        return lacking.group()
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def prepared(model: KerasModel) -> KerasModel:
    """The model itself, or a copy that computes in float32 of one that computes in half precision.

    Raises:
        UnsupportedModelError: its input shapes are unknown, or it cannot be copied.
    """
    if not input_names(model) and not model.built:
        raise UnsupportedModelError(
            f"Keras model {model.name!r}",
            expected="a model that knows its input shapes",
            got=f"a {type(model).__name__} that was never called",
            fix="Call it once on an example, model(example), or make keras.Input its first layer.",
        )
    quantized = sorted({mode for layer in leaf_layers(model) if (mode := getattr(layer, "quantization_mode", None))})
    if quantized:
        raise UnsupportedModelError(
            f"Keras model {model.name!r}",
            expected="float weights",
            got=f"layers of model.quantize({quantized[0]!r}), which TFLite cannot run",
            fix="Convert the unquantized model: nq.convert quantizes it, with representative_data to full-int8.",
        )
    halves = sorted({layer.compute_dtype for layer in leaf_layers(model) if layer.compute_dtype in _HALVES})
    return _in_float32(model, halves[0]) if halves else model


_HALVES = ("float16", "bfloat16")


def _in_float32(model: KerasModel, half: str) -> KerasModel:
    """A copy of a model with policy float32, and the model's weights: TFLite's kernels have no half precision."""
    classes = {type(layer).__name__: type(layer) for layer in all_layers(model)}
    try:
        with keras_of(model).utils.custom_object_scope(classes):
            copy = type(model).from_config(_with_float32(model.get_config()))
        copy.set_weights([np.asarray(weight, np.float32) for weight in model.get_weights()])
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise UnsupportedModelError(
            f"Keras model {model.name!r}",
            expected=f"a model that can be copied from {half} to float32 by its configuration",
            got=_first_line(error),
            fix="Build it again with the policy float32, copy the weights by set_weights, and convert the copy.",
        ) from error
    return copy


def _with_float32(config: Any) -> Any:
    """A configuration with every dtype policy of half precision replaced."""
    if isinstance(config, dict):
        if config.get("class_name") in ("DTypePolicy", "Policy"):
            name = config["config"].get("name", "")
            return "float32" if name.endswith(_HALVES) else config
        return {key: _with_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_with_float32(value) for value in config)
    return "float32" if isinstance(config, str) and config.removeprefix("mixed_") in _HALVES else config


def keras_of(model: KerasModel) -> ModuleType:
    """The Keras that a model was made with, as a module."""
    names = [base.__module__.split(".")[0] for base in type(model).__mro__]
    return sys.modules[next(name for name in names if name in ("keras", "tf_keras"))]


def all_layers(model: KerasModel) -> Iterator[KerasLayer]:
    """Every layer, those of nested models after the model that holds them; of subclassed models too."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from all_layers(layer)


def leaf_layers(model: KerasModel) -> Iterator[KerasLayer]:
    """Every layer that is no model."""
    return (layer for layer in all_layers(model) if not getattr(layer, "layers", ()))


def is_a(layer: KerasLayer, *names: str) -> bool:
    """Whether a class of one of these names is among a layer's: Keras 2 and 3 name theirs alike."""
    return any(base.__name__ in names for base in type(layer).__mro__)


def may_loop(model: KerasModel) -> bool:
    """Whether a recurrent layer may become a loop in the graph, which tensorflow cannot calibrate."""
    layers = [getattr(layer, "layer", layer) for layer in all_layers(model)]  # of wrappers, as Bidirectional
    return any(is_a(layer, *_RECURRENT) and not getattr(layer, "unroll", False) for layer in layers)


def input_names(model: KerasModel) -> list[str]:
    """Names of a model's symbolic inputs in its own order; [] if it has none (subclassed, or not built)."""
    return [tensor.name.split(":")[0] for tensor in flat(model_inputs(model))]


def model_inputs(model: KerasModel) -> Any:
    """A model's symbolic inputs; [] if it has none (subclassed, or not built)."""
    try:
        return getattr(model, "inputs", None) or []
    except (AttributeError, ValueError):  # a Sequential that was not built
        return []


def input_structure(model: KerasModel) -> Any | None:
    """A model's symbolic inputs as it is called with them: one, or a list or dict; None if it has none."""
    if is_a(model, "Functional"):
        return model.input
    inputs = model_inputs(model)
    return inputs[0] if len(inputs) == 1 else inputs or None


def map_structure(structure: Any, change: Callable[[Any], Any]) -> Any:
    """The same lists and dicts with every leaf changed."""
    if isinstance(structure, Mapping):
        return {key: map_structure(each, change) for key, each in structure.items()}
    if isinstance(structure, list | tuple):
        return [map_structure(each, change) for each in structure]
    return change(structure)


def flat(tensors: Any) -> list[KerasTensor]:
    """The tensors in nested lists and dicts."""
    if isinstance(tensors, Mapping):
        tensors = list(tensors.values())
    return [each for item in tensors for each in flat(item)] if isinstance(tensors, list | tuple) else [tensors]


def named_samples(model: KerasModel | Path, samples: Callable[[], Iterator[Sample]]) -> Callable[[], Iterator[Sample]]:
    """Samples by input name, for a model with several inputs: the converter puts these in an order of its own.

    A model that is called with a dict takes samples by its keys, too, should the inputs have other names.

    Raises:
        RepresentativeDataError: while samples are taken: lists, for a model whose inputs have no order.
    """
    names, structure = input_names(model), input_structure(model)
    called = structure if isinstance(structure, Mapping) else {}
    renamed = {key: each.name for key, each in called.items() if key not in names and hasattr(each, "name")}
    if len(names) < 2 and not renamed:
        return samples

    def by_name() -> Iterator[Sample]:
        for sample in samples():
            if isinstance(sample, dict):
                yield {renamed.get(name, name): values for name, values in sample.items()}
            elif len(sample) != len(names):
                yield sample
            elif list(called) != sorted(called):
                raise RepresentativeDataError(
                    "representative data",
                    expected=f"dicts by input name ({', '.join(names)}), as the model itself is called",
                    got="lists, whose order is ambiguous: the model's or the sorted one",
                    fix="Give each sample as {name: array}.",
                )
            else:
                yield dict(zip(names, sample, strict=True))

    return by_name


def with_batch_of_one(model: KerasModel) -> KerasModel | None:
    """The same model with a batch of 1 instead of a free one; None if it has no symbolic inputs."""
    inputs = model_inputs(model)
    if not inputs or not input_names(model):
        return None
    keras = keras_of(model)
    fixed = {
        id(tensor): keras.Input(batch_shape=(1, *tensor.shape[1:]), dtype=tensor.dtype, name=name)
        for tensor, name in zip(flat(inputs), input_names(model), strict=True)
    }
    arguments = map_structure(input_structure(model), lambda tensor: fixed[id(tensor)])
    return keras.Model(list(fixed.values()), model(arguments), name=model.name)
