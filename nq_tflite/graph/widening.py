"""Gives float16 and dynamic-range weights the float32 values that they stand for, so that they nest as float weights.

A converter stores float16 weights as constants behind DEQUANTIZE, and dynamic-range ones as INT8 constants that a layer
of float activations reads. Weights that do not nest go back to what they were.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.bitpack import CHANNEL_AXIS
from nq_tflite.format.constants import CUSTOM_OP_NAME
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.readers import Reader, reader_of, slots_of
from nq_tflite.graph.sites import int8_reason

Place = tuple[int, int]


@dataclass
class Widened:
    """What was widened, by (subgraph, tensor).

    Attributes:
        scales: of dynamic-range weights, float32 [channels]: the values are whole multiples of them.
        stored_bytes: of every weight, in the source.
    """

    scales: dict[Place, NDArray[np.float32]] = field(default_factory=dict)
    stored_bytes: dict[Place, int] = field(default_factory=dict)
    _int8: dict[Place, Any] = field(default_factory=dict)
    _float16: dict[Place, Any] = field(default_factory=dict)

    def add_int8(self, place: Place, tensor: Any, scales: NDArray[np.float32], size: int) -> None:
        """Keeps a dynamic-range weight's tensor as it was."""
        self._int8[place], self.scales[place], self.stored_bytes[place] = copy(tensor), scales, size

    def add_float16(self, place: Place, operator: Any, size: int) -> None:
        """Keeps the DEQUANTIZE that gave a weight."""
        self._float16[place], self.stored_bytes[place] = operator, size

    def restore(self, model: Any) -> None:
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
            subgraph = model.subgraphs[index]
            if int(operator.inputs[0]) not in fb.readers(subgraph):
                subgraph.tensors[operator.inputs[0]].buffer = 0


def widen(model: Any) -> Widened:
    """Changes the model in place."""
    widened, buffers = Widened(), _Buffers(model)
    for index, subgraph in fb.subgraphs(model):
        _widen_float16(model, index, subgraph, widened, buffers)
        _widen_int8(model, index, subgraph, widened, buffers)
    return widened


class _Buffers:
    """New buffers, one for equal values of one old one."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._known: dict[tuple[int, bytes], int] = {}

    def wide(self, old: int, values: NDArray[np.float32]) -> int:
        """Index of a buffer with these values, which stand for those of buffer `old`."""
        key = old, values.tobytes()
        if key not in self._known:
            self._known[key] = fb.add_buffer(self._model, values)
        return self._known[key]


def _widen_float16(model: Any, index: int, subgraph: Any, widened: Widened, buffers: _Buffers) -> None:
    kept = []
    for operator in subgraph.operators:
        values = _float16_constant(model, subgraph, operator)
        if values is None:
            kept.append(operator)
            continue
        [output] = fb.indices(operator.outputs)
        source = subgraph.tensors[operator.inputs[0]].buffer
        subgraph.tensors[output].buffer = buffers.wide(source, values.astype(np.float32))
        widened.add_float16((index, output), operator, values.nbytes)
    subgraph.operators = kept


def _float16_constant(model: Any, subgraph: Any, operator: Any) -> NDArray[np.float16] | None:
    """What a DEQUANTIZE reads, if that is a float16 constant."""
    if fb.builtin_code(model, operator) != schema.BuiltinOperator.DEQUANTIZE:
        return None
    values = fb.constant(model, subgraph.tensors[operator.inputs[0]])
    is_output = operator.outputs[0] in fb.indices(subgraph.outputs)
    return values if values is not None and values.dtype == np.float16 and not is_output else None


def _widen_int8(model: Any, index: int, subgraph: Any, widened: Widened, buffers: _Buffers) -> None:
    for tensor_index, uses in fb.readers(subgraph).items():
        tensor = subgraph.tensors[tensor_index]
        values = fb.constant(model, tensor) if tensor.type == schema.TensorType.INT8 else None
        if values is None or not all(_is_dynamic(model, subgraph, position, slot) for position, slot in uses):
            continue
        layout = slots_of(model, subgraph.operators[uses[0][0]]).layout
        channels = values.shape[CHANNEL_AXIS[layout]]
        if int8_reason(tensor, layout, channels):
            continue
        scales = np.broadcast_to(np.asarray(tensor.quantization.scale, np.float32), (channels,)).copy()
        widened.add_int8((index, tensor_index), tensor, scales, values.nbytes)
        along = [1] * values.ndim
        along[CHANNEL_AXIS[layout]] = channels
        wide = copy(tensor)
        wide.type, wide.quantization = schema.TensorType.FLOAT32, None
        wide.buffer = buffers.wide(tensor.buffer, values.astype(np.float32) * scales.reshape(along))
        subgraph.tensors[tensor_index] = wide


def _serves_nested(model: Any, subgraph: Any, tensor: int) -> bool:
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
        if reader is not None and slot == reader.bias and operator.inputs[reader.weight] in unpacked:
            return True
    return False


def _is_dynamic(model: Any, subgraph: Any, position: int, slot: int) -> bool:
    """Whether an operator multiplies float activations by this weight."""
    operator = subgraph.operators[position]
    reader: Reader | None = reader_of(model, operator)
    if reader is None or reader.looks_up or slot != reader.weight:
        return False
    return bool(subgraph.tensors[operator.inputs[reader.data]].type == schema.TensorType.FLOAT32)
