"""Small full-int8 graphs, or uint8 ones, operator by operator: what Keras and its converter would not give at will."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nq_tflite.graph.flatbuffer import add_buffer, add_tensor, pack_model, schema

_TYPES = {np.dtype(np.float32): schema.TensorType.FLOAT32, np.dtype(np.int32): schema.TensorType.INT32}
_TYPES |= {
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
}


class Graph:
    """A TFLite graph under construction; tensors are known by their indices, and the first dimension is the batch.

    Args:
        quantized: type of what has a scale, where nothing else is said.

    Example:
        graph = Graph()
        x = graph.input((1, 4, 4, 8), scale=0.1, zero_point=3)
        y = graph.add("LOGISTIC", [x], (1, 4, 4, 8), scale=1 / 256, zero_point=-128)
        content = graph.build([y])
    """

    def __init__(self, quantized: Any = np.int8) -> None:
        self._quantized = quantized
        self._graph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name="main")
        empty = schema.BufferT(data=np.empty(0, np.uint8))
        self._model = schema.ModelT(
            version=3, operatorCodes=[], subgraphs=[self._graph], description="test", buffers=[empty]
        )

    def _tensor(self, shape: Sequence[int], dtype: Any, buffer: int, scales: Any, zero_point: int, axis: int) -> int:
        index = add_tensor(self._graph, f"t{len(self._graph.tensors)}", shape, _TYPES[np.dtype(dtype)], buffer)
        if scales is not None:
            scales = np.atleast_1d(np.asarray(scales, np.float32))
            self._graph.tensors[index].quantization = schema.QuantizationParametersT(
                scale=scales, zeroPoint=np.full(len(scales), zero_point, np.int64), quantizedDimension=axis
            )
        return index

    def input(
        self, shape: Sequence[int], *, scale: float | None = None, zero_point: int = 0, dtype: Any = np.float32
    ) -> int:
        """An input of any batch: quantized, or of that type without a scale."""
        index = self._tensor(shape, dtype if scale is None else self._quantized, 0, scale, zero_point, 0)
        self._graph.tensors[index].shapeSignature = [-1, *shape[1:]]
        self._graph.inputs.append(index)
        return index

    def constant(self, values: Any, *, scale: Any = None, zero_point: int = 0, axis: int = 0) -> int:
        """A tensor of the file."""
        values = np.asarray(values)
        return self._tensor(values.shape, values.dtype, add_buffer(self._model, values), scale, zero_point, axis)

    def narrow(self, codes: Any, num_bits: int, *, scale: Any = None, axis: int = 0, block_scales: Any = None) -> int:
        """A constant of INT4 or INT2 codes, with a scale for each channel, or float16 ones for blocks of its rows."""
        codes, in_a_byte = np.asarray(codes), 8 // num_bits
        fields = (codes.reshape(-1, in_a_byte) & ((1 << num_bits) - 1)).astype(np.uint8)
        packed = np.bitwise_or.reduce(fields << np.arange(0, 8, num_bits, dtype=np.uint8), axis=1).astype(np.uint8)
        index = self._tensor(codes.shape, np.int8, add_buffer(self._model, packed), scale, 0, axis)
        tensor = self._graph.tensors[index]
        tensor.type = {4: schema.TensorType.INT4, 2: schema.TensorType.INT2}[num_bits]
        if block_scales is not None:
            scales = np.asarray(block_scales, np.float16)
            of_blocks = self._tensor(scales.shape, np.float16, add_buffer(self._model, scales), None, 0, 0)
            details = schema.BlockwiseQuantizationT(
                scales=of_blocks, zeroPoints=-1, blockSize=codes.shape[-1] // scales.shape[-1]
            )
            tensor.quantization = schema.QuantizationParametersT(
                details=details, detailsType=schema.QuantizationDetails.BlockwiseQuantization
            )
        return index

    def add(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        *,
        scale: float | None = None,
        zero_point: int = 0,
        dtype: Any = None,
        version: int = 2,
        options: Any = None,
    ) -> int:
        """An operator with one output of that shape and quantization; returns the output."""
        index = self._tensor(shape, dtype or self._quantized, 0, scale, zero_point, 0)
        if len(shape) > 0:
            self._graph.tensors[index].shapeSignature = [-1, *shape[1:]] if dtype != np.int32 else list(shape)
        self._operator(name, inputs, [index], version, options)
        return index

    def split(
        self,
        name: str,
        inputs: Sequence[int],
        shapes: Sequence[Sequence[int]],
        *,
        scale: float | None = None,
        zero_point: int = 0,
        dtype: Any = None,
        options: Any = None,
    ) -> list[int]:
        """An operator with an output of each of these shapes, of one quantization; returns them."""
        outputs = [self._tensor(shape, dtype or self._quantized, 0, scale, zero_point, 0) for shape in shapes]
        for index, shape in zip(outputs, shapes, strict=True):
            self._graph.tensors[index].shapeSignature = [-1, *shape[1:]]
        self._operator(name, inputs, outputs, 2, options)
        return outputs

    def _operator(self, name: str, inputs: Sequence[int], outputs: list[int], version: int, options: Any) -> None:
        code = getattr(schema.BuiltinOperator, name)
        codes = self._model.operatorCodes
        codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version))
        operator = schema.OperatorT(opcodeIndex=len(codes) - 1, inputs=list(inputs), outputs=outputs)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._graph.operators.append(operator)

    def custom(self, name: str, inputs: Sequence[int], shapes: Sequence[Sequence[int]], options: bytes) -> list[int]:
        """A custom operator with float outputs of these shapes; returns them."""
        outputs = [self._tensor(shape, np.float32, 0, None, 0, 0) for shape in shapes]
        code = schema.BuiltinOperator.CUSTOM
        codes = self._model.operatorCodes
        codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=1, customCode=name))
        operator = schema.OperatorT(opcodeIndex=len(codes) - 1, inputs=list(inputs), outputs=outputs)
        operator.customOptions = list(options)
        self._graph.operators.append(operator)
        return outputs

    def convolution(
        self, x: int, in_shape: Sequence[int], channels: int, *, seed: int, scale: float, zero_point: int
    ) -> int:
        """A 1x1 convolution with random weights, wide enough to nest."""
        rng = np.random.default_rng(seed)
        weight = rng.integers(-127, 128, (channels, 1, 1, in_shape[3]), np.int8)
        scales = rng.uniform(0.5, 2, channels) / 127
        tensors = [
            x,
            self.constant(weight, scale=scales),
            self.constant(np.zeros(channels, np.int32), scale=scales * self._scale_of(x)),
        ]
        options = schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)
        shape = (*in_shape[:3], channels)
        return self.add("CONV_2D", tensors, shape, scale=scale, zero_point=zero_point, version=3, options=options)

    def _scale_of(self, index: int) -> float:
        return float(self._graph.tensors[index].quantization.scale[0])

    def build(self, outputs: Sequence[int]) -> bytes:
        """The file's bytes."""
        self._graph.outputs = list(outputs)
        return pack_model(self._model)
