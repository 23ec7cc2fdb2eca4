"""What a nesting is: bit-widths, levels and the names of precisions."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from nq_tflite.errors import NestingError, PrecisionError, did_you_mean

_NAMES = ("full", "part")
MIN_PART_BITS = 2
MAX_FULL_BITS = 8

#: A precision as users name it: "full", "part", or a number of bits that one of the levels gives.
Precision = str | int

#: "own": each layer its own part-bits, in the bytes that the same for all take; "same": the nesting's for all layers.
LayerBits = Literal["own", "same"]
LAYER_BITS: tuple[LayerBits, ...] = ("own", "same")


@dataclass(frozen=True)
class Nesting:
    """INT-n nesting INT-h (NestQuant section 3), with any number of bit-widths between them.

    ``bit_widths`` are strictly descending, full-bit first: ``Nesting((8, 6, 4))`` is written "8|6|4".

    >>> nesting = Nesting.parse("8|6|4")
    >>> nesting.full_bits, nesting.part_bits, nesting.level_bits, nesting.precisions
    (8, 4, (4, 2, 2), (4, 6, 8))
    """

    bit_widths: tuple[int, ...]

    def __post_init__(self) -> None:
        widths = self.bit_widths
        if isinstance(widths, str):
            raise NestingError("nesting", expected="a tuple of bit-widths", got=repr(widths), fix="Use Nesting.parse.")
        descending = len(widths) >= 2 and all(a > b for a, b in pairwise(widths))
        if not descending or widths[0] > MAX_FULL_BITS or widths[-1] < MIN_PART_BITS:
            raise NestingError(
                "nesting",
                expected=f"descending bit-widths n|h with {MIN_PART_BITS} <= h < n <= {MAX_FULL_BITS}",
                got=repr("|".join(map(str, widths))),
                fix="Write the full-bit width first, for example '8|5' or '8|6|4'.",
            )

    @classmethod
    def parse(cls, text: str | Nesting | Iterable[int]) -> Nesting:
        """Reads "8|5", a sequence of bit-widths, or a Nesting.

        Raises:
            NestingError: the text is not a nesting.
        """
        if isinstance(text, Nesting):
            return text
        try:
            widths = tuple(int(part) for part in (text.split("|") if isinstance(text, str) else text))
        except (TypeError, ValueError):
            found = re.findall(r"\d+", text) if isinstance(text, str) else []
            example = "|".join(found) if len(found) > 1 else "8|5"
            raise NestingError(
                "nesting",
                expected="bit-widths separated by '|'",
                got=reprlib.repr(text),
                fix=f"Write for example '{example}'.",
            ) from None
        return cls(widths)

    @property
    def full_bits(self) -> int:
        """n, the bit-width of all levels together."""
        return self.bit_widths[0]

    @property
    def part_bits(self) -> int:
        """h, the bit-width of level 0 alone."""
        return self.bit_widths[-1]

    @property
    def precisions(self) -> tuple[int, ...]:
        """The bit-width of levels 0 to k, for each k: ascending."""
        return self.bit_widths[::-1]

    @property
    def level_bits(self) -> tuple[int, ...]:
        """Bits that each level adds; their sum is n."""
        return (self.part_bits, *(b - a for a, b in pairwise(self.precisions)))

    def __str__(self) -> str:
        return "|".join(map(str, self.bit_widths))


def check_precision(precision: Precision) -> None:
    """Raises PrecisionError unless it could be the precision of some model."""
    key = str(precision).strip().lower()
    if isinstance(precision, bool) or not (key in _NAMES or (key.isdecimal() and 1 <= int(key) <= MAX_FULL_BITS)):
        raise PrecisionError(
            "precision",
            expected="'full', 'part' or a number of bits",
            got=repr(precision),
            fix=did_you_mean(precision, _NAMES),
        )


def precision_to_level(precision: Precision, precisions: tuple[int, ...]) -> int:
    """Level that a precision names, counted from 0 (part-bit).

    >>> precision_to_level("full", (4, 6, 8)), precision_to_level("part", (4, 6, 8)), precision_to_level(6, (4, 6, 8))
    (2, 0, 1)

    Raises:
        PrecisionError: the model has no such precision.
    """
    names = {"part": 0, "full": len(precisions) - 1} | {str(bits): level for level, bits in enumerate(precisions)}
    key = str(precision).strip().lower()
    if not precisions or key not in names or isinstance(precision, bool):
        raise PrecisionError(
            "precision",
            expected=f"'full', 'part' or one of {list(precisions)} bits" if precisions else "a nested model",
            got=repr(precision) if precisions else "a model without nested weights",
            fix=did_you_mean(precision, _NAMES) or "Choose one of these."
            if precisions
            else "Convert it with nq.convert first.",
        )
    return names[key]
