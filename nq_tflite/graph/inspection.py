"""The contents of a nested file, as data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import SelectionError
from nq_tflite.format.groups import spread
from nq_tflite.format.levels import Codes, signal_to_noise_db, value_at
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.nested import NestedFile, NestedWeight, read_nested
from nq_tflite.graph.refusals import unnested_weights
from nq_tflite.graph.sites import Unnested
from nq_tflite.units import decibels, html_view, layer_labels, megabytes, percent, shape_text


@dataclass(frozen=True)
class WeightRow:
    """One nested weight.

    Attributes:
        level_bytes: bytes of each level in the file.
        bias_bytes: bytes among them of the level's bias deltas with their padding.
        group_scale_bytes: bytes of group scales, which are in the root; 0 if there are none.
        snr_db: for each precision, signal-to-noise ratio of the weights, part-bit first; against the source's weights
            in a conversion, against the full-bit weights in `inspect` (whose last is then infinite).
        rounding: name of the method that chose the codes; "" in `inspect`, because the file does not record it.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    nesting: str
    output_type: str
    level_bytes: tuple[int, ...]
    bias_bytes: tuple[int, ...]
    snr_db: tuple[float, ...]
    rounding: str = ""
    group_scale_bytes: int = 0

    @property
    def num_weights(self) -> int:
        """Weights without padding."""
        return int(np.prod(self.shape))


def weights_table(rows: Sequence[WeightRow], precisions: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table of weights, with the error of each of these precisions, part-bit first."""
    columns = ["weight", "operator", "shape", "bits", "kB", *(f"dB at {bits} bits" for bits in precisions)]
    labels = layer_labels([row.name for row in rows])
    return columns, [
        [label, row.operator, shape_text(row.shape), row.nesting, f"{sum(row.level_bytes) / 1e3:.1f}"]
        + [decibels(snr) for snr in row.snr_db[: len(precisions)]]
        for label, row in zip(labels, rows, strict=True)
    ]


@dataclass(frozen=True)
class BitsAWeight:
    """The average number of bits that a nested weight takes in the levels.

    Attributes:
        nesting: the nestings' own bits.
        padding: of tensors to whole superblocks.
        biases: deltas of the biases that levels own; the bias that every model has is not counted.
        group_scales: scales of groups, outside the levels; the scale of each channel, which every model has, is not
            counted.
    """

    nesting: float
    padding: float
    biases: float
    group_scales: float = 0.0

    @classmethod
    def of(cls, rows: tuple[WeightRow, ...]) -> BitsAWeight:
        """Of these weights together."""
        num_weights = sum(row.num_weights for row in rows)
        own = sum(int(row.nesting.split("|")[0]) * row.num_weights for row in rows) / num_weights
        biases = 8 * sum(sum(row.bias_bytes) for row in rows) / num_weights
        total = 8 * sum(sum(row.level_bytes) for row in rows) / num_weights
        group_scales = 8 * sum(row.group_scale_bytes for row in rows) / num_weights
        return cls(own, max(total - own - biases, 0.0), biases, group_scales)

    @property
    def total(self) -> float:
        """All of them."""
        return self.nesting + self.padding + self.biases + self.group_scales

    def as_dict(self) -> dict[str, float]:
        """For machines."""
        return {
            "bits_a_weight": self.total,
            "padding_bits_a_weight": self.padding,
            "bias_bits_a_weight": self.biases,
            "group_scale_bits_a_weight": self.group_scales,
        }

    def __str__(self) -> str:
        return (
            f"{self.total:.3f} bits a weight: {self.nesting:g} of the nesting, "
            f"{self.padding:.3f} of padding, {self.biases:.3f} of biases"
            + (f", {self.group_scales:.3f} of group scales" if self.group_scales else "")
        )


@dataclass(frozen=True)
class MovedBytes:
    """Bytes that a change of precision moves, compared with two separate files and the paper's arithmetic.

    With two separate files of n and h bits, each change moves the whole other model, n + h bits per weight there and
    back. A nested file moves only the residual each way. NestQuant's residual has l + 1 bits (its Table 2:
    (l + 1) / (n + h) of the bytes); ours has l = n - h.
    """

    residual_bytes: int
    separate_bytes: int

    @property
    def ratio(self) -> float:
        """Residual bytes over the bytes of two separate packed models."""
        return self.residual_bytes / self.separate_bytes

    @staticmethod
    def paper_ratio(full_bits: int, part_bits: int) -> float:
        """(l + 1) / (n + h)."""
        return (full_bits - part_bits + 1) / (full_bits + part_bits)


@dataclass(frozen=True)
class InspectReport:
    """A nested file's layers and totals; `as_dict` is what --json prints."""

    path: str
    file_bytes: int
    precisions: tuple[int, ...]
    section_bytes: tuple[int, ...]
    weights: tuple[WeightRow, ...]
    unnested: tuple[Unnested, ...]

    @property
    def num_weights(self) -> int:
        """Weights in nested tensors, padding not counted."""
        return sum(row.num_weights for row in self.weights)

    @property
    def bits_a_weight(self) -> BitsAWeight:
        """Bits per nested weight."""
        return BitsAWeight.of(self.weights)

    @property
    def overhead(self) -> float:
        """Bytes beyond n bits per weight, as a fraction of n bits per weight."""
        return self.bits_a_weight.total / self.bits_a_weight.nesting - 1

    @property
    def switching(self) -> MovedBytes:
        """Bytes of a switch between part-bit and full-bit."""
        return MovedBytes(sum(self.section_bytes[1:]), sum(self.section_bytes) + self.section_bytes[0])

    def lines(self) -> tuple[str, ...]:
        """Its totals in words."""
        moved, full, part = self.switching, self.precisions[-1], self.precisions[0]
        sizes = zip(self.section_bytes, self.precisions, strict=True)
        levels = [f"{megabytes(size)} for {bits} bits" for size, bits in sizes]
        return (
            f"{self.path}: {megabytes(self.file_bytes)} ({self.file_bytes} bytes)",
            f"levels: {', then '.join(levels)}",
            f"{self.num_weights} nested weights at {self.bits_a_weight} ({percent(self.overhead)} over)",
            f"a switch between {part} and {full} bits moves {moved.residual_bytes} bytes: {percent(moved.ratio)} of "
            f"two separate packed files ({moved.separate_bytes} bytes); NestQuant's formula, (l+1)/(n+h), predicts "
            f"{percent(moved.paper_ratio(full, part))}",
        )

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        rows = sorted(self.weights, key=lambda row: row.snr_db[0])
        return html_view(self.lines(), *weights_table(rows, self.precisions[:-1]))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        derived = {
            "num_weights": self.num_weights,
            "overhead": self.overhead,
            "switch_bytes": self.switching.residual_bytes,
            "switch_ratio_to_separate_files": self.switching.ratio,
            "paper_switch_ratio": MovedBytes.paper_ratio(self.precisions[-1], self.precisions[0]),
        }
        return asdict(self) | self.bits_a_weight.as_dict() | derived


