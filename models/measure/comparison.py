"""Latency and memory of the zoo's models, nested, beside their own stock files; `benchmark` prints them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nq_tflite_models.measure.litert_quantizer import QuantizedFiles, QuantizedKind, quantized_files
from nq_tflite_models.nets.zoo import MODELS

from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import ModelSourceError, UnsupportedModelError, needing_extra
from nq_tflite.format.nesting import Nesting
from nq_tflite.measure.benchmark import BenchmarkReport, Latency, benchmark, kernels_in_child
from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.measure.memory import Footprint
from nq_tflite.measure.peers import PeerKind
from nq_tflite.progress import Progress, silent

ROUNDING = "nearest"
#: int8: beside stock full-int8. float: dynamic range, beside tensorflow's own.
Activations = Literal["int8", "float"]
ACTIVATIONS: tuple[Activations, ...] = ("int8", "float")
NUM_CALIBRATION_INPUTS = 8
#: Enough for medians that nobody reads: the comparison is of latency and memory.
SWITCHES, RELOADS = 5, 2
#: Progress of `model_files`: converting and nesting.
_FILE_STEPS = 2

MEMORY_DEFINITION = (
    "Memory is what loading the model and two runs added to a process that had imported the runtime: anonymous bytes "
    "and resident bytes of the model's file, in sum. Part-bit is measured after a switch from full-bit. Cached is the "
    "stock file in LiteRT's CompiledModel with XNNPACK's weight cache, whose file counts too."
)


@dataclass(frozen=True)
class ModelFiles:
    """A model of the zoo as two files.

    Attributes:
        stock, nested: paths of the stock INT8 (or dynamic-range) file and of the nested one of the same weights.
        stock_bytes, nested_bytes: their sizes.
        num_weights: weights in nested tensors; unnested: weight tensors that stayed as they were.
        multiply_accumulates: of the convolutions and dense layers, in one inference.
        operators: how many of each operator the stock file has.
    """

    name: str
    stock: str
    nested: str
    stock_bytes: int
    nested_bytes: int
    num_weights: int
    unnested: int
    multiply_accumulates: int
    operators: dict[str, int]


@dataclass(frozen=True)
class LatencyRow:
    """A model with one number of threads: the stock file's latency, and the nested one's at full-bit and part-bit.

    Attributes:
        cached: the stock file's with XNNPACK's weight cache; None where that was not measured.
        quantized: LiteRT Quantizer's files', by kind.
    """

    num_threads: int
    stock: Latency
    full: Latency
    part: Latency
    cached: Latency | None = None
    quantized: dict[str, Latency] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparedModel:
    """One model's files and everything measured of them; MEMORY_DEFINITION says what the memory figures are.

    Attributes:
        quantized: LiteRT Quantizer's files of the same weights.
    """

    files: ModelFiles
    report: BenchmarkReport
    quantized: QuantizedFiles = field(default_factory=QuantizedFiles)

    @property
    def latencies(self) -> tuple[LatencyRow, ...]:
        """A row for each thread count; ratios are medians of paired runs, over the stock file's."""
        rows = []
        for setting in self.report.settings:
            stock, *own = setting.latencies
            by_bits = {each.bits: each for each in own}
            bits = [each for each in by_bits if each is not None]
            cached = next((each for each in own if each.peer == "weight-cache"), None)
            quantized = {kind: _of_path(own, path) for kind, path in self.quantized.paths.items()}
            row = LatencyRow(setting.num_threads, stock, by_bits[max(bits)], by_bits[min(bits)], cached, quantized)
            rows.append(row)
        return tuple(rows)

    @property
    def stock_memory(self) -> int:
        """Bytes that the stock file adds."""
        return self._footprint(self.files.stock).states[0].added.held

    @property
    def cached_memory(self) -> int | None:
        """Bytes that the stock file adds with XNNPACK's weight cache, its file included; None if not measured."""
        cached = [each for each in self.report.footprints if each.peer == "weight-cache"]
        return cached[0].states[0].added.held if cached else None

    @property
    def quantized_memory(self) -> dict[str, int]:
        """Bytes that LiteRT Quantizer's files add, by kind."""
        return {kind: self._footprint(path).states[0].added.held for kind, path in self.quantized.paths.items()}

    @property
    def full_memory(self) -> int:
        """Bytes that the nested file adds, loaded at full-bit."""
        return self._footprint(self.files.nested).states[0].added.held

    @property
    def part_memory(self) -> int:
        """Bytes that the nested file holds after a switch to part-bit."""
        return self._footprint(self.files.nested).states[1].added.held

    def _footprint(self, path: str) -> Footprint:
        return next(each for each in self.report.footprints if each.path == path and each.peer is None)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        memory: dict[str, Any] = {"stock": self.stock_memory, "full": self.full_memory, "part": self.part_memory}
        memory |= {"cached": self.cached_memory, "quantized": self.quantized_memory}
        rows = [asdict(row) for row in self.latencies]
        own = {"files": asdict(self.files), "quantized": asdict(self.quantized)}
        return own | {"latencies": rows, "memory": memory, "report": self.report.as_dict()}


