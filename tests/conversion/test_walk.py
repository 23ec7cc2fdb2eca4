"""Walking over a graph operator by operator: what the stock interpreter says of the whole graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph

from nq_tflite.conversion.observer import Constant
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.device.runtimes import Runtime, walking_runtime
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import InputSlot


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return walking_runtime()


def run_whole(runtime: Runtime, content: bytes, sample: np.ndarray) -> np.ndarray:
    """The first output, real values."""
    interpreter = runtime.interpreter(model_content=content, num_threads=1)
    [given], [found] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(given["index"], sample.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], sample)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(found["index"]))


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_outputs_are_the_whole_graphs(
    kind: str, request: pytest.FixtureRequest, runtime: Runtime, samples: np.ndarray
) -> None:
    """Samples may differ in their batch."""
    content = request.getfixturevalue(f"{kind}_tflite")
    given = [samples[:1], samples[1:4], samples[4:6]]
    got = GraphWalk(fb.read_model(content).model, [[each] for each in given], runtime).outputs()
    for each, sample in zip(got, given, strict=True):
        wanted = run_whole(runtime, content, sample)
        if kind == "int8":
            np.testing.assert_array_equal(each, wanted)
        else:
            np.testing.assert_allclose(each, wanted, rtol=1e-4, atol=1e-5)


def test_other_sizes_of_an_image(runtime: Runtime) -> None:
    """A graph of convolutions takes images of any size."""
    content, _ = convolution(bias=True)
    sample = np.random.default_rng(3).normal(size=(2, 7, 5, 8)).astype(np.float32)
    [got] = GraphWalk(fb.read_model(content).model, [[sample]], runtime).outputs()
    assert got.shape == (2, 7, 5, 6)
    np.testing.assert_allclose(got, run_whole(runtime, content, sample), rtol=1e-5, atol=1e-6)


def convolution(*, bias: bool) -> tuple[bytes, np.ndarray]:
    """A float 1x1 convolution [1, 4, 4, 8] -> 6 channels, and its weight."""
    graph = Graph()
    x = graph.input((1, 4, 4, 8))
    weight = np.random.default_rng(1).normal(size=(6, 1, 1, 8)).astype(np.float32)
    inputs = [x, graph.constant(weight)] + ([graph.constant(np.arange(6, dtype=np.float32))] if bias else [-1])
    options = schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)
    y = graph.add("CONV_2D", inputs, (1, 4, 4, 6), dtype=np.float32, version=3, options=options)
    return graph.build([y]), weight.reshape(6, 8)


def dense(*, bias: np.ndarray | None) -> bytes:
    """A full-int8 dense layer [N, 16] -> 5."""
    graph, rng = Graph(), np.random.default_rng(2)
    x = graph.input((1, 16), scale=0.05, zero_point=3)
    scales = rng.uniform(0.005, 0.02, 5)
    inputs = [x, graph.constant(rng.integers(-127, 128, (5, 16), np.int8), scale=scales)]
    inputs.append(-1 if bias is None else graph.constant(bias, scale=scales * 0.05))
    options = schema.FullyConnectedOptionsT()
    y = graph.add("FULLY_CONNECTED", inputs, (1, 5), scale=0.1, zero_point=-4, version=12, options=options)
    return graph.build([y])


@pytest.mark.parametrize("there", [True, False])
def test_replaced_weight_and_bias(there: bool, runtime: Runtime) -> None:
    """Whether the operator had a bias or not."""
    content, weight = convolution(bias=there)
    sample = np.random.default_rng(4).normal(size=(1, 4, 4, 8)).astype(np.float32)
    walk = GraphWalk(fb.read_model(content).model, [[sample]], runtime)
    bias = np.linspace(-2, 2, 6, dtype=np.float32)
    walk.replace({InputSlot(0, 1): Constant((2 * weight).reshape(6, 1, 1, 8)), InputSlot(0, 2): Constant(bias)})
    np.testing.assert_allclose(walk.outputs()[0], 2 * sample @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_a_bias_that_an_int8_layer_does_not_have(runtime: Runtime) -> None:
    bias = np.array([9000, -4000, 0, 123, -1], np.int32)
    sample = np.random.default_rng(5).normal(0, 2, (3, 16)).astype(np.float32)
    walks = [GraphWalk(fb.read_model(dense(bias=each)).model, [[sample]], runtime) for each in (None, bias)]
    walks[0].replace({InputSlot(0, 2): Constant(bias)})
    np.testing.assert_array_equal(walks[0].outputs()[0], walks[1].outputs()[0])


def test_values_are_kept_as_long_as_someone_reads_them(int8_tflite: bytes, runtime: Runtime, samples: Any) -> None:
    model = fb.read_model(int8_tflite).model
    subgraph = model.subgraphs[0]
    walk = GraphWalk(model, [[samples[:2]]], runtime)
    for position, operator in enumerate(subgraph.operators):
        data = fb.indices(operator.inputs)[0]
        [before] = walk.values(data, position)
        assert before.shape[0] == 2
        assert walk.values(data, position)[0] is before


def test_operators_that_do_not_run_alone(runtime: Runtime) -> None:
    graph = Graph()
    x = graph.input((1, 8))
    y = graph.add("IF", [x, x], (1, 8), dtype=np.float32, options=schema.IfOptionsT())
    z = graph.add("NEG", [y], (1, 8), dtype=np.float32)
    walk = GraphWalk(fb.read_model(graph.build([z])).model, [[np.zeros((1, 8), np.float32)]], runtime)
    with pytest.raises(UnsupportedModelError, match=r"operator IF: .*calls subgraphs"):
        walk.outputs()


def test_a_constant_may_be_empty(runtime: Runtime) -> None:
    """As the new shape of a scalar is."""
    graph = Graph()
    shape = graph.constant(np.empty(0, np.int32))
    y = graph.add("RESHAPE", [graph.input((1, 1)), shape], (), dtype=np.float32, version=1)
    [got] = GraphWalk(fb.read_model(graph.build([y])).model, [[np.float32([[2.5]])]], runtime).outputs()
    assert got.shape == ()
    assert got == np.float32(2.5)


@pytest.mark.parametrize("size", [5, 7])
def test_operators_that_do_not_run(size: int, runtime: Runtime) -> None:
    """Shapes that do not fit, in the graph or in the sample."""
    graph = Graph()
    x = graph.input((1, size))
    weight = graph.constant(np.ones((3, 5), np.float32))
    options = schema.FullyConnectedOptionsT()
    y = graph.add("FULLY_CONNECTED", [x, weight, -1], (1, 3), dtype=np.float32, options=options)
    walk = GraphWalk(fb.read_model(graph.build([y])).model, [[np.ones((1, 7), np.float32)]], runtime)
    with pytest.raises(UnsupportedModelError, match="operator FULLY_CONNECTED: expected one that runs by itself"):
        walk.outputs()


@pytest.mark.parametrize("is_alone", [True, False])
def test_integers_without_a_scale_are_no_outputs_to_compare(is_alone: bool, runtime: Runtime) -> None:
    """Classes, say: the next output is taken, and there must be one."""
    graph = Graph()
    x = graph.input((1, 8))
    options = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
    best = graph.add("ARG_MAX", [x, graph.constant(np.array(1, np.int32))], (1,), dtype=np.int32, options=options)
    scores = graph.add("NEG", [x], (1, 8), dtype=np.float32, version=1)
    content, sample = graph.build([best] if is_alone else [best, scores]), np.eye(8, dtype=np.float32)[3:4]
    walk = GraphWalk(fb.read_model(content).model, [[sample]], runtime)
    if is_alone:
        with pytest.raises(UnsupportedModelError, match="expected at least one with real numbers, got only integers"):
            walk.outputs()
    else:
        np.testing.assert_array_equal(walk.outputs()[0], -sample)
