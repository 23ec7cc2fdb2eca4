"""The narrowest part-bit model that still keeps what full-bit has: the critical nesting of NestQuant's paper."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: INT8 and INT6 nesting narrower integers, as the paper's tables do.
GRID = ("8|7", "8|6", "8|5", "8|4", "8|3", "6|5", "6|4", "6|3")
#: Part of the inputs that part-bit may lose: beyond that accuracy falls fast with every bit.
MAY_LOSE = 0.05


@dataclass(frozen=True)
class Kept:
    """What a method kept with one nesting of two levels: rates of inputs, of full-bit and of part-bit."""

    model: str
    method: str
    full_bits: int
    part_bits: int
    full: float
    part: float


@dataclass(frozen=True)
class Critical:
    """The narrowest part-bit width of a method, from full-bit down, that loses no more than `MAY_LOSE`; None: none."""

    model: str
    method: str
    full_bits: int
    part_bits: int | None


def critical_nestings(found: Iterable[Kept]) -> list[Critical]:
    """One for each model, method and full-bit width, in the order in which they come.

    >>> rows = [Kept("net", "descent", 8, bits, 0.9, part) for bits, part in [(6, 0.9), (5, 0.88), (4, 0.7), (3, 0.88)]]
    >>> critical_nestings(rows)
    [Critical(model='net', method='descent', full_bits=8, part_bits=5)]
    """
    groups: dict[tuple[str, str, int], list[Kept]] = {}
    for each in found:
        groups.setdefault((each.model, each.method, each.full_bits), []).append(each)
    return [Critical(*key, _narrowest(rows)) for key, rows in groups.items()]


def _narrowest(rows: list[Kept]) -> int | None:
    narrowest = None
    for row in sorted(rows, key=lambda row: -row.part_bits):
        if row.full - row.part > MAY_LOSE:
            break
        narrowest = row.part_bits
    return narrowest
