"""Layers of a full-int8 graph that compute with float weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jobs
import numpy as np
from graphs import Graph

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.float_layers import compute_in_float
from nq_tflite.graph.quantization import real_constant
from nq_tflite.graph.sites import as_matrix, find_sites

SHAPE, WIDTH = (1, 4, 4, 16), 32
#: Outputs that are a step off, after two layers.
MOST_OFF = 0.05


def test_their_own_weights_give_their_own_outputs(worker: Any, tmp_path: Path) -> None:
    """But for steps where a float kernel's rounding differs from an integer one's."""
    graph = Graph()
    x = graph.input(SHAPE, scale=0.05, zero_point=4)
    y = graph.convolution(x, SHAPE, WIDTH, seed=3, scale=0.1, zero_point=-3)
    z = graph.convolution(y, (*SHAPE[:3], WIDTH), WIDTH, seed=4, scale=0.2, zero_point=5)
    content = graph.build([z])
    model = fb.read_model(content).model
    weights = []
    for group in find_sites(model)[0]:
        values = real_constant(model, model.subgraphs[0], fb.tensor_at(model, group[0].place))
        weights.append((tuple(group), as_matrix(values, group[0].layout)))
    compute_in_float(model, weights)
    names = [fb.operator_name(model, each) for each in model.subgraphs[0].operators]
    assert names == ["DEQUANTIZE", "CONV_2D", "QUANTIZE"] * 2
    stock, changed = tmp_path / "int8.tflite", tmp_path / "float.tflite"
    stock.write_bytes(content)
    fb.write_model(changed, model)
    inputs = np.random.default_rng(5).integers(-128, 128, (4, *SHAPE[1:])).astype(np.int8)
    before, after = (worker(jobs.run_stock, path, inputs).astype(int) for path in (stock, changed))
    assert np.abs(before - after).max() <= 1
    assert (before != after).mean() < MOST_OFF
