"""Numbers and names as people read them: in tables, on pages, in figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def precision_name(bits: int | None, levels: Sequence[int] = ()) -> str:
    """5 bits (part), or stock."""
    if bits is None:
        return "stock"
    names = {max(levels): " (full)", min(levels): " (part)"} if levels else {}
    return f"{bits} bits{names.get(bits, '')}"
