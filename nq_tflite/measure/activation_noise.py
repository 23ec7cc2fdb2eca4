"""How much rounding each activation of a full-int8 model costs at its outputs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.errors import PhotosError, RepresentativeDataError, UnsupportedModelError
from nq_tflite.format.levels import SignalToNoise
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.float_twin import make_float_twin
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.nested import is_nested, read_nested
from nq_tflite.graph.remove_unpack import remove_unpack
from nq_tflite.graph.round_activation import RoundedActivation, round_activation, rounded_activations
from nq_tflite.measure.keras_child import int8_model
from nq_tflite.measure.photo_samples import photo_samples
from nq_tflite.measure.preprocessing import PixelRange
from nq_tflite.measure.sample_inputs import read_samples
from nq_tflite.progress import ShowProgress, shown

#: Inputs that are run, evenly spaced among those given: every tensor runs the whole net on them.
MOST_INPUTS = 32
#: In place of an operator's name.
INPUT = "input"
_KERAS = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class TensorNoise:
    """One activation, rounded to its codes while all others stay floats.

    Attributes:
        name: of the tensor.
        operator: that computes it; INPUT for the model's own.
        shape: with a batch of 1.
        scale, zero_point: of its codes.
        snr_db: power of the outputs over the power of the error that this rounding causes in them.
        share: its part of the sum of all tensors' noise powers.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    snr_db: float
    share: float


@dataclass(frozen=True)
class ActivationNoise:
    """All activations of a model.

    Attributes:
        path: of the model.
        num_inputs: how many were run.
        runtime: name and version.
        tensors: the worst one first.
        together_db: the outputs' SNR with all of them rounded at once, which is what int8 activations cost.
        sum_db: the SNR if their noise powers added up.
    """

    path: str
    num_inputs: int
    runtime: str
    tensors: tuple[TensorNoise, ...]
    together_db: float
    sum_db: float

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def activation_noise(
    path: str | os.PathLike[str],
    photos: str | os.PathLike[str] | None = None,
    *,
    samples: NDArray[Any] | str | os.PathLike[str] | None = None,
    preprocess: PixelRange | None = None,
    crop_fraction: float | None = None,
    num_threads: int | None = None,
    progress: ShowProgress = True,
) -> ActivationNoise:
    """Rounds one activation after the other to its int8 codes, with the weights of full-bit and all else in floats.

    A tensor that only moves values of another, with the same scale, is rounded together with it.

    Args:
        path: a full-int8 model with one input: nested, stock, or a Keras model that becomes one with these inputs as
            representative data.
        photos: a folder of photos; or else
        samples: inputs as the model takes them: an array [samples, ...] or a .npy file of one.
        preprocess, crop_fraction: as `evaluate`.
        num_threads: of the runtime; all CPUs if None.
        progress: called after each tensor; True shows a bar in a terminal or notebook, None shows nothing.

    Raises:
        PhotosError, RepresentativeDataError: the inputs cannot be used.
        UnsupportedModelError: the model has several inputs or float activations, or an operator that cannot be taken
            apart.
        FormatError, MissingPackageError: as `evaluate`.

    Example:
        >>> activation_noise("model.tflite", "photos").tensors[0].share  # doctest: +SKIP
        0.31
    """
    inputs = _inputs(path, photos, samples, preprocess, crop_fraction)
    with shown(progress) as notify, TemporaryDirectory(prefix="nq-sensitivity-") as scratch:
        opened = path
        if Path(path).suffix.lower() in _KERAS or Path(path).is_dir():
            notify("converting with tensorflow", 0, 0)
            opened = int8_model(path, inputs, Path(scratch))
        model = _stock_model(opened)
        name = os.fspath(path)
        _check(name, model, inputs)
        bench = _Bench(model, inputs, num_threads or os.cpu_count() or 1)
        activations, rows = rounded_activations(model), []
        for done, each in enumerate(activations):
            notify("rounding activations one by one", done, len(activations))
            rows.append((each, bench.noise([each])))
        together = bench.noise(activations)
    return _report(name, model, bench, rows, together)


