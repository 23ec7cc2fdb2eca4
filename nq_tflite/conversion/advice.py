"""What to try next, from what a conversion's report says, and the layers that lose most."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from nq_tflite.conversion.report import ConversionReport, Estimate
from nq_tflite.format.constants import SECTION_ALIGNMENT, OutputType
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.inspection import WeightRow
from nq_tflite.graph.nested import NestedFile, NestedWeight

#: Part-bit's agreement over full-bit's, and its outputs' SNR in dB, that call for no more bits.
ENOUGH_KEPT, ENOUGH_SNR_DB = 0.95, 16.0
#: A layer that loses so many dB more than the median one is worth bits of its own.
OUTLIER_DB = 6.0
#: Part-bit's bytes may grow so much for layers that keep all their bits.
CHEAP_EXCLUSION = 0.1
#: Nested bytes of so many pages make the padding between sections count.
_FEW_PAGES = 16


def worst_first(rows: Sequence[WeightRow]) -> list[WeightRow]:
    """Weights in the order of what part-bit loses of them, the most first."""
    return sorted(rows, key=lambda row: row.snr_db[0])


def advice(report: ConversionReport, measured: Estimate | None = None) -> tuple[str, ...]:
    """Suggestions for another conversion, each with the options to give; none where nothing calls for one.

    Args:
        report: of the conversion.
        measured: what stands for its estimate, if the file has been measured since.

    Example:
        >>> for line in advice(report):  # doctest: +SKIP
        ...     print(line)
    """
    nesting = Nesting.parse(report.nesting)
    found = [_more_data(report.estimate), _outliers(report.weights, nesting), _small_file(report, nesting)]
    if measured is not None:
        found = [*_levels(measured, report.weights, nesting, "the reference"), *found]
    elif report.estimate is not None:
        found = [*_levels(report.estimate, report.weights, nesting, "the source"), *found]
    return tuple(each for each in found if each)


def file_advice(rows: Sequence[WeightRow], nesting: Nesting, measured: Estimate | None = None) -> tuple[str, ...]:
    """What of `advice` can be said of a file whose conversion is not at hand."""
    found = [] if measured is None else _levels(measured, rows, nesting, "the reference")
    return tuple(each for each in [*found, _outliers(rows, nesting)] if each)


def _levels(estimate: Estimate, rows: Sequence[WeightRow], nesting: Nesting, whom: str) -> list[str]:
    return [*_part_bits(estimate, nesting, whom), *_full_bits(estimate, rows, whom)]


def _part_bits(estimate: Estimate, nesting: Nesting, whom: str) -> list[str]:
    part = nesting.part_bits
    if estimate.agreement is None:
        kept, enough = f"its outputs have {estimate.snr_db[0]:.1f} dB", estimate.snr_db[0] >= ENOUGH_SNR_DB
    else:
        rates = estimate.agreement
        kept = f"it agrees with {whom} on {100 * rates[0]:.1f} % of the inputs, full-bit on {100 * rates[-1]:.1f} %"
        enough = rates[0] >= ENOUGH_KEPT * rates[-1]
    if enough or part + 1 >= min(nesting.precisions[1:]):
        return []
    more = "|".join(map(str, [*sorted(nesting.precisions[1:], reverse=True), part + 1]))
    return [f"part-bit loses: {kept}; give it another bit (--nesting '{more}') or let --nesting auto find how many"]


def _full_bits(estimate: Estimate, rows: Sequence[WeightRow], whom: str) -> list[str]:
    is_int8 = rows[0].output_type == OutputType.INT8.name.lower()
    if estimate.agreement is None or estimate.agreement[-1] >= ENOUGH_KEPT or not is_int8:
        return []
    return [
        f"full-bit agrees with {whom} on {100 * estimate.agreement[-1]:.1f} % of the inputs: --exact keeps an INT8 "
        "file's codes; from a Keras model, --activation-ranges auto tries other ranges of its activations"
    ]


def _more_data(estimate: Estimate | None) -> str | None:
    if estimate is not None and "representative data" in estimate.inputs:
        return None
    seen = "saw no inputs" if estimate is None else "saw made-up inputs"
    return f"rounding {seen}: 100 typical ones help most (--representative samples.npy, or a folder of photos)"


def _outliers(rows: Sequence[WeightRow], nesting: Nesting) -> str | None:
    middle = median(row.snr_db[0] for row in rows)
    worst = [row for row in worst_first(rows) if row.snr_db[0] < middle - OUTLIER_DB]
    if not worst:
        return None
    names = [row.name.split(";")[0] for row in worst]
    others = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"{', '.join(names[:3])}{others}: {OUTLIER_DB:.0f} dB or more below the other layers at {nesting.part_bits} "
        f"bits; --nesting auto --budget 0.75 gives layers part-bits of their own{_exclusion(worst[:3], rows)}"
    )


def _exclusion(worst: Sequence[WeightRow], rows: Sequence[WeightRow]) -> str:
    """The other way, where it costs little: INT8 weights that stay as they are have all their bits at part-bit too."""
    if any(row.output_type != OutputType.INT8.name.lower() for row in worst):
        return ""
    more = max(sum(row.num_weights - row.level_bytes[0] for row in worst), 0)
    if more > CHEAP_EXCLUSION * sum(row.level_bytes[0] for row in rows):
        return ""
    options = " ".join(f"--exclude '{_pattern(row.name, rows)}'" for row in worst)
    return f", or {options} leaves them INT8 at part-bit too, for {more} bytes more"


def _pattern(name: str, rows: Sequence[WeightRow]) -> str:
    """One that fits no other weight: what stands before the names that were fused to it, if that will do."""
    short = name.split(";")[0]
    alone = sum(row.name.startswith(short) for row in rows) == 1 and not set("*?[") & set(short)
    return f"{short}*" if alone and short != name else name


def _small_file(report: ConversionReport, nesting: Nesting) -> str | None:
    nested = sum(sum(row.level_bytes) for row in report.weights)
    if nested >= _FEW_PAGES * SECTION_ALIGNMENT:
        return None
    most = SECTION_ALIGNMENT * len(nesting.precisions)
    return f"the levels start at pages of {SECTION_ALIGNMENT} bytes: up to {most} of {report.file_bytes} are padding"


def worst_weights(nested: NestedFile, weights: Sequence[WeightRow], most: int = 6) -> list[NestedWeight]:
    """The weights of a file that part-bit costs most, for `histogram_figure`, by their rows in a report of it."""
    by_name = {weight.name: weight for weight in nested.weights}
    return [by_name[row.name] for row in worst_first(weights)[:most]]
