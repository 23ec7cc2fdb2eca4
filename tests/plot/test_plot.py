"""Figures say what their data says, fit their canvas at every width, and are written whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import check_error, invoke

from nq_tflite.conversion.advice import worst_first
from nq_tflite.graph.inspection import InspectReport, inspect_file
from nq_tflite.graph.nested import read_nested
from nq_tflite.measure.benchmark import BenchmarkReport, Latency, Setting
from nq_tflite.measure.compare import ComparedMethod, MethodComparison
from nq_tflite.measure.evaluate import Evaluation, Score
from nq_tflite.measure.findings import _slower
from nq_tflite.measure.memory import Footprint, MedianReload, MemoryState
from nq_tflite.measure.resident import ResidentMemory
from nq_tflite.measure.timeline import Moment, PrecisionChange, Timeline
from nq_tflite.plot import (
    accuracy_figure,
    benchmark_figure,
    comparison_figure,
    histogram_figure,
    layers_figure,
    save_figure,
    sizes_figure,
    timeline_figure,
    worst_weights,
)
from nq_tflite.plot.style import COLOURS, NARROW, WIDTH, layer_labels, short_label


def score(bits: int | None, agreement: float, snr: float = 12.0, top1: float | None = 0.8) -> Score:
    return Score(bits, top1, None if top1 is None else 0.02, top1, agreement, 0.01, snr)


EVALUATION = Evaluation("m", "f", 0.9, "runtime", 100, 5, (score(8, 0.98, 25.0), score(5, 0.9)))
UNLABELLED = Evaluation("m", "m", None, "runtime", 100, 5, (score(8, 1.0, math.inf, None), score(5, 0.0, -3.0, None)))
STOCK = Timeline("s", "runtime", 1, tuple(Moment(0.01 * k, None, 0.003, None, 9_000_000) for k in range(8)), ())
TIMELINE = Timeline(
    "m",
    "runtime",
    1,
    tuple(
        Moment(0.01 * k, bits, 0.002 if k != 3 else 0.4, 1_000_000 * bits, 5_000_000 + 100_000 * bits)
        for k, bits in enumerate([8] * 8 + [5] * 8 + [8] * 8)
    ),
    (PrecisionChange(0.078, 5, 1e-5, 300), PrecisionChange(0.158, 8, 3e-5, 300)),
)
COMPARISON = MethodComparison(
    "m",
    "float",
    "runtime",
    100,
    0.9,
    None,
    tuple(
        ComparedMethod(name, name, f"8|{bits}", 8.0, 1.0, (score(8, 0.9 + bits / 100), score(bits, bits / 10)), "")
        for bits in (6, 4)
        for name in (
            "minmax",
            "nestquant-code",
            "squant-nesting",
            "nearest",
            "exact",
            "squant",
            "descent",
            "descent-calibrated",
        )
    ),
)
BENCHMARK = BenchmarkReport(
    "cpu",
    "3",
    "0",
    "avx2",
    {"matrix": "avx2", "unpack": "avx2"},
    5,
    1,
    "stock_model_of_a_long_name_indeed.tflite",
    tuple(
        Setting(
            "ai-edge-litert 2.3.0",
            threads,
            (
                Latency("stock_model_of_a_long_name_indeed.tflite", None, 0.001, 1.0, 1.0, 1.0),
                Latency("m.tflite", 8, 0.001, 0.9, 0.2, 7.0),
                Latency("m.tflite", 5, 0.001, 0.8, 0.7, 0.9),
            ),
        )
        for threads in (1, 2)
    ),
    (
        Footprint(
            "m.tflite",
            "ai-edge-litert 2.3.0",
            1,
            (
                MemoryState(8, ResidentMemory(2_000_000, 500_000, 0), 3),
                MemoryState(5, ResidentMemory(900_000, 0, 0), 2),
            ),
            None,
            MedianReload(1, 0.1, 0.1),
        ),
    ),
)


@pytest.fixture(scope="module")
def model(nested_dir: Path) -> Path:
    return nested_dir / "int8_8_6_4.tflite"


@pytest.fixture(scope="module")
def report(model: Path) -> InspectReport:
    return inspect_file(model)


def histograms(model: Path, report: InspectReport, width: float) -> Any:
    return histogram_figure(worst_weights(read_nested(model), report.weights, 3), width=width)


DRAW: dict[str, Callable[[Path, InspectReport, float], Any]] = {
    "accuracy": lambda model, report, width: accuracy_figure(EVALUATION, width=width),
    "accuracy without labels": lambda model, report, width: accuracy_figure(UNLABELLED, width=width),
    "comparison": lambda model, report, width: comparison_figure(COMPARISON, width=width),
    "benchmark": lambda model, report, width: benchmark_figure(BENCHMARK, width=width),
    "timeline": lambda model, report, width: timeline_figure(TIMELINE, STOCK, width=width),
    "sizes": lambda model, report, width: sizes_figure(report, width=width),
    "layers": lambda model, report, width: layers_figure(report.weights, width=width),
    "histograms": histograms,
}


@pytest.mark.parametrize("width", [pytest.param(WIDTH, marks=pytest.mark.slow), NARROW])
@pytest.mark.parametrize("name", DRAW)
def test_every_text_is_on_the_canvas(name: str, width: float, model: Path, report: InspectReport) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = DRAW[name](model, report, width)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    inside = figure.bbox.padded(1.5)
    titles = []
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert inside.contains(*box.min), axes.get_title("left")
        assert inside.contains(*box.max), axes.get_title("left")
        titles.append(axes._left_title.get_window_extent())
    assert not any(one.overlaps(other) for index, one in enumerate(titles) for other in titles[:index])
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert inside.contains(*box.min)
        assert inside.contains(*box.max)


def test_sizes_add_up(report: InspectReport) -> None:
    [axes] = sizes_figure(report).axes
    bars = [[each for each in axes.patches if round(each.get_y() + each.get_height() / 2) == row] for row in range(4)]
    graph = report.file_bytes - sum(report.section_bytes)
    needed = graph + np.cumsum(report.section_bytes)
    ends = [1e6 * max(bar.get_x() + bar.get_width() for bar in row) for row in bars]
    assert ends == pytest.approx([*needed, needed.sum()])


def test_layers_are_drawn_worst_first(report: InspectReport) -> None:
    errors, sizes = layers_figure(report.weights, most=len(report.weights)).axes
    rows = worst_first(report.weights)
    marks = [line for line in errors.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in marks] == [[row.snr_db[0] for row in rows]]
    assert sum(bar.get_width() for bar in sizes.patches if bar.get_height()) * 1e3 == pytest.approx(
        sum(sum(row.level_bytes) for row in rows)
    )


def test_histograms_hold_every_weight_at_every_level(model: Path, report: InspectReport) -> None:
    [weight] = worst_weights(read_nested(model), report.weights, 1)
    assert weight.name == worst_first(report.weights)[0].name
    [axes] = histogram_figure([weight]).axes
    steps = [patch.get_data() for patch in axes.patches]
    assert [len(data.values) for data in steps] == [256, 64, 16]
    assert [np.sum(data.values * np.diff(data.edges)) for data in steps] == pytest.approx([100.0] * 3)


def test_comparison_lines_go_through_the_means() -> None:
    agreement = comparison_figure(COMPARISON).axes[0]
    lines = {line.get_label(): line for line in agreement.lines}
    assert list(lines["descent"].get_xdata()) == [4, 6, 8]
    assert list(lines["descent"].get_ydata()) == pytest.approx([40, 60, 95])
    ours = {str(line.get_color()) for name, line in lines.items() if name in ("nearest", "exact", "squant", "descent")}
    assert ours == set(COLOURS[:4])


def test_timeline_keeps_the_scale_of_what_is_usual() -> None:
    latency, memory = timeline_figure(TIMELINE, STOCK).axes
    assert latency.get_ylim()[1] < 10  # of 2 and 3 ms, and one of 400 ms
    [beyond] = [line for line in latency.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert list(beyond.get_xdata()) == pytest.approx([30.0])
    assert memory.get_ylim()[1] > 9  # the stock model's line is on the canvas
    assert TIMELINE.median_switch(up=True) == 3e-5
    assert TIMELINE.median_switch(up=False) == 1e-5
    assert (TIMELINE.median_held(5), TIMELINE.median_weights(8)) == (5_500_000, 8_000_000)


def test_names_of_layers() -> None:
    assert layer_labels(["a/b/c/MatMul", "a/b/d/MatMul"]) == ["c", "d"]
    assert layer_labels(["a/MatMul", "a/BiasAdd"]) == ["MatMul", "BiasAdd"]
    assert layer_labels(["a/c/MatMul", "a/c/BiasAdd"]) == ["MatMul", "BiasAdd"]
    assert layer_labels(["one"]) == ["one"]
    assert layer_labels(["a/one/convolution;x"]) == ["a/one"]
    assert short_label("a\nb\x00c $x$", 40) == "a b c $x$"
    assert short_label("abcdef", 4) == "…def"


def test_a_name_is_no_formula(tmp_path: Path, report: InspectReport) -> None:
    from dataclasses import replace

    rows = [replace(report.weights[0], name=r"a/$\frac{x"), replace(report.weights[1], name="a/<b>&")]
    save_figure(layers_figure(rows), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert r"$\frac{x" in text
    assert "&lt;b&gt;&amp;" in text


@pytest.mark.parametrize("figure", ["layers", "sizes", "weights"])
def test_inspect_draws(model: Path, tmp_path: Path, figure: str) -> None:
    name = inspect_file(model).weights[0].name
    extra = ("--weight", name) if figure == "weights" else ()
    result = invoke("inspect", model, "--plot", tmp_path / "a.svg", "--figure", figure, *extra, "--json")
    assert result.exit_code == 0
    assert (tmp_path / "a.svg").read_text().rstrip().endswith("</svg>")
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]


def test_inspect_draws_no_weight_that_is_not_there(model: Path, tmp_path: Path) -> None:
    result = invoke("inspect", model, "--weight", "nothing has this name", "--plot", tmp_path / "a.svg")
    check_error(result, "got 0 matching weights")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "a", "--plot", "a.doc"),
        ("evaluate", "a", "--photos", "b", "--plot", "a"),
        ("benchmark", "a", "--plot", "a.jpeg"),
        ("simulate", "a", "--plot", "a.html"),
        ("report", "a", "--plot", "a.html"),
        ("inspect", "a", "--figure", "sizes"),
        ("inspect", "a", "--plot", "a.png", "--figure", "sizes", "--weight", "b"),
    ],
)
def test_bad_figures_are_bad_usage(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_model_that_is_slower_than_stock_is_told_so() -> None:
    """Where no precision is faster; the page's figure shows both lines."""
    fast = replace(STOCK, path="s.tflite", moments=tuple(replace(each, latency=0.001) for each in STOCK.moments))
    assert _slower(TIMELINE, STOCK) == _slower(TIMELINE, None) == _slower(None, fast) == ()
    [found] = _slower(TIMELINE, fast)
    assert "slower than s.tflite here, 2.00 times its latency" in found