def _of_path(latencies: Sequence[Latency], path: str) -> Latency:
    return next(each for each in latencies if each.path == path)


@dataclass(frozen=True)
class Comparison:
    """All models, measured one after the other on one machine.

    Attributes:
        cpu: the processor; isa: the instruction set of nq_tflite's matrix kernels; kernels: of each kind.
        version, runtime: nq_tflite's version; the stock runtime's name and version.
        nesting, activations, runs: of every model; memory_threads: the thread count that memory was measured with.
    """

    cpu: str
    isa: str
    kernels: dict[str, str]
    version: str
    runtime: str
    nesting: str
    activations: Activations
    runs: int
    memory_threads: int
    models: tuple[ComparedModel, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        own = {key: value for key, value in vars(self).items() if key != "models"}
        return own | {"memory_definition": MEMORY_DEFINITION, "models": [model.as_dict() for model in self.models]}


def compare_models(
    names: Sequence[str],
    folder: str | Path,
    *,
    nesting: str = "8|4",
    activations: Activations = "int8",
    runtime: RuntimeName | None = None,
    threads: Sequence[int] = (1,),
    runs: int = 30,
    isa: str | None = None,
    seed: int = 0,
    peers: Sequence[PeerKind] = (),
    quantized: Sequence[QuantizedKind] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Builds, converts and measures models of the zoo.

    Args:
      names: keys of `zoo.MODELS`.
      folder: keeps the files, made if need be. A stock file that it has is used again; delete it to build anew.
      nesting: as nq.convert; the upper bits are rounded to nearest, which latency does not mind.
      activations: "int8" for full-int8, "float" for dynamic range.
      runtime, threads, runs, isa: as nq_tflite.measure.benchmark.benchmark.
      seed: of the weights.
      peers: further ways of running the stock file, as nq_tflite.measure.benchmark.benchmark.
      quantized: LiteRT Quantizer's files of the same weights to measure too.
      progress: called with a stage, the steps done and the steps in all.

    Returns:
      What was measured, in the order of `names`.

    Raises:
      UnsupportedModelError: no model of that name, or no name at all.
      ModelSourceError: the folder cannot be made.
      NestingError, MissingPackageError, NativeLibraryError, FormatError: as nq.convert and benchmark.

    Example:
      compare_models(["ds_cnn_s"], "models").models[0].latencies[0].full.ratio  # 0.5: half of stock INT8's time
    """
    _check_names(names)
    nesting = str(Nesting.parse(nesting))
    kernels_in_child(isa)
    notify, steps = progress or silent, _FILE_STEPS + len(threads) + 2 + len(peers) + len(quantized)

    def show(before: int, stage: str, step: int, _: int) -> None:
        notify(f"{name}: {stage}", before + step, steps * len(names))

    compared: list[ComparedModel] = []
    for name in names:
        before = steps * len(compared)
        files = model_files(name, folder, nesting, activations, seed, partial(show, before))
        others = _quantized(name, folder, quantized, runtime, seed)
        report = benchmark(
            files.nested,
            [files.stock, *others.paths.values()],
            runtimes=[runtime],
            threads=threads,
            runs=runs,
            switches=SWITCHES,
            reloads=RELOADS,
            isa=isa,
            peers=peers,
            progress=partial(show, before + _FILE_STEPS),
        )
        compared.append(ComparedModel(files, report, others))
    first = compared[0].report
    return Comparison(
        first.cpu,
        first.isa,
        first.kernels,
        first.version,
        first.settings[0].runtime,
        nesting,
        activations,
        runs,
        threads[0],
        tuple(compared),
    )


def model_files(
    name: str,
    folder: str | Path,
    nesting: str = "8|4",
    activations: Activations = "int8",
    seed: int = 0,
    progress: Progress | None = None,
) -> ModelFiles:
    """Builds a model's stock file unless the folder has it, and nests it; tensorflow runs in a child process.

    Files appear whole or not at all. The nested one is written anew each time: it takes a second.

    Raises:
      As compare_models.

    Example:
      model_files("ds_cnn_s", "models").num_weights  # 22016
    """
    _check_names([name])
    notify, target = progress or silent, _made(folder)
    stem, bits = f"{name}_seed{seed}", str(Nesting.parse(nesting)).replace("|", "_")
    stock = target / f"{stem}_{'int8' if activations == 'int8' else 'dynamic'}.tflite"
    source = stock if activations == "int8" else target / f"{stem}_float.tflite"
    nested = target / f"{stem}_{bits if activations == 'int8' else f'float_{bits}'}.tflite"
    if not (stock.is_file() and source.is_file()):
        notify("converting with tensorflow", 0, _FILE_STEPS)
        job = {"job": "build", "name": name, "seed": seed, "activations": activations}
        run_in_child(__name__, job | {"stock": str(stock), "source": str(source)})
    notify("nesting", 1, _FILE_STEPS)
    job = {"job": "nest", "stock": str(stock), "source": str(source), "nested": str(nested), "nesting": nesting}
    answer = run_in_child(__name__, job)
    return ModelFiles(name=name, stock=str(stock), nested=str(nested), **answer)


def _quantized(
    name: str, folder: str | Path, kinds: Sequence[QuantizedKind], runtime: RuntimeName | None, seed: int
) -> QuantizedFiles:
    if not kinds:
        return QuantizedFiles()
    target, stem = _made(folder), f"{name}_seed{seed}"
    source, samples = target / f"{stem}_float.tflite", target / f"{stem}_samples.npy"
    if not (source.is_file() and samples.is_file()):
        job = {"job": "build", "name": name, "seed": seed, "activations": "float", "samples": str(samples)}
        run_in_child(__name__, job | {"stock": str(target / f"{stem}_dynamic.tflite"), "source": str(source)})
    return quantized_files(source, samples, target / stem, kinds, runtime)


def stock_file(name: str, folder: str | Path, seed: int = 0) -> Path:
    """A model's stock INT8 file, built unless the folder has it.

    Raises:
      As compare_models.

    Example:
      stock_file("ds_cnn_s", "models")  # PosixPath('models/ds_cnn_s_seed0_int8.tflite')
    """
    _check_names([name])
    stock = _made(folder) / f"{name}_seed{seed}_int8.tflite"
    if not stock.is_file():
        job = {"job": "build", "name": name, "seed": seed, "activations": "int8"}
        run_in_child(__name__, job | {"stock": str(stock), "source": str(stock)})
    return stock


def _made(folder: str | Path) -> Path:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelSourceError(f"folder {folder}", expected="a folder that can be created", got=str(error)) from error
    return Path(folder)


def _check_names(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in MODELS]
    if unknown or not names:
        raise UnsupportedModelError(
            "models", expected=f"names of {', '.join(MODELS)}", got=", ".join(unknown) or "none"
        )


# ---- in child processes ----------------------------------------------------------------------------------------------


def _build(job: Job) -> Job:
    """Writes the stock file, for one image at a time: a free batch size leaves the shapes to run time."""
    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export
    from nq_tflite.files import write_whole

    with needing_extra("convert", "building models"):
        import keras
        from nq_tflite_models.nets.seeded import seeded_inputs
        from nq_tflite_models.nets.zoo import build_model
    body = build_model(job["name"], job["seed"])
    if "samples" in job:
        np.save(job["samples"], seeded_inputs(body.input_shape, NUM_CALIBRATION_INPUTS, job["seed"]))
    image = keras.Input(batch_shape=(1, *body.input_shape[1:]))
    model = keras.Model(image, body(image))
    if job["activations"] == "float":
        write_whole(job["source"], [(0, export(model, None))])
        stock = dynamic_range(model)
    else:
        stock = export(model, sample_source(seeded_inputs(body.input_shape, NUM_CALIBRATION_INPUTS, job["seed"])))
    return {"stock_bytes": write_whole(job["stock"], [(0, stock)])}


def dynamic_range(model: Any) -> bytes:
    """A Keras model as stock TFLite's converter quantizes it without data."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with redirect_stdout(StringIO()):  # Keras tells of the SavedModel that the converter asks it for
        return bytes(converter.convert())


def _nest(job: Job) -> Job:
    """Writes the nested file; answers with what ModelFiles wants to know."""
    from nq_tflite.conversion.convert import convert

    report = convert(job["source"], job["nested"], job["nesting"], rounding=ROUNDING, progress=None)
    return {
        "stock_bytes": Path(job["stock"]).stat().st_size,
        "nested_bytes": report.file_bytes,
        "num_weights": report.num_weights,
        "unnested": len(report.unnested),
        **_graph_facts(job["stock"]),
    }


def _graph_facts(path: str) -> Job:
    import math
    from collections import Counter

    from nq_tflite.graph import flatbuffer as fb

    model = fb.read_model(path).model
    operators: Counter[str] = Counter()
    multiply_accumulates = 0
    for _, subgraph in fb.subgraphs(model):
        for operator in subgraph.operators:
            name = fb.operator_name(model, operator)
            operators[name] += 1
            if name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
                continue
            weights, output = fb.shape(subgraph.tensors[operator.inputs[1]]), subgraph.tensors[operator.outputs[0]]
            channels = weights[3 if name == "DEPTHWISE_CONV_2D" else 0]
            multiply_accumulates += math.prod(fb.shape(output)) * (math.prod(weights) // channels)
    return {"multiply_accumulates": multiply_accumulates, "operators": dict(operators.most_common())}


if __name__ == "__main__":
    answer_job({"build": _build, "nest": _nest})
