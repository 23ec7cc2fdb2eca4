"""A model of one input and one output of scores, at one precision, and real values to and from its tensors."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.device.interpreter import Interpreter
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.affine import dequantize, quantize
from nq_tflite.graph.image_input import ImageInput

_IMAGES = "one input [1, height, width, 3 or 1] and one output [1, classes]"


def to_input(values: NDArray[Any], details: dict[str, Any]) -> NDArray[Any]:
    """Real values as an input tensor takes them: quantized by its scale where it is int8 or uint8.

    Args:
        values: float, any shape.
        details: of the tensor, as get_input_details gives them.
    """
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return values.astype(dtype)
    scale, zero_point = details["quantization"]
    return quantize(values, scale, zero_point, dtype)


def from_output(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float64]:
    """Real values of an output tensor, by its scale where it is int8 or uint8."""
    if np.dtype(details["dtype"]).kind == "f":
        return values.astype(np.float64)
    scale, zero_point = details["quantization"]
    return dequantize(values, scale, zero_point, np.float64)


class Classifier:
    """A model from one photo, or another input, to one score a class, at one precision.

    Args:
        path: a nested model, or a stock one with `bits` None.
        bits: the precision; None for full-bit.
        runtime, num_threads: as nq.Interpreter.
        name: what errors call it; the path if not given.

    Attributes:
        levels: the model's precisions, part-bit first; empty for a stock model.
        bits: the current one; None for a stock model.
        input_shape: without the batch: height, width, channels of a photo.
        num_classes: of the output.

    Raises:
        UnsupportedModelError: not one input, or not one output [1, classes].
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        bits: int | None = None,
        runtime: RuntimeName | None = None,
        num_threads: int | None = None,
        name: str | None = None,
    ) -> None:
        self.path = name or os.fspath(path)
        self._interpreter = Interpreter(
            path, num_threads=num_threads, precision="full" if bits is None else bits, runtime=runtime
        )
        self._interpreter.allocate_tensors()
        self.levels = self._interpreter.levels
        self.bits = self._interpreter.precision if self.levels else None
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [[int(side) for side in details["shape"]] for details in (*inputs, *outputs)]
        self._shapes = shapes
        if len(shapes) != 2 or len(inputs) != 1 or shapes[0][:1] != [1]:
            raise self._unsupported(_IMAGES, shapes)
        if int(np.prod(shapes[1])) != shapes[1][-1]:
            raise self._unsupported("an output [1, classes]", shapes[1])
        for details in (*inputs, *outputs):
            _check_type(self.path, details)
        self._input, self._output = inputs[0], outputs[0]
        self.input_shape, self.num_classes = tuple(shapes[0][1:]), shapes[1][-1]

    @property
    def runtime(self) -> str:
        """Name and version of the stock runtime underneath."""
        return self._interpreter.runtime

    def image_with(self, told: ImageInput | None) -> ImageInput:
        """The input as it is here, with the values that the graph tells of it.

        Raises:
            UnsupportedModelError: it is no photo.
        """
        image = ImageInput.of_shape([1, *self.input_shape])
        if image is None:
            raise self._unsupported(_IMAGES, self._shapes)
        return image if told is None else replace(image, values=told.values, told_by=told.told_by)

    def logits(self, photo: NDArray[Any]) -> NDArray[np.float64]:
        """Scores of each class, [classes], of a preprocessed photo, or a sample, of the input's shape."""
        self._interpreter.set_tensor(self._input["index"], to_input(photo[None], self._input))
        self._interpreter.invoke()
        return from_output(self._interpreter.get_tensor(self._output["index"]), self._output).reshape(-1)

    def switch(self, bits: int) -> None:
        """Switches the precision, from the next photo on."""
        self._interpreter.switch(bits)
        self.bits = bits

    def _unsupported(self, expected: str, got: object) -> UnsupportedModelError:
        return UnsupportedModelError(self.path, expected=f"a photo classifier with {expected}", got=str(got))


def _check_type(path: str, details: dict[str, Any]) -> None:
    dtype = np.dtype(details["dtype"])
    if dtype not in (np.float32, np.int8, np.uint8) or (dtype.kind != "f" and not details["quantization"][0]):
        raise UnsupportedModelError(
            f"{path}, tensor {details['name']!r}", expected="float32, or int8 or uint8 with a scale", got=dtype.name
        )
