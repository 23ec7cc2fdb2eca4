"""The vectorised packer against the readable one, and the bit order itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import coded, layouts, sizes

from nq_tflite.format.bitpack import Layout, pack, packed_bytes, plane_widths, superblocks, unpack
from nq_tflite.format.bitview import bit_addresses, filter_bits, parse_filter_bits, position, reference_pack
from nq_tflite.format.nesting import Nesting


@st.composite
def fields(draw: st.DrawFn) -> tuple[np.ndarray, Layout, int]:
    bits, layout = draw(st.integers(1, 7)), draw(layouts)
    shape = draw(sizes), draw(sizes)
    seed = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).integers(0, 1 << bits, shape, dtype=np.uint8)
    return values, layout, bits


@given(fields())
@settings(deadline=None, max_examples=60)
def test_pack_is_the_reference_packer(case: tuple[np.ndarray, Layout, int]) -> None:
    values, layout, bits = case
    packed = pack(values, layout, bits)
    assert packed.nbytes == packed_bytes(layout, *values.shape, bits)
    assert packed.tobytes() == reference_pack(values, layout, bits)


@given(fields())
@settings(deadline=None)
def test_unpack_undoes_pack(case: tuple[np.ndarray, Layout, int]) -> None:
    values, layout, bits = case
    np.testing.assert_array_equal(unpack(pack(values, layout, bits), layout, bits, *values.shape), values)


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("shape", [(1, 1), (7, 15), (17, 33), (65, 9), (70, 31)])
def test_each_weight_sets_only_its_own_bits(layout: Layout, bits: int, shape: tuple[int, int]) -> None:
    """One-hot fields: every bit of every weight has an address of its own, the one that the format gives it."""
    channels, depth = shape
    rng = np.random.default_rng(bits)
    for channel, index in {(0, 0), (channels - 1, depth - 1), (rng.integers(channels), rng.integers(depth))}:
        addresses = list(bit_addresses(*position(layout, depth, channel, index), bits))
        for bit in range(bits):
            values = np.zeros(shape, np.uint8)
            values[channel, index] = 1 << (bits - 1 - bit)
            lit = np.flatnonzero(np.unpackbits(pack(values, layout, bits), bitorder="little"))
            assert lit.tolist() == [addresses[bit]]


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("bits", range(1, 8))
def test_addresses_cover_a_superblock_once(layout: Layout, bits: int) -> None:
    channels, depth = (16, 32) if layout is Layout.MATRIX else (64, 8)
    found = [
        address
        for channel in range(channels)
        for index in range(depth)
        for address in bit_addresses(*position(layout, depth, channel, index), bits)
    ]
    assert sorted(found) == list(range(512 * bits))


def test_golden_bytes_of_the_format_page() -> None:
    """FORMAT.md section 8."""
    upper = pack(np.array([[0b01011, 0b10100]], np.uint8), Layout.MATRIX, 5)
    residual = pack(np.array([[0b010, 0b110]], np.uint8), Layout.MATRIX, 3)
    assert (upper.nbytes, residual.nbytes) == (5 * 64, 3 * 64)
    assert {i: int(v) for i, v in enumerate(upper) if v} == {0: 0x05, 1: 0x0A, 4 * 64: 0x01}
    assert {i: int(v) for i, v in enumerate(residual) if v} == {0: 0x01, 1: 0x03}


def test_golden_bytes_of_a_whole_superblock() -> None:
    """Depthwise, 64 channels x 8 taps, 3 bits: tap t of channel c holds (t + c) % 8; literals worked out by hand."""
    values = ((np.arange(64)[:, None] + np.arange(8)) % 8).astype(np.uint8)
    packed = pack(values, Layout.DEPTHWISE, 3)
    # Channel 0 has 0 1 2 3 | 4 5 6 7: upper two bits 0 0 1 1 | 2 2 3 3 at shifts 0 2 4 6 of lines 0 and 1, and the
    # lowest bits 0 1 0 1 0 1 0 1 at shifts 0 to 7 of line 2.
    assert [packed[0], packed[64], packed[128]] == [0b01010000, 0b11111010, 0b10101010]
    # Channel 1 has 1 2 3 4 | 5 6 7 0.
    assert [packed[1], packed[65], packed[129]] == [0b10010100, 0b00111110, 0b01010101]


@pytest.mark.parametrize("bits", range(1, 8))
def test_planes_add_up(bits: int) -> None:
    widths = plane_widths(bits)
    assert sum(widths) == bits
    assert list(widths) == sorted(widths, reverse=True)


@given(layouts, sizes, sizes)
def test_padding_is_bounded_by_a_superblock_in_each_dimension(layout: Layout, channels: int, depth: int) -> None:
    count = superblocks(layout, channels, depth)
    assert count * 512 >= channels * depth
    bound = (channels + 15) * (depth + 31) if layout is Layout.MATRIX else (channels + 63) * depth + 7 * 64
    assert count * 512 <= bound


@given(coded())
@settings(deadline=None)
def test_filter_bits_show_the_code(case: tuple[Nesting, np.ndarray]) -> None:
    nesting, codes = case
    shown = filter_bits(codes[0], nesting)
    assert [parse_filter_bits(text) for text in shown] == codes[0].tolist()
    assert {len(part) for part in shown[0].split("|")} <= set(nesting.level_bits)
