"""Gives the readers of nested weights the biases that the plan has for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.weight_plan import WeightPlan
from nq_tflite.format.biases import LevelBiases
from nq_tflite.format.constants import MADE_BIAS, OutputType
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, OperatorT
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site


def insert_rescaled_biases(model: ModelT, site: Site, weight: WeightPlan) -> None:
    """Gives a bias that was rescaled with its weight a tensor of its own: another operator may read the old one."""
    for position in site.operators:
        operator = model.subgraphs[site.subgraph].operators[position]
        values = weight.rescaled_bias(model, site, operator)
        if values is not None:
            _replace_bias(model, site.subgraph, operator, values, weight)


def _replace_bias(
    model: ModelT, index: int, operator: OperatorT, values: NDArray[np.int32], weight: WeightPlan
) -> None:
    subgraph, reader = model.subgraphs[index], slots_of(model, operator)
    old, data = subgraph.tensors[reader.bias_of(operator)], subgraph.tensors[reader.data_of(operator)]
    buffer = fb.add_buffer(model, values)
    new = fb.add_tensor(subgraph, fb.text(old.name) + "/rescaled", [len(values)], old.type, buffer)
    subgraph.tensors[new].quantization = weight.bias_quantization(data)
    operator.inputs = [new if slot == reader.bias else each for slot, each in enumerate(fb.indices(operator.inputs))]


def insert_level_bias(model: ModelT, site: Site, weight: WeightPlan, biases: LevelBiases) -> tuple[int, int]:
    """Makes a weight's one reader read its bias from the operator that unpacks the weight.

    Returns:
        The operator's bias tensors: its input, which holds the last level's bias, and its output.
    """
    subgraph = model.subgraphs[site.subgraph]
    [position] = site.operators
    operator = subgraph.operators[position]
    reader = slots_of(model, operator)
    if reader.bias is None:
        raise ValueError(f"level biases of {weight.name!r}: expected a reader with a bias")
    is_float = weight.output_type is OutputType.FLOAT32
    tensor_type = schema.TensorType.FLOAT32 if is_float else schema.TensorType.INT32
    buffer = fb.add_buffer(model, biases.base)
    base = fb.add_tensor(subgraph, f"{site.name}/bias", [len(biases.base)], tensor_type, buffer)
    output = _computed_bias(model, site, weight, tensor_type, len(biases.base))
    if weight.output_type is OutputType.INT8:
        # The reader asks for it; on the base it would cost 12 bytes a channel for nobody.
        subgraph.tensors[output].quantization = weight.bias_quantization(subgraph.tensors[reader.data_of(operator)])
    operator.inputs = [*fb.indices(operator.inputs)[: reader.bias], output]
    return base, output


def _computed_bias(model: ModelT, site: Site, weight: WeightPlan, tensor_type: int, channels: int) -> int:
    """The bias tensor that will be computed: the old one, which keeps its name, unless others need its constant."""
    subgraph = model.subgraphs[site.subgraph]
    [position] = site.operators
    operator = subgraph.operators[position]
    reader = slots_of(model, operator)
    old = reader.bias_of(operator)
    if old < 0:
        return fb.add_tensor(subgraph, site.name + MADE_BIAS, [channels], tensor_type, 0)
    tensor = subgraph.tensors[old]
    if fb.constant(model, tensor) is None:
        raise ValueError(f"level biases of {weight.name!r}: expected a constant bias to replace, got a computed one")
    if old in fb.indices(subgraph.outputs) or fb.readers(subgraph)[old] != [(position, reader.bias)]:
        return fb.add_tensor(subgraph, fb.text(tensor.name) + MADE_BIAS, [channels], tensor_type, 0)
    tensor.buffer, tensor.shape = 0, [channels]
    return old
