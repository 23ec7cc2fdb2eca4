"""A classifier on labelled inputs: float, stock INT8, by LiteRT Quantizer, and nested by every rounding method."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from nq_tflite_models.measure.labelled_inputs import InputFile, InputReader, LabelledInputs
from nq_tflite_models.measure.litert_quantizer import INSTALL, quantized_by_litert
from nq_tflite_models.measure.paired import PairedDifference, paired_difference
from numpy.typing import NDArray

from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.conversion.sources.source import Source, load_source
from nq_tflite.conversion.trial import one_blas_thread
from nq_tflite.errors import MissingPackageError, UnsupportedModelError
from nq_tflite.format.nesting import LayerBits, Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.image_input import find_image_input
from nq_tflite.measure.benchmark import kernels_in_child
from nq_tflite.measure.contenders import Contender, ContenderName, contenders, round_with
from nq_tflite.measure.evaluate import Classifier, Score, score
from nq_tflite.measure.preprocessing import PixelRange, preprocessing_for
from nq_tflite.progress import Progress

Logits = NDArray[np.float64]
#: Rows that are no rounding method.
FLOAT, STOCK, LITERT = "float", "stock INT8", "LiteRT Quantizer"
#: Bits of weights that LiteRT Quantizer gives.
_LITERT_BITS = (8, 4)
_TOP_K = 5


@dataclass(frozen=True)
class LabelledRow:
    """One file at one precision on all inputs.

    Attributes:
        method: name of a contender, or one of those above.
        nesting: such as "8|5"; None for files that have one precision.
        bits: of the weights; None for float.
        score: beside the float model; None where there is no file.
        against_float, against_stock: of top-1; None where that would be with itself, and where there is no file.
        seconds: of rounding all levels; None where nothing of ours rounded.
        note: the version of who made the file, why there is none, or what kept a method from what it should do.
    """

    method: str
    nesting: str | None = None
    bits: int | None = None
    score: Score | None = None
    against_float: PairedDifference | None = None
    against_stock: PairedDifference | None = None
    seconds: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class LabelledComparison:
    """All rows of one model.

    Attributes:
        preprocessing: how pictures became inputs; "" for arrays.
        runtime: name and version.
        kernels: instruction set of each kind of kernel.
    """

    model: str
    num_evaluated: int
    num_calibration: int
    preprocessing: str
    runtime: str
    kernels: dict[str, str]
    rows: tuple[LabelledRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for machines."""
        return asdict(self)


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


def compare_labelled(
    net: Any,
    name: str,
    data: LabelledData,
    *,
    nestings: Sequence[str],
    methods: Sequence[ContenderName] = (),
    equalize: bool = True,
    layer_bits: LayerBits = "same",
    num_threads: int = 1,
    notify: Progress,
) -> LabelledComparison:
    """Makes all files of a classifier and runs the inputs through every precision; no file is left behind.

    Args:
        net: a Keras model with one input and one output [N, classes], or the path of one.
        name: as tables show it.
        nestings: one or more.
        methods: names of `contenders.CONTENDERS`; all of them if not given.
        equalize: whether the calibrated methods start with linear chains equalized, as `nq.convert` does.
        layer_bits: of the calibrated methods, as `nq.convert` has it.
        num_threads: of the runtime.
        notify: called with a stage's name, the steps done and the steps in all.

    Raises:
        NestingError, PhotosError, UnsupportedModelError, WeightsError, FormatError, MissingPackageError
    """
    wanted, chosen = [Nesting.parse(nesting) for nesting in nestings], contenders(methods)
    with one_blas_thread(), tempfile.TemporaryDirectory(prefix="nq-labelled-") as folder:
        free = load_source(net, None, look=True, notify=notify)
        bench = _Bench(Path(folder), name, free, data, num_threads, notify)
        bench.run(LabelledRow(FLOAT), bench.float_file)
        bench.run(LabelledRow(STOCK, bits=8), bench.stock_file(net))
        for bits in _LITERT_BITS:
            bench.run_litert(bits)
        calibrated = load_source(net, bench.calibration, look=True, notify=notify, equalize=equalize)
        free = replace(calibrated, samples=free.samples, without=free.without)
        for nesting in wanted:
            for contender in chosen:
                bench.run_nested(contender, calibrated if contender.calibrated else free, nesting, layer_bits)
        return LabelledComparison(
            model=name,
            num_evaluated=len(data.evaluated.files),
            num_calibration=len(data.calibration),
            preprocessing=bench.preprocessing,
            runtime=bench.runtime,
            kernels=kernels_in_child(),
            rows=tuple(bench.rows),
        )


