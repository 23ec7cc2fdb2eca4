"""Operators that can read a nested weight: which of their inputs is what."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nq_tflite.format.bitpack import Layout
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, OperatorT


@dataclass(frozen=True)
class Reader:
    """The form of an operator that reads a weight.

    Attributes:
        layout: how its weight is ordered.
        data, weight, bias: slots of its inputs; no bias slot where it takes none.
        looks_up: whether it copies rows of the weight, as the data say, rather than multiply by them.
        others: slots of more weights, where it has several.
        beside: slots of other constants that belong to it.
        is_layer: whether it is one of those whose inputs rounding can look at.
        takes_int8: whether INT8 weights may be computed, and need not be constants.
    """

    layout: Layout
    data: int
    weight: int
    bias: int | None
    looks_up: bool = False
    others: tuple[int, ...] = ()
    beside: tuple[int, ...] = ()
    is_layer: bool = True
    takes_int8: bool = True

    def reads(self, slot: int) -> bool:
        """Whether a weight is read there."""
        return slot == self.weight or slot in self.others

    def slot_of(self, operator: OperatorT, tensor: int) -> int:
        """Where an operator reads a weight tensor."""
        inputs = fb.indices(operator.inputs)
        return next(slot for slot, each in enumerate(inputs) if each == tensor and self.reads(slot))

    def data_of(self, operator: OperatorT) -> int:
        """Index of the tensor that an operator multiplies by its weight, or of its lookup's indices."""
        return fb.indices(operator.inputs)[self.data]

    def weight_of(self, operator: OperatorT) -> int:
        """Index of an operator's weight tensor; -1 where it has none."""
        inputs = fb.indices(operator.inputs)
        return inputs[self.weight] if len(inputs) > self.weight else -1

    def bias_of(self, operator: OperatorT) -> int:
        """Index of an operator's bias tensor; -1 where it has none."""
        inputs = fb.indices(operator.inputs)
        return inputs[self.bias] if self.bias is not None and len(inputs) > self.bias else -1


READERS = {
    schema.BuiltinOperator.CONV_2D: Reader(Layout.MATRIX, data=0, weight=1, bias=2),
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: Reader(Layout.DEPTHWISE, data=0, weight=1, bias=2),
    schema.BuiltinOperator.FULLY_CONNECTED: Reader(Layout.MATRIX, data=0, weight=1, bias=2),
    schema.BuiltinOperator.TRANSPOSE_CONV: Reader(Layout.MATRIX, data=2, weight=1, bias=3),
    schema.BuiltinOperator.CONV_3D: Reader(Layout.DEPTHWISE, data=0, weight=1, bias=2, is_layer=False),
    schema.BuiltinOperator.BATCH_MATMUL: Reader(Layout.DEPTHWISE, data=0, weight=1, bias=None, is_layer=False),
    # Its kernel for INT8 multiplies weights by zero points before anything runs.
    schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM: Reader(
        Layout.MATRIX,
        data=0,
        weight=2,
        bias=None,
        others=(1, 3, 4, 5, 6, 7, 8, 16),
        beside=(12, 13, 14, 15, 17, 20, 21, 22, 23),
        is_layer=False,
        takes_int8=False,
    ),
    schema.BuiltinOperator.GATHER: Reader(Layout.MATRIX, data=1, weight=0, bias=None, looks_up=True),
    schema.BuiltinOperator.EMBEDDING_LOOKUP: Reader(Layout.MATRIX, data=0, weight=1, bias=None, looks_up=True),
}
_NAMES = [fb.builtin_name(code) for code in READERS]
#: Their names, for messages.
READER_NAMES = f"{', '.join(_NAMES[:-1])} and {_NAMES[-1]}"
#: Names of those that look up.
LOOKUP_NAMES = frozenset(fb.builtin_name(code) for code, reader in READERS.items() if reader.looks_up)


def reader_of(model: ModelT, operator: OperatorT) -> Reader | None:
    """The form of an operator; None if it cannot read a nested weight."""
    reader = READERS.get(fb.builtin_code(model, operator))
    if reader is not None and getattr(operator.builtinOptions, "adjY", False):
        return replace(reader, layout=Layout.MATRIX)  # BATCH_MATMUL by a transposed matrix
    return reader


def slots_of(model: ModelT, operator: OperatorT) -> Reader:
    """The form of an operator that reads a nested weight."""
    reader = reader_of(model, operator)
    if reader is None:
        raise ValueError(f"{fb.operator_name(model, operator)} reads no nested weight")
    return reader
