"""`nq-tflite receive`, `split` and `join`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nq_tflite.cli.console import json_option, megabytes, print_json, print_lines, progress_bar

if TYPE_CHECKING:
    from nq_tflite.delivery import ArrivedLevel

_RECEIVE_EPILOG = """\b
Examples:
  nq-tflite receive https://example.org/model.tflite model.tflite
  nq-tflite receive https://example.org/model.tflite model.tflite --sha256 0123...cdef --retries 20
  ssh host cat model.tflite | nq-tflite receive - model.tflite"""

_SPLIT_EPILOG = """\b
Examples:
  nq-tflite split model.tflite parts/
  nq-tflite split model.tflite parts/ --json"""

_JOIN_EPILOG = """\b
Examples:
  nq-tflite join parts/model.base model.tflite                    # runs part-bit
  nq-tflite join model.tflite parts/model.to8 model.tflite        # the upgrade arrives, in place
  nq-tflite join parts/model.base parts/model.to6 parts/model.to8 model.tflite"""


@click.command(epilog=_RECEIVE_EPILOG)
@click.argument("source")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--sha256", help="Of the whole file.")
@click.option("--base-sha256", help="Of the base, as nq-tflite split tells it: checked before the file appears.")
@click.option("--header", "headers", multiple=True, help="Such as 'Authorization: Bearer ...'; may be repeated.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="Seconds.")
@click.option("--retries", type=click.IntRange(0), default=5, show_default=True, help="Failures in a row.")
@json_option
def receive(
    source: str,
    path: Path,
    sha256: str | None,
    base_sha256: str | None,
    headers: tuple[str, ...],
    timeout: float,
    retries: int,
    as_json: bool,
) -> None:
    """Fetch the nested model at the URL SOURCE (- is stdin) to PATH. It runs part-bit as soon as its first part is
    there; after an interruption, the same command goes on where it was."""
    from nq_tflite.delivery import receive as receive_file

    with progress_bar() as progress:

        def on_level(arrived: ArrivedLevel) -> None:
            click.echo(f"{arrived.bits} bits: {arrived.file_bytes} bytes after {arrived.seconds:.2f} s", err=True)

        delivery = receive_file(
            sys.stdin.buffer if source == "-" else source,
            path,
            on_level=on_level,
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
        f"{path}: {megabytes(delivery.file_bytes)} ({delivery.file_bytes} bytes) in {delivery.seconds:.2f} s; "
        f"{delivery.resumed_bytes} were there, {delivery.fetched_bytes} fetched, {delivery.connections} connection(s)"
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"{text!r} is none; expected 'Name: value'.", param_hint="--header")
    return name.strip(), value.strip()


@click.command(epilog=_SPLIT_EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def split(model: Path, folder: Path, as_json: bool) -> None:
    """Write the nested MODEL to FOLDER as a base and an upgrade for each further level."""
    from nq_tflite.delivery import split as split_file

    parts = split_file(model, folder)
    if as_json:
        print_json(parts.as_dict())
        return
    for part in (parts.base, *parts.upgrades):
        print_lines(f"{part.sha256}  {part.path}: to {part.bits} bits, {megabytes(part.bytes)} ({part.bytes} bytes)")


@click.command(epilog=_JOIN_EPILOG)
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("upgrades", type=click.Path(path_type=Path), nargs=-1)
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def join(base: Path, upgrades: tuple[Path, ...], path: Path, as_json: bool) -> None:
    """Put BASE (or a model that lacks levels) and UPGRADES together as the model at PATH. If PATH is BASE itself, the
    model may be running meanwhile."""
    from nq_tflite.delivery import join as join_files

    joined = join_files(base, upgrades, path)
    if as_json:
        print_json(joined.as_dict())
        return
    missing = f"; {', '.join(map(str, joined.missing))} bits want an upgrade" if joined.missing else ""
    bits = ", ".join(map(str, joined.bits))
    print_lines(f"{path}: {megabytes(joined.file_bytes)} ({joined.file_bytes} bytes), runs at {bits} bits{missing}")
