"""Nesting strings and the names of precisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from strategies import nestings

from nq_tflite.errors import NestingError, NqError, PrecisionError
from nq_tflite.format.nesting import Nesting, precision_to_level


@given(nestings)
def test_parse_reads_what_str_writes(nesting: Nesting) -> None:
    assert Nesting.parse(str(nesting)) == nesting
    assert Nesting.parse(list(nesting.bit_widths)) == nesting
    assert sum(nesting.level_bits) == nesting.full_bits == nesting.precisions[-1]
    assert nesting.level_bits[0] == nesting.part_bits == nesting.precisions[0]


@pytest.mark.parametrize(
    "text", ["4|8", "8", "", "8|8", "9|4", "8|1", "8|five", "8|6|7", "8,5", None, [8, 5.5, "x"], 85]
)
def test_impossible_nestings_are_refused(text: object) -> None:
    with pytest.raises(NestingError, match="expected") as error:
        Nesting.parse(text)  # type: ignore[arg-type]
    assert "8|5" in str(error.value)
    assert isinstance(error.value, NqError | ValueError)


@pytest.mark.parametrize(
    ("precision", "level"), [("part", 0), ("full", 2), (4, 0), (6, 1), ("6", 1), (8, 2), ("FULL", 2)]
)
def test_precisions_name_levels(precision: str | int, level: int) -> None:
    assert precision_to_level(precision, (4, 6, 8)) == level


@pytest.mark.parametrize("precision", [5, "half", "", 0, -1, True, None])
def test_unknown_precisions_list_the_known_ones(precision: object) -> None:
    with pytest.raises(PrecisionError, match=r"\[4, 6, 8\]"):
        precision_to_level(precision, (4, 6, 8))  # type: ignore[arg-type]


def test_a_stock_model_has_no_precision() -> None:
    with pytest.raises(PrecisionError, match="nested model"):
        precision_to_level("full", ())
