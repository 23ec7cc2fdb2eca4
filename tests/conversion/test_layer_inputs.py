"""Rows of a layer's inputs: times its weight they are the layer's outputs, whatever the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph
from hypothesis import given, settings
from hypothesis import strategies as st

from nq_tflite.conversion import layer_inputs
from nq_tflite.conversion.layer_inputs import MOST_DEPTHWISE_ROWS, Layer, Window, layer_of, sample_rows
from nq_tflite.conversion.walk import GraphWalk
from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.format.bitpack import Layout
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.sites import as_matrix


def window(draw: st.DrawFn, kind: Any) -> Any:
    """Options of a convolution."""
    dilations = draw(st.sampled_from([(1, 1), (2, 2), (1, 3)]))
    strides = (1, 1) if dilations != (1, 1) else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    options = kind(padding=draw(st.sampled_from([schema.Padding.SAME, schema.Padding.VALID])))
    options.strideH, options.strideW = strides
    options.dilationHFactor, options.dilationWFactor = dilations
    return options


@st.composite
def layers(draw: st.DrawFn) -> tuple[bytes, np.ndarray, list[np.ndarray]]:
    """A graph of one float layer without a bias, its weight [channels, depth], and samples."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    graph, kind = Graph(), draw(st.sampled_from(["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]))
    kernel, image = (draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(2))
    groups, width, multiplier = (draw(st.integers(1, 3)) for _ in range(3))
    inputs, layout = groups * width, Layout.MATRIX
    image = (image[0] + 6, image[1] + 6)
    shape: tuple[int, ...] = (draw(st.integers(1, 2)), *image, inputs)
    if kind == "CONV_2D":
        options, weight = window(draw, schema.Conv2DOptionsT), (groups * multiplier, *kernel, width)
    elif kind == "DEPTHWISE_CONV_2D":
        options, weight = window(draw, schema.DepthwiseConv2DOptionsT), (1, *kernel, inputs * multiplier)
        options.depthMultiplier, layout = multiplier, Layout.DEPTHWISE
    else:
        shape = (shape[0], inputs) if draw(st.booleans()) else (shape[0], 4, inputs)
        options, weight = schema.FullyConnectedOptionsT(keepNumDims=True), (5, inputs)
    values = rng.normal(size=weight).astype(np.float32)
    channels = weight[3] if layout is Layout.DEPTHWISE else weight[0]
    bias = -1 if kind == "FULLY_CONNECTED" else graph.constant(np.zeros(channels, np.float32))
    tensors = [graph.input(shape), graph.constant(values), bias]
    y = graph.add(kind, tensors, shape, dtype=np.float32, version=3, options=options)
    samples = [rng.normal(size=shape).astype(np.float32) for _ in range(draw(st.integers(1, 3)))]
    return graph.build([y]), as_matrix(values, layout), samples


@given(drawn=layers())
@settings(max_examples=60)
def test_rows_times_the_weight_are_the_outputs(drawn: tuple[bytes, np.ndarray, list[np.ndarray]]) -> None:
    content, matrix, samples = drawn
    model = fb.read_model(content).model
    layer = layer_of(model, 0)
    rows = sample_rows(layer, samples, seed=1)
    outputs = GraphWalk(model, [[sample] for sample in samples], walking_runtime()).outputs()
    weights = matrix.reshape(layer.groups, -1, layer.depth)
    got = np.einsum("grk,gck->rgc", rows, weights).reshape(-1, len(matrix))
    wanted = np.concatenate([output.reshape(-1, len(matrix)) for output in outputs])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_many_rows_are_sampled_by_shape_and_seed_alone() -> None:
    """So that rows of the float net and of a rounded one are of the same places."""
    layer = Layer(4, 9, Window((3, 3), (1, 1), (1, 1), same=True))
    images = [np.full((1, 30, 30, 4), number, np.float32) for number in range(3)]
    rows = sample_rows(layer, images, seed=7)
    assert rows.shape == (4, MOST_DEPTHWISE_ROWS, 9)
    np.testing.assert_array_equal(rows[:, :, 4], np.tile(np.sort(rows[0, :, 4]), (4, 1)))
    assert set(rows[0, :, 4]) == {0, 1, 2}
    again = sample_rows(layer, [image + 1 for image in images], seed=7)
    np.testing.assert_array_equal(again[:, :, 4], rows[:, :, 4] + 1)
    assert (sample_rows(layer, images, seed=8) != rows).any()


@pytest.mark.parametrize("groups", [1, 4])
def test_rows_of_codes_are_the_codes_of_rows(groups: int) -> None:
    layer = Layer(groups, 9 * 4 // groups, Window((3, 3), (2, 2), (1, 1), same=True))
    codes = [np.random.default_rng(number).integers(-128, 128, (1, 9, 9, 4), np.int8) for number in range(2)]
    rows = sample_rows(layer, codes, seed=3, padding=-7)
    assert rows.dtype == np.int8
    real = sample_rows(layer, [(each + 7.0).astype(np.float32) for each in codes], seed=3)
    np.testing.assert_array_equal(rows + 7.0, real)


def test_inputs_stay_as_they_are() -> None:
    """Whoever gets the rows may change them."""
    values = np.ones((layer_inputs.MOST_ROWS // 2, 4), np.float32)
    rows = sample_rows(Layer(1, 4, None), [values], seed=0)
    rows[:] = 0
    assert values.all()
