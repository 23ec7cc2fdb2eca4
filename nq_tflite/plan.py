"""What becomes of every weight, decided before the graph is touched: which nest, how, and why others do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite import flatbuffer as fb
from nq_tflite.biases import LevelBiases
from nq_tflite.bitpack import CHANNEL_AXIS, Layout, packed_bytes
from nq_tflite.errors import UnsupportedModelError, WeightsError
from nq_tflite.flatbuffer import schema
from nq_tflite.format import CUSTOM_OP_NAME, LevelOptions, OptionBlock, OutputType
from nq_tflite.levels import Codes
from nq_tflite.rounding import RoundingMethod, RoundingTask
from nq_tflite.spec import Nesting

_LAYOUTS = {
    schema.BuiltinOperator.CONV_2D: Layout.MATRIX,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: Layout.DEPTHWISE,
    schema.BuiltinOperator.FULLY_CONNECTED: Layout.MATRIX,
}
_DATA_SLOT, _WEIGHT_SLOT, BIAS_SLOT = 0, 1, 2


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


@dataclass(frozen=True)
class WeightPlan:
    """A weight as it will stand in the nested file.

    Attributes:
        sites: where it is read; several share one set of level buffers.
        operator, shape: name of the operator that reads it, and its shape.
        codes: int8 [channels, depth], left-aligned.
        scales: float32 [1] or [channels], real value of one code.
        target: float64 [channels, depth], the source's weights in units of the scale.
        biases: bias tensors that must change with the scales: {(subgraph, tensor): int32 [channels]}.
        level_biases: a bias for every level, in place of its one reader's (and of `biases`), in units of the scales.
    """

    sites: tuple[Site, ...]
    operator: str
    shape: tuple[int, ...]
    layout: Layout
    output_type: OutputType
    nesting: Nesting
    codes: Codes
    scales: NDArray[np.float32]
    target: NDArray[np.float64]
    biases: dict[tuple[int, int], NDArray[np.int32]]
    level_biases: LevelBiases | None = None

    def __post_init__(self) -> None:
        if self.level_biases is None:
            return
        readers = sum(len(site.operators) for site in self.sites)
        if readers != 1:
            raise ValueError(f"level biases of {self.name!r}: expected a weight with one reader, got {readers}")
        shape = len(self.nesting.precisions), self.codes.shape[0]
        if self.level_biases.deltas.shape != shape:
            raise ValueError(f"level biases of {self.name!r}: expected {shape}, got {self.level_biases.deltas.shape}")
        dtype = np.float32 if self.output_type is OutputType.FLOAT32 else np.int32
        if self.level_biases.base.dtype != dtype:
            raise ValueError(f"level biases of {self.name!r}: expected {dtype}, got {self.level_biases.base.dtype}")

    @property
    def name(self) -> str:
        """The weight tensor's name."""
        return self.sites[0].name

    def option_block(self, offsets: Sequence[int] | None = None) -> OptionBlock:
        """What the operator's options will say, with these offsets of its level buffers (all 0 while unknown)."""
        bits, biases = self.nesting.level_bits, self.level_biases
        steps = [0.0] * len(bits) if biases is None else biases.steps.tolist()
        levels = tuple(map(LevelOptions, offsets or [0] * len(bits), bits, steps))
        channels, depth = self.codes.shape
        return OptionBlock(self.layout, self.output_type, channels, depth, levels, has_bias=biases is not None)


@dataclass(frozen=True)
class Plan:
    """Every weight's fate."""

    weights: tuple[WeightPlan, ...]
    unnested: tuple[Unnested, ...]


def make_plan(
    model: Any, nesting: Nesting, method: RoundingMethod, progress: Callable[[int, int], None] | None = None
) -> Plan:
    """Finds the weights of a TFLite model that can nest and rounds them; the model is left as it is.

    Args:
        model: the schema's ModelT: full-int8 or float.
        nesting: levels for every weight.
        method: how to choose the codes.
        progress: called with (weights done, weights in all).

    Raises:
        UnsupportedModelError: already nested, dynamic-range, or no weight can nest.
        WeightsError: NaN or infinite weights or scales.
    """
    groups, unnested = _find_sites(model)
    weights = []
    for done, group in enumerate(groups):
        weight, reason = _plan_weight(model, group, nesting, method)
        weights += [weight] if weight else []
        unnested += [] if weight else [_unnested(model, group[0], reason)]
        if progress:
            progress(done + 1, len(groups))
    if not weights:
        reasons = sorted({f"{w.operator}: {w.reason}" for w in unnested}) or [
            "no CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED"
        ]
        raise UnsupportedModelError(
            "weights to nest",
            expected="a full-int8 or float model with convolution or dense weights",
            got="none; " + "; ".join(reasons),
            fix="Convert the Keras model with representative_data instead.",
        )
    return Plan(tuple(weights), tuple(unnested))


