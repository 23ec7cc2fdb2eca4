"""Scales for groups of a channel's weights: what a file can hold, and how it lies there (FORMAT.md section 4.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.format.bitpack import MATRIX_CHANNELS
from nq_tflite.format.constants import GROUP_SIZES, bad_format

_LARGEST_EXPONENT = 14  # of a channel's largest f16: 29 binary orders below it are normal numbers
_SMALLEST = float(np.finfo(np.float16).smallest_normal)
_SMALLEST_CHANNEL = float(np.finfo(np.float32).smallest_normal)


@dataclass(frozen=True)
class GroupScales:
    """A weight's scales as they are stored.

    Attributes:
        channel: float32 [channels]; a writer's are powers of two, 0 for channels without a scale.
        groups: float16 [channels, groups]; 0, or positive and normal.
    """

    channel: NDArray[np.float32]
    groups: NDArray[np.float16]

    @classmethod
    def of(cls, scales: NDArray[np.float32]) -> GroupScales:
        """Those whose values are exactly these [channels, groups], which `storable` gave.

        Raises:
            ValueError: no file can hold them.
        """
        channel = _channel_scales(scales)
        stored = cls(channel, _ratios(scales, channel).astype(np.float16))
        if not np.array_equal(stored.values, scales):
            raise ValueError("group scales: expected values that storable() gave")
        return stored

    @property
    def values(self) -> NDArray[np.float32]:
        """The real value of one code: float32 [channels, groups]."""
        with np.errstate(over="ignore"):
            return np.asarray(self.channel[:, None] * self.groups.astype(np.float32), np.float32)

    def pack(self) -> NDArray[np.float16]:
        """As they lie in the file: float16 [channel blocks, groups, 16], zeros for the channels that pad.

        >>> GroupScales.of(np.float32([[1, 2]])).pack()[0, :, :2].tolist()
        [[8192.0, 0.0], [16384.0, 0.0]]
        """
        padded = np.pad(self.groups, ((0, -len(self.groups) % MATRIX_CHANNELS), (0, 0)))
        return np.ascontiguousarray(padded.reshape(-1, MATRIX_CHANNELS, padded.shape[1]).transpose(0, 2, 1))

    @classmethod
    def unpack(cls, channel: NDArray[np.float32], packed: NDArray[np.float16], what: str) -> GroupScales:
        """Those of a file.

        Args:
            channel: float32 [channels], checked already.
            packed: as `pack` gives it, in the shape that the channels ask for.
            what: to name in the error.

        Raises:
            FormatError: a group scale that FORMAT.md does not allow, or one of a channel that is not there.
        """
        rows = packed.transpose(0, 2, 1).reshape(-1, packed.shape[1])
        values, padding = np.ascontiguousarray(rows[: len(channel)]), rows[len(channel) :]
        normal = np.isfinite(values) & (values >= _SMALLEST)
        if not (normal | (values.view(np.uint16) == 0)).all():
            raise bad_format(what, "0 or positive, normal numbers", "others")
        if padding.view(np.uint16).any():
            raise bad_format(what, "zeros for the channels that pad", "others")
        return cls(channel, values)


def group_scale_shape(channels: int, depth: int, group_size: int) -> tuple[int, int, int]:
    """Shape of the tensor with a weight's group scales.

    >>> group_scale_shape(20, 96, 32)
    (2, 3, 16)
    """
    return -(-channels // MATRIX_CHANNELS), depth // group_size, MATRIX_CHANNELS


def storable(scales: NDArray[Any]) -> NDArray[np.float32]:
    """The nearest scales, none smaller, that a file can hold: eleven significant bits, 29 binary orders in a channel.

    Args:
        scales: float32 or float64 [channels, groups], finite, not negative.

    >>> storable(np.float32([[1, 1 / 3, 0]])).tolist()
    [[1.0, 0.33349609375, 0.0]]
    """
    wanted = np.asarray(scales, np.float64)
    channel = _channel_scales(wanted)
    ratios = _ratios(wanted, channel)
    stored = ratios.astype(np.float16)
    above = np.where(stored < ratios, np.nextafter(stored, np.float16(np.inf)), stored)
    normal = np.where(wanted > 0, np.maximum(above, np.float16(_SMALLEST)), np.float16(0))
    return GroupScales(channel, normal).values


def spread(scales: NDArray[Any], depth: int) -> NDArray[Any]:
    """Scales that multiply a matrix [channels, depth]: [1] or [channels] as a column, [channels, groups] in full.

    >>> spread(np.float32([[1, 2]]), 4).tolist(), spread(np.float32([1, 2]), 4).tolist()
    ([[1.0, 1.0, 2.0, 2.0]], [[1.0], [2.0]])
    """
    return scales[:, None] if scales.ndim == 1 else np.repeat(scales, depth // scales.shape[1], axis=1)


def channel_scales(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a level's bias delta is in units of: [1] or [channels] of scales that `WeightPlan` may have."""
    return scales if scales.ndim == 1 else GroupScales.of(scales).channel


def check_group_size(group_size: int, depth: int) -> None:
    """Raises FormatError unless a file's groups may have that size."""
    if group_size not in GROUP_SIZES or depth % group_size:
        raise bad_format("group size", f"one of {GROUP_SIZES} that divides the depth {depth}", group_size)


def _channel_scales(scales: NDArray[Any]) -> NDArray[np.float32]:
    """Powers of two that bring each channel's largest scale below 2 ** 15, and hardly below."""
    largest = scales.astype(np.float64).max(axis=1)
    _, exponents = np.frexp(largest)
    powers = np.maximum(np.ldexp(1.0, exponents - 1 - _LARGEST_EXPONENT), _SMALLEST_CHANNEL)
    return np.where(largest > 0, powers, 0).astype(np.float32)


def _ratios(scales: NDArray[Any], channel: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(scales, np.float64) / np.where(channel > 0, channel, 1)[:, None].astype(np.float64)
