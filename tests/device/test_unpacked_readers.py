"""BATCH_MATMUL, CONV_3D and the sequence LSTM: nested, and unpacked for the runtime's kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.nested import read_nested

FLOATS: dict[str, Any] = {"dtype": np.float32, "version": 1}
#: Real value of a code: a power of two, so that values are what codes at 8 bits give.
SCALE = 2.0**-9
STEPS, FEATURES, UNITS, COLUMNS = 5, 64, 64, 128
KINDS = ("conv_3d", "matmul", "matmul_transposed", "matmul_batch", "lstm")
SHAPES = {"conv_3d": (1, 3, 4, 4, 32), "lstm": (1, STEPS, FEATURES)}


def codes(shape: tuple[int, ...], seed: int, channels_last: bool) -> np.ndarray:
    """int8, with the largest code in every channel."""
    found = np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)
    if channels_last:
        found.reshape(-1, shape[-1])[0] = 127
    else:
        found.reshape(shape[0], -1)[:, 0] = 127
    return found


class _Net:
    """A graph with one operator whose weights are float32, or codes with one scale."""

    def __init__(self, dynamic: bool) -> None:
        self.graph, self._dynamic, self._seed = Graph(), dynamic, 50

    def weight(self, *shape: int, channels_last: bool = False) -> int:
        self._seed += 1
        values = codes(shape, self._seed, channels_last)
        if self._dynamic:
            return self.graph.constant(values, scale=SCALE)
        return self.graph.constant(values * np.float32(SCALE))

    def bias(self, count: int) -> int:
        self._seed += 1
        return self.graph.constant(np.random.default_rng(self._seed).normal(size=count).astype(np.float32))


def operator_graph(kind: str, *, dynamic: bool = False) -> bytes:
    """One operator on one input."""
    net = _Net(dynamic)
    graph = net.graph
    if kind == "conv_3d":
        x = graph.input(SHAPES[kind])
        options = schema.Conv3DOptionsT(
            padding=schema.Padding.SAME,
            strideD=1,
            strideW=1,
            strideH=1,
            dilationDFactor=1,
            dilationWFactor=1,
            dilationHFactor=1,
        )
        inputs = [x, net.weight(3, 3, 3, 32, 64, channels_last=True), net.bias(64)]
        return graph.build([graph.add("CONV_3D", inputs, (1, 3, 4, 4, 64), options=options, **FLOATS)])
    if kind == "lstm":
        return graph.build([_lstm(net)])
    transposed, batch = kind == "matmul_transposed", (2,) if kind == "matmul_batch" else ()
    x = graph.input((1, *batch, STEPS, FEATURES))
    matrix = (COLUMNS, FEATURES) if transposed else (*batch, FEATURES, COLUMNS)
    options = schema.BatchMatMulOptionsT(adjX=False, adjY=transposed)
    inputs = [x, net.weight(*matrix, channels_last=not transposed)]
    return graph.build([graph.add("BATCH_MATMUL", inputs, (1, *batch, STEPS, COLUMNS), options=options, **FLOATS)])


def _lstm(net: _Net) -> int:
    graph = net.graph
    x = graph.input(SHAPES["lstm"])
    weights = [net.weight(UNITS, depth) for depth in (FEATURES,) * 4 + (UNITS,) * 4]
    biases = [net.bias(UNITS) for _ in range(4)]
    states = [graph._tensor((1, UNITS), np.float32, 0, None, 0, 0) for _ in range(2)]
    for state in states:
        graph._graph.tensors[state].isVariable = True
    inputs = [x, *weights, -1, -1, -1, *biases, -1, -1, *states, -1, -1, -1, -1]
    options = schema.UnidirectionalSequenceLSTMOptionsT(
        fusedActivationFunction=schema.ActivationFunctionType.TANH, timeMajor=False
    )
    return graph.add("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, (1, STEPS, UNITS), options=options, **FLOATS)


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`nested(kind, dynamic)` is a stock file, the nested one made of it with all its codes, and the report."""
    made: dict[Any, tuple[Path, Path, nq.ConversionReport]] = {}

    def make(kind: str, *, dynamic: bool = False) -> tuple[Path, Path, nq.ConversionReport]:
        key = kind, dynamic
        if key not in made:
            folder = tmp_path_factory.mktemp(kind)
            source, path = folder / "stock.tflite", folder / "nested.tflite"
            source.write_bytes(operator_graph(kind, dynamic=dynamic))
            made[key] = source, path, nq.convert(source, path, "8|5", exact=True)
        return made[key]

    return make


