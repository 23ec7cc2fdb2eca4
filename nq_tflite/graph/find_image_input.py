"""Looks in a graph for its image input: the size, and the values that it takes."""

from __future__ import annotations

import numpy as np

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.image_input import PIXEL_FACTORS, ImageInput
from nq_tflite.graph.model import ModelT, SubGraphT
from nq_tflite.graph.quantization import covered_input


def find_image_input(model: ModelT) -> ImageInput | None:
    """The image input of a graph; None if it has several inputs, or one of another shape."""
    subgraph = model.subgraphs[0]
    inputs = fb.indices(subgraph.inputs)
    if len(inputs) != 1:
        return None
    tensor = subgraph.tensors[inputs[0]]
    shape = fb.indices(tensor.shapeSignature) or fb.indices(tensor.shape)
    covered = covered_input(model, inputs[0])
    if covered is not None:
        return ImageInput.of_shape(shape, covered, "the input's scale and zero point")
    if _scales_pixels(model, subgraph, inputs[0]):
        return ImageInput.of_shape(shape, (0.0, 255.0), "the first operator, which scales pixels")
    return ImageInput.of_shape(shape)


def _scales_pixels(model: ModelT, subgraph: SubGraphT, tensor: int) -> bool:
    """Whether all that the input meets is a multiplication by one of `PIXEL_FACTORS`, as of a Rescaling layer."""
    met = [subgraph.operators[slot.position] for slot in fb.readers(subgraph).get(tensor, ())]
    met = [each for each in met if fb.builtin_code(model, each) != schema.BuiltinOperator.SHAPE]
    if len(met) != 1 or fb.builtin_code(model, met[0]) != schema.BuiltinOperator.MUL:
        return False
    [factor] = [each for each in fb.indices(met[0].inputs) if each != tensor] or [tensor]
    values = fb.constant(model, subgraph.tensors[factor])
    return values is not None and values.size == 1 and bool(np.isclose(values.reshape(-1)[0], PIXEL_FACTORS).any())
