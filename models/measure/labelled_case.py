"""A classifier to be compared on labelled inputs, as workers load it, and what they make of it beside nested files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from nq_tflite_models.measure.labelled_inputs import InputFile, InputReader, LabelledInputs
from numpy.typing import NDArray

from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.conversion.sources.source import Source, load_source
from nq_tflite.conversion.trial import one_blas_thread
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.image_input import find_image_input
from nq_tflite.measure.preprocessing import PixelRange, preprocessing_for
from nq_tflite.measure.tasks import LevelFile, Runner
from nq_tflite.progress import Progress


@dataclass(frozen=True)
class LabelledData:
    """What is evaluated, and what is calibrated with.

    Attributes:
        pixels, crop_fraction: of pictures, as `preprocessing_for`.
        quantization: as `InputReader`.
    """

    evaluated: LabelledInputs
    calibration: Sequence[InputFile]
    pixels: PixelRange | None = None
    crop_fraction: float | None = None
    quantization: tuple[float, int] | None = None

    @property
    def has_pictures(self) -> bool:
        """Whether any of the inputs is one."""
        return any(file.is_picture for file in (*self.evaluated.files, *self.calibration))


@dataclass
class FileInputs:
    """Inputs in files, float32 of the reader's shape, each read when it is asked for; once, if they were kept."""

    files: Sequence[InputFile]
    reader: InputReader
    _kept: NDArray[np.float32] | None = field(default=None, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without what was kept: who is sent them reads the files."""
        return vars(self) | {"_kept": None}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, which: slice) -> FileInputs:
        """Those of a slice."""
        return FileInputs(self.files[which], self.reader)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        yield from (map(self.reader.read, self.files) if self._kept is None else map(np.array, self._kept))

    def keep(self, what: str, notify: Progress) -> None:
        """Reads them into a file without a name, so that pictures are decoded once and memory does not grow."""
        if self._kept is not None:
            return
        with TemporaryFile(prefix="nq-inputs-") as file:
            kept = np.memmap(file, np.float32, "w+", shape=(len(self.files), *self.reader.shape))
        for number, each in enumerate(self.files):
            kept[number] = self.reader.read(each)
            notify(f"reading {what} inputs", number + 1, len(self.files))
        self._kept = kept


@dataclass(frozen=True)
class LabelledNet:
    """The float net as a file, the runtime that runs it, its number of classes, and what makes its inputs of files."""

    file: LevelFile
    runtime: str
    num_classes: int
    reader: InputReader


@dataclass
class LabelledCase:
    """A classifier. A process that is sent one loads it anew.

    Attributes:
        net: a Keras model, or the path of one.
        calibration: files to calibrate with.
        has_pictures, pixels, crop_fraction, quantization: as `LabelledData`.
        equalize: whether what is calibrated starts with linear chains equalized.
        runner: how its files are run.
    """

    net: Any
    calibration: Sequence[InputFile]
    has_pictures: bool
    pixels: PixelRange | None
    crop_fraction: float | None
    quantization: tuple[float, int] | None
    equalize: bool
    runner: Runner
    _free: Source | None = field(default=None, init=False, repr=False)
    _calibrated: Source | None = field(default=None, init=False, repr=False)
    _read: FileInputs | None = field(default=None, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without what was loaded."""
        return vars(self) | {"_free": None, "_calibrated": None, "_read": None}

    def sources(self, notify: Progress) -> tuple[Source, Source | None]:
        """As `tasks.Case`: both full-int8."""
        if self._calibrated is None:
            self._calibrated = load_source(
                self.net, self._one_by_one(notify), look=True, notify=notify, equalize=self.equalize
            )
        free = self._float(notify)
        return replace(self._calibrated, samples=free.samples, without=free.without), self._calibrated

    def float_net(self, notify: Progress) -> LabelledNet:
        """The float net, and what makes its inputs of files."""
        model = self._float(notify).model
        file = LevelFile(fb.pack_model(model))
        with self.runner.opened(file) as opened:
            pixels = None
            if self.has_pictures:
                image = opened.image_with(find_image_input(model))
                pixels = preprocessing_for(image, self.pixels, self.crop_fraction)
        reader = InputReader(opened.input_shape, pixels, self.quantization)
        return LabelledNet(file, opened.runtime, opened.num_classes, reader)

    def samples(self, notify: Progress) -> FileInputs:
        """The inputs to calibrate with, read."""
        if self._read is None:
            self._read = FileInputs(self.calibration, self.float_net(notify).reader)
        self._read.keep("calibration", notify)
        return self._read

    def stock(self, notify: Progress) -> bytes:
        """As `tasks.Case`."""
        samples = self._one_by_one(notify)
        notify("converting with tensorflow", 0, 0)
        return export(self.net, sample_source(samples))

    def _float(self, notify: Progress) -> Source:
        if self._free is None:
            self._free = load_source(self.net, None, look=True, notify=notify)
        return self._free

    def _one_by_one(self, notify: Progress) -> Any:
        inputs = self.samples(notify)
        return lambda: (values[None] for values in inputs)


def float_net(case: LabelledCase, *, notify: Progress) -> LabelledNet:
    """A task: `LabelledCase.float_net`."""
    with one_blas_thread():
        return case.float_net(notify)
