"""A classifier on labelled inputs: float, stock INT8, by LiteRT Quantizer, and nested by every rounding method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from nq_tflite_models.measure.labelled_case import (
    FileInputs,
    LabelledCase,
    LabelledData,
    LabelledNet,
    float_net,
)
from nq_tflite_models.measure.litert_quantizer import INSTALL, quantized_by_litert
from nq_tflite_models.measure.paired import PairedDifference, paired_difference
from numpy.typing import NDArray

from nq_tflite.errors import MissingPackageError, UnsupportedModelError
from nq_tflite.format.nesting import LayerBits, Nesting
from nq_tflite.measure.benchmark import kernels_in_child
from nq_tflite.measure.contenders import Contender, ContenderName, contenders
from nq_tflite.measure.evaluate import Score, score
from nq_tflite.measure.tasks import (
    LevelFile,
    Logits,
    RoundingFacts,
    Runner,
    facts,
    file_logits,
    level_file,
    round_case,
    stock_file,
)
from nq_tflite.measure.workers import Outcome, Tasks, keep, tasks_on
from nq_tflite.progress import Progress

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
        """Everything as plain values, for JSON."""
        return asdict(self)


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
    client: Any = None,
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
        client: a `distributed.Client` of the cluster to run on; None for this process. Its workers read the inputs, and
            the net if that is a path, at the same paths.
        notify: called with a stage's name, the steps done and the steps in all.

    Raises:
        NestingError, PhotosError, UnsupportedModelError, WeightsError, FormatError, MissingPackageError,
            ClusterError
    """
    wanted, chosen = [Nesting.parse(nesting) for nesting in nestings], contenders(methods)
    tasks, runner = tasks_on(client, notify), Runner(name, None, num_threads)
    given = (data.has_pictures, data.pixels, data.crop_fraction, data.quantization)
    case = tasks.submit("", keep, LabelledCase(net, data.calibration, *given, equalize, runner))
    float_file = tasks.submit("", float_net, case).result()
    data.evaluated.check_classes(float_file.num_classes)
    inputs = FileInputs(data.evaluated.files, float_file.reader)
    if client is None:
        inputs.keep("evaluated", notify)
    bench = _Bench(tasks, case, runner, float_file, inputs, layer_bits)
    files = [
        *(bench.litert(bits) for bits in _LITERT_BITS),
        *(row for nesting in wanted for contender in chosen for row in bench.nested(contender, nesting)),
    ]
    judge = _Judge(name, data, bench.float(), bench.stock())
    while files:  # what has been told may go
        running = files.pop(0)
        if len(wanted) > 1 and (refusal := _refusal(running)):
            judge.rows.append(replace(running.row, note=refusal))
        else:
            judge.add(running)
    return LabelledComparison(
        model=name,
        num_evaluated=len(data.evaluated.files),
        num_calibration=len(data.calibration),
        preprocessing="" if float_file.reader.pixels is None else str(float_file.reader.pixels),
        runtime=float_file.runtime,
        kernels=kernels_in_child(),
        rows=tuple(judge.rows),
    )


@dataclass(frozen=True)
class _Quantized:
    """What LiteRT Quantizer made, and its version; or no file, and why."""

    file: LevelFile | None
    note: str


def quantize_by_litert(case: LabelledCase, float_file: LevelFile, bits: int, *, notify: Progress) -> _Quantized:
    """A task: the float model with weights of so many bits."""
    with TemporaryDirectory(prefix="nq-litert-") as folder:
        model, samples, target = (Path(folder, name) for name in ("float.tflite", "samples.npy", "litert.tflite"))
        model.write_bytes(float_file.content)
        np.save(samples, np.stack(list(case.samples(notify))))
        notify("quantizing", 0, 0)
        try:
            version = quantized_by_litert(model, samples, bits, target)
        except MissingPackageError:
            return _Quantized(None, f"not installed: {INSTALL}")
        except UnsupportedModelError as error:
            return _Quantized(None, str(error))
        return _Quantized(LevelFile(target.read_bytes()), version)


def run_quantized(runner: Runner, quantized: _Quantized, inputs: FileInputs, *, notify: Progress) -> Logits | None:
    """A task: what the file says to inputs, if there is one."""
    return None if quantized.file is None else file_logits(runner, quantized.file, inputs, notify=notify)


def note_of(quantized: _Quantized, *, notify: Progress) -> str:
    """A task: the note alone."""
    return quantized.note


