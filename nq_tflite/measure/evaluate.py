"""How much of a model's accuracy each precision keeps, on a folder of photos or on samples of any kind."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.device.interpreter import Interpreter
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import PhotosError, UnsupportedModelError
from nq_tflite.format.affine import dequantize, quantize
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.graph.image_input import ImageInput
from nq_tflite.measure.input_in_child import input_in_child
from nq_tflite.measure.keras_child import float_reference
from nq_tflite.measure.photo_folder import PhotoFolder, read_photo_folder
from nq_tflite.measure.preprocessing import PixelRange, SeenValues, preprocessing_for
from nq_tflite.measure.sample_inputs import SampleInputs, read_samples
from nq_tflite.progress import Progress, ShowProgress, shown

#: What tells the right classes: the path of a csv (photos) or of a .npy file, or an array.
Labels = str | os.PathLike[str] | NDArray[Any]
_IMAGES = "one input [1, height, width, 3 or 1] and one output [1, classes]"
FULL_BIT_REFERENCE = "the model's own full-bit output"


@dataclass(frozen=True)
class Score:
    """One precision on all photos. Rates are fractions of the photos.

    Attributes:
        bits: the precision; None for a stock model.
        top1, top_k: photos whose best class, or one of whose k best, counts as right; None without labels.
        top1_standard_error: sqrt(p (1 - p) / n) of top1.
        agreement: photos whose best class is the reference's.
        agreement_standard_error: the same for agreement.
        logit_snr_db: power of the reference's outputs over that of the difference, in dB; infinite where equal.
    """

    bits: int | None
    top1: float | None
    top1_standard_error: float | None
    top_k: float | None
    agreement: float
    agreement_standard_error: float
    logit_snr_db: float


@dataclass(frozen=True)
class Evaluation:
    """All precisions on one set of photos.

    Attributes:
        reference: path of the reference model, or `FULL_BIT_REFERENCE`.
        reference_top1: the reference model's own top-1; None without one or without labels.
        runtime: name and version.
        k: of top_k.
        scores: full-bit first.
        preprocessing: how photos became inputs.
        doubt: why that may be the wrong preprocessing; "" if the photos fit the model, or nothing tells.
        inputs: what they are: photos or samples.
    """

    path: str
    reference: str
    reference_top1: float | None
    runtime: str
    num_photos: int
    k: int
    scores: tuple[Score, ...]
    preprocessing: str = ""
    doubt: str = ""
    inputs: str = "photos"

    def as_dict(self) -> dict[str, Any]:
        """Everything, for machines."""
        return asdict(self)


def evaluate(
    path: str | os.PathLike[str],
    photos: str | os.PathLike[str] | None = None,
    labels: Labels | None = None,
    *,
    samples: NDArray[Any] | str | os.PathLike[str] | None = None,
    reference: str | os.PathLike[str] | None = None,
    preprocess: PixelRange | None = None,
    crop_fraction: float | None = None,
    runtime: RuntimeName | None = None,
    num_threads: int | None = None,
    k: int = 5,
    progress: ShowProgress = True,
) -> Evaluation:
    """Runs photos, or samples of any kind, through every precision of a model.

    Args:
        path: a nested classifier (or a stock one) with one input and one output of scores a class.
        photos, labels: as `photo_folder.read_photo_folder`.
        samples: in place of photos, inputs as the model takes them: an array [samples, ...] or a .npy file of one.
            `labels` is then an array of class indices [samples] (or several a sample, [samples, n]) or a .npy file.
        reference: a model to agree with, usually the float one: a .tflite, .keras or .h5 file or a SavedModel folder;
            the model's own full-bit output if not given.
        preprocess, crop_fraction: as `preprocessing.pixel_preprocessing`. The pixel range need not be given where the
            model tells it: by the scale of an int8 input, or by a Rescaling layer.
        runtime, num_threads: as nq.Interpreter.
        k: how many best classes may hold the right one in top_k.
        progress: called after each photo; True for a bar in a terminal or notebook, None for silence.

    Raises:
        PhotosError: the folder, the labels or a photo cannot be used, or the pixel range is not known.
        RepresentativeDataError: samples or their labels cannot be used.
        UnsupportedModelError: a model is no classifier of such inputs, or the reference has other classes.
        FormatError, MissingPackageError, NativeLibraryError: as nq.Interpreter.

    Example:
        >>> evaluate("model.tflite", "photos", reference="float.tflite").scores[0].agreement  # doctest: +SKIP
        0.99
    """
    given = _given(photos, samples, labels)  # before any model is loaded
    with shown(progress) as notify, TemporaryDirectory(prefix="nq-evaluate-") as scratch:
        models = _open_precisions(path, runtime, num_threads)
        other = None if reference is None else float_reference(reference, Path(scratch))
        name = None if reference is None else os.fspath(reference)
        against = None if other is None else Classifier(other, None, runtime, num_threads, name)
        _check_classes(models[0], against)
        runs = [*models, *([against] if against else [])]
        inputs: _Photos | SampleInputs
        if isinstance(given, SampleInputs):
            given.check(models[0].path, models[0].input_shape, models[0].num_classes)
            inputs = given
        else:
            told = input_in_child(path)
            image, *_ = [model.image_with(told) for model in runs]
            folder = read_photo_folder(given, _csv(labels), models[0].num_classes)
            inputs = _Photos(folder, runs, image, preprocess, crop_fraction)
        logits = _collect(runs, inputs, notify)
    target = logits[-1] if against else logits[0]
    return Evaluation(
        path=os.fspath(path),
        reference=FULL_BIT_REFERENCE if reference is None else os.fspath(reference),
        reference_top1=_top_k(target, inputs.accepted, 1) if against else None,
        runtime=models[0].runtime,
        num_photos=inputs.count,
        k=k,
        scores=tuple(
            score(model.bits, each, target, inputs.accepted, k) for model, each in zip(models, logits, strict=False)
        ),
        preprocessing=inputs.preprocessing,
        doubt=inputs.doubt,
        inputs=inputs.noun,
    )


def _given(
    photos: str | os.PathLike[str] | None, samples: NDArray[Any] | str | os.PathLike[str] | None, labels: Labels | None
) -> Path | SampleInputs:
    """A folder of photos, or samples that have been read."""
    if photos is not None and samples is None:
        if not Path(photos).is_dir():
            read_photo_folder(photos, _csv(labels))
        return Path(photos)
    if samples is not None and photos is None:
        return read_samples(samples, labels)
    raise PhotosError("inputs", expected="photos or samples", got="neither" if photos is None else "both")


def _csv(labels: Labels | None) -> str | os.PathLike[str] | None:
    if labels is None or isinstance(labels, str | os.PathLike):
        return labels
    raise PhotosError("labels of photos", expected="the path of a csv", got=type(labels).__name__)


class _Photos:
    """A folder's photos as inputs of models."""

    noun = "photos"

    def __init__(
        self,
        folder: PhotoFolder,
        models: Sequence[Classifier],
        image: ImageInput,
        preprocess: PixelRange | None,
        crop_fraction: float | None,
    ) -> None:
        chosen = preprocessing_for(image, preprocess, crop_fraction)
        self._folder, self._seen = folder, SeenValues(image.values)
        self._pixels = [
            replace(chosen, height=height, width=width, channels=channels)
            for height, width, channels in (model.input_shape for model in models)
        ]
        self.count, self.preprocessing = len(folder.photos), str(chosen)
        self.accepted = [photo.accepted for photo in folder.photos] if folder.labelled else None

    def __iter__(self) -> Iterator[tuple[str, list[NDArray[Any]]]]:
        """The name of each photo, and the input of every model. One at a time, so that any number fits."""
        for photo in self._folder.photos:
            ready = {each: each.apply(photo.path) for each in set(self._pixels)}
            self._seen.add(ready[self._pixels[0]])
            yield str(photo.path), [ready[each] for each in self._pixels]

    @property
    def doubt(self) -> str:
        """Why the preprocessing may be the wrong one."""
        return self._seen.doubt


