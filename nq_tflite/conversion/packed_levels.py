"""The levels of a nested file: the bytes of each, and where they lie in the file. No graph is looked at here."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nq_tflite.conversion.plan import Plan
from nq_tflite.conversion.weight_plan import WeightPlan
from nq_tflite.format.bitpack import pack
from nq_tflite.format.constants import SECTION_ALIGNMENT, align
from nq_tflite.format.levels import split
from nq_tflite.format.nesting import Nesting
from nq_tflite.format.section_table import Section, SectionTable, lay_out


@dataclass(frozen=True)
class PackedLevel:
    """One level of all weights, which becomes one section of the file.

    Attributes:
        bits: the precision that it completes.
        data: the section's bytes.
        parts: (offset, size) in `data` of each weight, in the plan's order; zeros fill the gaps.
    """

    bits: int
    data: bytes
    parts: tuple[tuple[int, int], ...]

    def part(self, number: int) -> NDArray[np.uint8]:
        """Bytes of one weight."""
        offset, size = self.parts[number]
        return np.frombuffer(self.data, np.uint8, size, offset)


def pack_levels(plan: Plan, nesting: Nesting) -> tuple[PackedLevel, ...]:
    """The sections of a plan's weights, part-bit first."""
    weights = [_pack_weight(weight) for weight in plan.weights]
    return tuple(_join(bits, [levels[number] for levels in weights]) for number, bits in enumerate(nesting.precisions))


def section_table(levels: Sequence[PackedLevel], root_bytes: int) -> SectionTable:
    """Where the sections lie behind a flatbuffer root of that size, each from a multiple of SECTION_ALIGNMENT on."""
    sections, end = [], root_bytes
    for level in levels:
        start = align(end, SECTION_ALIGNMENT)
        sections.append(Section(start, len(level.data), zlib.crc32(level.data), level.bits))
        end = start + len(level.data)
    return SectionTable(tuple(sections))


def _pack_weight(weight: WeightPlan) -> list[bytes]:
    """Each level's superblocks, and behind them its bias deltas, if it has any."""
    block, fields = weight.option_block(), split(weight.codes, weight.nesting)
    levels = [pack(field, weight.layout, bits).tobytes() for field, bits in zip(fields, block.level_bits, strict=True)]
    if weight.level_biases is not None:
        for number, deltas in enumerate(weight.level_biases.deltas):
            size = block.delta_bytes(number)
            levels[number] += deltas.tobytes().ljust(size, b"\0") if size else b""
    return levels


def _join(bits: int, bodies: Sequence[bytes]) -> PackedLevel:
    sizes = [len(body) for body in bodies]
    offsets, size = lay_out(sizes)
    data = bytearray(size)
    for offset, body in zip(offsets, bodies, strict=True):
        data[offset : offset + len(body)] = body
    return PackedLevel(bits, bytes(data), tuple(zip(offsets, sizes, strict=True)))
