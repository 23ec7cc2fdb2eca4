"""Packing levels into superblocks and unpacking them (FORMAT.md sections 4.3 and 4.4), vectorised."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.levels import Fields

LINE_BYTES = 64
BLOCKS_PER_SUPERBLOCK = 8
MATRIX_CHANNELS = 16
MATRIX_DEPTH = 32
DEPTH_PER_BLOCK = 4
DEPTHWISE_CHANNELS = 64


class Layout(IntEnum):
    """How weights are ordered within superblocks."""

    MATRIX = 1
    DEPTHWISE = 2


#: Dimension of the weight tensor that counts output channels.
CHANNEL_AXIS = {Layout.MATRIX: 0, Layout.DEPTHWISE: 3}


def superblocks(layout: Layout, channels: int, depth: int) -> int:
    """Number of superblocks that hold a weight of `channels` x `depth`.

    >>> superblocks(Layout.MATRIX, 17, 33), superblocks(Layout.DEPTHWISE, 65, 9)
    (4, 3)
    """
    if layout is Layout.MATRIX:
        return -(-channels // MATRIX_CHANNELS) * -(-depth // MATRIX_DEPTH)
    return -(-(-(-channels // DEPTHWISE_CHANNELS) * depth) // BLOCKS_PER_SUPERBLOCK)


def packed_bytes(layout: Layout, channels: int, depth: int, bits: int) -> int:
    """Bytes of a packed level of `bits` bits.

    >>> packed_bytes(Layout.MATRIX, 16, 32, 5)
    320
    """
    return superblocks(layout, channels, depth) * bits * LINE_BYTES


def plane_widths(bits: int) -> tuple[int, ...]:
    """Widths of a level's planes, from the top bits down.

    >>> plane_widths(7), plane_widths(6), plane_widths(5), plane_widths(3)
    ((4, 2, 1), (4, 2), (4, 1), (2, 1))
    """
    return tuple(width for width in (4, 2, 1) if bits & width)


def to_blocks(fields: Fields, layout: Layout) -> Fields:
    """Orders a weight's fields into zero-padded blocks: uint8 [channels, depth] -> [superblocks, 8, 64]."""
    channels, depth = fields.shape
    if layout is Layout.MATRIX:
        padded = np.pad(fields, ((0, -channels % MATRIX_CHANNELS), (0, -depth % MATRIX_DEPTH)))
        split = padded.reshape(-1, MATRIX_CHANNELS, padded.shape[1] // DEPTH_PER_BLOCK, DEPTH_PER_BLOCK)
        blocks = split.transpose(0, 2, 1, 3).reshape(-1, LINE_BYTES)
    else:
        padded = np.pad(fields, ((0, -channels % DEPTHWISE_CHANNELS), (0, 0)))
        blocks = padded.reshape(-1, DEPTHWISE_CHANNELS, depth).transpose(0, 2, 1).reshape(-1, LINE_BYTES)
        blocks = np.pad(blocks, ((0, -len(blocks) % BLOCKS_PER_SUPERBLOCK), (0, 0)))
    return np.ascontiguousarray(blocks).reshape(-1, BLOCKS_PER_SUPERBLOCK, LINE_BYTES)


def from_blocks(blocks: Fields, layout: Layout, channels: int, depth: int) -> Fields:
    """The fields that `to_blocks` ordered: uint8 [superblocks, 8, 64] -> [channels, depth]."""
    flat = blocks.reshape(-1, LINE_BYTES)
    if layout is Layout.MATRIX:
        columns = -(-depth // MATRIX_DEPTH) * BLOCKS_PER_SUPERBLOCK
        split = flat.reshape(-1, columns, MATRIX_CHANNELS, DEPTH_PER_BLOCK).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(split.reshape(-1, columns * DEPTH_PER_BLOCK)[:channels, :depth])
    columns = -(-channels // DEPTHWISE_CHANNELS)
    split = flat[: columns * depth].reshape(columns, depth, DEPTHWISE_CHANNELS).transpose(0, 2, 1)
    return np.ascontiguousarray(split.reshape(-1, depth)[:channels])


def pack(fields: Fields, layout: Layout, bits: int) -> NDArray[np.uint8]:
    """Packs one level of a weight.

    Args:
        fields: uint8 [channels, depth], each below 2 ** bits.
        layout: how the weight is ordered.
        bits: bits of the level, 1 to 7.

    Returns:
        uint8 [packed_bytes(layout, channels, depth, bits)].

    >>> pack(np.array([[11, 20]], np.uint8), Layout.MATRIX, 5)[[0, 1, 256, 257]]
    array([ 5, 10,  1,  0], dtype=uint8)
    """
    blocks = to_blocks(fields, layout)
    planes, position = [], bits
    for width in plane_widths(bits):
        position -= width
        plane = (blocks >> np.uint8(position)) & np.uint8((1 << width) - 1)
        shifts = np.arange(0, 8, width, dtype=np.uint8)[:, None]
        lines = plane.reshape(len(blocks), width, len(shifts), LINE_BYTES) << shifts
        planes.append(np.bitwise_or.reduce(lines, axis=2))
    packed: Fields = np.concatenate(planes, axis=1).reshape(-1)
    return packed


def unpack(packed: NDArray[np.uint8], layout: Layout, bits: int, channels: int, depth: int) -> Fields:
    """The fields that `pack` packed: uint8 [packed_bytes(...)] -> uint8 [channels, depth].

    >>> unpack(pack(np.array([[11, 20]], np.uint8), Layout.MATRIX, 5), Layout.MATRIX, 5, 1, 2)
    array([[11, 20]], dtype=uint8)
    """
    lines = packed.reshape(-1, bits, LINE_BYTES)
    blocks = np.zeros((len(lines), BLOCKS_PER_SUPERBLOCK, LINE_BYTES), np.uint8)
    position, line = bits, 0
    for width in plane_widths(bits):
        position -= width
        shifts = np.arange(0, 8, width, dtype=np.uint8)[:, None]
        plane = (lines[:, line : line + width, None, :] >> shifts) & np.uint8((1 << width) - 1)
        blocks |= plane.reshape(blocks.shape) << np.uint8(position)
        line += width
    return from_blocks(blocks, layout, channels, depth)
