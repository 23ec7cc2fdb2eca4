"""Rounding methods and baselines side by side: what each keeps of a model at every level, on a folder of photos."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.keras_export import is_keras_source
from nq_tflite.conversion.sources.source import Source, given_samples, load_source
from nq_tflite.conversion.trial import one_blas_thread, walking_runtime
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.errors import NestingError, PhotosError, UnsupportedModelError
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.image_input import find_image_input
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.sites import find_sites
from nq_tflite.measure.contenders import CONTENDERS, Contender, ContenderName, Replacements, contenders, round_with
from nq_tflite.measure.evaluate import Classifier, Score, score
from nq_tflite.measure.photo_folder import PhotoFolder, read_photo_folder
from nq_tflite.measure.preprocessing import PixelPreprocessing, PixelRange, pixel_preprocessing, preprocessing_for
from nq_tflite.progress import Progress, ShowProgress, shown

Logits = NDArray[np.float64]

#: float: weights alone are rounded. int8: whole full-int8 files, ours under the plugin.
Activations = Literal["float", "int8"]
ACTIVATIONS: tuple[Activations, ...] = get_args(Activations)
#: Photos that are walked through a graph together.
_CHUNK = 16


@dataclass(frozen=True)
class ComparedMethod:
    """A contender with one nesting.

    Attributes:
        method, title: the contender's name, and as tables show it.
        nesting: such as "8|5".
        bits_a_weight: of all levels together; ours with padding and level biases, baselines by their own arithmetic.
        seconds: of rounding, walking the net included, loading and writing not.
        scores: full-bit first.
        note: what kept the method from what it wanted; None usually.
    """

    method: str
    title: str
    nesting: str
    bits_a_weight: float
    seconds: float
    scores: tuple[Score, ...]
    note: str | None


@dataclass(frozen=True)
class MethodComparison:
    """All contenders on one model and one set of photos.

    Attributes:
        source: the model.
        activations: "float" or "int8".
        runtime: name and version.
        reference_top1: the float model's own; None without labels.
        stock: the full-int8 graph before nesting; None with float activations.
        rows: by nesting, in the order of the methods.
        preprocessing: how photos became inputs.
    """

    source: str
    activations: Activations
    runtime: str
    num_photos: int
    reference_top1: float | None
    stock: Score | None
    rows: tuple[ComparedMethod, ...]
    preprocessing: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Everything, for machines."""
        return asdict(self) | {"rows": tuple(asdict(row) | {"note": row.note or ""} for row in self.rows)}


def compare(
    source: Any,
    photos: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    *,
    nestings: Sequence[str] = ("8|5",),
    methods: Sequence[ContenderName] = (),
    calibration: str | os.PathLike[str] | None = None,
    activations: Activations = "float",
    preprocess: PixelRange | None = None,
    crop_fraction: float | None = None,
    num_threads: int | None = None,
    k: int = 5,
    progress: ShowProgress = True,
) -> MethodComparison:
    """Rounds a model by every method and runs photos through every level; no nested file is left behind.

    Args:
        source: a photo classifier: a float .tflite, or a Keras model as `convert` takes it.
        photos, labels: as `photo_folder.read_photo_folder`.
        nestings: one or more.
        methods: names of `contenders.CONTENDERS`; all of them if not given.
        calibration: folder of other photos, for the calibrated method and for the ranges of int8 activations.
        activations: "float", or "int8" (a Keras model and calibration photos).
        preprocess, crop_fraction: as `evaluate.evaluate`.
        num_threads: of the runtime; all CPUs if not given.
        k: of top_k.
        progress: called as the work goes on; True for a bar in a terminal or notebook, None for silence.

    Returns:
        Scores against the float model. Of all methods, those that want calibration photos are left out without any.

    Raises:
        NestingError, PhotosError, UnsupportedModelError, WeightsError, FormatError, MissingPackageError

    Example:
        >>> compare("model.keras", "photos", nestings=["8|4"]).rows[0].scores[0].agreement  # doctest: +SKIP
        0.98
    """
    wanted, chosen = [Nesting.parse(nesting) for nesting in nestings], contenders(methods)
    if not wanted:
        raise NestingError("nestings", expected="at least one", got="none")
    read_photo_folder(photos, labels)  # before any model is loaded
    pixel_preprocessing(preprocess or "0..1", 1, 1, crop_fraction=crop_fraction)
    given = None if calibration is None else read_photo_folder(calibration)
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", "model")
    _check_calibration(given, activations, methods)
    if activations == "int8" and not is_keras_source(source):
        raise UnsupportedModelError(
            name, expected="a Keras model, for int8 activations", got="a .tflite", fix="Compare with float activations."
        )
    with shown(progress) as notify, one_blas_thread(), tempfile.TemporaryDirectory(prefix="nq-compare-") as scratch:
        free = load_source(source, None, look=True, notify=notify)
        _check_float(name, free.model)
        judge = _Judge(name, free.model, Path(scratch), num_threads or os.cpu_count() or 1, k, notify)
        judge.check_photos()
        judge.show(read_photo_folder(photos, labels, judge.num_classes), preprocess, crop_fraction)
        calibrated, stock = None, None
        if given is not None:
            calibrated = _calibrated(source, free, activations, partial(_inputs, given, judge.pixels), notify)
        if activations == "int8" and calibrated is not None:
            free = replace(calibrated, samples=free.samples, without=free.without)
            stock = judge.stock(calibrated.model)
        return MethodComparison(
            source=name,
            activations=activations,
            runtime=judge.runtime,
            num_photos=judge.num_photos,
            reference_top1=judge.reference_top1,
            stock=stock,
            rows=tuple(
                judge.judge(contender, start, nesting, activations)
                for nesting in wanted
                for contender in chosen
                if (start := calibrated if contender.calibrated else free) is not None
            ),
            preprocessing=str(judge.pixels),
        )


