"""Which models and formats the compatibility matrix crosses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nq_tflite_models.nets.families import APPLICATIONS, FAMILIES, build_application, build_family
from nq_tflite_models.nets.variants import VARIANTS
from nq_tflite_models.weights.third_party import THIRD_PARTY_FILES, third_party_bytes

ACTIVATIONS = ("float", "int8")
#: Formats that a Keras model is converted from -> the activations that the result may have.
FORMATS: dict[str, tuple[str, ...]] = {
    "memory": ACTIVATIONS,
    "keras": ACTIVATIONS,
    "h5": ACTIVATIONS,
    "saved_model": ACTIVATIONS,
    "float.tflite": ("float",),
    "int8.tflite": ("int8",),
}


@dataclass(frozen=True)
class Row:
    """A model to try.

    Attributes:
        build: makes the Keras model, with seeded weights; it is tried in every format of `FORMATS`.
        file: the bytes of a stock .tflite file instead, tried as it is; `activations` says which of the two it is.
        shape: of the file's one input, where the file does not fix it.
        stateful: whether an invocation depends on those before it.
    """

    name: str
    build: Callable[[], Any] | None = None
    file: Callable[[], bytes] | None = None
    activations: str = "float"
    shape: tuple[int, ...] | None = None
    stateful: bool = False

    @property
    def sources(self) -> list[tuple[str, str]]:
        """(format, activations) that there are of it."""
        if self.file is not None:
            return [(f"{self.activations}.tflite", self.activations)]
        return [(name, each) for name, activations in FORMATS.items() for each in activations]


ROWS: dict[str, Row] = {name: Row(name, functools.partial(build_family, name)) for name in FAMILIES}
ROWS |= {name: Row(name, build) for name, build in VARIANTS.items()}
"""Small models: what the command tries if nothing else is asked for."""

APPLICATION_ROWS: dict[str, Row] = {
    name: Row(name, functools.partial(build_application, name)) for name in APPLICATIONS
}
"""keras.applications at their real sizes, by their names there."""

THIRD_PARTY_ROWS: dict[str, Row] = {
    name: Row(
        name,
        file=functools.partial(third_party_bytes, file),
        activations="int8" if file.weights == "int8" else "float",
        shape=file.input_shape,
        stateful=file.stateful,
    )
    for name, file in THIRD_PARTY_FILES.items()
}
"""Files that others made, which packages carry."""

ALL_ROWS = ROWS | APPLICATION_ROWS | THIRD_PARTY_ROWS
