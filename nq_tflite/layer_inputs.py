"""What a layer's weight multiplies: rows of its inputs, sampled from the whole feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite import flatbuffer as fb
from nq_tflite.flatbuffer import schema

Rows = NDArray[np.float32]

#: Rows sampled from all images; more cost time and change little.
MOST_ROWS = 8192
MOST_DEPTHWISE_ROWS = 1600
_SAME = 0


@dataclass(frozen=True)
class Window:
    """A convolution's window over [batch, height, width, inputs]."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    same: bool

    def places(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(rows, columns) of the output, and the padding before the first row and column."""
        sizes, before = [], []
        for size, kernel, stride, dilation in zip(
            (height, width), self.kernel, self.stride, self.dilation, strict=True
        ):
            reach = (kernel - 1) * dilation + 1
            count = -(-size // stride) if self.same else (size - reach) // stride + 1
            sizes.append(count)
            before.append(max((count - 1) * stride + reach - size, 0) // 2 if self.same else 0)
        return (sizes[0], sizes[1]), (before[0], before[1])


@dataclass(frozen=True)
class Layer:
    """An operator with a weight [channels, depth].

    Attributes:
        groups: how many runs of channels read different inputs: 1, the groups of a convolution, or the inputs of a
            depthwise one.
        depth: weights of a channel.
        window: None for a dense layer.
    """

    groups: int
    depth: int
    window: Window | None

    @property
    def depthwise(self) -> bool:
        """Whether every group reads one input alone."""
        return (
            self.window is not None and self.depth == self.window.kernel[0] * self.window.kernel[1] and self.groups > 1
        )

    @property
    def taps(self) -> int:
        """Spatial size of a kernel."""
        return 1 if self.window is None else self.window.kernel[0] * self.window.kernel[1]


def layer_of(model: Any, position: int) -> Layer:
    """The layer that an operator of the main subgraph is: CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED."""
    subgraph = model.subgraphs[0]
    operator = subgraph.operators[position]
    data, weight = (fb.shape(subgraph.tensors[index]) for index in fb.indices(operator.inputs)[:2])
    options = operator.builtinOptions
    code = fb.builtin_code(model, operator)
    if code == schema.BuiltinOperator.FULLY_CONNECTED:
        return Layer(1, weight[1], None)
    window = Window(
        kernel=(weight[1], weight[2]),
        stride=(options.strideH, options.strideW),
        dilation=(options.dilationHFactor or 1, options.dilationWFactor or 1),
        same=options.padding == _SAME,
    )
    if code == schema.BuiltinOperator.DEPTHWISE_CONV_2D:
        return Layer(data[3], weight[1] * weight[2], window)
    return Layer(data[3] // weight[3], weight[1] * weight[2] * weight[3], window)


def sample_rows(layer: Layer, inputs: Sequence[Rows], seed: int) -> Rows:
    """Rows that the weight's channels are multiplied by, at places that depend on shapes and the seed alone.

    Args:
        inputs: real inputs of the layer, one array a sample.

    Returns:
        [groups, rows, depth]
    """
    random = np.random.default_rng(seed)
    if layer.window is None:
        flat = np.concatenate([values.reshape(-1, layer.depth) for values in inputs])
        return np.asarray(flat[_choose(random, len(flat), MOST_ROWS)][None])
    (out_h, out_w), _ = layer.window.places(*inputs[0].shape[1:3])
    a_map = inputs[0].shape[0] * out_h * out_w
    most = MOST_DEPTHWISE_ROWS if layer.depthwise else MOST_ROWS
    chosen = _choose(random, len(inputs) * a_map, most)
    bounds = np.searchsorted(chosen, np.arange(len(inputs) + 1) * a_map)
    rows = [
        _windows(layer.window, values, chosen[begin:end] - number * a_map)
        for number, (values, begin, end) in enumerate(zip(inputs, bounds, bounds[1:], strict=False))
        if end > begin
    ]
    return _by_group(np.concatenate(rows), layer.groups)


def _choose(random: np.random.Generator, count: int, most: int) -> NDArray[np.int64]:
    if count <= most:
        return np.arange(count)
    return np.sort(random.choice(count, most, replace=False))


def _windows(window: Window, values: Rows, places: NDArray[np.int64]) -> Rows:
    """[rows, taps, inputs] of one sample."""
    height, width = values.shape[1:3]
    (out_h, out_w), (top, left) = window.places(height, width)
    batch, place = np.divmod(places, out_h * out_w)
    y, x = np.divmod(place, out_w)
    at_y = (y * window.stride[0] - top)[:, None] + np.arange(window.kernel[0]) * window.dilation[0]
    at_x = (x * window.stride[1] - left)[:, None] + np.arange(window.kernel[1]) * window.dilation[1]
    at_y, at_x = at_y[:, :, None], at_x[:, None, :]
    inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
    rows = values[batch[:, None, None], at_y.clip(0, height - 1), at_x.clip(0, width - 1)]
    rows[~inside] = 0.0
    return np.asarray(rows.reshape(len(places), -1, values.shape[3]))


def _by_group(rows: Rows, groups: int) -> Rows:
    """[rows, taps, inputs] -> [groups, rows, taps * inputs of a group]."""
    count, taps, inputs = rows.shape
    if groups == 1:
        return rows.reshape(1, count, -1)
    split = rows.reshape(count, taps, groups, inputs // groups).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(split).reshape(groups, count, -1)
