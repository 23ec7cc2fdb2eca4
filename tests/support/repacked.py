"""Nested files with an edited graph."""

from __future__ import annotations

from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.nested import read_nested


def repacked(nested_bytes: bytes, change: object) -> bytes:
    """The file with its graph changed and written again, sections where they were."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(nested_bytes), 0)
    change(model)  # type: ignore[operator]
    root = fb.pack_model(
        model, {k: (each.offset, each.size) for k, each in enumerate(model.buffers) if each.offset > 1}
    )
    start = read_nested(nested_bytes).table.sections[0].offset
    assert len(root) <= start
    return root.ljust(start, b"\0") + nested_bytes[start:]
