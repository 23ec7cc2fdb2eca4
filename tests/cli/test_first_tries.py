"""What a newcomer gets wrong at first, and what is said about it: by the command line and by the Python API.

Every row is a mistake that was made in earnest, with words that its one line of error must have.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import nq_tflite as nq
from nq_tflite.cli import nq_tflite
from nq_tflite.cli.console import PIPE_WIDTH, NqCommand, NqGroup
from nq_tflite.errors import NestingError, OutputError, PolicyError, PrecisionError, did_you_mean
from nq_tflite.files import check_output, replacing


@pytest.fixture
def folder(tmp_path: Path, nested_dir: Path, int8_tflite: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with what the calls below name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nested.tflite").write_bytes((nested_dir / "int8_8_5.tflite").read_bytes())
    (tmp_path / "stock.tflite").write_bytes(int8_tflite)
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "text.tflite").write_text("no model at all")
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04 and more of an archive")
    (tmp_path / "folder").mkdir()
    nq.split("nested.tflite", "parts")
    return tmp_path


def call(arguments: str) -> Result:
    """Runs a command line within this process; an exception that is no exit fails the test."""
    result = CliRunner().invoke(nq_tflite, arguments.split())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def error_line(result: Result) -> str:
    """The one line of error; stdout has nothing."""
    assert result.stdout == ""
    [line] = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ("convert stock.tflte out.tflite", "No such file or directory & Did you mean stock.tflite?"),
        ("convert https://example.org/m.tflite out.tflite", "Fetch it first & nq-tflite receive"),
        ("convert empty.tflite out.tflite", "TFL3 & an empty file"),
        ("convert stock.tflite folder", "expected a path for a file & folder/model.tflite"),
        ("convert stock.tflite no/out.tflite", "no folder no & Create the folder"),
        ("convert stock.tflite stock.tflite", "the source itself & another name"),
        ("convert stock.tflite /dev/null", "a device"),
        ("convert stock.tflite out.tflite --representative model.keras", ".npy or .npz file & folder of photos"),
        ("convert stock.tflite out.tflite --representative no.npy", "got No such file or directory"),
        ("inspect folder", "Is a directory"),
        ("inspect model.keras", "Keras model & nq-tflite convert"),
        ("inspect stock.tflite", "got a stock model & nq-tflite convert"),
        ("extract nested.tflite out.tflite --precision 6", "one of [5, 8] bits"),
        ("extract nested.tflite nested.tflite", "the source itself"),
        ("extract nested.tflite folder", "a path for a file"),
        ("evaluate nested.tflite --photos folder", "at least one photo"),
        ("benchmark nested.tflte", "Did you mean nested.tflite?"),
        ("benchmark folder", "Is a directory"),
        ("watch nested.tflte", "Did you mean nested.tflite?"),
        ("watch text.tflite", "15 bytes that start with b'no model'"),
        ("simulate nested.tflite --trace battery-dy", "Did you mean 'battery-day'?"),
        ("simulate nested.tflite --trace text.tflite", "got a file of another kind"),
        ("simulate nested.tflite --plot no/day.png", "writing no/day.png & no folder no"),
        ("receive nested.tflite out.tflite", "http or https URL & receive - OUTPUT < FILE"),
        ("receive http://localhost/model.tflite folder", "a path for a file"),
        ("split stock.tflite out", "stock.tflite: expected a nested model"),
        ("split nested.tflite text.tflite", "expected a folder, got a file"),
        ("join parts/nested.bse out.tflite", "Did you mean parts/nested.base?"),
        ("join parts/nested.base parts/nested.to8", "an upgrade of it & Name the model last"),
        (
            "join parts/nested.to8 parts/nested.base out.tflite",
            "an upgrade file that split wrote & Give the base first",
        ),
        ("inspect parts/nested.to8", "an upgrade file that split wrote & nq-tflite join BASE UPGRADE MODEL"),
        ("convert folder out.tflite", "with saved_model.pb in it & --representative"),
        ("join parts/nested.base folder", "a path for a file"),
    ],
)
def test_failures_name_the_file_and_the_way_out(folder: Path, arguments: str, texts: str) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = call(arguments)
    assert result.exit_code == 1, result.stderr
    line = error_line(result)
    for text in texts.split(" & "):
        assert text in line
    assert "Errno" not in line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ("Convert a b", "Did you mean 'convert'?"),
        ("convert a", "missing argument 'OUTPUT' & Try: nq-tflite convert --help"),
        ("convert a b --nestin 8|5", "Did you mean '--nesting'?"),
        ("convert a b --nesting 8", "'8' alone & quotes & pipe"),
        ("convert a b --nesting 8,5", "Write for example '8|5'"),
        ("convert a b --nesting 5|8", "Write the full-bit width first"),
        ("convert a b --nesting autp", "Did you mean 'auto'?"),
        ("convert a b --rounding squnt", "Did you mean 'squant'?"),
        ("convert a b --budget 0.5", "--budget needs --nesting auto"),
        ("convert a b --nesting auto --budget 50%", "above 0, at most 1"),
        ("convert a b --preprocess imagnet", "Did you mean 'imagenet'?"),
        ("convert a b --preprocess 0..1", "--preprocess needs --representative FOLDER"),
        ("convert a b --crop 0.5", "--crop needs --representative FOLDER"),
        ("convert a b --size 96", "--size needs --representative FOLDER"),
        ("inspect a --count 3", "--count needs --bits"),
        ("inspect a --bits", "--bits needs --weight NAME"),
        ("extract a b --precision half", "'full', 'part' or a number of bits"),
        ("benchmark a --precision ful", "Did you mean 'full'?"),
        ("benchmark a --threads 1,0", "numbers of threads such as 1,2"),
        ("evaluate a --photos b --runtime litert", "Did you mean 'ai-edge-litert'?"),
        ("evaluate a --photos b --threads 1,2", "a whole number, at least 1"),
        ("evaluate a --photos b --crop 7", "at most 1"),
        ("evaluate a --photos b --compare --method squnt", "Did you mean 'squant'?"),
        ("evaluate a --photos b --compare --nesting 4|8", "the full-bit width first"),
        ("watch a --policy memroy", "Did you mean 'memory'?"),
        ("watch a --policy none.toml", "a readable TOML file"),
        ("watch a --budget 3XB", "3000000, 512kB or 3MB"),
        ("watch a --seconds soon", "a number at least 0"),
        ("simulate a --accuracy 90,99", "two fractions, part-bit first"),
        ("receive out.tflite http://localhost/model.tflite", "the URL comes first"),
        ("receive http://a b --header none", "expected 'Name: value', got 'none'"),
        ("storage a --nesting 8", "two or more bit-widths"),
    ],
)
def test_bad_usage_says_what_would_do(arguments: str, texts: str) -> None:
    """Before any file is looked at, in the form of all other errors, with exit code 2."""
    result = call(arguments)
    assert result.exit_code == 2, result.stderr
    line = error_line(result)
    for text in texts.split(" & "):
        assert text in line
    assert result.stderr.startswith("Usage: nq-tflite")
    assert "--help" in line


@pytest.mark.parametrize(
    ("text", "count"), [("3000000", 3_000_000), ("3MB", 3_000_000), ("1.5 kb", 1500), ("2G", None)]
)
def test_bytes_take_decimal_units(text: str, count: int) -> None:
    from nq_tflite.cli.parameters import BYTES

    if not count:
        with pytest.raises(click.BadParameter, match="3MB"):
            BYTES.convert(text, None, None)
    else:
        assert BYTES.convert(text, None, None) == count


# ---- help ------------------------------------------------------------------------------------------------------------


def options_of(command: click.Command) -> Iterator[click.Option]:
    yield from (each for each in command.params if isinstance(each, click.Option))


@pytest.mark.parametrize("name", sorted(nq_tflite.commands))
def test_help_is_of_one_form(name: str) -> None:
    """A first line that fits the list of commands; options that read alone; values with names."""
    command = nq_tflite.commands[name]
    first = (command.help or "").split("\n")[0]
    assert first.endswith(".")
    assert len(first) < 90
    result = call(f"{name} -h")
    assert (result.exit_code, result.stderr) == (0, "")
    shown = result.stdout
    for argument in command.params:
        if isinstance(argument, click.Argument) and len(command.params) > 1:
            assert argument.make_metavar(click.Context(command)).strip("[].") in shown
    for option in options_of(command):
        text = option.help or ""
        assert re.match(r"[A-Z]|csv ", text), (option.name, text)
        assert text.endswith("."), (option.name, text)
        assert not re.match(r"(Of|As|To|With) ", text), (option.name, text)
        if option.multiple:
            assert "May be repeated" in text, option.name
    assert not re.search(r"\b(TEXT|INTEGER|RANGE|FLOAT)\b", shown)


def test_a_command_called_alone_first_still_answers_to_h() -> None:
    """Click keeps the names of a command's help option from its first call, whoever made it."""

    @click.command(cls=NqCommand)
    def alone() -> None:
        """Does nothing."""

    group = NqGroup(name="group")
    group.add_section("Here", alone)
    assert CliRunner().invoke(alone, ["--help"]).exit_code == 0
    for arguments in (["alone", "-h"], ["-h"]):
        assert CliRunner().invoke(group, arguments).exit_code == 0, arguments


