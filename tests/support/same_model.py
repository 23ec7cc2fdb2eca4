"""Whether two TFLite models say the same, wherever their flatbuffers keep it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from nq_tflite.graph import flatbuffer as fb

#: What tells where something stands; `facts` puts the thing itself in its place.
_PLACES = {"buffers", "operatorCodes", "metadataBuffer"}


def facts(model: Any, without: Collection[str] = ()) -> dict[str, Any]:
    """A ModelT as plain values that can be compared.

    Buffers stand where they are used, and operator codes too. Absent and empty vectors are one.

    Args:
        without: names of tensors whose data and quantization are left out.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, bytes | str):
            return fb.text(value)
        if isinstance(value, np.ndarray):
            return value.tolist() or None
        if isinstance(value, list | tuple):
            return [plain(each) for each in value] or None
        if hasattr(value, "__dict__"):
            return of_object(value)
        return value

    def of_object(thing: Any) -> dict[str, Any]:
        found = {key: plain(value) for key, value in vars(thing).items() if key not in _PLACES}
        if "buffer" in found:
            data = model.buffers[thing.buffer].data
            found["buffer"] = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        if "opcodeIndex" in found:
            found["opcodeIndex"] = plain(model.operatorCodes[thing.opcodeIndex])
        if found.get("name") in without:
            found |= {"buffer": None, "quantization": None}
        return found

    return of_object(model)


def assert_same_model(one: Any, other: Any, without: Collection[str] = ()) -> None:
    """Fails with the first fact that differs."""
    _compare(facts(one, without), facts(other, without), "model")


def _compare(one: Any, other: Any, path: str) -> None:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key, value in one.items():
            _compare(value, other[key], f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            _compare(a, b, f"{path}[{number}]")
    else:
        assert one == other, path
