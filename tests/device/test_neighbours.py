"""Operators between layers: bit for bit what ai-edge-litert gives, in one partition with the layers around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.graph.flatbuffer import schema

IMAGE = (1, 9, 7, 61)  # after a convolution with all 256 codes; nothing is a multiple of anything
SCALE, ZERO_POINT = 0.11, -5


class Branches:
    """float32 image -> QUANTIZE -> convolution, and the branches that a test adds: each an output of the graph."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph()
        image = self.graph.add("QUANTIZE", [self.graph.input(IMAGE)], IMAGE, scale=0.03, zero_point=4, version=1)
        self.trunk = self.graph.convolution(image, IMAGE, 61, seed=1, scale=SCALE, zero_point=ZERO_POINT)
        self.other = self.graph.convolution(image, IMAGE, 61, seed=2, scale=0.07, zero_point=9)
        self.outputs: dict[str, int] = {}

    def scale(self, least: float = 0.01, greatest: float = 0.3) -> float:
        return float(np.exp(self.rng.uniform(np.log(least), np.log(greatest))))

    def zero_point(self) -> int:
        return int(self.rng.integers(-128, 128))

    def add(self, name: str, inputs: list[int], shape: tuple[int, ...] = IMAGE, **settings: Any) -> int:
        """A branch, its quantization random where `settings` do not say."""
        settings = {"scale": self.scale(), "zero_point": self.zero_point()} | settings
        output = self.graph.add(name, inputs, shape, **settings)
        self.outputs[f"{len(self.outputs)} {name} {shape}"] = output
        return output

    def as_trunk(self, name: str, inputs: list[int], shape: tuple[int, ...], **settings: Any) -> int:
        """A branch with the trunk's quantization, for operators that keep it."""
        return self.add(name, inputs, shape, scale=SCALE, zero_point=ZERO_POINT, **settings)

    def split(self, name: str, inputs: list[int], shapes: list[tuple[int, ...]], **settings: Any) -> None:
        for number, part in enumerate(self.graph.split(name, inputs, shapes, **settings)):
            self.outputs[f"{len(self.outputs)} {name} part {number}"] = part

    def constant(self, shape: tuple[int, ...]) -> int:
        codes = self.rng.integers(-128, 128, shape).astype(np.int8)
        return self.graph.constant(codes, scale=self.scale(), zero_point=self.zero_point())

    def vector(self, *values: int) -> int:
        return self.graph.constant(np.array(values, np.int32))


def arithmetic(b: Branches) -> None:
    for name, options in (("ADD", schema.AddOptionsT), ("SUB", schema.SubOptionsT), ("MUL", schema.MulOptionsT)):
        for activation in range(4):
            b.add(name, [b.trunk, b.other], options=options(fusedActivationFunction=activation))
        b.add(name, [b.trunk, b.trunk], options=options())
        for shape in ((), (1,), (61,), (1, 1, 1, 61), (9, 7, 61), (1, 9, 7, 1), (7, 1), (1, 1, 7, 61)):
            b.add(name, [b.trunk, b.constant(shape)], options=options())
            b.add(name, [b.constant(shape), b.trunk], options=options())


def squeeze_and_excite(b: Branches) -> None:
    for name, options in (("ADD", schema.AddOptionsT), ("SUB", schema.SubOptionsT), ("MUL", schema.MulOptionsT)):
        for axes in ((1, 2), (2, 1), (-3, -2)):
            mean = b.add(
                "MEAN",
                [b.trunk, b.vector(*axes)],
                (1, 1, 1, 61),
                scale=b.scale(0.01, 0.1),
                options=schema.ReducerOptionsT(keepDims=True),
            )
            b.add(name, [b.trunk, mean], options=options())
            b.add(name, [mean, b.trunk], options=options())
    b.add("MEAN", [b.trunk, b.vector(1, 2)], (1, 61), scale=0.004, options=schema.ReducerOptionsT(keepDims=False))


