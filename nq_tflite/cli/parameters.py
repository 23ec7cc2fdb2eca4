"""What arguments and options take: how --help calls it, and errors of usage that say what would do."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from nq_tflite.device.runtimes import RUNTIMES
from nq_tflite.errors import NqError, did_you_mean
from nq_tflite.files import check_output
from nq_tflite.format.nesting import Nesting, check_precision
from nq_tflite.govern import PRESETS, Policy

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
    _Choice = click.Choice[str]
else:  # generic only in newer versions
    _ParamType = click.ParamType
    _Choice = click.Choice

_UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}
_AUTO = "auto"
#: What --plot can write.
_FIGURES = (".png", ".svg", ".pdf")


class PathTo(click.Path):
    """A path, by what should be there; the library looks whether it is."""

    def __init__(self, what: str) -> None:
        super().__init__(path_type=Path)
        self.name = what


class _Named:
    """A type whose values --help calls by a word of its own."""

    _metavar: str

    def get_metavar(self, *_: Any, **__: Any) -> str:
        """As --help shows it."""
        return self._metavar


class Value(_Named, _ParamType):
    """What a function makes of the text, or says about it in an NqError. A shell completes `names`."""

    def __init__(self, metavar: str, parse: Callable[[str], Any], names: Callable[[], Iterable[str]] = tuple) -> None:
        self.name, self._metavar, self._parse, self._names = metavar.lower(), metavar, parse, names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; a default that is no text stays as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except NqError as error:
            message = re.sub(r"^\w+: (?=expected)", "", " ".join(str(error).split()))  # the option has its name
            self.fail(message, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names that go on as the text begins."""
        return [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]


class OneOf(_Choice):
    """click's Choice, whose error says which name was meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            meant = did_you_mean(value, self.choices)
            self.fail(f"expected one of {', '.join(self.choices)}, got {value!r}. {meant}".rstrip(), param, ctx)


class WholeNumber(_Named, click.IntRange):
    """A whole number from a least one on."""

    def __init__(self, metavar: str = "N", least: int = 1) -> None:
        super().__init__(min=least)
        self._metavar, self._least = metavar, least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"expected a whole number, at least {self._least}, got {value!r}.", param, ctx)


class Number(_Named, click.FloatRange):
    """A number of seconds, or a fraction."""

    def __init__(self, metavar: str, above: float | None = None, most: float | None = None) -> None:
        super().__init__(min=above or 0, min_open=above is not None, max=most)
        self._metavar = metavar
        bounds = [f"above {above:g}" if above is not None else "at least 0"]
        self._expected = ", ".join(bounds if most is None else [*bounds, f"at most {most:g}"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; click lets NaN and infinity pass."""
        try:
            found = super().convert(value, param, ctx)
        except click.BadParameter:
            found = math.nan
        if not math.isfinite(found):
            self.fail(f"expected a number {self._expected}, got {value!r}.", param, ctx)
        return found


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]?b?)", text.lower())
    if match is None or match[2] not in _UNITS:
        raise NqError("", expected="bytes such as 3000000, 512kB or 3MB", got=repr(text))
    return round(float(match[1]) * _UNITS[match[2]])


def _nesting(text: str) -> str:
    if text.isdecimal():
        fix = f"Put it in quotes, or the shell reads | as a pipe: '{text}|5'."
        raise NqError("", expected="two or more bit-widths", got=f"{text!r} alone", fix=fix)
    return str(Nesting.parse(text))


def _nesting_or_auto(text: str) -> str:
    if meant := did_you_mean(text, [_AUTO]):
        if text != _AUTO:
            raise NqError("", expected="a nesting such as '8|5', or 'auto'", got=repr(text), fix=meant)
        return text
    return _nesting(text)


