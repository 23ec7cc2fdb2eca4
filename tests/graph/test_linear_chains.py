"""Linear chains: any positive factors of their channels leave the outputs alone, and so do offsets; where they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from graphs import Graph
from hypothesis import given, settings
from hypothesis import strategies as st

from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.linear_chains import find_chains
from nq_tflite.graph.scale_chains import scale_chains
from nq_tflite.graph.shift_chains import offset_parts, shift_chain

Shape = tuple[int, ...]
NONE, RELU = schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU
VALID, SAME = schema.Padding.VALID, schema.Padding.SAME


class FloatGraph(Graph):
    """Float layers with seeded weights; a tensor is its index and its shape."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.shapes: dict[int, Shape] = {}

    def start(self, shape: Shape) -> int:
        return self._known(self.input(shape), shape)

    def _known(self, index: int, shape: Shape) -> int:
        self.shapes[index] = shape
        return index

    def op(self, name: str, inputs: list[int], shape: Shape, options: Any = None) -> int:
        index = self.add(name, inputs, shape, dtype=np.float32, version=1, options=options)
        return self._known(index, shape)

    def random(self, *shape: int) -> int:
        return self.constant(self.rng.normal(size=shape).astype(np.float32))

    def conv(self, x: int, channels: int, act: int = NONE, groups: int = 1, size: int = 1) -> int:
        shape = self.shapes[x]
        inputs = [x, self.random(channels, size, size, shape[3] // groups), self.random(channels)]
        options = schema.Conv2DOptionsT(SAME, strideW=1, strideH=1, fusedActivationFunction=act)
        return self.op("CONV_2D", inputs, (*shape[:3], channels), options)

    def depthwise(self, x: int, multiplier: int = 1, act: int = NONE) -> int:
        shape = self.shapes[x]
        channels = shape[3] * multiplier
        options = schema.DepthwiseConv2DOptionsT(SAME, 1, 1, multiplier, fusedActivationFunction=act)
        inputs = [x, self.random(1, 3, 3, channels), self.random(channels)]
        return self.op("DEPTHWISE_CONV_2D", inputs, (*shape[:3], channels), options)

    def transposed(self, x: int, channels: int, *, bias: bool = True) -> int:
        batch, height, width, depth = self.shapes[x]
        size = self.constant(np.int32([batch, 2 * height, 2 * width, channels]))
        inputs = [size, self.random(channels, 2, 2, depth), x, *([self.random(channels)] * bias)]
        options = schema.TransposeConvOptionsT(SAME, 2, 2)
        return self.op("TRANSPOSE_CONV", inputs, (batch, 2 * height, 2 * width, channels), options)

    def dense(self, x: int, channels: int) -> int:
        shape = self.shapes[x]
        inputs = [x, self.random(channels, int(np.prod(shape[1:]))), self.random(channels)]
        return self.op("FULLY_CONNECTED", inputs, (shape[0], channels), schema.FullyConnectedOptionsT())

    def binary(self, name: str, x: int, y: int, act: int = NONE) -> int:
        options = getattr(schema, f"{name.capitalize()}OptionsT")(fusedActivationFunction=act)
        return self.op(name, [x, y], self.shapes[x], options)

    def concatenated(self, x: int, y: int, axis: int) -> int:
        one, other = list(self.shapes[x]), self.shapes[y]
        one[axis] += other[axis]
        return self.op("CONCATENATION", [x, y], tuple(one), schema.ConcatenationOptionsT(axis))

    def padded(self, x: int, amounts: list[list[int]]) -> int:
        shape = tuple(size + sum(each) for size, each in zip(self.shapes[x], amounts, strict=True))
        return self.op("PAD", [x, self.constant(np.int32(amounts))], shape, schema.PadOptionsT())

    def pooled(self, x: int, name: str) -> int:
        batch, height, width, channels = self.shapes[x]
        options = schema.Pool2DOptionsT(VALID, 1, 1, 2, 2)
        return self.op(name, [x], (batch, height - 1, width - 1, channels), options)

    def mean(self, x: int) -> int:
        shape = self.shapes[x]
        return self.op("MEAN", [x, self.constant(np.int32([1, 2]))], (shape[0], shape[3]), schema.ReducerOptionsT())

    def flattened(self, x: int) -> int:
        shape = self.shapes[x]
        size = self.constant(np.int32([-1, int(np.prod(shape[1:]))]))
        return self.op("RESHAPE", [x, size], (shape[0], int(np.prod(shape[1:]))), schema.ReshapeOptionsT())


def run(model: Any, tensors: list[int], inputs: np.ndarray) -> list[np.ndarray]:
    """What tensors of the main subgraph hold."""
    graph = model.subgraphs[0]
    kept, graph.outputs = graph.outputs, tensors
    content = fb.pack_model(model)
    graph.outputs = kept
    interpreter = walking_runtime().interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]


def check_scaled(content: bytes, inputs: np.ndarray, seed: int = 0) -> int:
    """Any factors: the same outputs, and channels divided by them in every tensor of a chain. Returns the chains."""
    model = fb.read_model(content).model
    chains, rng = find_chains(model), np.random.default_rng(seed)
    factors = [np.exp(rng.normal(0, 1, chain.num_factors)) for chain in chains]
    before = fb.pack_model(model)
    scaled = scale_chains(model, chains, factors)
    assert fb.pack_model(model) == before
    outputs = fb.indices(model.subgraphs[0].outputs)
    inner = [tensor for chain in chains for tensor in chain.tensors]
    divisors = [each[labels] for chain, each in zip(chains, factors, strict=True) for labels in chain.tensors.values()]
    ours, theirs = run(scaled, outputs + inner, inputs), run(model, outputs + inner, inputs)
    for got, wanted, divisor in zip(ours, theirs, [1.0] * len(outputs) + divisors, strict=True):
        np.testing.assert_allclose(got * divisor, wanted, rtol=1e-4, atol=1e-4 * float(np.abs(wanted).max()))
    return len(chains)


IMAGE: Shape = (1, 5, 6, 4)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=IMAGE).astype(np.float32)


