"""What every command shares: errors and exit codes, --json, tables on stdout, progress on stderr, and the units."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from nq_tflite.errors import NqError, how_to_install, reason_of
from nq_tflite.progress import Progress, shown, stage_lines
from nq_tflite.units import decibels as decibels
from nq_tflite.units import fine_milliseconds as fine_milliseconds
from nq_tflite.units import kilobytes as kilobytes
from nq_tflite.units import layer_labels as layer_labels
from nq_tflite.units import megabytes as megabytes
from nq_tflite.units import milliseconds as milliseconds
from nq_tflite.units import percent as percent
from nq_tflite.units import precision_name as precision_name
from nq_tflite.units import shape_text as shape_text
from nq_tflite.units import short_name as short_name

if TYPE_CHECKING:
    from nq_tflite.graph.sites import Unnested

INTERRUPTED = 130
#: What newer versions of click raise where a group is called alone.
_NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
#: Columns of tables that no terminal shows.
PIPE_WIDTH = 150
#: How much wider than its terminal a table may be, whose cells are folded then.
_MOST_FOLDED, _UNBOUNDED = 1.25, 10_000
#: How wide a cell of such a table may be, the widest first.
_CELL_WIDTHS = (30, 20, 16, 12)
_BETWEEN_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}
#: Rows of a table that may be turned on its side.
_MOST_SIDEWAYS = 6
#: Of every command, not of the group alone: click keeps the names of a command's help option from its first call,
#: whoever made it.
_CONTEXT_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
#: Rows of a table of layers, unless all are asked for.
FEW_LAYERS = 5

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")

layers_option = click.option(
    "--layers", "-v", is_flag=True, help="Show every layer, not only those with the greatest errors."
)


class NqCommand(click.Command):
    """Ends with one line `error: ...` on stderr and exit code 1 (2, and how to call it, for bad usage); or, at Ctrl-C,
    with 130. Its help answers to -h too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = _CONTEXT_SETTINGS | (kwargs.get("context_settings") or {})
        super().__init__(*args, **kwargs)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click's, which raises errors of usage here."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise _bad_usage(error, parent) from error

    def invoke(self, ctx: click.Context) -> Any:
        """As click's."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _bad_usage(error, ctx) from error
        except NqError as error:
            _print_error(str(error))
        except ModuleNotFoundError as error:
            package = str(error.name).split(".")[0]
            if package == "nq_tflite":
                raise
            _print_error(f"the package {package} is not installed. Install it: {how_to_install('cli')}.")
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever reads has had enough; click knows what to do
                raise
            _print_error(f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error))
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        raise click.exceptions.Exit(1)


def _print_error(message: str) -> None:
    click.echo(_wrapped(f"error: {' '.join(message.split())}", sys.stderr), err=True)


def _bad_usage(error: click.UsageError, ctx: click.Context | None) -> Exception:
    """Says what is wrong with a call and how it goes, in the words of other errors; gives the exit."""
    where, message = error.ctx or ctx, error.format_message()
    if where is None or isinstance(error, _NO_ARGUMENTS):
        return error  # click shows the whole of --help
    click.echo(where.get_usage(), err=True)
    end = "" if message.endswith((".", "?")) else "."
    _print_error(f"{message[0].lower()}{message[1:]}{end} Try: {where.command_path} --help")
    return click.exceptions.Exit(error.exit_code)


class NqGroup(NqCommand, click.Group):
    """A group whose commands end as an NqCommand does, in the order and under the headings that they were added."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Names of commands under each heading, in the order of --help.
        self.sections: dict[str, list[str]] = {}

    def add_section(self, heading: str, *commands: NqCommand) -> None:
        """Adds commands under a heading of --help."""
        self.sections[heading] = [str(command.name) for command in commands]
        for command in commands:
            self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of --help."""
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A list of commands, each with its first sentence, under every heading."""
        for heading, names in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(100)) for name in names])


def _thread_counts(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    words = [word.strip() for word in value.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) > 0 for word in words):
        raise click.BadParameter(f"expected numbers of threads such as 1,2, got {value!r}.")
    return tuple(int(word) for word in words)


threads_option = click.option(
    "--threads",
    metavar="N[,N...]",
    default="1",
    show_default=True,
    callback=_thread_counts,
    help="Numbers of threads to run with, such as 1,2.",
)


def print_json(data: Any) -> None:
    """Prints JSON; what JSON has no number for (an infinite ratio) becomes null."""
    click.echo(json.dumps(finite(data), indent=2, allow_nan=False))


