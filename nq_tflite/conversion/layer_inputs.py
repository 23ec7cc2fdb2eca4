"""What a layer's weight multiplies: rows of its inputs, sampled from the whole feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array, schema
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.readers import slots_of

#: Rows sampled from all images; more cost time and change little.
MOST_ROWS = 8192
MOST_DEPTHWISE_ROWS = 1600
#: Rows that are put in another order together: a third of the time that all at once take.
_IN_CACHE = 32
_SAME = 0


@dataclass(frozen=True)
class Window:
    """A convolution's window over [batch, height, width, inputs].

    Attributes:
        transposed: whether it is a transposed convolution's, whose stride spreads the inputs.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    same: bool
    transposed: bool = False

    def places(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(rows, columns) of the output, and the padding before the first row and column."""
        sizes, before = [], []
        for size, kernel, stride, dilation in zip(
            (height, width), self.kernel, self.stride, self.dilation, strict=True
        ):
            reach = (kernel - 1) * dilation + 1
            if self.transposed:
                whole = (size - 1) * stride + reach
                sizes.append(size * stride if self.same else whole)
                before.append(max(whole - sizes[-1], 0) // 2)
                continue
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


def layer_of(model: ModelT, position: int) -> Layer:
    """The layer that an operator of the main subgraph is, if it multiplies by its weight."""
    subgraph = model.subgraphs[0]
    operator = subgraph.operators[position]
    reader = slots_of(model, operator)
    data, weight = (fb.shape(subgraph.tensors[each(operator)]) for each in (reader.data_of, reader.weight_of))
    options = operator.builtinOptions
    code = fb.builtin_code(model, operator)
    if code == schema.BuiltinOperator.FULLY_CONNECTED:
        return Layer(1, weight[1], None)
    window = Window(
        kernel=(weight[1], weight[2]),
        stride=(options.strideH, options.strideW),
        dilation=(getattr(options, "dilationHFactor", 1) or 1, getattr(options, "dilationWFactor", 1) or 1),
        same=options.padding == _SAME,
        transposed=code == schema.BuiltinOperator.TRANSPOSE_CONV,
    )
    if code == schema.BuiltinOperator.DEPTHWISE_CONV_2D:
        return Layer(data[3], weight[1] * weight[2], window)
    return Layer(data[3] // weight[3], weight[1] * weight[2] * weight[3], window)


def sample_rows(layer: Layer, inputs: Sequence[Array], seed: int, most: int = MOST_ROWS, padding: float = 0.0) -> Array:
    """Rows that the weight's channels are multiplied by, at places that depend on shapes and the seed alone.

    Args:
        inputs: of the layer, real or stored, one array a sample; they may be loaded when they are asked for.
        most: rows, of a layer that is not depthwise.
        padding: what stands for zero in them.

    Returns:
        [groups, rows, depth], of the inputs' type
    """
    random = np.random.default_rng(seed)
    if layer.window is None:
        return _dense_rows(layer, inputs, random, most)
    first = inputs[0].shape
    (out_h, out_w), _ = layer.window.places(*first[1:3])
    a_map = first[0] * out_h * out_w
    chosen = _choose(random, len(inputs) * a_map, min(most, MOST_DEPTHWISE_ROWS) if layer.depthwise else most)
    bounds = np.searchsorted(chosen, np.arange(len(inputs) + 1) * a_map)
    rows = [
        _windows(layer.window, inputs[number], chosen[begin:end] - number * a_map, padding)
        for number, (begin, end) in enumerate(pairwise(bounds))
        if end > begin
    ]
    return _by_group(np.concatenate(rows), layer.groups)


def _dense_rows(layer: Layer, inputs: Sequence[Array], random: np.random.Generator, most: int) -> Array:
    bounds = np.cumsum([0, *(values.size // layer.depth for values in inputs)])
    chosen = _choose(random, int(bounds[-1]), most)
    ends = np.searchsorted(chosen, bounds)
    rows = [
        values.reshape(-1, layer.depth)[chosen[begin:end] - start]
        for values, start, (begin, end) in zip(inputs, bounds, pairwise(ends), strict=False)
    ]
    return np.asarray(np.concatenate(rows)[None])


def _choose(random: np.random.Generator, count: int, most: int) -> NDArray[np.int64]:
    if count <= most:
        return np.arange(count)
    return np.sort(random.choice(count, most, replace=False))


def _windows(window: Window, values: Array, places: NDArray[np.int64], padding: float) -> Array:
    """[rows, taps, inputs] of one sample."""
    height, width = values.shape[1:3]
    (out_h, out_w), (top, left) = window.places(height, width)
    batch, place = np.divmod(places, out_h * out_w)
    y, x = np.divmod(place, out_w)
    at_y, in_y = _taps(window, 0, y, top, height)
    at_x, in_x = _taps(window, 1, x, left, width)
    rows = values[batch[:, None, None], at_y[:, :, None], at_x[:, None, :]]
    rows[~(in_y[:, :, None] & in_x[:, None, :])] = padding
    return np.asarray(rows.reshape(len(places), -1, values.shape[3]))


def _taps(
    window: Window, axis: int, places: NDArray[np.int64], before: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Along one axis, for each place of the output and tap: the input that is read, and whether it is one at all."""
    stride, taps = window.stride[axis], np.arange(window.kernel[axis]) * window.dilation[axis]
    if window.transposed:
        at, between = np.divmod(places[:, None] + before - taps, stride)
        inside = (between == 0) & (at >= 0) & (at < size)
    else:
        at = (places * stride - before)[:, None] + taps
        inside = (at >= 0) & (at < size)
    return at.clip(0, size - 1), inside


def _by_group(rows: Array, groups: int) -> Array:
    """[rows, taps, inputs] -> [groups, rows, taps * inputs of a group]."""
    count, taps, inputs = rows.shape
    if groups == 1:
        return rows.reshape(1, count, -1)
    split = rows.reshape(count, taps, groups, inputs // groups).transpose(2, 0, 1, 3)
    grouped = np.empty(split.shape, rows.dtype)
    for begin in range(0, count, _IN_CACHE):
        grouped[:, begin : begin + _IN_CACHE] = split[:, begin : begin + _IN_CACHE]
    return grouped.reshape(groups, count, -1)
