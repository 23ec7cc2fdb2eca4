"""The option block and the section table: FORMAT.md sections 3 and 5 as dataclasses.

custom_ops/include/nq/format.h has the same constants for C++; a test holds the two and the page against each other.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from nq_tflite.bitpack import LINE_BYTES, Layout, packed_bytes
from nq_tflite.errors import FormatError
from nq_tflite.spec import MAX_FULL_BITS, MIN_PART_BITS

CUSTOM_OP_NAME = "NQ_UNPACK_DEQUANT"
CUSTOM_OP_VERSION = 1
METADATA_NAME = "NQ_SECTIONS"

FORMAT_MAJOR = 1
FORMAT_MINOR = 0

SECTION_ALIGNMENT = 16384
BUFFER_ALIGNMENT = 64

OPTION_MAGIC = b"NQOP"
TABLE_MAGIC = b"NQST"

OPTION_HEADER = struct.Struct("<4sHHII4BIII")
OPTION_LEVEL = struct.Struct("<QB3xf")
TABLE_HEADER = struct.Struct("<4sHHII")
TABLE_SECTION = struct.Struct("<QQII")
TABLE_CHECKSUM = struct.Struct("<I")

FLAG_BIAS = 1 << 0
FLAG_START = 1 << 16
CRITICAL_FLAGS = 0xFFFF

#: What systems can count: positions in files are signed.
MAX_FILE_BYTES = (1 << 63) - 1

MIN_LEVELS = 2
MAX_LEVELS = 7
MIN_FULL_BITS = MIN_PART_BITS + 1


class OutputType(IntEnum):
    """Type of the weights that the operator gives its consumer: TFLite's TensorType."""

    FLOAT32 = 0
    INT8 = 9