def _checked(check: Callable[[Any], object]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        check(text)
        return text

    return parse


def _precision(text: str) -> str:
    check_precision(text)
    return text.strip().lower()


# Looked up when they are asked for: their modules import what --help should not wait for.


def _check_pixels(name: Any) -> None:
    from nq_tflite.measure.preprocessing import pixel_preprocessing

    pixel_preprocessing(name, 1, 1)


def _pixel_ranges() -> Iterable[str]:
    from nq_tflite.measure.preprocessing import PIXEL_RANGES

    return PIXEL_RANGES


def _check_method(name: Any) -> None:
    from nq_tflite.measure.contenders import contenders

    contenders([name])


def _methods() -> Iterable[str]:
    from nq_tflite.measure.contenders import CONTENDERS

    return CONTENDERS


def _figure_file(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Before anything is measured for it."""
    if value is None:
        return None
    if value.suffix not in _FIGURES:
        raise click.BadParameter(f"expected a file that ends in {', '.join(_FIGURES)}, got {str(value)!r}.")
    check_output(value)
    return value


FILE, FOLDER, PATH = PathTo("file"), PathTo("folder"), PathTo("path")
NESTING, NESTING_OR_AUTO = Value("NESTING", _nesting), Value("NESTING|auto", _nesting_or_auto, lambda: (_AUTO,))
PRECISION = Value("PRECISION", _precision, lambda: ("full", "part"))
POLICY = Value("POLICY", _checked(Policy.of), lambda: PRESETS)
METHOD = Value("METHOD", _checked(_check_method), _methods)
BYTES = Value("BYTES", _bytes)
FRACTION = Number("FRACTION", above=0, most=1)
SECONDS = Number("SECONDS", above=0)

runtime_option = click.option(
    "--runtime", type=OneOf(RUNTIMES), help="Stock runtime to run under. Default: the first one that is installed."
)
plot_option = click.option("--plot", type=FILE, callback=_figure_file, help="Figure to write: .png, .svg or .pdf.")
policy_option = click.option(
    "--policy",
    type=POLICY,
    default="memory",
    show_default=True,
    help="Switching policy: memory, battery, thermal, latency, manual, several joined by +, or a .toml file.",
)
labels_option = click.option("--labels", type=FILE, help="A csv file with the right classes.")
reference_option = click.option(
    "--reference", type=PATH, help="Model to compare answers with, usually the float .tflite or .keras."
)
crop_option = click.option(
    "--crop",
    type=FRACTION,
    help="Fraction of each photo's middle to use. Default: 0.875 for the names of ImageNet models, otherwise 1.",
)
preprocess_option = click.option(
    "--preprocess",
    type=Value("PIXELS", _checked(_check_pixels), _pixel_ranges),
    help="Pixel range that the model was trained on: -1..1, 0..1, 0..255, imagenet (torchvision's mean and deviation), "
    "or a name such as keras_mobilenet_v2. Needed unless a Rescaling layer or the scale of an int8 input tells it.",
)


def workers_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--workers` and `--scheduler`, one of which says where work is spread; neither: this process."""
    count = click.option(
        "--workers",
        type=WholeNumber(),
        is_eager=True,  # so that --scheduler sees it, in whatever order they are given
        help="Number of processes on this machine to spread the work over, with Dask.",
    )
    address = click.option(
        "--scheduler",
        metavar="ADDRESS",
        callback=_only_scheduler,
        help="Dask cluster to spread the work over, such as tcp://10.0.0.1:8786; its workers read the same paths.",
    )
    return count(address(command))


def _only_scheduler(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and ctx.params.get("workers") is not None:
        raise click.UsageError("--scheduler cannot be combined with --workers.", ctx)
    return value


def refuse_without(ctx: click.Context, names: Sequence[str], condition: bool, needed: str) -> None:
    """Refuses options that were given, where they count only under a condition that does not hold.

    Raises:
        UsageError: one of them was given.
    """
    for parameter in ctx.command.params:
        if parameter.name in names and was_given(ctx, parameter.name) and not condition:
            raise click.UsageError(f"{parameter.opts[0]} needs {needed}.", ctx)


def was_given(ctx: click.Context, name: str) -> bool:
    """Whether the user gave an option, even its default."""
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
