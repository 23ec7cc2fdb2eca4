"""The only module that imports tensorflow: Keras models and SavedModels -> .tflite bytes."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.activation_ranges import METHODS, measure, outputs, set_ranges
from nq_tflite.conversion.sources.calibration import ModelInput, Sample, fitted
from nq_tflite.conversion.sources.export_options import ActivationRanges, IoType, check_options
from nq_tflite.conversion.sources.keras_models import (
    KerasLayer,
    KerasModel,
    KerasTensor,
    all_layers,
    flat,
    is_a,
    load_model,
    may_loop,
    named_samples,
    prepared,
    with_batch_of_one,
)
from nq_tflite.conversion.sources.keras_saved_model import write_saved_model
from nq_tflite.conversion.sources.moments import FoldedNorm, Moments
from nq_tflite.errors import (
    MissingPackageError,
    OutputError,
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
    "Write them with others; if this is a SavedModel of a Keras model, convert the model itself, without what only "
    "training needs and in float32."
)
_LACKING = re.compile(r"'(tf\.\w+)' op is neither a custom op nor a flex op")
_MLIR_ERROR = re.compile(r"<unknown>:0: error: (?:loc\(.*\): )?(.+)")
#: Layers that a converter folds a batch norm into, and which of their weights takes it.
_FOLDING = {"Conv1D": 0, "Conv2D": 0, "DepthwiseConv2D": 0, "SeparableConv2D": 1, "Dense": 0}


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
            fix="Photos to convert with go to --representative (representative_data in Python).",
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
    _refuse_loops(tf, source)
    samples = named_samples(source, samples)
    with _converter(tf, source) as converter:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        samples = _fitted_samples(samples, _signature_inputs(tf, Path(converter.saved_model_dir)))
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.dtypes.as_dtype(input_type)
        converter.inference_output_type = tf.dtypes.as_dtype(output_type)
        converter._experimental_calibrate_only = activation_ranges != "minmax"
        content = _convert(converter, with_samples=True)
    if activation_ranges == "minmax":
        return content
    return _quantized(tf, content, samples, activation_ranges, (input_type, output_type))


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
                got="a free one",
                fix="Give its input a batch of 1: keras.Input(batch_shape=(1, ...)).",
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
            expected="a graph without loops, for tensorflow cannot calibrate them",
            got="recurrent layers that loop over their steps",
            fix="Unroll them (layer.unroll = True on each), or convert without representative data.",
        )


def _quantized(
    tf: ModuleType,
    calibrated: bytes,
    samples: Callable[[], Iterator[Sample]],
    name: ActivationRanges,
    io_types: tuple[IoType, IoType],
) -> bytes:
    """A calibrated float model in int8, with other activation ranges than calibration's own.

    tensorflow's quantizer runs by itself on the calibrated model, as `TFLiteConverter` would run it.
    """
    quantize = importlib.import_module("tensorflow.lite.python.convert").mlir_quantize
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    every_tensor = {"experimental_op_resolver_type": resolver, "experimental_preserve_all_tensors": True}
    reference = _interpreter(tf, calibrated, **every_tensor)
    source = fb.read_model(calibrated).model
    histograms = measure(source, reference, samples())

    def with_ranges(method: ActivationRanges, input_type: str, output_type: str) -> bytes:
        model = fb.read_model(calibrated).model
        set_ranges(model, histograms, METHODS[method])
        types = {"input_data_type": input_type, "output_data_type": output_type}
        return bytes(quantize(fb.pack_model(model), **{key: tf.dtypes.as_dtype(each) for key, each in types.items()}))

    if name == "auto":
        contents = {each: with_ranges(each, "float32", "float32") for each in METHODS}
        runs = {each: (fb.read_model(made).model, _interpreter(tf, made)) for each, made in contents.items()}
        scores = {each: SignalToNoise() for each in METHODS}
        for sample in samples():
            wanted = outputs(source, reference, sample)
            for each, run in runs.items():
                scores[each].add(wanted, outputs(*run, sample))
        name = max(scores, key=lambda each: scores[each].db)
    return with_ranges(name, *io_types)


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
    if isinstance(source, Path):
        return []
    norms = []
    calls = _submodel_calls(source)
    for norm in all_layers(source):
        if not is_a(norm, "BatchNormalization") or not norm.built:
            continue
        factors, moving_mean, moments = _norm_parameters(norm)
        norms.append(FoldedNorm(factors[:, None], Moments(moving_mean * factors, moments.variance)))
        for tensor in (each for node in norm._inbound_nodes for each in flat(node.input_tensors)):
            for layer in _producers(tensor, calls):
                kernel = _folding_kernel(layer)
                if kernel is not None and len(kernel) == len(factors):
                    norms.append(FoldedNorm(kernel * factors[:, None], moments))
    return norms


def _submodel_calls(model: KerasModel) -> dict[int, list[KerasTensor]]:
    """For the input layer of each nested model (by id), the tensors that the model is called with."""
    calls: dict[int, list[KerasTensor]] = {}
    for layer in all_layers(model):
        if not is_a(layer, "Functional", "Sequential"):
            continue
        entrances = [tensor._keras_history[0] for tensor in flat(layer.inputs)]
        for node in layer._inbound_nodes:
            for entrance, tensor in zip(entrances, flat(node.input_tensors), strict=False):
                calls.setdefault(id(entrance), []).append(tensor)
    return calls


def _producers(tensor: KerasTensor, calls: dict[int, list[KerasTensor]]) -> Iterator[KerasLayer]:
    """The layers that a symbolic tensor may come from, across the borders of nested models."""
    if not hasattr(tensor, "_keras_history"):
        return
    layer, _, index = tensor._keras_history
    if is_a(layer, "Functional", "Sequential"):
        yield from _producers(flat(layer.outputs)[index], calls)
    elif id(layer) in calls:
        for outer in calls[id(layer)]:
            yield from _producers(outer, calls)
    else:
        yield layer


def _folding_kernel(layer: KerasLayer) -> NDArray[np.float32] | None:
    """The weight [channels, depth] of a layer that a batch norm folds into, as TFLite orders it; None for others."""
    names = [base.__name__ for base in type(layer).__mro__ if base.__name__ in _FOLDING]
    if not names or getattr(layer.activation, "__name__", "linear") != "linear":
        return None
    kernel = np.asarray(layer.get_weights()[_FOLDING[names[0]]], np.float32)
    # A depthwise kernel is [height, width, inputs, multiplier]; all others end in their outputs.
    channels = kernel.shape[-1] * (kernel.shape[-2] if names[0] == "DepthwiseConv2D" else 1)
    return np.ascontiguousarray(kernel.reshape(-1, channels).T)


def _norm_parameters(norm: KerasLayer) -> tuple[NDArray[np.float32], NDArray[np.float64], Moments]:
    """Of a batch norm: its factors float32 [channels], its moving mean, and the moments of its output."""
    *scale_and_shift, mean, variance = (np.asarray(values, np.float64) for values in norm.get_weights())
    gamma = scale_and_shift.pop(0) if norm.scale else np.ones_like(mean)
    beta = scale_and_shift.pop(0) if norm.center else np.zeros_like(mean)
    factors = gamma / np.sqrt(variance + norm.epsilon)
    return factors.astype(np.float32), mean, Moments(beta, np.square(factors) * variance)


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


def _convert(converter: Any, *, with_samples: bool) -> bytes:
    try:
        return bytes(converter.convert())
    except (RepresentativeDataError, OutputError):
        raise
    except Exception as error:
        lines = _converter_lines(str(error)) or [type(error).__name__]
        if with_samples and isinstance(error, ValueError | RuntimeError | KeyError):
            raise RepresentativeDataError(
                "calibration",
                expected="samples that fit the model's inputs",
                got=lines[0],
                fix="Their shapes and types fit: check their values, and run the model on one.",
            ) from error
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
