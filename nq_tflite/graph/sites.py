"""Where a model's weights are read, which of them can nest, and why the others cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.bitpack import CHANNEL_AXIS, Layout
from nq_tflite.format.constants import CUSTOM_OP_NAME
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import InputSlot, ModelT, OperatorT, SubGraphT, TensorPlace, TensorT
from nq_tflite.graph.quantization import scales_of
from nq_tflite.graph.readers import reader_of, slots_of

#: Constants of operators without nesting that are no larger than this are not worth telling of.
SMALL_BYTES = 1024
_Type = schema.TensorType
_NESTING_TYPES = {_Type.FLOAT32, _Type.INT8}
_TOLD_OF = {*_NESTING_TYPES, _Type.FLOAT16, _Type.INT16, _Type.INT4}
#: How the reason of weights in another type ends.
OTHER_TYPE = "weights; float32 and INT8 nest"
_INDEX_TYPES = {schema.TensorType.INT32, schema.TensorType.INT64}


@dataclass(frozen=True)
class Site:
    """A constant weight and the operators of one subgraph that read it, all of which look up or none."""

    subgraph: int
    tensor: int
    operators: tuple[int, ...]
    layout: Layout
    name: str

    @property
    def place(self) -> TensorPlace:
        """Of the weight tensor."""
        return TensorPlace(self.subgraph, self.tensor)


@dataclass(frozen=True)
class Unnested:
    """A weight that stays as it is, and why."""

    name: str
    operator: str
    shape: tuple[int, ...]
    bytes: int
    reason: str


def find_sites(
    model: ModelT, stored_bytes: Mapping[TensorPlace, int] | None = None
) -> tuple[list[list[Site]], list[Unnested]]:
    """Nestable weights, those that share a buffer together, in the order that they are read; and the others.

    The others are constants that a convolution, a dense layer or a lookup reads as its weight, and float32, float16 or
    int8 constants of more than SMALL_BYTES that any other operator reads. Biases and what belongs to nested weights are
    neither.

    Args:
        model: a stock model, or one widened.
        stored_bytes: of weights that have another type in the file.
    """
    by_buffer: dict[int, list[Site]] = {}
    left = []
    for index, subgraph in fb.subgraphs(model):
        for tensor_index, uses in sorted(fb.readers(subgraph).items(), key=lambda item: item[1]):
            tensor = subgraph.tensors[tensor_index]
            if not _num_bytes(model, tensor):
                continue
            layouts = {
                reader.layout
                for position, slot in uses
                if (reader := reader_of(model, subgraph.operators[position])) is not None and reader.reads(slot)
            }
            layout = min(layouts, default=Layout.MATRIX)
            site = Site(index, tensor_index, tuple(p for p, _ in uses), layout, fb.text(tensor.name))
            if not layouts:
                if _is_large(model, tensor) and not _serves_a_weight(model, subgraph, uses):
                    why = "sparse" if tensor.sparsity is not None else "an operator without nesting"
                    if tensor.type == _Type.INT4:
                        why = f"INT4 {OTHER_TYPE}"
                    left.append(unnested(model, site, why, stored_bytes))
                continue
            reason = _reason(model, subgraph, site, uses, len(layouts))
            if reason is not None:
                left.append(unnested(model, site, reason, stored_bytes))
            else:
                by_buffer.setdefault(tensor.buffer, []).extend(_by_use(model, site))
    return list(by_buffer.values()), left


def _by_use(model: ModelT, site: Site) -> list[Site]:
    """The lookups of a weight and the layers that multiply by it, each apart."""
    operators = model.subgraphs[site.subgraph].operators
    lookups = tuple(each for each in site.operators if slots_of(model, operators[each]).looks_up)
    layers = tuple(each for each in site.operators if each not in lookups)
    return [replace(site, operators=part) for part in sorted((lookups, layers)) if part]


def refuse_nested(model: ModelT) -> None:
    """Raises UnsupportedModelError for a model that is nested already."""
    operators = [operator for _, subgraph in fb.subgraphs(model) for operator in subgraph.operators]
    if any(fb.custom_name(model, operator) == CUSTOM_OP_NAME for operator in operators):
        raise UnsupportedModelError(
            "source", expected="a stock model", got="an already nested file", fix="Extract it first: nq-tflite extract."
        )


def _num_bytes(model: ModelT, tensor: TensorT) -> int:
    """Of a constant; 0 for any other tensor."""
    data = model.buffers[tensor.buffer].data
    return 0 if data is None else len(data)


def _is_large(model: ModelT, tensor: TensorT) -> bool:
    return tensor.type in _TOLD_OF and _num_bytes(model, tensor) > SMALL_BYTES


def _serves_a_weight(model: ModelT, subgraph: SubGraphT, uses: list[InputSlot]) -> bool:
    """Whether a constant is nothing but a bias, or what unpacks a nested weight."""

    def serves(position: int, slot: int) -> bool:
        operator = subgraph.operators[position]
        reader = reader_of(model, operator)
        if reader is not None and (slot == reader.bias or slot in reader.beside):
            return True
        return fb.custom_name(model, operator) == CUSTOM_OP_NAME

    return all(serves(position, slot) for position, slot in uses)


def _reason(model: ModelT, subgraph: SubGraphT, site: Site, uses: list[InputSlot], num_layouts: int) -> str | None:
    """Why the weight cannot nest, None if it can."""
    tensor = subgraph.tensors[site.tensor]
    operators = [subgraph.operators[position] for position, _ in uses]
    if tensor.type == schema.TensorType.UINT8:
        return "uint8 weights of the legacy quantization"
    if tensor.type not in _NESTING_TYPES:
        return f"{fb.type_name(tensor.type)} {OTHER_TYPE}"
    if any(reader_of(model, operator) is None for operator in operators):
        return "also read by an operator without nesting"
    if (
        num_layouts > 1
        or site.tensor in fb.indices(subgraph.outputs)
        or any(not slots_of(model, subgraph.operators[position]).reads(slot) for position, slot in uses)
    ):
        return "also read as something else than a weight"
    if len(fb.shape(tensor)) < 2:
        return "a vector"
    if tensor.sparsity is not None:
        return "sparse"
    for operator in operators:
        reason = _operator_reason(model, subgraph, operator, tensor)
        if reason is not None:
            return reason
    return None


def _operator_reason(model: ModelT, subgraph: SubGraphT, operator: OperatorT, weight: TensorT) -> str | None:
    reader, options, weight_type = slots_of(model, operator), operator.builtinOptions, weight.type
    data_type = subgraph.tensors[reader.data_of(operator)].type
    if getattr(options, "weightsFormat", 0):
        return "shuffled weights"
    if getattr(options, "axis", 0) or getattr(options, "batchDims", 0):
        return "looked up along another axis than the first"
    if reader.looks_up:
        return None if data_type in _INDEX_TYPES else f"indices of type {fb.type_name(data_type)}; int32 and int64 nest"
    if getattr(options, "adjY", False) and len(fb.shape(weight)) > 2:
        return "a batch of transposed matrices"
    if weight_type == schema.TensorType.INT8 and not reader.takes_int8:
        return "INT8 weights that the runtime's kernel reads before they can be unpacked"
    if weight_type == schema.TensorType.INT8 and data_type == schema.TensorType.FLOAT32:
        return "dynamic-range weights (INT8 under float activations)"
    return None if data_type == weight_type else "activations of another type than the weights"


def int8_reason(tensor: TensorT, layout: Layout, channels: int) -> str | None:
    """Why INT8 weights of this quantization cannot nest, None if they can."""
    quantization, num_scales = tensor.quantization, len(scales_of(tensor))
    if quantization is None or num_scales not in (1, channels):
        return "INT8 weights without a scale for each channel or one for all"
    if quantization.zeroPoint is not None and np.any(quantization.zeroPoint):
        return "asymmetric weights (zero_point is not 0)"
    if num_scales > 1 and quantization.quantizedDimension != CHANNEL_AXIS[layout]:
        return f"scales along axis {quantization.quantizedDimension}"
    return None


def alike(model: ModelT, group: list[Site]) -> bool:
    """Whether sites that share a buffer may share levels."""

    def key(site: Site) -> tuple[Any, ...]:
        tensor = fb.tensor_at(model, site.place)
        return site.layout, tensor.type, fb.shape(tensor), tuple(scales_of(tensor))

    return len({key(site) for site in group}) == 1


def as_matrix(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """A weight as [channels, depth], depth in its own order."""
    if layout is Layout.DEPTHWISE:
        return np.ascontiguousarray(values.reshape(-1, values.shape[-1]).T)
    return values.reshape(values.shape[0], -1)


def as_weight(matrix: NDArray[Any], layout: Layout, shape: tuple[int, ...]) -> NDArray[Any]:
    """[channels, depth] in the shape that the weight's reader wants."""
    return np.ascontiguousarray(matrix.T if layout is Layout.DEPTHWISE else matrix).reshape(shape)


def unnested(model: ModelT, site: Site, reason: str, stored_bytes: Mapping[TensorPlace, int] | None = None) -> Unnested:
    """A weight that stays as it is; `stored_bytes` as in `find_sites`."""
    tensor = fb.tensor_at(model, site.place)
    size = (stored_bytes or {}).get(site.place, _num_bytes(model, tensor))
    return Unnested(site.name, operator_name(model, site), fb.shape(tensor), size, reason)


def operator_name(model: ModelT, site: Site) -> str:
    """Name of the operator that reads the weight first."""
    return fb.operator_name(model, model.subgraphs[site.subgraph].operators[site.operators[0]])
