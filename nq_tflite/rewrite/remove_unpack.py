"""Replaces NQ_UNPACK_DEQUANT operators by constant weights at one precision."""

from __future__ import annotations

from typing import Any

from nq_tflite import flatbuffer as fb
from nq_tflite.format import METADATA_NAME
from nq_tflite.nested import NestedWeight
from nq_tflite.rewrite.prune import prune


def remove_unpack(model: Any, weights: list[NestedWeight], level: int) -> None:
    """Leaves a stock model whose weights (and corrected biases) are those of the level; equal constants stay shared."""
    constants: dict[bytes, int] = {}

    def buffer_of(data: bytes) -> int:
        if data not in constants:
            constants[data] = fb.add_buffer(model, data)
        return constants[data]

    for weight in weights:
        tensors = model.subgraphs[weight.subgraph].tensors
        tensors[weight.tensor].buffer = buffer_of(weight.values(level).tobytes())
        if weight.bias_tensor is not None:
            tensors[weight.bias_tensor].buffer = buffer_of(weight.bias(level).tobytes())
    for subgraph_index in {weight.subgraph for weight in weights}:
        removed = {weight.operator for weight in weights if weight.subgraph == subgraph_index}
        subgraph = model.subgraphs[subgraph_index]
        subgraph.operators = [op for position, op in enumerate(subgraph.operators) if position not in removed]
    model.metadata = [m for m in model.metadata or [] if fb.text(m.name) != METADATA_NAME]
    prune(model)
