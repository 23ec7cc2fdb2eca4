"""The only module that imports tensorflow: Keras models and SavedModels -> .tflite bytes."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nq_tflite.conversion.sources.activation_ranges import METHODS, measure, outputs, set_ranges
from nq_tflite.conversion.sources.calibration import ModelInput, Sample, fitted
from nq_tflite.conversion.sources.channel_ranges import ChannelRange, measure_ranges, needs_calibrator
from nq_tflite.conversion.sources.export_options import ActivationRanges, IoType, check_options
from nq_tflite.conversion.sources.keras_models import (
    KerasModel,
    load_model,
    may_loop,
    named_samples,
    prepared,
    with_batch_of_one,
)
from nq_tflite.conversion.sources.keras_norms import folded_norms_of
from nq_tflite.conversion.sources.keras_saved_model import write_saved_model
from nq_tflite.conversion.sources.moments import FoldedNorm
from nq_tflite.errors import (
    MissingPackageError,
    NqError,
    RepresentativeDataError,
    UnsupportedModelError,
    how_to_install,
)
from nq_tflite.format.levels import SignalToNoise
from nq_tflite.graph import flatbuffer as fb

_KERAS_SUFFIXES = {".keras", ".h5", ".hdf5"}
#: What a file's metadata say that it was converted from: ModelType of TFLite's conversion_metadata.fbs.
_FROM_SAVED_MODEL, _FROM_KERAS = 1, 2
#: What the converter says of a loop over a free batch, and of operations that TFLite lacks.
_NEEDS_BATCH = "element_shape to be static"
_LACKING_FIX = (
    "Replace them by other operations. If this is a SavedModel of a Keras model, convert the Keras model itself, "
    "in float32 and without operations that only training needs."
)
_LACKING = re.compile(r"'(tf\.\w+)' op is neither a custom op nor a flex op")
_MLIR_ERROR = re.compile(r"<unknown>:0: error: (?:loc\(.*\): )?(.+)")


def is_keras_source(source: Any) -> bool:
    """Whether this is a Keras model, a saved one, or a SavedModel folder."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return path.suffix.lower() in _KERAS_SUFFIXES or path.is_dir()
    return any(base.__module__.split(".")[0] in ("keras", "tf_keras") for base in type(source).__mro__)


def open_source(source: Any, custom_objects: Mapping[str, Any] | None = None) -> KerasModel | Path:
    """A Keras model ready for `export` and `folded_norms`; the path of a SavedModel folder is returned as it is.

    Args:
        source: a Keras model, a .keras or .h5 file, or a SavedModel folder.
        custom_objects: classes and functions that a file needs to load, by name.

    Raises:
        MissingPackageError, UnsupportedModelError: as `export`.
    """
    if not isinstance(source, str | os.PathLike):
        return prepared(source)
    path = Path(source)
    if not path.exists():
        raise UnsupportedModelError(f"model {path}", expected="a file or SavedModel folder", got="nothing there")
    if path.is_dir():
        return _saved_model(path)
    return prepared(load_model(_tensorflow().keras, path, custom_objects))


def _saved_model(folder: Path) -> Path:
    """The folder, before tensorflow takes ten seconds to say that it holds none."""
    if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise UnsupportedModelError(
            f"model {folder}",
            expected="a SavedModel folder, with saved_model.pb in it",
            got="a folder without one",
            fix="To convert with photos, give their folder as --representative (representative_data in Python).",
        )
    return folder