PADS = [[0, 0], [0, 1], [1, 0], [0, 0]]
#: From a graph and one of its tensors [1, height, width, 4] to another such tensor.
STEPS: dict[str, Callable[[FloatGraph, int, int], int]] = {
    "conv": lambda g, x, _: g.conv(x, 4, size=3),
    "conv, relu": lambda g, x, _: g.conv(x, 4, RELU),
    "grouped": lambda g, x, _: g.conv(x, 4, groups=2),
    "depthwise": lambda g, x, _: g.conv(g.depthwise(x, 2), 4),
    "depthwise, relu": lambda g, x, _: g.depthwise(x, act=RELU),
    "add": lambda g, x, y: g.binary("ADD", x, y),
    "sub": lambda g, x, y: g.binary("SUB", y, x),
    "add, relu": lambda g, x, y: g.binary("ADD", x, y, RELU),
    "add constant": lambda g, x, _: g.binary("ADD", x, g.random(4)),
    "subtract from constant": lambda g, x, _: g.op("SUB", [g.random(1, 1, 4), x], g.shapes[x], schema.SubOptionsT()),
    "batch norm": lambda g, x, _: g.binary("ADD", g.binary("MUL", x, g.random(4)), g.random(4), RELU),
    "concatenate": lambda g, x, y: g.conv(g.concatenated(x, y, 3), 4),
    "twice": lambda g, x, _: g.conv(g.concatenated(x, x, 3), 4),
    "in depth": lambda g, x, y: g.conv(g.concatenated(g.padded(x, [[0, 0]] * 3 + [[1, 2]]), y, 3), 4),
    "relu, depthwise": lambda g, x, _: g.depthwise(g.conv(x, 4, RELU)),
    "relu, pad, depthwise": lambda g, x, _: g.pooled(
        g.depthwise(g.padded(g.op("RELU", [x], g.shapes[x]), PADS)), "MAX_POOL_2D"
    ),
    "add, relu, depthwise": lambda g, x, y: g.depthwise(g.binary("ADD", g.conv(x, 4), y, RELU)),
    "relu": lambda g, x, _: g.op("RELU", [x], g.shapes[x]),
    "logistic": lambda g, x, _: g.op("LOGISTIC", [x], g.shapes[x]),
    "pad and pool": lambda g, x, _: g.pooled(g.padded(x, [[0, 0], [1, 0], [0, 1], [0, 0]]), "AVERAGE_POOL_2D"),
    "pad and take the largest": lambda g, x, _: g.pooled(g.padded(x, [[0, 0], [0, 1], [1, 0], [0, 0]]), "MAX_POOL_2D"),
}
ENDS: dict[str, Callable[[FloatGraph, int], int]] = {
    "mean": lambda g, x: g.dense(g.mean(x), 3),
    "flattened": lambda g, x: g.dense(g.flattened(x), 3),
    "dense on an image": lambda g, x: g.dense(x, 3),
    "transposed": lambda g, x: g.transposed(x, 3),
    "transposed twice": lambda g, x: g.transposed(g.transposed(x, 5, bias=False), 3),
}


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 9), st.integers(0, 9)), max_size=9),
    st.sampled_from(sorted(ENDS)),
    st.integers(0, 99),
)
def test_factors_leave_the_outputs_alone(steps: list[tuple[str, int, int]], end: str, seed: int) -> None:
    graph = FloatGraph(seed)
    tensors = [graph.conv(graph.start(IMAGE), 4)]
    for name, one, other in steps:
        tensors.append(STEPS[name](graph, tensors[one % len(tensors)], tensors[other % len(tensors)]))
    check_scaled(graph.build([ENDS[end](graph, tensors[-1])]), image(seed), seed)


