"""Who sees a bar: a terminal and a notebook, and nobody else."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from nq_tflite.progress import shown, silent

WORK = """
import os
from nq_tflite.progress import shown
with shown(WANTED) as notify:
    notify("rounding", 0, 4)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # as a library may, around its own chatter
    notify("rounding", 4, 4)
    notify("writing", 0, 0)
"""


def in_a_terminal(*command: str) -> str:
    """What a command shows on a terminal of its own."""
    reader, writer = pty.openpty()
    try:
        subprocess.run(command, stdout=writer, stderr=writer, check=True, timeout=120)
    finally:
        os.close(writer)
    read = b""
    try:
        while chunk := os.read(reader, 65536):
            read += chunk
    except OSError:  # Linux says so where the other end was closed
        pass
    os.close(reader)
    return read.decode()


@pytest.mark.parametrize(("wanted", "sees"), [("True", True), ("False", False), ("None", False)])
def test_a_terminal_sees_a_bar_if_it_is_wanted(wanted: str, sees: bool) -> None:
    """Wherever stderr goes meanwhile; and the line is empty at the end."""
    text = in_a_terminal(sys.executable, "-c", WORK.replace("WANTED", wanted))
    assert ("rounding" in text) is sees
    assert ("writing" in text) is sees
    if sees:
        assert text.startswith("\x1b[?25l")
        assert "starting" in text[: text.index("rounding")]
        assert "0/4" in text
        assert text.endswith("\x1b[2K")  # the line is erased


def test_without_rich_a_terminal_sees_the_stages() -> None:
    code = """
import sys
sys.modules["rich"] = None
from nq_tflite.progress import shown
with shown(True) as notify:
    notify("rounding", 0, 4)
    notify("rounding", 4, 4)
    notify("writing", 0, 0)
"""
    text = in_a_terminal(sys.executable, "-c", code)
    assert text == "rounding\r\nwriting\r\n"


def test_a_bar_leaves_the_streams_alone() -> None:
    """Other threads print meanwhile."""
    code = """
import sys
from nq_tflite.progress import shown
streams = sys.stdout, sys.stderr
with shown(True) as notify:
    notify("rounding", 0, 4)
    assert (sys.stdout, sys.stderr) == streams
    print("own line", file=sys.stdout)
"""
    text = in_a_terminal(sys.executable, "-c", code)
    assert "rounding" in text
    assert "own line" in text
    assert "Error" not in text


def test_a_file_sees_none(capfd: pytest.CaptureFixture[str]) -> None:
    with shown(True) as notify:
        assert notify is silent
    with shown(None) as notify:
        assert notify is silent
    assert capfd.readouterr().err == ""


def test_a_callback_is_called(tmp_path: Path) -> None:
    seen: list[str] = []
    with shown(lambda stage, done, total: seen.append(stage)) as notify:
        notify("rounding", 0, 1)
    assert seen == ["rounding"]


def test_a_notebook_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutStream(io.StringIO):
        """As ipykernel's."""

    OutStream.__module__ = "ipykernel.iostream"
    stream = OutStream()
    monkeypatch.setattr("sys.stderr", stream)
    with shown(True) as notify:
        notify("rounding", 1, 2)
        notify("rounding", 2, 2)
        notify("writing", 0, 0)
    *lines, last, _ = stream.getvalue().split("\r")
    assert lines[0] == ""
    shown_lines = [line.split() for line in lines[1:]]
    assert [(line[0], line[-2]) for line in shown_lines[:2]] == [("rounding", "1/2"), ("rounding", "2/2")]
    assert (shown_lines[2][0], shown_lines[2][-1]) == ("writing", "0:00:00")
    assert len(shown_lines[0][1]) * 2 == len(shown_lines[1][1]) == 40
    assert "\x1b" not in stream.getvalue()
    assert {len(line) for line in lines[1:]} == {80}
    assert last.strip() == ""


def test_a_kernel_gets_a_stream_and_nothing_else() -> None:
    """rich would display by itself where it sees a kernel."""
    import nbformat
    from nbclient import NotebookClient

    code = "from nq_tflite.progress import shown\nwith shown(True) as notify:\n    notify('rounding', 1, 2)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    assert {(each.output_type, each.get("name")) for each in outputs} == {("stream", "stderr")}
    assert "rounding" in "".join(each.text for each in outputs)


def test_a_commands_own_lines_are_kept_and_native_ones_are_not() -> None:
    code = """
import os, sys
from nq_tflite.cli.console import without_native_chatter
with without_native_chatter():
    os.write(1, b"native out\\n"), os.write(2, b"native error\\n")
    print("own out"), print("own error", file=sys.stderr)
print("after"), os.write(2, b"native after\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("own out\nafter\n", "own error\nnative after\n")


def test_the_command_line_says_what_it_waits_for(tmp_path: Path, stock_dir: Path) -> None:
    """From its first second, on a terminal."""
    command = [sys.executable, "-m", "nq_tflite", "convert", str(stock_dir / "int8.tflite"), str(tmp_path / "o.tflite")]
    text = in_a_terminal(*command, "--rounding", "nearest")
    assert "\nerror" not in text
    assert "starting" in text
    assert "0/?" not in text