def pooling(b: Branches) -> None:
    for same in (True, False):
        for kernel, stride, activation in (
            ((2, 2), (2, 2), 0),
            ((3, 3), (1, 1), 3),
            ((9, 7), (1, 1), 1),
            ((3, 2), (2, 3), 2),
        ):
            size = [
                -(-n // s) if same else (n - k) // s + 1 for n, k, s in zip(IMAGE[1:3], kernel, stride, strict=True)
            ]
            options = schema.Pool2DOptionsT(
                padding=schema.Padding.SAME if same else schema.Padding.VALID,
                strideH=stride[0],
                strideW=stride[1],
                filterHeight=kernel[0],
                filterWidth=kernel[1],
                fusedActivationFunction=activation,
            )
            for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
                b.as_trunk(name, [b.trunk], (1, *size, 61), options=options)


def tables(b: Branches) -> None:
    for scale in (1 / 256, 1 / 128, 0.01):
        for name in ("LOGISTIC", "TANH"):
            b.add(name, [b.trunk], scale=scale)
    for slope in (0.2, 0.01, -0.7):
        b.add("LEAKY_RELU", [b.trunk], options=schema.LeakyReluOptionsT(alpha=slope))
        b.add("ELU", [b.trunk], version=1)
        b.add("RELU", [b.trunk])
        b.add("RELU6", [b.trunk])
        b.add("RELU_N1_TO_1", [b.trunk], version=1)
        b.add("HARD_SWISH", [b.trunk], version=1, scale=b.scale(0.01, 0.2))
        b.add("QUANTIZE", [b.trunk])
    for beta in (1.0, 0.3):
        options = schema.SoftmaxOptionsT(beta=beta)
        b.add("SOFTMAX", [b.trunk], scale=1 / 256, zero_point=-128, options=options)


def conversions(b: Branches) -> None:
    real = b.add("DEQUANTIZE", [b.trunk], scale=None, dtype=np.float32)
    for _ in range(6):
        again = b.add("QUANTIZE", [real], version=1)
        b.add("DEQUANTIZE", [again], scale=None, dtype=np.float32)
    for _ in range(3):  # floats that only the partition sees, several at a time
        hidden = b.graph.add("DEQUANTIZE", [b.other], IMAGE, dtype=np.float32)
        also_hidden = b.graph.add("DEQUANTIZE", [b.trunk], IMAGE, dtype=np.float32)
        b.add("QUANTIZE", [hidden], version=1)
        b.add("QUANTIZE", [also_hidden], version=1)


def floats(b: Branches) -> None:
    """Between layers of floats; infinities are clamped, and the trunk has none."""
    real, other = (b.graph.add("DEQUANTIZE", [x], IMAGE, dtype=np.float32) for x in (b.trunk, b.other))
    settings: dict[str, Any] = {"scale": None, "dtype": np.float32}
    for name, options in (("ADD", schema.AddOptionsT), ("SUB", schema.SubOptionsT), ("MUL", schema.MulOptionsT)):
        for activation in range(4):
            b.add(name, [real, other], options=options(fusedActivationFunction=activation), **settings)
        for shape in ((), (61,), (1, 1, 1, 61), (1, 9, 7, 1), (7, 1)):
            constant = b.graph.constant(b.rng.normal(0, 2, shape).astype(np.float32))
            b.add(name, [real, constant], options=options(fusedActivationFunction=1), **settings)
            b.add(name, [constant, real], options=options(), **settings)
    for paddings, shape in (
        ([[0, 0], [1, 2], [0, 3], [0, 0]], (1, 12, 10, 61)),
        ([[0, 0], [0, 0], [2, 0], [1, 4]], (1, 9, 9, 66)),
    ):
        b.add("PAD", [real, b.graph.constant(np.array(paddings, np.int32))], shape, **settings)
    tokens = b.add("RESHAPE", [real, b.vector(-1, 63, 61)], (1, 63, 61), version=1, **settings)
    b.add("PAD", [tokens, b.graph.constant(np.array([[0, 0], [1, 1], [2, 0]], np.int32))], (1, 65, 63), **settings)
    for axis, shape in ((3, (1, 9, 7, 183)), (-2, (1, 9, 21, 61))):
        b.add("CONCATENATION", [real, other, real], shape, options=schema.ConcatenationOptionsT(axis=axis), **settings)


def float_functions(b: Branches) -> None:
    """Of floats, near those of the runtime, whose own differ from machine to machine in the last bits."""
    real, other = (b.graph.add("DEQUANTIZE", [x], IMAGE, dtype=np.float32) for x in (b.trunk, b.other))
    settings: dict[str, Any] = {"scale": None, "dtype": np.float32}
    for name in ("LOGISTIC", "TANH", "ELU", "RELU", "RELU6", "RELU_N1_TO_1", "HARD_SWISH"):
        b.add(name, [real], version=1, **settings)
    b.add("LEAKY_RELU", [real], options=schema.LeakyReluOptionsT(alpha=0.2), **settings)
    for beta in (1.0, 0.3):
        b.add("SOFTMAX", [other], options=schema.SoftmaxOptionsT(beta=beta), **settings)
    for keep, shape in ((True, (1, 1, 1, 61)), (False, (1, 61))):
        b.add("MEAN", [real, b.vector(1, 2)], shape, options=schema.ReducerOptionsT(keepDims=keep), **settings)
    for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        for padding, shape, activation in (
            (schema.Padding.SAME, (1, 5, 4, 61), 0),
            (schema.Padding.VALID, (1, 4, 3, 61), 3),
        ):
            pool = schema.Pool2DOptionsT(
                padding=padding, strideH=2, strideW=2, filterHeight=3, filterWidth=2, fusedActivationFunction=activation
            )
            b.add(name, [real], shape, options=pool, **settings)
    transformers(b, real, other, settings)
    b.add("RESHAPE", [real, b.vector(-1, 63, 61)], (1, 63, 61), version=1, **settings)
    expanded = b.add("EXPAND_DIMS", [real, b.graph.constant(np.int32(-2))], (1, 9, 7, 1, 61), version=1, **settings)
    b.add("SQUEEZE", [expanded], IMAGE, version=1, options=schema.SqueezeOptionsT(squeezeDims=[3]), **settings)
    for size in ((18, 14), (5, 3), (20, 9)):
        for align, half in ((False, False), (True, False), (False, True)):
            for name, options in (
                ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT),
                ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT),
            ):
                resize = options(alignCorners=align, halfPixelCenters=half)
                b.add(name, [real, b.vector(*size)], (1, *size, 61), version=3, options=resize, **settings)


