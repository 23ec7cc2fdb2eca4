"""Dataclasses that went through JSON: the way back from `dataclasses.asdict`."""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def from_dict(kind: type[Record], data: Any) -> Record:
    """The dataclass whose `asdict` has become `data` on its way through JSON.

    Fields may hold None, booleans, numbers, text, literals, other dataclasses, and tuples, lists and dicts of these.
    Keys without a field are ignored: reports print what they derive, too. A null where a number with a fraction belongs
    is infinity, for which JSON has no number.

    >>> from nq_tflite.format.option_block import LevelOptions
    >>> from_dict(LevelOptions, {"offset": 64, "bits": 5, "bias_step": None})
    LevelOptions(offset=64, bits=5, bias_step=inf)

    Raises:
        ValueError: a field is missing or of another type.
    """
    if not isinstance(data, dict):
        raise _unexpected(kind.__name__, "an object", data)
    values = {}
    for name, (hint, is_needed) in _fields(kind).items():
        if name in data:
            values[name] = _value(hint, data[name], f"{kind.__name__}.{name}")
        elif is_needed:
            raise ValueError(f"{kind.__name__}.{name} is missing")
    return kind(**values)


def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Each field's type, and whether it has no default."""
    hints = get_type_hints(kind)
    return {
        each.name: (hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
    }


def _value(hint: Any, data: Any, where: str) -> Any:
    """`data` as the type that `hint` names."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _either(arguments, data, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, data)
    if origin is Literal:
        if data not in arguments:
            raise _unexpected(where, f"one of {', '.join(map(repr, arguments))}", data)
        return data
    if origin in (tuple, list):
        return _sequence(origin, arguments, data, where)
    if origin is dict:
        if not isinstance(data, dict):
            raise _unexpected(where, "an object", data)
        return {key: _value(arguments[1], value, f"{where}[{key!r}]") for key, value in data.items()}
    return _plain(hint, data, where)


def _either(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    [*others, last] = [kind for kind in kinds if kind is not type(None)]
    for kind in others:
        try:
            return _value(kind, data, where)
        except ValueError:
            continue
    return _value(last, data, where)


def _sequence(kind: type, arguments: tuple[Any, ...], data: Any, where: str) -> Any:
    if not isinstance(data, list | tuple):
        raise _unexpected(where, "a list", data)
    is_uniform = kind is list or arguments[1:] == (...,)
    if not is_uniform and len(data) != len(arguments):
        raise _unexpected(where, f"{len(arguments)} values", data)
    hints = [arguments[0]] * len(data) if is_uniform else arguments
    return kind(_value(hint, each, f"{where}[{k}]") for k, (hint, each) in enumerate(zip(hints, data, strict=True)))


def _plain(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    if kind is float:
        if data is None:
            return math.inf
        if isinstance(data, int | float) and not isinstance(data, bool):
            return float(data)
    elif type(data) is kind:
        return data
    raise _unexpected(where, kind.__name__, data)


def _unexpected(where: str, expected: str, got: Any) -> ValueError:
    return ValueError(f"{where}: expected {expected}, got {got!r:.80}")
