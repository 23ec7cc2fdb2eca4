"""What a model records about its image input: the size, and the values that it takes.

Only what looks into a graph imports the schema: the data goes through processes whose runtime may not meet another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nq_tflite.graph.model import ModelT, SubGraphT

#: Factors that bring 8-bit pixels to 0..1 and to 0..2.
PIXEL_FACTORS = (1 / 255, 1 / 127.5)


@dataclass(frozen=True)
class ImageInput:
    """The one image input of a model.

    Attributes:
        height, width: None if the model takes any.
        channels: 3 or 1.
        values: the least and the greatest value that it takes; None if nothing tells them.
        told_by: what tells them; "" if nothing does.
    """

    height: int | None
    width: int | None
    channels: int
    values: tuple[float, float] | None = None
    told_by: str = ""

    @classmethod
    def of_shape(
        cls, shape: Sequence[int | None], values: tuple[float, float] | None = None, told_by: str = ""
    ) -> ImageInput | None:
        """The input of that shape [batch, height, width, channels]; None if no image has it.

        >>> ImageInput.of_shape([1, 28, 28, 1])
        ImageInput(height=28, width=28, channels=1, values=None, told_by='')
        """
        if len(shape) != 4 or shape[3] not in (1, 3):
            return None
        height, width = (side if side is not None and side > 0 else None for side in shape[1:3])
        return cls(height, width, int(shape[3] or 0), values, told_by)


def find_image_input(model: ModelT) -> ImageInput | None:
    """The image input of a graph; None if it has several inputs, or one of another shape."""
    from nq_tflite.graph import flatbuffer as fb
    from nq_tflite.graph.quantization import covered_input

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
    from nq_tflite.graph import flatbuffer as fb

    met = [subgraph.operators[slot.position] for slot in fb.readers(subgraph).get(tensor, ())]
    met = [each for each in met if fb.builtin_code(model, each) != fb.schema.BuiltinOperator.SHAPE]
    if len(met) != 1 or fb.builtin_code(model, met[0]) != fb.schema.BuiltinOperator.MUL:
        return False
    [factor] = [each for each in fb.indices(met[0].inputs) if each != tensor] or [tensor]
    values = fb.constant(model, subgraph.tensors[factor])
    return values is not None and values.size == 1 and bool(np.isclose(values.reshape(-1)[0], PIXEL_FACTORS).any())