def transformers(b: Branches, real: int, other: int, settings: dict[str, Any]) -> None:
    """What stands between the dense layers of a transformer."""
    for approximate in (False, True):
        b.add("GELU", [real], options=schema.GeluOptionsT(approximate=approximate), **settings)
    squared = b.add("SQUARE", [real], version=1, **settings)
    b.add("NEG", [real], version=1, **settings)
    variance = b.add("ADD", [squared, b.graph.constant(np.float32(0.3))], options=schema.AddOptionsT(), **settings)
    for name in ("SQRT", "RSQRT"):
        b.add(name, [variance], version=1, **settings)
    b.add("DIV", [real, variance], options=schema.DivOptionsT(), **settings)
    for name in ("SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM"):
        b.add(name, [real, other], version=2, **settings)
    for axes, shape in (([-1], (1, 9, 7, 1)), ([1], (1, 1, 7, 61)), ([1, 2, 3], (1, 1, 1, 1)), ([3, 2], (1, 9, 1, 1))):
        keep = schema.ReducerOptionsT(keepDims=True)
        mean = b.add("MEAN", [real, b.vector(*axes)], shape, options=keep, **settings)
    b.add("SQUARED_DIFFERENCE", [real, mean], version=2, **settings)
    for order, shape in (((0, 2, 1, 3), (1, 7, 9, 61)), ((0, 2, 3, 1), (1, 7, 61, 9)), ((0, 3, 1, 2), (1, 61, 9, 7))):
        b.add("TRANSPOSE", [real, b.vector(*order)], shape, **settings)
    turned = b.graph.add("TRANSPOSE", [other, b.vector(0, 1, 3, 2)], (1, 9, 61, 7), dtype=np.float32)
    for right, adjoint in ((turned, False), (other, True)):
        options = schema.BatchMatMulOptionsT(adjY=adjoint)
        b.add("BATCH_MATMUL", [real, right], (1, 9, 7, 7), version=1, options=options, **settings)
    slices(b, real, settings)
    splits(b, real, settings)
    for power in (2, 3, 0.5, -0.5):
        base = real if power > 1 else variance
        b.add("POW", [base, b.graph.constant(np.float32(power))], version=1, options=schema.PowOptionsT(), **settings)
    for keep in (False, True):
        for axes, shape in (([1, 2], (1, 1, 1, 61)), ([-1], (1, 9, 7, 1)), ([2], (1, 9, 1, 61))):
            kept = shape if keep else tuple(n for axis, n in enumerate(shape) if axis not in [a % 4 for a in axes])
            for name in ("SUM", "REDUCE_MAX"):
                reducer = schema.ReducerOptionsT(keepDims=keep)
                b.add(name, [real, b.vector(*axes)], kept, options=reducer, **settings)
    rms_norms(b, real, settings)


