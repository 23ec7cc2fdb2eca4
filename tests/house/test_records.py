"""Dataclasses that come back from JSON as they were, and JSON that is none of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest

from nq_tflite.records import from_dict


@dataclass(frozen=True)
class Inner:
    ratio: float
    place: Literal["fused", "runtime"] = "fused"


@dataclass(frozen=True)
class Outer:
    name: str
    count: int | None
    bits: int | str
    inner: Inner | None
    rows: tuple[Inner, ...]
    range: tuple[float, float]
    sizes: dict[str, int]
    notes: list[str]
    done: bool = False


OUTER = Outer("a", None, "full", Inner(1.5), (Inner(2.0, "runtime"),), (0.0, float("inf")), {"x": 1}, ["n"], True)


def test_the_same_object_comes_back() -> None:
    data = json.loads(json.dumps(asdict(OUTER)))
    assert from_dict(Outer, data) == OUTER
    assert from_dict(Outer, data | {"derived": 3, "range": [0, None]}) == OUTER


def test_a_default_stands_for_what_is_missing() -> None:
    assert from_dict(Inner, {"ratio": 2}) == Inner(2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "Outer.name: expected str, got 1"),
        ({"count": True}, "Outer.count: expected int, got True"),
        ({"bits": None}, "Outer.bits: expected str, got None"),
        ({"inner": []}, r"Inner: expected an object, got \[\]"),
        ({"rows": {}}, "Outer.rows: expected a list, got {}"),
        ({"rows": [{}]}, "Inner.ratio is missing"),
        ({"rows": [{"ratio": 1, "place": "cpu"}]}, "Inner.place: expected one of 'fused', 'runtime', got 'cpu'"),
        ({"range": [1.0]}, "Outer.range: expected 2 values"),
        ({"range": [1.0, "2"]}, r"Outer.range\[1\]: expected float, got '2'"),
        ({"sizes": {"x": "1"}}, r"Outer.sizes\['x'\]: expected int, got '1'"),
    ],
)
def test_another_type_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(Outer, json.loads(json.dumps(asdict(OUTER))) | change)