@pytest.mark.parametrize(
    ("steps", "chains"),
    [
        (["conv"], 2),
        (["conv", "conv"], 3),
        (["conv", "add", "conv", "add"], 1),  # each sum is with the one before: one residual stream
        (["conv", "grouped", "depthwise"], 5),
        (["conv, relu"], 1),
        (["relu"], 0),
        (["conv", "logistic"], 1),
        (["conv", "add, relu"], 0),
        (["relu, depthwise"], 3),
        (["relu, pad, depthwise"], 2),
        (["add, relu, depthwise"], 1),  # a convolution reads what is added
        (["add constant", "subtract from constant"], 1),
        (["conv", "concatenate"], 2),  # what is concatenated is one chain
        (["twice", "in depth"], 2),
        (["batch norm"], 1),
        (["pad and pool", "pad and take the largest"], 1),
    ],
    ids=lambda each: str(each),
)
@pytest.mark.parametrize("end", ENDS)
def test_where_chains_are(steps: list[str], chains: int, end: str) -> None:
    graph = FloatGraph()
    tensors = [graph.conv(graph.start(IMAGE), 4)]
    for name in steps:
        tensors.append(STEPS[name](graph, tensors[-1], tensors[-2] if len(tensors) > 1 else tensors[-1]))
    more = end == "transposed twice"
    assert check_scaled(graph.build([ENDS[end](graph, tensors[-1])]), image()) == chains + more


def test_factors_of_what_a_relu6_clips() -> None:
    """Those that bring no value above 6 leave the outputs alone; a channel that reaches it keeps its own."""
    graph = FloatGraph()
    inner = graph.conv(graph.start(IMAGE), 4, schema.ActivationFunctionType.RELU6)
    output = graph.conv(graph.depthwise(inner, 2, schema.ActivationFunctionType.RELU6), 3)
    model = fb.read_model(graph.build([output])).model
    values = 4 * image()
    [clipped, wanted] = run(model, [inner, output], values)
    [chain] = find_chains(model)
    assert chain.cap == 6
    assert not chain.is_linear
    largest = clipped.max(axis=(0, 1, 2))
    assert (largest == 6).any()
    assert (largest < 6).any()
    [got] = run(scale_chains(model, [chain], [largest / 6]), [output], values)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def check_shifted(content: bytes, inputs: np.ndarray, seed: int = 0) -> int:
    """Any offsets of layers' outputs: the same outputs, and channels less offsets. Returns the chains with some."""
    model, rng = fb.read_model(content).model, np.random.default_rng(seed)
    offsets: dict[int, np.ndarray] = {}
    shifted = scale_chains(model, [], [])
    taking = [(chain, parts) for chain in find_chains(model) if (parts := offset_parts(model, chain)) is not None]
    for chain, parts in taking:
        of_layers = rng.normal(size=(len(next(iter(parts.values()))), chain.num_factors))
        offsets |= {tensor: each @ of_layers for tensor, each in parts.items()}
    shift_chain(shifted, offsets)
    outputs = fb.indices(model.subgraphs[0].outputs)
    ours, theirs = (run(each, [*outputs, *offsets], inputs) for each in (shifted, model))
    for got, wanted, offset in zip(ours, theirs, [np.zeros(1) for _ in outputs] + [*offsets.values()], strict=True):
        np.testing.assert_allclose(got + offset, wanted, rtol=1e-4, atol=1e-4 * float(np.abs(wanted).max()))
    return len(taking)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 9), st.integers(0, 9)), max_size=9),
    st.sampled_from(sorted(ENDS)),
    st.integers(0, 99),
)
def test_offsets_leave_the_outputs_alone(steps: list[tuple[str, int, int]], end: str, seed: int) -> None:
    graph = FloatGraph(seed)
    tensors = [graph.conv(graph.start(IMAGE), 4)]
    for name, one, other in steps:
        tensors.append(STEPS[name](graph, tensors[one % len(tensors)], tensors[other % len(tensors)]))
    check_shifted(graph.build([ENDS[end](graph, tensors[-1])]), image(seed), seed)


