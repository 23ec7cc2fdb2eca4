"""What may be asked of the full-int8 graph of a Keras model: names, checked before tensorflow starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict, get_args

from nq_tflite.errors import UnsupportedModelError, did_you_mean

#: Types of a full-int8 graph's inputs and outputs.
IoType = Literal["float32", "int8", "uint8"]
IO_TYPES: tuple[IoType, ...] = get_args(IoType)
#: Which values of its activations a full-int8 graph covers; "auto" is the best of the others.
ActivationRanges = Literal["minmax", "percentile", "mse", "auto"]
ACTIVATION_RANGES: tuple[ActivationRanges, ...] = get_args(ActivationRanges)


class ExportOptions(TypedDict, total=False):
    """Those of `keras_export.export`."""

    input_type: IoType
    output_type: IoType
    activation_ranges: ActivationRanges


def check_options(
    input_type: object = "float32", output_type: object = "float32", activation_ranges: object = "minmax"
) -> None:
    """Raises UnsupportedModelError for a name that there is not."""
    _check("activation ranges", activation_ranges, ACTIVATION_RANGES)
    for each in (input_type, output_type):
        _check("input or output type", each, IO_TYPES)


def _check(what: str, name: object, names: Sequence[str]) -> None:
    if name not in names:
        fix = did_you_mean(getattr(name, "__name__", name), names)  # tf.int8 has a name, too
        raise UnsupportedModelError(what, expected=f"one of {', '.join(names)}", got=repr(name), fix=fix)
