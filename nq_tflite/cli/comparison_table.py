"""A comparison of rounding methods as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nq_tflite.cli.console import decibels, percent, print_lines, print_table

if TYPE_CHECKING:
    from nq_tflite.measure.compare import ComparedMethod, MethodComparison
    from nq_tflite.measure.evaluate import Score

_COLUMNS = ("nesting", "method", "precision", "top-1", "agreement", "logit SNR, dB", "bits a weight", "rounding")


def print_comparison(result: MethodComparison) -> None:
    """One table: a row for each method at each level."""
    weights = "weights alone" if result.activations == "float" else "whole int8 files"
    title = f"{result.source}, {weights}, {result.num_photos} photos, {result.runtime}"
    rows = [] if result.stock is None else [["", "stock INT8", "", *_score(result.stock), "", ""]]
    rows += [row for method in result.rows for row in _method_rows(method)]
    print_table(title, _COLUMNS, rows, left=3)
    own = "" if result.reference_top1 is None else f", whose own top-1 is {percent(result.reference_top1)}"
    notes = {f"{row.title}: {row.note}" for row in result.rows if row.note}
    print_lines(
        f"photos: {result.preprocessing}",
        f"agreement and SNR are with the float model{own}; ± is one standard error of {result.num_photos} "
        "independent photos",
        "bits a weight: of all levels together; ours with padding and level biases, others by their own arithmetic",
        "weights too small to nest stay as they are, whatever the method: the wider part-bit, the more of them",
        *sorted(notes),
    )


def _method_rows(method: ComparedMethod) -> list[list[str]]:
    """What does not depend on the level stands in the first row."""
    once = [f"{method.bits_a_weight:.2f}", f"{method.seconds:.1f} s"]
    return [
        [
            method.nesting if index == 0 else "",
            method.title if index == 0 else "",
            f"{score.bits} bits",
            *_score(score),
            *(once if index == 0 else [""] * len(once)),
        ]
        for index, score in enumerate(method.scores)
    ]


def _score(score: Score) -> list[str]:
    return [
        percent(score.top1),
        percent(score.agreement, score.agreement_standard_error),
        decibels(score.logit_snr_db),
    ]
