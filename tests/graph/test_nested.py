"""The reader of nested files: what it gives, and that no damage gets past it or crashes it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from repacked import repacked

from nq_tflite.errors import FormatError
from nq_tflite.format.bitpack import Layout
from nq_tflite.format.constants import OutputType
from nq_tflite.format.option_block import LevelOptions, OptionBlock
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import NestedWeight, read_nested

FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


class Content(bytes):
    """Bytes that do not fill the screen when a property test prints its arguments."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


@pytest.fixture(scope="session")
def nested_bytes(nested_dir: Path) -> bytes:
    return Content((nested_dir / "int8_8_6_4.tflite").read_bytes())


@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@FIXTURE
def test_a_flipped_bit_is_refused_or_harmless(nested_bytes: bytes, where: float, flip: int) -> None:
    """Anywhere in the file; harmless is a byte that no weight depends on (a name, padding of the root)."""
    data = bytearray(nested_bytes)
    data[int(where * len(data))] ^= flip
    try:
        damaged = read_nested(bytes(data))
    except FormatError:
        return
    whole = read_nested(nested_bytes)
    for a, b in zip(whole.weights, damaged.weights, strict=False):
        np.testing.assert_array_equal(a.levels[0], b.levels[0])


@given(where=st.floats(0, 1, exclude_max=True), chunk=st.binary(min_size=1, max_size=16))
@FIXTURE
def test_damage_in_the_root_never_crashes_the_reader(nested_bytes: bytes, where: float, chunk: bytes) -> None:
    root = read_nested(nested_bytes).table.sections[0].offset
    data = bytearray(nested_bytes)
    start = int(where * root)
    data[start : start + len(chunk)] = chunk
    with contextlib.suppress(FormatError):
        read_nested(bytes(data[: len(nested_bytes)]))


@given(keep=st.floats(0, 1, exclude_max=True))
@FIXTURE
def test_truncated_files_are_refused(nested_bytes: bytes, keep: float) -> None:
    with pytest.raises(FormatError):
        read_nested(nested_bytes[: int(keep * len(nested_bytes))])


def test_every_byte_of_a_section_is_under_its_checksum(nested_bytes: bytes) -> None:
    for section in read_nested(nested_bytes).table.sections:
        for position in (section.offset, section.offset + section.size // 2, section.offset + section.size - 1):
            data = bytearray(nested_bytes)
            data[position] ^= 0x10
            with pytest.raises(FormatError, match="checksum of section"):
                read_nested(bytes(data))


def first_operator(model: object) -> object:
    return next(o for o in model.subgraphs[0].operators if fb.custom_name(model, o))  # type: ignore[attr-defined]


def drop_an_input(model: object) -> None:
    first_operator(model).inputs = list(first_operator(model).inputs)[:-1]  # type: ignore[attr-defined]


def tensor_index_out_of_range(model: object) -> None:
    first_operator(model).inputs[0] = 10**6  # type: ignore[attr-defined]


def swap_levels(model: object) -> None:
    inputs = first_operator(model).inputs  # type: ignore[attr-defined]
    inputs[0], inputs[1] = inputs[1], inputs[0]


def no_custom_options(model: object) -> None:
    first_operator(model).customOptions = None  # type: ignore[attr-defined]


def another_shape(model: object) -> None:
    tensor = model.subgraphs[0].tensors[first_operator(model).outputs[0]]  # type: ignore[attr-defined]
    tensor.shape = [tensor.shape[0] + 1, *tensor.shape[1:]]


def negative_scale(model: object) -> None:
    tensor = model.subgraphs[0].tensors[first_operator(model).outputs[0]]  # type: ignore[attr-defined]
    tensor.quantization.scale[0] = -1.0


def two_tables(model: object) -> None:
    model.metadata += model.metadata[-1:]  # type: ignore[attr-defined]


def overlapping_buffers(model: object) -> None:
    """Another operator's level at the place of the first one's."""
    operators = [o for o in model.subgraphs[0].operators if fb.custom_name(model, o)]  # type: ignore[attr-defined]
    buffers = [model.subgraphs[0].tensors[o.inputs[0]].buffer for o in operators]  # type: ignore[attr-defined]
    model.buffers[buffers[1]].offset = model.buffers[buffers[0]].offset + 64  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change",
    [
        drop_an_input,
        tensor_index_out_of_range,
        swap_levels,
        no_custom_options,
        another_shape,
        negative_scale,
        two_tables,
        overlapping_buffers,
    ],
)
def test_forbidden_graphs(change: object, nested_bytes: bytes, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected"):
        read_nested(repacked(nested_bytes, change))


def test_a_change_that_changes_nothing_is_read(nested_bytes: bytes) -> None:
    assert len(read_nested(repacked(nested_bytes, lambda model: None)).weights) == len(
        read_nested(nested_bytes).weights
    )


@pytest.mark.parametrize("output_type", list(OutputType))
def test_bias_corrections(output_type: OutputType) -> None:
    """FORMAT.md section 4.5, worked out by hand: 3 channels, delta * step rounded half to even, int32 saturating."""
    levels = (LevelOptions(0, 5, 0.5), LevelOptions(0, 3, 2.0))
    block = OptionBlock(Layout.MATRIX, output_type, 3, 4, levels, has_bias=True)
    packed = [np.zeros(block.level_bytes(level), np.uint8) for level in range(2)]
    packed[0][320:323] = np.array([1, 3, -128], np.int8).view(np.uint8)
    packed[1][192:195] = np.array([127, -1, 0], np.int8).view(np.uint8)
    is_int8 = output_type is OutputType.INT8
    base = np.array([10, 2**31 - 1, -(2**31)], np.int32) if is_int8 else np.array([10, 0, -1], np.float32)
    scales = np.array([1.0, 0.5, 0.0], np.float32)
    weight = NestedWeight(0, 0, 0, 1, "w", (3, 4), "FULLY_CONNECTED", block, scales, scales, tuple(packed), base)
    if is_int8:
        assert weight.bias(0).tolist() == [10, 2**31 - 1, -(2**31)]
        assert weight.bias(1).tolist() == [264, 2**31 - 3, -(2**31)]
    else:
        assert weight.bias(0).tolist() == [10.5, 0.75, -1.0]
        assert weight.bias(1).tolist() == [264.0, -1.0, -1.0]
