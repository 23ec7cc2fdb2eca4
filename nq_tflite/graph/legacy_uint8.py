"""Re-expresses the legacy uint8 quantization as full-int8, which nests.

TensorFlow 1's converter gave activations and weights uint8 codes with a zero point for a whole tensor. An activation's
codes and zero point less 128 say the same in INT8. A weight's codes less its zero point do so with a zero point of 0,
as INT8 layers want it, as long as they fit into -127 to 127: where the zero point is 128, all but code 0 do. Channels
whose codes do not fit get a scale of their own, which costs them half a step at most, and those with small codes a
finer one, which costs nothing. A dense layer, whose older kernels know one scale only, gets another one as a whole.
Inputs and outputs of the model stay uint8, by QUANTIZE operators at its ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.bitpack import CHANNEL_AXIS
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import InputSlot, ModelT, OperatorT, SubGraphT, TensorT
from nq_tflite.graph.quantization import scale_and_zero_point
from nq_tflite.graph.readers import Reader, reader_of
from nq_tflite.graph.replace_weights import replace_weights
from nq_tflite.graph.sites import Site, as_matrix

_Type = schema.TensorType
_MIDDLE = 128
#: The largest INT8 code of a requantized weight.
_LARGEST = 127
#: Bits of a bias' magnitude that are used, less than there are.
_BIAS_BITS = 30
#: Operators that take INT8 activations as they take uint8 ones, and the first version of each that does.
_INT8_VERSIONS = {
    getattr(schema.BuiltinOperator, name): version
    for version, names in {
        1: "DEPTH_TO_SPACE EXPAND_DIMS HARD_SWISH L2_POOL_2D LEAKY_RELU PRELU RESHAPE SQUEEZE TILE",
        2: "ADD ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_TO_SPACE_ND CONCATENATION DEQUANTIZE GATHER L2_NORMALIZATION "
        "LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PADV2 QUANTIZE RELU RELU6 "
        "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V "
        "STRIDED_SLICE SUB TANH TOPK_V2 TRANSPOSE TRANSPOSE_CONV UNPACK",
        3: "CONV_2D DEPTHWISE_CONV_2D",
        4: "FULLY_CONNECTED",
    }.items()
    for name in names.split()
}
#: Their other inputs and outputs: floats, indices, shapes.
_OTHER_TYPES = {_Type.FLOAT32, _Type.INT32, _Type.INT64}


@dataclass(frozen=True)
class Requantized:
    """A weight that could not keep all its codes.

    Attributes:
        snr_db: power of its values over that of the error.
    """

    name: str
    snr_db: float


@dataclass(frozen=True)
class Reexpressed:
    """What became of a file's uint8 weights: those that say the same in INT8, by name, and those that say nearly so."""

    exact: tuple[str, ...]
    requantized: tuple[Requantized, ...]

    def __str__(self) -> str:
        exact, others = len(self.exact), len(self.requantized)
        said = f"{exact + others} uint8 weights are INT8 ones now, {exact} of them with the same values"
        if not others:
            return said
        worst = min(self.requantized, key=lambda each: each.snr_db)
        return (
            f"{said}; {others} have a zero point so far from 128 that channels needed other scales: SNR "
            f"{worst.snr_db:.1f} dB or more (the least of {worst.name!r}), by which full-bit differs from the source"
        )


def to_int8(model: ModelT) -> Reexpressed | None:
    """Changes a model in place; None if no layer has uint8 weights, and nothing is changed.

    Operators that are not known to take INT8 as they take uint8 keep uint8, between QUANTIZE operators.
    """
    if not any(_weights(model, subgraph) for _, subgraph in fb.subgraphs(model)):
        return None
    exact: list[str] = []
    requantized: list[Requantized] = []
    for index, subgraph in fb.subgraphs(model):
        uses = {} if not subgraph.operators else _weights(model, subgraph)
        changing = [each for each in subgraph.operators if _can_change(model, subgraph, each)]
        for tensor, readers in uses.items():
            found = _change_weight(model, index, tensor, readers)
            if found is None:
                exact.append(fb.text(subgraph.tensors[tensor].name))
            else:
                requantized.append(found)
        _Edit(model, subgraph, changing).run()
    return Reexpressed(tuple(exact), tuple(requantized))


# ---- weights ---------------------------------------------------------------------------------------------------------


def _weights(model: ModelT, subgraph: SubGraphT) -> dict[int, list[InputSlot]]:
    """uint8 constants that layers multiply by, and nothing else reads: tensor -> where."""
    found = {}
    for tensor, uses in fb.readers(subgraph).items():
        if all(_is_weight(model, subgraph, subgraph.operators[use.position], use.slot) for use in uses):
            found[tensor] = uses
    return found


