"""Choices that users name: the types say the same names as the tables that are asked at run time."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args, get_origin

import pytest

import nq_tflite as nq
from nq_tflite.conversion.rounding import METHODS, Rounding
from nq_tflite.conversion.sources import activation_ranges
from nq_tflite.conversion.sources.export_options import ACTIVATION_RANGES, IO_TYPES, ActivationRanges, IoType
from nq_tflite.device.runtimes import RUNTIMES, RuntimeName
from nq_tflite.govern.policy import PRESETS, Policy, Preset
from nq_tflite.measure.benchmark import benchmark
from nq_tflite.measure.compare import compare
from nq_tflite.measure.contenders import CONTENDERS, ContenderName
from nq_tflite.measure.evaluate import evaluate
from nq_tflite.measure.preprocessing import PIXEL_RANGES, PixelRange
from nq_tflite.measure.tasks import ACTIVATIONS, Activations


@pytest.mark.parametrize(
    ("alias", "table"),
    [
        (RuntimeName, RUNTIMES),
        (Rounding, METHODS),
        (IoType, IO_TYPES),
        (ActivationRanges, ACTIVATION_RANGES),
        (ActivationRanges, (*activation_ranges.METHODS, "auto")),
        (PixelRange, PIXEL_RANGES),
        (ContenderName, CONTENDERS),
        (Activations, ACTIVATIONS),
        (Preset, PRESETS),
    ],
    ids=lambda each: None,
)
def test_type_and_table_have_the_same_names(alias: Any, table: Iterable[str]) -> None:
    assert get_args(alias) == tuple(table)


@pytest.mark.parametrize(
    ("function", "parameter", "names"),
    [
        (nq.convert, "rounding", METHODS),
        (nq.convert, "input_type", IO_TYPES),
        (nq.convert, "output_type", IO_TYPES),
        (nq.convert, "activation_ranges", ACTIVATION_RANGES),
        (nq.Interpreter.__init__, "runtime", RUNTIMES),
        (nq.Governor.__init__, "policy", PRESETS),
        (Policy.of, "policy", PRESETS),
        (nq.write_report, "preprocess", PIXEL_RANGES),
        (nq.write_report, "runtime", RUNTIMES),
        (evaluate, "preprocess", PIXEL_RANGES),
        (compare, "methods", CONTENDERS),
        (compare, "activations", ACTIVATIONS),
        (benchmark, "runtimes", RUNTIMES),
    ],
)
def test_an_editor_offers_the_names(function: Callable[..., Any], parameter: str, names: Iterable[str]) -> None:
    assert _literals(typing.get_type_hints(inspect.unwrap(function))[parameter]) == list(names)


def _literals(hint: Any) -> list[str]:
    """Texts that a type allows one by one, wherever they stand in it."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [name for part in get_args(hint) for name in _literals(part)]
