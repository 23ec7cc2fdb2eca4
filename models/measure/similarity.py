"""Similarities of sentences by a nested encoder, beside the float model's and people's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from nq_tflite_models.measure.comparison import dynamic_range
from nq_tflite_models.measure.litert_quantizer import quantized_by_litert
from nq_tflite_models.measure.sentence_pairs import one_by_one
from numpy.typing import NDArray
from scipy import stats

import nq_tflite as nq
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.device.interpreter import Interpreter
from nq_tflite.errors import NqError
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.format.nesting import Nesting
from nq_tflite.progress import Progress

Inputs = dict[str, NDArray[np.int32]]
Float64 = NDArray[np.float64]
Activations = Literal["float", "int8"]
#: Of intervals.
CONFIDENCE, _RESAMPLES = 0.95, 2000


@dataclass(frozen=True)
class Correlation:
    """Of two similarities of the same pairs, with ends of the interval of `CONFIDENCE` by a bootstrap of the pairs."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SimilarityRow:
    """What a file at a precision makes of the pairs.

    Attributes:
        file: what it is; nesting, bits: of a nested one.
        bytes: of the file; of a nested one those of its levels up to that precision and of the graph.
        snr_db: of the sentences' vectors, beside the float model's.
        pearson, spearman: of its similarities and the float model's.
        people: Spearman's correlation of its similarities and people's; None if nobody was asked.
        less_float: by how much that is above the float model's, paired.
        note: why there is no such file; None usually.
    """

    file: str
    nesting: str | None = None
    bits: int | None = None
    bytes: int = 0
    snr_db: float | None = None
    pearson: float | None = None
    spearman: Correlation | None = None
    people: Correlation | None = None
    less_float: Correlation | None = None
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def compare_similarities(
    model: Any,
    inputs: Inputs,
    scores: Float64,
    calibration: Inputs,
    *,
    nestings: Sequence[str] = ("8|4",),
    activations: Activations = "float",
    quantized: bool = False,
    num_threads: int = 1,
    progress: Progress,
) -> list[SimilarityRow]:
    """Converts an encoder in several ways, and compares what the files make of pairs of sentences.

    Args:
      model: from `sentence_encoder`.
      inputs: of both sentences of each pair in turn, int32 [2 * pairs, tokens] by name.
      scores: people's, float64 [pairs]; NaN where nobody was asked.
      calibration: other sentences.
      nestings: to convert to, each with and without the sentences to calibrate with.
      activations: "float", dynamic range; or "int8", full-int8, which always calibrates.
      quantized: whether LiteRT Quantizer's file of four bits is measured too.
      num_threads: of the runtime.
      progress: called with a stage, the steps done and the steps in all.

    Raises:
      As nq.convert and nq.Interpreter.
    """
    rows: list[SimilarityRow] = []
    with TemporaryDirectory(prefix="nq-similarity-") as folder:
        progress("float model", 0, 0)
        float_file = Path(folder, "float.tflite")
        float_file.write_bytes(export(model, None))
        judge = _Judge(embeddings(float_file, inputs, num_threads=num_threads), scores)
        rows.append(judge.row("float", float_file, judge.wanted))
        for name, path in _stock(model, float_file, calibration, activations, quantized, progress):
            if isinstance(path, str):
                rows.append(SimilarityRow(name, note=path))
            else:
                rows.append(judge.row(name, path, embeddings(path, inputs, num_threads=num_threads)))
        samples = list(one_by_one(calibration))
        ways: list[tuple[str, dict[str, Any]]] = [("nested", {"representative_data": samples})]
        if activations == "float":
            ways.append(("nested, nearest codes", {"rounding": "nearest"}))
        for nesting in nestings:
            for name, options in ways:
                nested = Path(folder, "nested.tflite")
                source = float_file if activations == "float" else model
                report = nq.convert(source, nested, nesting, progress=progress, **options)
                for level, bits in enumerate(Nesting.parse(nesting).precisions):
                    progress(f"{name} {nesting} at {bits} bits", 0, 0)
                    later = sum(sum(weight.level_bytes[level + 1 :]) for weight in report.weights)
                    row = judge.row(name, nested, embeddings(nested, inputs, bits, num_threads))
                    rows.append(replace(row, nesting=nesting, bits=bits, bytes=row.bytes - later))
    return rows


def embeddings(path: Path, inputs: Inputs, bits: int | None = None, num_threads: int = 1) -> Float64:
    """Vectors of sentences [sentences, width], one after the other, by a file that takes one at a time.

    Args:
      bits: the precision; None of a file that has no other.
    """
    with Interpreter(path, num_threads=num_threads, precision="full" if bits is None else bits) as interpreter:
        run = interpreter.get_signature_runner()
        return np.concatenate([next(iter(run(**row).values())) for row in one_by_one(inputs)]).astype(np.float64)


def similarities(vectors: Float64) -> Float64:
    """Cosines of each pair, whose vectors follow one another: [pairs] of [2 * pairs, width]."""
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray((units[::2] * units[1::2]).sum(axis=1))


class _Judge:
    """The float model's word on pairs, and people's."""

    def __init__(self, wanted: Float64, scores: Float64) -> None:
        self.wanted, self._float = wanted, similarities(wanted)
        self._scores = scores if np.isfinite(scores).all() else None
        count = len(self._float)
        resamples = np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))
        self._draws = np.concatenate([np.arange(count)[None], resamples])
        self._by_people = None if self._scores is None else self._spearmans(self._float, self._scores)

    def row(self, file: str, path: Path, vectors: Float64) -> SimilarityRow:
        """Of a file and its vectors."""
        found = similarities(vectors)
        people = None if self._scores is None else self._spearmans(found, self._scores)
        return SimilarityRow(
            file,
            bytes=path.stat().st_size,
            snr_db=signal_to_noise_db(self.wanted, vectors),
            pearson=float(np.corrcoef(self._float, found)[0, 1]),
            spearman=_interval(self._spearmans(self._float, found)),
            people=None if people is None else _interval(people),
            less_float=None if people is None or self._by_people is None else _interval(people - self._by_people),
        )

    def _spearmans(self, first: Float64, second: Float64) -> Float64:
        """Spearman's correlation of all pairs, then of each resample of them."""
        ranks = [stats.rankdata(each[self._draws], axis=1) for each in (first, second)]
        x, y = (each - each.mean(axis=1, keepdims=True) for each in ranks)
        return np.asarray((x * y).sum(axis=1) / np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1)))


def _interval(values: Float64) -> Correlation:
    low, high = np.quantile(values[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Correlation(float(values[0]), float(low), float(high))


def _stock(
    model: Any, float_file: Path, calibration: Inputs, activations: Activations, quantized: bool, progress: Progress
) -> Iterator[tuple[str, Path | str]]:
    """Files that others make of the model, or why they make none."""
    progress("converting with tensorflow", 0, 0)
    stock = float_file.with_name("stock.tflite")
    if activations == "int8":
        stock.write_bytes(export(model, lambda: one_by_one(calibration)))
    else:
        stock.write_bytes(dynamic_range(model))
    yield "stock INT8" if activations == "int8" else "stock dynamic range", stock
    if quantized and activations == "float":
        target = float_file.with_name("blockwise.tflite")
        name = "LiteRT Quantizer, blocks of INT4"
        try:
            quantized_by_litert(float_file, float_file, 4, target, blockwise=True)
            yield name, target
        except NqError as error:
            yield name, " ".join(str(error).split())
