"""A weight before it is rounded: its scales, and its values in units of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import WeightsError
from nq_tflite.format.bitpack import Layout
from nq_tflite.format.constants import OutputType
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import TensorPlace
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.refusals import looked_up, refusal
from nq_tflite.graph.sites import Site, as_matrix, operator_name
from nq_tflite.graph.widening import Widened

Real = NDArray[np.float64]


@dataclass(frozen=True)
class OwnBias:
    """The bias of a weight's only reader, as a level may correct it.

    Attributes:
        values: [channels], in units of the bias tensor under the draft's scales; zeros where there is none.
        unit: [1] or [channels], what one code times one of the input's real units is worth in them.
    """

    values: Real
    unit: Real


@dataclass(frozen=True)
class Draft:
    """A weight that will nest.

    Attributes:
        sites: where it is read; several share one set of level buffers.
        operator, shape: name of the operator that reads it, and its shape.
        taps: spatial size of a kernel.
        scales: float32 [1] or [channels], real value of one code.
        target: float64 [channels, depth], the source's weights in units of the scale.
        biases: bias tensors that must change with the scales: {(subgraph, tensor): int32 [channels]}.
        own_bias: what level biases would replace; None where there can be none.
        looked_up: whether rows of it are copied somewhere, and not only multiplied by.
    """

    sites: tuple[Site, ...]
    operator: str
    shape: tuple[int, ...]
    taps: int
    layout: Layout
    output_type: OutputType
    scales: NDArray[np.float32]
    target: Real
    biases: dict[TensorPlace, NDArray[np.int32]]
    own_bias: OwnBias | None
    looked_up: bool


def draft_weight(
    model: Any,
    group: list[Site],
    nesting: Nesting,
    sources: Mapping[TensorPlace, NDArray[np.float32]],
    *,
    widened: Widened | None = None,
    forced: bool = False,
) -> Draft | str:
    """Scales and target of a weight, or the reason why it cannot nest.

    Args:
        model, group, nesting, forced: as `refusal`.
        sources: the float weights that INT8 ones were rounded from, where known, by (subgraph, tensor): their target.
        widened: the float weights that the source has in another type.

    Raises:
        WeightsError: NaN or infinite weights or scales.
    """
    reason = refusal(model, group, nesting, forced=forced)
    if reason:
        return reason
    site = group[0]
    tensor = model.subgraphs[site.subgraph].tensors[site.tensor]
    matrix = as_matrix(np.asarray(fb.constant(model, tensor)), site.layout)
    biases: dict[TensorPlace, NDArray[np.int32]] = {}
    if tensor.type == schema.TensorType.FLOAT32:
        scales, output_type = _float_scales(matrix, nesting, site.name), OutputType.FLOAT32
        given = None if widened is None else widened.scales.get(site.place)
        if given is not None:
            scales = np.where(scales > 0, given, scales)
        target = matrix / np.where(scales > 0, scales, 1)[:, None].astype(np.float64)
        if given is not None:
            target = np.rint(target)  # the source's codes
    else:
        scales, output_type = _checked_scales(tensor, site.name), OutputType.INT8
        silent = ~matrix.any(axis=1)
        target = matrix.astype(np.float64)
        source = sources.get(site.place)
        if source is not None:
            target = np.where(silent[:, None], 0.0, as_matrix(source, site.layout) / scales.astype(np.float64)[:, None])
        if silent.any() and len(scales) > 1:
            scales, biases = _quieten(model, group, scales, silent)
    return Draft(
        sites=tuple(group),
        operator=operator_name(model, site),
        shape=fb.shape(tensor),
        taps=1 if len(fb.shape(tensor)) != 4 else int(np.prod(fb.shape(tensor)[1:3])),
        layout=site.layout,
        output_type=output_type,
        scales=scales,
        target=target,
        biases=biases,
        own_bias=_own_bias(model, group, scales, len(matrix)),
        looked_up=looked_up(model, group),
    )


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
) -> tuple[NDArray[np.float32], dict[TensorPlace, NDArray[np.int32]]]:
    """Gives all-zero channels so small a scale that the middle of their cell, which is not zero, does not count.

    The bias of such a channel is worth scale * input scale a unit, so it grows as the scale shrinks, up to 2^30.
    """
    old_biases = {}
    for site in group:
        subgraph = model.subgraphs[site.subgraph]
        for position in site.operators:
            operator = subgraph.operators[position]
            index = slots_of(model, operator).bias_of(operator)
            values = fb.constant(model, subgraph.tensors[index]) if index >= 0 else None
            if values is not None:
                old_biases[TensorPlace(site.subgraph, index)] = values.astype(np.int64)
    largest = np.max([np.abs(b) for b in old_biases.values()], axis=0) if old_biases else np.zeros(len(scales))
    shrink = np.where(silent, np.clip(largest, 1, 1 << 30) / float(1 << 30), 1.0)
    new_scales = (scales * shrink).astype(np.float32)
    grow = scales.astype(np.float64) / new_scales
    return new_scales, {at: np.rint(bias * grow).astype(np.int32) for at, bias in old_biases.items()}


def _own_bias(model: Any, group: list[Site], scales: NDArray[np.float32], channels: int) -> OwnBias | None:
    if len(group) != 1 or len(group[0].operators) != 1:
        return None
    [site] = group
    subgraph = model.subgraphs[site.subgraph]
    operator = subgraph.operators[site.operators[0]]
    reader = slots_of(model, operator)
    if reader.bias is None:
        return None
    data, weight = subgraph.tensors[operator.inputs[reader.data]], subgraph.tensors[site.tensor]
    index = reader.bias_of(operator)
    if index < 0 and reader.bias > reader.weight + 1:
        return None  # TRANSPOSE_CONV's bias came with a later version of the operator
    values = np.zeros(channels) if index < 0 else fb.constant(model, subgraph.tensors[index])
    if values is None or values.shape != (channels,):
        return None
    if weight.type == schema.TensorType.FLOAT32:
        return OwnBias(values.astype(np.float64), scales.astype(np.float64))
    grow = np.asarray(weight.quantization.scale, np.float64) / scales
    return OwnBias(values * grow, np.full(1, 1.0 / float(data.quantization.scale[0])))
