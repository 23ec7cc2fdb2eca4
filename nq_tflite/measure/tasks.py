"""What comparisons of methods have workers do: load a net, round it, run inputs through what came of it.

Every task runs in a process that may know nothing of the others', so that what it takes and gives can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.conversion.sources.source import Source, given_samples, load_source
from nq_tflite.conversion.trial import one_blas_thread
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.device.runtimes import RuntimeName, walking_runtime
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.nesting import LayerBits, Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.image_input import find_image_input
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.sites import find_sites
from nq_tflite.measure.classifier import Classifier
from nq_tflite.measure.contenders import CONTENDERS, ContenderName, Replacements, Rounded, round_with
from nq_tflite.measure.preprocessing import PixelPreprocessing, PixelRange, preprocessing_for
from nq_tflite.progress import Progress

T = TypeVar("T")
Logits = NDArray[np.float64]
#: float: weights alone are rounded. int8: whole full-int8 files, ours under the plugin.
Activations = Literal["float", "int8"]
ACTIVATIONS: tuple[Activations, ...] = get_args(Activations)
#: Inputs that are walked through a graph together.
_CHUNK = 16


class Inputs(Protocol):
    """What a net is run on, one after the other: real values of its input's shape, without the batch."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[NDArray[np.float32]]: ...


class Case(Protocol):
    """A model to round. A process that is sent one loads it itself."""

    def sources(self, notify: Progress) -> tuple[Source, Source | None]:
        """The model as what is not calibrated starts from it, and as what is calibrated does if it can be."""

    def stock(self, notify: Progress) -> bytes:
        """What tensorflow's converter makes of the Keras model and the inputs to calibrate with: a full-int8 file."""


@dataclass(frozen=True)
class LevelFile:
    """A file that has a level, and the precision to ask it for; None: it has no other."""

    content: bytes
    bits: int | None = None


@dataclass(frozen=True)
class Runner:
    """How files are run: a model's name for errors, the runtime (None for the preferred one) and its threads."""

    name: str
    runtime: RuntimeName | None
    num_threads: int

    @contextmanager
    def opened(self, file: LevelFile) -> Iterator[Classifier]:
        """A file as a classifier, which is on disk for as long."""
        with TemporaryDirectory(prefix="nq-run-") as folder:
            path = Path(folder, "model.tflite")
            path.write_bytes(file.content)
            yield Classifier(path, file.bits, self.runtime, self.num_threads, self.name)


@dataclass(frozen=True)
class RoundingFacts:
    """As `contenders.Rounded` has them."""

    bits_a_weight: float
    seconds: float
    note: str | None


@dataclass(frozen=True)
class PhotoInputs:
    """Photos as a model takes them, [height, width, channels], each made when it is asked for."""

    paths: tuple[Path, ...]
    pixels: PixelPreprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return map(self.pixels.apply, self.paths)

    def __getitem__(self, which: slice) -> PhotoInputs:
        """The photos of a slice."""
        return replace(self, paths=self.paths[which])


# ---- the tasks -------------------------------------------------------------------------------------------------------


def round_case(
    case: Case, name: ContenderName, nesting: Nesting, layer_bits: LayerBits = "same", *, notify: Progress
) -> Rounded:
    """A model rounded by a contender."""
    with one_blas_thread():
        free, calibrated = case.sources(notify)
        contender = CONTENDERS[name]
        source = calibrated if contender.calibrated and calibrated is not None else free
        return round_with(contender, source, nesting, notify, layer_bits)


def facts(rounded: Rounded, *, notify: Progress) -> RoundingFacts:
    """What is said of a rounding."""
    return RoundingFacts(rounded.bits_a_weight, rounded.seconds, rounded.note)


def level_file(rounded: Rounded, level: int, *, notify: Progress) -> LevelFile:
    """A level as a whole file."""
    with TemporaryDirectory(prefix="nq-level-") as folder:
        path, bits = rounded.write(level, Path(folder))
        return LevelFile(path.read_bytes(), bits)


def level_constants(rounded: Rounded, level: int, *, notify: Progress) -> Replacements:
    """A level as a float graph's weights and biases."""
    return rounded.replacements(level)


