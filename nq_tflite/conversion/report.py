"""The contents of a nested file, and what a conversion did, as data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nq_tflite.conversion.plan import Plan
from nq_tflite.conversion.rounding import DEFAULT
from nq_tflite.conversion.weight_plan import WeightPlan
from nq_tflite.errors import FormatError
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.inspection import BitsAWeight, WeightRow, snr_db, weights_table
from nq_tflite.graph.readers import LOOKUP_NAMES
from nq_tflite.graph.sites import Unnested
from nq_tflite.records import from_dict
from nq_tflite.units import counted, decibels, html_view, megabytes, percent, precision_name

#: Decibels of full-bit's outputs that a search may give up without a word.
FULL_BIT_LOSS_DB = 3.0
#: Less agreement than this is worth a warning.
LEAST_AGREEMENT = 0.8


@dataclass(frozen=True)
class Estimate:
    """How close each precision's outputs are to those of the source before any rounding.

    Attributes:
        inputs: which inputs the model ran on.
        num_inputs: their number.
        held_out: whether rounding took no statistics of them, although layers may have chosen between codes by them.
            If it is False, the estimate is too good.
        precisions: part-bit first.
        agreement: for each precision the inputs whose greatest output is the source's, as a fraction; None if the
            output is not a row of scores.
        expected_agreement: the same by `lockstep.expected_agreement`, which depends less on chance.
        snr_db: for each precision the power of the source's outputs over that of the difference.
    """

    inputs: str
    num_inputs: int
    held_out: bool
    precisions: tuple[int, ...]
    agreement: tuple[float, ...] | None
    expected_agreement: tuple[float, ...] | None
    snr_db: tuple[float, ...]

    def __str__(self) -> str:
        seen = f"{self.num_inputs} that rounding has not seen" if self.held_out else "all seen by rounding, so too good"
        return f"{self.inputs}, {seen}"


@dataclass(frozen=True)
class Candidate:
    """A nesting that a search has tried, with the figures that the file would have.

    Attributes:
        nesting: of the whole model.
        mixed: whether layers have their own part-bits.
        agreement, snr_db: of part-bit, as `Estimate` has them: the agreement is the expected one.
        full_agreement, full_snr_db: of full-bit.
        part_bytes, full_bytes: of the nested weights' levels in the file.
    """

    nesting: str
    mixed: bool
    agreement: float | None
    snr_db: float
    full_agreement: float | None
    full_snr_db: float
    part_bytes: int
    full_bytes: int

    @property
    def fraction(self) -> float:
        """Part-bit bytes over full-bit bytes."""
        return self.part_bytes / self.full_bytes

    @property
    def kept(self) -> float | None:
        """Part-bit's agreement over full-bit's; None if the output is not a row of scores."""
        if self.agreement is None or self.full_agreement is None:
            return None
        return self.agreement / self.full_agreement if self.full_agreement > 0 else 0.0


@dataclass(frozen=True)
class Search:
    """How `nesting="auto"` came to its nesting.

    Attributes:
        min_agreement, budget: what was asked for; None if nothing was.
        inputs, num_inputs, held_out: what the candidates were measured on, as in `Estimate`.
        candidates: the curve, fewest part-bit bytes first.
        chosen: index of the one that became the file.
        reason: why that one.
        met: whether it satisfies all that was asked for.
    """

    min_agreement: float | None
    budget: float | None
    inputs: str
    num_inputs: int
    held_out: bool
    candidates: tuple[Candidate, ...]
    chosen: int
    reason: str
    met: bool

    def warnings(self) -> tuple[str, ...]:
        """What was asked for and not found, and what few part-bits cost full-bit."""
        full = self.candidates[self.chosen].full_snr_db
        best = max(self.candidates, key=lambda each: each.full_snr_db)
        lost = best.full_snr_db - full
        return (
            *(() if self.met else (self.reason,)),
            *(
                (
                    f"full-bit pays for few part-bits: its outputs have {full:.1f} dB, with {best.nesting} "
                    f"{best.full_snr_db:.1f} dB; min_bits (--min-bits) sets a floor",
                )
                if lost > FULL_BIT_LOSS_DB
                else ()
            ),
        )


@dataclass(frozen=True)
class Equalization:
    """The equalization of a model's linear chains.

    Attributes:
        exponents: how far the channels of each chain were equalized, in the order of the graph: 1 is fully, 0 leaves
            the chain as it is.
        gain_db: how many decibels the outputs gain when only activations are INT8.
        num_inputs: the number of inputs that this was measured on; the choice of codes does not use them.
        stopped: why nothing could be measured, so that the chains stay as they are; None if it could.
    """

    exponents: tuple[float, ...]
    gain_db: float
    num_inputs: int
    stopped: str | None = None

    def __str__(self) -> str:
        chains = f"{len(self.exponents)} linear chain{'' if len(self.exponents) == 1 else 's'}"
        changed = sorted({f"{each:.2g}" for each in self.exponents if each})
        if self.stopped is not None:
            return f"{chains} not equalized: {self.stopped}"
        if not changed:
            return f"{chains} not equalized: a precision would lose by it"
        return (
            f"{sum(map(bool, self.exponents))} of {chains} equalized, by exponents of {', '.join(changed)}: "
            f"{self.gain_db:+.1f} dB for the outputs with INT8 activations alone, on {self.num_inputs} samples"
        )


@dataclass(frozen=True)
class ConversionReport:
    """What `convert` did: the nested weights with their error against the source, and the others with the reason.

    Attributes:
        estimate: of the accuracy; None if no inputs could be had or run.
        notes: which things could not be done, and why.
        search: how the nesting was chosen; None if it was given.
        equalization: that of linear chains; None if there are none, or they were not looked for.
    """

    path: str
    file_bytes: int
    nesting: str
    rounding: str
    weights: tuple[WeightRow, ...]
    unnested: tuple[Unnested, ...]
    estimate: Estimate | None = None
    notes: tuple[str, ...] = ()
    search: Search | None = None
    equalization: Equalization | None = None

    @property
    def doubtful(self) -> bool:
        """Whether a precision agrees with the source on fewer inputs than `LEAST_AGREEMENT`."""
        agreement = None if self.estimate is None else self.estimate.agreement
        return agreement is not None and min(agreement) < LEAST_AGREEMENT

    @property
    def num_weights(self) -> int:
        """Weights in nested tensors."""
        return sum(row.num_weights for row in self.weights)

    @property
    def bits_a_weight(self) -> BitsAWeight:
        """Bits per nested weight."""
        return BitsAWeight.of(self.weights)

    def lines(self) -> tuple[str, ...]:
        """Its totals in words."""
        levels = [sum(each) for each in zip(*(weight.level_bytes for weight in self.weights), strict=True)]
        left, left_bytes = Counter(each.reason for each in self.unnested), sum(each.bytes for each in self.unnested)
        return (
            f"{self.path}: {megabytes(self.file_bytes)} ({self.file_bytes} bytes)",
            f"{self.num_weights} weights in {counted(len(self.weights), 'nested tensor')} ({megabytes(sum(levels))}, "
            f"{self.nesting}, rounding: {self.rounding}); part-bit reads {megabytes(levels[0])} of them",
            f"{self.bits_a_weight}",
            f"left as they are: {counted(len(self.unnested), 'tensor')} ({left_bytes} bytes)",
            *(f"  {count}: {reason}" for reason, count in left.most_common()),
            *(() if self.equalization is None else (str(self.equalization),)),
        )

    def __str__(self) -> str:
        return "\n".join((*self.lines(), *self._estimates(), *(f"note: {note}" for note in self.notes)))

    def _repr_html_(self) -> str:
        precisions = Nesting.parse(self.nesting).precisions
        rows = sorted(self.weights, key=lambda row: row.snr_db[0])
        return html_view(str(self).split("\n"), *weights_table(rows, precisions))

    def _estimates(self) -> tuple[str, ...]:
        """A line for each precision's estimated accuracy."""
        estimate = self.estimate
        if estimate is None:
            return ()
        agreements = estimate.agreement or [None] * len(estimate.precisions)
        return tuple(
            f"{precision_name(bits, estimate.precisions)}: agreement {percent(agreement)}, output SNR {decibels(snr)} "
            f"dB, estimated on {estimate}"
            for bits, agreement, snr in zip(estimate.precisions, agreements, estimate.snr_db, strict=True)
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return (
            asdict(self) | self.bits_a_weight.as_dict() | {"num_weights": self.num_weights, "doubtful": self.doubtful}
        )


def conversion_report(
    path: Path,
    size: int,
    nesting: Nesting,
    rounding: str,
    plan: Plan,
    estimate: Estimate | None = None,
    notes: Sequence[str] = (),
    search: Search | None = None,
    equalization: Equalization | None = None,
) -> ConversionReport:
    """The report of a finished conversion."""
    rows = tuple(_planned_row(weight) for weight in plan.weights)
    notes = tuple(note for note in (*notes, _fallback_note(rows, rounding)) if note)
    return ConversionReport(
        path=str(path),
        file_bytes=size,
        nesting=str(nesting),
        rounding=rounding,
        weights=rows,
        unnested=plan.unnested,
        estimate=estimate,
        notes=notes,
        search=search,
        equalization=equalization,
    )


def _fallback_note(rows: Sequence[WeightRow], rounding: str) -> str | None:
    """Which methods stood in for the one that was asked for, and how often; lookups are always rounded to nearest."""
    others = Counter(row.rounding for row in rows if row.rounding != rounding and row.operator not in LOOKUP_NAMES)
    if rounding != DEFAULT or not others:
        return None
    names = " and ".join(f"{count} by {name}" for name, count in sorted(others.items(), reverse=True))
    return (
        f"{sum(others.values())} of {len(rows)} weights not rounded by {rounding}: {names} (--json: `rounding`). "
        "Either there are no samples of their inputs (none at hand, too few, too deep, in another subgraph, or behind "
        "what does not run alone), or full-bit was further from the source than plain rounding on inputs not seen "
        "before"
    )


def _planned_row(weight: WeightPlan) -> WeightRow:
    block = weight.option_block()
    return WeightRow(
        name=weight.name,
        operator=weight.operator,
        shape=weight.shape,
        nesting=str(weight.nesting),
        output_type=weight.output_type.name.lower(),
        level_bytes=tuple(block.level_bytes(level) for level in range(len(block.levels))),
        bias_bytes=tuple(block.delta_bytes(level) for level in range(len(block.levels))),
        snr_db=snr_db(weight.target, weight.codes, weight.scales, weight.nesting),
        rounding=weight.rounding,
        group_scale_bytes=block.group_scale_bytes,
    )


def read_conversion(path: Path) -> ConversionReport:
    """What `nq-tflite convert --json` printed, without the curve of a search.

    Raises:
        FormatError: the file has something else.
    """
    try:
        conversion = from_dict(ConversionReport, json.loads(path.read_text(encoding="utf-8")))
        return replace(conversion, nesting=str(Nesting.parse(conversion.nesting)), search=None)
    except (OSError, ValueError) as error:
        raise FormatError(
            f"conversion {path}",
            expected="the output of nq-tflite convert --json",
            got=f"{type(error).__name__}: {error}",
            fix="Convert again with --json, and keep the output.",
        ) from error