def score(
    bits: int | None,
    logits: NDArray[Any],
    reference: NDArray[Any],
    accepted: Sequence[frozenset[int]] | None,
    k: int = 5,
) -> Score:
    """Scores of one precision.

    Args:
        bits: the precision.
        logits, reference: float [photos, classes].
        accepted: for each photo the classes that count as right; None without labels.
        k: of top_k.

    >>> logits = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> score(8, logits, logits, [frozenset({1}), frozenset({1})], k=1).top1
    0.5
    """
    agreement = float(np.mean(logits.argmax(1) == reference.argmax(1)))
    top1 = _top_k(logits, accepted, 1)
    return Score(
        bits=bits,
        top1=top1,
        top1_standard_error=None if top1 is None else standard_error(top1, len(logits)),
        top_k=_top_k(logits, accepted, k),
        agreement=agreement,
        agreement_standard_error=standard_error(agreement, len(logits)),
        logit_snr_db=signal_to_noise_db(reference, logits),
    )


def standard_error(rate: float, count: int) -> float:
    """Of a fraction of `count` independent photos.

    >>> standard_error(0.5, 100)
    0.05
    """
    return float(np.sqrt(rate * (1.0 - rate) / count))


def to_input(values: NDArray[Any], details: dict[str, Any]) -> NDArray[Any]:
    """Real values as an input tensor takes them: quantized by its scale where it is int8 or uint8.

    Args:
        values: float, any shape.
        details: of the tensor, as get_input_details gives them.
    """
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return values.astype(dtype)
    scale, zero_point = details["quantization"]
    return quantize(values, scale, zero_point, dtype)


def from_output(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float64]:
    """Real values of an output tensor, by its scale where it is int8 or uint8."""
    if np.dtype(details["dtype"]).kind == "f":
        return values.astype(np.float64)
    scale, zero_point = details["quantization"]
    return dequantize(values, scale, zero_point, np.float64)