class _Bench:
    """Runs a model's float twin with some activations rounded.

    Attributes:
        runtime: what computes.
        num_inputs: how many it computes on.
    """

    def __init__(self, model: ModelT, inputs: NDArray[np.float32], num_threads: int) -> None:
        self.runtime, self.num_inputs = walking_runtime(), len(inputs)
        self._inputs, self._num_threads = inputs, num_threads
        make_float_twin(model := fb.read_model(fb.pack_model(model)).model)
        self._twin = fb.pack_model(model)
        self._wanted = self._run(self._twin)

    def noise(self, activations: Sequence[RoundedActivation]) -> float:
        """Of the outputs, over their power."""
        model = fb.read_model(self._twin).model
        for each in activations:
            round_activation(model, each)
        score = SignalToNoise()
        for wanted, got in zip(self._wanted, self._run(fb.pack_model(model)), strict=True):
            score.add(wanted, got)
        return float(10 ** (-score.db / 10))

    def _run(self, content: bytes) -> list[NDArray[np.float32]]:
        """Float outputs of each input, side by side: [values]."""
        interpreter = self.runtime.interpreter(model_content=content, num_threads=self._num_threads)
        [taken] = interpreter.get_input_details()
        interpreter.resize_tensor_input(taken["index"], [1, *self._inputs.shape[1:]])
        interpreter.allocate_tensors()
        rows = []
        for values in self._inputs:
            interpreter.set_tensor(taken["index"], values[None])
            interpreter.invoke()
            given = (interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details())
            rows.append(np.concatenate([each.ravel() for each in given if each.dtype == np.float32]))
        return rows


def _inputs(
    path: str | os.PathLike[str],
    photos: str | os.PathLike[str] | None,
    samples: NDArray[Any] | str | os.PathLike[str] | None,
    preprocess: PixelRange | None,
    crop_fraction: float | None,
) -> NDArray[np.float32]:
    """At most MOST_INPUTS: float32 [inputs, ...]."""
    if samples is not None and photos is None:
        arrays = read_samples(samples, None).arrays
        return np.asarray(arrays[:: -(-len(arrays) // MOST_INPUTS)], np.float32)
    if photos is not None and samples is None:
        given = photo_samples(path, photos, preprocess, crop_fraction)
        few = replace(given, paths=given.paths[:: -(-len(given.paths) // MOST_INPUTS)])
        return np.concatenate(list(few()))
    raise PhotosError("inputs", expected="photos or samples", got="neither" if photos is None else "both")


def _stock_model(path: str | os.PathLike[str]) -> ModelT:
    """A model at full-bit, without NQ operators."""
    file = fb.read_model(path)
    if not is_nested(file):
        return file.model
    nested = read_nested(path)
    remove_unpack(nested.file.model, [*nested.weights, *nested.starts], len(nested.precisions) - 1)
    return nested.file.model


def _check(name: str, model: ModelT, inputs: NDArray[np.float32]) -> None:
    """Looks whether a model takes such inputs, and has activations to round.

    Raises:
        UnsupportedModelError, RepresentativeDataError
    """
    graph = model.subgraphs[0]
    taken = [graph.tensors[index] for index in fb.indices(graph.inputs)]
    if len(taken) != 1:
        raise UnsupportedModelError(name, expected="one input", got=str(len(taken)))
    sizes = (fb.indices(taken[0].shapeSignature) or fb.indices(taken[0].shape))[1:]
    if len(sizes) + 1 != inputs.ndim or any(a not in (-1, b) for a, b in zip(sizes, inputs.shape[1:], strict=True)):
        raise RepresentativeDataError(
            "samples", expected=f"[samples, {', '.join(map(str, sizes))}]", got=str(list(inputs.shape))
        )
    if not rounded_activations(model):
        raise UnsupportedModelError(
            name,
            expected="int8 activations",
            got="only floats",
            fix="Convert a Keras model with representative data.",
        )


def _report(
    name: str, model: ModelT, bench: _Bench, rows: Sequence[tuple[RoundedActivation, float]], together: float
) -> ActivationNoise:
    graph, total = model.subgraphs[0], sum(noise for _, noise in rows)
    operators = {
        output: fb.operator_name(model, operator)
        for operator in graph.operators
        for output in fb.indices(operator.outputs)
    }
    tensors = [
        TensorNoise(
            name=fb.text(graph.tensors[each.tensor].name),
            operator=operators.get(each.tensor, INPUT),
            shape=fb.shape(graph.tensors[each.tensor]),
            scale=each.scale,
            zero_point=each.zero_point,
            snr_db=_db(noise),
            share=noise / total if total else 0.0,
        )
        for each, noise in sorted(rows, key=lambda row: -row[1])
    ]
    return ActivationNoise(name, bench.num_inputs, str(bench.runtime), tuple(tensors), _db(together), _db(total))


def _db(noise: float) -> float:
    return -10 * math.log10(noise) if noise else math.inf
