"""Scales for groups of a weight's inputs: which weights may have them, and the plain ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import NestingError, UnsupportedModelError
from nq_tflite.format.bitpack import Layout
from nq_tflite.format.constants import GROUP_SIZES
from nq_tflite.format.groups import storable
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.readers import LOOKUP_NAMES
from nq_tflite.graph.sites import Site

_READERS = frozenset({"FULLY_CONNECTED"}) | LOOKUP_NAMES
_LEAVE_IT_OUT = "Exclude this weight (exclude=), or leave group_size out."


def checked_group_size(group_size: int | None) -> int | None:
    """Raises NestingError for a size that no file can have."""
    if group_size is not None and (isinstance(group_size, bool) or group_size not in GROUP_SIZES):
        sizes = ", ".join(map(str, GROUP_SIZES))
        raise NestingError("group_size", expected=f"one of {sizes}, or None", got=repr(group_size))
    return group_size


def check_groups(model: ModelT, group: list[Site], depth: int, group_size: int) -> None:
    """Raises UnsupportedModelError unless a weight can have a scale for every `group_size` inputs of a channel.

    Args:
        group: the sites that share the weight's buffer.
        depth: its weights per channel.
    """
    site = group[0]
    names = {fb.operator_name(model, model.subgraphs[s.subgraph].operators[p]) for s in group for p in s.operators}
    others = sorted(names - _READERS)
    tensor_type = fb.tensor_at(model, site.place).type
    if others or site.layout is not Layout.MATRIX:
        expected, got = f"a reader that is one of {', '.join(sorted(_READERS))}", " and ".join(others)
    elif tensor_type != schema.TensorType.FLOAT32:
        expected, got = "float weights (a float, float16 or dynamic-range model)", fb.type_name(tensor_type)
    elif depth % group_size:
        expected, got = f"a depth that is a multiple of {group_size}", str(depth)
    else:
        return
    raise UnsupportedModelError(f"group scales of {site.name!r}", expected=expected, got=got, fix=_LEAVE_IT_OUT)


def nearest_group_scales(matrix: NDArray[np.float32], largest_code: int, group_size: int) -> NDArray[np.float32]:
    """Symmetric min-max: float32 [channels, groups], with which each group's largest weight is the largest code.

    Args:
        matrix: float32 [channels, depth], finite.
        largest_code: of the nesting.
        group_size: divides the depth.
    """
    largest = np.abs(matrix).reshape(len(matrix), -1, group_size).max(axis=2)
    return storable(largest.astype(np.float64) / largest_code)