def _layer(model: ModelT, operator: OperatorT) -> Reader | None:
    """The form of an operator that multiplies by a weight."""
    reader = reader_of(model, operator)
    return (
        None if reader is None or reader.looks_up or fb.builtin_code(model, operator) not in _INT8_VERSIONS else reader
    )


def _is_weight(model: ModelT, subgraph: SubGraphT, operator: OperatorT, slot: int) -> bool:
    reader = _layer(model, operator)
    if reader is None or slot != reader.weight or bool(getattr(operator.builtinOptions, "weightsFormat", 0)):
        return False
    tensor = subgraph.tensors[reader.weight_of(operator)]
    return _is_quantized(tensor) and fb.constant(model, tensor) is not None and _types_fit(subgraph, operator)


def _change_weight(model: ModelT, index: int, number: int, uses: Sequence[InputSlot]) -> Requantized | None:
    """Gives a weight INT8 codes; None if they stand for the same values."""
    subgraph = model.subgraphs[index]
    tensor, operators = subgraph.tensors[number], [subgraph.operators[use.position] for use in uses]
    [layout] = {reader.layout for each in operators if (reader := reader_of(model, each)) is not None}
    scale, zero_point = _parameters(tensor)
    matrix = as_matrix(np.asarray(fb.constant(model, tensor)).astype(np.int16) - zero_point, layout)
    steps = _steps(np.abs(matrix).max(axis=1), _room_for_biases(model, subgraph, operators, len(matrix)))
    if any(fb.builtin_code(model, each) == schema.BuiltinOperator.FULLY_CONNECTED for each in operators):
        steps[:] = steps.max()
    tensor.type, name = _Type.INT8, fb.text(tensor.name)
    tensor.quantization = fb.new_quantization(np.asarray([scale], np.float32), CHANNEL_AXIS[layout])
    codes = np.rint(matrix / steps[:, None]).astype(np.int8)
    site = Site(index, number, tuple(use.position for use in uses), layout, name)
    one = np.all(steps == steps[0])
    replace_weights(model, [site], codes, (scale * (steps[:1] if one else steps)).astype(np.float32))
    if steps.max() <= 1:
        return None
    return Requantized(name, signal_to_noise_db(matrix.astype(float), codes * steps[:, None]))


