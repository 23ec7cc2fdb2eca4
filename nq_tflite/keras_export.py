"""The only module that imports tensorflow: Keras models and SavedModels -> .tflite bytes."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nq_tflite.calibration import Sample
from nq_tflite.errors import MissingPackageError, RepresentativeDataError, UnsupportedModelError

_KERAS_SUFFIXES = {".keras", ".h5", ".hdf5"}
_IO_TYPES = ("float32", "int8", "uint8")


def is_keras_source(source: Any) -> bool:
    """Whether this is a Keras model, a saved one, or a SavedModel folder."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return path.suffix.lower() in _KERAS_SUFFIXES or path.is_dir()
    return any(base.__module__.split(".")[0] in ("keras", "tf_keras") for base in type(source).__mro__)


def export(
    source: Any,
    samples: Callable[[], Iterator[Sample]] | None,
    input_type: str = "float32",
    output_type: str = "float32",
) -> bytes:
    """Converts with tensorflow's own converter.

    Args:
        source: a Keras model, a .keras or .h5 file, or a SavedModel folder.
        samples: representative data for a full-int8 model; None for a float model.
        input_type, output_type: of the full-int8 model's inputs and outputs: "float32", "int8" or "uint8".

    Raises:
        MissingPackageError: tensorflow is not installed.
        UnsupportedModelError: the source does not load, or the converter refuses it.
        RepresentativeDataError: the samples do not fit the model's inputs.
    """
    tf = _tensorflow()
    converter = _converter(tf, source)
    for name in (input_type, output_type):
        if name not in _IO_TYPES:
            raise UnsupportedModelError("input or output type", expected=f"one of {_IO_TYPES}", got=repr(name))
    if samples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.dtypes.as_dtype(input_type)
        converter.inference_output_type = tf.dtypes.as_dtype(output_type)
    return _convert(converter, with_samples=samples is not None)


def _tensorflow() -> Any:
    """Imports tensorflow, without what it says of the machine while it loads."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _quiet():
            return importlib.import_module("tensorflow")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "converting a Keras model",
            expected="tensorflow",
            got="no such package",
            fix="Install it: pip install 'nq-tflite[convert]'; a .tflite source needs no tensorflow.",
        ) from error


def _converter(tf: Any, source: Any) -> Any:
    if not isinstance(source, str | os.PathLike):
        return tf.lite.TFLiteConverter.from_keras_model(source)
    path = Path(source)
    if not path.exists():
        raise UnsupportedModelError(f"model {path}", expected="a file or SavedModel folder", got="nothing there")
    try:
        if path.is_dir():
            return tf.lite.TFLiteConverter.from_saved_model(str(path))
        return tf.lite.TFLiteConverter.from_keras_model(tf.keras.models.load_model(path, compile=False))
    except (OSError, ValueError, TypeError) as error:
        raise UnsupportedModelError(
            f"model {path}",
            expected="a Keras model or SavedModel that loads",
            got=str(error).splitlines()[0],
            fix="Load it yourself (with its custom_objects) and pass the model.",
        ) from error


def _convert(converter: Any, *, with_samples: bool) -> bytes:
    try:
        with _quiet():
            return bytes(converter.convert())
    except RepresentativeDataError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        if with_samples and isinstance(error, ValueError | RuntimeError | KeyError):
            raise RepresentativeDataError(
                "calibration", expected="samples that fit the model's inputs", got=lines[0], fix="Check their shapes."
            ) from error
        raise UnsupportedModelError(
            "tensorflow's converter", expected="a model that TFLite can run", got=lines[0]
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps tensorflow's chatter off the terminal and the notebook: it prints from C++ and from Python."""
    with tempfile.TemporaryFile("w+") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        saved = [os.dup(1), os.dup(2)]
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            yield
        finally:
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
