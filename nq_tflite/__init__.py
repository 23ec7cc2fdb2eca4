"""NestQuant for TensorFlow Lite: one file, several precisions, switched at run time.

>>> import nq_tflite as nq
>>> nq.Nesting.parse("8|5").level_bits
(5, 3)

A device needs only NumPy and a TFLite runtime. What nq.Interpreter can do without is imported when first used, for an
import is most of a small model's start-up.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nq_tflite.device.delegation import DelegatedOperator, Delegation
from nq_tflite.device.interpreter import Interpreter
from nq_tflite.device.profile import LayerTime, Profile
from nq_tflite.device.switching import Switch
from nq_tflite.errors import MissingPackageError, NqError, how_to_install
from nq_tflite.format.nesting import Nesting, Precision
from nq_tflite.version import __version__

if TYPE_CHECKING:
    from nq_tflite.conversion.convert import convert
    from nq_tflite.delivery import ArrivedLevel, Delivery, join, receive, split
    from nq_tflite.device.compiled_model import CompiledModel
    from nq_tflite.govern import GovernedSwitch, Governor, Policy, Rule
    from nq_tflite.graph.extraction import extract
    from nq_tflite.graph.inspection import inspect_file
    from nq_tflite.plot.page.write import write_report


__all__ = [
    "ArrivedLevel",
    "CompiledModel",
    "DelegatedOperator",
    "Delegation",
    "Delivery",
    "GovernedSwitch",
    "Governor",
    "Interpreter",
    "LayerTime",
    "Nesting",
    "NqError",
    "Policy",
    "Precision",
    "Profile",
    "Rule",
    "Switch",
    "__version__",
    "convert",
    "extract",
    "inspect_file",
    "join",
    "receive",
    "split",
    "write_report",
]

_LATER = {
    "ArrivedLevel": "delivery",
    "CompiledModel": "device.compiled_model",
    "Delivery": "delivery",
    "GovernedSwitch": "govern",
    "Governor": "govern",
    "Policy": "govern",
    "Rule": "govern",
    "convert": "conversion.convert",
    "extract": "graph.extraction",
    "inspect_file": "graph.inspection",
    "join": "delivery",
    "receive": "delivery",
    "split": "delivery",
    "write_report": "plot.page.write",
}


def __dir__() -> list[str]:
    """The public names, whether or not their modules have been imported: what Tab offers."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"nq.{name}",
            expected=f"the package {error.name}",
            got="none installed",
            fix=f"A device does not need nq.{name}. To use it elsewhere: {how_to_install('convert')}.",
        ) from error
    globals()[name] = value
    return value