def _find_sites(model: Any) -> tuple[list[list[Site]], list[Unnested]]:
    """Nestable weights, those that share a buffer together, and the others with their reasons."""
    by_buffer: dict[int, list[Site]] = {}
    unnested = []
    for index, subgraph in fb.subgraphs(model):
        readers = fb.consumers(subgraph)
        for tensor_index, uses in readers.items():
            weights_of = [subgraph.operators[p] for p, slot in uses if slot == _WEIGHT_SLOT]
            layouts = {_LAYOUTS.get(fb.builtin_code(model, op)) for op in weights_of} - {None}
            _refuse_nested(model, subgraph)
            if not layouts:
                continue
            tensor = subgraph.tensors[tensor_index]
            layout = min(layouts, key=lambda v: v or 0)
            site = Site(index, tensor_index, tuple(p for p, _ in uses), layout or Layout.MATRIX, fb.text(tensor.name))
            reason = _site_reason(model, subgraph, site, uses, len(layouts))
            if reason:
                unnested.append(_unnested(model, site, reason))
            else:
                by_buffer.setdefault(tensor.buffer, []).append(site)
    return list(by_buffer.values()), unnested


def _refuse_nested(model: Any, subgraph: Any) -> None:
    if any(fb.custom_name(model, operator) == CUSTOM_OP_NAME for operator in subgraph.operators or []):
        raise UnsupportedModelError(
            "source", expected="a stock model", got="an already nested file", fix="Extract it first: nq-tflite extract."
        )


def _site_reason(model: Any, subgraph: Any, site: Site, uses: list[tuple[int, int]], num_layouts: int) -> str:
    """Why the weight cannot nest, "" if it can. Raises for models that must not be converted at all."""
    tensor = subgraph.tensors[site.tensor]
    operators = [subgraph.operators[position] for position, _ in uses]
    if fb.constant(model, tensor) is None:
        return "not a constant float32, int8 or uint8 tensor (computed, or float16 behind DEQUANTIZE)"
    if site.tensor in fb.indices(subgraph.outputs) or any(slot != _WEIGHT_SLOT for _, slot in uses) or num_layouts > 1:
        return "also read as something else than a weight"
    if any(fb.builtin_code(model, operator) not in _LAYOUTS for operator in operators):
        return "also read by an operator without nesting"
    if tensor.sparsity is not None:
        return "sparse"
    if any(getattr(operator.builtinOptions, "weightsFormat", 0) for operator in operators):
        return "shuffled weights"
    data_types = {subgraph.tensors[operator.inputs[_DATA_SLOT]].type for operator in operators}
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


def _plan_weight(
    model: Any, group: list[Site], nesting: Nesting, method: RoundingMethod
) -> tuple[WeightPlan | None, str]:
    site = group[0]
    tensor = model.subgraphs[site.subgraph].tensors[site.tensor]
    values = fb.constant(model, tensor)
    if values is None:
        return None, "not constant"
    if not _alike(model, group):
        return None, "one buffer read with several shapes or scales"
    matrix = _as_matrix(values, site.layout)
    channels, depth = matrix.shape
    if packed_bytes(site.layout, channels, depth, nesting.part_bits) >= values.size:
        return None, f"too small to gain: padded to superblocks, {nesting.part_bits} bits take as much as INT8"
    biases: dict[tuple[int, int], NDArray[np.int32]] = {}
    if tensor.type == schema.TensorType.FLOAT32:
        scales, output_type = _float_scales(matrix, nesting, site.name), OutputType.FLOAT32
        target = matrix / np.where(scales > 0, scales, 1)[:, None].astype(np.float64)
    else:
        reason = _int8_reason(tensor, site.layout, channels)
        if reason:
            return None, reason
        scales, output_type = _checked_scales(tensor, site.name), OutputType.INT8
        silent = ~matrix.any(axis=1)
        if silent.any() and len(scales) == 1:
            return None, "an all-zero channel under one scale for all channels"
        if silent.any():
            scales, biases = _quieten(model, group, scales, silent)
        target = matrix.astype(np.float64)
    taps = 1 if len(fb.shape(tensor)) == 2 else int(np.prod(fb.shape(tensor)[1:3]))
    codes = method(RoundingTask(target, taps, nesting))
    return WeightPlan(
        sites=tuple(group),
        operator=_operator_name(model, site),
        shape=fb.shape(tensor),
        layout=site.layout,
        output_type=output_type,
        nesting=nesting,
        codes=codes,
        scales=scales,
        target=target,
        biases=biases,
    ), ""


