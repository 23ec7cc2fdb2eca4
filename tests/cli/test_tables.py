"""Tables and messages on a terminal of 80 columns."""

from __future__ import annotations

import io

import pytest

from nq_tflite.cli.console import print_layers, print_table, warn


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nq_tflite.cli.console.PIPE_WIDTH", 80)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    return shown


def test_few_rows_of_many_columns_are_turned(capsys: pytest.CaptureFixture[str]) -> None:
    """So that what is compared stands side by side."""
    columns = ("strategy", *(f"measure number {index}" for index in range(8)))
    print_table("strategies", columns, [[name, *map(str, range(8))] for name in ("nested", "full", "part")])
    shown = lines(capsys)
    assert [word for word in shown[2].split() if word.isalpha()] == ["strategy", "nested", "full", "part"]
    [row] = [line for line in shown if "measure number 7" in line]
    assert row.count("7") == 4


def test_columns_that_can_be_spared_are_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("weight", "operator", "shape", "dB")
    rows = [["w" * 30, "DEPTHWISE_CONV_2D", f"1x3x3x{index}", "3.0"] for index in range(20)]
    print_table("weights", columns, rows, left=3, spare=("shape", "operator"))
    assert lines(capsys)[-1] != "left out on a terminal this narrow: operator"
    rows = [["w" * 50, "DEPTHWISE_CONV_2D", f"1x3x3x{index}", "3.0"] for index in range(20)]
    print_table("weights", columns, rows, left=3, spare=("shape", "operator"))
    shown = lines(capsys)
    assert shown[-1] == "left out on a terminal this narrow: operator"
    assert "1x3x3x19" in "".join(shown)


def test_a_wide_table_of_many_rows_is_printed_a_cell_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("wide", ("first column", "second"), [["a" * 60, "b" * 60]] * 7)
    shown = lines(capsys)
    assert shown.count(f"second        {'b' * 60}") == 7


def test_what_all_layers_have_stands_once(capsys: pytest.CaptureFixture[str]) -> None:
    print_layers(
        "layers", ("weight", "runs", "bits", "dB"), [["a", "fused", "8|5", "1"], ["b", "fused", "8|4", "1"]], 3
    )
    shown = lines(capsys)
    assert shown[0] == "layers; all have runs fused"
    assert "runs" not in "".join(shown[1:])
    assert "8|4" in "".join(shown)


def test_messages_break_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stderr", terminal)
    path = "/a/long/path/that/no/terminal/of/forty/columns/has/room/for.tflite"
    warn(f"the model is not there, and the way to it is this: {path}. Say --preprocess, as in training")
    written = terminal.getvalue().splitlines()
    assert len(written) > 3
    assert any(path in line for line in written)
    assert any("--preprocess" in line for line in written)
