"""The one family of exceptions that nq_tflite raises on bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class NqError(Exception):
    """Base of every error that nq_tflite raises on purpose.

    The message says what went wrong, what was expected, what was found instead and what to do:

    >>> str(NqError("nesting", expected="two or more bit-widths such as '8|5'", got="'8'", fix="Add a part-bit width."))
    "nesting: expected two or more bit-widths such as '8|5', got '8'. Add a part-bit width."
    """

    def __init__(self, what: str, *, expected: str = "", got: str = "", fix: str = "") -> None:
        found = ", ".join(part for part in (expected and f"expected {expected}", got and f"got {got}") if part)
        message = ": ".join(part for part in (what, found) if part)
        super().__init__(f"{message.rstrip('.')}. {fix}" if fix else message)


def did_you_mean(word: object, choices: Iterable[object], as_text: Callable[[str], str] = repr) -> str:
    """The sentence that offers the choice most similar to a mistyped word, or containing it; "" if there is none.

    >>> did_you_mean("squnt", ["descent", "squant", "nearest"])
    "Did you mean 'squant'?"
    """
    from difflib import get_close_matches

    names = {str(each).lower(): str(each) for each in choices}
    typed = str(word).lower()
    found = [name for name in names if len(typed) > 2 and typed in name]
    found += get_close_matches(typed, names, 1, cutoff=0.6)
    return f"Did you mean {as_text(names[found[0]])}?" if found else ""


def reason_of(error: Exception) -> str:
    """The text of an error, without the number and the path that Python adds to an OSError's text."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class NestingError(NqError, ValueError):
    """A nesting such as "4|8" that no file can have."""


class PrecisionError(NqError, ValueError):
    """A precision that the model does not have, or that it could not switch to."""


class FormatError(NqError, ValueError):
    """A file that is not a TFLite flatbuffer, or that breaks a rule of FORMAT.md."""


class UnsupportedModelError(NqError, ValueError):
    """A well-formed model with something that nq_tflite cannot convert."""


class SelectionError(NqError, ValueError):
    """A pattern of weight names that matches none of the model's weights."""


class WeightsError(NqError, ValueError):
    """Weights that cannot be quantized: NaN, infinite, or with unusable scales."""


class RepresentativeDataError(NqError, ValueError):
    """Representative data that is empty or does not fit the model's inputs."""


class PolicyError(NqError, ValueError):
    """A governor's policy that contradicts itself, or names something that does not exist."""


class TraceError(NqError, ValueError):
    """A trace of a device's readings that cannot be read or simulated."""


class PhotosError(NqError, ValueError):
    """A folder of photos or its labels.csv that cannot be used."""


class ModelSourceError(NqError, OSError):
    """A model, weight archive or photo that could not be obtained or read."""


class OutputError(NqError, OSError):
    """A file that cannot be written at the given path."""


class DeliveryError(NqError, OSError):
    """A model that could not be fetched or written completely; what has arrived is kept."""


class MissingPackageError(NqError, ImportError):
    """An optional Python package that the call needs and that is not installed."""


class ClusterError(NqError, RuntimeError):
    """A Dask cluster that does not answer, has no suitable worker, or whose workers die during a task."""


class ClosedError(NqError, RuntimeError):
    """A call of a closed interpreter."""


class NotPicklableError(NqError, TypeError):
    """An object that can be neither copied nor sent to another process: it holds a native library's model."""


class NativeLibraryError(NqError, OSError):
    """The native library is missing, of another version, or refused a call."""


def how_to_install(extra: str) -> str:
    """The command that installs an extra's packages; the package index has no nq-tflite yet.

    >>> how_to_install("litert")
    "pip install '.[litert]' in a clone of nq_tflite, or '<wheel>.whl[litert]' with a wheel"
    """
    return f"pip install '.[{extra}]' in a clone of nq_tflite, or '<wheel>.whl[{extra}]' with a wheel"


@contextmanager
def needing_extra(extra: str, what: str) -> Iterator[None]:
    """Wraps imports of an extra's optional packages; `what` says what needs them.

    Raises:
        MissingPackageError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            what,
            expected=f"the package {error.name}",
            got="none installed",
            fix=f"Install it: {how_to_install(extra)}.",
        ) from error
