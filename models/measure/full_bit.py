"""Full-bit beside plain rounding and stock INT8: how near each comes to the float net on inputs that none has seen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import numpy as np
import numpy.typing as npt
from nq_tflite_models.measure.dynamic_range import write_dynamic_range
from nq_tflite_models.nets import for_rounding
from nq_tflite_models.nets.fake_quant import full_int8
from nq_tflite_models.nets.for_rounding import RoundingNet
from nq_tflite_models.nets.seeded import model_inputs

import nq_tflite as nq
from nq_tflite.conversion.rounding import DEFAULT
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.format.nesting import Precision
from nq_tflite.measure.workers import tasks_on
from nq_tflite.progress import Progress

Inputs = dict[str, npt.NDArray[Any]]
#: What is converted; of "keras", with data, the float net is known where full-int8 comes of it.
SourceKind = Literal["keras", "float file", "INT8 file", "dynamic-range file"]
#: Of those that a net is judged by, of those that a stock INT8 file is calibrated with.
NUM_JUDGED, NUM_CALIBRATION = 64, 64
_JUDGED_SEED, _DATA_SEED, _CALIBRATION_SEED = 1001, 1002, 1003


@dataclass(frozen=True)
class FullBitRow:
    """What a source keeps, in dB against the float net: signal over error of the outputs.

    Attributes:
        net: its name.
        source: what was converted.
        nesting: such as "8|5".
        samples: of representative data that the conversion had; 0: none.
        stock: of the stock file of the same weights: full-int8, or at dynamic range.
        nearest, default: (full-bit, part-bit) by `rounding="nearest"` and by the default, of the extracted files.
        fused: the default's nested file by this library's kernels, which quantize float activations as stock does.
    """

    net: str
    source: SourceKind
    nesting: str
    samples: int
    stock: float
    nearest: tuple[float, float]
    default: tuple[float, float]
    fused: tuple[float, float]

    @property
    def loss(self) -> float:
        """By how many dB the default's full-bit is below plain rounding's."""
        return self.nearest[0] - self.default[0]


def measure_full_bit(
    name: str, net: RoundingNet, samples: Sequence[int], kinds: Sequence[SourceKind] = (), nesting: str = "8|5"
) -> Iterator[FullBitRow]:
    """Converts a net from every kind of source, with and without data.

    Args:
        name, net: what to convert.
        samples: numbers of samples of representative data; 0 for none.
        kinds: of sources; all that the net has if not given.
        nesting: levels.

    Example:
        list(measure_full_bit("conv", for_rounding.NETS["conv"], [0, 48]))
    """
    keras.utils.clear_session()
    model = net.build()
    judge = Judge(model)
    with tempfile.TemporaryDirectory(prefix="nq-full-bit-") as folder:
        for kind in kinds or kinds_of(net):
            for count in samples:
                data = data_of(model, count)
                if kind == "keras" and data is None:
                    continue  # of a Keras model without data comes what comes of the float file
                source, stock = make_source(kind, model, net, Path(folder), data)
                found = {}
                for rounding in ("nearest", DEFAULT):
                    nested = Path(folder, "nested.tflite")
                    nq.convert(source, nested, nesting, data, rounding=rounding, progress=None)
                    found[rounding] = tuple(judge.snr_db(extracted(nested, each)) for each in ("full", "part"))
                fused = judge.fused_snr_db(nested, "full"), judge.fused_snr_db(nested, "part")
                pairs = found["nearest"], found[DEFAULT], fused
                yield FullBitRow(name, kind, nesting, count, judge.snr_db(stock), *pairs)


def measured_nets(
    names: Sequence[str], samples: Sequence[int], nestings: Sequence[str], client: Any, notify: Progress
) -> list[FullBitRow]:
    """Rows of nets of `for_rounding`, by name; on the cluster of a `distributed.Client`, or here if that is None."""
    tasks = tasks_on(client, notify)
    outcomes = [
        tasks.submit(f"{name}, {nesting}", full_bit_rows, name, samples, nesting)
        for name in names
        for nesting in nestings
    ]
    return [row for outcome in outcomes for row in outcome.result()]


def full_bit_rows(name: str, samples: Sequence[int], nesting: str, *, notify: Progress) -> list[FullBitRow]:
    """A task: all rows of one net."""
    notify("", 0, 0)
    net = (for_rounding.NETS | for_rounding.TUNING_NETS)[name]
    return list(measure_full_bit(name, net, samples, nesting=nesting))


def named_inputs(model: keras.Model, count: int, seed: int) -> Inputs:
    """Inputs that a net of `for_rounding` may see, by their names: [count, ...]."""
    return {each.name: values for each, values in zip(model.inputs, model_inputs(model, count, seed), strict=True)}


def data_of(model: keras.Model, count: int) -> list[Inputs] | None:
    """So many samples of representative data; None for none."""
    return rows_of(named_inputs(model, count, _DATA_SEED)) if count else None


def kinds_of(net: RoundingNet) -> tuple[SourceKind, ...]:
    return ("INT8 file",) if net.fake_quant else get_args(SourceKind)


def make_source(
    kind: SourceKind, model: keras.Model, net: RoundingNet, folder: Path, data: list[Inputs] | None
) -> tuple[Any, Path]:
    """What to convert, and the stock file to show beside it."""
    stock, dynamic = folder / "int8.tflite", folder / "dynamic.tflite"
    if kind in ("float file", "dynamic-range file"):
        float_file = folder / "float.tflite"
        if not float_file.exists():
            float_file.write_bytes(export(model, None))
            nq.convert(float_file, folder / "plain.tflite", "8|4", rounding="nearest", include="*", progress=None)
            write_dynamic_range(folder / "plain.tflite", dynamic, "full")
        return (float_file if kind == "float file" else dynamic), dynamic
    if kind == "keras" and data is not None:
        stock = folder / "calibrated.tflite"
        stock.write_bytes(export(model, lambda: iter(data)))
        return model, stock
    if not stock.exists():
        calibration = rows_of(named_inputs(model, NUM_CALIBRATION, _CALIBRATION_SEED))
        stock.write_bytes(full_int8(model) if net.fake_quant else export(model, lambda: iter(calibration)))
    return stock, stock


def rows_of(inputs: Inputs) -> list[Inputs]:
    """One sample each, [1, ...], as representative data."""
    count = len(next(iter(inputs.values())))
    return [{name: values[k : k + 1] for name, values in inputs.items()} for k in range(count)]


def extracted(nested: Path, precision: str) -> Path:
    target = nested.with_name(f"{precision}.tflite")
    nq.extract(nested, target, precision)
    return target


class Judge:
    """The float net's word on inputs that no rounding has seen."""

    def __init__(self, model: keras.Model) -> None:
        self._inputs = named_inputs(model, NUM_JUDGED, _JUDGED_SEED)
        arrays = list(self._inputs.values())
        self._wanted = np.asarray(model(arrays if len(arrays) > 1 else arrays[0], training=False))

    def snr_db(self, path: Path) -> float:
        """Of a stock file's outputs beside the float net's."""
        return self._snr_db(walking_runtime().interpreter(model_path=str(path)))

    def fused_snr_db(self, path: Path, precision: Precision) -> float:
        """Of a nested file's, computed with this library's kernels."""
        with nq.Interpreter(path, precision=precision, runtime=walking_runtime().name) as interpreter:
            return self._snr_db(interpreter)

    def _snr_db(self, interpreter: Any) -> float:
        run = interpreter.get_signature_runner()
        found = [next(iter(run(**row).values())) for row in rows_of(self._inputs)]
        return signal_to_noise_db(self._wanted, np.concatenate(found).reshape(self._wanted.shape))
