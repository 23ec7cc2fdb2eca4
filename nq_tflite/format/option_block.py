"""The option block of an NQ_UNPACK_DEQUANT operator: FORMAT.md section 3 as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from nq_tflite.format.bitpack import LINE_BYTES, Layout, packed_bytes
from nq_tflite.format.constants import (
    CRITICAL_FLAGS,
    FLAG_BIAS,
    FLAG_GROUPS,
    FLAG_START,
    FORMAT_MAJOR,
    GROUPS_MINOR,
    MAX_LEVELS,
    MIN_FULL_BITS,
    MIN_LEVELS,
    NEWER,
    OPTION_HEADER,
    OPTION_LEVEL,
    OPTION_MAGIC,
    OutputType,
    align,
    bad_format,
    check_version,
)
from nq_tflite.format.groups import check_group_size, group_scale_shape
from nq_tflite.format.nesting import MAX_FULL_BITS, MIN_PART_BITS


@dataclass(frozen=True)
class LevelOptions:
    """One level of one weight: where its buffer starts in its section, its bits, its bias step (0: no deltas)."""

    offset: int
    bits: int
    bias_step: float = 0.0


@dataclass(frozen=True)
class OptionBlock:
    """What an NQ_UNPACK_DEQUANT operator's custom_options say (FORMAT.md section 3).

    Attributes:
        group_size: depth indices that share a scale; 0 where a channel has one.
    """

    layout: Layout
    output_type: OutputType
    channels: int
    depth: int
    levels: tuple[LevelOptions, ...]
    has_bias: bool = False
    is_start: bool = False
    group_size: int = 0

    def __post_init__(self) -> None:
        bits = self.level_bits
        if not MIN_LEVELS <= len(bits) <= MAX_LEVELS:
            raise bad_format("number of levels", f"{MIN_LEVELS} to {MAX_LEVELS}", len(bits))
        if bits[0] < MIN_PART_BITS or min(bits) < 1 or not MIN_FULL_BITS <= sum(bits) <= MAX_FULL_BITS:
            raise bad_format(
                "bits of the levels", f"{MIN_PART_BITS}, then 1 or more, {MAX_FULL_BITS} at most in all", bits
            )
        if min(self.channels, self.depth) < 1 or self.channels * self.depth >= 1 << 31:
            raise bad_format("channels x depth", "at least 1, below 2^31 in all", f"{self.channels} x {self.depth}")
        steps = [level.bias_step for level in self.levels]
        if not all(0 <= step < float("inf") for step in steps):
            raise bad_format("bias step", "a finite number, not negative", steps)
        if any(steps) and not self.has_bias:
            raise bad_format("bias step", "0 without the BIAS flag", steps)
        if self.group_size:
            if (self.layout, self.output_type) != (Layout.MATRIX, OutputType.FLOAT32):
                got = f"{self.layout.name.lower()} and {self.output_type.name}"
                raise bad_format("layout and output type with group scales", "matrix and FLOAT32", got)
            check_group_size(self.group_size, self.depth)

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

    @property
    def group_scale_bytes(self) -> int:
        """Bytes of the groups' scales, which are no part of a level."""
        return 2 * prod(group_scale_shape(self.channels, self.depth, self.group_size)) if self.group_size else 0

    def pack(self) -> bytes:
        """The block's bytes."""
        header = OPTION_HEADER.pack(
            OPTION_MAGIC,
            FORMAT_MAJOR,
            GROUPS_MINOR if self.group_size else 0,
            OPTION_HEADER.size + OPTION_LEVEL.size * len(self.levels),
            self._flags(),
            self.layout,
            self.output_type,
            self.full_bits,
            len(self.levels),
            self.channels,
            self.depth,
            self.group_size,
        )
        return header + b"".join(OPTION_LEVEL.pack(v.offset, v.bits, v.bias_step) for v in self.levels)

    def _flags(self) -> int:
        flags = {FLAG_BIAS: self.has_bias, FLAG_GROUPS: self.group_size, FLAG_START: self.is_start}
        return sum(flag for flag, is_set in flags.items() if is_set)

    @classmethod
    def parse(cls, data: bytes) -> OptionBlock:
        """Reads an operator's custom_options; bytes behind the block are ignored.

        Raises:
            FormatError: a rule of FORMAT.md section 7 is broken.
        """
        if len(data) < OPTION_HEADER.size:
            raise bad_format("option block", f"at least {OPTION_HEADER.size} bytes", len(data))
        fields = OPTION_HEADER.unpack_from(data)
        magic, major, _, block_bytes, flags, layout, output_type, full_bits, count, channels, depth, group_size = fields
        check_version("option block", OPTION_MAGIC, magic, major)
        if not OPTION_HEADER.size + OPTION_LEVEL.size * count <= block_bytes <= len(data):
            raise bad_format("option block size", f"{count} levels within {len(data)} bytes", block_bytes)
        known = FLAG_BIAS | FLAG_GROUPS
        if flags & CRITICAL_FLAGS & ~known:
            raise bad_format("option flags", f"no critical flags but {known:#x}", f"{flags:#x}", NEWER)
        if flags & FLAG_GROUPS:
            check_group_size(group_size, depth)
        if layout not in list(Layout) or output_type not in list(OutputType):
            raise bad_format("layout and output type", "1 or 2, and 0 or 9", f"{layout} and {output_type}", NEWER)
        ends = range(OPTION_HEADER.size, OPTION_HEADER.size + OPTION_LEVEL.size * count, OPTION_LEVEL.size)
        levels = tuple(LevelOptions(*OPTION_LEVEL.unpack_from(data, start)) for start in ends)
        hints = bool(flags & FLAG_BIAS), bool(flags & FLAG_START)
        groups = group_size if flags & FLAG_GROUPS else 0  # a reserved field without the flag
        block = cls(Layout(layout), OutputType(output_type), channels, depth, levels, *hints, groups)
        if block.full_bits != full_bits:
            raise bad_format("sum of the levels' bits", f"full_bits = {full_bits}", block.full_bits)
        return block
