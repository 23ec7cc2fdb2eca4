"""What loading costs per operator, nested and stock, as graphs grow: chains of every size, each loaded in turns."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.measure.rounds import interleaved
from nq_tflite.progress import Progress, silent

_CHANNELS, _SIDE, _SCALE = 32, 4, 1 / 16
_SHAPE = (1, _SIDE, _SIDE, _CHANNELS)


@dataclass(frozen=True)
class LoadTime:
    """Per operator of the stock graph: microseconds from construction to allocated tensors, and nanoseconds of an
    inference, in which layers are so small that most of it is what an operator costs beside its arithmetic. Medians.

    Attributes:
        runtime: name and version.
        nodes: operators of the stock graph, a quarter of them convolutions whose weights are nested.
        stock: the stock file, under XNNPACK.
        fused: the nested file, computed on packed weights.
        unpacked: the nested file with `fuse=False`, which claims every weight by itself.
        inference: nanoseconds of each kind.
    """

    runtime: str
    nodes: int
    stock: float
    fused: float
    unpacked: float
    inference: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def write_chain(path: Path, nodes: int) -> None:
    """Writes a full-int8 chain, `nodes` operators long: CONV_2D, LOGISTIC, MUL, ADD (a swish, a residual), repeated."""
    from nq_tflite.graph import flatbuffer as fb

    schema, rng = fb.schema, np.random.default_rng(1)
    graph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name="main")
    model = schema.ModelT(version=3, operatorCodes=[], subgraphs=[graph], description="chain")
    model.buffers = [schema.BufferT(data=np.empty(0, np.uint8))]
    for name, version in (("CONV_2D", 3), ("LOGISTIC", 2), ("MUL", 2), ("ADD", 2)):
        code = getattr(schema.BuiltinOperator, name)
        model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=version))

    def tensor(dims: Sequence[int], kind: int, scales: Any, zero_point: int = 0, buffer: int = 0) -> int:
        index = fb.add_tensor(graph, f"t{len(graph.tensors)}", dims, kind, buffer)
        scales = np.atleast_1d(np.asarray(scales, np.float32))
        graph.tensors[index].quantization = schema.QuantizationParametersT(
            scale=scales, zeroPoint=np.full(len(scales), zero_point, np.int64), quantizedDimension=0
        )
        return index

    def convolution(x: int) -> tuple[list[int], Any]:
        weight = rng.integers(-127, 128, (_CHANNELS, 1, 1, _CHANNELS), np.int8)
        scales, bias = rng.uniform(0.5, 1, _CHANNELS) / 1024, np.zeros(_CHANNELS, np.int32)
        kinds, zeros = schema.TensorType, fb.add_buffer(model, bias)
        inputs = [x, tensor(weight.shape, kinds.INT8, scales, buffer=fb.add_buffer(model, weight))]
        inputs.append(tensor(bias.shape, kinds.INT32, scales * _SCALE, buffer=zeros))
        return inputs, schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)

    block = last = tensor(_SHAPE, schema.TensorType.INT8, _SCALE)
    graph.inputs = [last]
    layer = last
    for position in range(nodes):
        kind, options, scale, zero_point = position % 4, None, _SCALE, 0
        if kind == 0:
            block = last
            inputs, options = convolution(last)
        elif kind == 1:
            layer, inputs, scale, zero_point = last, [last], 1 / 256, -128
        else:
            inputs = [last, layer if kind == 2 else block]
            options = schema.MulOptionsT() if kind == 2 else schema.AddOptionsT()
        last = tensor(_SHAPE, schema.TensorType.INT8, scale, zero_point)
        operator = schema.OperatorT(opcodeIndex=kind, inputs=inputs, outputs=[last])
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            operator.builtinOptions = options
        graph.operators.append(operator)
    graph.outputs = [last]
    fb.write_model(path, model)


def load_times(
    nodes: Sequence[int],
    runtimes: Sequence[str],
    *,
    runs: int = 5,
    progress: Progress = silent,
) -> list[LoadTime]:
    """Times graphs of each size under each runtime, in a process for each pair; the three kinds take turns there.

    Args:
        nodes: sizes of graphs, in operators.
        runtimes: as nq.Interpreter's `runtime`.
        runs: of each kind, after one that is not counted.
        progress: called with a stage, the steps done and the steps in all.

    Raises:
        MissingPackageError, NativeLibraryError: as nq.Interpreter.

    Example:
        load_times([100], ["ai-edge-litert"])[0].fused  # 12.3
    """
    import nq_tflite as nq

    pairs, rows = list(itertools.product(nodes, runtimes)), []
    with tempfile.TemporaryDirectory(prefix="nq-tflite-load-") as folder:
        for done, (count, runtime) in enumerate(pairs):
            stock, nested = Path(folder, f"stock{count}.tflite"), Path(folder, f"nested{count}.tflite")
            progress(f"{count} nodes, {runtime}", done, len(pairs))
            if not nested.exists():
                write_chain(stock, count)
                nq.convert(stock, nested, nesting="8|4", rounding="nearest", progress=None)
            job = {"job": "load", "stock": str(stock), "nested": str(nested), "runtime": runtime, "runs": runs}
            answer = run_in_child(__name__, job)
            seconds = {kind: 1e6 * statistics.median(each) / count for kind, each in answer["seconds"].items()}
            inference = {kind: 1e9 * statistics.median(each) / count for kind, each in answer["inferences"].items()}
            rows.append(LoadTime(answer["runtime"], count, **seconds, inference=inference))
    return rows


# ---- in a child process ----------------------------------------------------------------------------------------------


def _load(job: Job) -> Job:
    from nq_tflite.device.interpreter import Interpreter
    from nq_tflite.device.runtimes import load_runtime

    runtime = load_runtime(job["runtime"])
    kinds: dict[str, Callable[[], Any]] = {
        "stock": lambda: runtime.interpreter(model_path=job["stock"]),
        "fused": lambda: Interpreter(job["nested"], runtime=job["runtime"], fuse=True),
        "unpacked": lambda: Interpreter(job["nested"], runtime=job["runtime"], fuse=False),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(job["runs"] + 1):
        for kind, make in kinds.items():
            started = time.perf_counter()
            interpreter = make()
            interpreter.allocate_tensors()
            seconds[kind].append(time.perf_counter() - started)
            del interpreter
    counted = {kind: each[1:] for kind, each in seconds.items()}
    models = [make() for make in kinds.values()]
    for model in models:
        model.allocate_tensors()
    inferences = interleaved(models, job["runs"], 1)[1]
    return {"runtime": str(runtime), "seconds": counted, "inferences": dict(zip(kinds, inferences, strict=True))}


if __name__ == "__main__":
    answer_job({"load": _load})
