"""`nq-tflite receive`, `split` and `join`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nq_tflite.cli.console import NqCommand, json_option, megabytes, print_json, print_lines, progress_bar
from nq_tflite.cli.parameters import FILE, FOLDER, SECONDS, WholeNumber

if TYPE_CHECKING:
    from nq_tflite.delivery import ArrivedLevel

#: As a path has it too, in which slashes are not doubled.
_URL = re.compile(r"https?:/")

_RECEIVE_EPILOG = """\b
Examples:
  nq-tflite receive https://example.org/model.tflite model.tflite
  nq-tflite receive https://example.org/model.tflite model.tflite \\
      --sha256 0123...cdef --retries 20
  ssh host cat model.tflite | nq-tflite receive - model.tflite"""

_SPLIT_EPILOG = """\b
Examples:
  nq-tflite split model.tflite parts/
  nq-tflite split model.tflite parts/ --json"""

_JOIN_EPILOG = """\b
Examples:
  nq-tflite join parts/model.base model.tflite  # runs part-bit
  nq-tflite join model.tflite parts/model.to8 model.tflite  # upgrade in place
  nq-tflite join parts/model.base parts/model.to6 parts/model.to8 model.tflite"""


@click.command(cls=NqCommand, epilog=_RECEIVE_EPILOG)
@click.argument("source")
@click.argument("output", type=FILE)
@click.option("--sha256", metavar="DIGEST", help="SHA-256 that the whole file must have.")
@click.option(
    "--base-sha256",
    metavar="DIGEST",
    help="SHA-256 that the base must have, as nq-tflite split prints it. It is checked before the file appears.",
)
@click.option(
    "--header",
    "headers",
    metavar="'NAME: VALUE'",
    multiple=True,
    help="Header to send, such as 'Authorization: Bearer ...'. May be repeated.",
)
@click.option(
    "--timeout",
    type=SECONDS,
    default=30.0,
    show_default=True,
    help="Number of seconds without a byte until a connection is closed.",
)
@click.option(
    "--retries",
    type=WholeNumber(least=0),
    default=5,
    show_default=True,
    help="Number of connections that may fail in a row without a new byte.",
)
@json_option
def receive(
    source: str,
    output: Path,
    sha256: str | None,
    base_sha256: str | None,
    headers: tuple[str, ...],
    timeout: float,
    retries: int,
    as_json: bool,
) -> None:
    """Download a nested model, which runs part-bit as soon as its first part has arrived.

    SOURCE is a URL, or - for stdin. OUTPUT is the file to write. After an interruption, the same command continues
    where it stopped.
    """
    if _URL.match(str(output)) and not _URL.match(source):
        raise click.UsageError("the URL comes first: nq-tflite receive URL OUTPUT.")
    from nq_tflite.delivery import receive as receive_file

    with progress_bar() as progress:

        def on_level(arrived: ArrivedLevel) -> None:
            click.echo(f"{arrived.bits} bits: {arrived.file_bytes} bytes after {arrived.seconds:.2f} s", err=True)

        def on_retry(reason: str, seconds: float) -> None:
            click.echo(f"trying again in {seconds:g} s: {reason}", err=True)

        delivery = receive_file(
            sys.stdin.buffer if source == "-" else source,
            output,
            on_level=on_level,
            on_retry=on_retry,
            on_progress=lambda there, total: progress("receiving", there, total or 0),
            sha256=sha256,
            base_sha256=base_sha256,
            headers=dict(_header(each) for each in headers),
            timeout=timeout,
            retries=retries,
        )
    if as_json:
        print_json(delivery.as_dict())
        return
    print_lines(
        f"{output}: {megabytes(delivery.file_bytes)} ({delivery.file_bytes} bytes) in {delivery.seconds:.2f} s; "
        f"{delivery.resumed_bytes} had arrived before, {delivery.fetched_bytes} fetched, "
        f"{delivery.connections} connection(s)"
    )
    _say_left_out(delivery.left_out_bytes)


def _say_left_out(count: int) -> None:
    if count:
        print_lines(
            f"left out: {count} bytes that follow the model (packed files, such as labels): deliver them separately"
        )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"expected 'Name: value', got {text!r}.", param_hint="--header")
    return name.strip(), value.strip()


@click.command(cls=NqCommand, epilog=_SPLIT_EPILOG)
@click.argument("model", type=FILE)
@click.argument("folder", type=FOLDER)
@json_option
def split(model: Path, folder: Path, as_json: bool) -> None:
    """Split a nested model into a base and upgrades.

    MODEL is a nested .tflite file. FOLDER gets MODEL.base, and MODEL.to8 and the like for each further level; it is
    made if need be.
    """
    from nq_tflite.delivery import split as split_file

    parts = split_file(model, folder)
    if as_json:
        print_json(parts.as_dict())
        return
    for part in (parts.base, *parts.upgrades):
        print_lines(
            f"{part.path}: to {part.bits} bits, {megabytes(part.bytes)} ({part.bytes} bytes)",
            f"  sha256 {part.sha256}",
        )
    _say_left_out(parts.left_out_bytes)


@click.command(cls=NqCommand, epilog=_JOIN_EPILOG)
@click.argument("base", type=FILE)
@click.argument("upgrades", type=FILE, nargs=-1)
@click.argument("output", type=FILE)
@json_option
def join(base: Path, upgrades: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Join a base and upgrades into one model.

    BASE is what nq-tflite split wrote, or a model that lacks levels; UPGRADES may be none. OUTPUT, the last one, is the
    model; if it is BASE itself, it may be running meanwhile.
    """
    from nq_tflite.delivery import join as join_files

    joined = join_files(base, upgrades, output)
    if as_json:
        print_json(joined.as_dict())
        return
    missing = f"; for {', '.join(map(str, joined.missing))} bits, join an upgrade" if joined.missing else ""
    bits = ", ".join(map(str, joined.bits))
    print_lines(f"{output}: {megabytes(joined.file_bytes)} ({joined.file_bytes} bytes), runs at {bits} bits{missing}")
