"""Rounding methods and baselines side by side: the accuracy of each at every level, on a folder of photos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nq_tflite.conversion.sources.keras_export import is_keras_source
from nq_tflite.device.runtimes import walking_runtime_name
from nq_tflite.errors import NestingError, PhotosError, UnsupportedModelError
from nq_tflite.format.nesting import Nesting
from nq_tflite.measure.contenders import CONTENDERS, Contender, ContenderName, contenders
from nq_tflite.measure.evaluate import Score, score
from nq_tflite.measure.photo_folder import PhotoFolder, read_photo_folder
from nq_tflite.measure.preprocessing import PixelRange, pixel_preprocessing
from nq_tflite.measure.tasks import (
    Activations,
    LevelFile,
    Logits,
    PhotoCase,
    PhotoInputs,
    PhotoNet,
    RoundingFacts,
    Runner,
    facts,
    file_logits,
    graph_logits,
    level_constants,
    level_file,
    photo_net,
    round_case,
    stock_file,
)
from nq_tflite.measure.workers import Outcome, Tasks, keep, tasks_on
from nq_tflite.progress import ShowProgress, shown


@dataclass(frozen=True)
class ComparedMethod:
    """A contender with one nesting.

    Attributes:
        method, title: the contender's name, and as tables show it.
        nesting: such as "8|5".
        bits_a_weight: of all levels together; ours with padding and level biases, baselines by their own arithmetic.
        seconds: time of rounding, including walking the net, without loading and writing.
        scores: full-bit first.
        note: why the method could not do all it should; usually None.
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
        stock: the full-int8 file that tensorflow's converter makes of the model and the calibration photos; None with
            float activations.
        rows: by nesting, in the order of the methods.
        preprocessing: how photos were made into inputs.
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
        """Everything as plain values, for JSON."""
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
    client: Any = None,
    progress: ShowProgress = True,
) -> MethodComparison:
    """Rounds a model by every method and runs photos through every level; it leaves no nested file.

    Args:
        source: a photo classifier: a float .tflite, or a Keras model as `convert` takes it.
        photos, labels: as `photo_folder.read_photo_folder`.
        nestings: one or more.
        methods: names of `contenders.CONTENDERS`; all of them if not given.
        calibration: folder of other photos, for the calibrated method and for the ranges of int8 activations.
        activations: "float", or "int8" (a Keras model and calibration photos).
        preprocess, crop_fraction: as `evaluate.evaluate`.
        num_threads: of the runtime; all CPUs if not given, on a cluster one of a worker's.
        k: of top_k.
        client: a `distributed.Client` of the cluster to compare on; None for this process. Its workers read the photos,
            and the model if it is a path, at the same paths.
        progress: called during the work; True shows a bar in a terminal or notebook, None shows nothing.

    Returns:
        Scores against the float model. If methods are not given, those that need calibration photos are left out when
        there are none.

    Raises:
        NestingError, PhotosError, UnsupportedModelError, WeightsError, FormatError, MissingPackageError, ClusterError

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
            name,
            expected="a Keras model, for int8 activations",
            got="a .tflite file",
            fix="Compare with float activations.",
        )
    runner = Runner(name, walking_runtime_name(), num_threads or (1 if client else os.cpu_count() or 1))
    paths = () if given is None else tuple(photo.path for photo in given.photos)
    case = PhotoCase(source, paths, runner, activations, preprocess, crop_fraction)
    with shown(progress) as notify:
        tasks = tasks_on(client, notify)
        kept = tasks.submit("", keep, case)
        net = tasks.submit("", photo_net, kept).result()
        judge = _Judge(tasks, kept, runner, read_photo_folder(photos, labels, net.num_classes), k)
        judge.show(net)
        stock = judge.stock() if activations == "int8" else None
        started = [
            judge.start(contender, nesting, activations)
            for nesting in wanted
            for contender in chosen
            if given is not None or not contender.calibrated
        ]
        rows = []
        while started:  # what has been told may go
            rows.append(judge.finish(started.pop(0)))
        return MethodComparison(
            source=name,
            activations=activations,
            runtime=net.runtime,
            num_photos=len(read_photo_folder(photos, labels).photos),
            reference_top1=judge.reference_top1,
            stock=stock,
            rows=tuple(rows),
            preprocessing=str(net.pixels),
        )


def _check_calibration(given: PhotoFolder | None, activations: Activations, methods: Sequence[ContenderName]) -> None:
    wanting = [name for name in methods if CONTENDERS[name].calibrated]
    if given is None and (activations == "int8" or wanting):
        what = "int8 activations need ranges" if activations == "int8" else f"{wanting[0]} needs it"
        raise PhotosError("calibration photos", expected=f"a folder, because {what}", got="none")


class _Judge:
    """Scores nets beside the float model on photos.

    Attributes:
        reference_top1: the float model's own.
    """

    def __init__(self, tasks: Tasks, case: Outcome[PhotoCase], runner: Runner, folder: PhotoFolder, k: int) -> None:
        self._tasks, self._case, self._runner, self._folder, self._k = tasks, case, runner, folder, k

    def show(self, net: PhotoNet) -> None:
        """Takes the photos, and the float model's word on them."""
        self._float = self._tasks.submit("", keep, net.file)
        inputs = PhotoInputs(tuple(photo.path for photo in self._folder.photos), net.pixels)
        self._batches = self._tasks.batches(inputs)
        self._reference = self._joined(self._of_file("float model", self._float), "float model")
        self.reference_top1 = self._score(None, self._reference).top1

    def stock(self) -> Score:
        """Of tensorflow's full-int8 file."""
        file = self._tasks.submit("", stock_file, self._case)
        return self._score(None, self._joined(self._of_file("stock", file), "stock"))

    def start(self, contender: Contender, nesting: Nesting, activations: Activations) -> _Started:
        """Has a model rounded, and every level run."""
        stage = f"{nesting}, {contender.name}"
        rounded = self._tasks.submit(stage, round_case, self._case, contender.name, nesting)
        levels = []
        for level, bits in reversed(list(enumerate(nesting.precisions))):
            words = f"{stage}: {bits} bits"
            if activations == "int8":
                logits = self._of_file(words, self._tasks.submit(stage, level_file, rounded, level))
            else:
                constants = self._tasks.submit(stage, level_constants, rounded, level)
                logits = [
                    self._tasks.submit(words, graph_logits, self._runner, self._float, constants, batch)
                    for batch in self._batches
                ]
            levels.append((bits, words, logits))
        return _Started(contender, nesting, self._tasks.submit(stage, facts, rounded), levels)

    def finish(self, started: _Started) -> ComparedMethod:
        """Scores every level."""
        found = started.facts.result()
        return ComparedMethod(
            started.contender.name,
            started.contender.title,
            str(started.nesting),
            found.bits_a_weight,
            found.seconds,
            tuple(self._score(bits, self._joined(logits, stage)) for bits, stage, logits in started.levels),
            found.note,
        )

    def _of_file(self, stage: str, file: Outcome[LevelFile]) -> list[Outcome[Logits]]:
        return [self._tasks.submit(stage, file_logits, self._runner, file, batch) for batch in self._batches]

    def _joined(self, parts: list[Outcome[Logits]], stage: str) -> Logits:
        logits = np.concatenate([part.result() for part in parts])
        if not np.isfinite(logits).all():
            raise UnsupportedModelError(self._runner.name, expected="finite outputs", got=f"NaN or infinity ({stage})")
        return logits

    def _score(self, bits: int | None, logits: Logits) -> Score:
        accepted = [photo.accepted for photo in self._folder.photos] if self._folder.labelled else None
        return score(bits, logits, self._reference, accepted, self._k)


@dataclass(frozen=True)
class _Started:
    """A contender at work: what will be said of it, and (bits, stage, logits of each batch) of every level."""

    contender: Contender
    nesting: Nesting
    facts: Outcome[RoundingFacts]
    levels: list[tuple[int, str, list[Outcome[Logits]]]]
