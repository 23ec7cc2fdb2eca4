"""Gives weights that float layers read in another type the float32 values that they stand for, so that they can nest.

A converter stores float16 weights as constants behind DEQUANTIZE, and so does LiteRT Quantizer with weight-only INT8
and INT4. Dynamic-range weights are INT8, INT4 or INT2 constants that a layer of float activations reads, with a scale
for all, for each channel or for each block of some weights. Weights that do not nest go back to what they were.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.bitpack import Layout
from nq_tflite.format.constants import CUSTOM_OP_NAME
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import InputSlot, ModelT, OperatorT, SubGraphT, TensorPlace, TensorT
from nq_tflite.graph.quantization import block_scales, real_constant, scales_of, scales_tensor
from nq_tflite.graph.readers import reader_of
from nq_tflite.graph.sites import as_matrix, int8_reason
from nq_tflite.units import counted

_Type = schema.TensorType
#: Types of integer weights, and how many codes of 8 bits one of theirs is.
CODE_STEPS = {_Type.INT8: 1, _Type.INT4: 16, _Type.INT2: 64}
#: Nestings that have all codes of narrow types. One bit fewer has not: FORMAT.md, section 4.2, forbids the lowest code.
FEWEST = {"INT4": "5|4", "INT2": "3|2"}


@dataclass
class Widened:
    """What was widened, by the weight's place.

    Attributes:
        scales: of weights whose codes nest as they are, float32 [channels]: the values are whole multiples of them.
        stored_bytes: of every weight, in the source.
        narrow: how many weights have fewer than 8 bits, by their type; blockwise ones do not count.
        blockwise: how many have a scale for each block of weights, which a nested weight cannot have.
    """

    scales: dict[TensorPlace, NDArray[np.float32]] = field(default_factory=dict)
    stored_bytes: dict[TensorPlace, int] = field(default_factory=dict)
    narrow: Counter[str] = field(default_factory=Counter)
    blockwise: int = 0
    _constants: dict[TensorPlace, TensorT] = field(default_factory=dict)
    _dequantized: dict[TensorPlace, OperatorT] = field(default_factory=dict)

    def add_constant(self, place: TensorPlace, tensor: TensorT) -> None:
        """Keeps a weight's tensor as it was."""
        self._constants[place] = copy(tensor)

    def add_dequantized(self, place: TensorPlace, operator: OperatorT) -> None:
        """Keeps the DEQUANTIZE that gave a weight."""
        self._dequantized[place] = operator

    def notes(self) -> tuple[str, ...]:
        """What a user would not expect, in words."""
        return (
            *(
                f"{counted(count, f'{kind} weight')} as codes of more bits that say the same: nesting "
                f"'{FEWEST[kind]}' holds all such codes in the fewest bits"
                for kind, count in sorted(self.narrow.items())
            ),
            *(
                [
                    f"{counted(self.blockwise, 'weight')} with a scale for each block nest with one for each channel: "
                    "their full-bit SNR (--layers) is beside the values in the source"
                ]
                if self.blockwise
                else []
            ),
        )

    def restore(self, model: ModelT) -> None:
        """Makes every weight that is a constant still what it was; call it when the others are nested.

        Biases of nested layers stay float32, for fused layers want them constant. The others go back with their
        weights: tensorflow's XNNPACK takes no layer that reads one through DEQUANTIZE and the other not.
        """
        for (index, tensor), old in self._constants.items():
            subgraph = model.subgraphs[index]
            if subgraph.tensors[tensor].buffer and not _is_beside_nested(model, subgraph, tensor):
                subgraph.tensors[tensor] = old
        for (index, tensor), operator in reversed(self._dequantized.items()):
            subgraph = model.subgraphs[index]
            if subgraph.tensors[tensor].buffer and not _serves_nested(model, subgraph, tensor):
                subgraph.tensors[tensor].buffer = 0
                subgraph.operators.insert(0, operator)
        for (index, _), operator in self._dequantized.items():
            subgraph, source = model.subgraphs[index], fb.indices(operator.inputs)[0]
            if source not in fb.readers(subgraph):
                subgraph.tensors[source].buffer = 0
        for (index, _), old in self._constants.items():
            _drop_block_scales(model.subgraphs[index], old)


