"""What every command shares: errors and exit codes, --json, tables on stdout, progress on stderr, and the units."""

from __future__ import annotations

import errno
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from nq_tflite.errors import NqError
from nq_tflite.units import decibels as decibels
from nq_tflite.units import megabytes as megabytes
from nq_tflite.units import milliseconds as milliseconds
from nq_tflite.units import percent as percent
from nq_tflite.units import precision_name as precision_name
from nq_tflite.units import shape_text as shape_text
from nq_tflite.units import short_name as short_name

if TYPE_CHECKING:
    from nq_tflite.sites import Unnested

INTERRUPTED = 130
#: Columns of tables that no terminal shows.
PIPE_WIDTH = 150
#: Rows of a table of layers, unless all are asked for.
FEW_LAYERS = 5

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on stdout.")

#: What --plot can write.
_FIGURES = (".png", ".svg", ".pdf")


def _figure_file(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Before anything is measured for it."""
    if value is not None and value.suffix not in _FIGURES:
        raise click.BadParameter(f"expected a file that ends in {', '.join(_FIGURES)}.")
    return value


plot_option = click.option(
    "--plot", type=click.Path(path_type=Path), callback=_figure_file, help="Figure to write: .png, .svg or .pdf."
)

layers_option = click.option("--layers", "-v", is_flag=True, help="Show every layer, not only the worst ones.")


class NqCommand(click.Command):
    """Turns an NqError into one line on stderr and exit code 1, and Ctrl-C into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NqError as error:
            click.echo(f"error: {' '.join(str(error).split())}", err=True)
            ctx.exit(1)
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever reads has had enough; click knows what to do
                raise
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {where}{error.strerror or error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


class NqGroup(NqCommand, click.Group):
    """A group whose commands end as an NqCommand does."""


def _thread_counts(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    words = [word.strip() for word in value.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) > 0 for word in words):
        raise click.BadParameter("expected thread counts separated by commas, such as 1,2.")
    return tuple(int(word) for word in words)


threads_option = click.option(
    "--threads", default="1", show_default=True, callback=_thread_counts, help="Thread counts, such as 1,2."
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
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Progress on stderr: a bar that goes when the work is done, or a line a stage where no terminal is.

    Gives the callback that the library calls with a stage's name, the steps done and the steps in all.
    """
    console = Console(stderr=True, markup=False, highlight=False)
    if not console.is_terminal:
        yield _stage_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bars.update(task, description=stage, completed=done, total=total or None)

        yield show


def _stage_lines() -> Callable[[str, int, int], None]:
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
    _stdout().print(table)


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