def _check_calibration(given: PhotoFolder | None, activations: Activations, methods: Sequence[ContenderName]) -> None:
    wanting = [name for name in methods if CONTENDERS[name].calibrated]
    if given is None and (activations == "int8" or wanting):
        what = "the ranges of int8 activations" if activations == "int8" else wanting[0]
        raise PhotosError("calibration photos", expected=f"a folder, for {what}", got="none")


def _check_float(name: str, model: ModelT) -> None:
    for group in find_sites(model)[0]:
        if model.subgraphs[group[0].subgraph].tensors[group[0].tensor].type != schema.TensorType.FLOAT32:
            raise UnsupportedModelError(
                name, expected="a float .tflite or a Keras model", got=f"INT8 weights such as {group[0].name!r}"
            )


def _calibrated(
    source: Any,
    free: Source,
    activations: Activations,
    inputs: Callable[[], Iterator[NDArray[np.float32]]],
    notify: Progress,
) -> Source:
    """The graph to round, and samples of the calibration photos."""
    if activations == "int8":
        return load_source(source, inputs, look=True, notify=notify, equalize=True)
    return replace(free, samples=given_samples(free.model, sample_source(inputs)), without=None)


def _inputs(folder: PhotoFolder, pixels: PixelPreprocessing) -> Iterator[NDArray[np.float32]]:
    """Photos as a model takes them, one at a time: [1, height, width, channels]."""
    for photo in folder.photos:
        yield pixels.apply(photo.path)[None]


class _Judge:
    """Scores nets beside the float model on photos.

    Attributes:
        num_classes: of the model.
        pixels: what makes inputs of photos; after `show`.
        reference_top1: the float model's own.
    """

    def __init__(self, name: str, model: ModelT, scratch: Path, num_threads: int, k: int, notify: Progress) -> None:
        self._name, self._model, self._scratch, self._k, self._notify = name, model, scratch, k, notify
        self._num_threads, self._runtime = num_threads, walking_runtime()
        self._float = self._open(_write(scratch / "float.tflite", model), None)
        self.num_classes = self._float.num_classes

    @property
    def runtime(self) -> str:
        """Name and version of the stock runtime."""
        return self._float.runtime

    @property
    def num_photos(self) -> int:
        """Photos that are shown."""
        return len(self._folder.photos)

    def check_photos(self) -> None:
        """Raises UnsupportedModelError unless the model takes photos."""
        self._float.image_with(None)

    def show(self, folder: PhotoFolder, preprocess: PixelRange | None, crop_fraction: float | None) -> None:
        """Takes photos, and the float model's word on them."""
        self._folder = folder
        image = self._float.image_with(find_image_input(self._model))
        self.pixels = preprocessing_for(image, preprocess, crop_fraction)
        self._reference = self._of_file(self._float, "float model")
        self.reference_top1 = self._score(None, self._reference).top1

    def stock(self, model: ModelT) -> Score:
        """Of a full-int8 graph as it is."""
        return self._score(
            None, self._of_file(self._open(_write(self._scratch / "stock.tflite", model), None), "stock")
        )

    def judge(self, contender: Contender, source: Source, nesting: Nesting, activations: Activations) -> ComparedMethod:
        """Rounds a model and scores every level."""
        stage = f"{nesting}, {contender.name}"
        rounded = round_with(contender, source, nesting, partial(self._rounding, stage))
        scores = []
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            for level, bits in reversed(list(enumerate(nesting.precisions))):
                if activations == "int8":
                    model = self._open(*rounded.write(level, Path(folder)))
                    logits = self._of_file(model, f"{stage}: {bits} bits")
                else:
                    logits = self._of_graph(rounded.replacements(level), f"{stage}: {bits} bits")
                scores.append(self._score(bits, logits))
        return ComparedMethod(
            contender.name,
            contender.title,
            str(nesting),
            rounded.bits_a_weight,
            rounded.seconds,
            tuple(scores),
            rounded.note,
        )

    def _rounding(self, contender: str, stage: str, done: int, total: int) -> None:
        self._notify(f"{contender}: {stage}", done, total)

    def _open(self, path: Path, bits: int | None) -> Classifier:
        return Classifier(path, bits, self._runtime.name, self._num_threads, self._name)

    def _of_file(self, model: Classifier, stage: str) -> Logits:
        rows = []
        for inputs in _inputs(self._folder, self.pixels):
            rows.append(model.logits(inputs[0]))
            self._notify(stage, len(rows), self.num_photos)
        return self._finite(np.stack(rows), stage)

    def _of_graph(self, replacements: Replacements, stage: str) -> Logits:
        """Of the float graph with other weights and biases."""
        rows: list[Logits] = []
        inputs = _inputs(self._folder, self.pixels)
        while chunk := list(islice(inputs, _CHUNK)):
            walk = GraphWalk(self._model, [[each] for each in chunk], self._runtime, self._num_threads)
            walk.replace(replacements)
            rows += [each.reshape(-1).astype(np.float64) for each in walk.outputs()]
            self._notify(stage, len(rows), self.num_photos)
        return self._finite(np.stack(rows), stage)

    def _finite(self, logits: Logits, stage: str) -> Logits:
        if not np.isfinite(logits).all():
            raise UnsupportedModelError(self._name, expected="finite outputs", got=f"NaN or infinity ({stage})")
        return logits

    def _score(self, bits: int | None, logits: Logits) -> Score:
        accepted = [photo.accepted for photo in self._folder.photos] if self._folder.labelled else None
        return score(bits, logits, self._reference, accepted, self._k)


def _write(path: Path, model: ModelT) -> Path:
    fb.write_model(path, model)
    return path
