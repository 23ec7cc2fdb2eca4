"""Weights that cannot nest are told of, whatever their type."""

from __future__ import annotations

import numpy as np

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.sites import find_sites


def test_int4_weights_behind_a_dequantize() -> None:
    """As ai-edge-quantizer writes weight-only models: no layer reads the codes themselves."""
    buffers = [fb.new_buffer(), fb.new_buffer(np.zeros(64 * 64 // 2, np.uint8))]
    tensors = [
        fb.new_tensor("codes", [64, 64], schema.TensorType.INT4, 1),
        fb.new_tensor("weight", [64, 64], schema.TensorType.FLOAT32),
    ]
    code = schema.OperatorCodeT(builtinCode=schema.BuiltinOperator.DEQUANTIZE)
    graph = fb.new_subgraph(tensors, [], [1], [fb.new_operator(0, [0], [1])])
    sites, left = find_sites(fb.new_model([code], [graph], buffers))
    assert sites == []
    assert [(each.name, each.operator, each.bytes, each.reason) for each in left] == [
        ("codes", "DEQUANTIZE", 2048, "INT4 weights; float32 and INT8 nest")
    ]
