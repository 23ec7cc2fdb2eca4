"""Scales of groups: what a file can hold of them, and how it lies there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nq_tflite.errors import FormatError
from nq_tflite.format.groups import GroupScales, channel_scales, group_scale_shape, spread, storable

shapes = st.tuples(st.integers(1, 35), st.integers(1, 9))
scales = shapes.flatmap(
    lambda shape: hnp.arrays(
        np.float32, shape, elements=st.just(0.0) | st.floats(2.0**-100, 2.0**100, width=32, allow_subnormal=False)
    )
)


@given(scales)
def test_storable_scales_are_near_above_and_stay(wanted: np.ndarray) -> None:
    stored = storable(wanted)
    assert ((stored == 0) == (wanted == 0)).all()
    assert (stored >= wanted).all()
    near = wanted >= wanted.max(axis=1, keepdims=True) * 2.0**-28  # what is below gets the smallest normal number
    assert (stored[near] <= wanted[near] * (1 + 2.0**-10)).all()
    np.testing.assert_array_equal(storable(stored), stored)


@given(scales)
def test_stored_scales_round_trip(wanted: np.ndarray) -> None:
    stored = GroupScales.of(storable(wanted))
    np.testing.assert_array_equal(stored.values, storable(wanted))
    assert np.isin(np.frexp(stored.channel)[0], (0, 0.5)).all()  # powers of two
    packed, (channels, groups) = stored.pack(), wanted.shape
    assert packed.shape == group_scale_shape(channels, groups * 32, 32)
    for channel, group in ((0, 0), (channels - 1, groups - 1)):
        assert packed[channel // 16, group, channel % 16] == stored.groups[channel, group]
    again = GroupScales.unpack(stored.channel, packed, "scales")
    np.testing.assert_array_equal(again.groups, stored.groups)


def test_scales_that_no_file_holds_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="storable"):
        GroupScales.of(np.float32([[1, 1 / 3]]))


@pytest.mark.parametrize("bits", [0x0001, 0x03FF, 0x7C00, 0x7E00, 0x8000, 0xBC00])
@pytest.mark.parametrize("where", [(0, 0, 4), (1, 1, 0)])
def test_forbidden_group_scales(bits: int, where: tuple[int, int, int]) -> None:
    """Subnormal, infinite, NaN, minus zero, negative."""
    packed = GroupScales.of(np.ones((17, 2), np.float32)).pack()
    packed.view(np.uint16)[where] = bits
    with pytest.raises(FormatError, match="0 or positive, normal"):
        GroupScales.unpack(np.ones(17, np.float32), packed, "scales")


def test_channels_that_are_not_there_have_no_scale() -> None:
    packed = GroupScales.of(np.ones((17, 2), np.float32)).pack()
    packed[1, 0, 1] = 1
    with pytest.raises(FormatError, match="channels that pad"):
        GroupScales.unpack(np.ones(17, np.float32), packed, "scales")


def test_spread_and_channel_scales() -> None:
    groups = np.array([[1, 2], [0, 0]], np.float32)
    assert spread(groups, 6).tolist() == [[1, 1, 1, 2, 2, 2], [0] * 6]
    assert spread(groups[:, 0], 6).shape == (2, 1)
    assert channel_scales(groups[0]) is not None
    np.testing.assert_array_equal(channel_scales(groups[:, 0]), groups[:, 0])
    np.testing.assert_array_equal(channel_scales(groups), [2.0**-13, 0])