@dataclass(frozen=True)
class _Running:
    """A row to be, the logits of each batch (None where there is no file), and what completes it."""

    row: LabelledRow
    logits: list[Outcome[Logits]] | list[Outcome[Logits | None]]
    note: Outcome[str] | None = None
    facts: Outcome[RoundingFacts] | None = None


class _Bench:
    """Has files made and run on the inputs."""

    def __init__(
        self,
        tasks: Tasks,
        case: Outcome[LabelledCase],
        runner: Runner,
        net: LabelledNet,
        inputs: FileInputs,
        layer_bits: LayerBits,
    ) -> None:
        self._tasks, self._case, self._runner, self._layer_bits = tasks, case, runner, layer_bits
        self._float = tasks.submit("", keep, net.file)
        self._batches = tasks.batches(inputs)

    def float(self) -> _Running:
        """The float model."""
        return self._run(LabelledRow(FLOAT), self._float)

    def stock(self) -> _Running:
        """What tensorflow's converter makes."""
        return self._run(LabelledRow(STOCK, bits=8), self._tasks.submit(STOCK, stock_file, self._case))

    def litert(self, bits: int) -> _Running:
        """What LiteRT Quantizer makes of the float model, or why it makes nothing."""
        stage = f"{LITERT}, {bits} bits"
        made = self._tasks.submit(stage, quantize_by_litert, self._case, self._float, bits)
        logits = [self._tasks.submit(stage, run_quantized, self._runner, made, batch) for batch in self._batches]
        return _Running(LabelledRow(LITERT, bits=bits), logits, self._tasks.submit(stage, note_of, made))

    def nested(self, contender: Contender, nesting: Nesting) -> list[_Running]:
        """Every level, full-bit first."""
        stage = f"{nesting}, {contender.name}"
        rounded = self._tasks.submit(stage, round_case, self._case, contender.name, nesting, self._layer_bits)
        told = self._tasks.submit(stage, facts, rounded)
        row = LabelledRow(contender.name, nesting=str(nesting))
        return [
            replace(
                self._run(replace(row, bits=bits), self._tasks.submit(stage, level_file, rounded, level)), facts=told
            )
            for level, bits in reversed(list(enumerate(nesting.precisions)))
        ]

    def _run(self, row: LabelledRow, file: Outcome[LevelFile]) -> _Running:
        stage = _stage(row)
        return _Running(
            row, [self._tasks.submit(stage, file_logits, self._runner, file, batch) for batch in self._batches]
        )


def _refusal(running: _Running) -> str | None:
    """Why nothing could be rounded, as where a nesting saves no bytes; what a file then gives is another matter."""
    try:
        if running.facts is not None:
            running.facts.result()
    except UnsupportedModelError as error:
        return str(error)
    return None


def _stage(row: LabelledRow) -> str:
    return ", ".join(filter(None, [row.nesting, row.method, row.bits and f"{row.bits} bits"]))


class _Judge:
    """Scores files beside the float model and stock INT8.

    Attributes:
        rows: those two first.
    """

    def __init__(self, name: str, data: LabelledData, reference: _Running, stock: _Running) -> None:
        self._name, self._accepted = name, data.evaluated.accepted
        self._reference: Logits | None = None
        self._stock: Logits | None = None
        self.rows: list[LabelledRow] = []
        self._reference = self.add(reference)
        self._stock = self.add(stock)

    def add(self, running: _Running) -> Logits | None:
        """Adds a row; gives its logits."""
        row, parts = running.row, [part.result() for part in running.logits]
        if running.note is not None:
            row = replace(row, note=running.note.result())
        if running.facts is not None:
            told = running.facts.result()
            row = replace(row, seconds=told.seconds, note=told.note)
        known = [part for part in parts if part is not None]
        logits = np.concatenate(known) if known else None
        self.rows.append(row if logits is None else self._scored(row, logits))
        return logits

    def _scored(self, row: LabelledRow, logits: Logits) -> LabelledRow:
        if not np.isfinite(logits).all():
            got = f"NaN or infinity ({_stage(row)})"
            raise UnsupportedModelError(self._name, expected="finite outputs", got=got)
        reference, stock = self._reference, self._stock
        return replace(
            row,
            score=score(row.bits, logits, logits if reference is None else reference, self._accepted, _TOP_K),
            against_float=None if reference is None else self._difference(logits, reference),
            against_stock=None if stock is None else self._difference(logits, stock),
        )

    def _difference(self, logits: Logits, other: Logits) -> PairedDifference:
        return paired_difference(self._right(logits), self._right(other))

    def _right(self, logits: Logits) -> NDArray[np.bool_]:
        return np.array([best in right for best, right in zip(logits.argmax(1), self._accepted, strict=True)])
