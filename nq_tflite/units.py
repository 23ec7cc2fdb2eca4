"""Numbers and names as people read them: in tables, on pages, in figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

NAME_WIDTH = 40
#: What Keras and tensorflow's converter put behind a layer's name.
_OPERATORS = ("convolution", "depthwise", "MatMul", "BiasAdd", "Conv2D")


def short_name(name: str) -> str:
    """A tensor's name without the names fused into it, cut from the left."""
    first = name.split(";")[0]
    return first if len(first) <= NAME_WIDTH else "…" + first[1 - NAME_WIDTH :]


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "thread"), counted(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def shape_text(shape: Sequence[int]) -> str:
    """32x3x3x16."""
    return "x".join(map(str, shape))


def megabytes(count: int | None) -> str:
    """4.11 MB (decimal)."""
    return "-" if count is None else f"{count / 1e6:.2f} MB"


def bytes_text(count: int) -> str:
    """A number of bytes in the unit that suits it (decimal).

    >>> bytes_text(1_310_000), bytes_text(4_130), bytes_text(312)
    ('1.31 MB', '4.1 kB', '312 B')
    """
    if count >= 1_000_000:
        return f"{count / 1e6:.2f} MB"
    return f"{count / 1e3:.1f} kB" if count >= 1_000 else f"{count} B"


def kilobytes(sizes: Sequence[int]) -> str:
    """Several numbers of bytes side by side, in kB.

    >>> kilobytes([12_300, 7_380])
    '12.3 + 7.4'
    """
    return " + ".join(f"{size / 1e3:.1f}" for size in sizes)


def html_view(lines: Sequence[str], columns: Sequence[str] = (), rows: Sequence[Sequence[str]] = ()) -> str:
    """Lines and a table as a notebook shows them; every text is escaped.

    >>> html_view(["a < b"])
    '<p>a &lt; b</p>'
    """
    from html import escape

    said = "<p>" + "<br>".join(map(escape, lines)) + "</p>"
    if not rows:
        return said
    head = "".join(f"<th>{escape(each)}</th>" for each in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"{said}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def milliseconds(seconds: float) -> str:
    """0.21 ms."""
    return f"{seconds * 1e3:.2f} ms"


def fine_milliseconds(seconds: float) -> str:
    """0.021 ms, as little as a small model takes; 0.21 ms.

    >>> fine_milliseconds(2.1e-5), fine_milliseconds(2.1e-4)
    ('0.021 ms', '0.21 ms')
    """
    return f"{seconds * 1e3:.3f} ms" if seconds < 1e-4 else milliseconds(seconds)


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


def short_label(name: str, most: int = 34) -> str:
    """A name in one line, cut from the left."""
    shown = " ".join("".join(each if each.isprintable() else " " for each in name).split())
    return shown if len(shown) <= most else "…" + shown[1 - most :]


def layer_labels(names: Sequence[str], most: int = 34) -> list[str]:
    """Short names of layers that stand side by side: without what they all begin with, the names fused into them, and
    the operator at their end.

    >>> layer_labels(["net_1/block_1/convolution;net_1/block_1/add", "net_1/head/MatMul"])
    ['block_1', 'head']
    """
    paths = [name.split(";")[0].split("/") for name in names]
    columns = list(zip(*(path[:-1] for path in paths), strict=False))
    shared = next((at for at, each in enumerate(columns) if len(set(each)) > 1), len(columns) if len(paths) > 1 else 0)
    short = [path[shared:-1] if path[-1] in _OPERATORS and path[shared:-1] else path[shared:] for path in paths]
    labels = ["/".join(path) for path in short]
    if len(set(labels)) < len(labels):
        labels = ["/".join(path[shared:]) for path in paths]
    return [short_label(each, most) for each in labels]
