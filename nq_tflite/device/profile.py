"""The time of each layer that the native library computes, as data and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nq_tflite.device.delegation import Place
from nq_tflite.records import from_dict
from nq_tflite.units import counted, html_view, layer_labels, shape_text

#: What a table of layers has.
COLUMNS = ("layer", "operators", "output", "least", "share", "mean", "GMAC/s", "GB/s")


@dataclass(frozen=True)
class LayerTime:
    """A layer: an operator of the model, or several that the library computes as one.

    Attributes:
        name: names of its operators in TFLite's schema, such as "CONV_2D + ADD".
        output: name of the tensor that it computes.
        weight: name of its nested weight, if it has one.
        place: "fused"; or "unpacked" for a nested weight that is unpacked, which the runtime's operator reads then.
        shape: of the output.
        macs: multiplications with additions of an invocation, in convolutions and products of matrices; 0 elsewhere.
        bytes: of the tensors that it reads and writes and of its packed weight at that precision, each counted once.
        invocations: that were timed.
        seconds: of an invocation, their mean.
        least_seconds: of the fastest one.
    """

    name: str
    output: str
    weight: str | None
    place: Place
    shape: tuple[int, ...]
    macs: int
    bytes: int
    invocations: int
    seconds: float
    least_seconds: float


@dataclass(frozen=True)
class Profile:
    """The layers that the library computes at one precision, in the order they run, with their times.

    What the runtime computes itself is not among them.

    Attributes:
        bits: the precision; None for a stock model, which has no such layers.
        layers: all of them, those that were never timed too.

    Example:
        >>> layer = LayerTime("CONV_2D", "y", "w", "fused", (1, 8, 8, 16), 73728, 2816, 10, 2e-6, 1.8e-6)
        >>> print(Profile(8, (layer,)))
        1 layer at 8 bits: 1.8 µs at least, 2.0 µs in the mean
        layer  operators  output     least    share    mean  GMAC/s  GB/s
        w      CONV_2D    1x8x8x16  1.8 µs  100.0 %  2.0 µs    41.0   1.6
    """

    bits: int | None
    layers: tuple[LayerTime, ...]

    @property
    def seconds(self) -> float:
        """Sum of the layers' mean times."""
        return sum(layer.seconds for layer in self.layers)

    @property
    def least_seconds(self) -> float:
        """Sum of the layers' least times."""
        return sum(layer.least_seconds for layer in self.layers)

    @property
    def slowest(self) -> tuple[LayerTime, ...]:
        """The layers by their least times, longest first."""
        return tuple(sorted(self.layers, key=lambda layer: -layer.least_seconds))

    def rows(self) -> list[list[str]]:
        """Cells of `COLUMNS`, a row for each layer, in the order they run. Shares and rates are by the least times."""
        whole = self.least_seconds
        return [
            [
                label,
                layer.name,
                shape_text(layer.shape),
                _microseconds(layer.least_seconds),
                f"{100 * layer.least_seconds / whole:.1f} %" if whole else "-",
                _microseconds(layer.seconds),
                _rate(layer.macs, layer.least_seconds),
                _rate(layer.bytes, layer.least_seconds),
            ]
            for label, layer in zip(self._labels(), self.layers, strict=True)
        ]

    def _labels(self) -> list[str]:
        """Short names of the layers, by their weights as reports have them, or by their outputs."""
        weights = [layer.weight for layer in self.layers if layer.weight is not None]
        outputs = [layer.output for layer in self.layers if layer.weight is None]
        of_weights, of_outputs = iter(layer_labels(weights)), iter(layer_labels(outputs))
        return [next(of_outputs if layer.weight is None else of_weights) for layer in self.layers]

    def summary(self) -> str:
        """One line: how many layers, and their time together."""
        count = counted(len(self.layers), "layer")
        bits = "" if self.bits is None else f" at {self.bits} bits"
        return f"{count}{bits}: {_microseconds(self.least_seconds)} at least, {_microseconds(self.seconds)} in the mean"

    def __str__(self) -> str:
        return "\n".join([self.summary(), *_aligned([COLUMNS, *self.rows()], left=3)])

    def _repr_html_(self) -> str:
        return html_view([self.summary()], COLUMNS, self.rows())

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Profile:
        """What `as_dict` gave, after a journey through JSON."""
        return from_dict(cls, data)


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"


def _rate(count: int, seconds: float) -> str:
    """Billions in a second; nothing where none is counted."""
    return f"{count / seconds / 1e9:.1f}" if count and seconds else ""


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Columns side by side, the first `left` aligned left and the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [cell.ljust(width) for cell, width in zip(row[:left], widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(row[left:], widths[left:], strict=True)]
        return "  ".join(cells).rstrip()

    return [line(row) for row in rows]
