"""Gives a full-int8 graph other INT8 weights, with scales of their own, in place of its constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.levels import Codes
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, OperatorT, SubGraphT
from nq_tflite.graph.quantization import bias_quantization, scales_of
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site, as_weight


def replace_weights(model: ModelT, sites: Sequence[Site], codes: Codes, scales: NDArray[np.float32]) -> None:
    """Leaves a stock model; biases, whose unit is input scale * weight scale, keep their real values.

    Args:
        model: full-int8; it is changed in place.
        sites: where the weight is read.
        codes: int8 [channels, depth].
        scales: float32 [channels]; a channel of zeros keeps the scale that it has.
    """
    buffer = fb.add_buffer(model, b"")
    for site in sites:
        subgraph = model.subgraphs[site.subgraph]
        tensor = subgraph.tensors[site.tensor]
        model.buffers[buffer].data = as_weight(codes, site.layout, fb.shape(tensor)).reshape(-1).view(np.uint8)
        old = np.broadcast_to(scales_of(tensor), scales.shape)
        new = np.where(scales > 0, scales, old)
        tensor.buffer = buffer
        axis = 0 if tensor.quantization is None else tensor.quantization.quantizedDimension
        tensor.quantization = fb.new_quantization(new, axis)
        for position in site.operators:
            _rescale_bias(model, subgraph, subgraph.operators[position], old, new)


def _rescale_bias(
    model: ModelT, subgraph: SubGraphT, operator: OperatorT, old: NDArray[np.float32], new: NDArray[np.float32]
) -> None:
    inputs, reader = fb.indices(operator.inputs), slots_of(model, operator)
    index = reader.bias_of(operator)
    values = fb.constant(model, subgraph.tensors[index]) if index >= 0 else None
    if values is None or reader.bias is None:
        return
    limits = np.iinfo(np.int32)
    rescaled = np.clip(np.rint(values * (old / new.astype(np.float64))), limits.min, limits.max).astype(np.int32)
    name, kind = fb.text(subgraph.tensors[index].name), schema.TensorType.INT32
    inputs[reader.bias] = fb.add_tensor(subgraph, name, rescaled.shape, kind, fb.add_buffer(model, rescaled))
    data = subgraph.tensors[inputs[reader.data]]
    subgraph.tensors[inputs[reader.bias]].quantization = bias_quantization(data, new)
    operator.inputs = inputs