def finite(data: Any) -> Any:
    """The same without numbers that JSON lacks."""
    if isinstance(data, dict):
        return {str(key): finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Progress on stderr: a bar that goes when the work is done, or a line a stage where no terminal is.

    Gives the callback that the library calls with a stage's name, the steps done and the steps in all.
    """
    with shown(True if sys.stderr.isatty() else stage_lines()) as show:
        yield show


@contextmanager
def without_native_chatter() -> Iterator[None]:
    """Around work with tensorflow: what its C++ prints of the machine goes nowhere, on stdout and stderr.

    Python's own streams stay where they were, by duplicates. Only a command may do so: the process is its own.
    """
    if (sys.stdout, sys.stderr) != (sys.__stdout__, sys.__stderr__):  # of a test
        yield
        return
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    sys.stdout, sys.stderr = (os.fdopen(each, "w", encoding="utf-8", errors="replace", buffering=1) for each in kept)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        yield
    finally:
        os.close(nowhere)
        for descriptor, own in zip((1, 2), (sys.stdout, sys.stderr), strict=True):
            own.flush()
            os.dup2(own.fileno(), descriptor)
            own.close()
        sys.stdout, sys.stderr = streams


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, spare: Sequence[str] = ()
) -> None:
    """A table on stdout; the first `left` columns are aligned left, the others right.

    Where it is too wide, columns that can be spared are left out, the last of `spare` first. A table of a few rows is
    then turned on its side; others are folded, or printed a cell a line.
    """
    print_lines(title)
    console, shown = _stdout(), list(columns)
    out: list[str] = []
    for column in reversed(spare):
        if _width(console, _table(shown, _cells(columns, rows, shown), left)) <= console.width:
            break
        shown.remove(column)
        out.insert(0, column)
    cells = _cells(columns, rows, shown)
    table, few = _table(shown, cells, left), len(rows) <= _MOST_SIDEWAYS
    width = _width(console, table)
    turned = _fitting(console, shown, cells) if few and width > console.width else None
    if turned is not None:
        console.print(turned)
    elif width <= _MOST_FOLDED * console.width:
        console.print(table)
    else:
        _print_records(shown, cells)
    if out:
        print_lines(f"left out on a terminal this narrow: {', '.join(out)}")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Table:
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _cells(columns: Sequence[str], rows: Sequence[Sequence[str]], shown: Sequence[str]) -> list[list[str]]:
    """Those of the columns that are shown."""
    places = [list(columns).index(each) for each in shown]
    return [[row[place] for place in places] for row in rows]


def _fitting(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table | None:
    """The table on its side, its words on as many lines as it takes; None if it is still too wide."""
    header, others = _turned(columns, rows)
    for most in _CELL_WIDTHS:
        lines = [[textwrap.fill(cell, most, **_BETWEEN_WORDS) for cell in row] for row in (header, *others)]
        table = _table(lines[0], lines[1:], 1)
        if _width(console, table) <= console.width:
            return table
    return None


def _turned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Rows as columns."""
    header, *others = (list(each) for each in zip(columns, *rows, strict=True))
    return header, others


def _width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).maximum


def print_layers(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, spare: Sequence[str] = ()
) -> None:
    """A table of layers, or of other rows that have much in common.

    Of the first `left` columns, the ones that are the same in every row stand once, in the title.
    """
    alike = [index for index in range(1, left) if len(rows) > 1 and len({row[index] for row in rows}) == 1]
    said = ", ".join(f"{columns[index]} {rows[0][index]}" for index in alike)
    kept = [index for index in range(len(columns)) if index not in alike]
    print_table(
        f"{title}; all have {said}" if said else title,
        [columns[index] for index in kept],
        [[row[index] for index in kept] for row in rows],
        left - len(alike),
        [each for each in spare if columns.index(each) in kept],
    )


def _print_records(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for a terminal that is too narrow for it: a line a cell, a blank one between rows."""
    width = max(map(len, columns))
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            if cell:
                click.echo(f"{column.ljust(width)}  {cell}")
        click.echo("")


def print_unnested(weights: Sequence[Unnested]) -> None:
    """The weights that are not nested, with the reason for each; nothing if there are none."""
    rows = [
        [label, each.operator, shape_text(each.shape), str(each.bytes), each.reason]
        for label, each in zip(layer_labels([each.name for each in weights]), weights, strict=True)
    ]
    columns, spare = ("weight", "operator", "shape", "bytes", "reason"), ("bytes", "operator", "shape")
    if rows:
        print_layers("tensors that stay as they are", columns, rows, left=5, spare=spare)


def layers_title(what: str, shown: int, total: int) -> str:
    """Of a table of layers that is sorted by their error."""
    if shown == total:
        return f"{what}, worst first"
    return f"the worst {shown} of {total} {what} (all: --layers)"


def print_lines(*lines: str) -> None:
    """Plain lines on stdout; a terminal's are broken between words."""
    for line in lines:
        click.echo(_wrapped(line, sys.stdout))


def warn(message: str) -> None:
    """One line on stderr."""
    click.echo(_wrapped(f"warning: {message}", sys.stderr), err=True)


def _wrapped(line: str, file: TextIO) -> str:
    """For a terminal, broken between words; no path is broken, however long."""
    if not file.isatty():
        return line
    indent = line[: len(line) - len(line.lstrip())] + "  "
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent=indent, **_BETWEEN_WORDS)


def _stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, markup=False, highlight=False)
