"""Operators that can read a nested weight: which of their inputs is what."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    layout: Layout
    data: int
    weight: int
    bias: int | None
    looks_up: bool = False

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
    return READERS.get(fb.builtin_code(model, operator))


def slots_of(model: ModelT, operator: OperatorT) -> Reader:
    """The form of an operator that reads a nested weight."""
    return READERS[fb.builtin_code(model, operator)]
