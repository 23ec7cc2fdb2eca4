"""What the walk runs while it rounds is what the file will hold: values, scales and biases, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.conversion.lockstep import Lockstep
from nq_tflite.conversion.nested_writer import write_nested
from nq_tflite.conversion.plan import make_plan
from nq_tflite.conversion.rounding import EXACT, METHODS
from nq_tflite.conversion.sources.source import Reference
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.selection import Selection
from nq_tflite.graph.sites import find_sites

NESTING = Nesting.parse("8|5")
EVERY_WEIGHT = Selection(("*",), ())
_IN = 0.03
_RELU = schema.ActivationFunctionType.RELU


def quantized(rng: np.random.Generator, shape: tuple[int, ...], deviation: float, axis: int = 0) -> tuple:
    """INT8 weights and their scales; every fourth channel is zero under a scale as ordinary as the others'."""
    weight = np.moveaxis(rng.normal(0, deviation, shape), axis, 0)
    weight[::4] = 0
    scales = np.abs(weight).reshape(len(weight), -1).max(1) / 127
    scales[::4] = 0.003
    codes = np.rint(weight / scales.reshape(-1, *[1] * (len(shape) - 1))).astype(np.int8)
    return np.moveaxis(codes, 0, axis).copy(), scales


def bias_of(graph: Graph, rng: np.random.Generator, scales: np.ndarray, input_scale: float) -> int:
    units = scales * input_scale
    return graph.constant(np.rint(rng.normal(0, 0.5, len(scales)) / units).astype(np.int32), scale=units)


def dense_layers() -> bytes:
    """Three layers of 64, the first with all-zero channels."""
    graph, rng, scale = Graph(), np.random.default_rng(5), _IN
    y = graph.input((1, 64), scale=_IN)
    for number in range(3):
        weight, scales = quantized(rng, (64, 64), 0.125)
        if number:
            weight = np.rint(rng.normal(0, 40, (64, 64))).clip(-127, 127).astype(np.int8)
            scales = np.full(64, 0.003)
        inputs = [y, graph.constant(weight, scale=scales), bias_of(graph, rng, scales, scale)]
        scale, zero_point = (0.035, -128) if number < 2 else (0.04, 0)
        options = schema.FullyConnectedOptionsT(fusedActivationFunction=_RELU if number < 2 else 0)
        y = graph.add(
            "FULLY_CONNECTED", inputs, (1, 64), scale=scale, zero_point=zero_point, version=4, options=options
        )
    return graph.build([y])


def shared_layer() -> bytes:
    """A weight that two operators read, each with a bias of its own."""
    graph, rng = Graph(), np.random.default_rng(6)
    x = graph.input((1, 64), scale=_IN)
    codes, scales = quantized(rng, (64, 64), 0.125)
    weight = graph.constant(codes, scale=scales)
    options = schema.FullyConnectedOptionsT(fusedActivationFunction=_RELU)
    y, scale = x, _IN
    for _ in range(2):
        inputs = [y, weight, bias_of(graph, rng, scales, scale)]
        scale = 0.03
        y = graph.add("FULLY_CONNECTED", inputs, (1, 64), scale=scale, zero_point=-128, version=4, options=options)
    last, scales = quantized(rng, (48, 64), 0.125)
    inputs = [y, graph.constant(last, scale=scales), bias_of(graph, rng, scales, scale)]
    options = schema.FullyConnectedOptionsT()
    return graph.build([graph.add("FULLY_CONNECTED", inputs, (1, 48), scale=0.04, version=4, options=options)])


