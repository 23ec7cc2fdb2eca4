"""Nets in which the runtimes' own planner overwrites a tensor that is still to be read (LiteRT#8889 and #8928)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.graph.flatbuffer import schema

SHAPE, CHANNELS = (1, 4, 1, 64), 64


class Net(Graph):
    """A residual net of 1x1 convolutions on [4, 1, 64], full-int8 or float."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._scale = 0.1 if kind == "int8" else None
        self.image = self.input(SHAPE, scale=self._scale)

    def conv(self, x: int, seed: int) -> int:
        if self._scale is not None:
            return self.convolution(x, SHAPE, CHANNELS, seed=seed, scale=self._scale, zero_point=0)
        rng = np.random.default_rng(seed)
        weight = rng.normal(0, 0.2, (CHANNELS, 1, 1, CHANNELS)).astype(np.float32)
        tensors = [x, self.constant(weight), self.constant(np.zeros(CHANNELS, np.float32))]
        options = schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)
        return self.add("CONV_2D", tensors, SHAPE, dtype=np.float32, version=1, options=options)

    def sum(self, a: int, b: int, shape: tuple[int, ...] = SHAPE) -> int:
        return self._add("ADD", [a, b], shape, schema.AddOptionsT(potScaleInt16=False))

    def product(self, a: int, b: int, shape: tuple[int, ...]) -> int:
        return self._add("MUL", [a, b], shape, schema.MulOptionsT())

    def reshape(self, x: int, shape: tuple[int, ...]) -> int:
        options = schema.ReshapeOptionsT(newShape=list(shape))
        return self._add("RESHAPE", [x, self.constant(np.array(shape, np.int32))], shape, options)

    def twos(self, shape: tuple[int, ...]) -> int:
        values = np.full(shape, 2, np.float32) if self._scale is None else np.full(shape, 20, np.int8)
        return self.constant(values, scale=self._scale)

    def _add(self, name: str, inputs: list[int], shape: tuple[int, ...], options: Any) -> int:
        version = 1 if self._scale is None or name == "RESHAPE" else 2
        dtype = np.float32 if self._scale is None else np.int8
        return self.add(name, inputs, shape, scale=self._scale, dtype=dtype, version=version, options=options)


def sum_read_after_its_reshape(net: Net) -> tuple[int, int]:
    """ADD writes over its input, RESHAPE names the sum anew, MUL writes over that, and then the sum is read."""
    total = net.sum(net.conv(net.image, 1), net.conv(net.image, 2))
    renamed = net.reshape(total, (4, 64))
    doubled = net.reshape(net.product(renamed, net.twos((4, 64)), (4, 64)), SHAPE)
    return net.sum(total, net.conv(doubled, 3)), renamed


def reshape_of_a_reshape(net: Net) -> tuple[int, int]:
    """RESHAPE names a layer's output anew, and another one that; MUL writes over it, then the first name is read."""
    first = net.reshape(net.conv(net.image, 1), (4, 64))
    renamed = net.reshape(first, (8, 32))
    doubled = net.reshape(net.product(renamed, net.twos((8, 32)), (8, 32)), SHAPE)
    return net.sum(first, net.reshape(net.conv(doubled, 3), (4, 64)), (4, 64)), renamed


@pytest.mark.parametrize("form", [sum_read_after_its_reshape, reshape_of_a_reshape])
@pytest.mark.parametrize("kind", ["int8", "float"])
def test_what_is_still_to_be_read_is_not_overwritten(worker: Any, tmp_path: Path, kind: str, form: Any) -> None:
    """An output of the model is never overwritten: with the renamed tensor as one, the stock file computes rightly."""
    paths = {"net": tmp_path / "net.tflite", "safe": tmp_path / "safe.tflite"}
    for name, path in paths.items():
        net = Net(kind)
        output, renamed = form(net)
        content = net.build([output, renamed] if name == "safe" else [output])
        nq.convert(content, path, "8|5", rounding="nearest")
    x = np.random.default_rng(4).normal(0, 1, SHAPE)
    x = x.astype(np.float32) if kind == "float" else np.clip(np.rint(x / 0.1), -128, 127).astype(np.int8)
    for precision in ("full", "part"):
        nq.extract(paths["safe"], tmp_path / "stock.tflite", precision)
        wanted = worker(jobs.run_stock, tmp_path / "stock.tflite", x)
        for fuse, builtin in ((False, True), (False, False), (True, True)):
            options = {"builtin": builtin, "fuse": fuse}
            [got] = worker(jobs.run_nested, paths["net"], x, [precision], **options)
            least = 20 if fuse or not builtin else 100
            assert signal_to_noise_db(wanted, got) >= least, (precision, options)
