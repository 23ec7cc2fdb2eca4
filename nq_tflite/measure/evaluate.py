"""The accuracy of each precision of a model, on a folder of photos or on samples of any kind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import PhotosError
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.measure.input_in_child import input_in_child
from nq_tflite.measure.keras_child import float_reference
from nq_tflite.measure.photo_folder import read_photo_folder
from nq_tflite.measure.precisions import EvaluatedPhotos, Precisions, joined, run_precisions
from nq_tflite.measure.preprocessing import PixelRange, preprocessing_for
from nq_tflite.measure.sample_inputs import SampleInputs, read_samples
from nq_tflite.measure.workers import keep, tasks_on
from nq_tflite.progress import ShowProgress, shown

#: What tells the right classes: the path of a csv (photos) or of a .npy file, or an array.
Labels = str | os.PathLike[str] | NDArray[Any]
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
        logit_snr_db: power of the reference's outputs over that of the difference, in dB; infinite if they are equal.
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
        preprocessing: how photos were made into inputs.
        doubt: why that may be the wrong preprocessing; "" if the photos fit the model, or the model does not record it.
        inputs: "photos" or "samples".
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
        """Everything as plain values, for JSON."""
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
    client: Any = None,
    progress: ShowProgress = True,
) -> Evaluation:
    """Runs photos, or samples of any kind, through every precision of a model.

    Args:
        path: a nested classifier (or a stock one) with one input and one output of scores for each class.
        photos, labels: as `photo_folder.read_photo_folder`.
        samples: in place of photos, inputs as the model takes them: an array [samples, ...] or a .npy file of one.
            `labels` is then an array of class indices [samples] (or several per sample, [samples, n]) or a .npy file.
        reference: the model to compare with, usually the float one: a .tflite, .keras or .h5 file or a SavedModel
            folder; the model's own full-bit output if not given.
        preprocess, crop_fraction: as `preprocessing.pixel_preprocessing`. The pixel range need not be given if the
            model records it: by the scale of an int8 input, or by a Rescaling layer.
        runtime, num_threads: as nq.Interpreter.
        k: number of best classes that may contain the right one in top_k.
        client: a `distributed.Client` of the cluster to evaluate on; None for this process. Its workers read the model
            and the photos at the same paths.
        progress: called after each photo; True shows a bar in a terminal or notebook, None shows nothing.

    Raises:
        PhotosError: the folder, the labels or a photo cannot be used, or the pixel range is not known.
        RepresentativeDataError: samples or their labels cannot be used.
        UnsupportedModelError: a model is not a classifier of such inputs, or the reference has other classes.
        FormatError, MissingPackageError, NativeLibraryError: as nq.Interpreter.
        ClusterError: the cluster has no suitable worker, or its workers die.

    Example:
        >>> evaluate("model.tflite", "photos", reference="float.tflite").scores[0].agreement  # doctest: +SKIP
        0.99
    """
    given = _given(photos, samples, labels)  # before any model is loaded
    with shown(progress) as notify, TemporaryDirectory(prefix="nq-evaluate-") as scratch:
        tasks = tasks_on(client, notify)
        other = None if reference is None else float_reference(reference, Path(scratch))
        name = None if reference is None else os.fspath(reference)
        precisions = Precisions(os.fspath(path), other, name, runtime, num_threads)
        first, *rest = precisions.opened()
        inputs: EvaluatedPhotos | SampleInputs
        if isinstance(given, SampleInputs):
            given.check(first.path, first.input_shape, first.num_classes)
            inputs = given
        else:
            told = input_in_child(path)
            image, *_ = [model.image_with(told) for model in (first, *rest)]
            folder = read_photo_folder(given, _csv(labels), first.num_classes)
            chosen = preprocessing_for(image, preprocess, crop_fraction)
            inputs = EvaluatedPhotos(folder, chosen, tuple(model.input_shape for model in (first, *rest)), image.values)
        kept = tasks.submit("", keep, precisions)
        parts = [tasks.submit("", run_precisions, kept, batch) for batch in tasks.batches(inputs)]
        outputs = joined([part.result() for part in parts])
    logits = outputs.logits
    target = logits[-1] if other else logits[0]
    return Evaluation(
        path=os.fspath(path),
        reference=FULL_BIT_REFERENCE if reference is None else os.fspath(reference),
        reference_top1=_top_k(target, inputs.accepted, 1) if other else None,
        runtime=first.runtime,
        num_photos=len(inputs),
        k=k,
        scores=tuple(
            score(bits, each, target, inputs.accepted, k) for bits, each in zip(precisions.bits, logits, strict=False)
        ),
        preprocessing=inputs.preprocessing,
        doubt=outputs.seen.doubt,
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


def _top_k(logits: NDArray[Any], accepted: Sequence[frozenset[int]] | None, k: int) -> float | None:
    if accepted is None:
        return None
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float(np.mean([not right.isdisjoint(row.tolist()) for row, right in zip(best, accepted, strict=True)]))
