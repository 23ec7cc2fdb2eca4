"""Rounding methods: one signature, one file each."""

from __future__ import annotations

from nq_tflite.errors import NestingError
from nq_tflite.rounding.nearest import nearest
from nq_tflite.rounding.squant import squant
from nq_tflite.rounding.task import RoundingMethod, RoundingTask

METHODS: dict[str, RoundingMethod] = {"nearest": nearest, "squant": squant}
DEFAULT = "squant"


def rounding_method(name: str) -> RoundingMethod:
    """The method of that name.

    Raises:
        NestingError: there is none.
    """
    if name not in METHODS:
        raise NestingError(
            "rounding", expected=f"one of {sorted(METHODS)}", got=repr(name), fix="Leave it out for the default."
        )
    return METHODS[name]


__all__ = ["DEFAULT", "METHODS", "RoundingMethod", "RoundingTask", "nearest", "rounding_method", "squant"]