def widen(model: ModelT) -> Widened:
    """Changes the model in place."""
    widened, buffers = Widened(), _Buffers(model)
    for index, subgraph in fb.subgraphs(model):
        _widen_dequantized(model, index, subgraph, widened, buffers)
        _widen_constants(model, index, subgraph, widened, buffers)
    return widened


class _Buffers:
    """New buffers, one for equal values of one old one."""

    def __init__(self, model: ModelT) -> None:
        self._model = model
        self._known: dict[tuple[int, bytes], int] = {}

    def wide(self, old: int, values: NDArray[np.float32]) -> int:
        """Index of a buffer with these values, which stand for those of buffer `old`."""
        key = old, values.tobytes()
        if key not in self._known:
            self._known[key] = fb.add_buffer(self._model, values)
        return self._known[key]


# ---- weights behind DEQUANTIZE ---------------------------------------------------------------------------------------


def _widen_dequantized(model: ModelT, index: int, subgraph: SubGraphT, widened: Widened, buffers: _Buffers) -> None:
    kept = []
    for operator in subgraph.operators:
        values = _dequantized_constant(model, subgraph, operator)
        if values is None:
            kept.append(operator)
            continue
        [output], [source, *_] = fb.indices(operator.outputs), fb.indices(operator.inputs)
        tensor, place = subgraph.tensors[source], TensorPlace(index, output)
        uses = fb.readers(subgraph).get(output, [])
        subgraph.tensors[output].buffer = buffers.wide(tensor.buffer, values)
        widened.add_dequantized(place, operator)
        _describe(model, subgraph, tensor, uses, place, widened)
    subgraph.operators = kept


def _dequantized_constant(model: ModelT, subgraph: SubGraphT, operator: OperatorT) -> NDArray[np.float32] | None:
    """Values of the constant that a DEQUANTIZE reads: a float16 one, or an integer weight."""
    if fb.builtin_code(model, operator) != schema.BuiltinOperator.DEQUANTIZE:
        return None
    tensor, [output] = subgraph.tensors[fb.indices(operator.inputs)[0]], fb.indices(operator.outputs)
    if output in fb.indices(subgraph.outputs):
        return None
    if tensor.type == _Type.FLOAT16:
        values = fb.constant(model, tensor)
        return None if values is None else values.astype(np.float32)
    is_weight = any(_is_weight(model, subgraph, use) for use in fb.readers(subgraph).get(output, []))
    return real_constant(model, subgraph, tensor) if is_weight and tensor.type in CODE_STEPS else None


# ---- weights that float layers read ----------------------------------------------------------------------------------


def _widen_constants(model: ModelT, index: int, subgraph: SubGraphT, widened: Widened, buffers: _Buffers) -> None:
    for number, uses in fb.readers(subgraph).items():
        tensor = subgraph.tensors[number]
        if tensor.type not in CODE_STEPS or not all(_is_dynamic(model, subgraph, use) for use in uses):
            continue
        values = real_constant(model, subgraph, tensor)
        if values is None or _reason(model, subgraph, tensor, uses) is not None:
            continue
        place = TensorPlace(index, number)
        widened.add_constant(place, tensor)
        _describe(model, subgraph, tensor, uses, place, widened)
        wide = copy(tensor)
        wide.type, wide.quantization = _Type.FLOAT32, None
        wide.buffer = buffers.wide(tensor.buffer, values)
        subgraph.tensors[number] = wide


def _is_dynamic(model: ModelT, subgraph: SubGraphT, use: InputSlot) -> bool:
    """Whether an operator multiplies float activations by this weight, or copies floats out of a table of few bits."""
    operator = subgraph.operators[use.position]
    reader = reader_of(model, operator)
    if reader is None or not reader.reads(use.slot) or _has_peepholes(model, operator):
        return False
    if reader.looks_up:
        [output] = fb.indices(operator.outputs)
        is_narrow = subgraph.tensors[reader.weight_of(operator)].type != _Type.INT8
        return bool(is_narrow and subgraph.tensors[output].type == _Type.FLOAT32)
    return bool(subgraph.tensors[reader.data_of(operator)].type == _Type.FLOAT32)


