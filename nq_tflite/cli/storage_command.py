"""`nq-tflite storage`, and its tables, which the zoo's command prints too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nq_tflite.cli.console import NqCommand, json_option, megabytes, print_json, print_lines, print_table, progress_bar
from nq_tflite.cli.parameters import FILE, NESTING

if TYPE_CHECKING:
    from nq_tflite.measure.storage import StorageRow

_EPILOG = """\b
Examples:
  nq-tflite storage int8.tflite
  nq-tflite storage a_int8.tflite b_int8.tflite --nesting '8|5' \\
      --nesting '8|6|4' --json
  nq-tflite storage nested.tflite"""

nesting_option = click.option(
    "--nesting",
    "nestings",
    multiple=True,
    type=NESTING,
    default=("8|6", "8|5", "8|4"),
    show_default=True,
    help="Bit-widths for models that are not nested. May be repeated.",
)


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.argument("models", metavar="MODEL...", type=FILE, nargs=-1, required=True)
@nesting_option
@json_option
def storage(models: tuple[Path, ...], nestings: tuple[str, ...], as_json: bool) -> None:
    """Compare the bytes of nested models with those of separate ones.

    MODEL... are full-int8 .tflite files; those that are not nested are nested first. The command compares
    storage, bytes to send, and bytes that a switch moves. It writes the files, and takes their sizes.
    """
    from nq_tflite.measure.storage import measure_storage

    with progress_bar() as progress:
        rows = measure_storage(models, nestings, progress=progress)
    print_storage(rows, as_json)


def print_storage(rows: Sequence[StorageRow], as_json: bool) -> None:
    """Rows as tables, or as JSON."""
    if as_json:
        print_json(
            {"models": [row.as_dict() for row in rows], "totals": [_total(group) for group in _by_nesting(rows)]}
        )
        return
    shown = [_storage_cells(row.as_dict()) for row in rows]
    totals = [_storage_cells(_total(group)) for group in _by_nesting(rows) if len(group) > 1]
    print_table(
        "storage: one nested file, beside a separate file for each bit-width",
        ("model", "nesting", "nested", "packed", "TFLite", "nested / packed", "nested / TFLite", "NestQuant's formula"),
        shown + totals,
        left=2,
    )
    shown = [_traffic_cells(row.as_dict()) for row in rows]
    totals = [_traffic_cells(_total(group)) for group in _by_nesting(rows) if len(group) > 1]
    print_table(
        "sent and switched: nested, and with separate packed files",
        (
            "model",
            "nesting",
            "base",
            "separate part-bit",
            "upgrade",
            "separate full-bit",
            "a switch moves",
            "separate switch",
            "ratio",
        ),
        shown + totals,
        left=2,
    )
    print_lines(
        "Sizes of files that were written, but for NestQuant's formula: n + 1 bits a weight (one more for each "
        "further level) over the sum of the bit-widths.",
        "packed: each weight has the bits of its model, at 4 bits as TFLite's INT4. "
        "TFLite: INT4 at 4 bits, INT8 at the others, which is what TFLite can store.",
    )


def _by_nesting(rows: Sequence[StorageRow]) -> list[list[StorageRow]]:
    names = dict.fromkeys(row.nesting for row in rows)
    return [[row for row in rows if row.nesting == name] for name in names]


def _total(rows: Sequence[StorageRow]) -> dict[str, Any]:
    """What the fields of `as_dict` that are numbers of bytes sum up to."""
    all_of = [row.as_dict() for row in rows]
    names = ("nested_bytes", "packed_bytes", "tflite_bytes", "base_bytes", "switch_bytes", "separate_switch_bytes")
    models = [
        {"packed_bytes": sum(row["models"][index]["packed_bytes"] for row in all_of)}
        for index in range(len(all_of[0]["models"]))
    ]
    fixed = {"name": f"all {len(rows)}", "nesting": rows[0].nesting, "paper_ratio": rows[0].paper_ratio}
    return fixed | {name: sum(row[name] for row in all_of) for name in names} | {"models": models}


def _storage_cells(row: dict[str, Any]) -> list[str]:
    sizes = [row["nested_bytes"], row["packed_bytes"], row["tflite_bytes"]]
    ratios = [row["nested_bytes"] / size for size in sizes[1:]] + [row["paper_ratio"]]
    return [row["name"], row["nesting"], *map(megabytes, sizes), *(f"{ratio:.2f}" for ratio in ratios)]


def _traffic_cells(row: dict[str, Any]) -> list[str]:
    first, last = row["models"][0]["packed_bytes"], row["models"][-1]["packed_bytes"]
    sizes = [row["base_bytes"], first, row["switch_bytes"], last, row["switch_bytes"], row["separate_switch_bytes"]]
    ratio = row["switch_bytes"] / row["separate_switch_bytes"]
    return [row["name"], row["nesting"], *map(megabytes, sizes), f"{ratio:.2f}"]
