"""The stock file that computes what fused layers of a float model promise: the same codes, at dynamic range."""

from __future__ import annotations

from pathlib import Path

import nq_tflite as nq
from nq_tflite.format.bitpack import CHANNEL_AXIS
from nq_tflite.format.levels import value_at
from nq_tflite.format.nesting import Precision, precision_to_level
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested
from nq_tflite.graph.sites import as_weight


def write_dynamic_range(nested: Path, path: Path, precision: Precision) -> None:
    """Extracts a float model at one precision, its nested weights as INT8 constants under float activations.

    Raises:
      FormatError, PrecisionError: as nq.extract.

    Example:
      write_dynamic_range(Path("nested.tflite"), Path("stock.tflite"), "part")
    """
    nq.extract(nested, path, precision)
    source, model = read_nested(nested), fb.read_model(path).model
    level = precision_to_level(precision, source.precisions)
    weights = {each.name: each for each in source.weights}
    for _, subgraph in fb.subgraphs(model):
        for tensor in subgraph.tensors:
            weight = weights.get(fb.text(tensor.name))
            if weight is None:
                continue
            codes = value_at(weight.codes(), weight.nesting, level)
            tensor.buffer = fb.add_buffer(model, as_weight(codes, weight.block.layout, weight.shape))
            tensor.type = fb.schema.TensorType.INT8
            tensor.quantization = fb.new_quantization(weight.scales, CHANNEL_AXIS[weight.block.layout])
    fb.write_model(path, model)
