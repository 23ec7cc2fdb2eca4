"""Options that commands of this package share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import click
from nq_tflite_models.measure.critical import GRID, MAY_LOSE, Critical

from nq_tflite.cli.console import print_table
from nq_tflite.cli.parameters import METHOD, NESTING

methods_option = click.option(
    "--method",
    "methods",
    multiple=True,
    type=METHOD,
    help="Method to compare; all of them if not given. May be repeated.",
)

grid_option = click.option(
    "--grid",
    is_flag=True,
    help=f"Compare INT8 and INT6 nesting every narrower width ({', '.join(GRID)}), and print the narrowest part-bit "
    f"model that loses at most {100 * MAY_LOSE:.0f} points.",
)


def print_critical(found: Sequence[Critical], what: str) -> None:
    """A table of critical nestings; `what` is the rate that they keep."""
    print_table(
        f"narrowest part-bit that keeps full-bit's {what} but for {100 * MAY_LOSE:.0f} points",
        ("model", "method", "full-bit", "part-bit"),
        [[row.model, row.method, str(row.full_bits), str(row.part_bits or "none")] for row in found],
        left=2,
    )


def nestings_option(**default: Any) -> Callable[[Any], Any]:
    """`--nesting`, any number of them; with click's options of its default."""
    help_ = "Bit-widths to compare. May be repeated."
    return click.option("--nesting", "nestings", multiple=True, type=NESTING, help=help_, **default)


def names_in(value: str, known: Collection[str]) -> tuple[str, ...]:
    """The names in a list with commas, in its order.

    Raises:
        BadParameter: one is not known.
    """
    words = tuple(dict.fromkeys(word.strip() for word in value.split(",")))
    if unknown := [word for word in words if word not in known]:
        raise click.BadParameter(f"no {', '.join(map(repr, unknown))}; expected names of {', '.join(known)}.")
    return words


def models_option(known: Collection[str], sets: Mapping[str, tuple[str, ...]] | None = None) -> Callable[[Any], Any]:
    """`--models`, some of those that a command knows, in order; all of them if not given.

    Args:
        sets: lists of names that may be named as a whole; the first one is the default.
    """
    known_sets = sets or {}

    def names(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
        words = names_in(value, [*known, *known_sets])
        return tuple(dict.fromkeys(name for word in words for name in known_sets.get(word, (word,))))

    return click.option(
        "--models",
        "names",
        default=next(iter(known_sets), ",".join(known)),
        metavar="NAME[,NAME...]",
        show_default=True,
        callback=names,
        help="Models, in order." if sets is None else _help(sets),
    )


def _help(sets: Mapping[str, tuple[str, ...]]) -> str:
    words = [f"{name} ({', '.join(names)})" for name, names in sets.items()]
    return f"Models, in order, or sets of them: {'; '.join(words)}."
