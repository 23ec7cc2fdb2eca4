"""The packed layout bit by bit: the readable reference for `bitpack`, and views for people.

Written for clarity with bitarray, straight from FORMAT.md sections 4.3 and 4.4; thousands of times slower than
`bitpack`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from bitarray import bitarray
from bitarray.util import ba2int, int2ba

from nq_tflite.format.bitpack import Layout, packed_bytes, plane_widths
from nq_tflite.format.levels import Codes, Fields, split
from nq_tflite.format.nesting import Nesting


def reference_pack(fields: Fields, layout: Layout, bits: int) -> bytes:
    """What `bitpack.pack` must return, placed bit by bit.

    Args:
        fields: uint8 [channels, depth], each below 2 ** bits.
        layout: how the weight is ordered.
        bits: bits of the level.
    """
    channels, depth = fields.shape
    packed = bitarray(8 * packed_bytes(layout, channels, depth, bits), endian="little")
    packed.setall(0)
    for channel, index in np.ndindex(channels, depth):
        block, byte = position(layout, depth, channel, index)
        field = int2ba(int(fields[channel, index]), length=bits, endian="little")
        for bit, address in enumerate(bit_addresses(block, byte, bits)):
            packed[address] = field[bits - 1 - bit]
    return packed.tobytes()


def position(layout: Layout, depth: int, channel: int, index: int) -> tuple[int, int]:
    """Block and byte within it of one weight, counted over the whole level."""
    if layout is Layout.MATRIX:
        blocks_a_row = -(-depth // 32) * 8
        return channel // 16 * blocks_a_row + index // 4, channel % 16 * 4 + index % 4
    return channel // 64 * depth + index, channel % 64


def bit_addresses(block: int, byte: int, bits: int) -> Iterator[int]:
    """Bit addresses (8 * byte + bit) in a packed level of one weight's bits, from its top bit down."""
    superblock, i = divmod(block, 8)
    line = superblock * bits
    for width in plane_widths(bits):
        start = 8 * (64 * (line + i * width // 8) + byte) + i * width % 8
        yield from range(start + width - 1, start - 1, -1)
        line += width


def filter_bits(codes: Codes, nesting: Nesting) -> list[str]:
    """One string per weight, its levels' bits separated by '|', top first.

    >>> filter_bits(np.array([0x5A], np.int8), Nesting.parse("8|5"))
    ['01011|010']
    """
    fields = split(codes.reshape(-1), nesting)
    return [
        "|".join(int2ba(int(value), length=bits).to01() for value, bits in zip(weight, nesting.level_bits, strict=True))
        for weight in zip(*fields, strict=True)
    ]


def parse_filter_bits(text: str) -> int:
    """The left-aligned code that a string of `filter_bits` shows.

    >>> parse_filter_bits("01011|010")
    90
    """
    bits = bitarray(text.replace("|", ""))
    return ba2int(bits, signed=True) << (8 - len(bits))
