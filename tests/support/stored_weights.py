"""Constant weights of a stock model, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from nq_tflite.graph import flatbuffer as fb


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """Constant convolution and dense weights of a stock model by tensor name."""
    found = {}
    for _, subgraph in fb.subgraphs(model):
        for operator in subgraph.operators:
            if fb.operator_name(model, operator) in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
                tensor = subgraph.tensors[operator.inputs[1]]
                values = fb.constant(model, tensor)
                assert values is not None
                found[fb.text(tensor.name)] = values
    return found