@pytest.mark.parametrize("name", sorted(nq_tflite.commands))
def test_help_fits_eighty_columns(name: str) -> None:
    """With examples that can be copied: a long one goes on behind a backslash."""
    shown = CliRunner().invoke(nq_tflite, [name, "--help"], terminal_width=80).stdout
    assert max(map(len, shown.splitlines())) <= 80


def test_options_of_one_name_are_explained_alike() -> None:
    """But for those that mean something of their own to a command."""
    texts: dict[str, set[str]] = {}
    for command in nq_tflite.commands.values():
        for option in options_of(command):
            texts.setdefault(option.opts[0], set()).add((option.help or "").removesuffix(" May be repeated."))
    own = {"--threads", "--budget", "--nesting", "--precision", "--json", "--against"}
    assert {name for name, said in texts.items() if len(said) > 1} <= own


def test_every_command_stands_under_a_heading() -> None:
    shown = CliRunner().invoke(nq_tflite, []).output
    headings = ("Start here:", "Measure:", "Switch by what the device can spare:", "Deliver:")
    positions = [shown.index(heading) for heading in headings]
    assert positions == sorted(positions)
    for name in nq_tflite.commands:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)
    assert "_NQ_TFLITE_COMPLETE" in shown


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("ex", ["extract"]),
        ("convert a b --rounding n", ["nearest"]),
        ("convert a b --activation-ranges m", ["minmax", "mse"]),
        ("convert a b --nesting a", ["auto"]),
        ("convert a b --preprocess 0", ["0..1", "0..255"]),
        ("extract a b --precision p", ["part"]),
        ("benchmark a --runtime t", ["tflite-runtime", "tensorflow"]),
        ("evaluate a --photos b --method squant", ["squant-nesting", "squant"]),
        ("watch a --policy ", ["memory", "battery", "thermal", "latency", "manual"]),
        ("watch a --seconds 1", []),
    ],
)
def test_a_shell_completes_commands_and_values(words: str, completed: list[str]) -> None:
    line = f"nq-tflite {words}"
    environment = {
        "_NQ_TFLITE_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    done = CliRunner().invoke(nq_tflite, [], prog_name="nq-tflite", env=environment)
    assert done.output.split() == [f"plain,{each}" for each in completed]


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "1.5", "", "half"])
def test_a_fraction_is_a_number_within_its_bounds(text: str) -> None:
    from nq_tflite.cli.parameters import FRACTION

    assert FRACTION.convert("0.5", None, None) == 0.5
    with pytest.raises(click.BadParameter, match=f"a number above 0, at most 1, got '{text}'"):
        FRACTION.convert(text, None, None)


