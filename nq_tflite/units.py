"""Numbers and names as people read them: in tables, on pages, in figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

NAME_WIDTH = 40


def short_name(name: str) -> str:
    """A tensor's name without the names fused into it, cut from the left."""
    first = name.split(";")[0]
    return first if len(first) <= NAME_WIDTH else "…" + first[1 - NAME_WIDTH :]


def shape_text(shape: Sequence[int]) -> str:
    """32x3x3x16."""
    return "x".join(map(str, shape))


def megabytes(count: int | None) -> str:
    """4.11 MB (decimal)."""
    return "-" if count is None else f"{count / 1e6:.2f} MB"


def milliseconds(seconds: float) -> str:
    """0.21 ms."""
    return f"{seconds * 1e3:.2f} ms"


def percent(rate: float | None, error: float | None = None) -> str:
    """83.1 %, or 83.1 ± 3.4 %."""
    if rate is None:
        return "-"
    return f"{100 * rate:.1f} %" if error is None else f"{100 * rate:.1f} ± {100 * error:.1f} %"


def decibels(value: float) -> str:
    """17.4, or "exact" without any error."""
    return "exact" if math.isinf(value) else f"{value:.1f}"


def kernels_text(kernels: Mapping[str, str]) -> str:
    """The instruction set of each kind of kernel, or of all of them.

    >>> kernels_text({"matrix": "avx2", "unpack": "avx2"})
    'avx2 kernels'
    >>> kernels_text({"matrix": "amx", "depthwise": "avx512vnni", "unpack": "avx512vnni"})
    'kernels amx (matrix), avx512vnni (depthwise, unpack)'
    """
    kinds: dict[str, list[str]] = {}
    for kind, isa in kernels.items():
        kinds.setdefault(isa, []).append(kind)
    if len(kinds) == 1:
        return f"{next(iter(kinds))} kernels"
    return "kernels " + ", ".join(f"{isa} ({', '.join(each)})" for isa, each in kinds.items())


def precision_name(bits: int | None, levels: Sequence[int] = ()) -> str:
    """5 bits (part), or stock."""
    if bits is None:
        return "stock"
    names = {max(levels): " (full)", min(levels): " (part)"} if levels else {}
    return f"{bits} bits{names.get(bits, '')}"
