"""The small nested models that fuzzing starts from, one for each family of operators that the plugin takes.

    python tests/fuzz/seeds.py custom_ops/fuzz/seeds

The files are kept in the repository: inputs of the native fuzzer name bytes of theirs, so new ones would change what
every kept input means. Add a model at the end of the alphabet rather than change one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from graphs import Graph

import nq_tflite as nq
from nq_tflite.graph.flatbuffer import schema

CHANNELS = 16
IMAGE = (1, 5, 4, CHANNELS)
SAME = schema.Padding.SAME


def codes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-127, 128, shape).astype(np.int8)


def layers() -> bytes:
    """int8: convolutions of both kinds, a dense layer, and what joins them."""
    rng, graph = np.random.default_rng(1), Graph()
    scales = rng.uniform(0.5, 2, CHANNELS) / 127
    biases = rng.integers(-50, 50, CHANNELS).astype(np.int32)
    x = graph.input(IMAGE, scale=0.05, zero_point=3)
    weight = graph.constant(codes(rng, CHANNELS, 3, 2, CHANNELS), scale=scales)
    options: Any = schema.Conv2DOptionsT(padding=SAME, strideW=1, strideH=1, dilationWFactor=1, dilationHFactor=1)
    tensors = [x, weight, graph.constant(biases, scale=scales * 0.05)]
    y = graph.add("CONV_2D", tensors, IMAGE, scale=0.1, zero_point=-4, version=3, options=options)
    weight = graph.constant(codes(rng, 1, 3, 3, CHANNELS), scale=scales, axis=3)
    options = schema.DepthwiseConv2DOptionsT(
        padding=SAME, strideW=1, strideH=1, depthMultiplier=1, dilationWFactor=1, dilationHFactor=1
    )
    tensors = [y, weight, graph.constant(biases, scale=scales * 0.1)]
    z = graph.add("DEPTHWISE_CONV_2D", tensors, IMAGE, scale=0.1, zero_point=7, version=3, options=options)
    total = graph.add("ADD", [y, z], IMAGE, scale=0.2, zero_point=1, options=schema.AddOptionsT())
    axes = graph.constant(np.array([1, 2], np.int32))
    keep = schema.ReducerOptionsT(keepDims=False)
    mean = graph.add("MEAN", [total, axes], (1, CHANNELS), scale=0.1, zero_point=-2, options=keep)
    weight = graph.constant(codes(rng, 32, CHANNELS), scale=np.repeat(scales, 2))
    dense = graph.add(
        "FULLY_CONNECTED", [mean, weight, -1], (1, 32), scale=0.3, version=6, options=schema.FullyConnectedOptionsT()
    )
    options = schema.SoftmaxOptionsT(beta=1.0)
    return graph.build([graph.add("SOFTMAX", [dense], (1, 32), scale=1 / 256, zero_point=-128, options=options)])


def between() -> bytes:
    """int8: the operators between layers, each once, behind one convolution and before another."""
    graph, form = Graph(), {"scale": 0.11, "zero_point": -5}
    trunk = graph.convolution(graph.input(IMAGE, scale=0.05, zero_point=3), IMAGE, CHANNELS, seed=1, **form)
    pool = schema.Pool2DOptionsT(padding=SAME, strideW=1, strideH=1, filterWidth=2, filterHeight=2)
    outputs = [graph.add(name, [trunk], IMAGE, options=pool, **form) for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D")]
    for name in ("RELU", "RELU6", "RELU_N1_TO_1", "HARD_SWISH", "ELU"):
        outputs.append(graph.add(name, [trunk], IMAGE, scale=0.07, version=1))
    outputs.append(graph.add("LEAKY_RELU", [trunk], IMAGE, scale=0.1, options=schema.LeakyReluOptionsT(alpha=0.2)))
    for name in ("LOGISTIC", "TANH"):
        outputs.append(graph.add(name, [trunk], IMAGE, scale=1 / 128))
    real = graph.add("DEQUANTIZE", [trunk], IMAGE, dtype=np.float32)
    outputs.append(graph.add("QUANTIZE", [real], IMAGE, scale=0.2, version=1))
    outputs.append(graph.add("SUB", [trunk, outputs[0]], IMAGE, scale=0.3, options=schema.SubOptionsT()))
    outputs.append(graph.add("MUL", [trunk, outputs[1]], IMAGE, scale=0.3, options=schema.MulOptionsT()))
    pads = graph.constant(np.array([[0, 0], [1, 0], [0, 2], [0, 0]], np.int32))
    padded = graph.add("PAD", [trunk, pads], (1, 6, 6, CHANNELS), **form)
    options = schema.ConcatenationOptionsT(axis=3)
    outputs.append(graph.add("CONCATENATION", [trunk, trunk], (1, 5, 4, 2 * CHANNELS), options=options, **form))
    size = graph.constant(np.array([7, 3], np.int32))
    for name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        options = getattr(schema, name.title().replace("_", "") + "OptionsT")(halfPixelCenters=True)
        outputs.append(graph.add(name, [trunk, size], (1, 7, 3, CHANNELS), version=3, options=options, **form))
    flat = graph.add("RESHAPE", [trunk, graph.constant(np.array([1, -1], np.int32))], (1, 320), version=1, **form)
    wide = graph.add("EXPAND_DIMS", [flat, graph.constant(np.int32(1))], (1, 1, 320), version=1, **form)
    outputs.append(graph.add("SQUEEZE", [wide], (1, 320), version=1, options=schema.SqueezeOptionsT([1]), **form))
    return graph.build([*outputs, graph.convolution(padded, (1, 6, 6, CHANNELS), CHANNELS, seed=2, **form)])


def floats() -> bytes:
    """float32: layers that run at dynamic range, and what joins them."""
    rng, graph, real = np.random.default_rng(3), Graph(), {"dtype": np.float32, "version": 1}
    x = graph.input(IMAGE)
    weight = graph.constant(rng.normal(size=(CHANNELS, 2, 2, CHANNELS)).astype(np.float32))
    bias = graph.constant(rng.normal(size=CHANNELS).astype(np.float32))
    options: Any = schema.Conv2DOptionsT(padding=SAME, strideW=1, strideH=1, dilationWFactor=1, dilationHFactor=1)
    y = graph.add("CONV_2D", [x, weight, bias], IMAGE, options=options, **real)
    weight = graph.constant(rng.normal(size=(1, 3, 3, CHANNELS)).astype(np.float32))
    options = schema.DepthwiseConv2DOptionsT(
        padding=SAME, strideW=1, strideH=1, depthMultiplier=1, dilationWFactor=1, dilationHFactor=1
    )
    z = graph.add("DEPTHWISE_CONV_2D", [y, weight, bias], IMAGE, options=options, **real)
    y = graph.add("ADD", [y, z], IMAGE, options=schema.AddOptionsT(fusedActivationFunction=1), **real)
    pads = graph.constant(np.array([[0, 0], [1, 0], [0, 2], [0, 0]], np.int32))
    y = graph.add("PAD", [y, pads], (1, 6, 6, CHANNELS), **real)
    options = schema.ConcatenationOptionsT(axis=3)
    y = graph.add("CONCATENATION", [y, y], (1, 6, 6, 2 * CHANNELS), options=options, **real)
    weight = graph.constant(rng.normal(size=(CHANNELS, 2 * CHANNELS)).astype(np.float32))
    options = schema.FullyConnectedOptionsT(fusedActivationFunction=3, keepNumDims=True)
    settings = {"dtype": np.float32, "version": 5, "options": options}
    return graph.build([graph.add("FULLY_CONNECTED", [y, weight, bias], (1, 6, 6, CHANNELS), **settings)])


def lookups() -> bytes:
    """A table that GATHER and a dense layer read, and one of EMBEDDING_LOOKUP."""
    rng, graph = np.random.default_rng(4), Graph()
    indices = graph.input((3,), dtype=np.int32)
    table = graph.constant(codes(rng, 20, 36), scale=0.05)
    rows = graph.add("GATHER", [table, indices], (3, 36), scale=0.05, options=schema.GatherOptionsT(axis=0))
    options = schema.FullyConnectedOptionsT()
    products = graph.add("FULLY_CONNECTED", [rows, table, -1], (3, 20), scale=1.5, version=6, options=options)
    table = graph.constant(rng.normal(size=(20, 12)).astype(np.float32))
    outputs = [products, graph.add("EMBEDDING_LOOKUP", [indices, table], (3, 12), dtype=np.float32, version=1)]
    return graph.build(outputs)


def unpacked() -> bytes:
    """Weights of operators that only the runtime has kernels for."""
    rng, graph = np.random.default_rng(5), Graph()
    x = graph.input(IMAGE, scale=0.05, zero_point=3)
    weight = graph.constant(codes(rng, CHANNELS, 2, 2, CHANNELS), scale=rng.uniform(0.5, 2, CHANNELS) / 127)
    shape = graph.constant(np.array([1, 10, 8, CHANNELS], np.int32))
    options = schema.TransposeConvOptionsT(padding=SAME, strideW=2, strideH=2)
    y = graph.add("TRANSPOSE_CONV", [shape, weight, x], (1, 10, 8, CHANNELS), scale=0.2, version=3, options=options)
    return graph.build([y, graph.convolution(x, IMAGE, 20, seed=3, scale=0.2, zero_point=1)])


def shapes() -> bytes:
    """int8: a shape that is computed from a shape, and a layer whose weight is not nested."""
    graph, numbers = Graph(), {"dtype": np.int32, "version": 1}
    form = {"scale": 0.11, "zero_point": -5}
    x = graph.convolution(graph.input(IMAGE, scale=0.05, zero_point=3), IMAGE, CHANNELS, seed=1, **form)
    shape = graph.add("SHAPE", [x], (4,), options=schema.ShapeOptionsT(outType=2), **numbers)
    begin, end, step = (graph.constant(np.array([value], np.int32)) for value in (0, 1, 1))
    options: Any = schema.StridedSliceOptionsT(shrinkAxisMask=1)
    batch = graph.add("STRIDED_SLICE", [shape, begin, end, step], (), options=options, **numbers)
    options = schema.PackOptionsT(valuesCount=4)
    one, rest, channels = (graph.constant(np.int32(value)) for value in (1, 20, CHANNELS))
    packed = graph.add("PACK", [batch, one, rest, channels], (4,), options=options, **numbers)
    flat = graph.add("RESHAPE", [x, packed], (1, 1, 20, CHANNELS), version=1, **form)
    return graph.build([graph.convolution(flat, (1, 1, 20, CHANNELS), CHANNELS, seed=9, **form)])


#: By file name, in the order that inputs number them: what is converted, and how.
SEEDS = {
    "a_layers": (layers, "8|5"),
    "b_between": (between, "6|4"),
    "c_floats": (floats, "8|6|4"),
    "d_lookups": (lookups, "8|4"),
    "e_unpacked": (unpacked, "8|7|6|5|4|3|2"),
    "f_shapes": (shapes, "8|5"),
}


def write_seeds(folder: Path) -> None:
    """Writes those that are missing."""
    for name, (graph, nesting) in SEEDS.items():
        path = folder / f"{name}.tflite"
        if not path.exists():
            nq.convert(graph(), path, nesting, include="*")
            print(path, path.stat().st_size)


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
