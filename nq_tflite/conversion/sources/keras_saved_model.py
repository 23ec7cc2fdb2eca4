"""A Keras model as a SavedModel folder, which tensorflow's converter takes.

tensorflow's own `from_keras_model` writes one too, but drops the exception where that fails, and calls every model with
a list of inputs. Nothing here imports tensorflow or Keras: the caller brings the one, the model the other.
"""

from __future__ import annotations

import logging
import re
import textwrap
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from nq_tflite.conversion.sources.keras_models import KerasModel, input_structure, keras_of, map_structure
from nq_tflite.errors import UnsupportedModelError

_NEEDS_SHAPES = ("input shapes have not been set", "has never called", "has never been called")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: Where the part of a message ends that says what is wrong.
_BEHIND_THE_REASON = re.compile(r"\nArguments received by|You can attempt the following resolutions")
_LONGEST_REASON = 300


def write_saved_model(tf: ModuleType, model: KerasModel, folder: str) -> None:
    """Writes a model for inference, with the signature "serving_default", whose inputs have the model's own names.

    Args:
        tf: the module tensorflow.
        model: a Keras model, of Keras 3 or tf_keras.
        folder: an empty one.

    Raises:
        UnsupportedModelError: the export fails; the message has the model's own reason.
    """
    try:
        with without_progress_lines():
            if keras_of(model).__name__ == "tf_keras":
                tf.saved_model.save(model, folder, options=tf.saved_model.SaveOptions(save_debug_info=True))
            else:
                _export(tf, model, folder)
    except Exception as error:  # the model's own code runs here, and may raise anything
        raise _refusal(model, error) from error


@contextmanager
def without_progress_lines() -> Iterator[None]:
    """Drops what tensorflow's logger says below a warning in this thread: in a notebook it would go to stdout."""
    thread = threading.get_ident()

    def is_kept(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.levelno >= logging.WARNING

    logger = logging.getLogger("tensorflow")
    logger.addFilter(is_kept)
    try:
        yield
    finally:
        logger.removeFilter(is_kept)


def _export(tf: ModuleType, model: KerasModel, folder: str) -> None:
    signature = _signature(tf, model)
    if signature is None:
        model.export(folder, format="tf_saved_model", verbose=False)
        return
    archive = keras_of(model).export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", partial(model.__call__, training=False), [signature])
    archive.write_out(folder, verbose=False)


def _signature(tf: ModuleType, model: KerasModel) -> Any | None:
    """Specs of the inputs, in the structure that the model is called with; None if only Keras knows that."""
    symbolic = input_structure(model)
    if symbolic is not None:
        return map_structure(symbolic, lambda each: tf.TensorSpec(each.shape, each.dtype, name=each.name))
    shape = (model.get_build_config() or {}).get("input_shape")
    return None if shape is None else _specs_of_shapes(tf, shape, model.input_dtype)


def _specs_of_shapes(tf: ModuleType, shape: Any, dtype: str, name: str | None = None) -> Any:
    """Specs with a free batch: of the shape that a subclassed model was called with, or of a structure of shapes."""
    if isinstance(shape, Mapping):
        return {key: _specs_of_shapes(tf, each, dtype, key) for key, each in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return tf.TensorSpec((None, *shape[1:]), dtype, name=name)
    return [_specs_of_shapes(tf, each, dtype) for each in shape]


def _refusal(model: KerasModel, error: Exception) -> UnsupportedModelError:
    if any(words in str(error) for words in _NEEDS_SHAPES):
        return UnsupportedModelError(
            f"Keras model {model.name!r}",
            expected="a model that knows its input shapes",
            got="one without input shapes",
            fix="Call it once on an example, or wrap it: inputs = keras.Input(...); keras.Model(inputs, "
            "model(inputs)).",
        )
    return UnsupportedModelError(
        f"exporting the Keras model {model.name!r}",
        expected="a model that tensorflow can trace for inference",
        got=export_reason(str(error)) or type(error).__name__,
        fix="Change what the message names, until model.export(folder) works.",
    )


def export_reason(message: str) -> str:
    """What an error of Keras says, on one line: without colours, the call's arguments and autograph's lines of code.

    >>> export_reason("Exception encountered.\\n\\n\\x1b[1mNo b.\\x1b[0m\\n\\nArguments received by A.call():")
    'Exception encountered. No b.'
    """
    text = _BEHIND_THE_REASON.split(_COLOURS.sub("", message))[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and lines[0].startswith("in user code"):
        lines = lines[-1:]
    return textwrap.shorten(" ".join(lines), _LONGEST_REASON, placeholder=" [...]")