@pytest.mark.parametrize(
    ("steps", "end", "chains"),
    [
        (["grouped"], "mean", 2),
        (["conv"], "mean", 1),  # a 3 x 3 layer puts zeros around what it reads
        (["grouped", "add", "grouped", "add"], "mean", 1),
        (["grouped", "sub"], "mean", 1),
        (["add constant", "subtract from constant"], "mean", 1),
        (["pad and pool"], "mean", 0),  # so does padding
        (["twice"], "mean", 1),
        (["grouped"], "flattened", 1),
        (["grouped"], "transposed", 1),
        (["relu, depthwise"], "mean", 2),
    ],
    ids=lambda each: str(each),
)
def test_which_chains_take_offsets(steps: list[str], end: str, chains: int) -> None:
    graph = FloatGraph()
    tensors = [graph.conv(graph.start(IMAGE), 4)]
    for name in steps:
        tensors.append(STEPS[name](graph, tensors[-1], tensors[-2] if len(tensors) > 1 else tensors[-1]))
    assert check_shifted(graph.build([ENDS[end](graph, tensors[-1])]), image()) == chains


@pytest.mark.parametrize("absent", [[], [-1]])
def test_layers_without_a_bias_get_one(absent: list[int]) -> None:
    graph = FloatGraph()
    x = graph.start((1, 4))
    for _ in range(2):
        inputs = [x, graph.random(4, 4), *absent]
        x = graph.op("FULLY_CONNECTED", inputs, (1, 4), schema.FullyConnectedOptionsT())
    assert check_shifted(graph.build([x]), image()[0, 0, :1]) == 1


def no_chain(content: bytes) -> bool:
    return not find_chains(fb.read_model(content).model)


def test_inputs_and_outputs_stay() -> None:
    graph = FloatGraph()
    inner = graph.conv(graph.start(IMAGE), 4)
    output = graph.conv(inner, 4)
    assert not no_chain(graph.build([output]))
    assert no_chain(graph.build([output, inner]))


def test_what_another_operator_reads_stays() -> None:
    """So does what a sum ties to it."""
    graph = FloatGraph()
    x = graph.start(IMAGE)
    one, other = graph.conv(x, 4), graph.conv(x, 4)
    gate = graph.op("LOGISTIC", [one], IMAGE)
    output = graph.binary("MUL", graph.conv(graph.binary("ADD", one, other), 4), gate)
    assert no_chain(graph.build([output]))


@pytest.mark.parametrize("by", ["weight", "buffer", "subgraph"])
def test_weights_that_others_read_stay(by: str) -> None:
    """Another layer, another tensor of the same bytes, another subgraph."""
    graph = FloatGraph()
    x = graph.start(IMAGE)
    weight = graph.random(4, 1, 1, 4)
    options = schema.Conv2DOptionsT(SAME, strideW=1, strideH=1)
    inner = graph.op("CONV_2D", [x, weight], IMAGE, options)
    assert not no_chain(graph.build([graph.conv(inner, 4)]))
    if by == "weight":
        assert no_chain(graph.build([graph.op("CONV_2D", [inner, weight], IMAGE, options)]))
        return
    model = fb.read_model(graph.build([graph.conv(inner, 4)])).model
    main, buffer = model.subgraphs[0], model.subgraphs[0].tensors[weight].buffer
    again = fb.new_tensor("again", [4, 1, 1, 4], schema.TensorType.FLOAT32, buffer)
    if by == "buffer":
        main.tensors.append(again)
    else:
        model.subgraphs.append(fb.new_subgraph([again], [], [], []))
    assert find_chains(model) == []


def test_a_shared_bias_becomes_two() -> None:
    """Converters keep equal biases once."""
    graph = FloatGraph()
    x, bias = graph.start(IMAGE), graph.random(4)
    options = schema.Conv2DOptionsT(SAME, strideW=1, strideH=1)
    for _ in range(3):
        x = graph.op("CONV_2D", [x, graph.random(4, 1, 1, 4), bias], IMAGE, options)
    assert check_scaled(graph.build([x]), image()) == 2


def test_one_value_for_all_channels_ties_nothing_it_could_not() -> None:
    graph = FloatGraph()
    x = graph.conv(graph.start(IMAGE), 4)
    one = graph.conv(x, 1)
    output = graph.conv(graph.op("ADD", [x, one], IMAGE, schema.AddOptionsT()), 4)
    assert no_chain(graph.build([output]))
    graph = FloatGraph()
    x = graph.conv(graph.start(IMAGE), 4)
    assert no_chain(graph.build([graph.conv(graph.binary("ADD", x, graph.random(1)), 4)]))


def test_full_int8_models_have_none(int8_tflite: bytes) -> None:
    assert no_chain(int8_tflite)


def test_a_free_last_axis_has_no_channels() -> None:
    graph = FloatGraph()
    inner = graph.conv(graph.start(IMAGE), 4)
    model = fb.read_model(graph.build([graph.conv(inner, 4)])).model
    model.subgraphs[0].tensors[inner].shapeSignature = [1, 5, 6, -1]
    assert find_chains(model) == []
