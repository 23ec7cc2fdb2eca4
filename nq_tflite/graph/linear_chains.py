"""Linear chains: tensors whose channels can be scaled without a change of what a float model computes.

A convolution or dense layer multiplies its input's channels by weights, so that a factor of an input channel can move
into the weights, and so can one of its output channels. Where no nonlinearity lies between two layers, but at most
sums, pooling and what moves values about, the channels of the tensors between them may have any positive factors s:

    y = B (A x + a)  =  (B diag(s)) (diag(1/s) A x + diag(1/s) a)

Positive factors go through ReLU as well. They go through ReLU6 where no value of a channel, divided by its factor, is
above 6 that was not before. Here these tensors are found, with the channels that must share a factor; `scale_chains`
changes the constants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.bitpack import Layout
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import Array, schema
from nq_tflite.graph.model import ModelT, OperatorT
from nq_tflite.graph.readers import slots_of

Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Chain:
    """Tensors of the main subgraph whose channels, along their last axis, are scaled together.

    Attributes:
        tensors: for each tensor, by index, the number of the factor that each of its channels has.
        num_factors: how many factors there are.
        cap: what a ReLU6 clips some of the tensors at; None if there is none. Factors must not be above 1 then.
        is_linear: whether no ReLU of any kind touches the tensors.
    """

    tensors: Mapping[int, Labels]
    num_factors: int
    cap: float | None = None
    is_linear: bool = True


def find_chains(model: ModelT) -> list[Chain]:
    """The linear chains of a float model's main subgraph, in the order of the graph.

    A chain ends on all sides in layers with constant weights that nothing else reads. Tensors that any other operator
    touches, and the graph's inputs and outputs, are in none, nor is what is tied to them. What a ReLU touches is in one
    where depthwise layers alone read it: their INT8 weights are the same for all factors.
    """
    search = _Search(model)
    for operator in model.subgraphs[0].operators:
        search.visit(operator)
    return search.chains()


# ---- what operators do to channels -----------------------------------------------------------------------------------

_Builtin = schema.BuiltinOperator
#: Layers that sum over channels, or over none (depthwise).
LAYERS = {_Builtin.CONV_2D, _Builtin.DEPTHWISE_CONV_2D, _Builtin.FULLY_CONNECTED, _Builtin.TRANSPOSE_CONV}
#: Operators of one input that leave channels where they are. Positive factors go through a maximum, too.
_IN_PLACE = {
    _Builtin.AVERAGE_POOL_2D,
    _Builtin.MAX_POOL_2D,
    _Builtin.RESIZE_BILINEAR,
    _Builtin.RESIZE_NEAREST_NEIGHBOR,
    _Builtin.SPACE_TO_BATCH_ND,
    _Builtin.BATCH_TO_SPACE_ND,
}
_RESHAPES = {_Builtin.RESHAPE, _Builtin.SQUEEZE, _Builtin.EXPAND_DIMS}
#: Activations that positive factors go through, fused into another operator or alone; the caps of some.
_FUSED = schema.ActivationFunctionType
_FUSED_RECTIFIERS = {_FUSED.RELU: None, _FUSED.RELU6: 6.0}
_RECTIFIERS = {_Builtin.RELU: None, _Builtin.LEAKY_RELU: None, _Builtin.RELU6: 6.0}
_REDUCTIONS = {_Builtin.MEAN, _Builtin.SUM, _Builtin.REDUCE_MAX}
_SUMS = {_Builtin.ADD, _Builtin.SUB}


class _Search:
    """Channels that must share a factor, and tensors that may have none."""

    def __init__(self, model: ModelT) -> None:
        self._model, self._graph = model, model.subgraphs[0]
        self._tensors, self._readers = self._graph.tensors, fb.readers(self._graph)
        self._buffer_users = Counter(tensor.buffer for _, each in fb.subgraphs(model) for tensor in each.tensors)
        self._labels: dict[int, Labels] = {}
        self._channel_sets, self._tensor_sets = _Sets(), _Sets()
        self._rectified: dict[int, float | None] = {}
        self._pinned = {*fb.indices(self._graph.inputs), *fb.indices(self._graph.outputs)}

    def visit(self, operator: OperatorT) -> None:
        """Ties channels of an operator's inputs and outputs to each other, or leaves its tensors as they are."""
        code = fb.builtin_code(self._model, operator)
        inputs, outputs = fb.indices(operator.inputs), fb.indices(operator.outputs)
        activation = getattr(operator.builtinOptions, "fusedActivationFunction", _FUSED.NONE)
        activated = activation not in (_FUSED.NONE, *_FUSED_RECTIFIERS)
        if activation in _FUSED_RECTIFIERS:
            self._rectified[outputs[0]] = _FUSED_RECTIFIERS[activation]
        if code in _RECTIFIERS:
            self._rectified |= {inputs[0]: None, outputs[0]: _RECTIFIERS[code]}
        if code in LAYERS or code == _Builtin.MUL:
            is_layer = self._is_layer(operator) if code in LAYERS else self._is_multiplication(inputs, outputs[0])
            self._pinned.update(() if is_layer else inputs, outputs if activated or not is_layer else ())
        elif activated or not self._ties(operator, code, inputs, outputs):
            self._pinned.update(inputs, outputs)

    def chains(self) -> list[Chain]:
        """Sets of tied tensors none of which is left as it is."""
        pinned = {self._tensor_sets.root(tensor) for tensor in self._pinned}
        found: dict[int, list[int]] = {}
        for tensor in (each for operator in self._graph.operators for each in fb.indices(operator.outputs)):
            root = self._tensor_sets.root(tensor)
            if root not in pinned and self._channels(tensor) > 1 and tensor in self._readers:
                found.setdefault(root, []).append(tensor)
        chains = map(self._chain, found.values())
        return [chain for chain in chains if chain.is_linear or self._is_free(chain)]

    def _is_free(self, chain: Chain) -> bool:
        """Whether depthwise layers alone multiply by the factors, whose output channels have scales of their own."""
        codes = [
            fb.builtin_code(self._model, self._graph.operators[use.position])
            for tensor in chain.tensors
            for use in self._readers[tensor]
        ]
        return not {*LAYERS, _Builtin.MUL}.difference({_Builtin.DEPTHWISE_CONV_2D}) & {*codes}

    def _chain(self, tensors: list[int]) -> Chain:
        roots = {tensor: [self._channel_sets.root(each) for each in self._of(tensor).tolist()] for tensor in tensors}
        known = np.unique(np.concatenate(list(roots.values())))
        labels = {tensor: np.searchsorted(known, each) for tensor, each in roots.items()}
        rectified = [tensor for tensor in tensors if tensor in self._rectified]
        caps = [cap for tensor in rectified if (cap := self._rectified[tensor]) is not None]
        return Chain(labels, len(known), min(caps, default=None), not rectified)

    # Layers, which take factors into their constants.

    def _is_layer(self, operator: OperatorT) -> bool:
        """A layer whose constants are its own, and fit the channels of its input and output."""
        reader = slots_of(self._model, operator)
        weight, bias = reader.weight_of(operator), reader.bias_of(operator)
        if not self._is_own_constant(weight) or (bias >= 0 and self._constant(bias) is None):
            return False
        data, output = (self._channels(each) for each in (reader.data_of(operator), fb.indices(operator.outputs)[0]))
        sizes = fb.shape(self._tensors[weight])
        if not data or output != (sizes[-1] if reader.layout is Layout.DEPTHWISE else sizes[0]):
            return False
        if reader.layout is Layout.DEPTHWISE:
            return output % data == 0
        if len(sizes) == 2:  # a dense layer may read a flattened image
            return sizes[1] % data == 0
        return data % sizes[-1] == 0 and output % (data // sizes[-1]) == 0

    def _is_multiplication(self, inputs: list[int], output: int) -> bool:
        """By a factor for each channel, as of a batch norm that was not folded."""
        data, constant = self._with_constant(inputs)
        return self._is_own_constant(constant) and self._channels(data) == self._channels(output) > 0

    def _with_constant(self, inputs: list[int]) -> tuple[int, int]:
        """The computed one of two inputs, and the one that has a constant for each of its channels; -1 if none has."""
        for data, constant in (inputs, inputs[::-1]):
            values = self._constant(constant)
            if values is not None and 0 < values.size == (values.shape or (0,))[-1] == self._channels(data):
                return data, constant
        return inputs[0], -1

    def _is_own_constant(self, tensor: int) -> bool:
        """A float constant that nothing else reads."""
        values = self._constant(tensor)
        users = self._buffer_users[self._tensors[tensor].buffer]
        return values is not None and values.dtype == np.float32 and len(self._readers[tensor]) == users == 1

    # Other operators.

    def _ties(self, operator: OperatorT, code: int, inputs: list[int], outputs: list[int]) -> bool:
        """Whether the operator is understood; channels are tied then."""
        if code in _SUMS:
            data, constant = self._with_constant(inputs)
            return all(self._tie(each, outputs[0]) for each in ([data] if constant >= 0 else inputs))
        if code == _Builtin.CONCATENATION:
            return self._ties_parts(inputs, outputs[0], operator.builtinOptions.axis)
        if code == _Builtin.PAD:
            amounts = self._constant(inputs[1])
            return amounts is not None and self._tie(inputs[0], outputs[0], int(amounts.reshape(-1, 2)[-1, 0]))
        if code in _RESHAPES:
            return self._ties_reshape(inputs[0], outputs[0])
        if code in _REDUCTIONS:
            axes, rank = self._constant(inputs[1]), len(fb.shape(self._tensors[inputs[0]]))
            keeps = axes is not None and all(axis % rank != rank - 1 for axis in axes.ravel())
            return keeps and self._tie(inputs[0], outputs[0])
        return code in {*_IN_PLACE, *_RECTIFIERS} and self._tie(inputs[0], outputs[0])

    def _ties_parts(self, parts: list[int], whole: int, axis: int) -> bool:
        """A concatenation: side by side, or along the last axis one behind the other."""
        rank = len(fb.shape(self._tensors[whole]))
        if axis % rank != rank - 1:
            return all(self._tie(part, whole) for part in parts)
        ends = np.cumsum([self._channels(part) for part in parts]).tolist()
        return all(self._tie(part, whole, end - self._channels(part)) for part, end in zip(parts, ends, strict=True))

    def _ties_reshape(self, data: int, output: int) -> bool:
        """The last axis varies fastest: one that becomes a multiple repeats its channels, a divisor shares them."""
        few, many = sorted((data, output), key=self._channels)
        if not self._channels(few) or self._channels(many) % self._channels(few):
            return False
        return self._tie_labels(few, many, np.resize(self._of(few), self._channels(many)), self._of(many))

    def _tie(self, part: int, whole: int, begin: int | None = None) -> bool:
        """Ties two tensors' channels, or one's to those of the other from `begin` on; False where they do not fit."""
        count, of_whole = self._channels(part), self._channels(whole)
        if not count or (count != of_whole if begin is None else begin < 0 or begin + count > of_whole):
            return False
        start = begin or 0
        return self._tie_labels(part, whole, self._of(part), self._of(whole)[start : start + count])

    def _tie_labels(self, one: int, other: int, labels: Labels, others: Labels) -> bool:
        self._tensor_sets.join(one, other)
        for a, b in zip(labels.tolist(), others.tolist(), strict=True):
            self._channel_sets.join(a, b)
        return True

    # Tensors.

    def _constant(self, tensor: int) -> Array | None:
        return None if tensor < 0 else fb.constant(self._model, self._tensors[tensor])

    def _channels(self, tensor: int) -> int:
        """The size of a computed float tensor's last axis; 0 where that is free, and of any other tensor."""
        found = self._tensors[tensor]
        if tensor < 0 or found.type != schema.TensorType.FLOAT32 or self._constant(tensor) is not None:
            return 0
        sizes = fb.indices(found.shapeSignature) or fb.indices(found.shape)
        return max(sizes[-1], 0) if sizes else 0

    def _of(self, tensor: int) -> Labels:
        if tensor not in self._labels:
            self._labels[tensor] = self._channel_sets.add(self._channels(tensor))
        return self._labels[tensor]


class _Sets:
    """Disjoint sets of numbers, each known by its smallest one."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def add(self, count: int) -> Labels:
        """Sets of one new number each."""
        begin = len(self._parents)
        self._parents.update({each: each for each in range(begin, begin + count)})
        return np.arange(begin, begin + count)

    def root(self, number: int) -> int:
        """Of the set that a number is in."""
        path = []
        while (parent := self._parents.setdefault(number, number)) != number:
            path.append(number)
            number = parent
        self._parents.update(dict.fromkeys(path, number))
        return number

    def join(self, one: int, other: int) -> None:
        """Makes two sets one."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parents[high] = low