def rms_norms(b: Branches, x: int, settings: dict[str, Any]) -> None:
    """As Keras writes them, with gamma before the product, and without; the last one's root is read by others too."""
    row, add, multiply = (1, 9, 7, 1), schema.AddOptionsT(), schema.MulOptionsT()
    gamma = b.graph.constant(b.rng.normal(1, 0.2, 61).astype(np.float32))
    for order in ("Keras", "gamma first", "no gamma", "read by others"):
        square = b.graph.add("SQUARE", [x], IMAGE, version=1, dtype=np.float32)
        mean = b.graph.add(
            "MEAN", [square, b.vector(-1)], row, options=schema.ReducerOptionsT(keepDims=True), dtype=np.float32
        )
        epsilon = b.graph.constant(np.float32(1e-3))
        shifted = b.graph.add("ADD", [mean, epsilon], row, options=add, dtype=np.float32)
        root = b.graph.add("RSQRT", [shifted], row, version=1, dtype=np.float32)
        if order == "read by others":
            b.outputs["root"] = root
        factor = root
        if order == "gamma first":
            factor = b.graph.add("MUL", [gamma, root], IMAGE, options=multiply, dtype=np.float32)
        if order == "Keras":
            product = b.graph.add("MUL", [x, factor], IMAGE, options=multiply, dtype=np.float32)
            b.add("MUL", [product, gamma], options=multiply, **settings)
        else:
            b.add("MUL", [factor, x], options=multiply, **settings)


def splits(b: Branches, x: int, settings: dict[str, Any]) -> None:
    for axis, count, shape in ((1, 3, (1, 3, 7, 61)), (-2, 7, (1, 9, 1, 61)), (3, 1, IMAGE)):
        options = schema.SplitOptionsT(numSplits=count)
        b.split("SPLIT", [b.graph.constant(np.int32(axis)), x], [shape] * count, options=options, **settings)
    for axis, sizes in ((3, (20, -1, 11)), (-1, (60, 1)), (1, (2, 3, 4))):
        shapes = [tuple((61 - 31 if n < 0 else n) if i == axis % 4 else IMAGE[i] for i in range(4)) for n in sizes]
        options = schema.SplitVOptionsT(numSplits=len(sizes))
        inputs = [x, b.vector(*sizes), b.graph.constant(np.int32(axis))]
        b.split("SPLIT_V", inputs, shapes, options=options, **settings)


def slices(b: Branches, x: int, settings: dict[str, Any]) -> None:
    b.add("SLICE", [x, b.vector(0, 2, 0, 5), b.vector(-1, 3, 7, 40)], (1, 3, 7, 40), **settings)
    ones = b.vector(1, 1, 1, 1)
    for begin, end, masks, shape in (
        ((0, -2, 0, 0), (0, 0, 7, 61), (0b1101, 0b1111, 0), (1, 2, 7, 61)),
        ((0, 0, 0, 10), (0, -2, 0, 60), (0b0111, 0b0101, 0), (1, 7, 7, 50)),
        ((0, 3, 0, 0), (0, 0, 0, 0), (0b1101, 0b1101, 0b0010), (1, 7, 61)),
    ):
        options = schema.StridedSliceOptionsT(beginMask=masks[0], endMask=masks[1], shrinkAxisMask=masks[2])
        b.add("STRIDED_SLICE", [x, b.vector(*begin), b.vector(*end), ones], shape, options=options, **settings)
    steps = b.vector(1, 2, 3, 1)
    options = schema.StridedSliceOptionsT(beginMask=0b1111, endMask=0b1111)
    b.add("STRIDED_SLICE", [x, ones, ones, steps], (1, 5, 3, 61), options=options, **settings)


