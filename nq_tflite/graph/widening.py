"""Gives float16 and dynamic-range weights the float32 values that they stand for, so that they nest as float weights.

A converter stores float16 weights as constants behind DEQUANTIZE, and dynamic-range ones as INT8 constants that a layer
of float activations reads. Weights that do not nest go back to what they were.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.constants import CUSTOM_OP_NAME
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import InputSlot, ModelT, OperatorT, SubGraphT, TensorPlace, TensorT
from nq_tflite.graph.quantization import scales_of
from nq_tflite.graph.readers import reader_of, slots_of
from nq_tflite.graph.sites import as_matrix, as_weight, int8_reason


@dataclass
class Widened:
    """What was widened, by the weight's place.

    Attributes:
        scales: of dynamic-range weights, float32 [channels]: the values are whole multiples of them.
        stored_bytes: of every weight, in the source.
    """

    scales: dict[TensorPlace, NDArray[np.float32]] = field(default_factory=dict)
    stored_bytes: dict[TensorPlace, int] = field(default_factory=dict)
    _int8: dict[TensorPlace, TensorT] = field(default_factory=dict)
    _float16: dict[TensorPlace, OperatorT] = field(default_factory=dict)

    def add_int8(self, place: TensorPlace, tensor: TensorT, scales: NDArray[np.float32], size: int) -> None:
        """Keeps a dynamic-range weight's tensor as it was."""
        self._int8[place], self.scales[place], self.stored_bytes[place] = copy(tensor), scales, size

    def add_float16(self, place: TensorPlace, operator: OperatorT, size: int) -> None:
        """Keeps the DEQUANTIZE that gave a weight."""
        self._float16[place], self.stored_bytes[place] = operator, size

    def restore(self, model: ModelT) -> None:
        """Makes every weight that is a constant still what it was; call it when the others are nested.

        Biases of nested layers stay float32, for fused layers want them constant. The others go back with their
        weights: tensorflow's XNNPACK takes no layer that reads one through DEQUANTIZE and the other not.
        """
        for (index, tensor), old in self._int8.items():
            if model.subgraphs[index].tensors[tensor].buffer:
                model.subgraphs[index].tensors[tensor] = old
        for (index, tensor), operator in reversed(self._float16.items()):
            subgraph = model.subgraphs[index]
            if subgraph.tensors[tensor].buffer and not _serves_nested(model, subgraph, tensor):
                subgraph.tensors[tensor].buffer = 0
                subgraph.operators.insert(0, operator)
        for (index, _), operator in self._float16.items():
            subgraph, source = model.subgraphs[index], fb.indices(operator.inputs)[0]
            if source not in fb.readers(subgraph):
                subgraph.tensors[source].buffer = 0


def widen(model: ModelT) -> Widened:
    """Changes the model in place."""
    widened, buffers = Widened(), _Buffers(model)
    for index, subgraph in fb.subgraphs(model):
        _widen_float16(model, index, subgraph, widened, buffers)
        _widen_int8(model, index, subgraph, widened, buffers)
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


def _widen_float16(model: ModelT, index: int, subgraph: SubGraphT, widened: Widened, buffers: _Buffers) -> None:
    kept = []
    for operator in subgraph.operators:
        values = _float16_constant(model, subgraph, operator)
        if values is None:
            kept.append(operator)
            continue
        [output] = fb.indices(operator.outputs)
        source = subgraph.tensors[fb.indices(operator.inputs)[0]].buffer
        subgraph.tensors[output].buffer = buffers.wide(source, values.astype(np.float32))
        widened.add_float16(TensorPlace(index, output), operator, values.nbytes)
    subgraph.operators = kept


def _float16_constant(model: ModelT, subgraph: SubGraphT, operator: OperatorT) -> NDArray[np.float16] | None:
    """What a DEQUANTIZE reads, if that is a float16 constant."""
    if fb.builtin_code(model, operator) != schema.BuiltinOperator.DEQUANTIZE:
        return None
    values = fb.constant(model, subgraph.tensors[fb.indices(operator.inputs)[0]])
    is_output = fb.indices(operator.outputs)[0] in fb.indices(subgraph.outputs)
    return values if values is not None and values.dtype == np.float16 and not is_output else None


def _widen_int8(model: ModelT, index: int, subgraph: SubGraphT, widened: Widened, buffers: _Buffers) -> None:
    for tensor_index, uses in fb.readers(subgraph).items():
        tensor = subgraph.tensors[tensor_index]
        values = fb.constant(model, tensor) if tensor.type == schema.TensorType.INT8 else None
        if values is None or not all(_is_dynamic(model, subgraph, use) for use in uses):
            continue
        layout = slots_of(model, subgraph.operators[uses[0].position]).layout
        matrix = as_matrix(values, layout)
        if int8_reason(tensor, layout, len(matrix)) is not None:
            continue
        scales = np.broadcast_to(scales_of(tensor), (len(matrix),)).copy()
        widened.add_int8(TensorPlace(index, tensor_index), tensor, scales, values.nbytes)
        wide = copy(tensor)
        wide.type, wide.quantization = schema.TensorType.FLOAT32, None
        real = as_weight(matrix.astype(np.float32) * scales[:, None], layout, values.shape)
        wide.buffer = buffers.wide(tensor.buffer, real)
        subgraph.tensors[tensor_index] = wide


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


def _is_dynamic(model: ModelT, subgraph: SubGraphT, use: InputSlot) -> bool:
    """Whether an operator multiplies float activations by this weight."""
    operator = subgraph.operators[use.position]
    reader = reader_of(model, operator)
    if reader is None or reader.looks_up or use.slot != reader.weight:
        return False
    return bool(subgraph.tensors[reader.data_of(operator)].type == schema.TensorType.FLOAT32)
