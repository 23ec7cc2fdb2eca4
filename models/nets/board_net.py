"""The board kit's models: MobileNetV2 in full-int8 and single layers of it, from a seed, without tensorflow.

Weights and scales come from the raw bits of a bit generator, which NumPy promises to keep, by arithmetic that IEEE 754
rounds the same everywhere: the same files, and so the same outputs, on every machine. No calibration is needed: a
layer's scale is known from the variance of its weights and of what it reads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.nested_writer import write_nested
from nq_tflite.conversion.plan import make_plan
from nq_tflite.conversion.rounding import METHODS
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema

SEED = 20
NESTING = "8|4"
CLASSES = 1000
#: Expansion, output channels, repetitions and first stride of MobileNetV2's stages (arXiv 1801.04381, table 2).
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
#: Standard deviation of the mean of four bytes: the codes of a weight, whose ends are 3.4 of it away.
_CODE_DEVIATION = 37.0
#: ReLU6 of a normal variable of deviation 2: what a layer's weights are scaled for, and the root mean square after it.
_BEFORE_RELU6, _AFTER_RELU6 = 2.0, 1.35


@dataclass(frozen=True)
class Activation:
    """A tensor under construction: index, shape, quantization, and root mean square of its real values."""

    index: int
    shape: tuple[int, ...]
    scale: np.float32
    zero_point: int
    size: float


class SeededNet:
    """A full-int8 graph for one image at a time, whose weights come from a seed.

    Example:
        net = SeededNet()
        image = net.input((1, 14, 14, 960))
        content = net.build(image, net.convolution(image, 320, 1))
    """

    def __init__(self, seed: int = SEED) -> None:
        self._bits = np.random.PCG64(seed)
        self._graph = fb.new_subgraph([], [], [], [])
        self._model = fb.new_model([], [self._graph], [fb.new_buffer(np.empty(0, np.uint8))])

    def input(self, shape: tuple[int, ...]) -> Activation:
        """Values in [-1, 1)."""
        return self._activation(shape, np.float32(1 / 128), 0, 1 / math.sqrt(3))

    def convolution(
        self, x: Activation, channels: int, kernel: int, stride: int = 1, *, relu6: bool = True
    ) -> Activation:
        """CONV_2D, padded as SAME."""
        depth = x.shape[3]
        inputs, size = self._layer(x, (channels, kernel, kernel, depth), kernel * kernel * depth, 0, relu6)
        options = schema.Conv2DOptionsT(strideW=stride, strideH=stride, **_activated(relu6))
        return self._add("CONV_2D", inputs, (*_strided(x, stride), channels), size, relu6, options)

    def depthwise(self, x: Activation, stride: int = 1) -> Activation:
        """DEPTHWISE_CONV_2D of 3 x 3, padded as SAME, with ReLU6."""
        channels = x.shape[3]
        inputs, size = self._layer(x, (1, 3, 3, channels), 9, 3, relu6=True)
        options = schema.DepthwiseConv2DOptionsT(
            strideW=stride, strideH=stride, depthMultiplier=1, dilationWFactor=1, dilationHFactor=1, **_activated(True)
        )
        return self._add("DEPTHWISE_CONV_2D", inputs, (*_strided(x, stride), channels), size, True, options)

    def dense(self, x: Activation, channels: int) -> Activation:
        """FULLY_CONNECTED without activation."""
        inputs, size = self._layer(x, (channels, x.shape[1]), x.shape[1], None, relu6=False)
        options = schema.FullyConnectedOptionsT()
        return self._add("FULLY_CONNECTED", inputs, (x.shape[0], channels), size, False, options, version=4)

    def sum(self, x: Activation, y: Activation) -> Activation:
        """ADD of two tensors of one shape."""
        return self._add("ADD", [x.index, y.index], x.shape, math.hypot(x.size, y.size), False, schema.AddOptionsT())

    def mean(self, x: Activation) -> Activation:
        """MEAN over the image, quantized as its input."""
        axes = fb.add_tensor(
            self._graph, "axes", [2], schema.TensorType.INT32, fb.add_buffer(self._model, np.array([1, 2], np.int32))
        )
        output = self._activation((x.shape[0], x.shape[3]), x.scale, x.zero_point, x.size / 1.5)
        return self._operator("MEAN", [x.index, axes], output, schema.ReducerOptionsT(keepDims=False), 2)

    def build(self, first: Activation, last: Activation) -> bytes:
        """The file's bytes."""
        self._graph.inputs, self._graph.outputs = [first.index], [last.index]
        return fb.pack_model(self._model)

    # ---- pieces ------------------------------------------------------------------------------------------------------

    def _bytes(self, count: int) -> NDArray[np.int8]:
        words = self._bits.random_raw(-(-count // 8))
        return np.asarray(words, "<u8").view(np.int8)[:count]

    def _layer(
        self, x: Activation, shape: tuple[int, ...], fan_in: int, axis: int | None, relu6: bool
    ) -> tuple[list[int], float]:
        """A layer's inputs, and the root mean square of its real outputs before an activation.

        Scales are uneven: 0.5 to 1.5 times the middle, for each channel along `axis` (None: one for all).
        """
        count, channels = math.prod(shape), shape[axis or 0]
        summed = self._bytes(4 * count).reshape(4, count).sum(axis=0, dtype=np.int16)
        codes = np.maximum(summed >> 2, -127).astype(np.int8).reshape(shape)
        wanted = _BEFORE_RELU6 if relu6 else 1.0
        middle = wanted / (x.size * math.sqrt(fan_in) * _CODE_DEVIATION)
        spread = 1.0 + self._bytes(1 if axis is None else channels) / 256.0
        scales = (middle * spread).astype(np.float32)
        units = x.scale * scales
        biases = np.rint(0.3 * wanted * self._bytes(channels) / 128.0 / units).astype(np.int32)
        weight = self._constant(codes, schema.TensorType.INT8, scales, axis or 0)
        return [x.index, weight, self._constant(biases, schema.TensorType.INT32, units, 0)], wanted

    def _constant(self, values: fb.Array, kind: int, scales: NDArray[np.float32], axis: int) -> int:
        index = fb.add_tensor(self._graph, self._name(), values.shape, kind, fb.add_buffer(self._model, values))
        self._graph.tensors[index].quantization = fb.new_quantization(scales, axis)
        return index

    def _activation(self, shape: tuple[int, ...], scale: np.float32, zero_point: int, size: float) -> Activation:
        index = fb.add_tensor(self._graph, self._name(), shape, schema.TensorType.INT8, 0)
        quantization = fb.new_quantization(np.array([scale]))
        quantization.zeroPoint = [zero_point]
        self._graph.tensors[index].quantization = quantization
        return Activation(index, shape, scale, zero_point, size)

    def _name(self) -> str:
        return f"t{len(self._graph.tensors)}"

    def _add(
        self,
        name: str,
        inputs: Sequence[int],
        shape: tuple[int, ...],
        size: float,
        relu6: bool,
        options: object,
        version: int = 3,
    ) -> Activation:
        if relu6:
            output = self._activation(shape, np.float32(6 / 255), -128, _AFTER_RELU6)
        else:
            output = self._activation(shape, np.float32(4 * size / 127), 0, size)
        return self._operator(name, inputs, output, options, version)

    def _operator(
        self, name: str, inputs: Sequence[int], output: Activation, options: object, version: int
    ) -> Activation:
        kind = getattr(schema.BuiltinOperator, name)
        codes = self._model.operatorCodes
        position = next((i for i, each in enumerate(codes) if each.builtinCode == kind), len(codes))
        if position == len(codes):
            codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=kind, builtinCode=kind, version=version))
        operator = fb.new_operator(position, list(inputs), [output.index])
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        operator.builtinOptions = options
        self._graph.operators.append(operator)
        return output


