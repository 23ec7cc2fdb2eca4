"""What to try next, from what a conversion's report says, and the layers that lose most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from nq_tflite.conversion.report import ConversionReport, Estimate
from nq_tflite.format.constants import SECTION_ALIGNMENT, OutputType
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.inspection import WeightRow
from nq_tflite.graph.nested import NestedFile, NestedWeight
from nq_tflite.units import bytes_text

#: Part-bit's agreement over full-bit's, and its outputs' SNR in dB, that call for no more bits.
ENOUGH_KEPT, ENOUGH_SNR_DB = 0.95, 16.0
#: A layer that loses so many dB more than the median one is worth bits of its own.
OUTLIER_DB = 6.0
#: Part-bit's bytes may grow so much for layers that keep all their bits.
CHEAP_EXCLUSION = 0.1
#: A residual of fewer pages than these gives back next to nothing.
SMALL_RESIDUAL_PAGES = 4


def worst_first(rows: Sequence[WeightRow]) -> list[WeightRow]:
    """Weights in the order of what part-bit loses of them, the most first."""
    return sorted(rows, key=lambda row: row.snr_db[0])


@dataclass(frozen=True)
class _Words:
    """How options are given: `option("nesting", "8|5")`.

    Attributes:
        data: that of representative data, with an example.
    """

    option: Callable[..., str]
    data: str


def _flag(name: str, *values: object) -> str:
    """As the command line takes it, once for each value."""
    flag = f"--{name.replace('_', '-')}"
    plain = [str(each).replace(".", "").isalnum() for each in values]
    given = [f"{flag} {each}" if bare else f"{flag} '{each}'" for each, bare in zip(values, plain, strict=True)]
    return " ".join(given) or flag


def _keyword(name: str, *values: object) -> str:
    """As `nq.convert` takes it."""
    value = True if not values else values[0] if len(values) == 1 else list(values)
    return f"{name}={value!r}"


_COMMAND_LINE = _Words(_flag, "--representative samples.npy, or a folder of photos")
_PYTHON = _Words(_keyword, "representative_data=samples")


def advice(
    report: ConversionReport, measured: Estimate | None = None, *, command_line: bool = False
) -> tuple[str, ...]:
    """Suggestions for another conversion, each with the options to give; none where nothing calls for one.

    Args:
        report: of the conversion.
        measured: replaces its estimate, if the file has been measured since.
        command_line: whether options are those of `nq-tflite convert` instead of those of `nq.convert`.

    Example:
        >>> for line in advice(report):  # doctest: +SKIP
        ...     print(line)
    """
    nesting, words = Nesting.parse(report.nesting), _COMMAND_LINE if command_line else _PYTHON
    found = [_more_data(report.estimate, words), _outliers(report.weights, nesting, words), _small_file(report)]
    if measured is not None:
        found = [*_levels(measured, report.weights, nesting, "the reference", words), *found]
    elif report.estimate is not None:
        found = [*_levels(report.estimate, report.weights, nesting, "the source", words), *found]
    return tuple(each for each in found if each)


def file_advice(
    rows: Sequence[WeightRow], nesting: Nesting, measured: Estimate | None = None, *, command_line: bool = False
) -> tuple[str, ...]:
    """What of `advice` can be said of a file whose conversion is not at hand."""
    words = _COMMAND_LINE if command_line else _PYTHON
    found = [] if measured is None else _levels(measured, rows, nesting, "the reference", words)
    return tuple(each for each in [*found, _outliers(rows, nesting, words)] if each)


def _levels(estimate: Estimate, rows: Sequence[WeightRow], nesting: Nesting, whom: str, words: _Words) -> list[str]:
    return [*_part_bits(estimate, rows, nesting, whom, words), *_full_bits(estimate, rows, whom, words)]


def _are_mixed(rows: Sequence[WeightRow]) -> bool:
    """Whether layers have part-bits of their own."""
    return len({row.nesting for row in rows}) > 1


def _part_bits(estimate: Estimate, rows: Sequence[WeightRow], nesting: Nesting, whom: str, words: _Words) -> list[str]:
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
    one, auto = words.option("nesting", more), words.option("nesting", "auto")
    shared = "" if _are_mixed(rows) else f"share its bits out to the layers ({words.option('layer_bits', 'own')}), "
    return [f"part-bit loses: {kept}; {shared}give it another bit ({one}) or let {auto} find how many"]


def _full_bits(estimate: Estimate, rows: Sequence[WeightRow], whom: str, words: _Words) -> list[str]:
    is_int8 = rows[0].output_type == OutputType.INT8.name.lower()
    if estimate.agreement is None or estimate.agreement[-1] >= ENOUGH_KEPT or not is_int8:
        return []
    exact, ranges = words.option("exact"), words.option("activation_ranges", "auto")
    return [
        f"full-bit agrees with {whom} on {100 * estimate.agreement[-1]:.1f} % of the inputs: {exact} keeps an INT8 "
        f"file's codes; from a Keras model, {ranges} tries other ranges of its activations"
    ]


def _more_data(estimate: Estimate | None, words: _Words) -> str | None:
    if estimate is not None and "representative data" in estimate.inputs:
        return None
    seen = "saw no inputs" if estimate is None else "saw made-up inputs"
    return f"rounding {seen}: 100 typical ones help most ({words.data})"


def _outliers(rows: Sequence[WeightRow], nesting: Nesting, words: _Words) -> str | None:
    middle = median(row.snr_db[0] for row in rows)
    worst = [row for row in worst_first(rows) if row.snr_db[0] < middle - OUTLIER_DB]
    if not worst or _are_mixed(rows):
        return None
    names = [row.name.split(";")[0] for row in worst]
    others = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"{', '.join(names[:3])}{others}: {OUTLIER_DB:.0f} dB or more below the other layers at {nesting.part_bits} "
        f"bits; {words.option('nesting', 'auto')} with {words.option('budget', 0.75)} gives layers part-bits of their "
        f"own{_exclusion(worst[:3], rows, words)}"
    )


def _exclusion(worst: Sequence[WeightRow], rows: Sequence[WeightRow], words: _Words) -> str:
    """The other way, where it costs little: INT8 weights that stay as they are have all their bits at part-bit too."""
    if any(row.output_type != OutputType.INT8.name.lower() for row in worst):
        return ""
    more = max(sum(row.num_weights - row.level_bytes[0] for row in worst), 0)
    if more > CHEAP_EXCLUSION * sum(row.level_bytes[0] for row in rows):
        return ""
    options = words.option("exclude", *(_pattern(row.name, rows) for row in worst))
    return f", or {options} leaves them INT8 at part-bit too, for {more} bytes more"


def _pattern(name: str, rows: Sequence[WeightRow]) -> str:
    """One that fits no other weight: what stands before the names that were fused to it, if that will do."""
    short = name.split(";")[0]
    alone = sum(row.name.startswith(short) for row in rows) == 1 and not set("*?[") & set(short)
    return f"{short}*" if alone and short != name else name


def _small_file(report: ConversionReport) -> str | None:
    """Of a model whose residual is hardly more than a page of memory: only that is paged, and nothing is gained."""
    residual = sum(sum(row.level_bytes[1:]) for row in report.weights)
    if residual >= SMALL_RESIDUAL_PAGES * SECTION_ALIGNMENT:
        return None
    return (
        f"the model is small: part-bit gives back {bytes_text(residual)}, and memory comes in pages of "
        f"{bytes_text(SECTION_ALIGNMENT)}; a stock INT8 file (extract) may do as well"
    )


def worst_weights(nested: NestedFile, weights: Sequence[WeightRow], most: int = 6) -> list[NestedWeight]:
    """The weights of a file that part-bit costs most, for `histogram_figure`, by their rows in a report of it."""
    by_name = {weight.name: weight for weight in nested.weights}
    return [by_name[row.name] for row in worst_first(weights)[:most]]
