"""A weight before it is rounded: its scales, and its values in units of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.group_scales import check_groups, nearest_group_scales
from nq_tflite.errors import WeightsError
from nq_tflite.format.bitpack import Layout
from nq_tflite.format.constants import OutputType
from nq_tflite.format.groups import spread, storable
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT, TensorPlace, TensorT
from nq_tflite.graph.quantization import activation_scale, scales_of
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.refusals import lookups, refusal
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
        scales: float32 [1], [channels] or, for groups of a channel's weights, [channels, groups]; real value of one
            code.
        target: float64 [channels, depth], the source's weights in units of their scales.
        biases: bias tensors that must change with the scales: {(subgraph, tensor): int32 [channels]}.
        own_bias: what level biases would replace; None if there can be none.
        lookups: the sites where rows of it are copied somewhere, and not multiplied by.
        free: whether its scales may be others: not those of codes that a source has already.
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
    lookups: tuple[Site, ...]
    free: bool

    @property
    def looked_up(self) -> bool:
        """Whether rows of it are copied somewhere."""
        return bool(self.lookups)

    @property
    def in_groups(self) -> bool:
        """Whether groups of a channel's weights have a scale each."""
        return self.scales.ndim > 1

    @property
    def multiplied_site(self) -> Site | None:
        """Where inputs of the weight can be observed: its one site in the main subgraph that multiplies by it."""
        found = [site for site in self.sites if site.subgraph == 0 and site not in self.lookups]
        return found[0] if len(found) == 1 else None

    def rescaled(self, ratios: Real) -> Draft:
        """The same with its scales multiplied by ratios of their shape; a bias must be the weight's own."""
        if self.in_groups:
            return self._with_groups(storable(self.scales * ratios))
        if self.own_bias is None:
            raise ValueError(f"scales of {self.sites[0].name!r}: expected a weight with a bias of its own")
        scales = (self.scales * ratios).astype(np.float32)
        by = scales / np.where(self.scales > 0, self.scales, 1).astype(np.float64)
        by = np.where(self.scales > 0, by, 1.0)
        own = self.own_bias
        if self.output_type is OutputType.FLOAT32:
            own = replace(own, unit=own.unit * by)
        else:
            own = replace(own, values=own.values / by)
        return replace(self, scales=scales, target=self.target / by[:, None], own_bias=own)

    def _with_groups(self, scales: NDArray[np.float32]) -> Draft:
        by = scales / np.where(self.scales > 0, self.scales, 1).astype(np.float64)
        by = np.where(self.scales > 0, by, 1.0)
        return replace(self, scales=scales, target=self.target / spread(by, self.target.shape[1]))


def draft_weight(
    model: ModelT,
    group: list[Site],
    nesting: Nesting,
    sources: Mapping[TensorPlace, NDArray[np.float32]],
    *,
    widened: Widened | None = None,
    forced: bool = False,
    group_size: int | None = None,
) -> Draft | str:
    """Scales and target of a weight, or the reason why it cannot nest.

    Args:
        model, group, nesting, forced: as `refusal`.
        sources: the float weights that INT8 ones were rounded from, where known: their target.
        widened: the float weights that the source has in another type.
        group_size: weights of a channel that share a scale; None if all of them do.

    Raises:
        WeightsError: NaN or infinite weights or scales.
        UnsupportedModelError: a weight that cannot have such groups.
    """
    reason = refusal(model, group, nesting, forced=forced)
    if reason:
        return reason
    site = group[0]
    tensor = model.subgraphs[site.subgraph].tensors[site.tensor]
    matrix, shape = as_matrix(np.asarray(fb.constant(model, tensor)), site.layout), fb.shape(tensor)
    is_float = tensor.type == schema.TensorType.FLOAT32
    if group_size is not None:
        check_groups(model, group, matrix.shape[1], group_size)
        scaled, free = _scale_groups(matrix, nesting, group_size, site.name), True
    elif is_float:
        given = None if widened is None else widened.scales.get(site.place)
        scaled, free = _scale_float(matrix, given, nesting, site.name), given is None
    else:
        source = sources.get(site.place)
        scaled, free = _scale_int8(model, group, matrix, source), source is not None
    return Draft(
        sites=tuple(group),
        operator=operator_name(model, site),
        shape=shape,
        taps=shape[1] * shape[2] if len(shape) == 4 else 1,
        layout=site.layout,
        output_type=OutputType.FLOAT32 if is_float else OutputType.INT8,
        scales=scaled.scales,
        target=scaled.target,
        biases=scaled.biases,
        own_bias=_own_bias(model, group, scaled.scales, len(matrix)) if group_size is None else None,
        lookups=lookups(model, group),
        free=free,
    )


@dataclass(frozen=True)
class _Scaled:
    """A weight in units of its scales; all three as `Draft` has them."""

    scales: NDArray[np.float32]
    target: Real
    biases: dict[TensorPlace, NDArray[np.int32]] = field(default_factory=dict)


# ---- float weights ---------------------------------------------------------------------------------------------------


def _scale_float(
    matrix: NDArray[np.float32], given: NDArray[np.float32] | None, nesting: Nesting, name: str
) -> _Scaled:
    """Of a float weight [channels, depth]; `given` are the scales of a dynamic-range source, whose codes it keeps."""
    scales = _float_scales(matrix, nesting, name)
    if given is not None:
        scales = np.where(scales > 0, given, scales)
    target: Real = matrix / np.where(scales > 0, scales, 1)[:, None].astype(np.float64)
    return _Scaled(scales, target if given is None else np.rint(target))