def transposed() -> bytes:
    """A TRANSPOSE_CONV with a bias, after a depthwise and before an ordinary convolution."""
    graph, rng = Graph(), np.random.default_rng(7)
    x = graph.input((1, 4, 4, 64), scale=_IN)
    codes, scales = quantized(rng, (1, 3, 3, 64), 0.25, axis=3)
    inputs = [x, graph.constant(codes, scale=scales, axis=3), bias_of(graph, rng, scales, _IN)]
    same = schema.Padding.SAME
    options = schema.DepthwiseConv2DOptionsT(padding=same, strideW=1, strideH=1, depthMultiplier=1)
    y = graph.add("DEPTHWISE_CONV_2D", inputs, (1, 4, 4, 64), scale=0.03, version=3, options=options)
    codes, scales = quantized(rng, (32, 2, 2, 64), 0.1)
    inputs = [graph.constant(np.int32([1, 8, 8, 32])), graph.constant(codes, scale=scales), y]
    inputs.append(bias_of(graph, rng, scales, 0.03))
    options = schema.TransposeConvOptionsT(padding=same, strideW=2, strideH=2)
    y = graph.add("TRANSPOSE_CONV", inputs, (1, 8, 8, 32), scale=0.04, version=3, options=options)
    return graph.build([graph.convolution(y, (1, 8, 8, 32), 40, seed=1, scale=0.5, zero_point=3)])


MODELS: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "dense": (dense_layers, (64,)),
    "shared": (shared_layer, (64,)),
    "transposed": (transposed, (4, 4, 64)),
}


def inputs_like(shape: tuple[int, ...], seed: int, count: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 40, (1, *shape)).clip(-128, 127).astype(np.int8) for _ in range(count)]


def run(content: bytes, samples: list[np.ndarray]) -> np.ndarray:
    """Outputs of a stock model, as they are stored."""
    interpreter = walking_runtime().interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    [given], [found] = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for sample in samples:
        interpreter.set_tensor(given["index"], sample)
        interpreter.invoke()
        outputs.append(np.array(interpreter.get_tensor(found["index"])))
    scale, zero_point = found["quantization"]
    return (np.concatenate(outputs).astype(np.float32) - zero_point) * np.float32(scale)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", [*METHODS, "exact"])
def test_the_walk_runs_what_the_file_holds(name: str, method: str, tmp_path: Path) -> None:
    """All-zero channels get other scales and biases, whoever reads them."""
    make, shape = MODELS[name]
    samples = inputs_like(shape, 1, 12)
    model, runtime = fb.read_model(make()).model, walking_runtime()
    places = [site.place for group in find_sites(model)[0] for site in group]
    reference = Reference(model, dict(zip(places, places, strict=True)), {})
    walks = [GraphWalk(model, [[each] for each in samples], runtime) for _ in range(3)]
    lockstep = Lockstep(model, reference, walks[2], walks[:2])
    plan = make_plan(model, NESTING, EXACT if method == "exact" else METHODS[method], lockstep, selection=EVERY_WEIGHT)
    assert len(plan.weights) == len(places)
    walked = [np.concatenate(walk.outputs()) for walk in walks[:2]]
    write_nested(model, plan, NESTING, tmp_path / "nested.tflite")
    for level, precision in enumerate(("part", "full")):
        nq.extract(tmp_path / "nested.tflite", tmp_path / "one.tflite", precision)
        np.testing.assert_array_equal(walked[level], run((tmp_path / "one.tflite").read_bytes(), samples))


@pytest.mark.parametrize("name", MODELS)
def test_all_zero_channels_under_an_ordinary_scale_cost_nothing(name: str, tmp_path: Path) -> None:
    """They once gave -4 dB at both precisions: the walk took their new biases in units of the old scales."""
    make, shape = MODELS[name]
    (tmp_path / "source.tflite").write_bytes(make())
    samples = inputs_like(shape, 2)
    report = nq.convert(
        tmp_path / "source.tflite", tmp_path / "nested.tflite", "8|5", inputs_like(shape, 3), include="*"
    )
    wanted = run(make(), samples)
    assert report.estimate is not None
    for level, (precision, least) in enumerate((("part", 20.0), ("full", 40.0))):
        nq.extract(tmp_path / "nested.tflite", tmp_path / "one.tflite", precision)
        found = signal_to_noise_db(wanted, run((tmp_path / "one.tflite").read_bytes(), samples))
        assert found > least
        assert report.estimate.snr_db[level] == found or abs(report.estimate.snr_db[level] - found) < 3
