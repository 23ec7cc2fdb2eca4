"""The section table: where each level lies in the file (FORMAT.md section 5)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from nq_tflite.format.constants import (
    BUFFER_ALIGNMENT,
    CONVERT_AGAIN,
    FORMAT_MAJOR,
    MAX_FILE_BYTES,
    MAX_LEVELS,
    MIN_LEVELS,
    SECTION_ALIGNMENT,
    TABLE_CHECKSUM,
    TABLE_HEADER,
    TABLE_MAGIC,
    TABLE_MINOR,
    TABLE_SECTION,
    align,
    bad_format,
    check_version,
)
from nq_tflite.format.nesting import MAX_FULL_BITS, MIN_PART_BITS


@dataclass(frozen=True)
class Section:
    """One level of the whole file: its bytes, their checksum and the precision that it completes."""

    offset: int
    size: int
    crc32: int
    bits: int


@dataclass(frozen=True)
class SectionTable:
    """Where the levels lie in the file (FORMAT.md section 5)."""

    sections: tuple[Section, ...]

    @property
    def precisions(self) -> tuple[int, ...]:
        """Bits of each precision, part-bit first."""
        return tuple(section.bits for section in self.sections)

    def pack(self) -> bytes:
        """The table's bytes, with its own checksum at the end."""
        count = len(self.sections)
        header = TABLE_HEADER.pack(TABLE_MAGIC, FORMAT_MAJOR, TABLE_MINOR, table_bytes(count), count)
        body = header + b"".join(TABLE_SECTION.pack(s.offset, s.size, s.crc32, s.bits) for s in self.sections)
        return body + TABLE_CHECKSUM.pack(zlib.crc32(body))

    @classmethod
    def parse(cls, data: bytes) -> SectionTable:
        """Reads a table and checks it against itself; the file's length and buffers are the caller's to check.

        Raises:
            FormatError: a rule of FORMAT.md section 7 is broken.
        """
        if len(data) < TABLE_HEADER.size:
            raise bad_format("section table", f"at least {TABLE_HEADER.size} bytes", len(data))
        magic, major, _, size, count = TABLE_HEADER.unpack_from(data)
        check_version("section table", TABLE_MAGIC, magic, major)
        if not MIN_LEVELS <= count <= MAX_LEVELS:
            raise bad_format("number of sections", f"{MIN_LEVELS} to {MAX_LEVELS}", count)
        if not table_bytes(count) <= size <= len(data):
            raise bad_format("section table size", f"{count} sections within {len(data)} bytes", size)
        body = data[: size - TABLE_CHECKSUM.size]
        (checksum,) = TABLE_CHECKSUM.unpack_from(data, len(body))
        if zlib.crc32(body) != checksum:
            raise bad_format("section table checksum", f"{checksum:#010x}", f"{zlib.crc32(body):#010x}", CONVERT_AGAIN)
        starts = range(TABLE_HEADER.size, TABLE_HEADER.size + TABLE_SECTION.size * count, TABLE_SECTION.size)
        table = cls(tuple(Section(*TABLE_SECTION.unpack_from(data, start)) for start in starts))
        table.check_order()
        return table

    def check_order(self) -> None:
        """Raises FormatError unless sections are aligned, not empty, in order and apart, and their bits increase."""
        end = 1
        for level, section in enumerate(self.sections):
            fits = section.size and section.offset + section.size <= MAX_FILE_BYTES
            if section.offset % SECTION_ALIGNMENT or section.offset < end or not fits:
                raise bad_format(
                    f"section {level}",
                    f"bytes at a multiple of {SECTION_ALIGNMENT}, at {end} or behind, in a file below 2^63 bytes",
                    f"{section.size} bytes at {section.offset}",
                )
            end = section.offset + section.size
        increasing = list(self.precisions) == sorted(set(self.precisions))
        if not increasing or self.precisions[0] < MIN_PART_BITS or self.precisions[-1] > MAX_FULL_BITS:
            raise bad_format(
                "bits of the sections", f"{MIN_PART_BITS} to {MAX_FULL_BITS}, strictly increasing", self.precisions
            )


def table_bytes(num_sections: int) -> int:
    """Bytes of a table with that many sections."""
    return TABLE_HEADER.size + TABLE_SECTION.size * num_sections + TABLE_CHECKSUM.size


def lay_out(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Offsets of buffers within a section, and the section's size.

    >>> lay_out([100, 64])
    ([0, 128], 192)
    """
    offsets, end = [], 0
    for size in sizes:
        offsets.append(align(end, BUFFER_ALIGNMENT))
        end = offsets[-1] + size
    return offsets, end