class _Bench:
    """Runs files on the inputs.

    Attributes:
        float_file: path of the float model.
        preprocessing, runtime: as `LabelledComparison`.
        rows: of what has run.
    """

    def __init__(
        self, folder: Path, name: str, source: Source, data: LabelledData, num_threads: int, notify: Progress
    ) -> None:
        self._folder, self._name, self._num_threads, self._notify = folder, name, num_threads, notify
        self.float_file = folder / "float.tflite"
        fb.write_model(self.float_file, source.model)
        model = self._open(self.float_file)
        self.runtime, shape = model.runtime, model.input_shape
        data.evaluated.check_classes(model.num_classes)
        pixels = None
        if data.has_pictures:
            image = model.image_with(find_image_input(source.model))
            pixels = preprocessing_for(image, data.pixels, data.crop_fraction)
        self.preprocessing = "" if pixels is None else str(pixels)
        reader = InputReader(shape, pixels, data.quantization)
        self._accepted = data.evaluated.accepted
        self._inputs = self._stacked("evaluated", data.evaluated.files, reader)
        self._samples = self._stacked("calibration", data.calibration, reader)
        self._logits: dict[str, Logits] = {}
        self.rows: list[LabelledRow] = []

    def calibration(self) -> Iterator[NDArray[np.float32]]:
        """Samples one by one, [1, ...]."""
        for values in np.load(self._samples, mmap_mode="r"):
            yield np.array(values[None])

    def stock_file(self, net: Any) -> Path:
        """What tensorflow's converter makes of the samples."""
        self._notify(f"{STOCK}: converting with tensorflow", 0, 0)
        path = self._folder / "stock.tflite"
        path.write_bytes(export(net, sample_source(self.calibration)))
        return path

    def run(self, row: LabelledRow, path: Path, precision: int | None = None) -> None:
        """Adds a row, completed by what a file gives, a nested one at a precision; float first, stock INT8 second."""
        stage = ", ".join(filter(None, [row.nesting, row.method, row.bits and f"{row.bits} bits"]))
        logits = self._run(self._open(path, precision), stage)
        self._logits.setdefault(row.method, logits)
        reference, stock = self._logits[FLOAT], self._logits.get(STOCK)
        self.rows.append(
            replace(
                row,
                score=score(row.bits, logits, reference, self._accepted, _TOP_K),
                against_float=None if logits is reference else self._difference(logits, reference),
                against_stock=None if stock is None or logits is stock else self._difference(logits, stock),
            )
        )

    def run_litert(self, bits: int) -> None:
        """Adds the row of what LiteRT Quantizer makes of the float model, or of why it makes nothing."""
        self._notify(f"{LITERT}, {bits} bits: quantizing", 0, 0)
        path = self._folder / f"litert_{bits}.tflite"
        try:
            version = quantized_by_litert(self.float_file, self._samples, bits, path)
        except MissingPackageError:
            self.rows.append(LabelledRow(LITERT, bits=bits, note=f"not installed: {INSTALL}"))
        except UnsupportedModelError as error:
            self.rows.append(LabelledRow(LITERT, bits=bits, note=str(error)))
        else:
            self.run(LabelledRow(LITERT, bits=bits, note=version), path)

    def run_nested(self, contender: Contender, source: Source, nesting: Nesting, layer_bits: LayerBits) -> None:
        """Adds a row for each level, full-bit first."""

        def notify(stage: str, done: int, total: int) -> None:
            self._notify(f"{nesting}, {contender.name}: {stage}", done, total)

        rounded = round_with(contender, source, nesting, notify, layer_bits)
        row = LabelledRow(contender.name, nesting=str(nesting), seconds=rounded.seconds, note=rounded.note)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            for level, bits in reversed(list(enumerate(nesting.precisions))):
                self.run(replace(row, bits=bits), *rounded.write(level, Path(folder)))

    def _stacked(self, what: str, files: Sequence[InputFile], reader: InputReader) -> Path:
        """Inputs as a .npy file, so that pictures are decoded once and memory does not grow with their number."""
        path = self._folder / f"{what}.npy"
        array = np.lib.format.open_memmap(path, "w+", np.float32, (len(files), *reader.shape))
        for number, file in enumerate(files):
            array[number] = reader.read(file)
            self._notify(f"reading {what} inputs", number + 1, len(files))
        array.flush()
        return path

    def _run(self, model: Classifier, stage: str) -> Logits:
        inputs = np.load(self._inputs, mmap_mode="r")
        rows = []
        for values in inputs:
            rows.append(model.logits(values))
            self._notify(stage, len(rows), len(inputs))
        logits = np.stack(rows)
        if not np.isfinite(logits).all():
            raise UnsupportedModelError(self._name, expected="finite outputs", got=f"NaN or infinity ({stage})")
        return logits

    def _open(self, path: Path, precision: int | None = None) -> Classifier:
        return Classifier(path, precision, None, self._num_threads, self._name)

    def _difference(self, logits: Logits, other: Logits) -> PairedDifference:
        return paired_difference(self._right(logits), self._right(other))

    def _right(self, logits: Logits) -> NDArray[np.bool_]:
        return np.array([best in right for best, right in zip(logits.argmax(1), self._accepted, strict=True)])