def align(position: int, alignment: int) -> int:
    """Smallest multiple of `alignment` that is not below `position`.

    >>> align(65, 64)
    128
    """
    return -(-position // alignment) * alignment


@dataclass(frozen=True)
class LevelOptions:
    """One level of one weight: where its buffer starts in its section, its bits, its bias step (0: no deltas)."""

    offset: int
    bits: int
    bias_step: float = 0.0


@dataclass(frozen=True)
class OptionBlock:
    """What an NQ_UNPACK_DEQUANT operator's custom_options say (FORMAT.md section 3)."""

    layout: Layout
    output_type: OutputType
    channels: int
    depth: int
    levels: tuple[LevelOptions, ...]
    has_bias: bool = False
    is_start: bool = False

    def __post_init__(self) -> None:
        bits = self.level_bits
        if not MIN_LEVELS <= len(bits) <= MAX_LEVELS:
            raise _bad("number of levels", f"{MIN_LEVELS} to {MAX_LEVELS}", len(bits))
        if bits[0] < MIN_PART_BITS or min(bits) < 1 or not MIN_FULL_BITS <= sum(bits) <= MAX_FULL_BITS:
            raise _bad("bits of the levels", f"{MIN_PART_BITS}, then 1 or more, {MAX_FULL_BITS} at most in all", bits)
        if min(self.channels, self.depth) < 1 or self.channels * self.depth >= 1 << 31:
            raise _bad("channels x depth", "at least 1, below 2^31 in all", f"{self.channels} x {self.depth}")
        steps = [level.bias_step for level in self.levels]
        if not all(0 <= step < float("inf") for step in steps):
            raise _bad("bias step", "a finite number, not negative", steps)
        if any(steps) and not self.has_bias:
            raise _bad("bias step", "0 without the BIAS flag", steps)

    @property
    def level_bits(self) -> tuple[int, ...]:
        """Bits that each level adds."""
        return tuple(level.bits for level in self.levels)

    @property
    def full_bits(self) -> int:
        """n, bits of a weight with every level in use."""
        return sum(self.level_bits)

    def level_bytes(self, level: int) -> int:
        """Bytes of a level's buffer: its superblocks, then its deltas, if it has any (FORMAT.md section 4.5)."""
        return self.packed_bytes(level) + self.delta_bytes(level)

    def packed_bytes(self, level: int) -> int:
        """Bytes of a level's superblocks."""
        return packed_bytes(self.layout, self.channels, self.depth, self.levels[level].bits)

    def delta_bytes(self, level: int) -> int:
        """Bytes of a level's bias deltas with their padding."""
        return align(self.channels, LINE_BYTES) if self.levels[level].bias_step else 0

    def pack(self) -> bytes:
        """The block's bytes."""
        header = OPTION_HEADER.pack(
            OPTION_MAGIC,
            FORMAT_MAJOR,
            FORMAT_MINOR,
            OPTION_HEADER.size + OPTION_LEVEL.size * len(self.levels),
            (FLAG_BIAS if self.has_bias else 0) | (FLAG_START if self.is_start else 0),
            self.layout,
            self.output_type,
            self.full_bits,
            len(self.levels),
            self.channels,
            self.depth,
            0,
        )
        return header + b"".join(OPTION_LEVEL.pack(v.offset, v.bits, v.bias_step) for v in self.levels)

    @classmethod
    def parse(cls, data: bytes) -> OptionBlock:
        """Reads an operator's custom_options; bytes behind the block are ignored.

        Raises:
            FormatError: a rule of FORMAT.md section 7 is broken.
        """
        if len(data) < OPTION_HEADER.size:
            raise _bad("option block", f"at least {OPTION_HEADER.size} bytes", len(data))
        fields = OPTION_HEADER.unpack_from(data)
        magic, major, _, block_bytes, flags, layout, output_type, full_bits, count, channels, depth, _ = fields
        _check_version("option block", OPTION_MAGIC, magic, major)
        if not OPTION_HEADER.size + OPTION_LEVEL.size * count <= block_bytes <= len(data):
            raise _bad("option block size", f"{count} levels within {len(data)} bytes", block_bytes)
        if flags & CRITICAL_FLAGS & ~FLAG_BIAS:
            raise _bad("option flags", f"no critical flag but {FLAG_BIAS:#x}", f"{flags:#x}", _NEWER)
        if layout not in list(Layout) or output_type not in list(OutputType):
            raise _bad("layout and output type", "1 or 2, and 0 or 9", f"{layout} and {output_type}", _NEWER)
        ends = range(OPTION_HEADER.size, OPTION_HEADER.size + OPTION_LEVEL.size * count, OPTION_LEVEL.size)
        levels = tuple(LevelOptions(*OPTION_LEVEL.unpack_from(data, start)) for start in ends)
        hints = bool(flags & FLAG_BIAS), bool(flags & FLAG_START)
        block = cls(Layout(layout), OutputType(output_type), channels, depth, levels, *hints)
        if block.full_bits != full_bits:
            raise _bad("sum of the levels' bits", f"full_bits = {full_bits}", block.full_bits)
        return block


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
        header = TABLE_HEADER.pack(TABLE_MAGIC, FORMAT_MAJOR, FORMAT_MINOR, table_bytes(count), count)
        body = header + b"".join(TABLE_SECTION.pack(s.offset, s.size, s.crc32, s.bits) for s in self.sections)
        return body + TABLE_CHECKSUM.pack(zlib.crc32(body))

    @classmethod
    def parse(cls, data: bytes) -> SectionTable:
        """Reads a table and checks it against itself; the file's length and buffers are the caller's to check.

        Raises:
            FormatError: a rule of FORMAT.md section 7 is broken.
        """
        if len(data) < TABLE_HEADER.size:
            raise _bad("section table", f"at least {TABLE_HEADER.size} bytes", len(data))
        magic, major, _, size, count = TABLE_HEADER.unpack_from(data)
        _check_version("section table", TABLE_MAGIC, magic, major)
        if not MIN_LEVELS <= count <= MAX_LEVELS:
            raise _bad("number of sections", f"{MIN_LEVELS} to {MAX_LEVELS}", count)
        if not table_bytes(count) <= size <= len(data):
            raise _bad("section table size", f"{count} sections within {len(data)} bytes", size)
        body = data[: size - TABLE_CHECKSUM.size]
        (checksum,) = TABLE_CHECKSUM.unpack_from(data, len(body))
        if zlib.crc32(body) != checksum:
            raise _bad("section table checksum", f"{checksum:#010x}", f"{zlib.crc32(body):#010x}", _CONVERT_AGAIN)
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
                raise _bad(
                    f"section {level}",
                    f"bytes at a multiple of {SECTION_ALIGNMENT}, at {end} or behind, in a file below 2^63 bytes",
                    f"{section.size} bytes at {section.offset}",
                )
            end = section.offset + section.size
        increasing = list(self.precisions) == sorted(set(self.precisions))
        if not increasing or self.precisions[0] < MIN_PART_BITS or self.precisions[-1] > MAX_FULL_BITS:
            raise _bad(
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


_CONVERT_AGAIN = "The file is damaged: copy or convert it again."
_NEWER = "The file is damaged or needs a newer nq_tflite."


def _bad(what: str, expected: str, got: object, fix: str = _CONVERT_AGAIN) -> FormatError:
    return FormatError(what, expected=expected, got=str(got), fix=fix)


def _check_version(what: str, expected: bytes, magic: bytes, major: int) -> None:
    if magic != expected:
        raise _bad(f"{what} magic", repr(expected), repr(magic))
    if major != FORMAT_MAJOR:
        raise _bad(f"{what} version", f"{FORMAT_MAJOR}.x", f"{major}.x", "Use the nq_tflite that matches the file.")
