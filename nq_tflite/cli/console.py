"""What every command shares: errors and exit codes, --json, tables on stdout, progress on stderr, and the units."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from nq_tflite.errors import NqError, how_to_install, reason_of
from nq_tflite.progress import Progress
from nq_tflite.units import decibels as decibels
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
#: Rows of a table of layers, unless all are asked for.
FEW_LAYERS = 5

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")

layers_option = click.option(
    "--layers", "-v", is_flag=True, help="Show every layer, not only those with the greatest errors."
)


class NqCommand(click.Command):
    """Ends with one line `error: ...` on stderr and exit code 1 (2, and how to call it, for bad usage); or, at Ctrl-C,
    with 130."""

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
    click.echo(f"error: {' '.join(message.split())}", err=True)


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
        self._sections: dict[str, list[str]] = {}

    def add_section(self, heading: str, *commands: click.Command) -> None:
        """Adds commands under a heading of --help."""
        self._sections[heading] = [str(command.name) for command in commands]
        for command in commands:
            self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of --help."""
        return [name for names in self._sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A list of commands, each with its first sentence, under every heading."""
        for heading, names in self._sections.items():
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
    if not sys.stderr.isatty():
        yield _stage_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[steps]}"), TimeElapsedColumn())
    # A duplicate of stderr: what runs meanwhile may send that elsewhere.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="replace") as own:
        console = Console(file=own, markup=False, highlight=False)
        with ProgressBar(*columns, console=console, transient=True) as bars:
            task = bars.add_task("starting", total=None, steps="")

            def show(stage: str, done: int, total: int) -> None:
                steps = f"{done}/{total}" if total else ""
                bars.update(task, description=stage, completed=done, total=total or None, steps=steps)

            yield show


def _stage_lines() -> Progress:
    seen: list[str] = []

    def show(stage: str, done: int, total: int) -> None:
        if stage not in seen[-1:]:
            seen.append(stage)
            click.echo(stage, err=True)

    return show


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """A table on stdout; the first `left` columns are aligned left, the others right."""
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    click.echo(title)
    console = _stdout()
    natural = Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).maximum
    if natural <= _MOST_FOLDED * console.width:
        console.print(table)
    else:
        _print_records(columns, rows)


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
        [short_name(each.name), each.operator, shape_text(each.shape), str(each.bytes), each.reason] for each in weights
    ]
    if rows:
        print_table("left as they are", ("weight", "operator", "shape", "bytes", "reason"), rows, left=5)


def layers_title(what: str, shown: int, total: int) -> str:
    """Of a table of layers that is sorted by their error."""
    if shown == total:
        return f"{what}, worst first"
    return f"the worst {shown} of {total} {what} (all: --layers)"


def print_lines(*lines: str) -> None:
    """Plain lines on stdout."""
    for line in lines:
        click.echo(line)


def warn(message: str) -> None:
    """One line on stderr."""
    click.echo(f"warning: {message}", err=True)


def _stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, markup=False, highlight=False)
