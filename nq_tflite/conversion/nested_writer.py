"""Writing a nested file: the plan is packed into levels, the graph refers to them, and both become bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from nq_tflite.conversion.insert_unpack import NestedBuffers, insert_unpack
from nq_tflite.conversion.packed_levels import PackedLevel, pack_levels, section_table
from nq_tflite.conversion.plan import Plan
from nq_tflite.errors import FormatError
from nq_tflite.files import write_whole
from nq_tflite.format.nesting import Nesting
from nq_tflite.format.section_table import SectionTable
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.packed_files import PackedFile, packed_bytes
from nq_tflite.graph.widening import Widened


def write_nested(
    model: ModelT,
    plan: Plan,
    nesting: Nesting,
    path: str | os.PathLike[str],
    widened: Widened | None = None,
    files: Sequence[PackedFile] = (),
) -> int:
    """Writes a model with its weights as planned.

    Args:
        model: what the plan was made for; its graph becomes the file's.
        plan: what becomes of its weights.
        nesting: the levels of the whole file.
        path: the file to write; it appears complete or not at all.
        widened: the model's weights that the source has in another type; those that are not nested get it back.
        files: to be packed behind the last section.

    Returns:
        Bytes written.
    """
    levels = pack_levels(plan, nesting)
    buffers = insert_unpack(model, plan, levels)
    if widened is not None:
        widened.restore(model)
    _empty_unused_buffers(model)
    chunks = _chunks(model, levels, buffers)
    end = chunks[-1][0] + len(chunks[-1][1])
    return write_whole(path, [*chunks, (end, packed_bytes(files, end))])


def _empty_unused_buffers(model: ModelT) -> None:
    """Drops the bytes of the weights that were replaced; indices stay, for the level buffers are known by them."""
    used = {tensor.buffer for _, subgraph in fb.subgraphs(model) for tensor in subgraph.tensors}
    used |= {entry.buffer for entry in model.metadata or []} | set(fb.indices(model.metadataBuffer))
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def _chunks(model: ModelT, levels: Sequence[PackedLevel], buffers: NestedBuffers) -> list[tuple[int, bytes]]:
    """The file: the flatbuffer root and the sections behind it, with their offsets.

    The root names the places of the sections, and its size decides them. That size is the same for all places above 1,
    so it is taken from a root that names those behind a single byte.
    """
    root_bytes = len(_root(model, levels, buffers, section_table(levels, 1)))
    table = section_table(levels, root_bytes)
    root = _root(model, levels, buffers, table)
    if len(root) != root_bytes:
        raise FormatError("flatbuffer root", expected=f"{root_bytes} bytes both times", got=str(len(root)))
    sections = [(section.offset, level.data) for section, level in zip(table.sections, levels, strict=True)]
    return [(0, root), *sections]


def _root(model: ModelT, levels: Sequence[PackedLevel], buffers: NestedBuffers, table: SectionTable) -> bytes:
    """The flatbuffer root, with the levels where the table says."""
    model.buffers[buffers.table].data = np.frombuffer(table.pack(), np.uint8)
    external = {
        buffer: (section.offset + offset, size)
        for section, level, of_weights in zip(table.sections, levels, buffers.levels, strict=True)
        for buffer, (offset, size) in zip(of_weights, level.parts, strict=True)
    }
    return fb.pack_model(model, external)
