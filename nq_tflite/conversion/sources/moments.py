"""What each tensor looks like without any data: the mean and variance of its channels, from batch normalization.

A batch norm has seen the training set: its output has mean beta and variance gamma^2. Folded into a layer's weight it
is gone from the .tflite, but the weight is recognised by its values. From there the moments go on through the operators
that follow, each channel taken as a normal variable and, where terms meet, as independent of the others; both hold
well enough to correct biases with (Nagel et al., "Data-free quantization through weight equalization and bias
correction", ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.sources.pairing import LayerWeight, layer_weights, real_bias
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, OperatorT
from nq_tflite.graph.quantization import real_constant

Float64 = NDArray[np.float64]
#: A function of arrays, element by element: [channels, points] -> [channels, points].
Function = Callable[[Float64], Float64]
#: The same of two.
Combine = Callable[[Float64, Float64], Float64]


@dataclass(frozen=True)
class Moments:
    """Of a tensor's channels, its last axis, over everything else: both float64 [channels]."""

    mean: Float64
    variance: Float64


@dataclass(frozen=True)
class FoldedNorm:
    """A batch norm as a converter folds it into the weight before it.

    Attributes:
        kernel: float32 [channels, depth], the weight with the norm's factors in it, in TFLite's order; or, for a norm
            that stays a multiplication and an addition, the factors alone [channels, 1].
        moments: of what the layer (the multiplication) gives, before any activation.
    """

    kernel: NDArray[np.float32]
    moments: Moments


def tensor_moments(
    model: ModelT, folded: Sequence[FoldedNorm], inputs: Mapping[int, Moments] | None = None
) -> dict[int, Moments]:
    """Moments of every tensor of the main subgraph that they can be told for.

    Args:
        model: float or full-int8; the moments are of real values either way.
        folded: the batch norms of the model that it was converted from.
        inputs: moments of the subgraph's inputs, where known.

    Returns:
        By tensor index. A layer without a norm passes on what its weights make of the moments of its input; behind
        operators that are not understood there are none, until the next norm.

    Example:
        >>> tensor_moments(read_model("model.tflite").model, folded_norms(keras_model))  # doctest: +SKIP
    """
    graph = _Graph(model, folded)
    for tensor, moments in (inputs or {}).items():
        graph.variables[tensor] = _normal(moments)
    for position, operator in enumerate(model.subgraphs[0].operators):
        result = graph.result(position, operator)
        if result is not None:
            graph.variables[fb.indices(operator.outputs)[0]] = result
    return {tensor: variable.moments() for tensor, variable in graph.variables.items()}


def predicted_mean(model: ModelT, weight: LayerWeight, data: Moments) -> Float64:
    """W . mean + b: what a layer's output should be on average, if its input has those moments; float64 [channels].

    Where the layer's own batch norm says otherwise, the moments of its input are off by as much. Padding does not
    count.

    Raises:
        UnsupportedModelError: the input's channels do not fit the weight.
    """
    subgraph = model.subgraphs[weight.subgraph]
    bias = real_bias(model, subgraph, subgraph.operators[weight.operator])
    total = _weighted(model, weight, weight.matrix.astype(np.float64), data.mean)
    return np.asarray(total if bias is None else total + bias)