def inputs_of(kind: str) -> np.ndarray:
    shape = SHAPES.get(kind, (1, 2, STEPS, FEATURES) if kind == "matmul_batch" else (1, STEPS, FEATURES))
    return np.random.default_rng(60).normal(size=(2, *shape[1:])).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_full_bit_is_the_stock_file_and_part_bit_the_extracted_one(
    kind: str, nested: Any, worker: Any, tmp_path: Path
) -> None:
    source, path, report = nested(kind)
    assert len(report.weights) == (8 if kind == "lstm" else 1)
    assert not report.unnested
    assert all(row.snr_db[-1] == np.inf for row in report.weights)
    nq.extract(path, tmp_path / "part.tflite", "part")
    inputs = inputs_of(kind)
    full, part = (worker(jobs.run_nested, path, inputs, [each])[0] for each in ("full", "part"))
    np.testing.assert_array_equal(full, worker(jobs.run_stock, source, inputs))
    np.testing.assert_array_equal(part, worker(jobs.run_stock, tmp_path / "part.tflite", inputs))
    assert not np.array_equal(full, part)


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_unpacked_and_say_so(kind: str, nested: Any, worker: Any) -> None:
    [found] = worker(delegation_jobs.delegation, nested(kind)[1], fuse=True)
    assert {each.place for each in found.nested} == {"unpacked"}


@pytest.mark.parametrize("kind", ["matmul", "lstm"])
def test_dynamic_range_weights_nest_as_floats(kind: str, nested: Any, worker: Any) -> None:
    """Without the 8-bit activations of the dynamic-range kernels: full-bit is the float model of the same values."""
    _, path, report = nested(kind, dynamic=True)
    assert {row.output_type for row in report.weights} == {"float32"}
    inputs = inputs_of(kind)
    [full] = worker(jobs.run_nested, path, inputs, ["full"])
    np.testing.assert_array_equal(full, worker(jobs.run_stock, nested(kind)[0], inputs))


def test_weights_of_one_lstm_have_one_type(tmp_path: Path) -> None:
    source = operator_graph("lstm", dynamic=True)
    name = fb.text(fb.read_model(source).model.subgraphs[0].tensors[1].name)
    nq.convert(source, tmp_path / "nested.tflite", "8|5", rounding="nearest", exclude=name)
    model = fb.read_model(tmp_path / "nested.tflite").model
    [tensor] = [each for each in model.subgraphs[0].tensors if fb.text(each.name) == name]
    assert tensor.type == schema.TensorType.FLOAT32
    assert len(read_nested(tmp_path / "nested.tflite").weights) == 7


def test_an_lstm_is_looked_at_sample_by_sample(nested: Any) -> None:
    """Its state does not stay from one sample to the next, so that there is an estimate."""
    _, _, report = nested("lstm")
    assert report.estimate is not None
    assert report.estimate.snr_db[-1] == np.inf


def test_what_cannot_nest_says_why(tmp_path: Path) -> None:
    net = _Net(dynamic=False)
    x = net.graph.input((1, 2, STEPS, FEATURES))
    options = schema.BatchMatMulOptionsT(adjX=False, adjY=True)
    y = net.graph.add(
        "BATCH_MATMUL", [x, net.weight(2, COLUMNS, FEATURES)], (1, 2, STEPS, COLUMNS), options=options, **FLOATS
    )
    with pytest.raises(nq.errors.UnsupportedModelError, match="a batch of transposed matrices"):
        nq.convert(net.graph.build([y]), tmp_path / "nested.tflite")
