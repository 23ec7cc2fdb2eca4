"""Rounding methods: one signature, one file each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nq_tflite.conversion.rounding.descent import descent
from nq_tflite.conversion.rounding.nearest import nearest
from nq_tflite.conversion.rounding.squant import squant
from nq_tflite.conversion.rounding.task import RoundingTask
from nq_tflite.errors import NestingError, did_you_mean
from nq_tflite.format.levels import Codes


@dataclass(frozen=True)
class Method:
    """A way to choose codes.

    Attributes:
        description: for people to choose by.
        round: int8 codes [channels, depth], multiples of `task.step` within the task's bounds.
        needs_means: whether its levels' biases are corrected, from the means of the layers' inputs.
        needs_covariances: whether `round` looks at how the inputs vary together.
        exact: whether full-bit has an INT8 source's own codes, or those nearest to a float source's weights, and the
            source's biases. Only the levels below full-bit are then corrected.
    """

    name: str
    description: str
    round: Callable[[RoundingTask], Codes]
    needs_means: bool = False
    needs_covariances: bool = False
    exact: bool = False


#: Those of `METHODS`, by name.
Rounding = Literal["descent", "squant", "nearest"]
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("descent", "by the error of each layer's outputs", descent, needs_means=True, needs_covariances=True),
        Method("squant", "adaptive, by the weights alone, after SQuant", squant, needs_means=True),
        Method("nearest", "to the nearest code, without corrected biases", nearest),
    )
}
DEFAULT: Rounding = "descent"
#: Stands for `convert(exact=True)`; users do not choose it by name.
EXACT = Method("exact", "the source's codes, with corrected biases", nearest, needs_means=True, exact=True)
#: For weights whose inputs cannot be looked at.
FALLBACK = METHODS["squant"]


def rounding_method(name: str) -> Method:
    """The method of that name.

    Raises:
        NestingError: there is none.
    """
    if name not in METHODS:
        raise NestingError(
            "rounding",
            expected=f"one of {', '.join(METHODS)}",
            got=repr(name),
            fix=did_you_mean(name, METHODS) or "Leave it out for the default.",
        )
    return METHODS[name]


__all__ = [
    "DEFAULT",
    "EXACT",
    "FALLBACK",
    "METHODS",
    "Method",
    "Rounding",
    "RoundingTask",
    "descent",
    "nearest",
    "rounding_method",
    "squant",
]