def file_logits(runner: Runner, file: LevelFile, inputs: Inputs, *, notify: Progress) -> Logits:
    """What a file says to inputs: [inputs, classes]."""
    rows: list[Logits] = []
    with runner.opened(file) as model:
        for values in inputs:
            rows.append(model.logits(values))
            notify("", len(rows), len(inputs))
    return np.stack(rows)


def graph_logits(
    runner: Runner,
    float_file: LevelFile,
    constants: Replacements,
    inputs: Inputs,
    *,
    notify: Progress,
) -> Logits:
    """What the float graph says with other weights and biases: [inputs, classes]."""
    model, rows = fb.read_model(float_file.content).model, list[Logits]()
    for chunk in _chunks(inputs):
        walk = GraphWalk(model, [[each[None]] for each in chunk], walking_runtime(), runner.num_threads)
        walk.replace(constants)
        rows += [each.reshape(-1).astype(np.float64) for each in walk.outputs()]
        notify("", len(rows), len(inputs))
    return np.stack(rows)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


# ---- a net and photos ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PhotoNet:
    """What is to be known of a float net that takes photos, and the net as a file."""

    file: LevelFile
    runtime: str
    num_classes: int
    pixels: PixelPreprocessing


@dataclass
class PhotoCase:
    """A model that takes photos.

    Attributes:
        source: as `compare`.
        calibration: photos.
        runner: how its files are run.
        activations, preprocess, crop_fraction: as `compare`.
    """

    source: Any
    calibration: tuple[Path, ...]
    runner: Runner
    activations: Activations
    preprocess: PixelRange | None
    crop_fraction: float | None
    _free: Source | None = field(default=None, init=False, repr=False)
    _calibrated: Source | None = field(default=None, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without what was loaded, which holds tensorflow's objects and files without names."""
        return vars(self) | {"_free": None, "_calibrated": None}

    def net(self, notify: Progress) -> PhotoNet:
        """The float net.

        Raises:
            UnsupportedModelError: it takes no photos, or has integer weights.
            PhotosError: nothing tells the pixel range.
        """
        model = self._float(notify).model
        file = LevelFile(fb.pack_model(model))
        with self.runner.opened(file) as opened:
            image = opened.image_with(find_image_input(model))
        pixels = preprocessing_for(image, self.preprocess, self.crop_fraction)
        return PhotoNet(file, opened.runtime, opened.num_classes, pixels)

    def sources(self, notify: Progress) -> tuple[Source, Source | None]:
        """As `Case`; of int8 activations both are full-int8."""
        free = self._float(notify)
        if self.calibration and self._calibrated is None:
            self._calibrated = self._load_calibrated(free, notify)
        if self.activations == "int8" and self._calibrated is not None:
            free = replace(self._calibrated, samples=free.samples, without=free.without)
        return free, self._calibrated

    def stock(self, notify: Progress) -> bytes:
        """As `Case`."""
        inputs = sample_source(self._photos(self.net(notify).pixels))
        notify("converting with tensorflow", 0, 0)
        return export(self.source, inputs)

    def _float(self, notify: Progress) -> Source:
        if self._free is None:
            self._free = load_source(self.source, None, look=True, notify=notify)
            _check_float(self.runner.name, self._free.model)
        return self._free

    def _load_calibrated(self, free: Source, notify: Progress) -> Source:
        inputs = self._photos(self.net(notify).pixels)
        if self.activations == "int8":
            return load_source(self.source, inputs, look=True, notify=notify, equalize=True)
        return replace(free, samples=given_samples(free.model, sample_source(inputs)), without=None)

    def _photos(self, pixels: PixelPreprocessing) -> Callable[[], Iterator[NDArray[np.float32]]]:
        return lambda: (values[None] for values in PhotoInputs(self.calibration, pixels))


def photo_net(case: PhotoCase, *, notify: Progress) -> PhotoNet:
    """A task: `PhotoCase.net`."""
    with one_blas_thread():
        return case.net(notify)


def stock_file(case: Case, *, notify: Progress) -> LevelFile:
    """`Case.stock` as a file."""
    with one_blas_thread():
        return LevelFile(case.stock(notify))


def _check_float(name: str, model: ModelT) -> None:
    for group in find_sites(model)[0]:
        if model.subgraphs[group[0].subgraph].tensors[group[0].tensor].type != schema.TensorType.FLOAT32:
            raise UnsupportedModelError(
                name, expected="a float .tflite or a Keras model", got=f"INT8 weights such as {group[0].name!r}"
            )
