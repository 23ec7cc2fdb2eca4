"""Writing a nested file from a plan."""

from __future__ import annotations

import os
import zlib
from typing import Any

import numpy as np

from nq_tflite.conversion.insert_unpack import PackedSection, empty_unused_buffers, insert_unpack, place_sections
from nq_tflite.conversion.plan import Plan
from nq_tflite.errors import FormatError
from nq_tflite.files import write_whole
from nq_tflite.format.constants import SECTION_ALIGNMENT, align
from nq_tflite.format.nesting import Nesting
from nq_tflite.format.section_table import Section, SectionTable
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.widening import Widened


def write_nested(
    model: Any, plan: Plan, nesting: Nesting, path: str | os.PathLike[str], widened: Widened | None = None
) -> int:
    """Writes a model with its weights as planned, and changes it on the way.

    Args:
        model: the schema's ModelT that the plan was made for.
        plan: what becomes of its weights.
        nesting: the levels of the whole file.
        path: the file to write; it appears whole or not at all.
        widened: the model's weights that the source has in another type.

    Returns:
        Bytes written.
    """
    sections, table_buffer = insert_unpack(model, plan, nesting)
    if widened is not None:
        widened.restore(model)
    empty_unused_buffers(model)
    return write_whole(path, _assemble(model, sections, table_buffer, nesting))


def _assemble(
    model: Any, sections: list[PackedSection], table_buffer: int, nesting: Nesting
) -> list[tuple[int, bytes]]:
    """The file's chunks. The root is packed twice: its size says where sections start, then it names them."""
    root_bytes = len(fb.pack_model(model))
    starts, end = [], root_bytes
    for section in sections:
        starts.append(align(end, SECTION_ALIGNMENT))
        end = starts[-1] + section.size
    place_sections(model, sections, starts)
    bodies = [_section_bytes(section) for section in sections]
    table = SectionTable(
        tuple(
            Section(start, len(body), zlib.crc32(body), bits)
            for start, body, bits in zip(starts, bodies, nesting.precisions, strict=True)
        )
    )
    model.buffers[table_buffer].data = np.frombuffer(table.pack(), np.uint8)
    root = fb.pack_model(model)
    if len(root) != root_bytes:
        raise FormatError("flatbuffer root", expected=f"{root_bytes} bytes both times", got=str(len(root)))
    return [(0, root), *zip(starts, bodies, strict=True)]


def _section_bytes(section: PackedSection) -> bytes:
    body = bytearray(section.size)
    for _, offset, data in section.buffers:
        body[offset : offset + len(data)] = data
    return bytes(body)
