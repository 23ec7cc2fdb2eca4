"""Why a weight cannot nest, or need not."""

from __future__ import annotations

from nq_tflite.format.bitpack import packed_bytes
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.quantization import scales_of
from nq_tflite.graph.readers import slots_of
from nq_tflite.graph.sites import Site, Unnested, alike, as_matrix, find_sites, int8_reason, unnested
from nq_tflite.graph.widening import widen

#: Begins the reason of a weight that nests only if it is asked for.
TOO_SMALL = "too small to gain"


def refusal(model: ModelT, group: list[Site], nesting: Nesting, *, forced: bool = False) -> str | None:
    """Why a weight cannot nest, or need not; None if it will.

    Args:
        model: a stock model, or one widened.
        group: the sites that share the weight's buffer.
        nesting: its levels.
        forced: whether it shall nest even where that saves nothing.
    """
    site = group[0]
    tensor = fb.tensor_at(model, site.place)
    values = fb.constant(model, tensor)
    if values is None:
        return "not constant"
    if not alike(model, group):
        return "one buffer read with several shapes or scales"
    matrix = as_matrix(values, site.layout)
    channels, depth = matrix.shape
    if not forced and packed_bytes(site.layout, channels, depth, nesting.part_bits) >= values.size:
        return f"{TOO_SMALL}: padded to superblocks, {nesting.part_bits} bits take as much as INT8"
    if tensor.type == schema.TensorType.FLOAT32:
        return None
    reason = int8_reason(tensor, site.layout, channels)
    if reason or looked_up(model, group):
        return reason  # a row of zeros is a row like others, and the middle of its cell no worse than theirs
    if len(scales_of(tensor)) == 1 and not matrix.any(axis=1).all():
        return "an all-zero channel under one scale for all channels"
    return None


def unnested_weights(model: ModelT, nesting: Nesting) -> list[Unnested]:
    """The weights of a finished nested file that are as they were, and why; changes the model."""
    stored_bytes = widen(model).stored_bytes
    groups, left = find_sites(model, stored_bytes)
    for group in groups:
        reason = refusal(model, group, nesting) or "left out when the file was made"
        left.append(unnested(model, group[0], reason, stored_bytes))
    return left


def looked_up(model: ModelT, group: list[Site]) -> bool:
    """Whether rows of a weight are copied somewhere, and not only multiplied by."""
    return bool(lookups(model, group))


def lookups(model: ModelT, group: list[Site]) -> tuple[Site, ...]:
    """The sites where rows of a weight are copied somewhere."""
    return tuple(
        site
        for site in group
        if any(slots_of(model, model.subgraphs[site.subgraph].operators[each]).looks_up for each in site.operators)
    )