def _scale_groups(matrix: NDArray[np.float32], nesting: Nesting, group_size: int, name: str) -> _Scaled:
    """Of a float weight [channels, depth], with a scale for every group of a channel's weights."""
    _check_finite(matrix, name)
    scales = nearest_group_scales(matrix, largest_code(nesting), group_size)
    real = spread(np.where(scales > 0, scales, 1).astype(np.float64), matrix.shape[1])
    return _Scaled(scales, matrix / real)


def _float_scales(matrix: NDArray[np.float32], nesting: Nesting, name: str) -> NDArray[np.float32]:
    """Symmetric min-max: the largest magnitude of a channel is the largest n-bit code; 0 for an all-zero channel."""
    _check_finite(matrix, name)
    scales: NDArray[np.float32] = (np.abs(matrix).max(axis=1) / largest_code(nesting)).astype(np.float32)
    return scales


def largest_code(nesting: Nesting) -> int:
    """The greatest left-aligned code of a nesting."""
    return 128 - (1 << (8 - nesting.full_bits))


def _check_finite(matrix: NDArray[np.float32], name: str) -> None:
    if not np.isfinite(matrix).all():
        raise WeightsError(
            f"weight {name!r}",
            expected="finite values",
            got=f"NaN or infinity in {int((~np.isfinite(matrix)).sum())} of {matrix.size} values",
            fix="Repair the model's weights.",
        )


# ---- INT8 weights ----------------------------------------------------------------------------------------------------


def _scale_int8(
    model: ModelT, group: list[Site], matrix: NDArray[np.int8], source: NDArray[np.float32] | None
) -> _Scaled:
    """Of an INT8 weight [channels, depth], or of the float `source` of its codes."""
    site = group[0]
    scales = _checked_scales(model.subgraphs[site.subgraph].tensors[site.tensor], site.name)
    silent = ~matrix.any(axis=1)
    target = matrix.astype(np.float64)
    if source is not None:
        real = as_matrix(source, site.layout) / scales.astype(np.float64)[:, None]
        target = np.where(silent[:, None], 0.0, real)
    if silent.any() and len(scales) > 1:
        quiet, biases = _quieten(model, group, scales, silent)
        return _Scaled(quiet, target, biases)
    return _Scaled(scales, target)


def _checked_scales(tensor: TensorT, name: str) -> NDArray[np.float32]:
    scales = scales_of(tensor)
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise WeightsError(
            f"scales of weight {name!r}",
            expected="finite and positive",
            got=f"other values in {int((~(np.isfinite(scales) & (scales > 0))).sum())} of {len(scales)} scales",
            fix="Convert the model again with a current tf.lite.TFLiteConverter.",
        )
    return scales


def _quieten(
    model: ModelT, group: list[Site], scales: NDArray[np.float32], silent: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], dict[TensorPlace, NDArray[np.int32]]]:
    """Gives all-zero channels so small a scale that the middle of their cell, which is not zero, does not count.

    The bias of such a channel is worth scale * input scale a unit, so it grows as the scale shrinks, up to 2^30. Where
    an operator computes it, it cannot, and the scales stay.
    """
    old_biases = {}
    for site in group:
        subgraph = model.subgraphs[site.subgraph]
        for position in site.operators:
            operator = subgraph.operators[position]
            index = slots_of(model, operator).bias_of(operator)
            if index < 0:
                continue
            values = fb.constant(model, subgraph.tensors[index])
            if values is None:
                return scales, {}
            old_biases[TensorPlace(site.subgraph, index)] = values.astype(np.int64)
    largest = np.max([np.abs(b) for b in old_biases.values()], axis=0) if old_biases else np.zeros(len(scales))
    shrink = np.where(silent, np.clip(largest, 1, 1 << 30) / float(1 << 30), 1.0)
    new_scales = (scales * shrink).astype(np.float32)
    grow = scales.astype(np.float64) / new_scales
    return new_scales, {at: np.rint(bias * grow).astype(np.int32) for at, bias in old_biases.items()}


# ---- the bias that levels may correct --------------------------------------------------------------------------------


def _own_bias(model: ModelT, group: list[Site], scales: NDArray[np.float32], channels: int) -> OwnBias | None:
    """Of a weight with a single reader, if that takes a constant bias, or one in place of none."""
    if len(group) != 1 or len(group[0].operators) != 1:
        return None
    [site] = group
    subgraph = model.subgraphs[site.subgraph]
    operator = subgraph.operators[site.operators[0]]
    reader = slots_of(model, operator)
    index = reader.bias_of(operator)
    if reader.bias is None or (index < 0 and reader.bias > reader.weight + 1):
        return None  # TRANSPOSE_CONV's bias came with a later version of the operator
    values = np.zeros(channels) if index < 0 else fb.constant(model, subgraph.tensors[index])
    if values is None or values.shape != (channels,):
        return None
    weight = subgraph.tensors[site.tensor]
    if weight.type == schema.TensorType.FLOAT32:
        return OwnBias(values.astype(np.float64), scales.astype(np.float64))
    grow = scales_of(weight).astype(np.float64) / scales
    input_scale = activation_scale(subgraph.tensors[reader.data_of(operator)])
    return OwnBias(values * grow, np.full(1, 1.0 / input_scale))
