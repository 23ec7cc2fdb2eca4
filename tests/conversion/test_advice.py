"""What a report suggests: only what fits, with the options to give."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from nq_tflite.conversion.advice import advice, file_advice, worst_first
from nq_tflite.conversion.report import ConversionReport, Estimate
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.inspection import WeightRow

GIVEN = "100 samples of the representative data"


told = partial(advice, command_line=True)


def row(name: str, snr_db: float, size: int = 10**6) -> WeightRow:
    return WeightRow(name, "CONV_2D", (64, 1, 1, 64), "8|5", "int8", (size, size), (0, 0), (snr_db, 40.0))


def report_of(agreement: tuple[float, ...] | None, *rows: WeightRow, nesting: str = "8|5") -> ConversionReport:
    estimate = Estimate(GIVEN, 20, True, (5, 8), agreement, agreement, (20.0, 30.0))
    return ConversionReport("out.tflite", 10**7, nesting, "descent", rows or (row("a", 20.0),), (), estimate)


def test_a_good_report_suggests_nothing() -> None:
    assert told(report_of((0.97, 0.99))) == ()


@pytest.mark.parametrize(
    ("nesting", "suggested"), [("8|5", "--nesting '8|6'"), ("8|6|4", "--nesting '8|6|5'"), ("8|7", "")]
)
def test_a_poor_part_bit_wants_another_bit_where_there_is_one(nesting: str, suggested: str) -> None:
    found = " ".join(told(report_of((0.6, 0.99), nesting=nesting)))
    assert suggested in found
    assert bool(found) == bool(suggested)


def test_what_was_measured_stands_for_the_estimate() -> None:
    report, nesting = report_of((0.97, 0.99)), Nesting.parse("8|5")
    measured = Estimate("photos", 50, True, (5, 8), (0.5, 0.99), None, (5.0, 30.0))
    assert told(report, measured) == file_advice(report.weights, nesting, measured, command_line=True)
    [found] = told(report, measured)
    assert "agrees with the reference on 50.0 % of the inputs" in found
    assert file_advice(report.weights, nesting) == ()
    [found] = file_advice([row("a", 20.0), row("b", 20.0), row("bad", 10.0)], nesting)
    assert found.startswith("bad: ")


def test_outputs_that_are_no_scores_go_by_their_noise() -> None:
    report = report_of(None)
    assert told(report) == ()
    assert report.estimate is not None
    [found] = told(replace(report, estimate=replace(report.estimate, snr_db=(9.0, 30.0))))
    assert "9.0 dB" in found


def test_in_python_options_are_keywords() -> None:
    poor = " ".join(advice(report_of((0.6, 0.8))))
    for text in ("nesting='8|6'", "nesting='auto'", "exact=True", "activation_ranges='auto'"):
        assert text in poor
    rows = [row("c", 20.0), row("bad", 12.0), row("b", 21.0)]
    [found] = advice(replace(report_of((1.0, 1.0), *rows), estimate=None))[1:]
    assert "nesting='auto' with budget=0.75" in found
    assert "representative_data=samples" in advice(replace(report_of((1.0, 1.0)), estimate=None))[0]
    assert not any("--" in each for each in (poor, found))


def test_a_poor_full_bit_wants_exact_codes_or_other_ranges() -> None:
    [found] = told(report_of((0.9, 0.9)))
    assert "--exact" in found
    assert "--activation-ranges auto" in found


@pytest.mark.parametrize("estimate", [None, Estimate("noise", 9, True, (5, 8), (1.0, 1.0), (1.0, 1.0), (20.0, 30.0))])
def test_without_data_it_asks_for_some(estimate: Estimate | None) -> None:
    [found] = told(replace(report_of((1.0, 1.0)), estimate=estimate))
    assert "--representative" in found


def test_layers_far_below_the_others_are_named_worst_first() -> None:
    rows = [row("c", 20.0), row("bad;fused", 12.0), row("b", 21.0), row("worse", 8.0), row("a", 22.0)]
    assert [each.name for each in worst_first(rows)][:2] == ["worse", "bad;fused"]
    [found] = told(report_of((1.0, 1.0), *rows))
    assert found.startswith("worse, bad: 6 dB or more below")
    assert "--budget" in found
    assert told(report_of((1.0, 1.0), *rows, replace(row("d", 20.0), nesting="8|4"))) == ()


def test_layers_with_bits_of_their_own_are_not_told_to_have_some() -> None:
    assert "--layer-bits own" in " ".join(told(report_of((0.6, 0.99))))
    mixed = [replace(row("a", 40.0), nesting="8|6"), row("b", 20.0)]
    [found] = told(report_of((0.6, 0.99), *mixed))
    assert "--layer-bits" not in found
    assert "another bit" in found


def test_layers_that_cost_little_may_be_excluded() -> None:
    """By names that fit no other weight; not where part-bit would grow by much, nor in a float model."""

    def sized(name: str, snr_db: float, width: int) -> WeightRow:
        levels = (width * 640, width * 384)
        return replace(row(name, snr_db), shape=(width, 1, 1, 1024), level_bytes=levels)

    others = [sized("conv_10;bn", 20.0, 1024), sized("b", 21.0, 1024), sized("c", 22.0, 1024)]
    worst = [sized("conv_1;bn", 8.0, 16), sized("conv_2;bn", 12.0, 16)]
    [found] = told(report_of((1.0, 1.0), *worst, *others))
    assert "--exclude 'conv_1;bn' --exclude 'conv_2*' leaves them INT8" in found
    assert f"for {2 * 16 * (1024 - 640)} bytes more" in found
    [found] = told(report_of((1.0, 1.0), sized("conv_1;bn", 8.0, 1024), *others))
    assert "--exclude" not in found
    floats = [replace(each, output_type="float32") for each in [*worst, *others]]
    assert "--exclude" not in " ".join(told(report_of((1.0, 1.0), *floats)))


def test_a_small_file_is_told_about_pages() -> None:
    [found] = told(report_of((1.0, 1.0), row("a", 20.0, size=1000)))
    assert "a stock INT8 file (extract) may do as well" in found