class Classifier:
    """A model from one photo, or another input, to one score a class, at one precision.

    Args:
        path: a nested model, or a stock one with `bits` None.
        bits: the precision; None for full-bit.
        runtime, num_threads: as nq.Interpreter.
        name: what errors call it; the path if not given.

    Attributes:
        levels: the model's precisions, part-bit first; empty for a stock model.
        bits: the current one; None for a stock model.
        input_shape: without the batch: height, width, channels of a photo.
        num_classes: of the output.

    Raises:
        UnsupportedModelError: not one input, or not one output [1, classes].
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        bits: int | None = None,
        runtime: RuntimeName | None = None,
        num_threads: int | None = None,
        name: str | None = None,
    ) -> None:
        self.path = name or os.fspath(path)
        self._interpreter = Interpreter(
            path, num_threads=num_threads, precision="full" if bits is None else bits, runtime=runtime
        )
        self._interpreter.allocate_tensors()
        self.levels = self._interpreter.levels
        self.bits = self._interpreter.precision if self.levels else None
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [[int(side) for side in details["shape"]] for details in (*inputs, *outputs)]
        self._shapes = shapes
        if len(shapes) != 2 or len(inputs) != 1 or shapes[0][:1] != [1]:
            raise self._unsupported(_IMAGES, shapes)
        if int(np.prod(shapes[1])) != shapes[1][-1]:
            raise self._unsupported("an output [1, classes]", shapes[1])
        for details in (*inputs, *outputs):
            _check_type(self.path, details)
        self._input, self._output = inputs[0], outputs[0]
        self.input_shape, self.num_classes = tuple(shapes[0][1:]), shapes[1][-1]

    @property
    def runtime(self) -> str:
        """Name and version of the stock runtime underneath."""
        return self._interpreter.runtime

    def image_with(self, told: ImageInput | None) -> ImageInput:
        """The input as it is here, with the values that the graph tells of it.

        Raises:
            UnsupportedModelError: it is no photo.
        """
        image = ImageInput.of_shape([1, *self.input_shape])
        if image is None:
            raise self._unsupported(_IMAGES, self._shapes)
        return image if told is None else replace(image, values=told.values, told_by=told.told_by)

    def logits(self, photo: NDArray[Any]) -> NDArray[np.float64]:
        """Scores of each class, [classes], of a preprocessed photo, or a sample, of the input's shape."""
        self._interpreter.set_tensor(self._input["index"], to_input(photo[None], self._input))
        self._interpreter.invoke()
        return from_output(self._interpreter.get_tensor(self._output["index"]), self._output).reshape(-1)

    def switch(self, bits: int) -> None:
        """Switches the precision, from the next photo on."""
        self._interpreter.switch(bits)
        self.bits = bits

    def _unsupported(self, expected: str, got: object) -> UnsupportedModelError:
        return UnsupportedModelError(self.path, expected=f"a photo classifier with {expected}", got=str(got))


def _check_type(path: str, details: dict[str, Any]) -> None:
    dtype = np.dtype(details["dtype"])
    if dtype not in (np.float32, np.int8, np.uint8) or (dtype.kind != "f" and not details["quantization"][0]):
        raise UnsupportedModelError(
            f"{path}, tensor {details['name']!r}", expected="float32, or int8 or uint8 with a scale", got=dtype.name
        )


def _open_precisions(
    path: str | os.PathLike[str], runtime: RuntimeName | None, num_threads: int | None
) -> list[Classifier]:
    """One interpreter a precision, full-bit first; one alone for a stock model."""
    first = Classifier(path, None, runtime, num_threads)
    return [first, *(Classifier(path, bits, runtime, num_threads) for bits in first.levels[-2::-1])]


def _check_classes(model: Classifier, reference: Classifier | None) -> None:
    if reference is not None and reference.num_classes != model.num_classes:
        raise UnsupportedModelError(
            f"reference {reference.path}",
            expected=f"{model.num_classes} classes as {model.path} has",
            got=str(reference.num_classes),
        )


def _collect(
    models: Sequence[Classifier], inputs: _Photos | SampleInputs, progress: Progress
) -> list[NDArray[np.float64]]:
    """Outputs of each model: [inputs, classes]."""
    rows: list[list[NDArray[np.float64]]] = [[] for _ in models]
    for done, (name, arrays) in enumerate(inputs, start=1):
        # Samples are the same for all models; photos are as large as each model takes them.
        for row, model, array in zip(rows, models, arrays * (len(models) // len(arrays)), strict=True):
            values = model.logits(array)
            if not np.isfinite(values).all():
                raise UnsupportedModelError(model.path, expected="finite outputs", got=f"NaN or infinity for {name}")
            row.append(values)
        progress(inputs.noun, done, inputs.count)
    return [np.stack(each) for each in rows]


def _top_k(logits: NDArray[Any], accepted: Sequence[frozenset[int]] | None, k: int) -> float | None:
    if accepted is None:
        return None
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float(np.mean([not right.isdisjoint(row.tolist()) for row, right in zip(best, accepted, strict=True)]))