def rearranging(b: Branches) -> None:
    kept: dict[str, Any] = {"scale": SCALE, "zero_point": ZERO_POINT}
    slices(b, b.trunk, kept)
    splits(b, b.trunk, kept)
    for axes, shape in (([1, 2], (1, 1, 1, 61)), ([-1], (1, 9, 7, 1)), ([2], (1, 9, 1, 61))):
        b.add("REDUCE_MAX", [b.trunk, b.vector(*axes)], shape, options=schema.ReducerOptionsT(keepDims=True), **kept)
    tokens = b.as_trunk("RESHAPE", [b.trunk, b.vector(-1, 63, 61)], (1, 63, 61), version=1)
    paddings = b.graph.constant(np.array([[0, 0], [2, 1], [0, 3]], np.int32))
    b.as_trunk("PAD", [tokens, paddings], (1, 66, 64))
    for order, shape in (((0, 2, 1, 3), (1, 7, 9, 61)), ((0, 2, 3, 1), (1, 7, 61, 9)), ((0, 3, 1, 2), (1, 61, 9, 7))):
        b.as_trunk("TRANSPOSE", [b.trunk, b.vector(*order)], shape)


def between_dense_layers(b: Branches) -> None:
    """What stands between the dense layers of a full-int8 transformer."""
    for approximate in (False, True):
        for _ in range(3):
            b.add("GELU", [b.trunk], options=schema.GeluOptionsT(approximate=approximate))
    keep = schema.ReducerOptionsT(keepDims=True)
    mean = b.add("MEAN", [b.trunk, b.vector(-1)], (1, 9, 7, 1), scale=0.05, options=keep)
    b.add("SUB", [b.trunk, mean], options=schema.SubOptionsT())
    b.add("SQUARED_DIFFERENCE", [b.trunk, b.other], version=2, scale=b.scale(0.2, 3))
    squares = b.add("SQUARED_DIFFERENCE", [b.trunk, mean], version=2, scale=0.5, zero_point=-128)
    variance = b.add("MEAN", [squares, b.vector(3)], (1, 9, 7, 1), scale=0.2, zero_point=-128, options=keep)
    for axes, shape in (([2], (1, 9, 1, 61)), ([1], (1, 1, 7, 61)), ([1, 2, 3], (1, 1, 1, 1)), ([3, 2], (1, 9, 1, 1))):
        b.add("MEAN", [b.trunk, b.vector(*axes)], shape, scale=b.scale(0.01, 0.1), options=keep)
    tokens = b.as_trunk("RESHAPE", [b.trunk, b.vector(-1, 63, 61)], (1, 63, 61), version=1)
    b.add("MEAN", [tokens, b.vector(1)], (1, 61), scale=0.02, options=schema.ReducerOptionsT(keepDims=False))
    epsilon = b.graph.constant(np.int8(127), scale=1e-7, zero_point=int(b.rng.integers(-128, 0)))
    for name, options in (("ADD", schema.AddOptionsT), ("SUB", schema.SubOptionsT)):
        for activation in (0, 1):
            shift = options(fusedActivationFunction=activation)
            b.add(name, [variance, epsilon], (1, 9, 7, 1), scale=0.2, zero_point=-128, options=shift)
    for scale in (0.002, 0.01, 0.05):
        root = b.add("RSQRT", [squares], version=2, scale=scale)
        b.add("MUL", [b.trunk, root], options=schema.MulOptionsT())
    products(b)