def _alike(model: Any, group: list[Site]) -> bool:
    """Whether sites that share a buffer may share levels."""

    def key(site: Site) -> tuple[Any, ...]:
        tensor = model.subgraphs[site.subgraph].tensors[site.tensor]
        quantization = tensor.quantization
        scale = () if quantization is None or quantization.scale is None else tuple(quantization.scale)
        return site.layout, tensor.type, fb.shape(tensor), scale

    return len({key(site) for site in group}) == 1


def _as_matrix(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """[channels, depth], depth in the weight's own order."""
    if layout is Layout.DEPTHWISE:
        return np.ascontiguousarray(values.reshape(-1, values.shape[-1]).T)
    return values.reshape(values.shape[0], -1)


def _float_scales(matrix: NDArray[np.float32], nesting: Nesting, name: str) -> NDArray[np.float32]:
    """Symmetric min-max: the largest magnitude of a channel is the largest n-bit code; 0 for an all-zero channel."""
    if not np.isfinite(matrix).all():
        raise WeightsError(
            f"weight {name!r}",
            expected="finite values",
            got=f"{int((~np.isfinite(matrix)).sum())} NaN or infinite of {matrix.size}",
            fix="Repair the model's weights.",
        )
    largest_code = 128 - (1 << (8 - nesting.full_bits))
    scales: NDArray[np.float32] = (np.abs(matrix).max(axis=1) / largest_code).astype(np.float32)
    return scales


def _int8_reason(tensor: Any, layout: Layout, channels: int) -> str:
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) not in (1, channels):
        return "INT8 weights without a scale for each channel or one for all"
    if quantization.zeroPoint is not None and np.any(quantization.zeroPoint):
        return "asymmetric weights (zero_point is not 0)"
    if len(quantization.scale) > 1 and quantization.quantizedDimension != CHANNEL_AXIS[layout]:
        return f"scales along axis {quantization.quantizedDimension}"
    return ""


def _checked_scales(tensor: Any, name: str) -> NDArray[np.float32]:
    scales = np.asarray(tensor.quantization.scale, np.float32)
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise WeightsError(
            f"scales of weight {name!r}",
            expected="finite and positive",
            got=f"{int((~(np.isfinite(scales) & (scales > 0))).sum())} others of {len(scales)}",
            fix="Convert the model again with a current tf.lite.TFLiteConverter.",
        )
    return scales


def _quieten(
    model: Any, group: list[Site], scales: NDArray[np.float32], silent: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], dict[tuple[int, int], NDArray[np.int32]]]:
    """Gives all-zero channels so small a scale that the middle of their cell, which is not zero, does not count.

    The bias of such a channel is worth scale * input scale a unit, so it grows as the scale shrinks, up to 2^30.
    """
    old_biases = {}
    for site in group:
        subgraph = model.subgraphs[site.subgraph]
        for position in site.operators:
            inputs = fb.indices(subgraph.operators[position].inputs)
            index = inputs[BIAS_SLOT] if len(inputs) > BIAS_SLOT else -1
            values = fb.constant(model, subgraph.tensors[index]) if index >= 0 else None
            if values is not None:
                old_biases[site.subgraph, index] = values.astype(np.int64)
    largest = np.max([np.abs(b) for b in old_biases.values()], axis=0) if old_biases else np.zeros(len(scales))
    shrink = np.where(silent, np.clip(largest, 1, 1 << 30) / float(1 << 30), 1.0)
    new_scales = (scales * shrink).astype(np.float32)
    grow = scales.astype(np.float64) / new_scales
    return new_scales, {at: np.rint(bias * grow).astype(np.int32) for at, bias in old_biases.items()}


def _unnested(model: Any, site: Site, reason: str) -> Unnested:
    subgraph = model.subgraphs[site.subgraph]
    tensor = subgraph.tensors[site.tensor]
    data = model.buffers[tensor.buffer].data
    size = 0 if data is None else len(data)
    return Unnested(site.name, _operator_name(model, site), fb.shape(tensor), size, reason)


def _operator_name(model: Any, site: Site) -> str:
    return fb.operator_name(model, model.subgraphs[site.subgraph].operators[site.operators[0]])
