"""INT4 and INT2 weights under int8 activations nest as the INT8 codes that say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.narrow_codes import to_int8_codes

IN, OUT, SIDE = 64, 48, 4


def convolution(num_bits: int, bias: int = 1000) -> bytes:
    """A full-int8 convolution with a weight of few bits."""
    rng, graph = np.random.default_rng(31), Graph()
    x = graph.input((1, SIDE, SIDE, IN), scale=0.05, zero_point=4)
    largest = (1 << (num_bits - 1)) - 1
    scales = rng.uniform(0.5, 2, OUT) / (16 * largest)
    codes = rng.integers(-largest, largest + 1, (OUT, 3, 3, IN))
    weight = graph.narrow(codes, num_bits, scale=scales)
    biases = graph.constant(rng.integers(-bias, bias, OUT, np.int32), scale=scales * 0.05)
    options = schema.Conv2DOptionsT(padding=schema.Padding.SAME, strideW=1, strideH=1)
    shape = (1, SIDE, SIDE, OUT)
    y = graph.add("CONV_2D", [x, weight, biases], shape, scale=0.3, zero_point=-3, version=6, options=options)
    return graph.build([y])


@pytest.mark.parametrize(("num_bits", "nesting"), [(4, "8|5"), (4, "5|4"), (2, "3|2")])
def test_values_stay(num_bits: int, nesting: str, tmp_path: Path) -> None:
    before = fb.read_model(convolution(num_bits)).model
    report = nq.convert(convolution(num_bits), tmp_path / "nested.tflite", nesting, exact=True)
    assert any(f"1 INT{num_bits} weight as INT8 codes" in note for note in report.notes)
    nq.extract(tmp_path / "nested.tflite", tmp_path / "full.tflite")
    after = fb.read_model(tmp_path / "full.tflite").model
    np.testing.assert_array_equal(*(real(model, 1) for model in (before, after)))
    np.testing.assert_allclose(*(real(model, 2) for model in (before, after)), rtol=1e-6)  # its scale is a product


def real(model: Any, slot: int) -> np.ndarray:
    """Values of what the convolution reads there, in double precision."""
    graph = model.subgraphs[0]
    [tensor] = [graph.tensors[op.inputs[slot]] for op in graph.operators if fb.operator_name(model, op) == "CONV_2D"]
    codes = np.asarray(fb.constant(model, tensor), float)
    scales = np.asarray(tensor.quantization.scale, np.float64)
    return codes * scales.reshape(-1, *[1] * (codes.ndim - 1))


def test_outputs_are_the_stock_files(runtimes: tuple[str, ...], worker_of: Any, tmp_path: Path) -> None:
    """But for steps where TFLite's own kernel rounds otherwise: XNNPACK takes no such convolution."""
    (tmp_path / "stock.tflite").write_bytes(convolution(4))
    nq.convert(convolution(4), tmp_path / "nested.tflite", "8|5", exact=True)
    inputs = np.random.default_rng(32).integers(-128, 128, (4, SIDE, SIDE, IN)).astype(np.int8)
    for runtime in runtimes:
        [full] = worker_of(runtime)(jobs.run_nested, tmp_path / "nested.tflite", inputs, ["full"], builtin=False)
        stock = worker_of(runtime)(jobs.run_stock, tmp_path / "stock.tflite", inputs)
        assert np.abs(full.astype(int) - stock).max() <= 1


def test_a_bias_without_room_keeps_the_weight(tmp_path: Path) -> None:
    content = convolution(4, bias=1 << 30)
    model = fb.read_model(content).model
    assert to_int8_codes(model) == ()
    with pytest.raises(nq.errors.UnsupportedModelError, match="INT4 weights; float32 and INT8 nest"):
        nq.convert(content, tmp_path / "nested.tflite")