def export(
    source: Any,
    samples: Callable[[], Iterator[Sample]] | None,
    input_type: IoType = "float32",
    output_type: IoType = "float32",
    activation_ranges: ActivationRanges = "minmax",
) -> bytes:
    """Converts with tensorflow's own converter.

    A model whose loops need a fixed batch (recurrent layers) gets a batch of 1.

    Args:
        source: a Keras model, a .keras or .h5 file, or a SavedModel folder.
        samples: representative data for a full-int8 model; None for a float model. Lists have the order of the Keras
            model's inputs.
        input_type, output_type: of the full-int8 model's inputs and outputs: "float32", "int8" or "uint8".
        activation_ranges: of the full-int8 model: one of `activation_ranges.METHODS`, or "auto" for the one of them
            whose outputs are nearest to the float model's on the samples.

    Raises:
        MissingPackageError: tensorflow is not installed.
        UnsupportedModelError: the source does not load, or the converter refuses it.
        RepresentativeDataError: the samples do not fit the model's inputs.
    """
    check_options(input_type, output_type, activation_ranges)
    tf, source = _tensorflow(), open_source(source)
    if samples is None:
        return _float_model(tf, source)
    if activation_ranges == "minmax":
        return _with_samples(tf, source, samples, (input_type, output_type))[0]
    return quantize(calibrate(source, samples), input_type, output_type, activation_ranges)


@dataclass(frozen=True)
class Calibrated:
    """A float model whose activations have the ranges that they had on samples.

    Attributes:
        content: the .tflite.
        samples: those, as the model's inputs take them.
        channels: of the tensors of linear chains, the ranges of their channels, by tensor.
    """

    content: bytes
    samples: Callable[[], Iterator[Sample]]
    channels: Mapping[int, ChannelRange]


def calibrate(source: Any, samples: Callable[[], Iterator[Sample]]) -> Calibrated:
    """What tensorflow's quantizer quantizes: a full-int8 model before it becomes one.

    Args:
        source, samples: as `export`, whose errors it raises.
    """
    tf = _tensorflow()
    content, samples = _with_samples(tf, open_source(source), samples, None)
    with _errors_of_samples():
        ranges = measure_ranges(content, partial(_interpreter, tf), samples)
    return Calibrated(ranges.content, samples, ranges.channels)


def _with_samples(
    tf: ModuleType,
    source: KerasModel | Path,
    samples: Callable[[], Iterator[Sample]],
    io_types: tuple[IoType, IoType] | None,
) -> tuple[bytes, Callable[[], Iterator[Sample]]]:
    """A full-int8 model with inputs and outputs of these types; and the samples.

    Without types it is what would be quantized: the float model, calibrated if only tensorflow can do that.
    """
    _refuse_loops(tf, source)
    samples = named_samples(source, samples)
    with _converter(tf, source) as converter:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        samples = _fitted_samples(samples, _signature_inputs(tf, Path(converter.saved_model_dir)))
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        input_type, output_type = io_types or ("float32", "float32")
        converter.inference_input_type = tf.dtypes.as_dtype(input_type)
        converter.inference_output_type = tf.dtypes.as_dtype(output_type)
        if io_types is None:
            converter._experimental_calibrate_only = True
            calibrate = converter._quantize
            converter._quantize = lambda content, *options: (
                calibrate(content, *options) if needs_calibrator(fb.read_model(content).model) else content
            )
        return _convert(converter, with_samples=True), samples


def _float_model(tf: ModuleType, source: KerasModel | Path) -> bytes:
    try:
        with _converter(tf, source) as converter:
            return _convert(converter, with_samples=False)
    except UnsupportedModelError as error:
        if _NEEDS_BATCH not in str(error):
            raise
        fixed = with_batch_of_one(source)
        if fixed is None:
            raise UnsupportedModelError(
                "loops of recurrent layers",
                expected="a model with a fixed batch size, which TFLite needs for them",
                got="a free batch size",
                fix="Give its input a batch size of 1: keras.Input(batch_shape=(1, ...)).",
            ) from error
        with _converter(tf, fixed) as converter:
            return _convert(converter, with_samples=False)


