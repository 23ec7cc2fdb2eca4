"""Where the levels of a file lie, told by its first bytes.

A device has no flatbuffers package and no schema, and of a file that is still arriving it has only the start. So the
section table is looked up here by hand, along the four fields of TFLite's schema that lead to it; nothing else of the
graph is read. The table vouches for itself with its own checksum.
"""

from __future__ import annotations

import os
import struct
import zlib

from nq_tflite.errors import FormatError
from nq_tflite.files import IDENTIFIER
from nq_tflite.format.constants import METADATA_NAME
from nq_tflite.format.section_table import SectionTable

#: Fields of schema.fbs, by their numbers within their tables.
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0

_BLOCK_BYTES = 1 << 20


def read_section_table(descriptor: int, available: int, name: str = "model") -> SectionTable | None:
    """The section table of a file of which the first `available` bytes are there; None if it needs more of them.

    Args:
        descriptor: the file, open for reading.
        available: how many bytes to look at.
        name: what errors call it.

    Raises:
        FormatError: no TFLite flatbuffer, no nested one, or a damaged table.
    """
    if available < 8:
        return None
    root = _Root(descriptor, available, name)
    try:
        return SectionTable.parse(root.section_table())
    except _MissingBytesError:
        return None


def checksum(descriptor: int, start: int, end: int, before: int = 0) -> int:
    """CRC-32 of a file's bytes from `start` to `end`, going on from `before`; of fewer if the file ends earlier."""
    while start < end and (block := os.pread(descriptor, min(_BLOCK_BYTES, end - start), start)):
        before = zlib.crc32(block, before)
        start += len(block)
    return before


class _MissingBytesError(Exception):
    """The bytes in question have not arrived."""


class _Root:
    """A flatbuffer root of which only a prefix may be there."""

    def __init__(self, descriptor: int, available: int, name: str) -> None:
        self._descriptor, self._available, self._name = descriptor, available, name

    def section_table(self) -> bytes:
        """The bytes of the buffer that the metadata entry NQ_SECTIONS names."""
        if (found := self._bytes(4, 4)) != IDENTIFIER:
            raise FormatError(
                self._name,
                expected=f"a TFLite flatbuffer (identifier {IDENTIFIER.decode()} at byte 4)",
                got=repr(found),
                fix="Check where it comes from.",
            )
        model = self._follow(0)
        metadata = self._field(model, _MODEL_METADATA)
        entries = [] if metadata is None else self._vector(self._follow(metadata))
        indices = [self._u32(self._required(entry, _METADATA_BUFFER)) for entry in entries if self._is_table(entry)]
        if len(indices) != 1:
            raise FormatError(
                self._name,
                expected=f"a nested model (metadata {METADATA_NAME})",
                got="a stock model" if not indices else f"{len(indices)} section tables",
                fix="Make one with nq.convert or nq-tflite convert.",
            )
        buffers = self._vector(self._follow(self._required(model, _MODEL_BUFFERS)))
        if indices[0] >= len(buffers):
            raise _damaged(f"a buffer below {len(buffers)}", indices[0])
        return self._string(self._follow(self._required(buffers[indices[0]], _BUFFER_DATA)))

    def _is_table(self, entry: int) -> bool:
        name = self._field(entry, _METADATA_NAME)
        if name is None:
            return False
        start, wanted = self._follow(name), METADATA_NAME.encode()
        # Of another length, it is not read: a hostile file has thousands of names that go on to its end.
        return self._u32(start) == len(wanted) and self._string(start) == wanted

    def _required(self, table: int, field: int) -> int:
        position = self._field(table, field)
        if position is None:
            raise _damaged(f"field {field} of the table at byte {table}", "none")
        return position

    def _field(self, table: int, field: int) -> int | None:
        """Where a field of a table lies, None if the table has none."""
        vtable = table - int(struct.unpack("<i", self._bytes(table, 4))[0])
        slot = 4 + 2 * field
        if slot + 2 > self._u16(vtable):
            return None
        offset = self._u16(vtable + slot)
        return table + offset if offset else None

    def _vector(self, start: int) -> list[int]:
        """Where each table of a vector of tables lies."""
        count = self._u32(start)
        offsets = struct.unpack(f"<{count}I", self._bytes(start + 4, 4 * count))
        return [start + 4 + 4 * index + offset for index, offset in enumerate(offsets)]

    def _string(self, start: int) -> bytes:
        return self._bytes(start + 4, self._u32(start))

    def _follow(self, position: int) -> int:
        return position + self._u32(position)

    def _u16(self, position: int) -> int:
        return int.from_bytes(self._bytes(position, 2), "little")

    def _u32(self, position: int) -> int:
        return int.from_bytes(self._bytes(position, 4), "little")

    def _bytes(self, start: int, size: int) -> bytes:
        if start < 0:
            raise _damaged("a position within the file", start)
        data = b""
        while start + size <= self._available and len(data) < size:
            piece = os.pread(self._descriptor, size - len(data), start + len(data))
            if not piece:
                break
            data += piece
        if len(data) < size:
            raise _MissingBytesError
        return data


def _damaged(expected: str, got: object) -> FormatError:
    return FormatError("flatbuffer root", expected=expected, got=str(got), fix="The file is damaged: fetch it again.")