def _steps(largest: NDArray[np.int16], room: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many of its old steps a new one is, for each channel.

    Channels whose values do not fit into INT8 get a step that fits the largest. The others get half, a quarter ... of
    their old step while they fit and their biases have `room` bits: that changes no value, and leaves them more bits
    when a level takes the lower ones away.
    """
    spare = np.floor(np.log2(_LARGEST / np.maximum(largest, 1)))
    finer = np.where(largest > 0, np.clip(np.minimum(spare, room), 0, None), 0)
    return np.where(largest > _LARGEST, largest / _LARGEST, 0.5**finer)


def _room_for_biases(
    model: ModelT, subgraph: SubGraphT, operators: Sequence[OperatorT], channels: int
) -> NDArray[np.int64]:
    """How often each channel's bias can be doubled; never where an operator computes it."""
    room = np.full(channels, _BIAS_BITS)
    for operator in operators:
        reader = reader_of(model, operator)
        index = -1 if reader is None else reader.bias_of(operator)
        if index < 0:
            continue
        values = fb.constant(model, subgraph.tensors[index])
        used = _BIAS_BITS if values is None else np.ceil(np.log2(np.abs(values.astype(float)) + 1)).astype(int)
        room = np.minimum(room, _BIAS_BITS - used)
    return room


# ---- activations -----------------------------------------------------------------------------------------------------


def _is_quantized(tensor: TensorT) -> bool:
    return tensor.type == _Type.UINT8 and scale_and_zero_point(tensor) is not None


def _parameters(tensor: TensorT) -> tuple[float, int]:
    """Of a quantized tensor."""
    return scale_and_zero_point(tensor) or (1.0, 0)


def _types_fit(subgraph: SubGraphT, operator: OperatorT) -> bool:
    """Whether every tensor of an operator is quantized uint8, or of a type that says what it says."""
    tensors = [
        subgraph.tensors[index] for index in fb.indices(operator.inputs) + fb.indices(operator.outputs) if index >= 0
    ]
    return all(_is_quantized(each) or each.type in _OTHER_TYPES for each in tensors)


def _can_change(model: ModelT, subgraph: SubGraphT, operator: OperatorT) -> bool:
    """Whether an operator computes on uint8 activations what it computes on INT8 ones that are 128 less."""
    if fb.builtin_code(model, operator) not in _INT8_VERSIONS or not _types_fit(subgraph, operator):
        return False
    layer = _layer(model, operator)
    return layer is None or _is_weight(model, subgraph, operator, layer.weight)


class _Edit:
    """A subgraph whose operators get INT8 activations, but for those that keep uint8.

    Args:
        changing: the operators that get INT8.
    """

    def __init__(self, model: ModelT, subgraph: SubGraphT, changing: Sequence[OperatorT]) -> None:
        self._model, self._subgraph = model, subgraph
        self._changing = {id(each) for each in changing}
        self._signed: dict[int, int] = {}  # uint8 tensors -> the INT8 ones that say the same
        self._operators: list[OperatorT] = []

    def run(self) -> None:
        unchanged = [each for each in self._subgraph.operators if id(each) not in self._changing]
        self._uint8 = {*fb.indices(self._subgraph.inputs), *fb.indices(self._subgraph.outputs)}
        for each in unchanged:
            self._uint8 |= {*fb.indices(each.inputs), *fb.indices(each.outputs)}
        for operator in self._subgraph.operators:
            if id(operator) in self._changing:
                self._change(operator)
            else:
                self._operators.append(operator)
        self._subgraph.operators = self._operators

    def _change(self, operator: OperatorT) -> None:
        code = fb.builtin_code(self._model, operator)
        inputs, outputs = fb.indices(operator.inputs), fb.indices(operator.outputs)
        new_inputs = [self._input(index) for index in inputs]
        new_outputs = [self._output(index) for index in outputs]
        if code == schema.BuiltinOperator.CONCATENATION:
            new_inputs = [self._rescaled(index, new_outputs[0]) for index in new_inputs]
        operator.inputs, operator.outputs = new_inputs, new_outputs
        version = max(self._model.operatorCodes[operator.opcodeIndex].version, _INT8_VERSIONS[code])
        operator.opcodeIndex = fb.builtin_opcode(self._model, code, version)
        self._operators.append(operator)
        for old, new in zip(outputs, new_outputs, strict=True):
            if new != old:
                self._quantize(new, old)

    def _input(self, index: int) -> int:
        """The INT8 tensor that stands for an input."""
        if index < 0 or not _is_quantized(self._subgraph.tensors[index]):
            return index
        known = index in self._signed
        signed = self._signed_of(index)
        if not known and signed != index and not self._is_constant(index):
            self._quantize(index, signed)
        return signed

    def _output(self, index: int) -> int:
        return self._signed_of(index) if _is_quantized(self._subgraph.tensors[index]) else index

    def _signed_of(self, index: int) -> int:
        """The tensor itself, made INT8, or another one where somebody knows it as uint8."""
        if index not in self._signed:
            signed, tensors = index, self._subgraph.tensors
            if index in self._uint8:
                tensors.append(copy(tensors[index]))
                signed = len(tensors) - 1
                tensors[signed].name = f"{fb.text(tensors[index].name)}/int8"
            _make_int8(self._model, tensors[signed])
            self._signed[index] = signed
        return self._signed[index]

    def _is_constant(self, index: int) -> bool:
        return fb.constant(self._model, self._subgraph.tensors[index]) is not None

    def _rescaled(self, index: int, like: int) -> int:
        """A tensor of the quantization of `like`: INT8's CONCATENATION, unlike uint8's, takes no other."""
        tensors = self._subgraph.tensors
        if tensors[index].type != _Type.INT8 or _parameters(tensors[index]) == _parameters(tensors[like]):
            return index
        tensors.append(copy(tensors[index]))
        tensors[-1].name, tensors[-1].buffer = f"{fb.text(tensors[index].name)}/rescaled", 0
        tensors[-1].quantization = copy(tensors[like].quantization)
        self._quantize(index, len(tensors) - 1)
        return len(tensors) - 1

    def _quantize(self, source: int, target: int) -> None:
        opcode = fb.builtin_opcode(self._model, schema.BuiltinOperator.QUANTIZE, 1)
        self._operators.append(fb.new_operator(opcode, [source], [target]))


def _make_int8(model: ModelT, tensor: TensorT) -> None:
    """Codes and zero point become 128 less."""
    values: NDArray[np.uint8] | None = fb.constant(model, tensor)
    if values is not None:
        tensor.buffer = fb.add_buffer(model, values ^ np.uint8(_MIDDLE))
    tensor.type, tensor.quantization = _Type.INT8, copy(tensor.quantization)
    if tensor.quantization is not None:
        tensor.quantization.zeroPoint = [point - _MIDDLE for point in fb.indices(tensor.quantization.zeroPoint) or [0]]