def test_a_terminal_too_narrow_for_a_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = call("inspect nested.tflite").stdout
    assert max(map(len, wide.splitlines())) <= PIPE_WIDTH
    monkeypatch.setattr("nq_tflite.cli.console.PIPE_WIDTH", 60)
    narrow = call("inspect nested.tflite").stdout
    assert max(len(line) for line in narrow.splitlines() if line.startswith("│")) <= 60
    assert "left out on a terminal this narrow: " in narrow


# ---- what is missing, and what breaks off ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "arguments", "texts"),
    [
        ("flatbuffers", ["inspect", "nested.tflite"], "flatbuffers|pip install '.[cli]'"),
        ("PIL", ["evaluate", "nested.tflite", "--photos", "folder"], "PIL|pip install '.[cli]'"),
        ("psutil", ["watch", "nested.tflite", "--seconds", "0"], "psutil|pip install '.[govern]'"),
    ],
)
def test_missing_packages(folder: Path, package: str, arguments: list[str], texts: str) -> None:
    script = f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = {arguments!r}"
    command = [sys.executable, "-c", f"{script}; from nq_tflite.__main__ import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert all(text in line for text in texts.split("|"))
    assert "Traceback" not in done.stderr


def test_the_file_system_has_the_last_word(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", "some/file")

    monkeypatch.setattr("nq_tflite.graph.inspection.inspect_file", refuse)
    result = call("inspect nested.tflite")
    assert (result.exit_code, result.stderr) == (1, "error: some/file: Permission denied\n")


# ---- files -----------------------------------------------------------------------------------------------------------


def test_outputs_are_checked_before_the_work(folder: Path) -> None:
    """Not after the minutes that a conversion may take."""
    stages: list[str] = []
    with pytest.raises(OutputError, match="no folder"):
        nq.convert("stock.tflite", "no/out.tflite", progress=lambda stage, done, total: stages.append(stage))
    assert stages == []


def test_a_folder_without_permission(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OutputError, match="no permission"):
        check_output("out.tflite")


def test_a_file_that_is_replaced_is_whole_or_as_it_was(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"before")
    with contextlib.suppress(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before"
    with replacing(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert not list(folder.glob(".file*"))


# ---- the Python API --------------------------------------------------------------------------------------------------


def _model() -> bytes:
    return Path("nested.tflite").read_bytes()


@pytest.mark.parametrize(
    ("mistake", "error", "text"),
    [
        (lambda: nq.Interpreter(), OSError, "model_path or model_content, got neither"),
        (lambda: nq.Interpreter("nested.tflite", _model()), OSError, "got both"),
        (lambda: nq.Interpreter(_model()), OSError, "Pass bytes as model_content"),
        (lambda: nq.Interpreter("nested.tflte"), ValueError, "Did you mean nested.tflite?"),
        (lambda: nq.Interpreter(model_content=b"nothing"), ValueError, "TFL3"),
        (lambda: nq.Interpreter("nested.tflite", precision="prt"), PrecisionError, "Did you mean 'part'?"),
        (lambda: nq.Interpreter("nested.tflite", precision=5.0), PrecisionError, "a number of bits, got 5.0"),
        (lambda: nq.Interpreter("nested.tflite", precision=None), PrecisionError, "got None"),
        (lambda: nq.Interpreter("nested.tflite", fuse="no"), nq.NqError, "True, False or None, got 'no'"),
        (lambda: nq.Interpreter("nested.tflite", num_threads=0), nq.NqError, "a whole number above 0"),
        (lambda: nq.Interpreter("nested.tflite", num_threads="2"), nq.NqError, "got '2'"),
        (lambda: nq.Interpreter("nested.tflite", runtime="litert"), ImportError, "Did you mean 'ai-edge-litert'?"),
        (lambda: nq.CompiledModel.from_file("nested.tflte"), ValueError, "Did you mean nested.tflite?"),
        (lambda: nq.convert("stock.tflite", "o", "8/5"), NestingError, "Write for example '8|5'"),
        (lambda: nq.convert("stock.tflite", "o", np.zeros((9, 9))), NestingError, "got array"),
        (lambda: nq.convert("stock.tflite", "o", rounding="squnt"), NestingError, "Did you mean 'squant'?"),
        (lambda: nq.convert("stock.tflite", "stock.tflite"), OutputError, "the source itself"),
        (lambda: nq.Nesting("8|5"), NestingError, "Use Nesting.parse"),  # type: ignore[arg-type]
        (lambda: nq.Governor("nested.tflite"), PolicyError, "an nq.Interpreter, or several by name, got a str"),
        (lambda: nq.Governor({}, None), PolicyError, "an nq.Policy, a name or a path, got a NoneType"),
        (lambda: nq.receive(Path("nested.tflite"), "o"), OSError, "open(path, 'rb')"),
        (lambda: nq.receive(io.StringIO("text"), "o"), OSError, "expected bytes, got str"),
    ],
)
def test_mistakes_in_python(folder: Path, mistake: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)) as caught:
        mistake()
    assert isinstance(caught.value, nq.NqError)
    assert len(str(caught.value)) < 300


def test_join_takes_one_upgrade_without_a_list(folder: Path) -> None:
    assert nq.join("parts/nested.base", "parts/nested.to8", "out.tflite").bits == (5, 8)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("squnt", "squant"), ("LITERT", "ai-edge-litert"), ("near", "nearest"), ("xyz", ""), ("", "")],
)
def test_did_you_mean(word: str, meant: str) -> None:
    choices = ("descent", "squant", "nearest", "ai-edge-litert", "tflite-runtime")
    assert did_you_mean(word, choices) == (f"Did you mean {meant!r}?" if meant else "")