def _refuse_loops(tf: ModuleType, source: KerasModel | Path) -> None:
    """Calibrating a graph with loops kills the process, deep inside tensorflow."""
    if isinstance(source, Path):
        suspect = any(b"While" in path.read_bytes() for path in source.glob("saved_model.pb"))
    else:
        suspect = may_loop(source)
    if not suspect:
        return
    model = fb.read_model(_float_model(tf, source)).model
    if any(fb.operator_name(model, op) == "WHILE" for _, each in fb.subgraphs(model) for op in each.operators):
        raise UnsupportedModelError(
            "full-int8 activations",
            expected="a graph without loops, because tensorflow cannot calibrate them",
            got="recurrent layers that loop over their steps",
            fix="Unroll them (layer.unroll = True on each), or convert without representative data.",
        )


def quantize(
    calibrated: Calibrated,
    input_type: IoType = "float32",
    output_type: IoType = "float32",
    activation_ranges: ActivationRanges = "minmax",
) -> bytes:
    """A calibrated float model in int8.

    tensorflow's quantizer runs by itself on the calibrated model, as `TFLiteConverter` would run it.

    Args:
        calibrated: its weights and ranges may have changed since.
        input_type, output_type, activation_ranges: as `export`.
    """
    tf = _tensorflow()
    if activation_ranges == "minmax":
        return _quantized(tf, calibrated.content, input_type, output_type)
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    every_tensor = {"experimental_op_resolver_type": resolver, "experimental_preserve_all_tensors": True}
    reference = _interpreter(tf, calibrated.content, **every_tensor)
    source = fb.read_model(calibrated.content).model
    histograms = measure(source, reference, calibrated.samples())

    def with_ranges(method: ActivationRanges, input_type: IoType, output_type: IoType) -> bytes:
        model = fb.read_model(calibrated.content).model
        set_ranges(model, histograms, METHODS[method])
        return _quantized(tf, fb.pack_model(model), input_type, output_type)

    name: ActivationRanges = activation_ranges
    if name == "auto":
        contents = {each: with_ranges(each, "float32", "float32") for each in METHODS}
        runs = {each: (fb.read_model(made).model, _interpreter(tf, made)) for each, made in contents.items()}
        scores = {each: SignalToNoise() for each in METHODS}
        for sample in calibrated.samples():
            wanted = outputs(source, reference, sample)
            for each, run in runs.items():
                scores[each].add(wanted, outputs(*run, sample))
        name = max(scores, key=lambda each: scores[each].db)
    return with_ranges(name, input_type, output_type)


def _quantized(tf: ModuleType, calibrated: bytes, input_type: IoType, output_type: IoType) -> bytes:
    quantizer = importlib.import_module("tensorflow.lite.python.convert").mlir_quantize
    types = {"input_data_type": input_type, "output_data_type": output_type}
    return bytes(quantizer(calibrated, **{key: tf.dtypes.as_dtype(each) for key, each in types.items()}))


def _interpreter(tf: ModuleType, content: bytes, **options: Any) -> Any:
    interpreter = tf.lite.Interpreter(model_content=content, num_threads=os.cpu_count(), **options)
    interpreter.allocate_tensors()
    return interpreter


def folded_norms(source: Any) -> list[FoldedNorm]:
    """The batch norms of a Keras model, each as a converter folds it: what it knows of the training data.

    A norm is found behind every Conv1D, Conv2D, DepthwiseConv2D, SeparableConv2D or Dense that it follows, through
    any nesting of Functional and Sequential models; and once on its own, should the converter not fold it.

    Args:
        source: a Keras model, or a .keras or .h5 file. A SavedModel folder has no layers to look at and gives none,
            as do models whose calls leave no graph (subclassed ones).

    Raises:
        MissingPackageError, UnsupportedModelError: as `export`.
    """
    source = open_source(source)
    return [] if isinstance(source, Path) else folded_norms_of(source)


