"""The levels of a plan as sections: every weight's bytes at its place, zeros between, pages in order."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from nq_tflite.conversion.packed_levels import pack_levels, section_table
from nq_tflite.conversion.plan import Plan, WeightPlan
from nq_tflite.format.biases import LevelBiases, fit_biases
from nq_tflite.format.bitpack import Layout, unpack
from nq_tflite.format.constants import BUFFER_ALIGNMENT, SECTION_ALIGNMENT, OutputType
from nq_tflite.format.levels import split
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.sites import Site

NESTING = Nesting.parse("8|6|4")


def weight(channels: int, depth: int, biases: LevelBiases | None = None) -> WeightPlan:
    codes = np.random.default_rng(channels).integers(-127, 128, (channels, depth), np.int8)
    return WeightPlan(
        sites=(Site(0, channels, (0,), Layout.MATRIX, "w"),),
        operator="FULLY_CONNECTED",
        shape=codes.shape,
        layout=Layout.MATRIX,
        output_type=OutputType.INT8,
        nesting=NESTING,
        rounding="nearest",
        codes=codes,
        scales=np.ones(1, np.float32),
        target=codes.astype(np.float64),
        biases={},
        level_biases=biases,
    )


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Two weights, of which the second has deltas at part-bit."""
    biases = fit_biases(np.array([[40.0, -7.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), np.ones(1), np.int32)
    return Plan((weight(5, 70), weight(3, 33, biases)), ())


def test_every_part_is_a_weights_level(plan: Plan) -> None:
    for number, level in enumerate(pack_levels(plan, NESTING)):
        assert level.bits == NESTING.precisions[number]
        for index, each in enumerate(plan.weights):
            block = each.option_block()
            part = level.part(index)
            assert len(part) == block.level_bytes(number)
            fields = unpack(part[: block.packed_bytes(number)], each.layout, NESTING.level_bits[number], *each.shape)
            np.testing.assert_array_equal(fields, split(each.codes, NESTING)[number])
            if block.delta_bytes(number):
                deltas = part[block.packed_bytes(number) :].view(np.int8)
                np.testing.assert_array_equal(deltas[:3], each.level_biases.deltas[number])  # type: ignore[union-attr]
                assert not deltas[3:].any()
    assert [plan.weights[1].option_block().delta_bytes(level) > 0 for level in range(3)] == [True, False, False]


def test_parts_are_aligned_and_what_is_between_them_is_zero(plan: Plan) -> None:
    for level in pack_levels(plan, NESTING):
        end = 0
        for offset, size in level.parts:
            assert offset % BUFFER_ALIGNMENT == 0
            assert not any(level.data[end:offset])
            end = offset + size
        assert end == len(level.data)


@pytest.mark.parametrize("root_bytes", [1, SECTION_ALIGNMENT, SECTION_ALIGNMENT + 1])
def test_sections_start_at_pages_behind_the_root(plan: Plan, root_bytes: int) -> None:
    levels = pack_levels(plan, NESTING)
    table = section_table(levels, root_bytes)
    table.check_order()
    assert table.sections[0].offset - root_bytes in range(SECTION_ALIGNMENT)
    for section, level in zip(table.sections, levels, strict=True):
        assert (section.size, section.crc32, section.bits) == (len(level.data), zlib.crc32(level.data), level.bits)
