"""The format's constants in Python, C++ and prose, its golden bytes, and every forbidden case of blocks and tables."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import layouts, nestings

from nq_tflite.errors import FormatError
from nq_tflite.format import bitpack, constants
from nq_tflite.format.bitpack import Layout
from nq_tflite.format.constants import TABLE_CHECKSUM, TABLE_HEADER, TABLE_SECTION, OutputType, align
from nq_tflite.format.nesting import MAX_FULL_BITS, MIN_PART_BITS, Nesting
from nq_tflite.format.option_block import LevelOptions, OptionBlock
from nq_tflite.format.section_table import Section, SectionTable, lay_out, table_bytes

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "nq_tflite" / "FORMAT.md").read_text()
HEADER = (ROOT / "custom_ops" / "include" / "nq" / "format.h").read_text()

#: 8|5, matrix, INT8, 1 x 2, level 1 at offset 64 of its section: every byte of the block.
GOLDEN_BLOCK = bytes.fromhex(
    "4e514f50" "0100" "0000" "40000000" "01000000"  # NQOP, 1.0, 64 bytes, BIAS
    "01" "09" "08" "02" "01000000" "02000000" "00000000"  # matrix, INT8, n = 8, 2 levels, 1 channel, depth 2
    "0000000000000000" "05" "000000" "0000003f"  # level 0: offset 0, 5 bits, bias step 0.5
    "4000000000000000" "03" "000000" "00000000"  # level 1: offset 64, 3 bits, no deltas
)  # fmt: skip
#: 8|4, matrix, FLOAT32, 1 x 64 in groups of 32.
GOLDEN_GROUPS = bytes.fromhex(
    "4e514f50" "0100" "0100" "40000000" "02000000"  # NQOP, 1.1, 64 bytes, GROUPS
    "01" "00" "08" "02" "01000000" "40000000" "20000000"  # matrix, FLOAT32, n = 8, 2 levels, 1 channel, 64 deep, by 32
    "0000000000000000" "04" "000000" "00000000"
    "0000000000000000" "04" "000000" "00000000"
)  # fmt: skip
GROUPS = OptionBlock(Layout.MATRIX, OutputType.FLOAT32, 1, 64, (LevelOptions(0, 4), LevelOptions(0, 4)), group_size=32)
BLOCK = OptionBlock(Layout.MATRIX, OutputType.INT8, 1, 2, (LevelOptions(0, 5, 0.5), LevelOptions(64, 3)), has_bias=True)

GOLDEN_TABLE = bytes.fromhex(
    "4e515354" "0100" "0000" "44000000" "02000000"  # NQST, 1.0, 68 bytes, 2 sections
    "0040000000000000" "4001000000000000" "78563412" "05000000"  # at 16384, 320 bytes, CRC-32, 5 bits
    "0080000000000000" "c000000000000000" "efbeadde" "08000000"  # at 32768, 192 bytes, CRC-32, 8 bits
    "e1f896b6"  # CRC-32 of the 64 bytes before
)  # fmt: skip
TABLE = SectionTable((Section(16384, 320, 0x12345678, 5), Section(32768, 192, 0xDEADBEEF, 8)))


def cpp_constant(name: str) -> int | str:
    match = re.search(rf"\b{name}(?:\[\d*\])?\s*=\s*([^;,]+?)[;,]", HEADER)
    assert match, f"format.h has no {name}"
    text = match[1].strip().removesuffix("}").strip()
    return text.strip('"') if text.startswith('"') else int(eval(text.replace("u", "")))  # noqa: S307 (our own header)


@pytest.mark.parametrize(
    ("cpp", "python"),
    [
        ("kCustomOpName", constants.CUSTOM_OP_NAME),
        ("kCustomOpVersion", constants.CUSTOM_OP_VERSION),
        ("kFormatMajor", constants.FORMAT_MAJOR),
        ("kFormatMinor", constants.FORMAT_MINOR),
        ("kSectionAlignment", constants.SECTION_ALIGNMENT),
        ("kBufferAlignment", constants.BUFFER_ALIGNMENT),
        ("kOptionHeaderBytes", constants.OPTION_HEADER.size),
        ("kOptionLevelBytes", constants.OPTION_LEVEL.size),
        ("kTableHeaderBytes", TABLE_HEADER.size),
        ("kTableSectionBytes", TABLE_SECTION.size),
        ("kTableChecksumBytes", TABLE_CHECKSUM.size),
        ("kFlagBias", constants.FLAG_BIAS),
        ("kFlagGroups", constants.FLAG_GROUPS),
        ("kFlagStart", constants.FLAG_START),
        ("kGroupsMinor", constants.GROUPS_MINOR),
        ("kCriticalFlags", constants.CRITICAL_FLAGS),
        ("kMinLevels", constants.MIN_LEVELS),
        ("kMaxLevels", constants.MAX_LEVELS),
        ("kMinFullBits", constants.MIN_FULL_BITS),
        ("kMaxFullBits", MAX_FULL_BITS),
        ("kMinBaseBits", MIN_PART_BITS),
        ("kMatrix", Layout.MATRIX),
        ("kDepthwise", Layout.DEPTHWISE),
        ("kFloat32", OutputType.FLOAT32),
        ("kInt8", OutputType.INT8),
        ("kLineBytes", bitpack.LINE_BYTES),
        ("kBlocksPerSuperblock", bitpack.BLOCKS_PER_SUPERBLOCK),
        ("kSuperblockWeights", bitpack.BLOCKS_PER_SUPERBLOCK * bitpack.LINE_BYTES),
        ("kMatrixChannels", bitpack.MATRIX_CHANNELS),
        ("kMatrixDepth", bitpack.MATRIX_DEPTH),
        ("kDepthPerBlock", bitpack.DEPTH_PER_BLOCK),
        ("kDepthwiseChannels", bitpack.DEPTHWISE_CHANNELS),
    ],
)
def test_cpp_has_the_same_constants(cpp: str, python: int | str) -> None:
    assert cpp_constant(cpp) == python


def test_cpp_has_the_same_magic() -> None:
    for name, magic in (("kOptionMagic", constants.OPTION_MAGIC), ("kTableMagic", constants.TABLE_MAGIC)):
        match = re.search(rf"{name}\[4\] = \{{'(.)', '(.)', '(.)', '(.)'\}}", HEADER)
        assert match
        assert "".join(match.groups()).encode() == magic


def test_the_page_states_the_constants() -> None:
    for text in (
        f'custom_code = "{constants.CUSTOM_OP_NAME}"',
        f"multiple of {constants.SECTION_ALIGNMENT} (`SECTION_ALIGNMENT`",
        f"multiple of {constants.BUFFER_ALIGNMENT} (`BUFFER_ALIGNMENT`)",
        f"version {constants.FORMAT_MAJOR}.{constants.FORMAT_MINOR}",
        f"`{constants.OPTION_HEADER.size} + {constants.OPTION_LEVEL.size} * num_levels`",
        f"`{TABLE_HEADER.size} + {TABLE_SECTION.size} * num_sections + {TABLE_CHECKSUM.size}`",
        f'`"{constants.OPTION_MAGIC.decode()}"`',
        f'`"{constants.TABLE_MAGIC.decode()}"`',
        f"entry named `{constants.METADATA_NAME}`",
    ):
        assert text in PAGE, text


def test_golden_block() -> None:
    assert BLOCK.pack() == GOLDEN_BLOCK
    assert OptionBlock.parse(GOLDEN_BLOCK) == BLOCK
    assert OptionBlock.parse(GOLDEN_BLOCK + b"what viewers read") == BLOCK
    assert GROUPS.pack() == GOLDEN_GROUPS
    assert OptionBlock.parse(GOLDEN_GROUPS) == GROUPS


def test_golden_table() -> None:
    assert TABLE.pack() == GOLDEN_TABLE
    assert SectionTable.parse(GOLDEN_TABLE) == TABLE


@st.composite
def blocks(draw: st.DrawFn) -> OptionBlock:
    nesting: Nesting = draw(nestings)
    has_bias = draw(st.booleans())
    steps = st.just(0.0) | st.floats(0, 1e6, width=32) if has_bias else st.just(0.0)
    levels = tuple(LevelOptions(64 * draw(st.integers(0, 2**40)), bits, draw(steps)) for bits in nesting.level_bits)
    channels, depth = draw(st.integers(1, 4096)), draw(st.integers(1, 4096))
    hints = has_bias, draw(st.booleans())
    group_size = draw(st.sampled_from([0, *constants.GROUP_SIZES]))
    if group_size:
        depth = group_size * draw(st.integers(1, 40))
        return OptionBlock(Layout.MATRIX, OutputType.FLOAT32, channels, depth, levels, *hints, group_size)
    return OptionBlock(draw(layouts), draw(st.sampled_from(OutputType)), channels, depth, levels, *hints)


@given(blocks())
def test_blocks_round_trip(block: OptionBlock) -> None:
    assert OptionBlock.parse(block.pack()) == block
    for level, bits in enumerate(block.level_bits):
        packed = bitpack.packed_bytes(block.layout, block.channels, block.depth, bits)
        deltas = align(block.channels, 64) if block.levels[level].bias_step > 0 else 0
        assert (block.packed_bytes(level), block.delta_bytes(level)) == (packed, deltas)
        assert block.level_bytes(level) == packed + deltas


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, b"NQXX", "magic"),
        (4, b"\x02", "version"),
        (8, b"\x3f", "block size"),
        (8, b"\xff", "block size"),
        (12, b"\x04", "flags"),
        (12, b"\x03", "group size"),
        (16, b"\x03", "layout"),
        (17, b"\x01", "layout and output type"),
        (18, b"\x07", "full_bits"),
        (19, b"\x01", "number of levels"),
        (19, b"\x08", "block size"),
        (20, b"\x00", "channels x depth"),
        (20, b"\x00\x00\x00\xff", "channels x depth"),
        (24, b"\x00", "channels x depth"),
        (40, b"\x01", "bits of the levels"),
        (40, b"\x06", "bits of the levels"),
        (56, b"\x00", "bits of the levels"),
        (44, struct.pack("<f", float("nan")), "bias step"),
        (44, struct.pack("<f", float("inf")), "bias step"),
        (44, struct.pack("<f", -0.5), "not negative"),
        (12, b"\x00", "without the BIAS flag"),
    ],
)
def test_forbidden_blocks(offset: int, value: bytes, message: str) -> None:
    damaged = bytearray(GOLDEN_BLOCK)
    damaged[offset : offset + len(value)] = value
    with pytest.raises(FormatError, match=message):
        OptionBlock.parse(bytes(damaged))


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (28, b"\x00", "group size"),
        (28, b"\x21", "group size"),
        (28, b"\x00\x01", "group size"),
        (24, b"\x41", "divides the depth 65"),
        (16, b"\x02", "matrix and FLOAT32"),
        (17, b"\x09", "matrix and FLOAT32"),
    ],
)
def test_forbidden_groups(offset: int, value: bytes, message: str) -> None:
    damaged = bytearray(GOLDEN_GROUPS)
    damaged[offset : offset + len(value)] = value
    with pytest.raises(FormatError, match=message):
        OptionBlock.parse(bytes(damaged))


def test_a_reader_of_version_1_0_refuses_groups() -> None:
    """By what it did: it refused every critical flag but BIAS, and read every minor version."""
    _, major, minor, _, flags, *_ = constants.OPTION_HEADER.unpack_from(GOLDEN_GROUPS)
    assert (major, minor) == (1, 1)
    assert flags & constants.CRITICAL_FLAGS & ~constants.FLAG_BIAS


@pytest.mark.parametrize("length", range(len(GOLDEN_BLOCK)))
def test_truncated_blocks(length: int) -> None:
    with pytest.raises(FormatError, match="expected"):
        OptionBlock.parse(GOLDEN_BLOCK[:length])


def test_newer_minor_versions_are_read() -> None:
    newer = bytearray(GOLDEN_BLOCK + b"new!")
    newer[6], newer[8], newer[14] = 9, 68, 2  # minor 9, four more bytes, a hint flag
    assert OptionBlock.parse(bytes(newer)) == BLOCK
    body = bytearray(TABLE.pack()[:-4] + b"new!")
    body[6], body[8] = 9, 72
    assert SectionTable.parse(bytes(body) + struct.pack("<I", zlib.crc32(body))) == TABLE


def sealed(*sections: Section) -> bytes:
    """A table with these sections and a right checksum."""
    return SectionTable(sections).pack()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "section table"),
        (b"NQXX" + GOLDEN_TABLE[4:], "magic"),
        (GOLDEN_TABLE[:4] + b"\x02" + GOLDEN_TABLE[5:], "version"),
        (GOLDEN_TABLE[:8] + b"\x43" + GOLDEN_TABLE[9:], "table size"),
        (GOLDEN_TABLE[:12] + b"\x01" + GOLDEN_TABLE[13:], "number of sections"),
        (GOLDEN_TABLE[:20] + b"\x01" + GOLDEN_TABLE[21:], "checksum"),
        (sealed(Section(16384, 9, 0, 5), Section(16384, 9, 0, 8)), "section 1"),
        (sealed(Section(16384, 20000, 0, 5), Section(32768, 9, 0, 8)), "section 1"),
        (sealed(Section(32768, 9, 0, 5), Section(16384, 9, 0, 8)), "section 1"),
        (sealed(Section(16385, 9, 0, 5), Section(32768, 9, 0, 8)), "section 0"),
        (sealed(Section(0, 9, 0, 5), Section(16384, 9, 0, 8)), "section 0"),
        (sealed(Section(16384, 0, 0, 5), Section(32768, 9, 0, 8)), "section 0"),
        (sealed(Section(16384, 9, 0, 8), Section(32768, 9, 0, 8)), "increasing"),
        (sealed(Section(16384, 9, 0, 8), Section(32768, 9, 0, 5)), "increasing"),
        (sealed(Section(16384, 9, 0, 1), Section(32768, 9, 0, 8)), "2 to 8"),
        (sealed(Section(16384, 9, 0, 5), Section(32768, 9, 0, 9)), "2 to 8"),
    ],
)
def test_forbidden_tables(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        SectionTable.parse(data)


@given(st.integers(0, len(GOLDEN_TABLE) - 1), st.integers(1, 255))
def test_any_damaged_byte_of_a_table_is_found(position: int, flip: int) -> None:
    data = bytearray(TABLE.pack())
    data[position] ^= flip
    with pytest.raises(FormatError):
        SectionTable.parse(bytes(data))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_crash(data: bytes) -> None:
    for parse in (OptionBlock.parse, SectionTable.parse):
        with pytest.raises(FormatError):
            parse(data)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20))
def test_lay_out(sizes: list[int]) -> None:
    offsets, end = lay_out(sizes)
    assert offsets[0] == 0
    assert end == offsets[-1] + sizes[-1]
    for offset, size, following in zip(offsets, sizes, [*offsets[1:], end], strict=True):
        assert offset % constants.BUFFER_ALIGNMENT == 0
        assert offset + size <= following < offset + size + 64 + (following == end)


def test_table_bytes() -> None:
    assert len(TABLE.pack()) == table_bytes(2)