def inspect_file(path: str | os.PathLike[str]) -> InspectReport:
    """Reads a nested file and reports on it.

    Raises:
        FormatError: the file is not a complete nested file.
    """
    nested = read_nested(path)
    return InspectReport(
        path=os.fspath(path),
        file_bytes=nested.file.size,
        precisions=nested.precisions,
        section_bytes=tuple(section.size for section in nested.table.sections),
        weights=tuple(_nested_row(weight) for weight in nested.weights),
        unnested=tuple(unnested_weights(nested.file.model, Nesting(nested.precisions[::-1]))),
    )


def find_weight(nested: NestedFile, name: str) -> NestedWeight:
    """The nested weight of that name, or the only one whose name contains it.

    Raises:
        SelectionError: none fits, or several do.
    """
    exact = [weight for weight in nested.weights if weight.name == name]
    close = exact or [weight for weight in nested.weights if name in weight.name]
    if len(close) != 1:
        raise SelectionError(
            f"weight {name!r}",
            expected="the name of one nested weight, or a part of only one name",
            got=f"{len(close)} matching weights",
            fix="nq-tflite inspect MODEL --json lists the names.",
        )
    return close[0]


def _nested_row(weight: NestedWeight) -> WeightRow:
    codes = weight.codes()
    return WeightRow(
        name=weight.name,
        operator=weight.consumer,
        shape=weight.shape,
        nesting=str(weight.nesting),
        output_type=weight.block.output_type.name.lower(),
        level_bytes=tuple(weight.block.level_bytes(level) for level in range(len(weight.levels))),
        bias_bytes=tuple(weight.block.delta_bytes(level) for level in range(len(weight.levels))),
        snr_db=snr_db(codes, codes, weight.scales, weight.nesting),
        group_scale_bytes=weight.block.group_scale_bytes,
    )


def snr_db(target: NDArray[Any], codes: Codes, scales: NDArray[np.float32], nesting: Nesting) -> tuple[float, ...]:
    """Signal-to-noise ratio of codes against a target in their units, both [channels, depth], at each precision."""
    real = spread(np.asarray(scales, np.float64), codes.shape[1])
    return tuple(
        signal_to_noise_db(target * real, value_at(codes, nesting, level) * real)
        for level in range(len(nesting.precisions))
    )