def products(b: Branches) -> None:
    """Of the trunk by another tensor, as it is and with its axes in another order, which the product takes over."""
    kept, scales = {"scale": 0.07, "zero_point": 9}, (0.5, 2.0, 40.0)
    turned = b.graph.add("TRANSPOSE", [b.other, b.vector(0, 1, 3, 2)], (1, 9, 61, 7), **kept)
    b.outputs["turned"] = turned
    only = b.graph.add("TRANSPOSE", [b.other, b.vector(0, 1, 3, 2)], (1, 9, 61, 7), **kept)
    for right, adjoint, scale in ((turned, False, scales[0]), (b.other, True, scales[1]), (only, False, scales[2])):
        options = schema.BatchMatMulOptionsT(adjY=adjoint)
        b.add("BATCH_MATMUL", [b.trunk, right], (1, 9, 7, 7), version=3, scale=scale, options=options)
    scores = b.add("BATCH_MATMUL", [b.trunk, turned], (1, 9, 7, 7), version=3, scale=0.8, options=options)
    heads = b.graph.add("TRANSPOSE", [b.other, b.vector(0, 3, 1, 2)], (1, 61, 9, 7), **kept)
    queries = b.graph.add(
        "TRANSPOSE", [b.trunk, b.vector(0, 2, 1, 3)], (1, 7, 9, 61), scale=SCALE, zero_point=ZERO_POINT
    )
    keys = b.graph.add("TRANSPOSE", [b.other, b.vector(0, 2, 3, 1)], (1, 7, 61, 9), **kept)
    options = schema.BatchMatMulOptionsT()
    plain = b.graph.add(
        "BATCH_MATMUL", [queries, keys], (1, 7, 9, 9), version=3, scale=0.6, zero_point=3, options=options
    )
    b.add("TRANSPOSE", [plain, b.vector(0, 2, 1, 3)], (1, 9, 7, 9), scale=0.6, zero_point=3)
    b.add("BATCH_MATMUL", [scores, b.other], version=3, scale=9.0, options=options)
    centred = [b.add("QUANTIZE", [x], zero_point=0, scale=0.1) for x in (b.trunk, b.other)]
    for left, right, zero_point in ((*centred, 0), (b.trunk, centred[1], -3), (centred[0], b.other, 0)):
        adjoint = schema.BatchMatMulOptionsT(adjY=True)
        b.add(
            *("BATCH_MATMUL", [left, right], (1, 9, 7, 7)), version=3, scale=1.7, zero_point=zero_point, options=adjoint
        )
    b.outputs["heads"] = heads