def _activated(relu6: bool) -> dict[str, int]:
    kinds = schema.ActivationFunctionType
    return {"padding": schema.Padding.SAME, "fusedActivationFunction": kinds.RELU6 if relu6 else kinds.NONE}


def _strided(x: Activation, stride: int) -> tuple[int, int, int]:
    return x.shape[0], -(-x.shape[1] // stride), -(-x.shape[2] // stride)


def mobilenet_v2(size: int = 224) -> bytes:
    """MobileNetV2 1.0 for int8 images [1, size, size, 3], to int8 [1, 1000]."""
    net = SeededNet()
    image = net.input((1, size, size, 3))
    x = net.convolution(image, 32, 3, 2)
    for expansion, channels, repetitions, stride in STAGES:
        for repetition in range(repetitions):
            x = _inverted_residual(net, x, expansion, channels, 1 if repetition else stride)
    return net.build(image, net.dense(net.mean(net.convolution(x, 1280, 1)), CLASSES))


def _inverted_residual(net: SeededNet, x: Activation, expansion: int, channels: int, stride: int) -> Activation:
    wide = x if expansion == 1 else net.convolution(x, expansion * x.shape[3], 1)
    narrow = net.convolution(net.depthwise(wide, stride), channels, 1, relu6=False)
    return net.sum(x, narrow) if narrow.shape == x.shape else narrow


def convolution_1x1(size: int, depth: int, channels: int) -> bytes:
    """One convolution of 1 x 1 alone."""
    net = SeededNet()
    image = net.input((1, size, size, depth))
    return net.build(image, net.convolution(image, channels, 1))


def depthwise_3x3(size: int, channels: int) -> bytes:
    """One depthwise convolution alone."""
    net = SeededNet()
    image = net.input((1, size, size, channels))
    return net.build(image, net.depthwise(image))


def dense(depth: int, channels: int) -> bytes:
    """One dense layer alone."""
    net = SeededNet()
    row = net.input((1, depth))
    return net.build(row, net.dense(row, channels))


def nest(stock: bytes, path: Path) -> None:
    """Writes a stock file's nested one: the codes stay, and their upper bits are the nearest."""
    model, nesting = fb.read_model(stock).model, Nesting.parse(NESTING)
    write_nested(model, make_plan(model, nesting, METHODS["nearest"]), nesting, path)
