"""Where a model's weights are read, which of them can nest, and why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite import flatbuffer as fb
from nq_tflite.bitpack import CHANNEL_AXIS, Layout
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.flatbuffer import schema
from nq_tflite.format import CUSTOM_OP_NAME

_LAYOUTS = {
    schema.BuiltinOperator.CONV_2D: Layout.MATRIX,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: Layout.DEPTHWISE,
    schema.BuiltinOperator.FULLY_CONNECTED: Layout.MATRIX,
}
DATA_SLOT, WEIGHT_SLOT, BIAS_SLOT = 0, 1, 2


@dataclass(frozen=True)
class Site:
    """A constant weight and the operators of one subgraph that read it."""

    subgraph: int
    tensor: int
    operators: tuple[int, ...]
    layout: Layout
    name: str


@dataclass(frozen=True)
class Unnested:
    """A weight that stays as it is, and why."""

    name: str
    operator: str
    shape: tuple[int, ...]
    bytes: int
    reason: str


def find_sites(model: Any) -> tuple[list[list[Site]], list[Unnested]]:
    """Nestable weights, those that share a buffer together, in the order that they are read; and the others.

    Raises:
        UnsupportedModelError: already nested, or dynamic-range.
    """
    by_buffer: dict[int, list[Site]] = {}
    left = []
    for index, subgraph in fb.subgraphs(model):
        _refuse_nested(model, subgraph)
        for tensor_index, uses in sorted(fb.consumers(subgraph).items(), key=lambda item: item[1]):
            weights_of = [subgraph.operators[p] for p, slot in uses if slot == WEIGHT_SLOT]
            layouts = {_LAYOUTS.get(fb.builtin_code(model, op)) for op in weights_of} - {None}
            if not layouts:
                continue
            tensor = subgraph.tensors[tensor_index]
            layout = min(layouts, key=lambda v: v or 0)
            site = Site(index, tensor_index, tuple(p for p, _ in uses), layout or Layout.MATRIX, fb.text(tensor.name))
            reason = _reason(model, subgraph, site, uses, len(layouts))
            if reason:
                left.append(unnested(model, site, reason))
            else:
                by_buffer.setdefault(tensor.buffer, []).append(site)
    return list(by_buffer.values()), left


def _refuse_nested(model: Any, subgraph: Any) -> None:
    if any(fb.custom_name(model, operator) == CUSTOM_OP_NAME for operator in subgraph.operators or []):
        raise UnsupportedModelError(
            "source", expected="a stock model", got="an already nested file", fix="Extract it first: nq-tflite extract."
        )


def _reason(model: Any, subgraph: Any, site: Site, uses: list[tuple[int, int]], num_layouts: int) -> str:
    """Why the weight cannot nest, "" if it can. Raises for models that must not be converted at all."""
    tensor = subgraph.tensors[site.tensor]
    operators = [subgraph.operators[position] for position, _ in uses]
    if fb.constant(model, tensor) is None:
        return "not a constant float32, int8 or uint8 tensor (computed, or float16 behind DEQUANTIZE)"
    if site.tensor in fb.indices(subgraph.outputs) or any(slot != WEIGHT_SLOT for _, slot in uses) or num_layouts > 1:
        return "also read as something else than a weight"
    if any(fb.builtin_code(model, operator) not in _LAYOUTS for operator in operators):
        return "also read by an operator without nesting"
    if tensor.sparsity is not None:
        return "sparse"
    if any(getattr(operator.builtinOptions, "weightsFormat", 0) for operator in operators):
        return "shuffled weights"
    data_types = {subgraph.tensors[operator.inputs[DATA_SLOT]].type for operator in operators}
    if tensor.type == schema.TensorType.UINT8:
        return "uint8 weights of the legacy quantization"
    if tensor.type == schema.TensorType.INT8 and data_types == {schema.TensorType.FLOAT32}:
        raise UnsupportedModelError(
            f"weight {site.name!r}",
            expected="a full-int8 or float model",
            got="a dynamic-range model (int8 weights, float activations)",
            fix="Convert with representative data, or nest the float model.",
        )
    if data_types != {tensor.type}:
        return "activations of another type than the weights"
    return ""


def int8_reason(tensor: Any, layout: Layout, channels: int) -> str:
    """Why INT8 weights of this quantization cannot nest, "" if they can."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) not in (1, channels):
        return "INT8 weights without a scale for each channel or one for all"
    if quantization.zeroPoint is not None and np.any(quantization.zeroPoint):
        return "asymmetric weights (zero_point is not 0)"
    if len(quantization.scale) > 1 and quantization.quantizedDimension != CHANNEL_AXIS[layout]:
        return f"scales along axis {quantization.quantizedDimension}"
    return ""


def alike(model: Any, group: list[Site]) -> bool:
    """Whether sites that share a buffer may share levels."""

    def key(site: Site) -> tuple[Any, ...]:
        tensor = model.subgraphs[site.subgraph].tensors[site.tensor]
        quantization = tensor.quantization
        scale = () if quantization is None or quantization.scale is None else tuple(quantization.scale)
        return site.layout, tensor.type, fb.shape(tensor), scale

    return len({key(site) for site in group}) == 1


def as_matrix(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """A weight as [channels, depth], depth in its own order."""
    if layout is Layout.DEPTHWISE:
        return np.ascontiguousarray(values.reshape(-1, values.shape[-1]).T)
    return values.reshape(values.shape[0], -1)


def as_weight(matrix: NDArray[Any], layout: Layout, shape: tuple[int, ...]) -> NDArray[Any]:
    """[channels, depth] in the shape that the weight's reader wants."""
    return np.ascontiguousarray(matrix.T if layout is Layout.DEPTHWISE else matrix).reshape(shape)


def unnested(model: Any, site: Site, reason: str) -> Unnested:
    """A weight that stays as it is."""
    subgraph = model.subgraphs[site.subgraph]
    tensor = subgraph.tensors[site.tensor]
    data = model.buffers[tensor.buffer].data
    size = 0 if data is None else len(data)
    return Unnested(site.name, operator_name(model, site), fb.shape(tensor), size, reason)


def operator_name(model: Any, site: Site) -> str:
    """Name of the operator that reads the weight first."""
    return fb.operator_name(model, model.subgraphs[site.subgraph].operators[site.operators[0]])
