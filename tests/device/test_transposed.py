"""Transposed convolutions: nested, unpacked for the runtime's kernel, and rounded by what they multiply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.conversion.layer_inputs import Layer, Window, sample_rows
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.nested import read_nested

IN, OUT, SIDE = 40, 48, 5


def transposed_graph(kind: str, *, bias: bool, kernel: int, stride: int, same: bool) -> bytes:
    """One TRANSPOSE_CONV of a fixed output shape."""
    rng = np.random.default_rng(11)
    is_int8, graph = kind == "int8", Graph()
    x = graph.input((1, SIDE, SIDE, IN), **({"scale": 0.05, "zero_point": 4} if is_int8 else {}))
    scales = rng.uniform(0.5, 2, OUT) / 127
    codes = rng.integers(-127, 128, (OUT, kernel, kernel, IN), np.int8)
    biases = rng.integers(-2000, 2000, OUT, np.int32)
    side = SIDE * stride if same else (SIDE - 1) * stride + kernel
    shape = (1, side, side, OUT)
    if is_int8:
        inputs = [graph.constant(np.array(shape, np.int32)), graph.constant(codes, scale=scales), x]
        inputs += [graph.constant(biases, scale=scales * 0.05)] if bias else []
    else:
        real = (codes * scales[:, None, None, None]).astype(np.float32)
        inputs = [graph.constant(np.array(shape, np.int32)), graph.constant(real), x]
        inputs += [graph.constant((biases * scales).astype(np.float32))] if bias else []
    options = schema.TransposeConvOptionsT(
        padding=schema.Padding.SAME if same else schema.Padding.VALID, strideW=stride, strideH=stride
    )
    quantization = {"scale": 0.3, "zero_point": -3} if is_int8 else {"dtype": np.float32}
    y = graph.add("TRANSPOSE_CONV", inputs, shape, version=3 if bias else 2, options=options, **quantization)
    return graph.build([y])


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(12).normal(size=(12, SIDE, SIDE, IN)).astype(np.float32)


@pytest.mark.parametrize("kind", ["int8", "float"])
@pytest.mark.parametrize(
    ("kernel", "stride", "same", "bias"), [(3, 2, True, True), (2, 2, False, False), (4, 1, True, False)]
)
def test_unpacked_is_the_extracted_model(
    kind: str, kernel: int, stride: int, same: bool, bias: bool, worker: Any, images: np.ndarray, tmp_path: Path
) -> None:
    path, inputs = tmp_path / "nested.tflite", images[:1]
    if kind == "int8":
        inputs = np.rint(inputs / 0.05).clip(-124, 123).astype(np.int8)
    report = nq.convert(transposed_graph(kind, bias=bias, kernel=kernel, stride=stride, same=same), path, "8|5", images)
    assert [(row.operator, row.shape) for row in report.weights] == [("TRANSPOSE_CONV", (OUT, kernel, kernel, IN))]
    assert report.estimate is not None  # rounding has seen its inputs
    [weight] = read_nested(path).weights
    assert (weight.bias_tensor is not None) == bias
    for precision in ("full", "part"):
        stock = tmp_path / f"{precision}.tflite"
        nq.extract(path, stock, precision)
        wanted = worker(jobs.run_stock, stock, inputs)
        np.testing.assert_array_equal(worker(jobs.run_nested, path, inputs, [precision])[0], wanted)
        got = worker(jobs.run_nested, path, inputs, [precision], builtin=False)[0]  # XNNPACK leaves it to the runtime
        np.testing.assert_array_equal(got, wanted)
    [found] = worker(delegation_jobs.delegation, path, fuse=True)
    assert [(each.place, each.reason) for each in found.nested] == [
        ("unpacked", "no fused kernel for the operator that reads it")
    ]


@pytest.mark.parametrize(("kernel", "stride", "same"), [(3, 2, True), (2, 2, False), (4, 3, True), (3, 1, True)])
def test_rows_times_the_weight_are_the_outputs(
    kernel: int, stride: int, same: bool, worker_of: Any, images: np.ndarray, tmp_path: Path
) -> None:
    content = transposed_graph("float", bias=False, kernel=kernel, stride=stride, same=same)
    (tmp_path / "stock.tflite").write_bytes(content)
    outputs = worker_of("ai-edge-litert")(jobs.run_stock, tmp_path / "stock.tflite", images[:2])
    window = Window((kernel, kernel), (stride, stride), (1, 1), same, transposed=True)
    rows = sample_rows(Layer(1, kernel * kernel * IN, window), [images[:1], images[1:2]], seed=0)[0]
    rng = np.random.default_rng(11)
    scales = rng.uniform(0.5, 2, OUT) / 127
    weight = rng.integers(-127, 128, (OUT, kernel * kernel * IN), np.int8) * scales[:, None]
    np.testing.assert_allclose(rows @ weight.T, outputs.reshape(-1, OUT), rtol=0, atol=1e-3)


def test_rounding_by_inputs_beats_rounding_without(images: np.ndarray, tmp_path: Path) -> None:
    graph = transposed_graph("float", bias=True, kernel=3, stride=2, same=True)
    snr = {}
    for rounding in ("descent", "squant"):
        report = nq.convert(graph, tmp_path / "nested.tflite", "8|4", images, rounding=rounding)
        assert report.estimate is not None
        snr[rounding] = report.estimate.snr_db[0]
    assert snr["descent"] > snr["squant"]