def _weighted(model: ModelT, weight: LayerWeight, matrix: Float64, data: Float64) -> Float64:
    """The sum over [channels, depth] of a weight's matrix times the value of the input channel of each."""
    channels, depth = matrix.shape
    if weight.kind == schema.BuiltinOperator.DEPTHWISE_CONV_2D and channels % len(data) == 0:
        return np.asarray(matrix.sum(axis=1) * np.repeat(data, channels // len(data)))
    width = fb.shape(model.subgraphs[weight.subgraph].tensors[weight.tensor])[-1]
    if len(data) % width or channels % (len(data) // width) or depth % width:
        raise UnsupportedModelError(
            "moments of a layer's input", expected=f"a multiple of {width} channels", got=str(len(data))
        )
    groups = len(data) // width
    taps_summed = matrix.reshape(groups, channels // groups, -1, width).sum(axis=2)
    return np.asarray(np.einsum("gck,gk->gc", taps_summed, data.reshape(groups, width)).ravel())


# ---- variables ------------------------------------------------------------------------------------------------------

#: Points and weights for means over a standard normal. A dense even grid: unlike Gauss' few points, it sees the kinks
#: of a clipped function within 1e-4.
_POINTS = np.linspace(-5.5, 5.5, 441)
_WEIGHTS = np.exp(-0.5 * _POINTS**2) / np.exp(-0.5 * _POINTS**2).sum()


def _same(x: Float64) -> Float64:
    return x


@dataclass(frozen=True)
class _Variable:
    """A tensor as a function of a normal variable; tensors that share the `normal` object vary together."""

    normal: Moments
    function: Function = _same

    def then(self, function: Function) -> _Variable:
        inner: Function = self.function
        return _Variable(self.normal, lambda x: function(inner(x)))

    def moments(self) -> Moments:
        if self.function is _same:
            return self.normal
        deviation = np.sqrt(self.normal.variance)
        values = self.function(self.normal.mean[:, None] + deviation[:, None] * _POINTS)
        mean: Float64 = values @ _WEIGHTS
        return Moments(mean, np.square(values - mean[:, None]) @ _WEIGHTS)


def _normal(moments: Moments) -> _Variable:
    return _Variable(moments)


def _largest_of(count: float) -> tuple[float, float]:
    """Mean and variance of the largest of so many standard normals."""
    below = np.cumsum(_WEIGHTS) - 0.5 * _WEIGHTS
    weights = _WEIGHTS * below ** (count - 1)
    weights /= weights.sum()
    mean = float(weights @ _POINTS)
    return mean, float(weights @ (_POINTS - mean) ** 2)


def _independent(pixels: int) -> float:
    """Pixels of one image are alike: of MobileNetV2's last 49 the mean varies as that of 2.5 would."""
    return float(max(pixels, 1) ** 0.25)


# ---- operators ------------------------------------------------------------------------------------------------------


def _clip(low: float, high: float) -> Function:
    return lambda x: np.clip(x, low, high)


def _logistic(x: Float64) -> Float64:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))


def _gelu(x: Float64) -> Float64:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


_Builtin = schema.BuiltinOperator
#: What may be fused into an operator.
_FUSED: dict[int, Function] = {
    schema.ActivationFunctionType.NONE: _same,
    schema.ActivationFunctionType.RELU: _clip(0, np.inf),
    schema.ActivationFunctionType.RELU6: _clip(0, 6),
    schema.ActivationFunctionType.RELU_N1_TO_1: _clip(-1, 1),
    schema.ActivationFunctionType.TANH: np.tanh,
}
_FUNCTIONS: dict[int, Function] = {
    _Builtin.RELU: _clip(0, np.inf),
    _Builtin.RELU6: _clip(0, 6),
    _Builtin.RELU_N1_TO_1: _clip(-1, 1),
    _Builtin.RELU_0_TO_1: _clip(0, 1),
    _Builtin.ABS: np.abs,
    _Builtin.NEG: np.negative,
    _Builtin.ELU: lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    _Builtin.GELU: _gelu,
    _Builtin.HARD_SWISH: lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    _Builtin.LOGISTIC: _logistic,
    _Builtin.TANH: np.tanh,
    _Builtin.QUANTIZE: _same,
    _Builtin.DEQUANTIZE: _same,
}
_BINARY: dict[int, Combine] = {
    _Builtin.ADD: np.add,
    _Builtin.SUB: np.subtract,
    _Builtin.MUL: np.multiply,
}
#: Operators that move or repeat pixels and leave channels where they are.
_SPATIAL = {
    _Builtin.PAD,
    _Builtin.PADV2,
    _Builtin.MIRROR_PAD,
    _Builtin.RESIZE_BILINEAR,
    _Builtin.RESIZE_NEAREST_NEIGHBOR,
    _Builtin.SPACE_TO_BATCH_ND,
    _Builtin.BATCH_TO_SPACE_ND,
}
_RESHAPES = {_Builtin.RESHAPE, _Builtin.SQUEEZE, _Builtin.EXPAND_DIMS}


class _Graph:
    """The main subgraph on the way through it: variables of the tensors so far."""

    def __init__(self, model: ModelT, folded: Sequence[FoldedNorm]) -> None:
        self.variables: dict[int, _Variable] = {}
        self._model = model
        self._graph = model.subgraphs[0]
        self._norms: dict[tuple[int, ...], list[FoldedNorm]] = {}
        for norm in folded:
            self._norms.setdefault(norm.kernel.shape, []).append(norm)
        self._weights = {weight.operator: weight for weight in layer_weights(model) if weight.subgraph == 0}

    def result(self, position: int, operator: OperatorT) -> _Variable | None:
        """The variable of an operator's first output, None if it cannot be told."""
        code = fb.builtin_code(self._model, operator)
        if position in self._weights:
            return self._layer(operator, self._weights[position])
        if code in _BINARY:
            return self._binary(operator, _BINARY[code], code)
        data = self.variables.get(next(iter(fb.indices(operator.inputs)), -1))
        if code == _Builtin.CONCATENATION:
            return self._concatenation(operator)
        if data is None:
            return None
        if code in _FUNCTIONS:
            return data if _FUNCTIONS[code] is _same else data.then(_FUNCTIONS[code])
        if code in _SPATIAL:
            return data if self._keeps_channels(operator) else None
        if code in _RESHAPES:
            return self._reshaped(operator, data)
        return self._other(operator, code, data)

    def _layer(self, operator: OperatorT, weight: LayerWeight) -> _Variable | None:
        """By the layer's norm; without one its mean follows from that of its input, as far as that is known."""
        known = self._norm_of(weight.is_of, weight.matrix.shape)
        data = self.variables.get(fb.indices(operator.inputs)[0])
        if known is None and data is not None:
            given = data.moments()
            squares = np.square(weight.matrix.astype(np.float64))
            mean = predicted_mean(self._model, weight, given)
            known = Moments(mean, _weighted(self._model, weight, squares, given.variance))
        return None if known is None else self._activated(operator, _normal(known))

    def _other(self, operator: OperatorT, code: int, data: _Variable) -> _Variable | None:
        options = operator.builtinOptions
        if code == _Builtin.LEAKY_RELU:
            return data.then(lambda x: np.where(x > 0, x, options.alpha * x))
        if code == _Builtin.PRELU:
            slope = self._constant_of(fb.indices(operator.inputs)[1])
            return None if slope is None else data.then(lambda x: np.where(x > 0, x, slope[:, None] * x))
        if code == _Builtin.MAX_POOL_2D:
            mean, variance = _largest_of(_independent(options.filterHeight * options.filterWidth))
            normal, deviation = data.normal, np.sqrt(data.normal.variance)
            largest = Moments(normal.mean + mean * deviation, variance * normal.variance)
            return self._activated(operator, _Variable(largest, data.function))
        if code == _Builtin.AVERAGE_POOL_2D:
            return self._activated(operator, self._averaged(data, options.filterHeight * options.filterWidth))
        if code == _Builtin.MEAN:
            return self._mean(operator, data)
        return None

    def _norm_of(self, is_of: Callable[[NDArray[Any]], bool], shape: tuple[int, ...]) -> Moments | None:
        """Moments of the one norm of that kernel; of several with the same kernel only if they agree."""
        found = [norm.moments for norm in self._norms.get(shape, []) if is_of(norm.kernel)]
        alike = all(np.array_equal(each.mean, found[0].mean) for each in found)
        return found[0] if found and alike else None

    def _activated(self, operator: OperatorT, variable: _Variable) -> _Variable | None:
        function = _FUSED.get(operator.builtinOptions.fusedActivationFunction)
        if function is None:
            return None
        return variable if function is _same else variable.then(function)

    def _binary(self, operator: OperatorT, combine: Combine, code: int) -> _Variable | None:
        left, right = fb.indices(operator.inputs)[:2]
        constants = [self._constant_of(index) for index in (left, right)]
        channels = self._channels(fb.indices(operator.outputs)[0])
        for index, constant, order in ((left, constants[1], 1), (right, constants[0], -1)):
            if constant is not None:
                combined = self._with_constant(index, constant, combine, order, code, channels)
                return None if combined is None else self._activated(operator, combined)
        a, b = self.variables.get(left), self.variables.get(right)
        if a is None or b is None:
            return None
        if a.normal is b.normal:
            first, second = a.function, b.function
            return self._activated(operator, _Variable(a.normal, lambda x: combine(first(x), second(x))))
        p, q = a.moments(), b.moments()
        mean, variance = combine(p.mean, q.mean), p.variance + q.variance
        if code == _Builtin.MUL:
            variance = p.variance * q.variance + p.variance * q.mean**2 + q.variance * p.mean**2
        if mean.shape != (channels,):
            return None
        return self._activated(operator, _normal(Moments(mean, variance)))

    def _with_constant(
        self,
        index: int,
        constant: Float64,
        combine: Combine,
        order: int,
        code: int,
        channels: int,
    ) -> _Variable | None:
        """x combined with a constant for each channel: a batch norm that was not folded, or arithmetic."""
        if code == _Builtin.MUL:
            known = self._norm_of(lambda factors: _close(factors[:, 0], constant), (len(constant), 1))
            if known is not None:
                return _normal(known)
        variable = self.variables.get(index)
        if variable is None or {len(constant), len(variable.normal.mean)} - {1, channels}:
            return None
        if len(variable.normal.mean) != channels:
            variable = _normal(_repeated(variable.moments(), channels))
        column = constant[:, None]
        return variable.then(lambda x: combine(x, column) if order == 1 else combine(column, x))

    def _concatenation(self, operator: OperatorT) -> _Variable | None:
        parts = [self.variables.get(index) for index in fb.indices(operator.inputs)]
        rank = len(fb.shape(self._graph.tensors[fb.indices(operator.outputs)[0]]))
        if operator.builtinOptions.axis not in (-1, rank - 1) or any(part is None for part in parts):
            return None
        moments = [part.moments() for part in parts if part is not None]
        joined = Moments(np.concatenate([m.mean for m in moments]), np.concatenate([m.variance for m in moments]))
        return self._activated(operator, _normal(joined))

    def _reshaped(self, operator: OperatorT, data: _Variable) -> _Variable | None:
        before, after = (self._channels(fb.indices(end)[0]) for end in (operator.inputs, operator.outputs))
        if before == after:
            return data
        source = fb.shape(self._graph.tensors[fb.indices(operator.inputs)[0]])
        flattened = after == int(np.prod(source[1:]))
        return _normal(_repeated(data.moments(), after)) if flattened else None

    def _mean(self, operator: OperatorT, data: _Variable) -> _Variable | None:
        source, target = (self._graph.tensors[index] for index in fb.indices(operator.inputs)[:2])
        axes = fb.constant(self._model, target)
        rank = len(fb.shape(source))
        if axes is None or any(axis % rank in (0, rank - 1) for axis in axes.ravel()):
            return None
        return self._averaged(data, int(np.prod([fb.shape(source)[axis] for axis in axes.ravel()])))

    def _averaged(self, data: _Variable, pixels: int) -> _Variable:
        moments = data.moments()
        return _normal(Moments(moments.mean, moments.variance / _independent(pixels)))

    def _keeps_channels(self, operator: OperatorT) -> bool:
        return self._channels(fb.indices(operator.inputs)[0]) == self._channels(fb.indices(operator.outputs)[0])

    def _channels(self, index: int) -> int:
        return (fb.shape(self._graph.tensors[index]) or (1,))[-1]

    def _constant_of(self, index: int) -> Float64 | None:
        """A constant with one value for each channel, or one in all: [channels] or [1]."""
        values = real_constant(self._model, self._graph, self._graph.tensors[index])
        if values is None or values.size != (values.shape or (1,))[-1]:
            return None
        return values.astype(np.float64).ravel()


def _close(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.allclose(a, b, rtol=1e-4, atol=1e-7))


def _repeated(moments: Moments, channels: int) -> Moments:
    times = channels // len(moments.mean)
    return Moments(np.tile(moments.mean, times), np.tile(moments.variance, times))