def _tensorflow() -> ModuleType:
    """Imports tensorflow.

    Its converter warns of what users cannot change, such as its own use of a deprecated interpreter. Where warnings are
    errors, that would end a conversion, so those of `tensorflow.lite` are ignored from here on, and no others.
    """
    try:
        tf = importlib.import_module("tensorflow")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "converting a Keras model",
            expected="tensorflow",
            got="no such package",
            fix=f"Install it: {how_to_install('convert')}; a .tflite source needs no tensorflow.",
        ) from error
    warnings.filterwarnings("ignore", module=r"tensorflow\.lite\.")
    return tf


@contextmanager
def _converter(tf: ModuleType, source: KerasModel | Path) -> Iterator[Any]:
    """tensorflow's converter of a Keras model or SavedModel folder; it reads files that are gone afterwards."""
    if isinstance(source, Path):
        yield _saved_model_converter(tf, source, _FROM_SAVED_MODEL)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(tf, source, folder)
        yield _saved_model_converter(tf, Path(folder), _FROM_KERAS, ["serving_default"])


def _saved_model_converter(tf: ModuleType, folder: Path, model_type: int, signatures: list[str] | None = None) -> Any:
    try:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=signatures)
    except (OSError, ValueError, TypeError) as error:
        raise UnsupportedModelError(
            f"model {folder}", expected="a SavedModel that loads", got=str(error).splitlines()[0]
        ) from error
    # tensorflow passes it on in a variable of the process, which another thread's converter may have overwritten.
    converter._metadata.environment.modelType = model_type
    return converter


def _signature_inputs(tf: ModuleType, folder: Path) -> list[ModelInput]:
    """What a SavedModel's serving signature takes, sorted by name; nothing if it has none."""
    messages = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    saved = messages.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def.get("serving_default")
    found = []
    for name, info in sorted(signature.inputs.items()) if signature is not None else []:
        sizes = [None if each.size < 0 else each.size for each in info.tensor_shape.dim]
        shape = None if info.tensor_shape.unknown_rank else tuple(sizes)
        found.append(ModelInput(name, np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype), shape))
    return found


def _fitted_samples(
    samples: Callable[[], Iterator[Sample]], inputs: Sequence[ModelInput]
) -> Callable[[], Iterator[Sample]]:
    """Samples that fit a signature; lists for several inputs have an order that only the converter knows."""

    def checked() -> Iterator[Sample]:
        for number, sample in enumerate(samples()):
            if not inputs or (isinstance(sample, list) and len(sample) == len(inputs) > 1):
                yield sample
                continue
            values = fitted(sample, inputs, number)
            named = zip((each.name for each in inputs), values, strict=True)
            yield dict(named) if isinstance(sample, dict) else values

    return checked


@contextmanager
def _errors_of_samples() -> Iterator[None]:
    """What a runtime or tensorflow says while it runs samples becomes a RepresentativeDataError."""
    try:
        yield
    except NqError:
        raise
    except (ValueError, RuntimeError, KeyError) as error:
        raise RepresentativeDataError(
            "calibration",
            expected="samples that fit the model's inputs",
            got=(_converter_lines(str(error)) or [type(error).__name__])[0],
            fix="Their shapes and types fit, so check their values, and run the model on one.",
        ) from error


def _convert(converter: Any, *, with_samples: bool) -> bytes:
    try:
        with _errors_of_samples() if with_samples else nullcontext():
            return bytes(converter.convert())
    except NqError:
        raise
    except Exception as error:
        lines = _converter_lines(str(error)) or [type(error).__name__]
        lacking = sorted(set(_LACKING.findall(str(error))))
        raise UnsupportedModelError(
            "tensorflow's converter",
            expected="a model that TFLite can run",
            got=f"operations that TFLite does not have: {', '.join(lacking)}" if lacking else lines[0],
            fix=_LACKING_FIX if lacking else "",
        ) from error


def _converter_lines(message: str) -> list[str]:
    """What the converter says, without the places in the graph that it puts before and behind its errors."""
    errors = [found.group(1) for found in map(_MLIR_ERROR.match, message.splitlines()) if found]
    return errors or [line for line in message.splitlines() if line.strip()]