def movement(b: Branches) -> None:
    for axis, shape, count in (
        (3, (1, 9, 7, 122), 2),
        (-1, (1, 9, 7, 183), 3),
        (1, (1, 54, 7, 61), 6),
        (2, (1, 9, 14, 61), 2),
    ):
        b.as_trunk("CONCATENATION", [b.trunk] * count, shape, options=schema.ConcatenationOptionsT(axis=axis))
    padded = b.as_trunk(
        "PAD", [b.trunk, b.graph.constant(np.array([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32))], (1, 12, 10, 61)
    )
    b.as_trunk("CONCATENATION", [padded, padded], (1, 24, 10, 61), options=schema.ConcatenationOptionsT(axis=1))
    b.as_trunk("RESHAPE", [b.trunk, b.vector(-1, 63, 61)], (1, 63, 61), version=1)
    expanded = b.as_trunk("EXPAND_DIMS", [b.trunk, b.graph.constant(np.int32(-2))], (1, 9, 7, 1, 61), version=1)
    for axes in ([3], [-2], []):
        b.as_trunk("SQUEEZE", [expanded], IMAGE, version=1, options=schema.SqueezeOptionsT(squeezeDims=axes))


def resizing(b: Branches) -> None:
    for size in ((18, 14), (5, 3), (1, 1), (20, 9)):
        for align, half in ((False, False), (True, False), (False, True)):
            for name, options in (
                ("RESIZE_BILINEAR", schema.ResizeBilinearOptionsT),
                ("RESIZE_NEAREST_NEIGHBOR", schema.ResizeNearestNeighborOptionsT),
            ):
                settings = options(alignCorners=align, halfPixelCenters=half)
                b.as_trunk(name, [b.trunk, b.vector(*size)], (1, *size, 61), version=3, options=settings)


FAMILIES = [
    *(arithmetic, squeeze_and_excite, pooling, tables, conversions, floats, movement, rearranging, resizing),
    between_dense_layers,
]


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """float32 [3, 9, 7, 61], beyond both ends of the codes, and what is no number."""
    images = np.random.default_rng(3).normal(0, 1.2, (3, *IMAGE[1:])).astype(np.float32)
    images[0, 0, 0, :4] = [np.inf, -np.inf, np.nan, 1e30]
    return images


@pytest.fixture(scope="session")
def litert(worker_of: Any) -> Any:
    if "ai-edge-litert" not in installed_runtimes():
        pytest.skip("ai-edge-litert is not installed, and only its XNNPACK takes int8 on x86")
    return worker_of("ai-edge-litert")


@pytest.fixture(scope="session")
def stock_litert(litert: Any, native_worker_of: Any) -> Any:
    """On this machine even where jobs run on an emulated Arm CPU, and this library's results too must be those of x86.

    LiteRT's own are others there where the input is NaN, and by one, now and then, in SOFTMAX.
    """
    return native_worker_of("ai-edge-litert")


def assert_same(got: list[np.ndarray], wanted: list[np.ndarray], names: list[str]) -> None:
    assert len(got) == len(wanted) == len(names)
    for a, b, name in zip(got, wanted, names, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_are_those_of_litert_bit_for_bit(
    family: Callable[[Branches], None],
    seed: int,
    litert: Any,
    stock_litert: Any,
    runtimes: tuple[str, ...],
    worker_of: Any,
    images: np.ndarray,
    tmp_path: Path,
) -> None:
    branches = Branches(seed)
    family(branches)
    outputs = {"trunk": branches.trunk} | branches.outputs
    nq.convert(branches.graph.build(list(outputs.values())), tmp_path / "nested.tflite", "8|5", rounding="nearest")
    nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite", "full")
    assert litert(delegation_jobs.is_one_partition, tmp_path / "nested.tflite")
    for batch in (1, 3):
        wanted = stock_litert(jobs.all_outputs, tmp_path / "stock.tflite", images[:batch])
        assert batch == 1 or len(np.unique(wanted[0])) == 256
        for threads in (1, 2):
            got = litert(
                jobs.all_outputs, tmp_path / "nested.tflite", images[:batch], precision="full", threads=threads
            )
            assert_same(got, wanted, list(outputs))
    for runtime in runtimes:
        got = worker_of(runtime)(jobs.all_outputs, tmp_path / "nested.tflite", images, precision="full", threads=3)
        assert_same(got, wanted, list(outputs))


@pytest.mark.parametrize("batch", [1, 3])
def test_functions_of_floats_are_near_those_of_litert(
    batch: int, litert: Any, stock_litert: Any, images: np.ndarray, tmp_path: Path
) -> None:
    b = Branches(6)
    float_functions(b)
    nq.convert(b.graph.build(list(b.outputs.values())), tmp_path / "nested.tflite", "8|5", rounding="nearest")
    nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite", "full")
    assert litert(delegation_jobs.is_one_partition, tmp_path / "nested.tflite")
    wanted = stock_litert(jobs.all_outputs, tmp_path / "stock.tflite", images[:batch])
    options: dict[str, Any] = {"precision": "full"}
    one, two = (
        litert(jobs.all_outputs, tmp_path / "nested.tflite", images[:batch], threads=threads, **options)
        for threads in (1, 2)
    )
    assert_same(two, one, list(b.outputs))
    for got, exact, name in zip(one, wanted, b.outputs, strict=True):
        atol = 2e-6 * max(1.0, float(np.abs(exact).max()))  # products of matrices may cancel
        np.testing.assert_allclose(got, exact, rtol=2e-6, atol=atol, err_msg=name)


def test_what_stays_with_the_runtime_is_right_too(
    litert: Any, stock_litert: Any, images: np.ndarray, tmp_path: Path
) -> None:
    b = Branches(5)
    options = schema.ReducerOptionsT(keepDims=True)
    apart = b.add("MEAN", [b.trunk, b.vector(1, 3)], (1, 1, 7, 1), scale=0.02, options=options)
    b.add("MUL", [b.trunk, apart], options=schema.MulOptionsT())
    b.add("MUL", [b.trunk, b.other], scale=1e-5, options=schema.MulOptionsT())
    moved = b.as_trunk("TRANSPOSE", [b.trunk, b.vector(0, 2, 1, 3)], (1, 7, 9, 61))
    b.add("LOGISTIC", [moved], (1, 7, 9, 61), scale=1 / 256, zero_point=-128)
    nq.convert(b.graph.build(list(b.outputs.values())), tmp_path / "nested.tflite", "8|5", rounding="nearest")
    nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite", "full")
    assert not litert(delegation_jobs.is_one_partition, tmp_path / "nested.tflite")
    wanted = stock_litert(jobs.all_outputs, tmp_path / "stock.tflite", images)
    got = litert(jobs.all_outputs, tmp_path / "nested.tflite", images, precision="full", threads=2)
    assert_same(got, wanted, list(b.outputs))


def test_a_token_before_those_of_an_image(litert: Any, stock_litert: Any, images: np.ndarray, tmp_path: Path) -> None:
    """A constant is concatenated with what is computed, which fixes the batch."""
    b = Branches(7)
    token = b.rng.integers(-128, 128, (1, 9, 2, 61)).astype(np.int8)
    inputs = [b.graph.constant(token, scale=SCALE, zero_point=ZERO_POINT), b.trunk]
    b.as_trunk("CONCATENATION", inputs, (1, 9, 9, 61), options=schema.ConcatenationOptionsT(axis=2))
    nq.convert(b.graph.build(list(b.outputs.values())), tmp_path / "nested.tflite", "8|5", rounding="nearest")
    nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite", "full")
    assert litert(delegation_jobs.is_one_partition, tmp_path / "nested.tflite")
    wanted = stock_litert(jobs.all_outputs, tmp_path / "stock.tflite", images[:1])
    got = litert(jobs.all_outputs, tmp_path / "nested.tflite", images[:1], precision="full", threads=2)
    assert_same(got, wanted, list(b.outputs))


def finite(images: np.ndarray) -> np.ndarray:
    return np.nan_to_num(images, nan=0, posinf=3, neginf=-3).clip(-3, 3)


@pytest.fixture(scope="session")
def modern(images: np.ndarray) -> Any:
    """What has swish, squeeze-and-excite, dense blocks, pyramids and heads, in Keras."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    image = keras.Input(images.shape[1:], name="image")
    x = layers.Conv2D(64, 3, padding="same", activation="swish")(layers.Rescaling(0.7, 0.1)(image))
    squeezed = layers.Reshape((1, 1, 64))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(64, 1, activation="sigmoid")(layers.Conv2D(64, 1, activation="hard_silu")(squeezed))
    x = layers.Multiply()([x, gate])
    half = layers.AveragePooling2D(2, padding="same")(x)
    up = layers.Conv2D(64, 1)(layers.UpSampling2D(2, interpolation="bilinear")(half))
    x = layers.Concatenate()([x, layers.LeakyReLU(0.1)(layers.Conv2D(64, 1)(x))])
    x = layers.Subtract()([layers.Conv2D(64, 1)(x), layers.Conv2D(64, 1, activation="tanh")(x)])
    head = layers.Dense(80, "softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=4))
    classes = head(layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True)(x)))
    return keras.Model(image, [up, layers.Reshape((63, 64))(x), classes])


@pytest.fixture(scope="session")
def modern_int8(modern: Any, images: np.ndarray) -> bytes:
    return export(modern, sample_source(finite(images)))


def test_keras_graphs_of_floats(
    litert: Any, runtimes: tuple[str, ...], worker_of: Any, modern: Any, images: np.ndarray, tmp_path: Path
) -> None:
    """In one piece at dynamic range too, near the exact results, and the same bytes under every runtime."""
    nq.convert(export(modern, None), tmp_path / "nested.tflite", "8|5", rounding="nearest")
    assert litert(delegation_jobs.is_one_partition, tmp_path / "nested.tflite")
    given = finite(images)
    exact = litert(jobs.all_outputs, tmp_path / "nested.tflite", given, precision="full", fuse=False)
    got = litert(jobs.all_outputs, tmp_path / "nested.tflite", given, precision="full")
    for near, wanted in zip(got, exact, strict=True):
        assert np.square(near - wanted).sum() < 1e-3 * np.square(wanted).sum()
    for runtime in runtimes:
        again = worker_of(runtime)(jobs.all_outputs, tmp_path / "nested.tflite", given, precision="full", threads=2)
        assert_same(again, got, [str(a.shape) for a in got])


@pytest.mark.parametrize("precision", ["full", "part"])
def test_keras_graphs(
    precision: str, litert: Any, stock_litert: Any, modern_int8: bytes, images: np.ndarray, tmp_path: Path
) -> None:
    nq.convert(modern_int8, tmp_path / "nested.tflite", "8|5", rounding="nearest")
    nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite", precision)
    assert litert(delegation_jobs.is_one_partition, tmp_path / "nested.tflite")
    for batch in (1, 3):
        wanted = stock_litert(jobs.all_outputs, tmp_path / "stock.tflite", images[:batch])
        got = litert(jobs.all_outputs, tmp_path / "nested.tflite", images[:batch], precision=precision, threads=2)
        assert_same(got, wanted, [str(a.shape) for a in wanted])
        assert min(len(np.unique(a)) for a in wanted) > 8, [len(np.unique(a)) for a in wanted]
