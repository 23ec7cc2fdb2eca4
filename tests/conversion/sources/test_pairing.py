"""Pairing the int8 weights of one conversion with the float weights of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from graphs import Graph

from nq_tflite.conversion.sources.pairing import layer_weights, pair_weights, real_bias
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema


def test_every_weight_of_two_conversions(float_tflite: bytes, int8_tflite: bytes) -> None:
    graphs = [fb.read_model(content).model for content in (float_tflite, int8_tflite)]
    floats, int8s = ({(w.subgraph, w.tensor): w for w in layer_weights(graph)} for graph in graphs)
    pairs = pair_weights(*graphs)
    assert pairs.keys() == int8s.keys()
    assert set(pairs.values()) == floats.keys()
    for int8, found in pairs.items():
        tensor = graphs[1].subgraphs[int8[0]].tensors[int8[1]]
        scales = np.asarray(tensor.quantization.scale)
        error = np.abs(int8s[int8].matrix - floats[found].matrix).max(axis=1)
        assert int8s[int8].matrix.shape == floats[found].matrix.shape
        assert (error <= 0.501 * scales).all()


def graph_of(weights: Sequence[np.ndarray], scales: Sequence[float] | None = None) -> Any:
    """A chain of 1x1 convolutions with those weights [channels, channels], int8 if they have scales."""
    graph, channels = Graph(), len(weights[0])
    shape = (1, 2, 2, channels)
    x = graph.input(shape, scale=None if scales is None else 0.1)
    for index, weight in enumerate(weights):
        values = weight.reshape(channels, 1, 1, channels)
        scale = None if scales is None else np.full(channels, scales[index], np.float32)
        bias = np.zeros(channels, np.float32 if scales is None else np.int32)
        tensors = [x, graph.constant(values, scale=scale), graph.constant(bias, scale=scale)]
        options = schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)
        x = graph.add("CONV_2D", tensors, shape, scale=None if scales is None else 0.1, options=options)
    return fb.read_model(graph.build([x])).model


def test_a_bias_is_found_in_its_readers_own_slot() -> None:
    graph, bias = Graph(), np.arange(4, dtype=np.float32)
    x = graph.input((1, 2, 2, 4))
    weight = np.zeros((4, 1, 1, 4), np.float32)
    options = schema.TransposeConvOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)
    inputs = [graph.constant(np.array([1, 2, 2, 4], np.int32)), graph.constant(weight), x, graph.constant(bias)]
    y = graph.add("TRANSPOSE_CONV", inputs, (1, 2, 2, 4), dtype=np.float32, version=3, options=options)
    model = fb.read_model(graph.build([y])).model
    subgraph = model.subgraphs[0]
    np.testing.assert_array_equal(real_bias(model, subgraph, subgraph.operators[0]), bias)


def rounded(weight: np.ndarray, scale: float) -> np.ndarray:
    return np.rint(weight / scale).astype(np.int8)


def positions(model: Any) -> list[tuple[int, int]]:
    return [(weight.subgraph, weight.tensor) for weight in layer_weights(model)]


def test_strangers_doubles_and_rivals() -> None:
    scale = 1 / 127
    rng = np.random.default_rng(3)
    a, b, c = (rng.integers(-127, 128, (6, 6)).astype(np.float32) * np.float32(scale) for _ in range(3))
    rival = a + np.float32(0.2 * scale)  # the same int8 weight could come from either
    floats = graph_of([b, a, rival, b])
    int8s = graph_of([rounded(each, scale) for each in (b, a, c, b)], [scale] * 4)
    first, _, _, last = positions(int8s)
    assert pair_weights(floats, int8s) == {first: positions(floats)[0], last: positions(floats)[3]}
    alone = graph_of([rounded(b, scale)], [scale])
    assert pair_weights(floats, alone) == {positions(alone)[0]: positions(floats)[0]}


def test_a_transposed_weight_is_a_stranger() -> None:
    a = np.random.default_rng(4).uniform(-1, 1, (6, 6)).astype(np.float32)
    assert pair_weights(graph_of([a]), graph_of([rounded(a.T, 1 / 127)], [1 / 127])) == {}
