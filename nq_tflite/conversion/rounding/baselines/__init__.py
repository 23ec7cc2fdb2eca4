"""Other people's ways to several precisions, for comparison only: nested files, whose levels slice one code, hold none.

One file each, with its formula and its source. `convert` does not offer them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nq_tflite.conversion.rounding.baselines.codes import LevelCodes
from nq_tflite.conversion.rounding.baselines.minmax import minmax, minmax_bits
from nq_tflite.conversion.rounding.baselines.published_code import published_code
from nq_tflite.conversion.rounding.baselines.squant_nesting import squant_nesting, squant_nesting_bits
from nq_tflite.conversion.rounding.quadratic import Real
from nq_tflite.format.nesting import Nesting


@dataclass(frozen=True)
class Baseline:
    """A way to have a weight at several bit-widths.

    Attributes:
        name: by which users choose it.
        levels: (real weights [channels, depth], taps as in RoundingTask, nesting) -> codes of levels, part-bit first.
        bits_a_weight: what all levels of a nesting take together, by the method's own arithmetic.
    """

    name: str
    levels: Callable[[Real, int, Nesting], tuple[LevelCodes, ...]]
    bits_a_weight: Callable[[Nesting], int]


MINMAX = Baseline("minmax", minmax, minmax_bits)
PUBLISHED_CODE = Baseline("nestquant-code", published_code, squant_nesting_bits)
SQUANT_NESTING = Baseline("squant-nesting", squant_nesting, squant_nesting_bits)

__all__ = ["MINMAX", "PUBLISHED_CODE", "SQUANT_NESTING", "Baseline", "LevelCodes"]