def _is_weight(model: ModelT, subgraph: SubGraphT, use: InputSlot) -> bool:
    reader = reader_of(model, subgraph.operators[use.position])
    return reader is not None and reader.reads(use.slot)


def _has_peepholes(model: ModelT, operator: OperatorT) -> bool:
    """Whether a sequence LSTM has weights from its cell, which would have to become float with the others."""
    if fb.builtin_code(model, operator) != schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM:
        return False
    return any(index >= 0 for index in fb.indices(operator.inputs)[9:12])


# ---- what a weight was -----------------------------------------------------------------------------------------------


def _describe(
    model: ModelT, subgraph: SubGraphT, tensor: TensorT, uses: list[InputSlot], place: TensorPlace, widened: Widened
) -> None:
    """Notes what a weight is in the source, and its scales if its codes can nest."""
    data = model.buffers[tensor.buffer].data
    widened.stored_bytes[place] = 0 if data is None else len(data)
    if tensor.type not in CODE_STEPS:
        return
    if block_scales(model, subgraph, tensor) is not None:
        widened.blockwise += 1
        return
    if tensor.type != _Type.INT8:
        widened.narrow[fb.type_name(tensor.type)] += 1
    layout = _layout(model, subgraph, uses)
    channels = 0 if layout is None else len(as_matrix(np.asarray(fb.constant(model, tensor)), layout))
    if layout is not None and int8_reason(tensor, layout, channels) is None:
        scales = scales_of(tensor) / np.float32(CODE_STEPS[tensor.type])
        widened.scales[place] = np.broadcast_to(scales, (channels,)).copy()


def _layout(model: ModelT, subgraph: SubGraphT, uses: list[InputSlot]) -> Layout | None:
    """How the operators that read a weight as one order it; None if they differ, or none does."""
    found = {
        reader.layout
        for position, slot in uses
        if (reader := reader_of(model, subgraph.operators[position])) is not None and reader.reads(slot)
    }
    return found.pop() if len(found) == 1 else None


def _reason(model: ModelT, subgraph: SubGraphT, tensor: TensorT, uses: list[InputSlot]) -> str | None:
    """Why an INT8 weight cannot nest as codes, which is how the float values of one should; None if it can."""
    layout = _layout(model, subgraph, uses)
    if tensor.type != _Type.INT8 or layout is None:
        return None
    return int8_reason(tensor, layout, len(as_matrix(np.asarray(fb.constant(model, tensor)), layout)))


def _drop_block_scales(subgraph: SubGraphT, old: TensorT) -> None:
    """Empties the tensor of a blockwise weight's scales where no weight refers to it any more."""
    index = scales_tensor(old)
    if index >= 0 and index not in {*map(scales_tensor, subgraph.tensors), *fb.readers(subgraph)}:
        subgraph.tensors[index].buffer = 0


def _is_beside_nested(model: ModelT, subgraph: SubGraphT, tensor: int) -> bool:
    """Whether an operator of several weights reads it, another of which is nested: all have one type."""
    for position, _ in fb.readers(subgraph).get(tensor, []):
        operator = subgraph.operators[position]
        reader = reader_of(model, operator)
        if reader is not None and reader.others:
            read = [
                index for slot, index in enumerate(fb.indices(operator.inputs)) if index >= 0 and reader.reads(slot)
            ]
            if any(not subgraph.tensors[index].buffer for index in read):
                return True
    return False


def _serves_nested(model: ModelT, subgraph: SubGraphT, tensor: int) -> bool:
    """Whether a layer whose weight is nested reads it as its bias."""
    unpacked = {
        output
        for operator in subgraph.operators
        if fb.custom_name(model, operator) == CUSTOM_OP_NAME
        for output in fb.indices(operator.outputs)
    }
    for position, slot in fb.readers(subgraph).get(tensor, []):
        operator = subgraph.operators[position]
        reader = reader_of(model, operator)
        if reader is not None and slot == reader.bias and reader.weight_of(operator) in unpacked:
            return True
    return False
